"""What Kuma makes of a call between two pods: mutual TLS where their mesh has it on, and who is permitted.

Sources: kumahq/kuma pkg/xds/generator/inbound_proxy_generator.go, pkg/plugins/policies/{meshtls,meshtrafficpermission},
docs/madr/decisions/081-inbound-policies-matches.md.
"""

from __future__ import annotations

from dataclasses import replace

from netinspect.mesh.base import ITSELF, NOTED, Call, Doubt, Said, Side, doubting, in_ports, of_itself, offered
from netinspect.mesh.kuma_effects import of_client, of_server
from netinspect.mesh.kuma_policies import MESH, at_least, by_meshservices, means, mesh_of, named, of_mesh, selects
from netinspect.mesh.sight import Pod, Sight, flag, words
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part, Reach, Transport
from netinspect.model.snapshot import Snapshot

_SETTLED = "kumactl inspect dataplane"
# They choose by more than a port what proxies take.
_UNREAD = (
    "traffic.kuma.io/transparent-proxy-config", "traffic.kuma.io/exclude-outbound-ports-for-uids",
    "traffic.kuma.io/exclude-inbound-ips", "traffic.kuma.io/exclude-outbound-ips",
)  # fmt: skip
# They choose which servers a proxy knows.
_REACHABLE = (
    "kuma.io/reachable-backends", "kuma.io/direct-access-services", "kuma.io/transparent-proxying-reachable-services",
)  # fmt: skip
# The flags by which kuma-init is told the same.
_FLAGS = ("--exclude-outbound-ports-for-uids", "--exclude-inbound-ips", "--exclude-outbound-ips", "--config")
_GATEWAY, _INJECTION = "kuma.io/gateway", "kuma.io/sidecar-injection"
# Said of a Service of which the mesh shall not know.
_IGNORED = "kuma.io/ignore"


@doubting(_SETTLED)
def said(call: Call, sight: Sight) -> Said:
    """Go through the client's proxy, then the server's with its mode and permissions."""
    for side in (call.client, call.server):
        other = side.presence is not None and side.presence.part is not Part.SIDECAR
        if other or _GATEWAY in side.pod.annotations:
            raise Doubt(f"what gateways and proxies of a zone do is not evaluated: {side.pod.object.metadata.name}")
    if of_itself(call):
        raise Doubt(ITSELF)
    client = _takes(call.client, call.service_port or call.port, "outbound")
    server = _takes(call.server, call.port, "inbound")
    if client and (narrowed := next((key for key in _REACHABLE if key in call.client.pod.annotations), "")):
        raise Doubt(f"what {narrowed} does is not evaluated")
    if (":" in call.server.address) != (":" in call.server.pod.object.status.pod_ip):
        raise Doubt("proxies have listeners for one address of each alone, and it is asked for by another")
    if not server:
        return _outside(call, sight, client=client)
    mesh = mesh_of(call.server.pod)
    if client and mesh_of(call.client.pod) != mesh:
        raise Doubt(f"the client is of mesh {mesh_of(call.client.pod)}, the server of {mesh}")
    _known(call, sight)
    mode = _mode(sight, call.server.pod, mesh)
    effects = tuple(of_server(call, sight))
    if not client or not _listened(call, sight):
        return replace(_as_it_is(call, sight, mesh, mode, client=client), effects=effects)
    effects = (*of_client(call, sight), *effects)
    if not mode:
        return replace(_without_tls(call, sight.snapshot, mesh, client=True), effects=effects)
    _straight(call, sight.snapshot, mesh)
    found = _permitted(mode, _permits(sight, call, mesh))
    return replace(found, reasons=_reasons(mesh, mode), proxied=True, effects=effects, identity=_identity(call, sight))


def _reasons(mesh: str, mode: str) -> tuple[Clue, ...]:
    return (Clue(says=f"is {mode.lower()}", source=f"the mode of mutual TLS in Mesh {mesh}", weight=NOTED),)


def _listened(call: Call, sight: Sight) -> bool:
    """Say whether the client's proxy has a listener for an address: a Service's, or a pod's of a headless one.

    By tags that is at the pods' port, by MeshServices at the Service's (outbound_converter.go).
    """
    if call.service is not None and not call.service.headless:
        return True
    pod = call.server.pod
    headless = [s for s in sight.snapshot.services if s.headless and s.selects(pod.object.metadata)]
    named_ports = {p.name: p.container_port for c in pod.containers.values() for p in c.ports}
    ports = {
        (named_ports.get(str(p.target_port), p.target_port or p.port), p.port)
        for s in headless for p in s.spec.ports if p.protocol == "TCP"
    }  # fmt: skip
    asked = call.service_port or call.port
    if (asked, asked) in ports:
        return True
    if any(asked in both for both in ports):
        raise Doubt("whether a headless Service has the client's proxy listen for this port is not evaluated")
    return False


def _as_it_is(call: Call, sight: Sight, mesh: str, mode: str, *, client: bool) -> Said:
    """Say what becomes of a call that comes to the server's proxy as its client sent it."""
    if client and not named(sight.snapshot, mesh).spec.networking.outbound.passthrough:
        raise Doubt(f"Mesh {mesh} lets out what its external services name alone, which is not evaluated")
    if client and of_mesh(sight.snapshot.kuma_passthroughs, mesh):
        raise Doubt("what MeshPassthroughs let out is not evaluated")
    _unaltered(sight.snapshot, mesh)
    if not mode:
        return _without_tls(call, sight.snapshot, mesh, client=False)
    if not offered(sight, call.server.pod, call.port):
        return replace(_undeclared(mode), reasons=_reasons(mesh, mode))
    return replace(_plain(call, sight, mesh, mode), reasons=_reasons(mesh, mode))


def _undeclared(mode: str) -> Said:
    """Say what becomes of a call to a port of no Service, for which the server's proxy has no listener of its own.

    Source: pkg/xds/generator/transparent_proxy_generator.go. What is strict resets it since 2.13, and older versions
    that were mended (kumahq/kuma#15163), unless it was told not to.
    """
    if mode == "STRICT":
        raise Doubt("no Service leads to this port: whether a strict proxy passes it on hangs on its version")
    says = "no Service leads to this port: the server's proxy passes it on as it is"
    return Said(Transport.PLAINTEXT, Reach.REACHED, says)


def _identity(call: Call, sight: Sight) -> str:
    """Give the client's SPIFFE ID where one Service alone gives it one (pkg/xds/envoy/tls/tls.go)."""
    pod = call.client.pod
    ports = [
        (s.metadata.name, p.port) for s in sight.snapshot.services if s.selects(pod.object.metadata)
        for p in s.spec.ports if p.protocol == "TCP" and _IGNORED not in s.metadata.annotations
    ]  # fmt: skip
    if len(ports) != 1:
        return ""
    name = f"{ports[0][0]}_{pod.namespace}_svc_{ports[0][1]}"
    return f"spiffe://{mesh_of(pod)}/{name}"


def _known(call: Call, sight: Sight) -> None:
    """Doubt where a Service of the server's is left out of the mesh."""
    for service in sight.snapshot.services:
        if _IGNORED in service.metadata.annotations and service.selects(call.server.pod.object.metadata):
            raise Doubt(
                f"Service {service.metadata.name} is left out of the mesh by {_IGNORED}, which is not evaluated"
            )


def _plain(call: Call, sight: Sight, mesh: str, mode: str) -> Said:
    """Say what the server's proxy does with what is not encrypted."""
    if mode == "STRICT":
        says = "the server's proxy asks for a certificate of the mesh, and there is none"
        return Said(Transport.PLAINTEXT, Reach.REFUSED, says)
    if not _tls_alone(call) and _permits(sight, call, mesh, certified=False) is not True:
        raise Doubt("whether permissions hold for plaintext hangs on Kuma's version")
    return Said(Transport.PLAINTEXT, Reach.REACHED, "the server's proxy takes plaintext too")


def _tls_alone(call: Call) -> bool:
    """Say whether permissions hold for mutual TLS alone: since 2.5 (kumahq/kuma#8171)."""
    return bool(at_least(call.server.version, 2, 5))


def _permitted(mode: str, permits: bool | None) -> Said:
    caveat = ""
    if mode == "PERMISSIVE":
        if not permits:
            raise Doubt("no permission is sure to let it in, and what it is called by in plaintext needs none")
        caveat = "until all pods of the Service are known to be ready for TLS they are called in plaintext"
    if permits is None:
        says = "which of the permissions of its mesh count is not evaluated"
        return Said(Transport.MTLS, Reach.UNKNOWN, says, settled_by=_SETTLED, caveat=caveat)
    if permits:
        return Said(Transport.MTLS, Reach.REACHED, "the server's proxy lets it in", caveat=caveat)
    says = "no permission lets the client in, and without one nobody is"
    return Said(Transport.MTLS, Reach.DENIED, says, caveat=caveat)


def _takes(side: Side, port: int, way: str) -> bool:
    """Say whether a proxy takes a port: all but those that its pod's annotation leaves out."""
    if side.presence is None or side.taken is not None:
        return bool(side.taken)
    init = side.pod.containers.get("kuma-init")
    if init is not None and words(init):
        # What its annotations say may have changed since.
        unread = next((name for name in _FLAGS if flag(init, name)), "")
        left_out = flag(init, f"--exclude-{way}-ports")
        off = flag(init, f"--redirect-{way}") == "false"
    else:
        unread = next((key for key in _UNREAD if key in side.pod.annotations), "")
        left_out, off = side.pod.annotations.get(f"traffic.kuma.io/exclude-{way}-ports", ""), False
    if unread:
        raise Doubt(f"what {unread} does is not evaluated")
    return side.presence.capture is not Capture.NONE and not off and not in_ports(left_out, port)


def _mode(sight: Sight, pod: Pod, mesh: str) -> str:
    """Give the mode in which a pod's proxy takes connections; nothing where the mesh has no mutual TLS."""
    snapshot = sight.snapshot
    if of_mesh(snapshot.kuma_identities, mesh):
        raise Doubt("what MeshIdentities give to whom is not evaluated")
    mtls = named(snapshot, mesh).spec.mtls
    if not mtls.enabled_backend:
        return ""
    backend = next((b for b in mtls.backends if b.name == mtls.enabled_backend), wire.KumaBackend())
    mode = backend.mode.upper() or "STRICT"
    for policy in of_mesh(snapshot.kuma_tls, mesh):
        said_here = {one.default.mode.upper() for one in (*policy.spec.from_, *policy.spec.rules)} - {"", mode}
        if said_here and selects(policy, pod, sight) is not False:
            name = f"{policy.metadata.namespace}/{policy.metadata.name}"
            raise Doubt(f"MeshTLS {name} asks for another mode than its mesh, and which counts is not evaluated")
    return mode


def _without_tls(call: Call, snapshot: Snapshot, mesh: str, *, client: bool) -> Said:
    """Say what becomes of a call in a mesh without mutual TLS, where permissions have no effect."""
    if client:
        _straight(call, snapshot, mesh)
    reasons = (Clue(says="has no mutual TLS on", source=f"Mesh {mesh}", weight=NOTED),)
    says = "nobody is kept out where there is no mutual TLS"
    return Said(Transport.PLAINTEXT, Reach.REACHED, says, reasons, proxied=client)


def _straight(call: Call, snapshot: Snapshot, mesh: str) -> None:
    """Make sure that a client's proxy takes a call to its Service's own pods."""
    if by_meshservices(call.client, snapshot) and not _has_meshservice(call):
        raise Doubt("the client's proxy knows servers by MeshServices, and the Service has perhaps none")
    _unaltered(snapshot, mesh)
    leading = (
        *snapshot.kuma_http_routes, *snapshot.kuma_tcp_routes,
        # What Kuma itself made for a mesh, before 2.6: a route by which all goes where it is meant to.
        *(r for r in snapshot.kuma_old_routes if r.metadata.name != f"route-all-{mesh}"),
    )  # fmt: skip
    if of_mesh(leading, mesh):
        raise Doubt(f"where the routes of mesh {mesh} lead it is not evaluated")


def _unaltered(snapshot: Snapshot, mesh: str) -> None:
    """Make sure that nothing but policies of access decides what the server's proxy does."""
    altering = (
        *snapshot.kuma_faults, *snapshot.kuma_old_faults, *snapshot.kuma_patches, *snapshot.kuma_old_patches,
    )  # fmt: skip
    if of_mesh(altering, mesh):
        raise Doubt(f"what the faults and patches of mesh {mesh} make of it is not evaluated")


def _has_meshservice(call: Call) -> bool:
    """Say whether Kuma makes a MeshService of the call's Service (meshservice_controller.go)."""
    asked = call.server.pod.asked.get(_INJECTION) in ("enabled", "true")
    return asked or (call.service is not None and MESH in call.service.metadata.labels)


def _outside(call: Call, sight: Sight, *, client: bool) -> Said:
    """Say what becomes of a call to what is not in the mesh, or is left out of it."""
    if not client:
        return Said(Transport.PLAINTEXT, Reach.REACHED, "no proxy takes part")
    if call.server.presence is not None:
        raise Doubt("the client's proxy takes it for the mesh, and the server's leaves this port out")
    mesh = mesh_of(call.client.pod)
    if of_mesh(sight.snapshot.kuma_passthroughs, mesh):
        raise Doubt("what MeshPassthroughs let out is not evaluated")
    if len(call.backends) > 1:
        raise Doubt("other pods of the Service may be in the mesh, which the client's proxy would choose alone")
    if call.service is not None and by_meshservices(call.client, sight.snapshot) and _has_meshservice(call):
        raise Doubt("the client's proxy knows its Service as one of the mesh, and it has no proxy")
    if not named(sight.snapshot, mesh).spec.networking.outbound.passthrough:
        raise Doubt(f"Mesh {mesh} lets out what its external services name alone, which is not evaluated")
    return Said(Transport.PLAINTEXT, Reach.REACHED, "the client's proxy passes it on as it is")


def _permits(sight: Sight, call: Call, mesh: str, *, certified: bool = True) -> bool | None:
    """Say whether permissions let the client in; None where that hangs on which of them counts.

    Without a certificate a client is one of all, and none that is named.
    """
    older = of_mesh(sight.snapshot.kuma_old_permissions, mesh)
    newer = of_mesh(sight.snapshot.kuma_permissions, mesh)
    if older:
        # Where both kinds are, the newer takes the place of the other for some proxies.
        everybody = all(_is_for_all(p.spec.sources) and _is_for_all(p.spec.destinations) for p in older)
        return True if everybody and not newer else None
    certain: set[bool] = set()
    possible: set[bool] = set()
    for policy in newer:
        chosen = selects(policy, call.server.pod, sight)
        if chosen is False:
            continue
        if policy.spec.rules:
            # They name clients by the identities of MeshIdentity.
            return None
        for one in policy.spec.from_:
            covers = means(one.target_ref, call.client.pod)
            covers = covers if certified or one.target_ref.kind in ("", "Mesh") else None
            if covers is not False:
                allows = one.default.action.upper().startswith("ALLOW")
                possible.add(allows)
                if chosen and covers:
                    certain.add(allows)
    if True not in possible:
        return False
    return True if certain == possible == {True} else None


def _is_for_all(selectors: tuple[wire.KumaSelector, ...]) -> bool:
    return any(s.match == {"kuma.io/service": "*"} for s in selectors)
