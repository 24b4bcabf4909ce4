"""The map as boxes and arrows, for the formats that draw them: nodes hold pods, Services lead to pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netinspect.model.topology import Topology
from netinspect.output import words


@dataclass(frozen=True)
class Box:
    """Something drawn; ``group`` is the node that it lies in, or empty. ``lines`` come from the cluster unescaped."""

    key: str
    lines: tuple[str, ...]
    group: str = ""
    kind: str = "pod"


@dataclass(frozen=True)
class Arrow:
    """What leads from one box to another; ``sound`` is false where it leads to something not ready."""

    source: str
    target: str
    label: str = ""
    sound: bool = True


@dataclass(frozen=True)
class Graph:
    """All boxes and arrows, in a fixed order."""

    groups: dict[str, tuple[str, ...]]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    unseen: tuple[str, ...]

    def members(self) -> dict[str, list[Box]]:
        """Give the boxes of each group; those in none are under the empty name."""
        found: dict[str, list[Box]] = {group: [] for group in ("", *sorted(self.groups))}
        for box in self.boxes:
            found[box.group].append(box)
        return found


def graph(topology: Topology) -> Graph:
    """Draw the map."""
    hosts = (topology.host.nodes or ()) if topology.host else ()
    groups = {n.name: (n.name, *(a.address for a in n.addresses if a.address != n.name)) for n in hosts}
    boxes = {box.key: box for box in (*_pods(topology), *_services(topology))}
    for box in boxes.values():
        if box.group:
            groups.setdefault(box.group, (box.group,))
    found = list(_arrows(topology))
    for arrow in found:
        for key in (arrow.source, arrow.target):
            if key not in boxes:
                kind, _, name = key.partition("/")
                boxes[key] = Box(key, (name,), kind=kind)
    return Graph(groups, tuple(boxes.values()), tuple(dict.fromkeys(found)), tuple(g.resource for g in topology.gaps))


def _pods(topology: Topology) -> Iterator[Box]:
    for node in (topology.host.nodes or ()) if topology.host else ():
        for host_pod in node.pods or ():
            if host_pod.host_network:
                name = f"{host_pod.namespace}/{host_pod.name}"
                yield Box(f"pod/{name}", (name, "host network"), node.name)
    for pod in (topology.cluster.pods or ()) if topology.cluster else ():
        name = f"{pod.namespace}/{pod.name}"
        yield Box(f"pod/{name}", (name, *(a.address for a in pod.addresses if not a.released)), pod.node)


def _services(topology: Topology) -> Iterator[Box]:
    for service in (topology.service.services or ()) if topology.service else ():
        name = f"{service.namespace}/{service.name}"
        yield Box(f"svc/{name}", (name, service.type, words.service_addresses(service)), kind="svc")
    for entry in (topology.service.entry_points or ()) if topology.service else ():
        name = f"{entry.namespace}/{entry.name}"
        yield Box(f"{entry.kind.lower()}/{name}", (name, *entry.addresses), kind=entry.kind.lower())


def _arrows(topology: Topology) -> Iterator[Arrow]:
    for service in (topology.service.services or ()) if topology.service else ():
        source = f"svc/{service.namespace}/{service.name}"
        for port in service.ports:
            for e in port.endpoints or ():
                target = f"pod/{e.pod}" if e.pod else f"address/{e.address}"
                yield Arrow(source, target, words.service_port(port), e.ready and not e.stale)
    for entry in (topology.service.entry_points or ()) if topology.service else ():
        for name in entry.services or ():
            yield Arrow(f"{entry.kind.lower()}/{entry.namespace}/{entry.name}", f"svc/{name}")
