"""A bridge of Open vSwitch, and which flow of a table a frame meets there.

Sources: openvswitch/ovs lib/classifier.c (conjunctive matches), lib/ovs-actions.xml (the conjunction action).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from netinspect.cni.openflow import PLACES, Flow, Group, Table
from netinspect.cni.openflow_frame import Frame


@dataclass(frozen=True)
class Port:
    """A port of a bridge; ``kind`` is its interface's type, empty for a device of the system."""

    name: str
    number: int
    kind: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    tagged: bool = False


@dataclass(frozen=True)
class Bridge:
    """A bridge with what was read of it, and the sections in which flows and groups stand.

    ``dark`` says why nobody can tell what it does, where nobody can.
    """

    name: str
    tables: Mapping[int, Table]
    groups: Mapping[int, Group]
    ports: Mapping[int, Port]
    learned: Mapping[tuple[int, int], int]
    flows_section: str
    groups_section: str
    dark: str = ""


class Undecided(Exception):
    """Which flow matches hangs on what is not modelled, or on what nobody knows; ``flow`` is the one that may."""

    def __init__(self, why: str, flow: Flow | None = None) -> None:
        super().__init__(why)
        self.flow = flow


def find(bridge: Bridge, table: int, frame: Frame) -> Flow | None:
    """Find the flow that matches, of the highest priority; raises ``Undecided``.

    Flows that say but ``conjunction`` are clauses: where all of one are met, the frame is looked up with its number.
    """
    clauses: dict[int, list[Flow]] = {}
    hard: Flow | None = None
    for flow in _flows(bridge, table, frame):
        if hard is not None and flow.priority < hard.priority:
            break
        if not _fits(frame, flow):
            continue
        if _is_clause(flow):
            clauses.setdefault(flow.priority, []).append(flow)
        elif hard is None:
            hard = flow
        elif flow.actions != hard.actions:
            raise Undecided(f"two flows match with priority {flow.priority}", flow)
    for priority in sorted(clauses, reverse=True):
        if hard is not None and priority <= hard.priority:
            break
        for name in _whole(clauses[priority]):
            numbered = frame.copy()
            numbered.put(PLACES["conj_id"], name)
            met = (f for f in _flows(bridge, table, frame) if _fits(numbered, f) and not _is_clause(f))
            found = next(met, None)
            if found is not None:
                return found
    return hard


def _flows(bridge: Bridge, table: int, frame: Frame) -> Iterator[Flow]:
    """Give the flows that may match, those of the highest priority first."""
    if frame.dark(PLACES["metadata"]):
        raise Undecided("its metadata is not known")
    flows = bridge.tables.get(table)
    return flows.flows(frame.get(PLACES["metadata"])) if flows is not None else iter(())


def _fits(frame: Frame, flow: Flow) -> bool:
    fits = frame.fits(flow.match)
    if fits is None:
        dark = next((b for b, _, mask in flow.match.asked if mask & frame.unknown.get(b, 0)), "")
        strange = ", ".join(flow.match.strange)
        said = f"{strange} is not modelled" if strange else f"its {dark} is not known"
        raise Undecided(f"a flow may match, and {said}", flow)
    return fits


def _is_clause(flow: Flow) -> bool:
    return any(a.name == "conjunction" for a in flow.actions)


def _whole(clauses: list[Flow]) -> Iterator[int]:
    """Give the conjunctions of which every clause is among flows."""
    found: dict[int, tuple[int, set[int]]] = {}
    for flow in clauses:
        for action in flow.actions:
            if action.name == "conjunction":
                name, _, clause = action.said.partition(",")
                which, _, of = clause.partition("/")
                found.setdefault(int(name, 0), (int(of), set()))[1].add(int(which))
    return (name for name, (of, those) in sorted(found.items()) if len(those) == of)
