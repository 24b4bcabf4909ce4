"""What Linkerd makes of a call between two pods: mutual TLS wherever both proxies take part, routes, and policies."""

from __future__ import annotations

from dataclasses import replace

from netinspect.mesh.base import NOTED, Call, Said, Side, in_ports
from netinspect.mesh.linkerd_effects import of_client, of_server
from netinspect.mesh.linkerd_policy import Client, decide, server_of
from netinspect.mesh.service_routes import Led, follow, of_service
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
_SHARES = "linkerd diagnostics profile"
_DETECTION = "where the server speaks first, nothing comes for the 10 s of protocol detection: mark the port opaque"


def said(call: Call, sight: Sight) -> Said:
    """Go through the client's proxy with its routes, then the server's with its policies."""
    client = call.client.presence is not None and _takes(call.client, call.service_port or call.port, "outbound", _OUT)
    server = call.server.presence is not None and _takes(call.server, call.port, "inbound", _IN)
    reasons = (*_skipped(call.client, client, "outbound"), *_skipped(call.server, server, "inbound"))
    effects: tuple[Effect, ...] = (of_server(),) if server else ()
    if client and call.service is not None:
        snapshot = sight.snapshot
        routes = of_service(call, (*snapshot.http_routes, *snapshot.linkerd_routes))
        profile = _profile(call, snapshot, call.service)
        effects = (*of_client(call.service, routes, profile, opaque=opaque(call, snapshot)), *effects)
        led = _overridden(profile) if profile is not None else follow(call, snapshot, routes)
        if led is not None and (led.fails or led.doubt):
            why = (*reasons, _clue("routes it", led.source))
            if led.fails:
                return Said(Transport.NONE, Reach.FAILED, led.fails, why, proxied=True, effects=effects)
            return Said(Transport.UNKNOWN, Reach.UNKNOWN, led.doubt, why, proxied=True, settled_by=led.settled_by,
                        effects=effects)  # fmt: skip
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


def _profile(call: Call, snapshot: Snapshot, service: wire.Service) -> wire.ServiceProfile | None:
    """Find the ServiceProfile of a Service: that of the client's namespace before that of the Service's."""
    meta, own = service.metadata, call.client.pod.namespace
    found = {
        p.metadata.namespace: p for p in snapshot.service_profiles
        if p.metadata.name.startswith(f"{meta.name}.{meta.namespace}.svc.")
    }  # fmt: skip
    return found.get(own) or found.get(meta.namespace)


def _overridden(profile: wire.ServiceProfile) -> Led | None:
    others = ", ".join(sorted({t.authority for t in profile.spec.dst_overrides}))
    name = f"ServiceProfile {profile.metadata.namespace}/{profile.metadata.name}"
    return Led(name, doubt=f"{name} splits requests between {others}", settled_by=_SHARES) if others else None


def _takes(side: Side, port: int, way: str, otherwise: str) -> bool:
    """Say whether a proxy takes a port: all but those that were skipped when the rules were made."""
    if side.presence is None or side.taken is not None:
        return bool(side.taken)
    if side.presence.capture is Capture.NONE:
        return False
    init = side.pod.containers.get("linkerd-init")
    noted = side.pod.annotations.get(f"config.linkerd.io/skip-{way}-ports", otherwise)
    skipped = flag(init, f"--{way}-ports-to-ignore") if init else noted
    return not in_ports(skipped, port)


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
    return in_ports(ports, call.port)


def _identity(pod: Pod) -> str:
    """Give the name in the certificate of a client's proxy."""
    account = pod.object.spec.service_account_name or "default"
    pattern = variables(pod.containers.get("linkerd-proxy")).get(_NAME, "") or _ANYBODY
    return pattern.replace("$(_pod_sa)", account).replace("$(_pod_ns)", pod.namespace)
