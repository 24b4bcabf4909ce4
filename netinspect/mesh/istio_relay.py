"""How Istio's sidecars go on: straight to a pod's port, where its own rules turn it to its proxy.

Sources: istio/istio pilot/pkg/networking/core/listener_inbound.go, cluster_builder.go (since 1.10 the server's proxy
calls the pod's own address, from 127.0.0.6); tools/istio-iptables/pkg/capture/run.go.
"""

from __future__ import annotations

from typing import Final

from netinspect.mesh.base import Call, Onward, Said, Side
from netinspect.mesh.istio import control
from netinspect.mesh.istio_policy import Policies
from netinspect.mesh.sight import Sight
from netinspect.model.mesh import Capture

USERS: Final = frozenset({1337})
BY_ADDRESS: Final = False
# By this address of its own the proxy's calls are known, so that its rules do not turn them to it again.
_OWN: Final = {4: "127.0.0.6", 6: "::6"}


def outward(call: Call, said: Said, _sight: Sight) -> Onward:
    """Call the pod at its port; what goes to no Service is passed on to where it was meant to go."""
    doubt = _turned(call.client) or said.caveat
    return Onward(call.server.address, call.port, kept=not said.proxied, doubt=doubt)


def inward(call: Call, sight: Sight) -> Onward:
    """Call the pod's own address at the port that was asked for."""
    pod = call.server.pod
    own = Policies(sight.snapshot, control(pod)).sidecar(pod.namespace, pod.labels)
    led = own is not None and bool(own.spec.ingress)
    doubt = _turned(call.server) or ("a Sidecar may lead it to another port of the application" if led else "")
    address = call.server.address
    return Onward(address, call.port, source=_OWN[6 if ":" in address else 4], doubt=doubt)


def _turned(side: Side) -> str:
    transparent = side.presence is not None and side.presence.capture in (Capture.IPTABLES_TPROXY, Capture.CNI_TPROXY)
    return "how a proxy goes on that TPROXY turns traffic to is not followed" if transparent else ""
