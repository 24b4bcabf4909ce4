"""What AWS App Mesh makes of a call between two pods, as far as its listeners alone decide it.

By which VirtualService, by its name in the request, a proxy takes a call to a backend only AWS's control plane knew.
Sources: aws/aws-app-mesh-controller-for-k8s pkg/inject/{init_proxy,cni_proxy}.go, apis/appmesh/v1beta2;
docs.aws.amazon.com/app-mesh API_ListenerTls, API_EgressFilter.
"""

from __future__ import annotations

from dataclasses import replace

from netinspect.mesh.app_mesh import TOLD
from netinspect.mesh.app_mesh_effects import of_server
from netinspect.mesh.base import ITSELF, NOTED, Call, Doubt, Said, Side, doubting, in_ports, of_itself
from netinspect.mesh.ranges import inside
from netinspect.mesh.sight import Pod, Sight, variables
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part, Reach, Transport

_SETTLED = "the proxy's /config_dump on port 9901"
# What the init container is told, and what is noted for the CNI plug-in in its place.
_PORTS = ("APPMESH_APP_PORTS", "appmesh.k8s.aws/ports")
_LEFT_PORTS = ("APPMESH_EGRESS_IGNORED_PORTS", "appmesh.k8s.aws/egressIgnoredPorts")
_LEFT_ADDRESSES = ("APPMESH_EGRESS_IGNORED_IP", "appmesh.k8s.aws/egressIgnoredIPs")


@doubting(_SETTLED)
def said(call: Call, sight: Sight) -> Said:
    """Go through the client's proxy where it passes all on, then the server's listener."""
    for side in (call.client, call.server):
        if side.presence is not None and side.presence.part is not Part.SIDECAR:
            raise Doubt(f"what gateways do is not evaluated: {side.pod.object.metadata.name}")
    if of_itself(call):
        raise Doubt(ITSELF)
    if ":" in call.server.address:
        raise Doubt("whether IPv6 is turned to the proxies hangs on what their start was told")
    reasons: tuple[Clue, ...] = ()
    if _sends(call):
        node = _node(call.client, sight)
        named = (m for m in sight.snapshot.app_meshes if m.metadata.name == node.spec.mesh_ref.name)
        mesh = next(named, None)
        if mesh is None:
            raise Doubt("the Mesh of the client's proxy was not found")
        if node.spec.backends or node.spec.backend_groups or mesh.spec.egress_filter.type != "ALLOW_ALL":
            raise Doubt("by which VirtualService the client's proxy takes it is not evaluated")
        reasons = (Clue(says="lets all out that is for no backend", source=f"Mesh {mesh.metadata.name}", weight=NOTED),)
    if not _receives(call):
        return Said(Transport.PLAINTEXT, Reach.REACHED, "no proxy changes it", reasons)
    return _let_in(call, sight, reasons)


def _let_in(call: Call, sight: Sight, reasons: tuple[Clue, ...]) -> Said:
    """Say what the listener of the server's VirtualNode makes of plaintext."""
    node = _node(call.server, sight)
    listener = next((one for one in node.spec.listeners if one.port_mapping.port == call.port), None)
    if listener is None:
        raise Doubt("the VirtualNode of the server's proxy has no listener for this port")
    if call.http is False and listener.port_mapping.protocol != "tcp":
        raise Doubt("the server's proxy takes this port for HTTP, and to its Service it is not")
    return replace(_listening(call, node, listener, reasons), effects=tuple(of_server(call.server, node, listener)))


def _listening(
    call: Call, node: wire.VirtualNode, listener: wire.AppMeshListener, reasons: tuple[Clue, ...]
) -> Said:  # fmt: skip
    mode = listener.tls.mode if listener.tls else "DISABLED"
    name = f"VirtualNode {node.metadata.namespace}/{node.metadata.name}"
    reasons = (*reasons, Clue(says=f"listens with TLS {mode}", source=name, weight=NOTED))
    if mode == "STRICT" and not call.http:
        raise Doubt("the server's proxy takes TLS alone, which the application may speak itself")
    if mode == "STRICT":
        says = "the server's proxy takes TLS alone, and nobody speaks it for the client"
        return Said(Transport.PLAINTEXT, Reach.REFUSED, says, reasons)
    return Said(Transport.PLAINTEXT, Reach.REACHED, "the server's proxy takes plaintext", reasons)


def _node(side: Side, sight: Sight) -> wire.VirtualNode:
    """Give the VirtualNode that a proxy was told it is (mesh/MESH/virtualNode/NAME, or a whole ARN)."""
    name = side.presence.proxy if side.presence is not None else ""
    own = variables(side.pod.containers.get(name))
    told = next((own[key] for key in TOLD if own.get(key)), "").rpartition("/")[2]
    found = [n for n in sight.snapshot.virtual_nodes if told and _called(n) == told]
    if len(found) != 1:
        raise Doubt(
            f"there is not one VirtualNode {told}, which the proxy of {side.pod.object.metadata.name} is told of"
        )
    return found[0]


def _called(node: wire.VirtualNode) -> str:
    return node.spec.aws_name or f"{node.metadata.name}_{node.metadata.namespace}"


def _sends(call: Call) -> bool:
    side, port = call.client, call.service_port or call.port
    if side.presence is None or side.taken is not None:
        return bool(side.taken)
    if side.presence.capture is Capture.NONE:
        return False
    left = in_ports(_setting(side.pod, _LEFT_PORTS), port) or inside(call.address, _setting(side.pod, _LEFT_ADDRESSES))
    return not left


def _receives(call: Call) -> bool:
    """Say whether the server's proxy takes it: of the ports that its pod declared as it was made."""
    side = call.server
    if side.presence is None or side.taken is not None:
        return bool(side.taken)
    return side.presence.capture is not Capture.NONE and in_ports(_setting(side.pod, _PORTS), call.port)


def _setting(pod: Pod, names: tuple[str, str]) -> str:
    variable, annotation = names
    return variables(pod.containers.get("proxyinit")).get(variable) or pod.annotations.get(annotation, "")
