"""A packet at its host: PREROUTING, INPUT, and who takes it.

Sources: net/ipv4/ip_input.c, tcp_ipv4.c, udp.c, icmp.c.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from netinspect.kernel.simulator import traversal
from netinspect.kernel.simulator.forks import Maybe
from netinspect.kernel.simulator.listeners import listening
from netinspect.kernel.simulator.netfilter import call
from netinspect.kernel.simulator.output import balance
from netinspect.kernel.simulator.states import Deliver, Receive, Route, State
from netinspect.kernel.simulator.tracking import ends
from netinspect.kernel.simulator.traversal import INPUT, PREROUTING, Traversal, unreachable
from netinspect.kernel.simulator.tunnels import decapsulate
from netinspect.kernel.simulator.walk import Walk
from netinspect.model.kernel import Socket
from netinspect.model.packet import (
    ACK,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    ICMP,
    ICMPV6,
    NOBODY_KNOWS,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    Packet,
    end,
    text,
)
from netinspect.model.walk import End, Stage, Verdict

_PROTOCOL_UNREACHABLE: Final = 2
_PORT_UNREACHABLE: Final = 3
_PORT_UNREACHABLE6: Final = 4
# INET_DSCP_MASK of include/net/inet_dscp.h.
_DSCP: Final = 0xFC
_SHORT: Final = {4: 60, 6: 80}


def receive(walk: Walk, state: Receive) -> State | End:
    """Let PREROUTING see what came in (ip_rcv, ipv6_rcv)."""
    stack, packet, dev = state.stack, state.packet, state.dev
    if packet.family == 6 and stack.conf(6, dev, "disable_ipv6"):
        return End(Verdict.DROPPED, f"IPv6 is off on {dev}", stack.name, packet, stack.pointer("sysctl"))
    if state.physin:
        return Route(stack, packet, dev, state.physin)
    at = Traversal(walk, stack, PREROUTING, packet, iif=dev)
    ended = call(at)
    if ended is not None:
        return ended
    if dev == "lo" and at.packet.dst == packet.dst:
        # What comes over loopback keeps the route that it was sent with.
        anycast = packet.family == 6 and stack.fib.address_type(6, packet.dst) == "anycast"
        return Deliver(stack, at.packet, dev, anycast=anycast)
    return Route(stack, at.packet, dev)


def deliver(walk: Walk, state: Deliver) -> State | End:
    """Let INPUT see it, then give it to the tunnel or socket that it is for (ip_local_deliver)."""
    stack = state.stack
    at = Traversal(walk, stack, INPUT, state.packet, iif=state.dev, physin=state.physin)
    ended = call(at)
    if ended is not None:
        return ended
    if at.balanced is not None:
        return balance(at)
    packet = at.packet
    if packet.steered and packet.inner is not None and not packet.is_error:
        said = f"TPROXY gives what the tunnel carries to the socket on port {packet.steered}"
        return at.end(Verdict.DROPPED, said, at.stack.pointer("sockets"))
    inside = decapsulate(walk, stack, packet)
    if inside is not None:
        return inside
    # What TPROXY gave to a listener is not looked up again; only connections that it has accepted are the same socket.
    waiting = walk.accepted if packet.steered else walk.waiting
    if (stack.name, ends(packet)) in waiting or (packet.is_error and _awaited(walk, stack.name, packet)):
        return at.end(Verdict.DELIVERED, "the socket that waits for it takes it")
    if packet.is_error:
        return at.end(Verdict.DROPPED, "no connection of this host is meant")
    if packet.inner is not None:
        how = f" on UDP port {packet.dport}" if packet.protocol == UDP else ""
        said = f"it carries another packet, and no tunnel here takes it out{how}"
        return at.end(Verdict.DROPPED, said, at.stack.pointer("links"))
    if packet.protocol in (ICMP, ICMPV6):
        return _echo(at, anycast=state.anycast)
    if packet.protocol in (TCP, UDP):
        if packet.protocol == TCP and state.anycast:
            # Neither a connection nor a reset (tcp_v6_conn_request, tcp_v6_send_reset).
            return at.end(Verdict.DROPPED, f"TCP is not for the anycast address {text(packet.dst, 6)}")
        return _socket(walk, at, state.dev)
    if packet.protocol == SCTP:
        return at.unknown("sockets of SCTP were not read", "a probe")
    if packet.protocol in (50, 51):
        return at.unknown("IPsec is not modelled", "a probe")
    answer = unreachable(packet, _PROTOCOL_UNREACHABLE) if packet.family == 4 else None
    return at.end(Verdict.REFUSED, f"nothing takes protocol {packet.protocol}", answer=answer)


def _awaited(walk: Walk, name: str, packet: Packet) -> bool:
    """Say whether an error is about something that a waiting socket has sent."""
    return packet.inner is not None and (name, ends(packet.inner).inverse) in walk.waiting


def _echo(at: Traversal, *, anycast: bool) -> End:
    packet = at.packet
    asks = packet.type in (ECHO_REQUEST, ECHO_REQUEST6)
    if not asks:
        return at.end(Verdict.DROPPED, "nobody waits for it")
    name = "ipv4/icmp_echo_ignore_all" if packet.family == 4 else "ipv6/icmp/echo_ignore_all"
    if at.stack.sysctl(name) != "0":
        return at.end(Verdict.DROPPED, f"{name.rpartition('/')[2]} is on", at.stack.pointer("sysctl"))
    if anycast and at.stack.sysctl("ipv6/icmp/echo_ignore_anycast") != "0":
        return at.end(Verdict.DROPPED, "echo_ignore_anycast is on", at.stack.pointer("sysctl"))
    at.step(Stage.DELIVER, "the kernel answers", None)
    answer = traversal.turned(packet, tos=packet.tos)
    if anycast and at.stack.sysctl("ipv6/anycast_src_echo_reply") == "0":
        # It comes from an address of its own, for which no connection stands (icmpv6_echo_reply).
        answer = structs.replace(answer, src=0, connection=None, reply=False)
    return at.end(Verdict.DELIVERED, "the kernel answers the echo", answer=answer)


def _socket(walk: Walk, at: Traversal, dev: str) -> End:
    stack, packet = at.stack, at.packet
    walk.needs(stack, "sockets")
    aim = structs.replace(packet, dport=packet.steered) if packet.steered else packet
    found = listening(stack, aim, dev)
    if packet.steered and found is None:
        # A proxy may listen on one address of its own, which the packet does not name.
        found = next(iter(stack.sockets.get((packet.protocol, packet.steered), ())), None)
    if packet.protocol == TCP and packet.flags & (SYN | ACK | RST) != SYN:
        answer = traversal.reset(packet, attached=False)
        return at.end(Verdict.REFUSED, "no connection of this host is meant", answer=answer)
    if isinstance(found, Maybe):
        return at.unknown(found.reason, "a probe")
    if found is None:
        return _refused(at)
    evidence = stack.pointer("sockets", found.line, f"{found.protocol} {found.address}:{found.port}")
    at.step(Stage.DELIVER, f"the socket on {found.address}:{found.port} takes it", evidence)
    # How much a server answers is not known; little always fits.
    reflected = packet.protocol == TCP and stack.sysctl("ipv4/tcp_reflect_tos") == "1"
    back = traversal.turned(packet, size=_SHORT[packet.family], tos=packet.tos & _DSCP if reflected else 0)
    loose = back.loose | {"size"} if packet.protocol == UDP else back.loose
    answer = structs.replace(back, uid=owner(found), gid=NOBODY_KNOWS, loose=loose)
    return End(Verdict.DELIVERED, "a socket takes it", stack.name, packet, evidence, socket=found, answer=answer)


def owner(socket: Socket) -> int:
    """Give the user of a socket; ss names him unless he is root, and an inode wherever it says anything of users."""
    if socket.uid is not None:
        return socket.uid
    return 0 if socket.inode is not None else NOBODY_KNOWS


def _refused(at: Traversal) -> End:
    packet = at.packet
    said = f"nothing listens on {end(packet.dst, packet.dport, packet.family)}"
    if packet.protocol == TCP:
        answer = traversal.reset(packet, attached=False)
    else:
        # UDP lets go of the connection before it complains (nf_reset_ct in __udp4_lib_rcv).
        loose = structs.replace(packet, connection=None, state="")
        answer = unreachable(loose, _PORT_UNREACHABLE if packet.family == 4 else _PORT_UNREACHABLE6)
    return at.end(Verdict.REFUSED, said, at.stack.pointer("sockets"), answer)
