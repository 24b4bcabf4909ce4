"""Which socket takes a packet. Sources: net/ipv4/inet_hashtables.c, net/ipv4/udp.c, net/ipv6/inet6_hashtables.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netinspect.kernel.simulator.forks import Maybe
from netinspect.model.kernel import Socket
from netinspect.model.packet import Packet, number

if TYPE_CHECKING:
    from netinspect.kernel.simulator.stack import Stack

_ANY4: Final = "0.0.0.0"  # noqa: S104 - a value that is read
_ANY6: Final = ("[::]", "::")
_ANY: Final = "*"


def listening(stack: Stack, packet: Packet, dev: str = "") -> Socket | Maybe | None:
    """Give the socket for a packet, the most particular first; None where there is none."""
    if "dport" in packet.loose:
        return Maybe("the destination port is drawn")
    best: tuple[int, Socket] | None = None
    for socket in stack.sockets.get((packet.protocol, packet.dport), ()):
        score = _score(stack, socket, packet, dev)
        if score and (best is None or score > best[0]):
            best = score, socket
    return best[1] if best else None


def _score(stack: Stack, socket: Socket, packet: Packet, dev: str) -> int:
    """Give how well a socket fits (compute_score): 0 where it does not."""
    if socket.dev and socket.dev != dev:
        return 0
    score = 1 + 4 * bool(socket.dev)
    address = socket.address.strip("[]")
    if address == _ANY:
        # Of both families, unless it is said to be of one.
        if packet.family == 4 and socket.v6only:
            return 0
    elif address in ("::",):
        only = socket.v6only if socket.v6only is not None else stack.sysctl("ipv6/bindv6only") != "0"
        if packet.family == 4 and only:
            return 0
    elif address == _ANY4:
        if packet.family != 4:
            return 0
        score += 1
    else:
        family, value = number(address.partition("%")[0])
        mapped = family == 6 and value >> 32 == 0xFFFF
        if mapped:
            family, value = 4, value & 0xFFFFFFFF
        if (family, value) != (packet.family, packet.dst):
            return 0
        score += 2
    if socket.peer_port:
        if socket.peer_port != packet.sport or _differs(socket.peer, packet):
            return 0
        score += 8
    return score


def _differs(peer: str, packet: Packet) -> bool:
    return peer not in (_ANY, _ANY4, *_ANY6) and number(peer.strip("[]").partition("%")[0])[1] != packet.src
