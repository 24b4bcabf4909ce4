"""What Consul makes of a call between two pods: by intentions, and by what its proxies do with what is not in the mesh.

Sources: hashicorp/consul-k8s control-plane/api/v1alpha1, control-plane/connect-inject; a real cluster
(docs of transparent proxy: chains of the client's proxy match a Service's address without a port).
"""

from __future__ import annotations

from dataclasses import replace

from netinspect.mesh.base import NOTED, Call, Said, Side, number
from netinspect.mesh.consul_chain import astray, matches
from netinspect.mesh.ranges import inside
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part, Reach, Transport
from netinspect.model.snapshot import Snapshot

_KEY = "consul.hashicorp.com/"
_CLOSED = "the server's proxy closes the connection"
_UNTOLD = "consul intention check"


def said(call: Call, sight: Sight) -> Said:
    """Say whether the client's proxy takes it, whether the server is in its mesh, and what intentions say of both."""
    parts = {s.presence.part for s in (call.client, call.server) if s.presence is not None}
    if parts - {Part.SIDECAR}:
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, "what gateways make of it is not evaluated", settled_by=_UNTOLD)
    snapshot = sight.snapshot
    client = call.client.pod
    doubt = ""
    taken = call.client.taken
    if taken is None:
        if client.annotations.get(f"{_KEY}transparent-proxy-exclude-uids") and _captured(call.client):
            doubt = "whether the client runs as one of the users that are left out is not known"
        taken = _captured(call.client) and not _left_out(client, "outbound-ports", call.service_port or call.port)
        taken = taken and not inside(
            call.address, client.annotations.get(f"{_KEY}transparent-proxy-exclude-outbound-cidrs", "")
        )
    if call.server.presence is None:
        return _outward(taken, snapshot)
    if not taken or call.service is None or call.service.headless:
        return _plain(call, snapshot)
    destination, source = _name(call.server.pod, snapshot), _name(client, snapshot)
    if not destination or not source:
        says = "several Services select a pod: under which name it is registered is not known"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, proxied=True, settled_by="consul catalog services")
    reasons = (_clue("leads to its proxy by mutual TLS", f"service {destination}"),)
    led = astray(call, snapshot, destination)
    if led:
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, led, reasons, proxied=True, settled_by="consul config read")
    return replace(_intended(call, snapshot, destination, reasons), caveat=doubt)


def _clue(says: str, source: str) -> Clue:
    return Clue(says=says, source=source, weight=NOTED)


def _captured(side: Side) -> bool:
    if side.taken is not None:
        return side.taken
    return side.presence is not None and side.presence.capture is not Capture.NONE


def _left_out(pod: Pod, what: str, port: int) -> bool:
    return str(port) in pod.annotations.get(f"{_KEY}transparent-proxy-exclude-{what}", "").split(",")


def _outward(taken: bool, snapshot: Snapshot) -> Said:
    """Say what becomes of what goes to a pod that is not in the mesh."""
    if taken and any(m.spec.transparent_proxy.mesh_destinations_only for m in snapshot.consul_meshes):
        reasons = (_clue("meshDestinationsOnly", "Mesh"),)
        says = "the client's proxy resets what goes to who is not in the mesh"
        return Said(Transport.NONE, Reach.FAILED, says, reasons)
    says = "the server is not in the mesh" + (": the client's proxy passes it on as it is" if taken else "")
    return Said(Transport.PLAINTEXT, Reach.REACHED, says)


def _plain(call: Call, snapshot: Snapshot) -> Said:
    """Say what a server in the mesh makes of what comes without mutual TLS."""
    server = call.server
    left_out = server.taken is None and _left_out(server.pod, "inbound-ports", call.port)
    if left_out or not _captured(server):
        says = "the server's proxy is not asked at this port"
        return Said(Transport.PLAINTEXT, Reach.REACHED, says)
    own = _name(server.pod, snapshot)
    modes = [d.spec.mutual_tls_mode for d in snapshot.service_defaults if d.metadata.name == own]
    modes += [d.spec.mutual_tls_mode for d in snapshot.proxy_defaults]
    if next(filter(None, modes), "") == "permissive":
        reasons = (_clue("mutualTLSMode permissive", f"defaults of service {own}"),)
        return Said(
            Transport.PLAINTEXT, Reach.REACHED, "it is let in without mutual TLS, whatever intentions say", reasons
        )
    why = "straight to a pod goes out as it is" if _captured(call.client) else "the client has no transparent proxy"
    says = f"the server asks for mutual TLS, and {why}: {_CLOSED}"
    return Said(Transport.PLAINTEXT, Reach.REFUSED, says)


def _intended(call: Call, snapshot: Snapshot, destination: str, reasons: tuple[Clue, ...]) -> Said:
    """Say what intentions let through; the most exact counts, the destination before the source."""
    found = Said(Transport.MTLS, Reach.REACHED, "intentions let it through", reasons, proxied=True)
    source = _name(call.client.pod, snapshot)
    intention = _intention(snapshot, source, destination)
    if intention is None:
        default = _default(snapshot)
        if default is None:
            says = "no intention is about it, and what holds by default only Consul tells"
            return replace(found, outcome=Reach.UNKNOWN, says=says, settled_by=_UNTOLD)
        if not default:
            says = f"no intention lets it through, and by default nothing is: {_CLOSED}"
            return replace(found, transport=Transport.NONE, outcome=Reach.DENIED, says=says)
    else:
        name, one = intention
        found = replace(found, reasons=(*reasons, _clue(f"{one.name} → {destination}: {_word(one)}", name)))
        allowed = _permitted(one, call)
        if allowed is None:
            says = f"what {name} permits hangs on the request (--path, --method)"
            return replace(found, outcome=Reach.UNKNOWN, says=says, settled_by=says)
        if not allowed:
            says = f"{name} denies {source} → {destination}: "
            says += "403" if one.permissions else f"the client's proxy forgets the service, and {_CLOSED}"
            # Permissions are looked at by the server's proxy, to which it comes by mutual TLS.
            transport = Transport.MTLS if one.permissions else Transport.NONE
            return replace(found, transport=transport, outcome=Reach.DENIED, says=says)
    port = registered(call.server.pod)
    if port and port != call.port:
        says = f"the client's proxy leads every port of the Service to port {port} of the pod"
        return replace(found, outcome=Reach.FAILED, says=says)
    return found


def _word(source: wire.ConsulSource) -> str:
    return source.action or f"{len(source.permissions)} permissions"


def _intention(snapshot: Snapshot, source: str, destination: str) -> tuple[str, wire.ConsulSource] | None:
    found = [
        (intentions.spec.destination.name == "*", one.name == "*", f"ServiceIntentions {intentions.metadata.name}", one)
        for intentions in snapshot.service_intentions
        if intentions.spec.destination.name in ("*", destination)
        for one in intentions.spec.sources
        if one.name in ("*", source) and not one.peer and not one.sameness_group
    ]
    if not found:
        return None
    best = min(found, key=lambda f: f[:3])
    return best[2], best[3]


def _permitted(source: wire.ConsulSource, call: Call) -> bool | None:
    """Say whether an intention allows: by its action, else by the first permission that matches; none denies."""
    if not source.permissions:
        return source.action == "allow"
    for permission in source.permissions:
        matched = matches(permission.http or wire.ConsulHTTPMatch(), call)
        if matched is None:
            return None
        if matched:
            return permission.action == "allow"
    return False


def _default(snapshot: Snapshot) -> bool | None:
    """Say what holds without an intention: all is let through where the servers have no ACLs; else only they know."""
    for settings in snapshot.mesh_settings:
        if settings.metadata.name.endswith("consul-server-config"):
            texts = (*settings.data, *settings.data.values())
            return None if any("acl" in t or "default_intention_policy" in t for t in texts) else True
    return None


def _name(pod: Pod, snapshot: Snapshot) -> str:
    """Give the name under which a pod is registered: as annotated, of its Service, or of its account.

    Nothing where several Services select it.
    """
    if named := pod.annotations.get(f"{_KEY}connect-service"):
        return named
    services = [
        s.metadata.name for s in snapshot.services
        if s.selects(pod.object.metadata) and s.metadata.labels.get(f"{_KEY}service-ignore") != "true"
    ]  # fmt: skip
    if len(services) > 1:
        return ""
    return services[0] if services else pod.object.spec.service_account_name


def registered(pod: Pod) -> int:
    """Give the port that is registered for a pod: as annotated, by number or name, else its first; 0 if neither."""
    own = [p for c in pod.object.spec.containers if not c.name.startswith("consul-") for p in c.ports]
    told = pod.annotations.get(f"{_KEY}connect-service-port", "")
    if (port := number(told)) is not None:
        return port
    return next((p.container_port for p in own if not told or p.name == told), 0)
