"""A packet to a Service through a node's rules: loading them and the first walk, and each further one, three sizes."""

from __future__ import annotations

import gc
import json
import statistics
import time

from benchmarks import rules
from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.simulate import walk
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Receive
from netinspect.kernel.simulator.world import World
from netinspect.model.evidence import NamespaceEvidence, Section
from netinspect.model.packet import SYN, TCP, Packet
from netinspect.model.walk import Branch

SIZES = (100, 1_000, 10_000)
WALKS = 40
LINKS = [
    {"ifindex": 1, "ifname": "lo", "link_type": "loopback", "flags": ["UP", "LOWER_UP"], "mtu": 65536},
    {"ifindex": 2, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "address": "02:00:00:00:00:01",
     "addr_info": [{"family": "inet", "local": "192.0.2.1", "prefixlen": 24, "scope": "global"}]},
    {"ifindex": 3, "ifname": "cni0", "flags": ["UP", "LOWER_UP"], "mtu": 1450, "address": "02:00:00:00:00:02",
     "addr_info": [{"family": "inet", "local": "10.243.0.1", "prefixlen": 24, "scope": "global"}]},
]  # fmt: skip
ROUTES = (
    "default via 192.0.2.254 dev eth0\n10.243.0.0/24 dev cni0 src 10.243.0.1\nlocal 192.0.2.1 dev eth0 table local\n"
    "local 10.243.0.1 dev cni0 table local\n"
)
RULES = "0: from all lookup local\n32766: from all lookup main\n32767: from all lookup default\n"
NEIGHBOURS = [{"dst": "192.0.2.254", "dev": "eth0", "lladdr": "02:00:00:00:00:fe", "state": ["PERMANENT"]}]
SYSCTL = "/proc/sys/net/ipv4/ip_forward:1\n/proc/sys/net/ipv4/conf/cni0/forwarding:1\n"


def iptables(services: int) -> dict[str, str]:
    """Give the ruleset of kube-proxy's iptables mode as a node's sections."""
    text = rules.iptables_save(services)
    head, _, rest = text.partition("\n")
    chained = ":PREROUTING ACCEPT [0:0]\n" + rest.replace("COMMIT", "-A PREROUTING -j KUBE-SERVICES") + "COMMIT\n"
    return {"iptables-nft": f"{head}\n{chained}"}


def nftables(services: int) -> dict[str, str]:
    """Give that of its nftables mode."""
    return {"nftables": rules.nft_services(services)}


def node(sections: dict[str, str]) -> Stack:
    """Give a node with these rules and nothing else that matters."""
    found = {
        "links": json.dumps(LINKS), "routes4": ROUTES, "rules4": RULES, "neighbours": json.dumps(NEIGHBOURS),
        "sysctl": SYSCTL, **dict.fromkeys(("iptables-nft", "iptables-legacy", "nftables", "nexthops"), ""), **sections,
    }  # fmt: skip
    made = {name: Section(name, text, exit_code=0) for name, text in found.items()}
    return Stack("n1", Namespace(NamespaceEvidence("n1", made)), host=True)


def go(world: World, service: int) -> tuple[Branch, ...]:
    """Send a packet from a pod to a Service."""
    address = (10 << 24) + ((96 + service // 65536) << 16) + service % 65536
    packet = Packet(
        family=4, src=(10 << 24) + (243 << 16) + 7, dst=address, protocol=TCP, sport=40000, dport=80, flags=SYN
    )
    found = walk(world, Receive(world.stacks["n1"], packet, "cni0"))
    assert len(found) >= rules.ENDPOINTS
    return found


def main() -> None:
    """Print what loading and walking take at each size, and as ratios to the smallest."""
    gc.disable()
    for mode in (iptables, nftables):
        least: list[float] = []
        for services in SIZES:
            sections = mode(services)
            gc.collect()
            begun = time.perf_counter()
            world = World([node(sections)])
            go(world, services // 2)
            first = time.perf_counter() - begun
            taken = []
            for number in range(WALKS):
                begun = time.perf_counter()
                go(world, (number * 7919) % services)
                taken.append(time.perf_counter() - begun)
            further = statistics.median(taken)
            least = least or [first, further]
            print(
                f"{mode.__name__}, {services:,} Services: load and first walk {first:.2f} s, a further one "
                f"{further * 1e3:.2f} ms for all branches, {further / least[1]:.2f} times that of {SIZES[0]}"
            )
