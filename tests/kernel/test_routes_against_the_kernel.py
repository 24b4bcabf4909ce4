"""``ip route get`` beside the simulator's look-up: random tables, rules and flows, in a namespace of their own."""

from __future__ import annotations

import random
import secrets
import subprocess
from collections import Counter
from typing import Any

import pytest

from netinspect.kernel.simulator import source
from netinspect.kernel.simulator.fib import Flow, Found
from netinspect.kernel.simulator.forks import Forks
from netinspect.kernel.simulator.routing import look_up, route
from netinspect.kernel.simulator.simulate import through
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Route
from netinspect.kernel.simulator.walk import Walk
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import Packet, number, text
from netinspect.model.walk import End, Verdict
from tests.conftest import unavailable
from tests.kernel.oracle.scene import Built, Scene

FLOWS = 400
SEEDS = tuple(map(str, range(15)))
DEVICES = ("d0", "d1", "d2", "d3")
SKIPPED_PROTOCOLS = {"tcp": 6, "udp": 17}


class Tables:
    """Random addresses, routes and rules of a family."""

    def __init__(self, rng: random.Random, family: int) -> None:
        self.rng = rng
        self.four = family == 4
        self.nets = [f"10.{n}" if self.four else f"fd0{n}:" for n in range(4)]
        self.lines: list[str] = []
        self.seen: Counter[str] = Counter()

    def host(self) -> str:
        net = self.rng.choice(self.nets)
        low = self.rng.choice([1, 2, 3, 200])
        return f"{net}.{self.rng.choice([0, 1])}.{low}" if self.four else f"{net}{self.rng.choice([0, 1])}::{low:x}"

    def prefix(self) -> str:
        lengths = [8, 15, 16, 23, 24, 30, 32] if self.four else [8, 15, 16, 24, 32, 64, 126, 128]
        length = self.rng.choice(lengths)
        family, value = number(self.host())
        shift = (32 if family == 4 else 128) - length
        return f"{text(value >> shift << shift, family)}/{length}"

    def gateway(self, dev: str) -> str:
        n = DEVICES.index(dev)
        return (
            f"{self.nets[n]}.0.{self.rng.choice([2, 3])}"
            if self.four
            else f"{self.nets[n]}0::{self.rng.choice([2, 3])}"
        )

    def way(self) -> str:
        dev = self.rng.choice(DEVICES)
        return self.rng.choice(
            [f"via {self.gateway(dev)} dev {dev}", f"via {self.gateway(dev)} dev {dev}", f"dev {dev}"]
        )

    def table(self) -> str:
        return self.rng.choice(["main", "main", "100", "101", "102"])

    def route(self) -> str:
        rng = self.rng
        dst = rng.choice([self.prefix(), self.prefix(), self.prefix(), "default"])
        tail = f" table {self.table()} metric {rng.choice([0, 10, 20, 100]) or 5}"
        kind = rng.choice(
            ["unicast"] * 8
            + ["unreachable", "blackhole", "prohibit", "throw", "local", "multipath", "src", "tos", "own"]
        )
        self.seen[f"route {kind}"] += 1
        if kind in ("unreachable", "blackhole", "prohibit", "throw"):
            return f"{kind} {dst}{tail}"
        if kind == "local":
            # Not one of the gateways: whether a route had one that was already this host's own shows nowhere.
            net, low = rng.choice(self.nets), rng.choice([2, 3, 200])
            host = f"{net}.1.{low}" if self.four else f"{net}1::{low:x}"
            return f"local {host} dev {rng.choice(DEVICES)} table {self.table()}"
        if kind == "own" and self.four:
            dev = rng.choice(DEVICES)
            return f"{dst} via {self.nets[DEVICES.index(dev)]}.0.1 dev {dev} table main metric {rng.choice([5, 10])}"
        if kind == "multipath":
            ways = {
                self.gateway(d): f"nexthop via {self.gateway(d)} dev {d} weight {rng.randint(1, 4)}"
                for d in DEVICES[:2]
            }
            return f"{dst}{tail} " + " ".join(ways.values())
        if kind == "src":
            dev = rng.choice(DEVICES)
            own = f"{self.nets[DEVICES.index(dev)]}.0.1" if self.four else f"{self.nets[DEVICES.index(dev)]}0::1"
            return f"{dst} dev {dev} src {own}{tail}"
        if kind == "tos" and self.four:
            return f"{dst} {self.way()} tos 0x10{tail}"
        if not self.four and rng.random() < 0.15:
            self.seen["route from"] += 1
            return f"{dst} from {self.prefix()} {self.way()}{tail}"
        return f"{dst} {self.way()}{tail}"

    def rule(self, priority: int) -> str:
        rng = self.rng
        selectors = {
            "fwmark": "fwmark 0x1", "fwmask": "fwmark 0x10/0xf0", "from": f"from {self.prefix()}",
            "to": f"to {self.prefix()}", "iif": f"iif {rng.choice([*DEVICES, 'lo'])}",
            "oif": f"oif {rng.choice(DEVICES)}", "uidrange": "uidrange 1000-2000",
            "ipproto": f"ipproto {rng.choice(['tcp', 'udp'])}", "dport": "dport 53",
            "ports": "ipproto tcp dport 80-90", "sport": "sport 1000-2000", "not": "not fwmark 0x1", "tos": "tos 0x10",
            "all": "from all",
        }  # fmt: skip
        kind = rng.choice(list(selectors))
        action = rng.choice([f"lookup {rng.choice([100, 101, 102])}"] * 5 + [
            "unreachable", "blackhole", "prohibit", "goto 30000", "nop", "lookup main suppress_prefixlength 8",
            "lookup main suppress_prefixlength 0"])  # fmt: skip
        self.seen[f"rule {kind}"] += 1
        self.seen[f"action {action.split()[0]}{' suppress' if 'suppress' in action else ''}"] += 1
        return f"pref {priority} {selectors[kind]} {action}"

    def make(self) -> tuple[str, ...]:
        ip = "ip" if self.four else "ip -6"
        for n, dev in enumerate(DEVICES):
            own = (
                [f"{self.nets[n]}.0.1/24", f"{self.nets[n]}.1.1/24"] if self.four else [f"{self.nets[n]}0::1/64 nodad"]
            )
            self.lines += [f"ip addr add {a} dev {dev}" for a in own]
            self.lines += [f"ip link set {dev} up", f"ip link set {dev}p up"]
        self.lines += [f"{ip} rule add pref 30000 nop"]
        self.lines += [f"{ip} route add {self.route()}" for _ in range(60)]
        self.lines += [f"{ip} rule add {self.rule(1000 + n)}" for n in range(self.rng.randint(0, 8))]
        return tuple(self.lines)

    def flow(self) -> tuple[str, Flow]:
        rng = self.rng
        dst = self.host()
        words, fields = [dst], {"dst": number(dst)[1]}
        received = rng.random() < 0.3
        if received:
            src, dev = self.host(), rng.choice(DEVICES)
            words += ["from", src, "iif", dev]
            fields |= {"src": number(src)[1]}
        elif rng.random() < 0.15:
            words += ["oif", rng.choice(DEVICES)]
        for option, field, value in (("mark", "mark", rng.choice([1, 0x10, 0x20])), ("tos", "tos", 0x10)):
            if rng.random() < 0.3 and (self.four or option != "tos"):
                words += [option, hex(value)]
                fields[field] = value
        protocol = rng.choice(["tcp", "udp", "", ""])
        if protocol:
            ports = {"sport": rng.choice([1500, 40000]), "dport": rng.choice([53, 80, 443])}
            words += ["ipproto", protocol, "sport", str(ports["sport"]), "dport", str(ports["dport"])]
            fields |= ports | {"protocol": SKIPPED_PROTOCOLS[protocol]}
        elif self.four:
            # What is asked without a protocol is looked up as UDP (inet_rtm_getroute).
            fields["protocol"] = SKIPPED_PROTOCOLS["udp"]
        if rng.random() < 0.2 and not received:
            words += ["uid", "1500"]
            fields["uid"] = 1500
        named = {k: words[words.index(k) + 1] for k in ("iif", "oif") if k in words}
        return " ".join(words), Flow(family=4 if self.four else 6, **named, **fields)  # type: ignore[arg-type]


def real(namespace: str, family: int, asked: list[str]) -> list[dict[str, Any] | str]:
    """Ask the kernel; of what it refuses, its word for it."""
    lines = "".join(f"route get {one}\n" for one in asked)
    done = subprocess.run(
        ["ip", "-n", namespace, f"-{family}", "-force", "-batch", "-"],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    refused = [line for line in done.stderr.splitlines() if line.startswith(("RTNETLINK", "Error"))]
    places = [
        int(line.rpartition(":")[2]) - 1 for line in done.stderr.splitlines() if line.startswith("Command failed")
    ]
    said = dict(zip(places, refused, strict=True))
    answers = iter(block for block in _blocks(done.stdout))
    return [said[n] if n in said else next(answers) for n in range(len(asked))]


def _blocks(printed: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in printed.splitlines():
        if line[:1] in (" ", "\t") or not line.strip():
            continue
        words = line.split()
        kind = (
            words[0]
            if words[0] in ("local", "broadcast", "unreachable", "blackhole", "prohibit", "multicast")
            else "unicast"
        )
        one = {"kind": kind}
        one |= {k: words[words.index(k) + 1] for k in ("dev", "via", "src") if k in words}
        found.append(one)
    return found


ERRORS = {
    "No route to host": {"unreachable"},
    "Permission denied": {"prohibit"},
    "Invalid argument": {"blackhole"},
    "Invalid cross-device link": {"blackhole"},
    "Network is unreachable": {"none", "unreachable"},
}


def checked(stack: Stack, asked: Flow, found: Found) -> Found:
    """Give what the look-up means for the flow: what came in has its source checked, a device given is on link."""
    if asked.family == 4 and asked.iif != "lo":
        packet = Packet(
            family=4, src=asked.src, dst=asked.dst, protocol=asked.protocol, sport=asked.sport, dport=asked.dport,
            mark=asked.mark, tos=asked.tos,
        )  # fmt: skip
        ended = route(Walk(World([stack]), Forks(), through), Route(stack, packet, asked.iif))
        if isinstance(ended, End) and ended.verdict is Verdict.DROPPED:
            return Found("blackhole")
    return found


def agrees(stack: Stack, asked: Flow, found: Found, answer: dict[str, Any] | str) -> bool:
    found = checked(stack, asked, found)
    if isinstance(answer, str):
        return any(found.kind in kinds for word, kinds in ERRORS.items() if word in answer)
    if found.kind in ("unreachable", "prohibit", "blackhole", "none"):
        # IPv6 answers with the refusing route itself.
        return answer["kind"] == found.kind or (answer["kind"] == "unreachable" and found.kind == "none")
    if found.kind != answer["kind"]:
        return False
    if found.kind == "local":
        return True
    for way in found.ways:
        gateway = text(way.gateway, way.family) if way.gateway is not None else None
        if way.dev == answer["dev"] and gateway == answer.get("via"):
            own = source.of_route(stack, found, way, asked.dst, asked.family)
            return bool(asked.src) or "src" not in answer or own is None or text(own, asked.family) == answer["src"]
    return False


@pytest.mark.parametrize("family", [4, 6])
def test_every_flow_takes_the_kernels_route(family: int) -> None:
    fresh = secrets.token_hex(4)
    print(f"fresh seed: {fresh}")
    seen: Counter[str] = Counter()
    count, wrong = 0, []
    for seed in (*SEEDS, fresh):
        tables = Tables(random.Random(f"{family} {seed}"), family)
        links = tuple(
            f"link add name {d} index {10 + n} netns {{r}} type veth peer name {d}p index {30 + n} netns {{r}}"
            for n, d in enumerate(DEVICES)
        )
        lines = ("sysctl ipv4/ip_forward=1", "sysctl ipv6/conf/all/forwarding=1", *tables.make())
        try:
            built = Built(Scene(name="routes", namespaces=("r",), links=links, setup={"r": lines}))
            with built:
                stack = built.read().stacks["r"]
                # The kernel takes most of what is asked of it: 60 routes into five tables.
                assert sum(r.protocol == "boot" for r in stack.namespace.routes) > 30, seed
                flows = [tables.flow() for _ in range(FLOWS)]
                answers = real(built.real("r"), family, [asked for asked, _ in flows])
        except PermissionError as error:
            unavailable(f"no network namespaces: {error}")
        for (asked, flow), answer in zip(flows, answers, strict=True):
            found = look_up(Walk(World([stack]), Forks(), through), stack, flow)
            count += 1
            if not agrees(stack, flow, found, answer):
                wrong.append((seed, asked, answer, found))
        seen += tables.seen
    print(f"IPv{family}: {count} flows;", ", ".join(f"{k} {v}" for k, v in sorted(seen.items())))
    assert not wrong, f"{len(wrong)} of {count}: " + "\n".join(map(str, wrong[:5]))
