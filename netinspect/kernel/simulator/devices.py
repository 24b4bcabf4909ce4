"""Devices: what sends a frame, what receives one.

Sources: net/core/dev.c, drivers/net/veth.c, drivers/net/macvlan.c, net/8021q/, drivers/net/bonding/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import structs

from netinspect.kernel.simulator import output, programs
from netinspect.kernel.simulator.bonds import senders, uses
from netinspect.kernel.simulator.bridge import VLAN_HEADER
from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.hooks import Registered
from netinspect.kernel.simulator.netfilter import run
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Arrive, Receive, State, Switch, Transmit
from netinspect.kernel.simulator.traversal import EGRESS, INGRESS, Traversal
from netinspect.kernel.simulator.tunnels import by_metadata, encapsulate
from netinspect.kernel.simulator.walk import Walk
from netinspect.kernel.simulator.world import Port
from netinspect.model.kernel import IpvlanData, Link, MacvlanData, VlanData
from netinspect.model.packet import BROADCAST_MAC, Packet, number
from netinspect.model.programs import RECEIVE, SEND, Action, Emit, HandOver, Inject, Output, Pass, Wrap
from netinspect.model.walk import End, Stage, Verdict

_VETH: Final = "veth"
_VRF: Final = "vrf"
OPENVSWITCH: Final = "openvswitch"
_OFPROTO_TRACE: Final = "the flows of its bridges (`ovs-appctl ofproto/trace` on the node), or a probe"
_TUNNELS: Final = frozenset({"vxlan", "geneve", "ipip", "sit", "gre", "gretap", "ip6tnl", "ip6gre", "wireguard"})


def transmit(walk: Walk, state: Transmit) -> State | End:
    """Send a frame by what its device is (dev_queue_xmit)."""
    stack = state.stack
    walk.needs(stack, "links")
    link = stack.links.get(state.dev)
    if link is None or not link.up:
        return End(Verdict.DROPPED, f"{state.dev} is down", stack.name, state.packet, stack.pointer("links"))
    ended = _programs(walk, stack, link, state.packet, EGRESS)
    if not isinstance(ended, Packet):
        return ended
    state = _with_packet(state, ended)
    master = stack.links.get(link.master) if link.master else None
    if master is not None and master.kind == _VRF:
        return _of_vrf(stack, link, state.packet)
    if link.kind in _TUNNELS:
        return encapsulate(walk, state, link)
    sender = _SENDERS.get(link.kind)
    if link.ifname == "lo":
        kept = structs.replace(state.packet, uid=None, gid=None, smac="", dmac="")
        return Arrive(stack, kept, "lo")
    if link.kind == OPENVSWITCH:
        return _switched(walk, stack, link, state.packet, SEND)
    if sender is not None:
        return sender(walk, state, link)
    if walk.world.wired(stack, link):
        return _wire(walk, state, link)
    said = f"devices of kind {link.kind} are not modelled"
    return End(Verdict.UNKNOWN, said, stack.name, state.packet, settles="a probe")


def _with_packet(state: Transmit, packet: Packet) -> Transmit:
    """Give the state with another packet."""
    return Transmit(state.stack, packet, state.dev, state.nexthop)


def _programs(walk: Walk, stack: Stack, link: Link, packet: Packet, hook: str) -> Packet | State | End:
    """Let a device's own hooks see a frame: programs of eBPF may do anything, nftables' chains are walked."""
    action = programs.at_device(walk, stack, link, packet, hook)
    if isinstance(action, End):
        return action
    if action is not None and not isinstance(action, Pass):
        return _moved(walk, stack, action)
    if action is None:
        walk.needs(stack, "qdiscs", f"filters:{link.ifname}:{hook}")
        attached = [f for f in stack.namespace.filters if f.dev == link.ifname and f.direction == hook]
    else:
        packet, attached = action.packet, []
    if attached or (link.xdp and hook == INGRESS):
        what = "XDP" if link.xdp and hook == INGRESS else f"a filter of tc ({attached[0].kind})"
        ways = (Way("lets it pass unchanged"), Way("does something else"))
        if walk.forks.take(f"what {what} on {link.ifname} of {stack.name} does", ways):
            said = f"{what} on {link.ifname} decides"
            return End(Verdict.UNKNOWN, said, stack.name, packet, settles="the program's own maps, or a probe")
    chains = stack.hooks.device(link.ifname, hook)
    if not chains:
        return packet
    at = Traversal(walk, stack, hook, packet, iif=link.ifname if hook == INGRESS else "",
                   oif=link.ifname if hook == EGRESS else "")  # fmt: skip
    for registered in chains:
        if (
            registered.chain is not None
            and not registered.chain.devices
            and not _is_there(walk, stack, link, registered)
        ):
            continue
        ended = run(registered, at)
        if ended is not None:
            return ended
    return at.packet


def _moved(walk: Walk, stack: Stack, action: Action) -> State | End:
    """Take a packet where a program sends it, past what the kernel would have done."""
    if isinstance(action, Emit):
        return output.emit(walk, stack, action.packet)
    if not isinstance(action, (HandOver, Inject, Output, Wrap)):
        raise AssertionError("only what moves a packet is moved")
    link = stack.links.get(action.dev)
    if link is None:
        return End(Verdict.DROPPED, f"there is no device {action.dev}", stack.name, action.packet)
    if isinstance(action, Inject):
        return Arrive(stack, structs.replace(action.packet, dmac="", smac=""), action.dev)
    if isinstance(action, HandOver):
        return _veth(walk, Transmit(stack, structs.replace(action.packet, dmac="", smac=""), action.dev), link)
    if isinstance(action, Output):
        return _out_of_switch(stack, action.packet, link)
    return by_metadata(walk, Transmit(stack, action.packet, action.dev), link, action)


def _out_of_switch(stack: Stack, packet: Packet, link: Link) -> State | End:
    """Send by a port of Open vSwitch; a port of its own is the host's device (ovs_vport_send, internal_dev_recv)."""
    size = packet.fragment or packet.size
    if size > link.mtu:
        said = f"it is {size} bytes long, and the port {link.ifname} takes {link.mtu}"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("links", text=link.ifname))
    if link.kind != OPENVSWITCH:
        return Transmit(stack, packet, link.ifname)
    if not link.up:
        return End(Verdict.DROPPED, f"{link.ifname} is down", stack.name, packet, stack.pointer("links"))
    return Arrive(stack, scrubbed(packet, same=True), link.ifname)


def _is_there(walk: Walk, stack: Stack, link: Link, registered: Registered) -> bool:
    """Ask whether a chain is at a device: nft 1.0 leaves out of its JSON where a chain is."""
    ways = (Way("it is not"), Way("it is"))
    asked = f"is {registered.name} of {stack.name} at {link.ifname}"
    return bool(walk.forks.take(asked, ways, once=(stack.name, registered.name, link.ifname)))


def scrubbed(packet: Packet, *, same: bool) -> Packet:
    """Give a packet as it is after a device pair: without connection, and without mark elsewhere (skb_scrub_packet)."""
    return structs.replace(
        packet, connection=None, reply=False, state="", steered=0, balanced=False, uid=None, gid=None,
        mark=packet.mark if same else 0, priority=0,
    )  # fmt: skip


def _veth(walk: Walk, state: Transmit, link: Link) -> State | End:
    stack, packet = state.stack, state.packet
    peer = walk.world.peer(stack, link)
    if peer is None:
        return _wire(walk, state, link)
    other, far = peer
    if not far.up:
        said = f"the other end of {link.ifname}, {far.ifname} of {other.name}, is down"
        return End(Verdict.DROPPED, said, stack.name, packet, other.pointer("links"))
    if (packet.fragment or packet.size) > far.mtu + VLAN_HEADER:
        said = f"it is {packet.size} bytes long, and {far.ifname} of {other.name} takes {far.mtu}"
        return End(Verdict.DROPPED, said, stack.name, packet, other.pointer("links"))
    walk.step(stack, Stage.TRANSMIT, f"{link.ifname} → {far.ifname} of {other.name}", packet)
    return Arrive(other, scrubbed(packet, same=other is stack), far.ifname)


def _below(walk: Walk, state: Transmit, link: Link) -> Port | End:
    """Give the device that another stands on."""
    lower = walk.world.lower(state.stack, link)
    if lower is not None:
        return lower
    said = f"the device below {link.ifname} was not read"
    return End(Verdict.UNKNOWN, said, state.stack.name, state.packet, settles="reading the node")


def _out_below(walk: Walk, state: Transmit, link: Link) -> Transmit | End:
    lower = _below(walk, state, link)
    if isinstance(lower, End):
        return lower
    other, below = lower
    return Transmit(other, scrubbed(state.packet, same=other is state.stack), below.ifname)


def _vlan(walk: Walk, state: Transmit, link: Link) -> State | End:
    stack, packet = state.stack, state.packet
    tag = link.data.id if isinstance(link.data, VlanData) else 0
    lower = _below(walk, state, link)
    if isinstance(lower, End):
        return lower
    other, below = lower
    walk.step(stack, Stage.TRANSMIT, f"VLAN {tag}", packet)
    made = packet if other is stack else scrubbed(packet, same=False)
    return Transmit(other, structs.replace(made, vlan=tag), below.ifname)


def _bond(_walk: Walk, state: Transmit, link: Link) -> State | End:
    members = senders(state.stack, link)
    if not members:
        said, evidence = f"no member of {link.ifname} can carry it", state.stack.pointer("links", text=link.ifname)
        return End(Verdict.DROPPED, said, state.stack.name, state.packet, evidence)
    return Transmit(state.stack, state.packet, members[0].ifname)


def _macvlan(walk: Walk, state: Transmit, link: Link) -> State | End:
    """Straight to a sibling in bridge mode, else out of the lower device (macvlan_queue_xmit)."""
    stack, packet = state.stack, state.packet
    if isinstance(link.data, MacvlanData) and link.data.mode == "bridge":
        for other, sibling in walk.world.siblings(stack, link):
            if sibling.address.lower() == packet.dmac and isinstance(sibling.data, MacvlanData):
                walk.step(stack, Stage.TRANSMIT, f"to {sibling.ifname} of {other.name}", packet)
                return Arrive(other, scrubbed(packet, same=other is stack), sibling.ifname)
    return _out_below(walk, state, link)


def _ipvlan(walk: Walk, state: Transmit, link: Link) -> State | End:
    """Straight to a sibling that has the address, else out of the lower device (ipvlan_queue_xmit)."""
    stack, packet = state.stack, state.packet
    if not _bridges(link):
        return _of_ipvlan(stack, link, packet)
    for other, sibling in walk.world.siblings(stack, link):
        if any(number(a.local) == (packet.family, packet.dst) for a in sibling.addresses):
            walk.step(stack, Stage.TRANSMIT, f"to {sibling.ifname} of {other.name}", packet)
            return Arrive(other, scrubbed(packet, same=other is stack), sibling.ifname)
    return _out_below(walk, state, link)


def _bridges(link: Link) -> bool:
    """Say whether an ipvlan is of the kind that is modelled: frames go between all that stand on one device."""
    data = link.data if isinstance(link.data, IpvlanData) else IpvlanData()
    return data.mode in ("", "l2") and not data.private and not data.vepa


def _of_ipvlan(stack: Stack, link: Link, packet: Packet) -> End:
    data = link.data if isinstance(link.data, IpvlanData) else IpvlanData()
    kind = " private" * data.private + " vepa" * data.vepa
    said = f"{link.ifname} is an ipvlan in mode {data.mode}{kind}, which is not modelled"
    return End(Verdict.UNKNOWN, said, stack.name, packet, stack.pointer("links", text=link.ifname), settles="a probe")


def _bridge(_walk: Walk, state: Transmit, link: Link) -> State | End:
    return Switch(state.stack, state.packet, link.ifname)


def _swallow(_walk: Walk, state: Transmit, link: Link) -> End:
    return End(Verdict.DROPPED, f"{link.ifname} is a dummy", state.stack.name, state.packet)


def _program(_walk: Walk, state: Transmit, link: Link) -> End:
    said = f"a program reads {link.ifname}"
    return End(Verdict.UNKNOWN, said, state.stack.name, state.packet, settles="the program's own state, or a probe")


def _wire(walk: Walk, state: Transmit, link: Link) -> State | End:
    """Over the wire: to the node that has the MAC, or to the one that has the address where a network is between."""
    stack, packet = state.stack, state.packet
    # A switch that was not read has no address of ours; without a MAC the answer came from nobody whom we know.
    there = [p for p in walk.world.by_mac(packet.dmac) if p[1] is not link] if packet.dmac else []
    if not there and packet.dmac:
        doors = (
            walk.world.door(s, packet.family, packet.dst)
            for s in walk.world.owners(packet.family, packet.dst)
            if s is not stack
        )
        there = [door for door in doors if door is not None][:1]
    if len(there) > 1:
        there = [p for p in there if p[0].node != stack.node] or there
    master = stack.links.get(link.master) if link.master else None
    if not packet.dmac and master is not None and master.kind == OPENVSWITCH:
        # Whom a switch's flows would let answer was not found out: it may be for a node that was read.
        said = f"it leaves by {link.ifname} for a hardware address that is not known"
        return End(Verdict.UNKNOWN, said, stack.name, packet, settles="the neighbours of its sender, or a probe")
    if not there:
        said = f"it leaves by {link.ifname} for what was not read"
        return End(Verdict.LEFT, said, stack.name, packet, settles="a probe")
    other, port = there[0]
    if not port.up:
        return End(Verdict.DROPPED, f"{port.ifname} of {other.name} is down", stack.name, packet)
    size = packet.fragment or packet.size
    if size > port.mtu + VLAN_HEADER and _refuses(walk, other, port):
        said = f"it is {size} bytes long, and {port.ifname} of {other.name} takes {port.mtu}"
        return End(Verdict.DROPPED, said, stack.name, packet, other.pointer("links"))
    walk.step(stack, Stage.WIRE, f"{link.ifname} → {port.ifname} of {other.name}", packet)
    made = scrubbed(packet, same=False)
    # What a switch there has behind the port stays the frame's aim; otherwise a router on the way has made a new frame.
    behind = packet.dmac and any(k.address.lower() == packet.dmac for k in other.namespace.links)
    return Arrive(other, made if behind else structs.replace(made, dmac=port.address.lower()), port.ifname)


def _refuses(walk: Walk, stack: Stack, port: Link) -> bool:
    """Ask whether a device receives no more than its MTU: a veth does not (is_skb_forwardable), hardware may."""
    if port.kind == _VETH:
        return True
    ways = (Way("it does not"), Way("it does"))
    asked = f"does {port.ifname} of {stack.name} receive more than its MTU"
    return not walk.forks.take(asked, ways, once=(stack.name, port.ifname, "mtu"))


_SENDERS: Final[dict[str, Callable[[Walk, Transmit, Link], State | End]]] = {
    "veth": _veth,
    "bridge": _bridge,
    "vlan": _vlan,
    "bond": _bond,
    "macvlan": _macvlan,
    "macvtap": _macvlan,
    "ipvlan": _ipvlan,
    "dummy": _swallow,
    "tun": _program,
}


def arrive(walk: Walk, state: Arrive) -> State | End:
    """Receive a frame: it belongs to a bridge, to a device on top, or to IP here (__netif_receive_skb_core).

    However a device got it, its own ingress sees it first: what loops back, comes up through a bridge or out of a
    tunnel, or is another's on a shared device, is received anew.
    """
    stack, packet, dev = state.stack, state.packet, state.dev
    link = stack.links.get(dev)
    if link is None or not link.up:
        return End(Verdict.DROPPED, f"{dev} is down", stack.name, packet, stack.pointer("links"))
    seen = _programs(walk, stack, link, packet, INGRESS)
    if not isinstance(seen, Packet):
        return seen
    packet = seen
    if packet.vlan:
        for other, upper in walk.world.vlans(stack, link):
            if isinstance(upper.data, VlanData) and upper.data.id == packet.vlan:
                return _up(state, structs.replace(packet, vlan=0), (other, upper))
    master = stack.links.get(link.master) if link.master else None
    if master is not None and master.kind == OPENVSWITCH:
        return _switched(walk, stack, link, packet, RECEIVE)
    if getattr(link.data, "external", False):
        # The key of its tunnel is for programs at the device, and for Open vSwitch, alone.
        packet = structs.replace(packet, key=None, tunnel=None)
    above = _to_master(stack, link, packet, master) or _above(walk, state, link, packet)
    if above is not None:
        return above
    if packet.vlan:
        return End(Verdict.DROPPED, f"no device here takes VLAN {packet.vlan}", stack.name, packet)
    single = packet.dmac and packet.dmac != BROADCAST_MAC and not int(packet.dmac[:2], 16) & 1
    # What a bridge passes up it has found to be for its host, by the address of any of its ports.
    if single and link.kind != "bridge" and link.address and packet.dmac != link.address.lower():
        said = f"the frame is for {packet.dmac}, {dev} is {link.address}"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("links"))
    return Receive(stack, packet, dev, state.physin)


def _to_master(stack: Stack, link: Link, packet: Packet, master: Link | None) -> State | End | None:
    """Give a frame to the device that a link belongs to; None where IP gets it from the link itself."""
    if master is None:
        return None
    if master.kind == _VRF:
        return _of_vrf(stack, link, packet)
    if master.kind == "bridge":
        return Switch(stack, packet, master.ifname, link.ifname)
    if master.kind == "bond":
        if uses(master, link):
            return Arrive(stack, packet, master.ifname)
        said = f"{link.ifname} is a backup of {master.ifname}, which takes nothing by it"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("links", text=master.ifname))
    said = f"{link.ifname} belongs to {master.ifname}, and switches of kind {master.kind or 'unknown'} are not modelled"
    return End(Verdict.UNKNOWN, said, stack.name, packet, settles="its own tables, or a probe")


def _of_vrf(stack: Stack, link: Link, packet: Packet) -> End:
    """Give up: hooks see what a VRF's devices carry twice, and sockets of no device see none of it (vrf.c)."""
    said = f"{link.ifname} belongs to the VRF {link.master}, and VRFs are not modelled"
    return End(Verdict.UNKNOWN, said, stack.name, packet, stack.pointer("links", text=link.ifname), settles="a probe")


def _switched(walk: Walk, stack: Stack, link: Link, packet: Packet, hook: str) -> State | End:
    """Let Open vSwitch have a frame, by a port of its own or by one that it took (netdev_frame_hook)."""
    action = programs.at_device(walk, stack, link, packet, hook)
    if action is None:
        said = f"{link.ifname} is a port of Open vSwitch, which decides where it goes"
        return End(Verdict.UNKNOWN, said, stack.name, packet, settles=_OFPROTO_TRACE)
    return action if isinstance(action, End) else _moved(walk, stack, action)


def _above(walk: Walk, state: Arrive, link: Link, packet: Packet) -> State | End | None:
    """Give the macvlan or ipvlan on a device that a frame is for; it may live in another namespace of the node."""
    if link.kind in ("macvlan", "ipvlan"):
        return None
    for other, upper in walk.world.uppers(state.stack, link):
        if not upper.up:
            continue
        if upper.kind != "ipvlan" and upper.address.lower() == packet.dmac:
            return _up(state, packet, (other, upper))
        if upper.kind == "ipvlan" and any(number(a.local) == (packet.family, packet.dst) for a in upper.addresses):
            return _up(state, packet, (other, upper)) if _bridges(upper) else _of_ipvlan(other, upper, packet)
    return None


def _up(state: Arrive, packet: Packet, upper: Port) -> Arrive:
    """Give a frame to a device on top of the one that has it; in the same namespace it keeps what is beside it.

    That a bridge has called PREROUTING for it is kept there too (ip_sabotage_in).
    """
    other, link = upper
    if other is state.stack:
        return Arrive(other, packet, link.ifname, state.physin)
    return Arrive(other, scrubbed(packet, same=False), link.ifname)
