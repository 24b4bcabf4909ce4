"""Other CNIs on labs of their own: Flannel without a tunnel, and Calico, whose Felix enforces policies for real."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.test_cni import Fault, kinds, looked_into, name_each, told
from tests.conftest import Netinspect, running
from tests.lab import process
from tests.lab.cluster import get, kubectl
from tests.lab.images import NETSHOOT
from tests.lab.settings import Backend, Cni, Proxy, Settings

_KEEP = "ip route save {block} >/run/kept; "
_KEPT = "ip route del {block}; ip route restore </run/kept"
_BEHIND = "bridge fdb append {mac} dev vxlan.calico dst {peer} self permanent"
_KNOWN = "ip neigh replace {vtep} lladdr {mac} dev vxlan.calico nud permanent"
HOST_GW = (
    Fault("route to a peer missing", _KEEP + "ip route del {block}", "ip route restore </run/kept", "route",
          says="it has no route to"),
    Fault("route to a peer via nobody", _KEEP + "ip route replace {block} via 172.30.0.77", _KEPT, "route",
          says="leads via 172.30.0.77"),
    Fault("ip_forward off", "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1", "setting"),
)  # fmt: skip
CALICO = (
    Fault("route to a block missing", _KEEP + "ip route del {block}", "ip route restore </run/kept", "route",
          says="it has no route to {block}"),
    Fault("route to a block past the tunnel", _KEEP + "ip route replace {block} via {peer}", _KEPT, "route",
          says="leads via {peer} dev eth0"),
    Fault("route to an own pod missing", "ip route save {pod} >/run/kept; ip route del {pod}",
          "ip route restore </run/kept", "pod-route", says="it has no route to {pod}/32",
          code="NI1603"),
    Fault("neighbour of the tunnel missing", "ip neigh del {vtep} dev vxlan.calico", _KNOWN, "neighbour"),
    Fault("forwarding entry missing", "bridge fdb del {mac} dev vxlan.calico self", _BEHIND, "forwarding-entry"),
    Fault("forwarding entry of a node that is gone",
          "bridge fdb del {mac} dev vxlan.calico self; bridge fdb append {mac} dev vxlan.calico dst 172.30.0.99 self",
          "bridge fdb del {mac} dev vxlan.calico self; " + _BEHIND, "forwarding-entry", says="172.30.0.99"),
    Fault("MTU of a pod too large", "ip link set {veth} mtu 1500", "ip link set {veth} mtu 1450", "mtu",
          says="1 interface of pods takes up to 1500 bytes, vxlan.calico takes 1450"),
    Fault("firewall on the port of VXLAN", "iptables -I INPUT -p udp --dport 4789 -j DROP",
          "iptables -D INPUT -p udp --dport 4789 -j DROP", "port-closed", says="UDP 4789"),
    Fault("other rules before Felix'", "iptables -I FORWARD -j KUBE-FORWARD", "iptables -D FORWARD -j KUBE-FORWARD",
          "policy-order", says="KUBE-FORWARD stands above cali-FORWARD", code="NI1704"),
    Fault("Felix' rules are not asked", "iptables-save -t filter >/run/kept; iptables -D FORWARD {jump}",
          "iptables-restore -T filter </run/kept", "policy-bypassed", says="does not lead to cali-FORWARD",
          code="NI1703"),
    Fault("the chain of a pod is gone", "iptables-save -t filter >/run/kept; iptables -F; iptables -X cali-tw-{veth}",
          "iptables-restore -T filter </run/kept", "policy-missing", says="it has no chain filter/cali-tw-{veth}",
          code="NI1702"),
    Fault("a block of a node that is gone", "kubectl apply -f {ghost}",
          "kubectl delete -f {ghost}", "leaked-block", place="node/ghost", says="is of node ghost"),
)  # fmt: skip
GHOST = {
    "apiVersion": "crd.projectcalico.org/v1", "kind": "IPAMBlock", "metadata": {"name": "10-244-99-0-26"},
    "spec": {"cidr": "10.244.99.0/26", "affinity": "host:ghost", "strictAffinity": False, "allocations": [],
             "unallocated": [], "attributes": []},
}  # fmt: skip
WALLED = """
apiVersion: v1
kind: Namespace
metadata: {name: walled}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: walled, labels: {app: server}}
spec:
  nodeName: n2
  terminationGracePeriodSeconds: 1
  containers:
  - {name: s, image: IMAGE, command: [/bin/sh, -c, "mkdir -p /www; echo here >/www/index.html; httpd -p 9090 -h /www; exec httpd -f -p 8080 -h /www"]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: walled, labels: {app: client}}
spec:
  nodeName: n1
  tolerations: [{operator: Exists}]
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [/bin/sh, -c, "while :; do sleep 3600; done"]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-8080, namespace: walled}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress:
  - {from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}
""".replace("IMAGE", NETSHOOT)  # noqa: E501 - YAML


@pytest.fixture(scope="module")
def host_gw() -> Iterator[Settings]:
    """Two nodes, Flannel with a route via each other node, no applications."""
    for lab in running(Settings(name="testgw", nodes=2, backend=Backend.HOST_GW, workloads=False)):
        with looked_into(lab):
            yield lab


@pytest.fixture(scope="module")
def calico() -> Iterator[Settings]:
    """Two nodes, Calico, and two pods of which the one is behind a policy."""
    for lab in running(Settings(name="testcalico", nodes=2, cni=Cni.CALICO, proxy=Proxy.IPTABLES, workloads=False)):
        kubectl(lab, "apply", "-f", "-", stdin=WALLED)
        kubectl(lab, "-n", "walled", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
        with looked_into(lab):
            yield lab


def address(lab: Settings, pod: str) -> str:
    return str(get(lab, "-n", "walled", f"pod/{pod}")["status"]["podIP"])


def test_flannel_without_a_tunnel(host_gw: Settings, netinspect: Netinspect) -> None:
    found = told(host_gw, netinspect)
    assert kinds(found) == set()
    assert found["headline"] == "Flannel (host-gw)"
    said = " ".join(f["says"] for f in found["facts"])
    assert "1500 of eth0 - 0 = 1500 bytes" in said
    well = netinspect("check", "--kubeconfig", host_gw.kubeconfig, "--access", "exec", "-o", "json")
    assert [f for f in well.json.get("findings", ()) if f["severity"] != "info"] == []
    nodes = {n["metadata"]["name"]: n for n in get(host_gw, "nodes")["items"]}
    name_each(host_gw, netinspect, HOST_GW, {"block": nodes["n2"]["spec"]["podCIDR"]})


def test_calico_is_known_and_healthy(calico: Settings, netinspect: Netinspect) -> None:
    found = told(calico, netinspect)
    assert kinds(found) == set()
    assert found["headline"] == "Calico (VXLAN)"
    assert (found["datapath"], found["ipam"], found["policy"]) == ("calico", "calico", "calico")
    assert found["compared"] >= 20
    assert found.get("broken", 0) == found.get("unseen", 0) == 0


def test_nothing_is_wrong_with_calico(calico: Settings, netinspect: Netinspect) -> None:
    done = netinspect("check", "--kubeconfig", calico.kubeconfig, "--access", "exec", "-o", "json")
    assert [(f["code"], f["place"], f["says"]) for f in done.json.get("findings", ()) if f["severity"] != "info"] == []
    assert done.code == 0


def test_faults_of_calico_are_named(calico: Settings, netinspect: Netinspect) -> None:
    blocks = get(calico, "blockaffinities.crd.projectcalico.org")["items"]
    nodes = {n["metadata"]["name"]: n for n in get(calico, "nodes")["items"]}
    links = json.loads(process.run("ip", "-n", calico.namespace("n2"), "-j", "link", "show", "vxlan.calico"))
    client = address(calico, "client")
    route = process.run("ip", "-n", calico.namespace("n1"), "route", "show", client)
    rules = process.run("ip", "netns", "exec", calico.namespace("n1"), "iptables", "-S", "FORWARD").splitlines()
    jump = next(rule for rule in rules if rule.endswith("-j cali-FORWARD"))
    ghost = calico.folder / "ghost.json"
    ghost.write_text(json.dumps(GHOST))
    known = {
        "block": next(b["spec"]["cidr"] for b in blocks if b["spec"]["node"] == "n2"),
        "peer": calico.node_addresses("n2")[0], "mac": links[0]["address"], "pod": client,
        "vtep": nodes["n2"]["metadata"]["annotations"]["projectcalico.org/IPv4VXLANTunnelAddr"],
        "veth": route.split()[2], "ghost": str(ghost), "jump": jump.partition("-A FORWARD ")[2],
    }  # fmt: skip
    name_each(calico, netinspect, CALICO, known)


@pytest.mark.parametrize(("port", "arrives"), [(8080, True), (9090, False)])
def test_felix_lets_through_what_the_trace_says(
    calico: Settings, netinspect: Netinspect, port: int, arrives: bool
) -> None:
    """A real connection is the judge; where there is none, the policy is named."""
    server = address(calico, "server")
    got = kubectl(
        calico, "-n", "walled", "exec", "client", "--", "sh", "-c",
        f"curl -s -m 3 http://{server}:{port}/ || echo nothing",
    )  # fmt: skip
    assert got.strip() == ("here" if arrives else "nothing")
    found = netinspect(
        "trace", "walled/client", f"walled/server:{port}", "--kubeconfig", calico.kubeconfig, "--access", "exec",
        "-o", "json",
    ).json  # fmt: skip
    assert found["arrival"] == ("arrives" if arrives else "lost")
    said = [h["text"] for leg in found["ways"][0]["legs"] for h in leg["hops"] if h["stage"] == "encapsulate"]
    assert any("(Calico, to node/n2)" in text for text in said)
    if not arrives:
        assert found["cause"]["reason"] == "no policy lets it in: NetworkPolicy walled/only-8080 selects the pod"
        assert found["cause"]["place"] == "node/n2"
