"""What the API's objects alone say of a flow: who is selected, where a Service leads, which policies are in the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netinspect.analysis.backends import SERVICE_NAME, pod_behind, readiness_of
from netinspect.analysis.ends import End, Kind
from netinspect.analysis.pods import full_name
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival


@dataclass(frozen=True)
class Backend:
    """An endpoint of a Service's port."""

    address: str
    pod: str
    ready: bool
    serving: bool


@dataclass(frozen=True)
class Expected:
    """What should become of the flow, why, and to whom it may go."""

    arrival: Arrival
    reason: str
    backends: tuple[Backend, ...] = ()


def backends(snapshot: Snapshot, service: wire.Service, port: wire.ServicePort) -> tuple[Backend, ...]:
    """Give the endpoints of a Service's port, as its EndpointSlices have them."""

    def found() -> Iterator[Backend]:
        for piece in snapshot.endpoint_slices:
            meta = piece.metadata
            if (meta.namespace, meta.labels.get(SERVICE_NAME)) != (service.metadata.namespace, service.metadata.name):
                continue
            answers = any((p.name, p.protocol) == (port.name, port.protocol) for p in piece.ports or ())
            for endpoint in piece.endpoints or ():
                pod = pod_behind(endpoint, meta.namespace)
                ready, serving = readiness_of(endpoint.conditions)
                if answers:
                    yield from (Backend(address, pod, ready, serving) for address in endpoint.addresses)

    return tuple(sorted(found(), key=lambda b: (not b.ready, b.pod, b.address)))


def usable(found: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """Give those that kube-proxy sends to: the ready ones, or where there is none the terminating that still serve."""
    return tuple(b for b in found if b.ready) or tuple(b for b in found if b.serving)


def port_of(service: wire.Service, number: int, protocol: str) -> wire.ServicePort | None:
    """Give a Service's port by its number and protocol."""
    return next((p for p in service.spec.ports if (p.port, p.protocol) == (number, protocol)), None)


def selected_by(snapshot: Snapshot, pod: wire.Pod | None, direction: str) -> tuple[str, ...]:
    """Name the NetworkPolicies that select a pod for ``Ingress`` or ``Egress``; the API server fills in the types."""
    if pod is None or pod.spec.host_network:
        return ()
    return tuple(
        f"networkpolicy/{full_name(p.metadata)}"
        for p in snapshot.network_policies
        if p.metadata.namespace == pod.metadata.namespace
        and direction in (p.spec.policy_types or ("Ingress",))
        and p.spec.pod_selector.matches(pod.metadata.labels)
    )


def expect(snapshot: Snapshot, source: End, destination: End, protocol: str) -> Expected:
    """Say what should become of a flow."""
    for end in (source, destination):
        if end.pod is not None and end.pod.status.phase != "Running":
            return Expected(Arrival.LOST, f"pod {end.name} is {end.pod.status.phase or 'not running'}")
    found: tuple[Backend, ...] = ()
    if destination.service is not None and destination.kind is Kind.SERVICE:
        led = _through(snapshot, destination, destination.service, protocol)
        if isinstance(led, Expected):
            return led
        found = led
    names = {b.pod for b in found}
    receivers = [p for p in snapshot.pods if full_name(p.metadata) in names] if names else [destination.pod]
    selecting = [*selected_by(snapshot, source.pod, "Egress")]
    selecting += (name for pod in receivers for name in selected_by(snapshot, pod, "Ingress"))
    policies = tuple(dict.fromkeys(selecting))
    arrival, reason = Arrival.ARRIVES, "every pod reaches every other"
    if policies:
        arrival, reason = Arrival.UNKNOWN, f"{', '.join(policies)} decides, and policies are not evaluated yet"
    elif snapshot.gap("network_policies"):
        arrival, reason = Arrival.UNKNOWN, "NetworkPolicies could not be read"
    elif destination.kind in (Kind.ADDRESS, Kind.EXTERNAL):
        arrival, reason = Arrival.LEAVES, "the address is of nobody in the cluster"
    return Expected(arrival, reason, found)


def _through(snapshot: Snapshot, end: End, service: wire.Service, protocol: str) -> tuple[Backend, ...] | Expected:
    """Give whom a Service leads to, or why it leads to nobody."""
    port = port_of(service, end.port, protocol)
    if port is None:
        listed = ", ".join(f"{p.port}/{p.protocol}" for p in service.spec.ports) or "none"
        return Expected(Arrival.LOST, f"svc/{end.name} has no port {end.port}/{protocol}; it has {listed}")
    if not snapshot.whole("endpoint_slices", service.metadata.namespace):
        return Expected(Arrival.UNKNOWN, "EndpointSlices could not be read")
    found = usable(backends(snapshot, service, port))
    return found or Expected(Arrival.UNREACHABLE, f"svc/{end.name} has no endpoint that is ready")
