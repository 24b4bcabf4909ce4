"""Which standing containers can look into their node: chosen by what they may do, not by their names."""

from __future__ import annotations

from msgspec import Struct

from netinspect.analysis.backends import finished
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

# What inspector pods are labelled with.
INSPECTOR = {"app.kubernetes.io/name": "netinspect", "app.kubernetes.io/component": "inspector"}


class Agent(Struct, frozen=True, gc=False):
    """A running container. ``sees_pods`` says that it may enter other processes' namespaces."""

    namespace: str
    pod: str
    container: str
    node: str
    sees_pods: bool


def agents(snapshot: Snapshot, node: str) -> tuple[Agent, ...]:
    """List the containers on a node that see its network namespace and may list its rules, the most able first."""
    found: list[tuple[int, Agent]] = []
    for pod in snapshot.pods:
        if pod.spec.node_name != node or pod.status.phase != "Running" or finished(pod) or _is_inspector(pod):
            continue
        running = {s.name for s in pod.status.container_statuses if s.state.running is not None}
        for container in pod.spec.containers:
            if container.name not in running:
                continue
            sees_pods = pod.spec.host_pid and _may(container, "SYS_ADMIN") and _may(container, "SYS_PTRACE")
            lists = _may(container, "NET_ADMIN")
            if (sees_pods or pod.spec.host_network) and lists:
                privileged = _may(container, "ALL")
                rank = -4 * sees_pods - 2 * privileged
                found.append((rank, Agent(pod.metadata.namespace, pod.metadata.name, container.name, node, sees_pods)))
    found.sort(key=lambda f: (f[0], f[1].namespace, f[1].pod, f[1].container))
    return tuple(agent for _, agent in found)


def _is_inspector(pod: wire.Pod) -> bool:
    """Say whether a pod is one of another run of this program, which will be gone in a moment."""
    return INSPECTOR.items() <= pod.metadata.labels.items()


def _may(container: wire.Container, capability: str) -> bool:
    """Say whether a container has a capability; privileged ones have all."""
    context = container.security_context
    if context is None:
        return False
    added = {c.removeprefix("CAP_") for c in context.capabilities.add}
    return context.privileged or "ALL" in added or capability in added


def within(snapshot: Snapshot, node: str) -> tuple[Agent, ...]:
    """List for each pod of a node that has a namespace of its own a container in which a shell may be."""
    found = []
    for pod in snapshot.pods:
        if pod.spec.node_name != node or pod.spec.host_network or finished(pod):
            continue
        running = {s.name for s in pod.status.container_statuses if s.state.running is not None}
        names = [c.name for c in pod.spec.containers if c.name in running]
        if names:
            found.append(Agent(pod.metadata.namespace, pod.metadata.name, names[0], node, sees_pods=False))
    return tuple(found)
