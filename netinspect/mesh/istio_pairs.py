"""What Istio makes of a call between two pods, step by step: the client's proxy, then the server's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from netinspect.mesh import istio_ambient
from netinspect.mesh.base import NOTED, Call, Said
from netinspect.mesh.istio import control, takes_inbound, takes_outbound, trust_domain
from netinspect.mesh.istio_authorization import Request
from netinspect.mesh.istio_effects import of_client, of_server
from netinspect.mesh.istio_policy import Policies, Routed
from netinspect.mesh.istio_scope import Service
from netinspect.mesh.service_routes import follow, of_service
from netinspect.mesh.sight import Sight, flag
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part, Reach, Transport

_FAILS = "the client's proxy answers 503"
_STRAIGHT = "passes on what goes straight to a pod as it is"
_LET_IN = "the server's proxy lets it in"
_RESET = "the server's proxy resets the connection"
_CLOSED = "under REGISTRY_ONLY ({}) the client's proxy closes what goes to an address it does not know"
_BEYOND = Said(
    Transport.UNKNOWN, Reach.UNKNOWN, "what gateways, waypoints and sidecars beside ambient make is not evaluated",
    settled_by="istioctl ztunnel-config, istioctl proxy-config",
)  # fmt: skip
_STOPPED = Said(Transport.NONE, Reach.FAILED, "", proxied=True)


@dataclass(frozen=True)
class _Ends:
    """Who of the two proxies takes part."""

    client: bool
    server: bool
    reasons: tuple[Clue, ...]


def said(call: Call, sight: Sight) -> Said:
    """Ask those who stand between the two: sidecars, or the nodes' proxies."""
    parts = {s.presence.part for s in (call.client, call.server) if s.presence is not None}
    policies = Policies(sight.snapshot, _control(call))
    if parts == {Part.AMBIENT}:
        return istio_ambient.said(call, sight, policies, _request(call, ""))
    return _BEYOND if parts - {Part.SIDECAR} else _by_sidecars(call, sight, policies)


def _by_sidecars(call: Call, sight: Sight, policies: Policies) -> Said:
    """Go through the client's proxy, how it calls, what the server's asks for, and whether it lets the request in."""
    ends = _ends(call)
    request = _request(call, "")
    subset, reasons, caveat = "", ends.reasons, ""
    effects = tuple(of_server(policies, call.server.pod)) if ends.server else ()
    pod = call.client.pod
    shut = policies.shut(pod.namespace, pod.labels) if ends.client else ""
    service = _service(call)
    if ends.client and service is not None and call.service is not None:
        scope = policies.scope(pod.namespace, pod.labels, service, call.service)
        caveat = f"{scope.source} may keep the client from knowing the server" if scope.known is None else ""
        if scope.known is False:
            service = None
            reasons += (_clue("keeps the client's proxy from knowing the Service", scope.source),)
            if shut:
                return replace(_STOPPED, says=_CLOSED.format(shut), reasons=reasons)
    if ends.client and service is not None:
        routed = _led(call, sight) or policies.route(pod.namespace, pod.labels, service, request)
        effects = (*of_client(policies, pod, service, routed, http=call.http), *effects)
        reasons += (_clue("routes it", routed.source),) if routed.source else ()
        stopped = replace(_STOPPED, reasons=reasons, effects=effects)
        if routed.doubt:
            return replace(stopped, outcome=Reach.UNKNOWN, transport=Transport.UNKNOWN, says=routed.doubt,
                           settled_by=routed.doubt)  # fmt: skip
        subset = routed.subset
        lost = routed.fails or _lost(call, policies, service, subset)
        if lost:
            return replace(stopped, says=lost)
    if service is None and shut and call.service is None:
        says = _CLOSED.format(shut)
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, reasons, settled_by="istioctl proxy-config listeners")
    transport, why = _transport(call, policies, ends, service, subset)
    proxied = ends.client and service is not None
    found = _received(call, policies, ends, transport, (*reasons, *why), proxied=proxied)
    return replace(found, effects=effects, caveat="; ".join(filter(None, (caveat, _patched(call, policies, ends)))))


def _patched(call: Call, policies: Policies, ends: _Ends) -> str:
    """Say where an EnvoyFilter may make all different from what is said."""
    sides = [side.pod for side, taken in ((call.client, ends.client), (call.server, ends.server)) if taken]
    found = dict.fromkeys(filter(None, (policies.patched(pod.namespace, pod.labels) for pod in sides)))
    return f"what {', '.join(found)} changes is not evaluated" if found else ""


def _control(call: Call) -> tuple[str, str]:
    """Give the control plane of the server, else of the client."""
    server, client = control(call.server.pod), control(call.client.pod)
    return server if server[0] else client


def _clue(says: str, source: str) -> Clue:
    return Clue(says=says, source=source, weight=NOTED)


def _ends(call: Call) -> _Ends:
    client, server = call.client, call.server
    reasons = []
    taken = received = False
    if client.presence is not None:
        port = call.service_port or call.port
        taken = client.presence.capture is not Capture.NONE and takes_outbound(client.pod, call.address, port)
        taken = taken if client.taken is None else client.taken
        if not taken:
            reasons.append(_clue(f"leaves out what goes to {call.address} port {port}", "the client's redirection"))
    if server.presence is not None:
        received = server.presence.capture is not Capture.NONE and takes_inbound(server.pod, call.port)
        received = received if server.taken is None else server.taken
        if not received:
            reasons.append(_clue(f"leaves out what comes for port {call.port}", "the server's redirection"))
    return _Ends(taken, received, tuple(reasons))


def _led(call: Call, sight: Sight) -> Routed | None:
    """Follow a Service's routes of the Gateway API, which count for requests alone; None where it has none."""
    led = follow(call, sight.snapshot, of_service(call, sight.snapshot.http_routes)) if call.http is not False else None
    return Routed(source=led.source, fails=led.fails, doubt=led.doubt) if led is not None else None


def _service(call: Call) -> Service | None:
    if call.service is None:
        return None
    meta = call.service.metadata
    return Service(meta.namespace, meta.name, call.service_port, _domain(call))


def _request(call: Call, principal: str) -> Request:
    hosts: tuple[str, ...] = ()
    if call.service is not None:
        name, namespace = call.service.metadata.name, call.service.metadata.namespace
        short = (name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.{_domain(call)}")
        hosts = tuple(f"{host}{port}" for host in short for port in ("", f":{call.service_port}"))
    return Request(call.port, principal, call.client.address, call.http, call.method, call.path, hosts)


def _domain(call: Call) -> str:
    """Give the cluster's domain, as the client's proxy was told: --domain NAMESPACE.svc.DOMAIN."""
    proxy = call.client.pod.containers.get("istio-proxy")
    told = flag(proxy, "--domain") if proxy is not None else ""
    return told.partition(".svc.")[2] or "cluster.local"


def _lost(call: Call, policies: Policies, service: Service, subset: str) -> str:
    """Say why a subset leads nowhere; nothing where it leads to the server."""
    if not subset:
        return ""
    pod = call.client.pod
    rule = policies.rule(pod.namespace, pod.labels, service)
    part = next((s for s in rule.spec.subsets if s.name == subset), None) if rule else None
    if part is None:
        return f"no DestinationRule defines subset {subset}: {_FAILS} (NC)"
    if not any(part.labels.items() <= labels.items() for labels in call.backends):
        return f"no pod of the Service has the labels of subset {subset}: {_FAILS} (UH)"
    if not part.labels.items() <= call.server.pod.labels.items():
        return f"requests go to subset {subset}, of which this pod is none"
    return ""


def _transport(
    call: Call, policies: Policies, ends: _Ends, service: Service | None, subset: str
) -> tuple[Transport, tuple[Clue, ...]]:
    if not ends.client:
        return Transport.PLAINTEXT, ()
    if service is None:
        says = "passes on what goes to nobody that it knows as it is" if call.service else _STRAIGHT
        return Transport.PLAINTEXT, (_clue(says, "the client's proxy"),)
    pod = call.client.pod
    mode = policies.client(pod.namespace, pod.labels, service, subset)
    if mode.mode:
        transport = {"DISABLE": Transport.PLAINTEXT, "ISTIO_MUTUAL": Transport.MTLS}.get(mode.mode, Transport.TLS)
        return transport, (_clue(f"tls mode {mode.mode}", mode.source),)
    marked = [labels.get("security.istio.io/tlsMode") == "istio" for labels in (call.server.pod.labels, *call.backends)]
    # Of a Service without an address all endpoints are called as the least of them.
    headless = call.service is not None and call.service.headless
    ready = call.server.presence is not None and (all(marked) if headless else marked[0])
    own = call.server.pod
    off = policies.server(own.namespace, own.labels, call.port).mode == "DISABLE" or policies.disabled(
        service.namespace
    )
    if policies.automatic and ready and not off:
        return Transport.MTLS, (_clue("is istio, so clients use mutual TLS", "label security.istio.io/tlsMode"),)
    return Transport.PLAINTEXT, ()


def _received(
    call: Call, policies: Policies, ends: _Ends, transport: Transport, reasons: tuple[Clue, ...], *, proxied: bool
) -> Said:  # fmt: skip
    """Say what the server's side makes of what comes."""
    broken = _FAILS if proxied and call.http else _RESET
    if not ends.server:
        if transport is Transport.MTLS:
            says = f"mutual TLS comes to a server that has no proxy for it: {broken}"
            return Said(transport, Reach.REFUSED, says, reasons, proxied=proxied)
        if transport is Transport.TLS:
            says = "TLS comes to the application itself: whether it speaks it is not known"
            return Said(
                transport, Reach.UNKNOWN, says, reasons, proxied=proxied, settled_by="what the application speaks"
            )
        return Said(transport, Reach.REACHED, "no proxy of the server takes part", reasons, proxied=proxied)
    pod = call.server.pod
    mode = policies.server(pod.namespace, pod.labels, call.port)
    reasons = (*reasons, _clue(f"mutual TLS is {mode.mode} at port {call.port}", mode.source or "Istio's default"))
    mutual = transport is Transport.MTLS
    if mode.mode == "STRICT" and not mutual:
        says = f"the server asks for mutual TLS, and this is {transport.value}: {broken}"
        return Said(transport, Reach.REFUSED, says, reasons, proxied=proxied)
    if mode.mode == "DISABLE" and mutual:
        return Said(transport, Reach.REFUSED, f"the server takes no TLS: {broken}", reasons, proxied=proxied)
    return _judged(call, policies, Said(transport, Reach.REACHED, _LET_IN, reasons, proxied=proxied), mode.mode)


def _judged(call: Call, policies: Policies, found: Said, mode: str) -> Said:
    """Say whether the server's proxy lets in what it takes."""
    pod = call.server.pod
    account = call.client.pod.object.spec.service_account_name or "default"
    mutual = found.transport is Transport.MTLS
    domain = trust_domain(call.client.pod) or policies.trust_domain
    principal = f"{domain}/ns/{call.client.pod.namespace}/sa/{account}" if mutual else ""
    decision = policies.authorize(pod.namespace, pod.labels, _request(call, principal))
    reasons = (*found.reasons, _clue(decision.says, decision.policy)) if decision.policy else found.reasons
    found = replace(found, reasons=reasons, identity=f"spiffe://{principal}" if principal else "")
    if decision.allowed is None:
        return replace(found, outcome=Reach.UNKNOWN, says=decision.says, settled_by=decision.says)
    if not decision.allowed:
        answer = "403" if call.http else "the connection is closed"
        says = f"{decision.policy} does not let it in ({decision.says}): {answer}"
        return replace(found, outcome=Reach.DENIED, says=says)
    if mode == "PERMISSIVE" and not mutual and call.http is False:
        says = (
            "under PERMISSIVE a plain client is served where it speaks first, and waits in vain where the server does"
        )
        return replace(found, outcome=Reach.UNKNOWN, says=says, settled_by="which of them speaks first")
    return found
