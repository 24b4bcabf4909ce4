"""What NGINX Service Mesh makes of a call between two pods, by the mTLS modes of both and what SMI lets in.

Sources: nginxinc/nginx-service-mesh docs/content/guides/{secure-traffic-mtls,smi-traffic-policies,
inject-sidecar-proxy}.md, pkg/inject/config.go, pkg/apis/mesh/v1alpha2/meshconfig_types.go.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from netinspect.mesh.base import NOTED, Call, Doubt, Said, Side, doubting, in_ports, split_of
from netinspect.mesh.nginx_effects import of_client, of_server
from netinspect.mesh.sight import Sight, flag, words
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Reach, Transport

_MODE = "config.nsm.nginx.com/mtls-mode"
_EGRESS = "config.nsm.nginx.com/default-egress-allowed"
_MODES = ("off", "permissive", "strict")
# NGINX's own ingress controller, which has certificates of the mesh and no sidecar.
_EDGES = ("nsm.nginx.com/enable-ingress", "nsm.nginx.com/enable-egress")
_SETTLED = "nginx-meshctl config"
# What its proxies never take, beside their own metrics, of which the init container is told.
_DNS = 53


@doubting(_SETTLED)
def said(call: Call, sight: Sight) -> Said:
    """Ask both ends' modes, then who may talk to whom."""
    if any(side.pod.labels.get(key) == "true" for side in (call.client, call.server) for key in _EDGES):
        raise Doubt("what the ingress controller of the mesh does is not evaluated")
    client = _takes(call.client, call.service_port or call.port, "outgoing")
    server = _takes(call.server, call.port, "incoming")
    effects = (
        *(of_client(call, sight) if client and server else ()), *(of_server(call, sight) if server else ()),
    )  # fmt: skip
    return replace(_through(call, sight, client=client, server=server), effects=effects)


def _through(call: Call, sight: Sight, *, client: bool, server: bool) -> Said:
    if not client and not server:
        return Said(Transport.PLAINTEXT, Reach.REACHED, "no proxy takes part")
    if not server:
        return _outside(call, _mode(call.client, sight))
    theirs = _mode(call.server, sight)
    if client:
        return _within(call, sight, _mode(call.client, sight), theirs)
    if theirs == "strict":
        says = "the server's proxy asks for a certificate of the mesh, and the client has none"
        return Said(Transport.PLAINTEXT, Reach.REFUSED, says, (_reason(call.server, theirs),))
    _let_in(call, sight)
    says = "the server's proxy takes plaintext too"
    return Said(Transport.PLAINTEXT, Reach.REACHED, says, (_reason(call.server, theirs),))


def _within(call: Call, sight: Sight, client: str, server: str) -> Said:
    """Say what becomes of a call from proxy to proxy."""
    if call.service is None or call.service.headless:
        raise Doubt("it is asked for by the pod's own address, of which the client's proxy may not know")
    if (client == "off") != (server == "off"):
        raise Doubt("mTLS is off at one end alone")
    if "strict" in (client, server) and not _declared(call):
        raise Doubt("the server's pod declares no such port, by which its proxy knows what to let in")
    _let_in(call, sight)
    reasons = (_reason(call.client, client), _reason(call.server, server))
    if client == "off":
        return Said(Transport.PLAINTEXT, Reach.REACHED, "both proxies speak plaintext", reasons, proxied=True)
    return Said(Transport.MTLS, Reach.REACHED, "both proxies let it through", reasons, proxied=True)


def _outside(call: Call, mode: str) -> Said:
    """Say what becomes of a call to what no proxy stands before."""
    if call.server.presence is not None:
        raise Doubt("the client's proxy takes it for the mesh, and the server's leaves this port out")
    reasons = (_reason(call.client, mode),)
    if mode != "strict":
        return Said(Transport.PLAINTEXT, Reach.REACHED, "the client's proxy passes it on in plaintext", reasons)
    if call.client.pod.annotations.get(_EGRESS) == "true":
        raise Doubt("what leaves by the mesh's egress is not evaluated")
    says = "the client's proxy lets nothing out of the mesh: its mTLS is strict"
    return Said(Transport.NONE, Reach.FAILED, says, reasons)


def _let_in(call: Call, sight: Sight) -> None:
    """Let all in that may talk to all; what else decides is not evaluated."""
    if any(c.spec.access_control_mode not in ("", "allow") for c in sight.snapshot.nginx_configs):
        raise Doubt("accessControlMode is not allow, and what TrafficTargets let in is not evaluated")
    pod = call.server.pod
    account = ("ServiceAccount", pod.object.spec.service_account_name or "default", pod.namespace)
    for target in sight.snapshot.traffic_targets:
        to, own = target.spec.destination, target.metadata.namespace
        if (to.kind, to.name, to.namespace or own) == account:
            raise Doubt(f"whom TrafficTarget {own}/{target.metadata.name} lets in is not evaluated")
    if split_of(call, sight.snapshot.traffic_splits) is not None:
        raise Doubt("where the TrafficSplit of the Service leads it is not evaluated")


def _mode(side: Side, sight: Sight) -> str:
    """Give a proxy's mode: what its start was told, unless all are strict."""
    configs = sight.snapshot.nginx_configs
    whole = configs[0].spec.mtls.mode if len(configs) == 1 else ""
    if whole not in _MODES:
        raise Doubt("there is not one MeshConfig that says which mTLS mode the mesh has")
    if whole == "strict":
        return whole
    proxy = side.pod.containers.get("nginx-mesh-sidecar")
    told = (flag(proxy, "--mtls-annotation") if proxy is not None else "").lower()
    # The injector lower-cases it, and drops what is no mode (pkg/pod/pod.go).
    noted = side.pod.annotations.get(_MODE, "").lower()
    if told != (noted if noted in _MODES else ""):
        raise Doubt(f"{_MODE} was changed since the pod was made, and counts for new ones alone")
    return told if told in _MODES else whole


def _reason(side: Side, mode: str) -> Clue:
    meta = side.pod.object.metadata
    return Clue(says=f"has mTLS {mode}", source=f"pod {meta.namespace}/{meta.name}", weight=NOTED)


def _takes(side: Side, port: int, way: str) -> bool:
    """Say whether a proxy takes a port: all but those of which its init container was told."""
    if side.presence is None or side.taken is not None:
        return bool(side.taken)
    init = side.pod.containers.get("nginx-mesh-init")
    if side.presence.capture is Capture.NONE or init is None:
        return False
    told = words(init)
    left = [after for word, after in pairwise(told) if word == f"--ignore-{way}-ports"]
    return port != _DNS and not any(in_ports(ports, port) for ports in left)


def _declared(call: Call) -> bool:
    return any(p.container_port == call.port for c in call.server.pod.containers.values() for p in c.ports)
