"""The endpoints of a Service's port, as its EndpointSlices have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netinspect.analysis.backends import SERVICE_NAME, pod_behind, readiness_of
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot


@dataclass(frozen=True)
class Backend:
    """An endpoint of a Service's port."""

    address: str
    pod: str
    ready: bool
    serving: bool
    node: str = ""
    port: int = 0


def backends(
    snapshot: Snapshot, service: wire.Service, port: wire.ServicePort | None, family: int = 0
) -> tuple[Backend, ...]:
    """Give the endpoints of a Service's port, or of all of them, as its EndpointSlices have them.

    ``family`` is 4 or 6 where only those of one are asked for.
    """
    wanted = {4: ("IPv4",), 6: ("IPv6",)}.get(family, ("IPv4", "IPv6", "FQDN", ""))

    def found() -> Iterator[Backend]:
        for piece in snapshot.endpoint_slices:
            meta = piece.metadata
            if (meta.namespace, meta.labels.get(SERVICE_NAME)) != (service.metadata.namespace, service.metadata.name):
                continue
            if piece.address_type not in wanted:
                continue
            named = None if port is None else (port.name, port.protocol)
            answers = [p.port for p in piece.ports or () if named in (None, (p.name, p.protocol))]
            answers = answers or ([0] if port is None else [])
            for endpoint in piece.endpoints or ():
                pod = pod_behind(endpoint, meta.namespace)
                ready, serving = readiness_of(endpoint.conditions)
                for number in answers[:1]:
                    yield from (Backend(address, pod, ready, serving, endpoint.node_name, number or 0)
                                for address in endpoint.addresses)  # fmt: skip

    return tuple(sorted(found(), key=lambda b: (not b.ready, b.pod, b.address)))


def usable(found: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """Give those that kube-proxy sends to: the ready ones, or where there is none the terminating that still serve."""
    return tuple(b for b in found if b.ready) or tuple(b for b in found if b.serving)


def port_of(service: wire.Service, number: int, protocol: str) -> wire.ServicePort | None:
    """Give a Service's port by its number and protocol."""
    return next((p for p in service.spec.ports if (p.port, p.protocol) == (number, protocol)), None)
