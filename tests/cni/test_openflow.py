"""Random flows in a real Open vSwitch, whose own `ofproto/trace` is the oracle: the same ports in the same order."""

from __future__ import annotations

import contextlib
import os
import random
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from netinspect.cni import openflow
from netinspect.cni.openflow_bridge import Bridge, Port
from netinspect.cni.openflow_frame import of_packet
from netinspect.cni.openflow_pipeline import Way, ways
from netinspect.model.packet import ICMP, TCP, UDP, Packet, number
from tests.conftest import unavailable

# As many as an output by six bits of a field can name.
PORTS = 63
TABLES = 6
FIXED, FRESH, PACKETS = 14, 3, 8
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.1.1", "192.168.7.9")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02", "0a:58:00:00:01:07")
PORT_NUMBERS = (53, 80, 443, 8080, 40000)
SLICES = (
    "NXM_NX_REG0", "NXM_NX_REG1", "NXM_NX_REG2", "NXM_NX_REG3", "OXM_OF_METADATA", "NXM_NX_XXREG0", "OXM_OF_PKT_REG1",
    "NXM_OF_ETH_SRC", "NXM_OF_ETH_DST", "NXM_OF_IP_SRC", "NXM_OF_IP_DST", "NXM_NX_TUN_ID", "NXM_NX_PKT_MARK",
)  # fmt: skip
WIDTHS = {
    "NXM_NX_REG0": 32, "NXM_NX_REG1": 32, "NXM_NX_REG2": 32, "NXM_NX_REG3": 32, "OXM_OF_METADATA": 64,
    "NXM_NX_XXREG0": 128, "OXM_OF_PKT_REG1": 64, "NXM_OF_ETH_SRC": 48, "NXM_OF_ETH_DST": 48, "NXM_OF_IP_SRC": 32,
    "NXM_OF_IP_DST": 32, "NXM_NX_TUN_ID": 64, "NXM_NX_PKT_MARK": 32,
}  # fmt: skip


@dataclass
class Switch:
    """Open vSwitch with a bridge of ports that lead nowhere, all its files in a folder of its own."""

    folder: Path

    def run(self, *command: str, stdin: str = "") -> str:
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")
        env = {**os.environ, **dict.fromkeys(names, str(self.folder))}
        # What stays in the background would hold a pipe open.
        out = self.folder / "out"
        with out.open("w") as file:
            done = subprocess.run(command, input=stdin, text=True, stdout=file, stderr=file, env=env, check=False)
        said = out.read_text()
        assert not done.returncode, (command, said)
        return said

    def up(self) -> None:
        schema = "/usr/share/openvswitch/vswitch.ovsschema"
        self.run("ovsdb-tool", "create", str(self.folder / "conf.db"), schema)
        quiet = ("--detach", "--no-chdir", "--pidfile", "-vconsole:off")
        self.run("ovsdb-server", *quiet, f"--remote=punix:{self.folder}/db.sock", str(self.folder / "conf.db"))
        self.run("ovs-vsctl", "--no-wait", "init")
        self.run("ovs-vswitchd", *quiet, "--enable-dummy=override", "--disable-system", f"unix:{self.folder}/db.sock")
        ports = (
            f"-- add-port br0 p{n} -- set Interface p{n} type=dummy ofport_request={n}" for n in range(1, 1 + PORTS)
        )
        patch = "-- add-port br0 to1 -- set Interface to1 type=patch options:peer=to0 ofport_request=70 "
        patch += "-- add-port br1 to0 -- set Interface to0 type=patch options:peer=to1 ofport_request=70"
        self.run("ovs-vsctl", *f"add-br br0 -- add-br br1 {' '.join(ports)} {patch}".split())

    def down(self) -> None:
        for file in self.folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    def load(self, flows: list[str], groups: list[str], bridge: str = "br0") -> None:
        self.run("ovs-ofctl", "-O", "OpenFlow15", "del-flows", bridge)
        self.run("ovs-ofctl", "-O", "OpenFlow15", "del-groups", bridge)
        self.run("ovs-ofctl", "-O", "OpenFlow15", "add-groups", bridge, "-", stdin="\n".join(groups))
        self.run("ovs-ofctl", "-O", "OpenFlow15", "add-flows", bridge, "-", stdin="\n".join(flows))

    def read(self, bridge: str = "br0") -> Bridge:
        flows = self.run("ovs-ofctl", "--no-stats", "--no-names", "-O", "OpenFlow10,OpenFlow15", "dump-flows", bridge)
        groups = self.run("ovs-ofctl", "-O", "OpenFlow15", "dump-groups", bridge)
        ports = {n: Port(f"p{n}", n) for n in range(1, 1 + PORTS)} if bridge == "br0" else {}
        own, far = ("to1", "to0") if bridge == "br0" else ("to0", "to1")
        ports[70] = Port(own, 70, "patch", {"peer": far})
        return Bridge(bridge, openflow.tables(flows), openflow.groups(groups), ports, {}, "flows", "groups")

    def numbers(self) -> dict[str, int]:
        """Give the ports by the numbers that the datapath gave them."""
        found = re.findall(r"^\s+p(\d+) \d+/(\d+):", self.run("ovs-appctl", "dpif/show"), re.MULTILINE)
        return {datapath: int(own) for own, datapath in found}

    def trace(self, flow: str) -> str:
        return self.run("ovs-appctl", "ofproto/trace", "br0", flow)


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    for tool in ("ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")
    with tempfile.TemporaryDirectory(prefix="nio") as folder:
        made = Switch(Path(folder))
        try:
            made.up()
            yield made
        finally:
            made.down()


def real(switch: Switch, flow: str, numbers: dict[str, int]) -> list[int]:
    """Give the ports by which Open vSwitch itself says that a packet leaves."""
    said = switch.trace(flow)
    read = re.findall(r"^Datapath actions: (.*)$", said, re.MULTILINE)
    assert len(read) == 1, said
    return [numbers[n] for n in outputs(read[0]) if n in numbers]


def outputs(said: str) -> Iterator[str]:
    """Give the ports among the datapath's actions, also those in a clone()."""
    for piece in openflow.pieces(said):
        if piece.startswith("clone("):
            yield from outputs(piece[len("clone(") : -1])
        elif piece.isdecimal():
            yield piece


def simulated(way: Way) -> list[int]:
    return [out.port.number for out in way.outs]


class Maker:
    """Makes flows and packets that meet each other often."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - nothing here is a secret

    def slice(self, kind: str, most: int = 32) -> tuple[str, int]:
        name = self.rng.choice([n for n in SLICES if kind or "_IP_" not in n])
        bits = self.rng.randint(1, min(most, WIDTHS[name]))
        low = self.rng.randint(0, WIDTHS[name] - bits)
        return f"{name}[{low}..{low + bits - 1}]", bits

    def match(self, kind: str) -> str:
        rng = self.rng
        words = [kind] if kind else []
        choices = [
            f"in_port={rng.randint(1, 3)}", f"reg{rng.randint(0, 3)}={rng.randint(0, 3):#x}/0x3",
            f"metadata={rng.randint(0, 1):#x}/0x1", f"dl_dst={rng.choice(MACS)}",
            "dl_src=02:00:00:00:00:00/ff:ff:ff:ff:ff:f8", f"xreg0={rng.randint(0, 1):#x}/0x1",
            f"xxreg0={rng.randint(0, 1) << 96:#x}/{1 << 96:#x}", "vlan_tci=0x0000/0x1fff", "ct_state=-trk",
            "tun_id=0/0x1", "pkt_mark=0/0x1",
        ]  # fmt: skip
        if kind:
            choices += [
                f"nw_src={rng.choice(ADDRESSES)}", "nw_dst=10.0.0.0/24", f"nw_dst={rng.choice(ADDRESSES)}",
                "nw_tos=0", "nw_frag=no", "nw_ttl=64",
            ]  # fmt: skip
        if kind in ("tcp", "udp"):
            choices += [f"tp_dst={rng.choice(PORT_NUMBERS)}", "tp_dst=0x0050/0xfff0", f"tp_src={PORT_NUMBERS[-1]}"]
        if kind == "tcp":
            choices += ["tcp_flags=+syn-ack", "tcp_flags=+ack"]
        if kind == "icmp":
            choices += ["icmp_type=8", "icmp_type=0"]
        words += rng.sample(choices, rng.randint(0, 2))
        # One word for each field.
        found = {re.split(r"[=/]", w)[0]: w for w in words}
        return ",".join(found.values())

    def action(self, table: int, kind: str, *, nested: bool = False) -> str:
        rng = self.rng
        later = rng.randint(table + 1, TABLES)
        source, bits = self.slice(kind)
        target = self.of_width(bits, kind)
        choices = [
            f"output:{rng.randint(1, PORTS)}", f"output:{self.slice(kind, 6)[0]}", f"move:{source}->{target}",
            f"load:{rng.getrandbits(bits):#x}->{target}", f"set_field:{rng.choice(MACS)}->eth_dst",
            f"set_field:{rng.randint(0, 63):#x}/0x3f->reg{rng.randint(0, 3)}", "IN_PORT", "output:70",
            f"set_field:{rng.randint(0, 9)}->metadata", f"push:{source},pop:{target}",
            f"set_field:{rng.getrandbits(70):#x}->xxreg0",
            f"set_field:{rng.choice((1, 2, 3))}->in_port",
        ]  # fmt: skip
        if kind:
            choices += [f"set_field:{rng.choice(ADDRESSES)}->ip_dst", "dec_ttl", f"mod_nw_src:{rng.choice(ADDRESSES)}"]
        if kind in ("tcp", "udp"):
            choices.append(f"set_field:{rng.choice(PORT_NUMBERS)}->{kind}_dst")
        # A test of a table's end would never be reached by what leads on from everywhere.
        choices += [f"resubmit(,{later})", f"resubmit({rng.randint(1, 3)},{later})"] * 3
        if not nested:
            choices += [f"clone({self.actions(table, kind, nested=True)})", f"group:{rng.randint(1, 3)}"]
        return rng.choice(choices)

    def of_width(self, bits: int, kind: str) -> str:
        name = self.rng.choice([n for n in SLICES if WIDTHS[n] >= bits and (kind or "_IP_" not in n)])
        low = self.rng.randint(0, WIDTHS[name] - bits)
        return f"{name}[{low}..{low + bits - 1}]"

    def actions(self, table: int, kind: str, *, nested: bool = False) -> str:
        does = [self.action(table, kind, nested=nested) for _ in range(self.rng.randint(1, 4))]
        if not nested and self.rng.random() < 0.2:
            # Instructions of OpenFlow 1.1, which come last.
            does.append(
                f"write_metadata:{self.rng.randint(0, 9):#x}/0x7,goto_table:{self.rng.randint(table + 1, TABLES)}"
            )
        return ",".join(does)

    def flows(self) -> list[str]:
        made = []
        for table in range(TABLES):
            priorities = self.rng.sample(range(2, 60), 7)
            for priority in priorities:
                kind = self.rng.choice(("", "ip", "tcp", "tcp", "udp", "icmp", "ip"))
                does = "drop" if self.rng.random() < 0.1 else self.actions(table, kind)
                made.append(f"table={table},priority={priority},{self.match(kind)},actions={does}".replace(",,", ","))
            made += self.conjunction(table, self.rng.randint(60, 80))
            # Priority 1 leads on, so that later tables are met.
            made.append(f"table={table},priority=1,actions=output:{self.rng.randint(1, PORTS)},resubmit(,{table + 1})")
        made.append(f"table={TABLES},ip,actions=output:NXM_NX_REG0[0..5],output:NXM_OF_IP_DST[0..5]")
        return made

    def conjunction(self, table: int, priority: int) -> list[str]:
        rng = self.rng
        name = table + 1
        clauses = [
            [f"ip,nw_src={a}" for a in rng.sample(ADDRESSES, 2)],
            [f"ip,nw_dst={a}" for a in rng.sample(ADDRESSES, 3)],
        ]
        if rng.random() < 0.5:
            clauses.append([f"tcp,tp_dst={p}" for p in rng.sample(PORT_NUMBERS, 3)])
        made = [
            f"table={table},priority={priority},{match},actions=conjunction({name},{place}/{len(clauses)})"
            for place, matches in enumerate(clauses, 1) for match in matches
        ]  # fmt: skip
        return [*made, f"table={table},priority={priority},ip,conj_id={name},actions={self.actions(table, 'ip')}"]

    def groups(self) -> list[str]:
        first, second, only = (self.rng.randint(1, PORTS) for _ in range(3))
        change = f"set_field:{self.rng.randint(0, 63)}->reg0"
        return [
            f"group_id=1,type=all,bucket=actions={change},output:{first},bucket=actions=output:{second}",
            f"group_id=2,type=indirect,bucket=actions={change},output:{only},resubmit(,{TABLES})",
            "group_id=3,type=select,selection_method=hash,fields(ip_src)"
            f",bucket=weight:1,actions=output:{first},bucket=weight:0,actions=output:{second}",
        ]

    def packet(self) -> Packet:
        rng = self.rng
        protocol = rng.choice((TCP, TCP, UDP, ICMP))
        src, dst = (number(rng.choice(ADDRESSES))[1] for _ in range(2))
        sport, dport = (0, 0) if protocol == ICMP else (PORT_NUMBERS[-1], rng.choice(PORT_NUMBERS))
        return Packet(
            family=4, src=src, dst=dst, protocol=protocol, smac=rng.choice(MACS), dmac=rng.choice(MACS),
            type=8 if protocol == ICMP else 0, flags=rng.choice((0x02, 0x12, 0x10)) if protocol == TCP else 0,
            ttl=rng.choice((64, 64, 64, 3)), tos=rng.choice((0, 32)), mark=rng.choice((0, 0, 5)), sport=sport,
            dport=dport,
        )  # fmt: skip


def test_random_flows_lead_where_ofproto_trace_says(switch: Switch) -> None:
    fresh = secrets.token_hex(4)
    print("fresh seed:", fresh)
    numbers = switch.numbers()
    assert len(numbers) == PORTS
    wrong, left, asked, unknown = [], 0, 0, []
    for seed in (*(f"fixed.{n}" for n in range(FIXED)), *(f"{fresh}.{n}" for n in range(FRESH))):
        maker = Maker(seed)
        switch.load(maker.flows(), maker.groups())
        switch.load([f"priority=1,actions=output:70,resubmit(,{TABLES})"], [], "br1")
        bridges = {name: switch.read(name) for name in ("br0", "br1")}
        for n in range(PACKETS):
            frame = of_packet(maker.rng.randint(1, 3), maker.packet())
            frame.unknown.clear()
            (way,) = ways(bridges, bridges["br0"], frame, {})
            asked += 1
            if way.unknown:
                unknown.append(way.unknown)
                continue
            expected = real(switch, frame.as_flow(), numbers)
            left += len(expected)
            if simulated(way) != expected:
                wrong.append((seed, n, frame.as_flow(), expected, simulated(way)))
    print(asked, "packets,", left, "outputs,", len(unknown), "unknown", sorted(set(unknown)))
    assert not wrong, wrong[:3]
    assert len(unknown) < asked / 4, unknown
    assert left > asked


GROUPS = """OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):
 group_id=4,type=ff,bucket=bucket_id:0,watch_port:3,actions=output:3
 group_id=5,type=select,bucket=bucket_id:0,weight:100,actions=output:1,bucket=bucket_id:1,weight:300,actions=output:2
"""
PACKET = Packet(family=4, src=1, dst=2, protocol=TCP, sport=40000, dport=80, flags=0x02, smac=MACS[0], dmac=MACS[1])


def through(flows: str, packet: Packet = PACKET, groups: str = GROUPS) -> list[Way]:
    """Take a packet that comes in by port 9 through flows."""
    ports = {n: Port(f"p{n}", n) for n in (1, 2, 3, 9)}
    bridge = Bridge("br0", openflow.tables(flows), openflow.groups(groups), ports, {}, "flows", "groups")
    return ways({"br0": bridge}, bridge, of_packet(9, packet), {})


@pytest.mark.parametrize(
    ("flows", "because"),
    [
        ("priority=5,tcp,tp_src=7 actions=output:1\n priority=1 actions=output:2", "tp_src is not known"),
        ("priority=5,dl_dst=02:00:00:00:00:02 actions=output:1\n priority=1 actions=drop", "eth_dst is not known"),
        ("priority=5,tcp,nsh_c1=1 actions=output:1\n priority=1 actions=drop", "nsh_c1=1 is not modelled"),
        ("priority=5 actions=meter:3,output:1", "meter"),
        ("priority=5 actions=learn(table=1),output:1", "learn"),
        ("priority=5 actions=exit", "exit"),
        ("priority=5 actions=controller(reason=no_match)", "its controller gets it"),
        ("priority=5 actions=controller(userdata=00.0b,pause),output:1", "decides"),
        ("priority=5 actions=group:4", "ff with watch_port"),
        ("priority=5 actions=group:6", "cannot be read"),
        ("priority=5 actions=ct(commit,table=1,nat(src=10.0.0.1-10.0.0.9))", "nat(src=10.0.0.1-10.0.0.9)"),
        ("priority=5 actions=ct(table=1,force)", "force"),
        ("priority=5 actions=output:77", "no port 77"),
        ("priority=5,tcp actions=output:1\n priority=5,ip actions=output:2", "two flows"),
        ("priority=5 actions=resubmit(,0)", "too often"),
        ("priority=5 actions=NORMAL", "hardware address"),
        ("priority=5 actions=set_field:9->no_such_field,output:1", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_not_modelled_is_unknown_and_says_why(flows: str, because: str) -> None:
    unsure = structs.replace(PACKET, loose=frozenset({"sport"}), dmac="")
    (way,) = through(flows, unsure)
    assert because in way.unknown


def test_what_is_not_modelled_decides_nothing_where_it_cannot_match() -> None:
    flows = (
        "priority=9,udp,nsh_c1=1 actions=meter:3\n priority=5,tcp actions=output:1\n priority=1 actions=learn(table=1)"
    )
    (way,) = through(flows)
    assert [out.port.number for out in way.outs] == [1]
    assert not way.unknown


def test_what_a_flow_of_a_higher_priority_has_decided_nobody_asks_of_a_lower() -> None:
    (way,) = through("priority=9,tcp actions=output:1\n priority=5,tcp,nsh_c1=1 actions=output:2")
    assert [out.port.number for out in way.outs] == [1]


def test_a_group_that_selects_forks_by_its_weights() -> None:
    found = through("priority=5 actions=group:5")
    assert [(way.outs[0].port.number, way.probability) for way in found] == [(1, 0.25), (2, 0.75)]


def test_tables_that_have_names_are_refused() -> None:
    with pytest.raises(ValueError, match="Classifier"):
        openflow.tables("table=Classifier, priority=5 actions=drop")


def test_what_another_bridge_does_is_not_guessed_where_it_was_not_read() -> None:
    tables = openflow.tables("priority=1 actions=output:70")
    near = Bridge("br0", tables, {}, {70: Port("to1", 70, "patch", {"peer": "to0"})}, {}, "flows", "groups")
    far = Bridge("br1", {}, {}, {70: Port("to0", 70, "patch", {"peer": "to1"})}, {}, "", "", "br1 is dark")
    (way,) = ways({"br0": near, "br1": far}, near, of_packet(9, PACKET), {})
    assert way.unknown == "br1 is dark"
