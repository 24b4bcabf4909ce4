"""What Cilium's ztunnels make of a call between two pods: mutual TLS where the namespaces of both are enrolled.

Sources: cilium/cilium Documentation/security/network/encryption-ztunnel.rst, pkg/ztunnel/xds/stream_processor.go.
"""

from __future__ import annotations

from netinspect.mesh.base import Call, Said
from netinspect.mesh.cilium import translates_at_sockets
from netinspect.mesh.sight import Sight
from netinspect.model.mesh import Reach, Transport

_SETTLED = "a capture on the pod's interface"


def said(call: Call, sight: Sight) -> Said:
    """Say what is certain: of pods of which one alone is enrolled its own documents do not agree."""
    ends = [side.presence for side in (call.client, call.server)]
    reasons = tuple(clue for end in ends if end is not None for clue in end.clues)
    if None in ends:
        says = "one of the two ends alone is enrolled with ztunnel, and what becomes of that is not certain"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, reasons, settled_by=_SETTLED)
    if call.service is not None and not translates_at_sockets(sight):
        says = "the ztunnels know pods and no Services, and that Cilium translates before them is not certain"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, reasons, settled_by=_SETTLED)
    says = "the ztunnels of both nodes carry it, between them on port 15008, which policies of the network must allow"
    return Said(Transport.MTLS, Reach.REACHED, says, reasons)
