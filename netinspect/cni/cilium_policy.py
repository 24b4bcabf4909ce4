"""What an endpoint's policy map says of a packet.

Sources: cilium/cilium bpf/lib/policy.h (__policy_can_access), pkg/maps/policymap, pkg/identity/numericidentity.go.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from netinspect.cni.cilium_maps import Endpoint, Entry, Maps
from netinspect.model.packet import NAMES as PROTOCOL_NAMES
from netinspect.model.packet import PORTED, Packet, text

# Identities that stand for many, which newer policy maps hold beside those that are meant.
_AGGREGATES: Final = (11, 12, 13, 14)
_NAMES: Final = {
    0: "unknown", 1: "host", 2: "world", 3: "unmanaged", 4: "health", 5: "init", 6: "remote-node", 7: "kube-apiserver",
    8: "ingress", 9: "world-ipv4", 10: "world-ipv6",
}  # fmt: skip


class Ruling(NamedTuple):
    """Whether a packet may pass, None where that cannot be told, and why."""

    allowed: bool | None
    said: str


def rule(maps: Maps, pod: Endpoint, direction: str, identity: int, packet: Packet) -> Ruling:
    """Ask a pod's policy map for a direction, ``ingress`` or ``egress``, about a packet from or to an identity."""
    entries = maps.policies.get(pod.id)
    if entries is None:
        return Ruling(None, f"the policy map of Cilium's endpoint {pod.id} was not read")

    def find(wanted: int) -> Entry | None:
        # Of an ICMP message its type stands in the place of a port.
        port = packet.dport if packet.protocol in PORTED else packet.type
        return next((e for e in entries.get((direction, wanted), ()) if e.fits(packet.protocol, port)), None)

    best = _stronger(find(identity), find(0))
    policy = f"Cilium's {direction} policy of endpoint {pod.id}"
    asked = _asked(direction, identity, packet)
    by = pod.policies.get(direction, ())
    because = f"; {', '.join(by)} {'select' if len(by) > 1 else 'selects'} it" if by else ""
    for one in map(find, _AGGREGATES):
        if one is not None and _stronger(best, one) is one and (best is None or one.deny != best.deny):
            return Ruling(None, f"{policy} has an entry for many identities that may be for {asked}")
    if best is None or best.deny:
        does = "has no entry for" if best is None else "denies"
        return Ruling(pod.audited, f"{policy} {does} {asked}{because}")
    if best.proxy:
        return Ruling(None, f"Cilium's proxy decides about {asked} by what is in the request{because}")
    if best.authenticated:
        return Ruling(None, f"Cilium wants mutual authentication for {asked}")
    return Ruling(True, f"{policy} allows {asked}")


def _stronger(one: Entry | None, other: Entry | None) -> Entry | None:
    """Choose between entries of which either fits: the higher precedence, then the one that denies, then the longer."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda e: (e.precedence, e.deny, e.bits))


def _asked(direction: str, identity: int, packet: Packet) -> str:
    name = PROTOCOL_NAMES.get(packet.protocol, str(packet.protocol))
    what = f"{packet.dport}/{name}" if packet.protocol in PORTED else name
    way, address = ("from", packet.src) if direction == "ingress" else ("to", packet.dst)
    title = f" ({_NAMES[identity]})" if identity in _NAMES else ""
    return f"{what} {way} {text(address, packet.family)}, identity {identity}{title}"
