"""The bits of a packet's headers (RFC 791, RFC 8200, RFC 9293, RFC 768), for rules that ask for raw ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netinspect.kernel.simulator.forks import Maybe
from netinspect.model.packet import ICMP, ICMPV6, PORTED, TCP, Packet

_NETWORK, _TRANSPORT, _LINK = "nh", "th", "ll"
_DONT_FRAGMENT: Final = 2


def bits(packet: Packet, base: str, offset: int, length: int) -> int | Maybe | None:
    """Give some bits from an offset in a header, both counted in bits; None where the packet is too short."""
    known = {_NETWORK: _network, _TRANSPORT: _transport, _LINK: _link}.get(base)
    if known is None:
        return Maybe(f"the header {base} is not modelled")
    value = 0
    position = 0
    for width, field in known(packet):
        for bit in range(width):
            if offset <= position + bit < offset + length:
                if field is None:
                    return Maybe("these bits are not known of a packet that is not sent")
                value = value << 1 | field >> (width - 1 - bit) & 1
        position += width
        if position >= offset + length:
            return value
    return None


def _network(packet: Packet) -> Iterator[tuple[int, int | None]]:
    if packet.family == 4:
        yield from ((4, 4), (4, 5), (8, packet.tos), (16, packet.size), (16, None))
        yield from ((3, _DONT_FRAGMENT * packet.df), (13, 0), (8, packet.ttl), (8, packet.protocol), (16, None))
        yield from ((32, packet.src), (32, packet.dst))
    else:
        yield from ((4, 6), (8, packet.tos), (20, None), (16, packet.size - 40), (8, packet.protocol))
        yield from ((8, packet.ttl), (128, packet.src), (128, packet.dst))


def _transport(packet: Packet) -> Iterator[tuple[int, int | None]]:
    if packet.protocol in (ICMP, ICMPV6):
        yield from ((8, packet.type), (8, packet.code), (16, None), (16, packet.ident))
    elif packet.protocol in PORTED:
        yield 16, None if "sport" in packet.loose else packet.sport
        yield 16, None if "dport" in packet.loose else packet.dport
        if packet.protocol == TCP:
            yield from ((64, None), (8, None), (8, packet.flags))


def _link(packet: Packet) -> Iterator[tuple[int, int | None]]:
    yield 48, _mac(packet.dmac)
    yield 48, _mac(packet.smac)
    yield 16, 0x0800 if packet.family == 4 else 0x86DD


def _mac(written: str) -> int | None:
    return int(written.replace(":", ""), 16) if written else None
