"""Network address translation as the kernel does it: a mapping is chosen once for a connection, then applied.

Sources: net/netfilter/nf_nat_core.c, nf_nat_masquerade.c, nf_nat_redirect.c.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.tracking import Ends, Entry
from netinspect.model.packet import ANY_PORT, BITS, ICMP, ICMPV6, PORTED, Packet, end, text
from netinspect.model.walk import Pointer, Stage

if TYPE_CHECKING:
    from netinspect.kernel.simulator.traversal import Traversal

_LOWEST_FREE: Final = 1024
_HIGHEST: Final = 65535
# How many draws of an address are told apart; beyond it the first stands for all.
_MOST_ADDRESSES: Final = 64
LOOPBACK4: Final = 0x7F000001


class Range(Struct, frozen=True, gc=False):
    """What to put in the place of an address and port (struct nf_nat_range2): None is kept."""

    addresses: tuple[int, int] | None = None
    ports: tuple[int, int] | None = None
    random: bool = False
    mask: int | None = None


def setup(at: Traversal, entry: Entry, wanted: Range, *, source: bool, evidence: Pointer | None = None) -> None:
    """Choose the mapping of a connection (nf_nat_setup_info); the packet itself is changed by ``translate``."""
    if entry.source_done if source else entry.destination_done:
        return
    plain = entry.back.inverse
    address = _address(at, plain, wanted, source=source)
    mapped = _with(plain, source=source, address=address)
    port, drawn = _port(at, entry, mapped, wanted, source=source)
    mapped = _with(mapped, source=source, port=port)
    entry.back = mapped.inverse
    if source:
        entry.source_done = True
    else:
        entry.destination_done = True
    if drawn is not None:
        which = "sport" if source else "dport"
        other = at.packet.loose & {"sport", "dport"} - {which}
        at.packet = structs.replace(
            at.packet, loose=at.packet.loose | {which}, drawn=ANY_PORT if other else drawn
        )  # fmt: skip
    if mapped != plain:
        said = becomes(plain, mapped, source=source)
        at.step(Stage.NAT, said + (" (the port is drawn)" if drawn else ""), evidence)


def becomes(plain: Ends, mapped: Ends, *, source: bool) -> str:
    """Say what a translation makes of one end of a packet."""
    which = "source" if source else "destination"
    was, now = (plain.src, plain.sport), (mapped.src, mapped.sport)
    if not source:
        was, now = (plain.dst, plain.dport), (mapped.dst, mapped.dport)
    if plain.protocol in (ICMP, ICMPV6):
        was, now = (was[0], 0), (now[0], 0)
    return f"{which} {end(*was, plain.family)} becomes {end(*now, plain.family)}"


def _with(of: Ends, *, source: bool, address: int | None = None, port: int | None = None) -> Ends:
    if of.protocol in (ICMP, ICMPV6) and port is not None:
        return structs.replace(of, sport=port)
    if source:
        return structs.replace(of, src=of.src if address is None else address, sport=of.sport if port is None else port)
    return structs.replace(of, dst=of.dst if address is None else address, dport=of.dport if port is None else port)


def _address(at: Traversal, plain: Ends, wanted: Range, *, source: bool) -> int:
    own = plain.src if source else plain.dst
    if wanted.addresses is None:
        return own
    first, last = wanted.addresses
    if wanted.mask is not None:
        return (first & wanted.mask) | (own & ~wanted.mask & ((1 << BITS[plain.family]) - 1))
    count = last - first + 1
    if count == 1:
        return first
    told = min(count, _MOST_ADDRESSES)
    ways = [Way(text(first + i, plain.family), 1 / count if count == told else None) for i in range(told)]
    return first + at.walk.forks.take("which address of the range is drawn", ways)


def _port(
    at: Traversal, entry: Entry, mapped: Ends, wanted: Range, *, source: bool
) -> tuple[int, tuple[int, int] | None]:
    """Give the port, and between which others the kernel draws where it does (nf_nat_l4proto_unique_tuple)."""
    icmp = mapped.protocol in (ICMP, ICMPV6)
    own = mapped.sport if source or icmp else mapped.dport
    if mapped.protocol not in PORTED and not icmp:
        return own, None
    free = not at.walk.tracking.taken(at.stack, entry.zones[1], mapped.inverse)
    if not wanted.random:
        if wanted.ports is not None and wanted.ports[0] <= own <= wanted.ports[1]:
            if wanted.ports[0] == wanted.ports[1] or free:
                return own, None
        elif wanted.ports is None and (free or not source):
            return own, None
    if wanted.ports is None and not source:
        return own, None
    low, high = wanted.ports or _class_of(own)
    if low == high:
        return low, None
    if not source and not wanted.random:
        return low, None
    drawn = own if low <= own <= high else low
    if wanted.random:
        # Some other one: that it is the same again is not expected of a draw, and who waits on the old one waits on.
        drawn = own + 1 if low <= own < high else low
    for port in chain(range(drawn, high + 1), range(low, drawn)):
        if not at.walk.tracking.taken(at.stack, entry.zones[1], _with(mapped, source=source, port=port).inverse):
            return port, None if icmp else (low, high)
    return drawn, None if icmp else (low, high)


def _class_of(port: int) -> tuple[int, int]:
    """Give the range that a source port is drawn from: as privileged as it was."""
    if port < 512:
        return 1, 511
    if port < _LOWEST_FREE:
        return 600, _LOWEST_FREE - 1
    return _LOWEST_FREE, _HIGHEST


def translate(packet: Packet, entry: Entry, *, source: bool) -> Packet:
    """Give the packet with its connection's mapping applied (nf_nat_packet); of an ICMP error the inner one too."""
    # In the reply's direction what was mapped at one end is mapped back at the other.
    changed = entry.destination_translated if source == packet.reply else entry.source_translated
    if not changed:
        return packet
    target = (entry.original if packet.reply else entry.back).inverse
    if packet.is_error:
        return _translated_error(packet, target, source=source)
    return _manipulated(packet, target, source=source)


def _manipulated(packet: Packet, target: Ends, *, source: bool) -> Packet:
    icmp = packet.protocol in (ICMP, ICMPV6)
    if source:
        port = {"ident": target.sport} if icmp else {"sport": target.sport}
        return structs.replace(packet, src=target.src, **port)
    port = {} if icmp else {"dport": target.dport}
    loose = packet.loose - {"dport"} if packet.reply else packet.loose
    if icmp:
        port = {"ident": target.sport}
    return structs.replace(packet, dst=target.dst, loose=loose, **port)


def _translated_error(packet: Packet, target: Ends, *, source: bool) -> Packet:
    """Map the inner packet's other end, since it went the other way (nf_nat_icmp_reply_translation)."""
    inner = packet.inner
    if inner is None:
        return packet
    inner = _manipulated(inner, target.inverse, source=not source)
    outer = {"src": target.src} if source else {"dst": target.dst}
    return structs.replace(packet, inner=inner, **outer)
