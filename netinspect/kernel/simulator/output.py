"""What is sent from here, and what goes out. Sources: net/ipv4/ip_output.c, net/netfilter/../route.c, ip6_output.c."""

from __future__ import annotations

from msgspec import structs

from netinspect.kernel.simulator import fib, neighbour, programs, source
from netinspect.kernel.simulator.fib import Found
from netinspect.kernel.simulator.forks import Maybe, Way
from netinspect.kernel.simulator.nat import LOOPBACK4
from netinspect.kernel.simulator.netfilter import call
from netinspect.kernel.simulator.routing import HERE, choose, flow, look_up, mtu_of, no_way, pointer, too_long
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Leave, Send, State, Transmit
from netinspect.kernel.simulator.traversal import OUTPUT, POSTROUTING, Traversal, multicast, unreachable
from netinspect.kernel.simulator.tunnels import in_tunnel
from netinspect.kernel.simulator.walk import Walk
from netinspect.model.packet import ANY_PORT, PORTED, Packet, number, text
from netinspect.model.walk import End, Pointer, Stage, Verdict

_BROADCAST4 = 0xFFFFFFFF
_LOOPBACK_NETWORK = 127
# With which packets are made; a host may have another for all.
_TTL = 64
_POINT_TO_POINT = frozenset({"ipip", "sit", "gre", "ip6tnl", "ip6gre", "wireguard", "tun"})
# What has a hardware address in front of its packets even where it asks nobody for one (ip link set DEVICE arp off).
_FRAMED = frozenset({"veth", "bridge", "macvlan", "vlan"})


def send(walk: Walk, state: Send) -> State | End:
    """Route what is made here, and let OUTPUT see it (ip_route_output_key, __ip_local_out)."""
    stack, packet = state.stack, state.packet
    if packet.is_error and not state.complaint and stack.fib.address_type(packet.family, packet.src) not in HERE:
        # An error about a packet that was not for this host comes from the address that suits its way, one about a
        # packet that was from the address that it had, or not at all (icmp_send).
        packet = structs.replace(packet, src=0)
    if not packet.dst:
        return _to_this_host(walk, state)
    made = _made(walk, stack, packet, foreign=state.foreign)
    if isinstance(made, End):
        return made
    packet = made
    asked = structs.replace(packet, src=0) if state.kept else packet
    found = look_up(walk, stack, flow(stack, asked, oif=state.oif, first=True))
    if packet.family == 6 and not asked.src and found.nowhere:
        # There may be a way for the address that it will have, which is chosen without one (ip6_dst_lookup_tail).
        packet = structs.replace(packet, src=packet.src or source.of_device6(stack, "", packet.dst) or 0)
        found = look_up(walk, stack, flow(stack, packet, oif=state.oif, first=True))
    evidence = pointer(stack, found, packet.family)
    if not found.ways and found.kind not in (*HERE, "broadcast"):
        return _no_way_from_here(stack, packet, found, evidence)
    way = _local(found) or choose(walk, found.ways, stack, evidence, packet)
    if state.past and way.dev == state.past:
        said = f"the tunnel {state.past} would carry its own packets"
        return End(Verdict.DROPPED, said, stack.name, packet, evidence)
    if not packet.src:
        own = source.of_route(stack, found, found.ways[0] if found.kind in HERE else way, packet.dst, packet.family)
        if found.kind == "local":
            own = _prefsrc(found) or packet.dst
        if own is None:
            return End(Verdict.UNREACHABLE, "there is no address to send from", stack.name, packet, evidence)
        packet = structs.replace(packet, src=own)
        again = _from_its_address(walk, state, packet, found, way)
        if isinstance(again, End):
            return again
        found, way = again
        evidence = pointer(stack, found, packet.family)
    packet = _living(stack, packet, way.dev)
    ends = f"{text(packet.src, packet.family)} → {text(packet.dst, packet.family)}"
    walk.step(stack, Stage.ROUTE, f"{ends} dev {way.dev} mtu {mtu_of(stack, found, way)}", packet, evidence)
    return _may_not_leave(state, packet, found, way) or _output(walk, stack, packet, found, way)


def _living(stack: Stack, packet: Packet, dev: str) -> Packet:
    """Give a packet the time to live that its host gives all (ip4_dst_hoplimit, ip6_dst_hoplimit)."""
    if packet.ttl != _TTL:
        return packet
    of_host = "ipv4/ip_default_ttl" if packet.family == 4 else f"ipv6/conf/{dev}/hop_limit"
    own = stack.sysctl(of_host)
    return structs.replace(packet, ttl=int(own)) if own.isdecimal() and int(own) else packet


def _to_this_host(walk: Walk, state: Send) -> State | End:
    """Send to 0.0.0.0 or ::, by which a sender means this host (ip_route_output_key_hash_rcu, ip6_datagram_connect)."""
    stack, packet = state.stack, state.packet
    if not state.foreign:
        own = packet.src or (LOOPBACK4 if packet.family == 4 else 1)
        packet = structs.replace(packet, src=own, dst=own)
    walk.step(stack, Stage.ROUTE, f"{text(packet.dst, packet.family)} is this host", packet)
    return _output(walk, stack, packet, Found("local"), fib.Way("lo"))


def _may_not_leave(state: Send, packet: Packet, found: Found, way: fib.Way) -> End | None:
    """End what its sender's own kernel refuses to send (EMSGSIZE, and EINVAL of a loopback address)."""
    stack = state.stack
    if not state.foreign and _stays_on_loopback(stack, packet, way):
        return _no_loopback_outside(stack, packet, way, Verdict.UNREACHABLE)
    mtu = mtu_of(stack, found, way)
    if packet.size <= mtu or not packet.df:
        return None
    said = f"it is {packet.size} bytes long, the way takes {mtu}, and it may not be fragmented"
    return End(Verdict.UNREACHABLE, said, stack.name, packet, pointer(stack, found, packet.family))


def _made(walk: Walk, stack: Stack, packet: Packet, *, foreign: bool) -> Packet | End:
    told = _socket_programs(walk, stack, packet)
    if isinstance(told, End):
        return told
    return _may_not_be_sent(stack, told, foreign=foreign) or _drawn(stack, told)


def _drawn(stack: Stack, packet: Packet) -> Packet:
    """Say between which ports a sender's is drawn (inet_get_local_port_range)."""
    if "sport" not in packet.loose or packet.drawn != ANY_PORT:
        return packet
    first, last = (int(word) for word in stack.sysctl("ipv4/ip_local_port_range").split())
    return structs.replace(packet, drawn=(first, last))


def _may_not_be_sent(stack: Stack, packet: Packet, *, foreign: bool) -> End | None:
    if multicast(packet) or (packet.family == 4 and packet.dst == _BROADCAST4):
        return End(Verdict.UNKNOWN, "multicast is not modelled", stack.name, packet, settles="a probe")
    ours = packet.family == 6 or not packet.src or foreign
    return None if ours or stack.fib.address_type(4, packet.src) == "local" else _not_ours(stack, packet)


def _socket_programs(walk: Walk, stack: Stack, packet: Packet) -> Packet | End:
    """Let programs of eBPF send a socket elsewhere before there is a packet (Cilium does); fork where they are dark."""
    if packet.uid is None or packet.protocol not in PORTED:
        return packet
    told = programs.at_connect(walk, stack, packet)
    if told is not None:
        return told
    host = walk.world.host(stack.node)
    if host is None or packet.family not in host.connect_programs:
        return packet
    ways = (Way("it lets it connect there"), Way("it does something else"))
    asked = f"what a program at connect() on {host.name} does"
    if not walk.forks.take(asked, ways, once=(host.name, "connect", packet.dst, packet.dport)):
        return packet
    said = "a program at connect() decides where to"
    return End(Verdict.UNKNOWN, said, stack.name, packet, settles="the program's own maps, or a probe")


def _encryption(walk: Walk, stack: Stack, packet: Packet) -> End | None:
    """Fork where an IPsec policy may take the packet (xfrm_lookup)."""
    if not stack.encrypts:
        return None
    ways = (Way("none does"), Way("one does"))
    if not walk.forks.take(
        f"does an IPsec policy of {stack.name} take it", ways, once=(stack.name, "xfrm", packet.dst)
    ):
        return None
    return End(Verdict.UNKNOWN, "IPsec is not modelled", stack.name, packet, settles="ip xfrm policy, or a probe")


def _stays_on_loopback(stack: Stack, packet: Packet, way: fib.Way) -> bool:
    """Say whether a packet from 127.0.0.0/8 would leave by a device that may not carry it (__mkroute_output)."""
    if packet.family != 4 or packet.src >> 24 != _LOOPBACK_NETWORK or way.dev == "lo":
        return False
    return not stack.either(way.dev, "route_localnet")


def _no_loopback_outside(stack: Stack, packet: Packet, way: fib.Way, verdict: Verdict) -> End:
    said = f"its source is in 127.0.0.0/8, and route_localnet is off for {way.dev}"
    evidence = stack.pointer("sysctl", 0, f"net.ipv4.conf.{way.dev}.route_localnet")
    return End(verdict, said, stack.name, packet, evidence, stage=Stage.OUTPUT)


def _not_ours(stack: Stack, packet: Packet) -> End:
    said = f"{text(packet.src, 4)} is no address of this host to send from"
    return End(Verdict.UNREACHABLE, said, stack.name, packet, stack.pointer("routes4"))


def _from_its_address(
    walk: Walk, state: Send, packet: Packet, found: Found, way: fib.Way
) -> tuple[Found, fib.Way] | End:
    """Look again from the address that was chosen, where the kernel does.

    So does a socket of IPv4 that connects (ip_route_connect), and in Linux 6.18 an ICMPv6 error.
    """
    stack = state.stack
    connects = packet.family == 4 and packet.uid is not None
    if not connects and not (packet.family == 6 and packet.is_error):
        return found, way
    if connects and stack.fib.address_type(4, packet.src) != "local":
        return _not_ours(stack, packet)
    again = look_up(walk, stack, flow(stack, packet, oif=state.oif, first=True))
    evidence = pointer(stack, again, packet.family)
    if not connects and not _leads_elsewhere(walk, stack, (found, again), evidence):
        return found, way
    if not again.ways:
        return _no_way_from_here(stack, packet, again, evidence)
    return again, _local(again) or choose(walk, again.ways, stack, evidence, packet)


def _leads_elsewhere(walk: Walk, stack: Stack, both: tuple[Found, Found], evidence: Pointer | None) -> bool:
    """Ask whether the second route counts, where it is another: which kernels look twice is not known."""
    first, second = ({(way.dev, way.gateway) for way in found.ways} for found in both)
    if first == second:
        return False
    ways = (Way("it does"), Way("it does not"))
    asked = f"does {stack.name} look the route of an ICMPv6 error up again from the address that it chose"
    return walk.forks.take(asked, ways, evidence, once=(stack.name, "errors look again")) == 0


def _no_way_from_here(stack: Stack, packet: Packet, found: Found, evidence: Pointer | None) -> End:
    """Tell the sender by its own call, whatever the route says."""
    ended = structs.replace(no_way(stack, packet, found, evidence), answer=None)
    return structs.replace(ended, verdict=Verdict.UNREACHABLE) if ended.verdict is Verdict.DROPPED else ended


def _prefsrc(found: Found) -> int:
    return number(found.route.prefsrc)[1] if found.route is not None and found.route.prefsrc else 0


def _local(found: Found) -> fib.Way | None:
    """Give lo, by which all goes that is for this host (ip6_rt_get_dev_rcu)."""
    return fib.Way("lo") if found.kind in HERE else None


def _output(walk: Walk, stack: Stack, packet: Packet, found: Found, way: fib.Way) -> State | End:
    at = Traversal(walk, stack, OUTPUT, packet, oif=way.dev)
    ended = call(at)
    if ended is not None:
        return ended
    if at.balanced is not None:
        return balance(at)
    if at.rerouted is not None:
        # What later hooks changed does not count: the route was looked up at the change (ip_route_me_harder). Whose the
        # packet is only IPv6 asks again.
        anew = structs.replace(at.rerouted, uid=0) if packet.family == 4 else at.rerouted
        found = look_up(walk, stack, flow(stack, anew))
        evidence = pointer(stack, found, packet.family)
        if not found.ways:
            ended = no_way(stack, at.packet, found, evidence)
            return structs.replace(ended, verdict=Verdict.DROPPED, answer=None, stage=Stage.OUTPUT)
        way = _local(found) or choose(walk, found.ways, stack, evidence, packet)
        if _stays_on_loopback(stack, at.packet, way):
            return _no_loopback_outside(stack, at.packet, way, Verdict.DROPPED)
        walk.step(stack, Stage.ROUTE, f"routed anew, dev {way.dev}", at.packet, evidence)
    return Leave(stack, at.packet, found, way)


def balance(at: Traversal) -> State | End:
    """Send what IPVS has taken on to its real server (ip_vs_xmit.c); its own OUTPUT follows."""
    family, address = at.balanced or (4, 0)
    packet = structs.replace(at.packet, balanced=True)
    if at.tunnelled:
        return _balanced_tunnel(at, packet, in_tunnel(packet, family, address))
    asked = structs.replace(packet, dst=address)
    found = look_up(at.walk, at.stack, flow(at.stack, asked))
    if not found.ways:
        return no_way(at.stack, packet, found, pointer(at.stack, found, family))
    evidence = pointer(at.stack, found, family)
    way = _local(found) or choose(at.walk, found.ways, at.stack, evidence, packet)
    if found.kind not in HERE and way.gateway is None:
        way = fib.Way(way.dev, address, family)
    return _output(at.walk, at.stack, packet, found, way)


def _balanced_tunnel(at: Traversal, packet: Packet, outer: Packet) -> State | End:
    """Refuse what is too long for the tunnel before it is wrapped (ensure_mtu_is_adequate() of ip_vs_xmit.c)."""
    found = look_up(at.walk, at.stack, flow(at.stack, outer))
    if found.ways and not packet.is_error and at.stack.sysctl("ipv4/vs/pmtu_disc") != "0":
        long = too_long(at.stack, packet, found, found.ways[0], outer.size - packet.size)
        if long is not None:
            return long
    return Send(at.stack, outer)


def leave(walk: Walk, state: Leave) -> State | End:
    """Let POSTROUTING see it, fragment it where it must be, and find its next hop (ip_output, ip_finish_output)."""
    stack, way = state.stack, state.way
    if way.encap:
        said = f"the route encapsulates ({way.encap}), which is not modelled"
        return End(Verdict.UNKNOWN, said, stack.name, state.packet, settles="a probe")
    at = Traversal(walk, stack, POSTROUTING, state.packet, iif=state.iif, oif=way.dev, nexthop=way.gateway)
    ended = _encryption(walk, stack, state.packet) or call(at)
    if ended is not None:
        return ended
    packet = at.packet
    mtu = mtu_of(stack, state.found, way)
    if (packet.fragment or packet.size) > mtu and packet.df:
        # Its sender asked the first route, and it left by another (ip_fragment, ip6_fragment).
        said = f"it is {packet.size} bytes long, {way.dev} takes {mtu}, and it may not be fragmented"
        return End(Verdict.UNREACHABLE, said, stack.name, packet, pointer(stack, state.found, packet.family),
                   stage=Stage.ROUTE)  # fmt: skip
    if (packet.fragment or packet.size) > mtu:
        packet = structs.replace(packet, fragment=mtu, loose=packet.loose | {"size"})
        walk.step(stack, Stage.TRANSMIT, f"fragmented to {mtu} bytes", packet)
    return _to_next_hop(walk, state, packet)


def emit(walk: Walk, stack: Stack, packet: Packet) -> State | End:
    """Send by the routing tables what a program has made, past netfilter (bpf_fib_lookup, bpf_redirect_neigh)."""
    found = look_up(walk, stack, flow(stack, packet))
    evidence = pointer(stack, found, packet.family)
    if not found.ways:
        return End(Verdict.DROPPED, "a program finds no way for it", stack.name, packet, evidence)
    way = choose(walk, found.ways, stack, evidence, packet)
    walk.step(stack, Stage.ROUTE, f"a program sends it on, dev {way.dev}", packet, evidence)
    return _to_next_hop(walk, Leave(stack, packet, found, way), packet)


def _to_next_hop(walk: Walk, state: Leave, packet: Packet) -> State | End:
    """Find the hardware address of the next hop (ip_finish_output2)."""
    stack, way = state.stack, state.way
    link = stack.links.get(way.dev)
    if link is None:
        return End(Verdict.DROPPED, f"there is no device {way.dev}", stack.name, packet)
    bare = "NOARP" in link.flags and link.kind not in _FRAMED
    if way.dev == "lo" or bare or link.kind in _POINT_TO_POINT:
        return Transmit(stack, structs.replace(packet, dmac="", smac=""), way.dev, way.gateway)
    family, target = (way.family, way.gateway) if way.gateway is not None else (packet.family, packet.dst)
    if state.found.kind == "broadcast" and "NOARP" not in link.flags:
        mac: str | Maybe | neighbour.Nobody = "ff:ff:ff:ff:ff:ff"
    else:
        mac = neighbour.resolve(walk, stack, way.dev, family, target, packet)
    if isinstance(mac, Maybe):
        return Transmit(stack, structs.replace(packet, dmac="", smac=link.address), way.dev)
    if isinstance(mac, neighbour.Nobody):
        back = unreachable(packet, 1 if packet.family == 4 else 3) if state.iif else None
        return End(Verdict.UNREACHABLE, mac.reason, stack.name, packet, mac.evidence, answer=back,
                   stage=Stage.NEIGHBOUR)  # fmt: skip
    return Transmit(stack, structs.replace(packet, dmac=mac, smac=link.address), way.dev)
