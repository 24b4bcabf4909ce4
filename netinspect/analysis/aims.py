"""Whom a client's proxy may call for what its application sends: a pod, or each ready endpoint of a Service."""

from __future__ import annotations

from dataclasses import dataclass

from netinspect.analysis.endpoints import backends, port_of
from netinspect.analysis.flow import Flow, Via
from netinspect.analysis.mesh_pair import Way, is_http, told
from netinspect.analysis.pods import full_name
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

_SETTLES = "the proxy's own configuration, or a probe"


@dataclass(frozen=True)
class Stop:
    """Why a proxy does not go on (``denied`` or ``failed``), or nobody can tell (``unknown``), and what would."""

    result: str
    reason: str
    settles: str = ""


@dataclass(frozen=True)
class Aim:
    """One whom the proxy may call, and the Service by which it does; ``way`` is None where it knows nobody there."""

    address: str
    port: int
    pod: str = ""
    way: Way | None = None


def aims(snapshot: Snapshot, flow: Flow, title: str, *, by_address: bool) -> tuple[Aim, ...] | Stop:
    """Give whom it may call.

    ``by_address`` says that the mesh's proxies know a Service by its address alone, whatever port is asked for.
    """
    destination = flow.destination
    if destination.service is not None:
        return _of_service(snapshot, flow, destination.service, title, by_address=by_address)
    pod = destination.pod
    if not isinstance(pod, wire.NotedPod):
        return Stop("unknown", f"what {title} makes of what goes to no pod or Service is not evaluated", _SETTLES)
    return (Aim(flow.address, flow.port, destination.name, Way(None, 0, told(snapshot, pod, flow.port), ())),)


def _of_service(
    snapshot: Snapshot, flow: Flow, service: wire.Service, title: str, *, by_address: bool
) -> tuple[Aim, ...] | Stop:
    spec, name = service.spec, f"svc/{full_name(service.metadata)}"
    headless = service.headless
    if flow.question.via not in (None, Via.CLUSTER_IP) or not (
        headless or flow.address in (*spec.cluster_ips, spec.cluster_ip)
    ):
        return Stop("unknown", f"what {title} makes of this address of {name} is not evaluated", _SETTLES)
    port = port_of(service, flow.port, flow.question.protocol)
    if port is None and by_address:
        says = f"{name} has no port {flow.port}, and {title} leads every port of its address to its pods"
        return Stop("unknown", says, _SETTLES)
    if port is None:
        return (Aim(flow.address, flow.port),)
    whole = snapshot.whole("endpoint_slices", service.metadata.namespace)
    if not whole or spec.internal_traffic_policy == "Local":
        why = (
            "under internalTrafficPolicy Local is not evaluated" if whole else "hangs on EndpointSlices, unread in part"
        )
        return Stop("unknown", f"whom {title} calls {why}", _SETTLES)
    ready = [b for b in backends(snapshot, service, port, flow.family) if b.ready]
    if headless:
        ready = [b for b in ready if b.address == flow.address]
    if not ready:
        return Stop("failed", f"{name} has no endpoint that is ready: the client's proxy answers in its place")
    way = way_of(snapshot, flow)
    return tuple(Aim(b.address, flow.port if headless else b.port, b.pod, way) for b in ready)


def way_of(snapshot: Snapshot, flow: Flow) -> Way:
    """Give the Service's port that is asked for, with the pods that its selector means, or that there is none."""
    service = flow.destination.service
    port = port_of(service, flow.port, flow.question.protocol) if service is not None else None
    if service is None or port is None:
        pod = flow.destination.pod
        return Way(None, 0, told(snapshot, pod, flow.port) if isinstance(pod, wire.NotedPod) else None, ())
    members = (p for p in snapshot.pods if isinstance(p, wire.NotedPod) and service.selects(p.metadata))
    return Way(service, port.port, is_http(port.app_protocol or port.name), tuple((p, 0) for p in members))
