"""A packet to a Service through a node's rules: loading them and the first walk, and each further one, three sizes."""

from __future__ import annotations

import gc
import statistics
import time

from benchmarks import rules
from netinspect.kernel.simulator.simulate import walk
from netinspect.kernel.simulator.states import Receive
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import SYN, TCP, Packet
from netinspect.model.walk import Branch
from tests.kernel.small_node import node, sections

SIZES = (100, 1_000, 10_000)
WALKS = 40


def iptables(services: int) -> dict[str, str]:
    """Give the ruleset of kube-proxy's iptables mode as a node's sections."""
    text = rules.iptables_save(services)
    head, _, rest = text.partition("\n")
    chained = ":PREROUTING ACCEPT [0:0]\n" + rest.replace("COMMIT", "-A PREROUTING -j KUBE-SERVICES") + "COMMIT\n"
    return {"iptables-nft": f"{head}\n{chained}"}


def nftables(services: int) -> dict[str, str]:
    """Give that of its nftables mode."""
    return {"nftables": rules.nft_services(services)}


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
            rules_of = mode(services)
            gc.collect()
            begun = time.perf_counter()
            world = World([node(sections(rules_of))])
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
