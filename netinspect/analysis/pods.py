"""The cluster network: pods, their addresses, and the ranges of the nodes that handed them out."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice

from netinspect.analysis.backends import finished
from netinspect.analysis.ranges import Address, Network, Taken, capacity, node_ranges, parse_address, pod_ranges
from netinspect.analysis.selection import Selected
from netinspect.mesh.glance import sidecar
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import ClusterNetwork, NodePodNetwork, PodAddress, PodEntry, Truth, several

# So many addresses tell what a CNI does; there may be 150,000.
_ENOUGH = 2_000


def addresses(pod: wire.Pod) -> tuple[str, ...]:
    """Give a pod's addresses as its status has them, each family once."""
    listed = tuple([a.ip for a in pod.status.pod_ips if a.ip])
    return listed or ((pod.status.pod_ip,) if pod.status.pod_ip else ())


def full_name(meta: wire.Metadata) -> str:
    """Write ``namespace/name``."""
    return f"{meta.namespace}/{meta.name}"


def holders(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Map each address on the pod network to the live pods that claim it; more than one is a conflict."""
    found: dict[str, list[str]] = defaultdict(list)
    for pod in snapshot.pods:
        if not pod.spec.host_network and not finished(pod):
            for address in addresses(pod):
                found[address].append(full_name(pod.metadata))
    return {address: several(sorted(names)) for address, names in found.items()}


def node_ranges_used(snapshot: Snapshot, ranges: dict[str, tuple[Network, ...]]) -> bool | None:
    """Say whether pods take their addresses out of their nodes' pod CIDRs; None where no pod tells.

    The control plane may hand out pod CIDRs that the CNI ignores: Calico, Cilium and the clouds' plug-ins have address
    plans of their own. Where most pods lie outside their node's range, the ranges mean nothing.
    """
    told = (
        (parse_address(text), networks)
        for pod in snapshot.pods
        if (networks := ranges.get(pod.spec.node_name, ())) and not pod.spec.host_network and not finished(pod)
        for text in addresses(pod)
    )
    inside = outside = 0
    for address, networks in islice(told, _ENOUGH):
        if address is not None and any(address in n for n in networks):
            inside += 1
        elif _outside(address, networks):
            outside += 1
    return inside >= outside if inside + outside else None


def cluster_network(snapshot: Snapshot, selected: Selected, cni: str = "") -> ClusterNetwork:
    """Lay out the pod network."""
    claims = holders(snapshot)
    parsed = {text: address for text in claims if (address := parse_address(text)) is not None}
    held = Taken(parsed.values())
    ranges = node_ranges(snapshot)
    used = node_ranges_used(snapshot, ranges)
    judged = ranges if used else {}
    return ClusterNetwork(
        cni=cni,
        ranges=pod_ranges(snapshot, held),
        node_ranges_used=used,
        nodes=None if snapshot.unseen("nodes") else _node_networks(snapshot, ranges, held, selected),
        pods=None
        if snapshot.unseen("pods")
        else several(
            _entry(pod, claims, parsed, judged.get(pod.spec.node_name, ()))
            for pod in sorted(selected.pods, key=lambda p: (p.metadata.namespace, p.metadata.name))
            if not pod.spec.host_network
        ),
    )


def _node_networks(
    snapshot: Snapshot, ranges: dict[str, tuple[Network, ...]], held: Taken, selected: Selected
) -> tuple[NodePodNetwork, ...]:
    unknown = snapshot.gap("pods") is not None
    return several(
        NodePodNetwork(node=node, cidr=str(n), used=None if unknown else held.within(n), capacity=capacity(n))
        for node, networks in sorted(ranges.items())
        if selected.node(node)
        for n in networks
    )


def _entry(
    pod: wire.Pod, claims: dict[str, tuple[str, ...]], parsed: dict[str, Address], ranges: tuple[Network, ...]
) -> PodEntry:
    ended = finished(pod)
    me = full_name(pod.metadata)
    return PodEntry(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        node=pod.spec.node_name,
        phase=pod.status.phase,
        ready=readiness(pod.status.conditions),
        addresses=several(
            PodAddress(
                address=a,
                released=ended,
                outside_node_range=not ended and _outside(parsed.get(a), ranges),
                shared_with=() if ended else several(o for o in claims.get(a, ()) if o != me),
            )
            for a in addresses(pod)
        ),
        terminating=bool(pod.metadata.deletion_timestamp),
        owner=_owner(pod.metadata),
        reason=_reason(pod),
        mesh=sidecar(pod)[0],
    )


def _outside(address: Address | None, ranges: tuple[Network, ...]) -> bool:
    """Say whether a node that has ranges of this family has none that holds the address."""
    if address is None or any(address in n for n in ranges):
        return False
    return any(n.version == address.version for n in ranges)


def readiness(conditions: tuple[wire.Condition, ...]) -> Truth:
    """Read the condition Ready; a status that is not there is unknown."""
    status = next((c.status for c in conditions if c.type == "Ready"), "Unknown")
    return {"True": Truth.TRUE, "False": Truth.FALSE}.get(status, Truth.UNKNOWN)


def _owner(meta: wire.Metadata) -> str:
    return next((f"{o.kind.lower()}/{o.name}" for o in meta.owner_references if o.controller), "")


def _reason(pod: wire.Pod) -> str:
    """Give the word by which kubectl would say why a pod does not run as it should."""
    unscheduled = next(
        (c.reason for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False"), ""
    )
    if unscheduled:
        return unscheduled
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        for state in (status.state.waiting, status.state.terminated):
            if state is not None and state.reason not in ("", "Completed"):
                return state.reason
    return ""
