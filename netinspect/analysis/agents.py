"""Which standing containers can look into their node: chosen by what they may do, not by their names."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netinspect.analysis.backends import finished
from netinspect.model import wire

# What inspector pods are labelled with.
INSPECTOR = {"app.kubernetes.io/name": "netinspect", "app.kubernetes.io/component": "inspector"}


class Agent(Struct, frozen=True, gc=False):
    """A running container. ``sees_pods`` says that it may enter other processes' namespaces."""

    namespace: str
    pod: str
    uid: str
    container: str
    sees_pods: bool


def agents(pods: Iterable[wire.Pod]) -> tuple[Agent, ...]:
    """List the containers among a node's pods that see its network and may list its rules, the most able first."""
    found: list[tuple[int, Agent]] = []
    for pod in pods:
        if pod.status.phase != "Running" or finished(pod) or _is_inspector(pod):
            continue
        for container in _running(pod):
            sees_pods = pod.spec.host_pid and _may(container, "SYS_ADMIN") and _may(container, "SYS_PTRACE")
            lists = _may(container, "NET_ADMIN")
            if (sees_pods or pod.spec.host_network) and lists:
                privileged = _may(container, "ALL")
                rank = -4 * sees_pods - 2 * privileged
                found.append((rank, _agent(pod, container, sees_pods=sees_pods)))
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


def within(pods: Iterable[wire.Pod]) -> tuple[Agent, ...]:
    """List for each of a node's pods that has a namespace of its own a container in which a shell may be."""
    own = (pod for pod in pods if not pod.spec.host_network and not finished(pod))
    return tuple(_agent(pod, running[0], sees_pods=False) for pod in own if (running := _running(pod)))


def _running(pod: wire.Pod) -> list[wire.Container]:
    names = {s.name for s in pod.status.container_statuses if s.state.running is not None}
    return [c for c in pod.spec.containers if c.name in names]


def _agent(pod: wire.Pod, container: wire.Container, *, sees_pods: bool) -> Agent:
    meta = pod.metadata
    return Agent(meta.namespace, meta.name, meta.uid, container.name, sees_pods)
