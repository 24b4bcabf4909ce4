"""The state of one namespace, indexed for walking through it. Nothing here decides; everything is looked up."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import Final

from netinspect.kernel.namespace import Missing, Namespace
from netinspect.kernel.simulator.fib import Fib
from netinspect.kernel.simulator.hooks import Hooks
from netinspect.kernel.simulator.ipsets import Sets
from netinspect.kernel.simulator.tracking import Ends, by_aim, by_tuple
from netinspect.model.kernel import (
    Connection,
    FdbEntry,
    Link,
    LinkAddress,
    Neighbour,
    Socket,
    VirtualService,
    WireguardDevice,
)
from netinspect.model.packet import PROTOCOLS, number
from netinspect.model.walk import Pointer

# What the kernel has where nobody set it (Documentation/networking/ip-sysctl.rst); only for what a kernel may not have.
_DEFAULTS: Final = {
    "ipv4/ip_default_ttl": "64",
    "ipv4/ip_local_port_range": "32768 60999",
    "ipv6/bindv6only": "0",
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
    "netfilter/nf_conntrack_checksum": "1",
    "netfilter/nf_conntrack_tcp_loose": "1",
}


# What matters only where there is such a device.
_WIREGUARD: Final = frozenset(
    {"wireguard-endpoints", "wireguard-allowed-ips", "wireguard-listen-port", "wireguard-fwmark"}
)


class Stack:
    """One namespace by its name in the walk, on a node; ``host`` says that it is the node's own."""

    def __init__(self, name: str, namespace: Namespace, node: str = "", *, host: bool = False) -> None:
        self.name = name
        self.namespace = namespace
        self.node = node or name
        self.host = host

    def pointer(self, section: str, line: int = 0, text: str = "") -> Pointer:
        """Point at a line of what was read here."""
        return Pointer(self.name, section, line, text)

    @cached_property
    def missing(self) -> dict[str, Missing]:
        """Give the sections of which something is not known."""
        kinds = {link.kind for link in self.namespace.links}
        return {m.section: m for m in self.namespace.missing(_WIREGUARD if "wireguard" in kinds else frozenset())}

    @cached_property
    def links(self) -> dict[str, Link]:
        """Give the links by name."""
        return {link.ifname: link for link in self.namespace.links}

    @cached_property
    def by_index(self) -> dict[int, Link]:
        """Give the links by index."""
        return {link.ifindex: link for link in self.namespace.links}

    @cached_property
    def addresses(self) -> dict[tuple[int, int], tuple[Link, LinkAddress]]:
        """Give who has an address, by family and number."""
        found: dict[tuple[int, int], tuple[Link, LinkAddress]] = {}
        for link in self.namespace.links:
            for address in link.addresses:
                found.setdefault(number(address.local), (link, address))
        return found

    @cached_property
    def anycast(self) -> frozenset[tuple[str, int]]:
        """Give the devices' anycast addresses, such as their subnets' routers have (RFC 4291, section 2.6.1)."""
        found = (r for r in self.namespace.routes if r.type == "anycast")
        return frozenset((r.dev, number(r.dst.partition("/")[0])[1]) for r in found)

    @cached_property
    def fib(self) -> Fib:
        """Give the routing tables and the rules that choose among them."""
        return Fib(self.namespace.rules, self.namespace.routes, self.namespace.nexthops, self._silent)

    @property
    def _silent(self) -> frozenset[tuple[str, int]]:
        """Give the IPv6 neighbours that did not answer, over which a host that does not forward sends nothing.

        Source: rt6_check_neigh in net/ipv6/route.c; RFC 4191, section 3.2.
        """
        if self.sysctl("ipv6/conf/all/forwarding") != "0":
            return frozenset()
        near = self.neighbours.items()
        return frozenset((dev, address) for (dev, family, address), n in near if family == 6 and "FAILED" in n.state)

    @cached_property
    def hooks(self) -> Hooks:
        """Give netfilter's chains, by hook."""
        return Hooks(self.namespace, self.name)

    @cached_property
    def sets(self) -> Sets:
        """Give the ipsets."""
        return Sets(self.namespace.ipsets)

    @cached_property
    def neighbours(self) -> dict[tuple[str, int, int], Neighbour]:
        """Give the neighbour tables by device, family and address, without proxied entries."""
        return {(n.dev, *number(n.dst)): n for n in self.namespace.neighbours if not n.proxy}

    @cached_property
    def proxied(self) -> frozenset[tuple[str, int, int]]:
        """Give the addresses for which a device answers (ip neigh add proxy)."""
        return frozenset((n.dev, *number(n.dst)) for n in self.namespace.neighbours if n.proxy)

    @cached_property
    def fdb(self) -> dict[tuple[str, str], tuple[FdbEntry, ...]]:
        """Give the forwarding databases by device or bridge, and MAC."""
        found: dict[tuple[str, str], list[FdbEntry]] = defaultdict(list)
        for entry in self.namespace.fdb:
            for owner in {entry.master, entry.dev if "self" in entry.flags or not entry.master else ""} - {""}:
                found[owner, entry.mac.lower()].append(entry)
        return {key: tuple(entries) for key, entries in found.items()}

    @cached_property
    def sockets(self) -> dict[tuple[int, int], tuple[Socket, ...]]:
        """Give the sockets that wait, by protocol and port."""
        found: dict[tuple[int, int], list[Socket]] = defaultdict(list)
        for socket in self.namespace.sockets:
            if (protocol := PROTOCOLS.get(socket.protocol)) is not None:
                found[protocol, socket.port].append(socket)
        return {key: tuple(sockets) for key, sockets in found.items()}

    @cached_property
    def connections(self) -> dict[Ends, tuple[Connection, bool]]:
        """Give the tracked connections by both of their tuples, and whether it is the reply's."""
        return by_tuple(self.namespace.connections)

    @cached_property
    def carrying(self) -> dict[Ends, list[Connection]]:
        """Give the tracked connections of UDP, in which tunnels carry, by all but the sender's port."""
        return by_aim(self.namespace.connections)

    @cached_property
    def virtual_services(self) -> dict[object, VirtualService]:
        """Give the virtual services of IPVS: by mark, or by protocol, family, address and port."""
        found: dict[object, VirtualService] = {}
        for one in self.namespace.ipvs:
            protocol = PROTOCOLS.get(one.protocol.lower(), -1)
            key = one.fwmark if one.fwmark else (protocol, *number(one.address), one.port)
            found.setdefault(key, one)
        return found

    @cached_property
    def connect_programs(self) -> frozenset[int]:
        """Give the families for which programs of eBPF see what sockets connect to (bpftool cgroup tree)."""
        text = self.namespace.text("bpf-cgroup")
        return frozenset(f for f in (4, 6) if f'"cgroup_inet{f}_connect"' in text or f'"connect{f}"' in text)

    @cached_property
    def encrypts(self) -> bool:
        """Say whether there are IPsec policies (ip xfrm policy)."""
        return "dir out" in self.namespace.text("xfrm-policy")

    @cached_property
    def wireguard(self) -> dict[str, WireguardDevice]:
        """Give the WireGuard devices by name."""
        return {device.dev: device for device in self.namespace.wireguard_devices}

    def sysctl(self, name: str) -> str:
        """Give a sysctl; the kernel's default where it has no such setting."""
        found = self.namespace.sysctls.get(name)
        return _DEFAULTS.get(name, "0") if found is None else found

    def conf(self, family: int, dev: str, name: str) -> int:
        """Give a setting of a device."""
        return int(self.sysctl(f"ipv{family}/conf/{dev}/{name}") or 0)

    def either(self, dev: str, name: str) -> int:
        """Give the higher of a device's and all devices' setting (IN_DEV_MAXCONF, include/linux/inetdevice.h)."""
        return max(self.conf(4, dev, name), self.conf(4, "all", name))
