"""Each fault is put into a real lab: the trace says what packets meet, where they end, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import unavailable
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.judge import Row, fits, judge, table
from tests.faults.labs import FAULTY, agents
from tests.lab import cluster
from tests.lab.errors import LabError
from tests.lab.settings import Settings

EXACT = 0.95
MANY = 60
ROWS: list[Row] = []


def one_lab(place: int, fault: Fault) -> Settings:
    """Choose the lab for a fault: what fits several goes to each in turn; ``make faults`` tries all."""
    fitting = [lab for lab in FAULTY if fits(fault, lab)]
    return fitting[place % len(fitting)]


CASES = sorted(
    ((one_lab(place, fault), fault) for place, fault in enumerate(FAULTS)), key=lambda case: FAULTY.index(case[0])
)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """One lab after the other, with an agent on each node."""
    settings: Settings = request.param
    try:
        cluster.check_machine()
    except LabError as error:
        unavailable(f"the lab cannot run here: {error}")
    cluster.up(settings, print)
    try:
        agents(settings)
        yield settings
    finally:
        if os.environ.get("NETINSPECT_KEEP_LAB") != "1":
            cluster.down(settings.name, lambda _: None)


@pytest.mark.parametrize(
    ("lab", "fault"), CASES, indirect=["lab"], ids=[f"{lab.name}-{fault.name}" for lab, fault in CASES]
)
def test_a_fault_is_named(lab: Settings, fault: Fault) -> None:
    row = judge(lab, fault)
    if row.judged.startswith("wrong"):
        # A busy machine and the neighbours' timers may make one try another than the rest: what is wrong is so twice.
        row = judge(lab, fault)
    ROWS.append(row)
    assert not row.judged.startswith("wrong"), row


def test_nearly_all_are_named_exactly() -> None:
    assert len({f.name for f in FAULTS}) >= MANY
    if ROWS:
        print(table(ROWS))
        assert sum(r.judged == "exact" for r in ROWS) >= EXACT * len(ROWS)
