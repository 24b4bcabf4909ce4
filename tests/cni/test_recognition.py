"""Which CNI is recognised by its install manifest, alone, combined, renamed and mirrored; and what is none."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from msgspec import structs

from netinspect.analysis.cni import report
from netinspect.model.cni import CniReport, Standing, Subject
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, Section
from netinspect.model.finding import Severity
from tests import build
from tests.cni.cases import Json, cluster, manifests, of, said

# Of the corpus: what a case expects that its own objects contradict, with the reason.
CONTRADICTED = {
    ("calico:projectcalico/calico:calico-vxlan.yaml", "vxlan"):
        "expects Always; the manifest sets CALICO_IPV4POOL_VXLAN to CrossSubnet",
}  # fmt: skip
EXPECTED_MODE = {
    ("backend", "vxlan"): "vxlan", ("trafficEncapMode", "encap"): "encap", ("tunnelType", "geneve"): "geneve",
    ("trafficEncapMode", "networkPolicyOnly"): "policy only", ("routing-mode", "tunnel"): "tunnel",
    ("routing-mode", "native"): "native", ("tunnel-protocol", "vxlan"): "vxlan", ("ipam", "eni"): "ENI",
    ("kube-proxy-replacement", "true"): "kube-proxy replacement",
}  # fmt: skip
CNIS = {
    "flannel": "kube-flannel.yml", "calico": "calico-vxlan.yaml", "antrea": "antrea.yml", "kindnet": "privatekindnet",
    "kube-router": "kubeadm-kuberouter-all-features.yaml", "aws-vpc-cni": "aws-k8s-cni.yaml", "cilium": "privatecilium",
    "kopeio": "privatekopeio",
}  # fmt: skip


def at_work(*objects: Json, **more: Any) -> set[str]:
    return {c.name for c in said(*objects, **more).cnis if c.standing is Standing.ACTIVE}


def test_the_manifests_of_the_corpus() -> None:
    stale = set(CONTRADICTED)
    for name, case in manifests().items():
        found = said(*of(name))
        expected = case["expected"]
        (one,) = [c for c in found.cnis if c.name == expected["cni"]]
        assert {c.name for c in found.cnis if c.standing is Standing.ACTIVE} == {expected["cni"]}, name
        assert one.mode_source or one.name == "kopeio", name
        for key, value in expected.items():
            if (name, key) in CONTRADICTED:
                stale.discard((name, key))
                assert value not in one.mode
            elif (key, value) in EXPECTED_MODE:
                assert EXPECTED_MODE[key, value] in one.mode, name
            elif key == "policyOnly":
                assert (found.datapath, found.policy) == ("", expected["cni"]), name
            elif key == "serviceProxy":
                assert found.services == expected["cni"]
            elif key == "meta":
                assert (found.datapath, found.meta) == ("", expected["cni"])
            elif (key, value) == ("kube-proxy-replacement", "false"):
                assert found.services != expected["cni"]
            else:
                assert key in ("cni", "enable-ipv4", "enable-ipv6", "identity-allocation-mode", "ipam")
    assert not stale


@pytest.mark.parametrize("cni", CNIS)
def test_any_with_multus(cni: str) -> None:
    found = said(*of(CNIS[cni]), *of("multus-daemonset.yml"))
    assert (found.datapath, found.meta) == (cni, "multus")
    assert "called by Multus" in found.headline


def canal() -> list[Json]:
    """Make what manifests/canal.yaml of Calico does: one DaemonSet with the containers of both."""
    felix, *_ = (o for o in of("calico-vxlan.yaml") if o["kind"] == "DaemonSet")
    flanneld, *_ = (o for o in of("kube-flannel.yml") if o["kind"] == "DaemonSet")
    settings, *_ = (o for o in of("kube-flannel.yml") if o["kind"] == "ConfigMap")
    felix["metadata"]["name"] = "canal"
    spec = felix["spec"]["template"]["spec"]
    spec["containers"] += flanneld["spec"]["template"]["spec"]["containers"]
    settings["metadata"]["name"] = "canal-config"
    crds = [o for o in of("calico-vxlan.yaml") if o["kind"] == "CustomResourceDefinition"]
    return [felix, settings, *crds]


def test_canal_is_neither_of_the_two() -> None:
    found = said(*canal())
    assert (found.datapath, found.policy, found.headline) == ("canal", "canal", "Canal (vxlan)")


def test_policies_of_another() -> None:
    for policies, name in (("calico-policy-only.yaml", "calico"), ("antrea-eks.yml", "antrea"),
                           ("kube-router-firewall-daemonset.yaml", "kube-router")):  # fmt: skip
        found = said(*of("aws-k8s-cni.yaml"), *of(policies))
        assert (found.datapath, found.ipam, found.policy) == ("aws-vpc-cni", "aws-vpc-cni", name)
        assert found.headline.startswith("AWS VPC CNI (secondary addresses), policies by ")


def test_cilium_chained_behind_another() -> None:
    objects = of("privatecilium")
    settings = next(o for o in objects if o["metadata"]["name"] == "cilium-config")
    settings["data"] |= {"cni-chaining-mode": "aws-cni", "routing-mode": "native"}
    found = said(*of("aws-k8s-cni.yaml"), *objects)
    assert (found.datapath, found.policy) == ("aws-vpc-cni", "cilium")
    assert found.headline == "AWS VPC CNI (secondary addresses), policies by Cilium chained behind it"


def test_what_was_removed_is_a_leftover() -> None:
    crds = [o for o in of("calico-vxlan.yaml") if o["kind"] != "DaemonSet"]
    one = build.node("n1", "192.0.2.1", cidrs=("10.1.0.0/24",))
    one["metadata"]["annotations"] = {"projectcalico.org/IPv4Address": "192.0.2.1/24"}
    found = said(*of("kube-flannel.yml"), *crds, nodes=[one])
    assert (found.datapath, found.policy) == ("flannel", "")
    assert {c.name: c.standing for c in found.cnis}["calico"] is Standing.LEFTOVER
    assert [f.kind for f in found.findings if f.place == "node/n1" and f.kind == "leftover"]


def test_two_at_work_are_said() -> None:
    found = said(*of("kube-flannel.yml"), *of("calico-vxlan.yaml"))
    assert found.datapath == "calico, flannel"
    assert "several-cnis" in {f.kind for f in found.findings}


def test_flannel_inside_k3s_is_known_by_the_nodes() -> None:
    one = build.node("n1", "192.0.2.1", cidrs=("10.1.0.0/24",))
    one["metadata"]["annotations"] = {
        "flannel.alpha.coreos.com/backend-type": "vxlan", "flannel.alpha.coreos.com/public-ip": "192.0.2.1",
        "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}',
        "k3s.io/node-args": '["server"]'}  # fmt: skip
    one["status"]["nodeInfo"] = {"kubeletVersion": "v1.33.4+k3s1"}
    found = said(nodes=[one])
    assert (found.datapath, found.policy) == ("flannel", "kube-router")
    assert found.headline == "Flannel (vxlan), policies by kube-router built in"


def renamed(objects: list[Json], name: str, namespace: str, registry: str) -> list[Json]:
    """Install the same under other names, out of another registry."""
    for item in objects:
        if item["kind"] not in ("DaemonSet", "ConfigMap"):
            continue
        item["metadata"]["namespace"] = namespace
        if item["kind"] == "DaemonSet":
            item["metadata"] |= {"name": name, "labels": {"app": name, "app.kubernetes.io/instance": name}}
            template = item["spec"]["template"]
            template["metadata"] = {"labels": {"app": name}}
            for container in (*template["spec"]["containers"], *(template["spec"].get("initContainers") or ())):
                path = container["image"].partition("/")[2] or container["image"]
                container["image"] = f"{registry}/{path}"
    return objects


REGISTRIES = (
    "harbor.example/proxy", "registry.example:5000", "flannel.example/flannel", "mirror.example/flannel/x",
    "oci.example/rancher",
)  # fmt: skip
NAMES = (("net", "networking"), ("kube-flannel-ds", "kube-flannel"), ("flannel", "kube-system"))


@pytest.mark.parametrize("cni", CNIS)
def test_other_names_and_registries_change_nothing(cni: str) -> None:
    """Of all but Flannel these are 105 variations that bear its name; none of them is it."""
    for registry, (name, namespace) in itertools.product(REGISTRIES, NAMES):
        assert at_work(*renamed(of(CNIS[cni]), name, namespace, registry)) == {cni}, (registry, name)


LOOK_ALIKES = (
    "nginx", "flannel-exporter", "netshoot", "node", "calico-exporter", "cilium-envoy", "agent", "debug-flannel",
)  # fmt: skip


@pytest.mark.parametrize("image", LOOK_ALIKES)
def test_what_bears_a_name_and_is_no_cni(image: str) -> None:
    for name, host in itertools.product(("kube-flannel-ds", "calico-node", "cilium"), (True, False)):
        spec = {"hostNetwork": host, "containers": [{"name": "app", "image": f"example.com/apps/{image}:1.0"}]}
        template = {"metadata": {"labels": {"app": name, "k8s-app": name}}, "spec": spec}
        found = said(
            {
                "kind": "DaemonSet",
                "metadata": {"name": name, "namespace": "kube-system"},
                "spec": {"template": template},
            }
        )
        assert not found.cnis
        assert not found.datapath


@pytest.mark.parametrize(("ready", "told"), [(1, ["daemonset/net/proxies"]), (2, [])])
def test_a_daemonset_that_helps_is_watched_too(ready: int, told: list[str]) -> None:
    spec = {"hostNetwork": True, "containers": [{"name": "x", "image": "mirror.example/cilium/cilium-envoy:v1.34"}]}
    envoy = {
        "kind": "DaemonSet",
        "metadata": {"name": "proxies", "namespace": "net"},
        "spec": {"template": {"spec": spec}},
        "status": {"desiredNumberScheduled": 2, "numberReady": ready},
    }
    cilium = of("privatecilium")
    for one in cilium:
        one["status"] = {"desiredNumberScheduled": 2, "numberReady": 2}
    assert [f.place for f in said(*cilium, envoy).findings if f.kind == "agent"] == told


def test_a_shop_called_flannel_on_pod_addresses() -> None:
    spec = {"containers": [{"name": "kube-flannel", "image": "example.com/flannel:2", "command": ["/bin/flanneld"]}]}
    shop = {"kind": "DaemonSet", "metadata": {"name": "flannel"}, "spec": {"template": {"spec": spec}}}
    assert not said(shop).cnis


def test_policies_of_an_engine_beside_flannel() -> None:
    image = "registry.k8s.io/networking/kube-network-policies:v0.9"
    spec = {"hostNetwork": True, "containers": [{"name": "x", "image": image}]}
    engine = {
        "kind": "DaemonSet",
        "metadata": {"name": "x", "namespace": "kube-system"},
        "spec": {"template": {"spec": spec}},
    }
    policy = {"metadata": build.meta("deny"), "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    found = said(*of("kube-flannel.yml"), engine, network_policies=[policy])
    assert (found.policy, found.findings) == ("kube-network-policies", ())


def configured(*files: tuple[str, str]) -> CniReport:
    """Give what is said of Flannel on a node with these files of CNI configuration, by the plug-in that each calls."""
    sections = {
        f"cni:/etc/cni/net.d/{name}": Section(name, json.dumps({"type": plugin}), exit_code=0) for name, plugin in files
    }
    kernel = NodeEvidence("n1", Access.EXEC, "x", (NamespaceEvidence("host", sections),))
    return report(structs.replace(cluster(*of("kube-flannel.yml")), kernels=(kernel,)))


def test_files_of_cni_configuration_beside_its_own() -> None:
    own = ("10-flannel.conflist", "flannel")
    assert not configured(own, ("99-loopback.conf", "loopback")).findings
    assert [f.severity for f in configured(own, ("87-podman.conflist", "bridge")).findings] == [Severity.INFO]
    assert [f.severity for f in configured(("00-x.conf", "ptp"), own).findings] == [Severity.WARNING]


def test_policies_that_nobody_enforces() -> None:
    policy = {"metadata": build.meta("deny"), "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    kinds = {f.kind for f in said(*of("kube-flannel.yml"), network_policies=[policy]).findings}
    assert kinds == {"policies-not-enforced"}
    assert not said(*of("calico-vxlan.yaml"), network_policies=[policy]).findings


def busy(objects: list[Json], nodes: int) -> list[Json]:
    """Let the DaemonSets be meant for so many nodes, and be ready there."""
    for item in objects:
        if item["kind"] == "DaemonSet":
            item["status"] = {"desiredNumberScheduled": nodes, "numberReady": nodes}
    return objects


def test_an_agent_that_no_node_is_meant_to_run_is_put_aside() -> None:
    """EKS with Cilium keeps aws-node, with a selector that no node meets."""
    found = said(*busy(of("privateciliumadvanced"), 2), *busy(of("aws-k8s-cni.yaml"), 0))
    assert found.datapath == "cilium"
    assert not [f for f in found.findings if f.severity is not Severity.INFO]
    assert {c.name: c.standing for c in found.cnis}["aws-vpc-cni"] is Standing.LEFTOVER


def test_gke_whose_own_plugin_cilium_is_chained_to() -> None:
    objects = of("privatecilium")
    next(o for o in objects if o["metadata"]["name"] == "cilium-config")["data"]["cni-chaining-mode"] = "generic-veth"
    one = build.node("n1", "192.0.2.1", cidrs=("10.1.0.0/24",))
    one["metadata"]["labels"] = {"cloud.google.com/gke-dpv2-ready": "true"}
    found = said(*objects, nodes=[one])
    assert (found.datapath, found.policy) == ("gke", "cilium")


def test_kube_proxys_mode_stands_in_its_configuration_alone() -> None:
    """A ConfigMap that is only a kubeconfig, as EKS has it, tells no mode; one without an agent tells nothing."""
    spec = {"hostNetwork": True, "containers": [{"name": "kube-proxy", "image": "eks/kube-proxy:v1.33.0"}]}
    proxy = {"kind": "DaemonSet", "metadata": {"name": "kube-proxy"}, "spec": {"template": {"spec": spec}}}
    text = {"eks": "kind: Config", "kubeadm": "kind: KubeProxyConfiguration\nmode: ipvs"}
    maps = {k: [{"metadata": {"name": "kube-proxy"}, "data": {"c": v}}] for k, v in text.items()}
    facts = {k: [f.says for f in said(*of("kube-flannel.yml"), proxy, config_maps=m).facts] for k, m in maps.items()}
    assert "kube-proxy translates Services" in facts["eks"]
    assert "kube-proxy in ipvs mode translates Services" in facts["kubeadm"]
    assert said(*of("kube-flannel.yml"), config_maps=maps["kubeadm"]).services == ""


def test_nodes_that_run_no_agents() -> None:
    nodes = [build.node(f"n{i}", f"192.0.2.{i}", cidrs=(f"10.1.{i}.0/24",)) for i in (1, 2, 3)]
    nodes[0]["metadata"]["annotations"] = {
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/public-ip": "198.51.100.1",
    }
    nodes[1]["metadata"]["labels"] = {"type": "virtual-kubelet"}
    found = said(*of("kube-flannel.yml"), nodes=nodes)
    assert [(f.kind, f.place) for f in found.findings] == [("not-announced", "node/n3")]


def test_a_program_of_a_common_name_is_no_cni() -> None:
    for program in ("/opt/launch.sh", "/usr/bin/netd", "/start-ovs.sh"):
        spec = {"hostNetwork": True, "containers": [{"name": "a", "image": "example.com/a:1", "command": [program]}]}
        assert not said({"kind": "DaemonSet", "metadata": {"name": "a"}, "spec": {"template": {"spec": spec}}}).cnis


def pool(name: str, cidr: str, **more: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"cidr": cidr, "ipipMode": "Never", "vxlanMode": "Never", **more}}


def seen(routes: str) -> NodeEvidence:
    """Give a node n1 of which the routes were read."""
    texts = {"routes4": routes, "routes6": ""}
    sections = {name: Section(name, text, exit_code=0) for name, text in texts.items()}
    return NodeEvidence("n1", Access.EXEC, "x", (NamespaceEvidence("host", sections),))


def test_calicos_blocks_are_each_reached_as_their_pool_says() -> None:
    nodes = [build.node(f"n{i}", f"192.0.2.{i}", cidrs=(f"10.1.{i}.0/24",)) for i in (1, 2)]
    for number, one in enumerate(nodes, 1):
        one["metadata"]["annotations"] = {
            f"projectcalico.org/IPv{family}Address": f"{prefix}{number}"
            for family, prefix in ((4, "192.0.2."), (6, "2001:db8::"))
        }
    pools = [pool("a", "10.9.0.0/16", ipipMode="Always"), pool("b", "fd00:9::/48"),
             pool("c", "10.8.0.0/16", disabled=True)]  # fmt: skip
    claims = [{"metadata": {"name": f"x{i}"}, "spec": {"cidr": c, "node": "n2", "state": "confirmed"}}
              for i, c in enumerate(("10.9.0.0/26", "fd00:9::/122", "10.8.0.0/26"))]  # fmt: skip
    made = cluster(*of("calico-vxlan.yaml"), nodes=nodes, ip_pools=pools, block_affinities=claims)
    right, wrong = seen("10.9.0.0/26 via 192.0.2.2 dev tunl0 onlink\n"), seen("10.9.0.0/26 dev eth0\n")
    assert not report(structs.replace(made, kernels=(right,))).findings
    (finding,) = report(structs.replace(made, kernels=(wrong,))).findings
    assert (finding.kind, finding.peers) == ("route", ("node/n2",))


@pytest.mark.parametrize(
    ("pools", "mode", "encapsulations"),
    [
        ([pool("a", "10.9.0.0/16", vxlanMode="Always"), pool("b", "10.8.0.0/16", ipipMode="Always")],
         "VXLAN and IP in IP", 2),
        ([pool("a", "10.9.0.0/16", ipipMode="CrossSubnet"), pool("b", "fd00:9::/48")], "IP in IP between subnets", 2),
        ([pool("a", "10.9.0.0/16", vxlanMode="Always"), pool("b", "10.8.0.0/16", ipipMode="CrossSubnet")],
         "VXLAN and IP in IP between subnets", 2),
        ([pool("a", "10.9.0.0/16", vxlanMode="Always"), pool("b", "10.8.0.0/16", ipipMode="Always", disabled=True)],
         "VXLAN", 1),
        ([pool("a", "10.9.0.0/16")], "no encapsulation", 1),
    ],
    ids=["two kinds", "one of another family", "one between subnets", "one disabled", "none"],
)  # fmt: skip
def test_calicos_pools_may_be_of_several_kinds(pools: list[Json], mode: str, encapsulations: int) -> None:
    found = said(*of("calico-vxlan.yaml"), ip_pools=pools)
    calico = next(c for c in found.cnis if c.name == "calico")
    assert calico.mode == mode
    assert sum(f.subject is Subject.ENCAPSULATION for f in calico.facts) == encapsulations


def test_blocks_of_calicos_load_balancers_are_of_no_node() -> None:
    spec = {"cidr": "10.9.1.0/26", "affinity": "virtual:load-balancer", "allocations": [], "attributes": []}
    block = {"metadata": {"name": "b"}, "spec": spec}
    assert not said(*of("calico-vxlan.yaml"), ip_pools=[pool("a", "10.9.0.0/16")], ipam_blocks=[block]).findings
