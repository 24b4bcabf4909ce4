"""Every check fires on what it is about, and is quiet on a cluster that is well."""

from __future__ import annotations

import pytest
from msgspec import structs

from netinspect.checks import BY_CODE, CHECKS
from netinspect.checks.run import Policy, run
from netinspect.model.check import CheckReport, Result
from netinspect.model.finding import Severity
from netinspect.model.snapshot import Gap, GapReason, Snapshot
from tests import recorded
from tests.checks.cases import ALSO, FIRES, QUIET
from tests.checks.changed import unread, well

# Of what these are about the lab of other tests makes the real thing.
ELSEWHERE = {
    "NI1310": "nm-cloud-setup is a matter of the AWS driver's tests",
    "NI2102": "tests/mesh", "NI2103": "tests/mesh", "NI2104": "tests/mesh", "NI2105": "tests/mesh",
    "NI2106": "tests/mesh",
}  # fmt: skip


def made(snapshot: Snapshot, code: str) -> CheckReport:
    return run(snapshot, [BY_CODE[code]], Policy())


def test_every_check_has_a_case() -> None:
    assert set(BY_CODE) == {*FIRES, *ELSEWHERE}
    assert len(BY_CODE) == len(CHECKS)


def test_a_cluster_that_is_well_has_no_findings() -> None:
    found = run(well(), CHECKS, Policy())
    assert [(f.code, f.place, f.says) for f in found.findings] == []
    # Its nodes are namespaces of one machine, and only the first shows how many neighbours that holds.
    assert [c.code for c in found.checks if c.unseen] == ["NI1304"]
    assert found.outcome.value == 0


@pytest.mark.parametrize("code", [c for c in FIRES if c not in ELSEWHERE])
def test_it_fires(code: str) -> None:
    found = made(FIRES[code](well()), code)
    assert [f for f in found.findings if f.code == code], [f.says for f in found.findings]
    for one in found.findings:
        assert one.cause
        assert one.remedy
        assert one.place


@pytest.mark.parametrize("case", ALSO)
def test_it_fires_too(case: str) -> None:
    code, change, places = ALSO[case]
    assert {f.place for f in made(change(well()), code).findings if f.code == code} == places


@pytest.mark.parametrize("case", QUIET)
def test_it_does_not_fire(case: str) -> None:
    code, change = QUIET[case]
    assert [f.says for f in made(change(well()), code).findings if f.severity is not Severity.INFO] == []


@pytest.mark.parametrize("code", BY_CODE)
def test_it_is_explained(code: str) -> None:
    page = BY_CODE[code].page
    assert page.explanation.startswith(("Find ", "Tell ", "Walk "))
    assert page.remedy
    assert page.needs


def test_what_was_not_looked_into_does_not_pass() -> None:
    found = run(unread(well()), CHECKS, Policy(strict=True))
    unseen = {c.code for c in found.checks if c.result is Result.UNSEEN}
    assert {"NI1301", "NI1401", "NI1601", "NI2201"} <= unseen
    assert not {c.code for c in found.checks if c.result is Result.PASSED and c.vantage.value != "api"}
    assert found.outcome.value == 3
    assert run(unread(well()), CHECKS, Policy()).outcome.value == 0


@pytest.mark.parametrize("kind", ["nodes", "pods", "services", "endpoint_slices", "daemon_sets"])
def test_what_could_not_be_read_does_not_pass(kind: str) -> None:
    gap = Gap(resource=kind, reason=GapReason.FORBIDDEN, message="no", hint="grant it")
    found = run(structs.replace(well(), gaps=(gap,), **{kind: ()}), CHECKS, Policy())
    asked = {c.code for c in CHECKS if kind in {r.name for r in c.needs}}
    assert asked
    assert {c.result for c in found.checks if c.code in asked} == {Result.UNSEEN}
    assert not [f for f in found.findings if f.code in asked]


RECORDED = [
    *((f"calico {s}", recorded.calico(s), codes) for s, codes in (
        ("policies", {"NI1802"}), ("kube-proxy-just-restarted", {"NI1704", "NI1802"}),
        ("k8s-networkpolicy-felix-crashlooping", {"NI1702", "NI1802"}),
    )),
    *((f"cilium {s}", recorded.cilium(s), {"NI1802"}) for s in (
        "a-kube-proxy/1-no-policy", "a-kube-proxy/2-policy", "b-kpr/1-no-policy", "b-kpr/2-policy",
    )),
    *((f"istio {s}", recorded.mesh("istio", s), set()) for s in ("strict-deny-admin",)),
    *((f"linkerd {s}", recorded.mesh("linkerd", s), set()) for s in ("final",)),
]  # fmt: skip


@pytest.mark.parametrize(("snapshot", "codes"), [r[1:] for r in RECORDED], ids=[str(r[0]) for r in RECORDED])
def test_recorded_clusters_have_the_findings_they_were_made_for(snapshot: Snapshot, codes: set[str]) -> None:
    found = run(snapshot, CHECKS, Policy())
    assert {f.code for f in found.findings if f.severity is not Severity.INFO} == codes
