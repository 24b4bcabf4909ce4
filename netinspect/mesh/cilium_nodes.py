"""What Cilium does of a mesh's work without being in any pod: by an Envoy and an agent on each node.

Which packets it is done to hangs on policies, routes and Services. Sources: cilium/cilium
install/kubernetes/cilium/templates/cilium-configmap.yaml, Documentation/network/servicemesh.
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.mesh.base import true
from netinspect.mesh.cilium import NAME, TITLE, translates_at_sockets
from netinspect.mesh.sight import Sight
from netinspect.model import wire
from netinspect.model.mesh import Feature

_CONFIG = "cilium-config"
_MUTUAL = "mesh-auth-mutual-enabled"
_PROVED = (
    "the agents of both nodes prove the pods' identities to each other (SPIRE) before packets pass, "
    "which encrypts nothing"
)
_READS = ("enable-envoy-config", "enable-ingress-controller", "enable-gateway-api")
# Settings that are flags, and what they turn on.
_FLAGS = {
    "enable-ingress-controller": "an Envoy on each node serves Ingresses",
    "enable-gateway-api": "an Envoy on each node serves Gateways, and HTTPRoutes of Services",
    _MUTUAL: f"where a policy asks for it, {_PROVED}",
    "enable-ztunnel": "pods of namespaces that are labelled io.cilium/mtls-enabled=true are served by their node's "
                      "ztunnel",
}  # fmt: skip


def features(sight: Sight) -> Iterator[Feature]:
    """Give what its settings and CiliumEnvoyConfigs turn on."""
    settings = sight.settings(_CONFIG)
    for key, says in _FLAGS.items():
        if true(settings.get(key)):
            yield _feature(says, f"ConfigMap {_CONFIG}, {key}")
    if settings.get("loadbalancer-l7") == "envoy":
        yield _feature("an Envoy on each node balances annotated Services", f"ConfigMap {_CONFIG}, loadbalancer-l7")
    for config in _read_by_envoys(sight):
        services = ", ".join(f"{s.namespace or config.metadata.namespace}/{s.name}" for s in config.spec.services)
        says = f"an Envoy on each node takes requests to {services}" if services else "an Envoy on each node listens"
        yield _feature(says, _named(config))


def _feature(says: str, source: str) -> Feature:
    return Feature(mesh=NAME, title=TITLE, says=says, source=source)


def takes(service: wire.Service, sight: Sight) -> str:
    """Say which configuration has the nodes' Envoys take requests to a Service."""
    own = (service.metadata.namespace, service.metadata.name)
    unread = _unread(sight, "cilium_envoy_configs", "cilium_cluster_envoy_configs")
    if unread:
        return f"{unread}, one of which may have the nodes' Envoys take requests to it"
    for config in _read_by_envoys(sight):
        if any((s.namespace or config.metadata.namespace, s.name) == own for s in config.spec.services):
            return f"{_named(config)} has the node's Envoy take requests to it, and what that does is not evaluated"
    return ""


def hides(sight: Sight) -> str:
    """Say that Services' addresses are changed at the applications' sockets."""
    if unread := _unread(sight, "cni_settings"):
        return f"{unread}, by which Cilium may change a Service's address before the client's proxy sees it"
    if not translates_at_sockets(sight):
        return ""
    return (
        "Cilium changes a Service's address at the application's socket, before the client's proxy sees it: "
        "bpf-lb-sock-hostns-only=true in cilium-config leaves Services to the proxy"
    )


def caveat(sight: Sight) -> str:
    """Say what of a call between pods without a proxy hangs on policies."""
    if unread := _unread(sight, "cni_settings"):
        return f"{unread}, by which Cilium may ask for mutual authentication"
    mutual = true(sight.settings(_CONFIG).get(_MUTUAL))
    return f"where a policy of Cilium's asks for authentication, {_PROVED}" if mutual else ""


def _unread(sight: Sight, *kinds: str) -> str:
    """Say which kinds could not be read whole, where Cilium is there; nothing where all were."""
    missing = [k.replace("_", " ") for k in kinds if sight.snapshot.gap(k)] if "cilium.io" in sight.groups else []
    return f"{' and '.join(missing)} could not be read whole" if missing else ""


def _read_by_envoys(sight: Sight) -> tuple[wire.CiliumEnvoyConfig, ...]:
    """Give the configurations, unless the settings are known and none has agents read them."""
    settings = sight.settings(_CONFIG)
    reads = any(true(settings.get(key)) for key in _READS) or settings.get("loadbalancer-l7") == "envoy"
    if settings and not reads:
        return ()
    return (*sight.snapshot.cilium_envoy_configs, *sight.snapshot.cilium_cluster_envoy_configs)


def _named(config: wire.CiliumEnvoyConfig) -> str:
    space, name = config.metadata.namespace, config.metadata.name
    return f"CiliumEnvoyConfig {space}/{name}" if space else f"CiliumClusterwideEnvoyConfig {name}"
