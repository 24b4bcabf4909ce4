"""The container network: what shares one address and one localhost."""

from __future__ import annotations

from collections import defaultdict

from netinspect.analysis.backends import finished
from netinspect.analysis.inside import Inside
from netinspect.analysis.interfaces import disagreements, of_pod
from netinspect.analysis.pods import addresses
from netinspect.analysis.selection import Selected
from netinspect.mesh.glance import sidecar
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import (
    ContainerEntry,
    ContainerNetwork,
    ContainerPortEntry,
    PodContainers,
    PortClash,
    Role,
    several,
)


def container_network(snapshot: Snapshot, selected: Selected, inside: Inside) -> ContainerNetwork:
    """Lay out each pod's containers with the ports they declare."""
    if snapshot.unseen("pods"):
        return ContainerNetwork(pods=None)
    return ContainerNetwork(
        pods=several(
            _pod(pod, inside) for pod in sorted(selected.pods, key=lambda p: (p.metadata.namespace, p.metadata.name))
        )
    )


def _pod(pod: wire.Pod, inside: Inside) -> PodContainers:
    status = pod.status
    listed = (*status.init_container_statuses, *status.container_statuses, *status.ephemeral_container_statuses)
    states = {s.name: s for s in listed}
    mesh, proxy = sidecar(pod)
    proxies = {proxy: mesh} if mesh else {}
    spec = pod.spec
    entries = (
        *(
            _entry(c, "sidecar" if c.restart_policy == "Always" else "init", states, proxies)
            for c in spec.init_containers
        ),
        *(_entry(c, "container", states, proxies) for c in spec.containers),
        *(_entry(c, "ephemeral", states, proxies) for c in spec.ephemeral_containers),
    )
    return PodContainers(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        node=pod.spec.node_name,
        host_network=pod.spec.host_network,
        addresses=() if finished(pod) else addresses(pod),
        containers=entries,
        clashes=_clashes(entries),
        attachments=of_pod(pod, inside),
        disagreements=disagreements(pod, inside),
    )


def _start(container: wire.Container) -> Role:
    return "sidecar" if container.restart_policy == "Always" else "init"


def _entry(
    container: wire.Container, role: Role, states: dict[str, wire.ContainerStatus], proxies: dict[str, str]
) -> ContainerEntry:
    return ContainerEntry(
        name=container.name,
        role=role,
        state=_state(states.get(container.name)),
        ports=several(
            ContainerPortEntry(port=p.container_port, protocol=p.protocol, name=p.name, host_port=p.host_port)
            for p in container.ports
        ),
        mesh=proxies.get(container.name, ""),
    )


def _state(status: wire.ContainerStatus | None) -> str:
    """Say in a word how a container is: ready, running, or the reason why it is neither."""
    if status is None:
        return "unknown"
    state = status.state
    if state.running is not None:
        return "ready" if status.ready else "running"
    if state.waiting is not None:
        return state.waiting.reason or "waiting"
    if state.terminated is not None:
        return state.terminated.reason or "terminated"
    return "unknown"


def _clashes(containers: tuple[ContainerEntry, ...]) -> tuple[PortClash, ...]:
    """Find ports declared by several containers that run at the same time; init containers have ended by then."""
    claims: dict[tuple[int, str], list[str]] = defaultdict(list)
    for container in containers:
        if container.role != "init":
            for number, protocol in {(p.port, p.protocol) for p in container.ports}:
                claims[number, protocol].append(container.name)
    return several(
        PortClash(port=port, protocol=protocol, containers=several(names))
        for (port, protocol), names in sorted(claims.items())
        if len(names) > 1
    )
