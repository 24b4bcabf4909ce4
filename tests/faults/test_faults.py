"""Each fault is put into a real lab: the trace says what packets meet, where they end, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import unavailable
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.judge import Row, fits, judge, remember, table
from tests.faults.labs import FAULTY, agents
from tests.lab import cluster
from tests.lab.errors import LabError
from tests.lab.settings import Settings

EXACT = 0.95
MANY = 60
# `make faults` asks `netinspect check` of every fault; one in so many is enough to see that it still knows them.
CHECKED = 4
FIRST = 0.9
ROWS: list[Row] = []
FLANNEL, BRIDGE = FAULTY


def one_lab(place: int, fault: Fault) -> Settings:
    """Choose the lab for a fault: what fits several goes to each in turn; ``make faults`` tries all."""
    fitting = [lab for lab in FAULTY if fits(fault, lab)]
    return fitting[place % len(fitting)]


def for_lab(lab: Settings) -> pytest.MarkDecorator:
    """Parametrize a test with the faults that are put into a lab."""
    mine = [fault for place, fault in enumerate(FAULTS) if one_lab(place, fault) == lab]
    return pytest.mark.parametrize("fault", mine, ids=[fault.name for fault in mine])


def running(settings: Settings) -> Iterator[Settings]:
    """Give a lab with an agent on each node, for as long as its faults last."""
    try:
        cluster.check_machine()
    except LabError as error:
        unavailable(f"the lab cannot run here: {error}")
    cluster.up(settings, print)
    try:
        agents(settings)
        remember(settings)
        yield settings
    finally:
        if os.environ.get("NETINSPECT_KEEP_LAB") != "1":
            cluster.down(settings.name, lambda _: None)


def is_named(lab: Settings, fault: Fault) -> None:
    check = FAULTS.index(fault) % CHECKED == 0
    row = judge(lab, fault, check=check)
    if row.judged.startswith("wrong"):
        # A busy machine and the neighbours' timers may make one try another than the rest: what is wrong is so twice.
        row = judge(lab, fault, check=check)
    ROWS.append(row)
    assert not row.judged.startswith("wrong"), row


@pytest.fixture(scope="class")
def flannel_lab() -> Iterator[Settings]:
    yield from running(FLANNEL)


@pytest.fixture(scope="class")
def bridge_lab() -> Iterator[Settings]:
    yield from running(BRIDGE)


class TestWithFlannel:
    """A class, so that its lab is taken down before the next is made."""

    @for_lab(FLANNEL)
    def test_a_fault_is_named(self, flannel_lab: Settings, fault: Fault) -> None:
        is_named(flannel_lab, fault)


class TestWithABridge:
    @for_lab(BRIDGE)
    def test_a_fault_is_named(self, bridge_lab: Settings, fault: Fault) -> None:
        is_named(bridge_lab, fault)


def test_nearly_all_are_named_exactly() -> None:
    assert len({f.name for f in FAULTS}) >= MANY
    if ROWS:
        print(table(ROWS))
        assert sum(r.judged == "exact" for r in ROWS) >= EXACT * len(ROWS)


def test_check_names_the_cause_first() -> None:
    asked = [r for r in ROWS if r.checked]
    if asked:
        others = [f"{r.fault}: {r.checked}" for r in asked if r.checked not in ("first", "quiet")]
        assert len(others) <= (1 - FIRST) * len(asked), "\n".join(others)
