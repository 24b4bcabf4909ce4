"""A packet at a netfilter hook: what rules may look at, and what they may change (struct nf_hook_state, sk_buff)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import structs

from netinspect.kernel.simulator.fib import Flow, Found
from netinspect.kernel.simulator.forks import Maybe, Truth
from netinspect.kernel.simulator.ipsets import Around
from netinspect.kernel.simulator.tracking import Entry
from netinspect.model.iptables import SetReference
from netinspect.model.packet import (
    ACK,
    ICMP,
    ICMPV6,
    REPLIES,
    REPLIES6,
    RST,
    SYN,
    TCP,
    UNREACHABLE,
    UNREACHABLE6,
    Packet,
)
from netinspect.model.walk import End, Pointer, Stage, Verdict

if TYPE_CHECKING:
    from netinspect.kernel.simulator.stack import Stack
    from netinspect.kernel.simulator.walk import Walk

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = "prerouting", "input", "forward", "output", "postrouting"
INGRESS, EGRESS = "ingress", "egress"
_MULTICAST4, _MULTICAST6 = 0xE, 0xFF
# IPTOS_PREC_INTERNETCONTROL and IPTOS_TOS_MASK of include/uapi/linux/ip.h, of which errors are made (icmp_send).
_INTERNETWORK_CONTROL, _TOS = 0xC0, 0x1E


@dataclass
class Traversal:
    """A packet at a hook of a namespace; ``iif`` and ``oif`` are devices, ``physin`` and ``physout`` bridge ports."""

    walk: Walk
    stack: Stack
    hook: str
    packet: Packet
    iif: str = ""
    oif: str = ""
    physin: str = ""
    physout: str = ""
    nexthop: int | None = None
    zones: tuple[int, int] = (0, 0)
    balanced: tuple[int, int] | None = None
    tunnelled: bool = False
    rerouted: Packet | None = None

    @property
    def entry(self) -> Entry | None:
        """Give the connection that the packet belongs to."""
        number = self.packet.connection
        return None if number is None else self.walk.tracking.entries[number]

    @property
    def around(self) -> Around:
        """Give the devices, for sets that look up by them."""
        return Around(self.iif, self.oif, self.physin, self.physout)

    def in_set(self, wanted: SetReference, *, inverted: bool = False) -> Truth:
        """Say whether an ipset holds the packet now."""
        return self.stack.sets.holds(
            wanted.name, self.packet, wanted.directions, self.around,
            lambda name: self.walk.written[self.stack.name, name], inverted=inverted,
        )  # fmt: skip

    @property
    def bridged(self) -> bool:
        """Say whether a bridge called the hooks of IP (br_netfilter)."""
        return bool(self.physin)

    def change(self, **fields: object) -> None:
        """Change the packet."""
        self.packet = structs.replace(self.packet, **fields)

    def step(self, stage: Stage, said: str, evidence: Pointer | None = None) -> None:
        """Note what happened."""
        self.walk.step(self.stack, stage, said, self.packet, evidence)

    def look_up(self, asked: Flow) -> Found | Maybe:
        """Look a route up for a rule that asks; not certain where a policy rule before it is not modelled."""
        six = "6" if asked.family == 6 else "4"
        self.walk.needs(self.stack, f"rules{six}", f"routes{six}")
        found = self.stack.fib.look_up(asked)
        return Maybe(found.unsure) if found.kind == "unknown" else found

    def address_type(self, address: int, dev: str) -> str:
        """Say for a rule what an address is to this namespace."""
        self.walk.needs(self.stack, *(("routes4",) if self.packet.family == 4 else ("rules6", "routes6")))
        return self.stack.fib.address_type(self.packet.family, address, dev)

    def seen_as_anycast(self, address: int) -> bool:
        """Say for a rule whether an address is an IPv6 anycast one to this namespace."""
        if self.packet.family == 4:
            return False
        self.walk.needs(self.stack, "rules6", "routes6")
        return self.stack.fib.seen_as_anycast(address)

    def end(self, verdict: Verdict, reason: str, evidence: Pointer | None = None, answer: Packet | None = None) -> End:
        """End the walk here."""
        return End(verdict, reason, self.stack.name, self.packet, evidence, answer=answer, stage=Stage(self.hook))

    def unknown(self, reason: str, settles: str, evidence: Pointer | None = None) -> End:
        """End the walk with what is not modelled or was not read."""
        return End(Verdict.UNKNOWN, reason, self.stack.name, self.packet, evidence, settles=settles)


def reset(packet: Packet, *, attached: bool = True) -> Packet | None:
    """Give the reset that answers a TCP packet; none answers a reset (nf_send_reset, tcp_v4_send_reset).

    One that is attached is netfilter's, and has no TOS; a host's own has that of what it answers.
    """
    if packet.protocol != TCP or packet.flags & RST:
        return None
    flags = RST if packet.flags & ACK else RST | ACK
    back = turned(packet, size=40 if packet.family == 4 else 60, tos=0 if attached else packet.tos)
    return structs.replace(back, flags=flags, **_attached(packet) if attached else {})


def multicast(packet: Packet) -> bool:
    """Say whether a packet goes to a group."""
    return packet.dst >> 28 == _MULTICAST4 if packet.family == 4 else packet.dst >> 120 == _MULTICAST6


def unreachable(packet: Packet, code: int, *, type_: int | None = None, mtu: int = 0) -> Packet | None:
    """Give the ICMP error about a packet; none is sent about an error or a multicast (RFC 1122, RFC 4443)."""
    four = packet.family == 4
    if packet.is_error or multicast(packet) or (four and packet.dst == 0xFFFFFFFF):
        return None
    made = Packet(
        family=packet.family,
        src=packet.dst,
        dst=packet.src,
        protocol=ICMP if four else ICMPV6,
        type=(UNREACHABLE if four else UNREACHABLE6) if type_ is None else type_,
        code=code,
        inner=packet,
        mtu=mtu,
        size=min(packet.size + (28 if four else 48), 576 if four else 1280),
        tos=_INTERNETWORK_CONTROL | packet.tos & _TOS if four else 0,
        loose=frozenset(_swap(f) for f in packet.loose),
        drawn=packet.drawn,
    )
    return structs.replace(made, **_attached(packet))


def _attached(packet: Packet) -> dict[str, object]:
    """Give what the kernel sends about a packet its connection, the other way (nf_ct_attach)."""
    if packet.connection is None:
        return {"state": packet.state if packet.state == "UNTRACKED" else ""}
    return {"connection": packet.connection, "reply": not packet.reply, "state": "RELATED"}


def confirmed(at: Traversal, entry: Entry) -> Truth:
    """Say whether a connection stands.

    A tunnel carries each fragment in a packet of its own, and all but the first find that it does.
    """
    carried = at.packet.inner
    if not entry.confirmed and carried is not None and carried.fragment and not at.packet.is_error:
        return Maybe("a fragment before it has confirmed the connection, unless it is the first")
    return entry.confirmed


def turned(packet: Packet, *, size: int | None = None, tos: int = 0) -> Packet:
    """Give a packet that goes back to where one came from: its headers turned round, nothing kept beside them.

    A server's answer has the TOS of its socket, which nobody sets as a rule, and not that of the request.
    """
    replies = {**REPLIES, **REPLIES6} if packet.protocol in (ICMP, ICMPV6) else {}
    return Packet(
        family=packet.family,
        src=packet.dst,
        dst=packet.src,
        protocol=packet.protocol,
        sport=packet.dport,
        dport=packet.sport,
        type=replies.get(packet.type, packet.type),
        ident=packet.ident,
        flags=SYN | ACK if packet.protocol == TCP else 0,
        size=packet.size if size is None else size,
        tos=tos,
        loose=frozenset(_swap(f) for f in packet.loose),
        drawn=packet.drawn,
    )


def _swap(field_: str) -> str:
    return {"sport": "dport", "dport": "sport"}.get(field_, field_)
