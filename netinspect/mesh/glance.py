"""What labels and containers' names alone tell of a mesh: little, and cheap enough for every map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netinspect.model import wire


@dataclass(frozen=True)
class Sign:
    """A proxy's container by its name, and beside it one of these labels or another container: neither is enough."""

    mesh: str
    proxy: str
    labels: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


_SIGNS = (
    Sign("istio", "istio-proxy", ("security.istio.io/tlsMode", "service.istio.io/canonical-name")),
    Sign("linkerd", "linkerd-proxy", ("linkerd.io/control-plane-ns",)),
    Sign("consul", "consul-dataplane", beside=("consul-connect-inject-init",)),
    Sign("kuma", "kuma-sidecar", ("kuma.io/mesh",), ("kuma-init", "kuma-validation")),
    Sign("nginx", "nginx-mesh-sidecar", ("injector.nsm.nginx.com/status",)),
    Sign("osm", "envoy", ("osm-proxy-uuid",)),
)
_BY_PROXY: Mapping[str, Sign] = {sign.proxy: sign for sign in _SIGNS}


def sidecar(pod: wire.Pod) -> tuple[str, str]:
    """Name the mesh whose sidecar a pod has, and its container; nothing says that there is none."""
    names = [c.name for c in (*pod.spec.init_containers, *pod.spec.containers)]
    for name in names:
        sign = _BY_PROXY.get(name)
        if sign is not None and (
            any(label in pod.metadata.labels for label in sign.labels) or any(n in sign.beside for n in names)
        ):
            return sign.mesh, name
    return "", ""
