"""The next hop's hardware address: what is known, or who would answer. Sources: net/ipv4/arp.c, net/ipv6/ndisc.c."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import structs

from netinspect.kernel.simulator.bonds import senders, uses
from netinspect.kernel.simulator.fib import Flow
from netinspect.kernel.simulator.forks import Maybe, Way
from netinspect.kernel.simulator.netfilter import bridge_chains, call
from netinspect.kernel.simulator.routing import flow, look_up, route
from netinspect.kernel.simulator.source import of_device4
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Arrive, Deliver, Forward, Receive, Route, Transmit
from netinspect.kernel.simulator.traversal import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING, Traversal, multicast
from netinspect.kernel.simulator.walk import Walk
from netinspect.kernel.simulator.world import Port, World
from netinspect.model.kernel import (
    BridgeData,
    BridgePortData,
    GeneveData,
    Link,
    LinkData,
    MacvlanData,
    Neighbour,
    TunnelData,
    VlanData,
    VxlanData,
)
from netinspect.model.packet import ARP, BROADCAST_MAC, ICMPV6, Packet, number, text
from netinspect.model.programs import RECEIVE, SEND
from netinspect.model.walk import End, Pointer, Stage, Verdict

# Hardware, a pair, and what swallows all.
_PLAIN = frozenset({"", "veth", "dummy"})
_OPENVSWITCH = "openvswitch"
_UNKNOWN = frozenset({"FAILED", "INCOMPLETE", "NONE"})
_NOBODY = "00:00:00:00:00:00"
_SOLICITED_NODE = 0xFF02_0000_0000_0000_0000_0001_FF00_0000
_SOLICITATION, _ADVERTISEMENT = 135, 136
# The hop limit by which neighbours know that nobody has forwarded a message.
_NEAR = 255
# The bytes of a request for an address of IPv4 on Ethernet (RFC 826), which a tunnel carries.
_ARP_SIZE = 28
_LINK_SCOPE = 253
_LINK_LOCAL = 0xFE80 >> 6
_FORWARDING = ("forwarding", "")
# Values of arp_ignore and arp_announce (Documentation/networking/ip-sysctl.rst).
_SAME_SUBNET, _NEVER, _BEST_ADDRESS = 2, 8, 2


class Nobody(NamedTuple):
    """Nobody answers for an address, and why where that is known."""

    reason: str
    evidence: Pointer


def resolve(walk: Walk, stack: Stack, dev: str, family: int, address: int, packet: Packet) -> str | Maybe | Nobody:
    """Give the MAC for an address on a device; Maybe where it is beyond what was read.

    ``packet`` is the one that waits for it.
    """
    steps = len(walk.steps)
    mac = _resolve(walk, stack, dev, family, address, packet)
    if mac is not None:
        return mac
    said = f"nobody answers for {text(address, family)} on {dev}"
    if len(walk.steps) > steps:
        last = walk.steps[-1]
        return Nobody(f"{said}: {last.text}", last.evidence or stack.pointer("neighbours"))
    return _nobody(walk, stack, dev, family, address, said)


def _nobody(walk: Walk, stack: Stack, dev: str, family: int, address: int, said: str) -> Nobody:
    known = stack.neighbours.get((dev, family, address))
    line, shown = (known.line, f"{known.dst} {' '.join(known.state)}") if known is not None else (0, "")
    holder = next(iter(near(walk.world, stack, family, address)), None)
    absent = cut_off(walk.world, stack, dev, holder) if holder is not None else None
    if absent is not None:
        return Nobody(f"{said}: {absent.reason}", absent.evidence)
    return Nobody(said, stack.pointer("neighbours", line, shown))


def cut_off(world: World, stack: Stack, dev: str, holder: Port) -> Nobody | None:
    """Say why a link of this node is not reached by a bridge, where it is one that its own node can see."""
    other, link = holder
    if not link.up:
        return Nobody(f"{link.ifname} of {other.name} is down", other.pointer("links", text=link.ifname))
    peer = world.peer(other, link)
    if peer is None or peer[0] is not stack or stack.links[dev].kind != "bridge":
        return None
    end, evidence = peer[1], stack.pointer("links", text=peer[1].ifname)
    if not end.up:
        return Nobody(f"{end.ifname}, which leads to {other.name}, is down", evidence)
    if end.master != dev:
        return Nobody(f"{end.ifname}, which leads to {other.name}, is no port of {dev}", evidence)
    settings = end.port or BridgePortData()
    if settings.isolated or not forwards(end):
        why = "isolated" if settings.isolated else f"{settings.state} in {dev}"
        return Nobody(f"{end.ifname}, which leads to {other.name}, is {why}", evidence)
    return None


def _resolve(walk: Walk, stack: Stack, dev: str, family: int, address: int, packet: Packet) -> str | Maybe | None:
    link = stack.links[dev]
    if "NOARP" in link.flags:
        # Where nobody is asked, all have the device's own address (arp_constructor, ndisc_constructor).
        evidence = stack.pointer("links", text=dev)
        walk.step(stack, Stage.NEIGHBOUR, f"{dev} asks nobody: ARP is off there", packet, evidence)
        return link.address.lower()
    walk.needs(stack, "neighbours")
    known = stack.neighbours.get((dev, family, address))
    if known is not None and known.lladdr and not _UNKNOWN & set(known.state):
        if _confirmed(known) or _still_there(walk, stack, dev, family, address, packet, known):
            evidence = stack.pointer("neighbours", known.line, f"{known.dst} {known.lladdr} {' '.join(known.state)}")
            walk.step(stack, Stage.NEIGHBOUR, f"{known.dst} is {known.lladdr}", packet, evidence)
            _note_if_mistaken(walk, stack, family, address, known, evidence)
            return known.lladdr.lower()
        return None
    key = (stack.name, dev, family, address)
    if key in walk.learned:
        return walk.learned[key]
    answer = _ask(walk, stack, dev, family, address, packet)
    if answer is None and key in walk.rumoured:
        ways = (Way("it does not"), Way("it does"))
        said = f"does {stack.name} know {text(address, family)} from a request that came meanwhile"
        return walk.rumoured[key] if walk.forks.take(said, ways, once=("rumour", *key)) else None
    return answer


def _note_if_mistaken(walk: Walk, stack: Stack, family: int, address: int, known: Neighbour, evidence: Pointer) -> None:
    """Note that an entry names another hardware address than the one of this node that has the address."""
    having = near(walk.world, stack, family, address)
    if having and all(link.address.lower() != known.lladdr.lower() for _, link in having):
        other, link = having[0]
        said = (
            f"{known.dst} is {known.lladdr} by this entry, and {link.ifname} of {other.name} has it at {link.address}"
        )
        walk.mistaken[known.lladdr.lower()] = (said, evidence)


def _confirmed(known: Neighbour) -> bool:
    return bool({"PERMANENT", "REACHABLE", "NOARP"} & set(known.state))


def _still_there(
    walk: Walk, stack: Stack, dev: str, family: int, address: int, packet: Packet, known: Neighbour
) -> bool:
    """Ask whether an entry that nobody has confirmed lately is kept, where a new request would fail (NUD_STALE)."""
    mac = known.lladdr.lower()
    if any(_holds(port, family, address) for _, port in walk.world.by_mac(mac)):
        return True
    steps, learned = len(walk.steps), dict(walk.learned)
    asked = _ask(walk, stack, dev, family, address, packet)
    del walk.steps[steps:]
    # Whether a request is really sent, so that others learn of us, hangs on the entry's age.
    walk.rumoured |= walk.learned
    walk.learned = learned
    if asked is not None:
        return True
    ways = (Way("it stands"), Way("it was given up"))
    said = f"does the entry of {known.dst} on {dev} of {stack.name} stand, though nobody would answer"
    return walk.forks.take(said, ways, stack.pointer("neighbours", known.line)) == 0


def _ask(walk: Walk, stack: Stack, dev: str, family: int, address: int, packet: Packet) -> str | Maybe | None:
    """Send a request on a device, and give who answers."""
    link = stack.links[dev]
    beyond = switched = False
    asked = _question(stack, link, family, address, packet)
    if asked is None:
        return None
    for heard in hears(walk.world, stack, link, set()):
        if isinstance(heard, Beyond) and heard.switch is not None:
            switched = True
            told = _through_switch(walk, link, heard.switch, heard.hook, asked)
            if told is not None:
                mac, evidence = told
                walk.step(stack, Stage.NEIGHBOUR, f"{text(address, family)} is {mac}", packet, evidence)
                return mac
        elif isinstance(heard, Beyond):
            beyond = beyond or not heard.pods or walk.world.may_hide(stack.node, family, address)
        elif _answers(walk, heard.stack, heard.link, asked) and _asked(walk, stack, link, heard, asked):
            mac = heard.link.address.lower()
            walk.step(stack, Stage.NEIGHBOUR, f"{text(address, family)} is {mac} of {heard.stack.name}", packet)
            return mac
    if switched:
        return Maybe(f"{text(address, family)} is behind Open vSwitch")
    if not beyond or _is_missed(walk, stack, dev, family, address):
        return None
    return Maybe(f"{text(address, family)} is beyond what was read")


def _through_switch(
    walk: Walk, link: Link, switch: Port, hook: str, asked: Question, seen: frozenset[tuple[str, str]] = frozenset()
) -> tuple[str, Pointer | None] | None:
    """Give who answers a request at Open vSwitch: itself, or somebody at a port whose answer comes back through it.

    ``link`` is who asks; ``seen`` are the ports by which it came before, where there are several switches.
    """
    host, port = switch
    programs = walk.world.programs(host) if host.host else None
    if programs is None or asked.family != 4 or (host.name, port.ifname) in seen:
        return None
    own = link.address.lower()
    request = Packet(family=ARP, src=asked.own, dst=asked.address, protocol=-1, smac=own, dmac=BROADCAST_MAC)
    told = programs.neighbour(port.ifname, hook, request)
    if told is None:
        return None
    note = told.note
    evidence = host.pointer(note.section, note.line, note.text) if note is not None and note.section else None
    if told.mac:
        return told.mac, evidence
    seen |= {(host.name, port.ifname)}
    for out in (host.links[dev] for dev in told.devices if dev in host.links and host.links[dev].up):
        inner = out.kind == _OPENVSWITCH
        for heard in [Heard(host, out)] if inner else hears(walk.world, host, out, set()):
            mac = _answered(walk, link, heard, asked, seen)
            if not mac:
                continue
            answer = Packet(family=ARP, src=asked.address, dst=asked.own, protocol=-1, smac=mac, dmac=own)
            back = programs.neighbour(out.ifname, SEND if inner else RECEIVE, answer)
            if back is not None and port.ifname in back.devices:
                return mac, evidence
    return None


def _answered(walk: Walk, link: Link, heard: Heard | Beyond, asked: Question, seen: frozenset[tuple[str, str]]) -> str:
    """Give the address of who answers what has left a switch, maybe behind another one; nothing where nobody does."""
    if isinstance(heard, Beyond):
        told = _through_switch(walk, link, heard.switch, heard.hook, asked, seen) if heard.switch is not None else None
        return told[0] if told is not None else ""
    if not _answers(walk, heard.stack, heard.link, asked):
        return ""
    # Who is asked learns who asks.
    walk.learned[heard.stack.name, heard.link.ifname, 4, asked.own] = link.address.lower()
    return heard.link.address.lower()


def _is_missed(walk: Walk, stack: Stack, dev: str, family: int, address: int) -> bool:
    """Say whether nobody beyond what was read will answer: one of this node has the address, or nobody does now.

    Who answers does so at once: where a request was in flight when the entry was read, it went unheard. An entry that
    failed may be old, and the next packet asks anew.
    """
    if near(walk.world, stack, family, address):
        return True
    known = stack.neighbours.get((dev, family, address))
    states = set(known.state) if known is not None else set()
    if known is None or not {"FAILED", "INCOMPLETE"} & states:
        return False
    ways = (Way("nobody answers"), Way("somebody answers now"))
    asked = f"does {known.dst} on {dev} of {stack.name} answer, which did not of late"
    evidence = stack.pointer("neighbours", known.line, f"{known.dst} {' '.join(known.state)}")
    once = ("missed", stack.name, dev, family, address)
    return "INCOMPLETE" in states or walk.forks.take(asked, ways, evidence, once=once) == 0


def near(world: World, stack: Stack, family: int, address: int) -> tuple[Port, ...]:
    """Give the links that have an address and are joined to this node's own namespace: its own, and its pods'."""

    def joined(port: Port) -> bool:
        other, link = port
        if other.node != stack.node:
            return False
        peer = world.peer(other, link)
        return other.host or (peer is not None and peer[0].host)

    return tuple(port for port in world.holders(family, address) if joined(port))


def _asked(walk: Walk, stack: Stack, link: Link, heard: Heard, question: Question) -> bool:
    """Send a request and its answer past all rules that see them (RFC 826; RFC 4861, sections 7.1, 7.2)."""
    other, port = heard.stack, heard.link
    family, address, own = question
    if family == 4:
        asked = Packet(family=ARP, src=own, dst=address, protocol=-1, dmac=BROADCAST_MAC, size=_ARP_SIZE)
        told = Packet(family=ARP, src=address, dst=own, protocol=-1, size=_ARP_SIZE)
    else:
        node = _SOLICITED_NODE | address & 0xFFFFFF
        asked = Packet(family=6, src=own, dst=node, protocol=ICMPV6, type=_SOLICITATION, ttl=_NEAR, size=72)
        told = Packet(family=6, src=address, dst=own, protocol=ICMPV6, type=_ADVERTISEMENT, ttl=_NEAR, size=72)
    asked = structs.replace(asked, smac=link.address.lower())
    told = structs.replace(told, smac=port.address.lower(), dmac=link.address.lower())
    sent_by = next((one.goes for one in heard.crossed if isinstance(one, Bridged) and not one.came), "")
    crossed = tuple(one for one in heard.crossed if isinstance(one, Carried) or one.came)
    there = (*_out_of(stack, link, sent_by), *_between(crossed, family), *_into(other, port, heard.by))
    flooded = (_floods(one.stack.links[one.goes], family) for one in crossed if isinstance(one, Bridged))
    if not all(flooded) or not _passes(walk, asked, there):
        return False
    # Who is asked learns who asks.
    walk.learned[other.name, port.ifname, family, own] = link.address.lower()
    back = tuple(one.inverse for one in reversed(crossed))
    answer = (*_out_of(other, port, heard.by), *_between(back, family), *_into(stack, link, sent_by))
    return _passes(walk, told, answer)


def _floods(port: Link, family: int) -> bool:
    """Say whether a request that came by another port leaves by this one: to all, or to a group (br_flood)."""
    settings = port.port or BridgePortData()
    return settings.bcast_flood if family == 4 else settings.mcast_flood


class Hook(NamedTuple):
    """A hook on the way of a message between neighbours; ``own`` says that it is one of the bridge family."""

    stack: Stack
    hook: str
    iif: str = ""
    oif: str = ""
    physin: str = ""
    physout: str = ""
    own: bool = False


def _out_of(stack: Stack, link: Link, port: str = "") -> Iterator[Hook]:
    yield from (Hook(stack, hook, oif=link.ifname) for hook in (OUTPUT, POSTROUTING))
    if link.kind == "bridge":
        yield from (Hook(stack, hook, oif=port, own=True) for hook in (OUTPUT, POSTROUTING))


def _into(stack: Stack, link: Link, port: str = "") -> Iterator[Hook]:
    # A bridge that calls IP's hooks calls PREROUTING itself, and INPUT still knows the port (br_nf_pre_routing).
    physin = port if link.kind == "bridge" and calls_ip(stack, link, 6) else ""
    first = Hook(stack, PREROUTING, link.ifname, physin=physin)
    if link.kind == "bridge":
        yield Hook(stack, PREROUTING, port, own=True)
        if physin:
            yield first
        yield Hook(stack, INPUT, port, link.ifname, own=True)
    if not physin:
        yield first
    yield Hook(stack, INPUT, link.ifname, physin=physin)


def _between(crossed: tuple[Crossed, ...], family: int) -> Iterator[Hook | Carried]:
    for one in crossed:
        if isinstance(one, Carried):
            yield one
            continue
        stack, bridge, came, goes = one
        calls = family == 6 and calls_ip(stack, bridge, 6)
        for hook in (PREROUTING, FORWARD, POSTROUTING):
            out = goes if hook != PREROUTING else ""
            yield Hook(stack, hook, came, out, own=True)
            if calls:
                yield Hook(stack, hook, bridge.ifname, out and bridge.ifname, came, out)


def _passes(walk: Walk, packet: Packet, hooks: Iterable[Hook | Carried]) -> bool:
    before: Stack | None = None
    for one in hooks:
        if isinstance(one, Carried):
            before = None
            if not _comes_out(walk, packet, one):
                return False
            continue
        if one.stack is not before:
            # What tracking made of it stays with it through one namespace, and no further.
            packet = structs.replace(packet, connection=None, state="")
            before = one.stack
        if one.own:
            ended = bridge_chains(walk, one.stack, one.hook, packet, one.iif, one.oif)
        elif packet.family == ARP:
            continue
        else:
            at = Traversal(walk, one.stack, one.hook, packet, one.iif, one.oif, one.physin, one.physout)
            ended = call(at)
            packet = at.packet
            if ended is None and at.rerouted is not None and _led_away(walk, one, at.rerouted):
                said = f"neighbour discovery ends: routed anew, it does not leave by {one.oif}"
                walk.step(one.stack, Stage.NEIGHBOUR, said, packet)
                return False
        if ended is not None or (packet.family == 6 and packet.ttl != _NEAR):
            reason = ended.reason if ended else "its hop limit was changed"
            evidence = ended.evidence if ended else None
            walk.step(one.stack, Stage.NEIGHBOUR, f"neighbour discovery ends: {reason}", packet, evidence)
            return False
    return True


def _comes_out(walk: Walk, packet: Packet, tunnel: Carried) -> bool:
    """Say whether a message that a tunnel's device sends comes out at the other end."""
    key = (tunnel.stack.name, tunnel.link.ifname)
    reason, evidence = "the way to its far end goes through itself", tunnel.stack.pointer("links", text=key[1])
    if key not in walk.carrying:
        walk.carrying.add(key)
        try:
            ended = _carried(walk, packet, tunnel)
        finally:
            walk.carrying.remove(key)
        if ended is None:
            return True
        reason, evidence = ended.reason, ended.evidence or evidence
    walk.step(tunnel.stack, Stage.NEIGHBOUR, f"neighbour discovery ends in {key[1]}: {reason}", packet, evidence)
    return False


def _carried(walk: Walk, packet: Packet, tunnel: Carried) -> End | None:
    """Send a message by a tunnel, and give how it ends that does not come out of it."""
    place, device = tunnel.stack.name, tunnel.link.ifname
    # A VXLAN's device finds by the address which of those it floods to is meant.
    known = (device, packet.dmac) in tunnel.stack.fdb
    frame = packet if known else structs.replace(packet, dmac=tunnel.far.address.lower())
    ended = End(Verdict.DROPPED, "it goes round and round", place, packet)
    for now in walk.aside().states(Transmit(tunnel.stack, frame, device)):
        if isinstance(now, Arrive) and now.stack is tunnel.other and now.dev == tunnel.far.ifname:
            return None
        if isinstance(now, Receive) and now.packet.family == ARP:
            return End(Verdict.DROPPED, f"it comes out at {now.dev} of {now.stack.name}", now.stack.name, now.packet)
        if isinstance(now, End):
            ended = now
    if ended.verdict is Verdict.LEFT:
        # So will what waits for the answer, and end as this does.
        return None
    if ended.verdict is not Verdict.UNKNOWN:
        return ended
    ways = (Way("it does"), Way("it does not"))
    asked = f"does what {place} asks by {device} come out at {tunnel.other.name} ({ended.reason})"
    return ended if walk.forks.take(asked, ways, ended.evidence, once=("carried", place, device)) else None


def _led_away(walk: Walk, hook: Hook, packet: Packet) -> bool:
    """Say whether a message that OUTPUT has changed leaves by another device, or by none (ip6_route_me_harder)."""
    if multicast(packet) or packet.dst >> 118 == _LINK_LOCAL:
        # Their device is the one that they were made for.
        return False
    found = look_up(walk, hook.stack, flow(hook.stack, packet))
    if found.kind == "unknown":
        asked = f"is what {hook.stack.name} tells its neighbour led away"
        return walk.forks.holds(Maybe(found.unsure), asked)
    return all(way.dev != hook.oif for way in found.ways)


def forwards(port: Link) -> bool:
    """Say whether a bridge takes frames from a port, and sends them there (br_handle_frame, should_deliver)."""
    return (port.port or BridgePortData()).state in _FORWARDING


def calls_ip(stack: Stack, bridge: Link, family: int) -> bool:
    """Say whether bridged packets see IP's hooks (br_nf_pre_routing)."""
    six = "6" if family == 6 else ""
    own = getattr(bridge.data, f"nf_call_ip{six}tables", 0) if isinstance(bridge.data, BridgeData) else 0
    return bool(own) or stack.sysctl(f"bridge/bridge-nf-call-ip{six}tables") != "0"


class Bridged(NamedTuple):
    """A bridge on the way of a broadcast, the port by which it came and the one by which it went on.

    What the host itself sends by its bridge came by none.
    """

    stack: Stack
    bridge: Link
    came: str
    goes: str

    @property
    def inverse(self) -> Bridged:
        """Give the same bridge on the way back."""
        return Bridged(self.stack, self.bridge, self.goes, self.came)


class Carried(NamedTuple):
    """A tunnel on the way of a broadcast: the device that sends it, and the one out of which it comes."""

    stack: Stack
    link: Link
    other: Stack
    far: Link

    @property
    def inverse(self) -> Carried:
        """Give the same tunnel on the way back."""
        return Carried(self.other, self.far, self.stack, self.link)


Crossed = Bridged | Carried


class Heard(NamedTuple):
    """A link that a broadcast reaches, what it crossed on its way, and of a bridge the port by which it came."""

    stack: Stack
    link: Link
    crossed: tuple[Crossed, ...] = ()
    by: str = ""


class Beyond(NamedTuple):
    """What was not read and a broadcast reaches; ``pods`` says that it can be but namespaces of this node.

    ``switch`` is the port of Open vSwitch by which it gets there; ``hook`` says whether that receives it or sends it.
    """

    pods: bool = False
    switch: Port | None = None
    hook: str = ""


def hears(
    world: World, stack: Stack, link: Link, seen: set[tuple[str, str]], vlan: int = 0, crossed: tuple[Crossed, ...] = ()
) -> Iterator[Heard | Beyond]:
    """Give the links that a broadcast from a link reaches, and what lies beyond what was read."""
    if (stack.name, link.ifname) in seen or not link.up:
        return
    seen.add((stack.name, link.ifname))
    if link.kind == "bridge":
        yield from _behind_bridge(world, stack, link, seen, "", crossed)
    elif link.kind in ("vlan", "macvlan", "macvtap", "ipvlan"):
        if link.kind != "vlan" and _among_siblings(link):
            yield from (Heard(*s, crossed) for s in world.siblings(stack, link))
        below = world.lower(stack, link)
        if below is not None:
            tag = link.data.id if isinstance(link.data, VlanData) else vlan
            yield from hears(world, *below, seen, tag, crossed)
    elif isinstance(link.data, VxlanData):
        yield from _behind_vxlan(world, stack, link, link.data, seen, crossed)
    elif isinstance(link.data, GeneveData) or link.kind == "gretap":
        yield from _behind_tunnel(world, stack, link, seen, crossed)
    else:
        yield from _over_device(world, stack, link, seen, vlan, crossed)


def _over_device(
    world: World, stack: Stack, link: Link, seen: set[tuple[str, str]], vlan: int, crossed: tuple[Crossed, ...]
) -> Iterator[Heard | Beyond]:
    """Give who hears what goes straight out of a device, or of the members of a bond."""
    if link.kind == "bond":
        for member in senders(stack, link):
            yield from hears(world, stack, member, seen, vlan, crossed)
    elif link.kind == _OPENVSWITCH:
        yield Beyond(switch=(stack, link), hook=SEND)
        return
    elif link.kind not in _PLAIN:
        yield Beyond()
    for end in _far_ends(world, stack, link):
        if isinstance(end, Beyond):
            yield end
        else:
            yield from heard_by(world, *end, seen, vlan, crossed)


def _far_ends(world: World, stack: Stack, link: Link) -> Iterator[Port | Beyond]:
    peer = world.peer(stack, link)
    if peer is not None:
        yield peer
    elif world.wired(stack, link):
        wire = world.uplink(stack, link)
        if wire:
            yield from world.others_on_wire(stack, link)
        yield Beyond(pods=stack.host and not wire)


def _behind_bridge(
    world: World, stack: Stack, bridge: Link, seen: set[tuple[str, str]], came: str, crossed: tuple[Crossed, ...]
) -> Iterator[Heard | Beyond]:
    isolated = came and (stack.links[came].port or BridgePortData()).isolated
    for port in stack.namespace.links:
        if port.master == bridge.ifname and port.up and port.ifname != came and forwards(port):
            if isolated and (port.port or BridgePortData()).isolated:
                continue
            yield from hears(world, stack, port, seen, 0, (*crossed, Bridged(stack, bridge, came, port.ifname)))


def _behind_vxlan(
    world: World, stack: Stack, link: Link, data: VxlanData, seen: set[tuple[str, str]], crossed: tuple[Crossed, ...]
) -> Iterator[Heard | Beyond]:
    remotes = [e.dst for e in stack.fdb.get((link.ifname, _NOBODY), ()) if e.dst]
    remotes += [r for r in (data.remote, data.remote6) if r]
    for remote in remotes:
        owners = world.owners(*number(remote))
        if not owners:
            yield Beyond()
        for other in owners:
            for far in other.namespace.links:
                six = isinstance(far.data, VxlanData) and bool(far.data.local6 or far.data.remote6)
                if not isinstance(far.data, VxlanData) or six != (":" in remote):
                    continue
                if (far.data.id, far.data.port) == (data.id, data.port):
                    yield from heard_by(world, other, far, seen, 0, (*crossed, Carried(stack, link, other, far)))


def _behind_tunnel(
    world: World, stack: Stack, link: Link, seen: set[tuple[str, str]], crossed: tuple[Crossed, ...]
) -> Iterator[Heard | Beyond]:
    """Give who hears what a tunnel between two ends carries: the other end, by its identifier or key."""
    data = link.data
    remote = getattr(data, "remote", "") or getattr(data, "remote6", "")
    owners = world.owners(*number(remote)) if remote and remote != "any" else ()
    if not owners:
        yield Beyond()
    for other in owners:
        for far in other.namespace.links:
            if far.kind == link.kind and far is not link and _paired(data, far.data):
                yield from heard_by(world, other, far, seen, 0, (*crossed, Carried(stack, link, other, far)))


def _paired(one: LinkData, other: LinkData) -> bool:
    if isinstance(one, GeneveData) and isinstance(other, GeneveData):
        return (one.id, one.port) == (other.id, other.port)
    return isinstance(one, TunnelData) and isinstance(other, TunnelData) and one.okey == other.ikey


def heard_by(
    world: World, stack: Stack, link: Link, seen: set[tuple[str, str]], vlan: int, crossed: tuple[Crossed, ...]
) -> Iterator[Heard | Beyond]:
    """Give who hears a broadcast that a link received: the bridge and its other ports, or the link and its uppers."""
    if not link.up:
        return
    seen.add((stack.name, link.ifname))
    master = stack.links.get(link.master) if link.master else None
    if master is not None and master.kind == "bond":
        if master.up and uses(master, link):
            yield from heard_by(world, stack, master, seen, vlan, crossed)
        return
    if vlan:
        for other, upper in world.vlans(stack, link):
            if isinstance(upper.data, VlanData) and upper.data.id == vlan:
                yield from heard_by(world, other, upper, seen, 0, crossed)
        return
    if master is not None and master.kind == "bridge":
        if master.up and forwards(link):
            seen.add((stack.name, master.ifname))
            yield Heard(stack, master, crossed, link.ifname)
            yield from _behind_bridge(world, stack, master, seen, link.ifname, crossed)
        return
    if master is not None and master.kind != "vrf":
        # What belongs to a switch that is not the kernel's goes who knows where, unless its programs tell.
        yield Beyond(switch=(stack, link) if master.kind == _OPENVSWITCH else None, hook=RECEIVE)
        return
    yield Heard(stack, link, crossed)
    yield from (Heard(*port, crossed) for port in world.uppers(stack, link) if port[1].up)


def _among_siblings(link: Link) -> bool:
    return not isinstance(link.data, MacvlanData) or link.data.mode == "bridge"


def _holds(link: Link, family: int, address: int) -> bool:
    return any(number(a.local) == (family, address) for a in link.addresses)


def _answers(walk: Walk, stack: Stack, link: Link, asked: Question) -> bool:
    """Say whether a link answers for an address: its own, or one that it proxies for (arp_process, ndisc_recv_ns)."""
    address, dev = asked.address, link.ifname
    if "NOARP" in link.flags:
        return False
    proxied = (dev, asked.family, address) in stack.proxied
    if asked.family == 6:
        if _holds(link, 6, address) or (dev, address) in stack.anycast:
            return True
        proxies = stack.conf(6, dev, "forwarding") and (
            stack.conf(6, "all", "proxy_ndp") or stack.conf(6, dev, "proxy_ndp")
        )
        return bool(proxied and proxies)
    proxied = proxied or bool(stack.either(dev, "proxy_arp"))
    plain = not stack.fib.custom and stack.fib.address_type(4, address) != "local"
    if plain and not proxied:
        # Nobody here has it: spares the look-up, which every node on a wire would make.
        return False
    # The request is routed as a packet from who asks would be, source check and all.
    request = Packet(family=4, src=asked.own, dst=address, protocol=0)
    steps = len(walk.steps)
    routed = route(walk, Route(stack, request, dev))
    del walk.steps[steps:]
    if isinstance(routed, Deliver):
        return not _ignores(stack, link, asked)
    if isinstance(routed, End) and routed.verdict is Verdict.UNKNOWN:
        said = f"does {stack.name} answer for {text(address, 4)} on {dev} ({routed.reason})"
        return (
            walk.forks.take(said, (Way("it answers"), Way("it does not")), once=("answers", stack.name, dev, address))
            == 0
        )
    return isinstance(routed, Forward) and routed.way.dev != dev and proxied


def _ignores(stack: Stack, link: Link, asked: Question) -> bool:
    """Say whether a request for an address of this host is passed over (arp_ignore, arp_filter)."""
    level = stack.either(link.ifname, "arp_ignore")
    if stack.either(link.ifname, "arp_filter"):
        back = stack.fib.look_up(Flow(family=4, dst=asked.own, src=asked.address))
        if all(w.dev != link.ifname for w in back.ways):
            return True
    if not level:
        return False
    own = [a for a in link.addresses if number(a.local) == (4, asked.address)]
    if level == _SAME_SUBNET:
        return not any(asked.own >> 32 - a.prefixlen == asked.address >> 32 - a.prefixlen for a in own)
    return level >= _NEVER or not own


class Question(NamedTuple):
    """What is asked on a link: whose address this is, and who asks."""

    family: int
    address: int
    own: int


def _question(stack: Stack, link: Link, family: int, address: int, packet: Packet) -> Question | None:
    """Choose the address to ask from: the packet's own where it is ours (arp_solicit, ndisc_solicit)."""
    announce = stack.either(link.ifname, "arp_announce") if family == 4 else 0
    held = (family, packet.src) in stack.addresses if family == 4 else _holds(link, 6, packet.src)
    on_link = any(
        packet.src >> 32 - a.prefixlen == number(a.local)[1] >> 32 - a.prefixlen
        for a in link.addresses if a.family == "inet"
    ) if announce == 1 else True  # fmt: skip
    if held and on_link and announce < _BEST_ADDRESS:
        return Question(family, address, packet.src)
    if family == 4:
        own = of_device4(stack, link.ifname, address, _LINK_SCOPE)
    else:
        own = next((number(a.local)[1] for a in link.addresses if a.family == "inet6" and a.scope == "link"), None)
    return None if own is None else Question(family, address, own)
