"""The route of a packet: for what is sent from here, and for what came in.

Sources: net/ipv4/route.c, fib_frontend.c, ip_forward.c, net/ipv6/ip6_input.c, ip6_output.c, route.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from netinspect.kernel.simulator import forks
from netinspect.kernel.simulator.fib import Fib, Flow, Found, Way
from netinspect.kernel.simulator.netfilter import call
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Deliver, Forward, Leave, Route, State
from netinspect.kernel.simulator.traversal import FORWARD, Traversal, unreachable
from netinspect.kernel.simulator.walk import Walk
from netinspect.model.packet import (
    FRAGMENTATION_NEEDED,
    ICMP,
    ICMPV6,
    PORTED,
    TIME_EXCEEDED,
    TIME_EXCEEDED6,
    TOO_BIG6,
    UNREACHABLE,
    Packet,
    text,
)
from netinspect.model.walk import End, Pointer, Stage, Verdict

# What goes back where there is no way: the code of the ICMP error by what the look-up says (ip_error, ip6_pkt_drop).
_CODES4: Final = {"none": 0, "unreachable": 1, "prohibit": 13}
_CODES6: Final = {"none": 0, "unreachable": 0, "prohibit": 1}
_ECHO_REPLY: Final = 0
# The kinds of routes to this host itself; an anycast address is that of a subnet's routers (RFC 4291, section 2.6.1).
HERE: Final = ("local", "anycast")
_LOOPBACK_NETWORK: Final = 127
_MULTICAST4: Final = 0xE
_MULTICAST6: Final = 0xFF


def flow(stack: Stack, packet: Packet, *, iif: str = "lo", oif: str = "", first: bool = False) -> Flow:
    """Give what the look-up for a packet is made for; ``first`` says that it is the one with which it is made."""
    sport, dport = (packet.sport, packet.dport) if packet.protocol in PORTED else (0, 0)
    if first and (packet.protocol == ICMPV6 or (packet.protocol == ICMP and packet.type != _ECHO_REPLY)):
        # Its type and code stand where others have their ports (union flowi_uli; icmp_reply leaves them out).
        dport = packet.type << 8 | packet.code
    return Flow(
        family=packet.family, dst=packet.dst, src=packet.src, iif=_master(stack, iif), oif=oif, mark=packet.mark,
        tos=packet.tos, uid=packet.uid or 0, protocol=packet.protocol, sport=sport, dport=dport,
        vrf=vrf_table(stack, oif or iif),
    )  # fmt: skip


def _master(stack: Stack, dev: str) -> str:
    link = stack.links.get(dev)
    master = stack.links.get(link.master) if link else None
    return master.ifname if master is not None and master.kind == "vrf" else dev


def vrf_table(stack: Stack, dev: str) -> str:
    """Give the table of the VRF that a device belongs to, or is."""
    link = stack.links.get(_master(stack, dev))
    table = getattr(link.data, "table", 0) if link is not None and link.kind == "vrf" else 0
    return str(table) if table else ""


def look_up(walk: Walk, stack: Stack, asked: Flow) -> Found:
    """Look a route up in what was read.

    Of IPv4, everything is on the link of the device that a sender is bound to, where no route says more
    (ip_route_output_key_hash_rcu).
    """
    four = asked.family == 4
    walk.needs(stack, *(("rules4", "routes4") if four else ("rules6", "routes6")), "nexthops")
    found = stack.fib.look_up(asked)
    if four and asked.oif and not asked.vrf and found.nowhere:
        return Found("unicast", None, (Way(asked.oif),))
    return found


def pointer(stack: Stack, found: Found, family: int) -> Pointer | None:
    """Point at the route, or at the rule that refuses."""
    six = "4" if family == 4 else "6"
    if found.route is not None:
        route = found.route
        gateway = f" via {route.gateway or route.via}" if route.gateway or route.via else ""
        dev = f" dev {route.dev}" if route.dev else ""
        kind = "" if route.type == "unicast" else f"{route.type} "
        said = f"{kind}{route.dst}{gateway}{dev} table {route.table}"
        return stack.pointer(f"routes{six}", route.line, said)
    if found.rule is not None:
        return stack.pointer(f"rules{six}", found.rule.line, f"{found.rule.priority}: {found.rule.action}")
    return None


def choose(walk: Walk, ways: Sequence[Way], stack: Stack, evidence: Pointer | None, packet: Packet) -> Way:
    """Choose among the ways of a multipath route, each as likely as its weight (fib_select_multipath).

    It is a hash of the packet's addresses, or of its ports too, that chooses: a flow keeps its way.
    """
    usable = [w for w in ways if not _down(stack, w)] or list(ways)
    total = sum(w.weight for w in usable)
    asked = [forks.Way(_said(w), w.weight / total) for w in usable]
    same: tuple[object, ...] = (stack.name, tuple(usable), packet.family, packet.src, packet.dst)
    if stack.sysctl(f"ipv{packet.family}/fib_multipath_hash_policy") not in ("0", "") or packet.family == 6:
        same = (*same, packet.protocol, packet.sport, packet.dport)
    return usable[walk.forks.take("which way of the multipath route", asked, evidence, once=same)]


def _said(way: Way) -> str:
    return (f"via {text(way.gateway, way.family)} " if way.gateway is not None else "") + f"dev {way.dev}"


def _down(stack: Stack, way: Way) -> bool:
    """Say whether a way is passed over because its device has no carrier."""
    link = stack.links.get(way.dev)
    return bool(link and not link.carrier and stack.either(way.dev, "ignore_routes_with_linkdown"))


def route(walk: Walk, state: Route) -> State | End:
    """Find out whether a packet that came in is for this host, or for somebody else (ip_route_input_slow)."""
    stack, packet = state.stack, state.packet
    walk.needs(stack, "sysctl")
    if packet.family == 6:
        return _route6(walk, state)
    odd = _martian(stack, packet, state.dev)
    if odd:
        return End(Verdict.DROPPED, odd, stack.name, packet)
    if packet.dst == 0xFFFFFFFF:
        return Deliver(stack, packet, state.dev, state.physin)
    forwarding = bool(stack.conf(4, state.dev, "forwarding"))
    if packet.dst >> 28 == _MULTICAST4:
        return End(Verdict.UNKNOWN, "multicast is not modelled", stack.name, packet, settles="a probe")
    found = look_up(walk, stack, flow(stack, packet, iif=state.dev))
    evidence = pointer(stack, found, 4)
    if found.kind in ("local", "broadcast"):
        return _source_check(walk, state, None) or Deliver(stack, packet, state.dev, state.physin)
    if not forwarding:
        return End(Verdict.DROPPED, f"forwarding is off for {state.dev}", stack.name, packet, _conf(stack, state.dev))
    if found.kind != "unicast":
        return no_way(stack, packet, found, evidence)
    way = choose(walk, found.ways, stack, evidence, packet)
    said = f"{text(packet.dst, 4)} {_said(way)} mtu {mtu_of(stack, found, way)}"
    walk.step(stack, Stage.ROUTE, said, packet, evidence)
    return _source_check(walk, state, way.dev) or Forward(stack, packet, state.dev, found, way, state.physin)


def _conf(stack: Stack, dev: str) -> Pointer:
    return stack.pointer("sysctl", 0, f"net.ipv4.conf.{dev}.forwarding")


def _martian(stack: Stack, packet: Packet, dev: str) -> str:
    """Say what is odd about the addresses of a packet (ip_route_input_slow)."""
    src, dst = packet.src, packet.dst
    local = stack.either(dev, "route_localnet")
    if src >> 28 == _MULTICAST4 or src == 0xFFFFFFFF:
        return "its source is a multicast or broadcast address"
    if dst == 0xFFFFFFFF or (not src and not dst):
        return ""
    if not src >> 24 or not dst >> 24:
        return "an address of it is in 0.0.0.0/8"
    if not local and _LOOPBACK_NETWORK in (src >> 24, dst >> 24):
        return f"an address of it is in 127.0.0.0/8, and route_localnet is off for {dev}"
    return ""


def _source_check(walk: Walk, state: Route, oif: str | None) -> End | None:
    """Check that the source is one that may come in there (fib_validate_source, rp_filter of RFC 3704)."""
    stack, packet, dev = state.stack, state.packet, state.dev
    strictness = stack.either(dev, "rp_filter")
    fib: Fib = stack.fib
    accept_local = bool(stack.either(dev, "accept_local"))
    if not strictness and oif != dev and not accept_local and not fib.custom and not fib.custom_local:
        if (4, packet.src) in stack.addresses:
            return _martian_source(state, "its source is an address of this namespace itself")
        return None
    if not strictness and oif != dev and accept_local:
        return None
    mark = packet.mark if stack.either(dev, "src_valid_mark") else 0
    # It is asked for what would go back, by its ports too.
    sport, dport = (packet.dport, packet.sport) if packet.protocol in PORTED else (0, 0)
    asked = Flow(
        family=4, dst=packet.src, src=packet.dst, iif=oif or "lo", mark=mark, tos=packet.tos,
        protocol=packet.protocol, sport=sport, dport=dport, vrf=vrf_table(stack, dev),
    )  # fmt: skip
    return _reverse(walk, state, asked, strictness, accept_local=accept_local)


def _reverse(walk: Walk, state: Route, asked: Flow, strictness: int, *, accept_local: bool) -> End | None:
    stack, dev = state.stack, state.dev
    found = look_up(walk, stack, asked)
    if found.kind == "unknown":
        return End(Verdict.UNKNOWN, found.unsure, stack.name, state.packet, settles="a probe")
    if found.route is None or found.kind in ("unreachable", "prohibit", "blackhole", "none"):
        return _martian_source(state, "there is no route back to its source") if strictness else None
    if found.kind != "unicast" and (found.kind != "local" or not accept_local):
        return _martian_source(state, f"its source is a {found.kind} address")
    if any(w.dev == dev for w in found.ways) or (found.kind == "local" and dev == "lo"):
        return None
    link = stack.links.get(dev)
    if link is None or not any(a.family == "inet" for a in link.addresses):
        return _martian_source(state, f"{dev} has no address") if strictness else None
    if strictness == 1:
        used = ", ".join(sorted({w.dev for w in found.ways}))
        return _martian_source(state, f"rp_filter: the way back to its source is by {used}, not {dev}")
    return None


def _martian_source(state: Route, why: str) -> End:
    name = f"net.ipv4.conf.{state.dev}.rp_filter"
    return End(Verdict.DROPPED, why, state.stack.name, state.packet, state.stack.pointer("sysctl", 0, name))


def _route6(walk: Walk, state: Route) -> State | End:
    stack, packet, dev = state.stack, state.packet, state.dev
    if packet.src >> 120 == _MULTICAST6:
        return End(Verdict.DROPPED, "its source is a multicast address", stack.name, packet)
    if dev != "lo" and 1 in (packet.src, packet.dst):
        return End(Verdict.DROPPED, "::1 came in from outside", stack.name, packet)
    if packet.dst >> 120 == _MULTICAST6:
        return End(Verdict.UNKNOWN, "multicast is not modelled", stack.name, packet, settles="a probe")
    found = look_up(walk, stack, flow(stack, packet, iif=dev))
    evidence = pointer(stack, found, 6)
    if found.kind in HERE:
        return Deliver(stack, packet, dev, state.physin, anycast=found.kind == "anycast")
    if found.kind != "unicast":
        return no_way(stack, packet, found, evidence)
    if not stack.conf(6, "all", "forwarding"):
        said = stack.pointer("sysctl", 0, "net.ipv6.conf.all.forwarding")
        return End(Verdict.DROPPED, "forwarding of IPv6 is off", stack.name, packet, said)
    way = choose(walk, found.ways, stack, evidence, packet)
    shown = f"{text(packet.dst, 6)} {_said(way)} mtu {mtu_of(stack, found, way)}"
    walk.step(stack, Stage.ROUTE, shown, packet, evidence)
    return Forward(stack, packet, dev, found, way, state.physin)


def no_way(stack: Stack, packet: Packet, found: Found, evidence: Pointer | None) -> End:
    """End where the tables have no way, with what is said to the sender."""
    if found.kind == "unknown":
        return End(Verdict.UNKNOWN, found.unsure, stack.name, packet, evidence, settles="a probe")
    codes = _CODES4 if packet.family == 4 else _CODES6
    code = codes.get(found.kind)
    if code is None:
        return End(Verdict.DROPPED, f"its route is a {found.kind} route", stack.name, packet, evidence)
    said = {
        "none": "there is no route to it", "unreachable": "its route says unreachable",
        "prohibit": "its route says prohibited",
    }[found.kind]  # fmt: skip
    answer = unreachable(packet, code)
    return End(Verdict.UNREACHABLE, said, stack.name, packet, evidence, answer=answer, stage=Stage.ROUTE)


def mtu_of(stack: Stack, found: Found, way: Way) -> int:
    """Give how large a packet may be on a way: the route's own MTU, or the device's."""
    if found.route is not None and found.route.mtu:
        return found.route.mtu
    link = stack.links.get("lo" if found.kind in HERE else way.dev)
    return link.mtu if link is not None and link.mtu else 1500


def too_long(stack: Stack, packet: Packet, found: Found, way: Way, overhead: int = 0) -> End | None:
    """Refuse what a way does not take and may not be fragmented, telling its sender (RFC 1191, RFC 8201)."""
    four = packet.family == 4
    mtu = mtu_of(stack, found, way) - overhead
    if (packet.fragment or packet.size) <= mtu or not (packet.df or not four):
        return None
    kind = UNREACHABLE if four else TOO_BIG6
    answer = unreachable(packet, FRAGMENTATION_NEEDED if four else 0, type_=kind, mtu=mtu)
    said = f"it is {packet.size} bytes long, {way.dev} takes {mtu}, and it may not be fragmented"
    return End(Verdict.UNREACHABLE, said, stack.name, packet, pointer(stack, found, packet.family), answer=answer)


def forward(walk: Walk, state: Forward) -> State | End:
    """Pass a packet on to somebody else (ip_forward, ip6_forward)."""
    stack, packet = state.stack, state.packet
    four = packet.family == 4
    if packet.steered:
        # What a socket has is not passed on (skb->sk).
        said = "TPROXY gave it to a socket here, and its route leads on: a policy rule for its mark is missing"
        return End(Verdict.DROPPED, said, stack.name, packet, pointer(stack, state.found, packet.family))
    if not four and (packet.src >> 118 == 0xFE80 >> 6 or packet.src == 0):
        answer = unreachable(packet, 2) if packet.src else None
        return End(Verdict.DROPPED, "its source does not go beyond its link", stack.name, packet, answer=answer)
    if packet.ttl <= 1:
        answer = unreachable(packet, 0, type_=TIME_EXCEEDED if four else TIME_EXCEEDED6)
        return End(Verdict.UNREACHABLE, "its time to live ends here", stack.name, packet, answer=answer)
    long = too_long(stack, packet, state.found, state.way)
    if long is not None:
        return long
    packet = structs.replace(packet, ttl=packet.ttl - 1)
    at = Traversal(walk, stack, FORWARD, packet, iif=state.dev, oif=state.way.dev, physin=state.physin)
    ended = call(at)
    if ended is not None:
        return ended
    return Leave(stack, at.packet, state.found, state.way, state.dev)
