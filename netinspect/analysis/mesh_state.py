"""Whether a data plane that is in a pod works: its containers' states, and what its namespace shows."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.mesh_kernel import Seen
from netinspect.analysis.moments import COMES_UP, elapsed
from netinspect.mesh.base import Driver, Presence, is_named
from netinspect.mesh.sight import Pod
from netinspect.model import wire
from netinspect.model.mesh import Capture, Part

# What is said, its cause, and the remedy.
Trouble = tuple[str, str, str]
# A container that waits for one of these has not begun yet.
_BEGINS = frozenset({"", "PodInitializing", "ContainerCreating"})


_BROKEN = {
    Part.SIDECAR: "traffic is turned to a proxy that does not take it",
    Part.GATEWAY: "what comes through this gateway is not taken",
    Part.WAYPOINT: "what goes through this waypoint is not taken",
    Part.NODE_PROXY: "what pods of its node send is not taken",
}


def trouble(pod: Pod, presence: Presence, driver: Driver, seen: Seen | None, now: str) -> Trouble | None:
    """Find what keeps the data plane in a pod from working, ``now``: what is said, its cause, and the remedy."""
    failed = _failed_start(pod, driver.SIGNATURE.containers, presence.proxy)
    logs = f"kubectl -n {pod.namespace} logs {pod.object.metadata.name} -c "
    if failed is not None:
        name, reason = failed
        return f"its start fails: {name} {reason}", "without its rules or its proxy nothing passes", f"{logs}{name}"
    state = _state(pod, presence.proxy, now)
    if state and presence.part is not Part.AMBIENT:
        return f"its proxy {presence.proxy} {state}", _BROKEN.get(presence.part, _BROKEN[Part.SIDECAR]), (
            f"{logs}{presence.proxy}"
        )  # fmt: skip
    if presence.waits:
        return presence.waits, "the proxy of its node does not run, or does not follow", "see the pods of ztunnel"
    return _turned(presence, driver, seen) if seen is not None else None


def _turned(presence: Presence, driver: Driver, seen: Seen) -> Trouble | None:
    """Find what keeps traffic from being turned to a proxy, or the proxy from taking it."""
    signature = driver.SIGNATURE
    port = presence.outbound or signature.outbound
    if presence.capture in (Capture.NONE, Capture.EBPF):
        return None
    if seen.captures(signature) is False and (signature.chains or signature.tables):
        return (
            f"no rule of {driver.TITLE} leads anywhere in its namespace: its traffic passes the proxy by",
            "the rules were flushed, or were lost as a node or its agent started anew",
            "make the pod anew",
        )
    if seen.listening is not None and port and port not in seen.listening:
        return (
            f"nobody waits at port {port}, to which its traffic is turned",
            "the proxy does not run, or has not been told its listeners",
            f"see the log of {presence.proxy or 'the proxy of its node'}",
        )
    return None


def _statuses(pod: Pod) -> Iterator[wire.ContainerStatus]:
    status = pod.object.status
    return iter((*status.container_statuses, *status.init_container_statuses))


def _failed_start(pod: Pod, names: tuple[str, ...], proxy: str) -> tuple[str, str] | None:
    for status in pod.object.status.init_container_statuses:
        if status.name == proxy or not is_named(status.name, names):
            continue
        waiting, ended = status.state.waiting, status.state.terminated
        if waiting is not None and waiting.reason not in _BEGINS:
            return status.name, f"waits: {waiting.reason}"
        if ended is not None and ended.reason not in ("", "Completed"):
            return status.name, f"ended: {ended.reason}"
    return None


def _state(pod: Pod, proxy: str, now: str) -> str:
    """Say what is wrong with a container's state; nothing where it runs and is ready, or may still come up."""
    status = next((s for s in _statuses(pod) if s.name == proxy), None)
    if status is None or status.ready or pod.object.metadata.deletion_timestamp:
        return ""
    if status.state.waiting is not None:
        return f"waits: {status.state.waiting.reason}" if status.state.waiting.reason not in _BEGINS else ""
    if status.state.terminated is not None:
        return f"ended: {status.state.terminated.reason or 'no reason was given'}"
    age = elapsed(pod.object.metadata.creation_timestamp, now)
    begun = pod.object.status.phase == "Running" or (age is not None and age > COMES_UP)
    return "is not ready" if status.state.running is not None and begun else ""


def starting(pod: Pod, presence: Presence) -> str:
    """Say that a proxy has not begun, where its state tells that; nothing otherwise."""
    status = next((s for s in _statuses(pod) if s.name == presence.proxy), None)
    if status is None or status.ready or presence.part not in (Part.SIDECAR, Part.GATEWAY):
        return ""
    if pod.object.metadata.deletion_timestamp or status.state.terminated is not None:
        return ""
    return f"its proxy {presence.proxy} has not begun yet"
