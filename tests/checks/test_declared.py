"""What was declared of a cluster, on one in which something is wrong."""

from __future__ import annotations

from netinspect.checks.declared import declare, verify
from netinspect.model.trace import Arrival
from netinspect.model.verify import DeclaredFlow, Expect, Expectations, Verdict
from tests.checks.cases import FIRES
from tests.checks.changed import well


def test_what_is_led_out_of_the_cluster_is_not_reached() -> None:
    far = next(p for p in well().pods if p.metadata.name.startswith("web-") and p.spec.node_name == "n2")
    near = next(p for p in well().pods if p.metadata.name.startswith("web-") and p.spec.node_name == "n1")
    ends = (f"pod/shop/{near.metadata.name}", f"pod/shop/{far.metadata.name}")
    flows = tuple(
        DeclaredFlow(source=ends[0], to=ends[1], port=8080, expect=e) for e in (Expect.REACHABLE, Expect.BLOCKED)
    )
    found = verify(FIRES["NI1601"](well()), Expectations(flows=flows))
    assert {c.found for c in found.cases} == {Arrival.LEAVES.value}
    assert [c.verdict for c in found.cases] == [Verdict.FAILS, Verdict.HOLDS]
    assert [c.verdict for c in verify(well(), Expectations(flows=flows)).cases] == [Verdict.HOLDS, Verdict.FAILS]


def test_what_is_there_now_is_declared_and_holds() -> None:
    made = declare(well())
    assert made.flows
    assert {c.verdict for c in verify(well(), made).cases} == {Verdict.HOLDS}
