"""What Kuma makes of a call between two pods: mutual TLS where their mesh has it on, and who is permitted.

Sources: kumahq/kuma pkg/xds/generator/inbound_proxy_generator.go, pkg/plugins/policies/{meshtls,meshtrafficpermission},
docs/madr/decisions/081-inbound-policies-matches.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from netinspect.mesh.base import NOTED, Call, Doubt, Said, Side, doubting, in_ports, offered
from netinspect.mesh.kuma import SIGNATURE
from netinspect.mesh.sight import Pod, Sight, flag, words
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part, Reach, Transport
from netinspect.model.snapshot import Snapshot

_MESH = "kuma.io/mesh"
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
_SYSTEMS = frozenset({"kuma-system", "kong-mesh-system"})
_SUBSETS = frozenset({"MeshSubset", "Dataplane"})
# The flags by which kuma-init is told the same.
_FLAGS = ("--exclude-outbound-ports-for-uids", "--exclude-inbound-ips", "--exclude-outbound-ips", "--config")
_GATEWAY, _INJECTION = "kuma.io/gateway", "kuma.io/sidecar-injection"
# Said of a Service of which the mesh shall not know.
_IGNORED = "kuma.io/ignore"
# Versions that know servers by the pods' tags where their Mesh does not say otherwise.
_BY_TAGS = ("1.", "2.")


@doubting(_SETTLED)
def said(call: Call, sight: Sight) -> Said:
    """Go through the client's proxy, then the server's with its mode and permissions."""
    for side in (call.client, call.server):
        other = side.presence is not None and side.presence.part is not Part.SIDECAR
        if other or _GATEWAY in side.pod.annotations:
            raise Doubt(f"what gateways and proxies of a zone do is not evaluated: {side.pod.object.metadata.name}")
    client = _takes(call.client, call.service_port or call.port, "outbound")
    server = _takes(call.server, call.port, "inbound")
    if not server:
        return _outside(call, sight, client=client)
    mesh = _mesh_of(call.server.pod)
    if client and _mesh_of(call.client.pod) != mesh:
        raise Doubt(f"the client is of mesh {_mesh_of(call.client.pod)}, the server of {mesh}")
    _known(call, sight)
    if not offered(sight, call.server.pod, call.port):
        raise Doubt("no Service leads to this port, for which the server's proxy has perhaps no listener")
    mode = _mode(sight, call.server.pod, mesh)
    if not mode:
        return _without_tls(call, sight.snapshot, mesh, client=client)
    reasons = (Clue(says=f"is {mode.lower()}", source=f"the mode of mutual TLS in Mesh {mesh}", weight=NOTED),)
    if not client:
        return replace(_plain(call, sight, mesh, mode), reasons=reasons)
    _straight(call, sight.snapshot, mesh)
    return replace(_permitted(mode, _permits(sight, call, mesh)), reasons=reasons, proxied=True)


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
    if _permits(sight, call, mesh, certified=False) is not True:
        # Whether those of the old kind are asked for plaintext too hangs on the version.
        raise Doubt("whether permissions hold for plaintext hangs on Kuma's version")
    return Said(Transport.PLAINTEXT, Reach.REACHED, "the server's proxy takes plaintext too")


def _permitted(mode: str, permits: bool | None) -> Said:
    if mode == "PERMISSIVE":
        if not permits:
            raise Doubt("whether permissions hold for what may be plaintext hangs on Kuma's version")
        caveat = "until all pods of the Service are known to be ready for TLS they are called in plaintext"
        return Said(Transport.MTLS, Reach.REACHED, "the server's proxy lets it in", caveat=caveat)
    if permits is None:
        says = "which of the permissions of its mesh count is not evaluated"
        return Said(Transport.MTLS, Reach.UNKNOWN, says, settled_by=_SETTLED)
    if permits:
        return Said(Transport.MTLS, Reach.REACHED, "the server's proxy lets it in")
    return Said(Transport.MTLS, Reach.DENIED, "no permission lets the client in, and without one nobody is")


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
    unread = unread or next((key for key in _REACHABLE if key in side.pod.annotations), "")
    if unread:
        raise Doubt(f"what {unread} does is not evaluated")
    return side.presence.capture is not Capture.NONE and not off and not in_ports(left_out, port)


def _mesh_of(pod: Pod) -> str:
    """Name the mesh that a pod is in, of perhaps several (pkg/plugins/runtime/k8s/util/names.go)."""
    places = (pod.labels, pod.annotations, pod.asked, pod.noted)
    return next((where[_MESH] for where in places if where.get(_MESH)), "default")


def _of(policies: Iterable[wire.KumaPolicy], mesh: str) -> list[wire.KumaPolicy]:
    return [p for p in policies if (p.metadata.labels.get(_MESH) or p.mesh or "default") == mesh]


def _of_name(snapshot: Snapshot, mesh: str) -> wire.KumaMesh:
    found = next((m for m in snapshot.kuma_meshes if m.metadata.name == mesh), None)
    if found is None:
        raise Doubt(f"there is no Mesh {mesh}")
    return found


def _mode(sight: Sight, pod: Pod, mesh: str) -> str:
    """Give the mode in which a pod's proxy takes connections; nothing where the mesh has no mutual TLS."""
    snapshot = sight.snapshot
    if _of(snapshot.kuma_identities, mesh):
        raise Doubt("what MeshIdentities give to whom is not evaluated")
    mtls = _of_name(snapshot, mesh).spec.mtls
    if not mtls.enabled_backend:
        return ""
    backend = next((b for b in mtls.backends if b.name == mtls.enabled_backend), wire.KumaBackend())
    mode = backend.mode.upper() or "STRICT"
    for policy in _of(snapshot.kuma_tls, mesh):
        said_here = {one.default.mode.upper() for one in (*policy.spec.from_, *policy.spec.rules)} - {"", mode}
        if said_here and _selects(policy, pod, sight) is not False:
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
    if call.service is None or call.service.headless:
        raise Doubt("it is asked for by the pod's own address, of which the client's proxy may not know")
    if _by_meshservices(call, snapshot, mesh) and not _has_meshservice(call):
        raise Doubt("the client's proxy knows servers by MeshServices, and the Service has perhaps none")
    changing = (
        *snapshot.kuma_http_routes, *snapshot.kuma_tcp_routes, *snapshot.kuma_faults, *snapshot.kuma_old_faults,
        *snapshot.kuma_patches, *snapshot.kuma_old_patches,
        # What Kuma itself made for a mesh, before 2.6: a route by which all goes where it is meant to.
        *(r for r in snapshot.kuma_old_routes if r.metadata.name != f"route-all-{mesh}"),
    )  # fmt: skip
    if _of(changing, mesh):
        raise Doubt(f"what the routes, faults and patches of mesh {mesh} make of it is not evaluated")


def _by_meshservices(call: Call, snapshot: Snapshot, mesh: str) -> bool:
    """Say whether proxies may know servers by MeshServices (mesh_helpers.go: MeshServicesMode)."""
    mode = _of_name(snapshot, mesh).spec.mesh_services.mode
    version = call.client.presence.version if call.client.presence is not None else ""
    return mode != "Disabled" if mode else not version.startswith(_BY_TAGS)


def _has_meshservice(call: Call) -> bool:
    """Say whether Kuma makes a MeshService of the call's Service (meshservice_controller.go)."""
    asked = call.server.pod.asked.get(_INJECTION) in ("enabled", "true")
    return asked or (call.service is not None and _MESH in call.service.metadata.labels)


def _outside(call: Call, sight: Sight, *, client: bool) -> Said:
    """Say what becomes of a call to what is not in the mesh, or is left out of it."""
    if not client:
        return Said(Transport.PLAINTEXT, Reach.REACHED, "no proxy takes part")
    if call.server.presence is not None:
        raise Doubt("the client's proxy takes it for the mesh, and the server's leaves this port out")
    mesh = _mesh_of(call.client.pod)
    if _of(sight.snapshot.kuma_passthroughs, mesh):
        raise Doubt("what MeshPassthroughs let out is not evaluated")
    if len(call.backends) > 1:
        raise Doubt("other pods of the Service may be in the mesh, which the client's proxy would choose alone")
    if call.service is not None and _by_meshservices(call, sight.snapshot, mesh) and _has_meshservice(call):
        raise Doubt("the client's proxy knows its Service as one of the mesh, and it has no proxy")
    if not _of_name(sight.snapshot, mesh).spec.networking.outbound.passthrough:
        raise Doubt(f"Mesh {mesh} lets out what its external services name alone, which is not evaluated")
    return Said(Transport.PLAINTEXT, Reach.REACHED, "the client's proxy passes it on as it is")


def _permits(sight: Sight, call: Call, mesh: str, *, certified: bool = True) -> bool | None:
    """Say whether permissions let the client in; None where that hangs on which of them counts.

    Without a certificate a client is one of all, and none that is named.
    """
    older = _of(sight.snapshot.kuma_old_permissions, mesh)
    newer = _of(sight.snapshot.kuma_permissions, mesh)
    if older:
        # Where both kinds are, the newer takes the place of the other for some proxies.
        everybody = all(_is_for_all(p.spec.sources) and _is_for_all(p.spec.destinations) for p in older)
        return True if everybody and not newer else None
    certain: set[bool] = set()
    possible: set[bool] = set()
    for policy in newer:
        selects = _selects(policy, call.server.pod, sight)
        if selects is False:
            continue
        if policy.spec.rules:
            # They name clients by the identities of MeshIdentity.
            return None
        for one in policy.spec.from_:
            covers = _means(one.target_ref, call.client.pod)
            covers = covers if certified or one.target_ref.kind in ("", "Mesh") else None
            if covers is not False:
                allows = one.default.action.upper().startswith("ALLOW")
                possible.add(allows)
                if selects and covers:
                    certain.add(allows)
    if True not in possible:
        return False
    return True if certain == possible == {True} else None


def _is_for_all(selectors: tuple[wire.KumaSelector, ...]) -> bool:
    return any(s.match == {"kuma.io/service": "*"} for s in selectors)


def _selects(policy: wire.KumaPolicy, pod: Pod, sight: Sight) -> bool | None:
    """Say whether a policy is for a pod's proxy: one outside of the control plane's namespace is for its own alone."""
    own = policy.metadata.namespace
    if own and own != pod.namespace and own not in _systems(sight):
        return False
    return _means(policy.spec.target_ref, pod)


def _systems(sight: Sight) -> frozenset[str]:
    control = {(key, value) for key, value, _ in SIGNATURE.control}
    found = {p.metadata.namespace for p in sight.pods if control & p.metadata.labels.items()}
    return frozenset(found) or _SYSTEMS


def _means(ref: wire.KumaRef, pod: Pod) -> bool | None:
    """Say whether a pod's proxy is meant; None where that hangs on more than its labels."""
    if ref.proxy_types and "Sidecar" not in ref.proxy_types:
        return False
    if ref.kind in ("", "Mesh"):
        return True
    if ref.kind not in _SUBSETS or ref.name or ref.namespace:
        return None
    wanted = {**ref.tags, **ref.labels}
    # A proxy has its pod's labels, and some that Kuma gives it.
    if any(key in pod.labels and pod.labels[key] != value for key, value in wanted.items()):
        return False
    return True if wanted.items() <= pod.labels.items() and not ref.section_name else None
