"""Real packets through flows of Antrea's kind: Services by groups, policies by conjunctions, one zone of tracking."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question
from netinspect.analysis.trace import Tracer
from netinspect.model.packet import number
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival
from tests import build
from tests.cni import switches
from tests.cni.switches import CLOSED_PORT, OTHER_PORT, PORT, Pod, Switches
from tests.cni.test_ovn import told

GATEWAY, GATEWAY_MAC = "10.10.0.1", "02:00:00:00:0a:01"
PODS = tuple(
    Pod(name, "n1", f"10.10.0.{last}", f"0a:00:00:00:00:0{last}", GATEWAY)
    for last, name in enumerate(("web", "client", "other", "db"), 5)
)
SERVICE, STICKY = "10.96.0.10", "10.96.0.11"
# Which port of the bridge is whose: its own numbers say so, and registers carry them.
_GATEWAY_PORT = 2
_PORTS = {pod.name: port for port, pod in enumerate(PODS, 10)}
_MARK = "set_field:0x10/0x10->ct_mark"

# The tables, in the order of antrea-io/antrea docs/design/ovs-pipeline.md: classifier, ARP, spoof guard, tracking,
# Services, endpoints, routing, the port it leaves by, ingress policy, commit, output.
PIPELINE = [
    "table=0,priority=200,arp,actions=resubmit(,1)",
    f"table=0,priority=200,ip,in_port={_GATEWAY_PORT},actions=set_field:0x2/0xf->reg0,resubmit(,10)",
    "table=0,priority=190,ip,actions=set_field:0x3/0xf->reg0,goto_table:5",
    "table=1,priority=190,arp,actions=NORMAL",
    *(f"table=5,priority=200,ip,in_port={_PORTS[p.name]},dl_src={p.mac},nw_src={p.address},actions=goto_table:10"
      for p in PODS),
    "table=10,priority=200,ip,actions=ct(table=11,zone=65520,nat)",
    "table=11,priority=200,ct_state=+inv+trk,ip,actions=drop",
    "table=11,priority=190,ct_state=-new+trk,ct_mark=0x10/0x10,ip,actions=set_field:0x200/0x200->reg0,goto_table:30",
    "table=11,priority=190,ct_state=-new+trk,ct_mark=0/0x10,ip,actions=goto_table:30",
    "table=11,priority=0,actions=goto_table:20",
    f"table=20,priority=200,tcp,nw_dst={SERVICE},tp_dst=80,actions=set_field:0x200/0x200->reg0,group:9",
    f"table=20,priority=200,tcp,nw_dst={STICKY},tp_dst=80,"
    "actions=learn(table=20,hard_timeout=10,eth_type=0x800,NXM_OF_IP_SRC[],load:0x1->NXM_NX_REG4[0]),group:9",
    "table=20,priority=0,actions=goto_table:30",
    *(f"table=21,priority=200,tcp,reg3={number(p.address)[1]:#x},reg4={PORT:#x}/0xffff,"
      f"actions=ct(commit,table=30,zone=65520,nat(dst={p.address}:{PORT}),exec({_MARK}))" for p in PODS),
    *(f"table=30,priority=200,ip,reg0=0x200/0x200,nw_dst={p.address},"
      f"actions=set_field:{GATEWAY_MAC}->eth_src,set_field:{p.mac}->eth_dst,dec_ttl,goto_table:35" for p in PODS),
    "table=30,priority=0,actions=goto_table:35",
    *(f"table=35,priority=200,dl_dst={p.mac},actions=set_field:{_PORTS[p.name]}->reg1,goto_table:40" for p in PODS),
    f"table=35,priority=200,dl_dst={GATEWAY_MAC},actions=set_field:{_GATEWAY_PORT}->reg1,goto_table:40",
    "table=40,priority=210,ct_state=-new+est+trk,ip,actions=goto_table:50",
    "table=40,priority=210,ip,reg0=0x2/0xf,actions=goto_table:50",
    f"table=40,priority=200,ip,nw_src={PODS[1].address},actions=conjunction(7,1/3)",
    f"table=40,priority=200,ip,nw_src={PODS[0].address},actions=conjunction(7,1/3),conjunction(8,1/2)",
    f"table=40,priority=200,ip,reg1={_PORTS['web']},actions=conjunction(7,2/3)",
    f"table=40,priority=200,ip,reg1={_PORTS['db']},actions=conjunction(8,2/2)",
    f"table=40,priority=200,tcp,tp_dst={PORT},actions=conjunction(7,3/3)",
    f"table=40,priority=200,tcp,tp_dst={CLOSED_PORT},actions=conjunction(7,3/3)",
    "table=40,priority=200,ip,conj_id=7,actions=ct(commit,table=50,zone=65520,exec(set_field:0x7/0xffffffff->ct_label))",
    "table=40,priority=200,ip,conj_id=8,actions=goto_table:50",
    f"table=40,priority=100,ip,reg1={_PORTS['web']},actions=drop",
    f"table=40,priority=100,ip,reg1={_PORTS['db']},actions=drop",
    "table=40,priority=0,actions=goto_table:50",
    "table=50,priority=200,ct_state=+new+trk,ct_label=0/0xffffffff,ip,"
    "actions=ct(commit,table=60,zone=65520,exec(move:NXM_NX_REG0[0..3]->NXM_NX_CT_MARK[0..3]))",
    "table=50,priority=0,actions=goto_table:60",
    f"table=60,priority=210,reg1={_GATEWAY_PORT},in_port={_GATEWAY_PORT},actions=IN_PORT",
    "table=60,priority=200,ip,actions=output:NXM_NX_REG1[]",
]  # fmt: skip
GROUP = "group_id=9,type=select," + ",".join(
    f"bucket=weight:100,actions=set_field:0x0a0a000{n:x}->reg3,set_field:{PORT:#x}/0xffff->reg4,resubmit(,21)"
    for n in (5, 8)
)
ASKED = [
    *((s, p.address, port) for s in ("web", "client", "other", "n1") for p in PODS
      for port in (PORT, OTHER_PORT, CLOSED_PORT) if p.name != s),
    *((s, SERVICE, 80) for s in ("client", "other", "web")),
    *((s, GATEWAY, PORT) for s in ("client", "db")),
]  # fmt: skip

# Who has the choice of backends, of which it may not reach all; others reach none.
SEVERAL = {(source, SERVICE) for source in ("client", "web")}


@dataclass
class Antrea(Switches):
    """One node with four pods."""

    nodes: tuple[str, ...] = ("n1",)
    pods: tuple[Pod, ...] = PODS

    def up(self) -> None:
        """Build it, and load the flows."""
        self.namespaces()
        self.switch("n1")
        self.vsctl("n1", "add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev", "--", "add-port",
                   "br-int", "antrea-gw0", "--", "set", "Interface", "antrea-gw0", "type=internal",
                   f"ofport_request={_GATEWAY_PORT}", f'mac="{GATEWAY_MAC}"')  # fmt: skip
        self.run("ip", "addr", "add", f"{GATEWAY}/24", "dev", "antrea-gw0", ns="n1")
        self.run("ip", "link", "set", "antrea-gw0", "up", ns="n1")
        for pod in PODS:
            self.plug(pod)
            self.vsctl("n1", "set", "Interface", f"{pod.name}-h", f"ofport_request={_PORTS[pod.name]}")
        for what, lines in (("del-flows", []), ("add-groups", [GROUP]), ("add-flows", PIPELINE)):
            given = ("-",) if lines else ()
            self.run("ovs-ofctl", "-O", "OpenFlow15", what, "br-int", *given, at="n1", stdin="\n".join(lines).encode())

    def snapshot(self) -> Snapshot:
        """Read it all, with what the API would say."""
        snapshot = build.snapshot(
            nodes=[build.node("n1", "192.0.2.1", cidrs=("10.10.0.0/24",))],
            pods=[build.pod(p.name, p.address, on=p.node) for p in PODS],
        )
        return structs.replace(snapshot, kernels=self.read())


@dataclass(frozen=True)
class Seen:
    """The node before any packet, and after all of them, and what came of each."""

    cold: Snapshot
    warm: Snapshot
    results: dict[tuple[str, str, int], set[str]]


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    switches.needs()
    with switches.running(Antrea) as node:
        cold = node.snapshot()
        with ThreadPoolExecutor(12) as pool:
            asked = pool.map(lambda one: node.results(*one, several=one[:2] in SEVERAL), ASKED)
            results = dict(zip(ASKED, asked, strict=True))
        yield Seen(cold, node.snapshot(), results)


def place(name: str) -> str:
    return f"node/{name}" if name == "n1" else f"shop/{name}"


@pytest.mark.parametrize("when", ["cold", "warm"])
def test_every_connection_goes_as_trace_says(seen: Seen, when: str) -> None:
    tracer = Tracer(getattr(seen, when))
    wrong = []
    for (source, address, port), results in seen.results.items():
        found = tracer.trace(Question(place(source), address, port=port))
        if told(found) != results:
            ends = [(leg.name, leg.place, leg.reason) for way in found.ways for leg in way.legs]
            wrong.append((source, address, port, results, told(found), ends))
    assert not wrong, wrong


def test_flows_that_learn_are_not_guessed(seen: Seen) -> None:
    found = Tracer(seen.warm).trace(Question("shop/client", STICKY, port=80))
    assert found.arrival is Arrival.UNKNOWN
    assert "learn" in str(found)
