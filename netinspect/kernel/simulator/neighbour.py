"""The next hop's hardware address: what is known, or who would answer. Sources: net/ipv4/arp.c, net/ipv6/ndisc.c."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.kernel.simulator.fib import Flow
from netinspect.kernel.simulator.forks import Maybe
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.walk import Walk
from netinspect.kernel.simulator.world import World
from netinspect.model.kernel import Link, VlanData, VxlanData
from netinspect.model.packet import number, text
from netinspect.model.walk import Stage

_UNKNOWN = frozenset({"FAILED", "INCOMPLETE", "NONE"})
_NOBODY = "00:00:00:00:00:00"


def resolve(walk: Walk, stack: Stack, dev: str, family: int, address: int) -> str | Maybe | None:
    """Give the MAC for an address on a device; Maybe where it is beyond what was read, None where nobody answers."""
    known = stack.neighbours.get((dev, family, address))
    if known is not None and known.lladdr and not _UNKNOWN & set(known.state):
        evidence = stack.pointer("neighbours", known.line, f"{known.dst} {known.lladdr} {' '.join(known.state)}")
        walk.step(stack, Stage.NEIGHBOUR, f"{known.dst} is {known.lladdr}", _nothing(walk), evidence)
        return known.lladdr.lower()
    link = stack.links[dev]
    beyond = False
    for other, port in hears(walk.world, stack, link, set()):
        if other is None:
            beyond = True
        elif port is not None and _answers(other, port, family, address, stack):
            walk.step(
                stack, Stage.NEIGHBOUR, f"{text(address, family)} is {port.address} of {other.name}", _nothing(walk)
            )
            return port.address.lower()
    return Maybe(f"{text(address, family)} is beyond what was read") if beyond else None


def _nothing(walk: Walk):  # type: ignore[no-untyped-def]
    return walk.steps[-1].packet


def hears(
    world: World, stack: Stack, link: Link, seen: set[tuple[str, str]], vlan: int = 0
) -> Iterator[tuple[Stack | None, Link | None]]:
    """Give the links that a broadcast from a link reaches; (None, None) for what lies beyond what was read."""
    if (stack.name, link.ifname) in seen:
        return
    seen.add((stack.name, link.ifname))
    if not link.up:
        return
    if link.kind == "bridge":
        for port in stack.namespace.links:
            if port.master == link.ifname and port.up:
                yield from hears(world, stack, port, seen, vlan)
        return
    if link.kind in ("vlan", "macvlan", "ipvlan"):
        lower = stack.links.get(link.link)
        tag = link.data.id if isinstance(link.data, VlanData) else vlan
        for sibling in stack.upper.get(link.link, ()):
            if sibling.ifname != link.ifname and sibling.kind == link.kind and link.kind != "vlan":
                yield stack, sibling
        if lower is not None:
            yield from hears(world, stack, lower, seen, tag)
        return
    if isinstance(link.data, VxlanData):
        yield from _behind_vxlan(world, stack, link, link.data, seen)
        return
    for other, port in _far_ends(world, stack, link):
        if other is None or port is None:
            yield None, None
        else:
            yield from heard_by(world, other, port, seen, vlan)


def _far_ends(world: World, stack: Stack, link: Link) -> Iterator[tuple[Stack | None, Link | None]]:
    peer = world.peer(stack, link)
    if peer is not None:
        yield peer
    elif world.wired(stack, link):
        yield from world.others_on_wire(stack, link)
        yield None, None


def _behind_vxlan(
    world: World, stack: Stack, link: Link, data: VxlanData, seen: set[tuple[str, str]]
) -> Iterator[tuple[Stack | None, Link | None]]:
    remotes = [e.dst for e in stack.fdb.get((link.ifname, _NOBODY), ()) if e.dst]
    remotes += [r for r in (data.remote, data.remote6) if r]
    for remote in remotes:
        for other in world.owners(*number(remote)):
            for far in other.namespace.links:
                if isinstance(far.data, VxlanData) and (far.data.id, far.data.port) == (data.id, data.port):
                    yield from heard_by(world, other, far, seen, 0)


def heard_by(
    world: World, stack: Stack, link: Link, seen: set[tuple[str, str]], vlan: int
) -> Iterator[tuple[Stack | None, Link | None]]:
    """Give who hears a broadcast that a link has received: the bridge and its other ports, or the link and its uppers."""
    if not link.up:
        return
    seen.add((stack.name, link.ifname))
    if vlan:
        for upper in stack.upper.get(link.ifname, ()):
            if isinstance(upper.data, VlanData) and upper.data.id == vlan:
                yield from heard_by(world, stack, upper, seen, 0)
        return
    master = stack.links.get(link.master) if link.master else None
    if master is not None and master.kind == "bridge":
        yield stack, master
        yield from hears(world, stack, master, seen)
        return
    yield stack, link
    for upper in stack.upper.get(link.ifname, ()):
        if upper.kind in ("macvlan", "ipvlan") and upper.up:
            yield stack, upper


def _answers(stack: Stack, link: Link, family: int, address: int, asker: Stack) -> bool:
    """Say whether a link answers for an address: its own, one that it proxies for."""
    if family == 6:
        own = stack.addresses.get((6, address))
        proxied = (link.ifname, 6, address) in stack.proxied and stack.conf(6, "all", "forwarding")
        return (own is not None and own[0].ifname == link.ifname) or bool(proxied)
    if stack.fib.address_type(4, address) == "local":
        ignore = stack.either(link.ifname, "arp_ignore")
        return not ignore or any(a.family == "inet" and number(a.local)[1] == address for a in link.addresses)
    if (link.ifname, 4, address) in stack.proxied:
        return True
    if not stack.either(link.ifname, "proxy_arp") or not stack.conf(4, link.ifname, "forwarding"):
        return False
    found = stack.fib.look_up(Flow(family=4, dst=address, iif=link.ifname))
    return found.kind == "unicast" and any(w.dev != link.ifname for w in found.ways) and asker is not stack
