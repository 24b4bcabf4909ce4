"""Where routes of the Gateway API lead that hang on a Service (GAMMA), which several meshes follow alike.

Sources: kubernetes-sigs/gateway-api geps/gep-1426, apis/v1/{httproute,grpcroute}_types.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netinspect.mesh.base import Call
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

# What these filters do keeps a request on its way.
_HARMLESS = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"})
_EXACT = 10_000


@dataclass(frozen=True)
class Led:
    """What the routes of a Service make of a call: why it goes nowhere, or why where it goes is not known.

    With neither it goes to the Service's own pods. ``settled_by`` is of a doubt.
    """

    source: str
    fails: str = ""
    doubt: str = ""
    settled_by: str = ""


def of_service(call: Call, routes: Iterable[wire.HTTPRoute]) -> list[wire.HTTPRoute]:
    """Give the routes that hang on a Service, for this client."""
    return [r for r in routes if _hangs(r.metadata.namespace, r.spec.parent_refs, call)]


def follow(call: Call, snapshot: Snapshot, routes: list[wire.HTTPRoute]) -> Led | None:
    """Say where the routes of a Service lead; None where it has none."""
    for other in snapshot.grpc_routes:
        if _hangs(other.metadata.namespace, other.spec.parent_refs, call):
            name = f"GRPCRoute {other.metadata.namespace}/{other.metadata.name}"
            doubt = f"where {name} leads hangs on the method that is called"
            return Led(name, doubt=doubt, settled_by="a call of that method")
    if not routes or call.service is None:
        return None
    name = f"HTTPRoute {routes[0].metadata.namespace}/{routes[0].metadata.name}"
    rules = routes[0].spec.rules or (wire.HTTPRouteRule(),)
    odd = routes[0].spec.hostnames or any(_unclear(m, call) for r in rules for m in r.matches)
    if not call.http or call.path is None or len(routes) > 1 or odd:
        doubt = f"where {name} leads hangs on the request (--path)"
        return Led(name, doubt=doubt, settled_by=doubt)
    matching = [(m, rule) for rule in rules for m in (rule.matches or (wire.RouteMatch(),))]
    exact = [(length, rule) for m, rule in matching if (length := _matched(m, call)) is not None]
    if not exact:
        return Led(name, fails=f"no rule of {name} matches: the client's proxy answers 404")
    rule = max(exact, key=lambda found: found[0])[1]
    return _led(rule, snapshot, call.service, name)


def _led(rule: wire.HTTPRouteRule, snapshot: Snapshot, service: wire.Service, name: str) -> Led:
    own = service.metadata
    backends = [b for b in rule.backend_refs if b.weight]
    known = {(s.metadata.namespace, s.metadata.name) for s in snapshot.services}
    places = [(b.namespace or own.namespace, b.name) for b in backends]
    if backends and all(p not in known and snapshot.whole("services", p[0]) for p in places):
        return Led(name, fails=f"{name} leads to Service {backends[0].name}, which is not there: the client's proxy "
                               f"answers 500")  # fmt: skip
    if any(f.type == "RequestRedirect" for f in rule.filters):
        return Led(name, fails=f"{name} has the client's proxy answer with a redirection")
    changed = any(f.type not in _HARMLESS for f in rule.filters)
    if changed or not backends or any(p != (own.namespace, own.name) for p in places):
        others = ", ".join(sorted({b.name for b in backends})) or "nowhere"
        doubt = f"{name} leads to {others}, or changes it"
        return Led(name, doubt=doubt, settled_by=f"netinspect mesh POD svc/{others}")
    return Led(name)


def _hangs(own: str, parents: Iterable[wire.RouteParent], call: Call) -> bool:
    """Say whether a route is of a Service, for this client: of its own namespace for all, of another for its own."""
    if call.service is None:
        return False
    meta = call.service.metadata
    return own in (meta.namespace, call.client.pod.namespace) and any(
        p.kind == "Service" and p.name == meta.name and (p.namespace or own) == meta.namespace
        and p.port in (0, call.service_port)
        for p in parents
    )  # fmt: skip


def _unclear(match: wire.RouteMatch, call: Call) -> bool:
    """Say whether what a match asks is not known: headers, expressions, or a method that was not named."""
    expression = match.path is not None and match.path.type == "RegularExpression"
    return bool(match.headers or match.query_params or expression or (match.method and call.method is None))


def _matched(match: wire.RouteMatch, call: Call) -> int | None:
    """Say how exactly a match holds, by the length of its path; None where it does not."""
    if match.method and match.method != call.method:
        return None
    path, own = match.path, (call.path or "/").partition("?")[0]
    if path is None:
        return 0
    if path.type == "Exact":
        return _EXACT if own == path.value else None
    prefix = path.value.rstrip("/")
    return len(prefix) if own == prefix or own.startswith(f"{prefix}/") else None
