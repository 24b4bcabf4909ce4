"""What Istio's ambient mode makes of a call: the ztunnels of both nodes, and a waypoint before the server.

Sources: istio/istio architecture/ambient/ztunnel.md, pilot/pkg/serviceregistry/ambient/{authorization,waypoints}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from msgspec import structs

from netinspect.mesh.base import NOTED, Call, Said
from netinspect.mesh.istio_authorization import Decision, Request, decide
from netinspect.mesh.istio_policy import Policies
from netinspect.mesh.service_routes import Led, follow, of_service
from netinspect.mesh.sight import Sight
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Reach, Transport

_USE = "istio.io/use-waypoint"
_SERVES = "istio.io/waypoint-for"
_BYPASS = "ambient.istio.io/bypass-inbound-capture"
_CONFIG = "istioctl ztunnel-config workload, istioctl waypoint status"
_BY_ZTUNNEL = frozenset({"ALLOW", "DENY"})
_L4_KEYS = frozenset({"source.ip", "source.namespace", "source.principal", "source.serviceAccount", "destination.ip",
                      "destination.port", "remote.ip"})  # fmt: skip


@dataclass(frozen=True)
class _Waypoint:
    """The Gateway to which traffic for a server is bound, and the label that says so."""

    namespace: str
    name: str
    source: str


@dataclass(frozen=True)
class _Asked:
    """A call, and what is looked up for it."""

    call: Call
    sight: Sight
    policies: Policies
    request: Request

    def seen_as(self, principal: str) -> Request:
        """Give the request with the identity that a proxy sees."""
        return replace(self.request, principal=principal)


def said(call: Call, sight: Sight, policies: Policies, request: Request) -> Said:
    """Go from the client's ztunnel, maybe by a waypoint, to the server's, of which at least one takes part."""
    client, server = call.client, call.server
    account = client.pod.object.spec.service_account_name or "default"
    inside = client.presence is not None
    mutual = inside and server.presence is not None
    principal = f"{policies.trust_domain}/ns/{client.pod.namespace}/sa/{account}" if inside else ""
    found = Said(
        Transport.MTLS if mutual else Transport.PLAINTEXT, Reach.REACHED, "",
        identity=f"spiffe://{principal}" if mutual else "", proxied=inside and call.service is not None,
    )  # fmt: skip
    asked = _Asked(call, sight, policies, request)
    bound = _bound(call, sight)
    if isinstance(bound, str):
        return _unknown(found, bound)
    if bound is not None and inside:
        return _by_waypoint(asked, bound, found, principal)
    if bound is not None and call.service is None:
        return _unknown(found, f"whether a client without ztunnel gets past the waypoint {bound.name} is not known")
    return _received(asked, found, principal if mutual else "")


def _unknown(found: Said, says: str, settled_by: str = _CONFIG) -> Said:
    return replace(found, outcome=Reach.UNKNOWN, says=says, settled_by=settled_by)


def _clue(says: str, source: str) -> Clue:
    return Clue(says=says, source=source, weight=NOTED)


def _bound(call: Call, sight: Sight) -> _Waypoint | str | None:
    """Find the waypoint of what is called, a Service or a pod; or say why that is not known."""
    own = call.service.metadata if call.service is not None else call.server.pod.object.metadata
    around = sight.namespaces.get(own.namespace)
    # Where the object says anything, its namespace is not asked.
    said_by: list[tuple[Mapping[str, str], str]] = [(own.labels, f"label {_USE} of {own.name}")]
    if around is not None:
        said_by.append((around.metadata.labels, f"label {_USE} of namespace {own.namespace}"))
    for labels, source in said_by:
        if f"{_USE}-canary" in labels:
            return f"{_USE}-canary sends some of it by another waypoint"
        if _USE not in labels:
            continue
        if labels[_USE] == "none":
            return None
        place = labels.get(f"{_USE}-namespace", own.namespace)
        return _serving(sight, _Waypoint(place, labels[_USE], source), workload=call.service is None)
    return None


def _serving(sight: Sight, bound: _Waypoint, *, workload: bool) -> _Waypoint | None:
    """Give a waypoint if it is there, has an address, and serves what is called."""
    for gateway in sight.snapshot.gateways:
        if (gateway.metadata.namespace, gateway.metadata.name) == (bound.namespace, bound.name):
            serves = gateway.metadata.labels.get(_SERVES, "service")
            fits = serves in ("all", "workload" if workload else "service")
            return bound if fits and gateway.status.addresses else None
    return None


def _by_waypoint(asked: _Asked, bound: _Waypoint, found: Said, principal: str) -> Said:
    """Let the waypoint route and judge; the server's ztunnel then sees the waypoint's identity (ztunnel.md)."""
    call, policies = asked.call, asked.policies
    reasons = (_clue(f"sends it by the waypoint {bound.namespace}/{bound.name}", bound.source),)
    found = replace(found, reasons=reasons, proxied=True)
    if call.server.presence is None:
        return _unknown(found, f"the waypoint {bound.name} calls a server that is not in the mesh")
    if of_l7 := _steered(call, policies):
        return _unknown(found, f"what the waypoint {bound.name} makes of {of_l7} is not evaluated")
    led = _led(asked)
    if led is not None:
        found = replace(found, reasons=(*found.reasons, _clue("routes it", led.source)))
        if led.fails:
            return replace(found, outcome=Reach.FAILED, says=led.fails.replace("the client's proxy", "the waypoint"))
        if led.doubt:
            return _unknown(found, led.doubt, led.settled_by)
    decision = decide(_at_waypoint(policies, call, bound), asked.seen_as(principal))
    ended = _judged(found, decision, "403" if call.http else "the connection is closed")
    if ended.outcome is not Reach.REACHED:
        return ended
    return _received(asked, ended, f"{policies.trust_domain}/ns/{bound.namespace}/sa/{bound.name}")


def _led(asked: _Asked) -> Led | None:
    snapshot = asked.sight.snapshot
    if asked.call.http is False:
        return None
    return follow(asked.call, snapshot, of_service(asked.call, snapshot.http_routes))


def _steered(call: Call, policies: Policies) -> str:
    """Name what of Istio's own objects a waypoint may follow besides routes of the Gateway API."""
    if call.service is None:
        return ""
    meta = call.service.metadata
    return next(policies.about(meta.namespace, meta.name), "")


def _at_waypoint(policies: Policies, call: Call, bound: _Waypoint) -> Iterable[wire.AuthorizationPolicy]:
    """Give the policies that hang on a waypoint, on its class, or on the Service that is called; no selector counts."""
    for policy in policies.authorizations:
        own = policy.metadata.namespace
        targets = (*policy.spec.target_refs, *((policy.spec.target_ref,) if policy.spec.target_ref else ()))
        for target in targets:
            service = call.service.metadata if call.service is not None else None
            hangs = (
                (target.kind == "Gateway" and (own, target.name) == (bound.namespace, bound.name))
                or (target.kind == "GatewayClass" and target.name == "istio-waypoint" and own == policies.root)
                or (target.kind == "Service" and service is not None and (own, target.name) ==
                    (service.namespace, service.name))
            )  # fmt: skip
            if hangs:
                yield policy
                break


def _received(asked: _Asked, found: Said, principal: str) -> Said:
    """Say what the server's ztunnel makes of what comes."""
    call, policies = asked.call, asked.policies
    pod = call.server.pod
    if call.server.presence is None:
        return replace(found, says="no proxy of the server takes part")
    mutual = found.transport is Transport.MTLS
    if not mutual and pod.annotations.get(_BYPASS) == "true":
        return replace(found, says="what comes in plain text goes past its ztunnel",
                       reasons=(*found.reasons, _clue("is true", f"annotation {_BYPASS}")))  # fmt: skip
    mode = policies.ambient(pod.namespace, pod.labels, call.port)
    reason = _clue(f"mutual TLS is {mode.mode} at port {call.port}", mode.source or "Istio's default")
    found = replace(found, reasons=(*found.reasons, reason))
    if mode.mode == "STRICT" and not mutual:
        says = "the server asks for mutual TLS, and this is plaintext: its ztunnel closes the connection"
        return replace(found, outcome=Reach.REFUSED, says=says)
    own = [p for p in policies.selecting(pod.namespace, pod.labels) if p.spec.action in _BY_ZTUNNEL]
    unsure = next((p for p in own if p.metadata.annotations.get("istio.io/dry-run") == "true"), None)
    if unsure is not None:
        name = f"AuthorizationPolicy {unsure.metadata.namespace}/{unsure.metadata.name}"
        return _unknown(found, f"whether {name} is only tried hangs on the control plane's settings")
    reduced = [_for_ztunnel(p) for p in own]
    if None in reduced:
        return _unknown(found, "a DENY asks of requests what a ztunnel cannot see: what is left of it is not known")
    decision = decide((p for p in reduced if p is not None), replace(asked.seen_as(principal), http=False, hosts=()))
    ended = _judged(found, decision, "the connection is closed")
    return replace(ended, says="the server's ztunnel lets it in") if ended.outcome is Reach.REACHED else ended


def _judged(found: Said, decision: Decision, answer: str) -> Said:
    reasons = (*found.reasons, _clue(decision.says, decision.policy)) if decision.policy else found.reasons
    found = replace(found, reasons=reasons)
    if decision.allowed is None:
        return _unknown(found, decision.says, decision.says)
    if decision.allowed:
        return found
    says = f"{decision.policy} does not let it in ({decision.says}): {answer}"
    return replace(found, outcome=Reach.DENIED, says=says)


def _for_ztunnel(policy: wire.AuthorizationPolicy) -> wire.AuthorizationPolicy | None:
    """Give a policy without what only HTTP has; None where what is left of it cannot be told.

    A rule of ALLOW that asks for any of that is gone; one of DENY goes without it, and is gone where nothing is left.
    """
    rules = []
    for rule in policy.spec.rules:
        reduced = wire.AuthorizationRule(
            tuple(structs.replace(f, source=structs.replace(f.source, request_principals=(), not_request_principals=()))
                  for f in rule.from_),
            tuple(structs.replace(t, operation=wire.AuthorizationOperation(
                ports=t.operation.ports, not_ports=t.operation.not_ports)) for t in rule.to),
            tuple(c for c in rule.when if c.key in _L4_KEYS),
        )  # fmt: skip
        if reduced == rule:
            rules.append(rule)
            continue
        if policy.spec.action == "ALLOW":
            continue
        hollow = [f.source == wire.AuthorizationSource() for f in reduced.from_]
        hollow += [t.operation == wire.AuthorizationOperation() for t in reduced.to]
        if not any(hollow) and (hollow or reduced.when):
            rules.append(reduced)
        elif not all(hollow) or reduced.when:
            return None
    return structs.replace(policy, spec=structs.replace(policy.spec, rules=tuple(rules)))
