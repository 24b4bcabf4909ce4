# ruff: noqa: E501 - a rule is one line
"""Random scenes: the topologies of nodes and pods, with rules, sets, routes and settings of every kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.kernel.oracle import rules
from tests.kernel.oracle.rules import Pool
from tests.kernel.oracle.scene import Probe, Scene

PORTS = [80, 8080, 53, 5353, 443, 9000]
_PROBES = 36


@dataclass
class Draft:
    """A scene in the making."""

    rng: random.Random
    seed: str
    links: list[str] = field(default_factory=list)
    setup: dict[str, list[str]] = field(default_factory=dict)
    namespaces: list[str] = field(default_factory=list)
    own: dict[str, list[str]] = field(default_factory=dict)
    devices: dict[str, list[str]] = field(default_factory=dict)
    macs: list[str] = field(default_factory=list)
    index: int = 100
    # What the kernel has: a user-mode one has no nftables, and sets that others lack.
    nftables: bool = True

    def add(self, ns: str, *lines: str) -> None:
        self.setup.setdefault(ns, []).extend(lines)

    def namespace(self, *names: str) -> None:
        for name in names:
            self.namespaces.append(name)
            self.setup[name] = []
            self.own[name] = []
            self.devices[name] = []

    def pair(self, one: str, dev: str, other: str, far: str) -> None:
        """Join two namespaces by a veth."""
        self.index += 2
        macs = [f"02:00:00:00:{n // 256:02x}:{n % 256:02x}" for n in (self.index, self.index + 1)]
        self.macs += macs
        self.links.append(
            f"link add name {dev} index {self.index} address {macs[0]} netns {{{one}}} type veth "
            f"peer name {far} index {self.index + 1} address {macs[1]} netns {{{other}}}"
        )
        self.devices[one].append(dev)
        self.devices[other].append(far)

    def address(self, ns: str, dev: str, *addresses: str) -> None:
        for one in addresses:
            nodad = " nodad" if ":" in one else ""
            self.add(ns, f"ip addr add {one} dev {dev}{nodad}")
            self.own[ns].append(one.partition("/")[0])

    def up(self, ns: str, *devs: str) -> None:
        self.add(ns, *(f"ip link set {d} up" for d in devs))

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def scene(self, name: str, extra: list[str], sources: list[str]) -> Scene:
        """Give the scene, with listeners in all namespaces and probes between them."""
        listeners = {}
        for ns in self.namespaces:
            ports = self.rng.sample(PORTS, 4)
            listeners[ns] = tuple((p, port, a) for port in ports for p in ("tcp", "udp") for a in ("0.0.0.0", "::"))
        targets = [a for ns in self.namespaces for a in self.own[ns]] + extra * 3
        probes = []
        for number in range(_PROBES):
            ns = self.rng.choice(sources)
            probes.append(_probe(self.rng, ns, self.rng.choice(targets), number))
        return Scene(
            name=name, namespaces=tuple(self.namespaces), links=tuple(self.links), seed=self.seed,
            setup={ns: tuple(lines) for ns, lines in self.setup.items()}, listeners=listeners, probes=tuple(probes),
        )  # fmt: skip

    def pool(self, ns: str, family: int, extra: list[str], targets: list[str], *, bridged: bool = False) -> Pool:
        def mine(a: str) -> bool:
            return (":" in a) == (family == 6)

        addresses = [a for n in self.namespaces for a in self.own[n] if mine(a)] + [a for a in extra if mine(a)]
        prefixes = sorted({_prefix(a) for a in addresses})
        goals = [t for t in targets if mine(t)]
        return Pool(self.rng, addresses, prefixes, goals, PORTS, list(self.devices[ns]) or ["eth0"], family,
                    bridged=bridged, macs=self.macs)  # fmt: skip

    def rules(self, ns: str, extra: list[str], targets: list[str], amount: int, *, bridged: bool = False) -> None:
        """Add random rules to a namespace."""
        for family in (4, 6):
            pool = self.pool(ns, family, extra, targets, bridged=bridged)
            six = "6" if family == 6 else ""
            if not pool.addresses or not pool.targets:
                continue
            if self.chance(0.5):
                self.add(ns, *rules.ipsets(pool, f"set{six}", every=not self.nftables))
            variants = [f"ip{six}tables-legacy"] + [f"ip{six}tables-nft"] * self.nftables
            for variant in variants:
                if self.chance(0.6):
                    self.add(ns, *rules.iptables(pool, variant, self.rng.randint(1, amount)))
            if self.nftables and self.chance(0.6):
                self.add(ns, *rules.nftables(pool, f"t{family}", self.rng.randint(1, max(2, amount // 2))))
            services = [(a, p) for a in extra if (":" in a) == (family == 6) for p in (80, 53)]
            if services and self.chance(0.5):
                self.add(ns, *rules.translations(pool, variants[-1], services))


def _prefix(address: str) -> str:
    if ":" in address:
        return address.rpartition(":")[0].rstrip(":") + "::/64"
    return address.rpartition(".")[0] + ".0/24"


def _probe(rng: random.Random, ns: str, dst: str, number: int) -> Probe:
    protocol = rng.choice(["tcp", "tcp", "udp", "udp", "icmp"])
    sizes = [8, 8, 8, 8, 600, 1400] if ":" in dst else [8, 8, 8, 8, 600, 1400, 1460]
    size = rng.choice(sizes) if protocol != "tcp" else 8
    uid = 1337 if protocol in ("tcp", "udp") and rng.random() < 0.15 else 0
    mark = rng.choice([0, 0, 0, 1, 0x10]) if not uid else 0
    return Probe(
        ns=ns, protocol=protocol, dst=dst, dport=0 if protocol == "icmp" else rng.choice(PORTS),
        sport=0 if protocol == "icmp" else 20000 + number, size=size, df=protocol != "tcp" and rng.random() < 0.4,
        mark=mark, uid=uid,
    )  # fmt: skip


def sysctls(draft: Draft, ns: str) -> None:
    """Set some of what decides, for the devices that there are."""
    rng = draft.rng
    for dev in ("all", "default", *draft.devices[ns]):
        if draft.chance(0.1):
            draft.add(ns, f"sysctl ipv4/conf/{dev}/rp_filter={rng.choice([1, 2])}")
        if draft.chance(0.04):
            draft.add(ns, f"sysctl ipv4/conf/{dev}/accept_local=1")
        if draft.chance(0.05):
            draft.add(ns, f"sysctl ipv4/conf/{dev}/route_localnet=1")
        if draft.chance(0.05):
            draft.add(ns, f"sysctl ipv4/conf/{dev}/src_valid_mark=1")
        if draft.chance(0.05):
            draft.add(ns, f"sysctl ipv4/conf/{dev}/proxy_arp=1")
        if draft.chance(0.03):
            draft.add(ns, f"sysctl ipv4/conf/{dev}/arp_ignore=1")


def forwarding(draft: Draft, ns: str) -> None:
    draft.add(ns, f"sysctl ipv4/ip_forward={0 if draft.chance(0.05) else 1}",
              f"sysctl ipv6/conf/all/forwarding={0 if draft.chance(0.05) else 1}")  # fmt: skip
    if draft.chance(0.06) and draft.devices[ns]:
        draft.add(ns, f"sysctl ipv4/conf/{draft.rng.choice(draft.devices[ns])}/forwarding=0")


def _policy_routing(draft: Draft, ns: str, gateways: dict[str, str]) -> None:
    """Add rules, tables, multipath routes, and routes that refuse."""
    rng = draft.rng
    devices = list(gateways)
    addresses = [a for n in draft.namespaces for a in draft.own[n] if "." in a]
    selectors = ["fwmark 0x1", "fwmark 0x10/0xf0", f"from {_prefix(rng.choice(addresses))}",
                 f"to {_prefix(rng.choice(addresses))}", f"iif {rng.choice(devices)}", "iif lo", "uidrange 1337-1337",
                 "ipproto udp", "dport 53", "not fwmark 0x1", f"to {rng.choice(addresses)}/32", "tos 0x10"]  # fmt: skip
    for number in range(rng.randint(0, 3)):
        table = 100 + number
        action = rng.choice(
            [f"lookup {table}"] * 4 + ["unreachable", "prohibit", "blackhole", "lookup main suppress_prefixlength 0"]
        )
        draft.add(ns, f"ip rule add pref {1000 + number} {rng.choice(selectors)} {action}")
        dev = rng.choice(devices)
        route = rng.choice([
            f"default via {gateways[dev]} dev {dev}",
            f"{_prefix(rng.choice(addresses))} via {gateways[dev]} dev {dev}",
            f"{rng.choice(['unreachable', 'blackhole', 'prohibit', 'throw'])} {_prefix(rng.choice(addresses))}",
            f"local {rng.choice(addresses)} dev lo",
            f"default via {gateways[dev]} dev {dev} onlink",
        ])  # fmt: skip
        draft.add(ns, f"ip route add {route} table {table}")
    if draft.chance(0.25):
        kind = rng.choice(["unreachable", "blackhole", "prohibit"])
        draft.add(ns, f"ip route add {kind} {rng.choice(addresses)}/32")
    if draft.chance(0.2):
        dev = rng.choice(devices)
        draft.add(
            ns,
            f"ip route replace {rng.choice(addresses)}/32 via {gateways[dev]} dev {dev} mtu {rng.choice(['lock 1200', '1300'])}",
        )


def _nexthops(draft: Draft, ns: str) -> None:
    """Route by nexthop objects, one by one and in a group."""
    draft.add(ns, "ip nexthop add id 10 via 10.2.0.2 dev rb0", "ip nexthop add id 11 via 10.3.0.2 dev rc0",
              "ip nexthop add id 20 group 10/11,3", "ip nexthop add id 12 blackhole")  # fmt: skip
    for prefix in draft.rng.sample(["10.2.0.99/32", "10.77.0.0/16", "10.96.0.2/32", "10.3.0.99/32"], 2):
        draft.add(ns, f"ip route add {prefix} nhid {draft.rng.choice([10, 11, 12, 20])}")


def _policy_routing6(draft: Draft, ns: str, gateways: dict[str, str]) -> None:
    """The same for IPv6, with source-specific routes."""
    rng = draft.rng
    devices = list(gateways)
    addresses = [a for n in draft.namespaces for a in draft.own[n] if ":" in a]
    selectors = ["fwmark 0x1", f"from {_prefix(rng.choice(addresses))}", f"to {_prefix(rng.choice(addresses))}",
                 f"iif {rng.choice(devices)}", "ipproto tcp", "uidrange 1337-1337", "not fwmark 0x10"]  # fmt: skip
    for number in range(rng.randint(0, 3)):
        table = 200 + number
        action = rng.choice(
            [f"lookup {table}"] * 4 + ["unreachable", "prohibit", "blackhole", "lookup main suppress_prefixlength 0"]
        )
        draft.add(ns, f"ip -6 rule add pref {2000 + number} {rng.choice(selectors)} {action}")
        dev = rng.choice(devices)
        route = rng.choice([
            f"default via {gateways[dev]} dev {dev}",
            f"{_prefix(rng.choice(addresses))} via {gateways[dev]} dev {dev}",
            f"{_prefix(rng.choice(addresses))} from {_prefix(rng.choice(addresses))} via {gateways[dev]} dev {dev}",
            f"{rng.choice(['unreachable', 'blackhole', 'prohibit', 'throw'])} {_prefix(rng.choice(addresses))}",
        ])  # fmt: skip
        draft.add(ns, f"ip -6 route add {route} table {table}")
    if draft.chance(0.2):
        draft.add(
            ns, f"ip -6 route add {rng.choice(['unreachable', 'blackhole', 'prohibit'])} {rng.choice(addresses)}/128"
        )


def routed(rng: random.Random, seed: str) -> Scene:
    """A client, a router (sometimes two ways to it) and servers."""
    d = Draft(rng, seed)
    d.namespace("a", "r", "b", "c")
    d.pair("a", "eth0", "r", "ra0")
    d.pair("a", "eth1", "r", "ra1")
    d.pair("b", "eth0", "r", "rb0")
    d.pair("c", "eth0", "r", "rc0")
    for ns, dev, far, n in (
        ("a", "eth0", "ra0", 1),
        ("a", "eth1", "ra1", 4),
        ("b", "eth0", "rb0", 2),
        ("c", "eth0", "rc0", 3),
    ):
        d.address(ns, dev, f"10.{n}.0.2/24", f"fd0{n}::2/64")
        d.address("r", far, f"10.{n}.0.1/24", f"fd0{n}::1/64")
        d.up(ns, dev)
        d.up("r", far)
    if d.chance(0.3):
        d.address("b", "eth0", "10.2.0.7/24", "fd02::7/64")
    for ns, n in (("b", 2), ("c", 3)):
        d.add(ns, f"ip route add default via 10.{n}.0.1", f"ip route add default via fd0{n}::1")
    if d.chance(0.25):
        weight = rng.choice([1, 3])
        d.add("a", f"ip route add default nexthop via 10.1.0.1 dev eth0 weight {weight} nexthop via 10.4.0.1 dev eth1")
    else:
        d.add("a", "ip route add default via 10.1.0.1")
    if d.chance(0.3):
        d.add("a", "ip route add 10.2.0.0/24 via 10.4.0.1", "ip route add fd02::/64 via fd04::1")
    d.add("a", "ip route add default via fd01::1")
    forwarding(d, "r")
    for ns in d.namespaces:
        if d.chance(0.5 if ns == "r" else 0.2):
            sysctls(d, ns)
    if d.chance(0.3):
        d.add("r", f"ip link set rb0 mtu {rng.choice([1280, 1400])}")
    if d.chance(0.3):
        d.add("r", f"ip neigh replace 10.2.0.{rng.choice([2, 9])} lladdr {rng.choice(d.macs)} dev rb0 nud permanent")
    if d.chance(0.15):
        d.add("r", "ip neigh add proxy 10.1.0.77 dev ra0")
    extra = ["10.96.0.1", "10.96.0.2", "10.2.0.99", "fd96::1"]
    targets = ["10.2.0.2", "10.3.0.2", "10.1.0.2", "10.2.0.1", "fd02::2", "fd03::2", "fd02::1", "10.3.0.1"]
    if d.chance(0.4):
        _policy_routing(d, "r", {"ra0": "10.1.0.2", "rb0": "10.2.0.2", "rc0": "10.3.0.2"})
    if d.chance(0.3):
        _policy_routing(d, "a", {"eth0": "10.1.0.1", "eth1": "10.4.0.1"})
    if d.chance(0.3):
        _policy_routing6(d, "r", {"ra0": "fd01::2", "rb0": "fd02::2", "rc0": "fd03::2"})
    if d.chance(0.3):
        _policy_routing6(d, "a", {"eth0": "fd01::1", "eth1": "fd04::1"})
    if d.chance(0.4):
        # What a transparent proxy needs (Documentation/networking/tproxy.rst).
        d.add("r", "ip rule add pref 900 fwmark 0x100/0x100 lookup 90", "ip route add local default dev lo table 90",
              "ip -6 rule add pref 900 fwmark 0x100/0x100 lookup 90", "ip -6 route add local default dev lo table 90")  # fmt: skip
    if d.chance(0.3):
        _nexthops(d, "r")
    d.rules("r", extra, targets, 8)
    if d.chance(0.4):
        d.rules("a", extra, targets, 5)
    if d.chance(0.4):
        d.rules("b", extra, targets, 5)
    return d.scene("routed", [*extra, "10.1.0.77", "10.3.0.99", "10.77.0.1", "fd02::"], ["a", "a", "a", "b", "c", "r"])


def bridged(rng: random.Random, seed: str) -> Scene:
    """A node with pods at a bridge, and somebody outside."""
    d = Draft(rng, seed)
    d.namespace("n", "p1", "p2", "p3", "e")
    d.links.append("link add name cni0 index 90 address 02:00:00:00:ff:01 netns {n} type bridge")
    for number, pod in enumerate(("p1", "p2", "p3"), 2):
        d.pair(pod, "eth0", "n", f"veth{number}")
        d.address(pod, "eth0", f"10.244.0.{number}/24", f"fd44::{number}/64")
        d.up(pod, "eth0")
        d.add(pod, "ip route add default via 10.244.0.1", "ip route add default via fd44::1")
        d.add("n", f"ip link set veth{number} master cni0")
        d.up("n", f"veth{number}")
    hairpin = [n for n in (2, 3, 4) if d.chance(0.5)]
    d.add("n", *(f"bridge link set dev veth{n} hairpin on" for n in hairpin))
    if d.chance(0.1):
        d.add("n", "bridge link set dev veth2 isolated on", "bridge link set dev veth3 isolated on")
    if d.chance(0.1):
        d.add(
            "n",
            f"bridge link set dev veth{rng.choice([2, 3, 4])} {rng.choice(['flood', 'mcast_flood', 'bcast_flood'])} off",
        )
    d.pair("e", "eth0", "n", "eth0")
    d.address("n", "cni0", "10.244.0.1/24", "fd44::1/64")
    d.address("n", "eth0", "10.9.0.1/24", "fd09::1/64")
    d.address("e", "eth0", "10.9.0.2/24", "fd09::2/64")
    d.up("n", "cni0", "eth0")
    d.up("e", "eth0")
    d.devices["n"].append("cni0")
    d.add("e", "ip route add default via 10.9.0.1", "ip route add default via fd09::1")
    forwarding(d, "n")
    nf = d.chance(0.6)
    d.add("n", f"sysctl bridge/bridge-nf-call-iptables={int(nf)}", f"sysctl bridge/bridge-nf-call-ip6tables={int(nf)}")
    if d.chance(0.3):
        sysctls(d, "n")
    extra = ["10.96.0.1", "10.96.0.2", "fd96::1"]
    targets = ["10.244.0.2", "10.244.0.3", "10.244.0.4", "fd44::2", "fd44::3", "fd44::4", "10.9.0.2"]
    d.rules("n", extra, targets, 8, bridged=nf)
    if d.chance(0.25):
        d.add("n", *rules.of_bridge(d.pool("n", 4, extra, targets)))
    if d.chance(0.25):
        d.add("n", *rules.of_device(d.pool("n", 4, extra, targets), rng.choice(d.devices["n"])))
    if d.chance(0.3):
        d.rules("p1", extra, targets, 4)
    return d.scene("bridged", [*extra, "10.244.0.99", "10.9.0.1"], ["p1", "p1", "p2", "p3", "e", "n"])


def overlay(rng: random.Random, seed: str) -> Scene:
    """Two nodes with VXLAN between them, and a pod behind each; what Flannel and Calico make, and their faults."""
    d = Draft(rng, seed)
    d.namespace("n1", "n2", "p1", "p2")
    d.pair("n1", "eth0", "n2", "eth0")
    port, vni = rng.choice([4789, 8472]), rng.choice([1, 4096])
    learning = rng.choice(["nolearning", "nolearning", "learning"])
    for n, other in ((1, 2), (2, 1)):
        node, pod = f"n{n}", f"p{n}"
        d.address(node, "eth0", f"172.16.0.{n}/24", f"fd16::{n}/64")
        d.up(node, "eth0")
        d.pair(pod, "eth0", node, f"veth{n}")
        d.address(pod, "eth0", f"10.244.{n}.2/24", f"fd4{n}::2/64")
        d.address(node, f"veth{n}", f"10.244.{n}.1/24", f"fd4{n}::1/64")
        d.up(pod, "eth0")
        d.up(node, f"veth{n}")
        d.add(pod, f"ip route add default via 10.244.{n}.1", f"ip route add default via fd4{n}::1")
        mine = vni + (1 if n == 2 and d.chance(0.08) else 0)
        flannel = "flannel.1"
        d.add(node, f"ip link add name {flannel} index {280 + n} address 02:00:00:00:ee:0{n} type vxlan id {mine} "
                    f"local 172.16.0.{n} dev eth0 dstport {port} {learning}")  # fmt: skip
        d.address(node, flannel, f"10.244.{n}.0/32")
        d.up(node, flannel)
        d.devices[node].append(flannel)
        if d.chance(0.1):
            d.add(node, f"ip link set {flannel} mtu 1300")
        d.add(node, f"ip route add 10.244.{other}.0/24 via 10.244.{other}.0 dev {flannel} onlink")
        wrong = d.chance(0.08)
        d.add(
            node,
            f"ip neigh add 10.244.{other}.0 lladdr 02:00:00:00:ee:0{3 if wrong else other} dev {flannel} nud permanent",
        )
        if not d.chance(0.06):
            d.add(node, f"bridge fdb add 02:00:00:00:ee:0{other} dev {flannel} dst 172.16.0.{other} self permanent")
        if d.chance(0.5):
            d.add(node, f"ip route add fd4{other}::/64 via fd16::{other}")
        forwarding(d, node)
        if d.chance(0.2):
            sysctls(d, node)
    extra = ["10.96.0.1", "fd96::1"]
    targets = ["10.244.1.2", "10.244.2.2", "172.16.0.2", "fd41::2", "fd42::2"]
    for node in ("n1", "n2"):
        if d.chance(0.7):
            d.rules(node, extra, targets, 6)
    if d.chance(0.2):
        d.rules("p1", extra, targets, 4)
    return d.scene("overlay", [*extra, "10.244.2.2", "10.244.1.2"], ["p1", "p1", "p2", "n1", "n2"])


def macvlans(rng: random.Random, seed: str) -> Scene:
    """A node whose pods stand on its own device by macvlan, and a neighbour on the same wire."""
    d = Draft(rng, seed)
    d.namespace("n", "p1", "p2", "e")
    d.pair("n", "eth0", "e", "eth0")
    mode = rng.choice(["bridge", "bridge", "private", "vepa"])
    d.address("n", "eth0", "10.5.0.1/24", "fd05::1/64")
    d.address("e", "eth0", "10.5.0.9/24", "fd05::9/64")
    d.up("n", "eth0")
    d.up("e", "eth0")
    for number, pod in enumerate(("p1", "p2"), 2):
        mac = f"02:00:00:00:cc:0{number}"
        d.macs.append(mac)
        d.links.append(
            f"-n {{n}} link add link eth0 name mv{number} index {70 + number} address {mac} type macvlan mode {mode}"
        )
        d.links.append(f"-n {{n}} link set mv{number} netns {{{pod}}} name eth0")
        d.devices[pod].append("eth0")
        d.address(pod, "eth0", f"10.5.0.{number}/24", f"fd05::{number}/64")
        d.up(pod, "eth0")
        d.add(pod, "ip route add default via 10.5.0.9")
    targets = ["10.5.0.1", "10.5.0.2", "10.5.0.3", "fd05::2", "fd05::9"]
    for ns in d.namespaces:
        if d.chance(0.5):
            d.rules(ns, ["10.96.0.1"], targets, 5)
    return d.scene("macvlans", ["10.96.0.1", "10.5.0.77"], ["p1", "p2", "n", "e"])


def tunnelled(rng: random.Random, seed: str) -> Scene:
    """Two nodes with a tunnel or VLAN between them that not every kernel has, and a pod behind each."""
    d = Draft(rng, seed, nftables=False)
    kind = rng.choice(["ipip", "ipip-any", "gre", "gre-key", "gretap", "geneve", "vlan", "sit"])
    d.namespace("n1", "n2", "p1", "p2")
    d.pair("n1", "eth0", "n2", "eth0")
    for n, other in ((1, 2), (2, 1)):
        node, pod = f"n{n}", f"p{n}"
        d.address(node, "eth0", f"172.16.0.{n}/24", f"fd16::{n}/64")
        d.up(node, "eth0")
        d.pair(pod, "eth0", node, f"veth{n}")
        d.address(pod, "eth0", f"10.244.{n}.2/24", f"fd4{n}::2/64")
        d.address(node, f"veth{n}", f"10.244.{n}.1/24", f"fd4{n}::1/64")
        d.up(pod, "eth0")
        d.up(node, f"veth{n}")
        d.add(pod, f"ip route add default via 10.244.{n}.1", f"ip route add default via fd4{n}::1")
        ends = f"local 172.16.0.{n} remote 172.16.0.{other}"
        key = 7 if d.chance(0.9) or n == 1 else 8
        made = {
            "ipip": f"type ipip {ends}", "ipip-any": f"type ipip local 172.16.0.{n}", "gre": f"type gre {ends}",
            "gre-key": f"type gre {ends} key {key}", "gretap": f"type gretap {ends}", "sit": f"type sit {ends}",
            "geneve": f"type geneve id {key} remote 172.16.0.{other}",
        }  # fmt: skip
        if kind == "vlan":
            d.add(node, f"ip link add link eth0 name tun1 index {260 + n} type vlan id {key}")
        else:
            d.add(node, f"ip link add name tun1 index {260 + n} {made[kind]}")
        d.devices[node].append("tun1")
        d.address(node, "tun1", f"10.88.0.{n}/24", f"fd88::{n}/64")
        d.up(node, "tun1")
        if d.chance(0.15):
            d.add(node, "ip link set tun1 mtu 1300")
        if kind == "sit":
            d.add(node, f"ip route add fd4{other}::/64 dev tun1")
        elif kind == "ipip-any":
            d.add(node, f"ip route add 10.244.{other}.0/24 via 172.16.0.{other} dev tun1 onlink")
        elif kind in ("geneve", "vlan", "gretap"):
            d.add(
                node,
                f"ip route add 10.244.{other}.0/24 via 10.88.0.{other}",
                f"ip route add fd4{other}::/64 via fd88::{other}",
            )
        else:
            d.add(node, f"ip route add 10.244.{other}.0/24 dev tun1")
        forwarding(d, node)
    targets = ["10.244.1.2", "10.244.2.2", "172.16.0.2", "fd41::2", "fd42::2"]
    for node in ("n1", "n2"):
        if d.chance(0.6):
            d.rules(node, ["10.96.0.1"], targets, 5)
    extra = ["10.244.2.2", "10.244.1.2", "10.88.0.2", "fd42::2", "fd41::2"]
    return d.scene(f"tunnelled {kind}", extra, ["p1", "p1", "p2", "n1"])


def balanced(rng: random.Random, seed: str) -> Scene:
    """A client, a node with IPVS as kube-proxy programs it, and real servers: translated, routed or tunnelled to."""
    d = Draft(rng, seed, nftables=False)
    d.namespace("a", "r", "b", "c")
    for ns, n in (("a", 1), ("b", 2), ("c", 3)):
        d.pair(ns, "eth0", "r", f"r{ns}0")
        d.address(ns, "eth0", f"10.{n}.0.2/24", f"fd0{n}::2/64")
        d.address("r", f"r{ns}0", f"10.{n}.0.1/24", f"fd0{n}::1/64")
        d.up(ns, "eth0")
        d.up("r", f"r{ns}0")
        d.add(ns, f"ip route add default via 10.{n}.0.1", f"ip route add default via fd0{n}::1")
    forwarding(d, "r")
    d.add("r", "ip link add name kube-ipvs0 index 260 type dummy")
    vips = ["10.96.0.1", "10.96.0.2", "fd96::1"]
    for vip in vips:
        if d.chance(0.9):
            d.address("r", "kube-ipvs0", f"{vip}/{128 if ':' in vip else 32}")
    d.up("r", "kube-ipvs0")
    d.add("r", f"sysctl ipv4/vs/conntrack={rng.choice([0, 1, 1])}")
    method = rng.choice(["-m", "-m", "-m", "-g", "-i"])
    for vip in vips:
        for protocol, flag in (("tcp", "-t"), ("udp", "-u")):
            port = rng.choice(PORTS)
            six = ":" in vip
            host = f"[{vip}]" if six else vip
            d.add("r", f"ipvsadm -A {flag} {host}:{port} -s {rng.choice(['rr', 'wrr', 'lc', 'sh'])}")
            for n in rng.sample([2, 3], rng.randint(0, 2)):
                real = f"[fd0{n}::2]" if six else f"10.{n}.0.2"
                to = rng.choice(PORTS) if method == "-m" else port
                way = "-g" if method == "-i" and six else method
                d.add("r", f"ipvsadm -a {flag} {host}:{port} -r {real}:{to} {way} -w {rng.choice([1, 1, 2, 0])}")
            del protocol
    if method in ("-g", "-i"):
        for ns in ("b", "c"):
            for vip in vips:
                d.add(ns, f"ip addr add {vip}/{128 if ':' in vip else 32} dev lo")
            if method == "-i":
                d.add(ns, "ip link add name tunl0 type ipip", "ip link set tunl0 up",
                      "sysctl ipv4/conf/tunl0/rp_filter=0")  # fmt: skip
    if d.chance(0.6):
        d.add("r", "ip6tables-legacy nat -A POSTROUTING -s fd01::/64 -j MASQUERADE" if d.chance(0.3) else
              "iptables-legacy nat -A POSTROUTING -s 10.1.0.0/24 -j MASQUERADE")  # fmt: skip
    if d.chance(0.3):
        d.rules("r", [], ["10.2.0.2", "10.3.0.2"], 3)
    return d.scene("balanced", vips * 2, ["a", "a", "a", "r", "b"])


FAMILIES: dict[str, Callable[[random.Random, str], Scene]] = {
    "routed": routed,
    "bridged": bridged,
    "overlay": overlay,
    "macvlans": macvlans,
    "tunnelled": tunnelled,
    "balanced": balanced,
}
_SHARES = ["routed"] * 4 + ["bridged"] * 3 + ["overlay"] * 2 + ["macvlans"]
_USER_MODE = ("tunnelled", "balanced")


def scene(seed: str, *, user_mode: bool = False) -> Scene:
    """Give the scene of a seed; for a user-mode kernel one of what other kernels may not have."""
    rng = random.Random(seed)
    return FAMILIES[rng.choice(_USER_MODE if user_mode else _SHARES)](rng, seed)
