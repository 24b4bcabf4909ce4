"""How Linkerd's proxies go on: to the other proxy's own port, where the control plane says so, else to the pod's port.

Sources: linkerd/linkerd2 controller/cmd/destination/main.go (-outbound-transport-mode), controller/api/destination;
a real cluster, whose servers were called at 4143 and called their applications by the pod's own address.
"""

from __future__ import annotations

from typing import Final

from netinspect.mesh.base import Call, Onward, Said
from netinspect.mesh.linkerd import SIGNATURE
from netinspect.mesh.linkerd_pairs import opaque
from netinspect.mesh.sight import Sight, flag
from netinspect.model.mesh import Transport

USERS: Final = frozenset({2102})
BY_ADDRESS: Final = False
_COMPONENT: Final = "linkerd.io/control-plane-component"


def outward(call: Call, said: Said, sight: Sight) -> Onward:
    """Call the pod: at its proxy's port where both have one and transport headers name the port, else at the port."""
    address = call.server.address
    if said.transport is not Transport.MTLS:
        return Onward(address, call.port, kept=call.service is None)
    mode = _mode(sight)
    if not mode:
        return Onward(doubt="by which port one proxy calls the other is not known: the control plane was not seen")
    named = mode == "transport-header" or opaque(call, sight.snapshot)
    return Onward(address, SIGNATURE.inbound if named else call.port, kept=not named and call.service is None)


def _mode(sight: Sight) -> str:
    """Give how the control plane lets proxies call each other; older ones have no such choice."""
    components = (p for p in sight.pods if p.metadata.labels.get(_COMPONENT) == "destination")
    modes = {
        next(filter(None, (flag(c, "-outbound-transport-mode") for c in p.spec.containers)), "transparent")
        for p in components
    }
    return modes.pop() if len(modes) == 1 else ""


def inward(call: Call, _sight: Sight) -> Onward:
    """Call the pod's own address at the port that was asked for."""
    return Onward(call.server.address, call.port)
