"""What Consul makes of a call between two pods: by intentions, and by what its proxies do with what is not in the mesh.

Sources: hashicorp/consul-k8s control-plane/api/v1alpha1, control-plane/connect-inject; a real cluster
(docs of transparent proxy: chains of the client's proxy match a Service's address without a port).
"""

from __future__ import annotations

from dataclasses import replace

from netinspect.mesh.base import NOTED, Call, Doubt, Said, Side, doubting, in_ports, number, true
from netinspect.mesh.consul_chain import astray, matches
from netinspect.mesh.consul_effects import of_client, of_server, scrape
from netinspect.mesh.consul_entries import allowed_by_default, datacenter, defaults, of_all, serves_http
from netinspect.mesh.ranges import inside
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part, Reach, Transport
from netinspect.model.snapshot import Snapshot

_KEY = "consul.hashicorp.com/"
# Who is registered under which name, where it is not its Service's alone.
_CHOOSING = ("kubernetes-service", "consul-namespace")
# Where the webhook has probes go that would be taken by the proxy, and its own (constants.go).
_PROBES = frozenset({*range(20300, 20600), 21000})
_CLOSED = "the server's proxy closes the connection"
_UNTOLD = "consul intention check"


@doubting(_UNTOLD)
def said(call: Call, sight: Sight) -> Said:
    """Say whether the client's proxy takes it, whether the server is in its mesh, and what intentions say of both."""
    parts = {s.presence.part for s in (call.client, call.server) if s.presence is not None}
    if parts - {Part.SIDECAR}:
        raise Doubt("what gateways make of it is not evaluated")
    snapshot = sight.snapshot
    taken, caveat = _taken(call)
    if call.server.presence is None:
        return _outward(taken, snapshot)
    destination = _name(call.server.pod, snapshot)
    effects = tuple(of_server(call, sight, destination)) if _captured(call.server) else ()
    if not taken or call.service is None or call.service.headless:
        return replace(_straight(call, sight, destination, taken=taken), caveat=caveat, effects=effects)
    source = _name(call.client.pod, snapshot)
    if _unknown_to_clients(call, source, destination):
        return replace(_passed_on(call, sight), caveat=caveat, effects=effects)
    effects = (*of_client(call, snapshot, source, destination), *effects)
    found = _led(call, sight, source, destination)
    return replace(found, caveat=caveat, effects=effects, identity=_identity(source, sight, found))


def _taken(call: Call) -> tuple[bool, str]:
    """Say whether the client's proxy takes it, and of which of its users that does not hold."""
    client = call.client.pod
    if call.client.taken is not None:
        return call.client.taken, ""
    caveat = ""
    if client.annotations.get(f"{_KEY}transparent-proxy-exclude-uids") and _captured(call.client):
        caveat = "whether the client runs as one of the users that are left out is not known"
    ranges = client.annotations.get(f"{_KEY}transparent-proxy-exclude-outbound-cidrs", "")
    left_out = _left_out(client, "outbound-ports", call.service_port or call.port) or inside(call.address, ranges)
    return _captured(call.client) and not left_out, caveat


def _straight(call: Call, sight: Sight, destination: str, *, taken: bool) -> Said:
    """Say what becomes of a call by no proxy, or to a pod's own address, of which few proxies know."""
    snapshot = sight.snapshot
    dialed = [d.transparent_proxy for d in (defaults(snapshot, destination), of_all(snapshot))]
    if taken and any(d is not None and d.dialed_directly for d in dialed):
        raise Doubt("whether dialedDirectly lets it through the mesh is not evaluated")
    return _passed_on(call, sight) if taken else _plain(call, sight)


def _passed_on(call: Call, sight: Sight) -> Said:
    """Say what becomes of what the client's proxy knows no service for."""
    return _reset() if _mesh_only(sight.snapshot) else _plain(call, sight)


def _led(call: Call, sight: Sight, source: str, destination: str) -> Said:
    """Follow a service's chain, then its intentions."""
    snapshot = sight.snapshot
    reasons = (_clue("leads to its proxy by mutual TLS", f"service {destination}"),)
    if why := astray(call, snapshot, destination):
        settled = "consul config read"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, why, reasons, proxied=True, settled_by=settled)
    return _intended(call, sight, source, destination, reasons)


def _unknown_to_clients(call: Call, source: str, destination: str) -> bool:
    """Say whether clients' proxies do not know the Service's address.

    It is of their own service, or ignored, or no pod of it has a transparent proxy. Sources: hashicorp/consul
    agent/consul/state/intention.go; hashicorp/consul-k8s endpoints_controller.go.
    """
    ignored = call.service is not None and true(call.service.metadata.labels.get(f"{_KEY}service-ignore"))
    bare = call.server.presence is not None and call.server.presence.capture is Capture.NONE
    if bare and len(call.backends) > 1:
        raise Doubt("whether another pod of the Service has a transparent proxy decides what the client's makes of it")
    return source == destination or bool(ignored) or bare


def _identity(source: str, sight: Sight, found: Said) -> str:
    """Give the client's SPIFFE ID (agent/connect/uri_service.go), but for its trust domain, which no object tells."""
    if found.transport is not Transport.MTLS:
        return ""
    center = datacenter(sight)
    return f"spiffe://…/ns/default/dc/{center}/svc/{source}" if center else ""


def _clue(says: str, source: str) -> Clue:
    return Clue(says=says, source=source, weight=NOTED)


def _captured(side: Side) -> bool:
    if side.taken is not None:
        return side.taken
    return side.presence is not None and side.presence.capture is not Capture.NONE


def _left_out(pod: Pod, what: str, port: int) -> bool:
    """Say whether a port is among those of a list, which may have ranges such as ``8080:8090``."""
    return in_ports(pod.annotations.get(f"{_KEY}transparent-proxy-exclude-{what}", "").replace(":", "-"), port)


def _outward(taken: bool, snapshot: Snapshot) -> Said:
    """Say what becomes of what goes to a pod that is not in the mesh."""
    if taken and _mesh_only(snapshot):
        return _reset()
    says = "the server is not in the mesh" + (": the client's proxy passes it on as it is" if taken else "")
    return Said(Transport.PLAINTEXT, Reach.REACHED, says)


def _mesh_only(snapshot: Snapshot) -> bool:
    return any(m.spec.transparent_proxy.mesh_destinations_only for m in snapshot.consul_meshes if not m.refused)


def _reset() -> Said:
    says = "the client's proxy resets what goes to who is not in the mesh"
    return Said(Transport.NONE, Reach.FAILED, says, (_clue("meshDestinationsOnly", "Mesh"),))


def _plain(call: Call, sight: Sight) -> Said:
    """Say what a server in the mesh makes of what comes without mutual TLS."""
    server = call.server
    snapshot = sight.snapshot
    if server.taken is None and _captured(server) and call.port in _PROBES:
        raise Doubt("whether the proxy has this port for a probe, and leaves it out, is not evaluated")
    scraped = scrape(server.pod, sight)
    left_out = server.taken is None and (
        _left_out(server.pod, "inbound-ports", call.port) or (scraped is not None and call.port == scraped[0])
    )
    if left_out or not _captured(server):
        says = "the server's proxy is not asked at this port"
        return Said(Transport.PLAINTEXT, Reach.REACHED, says)
    own = _name(server.pod, snapshot)
    if _permissive(call, snapshot, own):
        reasons = (_clue("mutualTLSMode permissive", f"defaults of service {own}"),)
        return Said(
            Transport.PLAINTEXT, Reach.REACHED, "it is let in without mutual TLS, whatever intentions say", reasons
        )
    why = "straight to a pod goes out as it is" if _captured(call.client) else "the client has no transparent proxy"
    says = f"the server asks for mutual TLS, and {why}: {_CLOSED}"
    return Said(Transport.PLAINTEXT, Reach.REFUSED, says)


def _intended(call: Call, sight: Sight, source: str, destination: str, reasons: tuple[Clue, ...]) -> Said:
    """Say what intentions let through; the most exact counts, the destination before the source."""
    snapshot = sight.snapshot
    found = Said(Transport.MTLS, Reach.REACHED, "intentions let it through", reasons, proxied=True)
    intention = _intention(snapshot, source, destination)
    if intention is None:
        default = allowed_by_default(sight)
        if default is None:
            says = "no intention is about it, and what holds by default only Consul tells"
            return replace(found, outcome=Reach.UNKNOWN, says=says, settled_by=_UNTOLD)
        denied = "" if default else f"no intention lets it through, and by default nothing is: {_CLOSED}"
    else:
        name, one, tokens = intention
        found = replace(found, reasons=(*reasons, _clue(f"{one.name} → {destination}: {_word(one)}", name)))
        allowed = _permitted(one, call, sight)
        if allowed and tokens:
            raise Doubt(f"{name} asks for a token, and who has which is not known")
        if allowed is None:
            says = f"what {name} permits hangs on the request (--path, --method), or on its token"
            return replace(found, outcome=Reach.UNKNOWN, says=says, settled_by=says)
        if not allowed and one.permissions:
            # Permissions are looked at by the server's proxy, to which it comes by mutual TLS.
            ends = "403" if serves_http(snapshot, destination) else f"it takes connections, not requests, and {_CLOSED}"
            return replace(found, outcome=Reach.DENIED, says=f"{name} denies {source} → {destination}: {ends}")
        closed = f"the client's proxy forgets the service, and {_CLOSED}"
        denied = "" if allowed else f"{name} denies {source} → {destination}: {closed}"
    if denied:
        return _denied(call, sight, replace(found, says=denied))
    port = registered(call.server.pod)
    if port and port != call.port:
        says = f"the client's proxy leads every port of the Service to port {port} of the pod"
        return replace(found, outcome=Reach.FAILED, says=says)
    return found


def _denied(call: Call, sight: Sight, found: Said) -> Said:
    """Say what becomes of a call to a service that the client's proxy is not told of: it goes on as it is."""
    plain = _passed_on(call, sight)
    if plain.outcome is not Reach.REACHED:
        return replace(found, transport=Transport.NONE, outcome=Reach.DENIED)
    if call.server.taken is False:
        return replace(plain, reasons=(*found.reasons, *plain.reasons))
    says = "no intention lets it through by mutual TLS, and as it is the server's proxy may let it in"
    return replace(found, transport=Transport.UNKNOWN, outcome=Reach.UNKNOWN, says=says, settled_by="a probe")


def _word(source: wire.ConsulSource) -> str:
    return source.action or f"{len(source.permissions)} permissions"


def _intention(snapshot: Snapshot, source: str, destination: str) -> tuple[str, wire.ConsulSource, bool] | None:
    """Give the intention that counts, its source, and whether it asks for a token of all."""
    found = [
        (
            intentions.spec.destination.name == "*",
            one.name == "*",
            f"ServiceIntentions {intentions.metadata.name}",
            one,
            intentions.spec.jwt is not None,
        )
        for intentions in snapshot.service_intentions
        if intentions.spec.destination.name in ("*", destination) and not intentions.refused
        for one in intentions.spec.sources
        if one.name in ("*", source) and not one.peer and not one.sameness_group
    ]
    if not found:
        return None
    best = min(found, key=lambda f: f[:3])
    return best[2:]


def _permitted(source: wire.ConsulSource, call: Call, sight: Sight) -> bool | None:
    """Say whether an intention allows: by its action, else by the first permission that matches, else the default.

    Where the server's proxy takes no requests permissions deny all (agent/xds/rbac.go).
    """
    if not source.permissions:
        return source.action == "allow"
    if f"{_KEY}proxy-config-map" in call.server.pod.annotations:
        raise Doubt("which protocol the server's proxy-config-map says is not evaluated")
    if not serves_http(sight.snapshot, _name(call.server.pod, sight.snapshot)):
        return False
    for permission in source.permissions:
        matched = matches(permission.http or wire.ConsulHTTPMatch(), call)
        if matched is None:
            return None
        if matched:
            # Whoever asks with a token of a JWT is not known.
            return None if permission.jwt is not None and permission.action == "allow" else permission.action == "allow"
    return allowed_by_default(sight)


def _permissive(call: Call, snapshot: Snapshot, own: str) -> bool:
    """Say whether a server takes what is no mutual TLS: at its registered port alone (makePermissiveFilterChain)."""
    mode = defaults(snapshot, own).mutual_tls_mode or of_all(snapshot).mutual_tls_mode
    if mode != "permissive":
        return False
    told = call.server.pod.annotations.get(f"{_KEY}connect-service-port", "")
    if "," in told:
        raise Doubt("which of several registered ports takes plaintext is not evaluated")
    return bool(told) and registered(call.server.pod) == call.port


def _name(pod: Pod, snapshot: Snapshot) -> str:
    """Give the name under which a pod is registered: as annotated, or of its Service; doubt where several may be it."""
    named = pod.annotations.get(f"{_KEY}connect-service", "")
    if "," in named or any(f"{_KEY}{key}" in pod.annotations for key in _CHOOSING):
        raise Doubt("under which names and in which namespaces of Consul a pod is registered is not evaluated")
    if named:
        return named
    services = [
        s.metadata.name for s in snapshot.services
        if s.selects(pod.object.metadata) and not true(s.metadata.labels.get(f"{_KEY}service-ignore"))
    ]  # fmt: skip
    if len(services) > 1:
        raise Doubt("several Services select a pod: under which name it is registered is not known")
    return services[0] if services else pod.object.spec.service_account_name


def registered(pod: Pod) -> int:
    """Give the port that is registered for a pod: as annotated, by number or name, else its first; 0 if neither."""
    own = [p for c in pod.object.spec.containers if not c.name.startswith("consul-") for p in c.ports]
    told = pod.annotations.get(f"{_KEY}connect-service-port", "")
    if (port := number(told)) is not None:
        return port
    return next((p.container_port for p in own if not told or p.name == told), 0)
