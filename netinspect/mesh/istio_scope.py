"""Which Services a client's proxy knows: Sidecars leave Services out, and a Service may be kept from others.

Sources: istio/istio pilot/pkg/model/{sidecar,push_context}.go; istio/api networking/v1alpha3/sidecar.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netinspect.model import wire

_EXPORT = "networking.istio.io/exportTo"


@dataclass(frozen=True)
class Service:
    """A Service's port as clients name it."""

    namespace: str
    name: str
    port: int
    domain: str = "cluster.local"

    @property
    def host(self) -> str:
        """Give its full name."""
        return f"{self.name}.{self.namespace}.svc.{self.domain}"


@dataclass(frozen=True)
class Scope:
    """Whether a proxy knows a Service; None where that hangs on what is not evaluated. ``source`` says why not."""

    known: bool | None
    source: str = ""


def applicable(
    sidecars: Iterable[wire.IstioSidecar], root: str, namespace: str, labels: wire.Labels
) -> wire.IstioSidecar | None:  # fmt: skip
    """Find the Sidecar of a pod: one that selects it, else its namespace's, else the mesh's; of several the oldest."""
    ordered = sorted(sidecars, key=lambda s: s.metadata.creation_timestamp or "")
    own = [s for s in ordered if s.metadata.namespace == namespace]
    picking = (s for s in own if s.spec.workload_selector and s.spec.workload_selector.labels.items() <= labels.items())
    wide = (s for s in (*own, *(s for s in ordered if s.metadata.namespace == root)) if not _selector(s))
    return next(picking, None) or next(wide, None)


def _selector(sidecar: wire.IstioSidecar) -> wire.Labels:
    return sidecar.spec.workload_selector.labels if sidecar.spec.workload_selector else {}


def scope(
    sidecar: wire.IstioSidecar | None, namespace: str, asked: Service, service: wire.Service, led_to: Iterable[str] = ()
) -> Scope:  # fmt: skip
    """Say whether a client's proxy knows a Service; ``led_to`` are the hosts that VirtualServices lead to."""
    meta = service.metadata
    exported = meta.annotations.get(_EXPORT, "*").replace(" ", "").split(",")
    if not {"*", namespace} & set(exported) and not ("." in exported and meta.namespace == namespace):
        return Scope(known=False, source=f"annotation {_EXPORT} of Service {meta.namespace}/{meta.name}")
    if sidecar is None or not sidecar.spec.egress:
        return Scope(known=True)
    name = f"Sidecar {sidecar.metadata.namespace}/{sidecar.metadata.name}"
    # A listener for one port takes that port from those for all.
    at_port = [e for e in sidecar.spec.egress if e.port is not None and e.port.number == asked.port]
    listeners = at_port or [e for e in sidecar.spec.egress if e.port is None or not e.port.number]
    if any(_lists(h, namespace, meta.namespace, asked.host) for e in listeners for h in e.hosts):
        odd = any(e.bind or e.capture_mode not in ("", "DEFAULT", "IPTABLES") for e in listeners)
        return Scope(known=None if odd else True, source=name)
    # What a route leads to is known too, where the route itself is.
    return Scope(known=None if asked.host in led_to else False, source=name)


def _lists(entry: str, own: str, namespace: str, host: str) -> bool:
    place, _, name = entry.partition("/")
    if place not in ("*", namespace) and not (place == "." and own == namespace):
        return False
    return name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))
