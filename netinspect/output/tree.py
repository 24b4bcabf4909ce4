"""A tree: nodes with their pods and containers, then Services with their ports and endpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from netinspect.model.topology import ContainerEntry, Document, PodEntry, ServiceEntry, Topology
from netinspect.model.trace import ServiceTrace, Trace
from netinspect.output import trace, words
from netinspect.output.base import Style, safe
from netinspect.output.table import gaps

NAME = "tree"
RENDERS: frozenset[type[Document]] = frozenset({Topology, Trace, ServiceTrace})


@dataclass
class _Branch:
    text: str
    below: list[_Branch] = field(default_factory=list)

    def lines(self, indent: str = "") -> Iterator[str]:
        for i, branch in enumerate(self.below):
            last = i == len(self.below) - 1
            yield f"{indent}{'└── ' if last else '├── '}{safe(branch.text)}\n"
            yield from branch.lines(indent + ("    " if last else "│   "))


def render(document: Document, style: Style) -> Iterator[str]:
    """Give the map as a tree, or the ways of a flow."""
    if isinstance(document, Trace):
        yield from trace.tree(document)
    if isinstance(document, ServiceTrace):
        yield from trace.service_tree(document)
    if isinstance(document, Topology):
        yield f"cluster {safe(document.server_version)}\n"
        yield from _Branch("", [*_nodes(document), *_services(document)]).lines()
        yield from gaps(document, style)


def _nodes(document: Topology) -> Iterator[_Branch]:
    containers = (
        {(p.namespace, p.name): p.containers for p in document.container.pods or ()} if document.container else {}
    )
    by_node: dict[str, list[PodEntry]] = defaultdict(list)
    for pod in (document.cluster.pods or ()) if document.cluster else ():
        by_node[pod.node].append(pod)
    hosts = {n.name: n for n in document.host.nodes or ()} if document.host else {}
    for name in sorted({*hosts, *by_node}):
        host = hosts.get(name)
        details = ""
        below: list[_Branch] = []
        if host is not None:
            details = "  " + ", ".join([*(a.address for a in host.addresses if a.address != name), *host.pod_cidrs])
            below += [
                _Branch(
                    f"pod/{p.namespace}/{p.name}  on the host network",
                    _containers(containers.get((p.namespace, p.name), ())),
                )
                for p in host.pods or ()
                if p.host_network
            ]
        for entry in by_node.get(name, ()):
            addresses = ", ".join(a.address for a in entry.addresses if not a.released)
            text = f"pod/{entry.namespace}/{entry.name}  {addresses or '-'}  {words.pod_state(entry)}"
            below.append(_Branch(text, _containers(containers.get((entry.namespace, entry.name), ()))))
        yield _Branch(f"node/{name}{details}" if name else "on no node", below)


def _containers(entries: tuple[ContainerEntry, ...]) -> list[_Branch]:
    return [
        _Branch(
            f"{c.name}  {'' if c.role == 'container' else c.role + ', '}{c.state}"
            f"{'  ' + words.container_ports(c.ports) if c.ports else ''}"
        )
        for c in entries
    ]


def _services(document: Topology) -> Iterator[_Branch]:
    for service in (document.service.services or ()) if document.service else ():
        yield _Branch(
            f"svc/{service.namespace}/{service.name}  {service.type}  {words.service_addresses(service)}",
            [*_ports(service), *(_Branch(f"! {m.message}") for m in service.mismatches)],
        )
    for entry in (document.service.entry_points or ()) if document.service else ():
        yield _Branch(
            f"{entry.kind.lower()}/{entry.namespace}/{entry.name}  {', '.join(entry.addresses)}",
            [_Branch("Services not known: routes are not evaluated")]
            if entry.services is None
            else [_Branch(f"svc/{s}") for s in entry.services],
        )


def _ports(service: ServiceEntry) -> Iterator[_Branch]:
    for port in service.ports:
        yield _Branch(
            words.service_port(port),
            [
                _Branch(
                    f"{words.endpoint(e.address, e.port)}  {words.endpoint_state(e)}{'  pod/' + e.pod if e.pod else ''}"
                )
                for e in port.endpoints or ()
            ],
        )
