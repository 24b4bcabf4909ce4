"""Address plans that collide: ranges of different networks, or of different nodes, that hold common addresses."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.pods import node_ranges
from netinspect.analysis.ranges import Network, parse_address, parse_network
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Overlap, Range

# A named range: what it is called, which network it belongs to, and its addresses.
Named = tuple[str, str, Network]


def overlaps(snapshot: Snapshot, pods: tuple[Range, ...], services: tuple[Range, ...]) -> tuple[Overlap, ...]:
    """Compare every range with those that it must not share addresses with.

    A node address inside the pod ranges is said, not judged: clouds that give pods addresses of the machines' own
    network mean it so.
    """
    pod_ranges = _named(pods, "pods", "cluster")
    by_node: list[Named] = [
        (f"{n} (node {node})", "cluster", n) for node, networks in node_ranges(snapshot).items() for n in networks
    ]
    service_ranges = _named(services, "services", "service")
    hosts: list[Named] = [
        (f"{a.address} (node {node.metadata.name})", "host", network)
        for node in snapshot.nodes
        for a in node.status.addresses
        if parse_address(a.address) is not None and (network := parse_network(a.address)) is not None
    ]
    covered = [n for n in by_node if not any(_inside(n[2], p[2]) for p in pod_ranges)]
    found = [
        *_crossing(pod_ranges, service_ranges),
        *_crossing(covered, service_ranges),
        *_crossing(hosts, [*pod_ranges, *covered, *service_ranges]),
        *_among(by_node),
        *_among(service_ranges),
    ]
    return tuple(Overlap(first=a[0], first_network=a[1], second=b[0], second_network=b[1]) for a, b in found)


def _named(ranges: tuple[Range, ...], what: str, network: str) -> list[Named]:
    return [(f"{r.cidr} ({what})", network, n) for r in ranges if (n := parse_network(r.cidr)) is not None]


def _inside(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.network_address in outer and inner.broadcast_address in outer


def _crossing(first: list[Named], second: list[Named]) -> Iterator[tuple[Named, Named]]:
    for a in first:
        for b in second:
            if a[2].version == b[2].version and a[2].overlaps(b[2]):
                yield a, b


def _among(ranges: list[Named]) -> Iterator[tuple[Named, Named]]:
    """Find overlapping pairs of one list by sweeping over it in order of addresses."""
    ordered = sorted(ranges, key=lambda r: (r[2].version, int(r[2].network_address), r[2].prefixlen))
    open_ranges: list[Named] = []
    for current in ordered:
        open_ranges = [
            o
            for o in open_ranges
            if o[2].version == current[2].version and int(o[2].broadcast_address) >= int(current[2].network_address)
        ]
        for other in open_ranges:
            yield other, current
        open_ranges.append(current)
