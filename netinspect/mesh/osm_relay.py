"""How Open Service Mesh's sidecars go on: straight to a pod's port, and from there to localhost; or as it was meant.

Sources: openservicemesh/osm pkg/envoy/generator/{lds,cds,eds}, pkg/catalog/inbound_traffic_policies.go,
pkg/injector/iptables.go (which in PodIP mode turns the call to localhost to the pod's own address).
"""

from __future__ import annotations

from typing import Final

from netinspect.mesh.base import Call, Onward, Said
from netinspect.mesh.sight import Sight

USERS: Final = frozenset({1500})
BY_ADDRESS: Final = False


def outward(call: Call, said: Said, _sight: Sight) -> Onward:
    """Call the pod at its port; what is of no Service that it knows goes on as it is."""
    if said.proxied:
        return Onward(call.server.address, call.port)
    return Onward(call.address, call.service_port or call.port, kept=True)


def inward(call: Call, _sight: Sight) -> Onward:
    """Call the application on localhost."""
    return Onward("127.0.0.1", call.port)
