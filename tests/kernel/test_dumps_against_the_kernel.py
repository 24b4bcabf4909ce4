"""Rulesets of others in a real namespace: packets aimed at each rule hit those rules that the simulator says."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct, structs

from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.forks import Forks, explore
from netinspect.kernel.simulator.simulate import run, through
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Arrive, Send, State
from netinspect.kernel.simulator.targets import HARMLESS
from netinspect.kernel.simulator.walk import Walk
from netinspect.kernel.simulator.world import World
from netinspect.model.iptables import IptablesRule, Prefix, Span
from netinspect.model.packet import ICMP, SYN, TCP, UDP, Packet, text
from netinspect.model.walk import Verdict
from tests import corpora
from tests.kernel.oracle.reality import checksum
from tests.kernel.oracle.scene import Built, Scene, entered, inside
from tests.kernel.test_against_the_kernel import needs
from tests.kernel.test_corpora import lines_of_xml

OUTSIDE = (198 << 24) + (51 << 16) + (100 << 8) + 7
NODE = "192.0.2.1"
MOST_DEVICES = 24
PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}


class Aim(Struct, frozen=True):
    """A packet that a rule is meant for, and how it gets there: by a device, or from the node itself."""

    dev: str
    packet: Packet


def iptables_dumps() -> Iterator[tuple[str, str, str]]:
    """Give the dumps by name, each with its sets where these were recorded."""
    folder = corpora.folder() / "nodedumps"
    for path in sorted(folder.glob("*.iptables-save")):
        yield path.stem, path.read_text(), ""
    yield "ack-node", "\n".join(lines_of_xml()) + "\n", ""
    files = corpora.recorded(corpora.folder() / "lab-calico.tar.gz")
    base = "lab-calico/policies/c1/host"
    yield "lab-calico", files[f"{base}/iptables-save.txt"], files[f"{base}/ipset-save.txt"]


def sets_for(dump: str) -> str:
    """Make empty sets of the names that a dump looks up, of as many dimensions."""
    found = {name: len(parts.split(",")) for name, parts in re.findall(r"--match-set (\S+) (\S+)", dump)}
    kinds = {1: "hash:net", 2: "hash:ip,port", 3: "hash:ip,port,ip"}
    return "".join(f"create {name} {kinds[size]} family inet\n" for name, size in found.items())


def place(devices: list[str]) -> Scene:
    """A node whose devices all lead to one namespace, which only throws frames in."""
    links, setup = [], ["sysctl ipv4/ip_forward=1", f"ip addr add {NODE}/24 dev eth0"]
    for number, dev in enumerate(devices):
        mac = f"02:00:00:00:0a:{number:02x}"
        links.append(
            f"link add name {dev} index {100 + number} address {mac} netns {{n}} type veth "
            f"peer name x{number} index {200 + number} netns {{x}}"
        )
        setup += [
            f"ip link set {dev} up",
            f"sysctl ipv4/conf/{dev}/rp_filter=0",
            f"sysctl ipv6/conf/{dev}/disable_ipv6=1",
        ]
    setup += ["ip route add default via 192.0.2.254 dev eth0",
              "ip neigh add 192.0.2.254 lladdr 02:00:00:00:0b:01 dev eth0 nud permanent",
              "ip addr add 10.255.255.1/32 dev lo"]  # fmt: skip
    far = [f"ip link set x{n} up" for n in range(len(devices))] + [
        f"sysctl ipv6/conf/x{n}/disable_ipv6=1" for n in range(len(devices))
    ]
    return Scene(name="dump", namespaces=("n", "x"), links=tuple(links), setup={"n": tuple(setup), "x": tuple(far)})


def aim(rule: IptablesRule, devices: list[str], port: int) -> Aim:
    """Make the packet that a rule asks for, as far as it says."""
    fields: dict[str, Any] = {"src": OUTSIDE, "dst": OUTSIDE + 1, "protocol": TCP, "sport": port, "dport": 80}
    dev = "eth0"
    for match in rule.matches:
        for option in match.options:
            if option.negated:
                continue
            value = option.value
            if isinstance(value, Prefix) and option.flag in ("-s", "-d"):
                fields["src" if option.flag == "-s" else "dst"] = value.value or OUTSIDE
            elif option.flag == "-p":
                fields["protocol"] = PROTOCOLS.get(value, TCP)
            elif isinstance(value, Span) and option.flag in ("--dport", "--sport"):
                fields[option.flag[2:]] = value.first
            elif option.flag == "--dports":
                fields["dport"] = value[0].first
            elif option.flag == "-i" and value in devices:
                dev = value
    if fields["protocol"] == ICMP:
        fields |= {"type": 8, "ident": port, "sport": 0, "dport": 0}
    flags = SYN if fields["protocol"] == TCP else 0
    return Aim(dev, Packet(family=4, flags=flags, size=40 if flags else 28, **fields))


def wire(packet: Packet) -> bytes:
    """Write a packet's bytes."""
    if packet.protocol == TCP:
        load = struct.pack("!HHIIBBHHH", packet.sport, packet.dport, 1, 0, 0x50, packet.flags, 1024, 0, 0)
    elif packet.protocol == UDP:
        load = struct.pack("!HHHH", packet.sport, packet.dport, 8, 0)
    else:
        load = struct.pack("!BBHHH", 8, 0, 0, packet.ident, 1)
        load = struct.pack("!BBHHH", 8, 0, checksum(load), packet.ident, 1)
    ends = struct.pack("!II", packet.src, packet.dst)
    if packet.protocol == TCP:
        pseudo = ends + struct.pack("!BBH", 0, TCP, len(load))
        load = load[:16] + struct.pack("!H", checksum(pseudo + load)) + load[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(load), 7, 0, packet.ttl, packet.protocol, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + load


def throw(built: Built, devices: list[str], one: Aim, *, local: bool) -> None:
    """Send a packet: into a device from outside, or from the node by a raw socket."""
    if local:
        with entered(built.real("n")), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            try:
                raw.sendto(wire(one.packet), (text(one.packet.dst, 4), 0))
            except OSError:
                return
        return
    number = devices.index(one.dev)
    mac = bytes.fromhex(f"020000000a{number:02x}") + bytes.fromhex("020000000b01") + b"\x08\x00"
    with entered(built.real("x")), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((f"x{number}", 0))
        raw.send(mac + wire(one.packet))


def counters(built: Built) -> dict[int, int]:
    saved = inside(built.real("n"), "iptables-nft-save -c")
    found = {n: re.match(r"\[(\d+):", line) for n, line in enumerate(saved.split("\n"), 1)}
    return {n: int(m[1]) for n, m in found.items() if m}


def simulated(world: World, start: State) -> list[set[int]]:
    """Give of each branch the lines of the rules that are hit, by the packet and by what answers it."""

    def once(forks: Forks) -> set[int]:
        walk = Walk(world, forks, through)
        ended = run(walk, start)
        if ended.answer is not None and ended.namespace == "n":
            foreign = ended.verdict is Verdict.REJECTED
            run(walk, Send(world.stacks["n"], ended.answer, foreign=foreign))
        return {
            s.evidence.line for s in walk.steps
            if s.evidence is not None and s.evidence.section == "iptables-nft" and "-A" in s.evidence.text
        }  # fmt: skip

    return [r.result for r in explore(once)[0]]


@pytest.mark.parametrize(("name", "dump", "sets"), list(iptables_dumps()), ids=[n for n, _, _ in iptables_dumps()])
def test_rules_of_a_dump_are_hit_as_simulated(name: str, dump: str, sets: str) -> None:
    needs("ip", "iptables-nft-restore", "ipset", "nsenter")
    named = re.findall(r"-[io] ([A-Za-z0-9._-]+)(?: |$)", dump)
    devices = list(dict.fromkeys(["eth0", *(d for d in named if d not in ("lo", "eth0"))]))[:MOST_DEVICES]
    with Built(place(devices)) as built:
        real = built.real("n")
        inside(real, f"ipset restore <<'END'\n{_plain(sets) or sets_for(dump)}\nEND")
        inside(real, f"iptables-nft-restore <<'END'\n{_loadable(dump)}\nEND")
        stack = built.read().stacks["n"]
        world = World([Stack("n", Namespace(stack.namespace.evidence), host=True)])
        ruleset = next(r for r in stack.namespace.iptables if r.family == "inet" and r.variant == "nft")
        rules = [rule for t in ruleset.tables.values() for c in t.chains.values() for rule in c.rules]
        quiet = {r.line for r in rules if r.target is None or r.target.name in HARMLESS}
        tally: Counter[str] = Counter()
        wrong = []
        before = counters(built)
        seen: set[tuple[object, ...]] = set()
        for number, rule in enumerate(rules):
            one = aim(rule, devices, 20000 + number)
            key = (one.dev, *(getattr(one.packet, f) for f in ("src", "dst", "protocol", "dport")))
            if key in seen:
                continue
            seen.add(key)
            for local in (False, True):
                packet = _another(one.packet) if local else one.packet
                sent = Aim(one.dev, packet)
                throw(built, devices, sent, local=local)
                time.sleep(0.002)
                after = counters(built)
                hit = {line for line, count in after.items() if count > before.get(line, 0)} - quiet
                before = after
                start: State = Arrive(
                    world.stacks["n"],
                    structs.replace(packet, dmac=f"02:00:00:00:0a:{devices.index(one.dev):02x}"),
                    one.dev,
                )
                if local:
                    start = Send(world.stacks["n"], structs.replace(packet, uid=0, gid=0), foreign=True)
                expected = simulated(world, start)
                tally["packets"] += 1
                tally["rules hit"] += len(hit)
                if hit not in [e - quiet for e in expected]:
                    wrong.append((name, local, str(one), sorted(hit), [sorted(e - quiet) for e in expected]))
    print(name, f"{len(rules)} rules,", dict(tally))
    assert tally["packets"] >= len(seen)
    assert not wrong, f"{len(wrong)} of {tally['packets']}: " + "\n".join(map(str, wrong[:4]))


def _another(packet: Packet) -> Packet:
    """Give the packet of another connection."""
    if packet.sport:
        return structs.replace(packet, sport=packet.sport + 20000)
    return structs.replace(packet, ident=packet.ident + 20000)


def _plain(sets: str) -> str:
    return "".join(
        f"{line}\n"
        for line in sets.split("\n")
        if line and " inet6 " not in f"{line} " and not line.startswith("add cali60")
    )


def _loadable(dump: str) -> str:
    """Take away the counters, which iptables-restore wants by a flag, and nfacct, which needs objects."""
    plain = re.sub(r"^ *(\[\d+:\d+\] )?", "", dump, flags=re.MULTILINE)
    return re.sub(r"-m nfacct --nfacct-name +\S+ ", "", plain)


def test_rules_of_an_nft_dump_are_hit_as_simulated() -> None:
    needs("ip", "nft", "nsenter")
    raw = json.loads((corpora.folder() / "nodedumps" / "calico-13263.nft.json").read_text())
    names = sorted(set(re.findall(r'"(?:iifname|oifname)"}}, "right": "([a-z0-9.]+)"', json.dumps(raw))) - {"lo"})
    devices = list(dict.fromkeys(["eth0", *names]))[:MOST_DEVICES]
    with Built(place(devices)) as built:
        real = built.real("n")
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{real}", "nft", "-j", "-f", "-"],
            input=json.dumps(_counted(raw)),
            text=True,
            check=True,
        )
        stack = built.read().stacks["n"]
        world = World([Stack("n", Namespace(stack.namespace.evidence), host=True)])
        before = _nft_counters(real)
        wrong, packets, hits = [], 0, 0
        for number, packet in enumerate(_nft_aims(raw)):
            for local in (False, True):
                # Each is a connection of its own.
                own = 20000 + 2 * number + local
                sent = structs.replace(packet, sport=packet.sport and own, ident=packet.ident and own)
                throw(built, devices, Aim("eth0", sent), local=local)
                time.sleep(0.002)
                after = _nft_counters(real)
                hit = {line for line, count in after.items() if count > before.get(line, 0)}
                before = after
                start: State = Arrive(world.stacks["n"], structs.replace(sent, dmac="02:00:00:00:0a:00"), "eth0")
                if local:
                    start = Send(world.stacks["n"], structs.replace(sent, uid=0, gid=0), foreign=True)
                expected = _nft_hits(world, start, set(after))
                packets, hits = packets + 1, hits + len(hit)
                if hit not in expected:
                    wrong.append((local, str(sent), sorted(hit), [sorted(e) for e in expected]))
    print(f"{packets} packets, {hits} rules hit")
    assert packets > 20
    assert not wrong, f"{len(wrong)} of {packets}: " + "\n".join(map(str, wrong[:4]))


VERDICTS = ("accept", "drop", "jump", "goto", "return", "reject", "dnat", "snat", "masquerade", "redirect", "vmap")


def _counted(raw: dict[str, Any]) -> dict[str, Any]:
    """Give the ruleset with a counter before each verdict, and none elsewhere."""
    objects = []
    for one in raw["nftables"]:
        if "rule" in one:
            expressions = [e for e in one["rule"]["expr"] if "counter" not in e]
            if expressions and next(iter(expressions[-1])) in VERDICTS:
                expressions.insert(len(expressions) - 1, {"counter": {"packets": 0, "bytes": 0}})
            one = {"rule": {**one["rule"], "expr": expressions}}  # noqa: PLW2901
        objects.append(one)
    return {"nftables": objects}


def _nft_counters(real: str) -> dict[int, int]:
    listed = json.loads(inside(real, "nft -j list ruleset"))["nftables"]
    return {
        number: e["counter"]["packets"]
        for number, one in enumerate(listed, 1)
        for e in one.get("rule", {}).get("expr", ())
        if "counter" in e
    }


def _nft_hits(world: World, start: State, counted: set[int]) -> list[set[int]]:
    def once(forks: Forks) -> set[int]:
        walk = Walk(world, forks, through)
        ended = run(walk, start)
        if ended.answer is not None and ended.namespace == "n":
            run(walk, Send(world.stacks["n"], ended.answer, foreign=ended.verdict is Verdict.REJECTED))
        lines = {s.evidence.line for s in walk.steps if s.evidence is not None and s.evidence.section == "nftables"}
        if ended.evidence is not None and ended.evidence.section == "nftables":
            lines.add(ended.evidence.line)
        return lines & counted

    return [r.result for r in explore(once)[0]]


def _nft_aims(raw: dict[str, Any]) -> Iterator[Packet]:
    """Aim at every port and address that the ruleset names, by each protocol."""
    said = json.dumps(raw)
    ports = sorted({int(p) for p in re.findall(r'"dport"}}, "right": (\d+)', said)} | {22, 80, 443, 10250})
    addresses = sorted(set(re.findall(r'"(\d+\.\d+\.\d+\.\d+)"', said)))
    for protocol in (TCP, UDP, ICMP):
        for dst in [(192 << 24) + 513, OUTSIDE, *(_number(a) for a in addresses)]:
            for port in ports if protocol != ICMP else [0]:
                yield Packet(
                    family=4, src=OUTSIDE + 9, dst=dst, protocol=protocol, sport=1 if port else 0, dport=port,
                    ident=77, type=8 if protocol == ICMP else 0, flags=SYN if protocol == TCP else 0,
                    size=40 if protocol == TCP else 28,
                )  # fmt: skip


def _number(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address), "big")
