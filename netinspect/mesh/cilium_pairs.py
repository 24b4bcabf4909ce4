"""What Cilium's ztunnels make of a call between two pods: mutual TLS where the namespaces of both are enrolled.

Sources: cilium/cilium Documentation/security/network/encryption-ztunnel.rst, pkg/ztunnel.
"""

from __future__ import annotations

from netinspect.mesh.base import Call, Said
from netinspect.mesh.sight import Sight
from netinspect.model.mesh import Reach, Transport


def said(call: Call, _sight: Sight) -> Said:
    """Say what is certain: of pods of which one alone is enrolled its own documents do not agree."""
    ends = [side.presence for side in (call.client, call.server)]
    reasons = tuple(clue for end in ends if end is not None for clue in end.clues)
    if None not in ends:
        says = "the ztunnels of both nodes take it: what policies of the network let through arrives"
        return Said(Transport.MTLS, Reach.REACHED, says, reasons)
    says = "one of the two namespaces alone is enrolled with ztunnel, and what becomes of that is not certain"
    return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, reasons, settled_by="a capture on the pod's interface")
