"""How Consul's dataplanes go on: to the other dataplane's own port, or to where it was meant to go.

Sources: hashicorp/consul agent/xds (listeners: public_listener, outbound_listener), sdk/iptables/iptables.go; a real
cluster.
"""

from __future__ import annotations

from typing import Final

from netinspect.mesh.base import Call, Onward, Said
from netinspect.mesh.consul import SIGNATURE
from netinspect.mesh.consul_pairs import registered
from netinspect.mesh.sight import Sight
from netinspect.model.mesh import Transport

# The dataplane's, and that of the init container.
USERS: Final = frozenset({5995, 5996})
BY_ADDRESS: Final = True


def outward(call: Call, said: Said, _sight: Sight) -> Onward:
    """Call the other dataplane by mutual TLS; what is of no service that it knows goes on as it is."""
    if said.transport is Transport.MTLS:
        return Onward(call.server.address, SIGNATURE.inbound)
    return Onward(call.address, call.service_port or call.port, kept=True)


def inward(call: Call, _sight: Sight) -> Onward:
    """Call the application on localhost, at the port that is registered for it."""
    port = registered(call.server.pod)
    doubt = "" if port == call.port else "to which port of the application its proxy leads it is not known"
    return Onward("127.0.0.1", port, doubt=doubt)
