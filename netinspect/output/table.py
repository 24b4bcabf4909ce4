"""Tables, one per network: made for reading, for 80 columns, and for grep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netinspect.model.changes import DiffReport
from netinspect.model.check import CheckPage, CheckReport, Checks
from netinspect.model.cni import CniReport
from netinspect.model.inspection import NamespaceView
from netinspect.model.mesh import MeshReport, PairReport
from netinspect.model.topology import (
    ClusterNetwork,
    ContainerNetwork,
    Document,
    Evidence,
    HostNetwork,
    NodeEntry,
    Ownership,
    Range,
    ServiceEntry,
    ServiceNetwork,
    Topology,
)
from netinspect.model.trace import ServiceTrace, Trace
from netinspect.model.verify import VerifyReport
from netinspect.output import check, cni, kernel, mesh, trace, verify, words
from netinspect.output.base import Style, safe
from netinspect.output.columns import columns, section

NAME = "table"
RENDERS: frozenset[type[Document]] = frozenset({
    Topology, Ownership, NamespaceView, Trace, ServiceTrace, CniReport, MeshReport, PairReport, CheckReport,
    CheckPage, Checks, VerifyReport, DiffReport,
})  # fmt: skip


@dataclass(frozen=True)
class _Shown:
    """What is shown: a column that repeats one namespace is not."""

    style: Style
    wide: bool
    namespaced: bool

    def namespace(self, name: str) -> str:
        return name if self.namespaced else ""


def render(document: Document, style: Style) -> Iterator[str]:
    """Give the document as tables with what matters most."""
    return tables(document, style, wide=False)


def tables(document: Document, style: Style, *, wide: bool) -> Iterator[str]:
    """Give the document as tables; ``wide`` adds columns."""
    written = _PARTS.get(type(document))
    if written is not None:
        yield from written(document, style, wide)
    yield from gaps(document, style)


def gaps(document: Topology | Ownership | Document, style: Style) -> Iterator[str]:
    """Name what was not seen, why, and what would settle it."""
    # What a check could not look at stands beside it.
    missing = () if isinstance(document, CheckReport | VerifyReport | DiffReport) else getattr(document, "gaps", ())
    if missing:
        yield "\n"
        yield section("NOT SEEN", style)
        yield from columns(
            ("KIND", "WHY", "WHAT WOULD SETTLE IT", "SAID"),
            ((g.resource.replace("_", " "), g.reason.value, g.hint, g.message) for g in missing),
            style,
        )


def _topology(document: Topology, style: Style, *, wide: bool) -> Iterator[str]:
    shown = _Shown(style, wide=wide, namespaced=len(document.scope.namespaces) != 1)
    parts = (
        _host(document.host, shown) if document.host else None,
        _cluster(document.cluster, shown) if document.cluster else None,
        _service(document.service, shown) if document.service else None,
        _container(document.container, shown) if document.container else None,
    )
    for number, part in enumerate(p for p in parts if p is not None):
        yield "\n" if number else ""
        yield from part
    yield from _overlaps(document, style)


def _host(network: HostNetwork, shown: _Shown) -> Iterator[str]:
    style, wide = shown.style, shown.wide
    yield section("HOST NETWORK", style)
    nodes = network.nodes or ()
    yield from _listed(
        "nodes",
        network.nodes,
        ("NODE", "READY", "ROLES", "ZONE", "ADDRESSES", "POD-CIDRS", "KUBELET", "OS"),
        (
            (
                n.name,
                "?" if n.known_from == "pods" else n.ready.value,
                ",".join(n.roles),
                n.zone,
                _node_addresses(n, wide=wide),
                ", ".join(n.pod_cidrs),
                n.kubelet_version if wide else "",
                n.operating_system if wide else "",
            )
            for n in nodes
        ),
        style,
    )
    on_host = [(n.name, pod) for n in nodes for pod in n.pods or ()]
    yield from _more(
        ("NODE", "HOST-PORT", "ON", "POD", "CONTAINER", "VIA"),
        [
            (node, f"{p.port}/{p.protocol}", p.host_ip, f"{pod.namespace}/{pod.name}", p.container, p.via)
            for node, pod in on_host
            for p in pod.ports
        ],
        style,
    )
    yield from _more(
        ("NODE", "INTERFACE", "KIND", "STATE", "MTU", "ADDRESSES", "MASTER", "LEADS-TO", "DETAILS"),
        [
            (n.name, i.name, i.kind, i.state, str(i.mtu), ", ".join(i.addresses), i.master, i.peer, i.details)
            for n in nodes
            for i in n.interfaces or ()
            if wide or i.name != "lo"
        ],
        style,
    )
    silent = [(node, f"{pod.namespace}/{pod.name}", pod.phase) for node, pod in on_host if wide and not pod.ports]
    yield from _more(("NODE", "HOST-NETWORK-POD-WITHOUT-DECLARED-PORTS", "PHASE"), silent, style)
    for n in nodes:
        for clash in n.clashes:
            pods = " and ".join(clash.pods)
            yield _warning(f"{clash.port}/{clash.protocol} of node {n.name} is claimed by {pods}", style)


def _node_addresses(node: NodeEntry, *, wide: bool) -> str:
    """Write a node's addresses; its host name is left out where it says no more than the node's own."""
    told = (a for a in node.addresses if wide or (a.type, a.address) != ("Hostname", node.name))
    return ", ".join(a.address if a.type == "InternalIP" else f"{a.type} {a.address}" for a in told)


def _cluster(network: ClusterNetwork, shown: _Shown) -> Iterator[str]:
    style, wide = shown.style, shown.wide
    yield section("CLUSTER NETWORK", style)
    yield from _ranges(network.ranges, style)
    yield from _more(
        ("NODE", "POD-CIDR", "USED"),
        [(n.node, n.cidr, words.usage(n.used, n.capacity)) for n in network.nodes or ()],
        style,
    )
    if network.cni:
        yield f"CNI: {safe(network.cni)}\n"
    if network.node_ranges_used is False:
        yield "the pods take their addresses from elsewhere: the CNI has an address plan of its own\n"
    yield "\n"
    yield from _listed(
        "pods",
        network.pods,
        ("NAMESPACE", "POD", "STATE", "NODE", "ADDRESSES", "MESH", "OWNER", "RELEASED"),
        (
            (
                shown.namespace(p.namespace),
                p.name,
                words.pod_state(p),
                p.node,
                ", ".join(a.address for a in p.addresses if not a.released),
                p.mesh,
                p.owner if wide else "",
                ", ".join(a.address for a in p.addresses if a.released),
            )
            for p in network.pods or ()
        ),
        style,
        optional=("RELEASED",),
    )
    for p in network.pods or ():
        for note in words.pod_notes(p):
            yield _warning(f"pod/{p.namespace}/{p.name}: {note}", style)


def _service(network: ServiceNetwork, shown: _Shown) -> Iterator[str]:
    style, wide = shown.style, shown.wide
    yield section("SERVICE NETWORK", style)
    yield from _ranges(network.ranges, style)
    yield "\n"
    services = network.services or ()
    yield from _listed(
        "Services",
        network.services,
        ("NAMESPACE", "SERVICE", "TYPE", "ADDRESSES", "PORTS", "READY", "POLICIES", "SELECTOR"),
        (
            (
                shown.namespace(s.namespace),
                s.name,
                s.type,
                words.service_addresses(s),
                ", ".join(words.service_port(p) for p in s.ports),
                words.endpoint_count(s),
                words.service_policies(s),
                ",".join(f"{k}={v}" for k, v in sorted(s.selector.items())) if wide else "",
            )
            for s in services
        ),
        style,
        optional=("POLICIES",),
    )
    if wide:
        yield from _backends(services, shown)
    yield from _more(
        ("NAMESPACE", "ENTRY-POINT", "CLASS", "ADDRESSES", "SERVICES"),
        [
            (
                shown.namespace(e.namespace),
                f"{e.kind.lower()}/{e.name}",
                e.controller_class,
                ", ".join(e.addresses),
                "?" if e.services is None else ", ".join(e.services),
            )
            for e in network.entry_points or ()
        ],
        style,
    )
    for s in services:
        for mismatch in s.mismatches:
            yield _warning(f"svc/{s.namespace}/{s.name}: {mismatch.message}", style)


def _backends(services: tuple[ServiceEntry, ...], shown: _Shown) -> Iterator[str]:
    yield from _more(
        ("NAMESPACE", "SERVICE", "PORT", "ENDPOINT", "STATE", "POD", "NODE", "ZONE"),
        [
            (
                shown.namespace(s.namespace),
                s.name,
                words.service_port(p),
                words.endpoint(e.address, e.port),
                words.endpoint_state(e),
                e.pod,
                e.node,
                e.zone,
            )
            for s in services
            for p in s.ports
            for e in p.endpoints or ()
        ],
        shown.style,
    )


def _container(network: ContainerNetwork, shown: _Shown) -> Iterator[str]:
    style = shown.style
    yield section("CONTAINER NETWORK", style)
    # On a terminal a pod is named once; in a pipe each line stands for itself, so that grep finds it.
    once = style.width is not None
    yield from _listed(
        "pods",
        network.pods,
        ("NAMESPACE", "POD", "CONTAINER", "ROLE", "PROXY-OF", "STATE", "PORTS"),
        (
            (
                "" if once and number else shown.namespace(p.namespace),
                "" if once and number else p.name,
                c.name,
                c.role,
                c.mesh,
                c.state,
                words.container_ports(c.ports),
            )
            for p in network.pods or ()
            for number, c in enumerate(p.containers)
        ),
        style,
    )
    yield from _more(
        ("NAMESPACE", "POD", "INTERFACE", "STATE", "MTU", "ADDRESSES", "GATEWAY", "ON-NODE", "BRIDGE", "NODE"),
        [
            (
                shown.namespace(p.namespace),
                p.name,
                a.interface.name,
                a.interface.state,
                str(a.interface.mtu),
                ", ".join(a.interface.addresses),
                ", ".join(a.gateway),
                a.host_interface,
                a.bridge,
                p.node,
            )
            for p in network.pods or ()
            for a in p.attachments or ()
        ],
        style,
    )
    for p in network.pods or ():
        for disagreement in p.disagreements:
            yield _warning(f"pod/{p.namespace}/{p.name}: {disagreement}", style)
        for clash in p.clashes:
            containers = " and ".join(clash.containers)
            yield _warning(
                f"pod/{p.namespace}/{p.name}: {containers} both declare {clash.port}/{clash.protocol} of one localhost",
                style,
            )


def _listed(
    what: str,
    found: tuple[object, ...] | None,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    style: Style,
    *,
    optional: Sequence[str] = (),
) -> Iterator[str]:
    """Give a table, or a line that says whether there is nothing or nothing could be seen."""
    if not found:
        yield f"{what}: not known\n" if found is None else f"no {what}\n"
    yield from columns(header, rows, style, optional)


def _more(header: Sequence[str], rows: Sequence[tuple[str, ...]], style: Style) -> Iterator[str]:
    """Give a further table of the same part, if there is anything in it."""
    if rows:
        yield "\n"
        yield from columns(header, rows, style)


def _ranges(ranges: tuple[Range, ...], style: Style) -> Iterator[str]:
    if not ranges:
        yield "range: not known\n"
    yield from columns(
        ("RANGE", "USED", "KNOWN-FROM"),
        (
            (
                r.cidr,
                words.usage(r.used, r.capacity),
                f"inferred from {r.source}" if r.evidence is Evidence.INFERRED else r.source,
            )
            for r in ranges
        ),
        style,
    )


def _overlaps(document: Topology, style: Style) -> Iterator[str]:
    if document.overlaps:
        yield "\n"
        yield section("OVERLAPS", style)
    for overlap in document.overlaps:
        yield _warning(
            f"{overlap.first} of the {overlap.first_network} network and {overlap.second} of the "
            f"{overlap.second_network} network share addresses",
            style,
        )


def _ownership(document: Ownership, style: Style) -> Iterator[str]:
    yield from columns(
        ("ADDRESS", "NETWORK", "OWNER", "AS", "DETAIL"),
        (
            (
                a.address if i == 0 or style.width is None else "",
                o.network.value,
                o.owner,
                o.role if a.certain else f"{o.role}, as far as seen",
                o.detail,
            )
            for a in document.addresses
            for i, o in enumerate(a.owners)
        ),
        style,
    )


def _warning(text: str, style: Style) -> str:
    text = f"! {safe(text)}"
    return f"\x1b[33m{text}\x1b[0m\n" if style.colour else f"{text}\n"


# What writes each kind of document; those that say what they could not see in their own place have no gaps at the end.
_PARTS: Mapping[type[Document], Callable[[Any, Style, bool], Iterator[str]]] = {
    Topology: lambda d, s, w: _topology(d, s, wide=w),
    Ownership: lambda d, s, _: _ownership(d, s),
    NamespaceView: lambda d, s, w: kernel.namespace(d, s, wide=w),
    Trace: lambda d, s, w: trace.trace(d, s, wide=w),
    ServiceTrace: lambda d, s, w: trace.service(d, s, wide=w),
    CniReport: lambda d, s, w: cni.report(d, s, wide=w),
    MeshReport: lambda d, s, w: mesh.report(d, s, wide=w),
    PairReport: lambda d, s, _: mesh.pair(d, s),
    CheckReport: lambda d, s, w: check.report(d, s, wide=w),
    CheckPage: lambda d, s, _: check.page(d, s),
    Checks: lambda d, s, w: check.checks(d, s, wide=w),
    VerifyReport: lambda d, s, w: verify.verified(d, s, wide=w),
    DiffReport: lambda d, s, w: verify.changed(d, s, wide=w),
}
