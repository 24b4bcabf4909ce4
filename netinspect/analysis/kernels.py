"""The namespaces that were read, as the simulator walks through them."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.inside import Inside
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.world import World


def world(inside: Inside) -> World:
    """Give all namespaces by name: ``node/NAME``, ``pod/NAMESPACE/NAME``, and those of no known pod by their number."""
    return World(_stacks(inside))


def _stacks(inside: Inside) -> Iterator[Stack]:
    for node, namespace in inside.hosts.items():
        yield Stack(f"node/{node}", namespace, node, host=True)
    for pod, node in inside.places.items():
        yield Stack(f"pod/{pod}", inside.pods[pod], node)
    for node, namespaces in inside.others.items():
        for namespace in namespaces:
            yield Stack(f"node/{node}, namespace {namespace.evidence.id}", namespace, node)
