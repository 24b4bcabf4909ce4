"""Whose network namespace is which: pods and nodes matched to what was read inside the nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from netinspect.analysis.backends import finished
from netinspect.analysis.pods import addresses, full_name
from netinspect.errors import ParseError
from netinspect.kernel.namespace import Missing, Namespace, Trouble
from netinspect.model import wire
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence
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
    finder = _Finder(pods)
    claims: dict[str, list[Namespace]] = defaultdict(list)
    others: list[Namespace] = []
    for evidence in kernel.namespaces:
        namespace = Namespace(evidence)
        if evidence.is_host:
            inside.hosts[kernel.node] = namespace
        elif (owner := finder.owner(namespace)) and not (owner in by_name and by_name[owner].spec.host_network):
            claims[owner].append(namespace)
        else:
            others.append(namespace)
    for owner, claimants in claims.items():
        # What runs in a pod may make namespaces of its own, for a sandbox or a build: the pod's is that which has its
        # addresses.
        best = max(claimants, key=lambda n: (finder.holds(owner, n), len(n.evidence.sections)))
        inside.pods[owner] = best
        inside.places[owner] = kernel.node
        others += [n for n in claimants if n is not best]
    inside.others[kernel.node] = tuple(others)
    host = inside.hosts.get(kernel.node)
    if host is not None:
        # A pod on the host network has no namespace of its own, whatever runs beside it.
        inside.pods.update({name: host for name, pod in by_name.items() if pod.spec.host_network})


class _Finder:
    """Knows by what the pods of one node are known."""

    def __init__(self, pods: list[wire.Pod]) -> None:
        self._by_name = {full_name(p.metadata): p for p in pods}
        self._by_uid = {p.metadata.uid: full_name(p.metadata) for p in pods if p.metadata.uid}
        self._by_container = {c: full_name(p.metadata) for p in pods for c in _containers(p)}
        self._by_address = {a: full_name(p.metadata) for p in pods if not p.spec.host_network for a in addresses(p)}

    def owner(self, namespace: Namespace) -> str:
        """Give the pod whose namespace it is, or nothing."""
        evidence = namespace.evidence
        known = (
            *(self._by_container.get(c, "") for c in evidence.containers),
            *(self._by_uid.get(r.uid, "") for r in evidence.pods),
        )
        if owner := next(filter(None, known), ""):
            return owner
        # A name may be that of an earlier pod which is still ending, so it only counts with the address, or where the
        # API server was not asked.
        names = [f"{r.namespace}/{r.name}" for r in evidence.pods if r.name]
        if not self._by_name:
            return next(iter(names), "")
        if owner := next((n for n in names if n in self._by_name and self.holds(n, namespace)), ""):
            return owner
        if evidence.pods:
            return ""
        return next((self._by_address[a] for a in _addresses(namespace) if a in self._by_address), "")

    def holds(self, owner: str, namespace: Namespace) -> bool:
        """Say whether a namespace has an address that the API server says the pod has."""
        pod = self._by_name.get(owner)
        return pod is not None and not set(addresses(pod)).isdisjoint(_addresses(namespace))


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
        # Indexes of different namespaces are equal by chance, but only a veth or netkit has an end elsewhere.
        pairs = (h for h in host.links if h.kind in ("veth", "netkit", ""))
        return next((h for h in pairs if h.ifindex == link.link_index and h.link_index == link.ifindex), None)
    except ParseError:
        return None


def unread(snapshot: Snapshot, wanted: Mapping[str, tuple[str, ...] | None]) -> tuple[Gap, ...]:
    """Say what was asked for of nodes and did not come: their ends, or the namespaces of pods by UID (None for all)."""
    kernels = {k.node: k for k in snapshot.kernels if k.node in wanted}
    told = {g.resource for g in snapshot.gaps}
    found = [
        ended_early(f"node/{node}", f"the reading through {kernel.through} ended before its end")
        for node, kernel in kernels.items()
        if not kernel.complete and f"node/{node}" not in told
    ]
    inside = match(snapshot)
    for pod in snapshot.pods:
        kernel = kernels.get(pod.spec.node_name)
        name = full_name(pod.metadata)
        if kernel is None or name in inside.pods or f"pod/{name}" in told:
            continue
        uids = wanted[kernel.node]
        if (uids is None or pod.metadata.uid in uids) and pod.status.phase == "Running" and not finished(pod):
            message = f"its network namespace was not found on {kernel.node}"
            through_it = kernel.access is Access.EXEC
            hint = "--access pod sees it from outside" if through_it else "it may have ended meanwhile"
            found.append(Gap(resource=f"pod/{name}", reason=GapReason.NO_ACCESS, message=message, hint=hint))
    return tuple(found)


def ended_early(resource: str, message: str) -> Gap:
    """Say that the reading of a node or pod ended before its end."""
    hint = "a longer --node-timeout gives it more time"
    return Gap(resource=resource, reason=GapReason.PARTIAL, message=message, hint=hint)


def gaps(kernels: tuple[NodeEvidence, ...], sections: frozenset[str]) -> tuple[Gap, ...]:
    """Say for each namespace which of these sections could not be read, in one gap."""
    return tuple(gap for kernel in kernels for gap in _gaps(kernel, sections))


def _gaps(kernel: NodeEvidence, sections: frozenset[str]) -> Iterator[Gap]:
    for evidence in kernel.namespaces:
        yield from missing_parts(Namespace(evidence), _owner(kernel, evidence), kernel.access, sections)


def _owner(kernel: NodeEvidence, evidence: NamespaceEvidence) -> str:
    if evidence.is_host:
        return f"node/{kernel.node}"
    named = next((r for r in evidence.pods if r.name), None)
    return f"pod/{named.namespace}/{named.name}" if named else f"node/{kernel.node}, namespace {evidence.id}"


def missing_parts(
    namespace: Namespace,
    owner: str,
    access: Access,
    sections: frozenset[str],
    asked: frozenset[str] = frozenset(),
) -> Iterator[Gap]:
    """Say in one gap which of these sections are missing, by the reason; nothing where none is."""
    missing = [m for m in namespace.missing(asked) if m.section in sections]
    said = "; ".join(
        _said(trouble, mine) for trouble in Trouble if (mine := [m for m in missing if m.trouble is trouble])
    )
    if said:
        hint = "--access pod brings its own tools" if access is Access.EXEC else ""
        yield Gap(resource=owner, reason=GapReason.PARTIAL, message=said, hint=hint)


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
