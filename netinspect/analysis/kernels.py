"""The namespaces that were read, as the simulator walks through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from netinspect.analysis.inside import Inside
from netinspect.analysis.pods import addresses, full_name
from netinspect.analysis.ranges import node_ranges, parse_address
from netinspect.cni import LOADERS
from netinspect.errors import ParseError
from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import number, text
from netinspect.model.programs import Programs
from netinspect.model.snapshot import Snapshot


def world(snapshot: Snapshot, inside: Inside) -> World:
    """Give all namespaces by name: ``node/NAME``, ``pod/NAMESPACE/NAME``, and those of no known pod by their number."""
    hidden = None if snapshot.gap("pods") else _hidden(snapshot, inside)
    return World(_stacks(inside), hidden, cache(_programs))


def hosts(inside: Inside) -> World:
    """Give the nodes' own namespaces alone."""
    return World(s for s in _stacks(inside) if s.host)


def _programs(host: Stack) -> Programs | None:
    """Give the programs of eBPF of a node, where its CNI can say what they do."""
    found = (load(host.namespace.evidence, host.links) for load in LOADERS)
    return next((programs for programs in found if programs is not None), None)


def _hidden(snapshot: Snapshot, inside: Inside) -> Callable[[str, int, int], bool]:
    """Tell of the namespaces that were not read whose addresses they may have.

    The API says which addresses of a node's own range are taken, and whose those of other pods are. Of all others it
    says nothing: a second network's, a container's that is no pod's.
    """
    pods = [p for p in snapshot.pods if not p.spec.host_network]
    known = {number(a): p.spec.node_name for p in pods for a in addresses(p) if parse_address(a) is not None}
    seen = {name for name in inside.places if _is_seen(inside.pods[name])}
    read = {a for p in pods if full_name(p.metadata) in seen for a in addresses(p)}
    ranges = node_ranges(snapshot)

    def may_have(node: str, family: int, address: int) -> bool:
        if (family, address) in known:
            return known[family, address] == node and text(address, family) not in read
        return not any(
            r.version == family and int(r.network_address) <= address <= int(r.broadcast_address)
            for r in ranges.get(node, ())
        )

    return may_have


def _stacks(inside: Inside) -> Iterator[Stack]:
    every = (
        *(Stack(f"node/{node}", namespace, node, host=True) for node, namespace in inside.hosts.items()),
        *(Stack(f"pod/{pod}", inside.pods[pod], node) for pod, node in inside.places.items()),
        *(
            Stack(f"node/{node}, namespace {namespace.evidence.id}", namespace, node)
            for node, namespaces in inside.others.items()
            for namespace in namespaces
        ),
    )
    return (stack for stack in every if _is_seen(stack.namespace))


def _is_seen(namespace: Namespace) -> bool:
    """Say whether interfaces of it were read, of which each has one at least: without them it is as if not read.

    Such as cannot be parsed say so themselves where a packet meets them.
    """
    with suppress(ParseError):
        return bool(namespace.links)
    return True
