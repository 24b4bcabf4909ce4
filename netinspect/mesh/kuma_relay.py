"""How Kuma's sidecars go on: straight to a pod's port, where its own rules turn it to its proxy, or as it was meant.

Sources: kumahq/kuma pkg/xds/generator/{inbound,outbound,transparent}_proxy_generator.go, api/mesh/v1alpha1/
dataplane_helpers.go (since 1.8 the server's proxy calls the pod's own address, from 127.0.0.6),
pkg/transparentproxy/iptables/builder/builder_table_nat.go (whose user its rules leave out).
"""

from __future__ import annotations

from typing import Final

from netinspect.mesh.base import Call, Onward, Said
from netinspect.mesh.sight import Sight

USERS: Final = frozenset({5678})
BY_ADDRESS: Final = False
# By this address of its own the proxy's calls are known, so that its rules do not turn them to it again.
_OWN: Final = {4: "127.0.0.6", 6: "::6"}


def outward(call: Call, said: Said, _sight: Sight) -> Onward:
    """Call the pod at its port; what no listener is for is passed on to where it was meant to go."""
    if said.proxied:
        return Onward(call.server.address, call.port)
    return Onward(call.address, call.service_port or call.port, kept=True)


def inward(call: Call, _sight: Sight) -> Onward:
    """Call the pod's own address at the port that was asked for."""
    address = call.server.address
    return Onward(address, call.port, source=_OWN[6 if ":" in address else 4])
