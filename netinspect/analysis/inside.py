"""Whose network namespace is which: pods and nodes matched to what was read inside the nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from netinspect.analysis.backends import finished
from netinspect.analysis.pods import addresses, full_name
from netinspect.errors import ParseError
from netinspect.kernel.namespace import Missing, Namespace, Trouble
from netinspect.model import wire
from netinspect.model.evidence import NamespaceEvidence, NodeEvidence
from netinspect.model.kernel import Link
from netinspect.model.snapshot import Gap, GapReason, Snapshot


@dataclass(frozen=True)
class Inside:
    """The namespaces that were read: ``pods`` by ``namespace/name``, ``others`` by node are those of no known pod.

    ``places`` says on which node each of these pods is.
    """

    hosts: dict[str, Namespace] = field(default_factory=dict)
    pods: dict[str, Namespace] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    others: dict[str, tuple[Namespace, ...]] = field(default_factory=dict)


def match(snapshot: Snapshot) -> Inside:
    """Find each pod's namespace: by container, by UID, by name, and where none of these is known by address."""
    on_node: dict[str, list[wire.Pod]] = defaultdict(list)
    for pod in snapshot.pods if snapshot.kernels else ():
        if not finished(pod):
            on_node[pod.spec.node_name].append(pod)
    inside = Inside()
    for kernel in snapshot.kernels:
        _match(kernel, on_node[kernel.node], inside)
    return inside


def _match(kernel: NodeEvidence, pods: list[wire.Pod], inside: Inside) -> None:
    by_name = {full_name(p.metadata): p for p in pods}
    by_uid = {p.metadata.uid: full_name(p.metadata) for p in pods if p.metadata.uid}
    by_container = {c: full_name(p.metadata) for p in pods for c in _containers(p)}
    by_address = {a: full_name(p.metadata) for p in pods if not p.spec.host_network for a in addresses(p)}
    others: list[Namespace] = []
    for evidence in kernel.namespaces:
        namespace = Namespace(evidence)
        if evidence.is_host:
            inside.hosts[kernel.node] = namespace
            continue
        candidates = (
            *(by_container.get(c, "") for c in evidence.containers),
            *(by_uid.get(r.uid, "") for r in evidence.pods),
            *(f"{r.namespace}/{r.name}" for r in evidence.pods if r.name),
            *(by_address.get(a, "") for a in _addresses(namespace)),
        )
        owner = next((c for c in candidates if c in by_name or (c and not pods)), "")
        # A pod on the host network has no namespace of its own, whatever runs beside it.
        if owner and not (owner in by_name and by_name[owner].spec.host_network):
            known = inside.pods.get(owner)
            if known is None or len(evidence.sections) > len(known.evidence.sections):
                inside.pods[owner] = namespace
                inside.places[owner] = kernel.node
        else:
            others.append(namespace)
    inside.others[kernel.node] = tuple(others)
    host = inside.hosts.get(kernel.node)
    if host is not None:
        inside.pods.update({name: host for name, pod in by_name.items() if pod.spec.host_network})


def _containers(pod: wire.Pod) -> Iterator[str]:
    status = pod.status
    for s in (*status.init_container_statuses, *status.container_statuses, *status.ephemeral_container_statuses):
        if s.container_id:
            yield s.container_id.rpartition("/")[2]


def _addresses(namespace: Namespace) -> tuple[str, ...]:
    try:
        return tuple(a.local for link in namespace.links for a in link.addresses)
    except ParseError:
        return ()


def host_end(link: Link, host: Namespace | None) -> Link | None:
    """Find the other end of a pod's veth on the node: each names the other's index (``IFLA_LINK``)."""
    if host is None or link.link_index is None or link.link:
        return None
    try:
        found = (h for h in host.links if h.ifindex == link.link_index and h.link_index == link.ifindex)
        return next(found, None)
    except ParseError:
        return None


def gaps(kernels: tuple[NodeEvidence, ...], sections: frozenset[str]) -> tuple[Gap, ...]:
    """Say for each namespace which of these sections could not be read, in one gap."""
    return tuple(gap for kernel in kernels for gap in _gaps(kernel, sections))


def _gaps(kernel: NodeEvidence, sections: frozenset[str]) -> Iterator[Gap]:
    for evidence in kernel.namespaces:
        if said := missing_parts(Namespace(evidence), sections):
            yield Gap(
                resource=_owner(kernel, evidence),
                reason=GapReason.PARTIAL,
                message=said,
                hint="--access pod brings its own tools" if kernel.access.value == "exec" else "",
            )


def _owner(kernel: NodeEvidence, evidence: NamespaceEvidence) -> str:
    if evidence.is_host:
        return f"node/{kernel.node}"
    named = next((r for r in evidence.pods if r.name), None)
    return f"pod/{named.namespace}/{named.name}" if named else f"node/{kernel.node}, namespace {evidence.id}"


def missing_parts(namespace: Namespace, sections: frozenset[str]) -> str:
    """Say in a line which of these sections are missing, by the reason; nothing where none is."""
    missing = [m for m in namespace.missing() if m.section in sections]
    return "; ".join(
        _said(trouble, mine) for trouble in Trouble if (mine := [m for m in missing if m.trouble is trouble])
    )


def _said(trouble: Trouble, mine: list[Missing]) -> str:
    names = ", ".join(m.section for m in mine)
    if trouble in (Trouble.ABSENT, Trouble.CUT):
        return f"{trouble.value}: {names}"
    return f"{trouble.value}: {names} ({mine[0].message})"


def unseen(snapshot: Snapshot, sections: frozenset[str]) -> bool:
    """Say whether any of these sections is missing anywhere that was looked into."""
    return any(
        m.section in sections and m.trouble is not Trouble.LOSSY
        for kernel in snapshot.kernels
        for evidence in kernel.namespaces
        for m in Namespace(evidence).missing()
    )
