"""Connection tracking as OpenFlow's ``ct`` action uses it: by zones, each with its own translations.

Sources: net/openvswitch/conntrack.c, net/netfilter/nf_nat_ovs.c, nf_conntrack_proto_tcp.c, nf_conntrack_proto_icmp.c;
openvswitch/ovs lib/ovs-actions.xml (ovs-actions(7), the ct action).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct, structs

from netinspect.cni.openflow import DNAT, EST, INV, NEW, REL, RPL, SNAT, TRK, pieces
from netinspect.model.packet import (
    ACK,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    ICMP,
    ICMPV6,
    PORTED,
    RST,
    SYN,
    TCP,
    Packet,
    number,
)

_NAME: Final = "openflow connection"


class Ends(NamedTuple):
    """What tracking knows a packet by; of an echo its identifier stands for both ports."""

    family: int
    protocol: int
    src: int
    sport: int
    dst: int
    dport: int

    @property
    def inverse(self) -> Ends:
        """Give the other direction."""
        return Ends(self.family, self.protocol, self.dst, self.dport, self.src, self.sport)


def ends(packet: Packet) -> Ends:
    """Give what tracking knows a packet by."""
    sport, dport = (packet.sport, packet.dport) if packet.protocol in PORTED else (0, 0)
    if packet.protocol in (ICMP, ICMPV6):
        sport = dport = packet.ident
    return Ends(packet.family, packet.protocol, packet.src, sport, packet.dst, dport)


class Connection(Struct, frozen=True):
    """A connection of a zone; ``back`` are the ends of its replies, in which translations show.

    ``opened`` says that a SYN has begun it, ``replied`` that an answer has been seen, ``committed`` that it is kept.
    """

    zone: int
    original: Ends
    back: Ends
    mark: int = 0
    label: int = 0
    opened: bool = False
    replied: bool = False
    committed: bool = False

    @property
    def sources(self) -> bool:
        """Say whether the sender is another one behind here."""
        return (self.back.dst, self.back.dport) != (self.original.src, self.original.sport)

    @property
    def destinations(self) -> bool:
        """Say whether the receiver is another one behind here."""
        return (self.back.src, self.back.sport) != (self.original.dst, self.original.dport)


class Tracked(Struct, frozen=True):
    """What tracking has made of a packet in a zone: its connection, None where it belongs to none that may be.

    ``reply`` says that it goes back, ``related`` that it is an error about the connection, ``done`` which translations
    were done in this zone (SNAT, DNAT).
    """

    zone: int
    connection: Connection | None
    reply: bool = False
    related: bool = False
    done: int = 0

    @property
    def state(self) -> int:
        """Give it as ct_state."""
        found = self.connection
        if found is None:
            return TRK | INV
        state = TRK | self.done | (RPL if self.reply else 0)
        if self.related:
            return state | REL
        state |= EST if self.reply or found.replied else NEW
        return state if found.committed else state | NEW

    def fields(self) -> dict[str, int]:
        """Give what a pipeline sees of it."""
        found = self.connection
        told = {"ct_state": self.state, "ct_zone": self.zone}
        if found is None:
            return told
        one = found.original
        prefix = "ct_nw" if one.family == 4 else "ct_ipv6"
        told |= {"ct_mark": found.mark, "ct_label": found.label, f"{prefix}_src": one.src, f"{prefix}_dst": one.dst,
                 "ct_nw_proto": one.protocol}  # fmt: skip
        if one.protocol in PORTED:
            told |= {"ct_tp_src": one.sport, "ct_tp_dst": one.dport}
        return told


class Wanted(NamedTuple):
    """A translation that a connection is to have: of the source or of the destination, and to what."""

    source: bool
    address: int | None
    port: int


class Unsettled(Exception):
    """What is not modelled, or what nobody knows, decides."""


class Tracking:
    """The connections of all zones: those that are known, and those that one packet makes or changes."""

    def __init__(self, known: Mapping[Hashable, Hashable]) -> None:
        self._known = known
        self.made: dict[Hashable, Hashable] = {}

    def _find(self, zone: int, one: Ends) -> Connection | None:
        key = (_NAME, zone, one)
        found = self.made.get(key, self._known.get(key))
        return found if isinstance(found, Connection) else None

    def _keep(self, found: Connection) -> Connection:
        for one in (found.original, found.back):
            self.made[_NAME, found.zone, one] = found
        return found

    def look_up(self, zone: int, packet: Packet) -> Tracked:
        """Find out what a packet belongs to in a zone (nf_conntrack_in). Raises ``Unsettled``."""
        if packet.is_error:
            return self._related(zone, packet)
        one = ends(packet)
        found = self._find(zone, one)
        if found is None:
            opens = _opens(packet)
            return Tracked(zone, Connection(zone, one, one.inverse, opened=opens == "syn") if opens else None)
        reply = one == found.back and one != found.original
        if reply and not found.replied:
            found = self._keep(structs.replace(found, replied=True))
        if packet.protocol == TCP and found.opened and not found.replied and packet.flags & (SYN | ACK) != SYN:
            # Where no answer came past, what follows a SYN is out of order (tcp_conntracks).
            return Tracked(zone, None)
        return Tracked(zone, found, reply)

    def _related(self, zone: int, packet: Packet) -> Tracked:
        about = packet.inner
        found = self._find(zone, ends(about)) if about is not None else None
        if about is None or found is None:
            return Tracked(zone, None)
        if found.sources or found.destinations:
            raise Unsettled("an ICMP error about a connection that is translated")
        return Tracked(zone, found, reply=ends(about) == found.original, related=True)

    def commit(self, tracked: Tracked, wanted: Wanted | None) -> Tracked:
        """Keep a connection that is new, with its translation; one that is kept already stays as it is."""
        found = tracked.connection
        if found is None or found.committed or tracked.related:
            return tracked
        if wanted is not None and wanted.address is not None:
            back = found.back
            if wanted.source:
                back = back._replace(dst=wanted.address, dport=wanted.port or back.dport)
            else:
                back = back._replace(src=wanted.address, sport=wanted.port or back.sport)
            taken = self._find(found.zone, back)
            if taken is not None:
                raise Unsettled("a translation to ends that another connection has already")
            found = structs.replace(found, back=back)
        return structs.replace(tracked, connection=self._keep(structs.replace(found, committed=True)))

    def note(self, tracked: Tracked, mark: tuple[int, int], label: tuple[int, int]) -> Tracked:
        """Set mark and label of a connection, each by value and mask."""
        found = tracked.connection
        if found is None:
            return tracked
        found = structs.replace(
            found, mark=found.mark & ~mark[1] | mark[0] & mark[1], label=found.label & ~label[1] | label[0] & label[1]
        )
        return structs.replace(tracked, connection=self._keep(found) if found.committed else found)

    @staticmethod
    def translate(tracked: Tracked, packet: Packet, wanted: Wanted | None) -> tuple[Tracked, Packet]:
        """Give a packet the ends that its connection has behind here, once in each zone (nf_ct_nat).

        ``wanted`` is None where the action says but ``nat``, which does nothing to what opens a connection.
        """
        found = tracked.connection
        if found is None or not found.committed or tracked.done:
            return tracked, packet
        moved = found.sources or found.destinations
        fresh = not tracked.reply and not found.replied
        if fresh or not moved:
            if wanted is None:
                return tracked, packet
            done = SNAT if wanted.source else DNAT
        else:
            done = SNAT if found.sources != tracked.reply else DNAT
        if found.destinations and found.sources:
            done = SNAT | DNAT
        elif found.destinations and not tracked.reply:
            done |= SNAT
        to = found.original.inverse if tracked.reply else found.back.inverse
        made = structs.replace(packet, src=to.src, dst=to.dst)
        if packet.protocol in PORTED:
            made = structs.replace(made, sport=to.sport, dport=to.dport)
        return structs.replace(tracked, done=done), made


def _opens(packet: Packet) -> str:
    """Say how a packet may begin a connection: by a SYN, or otherwise; empty where it may not."""
    if packet.protocol == ICMP:
        return "other" if packet.type in (ECHO_REQUEST, 13, 15, 17) else ""
    if packet.protocol == ICMPV6:
        return "other" if packet.type in (ECHO_REQUEST6, 139) else ""
    if packet.protocol != TCP:
        return "other"
    if packet.flags & RST or packet.flags & (SYN | ACK) not in (SYN, ACK):
        return ""
    return "syn" if packet.flags & SYN else "other"


class Ct(NamedTuple):
    """What a ``ct`` action says."""

    commit: bool
    zone: str
    table: int | None
    nat: bool
    wanted: Wanted | None
    exec: str
    odd: str

    @classmethod
    def of(cls, said: str) -> Ct:
        """Read it; what is not modelled is told in ``odd``."""
        commit, zone, table, nat, wanted, nested, odd = False, "", None, False, None, "", ""
        for piece in pieces(said):
            name, equals, rest = piece.partition("=")
            if piece == "commit":
                commit = True
            elif piece.startswith("nat"):
                nat = True
                try:
                    wanted = _translation(piece[3:].strip("()"))
                except ValueError:
                    odd = piece
            elif piece.startswith("exec("):
                nested = piece[len("exec(") : -1]
            elif equals and name == "zone":
                zone = rest
            elif equals and name == "table":
                table = int(rest)
            elif name != "alg":
                odd = piece
        return cls(commit, zone, table, nat, wanted, nested, odd)


def _translation(said: str) -> Wanted | None:
    """Read what stands in the brackets of ``nat``; raises ``ValueError`` for a range, of which any may be chosen."""
    if not said:
        return None
    if "," in said:
        raise ValueError(said)
    which, _, to = said.partition("=")
    if which not in ("src", "dst"):
        raise ValueError(said)
    address, port = to, ""
    if to.startswith("["):
        address, _, port = to[1:].partition("]")
        port = port.lstrip(":")
    elif to.count(":") == 1:
        address, _, port = to.partition(":")
    first, _, last = address.partition("-")
    if (last and last != first) or "-" in port:
        raise ValueError(said)
    return Wanted(which == "src", number(first)[1] if first else None, int(port or 0))
