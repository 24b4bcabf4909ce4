from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netinspect.analysis.redaction import Redactor
from netinspect.model.evidence import Access, Reading
from netinspect.model.resources import BY_NAME
from tests.build import endpoint, endpoint_slice, node, pod, service

KEY = b"0" * 32
SECRET = "acme-payments"


def redacted(kind: str, *items: Any, by: Redactor | None = None) -> Any:
    page = json.dumps({"metadata": {}, "items": items}).encode()
    return json.loads((by or Redactor(KEY)).page(BY_NAME[kind], page))["items"]


def test_nothing_of_the_owner_remains() -> None:
    one = pod(SECRET, "10.9.8.7", on=f"{SECRET}-node", labels={f"{SECRET}.example/x": SECRET},
              containers=[{"name": SECRET, "image": SECRET, "env": [{"name": SECRET, "value": SECRET}],
                           "command": [SECRET], "ports": [{"name": SECRET, "containerPort": 80}]}])  # fmt: skip
    one["metadata"] |= {"annotations": {SECRET: SECRET}, "managedFields": [{"manager": SECRET}], "uid": SECRET}
    one["status"] |= {"message": SECRET, "conditions": [{"type": "Ready", "status": "True", "message": SECRET}]}
    found = json.dumps(redacted("pods", one))
    assert SECRET not in found
    assert "10.9.8.7" not in found


def test_structure_remains() -> None:
    by = Redactor(KEY)
    pods = redacted("pods", pod("web-1", "10.0.1.2", labels={"app": "web"}), by=by)
    ports = [{"name": "sql", "port": 80, "targetPort": "sql"}]
    front = service("web", "10.96.0.1", selector={"app": "web"}, ports=ports)
    services = redacted("services", front, by=by)
    piece = endpoint_slice("web", endpoint("10.0.1.2", "web-1", ready=False))
    slices = redacted("endpoint_slices", piece, by=by)
    assert services[0]["spec"]["selector"] == pods[0]["metadata"]["labels"]
    assert slices[0]["endpoints"][0]["addresses"] == [pods[0]["status"]["podIP"]]
    assert slices[0]["endpoints"][0]["targetRef"]["name"] == pods[0]["metadata"]["name"]
    assert slices[0]["endpoints"][0]["conditions"] == {"ready": False}
    assert slices[0]["metadata"]["labels"]["kubernetes.io/service-name"] == services[0]["metadata"]["name"]
    assert services[0]["spec"]["ports"][0]["name"] == services[0]["spec"]["ports"][0]["targetPort"]
    assert pods[0]["status"]["phase"] == "Running"


def test_flags_and_configuration_keep_their_ranges_alone() -> None:
    command = ["kube-apiserver", f"--etcd-servers=https://{SECRET}", "--service-cluster-ip-range", "10.96.0.0/16"]
    static = {"metadata": {"name": f"kube-apiserver-{SECRET}", "labels": {"component": "kube-apiserver"}},
              "spec": {"containers": [{"name": "kube-apiserver", "command": command}]}}  # fmt: skip
    by = Redactor(KEY)
    found = redacted("control_plane", static, by=by)[0]
    assert len(found["spec"]["containers"][0]["command"]) == 1
    assert SECRET not in json.dumps(found)
    text = f"podSubnet: 10.244.0.0/16 # {SECRET}\ntoken: {SECRET}\n"
    data = redacted("config_maps", {"metadata": {"name": "kubeadm-config"}, "data": {"x.conf": text}}, by=by)[0]["data"]
    (line,) = data.values()
    assert line.startswith("podSubnet: 10.")
    assert "10.244.0.0" not in line
    assert SECRET not in line


def test_of_a_cnis_agent_what_it_is_remains() -> None:
    variables = [
        ("CALICO_IPV4POOL_VXLAN", "Always"),
        ("CALICO_IPV4POOL_CIDR", "10.77.0.0/16"),
        ("FELIX_X", SECRET),
        (SECRET, SECRET),
    ]
    spec = {
        "hostNetwork": True,
        "volumes": [{"hostPath": {"path": f"/srv/{SECRET}"}}],
        "containers": [
            {
                "name": SECRET,
                "image": f"{SECRET}.example/calico/node:v3.28.5",
                "command": [SECRET],
                "env": [{"name": n, "value": v} for n, v in variables],
            },
            {"name": "side", "image": f"{SECRET}.example/{SECRET}:1"},
        ],
    }
    agent = {"metadata": {"name": SECRET, "namespace": SECRET}, "spec": {"template": {"spec": spec}}}
    found = redacted("daemon_sets", agent)[0]
    assert SECRET not in json.dumps(found)
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "calico-node:v3.28.5"
    assert {"name": "CALICO_IPV4POOL_VXLAN", "value": "Always"} in container["env"]
    assert "10.77.0.0" not in json.dumps(found)
    one = node("n", "10.77.66.55")
    data = '{"VNI":1,"VtepMAC":"0a:58:0a:01:02:03","PublicKey":"' + "A" * 43 + '="}'
    one["metadata"]["annotations"] = {
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/backend-data": data,
        "flannel.alpha.coreos.com/public-ip": "10.77.66.55",
        "acme.example/x": SECRET,
    }
    redacted_node = redacted("nodes", one)[0]
    notes = redacted_node["metadata"]["annotations"]
    assert notes["flannel.alpha.coreos.com/backend-type"] == "vxlan"
    assert notes["flannel.alpha.coreos.com/public-ip"] == redacted_node["status"]["addresses"][0]["address"]
    for told in (SECRET, "10.77.66.55", "0a:58:0a:01:02:03", "A" * 43):
        assert told not in json.dumps(redacted_node)


def test_of_a_meshs_policies_nothing_remains_but_their_form() -> None:
    match = {"uri": {"prefix": f"/{SECRET}"}, "headers": {SECRET: {"exact": SECRET}}}
    fault = {"abort": {"httpStatus": 418, "percentage": {"value": 12.5}}}
    routes = [{"match": [match], "fault": fault, "route": [{"destination": {"host": SECRET, "subset": SECRET}}]}]
    virtual = {"metadata": {"name": SECRET, "namespace": SECRET}, "spec": {"hosts": [SECRET], "http": routes}}
    found = redacted("virtual_services", virtual)[0]
    assert SECRET not in json.dumps(found)
    assert found["spec"]["http"][0]["fault"]["abort"]["percentage"]["value"] == 12.5
    ports = {"8080": {"mode": "STRICT"}}
    policy = {"metadata": {"name": SECRET, "namespace": SECRET}, "spec": {"portLevelMtls": ports}}
    assert redacted("peer_authentications", policy)[0]["spec"]["portLevelMtls"] == ports
    around = {"metadata": {"name": SECRET, "managedFields": [
        {"time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {f"f:{SECRET}": {}}}}}]}}  # fmt: skip
    assert SECRET not in json.dumps(redacted("namespaces", around))
    container = {"name": SECRET, "image": SECRET, "args": [SECRET], "env": [{"name": SECRET, "value": SECRET}]}
    pod_object = {"metadata": {"name": SECRET, "namespace": SECRET, "annotations": {SECRET: SECRET}},
                  "spec": {"containers": [container], "serviceAccountName": SECRET}}  # fmt: skip
    assert SECRET not in json.dumps(redacted("pods", pod_object))


def test_two_recordings_do_not_share_pseudonyms_of_addresses() -> None:
    found = {redacted("nodes", node("n", "10.77.66.55"), by=Redactor())[0]["status"]["addresses"][0]["address"]
             for _ in range(8)}  # fmt: skip
    assert len(found) > 1


PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fd00::/8"))
)


@given(st.ip_addresses(v=4) | st.sampled_from(["10.1.2.3", "172.20.0.1", "192.168.9.9", "100.70.0.1", "fd12::1"]))
def test_private_addresses_stay_private_and_others_do_not_become_so(address: Any) -> None:
    before, after = (ipaddress.ip_address(a) for a in (str(address), Redactor(KEY).name(str(address))))
    for network in PRIVATE:
        assert (before in network) is (after in network)


@pytest.mark.parametrize(
    "kind", ["node-role.kubernetes.io/SECRET", "kubernetes.io/cluster/SECRET", "SECRET.k8s.io/team", "123456789012"]
)
def test_label_keys_and_long_numbers_do_not_remain(kind: str) -> None:
    key = kind.replace("SECRET", SECRET)
    found = json.dumps(redacted("pods", pod("p", labels={key: key})))
    assert key not in found
    assert SECRET not in found


def test_conditions_that_controllers_name_after_services_do_not_remain() -> None:
    one = pod("p")
    one["status"]["conditions"].append({"type": f"target-health.example/{SECRET}", "status": "True"})
    (found,) = redacted("pods", one)
    assert SECRET not in json.dumps(found)
    assert found["status"]["conditions"][0] == {"type": "Ready", "status": "True"}


addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@given(addresses, st.integers(0, 128), st.binary(min_size=16, max_size=16))
def test_equal_prefixes_stay_equal_and_others_stay_apart(address: Any, length: int, key: bytes) -> None:
    """Flip one bit: the redacted pair must share exactly the prefix that the originals share."""
    length %= address.max_prefixlen
    other = type(address)(int(address) ^ 1 << (address.max_prefixlen - 1 - length))
    by = Redactor(key)
    kept = [n for n in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8")
            if any(a.version == ipaddress.ip_network(n).version and a in ipaddress.ip_network(n)
                   for a in (address, other))]  # fmt: skip
    if kept:
        return
    first, second = (int(ipaddress.ip_address(by.name(str(a)))) for a in (address, other))
    assert (first ^ second).bit_length() == address.max_prefixlen - length


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "169.254.169.254", "fe80::1", "::", "::1"])
def test_addresses_that_are_nobodys_own_stay(address: str) -> None:
    assert Redactor(KEY).name(address) == address


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("-A X -m comment --comment acme-bank -j ACCEPT", "acme-bank"),
        ('-A X -m comment --comment "for acme bank" -j LOG --log-prefix "ACME: "', "ACME"),
        ("-A X -j LOG --log-prefix ACME-DROP", "ACME-DROP"),
        ("-A X -p tcp -j DNAT --to-destination 10.244.0.2:8080", "10.244.0.2"),
        ('{"chain": {"name": "endpoint-2QRHZV4L-shop/web/tcp/http__10.244.0.2/80"}}', "10.244.0.2"),
        ('{"chain": {"name": "endpoint-2QRHZV4L-shop/web/tcp/http__10.244.0.2/80"}}', "shop"),
        ("add bank 00:50:B6:AA:BB:CC", "AA:BB:CC"),
        ("bridge_id 8000.2:42:ac:11:0:2 designated", "42:ac:11"),
        ("3: enx0050b6aabbcc: <UP> mtu 1500", "b6aabb"),
        ("inet6 fe80::250:b6ff:feaa:bbcc/64 scope link", "250:b6ff"),
        ("ff02::1:ffaa:bbcc dev eth0 lladdr 33:33:ff:aa:bb:cc NOARP", "aa:bb:cc"),
        ("ff02::1:ffaa:bbcc dev eth0 NOARP", "aa:bbcc"),
        ('tcp LISTEN 0 5 [fd00:7::1]:80 *:* users:(("acme",pid=5,fd=3)) ino:5', "acme"),
        ("tcp LISTEN 0 5 [fd00:7::1]:80 *:* cgroup:/system.slice/acme.service", "acme"),
        ("tcp LISTEN 0 5 [fd00:7::1]:80 *:*", "fd00:7::1"),
        ("/proc/5/cgroup:9:cpu:/acme/kubepods/burstable/pod4c2a8522-05a9-4c42-b809-23afad646087/" + "a" * 64, "acme"),
        ("/proc/5/cgroup:9:cpu:/acme/docker-" + "a" * 64, "acme"),
    ],
)
def test_kernel_state_is_redacted(line: str, hidden: str) -> None:
    raw = f"@n begin 1\n@n section host links\n{line}\n\n@n end 0\nacme complains\nexit 0\n@n done\n@n finish\n"
    redacted = Redactor(b"k").reading(Reading("n1", Access.POD, "pod/acme/acme", raw.encode())).raw.decode()
    assert hidden not in redacted
    assert "acme" not in redacted
    assert "exit 0" in redacted
    assert redacted.endswith("@n done\n@n finish\n\n")


def test_a_hostile_stream_is_redacted_too() -> None:
    raw = b"@n begin 1\n@n section\n@n end\n@n name 5 acme\n@n quux acme\n@n section host\nacme\n"
    assert b"acme" not in Redactor(b"k").reading(Reading("n1", Access.POD, "pod/a/b", raw)).raw
