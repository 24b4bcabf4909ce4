"""The host network: nodes, their addresses, and the ports that pods claim on them."""

from __future__ import annotations

from collections import defaultdict

from netinspect.analysis.backends import finished
from netinspect.analysis.inside import Inside
from netinspect.analysis.interfaces import of_node
from netinspect.analysis.pods import full_name, readiness
from netinspect.analysis.selection import Selected
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import (
    HostNetwork,
    HostPod,
    HostPort,
    HostPortClash,
    NodeEntry,
    Truth,
    TypedAddress,
    several,
)

_ROLE = "node-role.kubernetes.io/"


def host_network(snapshot: Snapshot, selected: Selected, inside: Inside) -> HostNetwork:
    """Lay out the nodes; where they may not be listed, what the pods on them tell of them."""
    if snapshot.unseen("nodes") and snapshot.unseen("pods"):
        return HostNetwork(nodes=None)
    shown = None if snapshot.unseen("pods") else {full_name(p.metadata) for p in selected.pods}
    on_node: dict[str, list[wire.Pod]] = defaultdict(list)
    for pod in snapshot.pods:
        if pod.spec.node_name and not finished(pod):
            on_node[pod.spec.node_name].append(pod)
    if snapshot.gap("nodes"):
        entries = [_from_pods(name, pods, shown, inside) for name, pods in on_node.items()]
    else:
        entries = [_entry(node, on_node.get(node.metadata.name, []), shown, inside) for node in snapshot.nodes]
    return HostNetwork(nodes=several(sorted((e for e in entries if selected.node(e.name)), key=lambda e: e.name)))


def _entry(node: wire.Node, pods: list[wire.Pod], shown: set[str] | None, inside: Inside) -> NodeEntry:
    labels = node.metadata.labels
    return NodeEntry(
        name=node.metadata.name,
        ready=readiness(node.status.conditions),
        addresses=several(TypedAddress(type=a.type, address=a.address) for a in node.status.addresses),
        roles=several(sorted(k.removeprefix(_ROLE) for k in labels if k.startswith(_ROLE) and k != _ROLE)),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        region=labels.get("topology.kubernetes.io/region", ""),
        pod_cidrs=node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr else ()),
        kubelet_version=node.status.node_info.kubelet_version,
        operating_system=node.status.node_info.operating_system,
        pods=_host_pods(pods, shown),
        clashes=_clashes(pods),
        interfaces=of_node(node.metadata.name, inside),
    )


def _from_pods(name: str, pods: list[wire.Pod], shown: set[str] | None, inside: Inside) -> NodeEntry:
    found = {a.ip for p in pods for a in (*p.status.host_ips, wire.PodIP(p.status.host_ip)) if a.ip}
    return NodeEntry(
        name=name,
        ready=Truth.UNKNOWN,
        known_from="pods",
        addresses=several(TypedAddress(type="HostIP", address=a) for a in sorted(found)),
        pods=_host_pods(pods, shown),
        clashes=_clashes(pods),
        interfaces=of_node(name, inside),
    )


def _host_pods(pods: list[wire.Pod], shown: set[str] | None) -> tuple[HostPod, ...] | None:
    if shown is None:
        return None
    entries = [
        HostPod(
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            host_network=pod.spec.host_network,
            phase=pod.status.phase,
            ports=ports,
        )
        for pod in pods
        if full_name(pod.metadata) in shown and ((ports := _ports(pod)) or pod.spec.host_network)
    ]
    return several(sorted(entries, key=lambda e: (e.namespace, e.name)))


def _ports(pod: wire.Pod) -> tuple[HostPort, ...]:
    """List the ports of the node that a pod's containers declare; a host-network pod's every port is one."""
    containers = (*pod.spec.containers, *(c for c in pod.spec.init_containers if c.restart_policy == "Always"))
    return several(
        HostPort(
            port=p.host_port or p.container_port,
            protocol=p.protocol,
            container=c.name,
            via="hostNetwork" if pod.spec.host_network else "hostPort",
            host_ip=p.host_ip,
            container_port=p.container_port,
            name=p.name,
        )
        for c in containers
        for p in c.ports
        if p.host_port or pod.spec.host_network
    )


def _clashes(pods: list[wire.Pod]) -> tuple[HostPortClash, ...]:
    """Find ports that several pods claim on one address of the node; unset and 0.0.0.0 mean every address."""
    claims: dict[tuple[int, str], list[tuple[str, str]]] = defaultdict(list)
    for pod in pods:
        for p in _ports(pod):
            claims[p.port, p.protocol].append((p.host_ip, full_name(pod.metadata)))
    found = []
    for (port, protocol), claimants in sorted(claims.items()):
        names = sorted(
            {
                name
                for i, (ip, name) in enumerate(claimants)
                for j, (other_ip, other) in enumerate(claimants)
                if i != j and name != other and _meet(ip, other_ip)
            }
        )
        if names:
            found.append(HostPortClash(port=port, protocol=protocol, pods=several(names)))
    return several(found)


def _meet(first: str, second: str) -> bool:
    everywhere = ("", "0.0.0.0", "::")  # noqa: S104 - addresses that a pod claims, not ours
    return first in everywhere or second in everywhere or first == second
