"""Real packets through a real OVN, and what `trace` says of each by the flows that OVN wrote."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question
from netinspect.analysis.trace import Tracer
from netinspect.model.evidence import Section
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Trace
from tests.cni import ovn, switches

RESULTS = {Arrival.REFUSED: "refused", Arrival.UNREACHABLE: "unreachable", Arrival.LOST: "timeout"}
# Nobody has this address of a node's range, so that nobody answers for it.
NOBODY = "10.244.1.77"
ASKED = [
    *((s, p.address, port) for s in ("client", "web", "other", "n1", "n2") for p in ovn.PODS
      for port in (switches.PORT, switches.CLOSED_PORT) if p.name != s),
    *((s, "10.244.1.5", switches.OTHER_PORT) for s in ("client", "web", "other")),
    *((s, address, 80) for s in ("client", "other") for address in (ovn.SERVICE, ovn.EMPTY_SERVICE)),
    *((s, address, switches.PORT) for s in ("client", "db") for address in (*ovn.NODES.values(), NOBODY)),
    ("n1", "172.31.0.2", switches.PORT), *((s, ovn.OUTSIDE[1], switches.PORT) for s in ("client", "db", "n1", "n2")),
    *(("ext", address, port) for address in ovn.NODES.values() for port in (switches.PORT, switches.CLOSED_PORT)),
]  # fmt: skip
PINGED = [
    *((s, a) for s in ("client", "other", "n1")
      for a in (*(p.address for p in ovn.PODS), "10.244.0.1", *ovn.NODES.values(), ovn.OUTSIDE[1])),
    *(("ext", a) for a in ovn.NODES.values()),
]  # fmt: skip
# What nobody can know: who has an address beyond what was read, and before any packet, whom OVN's controller will find
# for the next hop of a gateway.
UNKNOWN = {"warm": {(s, NOBODY, switches.PORT) for s in ("client", "db")}}
UNKNOWN["cold"] = UNKNOWN["warm"] | {("client", a, switches.PORT) for a in (ovn.NODES["n2"], ovn.OUTSIDE[1])}


@dataclass(frozen=True)
class Seen:
    """The nodes as they were before any packet, and after all of them, and what came of each."""

    nodes: ovn.Ovn
    cold: Snapshot
    warm: Snapshot
    results: dict[tuple[str, str, int], set[str]]
    pings: dict[tuple[str, str], bool]


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    switches.needs(*ovn.TOOLS)
    with switches.running(ovn.Ovn) as nodes:
        cold = nodes.snapshot()
        with ThreadPoolExecutor(12) as pool:
            results = dict(
                zip(ASKED, pool.map(lambda one: nodes.results(*one, several=one[1] == ovn.SERVICE), ASKED), strict=True)
            )
            pings = dict(zip(PINGED, pool.map(lambda one: nodes.ping(*one), PINGED), strict=True))
        yield Seen(nodes, cold, nodes.snapshot(), results, pings)


def place(name: str) -> str:
    return f"node/{name}" if name in (*ovn.NODES, ovn.OUTSIDE[0]) else f"shop/{name}"


def traced(tracer: Tracer, one: tuple[str, str, int]) -> Trace:
    source, address, port = one
    return tracer.trace(Question(place(source), address, port=port))


def told(found: Trace) -> set[str]:
    """Give what a trace says that a connection meets: who answers, or how it fails."""
    said = set()
    for way in found.ways:
        taker = way.backend.partition(" ")[0].rpartition("/")[2]
        said.add(taker if way.arrival is Arrival.ARRIVES else RESULTS.get(way.arrival, way.arrival.value))
    return said


@pytest.mark.parametrize("when", ["cold", "warm"])
def test_every_connection_goes_as_trace_says(seen: Seen, when: str) -> None:
    tracer = Tracer(getattr(seen, when))
    wrong, unknown = [], []
    for one, results in seen.results.items():
        found = traced(tracer, one)
        said = told(found)
        if "unknown" in said:
            unknown.append(one)
        elif said != results:
            ends = [(leg.name, leg.place, leg.reason) for way in found.ways for leg in way.legs]
            wrong.append((one, results, said, ends))
    print(len(seen.results), "asked", unknown)
    assert not wrong, wrong
    assert set(unknown) <= UNKNOWN[when]


def test_every_echo_goes_as_trace_says(seen: Seen) -> None:
    tracer = Tracer(seen.warm)
    wrong, unknown = [], []
    for (source, address), answered in seen.pings.items():
        found = tracer.trace(Question(place(source), address, protocol="ICMP"))
        if found.arrival is Arrival.UNKNOWN:
            unknown.append((source, address))
        elif (found.arrival is Arrival.ARRIVES) != answered:
            ends = [(leg.name, leg.place, leg.reason) for way in found.ways for leg in way.legs]
            wrong.append((source, address, answered, found.arrival, ends))
    print(len(seen.pings), "echoes", sum(seen.pings.values()), "answered", unknown)
    assert not wrong, wrong
    # OVN's routers answer for themselves.
    assert set(unknown) <= {*((s, "10.244.0.1") for s in ("client", "other", "n1")), ("client", ovn.NODES["n1"])}


def test_every_step_shows_the_flow_that_it_rests_on(seen: Seen) -> None:
    found = traced(Tracer(seen.warm), ("client", "10.244.1.5", switches.PORT))
    flows = {k.node: k.host.sections["ovs:flows:br-int"].text.split("\n") for k in seen.warm.kernels[:2] if k.host}
    shown = 0
    for hop in (h for way in found.ways for leg in way.legs for h in leg.hops if h.stage == "openflow"):
        assert hop.proof is not None
        if hop.proof.section == "ovs:flows:br-int":
            assert flows[hop.place.removeprefix("node/")][hop.proof.line - 1].strip() == hop.proof.text
            shown += 1
    assert shown > 10


def test_a_policy_that_drops_is_named_by_its_flow(seen: Seen) -> None:
    found = traced(Tracer(seen.warm), ("web", "10.244.1.5", switches.PORT))
    (way,) = found.ways
    proof = way.legs[-1].proof
    assert found.arrival is Arrival.LOST
    assert proof is not None
    assert "actions=drop" in proof.text


def without(snapshot: Snapshot, name: str) -> Snapshot:
    """Leave out a section of all nodes."""
    return changed(snapshot, lambda sections: {k: s for k, s in sections.items() if k != name})


def changed(snapshot: Snapshot, change: Callable[[dict[str, Section]], dict[str, Section]]) -> Snapshot:
    kernels = []
    for kernel in snapshot.kernels:
        host, *pods = kernel.namespaces
        kernels.append(
            structs.replace(kernel, namespaces=(structs.replace(host, sections=change(dict(host.sections))), *pods))
        )
    return structs.replace(snapshot, kernels=tuple(kernels))


@pytest.mark.parametrize("when", ["cold", "warm"])
@pytest.mark.parametrize(
    "section", ["ovs:flows:br-int", "ovs:groups:br-int", "ovs:options:br-int", "ovs:interfaces", "ovs:bridges"]
)
def test_what_was_not_read_is_unknown(seen: Seen, section: str, when: str) -> None:
    """Also that no neighbour is known before any packet is for the switch to answer, and no failure."""
    dark = Tracer(without(getattr(seen, when), section))
    for source in ("client", "n1"):
        found = traced(dark, (source, "10.244.0.5", switches.PORT))
        assert found.arrival is Arrival.UNKNOWN
        assert "ofproto/trace" in str(found)


@pytest.mark.parametrize(("address", "node"), [("10.244.0.5", "n1"), ("10.244.1.5", "n2")])
def test_an_action_that_is_not_modelled_is_unknown_and_what_settles_it_can_be_run(
    seen: Seen, address: str, node: str
) -> None:
    """Before the packet has been through a tunnel, and behind it."""
    port = f"out of {'web' if node == 'n1' else 'db'}-h"
    plain = traced(Tracer(seen.warm), ("client", address, switches.PORT))
    hop = next(h for h in plain.ways[0].legs[0].hops if port in h.text)
    assert hop.proof is not None
    flow = hop.proof.text

    def meter(sections: dict[str, Section]) -> dict[str, Section]:
        one = sections.get("ovs:flows:br-int", Section("none"))
        text = one.text.replace(flow, flow.replace("actions=output:", "actions=meter:7,output:"))
        return {**sections, one.name: structs.replace(one, text=text)}

    found = traced(Tracer(changed(seen.warm, meter)), ("client", address, switches.PORT))
    (way,) = found.ways
    end = way.legs[-1]
    assert found.arrival is Arrival.UNKNOWN
    assert end.proof is not None
    assert "meter:7" in end.proof.text
    said = seen.nodes.run(*shlex.split(end.settles.split("`")[1]), at=node)
    assert "Datapath actions: ct(" in said
    assert flow.partition("actions=")[2] in said.replace(" ", "")
