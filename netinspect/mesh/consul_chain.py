"""Where Consul leads requests for a service: by its router, then its splitter, then its resolver.

Source: hashicorp/consul agent/consul/discoverychain/compile.go.
"""

from __future__ import annotations

from netinspect.mesh.base import Call
from netinspect.mesh.consul_entries import entry
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

_ALL = 100.0


def astray(call: Call, snapshot: Snapshot, service: str) -> str:
    """Say why a request may not go to the service's own instances, all alike; nothing where it does."""
    router = entry(snapshot.service_routers, service)
    if router is not None and (why := _led(call, router, service)):
        return why
    splitter = entry(snapshot.service_splitters, service)
    if splitter is not None:
        own = sum(split.weight for split in splitter.spec.splits if _is_itself(split, service))
        if own < _ALL:
            return f"ServiceSplitter {service} leads part of it elsewhere"
    resolver = entry(snapshot.service_resolvers, service)
    if resolver is not None and (resolver.spec.default_subset or resolver.spec.redirect is not None):
        to = resolver.spec.redirect.service if resolver.spec.redirect is not None else resolver.spec.default_subset
        return f"ServiceResolver {service} leads it to {to or 'another place'}, which is not evaluated"
    return ""


def routed(call: Call, snapshot: Snapshot, service: str) -> tuple[wire.ConsulRouted | None, bool]:
    """Give what the first route that matches does with a request, if there is one, and whether that is certain."""
    router = entry(snapshot.service_routers, service)
    for route in router.spec.routes if router is not None else ():
        matched = _matched(route, call)
        if matched is not False:
            return (route.destination, True) if matched else (None, False)
    return None, True


def _matched(route: wire.ConsulRoute, call: Call) -> bool | None:
    asked = route.match.http if route.match is not None else None
    return True if asked is None else matches(asked, call)


def _led(call: Call, router: wire.ServiceRouter, service: str) -> str:
    """Follow the first route that matches; what none matches goes to the service itself."""
    name = f"ServiceRouter {service}"
    for route in router.spec.routes:
        matched = _matched(route, call)
        if matched is None:
            return f"which route of {name} matches hangs on the request (--path, --method)"
        if matched:
            away = route.destination is not None and not _is_itself(route.destination, service)
            return f"{name} leads it to {route.destination.service}" if away and route.destination is not None else ""
    return ""


def _is_itself(to: wire.ConsulDestination, service: str) -> bool:
    return to.service in ("", service) and not (to.service_subset or to.datacenter or to.peer or to.sameness_group)


def matches(asked: wire.ConsulHTTPMatch, call: Call) -> bool | None:
    """Say whether a request is one of those that are asked for; None where that hangs on what is not known of it."""
    if asked.methods and call.method is not None and call.method.upper() not in {m.upper() for m in asked.methods}:
        return False
    if asked.header or asked.query_param or asked.path_regex or asked.case_insensitive:
        return None
    if asked.path_exact or asked.path_prefix:
        if call.path is None:
            return None
        path = call.path.partition("?")[0]
        if not (path == asked.path_exact if asked.path_exact else path.startswith(asked.path_prefix)):
            return False
    return None if asked.methods and call.method is None else True
