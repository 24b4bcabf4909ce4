"""Address plans that collide: ranges of different networks, or of different nodes, that hold common addresses."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from netinspect.analysis.ranges import Network, node_ranges, parse_address, parse_network
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Evidence, Overlap, Range, several


class Named(NamedTuple):
    """A range, what it is called, and the network that it belongs to."""

    name: str
    network: str
    range: Network


def overlaps(snapshot: Snapshot, pods: tuple[Range, ...], services: tuple[Range, ...]) -> tuple[Overlap, ...]:
    """Compare the ranges of each network with those of the others, and the nodes' pod CIDRs with each other.

    Service ranges may overlap each other, which is how they are made larger (KEP-1880). A Service range that is only
    inferred may be too wide, so nothing is concluded from it. Node addresses inside another network's range are said in
    one line for each range: in clouds that give pods addresses of the machines' own network they are meant so.
    """
    by_node = [
        Named(f"{n} (node {node})", "cluster", n) for node, ranges in node_ranges(snapshot).items() for n in ranges
    ]
    pod_ranges = _named(pods, "pods", "cluster") or by_node
    service_ranges = _named([s for s in services if s.evidence is not Evidence.INFERRED], "services", "service")
    among_nodes = [(a, b) for a, b in _meeting(by_node) if a.name != b.name]
    across = [(a, b) for a, b in _meeting([*pod_ranges, *service_ranges]) if a.network != b.network]
    found = [_pair(*(pair if pair[0].network == "cluster" else pair[::-1])) for pair in across]
    found += _nodes_inside(snapshot, [*pod_ranges, *service_ranges])
    found += [_pair(a, b) for a, b in among_nodes]
    return several(found)


def _named(ranges: tuple[Range, ...] | list[Range], what: str, network: str) -> list[Named]:
    return [Named(f"{r.cidr} ({what})", network, n) for r in ranges if (n := parse_network(r.cidr)) is not None]


def _pair(first: Named, second: Named) -> Overlap:
    return Overlap(first=first.name, first_network=first.network, second=second.name, second_network=second.network)


def _meeting(ranges: list[Named]) -> Iterator[tuple[Named, Named]]:
    """Find the pairs that share addresses by sweeping over the ranges in order of addresses."""
    ordered = sorted(ranges, key=lambda r: (r.range.version, int(r.range.network_address), r.range.prefixlen))
    still_open: list[Named] = []
    for current in ordered:
        start = int(current.range.network_address)
        still_open = [
            o
            for o in still_open
            if o.range.version == current.range.version and int(o.range.broadcast_address) >= start
        ]
        for other in still_open:
            yield other, current
        still_open.append(current)


def _nodes_inside(snapshot: Snapshot, ranges: list[Named]) -> Iterator[Overlap]:
    """Count the node addresses in each range, and name the first."""
    listed = sorted(
        (address.version, int(address), f"{a.address} (node {node.metadata.name})")
        for node in snapshot.nodes
        for a in node.status.addresses
        if (address := parse_address(a.address)) is not None
    )
    keys = [(version, number) for version, number, _ in listed]
    for r in ranges:
        first = bisect_left(keys, (r.range.version, int(r.range.network_address)))
        count = bisect_right(keys, (r.range.version, int(r.range.broadcast_address))) - first
        if count:
            more = f" and {count - 1} more" if count > 1 else ""
            yield Overlap(first=listed[first][2] + more, first_network="host", second=r.name, second_network=r.network)
