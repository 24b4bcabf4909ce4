"""What Linkerd makes of a call between two pods: mutual TLS wherever both proxies take part, routes, and policies."""

from __future__ import annotations

from dataclasses import replace

from netinspect.mesh.base import NOTED, Call, Said, Side, number
from netinspect.mesh.linkerd_effects import of_client, of_server
from netinspect.mesh.linkerd_policy import Client, decide, server_of
from netinspect.mesh.sight import Pod, Sight, flag, variables
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Effect, Reach, Transport
from netinspect.model.snapshot import Snapshot

_OPAQUE = "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"
# Proves an identity whose name its proxy was not told here; the trust domain is not known.
_ANYBODY = "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local"
_NAME = "LINKERD2_PROXY_IDENTITY_LOCAL_NAME"
# What the chart sets for the ports that are skipped (values.yaml, proxyInit).
_IN, _OUT = "4190,4191,4567,4568", "4567,4568"
_DETECTION = "where the server speaks first, nothing comes for the 10 s of protocol detection: mark the port opaque"


def said(call: Call, sight: Sight) -> Said:
    """Go through the client's proxy with its routes, then the server's with its policies."""
    client = call.client.presence is not None and _takes(call.client, call.service_port or call.port, "outbound", _OUT)
    server = call.server.presence is not None and _takes(call.server, call.port, "inbound", _IN)
    reasons = (*_skipped(call.client, client, "outbound"), *_skipped(call.server, server, "inbound"))
    effects: tuple[Effect, ...] = (of_server(),) if server else ()
    if client and call.service is not None:
        routes = _routes(call, sight.snapshot, call.service)
        effects = (*of_client(call.service, routes, opaque=opaque(call, sight.snapshot)), *effects)
        routed = _route(call, sight.snapshot, call.service, routes)
        if routed is not None:
            return replace(routed, reasons=(*reasons, *routed.reasons), proxied=True, effects=effects)
    transport = Transport.MTLS if client and server else Transport.PLAINTEXT
    identity = _identity(call.client.pod) if client and server else ""
    proxied = client and call.service is not None
    waits = call.http is False and (client or server) and not opaque(call, sight.snapshot)
    caveat = _DETECTION if waits else ""
    found = Said(transport, Reach.REACHED, "", reasons, identity, proxied, caveat=caveat, effects=effects)
    if not server:
        return replace(found, says="no proxy of the server takes part")
    decision = decide(sight.snapshot, call.server.pod, call.port, Client(identity, call.client.address))
    reasons = (*reasons, _clue(decision.says or "lets it in", decision.by))
    if decision.allowed is None:
        return replace(
            found, outcome=Reach.UNKNOWN, says=decision.says, reasons=reasons, settled_by="linkerd diagnostics"
        )
    if not decision.allowed:
        answer = "the connection is closed" if call.http is False else "403"
        says = f"{decision.by} does not let it in ({decision.says}): {answer}"
        return replace(found, outcome=Reach.DENIED, says=says, reasons=reasons)
    return replace(found, says="the server's proxy lets it in", reasons=reasons)


def _clue(says: str, source: str) -> Clue:
    return Clue(says=says, source=source, weight=NOTED)


def _takes(side: Side, port: int, way: str, otherwise: str) -> bool:
    """Say whether a proxy takes a port: all but those that were skipped when the rules were made."""
    if side.presence is None or side.taken is not None:
        return bool(side.taken)
    if side.presence.capture is Capture.NONE:
        return False
    init = side.pod.containers.get("linkerd-init")
    noted = side.pod.annotations.get(f"config.linkerd.io/skip-{way}-ports", otherwise)
    skipped = flag(init, f"--{way}-ports-to-ignore") if init else noted
    return not any(_holds(part, port) for part in skipped.split(","))


def _holds(ports: str, port: int) -> bool:
    first, _, last = ports.strip().partition("-")
    low = number(first)
    high = number(last)
    return low is not None and low <= port <= (low if high is None else high)


def _skipped(side: Side, taken: bool, way: str) -> tuple[Clue, ...]:
    if side.presence is None or taken:
        return ()
    return (_clue(f"leaves out this port ({way})", f"the redirection of {side.pod.object.metadata.name}"),)


def opaque(call: Call, snapshot: Snapshot) -> bool:
    """Say whether the proxies pass a port's bytes on without looking at them."""
    server = server_of(snapshot, call.server.pod, call.port) if call.server.presence is not None else None
    if server is not None and server.spec.proxy_protocol in ("opaque", "TLS"):
        return True
    ports = variables(call.server.pod.containers.get("linkerd-proxy")).get(_OPAQUE, "")
    return any(_holds(part, call.port) for part in ports.split(","))


def _identity(pod: Pod) -> str:
    """Give the name in the certificate of a client's proxy."""
    account = pod.object.spec.service_account_name or "default"
    pattern = variables(pod.containers.get("linkerd-proxy")).get(_NAME, "") or _ANYBODY
    return pattern.replace("$(_pod_sa)", account).replace("$(_pod_ns)", pod.namespace)


def _routes(call: Call, snapshot: Snapshot, service: wire.Service) -> list[wire.HTTPRoute]:
    return [r for r in (*snapshot.http_routes, *snapshot.linkerd_routes) if _hangs(r, service, call)]


def _route(call: Call, snapshot: Snapshot, service: wire.Service, routes: list[wire.HTTPRoute]) -> Said | None:
    """Say where the routes of a Service lead; None where they lead to its own pods, or there are none."""
    if not routes:
        return None
    name = f"HTTPRoute {routes[0].metadata.namespace}/{routes[0].metadata.name}"
    reasons = (_clue("routes it", name),)
    odd = routes[0].spec.hostnames or any(_unclear(m, call) for r in routes[0].spec.rules for m in r.matches)
    if not call.http or call.path is None or len(routes) > 1 or odd:
        doubt = f"where {name} leads hangs on the request (--path)"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, doubt, reasons, settled_by=doubt)
    matching = [(m, rule) for rule in routes[0].spec.rules for m in (rule.matches or (wire.RouteMatch(),))]
    exact = [(length, rule) for m, rule in matching if (length := _matched(m, call)) is not None]
    if not exact:
        return Said(Transport.NONE, Reach.FAILED, f"no rule of {name} matches: the client's proxy answers 404", reasons)
    rule = max(exact, key=lambda found: found[0])[1]
    return _led(rule, snapshot, service, name, reasons)


def _led(
    rule: wire.HTTPRouteRule, snapshot: Snapshot, service: wire.Service, name: str, reasons: tuple[Clue, ...]
) -> Said | None:
    own = service.metadata
    backends = [b for b in rule.backend_refs if b.weight]
    known = {(s.metadata.namespace, s.metadata.name) for s in snapshot.services}
    places = [(b.namespace or own.namespace, b.name) for b in backends]
    if backends and all(p not in known and snapshot.whole("services", p[0]) for p in places):
        says = f"{name} leads to Service {backends[0].name}, which is not there: the client's proxy answers 500"
        return Said(Transport.NONE, Reach.FAILED, says, reasons)
    if (
        rule.filters
        or not backends
        or any((b.namespace or own.namespace, b.name) != (own.namespace, own.name) for b in backends)
    ):
        others = ", ".join(sorted({b.name for b in backends})) or "nowhere"
        says = f"{name} leads to {others}, or changes it"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, reasons, settled_by=f"netinspect mesh POD svc/{others}")
    return None


def _hangs(route: wire.HTTPRoute, service: wire.Service, call: Call) -> bool:
    """Say whether a route is of a Service, for this client: of its own namespace for all, of another for its own."""
    meta = service.metadata
    return route.metadata.namespace in (meta.namespace, call.client.pod.namespace) and any(
        p.kind == "Service" and p.name == meta.name and (p.namespace or route.metadata.namespace) == meta.namespace
        and p.port in (0, call.service_port)
        for p in route.spec.parent_refs
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
        return 10_000 if own == path.value else None
    prefix = path.value.rstrip("/")
    return len(prefix) if own == prefix or own.startswith(f"{prefix}/") else None
