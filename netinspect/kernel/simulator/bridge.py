"""A bridge: where a frame goes on, and IP's hooks on the way (br_netfilter).

Sources: net/bridge/br_input.c, br_forward.c, br_device.c, br_netfilter_hooks.c.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from netinspect.kernel.simulator import fib, neighbour
from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.netfilter import bridge_chains, call
from netinspect.kernel.simulator.routing import flow, look_up, route
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Arrive, Forward, Route, State, Switch, Transmit
from netinspect.kernel.simulator.traversal import (
    FORWARD,
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    Traversal,
    unreachable,
)
from netinspect.kernel.simulator.walk import Walk
from netinspect.model.kernel import BridgeData, BridgePortData, Link
from netinspect.model.packet import BROADCAST_MAC, Packet
from netinspect.model.walk import End, Stage, Verdict

# What a device takes beyond its MTU (is_skb_forwardable in include/linux/netdevice.h).
VLAN_HEADER: Final = 4


def switch(walk: Walk, state: Switch) -> State | End:
    """Pass a frame through a bridge."""
    stack, packet = state.stack, state.packet
    bridge = stack.links[state.bridge]
    if not bridge.up:
        return End(Verdict.DROPPED, f"{state.bridge} is down", stack.name, packet, stack.pointer("links"))
    port = stack.links.get(state.port)
    if port is None:
        return _from_host(walk, state, bridge)
    settings = port.port or BridgePortData()
    if not neighbour.forwards(port):
        return End(Verdict.DROPPED, f"the bridge port {port.ifname} is {settings.state}", stack.name, packet)
    if settings.locked:
        said = f"the bridge port {port.ifname} is locked: it takes only what comes from whom the bridge was told of"
        return End(Verdict.UNKNOWN, said, stack.name, packet, stack.pointer("fdb"), settles="a probe")
    ended = _vlans(walk, stack, bridge, packet) or bridge_chains(walk, stack, PREROUTING, packet, state.port, "")
    if ended is not None:
        return ended
    seen = False
    walk.needs(stack, "sysctl")
    if _calls_ip(stack, bridge, packet):
        at = Traversal(walk, stack, PREROUTING, packet, iif=bridge.ifname, physin=state.port)
        ended = call(at)
        if ended is not None:
            return ended
        seen = True
        aimed = at.packet if at.packet.dst == packet.dst else _redirected(walk, stack, bridge, at.packet)
        if isinstance(aimed, End):
            return aimed
        packet = aimed
    return _go_on(walk, state, bridge, packet, seen=seen)


def _calls_ip(stack: Stack, bridge: Link, packet: Packet) -> bool:
    """Say whether IP's hooks see a frame in a bridge; one with a VLAN tag only where that is asked for (is_vlan_ip)."""
    tagged = bool(packet.vlan) and stack.sysctl("bridge/bridge-nf-filter-vlan-tagged") == "0"
    return neighbour.calls_ip(stack, bridge, packet.family) and not tagged


def _vlans(walk: Walk, stack: Stack, bridge: Link, packet: Packet) -> End | None:
    if not isinstance(bridge.data, BridgeData) or not bridge.data.vlan_filtering:
        return None
    ways = (Way("lets it pass"), Way("does not"))
    if walk.forks.take(f"what VLAN filtering of {bridge.ifname} does", ways, once=(stack.name, bridge.ifname)):
        said = f"{bridge.ifname} filters VLANs, whose table was not read"
        return End(Verdict.UNKNOWN, said, stack.name, packet, settles="bridge vlan show")
    return None


def _routed(walk: Walk, stack: Stack, bridge: Link, packet: Packet) -> fib.Way | None:
    """Give the way by which the host would forward a packet; of IPv4 it must, what its switch and checks say included.

    What may not be forwarded goes up to the host all the same, which drops it or complains.
    """
    if packet.family == 6:
        found = look_up(walk, stack, flow(stack, packet, iif=bridge.ifname))
        return found.ways[0] if found.kind == "unicast" and found.ways else None
    steps = len(walk.steps)
    routed = route(walk, Route(stack, packet, bridge.ifname))
    del walk.steps[steps:]
    return routed.way if isinstance(routed, Forward) else None


def _redirected(walk: Walk, stack: Stack, bridge: Link, packet: Packet) -> Packet | End:
    """Aim a frame anew whose address was translated in the bridge (br_nf_pre_routing_finish)."""
    way = _routed(walk, stack, bridge, packet)
    if way is None or way.dev != bridge.ifname:
        return structs.replace(packet, dmac=bridge.address.lower())
    target = way.gateway if way.gateway is not None else packet.dst
    mac = neighbour.resolve(walk, stack, bridge.ifname, packet.family, target, packet)
    if isinstance(mac, neighbour.Nobody):
        answer = unreachable(packet, 1 if packet.family == 4 else 3)
        return End(Verdict.UNREACHABLE, mac.reason, stack.name, packet, mac.evidence, answer=answer,
                   stage=Stage.NEIGHBOUR)  # fmt: skip
    return structs.replace(packet, dmac=mac if isinstance(mac, str) else "")


def _go_on(walk: Walk, state: Switch, bridge: Link, packet: Packet, *, seen: bool) -> State | End:
    """Find out where a frame goes on: up to the host, or out of another port (br_handle_frame_finish)."""
    stack = state.stack
    if not packet.dmac and isinstance(beyond := _port_for(walk, stack, bridge, packet, state.port), Link):
        # Whoever it is for is beyond what was read.
        return Transmit(stack, packet, beyond.ifname)
    local = packet.dmac == bridge.address.lower() or packet.dmac == BROADCAST_MAC or not packet.dmac
    entries = stack.fdb.get((bridge.ifname, packet.dmac), ())
    local = local or any("permanent" in e.state and e.mac.lower() == stack.links[e.dev].address.lower() for e in entries
                         if e.dev in stack.links)  # fmt: skip
    if local:
        ended = bridge_chains(walk, stack, INPUT, packet, state.port, bridge.ifname)
        if ended is not None:
            return ended
        # Going up it is received anew (br_pass_frame_up): the bridge's own ingress sees it as IP's hooks have made it,
        # and it loses the socket that TPROXY gave it in the bridge (ip_rcv_core).
        return Arrive(stack, structs.replace(packet, steered=0), bridge.ifname, state.port if seen else "")
    out = _port_for(walk, stack, bridge, packet, state.port)
    if isinstance(out, End):
        return out
    came, goes = stack.links[state.port].port or BridgePortData(), out.port or BridgePortData()
    if out.ifname == state.port and not came.hairpin:
        said = f"it would leave by the port it came in, {out.ifname}, and hairpin is off there"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("links"))
    if came.isolated and goes.isolated:
        return End(Verdict.DROPPED, "both bridge ports are isolated", stack.name, packet, stack.pointer("links"))
    walk.step(stack, Stage.BRIDGE, f"{bridge.ifname}: {state.port} → {out.ifname}", packet)
    ended = bridge_chains(walk, stack, FORWARD, packet, state.port, out.ifname)
    if ended is None and seen:
        for hook in (FORWARD, POSTROUTING):
            at = Traversal(walk, stack, hook, packet, bridge.ifname, bridge.ifname, state.port, out.ifname)
            ended = call(at)
            if ended is not None:
                return ended
            packet = at.packet
    ended = ended or bridge_chains(walk, stack, POSTROUTING, packet, state.port, out.ifname)
    return ended or _push(stack, packet, out, seen=seen)


def _push(stack: Stack, packet: Packet, out: Link, *, seen: bool) -> State | End:
    """Send out of a port; what its device does not take is dropped, and nobody told (br_dev_queue_push_xmit).

    What IP's hooks have seen is fragmented where it may be (br_nf_dev_queue_xmit).
    """
    size = packet.fragment or packet.size
    if seen and packet.family == 4 and size > out.mtu and not packet.df:
        packet = structs.replace(packet, fragment=out.mtu, loose=packet.loose | {"size"})
    elif size > out.mtu + (0 if seen else VLAN_HEADER):
        said = f"it is {packet.size} bytes long, and the bridge port {out.ifname} takes {out.mtu}"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("links", text=out.ifname))
    return Transmit(stack, packet, out.ifname)


def _port_for(walk: Walk, stack: Stack, bridge: Link, packet: Packet, came: str) -> Link | End:
    """Give the port behind which a MAC is: as learned, or the one by which flooding finds it."""
    walk.needs(stack, "fdb")
    if came and packet.dmac and packet.dmac == packet.smac.lower():
        # It goes back to its sender, whose port the bridge has just learned from it.
        return stack.links[came]
    for entry in stack.fdb.get((bridge.ifname, packet.dmac), ()):
        link = stack.links.get(entry.dev)
        if link is not None and link.master == bridge.ifname and link.up:
            evidence = stack.pointer("fdb", entry.line, f"{entry.mac} dev {entry.dev}")
            walk.step(stack, Stage.BRIDGE, f"{packet.dmac} is behind {entry.dev}", packet, evidence)
            return link
    beyond: Link | None = None
    for link in stack.namespace.links:
        settings = link.port or BridgePortData()
        if link.master != bridge.ifname or not link.up or link.ifname == came or not settings.flood:
            continue
        if not neighbour.forwards(link):
            continue
        for heard in neighbour.hears(walk.world, stack, link, {(stack.name, bridge.ifname)}):
            if isinstance(heard, neighbour.Beyond):
                beyond = beyond or link
            elif heard.link.address.lower() == packet.dmac:
                return link
    absent = _absent(walk, stack, bridge, packet)
    if beyond is not None and absent is None:
        return beyond
    said = f"behind no port of {bridge.ifname} is {packet.dmac}"
    if absent is not None:
        return End(Verdict.DROPPED, f"{said}: {absent.reason}", stack.name, packet, absent.evidence)
    return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("fdb"))


def _absent(walk: Walk, stack: Stack, bridge: Link, packet: Packet) -> neighbour.Nobody | None:
    """Say why the link of this node that a frame is for is behind no port."""
    if packet.dmac in walk.mistaken:
        return neighbour.Nobody(*walk.mistaken[packet.dmac])
    for holder in neighbour.near(walk.world, stack, packet.family, packet.dst):
        if holder[1].address.lower() == packet.dmac:
            return neighbour.cut_off(walk.world, stack, bridge.ifname, holder)
    return None


def _from_host(walk: Walk, state: Switch, bridge: Link) -> State | End:
    """Send what the host itself sends by its bridge (br_dev_xmit)."""
    stack, packet = state.stack, state.packet
    out = _port_for(walk, stack, bridge, packet, "")
    if isinstance(out, End):
        return out
    for hook in (OUTPUT, POSTROUTING):
        ended = bridge_chains(walk, stack, hook, packet, "", out.ifname)
        if ended is not None:
            return ended
    return _push(stack, packet, out, seen=False)
