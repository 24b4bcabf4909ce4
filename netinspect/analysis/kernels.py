"""The namespaces that were read, as the simulator walks through them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netinspect.analysis.inside import Inside
from netinspect.analysis.pods import addresses, full_name
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import number
from netinspect.model.snapshot import Snapshot


def world(snapshot: Snapshot, inside: Inside) -> World:
    """Give all namespaces by name: ``node/NAME``, ``pod/NAMESPACE/NAME``, and those of no known pod by their number."""
    return World(_stacks(inside), None if snapshot.gap("pods") else _hidden(snapshot, inside))


def _hidden(snapshot: Snapshot, inside: Inside) -> dict[str, frozenset[tuple[int, int]]]:
    """Give the addresses of the pods on each node whose namespaces were not read."""
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for pod in snapshot.pods:
        if not pod.spec.host_network and full_name(pod.metadata) not in inside.places:
            found[pod.spec.node_name].update(map(number, addresses(pod)))
    return {node: frozenset(known) for node, known in found.items()}


def _stacks(inside: Inside) -> Iterator[Stack]:
    for node, namespace in inside.hosts.items():
        yield Stack(f"node/{node}", namespace, node, host=True)
    for pod, node in inside.places.items():
        yield Stack(f"pod/{pod}", inside.pods[pod], node)
    for node, namespaces in inside.others.items():
        for namespace in namespaces:
            yield Stack(f"node/{node}, namespace {namespace.evidence.id}", namespace, node)
