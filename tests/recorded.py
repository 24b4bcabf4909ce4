"""Recorded clusters as snapshots, in the sections that the collector would have read there (corpora: lab-*.tar.gz)."""

from __future__ import annotations

import json
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from msgspec import structs

from netinspect.kernel.namespace import Namespace
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, PodReference, Section
from netinspect.model.resources import CNI_SETTINGS
from netinspect.model.snapshot import Snapshot
from tests import build, corpora

CALICO_FILES = {
    "links": "ip-addr.json", "routes4": "ip4-route.json", "routes6": "ip6-route.json", "neighbours": "ip-neigh.json",
    "fdb": "bridge-fdb.json", "iptables-nft": "iptables-save.txt", "iptables-legacy": "iptables-legacy-save.txt",
    "ip6tables-nft": "ip6tables-save.txt", "nftables": "nft.json", "ipset": "ipset-save.txt", "sockets": "ss-all.txt",
    "sysctl": "sysctl-net.txt", "conntrack": "conntrack.txt",
}  # fmt: skip
CILIUM_FILES = {
    "links": "ip-addr.json", "routes4": "ip-route.json", "neighbours": "ip-neigh.json", "fdb": "bridge-fdb.json",
    "iptables-nft": "iptables-save.txt", "nftables": "nft-ruleset.json", "sockets": "ss.txt", "sysctl": "sysctl.txt",
    "conntrack": "conntrack.txt",
}  # fmt: skip
CILIUM_MAPS = {
    "cilium:status": "status.json", "cilium:config": "config--a.json", "cilium:endpoints": "endpoint-list.json",
    "cilium:bpf-ipcache": "bpf-ipcache-list.json", "cilium:bpf-lb": "bpf-lb-list.json",
    "cilium:bpf-endpoint": "bpf-endpoint-list.json", "cilium:bpf-policy": "bpf-policy-get-all.json",
}  # fmt: skip
MESH_FILES = {
    "links": "ip-addr.json", "routes4": "ip-route4.json", "routes6": "ip-route6.json", "neighbours": "ip-neigh.json",
    "iptables-nft": "iptables-save.txt", "iptables-legacy": "iptables-legacy-save.txt",
    "ip6tables-nft": "ip6tables-save.txt", "ip6tables-legacy": "ip6tables-legacy-save.txt", "nftables": "nft.json",
    "sockets": "ss-lntup.txt", "sysctl": "sysctl.txt", "conntrack": "conntrack.txt",
}  # fmt: skip
# Not recorded, and empty there: those kernels have no IPVS, nothing made nexthop objects or proxied neighbours.
EMPTY = (
    "nexthops", "proxied", "qdiscs", "ipvs", "conntrack6", "ip6tables-legacy", "ip6tables-nft", "iptables-legacy",
    "rules6", "routes6", "ipset",
)  # fmt: skip
RULES = "0: from all lookup local\n32766: from all lookup main\n32767: from all lookup default\n"
_CALICO_KINDS = {
    "nodes": "nodes", "pods": "pods", "daemon_sets": "daemonsets", "network_policies": "networkpolicies",
    "services": "svc", "endpoint_slices": "endpointslices", "ip_pools": "ippools.crd.projectcalico.org",
    "block_affinities": "blockaffinities.crd.projectcalico.org", "ipam_blocks": "ipamblocks.crd.projectcalico.org",
    "felix_configurations": "felixconfigurations.crd.projectcalico.org",
}  # fmt: skip
_CILIUM_KINDS = {
    "nodes": "nodes", "pods": "pods", "daemon_sets": "daemonsets", "network_policies": "networkpolicies",
    "services": "svc", "endpoint_slices": "endpointslices", "cilium_nodes": "ciliumnodes",
    "custom_resource_definitions": "crds",
}  # fmt: skip
_MESH_KINDS = {
    "nodes": "nodes", "pods": "pods", "namespaces": "namespaces", "services": "services", "daemon_sets": "daemonsets",
    "endpoint_slices": "endpointslices", "mutating_webhooks": "mutatingwebhookconfigurations",
}  # fmt: skip
# What ss shows of sockets that wait for nobody in particular.
_WAITING = frozenset({"LISTEN", "UNCONN"})


@cache
def files(name: str) -> dict[str, str]:
    """Give the files of ``lab-NAME.tar.gz`` by their paths in it."""
    found = corpora.recorded(corpora.folder() / f"lab-{name}.tar.gz")
    return {posixpath.relpath(path, f"lab-{name}"): text for path, text in found.items()}


def section(name: str, text: str) -> Section:
    return Section(name, text, exit_code=0)


def namespace(found: Mapping[str, str], folder: str, layout: Mapping[str, str]) -> Namespace:
    """Give a network namespace; ``layout`` says in which file what the collector calls a section is."""
    sections = {name: section(name, "") for name in EMPTY}
    sections |= {name: section(name, found.get(f"{folder}/{file}", "")) for name, file in layout.items()}
    details = {k["ifname"]: k for k in json.loads(found[f"{folder}/ip-link.json"])}
    addresses = json.loads(found[f"{folder}/ip-addr.json"])
    sections["links"] = section("links", json.dumps([{**details.get(k["ifname"], {}), **k} for k in addresses if k]))
    sections["rules4"] = section("rules4", RULES)
    assert [r["table"] for r in json.loads(found[f"{folder}/ip-rule.json"])] == ["local", "main", "default"]
    lines = sections["sockets"].text.splitlines(keepends=True)
    waiting = (line for line in lines if not _WAITING.isdisjoint(line.split()[:2]))
    sections["sockets"] = section("sockets", "".join(waiting))
    return Namespace(NamespaceEvidence(folder, sections))


def _listed(found: Mapping[str, str], folder: str, kinds: Mapping[str, str], settings: list[Any]) -> Snapshot:
    lists: Any = {k: json.loads(found[f"{folder}/{v}.json"])["items"] for k, v in kinds.items()}
    return build.snapshot(**lists, cni_settings=settings)


@cache
def calico(situation: str) -> Snapshot:
    """Give a situation of lab-calico."""
    found = files("calico")
    settings = json.loads(found[f"{situation}/api/configmaps.json"])["items"]
    settings = [c for c in settings if c["metadata"]["name"] in CNI_SETTINGS.objects]
    snapshot = _listed(found, f"{situation}/api", _CALICO_KINDS, settings)
    kernels = []
    for node in ("c1", "c2"):
        host = structs.replace(namespace(found, f"{situation}/{node}/host", CALICO_FILES).evidence, id="host")
        pods = _pods(found, f"{situation}/{node}/pods", "_", CALICO_FILES)
        kernels.append(NodeEvidence(node, Access.EXEC, "recorded", (host, *pods)))
    return structs.replace(snapshot, kernels=tuple(kernels))


@cache
def cilium(step: str) -> Snapshot:
    """Give a step of lab-cilium."""
    found = files("cilium")
    snapshot = _listed(
        found, f"{step}/kubectl", _CILIUM_KINDS, [json.loads(found[f"{step}/kubectl/cm-cilium-config.json"])]
    )
    kernels = []
    for node in ("k1", "k2"):
        folder = f"{step}/{node}"
        host = namespace(found, f"{folder}/host", CILIUM_FILES).evidence
        maps = {name: section(name, found[f"{folder}/cilium-dbg/{file}"]) for name, file in CILIUM_MAPS.items()}
        conflist = section("cni:/etc/cni/net.d/05-cilium.conflist", found[f"{folder}/05-cilium.conflist"])
        sections = {**host.sections, **maps, conflist.name: conflist}
        pods = _pods(found, f"{folder}/pods", ".", CILIUM_FILES)
        kernels.append(
            NodeEvidence(node, Access.EXEC, "recorded", (structs.replace(host, id="host", sections=sections), *pods))
        )
    return structs.replace(snapshot, kernels=tuple(kernels))


@cache
def mesh(name: str, situation: str) -> Snapshot:
    """Give a situation of lab-istio, lab-linkerd or lab-consul, with the namespaces of the pods that were recorded."""
    found = files(name)
    snapshot = _listed(found, f"{situation}/kube", _MESH_KINDS, [])
    places = {(p.metadata.namespace, p.metadata.name): p.spec.node_name for p in snapshot.pods}
    on_node: dict[str, list[NamespaceEvidence]] = defaultdict(list)
    layout = {**MESH_FILES, "sysctl": "sysctl.txt" if name == "istio" else "sysctl-net.txt"}
    objects = json.loads(found[f"{situation}/kube/nodes.json"])["items"]
    for node in snapshot.nodes:
        folder = f"{situation}/nodes/{node.metadata.name}"
        if f"{folder}/ip-addr.json" in found:
            host = namespace(found, folder, layout).evidence
            fdb = section("fdb", json.dumps(_flannel(objects, node.metadata.name)))
            sections = {**host.sections, "fdb": fdb, "sysctl": _settings(host)}
            host = structs.replace(host, id="host", sections=sections)
            on_node[node.metadata.name].append(host)
    for path in sorted(found):
        if path.startswith(f"{situation}/pods/") and path.endswith("/ip-addr.json"):
            where, pod = path.split("/")[2:4]
            evidence = namespace(found, path.rpartition("/")[0], layout).evidence
            evidence = structs.replace(evidence, sections={"fdb": section("fdb", "[]"), **evidence.sections})
            evidence = structs.replace(evidence, id=pod, pods=(PodReference("", where, pod),))
            on_node[places[where, pod]].append(evidence)
    kernels = tuple(NodeEvidence(n, Access.EXEC, "recorded", tuple(spaces)) for n, spaces in on_node.items())
    return structs.replace(snapshot, kernels=kernels)


def _settings(host: NamespaceEvidence) -> Section:
    """Give the settings with those that were not recorded of lab-istio.

    The kernel sets devices' own with ip_forward; of bridges the later recordings of the same nodes tell.
    """
    text = host.sections["sysctl"].text
    names = [k["ifname"].replace(".", "/") for k in json.loads(host.sections["links"].text)]
    if "net.ipv4.ip_forward = 1" in text and ".eth0.forwarding" not in text:
        text += "".join(f"net.ipv4.conf.{name}.forwarding = 1\n" for name in names)
        text += "net.bridge.bridge-nf-call-iptables = 1\n"
    return section("sysctl", text)


def _flannel(nodes: list[Any], own: str) -> list[Any]:
    """Give the entries of a tunnel's device, which were not recorded: flanneld writes them by what nodes announce."""
    noted = "flannel.alpha.coreos.com/"
    others = [n["metadata"]["annotations"] for n in nodes if n["metadata"]["name"] != own]
    return [
        {"mac": json.loads(a[f"{noted}backend-data"])["VtepMAC"], "ifname": "flannel.1", "dst": a[f"{noted}public-ip"],
         "flags": ["self"], "state": "permanent"} for a in others
    ]  # fmt: skip


def _pods(
    found: Mapping[str, str], folder: str, between: str, layout: Mapping[str, str]
) -> Iterator[NamespaceEvidence]:
    names = {path.removeprefix(f"{folder}/").partition("/")[0] for path in found if path.startswith(f"{folder}/")}
    for name in sorted(names):
        where, _, pod = name.partition(between)
        evidence = namespace(found, f"{folder}/{name}", layout).evidence
        yield structs.replace(evidence, id=name, pods=(PodReference("", where, pod),))
