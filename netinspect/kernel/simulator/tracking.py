"""Connection tracking: what a packet belongs to, and the translations that its connection has.

Sources: net/netfilter/nf_conntrack_core.c, nf_conntrack_proto_tcp.c, nf_conntrack_proto_icmp.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from netinspect.model.kernel import Connection, Tuple
from netinspect.model.packet import (
    ACK,
    FIN,
    ICMP,
    ICMPV6,
    PORTED,
    PROTOCOLS,
    REPLIES,
    REPLIES6,
    RST,
    SYN,
    TCP,
    Packet,
    number,
)
from netinspect.model.walk import Pointer

if TYPE_CHECKING:
    from netinspect.kernel.simulator.stack import Stack

NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED = "NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED"
# States of TCP after which a SYN opens the connection anew (nf_conntrack_tcp_packet).
_CLOSED: Final = frozenset({"TIME_WAIT", "CLOSE"})
# Neighbour discovery and multicast listener reports are not tracked (nf_conntrack_icmpv6_error).
_UNTRACKED6: Final = frozenset(range(130, 138)) | {143}


class Ends(Struct, frozen=True, gc=False):
    """One direction of a connection (struct nf_conntrack_tuple); of ICMP the ports are ident, and type and code."""

    family: int
    protocol: int
    src: int
    sport: int
    dst: int
    dport: int

    @property
    def inverse(self) -> Ends:
        """Give the other direction as it is before any translation (nf_ct_invert_tuple)."""
        if self.protocol in (ICMP, ICMPV6):
            replies = {**_swapped(REPLIES), **REPLIES} if self.protocol == ICMP else {**_swapped(REPLIES6), **REPLIES6}
            kind, code = self.dport >> 8, self.dport & 0xFF
            return Ends(self.family, self.protocol, self.dst, self.sport, self.src, replies.get(kind, kind) << 8 | code)
        return Ends(self.family, self.protocol, self.dst, self.dport, self.src, self.sport)


def _swapped(of: Mapping[int, int]) -> dict[int, int]:
    return {v: k for k, v in of.items()}


def ends(packet: Packet) -> Ends:
    """Give the tuple of a packet."""
    if packet.protocol in (ICMP, ICMPV6):
        kind = packet.type << 8 | packet.code
        return Ends(packet.family, packet.protocol, packet.src, packet.ident, packet.dst, kind)
    if packet.protocol in PORTED:
        return Ends(packet.family, packet.protocol, packet.src, packet.sport, packet.dst, packet.dport)
    return Ends(packet.family, packet.protocol, packet.src, 0, packet.dst, 0)


@dataclass
class Entry:
    """A tracked connection (struct nf_conn). ``back`` is the reply's tuple, in which translations show.

    ``standing`` is one that was collected, is not translated, and may be the same (see ``alike``); ``gone`` says that
    no later packet belongs to it.
    """

    number: int
    original: Ends
    back: Ends
    zones: tuple[int, int]
    mark: int = 0
    source_done: bool = False
    destination_done: bool = False
    replied: bool = False
    assured: bool = False
    confirmed: bool = False
    evidence: Pointer | None = None
    standing: Connection | None = None
    gone: bool = False

    @property
    def source_translated(self) -> bool:
        """Say whether the sender's address, port or echo identifier is another one behind here (IPS_SRC_NAT)."""
        plain = self.original.inverse
        if plain.protocol in (ICMP, ICMPV6):
            return (self.back.dst, self.back.sport) != (plain.dst, plain.sport)
        return (self.back.dst, self.back.dport) != (plain.dst, plain.dport)

    @property
    def destination_translated(self) -> bool:
        """Say whether the receiver's is (IPS_DST_NAT)."""
        plain = self.original.inverse
        if plain.protocol in (ICMP, ICMPV6):
            return self.back.src != plain.src
        return (self.back.src, self.back.sport) != (plain.src, plain.sport)


@dataclass
class Tracking:
    """All connections of one walk, by namespace; those that were collected are looked up when they are needed."""

    entries: list[Entry] = field(default_factory=list)
    _known: dict[tuple[str, int, Ends], tuple[int, bool]] = field(default_factory=dict)

    def find(self, stack: Stack, zones: tuple[int, int], one: Ends, packet: Packet) -> tuple[Entry, bool] | None:
        """Give the entry that a tuple belongs to, and whether it is the reply's."""
        for reply in (False, True):
            found = self._known.get((stack.name, zones[reply], one))
            if found is not None and found[1] == reply:
                entry = self.entries[found[0]]
                return None if entry.gone else (entry, reply)
        if packet.loose & {"sport", "dport"}:
            return None
        collected = stack.connections.get(one)
        if collected is None:
            return None
        connection, reply = collected
        if zones[reply] != _zone(connection, reply=reply) or (connection.state in _CLOSED and not reply):
            return None
        entry = self.open(_read(connection, connection.original), zones)
        self.join(stack, entry, connection)
        return entry, reply

    def join(self, stack: Stack, entry: Entry, connection: Connection) -> None:
        """Let what was begun be a connection that was collected; a drawn port that it keeps stays as it is here."""
        back = _read(connection, connection.reply)
        kept = back.dport == _read(connection, connection.original).sport
        entry.back = structs.replace(back, dport=entry.original.sport) if kept else back
        entry.mark = connection.mark
        entry.replied = "UNREPLIED" not in connection.status
        entry.assured = "ASSURED" in connection.status
        entry.source_done = entry.destination_done = True
        entry.evidence = evidence(stack, connection)
        entry.standing = None
        self.confirm(stack, entry)

    def open(self, original: Ends, zones: tuple[int, int]) -> Entry:
        """Begin a connection; it is found again once it is confirmed."""
        entry = Entry(len(self.entries), original, original.inverse, zones)
        self.entries.append(entry)
        return entry

    def confirm(self, stack: Stack, entry: Entry) -> None:
        """Put a connection where later packets find it (nf_conntrack_confirm)."""
        entry.confirmed = True
        self._known[stack.name, entry.zones[0], entry.original] = entry.number, False
        back = stack.name, entry.zones[1], entry.back
        if back not in self._known or self.entries[self._known[back][0]].gone:
            self._known[back] = entry.number, True

    def taken(self, stack: Stack, zone: int, back: Ends) -> bool:
        """Say whether another connection already has this reply tuple (nf_nat_used_tuple)."""
        known = self._known.get((stack.name, zone, back))
        if known is not None:
            return not self.entries[known[0]].gone
        collected = stack.connections.get(back)
        return collected is not None and _zone(collected[0], reply=collected[1]) == zone


def track(tracking: Tracking, stack: Stack, packet: Packet, zones: tuple[int, int]) -> Packet:
    """Give the packet with its connection and state (nf_conntrack_in)."""
    if packet.connection is not None or packet.state == UNTRACKED:
        return packet
    if packet.protocol == ICMPV6 and packet.type in _UNTRACKED6:
        return structs.replace(packet, state=UNTRACKED)
    if packet.is_error:
        return _related(tracking, stack, packet, zones)
    one = ends(packet)
    found = tracking.find(stack, zones, one, packet)
    if found is None:
        if not _may_begin(stack, packet):
            return structs.replace(packet, state=INVALID)
        entry = tracking.open(one, zones)
        return structs.replace(packet, connection=entry.number, state=NEW, reply=False)
    entry, reply = found
    # One that is reset before it was answered is forgotten at once (nf_conntrack_tcp_packet).
    entry.gone = not entry.replied and packet.protocol == TCP and bool(packet.flags & RST)
    entry.replied = entry.replied or reply
    state = ESTABLISHED if entry.replied or reply else NEW
    return structs.replace(packet, connection=entry.number, state=state, reply=reply)


def _related(tracking: Tracking, stack: Stack, packet: Packet, zones: tuple[int, int]) -> Packet:
    """Give an ICMP error the connection of the packet that it is about (nf_conntrack_inet_error)."""
    if packet.inner is None:
        return structs.replace(packet, state=INVALID)
    found = tracking.find(stack, zones, ends(packet.inner).inverse, packet)
    if found is None:
        return structs.replace(packet, state=INVALID)
    entry, reply = found
    return structs.replace(packet, connection=entry.number, state=RELATED, reply=reply)


def _may_begin(stack: Stack, packet: Packet) -> bool:
    if packet.protocol == TCP:
        flags = packet.flags & (SYN | ACK | FIN | RST)
        loose = stack.sysctl("netfilter/nf_conntrack_tcp_loose") != "0"
        return flags == SYN or (loose and flags == ACK)
    if packet.protocol == ICMP:
        return packet.type in REPLIES
    if packet.protocol == ICMPV6:
        return packet.type in REPLIES6
    return True


def evidence(stack: Stack, connection: Connection) -> Pointer:
    """Point at a connection that was collected."""
    return stack.pointer("conntrack" if ":" not in connection.original.src else "conntrack6", connection.line)


def alike(stack: Stack, packet: Packet, entry: Entry) -> tuple[Connection | None, list[Connection]]:
    """Give the connections that a tunnel's packet may belong to: one without translation, and of each translation one.

    Its port is a hash of the flow that it carries, the same in both directions and by whatever rules it was sent
    (udp_flow_src_port), so that a connection may stand since an earlier packet that the rules did other things to.
    """
    if packet.inner is None or packet.is_error or "sport" not in packet.loose:
        return None, []
    found: dict[Ends | None, Connection] = {}
    for connection in stack.carrying.get(structs.replace(entry.original, sport=0), ()):
        if _zone(connection, reply=False) == entry.zones[0]:
            was, back = _read(connection, connection.original), _read(connection, connection.reply)
            # Ports differ anyway: what counts is whether the translation kept them.
            kind = structs.replace(back, dport=int(back.dport == was.sport))
            found.setdefault(None if back == was.inverse else kind, connection)
    return found.pop(None, None), list(found.values())


def by_aim(connections: Iterable[Connection]) -> dict[Ends, list[Connection]]:
    """Give the collected connections of UDP by what they were begun with, but for the sender's port."""
    found: dict[Ends, list[Connection]] = {}
    for connection in connections:
        if connection.protocol == "udp":
            aim = structs.replace(_read(connection, connection.original), sport=0)
            found.setdefault(aim, []).append(connection)
    return found


def by_tuple(connections: Iterable[Connection]) -> dict[Ends, tuple[Connection, bool]]:
    """Give the collected connections by both of their tuples, and whether it is the reply's."""
    found: dict[Ends, tuple[Connection, bool]] = {}
    for connection in connections:
        if connection.protocol in PROTOCOLS:
            found[_read(connection, connection.original)] = connection, False
            found.setdefault(_read(connection, connection.reply), (connection, True))
    return found


def _read(connection: Connection, one: Tuple) -> Ends:
    family, src = number(one.src)
    protocol = PROTOCOLS[connection.protocol]
    if protocol in (ICMP, ICMPV6):
        return Ends(family, protocol, src, one.id or 0, number(one.dst)[1], (one.type or 0) << 8 | (one.code or 0))
    return Ends(family, protocol, src, one.sport or 0, number(one.dst)[1], one.dport or 0)


def _zone(connection: Connection, *, reply: bool) -> int:
    own = connection.zone_reply if reply else connection.zone_original
    return connection.zone if own is None else own
