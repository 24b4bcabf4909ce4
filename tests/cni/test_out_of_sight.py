"""What a cluster shows where agents are hidden, gone, embedded, or only partly there; and less common settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import structs

from netinspect.analysis.cni import report
from netinspect.model.cni import CniReport, Standing, Subject
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, Section
from tests import build
from tests.cni.cases import Json, cluster, of, said

K3S = "v1.33.1+k3s1"
POLICY = {"metadata": build.meta("deny"), "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}


def node(name: str = "n1", *, labels: Json | None = None, notes: Json | None = None, kubelet: str = "v1.33.1",
         cidrs: tuple[str, ...] = ("10.1.1.0/24",)) -> Json:  # fmt: skip
    found = build.node(name, "192.0.2.1", cidrs=cidrs)
    found["metadata"] |= {"labels": labels or {}, "annotations": notes or {}}
    found["status"]["nodeInfo"] = {"kubeletVersion": kubelet}
    return found


def read(*objects: Json, files: Json | None = None, chains: str = "", nodes: list[Json] | None = None,
         **lists: Any) -> CniReport:  # fmt: skip
    sections = {
        f"cni:/etc/cni/net.d/{n}": json.dumps({"type": t} if isinstance(t, str) else t)
        for n, t in (files or {}).items()
    }
    sections |= {"hostname": "n1", "iptables-nft": chains}
    found = {name: Section(name, text, exit_code=0) for name, text in sections.items()}
    kernel = NodeEvidence("n1", Access.EXEC, "x", (NamespaceEvidence("host", found),))
    return report(structs.replace(cluster(*objects, nodes=nodes or [node()], **lists), kernels=(kernel,)))


def daemon_set(name: str, image: str, *, variables: Json | None = None, args: tuple[str, ...] = ()) -> Json:
    told = [{"name": k, "value": v} for k, v in (variables or {}).items()]
    container = {"name": name, "image": image, "env": told, "args": list(args)}
    return {"kind": "DaemonSet", "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"template": {"spec": {"hostNetwork": True, "containers": [container]}}}}  # fmt: skip


def settings(name: str, key: str, text: str) -> Json:
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}, "data": {key: text}}


def facts(found: CniReport, subject: Subject) -> str:
    every = (*found.facts, *(f for c in found.cnis for f in c.facts))
    return "; ".join(f.says for f in every if f.subject is subject)


def ports(found: CniReport) -> set[tuple[str, int]]:
    return {(p.protocol, p.number) for c in found.cnis for p in c.ports}


def test_kube_proxy_may_be_a_part_of_k3s_or_a_static_pod() -> None:
    static = build.pod("kube-proxy-n1", "192.0.2.1", hostNetwork=True, containers=[{"name": "kube-proxy"}])
    static["metadata"] |= {"namespace": "kube-system", "ownerReferences": [{"kind": "Node", "name": "n1"}]}
    off = node(kubelet=K3S, notes={"k3s.io/node-args": '["server","--disable-kube-proxy"]'})
    assert said(*of("kube-flannel.yml"), nodes=[node(kubelet=K3S)]).services == "kube-proxy"
    assert said(*of("kube-flannel.yml"), nodes=[off]).services == ""
    assert said(*of("kube-flannel.yml"), nodes=[node()], pods=[static]).services == "kube-proxy"
    static["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet"
    assert said(*of("kube-flannel.yml"), nodes=[node()], pods=[static]).services == ""


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({"cloud.google.com/gke-dpv2-ready": "true"}, "gke"),
        ({"kubernetes.azure.com/podnetwork-type": "overlay", "kubernetes.azure.com/ebpf-dataplane": "cilium"},
         "azure-cni"),
    ],
)  # fmt: skip
def test_a_hidden_cilium_carries_and_enforces(labels: Json, name: str) -> None:
    hidden = said(nodes=[node(labels=labels)], network_policies=[POLICY])
    assert (hidden.datapath, hidden.policy, hidden.findings) == (name, name, ())
    shown = said(*of("privatecilium"), nodes=[node(labels=labels)])
    assert (shown.datapath, shown.policy) == ("cilium", "cilium")


@pytest.mark.parametrize(
    ("file", "plugin", "name"),
    [("10-kindnet.conflist", "ptp", "kindnet"), ("10-kuberouter.conflist", "bridge", "kube-router"),
     ("10-gke-ptp.conflist", "ptp", "gke"), ("10-canal.conflist", "calico", "canal"),
     ("10-calico.conflist", "calico", "calico"), ("10-own.conflist", "ptp", "reference")],
)  # fmt: skip
def test_a_file_tells_whose_a_common_plug_in_is(file: str, plugin: str, name: str) -> None:
    found = read(files={file: plugin})
    assert found.datapath == name
    assert {c.name for c in found.cnis if c.standing is Standing.ACTIVE} == {name}


@pytest.mark.parametrize(
    ("plugin", "chain", "says"),
    [({"type": "bridge", "ipMasq": True}, "IP-MASQ-AGENT", "(CNI-…)"), ({"type": "bridge"}, "IP-MASQ-AGENT", "by ip-"),
     ({"type": "bridge"}, "OTHER", "not by it")],
)  # fmt: skip
def test_who_masquerades_beside_the_bridge_plug_in(plugin: Json, chain: str, says: str) -> None:
    found = read(files={"10-own.conflist": plugin}, chains=f"*nat\n:{chain} - [0:0]\nCOMMIT\n")
    assert says in facts(found, Subject.MASQUERADE)


def test_where_nobody_could_look_nothing_is_said_of_policies() -> None:
    flannel = {"flannel.alpha.coreos.com/backend-type": "vxlan"}
    for gaps, kinds in ((("daemon_sets",), set[str]()), ((), {"policies-not-enforced"})):
        found = said(nodes=[node(notes=flannel)], network_policies=[POLICY], gaps=gaps)
        assert {f.kind for f in found.findings} == kinds
        assert ("nobody enforces" in facts(found, Subject.POLICIES)) is bool(kinds)


def test_rules_alone_are_what_a_policy_engine_left() -> None:
    chains = "*filter\n:KUBE-ROUTER-FORWARD - [0:0]\nCOMMIT\n"
    found = read(*of("kube-flannel.yml"), chains=chains, network_policies=[POLICY])
    assert found.policy == ""
    assert {"policies-not-enforced", "leftover"} <= {f.kind for f in found.findings}
    embedded = read(*of("kube-flannel.yml"), chains=chains, nodes=[node(kubelet=K3S)])
    assert embedded.policy == "kube-router"


def test_who_is_configured_and_does_not_run_enforces_nothing() -> None:
    found = read(*of("kube-flannel.yml"), files={"05-calico.conflist": "calico"}, network_policies=[POLICY])
    assert (found.policy, "policies-not-enforced" in {f.kind for f in found.findings}) == ("", True)


def test_weave_enforces_by_a_container_of_its_own() -> None:
    weave = daemon_set("weave-net", "weaveworks/weave-kube:2.8.1")
    assert said(weave).policy == ""
    weave["spec"]["template"]["spec"]["containers"].append({"name": "weave-npc", "image": "weaveworks/weave-npc:2.8.1"})
    assert said(weave).policy == "weave"


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({"FELIX_TYPHAK8SSERVICENAME": "calico-typha"}, ("TCP", 5473)),
        ({"FELIX_BPFENABLED": "true", "CALICO_IPV4POOL_VXLAN": "Never", "CALICO_IPV4POOL_IPIP": "Never"},
         ("UDP", 4789)),
        ({"FELIX_WIREGUARDENABLEDV6": "true"}, ("UDP", 51821)),
    ],
)  # fmt: skip
def test_calicos_ports(variables: Json, port: tuple[str, int]) -> None:
    plain = said(daemon_set("calico-node", "calico/node:v3.30.0", variables={"CALICO_NETWORKING_BACKEND": "bird"}))
    found = said(daemon_set("calico-node", "calico/node:v3.30.0", variables={"CALICO_NETWORKING_BACKEND": "bird",
                                                                          **variables}))  # fmt: skip
    assert port not in ports(plain)
    assert port in ports(found)


def test_antrea_and_kube_router_by_their_settings() -> None:
    agent = daemon_set("antrea-agent", "antrea/antrea-agent-ubuntu:v2.4.0")
    sealed = settings("antrea-config", "antrea-agent.conf", "trafficEncryptionMode: wireGuard\nhostGateway: gw9\n")
    found = said(agent, sealed)
    assert ("UDP", 51820) in ports(found)
    assert ("UDP", 6081) not in ports(found)
    assert "AntreaProxy" in facts(found, Subject.SERVICES)
    assert "nobody" not in facts(found, Subject.SERVICES)
    router = daemon_set("kube-router", "cloudnativelabs/kube-router:v2.5.0", args=("--overlay-encap=fou",))
    assert ports(said(router)) == {("TCP", 179), ("UDP", 5555)}


def test_over_ipv6_a_tunnel_takes_more() -> None:
    flannel = {"flannel.alpha.coreos.com/backend-type": "vxlan"}
    six = node(notes=flannel, cidrs=("fd00:1::/64",))
    assert "flannel-v6.1; 70 bytes" in facts(said(*of("kube-flannel.yml"), nodes=[six]), Subject.ENCAPSULATION)
    assert "flannel.1; 50 bytes" in facts(said(*of("kube-flannel.yml"), nodes=[node(notes=flannel)]),
                                          Subject.ENCAPSULATION)  # fmt: skip


@pytest.mark.parametrize(("kubelet", "inside"), [(K3S, True), ("v1.33.1+rke2r1", False), ("v1.33.1", False)])
def test_only_k3s_has_flannel_inside(kubelet: str, inside: bool) -> None:
    noted = node(notes={"flannel.alpha.coreos.com/backend-type": "vxlan"}, kubelet=kubelet)
    assert ("it runs inside k3s" in facts(said(nodes=[noted]), Subject.HEALTH)) is inside


@pytest.mark.parametrize(
    "told",
    [
        {"clusterNetwork": "/host/etc/cni/net.d/10-own.conflist"},
        {"clusterNetwork": "own"},
        {"delegates": [{"name": "own", "plugins": [{"type": "bridge", "bridge": "br-own"}, {"type": "portmap"}]}]},
        {"delegates": [{"type": "bridge", "bridge": "br-own"}, {"type": "kube-ovn"}]},
    ],
)
def test_whom_multus_calls_first_carries_the_pods(told: Json) -> None:
    own = {"name": "own", "plugins": [{"type": "bridge", "bridge": "br-own"}, {"type": "portmap"}]}
    found = read(files={"00-multus.conf": {"type": "multus-shim", **told}, "10-own.conflist": own})
    assert found.datapath == "reference"
    assert "br-own" in facts(found, Subject.ATTACHMENT)
    assert {c.name for c in found.cnis if c.standing is Standing.ACTIVE} == {"multus", "reference"}


@pytest.mark.parametrize(
    ("file", "plugin", "name"),
    [("10-canal.conflist", "calico", "canal"), ("10-kindnet.conflist", "ptp", "kindnet"),
     ("10-calico.conflist", "calico", "calico")],
)  # fmt: skip
@pytest.mark.parametrize("way", ["a path", "a copy"])
def test_multus_calls_out_of_a_file_that_is_somebodys(file: str, plugin: str, name: str, way: str) -> None:
    whole = {"name": "k8s-pod-network", "plugins": [{"type": plugin}]}
    told = {"clusterNetwork": f"/etc/cni/net.d/{file}"} if way == "a path" else {"delegates": [whole]}
    found = read(files={"00-multus.conf": {"name": "multus", "type": "multus", **told}, file: whole})
    assert found.datapath == name
    assert {c.name for c in found.cnis if c.standing is Standing.ACTIVE} == {"multus", name}


def test_the_parts_of_a_canal_that_is_known_by_its_file_are_no_leftovers() -> None:
    noted = node(notes={"flannel.alpha.coreos.com/backend-type": "vxlan"})
    chains = "*filter\n:cali-FORWARD - [0:0]\nCOMMIT\n"
    found = read(files={"10-canal.conflist": "calico"}, chains=chains, nodes=[noted], gaps=("daemon_sets",))
    assert (found.datapath, [c.name for c in found.cnis]) == ("canal", ["canal"])
    assert "leftover" not in {f.kind for f in found.findings}


@pytest.mark.parametrize("told", [{"delegates": "all"}, {"delegates": ["x", 1]}, {"clusterNetwork": 7},
                                  {"clusterNetwork": "10-own"}, {}])  # fmt: skip
def test_multus_that_names_nobody(told: Json) -> None:
    found = read(files={"00-multus.conf": {"type": "multus", **told}, "10-own.conflist": "bridge"})
    assert found.datapath == ""
