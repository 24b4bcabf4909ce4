"""Namespaces and what joins them: veth pairs, and the wire between nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from netinspect.kernel.simulator.stack import Stack
from netinspect.model.kernel import Link
from netinspect.model.packet import number
from netinspect.model.programs import Programs

Port = tuple[Stack, Link]
_END = "veth"
_STANDING = frozenset({"macvlan", "macvtap", "ipvlan", "vlan"})


class World:
    """All namespaces that were read, by name.

    ``hidden`` says whether a namespace of a node that was not read may have an address, by its family and number.
    ``programs`` gives those of eBPF of a node by its own namespace, None where it has none that can be told.
    """

    def __init__(
        self,
        stacks: Iterable[Stack],
        hidden: Callable[[str, int, int], bool] | None = None,
        programs: Callable[[Stack], Programs | None] = lambda _: None,
    ) -> None:
        self.stacks = {stack.name: stack for stack in stacks}
        self.hidden = hidden
        self.programs = programs
        self._uppers: dict[str, dict[tuple[str, str], tuple[Port, ...]]] = {}

    @cached_property
    def _peers(self) -> dict[tuple[str, int], Port]:
        """Pair the ends of veths: each names the other's index, and by one id always the same namespace."""
        ends: dict[tuple[str, int, int], list[Port]] = defaultdict(list)
        for stack in self.stacks.values():
            for link in stack.namespace.links:
                if link.kind == _END and link.link_index is not None:
                    ends[stack.node, link.ifindex, link.link_index].append((stack, link))
        candidates: dict[tuple[str, int], list[Port]] = {}
        for (node, own, other), mine in ends.items():
            for stack, link in mine:
                candidates[stack.name, own] = [
                    (s, k)
                    for s, k in ends.get((node, other, own), ())
                    if (s is stack) == (link.link_netnsid is None) and (s is not stack or k is not link)
                ]
        known: dict[tuple[str, int | None], str] = {}
        changed = True
        while changed:
            changed = False
            for stack in self.stacks.values():
                for link in stack.namespace.links:
                    found = candidates.get((stack.name, link.ifindex), [])
                    if link.link_netnsid is not None and (stack.name, link.link_netnsid) in known:
                        kept = [p for p in found if p[0].name == known[stack.name, link.link_netnsid]]
                        changed |= len(kept) != len(found)
                        candidates[stack.name, link.ifindex] = found = kept
                    if len(found) == 1 and link.link_netnsid is not None:
                        changed |= (stack.name, link.link_netnsid) not in known
                        known.setdefault((stack.name, link.link_netnsid), found[0][0].name)
        return {place: found[0] for place, found in candidates.items() if len(found) == 1}

    def may_hide(self, node: str, family: int, address: int) -> bool:
        """Say whether a namespace of a node that was not read may have an address; of link-locals nobody knows."""
        link_local = family == 6 and address >> 118 == 0xFE80 >> 6
        return self.hidden is None or link_local or self.hidden(node, family, address)

    def host(self, node: str) -> Stack | None:
        """Give a node's own namespace."""
        return next((s for s in self._of_node.get(node, ()) if s.host), None)

    def peer(self, stack: Stack, link: Link) -> Port | None:
        """Give the other end of a veth; None where it was not read."""
        return self._peers.get((stack.name, link.ifindex))

    def lower(self, stack: Stack, link: Link) -> Port | None:
        """Give the device that a macvlan, ipvlan or VLAN stands on, which may be in another namespace of the node."""
        if link.link_netnsid is None:
            found = stack.links.get(link.link)
            return (stack, found) if found else None
        there = [
            (s, s.by_index[link.link_index])
            for s in self._of_node[stack.node]
            if s is not stack and link.link_index in s.by_index
        ]
        # What another device stands on is the node's own, where that is not the only one with the index.
        hosted = [p for p in there if p[0].host and p[1].kind not in ("macvlan", "ipvlan")] or there
        return hosted[0] if len({p[0].name for p in hosted}) == 1 else None

    def siblings(self, stack: Stack, link: Link) -> Iterator[Port]:
        """Give the other devices of the same kind on the same lower device."""
        below = self.lower(stack, link)
        if below is not None:
            yield from (p for p in self.uppers(*below) if p[1].kind == link.kind and p[1] is not link and p[1].up)

    def uppers(self, stack: Stack, link: Link) -> tuple[Port, ...]:
        """Give the macvlans and ipvlans that stand on a device, in whatever namespace of the node."""
        return tuple(p for p in self._standing_on(stack, link) if p[1].kind != "vlan")

    def vlans(self, stack: Stack, link: Link) -> tuple[Port, ...]:
        """Give the VLANs that stand on a device, in whatever namespace of the node."""
        return tuple(p for p in self._standing_on(stack, link) if p[1].kind == "vlan")

    def _standing_on(self, stack: Stack, link: Link) -> tuple[Port, ...]:
        if stack.node not in self._uppers:
            found: dict[tuple[str, str], list[Port]] = defaultdict(list)
            for other in self._of_node[stack.node]:
                for upper in other.namespace.links:
                    if upper.kind in _STANDING and (below := self.lower(other, upper)) is not None:
                        found[below[0].name, below[1].ifname].append((other, upper))
            self._uppers[stack.node] = {place: tuple(ports) for place, ports in found.items()}
        return self._uppers[stack.node].get((stack.name, link.ifname), ())

    @cached_property
    def _of_node(self) -> dict[str, list[Stack]]:
        found: dict[str, list[Stack]] = defaultdict(list)
        for stack in self.stacks.values():
            found[stack.node].append(stack)
        return found

    def wired(self, stack: Stack, link: Link) -> bool:
        """Say whether a link leads out of what was read: hardware, or a veth whose other end nobody has read."""
        if link.link_type == "loopback":
            return False
        return not link.kind or (link.kind == _END and self.peer(stack, link) is None)

    def uplink(self, stack: Stack, link: Link) -> bool:
        """Say whether a link leads to other nodes: of a veth, that it has an address which no other device has.

        A node's veths that nobody has read the other ends of are its other pods', unless it is a container itself.
        """
        if not stack.host or not self.wired(stack, link):
            return False
        own = {number(a.local) for a in link.addresses if a.scope == "global"}
        return link.kind != _END or any(sum(s is stack for s, _ in self.holders(*one)) == 1 for one in own)

    def door(self, stack: Stack, family: int, address: int) -> Port | None:
        """Give the link at the wire by which a node is reached at an address: that which has it, or lies below it."""
        holder = stack.addresses[family, address][0]
        wired = [k for k in stack.namespace.links if self.uplink(stack, k) and k.up]
        known = {holder.ifname, holder.link} - {""}
        near = [k for k in wired if known & {k.ifname, k.master}] or (wired if len(wired) == 1 else [])
        return (stack, near[0]) if near else None

    @cached_property
    def _wires(self) -> tuple[Port, ...]:
        return tuple((s, k) for s in self.stacks.values() for k in s.namespace.links if self.uplink(s, k))

    def others_on_wire(self, stack: Stack, link: Link) -> Iterator[Port]:
        """Give the links of other namespaces that the wire may lead to."""
        yield from ((s, k) for s, k in self._wires if s is not stack or k is not link)

    @cached_property
    def _macs(self) -> dict[str, list[Port]]:
        found: dict[str, list[Port]] = defaultdict(list)
        for stack, link in self._wires:
            found[link.address.lower()].append((stack, link))
        return found

    def by_mac(self, mac: str) -> list[Port]:
        """Give the links at the wire that have a MAC."""
        return self._macs.get(mac.lower(), [])

    @cached_property
    def _holders(self) -> dict[tuple[int, int], list[Port]]:
        found: dict[tuple[int, int], list[Port]] = defaultdict(list)
        for stack in self.stacks.values():
            for link in stack.namespace.links:
                for address in link.addresses:
                    found[number(address.local)].append((stack, link))
        return found

    def holders(self, family: int, address: int) -> list[Port]:
        """Give the links that have an address, in whatever namespace."""
        return self._holders.get((family, address), [])

    @cached_property
    def _owners(self) -> dict[tuple[int, int], list[Stack]]:
        found: dict[tuple[int, int], list[Stack]] = defaultdict(list)
        for stack in self.stacks.values():
            if stack.host:
                for link in stack.namespace.links:
                    for address in link.addresses:
                        if stack not in found[number(address.local)]:
                            found[number(address.local)].append(stack)
        return found

    def owners(self, family: int, address: int) -> list[Stack]:
        """Give the nodes that have an address."""
        return self._owners.get((family, address), [])
