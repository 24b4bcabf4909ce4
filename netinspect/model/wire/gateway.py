"""Kinds of the Gateway API. Source: sigs.k8s.io/gateway-api (apis/v1)."""

from netinspect.model.wire.base import Metadata, NotedMetadata, Term, Wire
from netinspect.model.wire.core import Reason


class GatewayAddress(Wire, frozen=True):
    """An address or name at which a Gateway answers."""

    type: Term = ""
    value: str = ""


class Listener(Wire, frozen=True):
    """A port of a Gateway."""

    name: str = ""
    port: int = 0
    protocol: str = ""
    hostname: str = ""


class GatewaySpec(Wire, frozen=True):
    """What a Gateway asks for."""

    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()


class GatewayStatus(Wire, frozen=True):
    """Where a Gateway can be reached."""

    addresses: tuple[GatewayAddress, ...] = ()


class Gateway(Wire, frozen=True):
    """A Gateway API entry point."""

    metadata: Metadata
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


class RouteParent(Wire, frozen=True):
    """What a route hangs on: a Gateway, or a Service of a mesh (GEP-1426)."""

    group: str = "gateway.networking.k8s.io"
    kind: str = "Gateway"
    name: str = ""
    namespace: str = ""
    port: int = 0


class PathMatch(Wire, frozen=True):
    """A path: Exact, PathPrefix or RegularExpression."""

    type: Term = "PathPrefix"
    value: str = "/"


class RouteMatch(Wire, frozen=True):
    """Which requests a rule is for: all of what it says must hold."""

    path: PathMatch | None = None
    method: str = ""
    headers: tuple[Reason, ...] = ()
    query_params: tuple[Reason, ...] = ()


class RouteBackend(Wire, frozen=True):
    """Where a rule leads, for what share of requests."""

    group: str = ""
    kind: str = "Service"
    name: str = ""
    namespace: str = ""
    port: int = 0
    weight: int = 1


class RouteFilter(Wire, frozen=True):
    """What is done to a request on its way."""

    type: Term = ""


class HTTPRouteRule(Wire, frozen=True):
    """Which requests, and where they go; without a match all."""

    matches: tuple[RouteMatch, ...] = ()
    filters: tuple[RouteFilter, ...] = ()
    backend_refs: tuple[RouteBackend, ...] = ()


class HTTPRouteSpec(Wire, frozen=True):
    """Rules for HTTP requests; more exact ones count first."""

    parent_refs: tuple[RouteParent, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()


class HTTPRoute(Wire, frozen=True):
    """An HTTPRoute (sigs.k8s.io/gateway-api apis/v1, and Linkerd's own copy of it)."""

    metadata: NotedMetadata
    spec: HTTPRouteSpec = HTTPRouteSpec()


class GRPCRouteSpec(Wire, frozen=True):
    """What a route hangs on; its rules are not read."""

    parent_refs: tuple[RouteParent, ...] = ()


class GRPCRoute(Wire, frozen=True):
    """A GRPCRoute (sigs.k8s.io/gateway-api apis/v1)."""

    metadata: Metadata
    spec: GRPCRouteSpec = GRPCRouteSpec()
