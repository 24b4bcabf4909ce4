"""Causes before symptoms, what fails a run, and what is set aside."""

from __future__ import annotations

import re
from datetime import date

import pytest
from msgspec import structs

from netinspect.checks import BY_CODE, CHECKS
from netinspect.checks.accepted import accept, baseline, suppressions
from netinspect.checks.base import Problem
from netinspect.checks.run import Policy, _Found, _near, needs_of, run
from netinspect.errors import UsageError
from netinspect.model.check import CheckReport
from netinspect.model.finding import Severity
from netinspect.model.resources import NOTED_PODS, PODS
from netinspect.model.snapshot import Snapshot
from netinspect.output import BY_NAME as FORMATS
from netinspect.output.base import Style
from tests.checks.cases import FIRES, not_ready, unready_endpoints
from tests.checks.changed import Json, both, edit, lines_without, section, unread, well

TODAY = date(2026, 11, 24)


def found(snapshot: Snapshot, **policy: object) -> CheckReport:
    return run(snapshot, CHECKS, Policy(**policy))  # type: ignore[arg-type]


def test_a_proxy_that_is_down_is_said_and_not_its_services() -> None:
    broken = both(
        edit("pods", "kube-proxy-9nzgh", not_ready),
        section("n2", "iptables-nft", lines_without("-A KUBE-SERVICES -d")),
        section("n2", "iptables-nft", lines_without("-A KUBE-NODEPORTS")),
    )
    report = found(broken(well()))
    assert [f.code for f in report.findings] == ["NI1805"]
    assert {s.code for s in report.findings[0].symptoms} >= {"NI2203"}
    assert report.findings[0].place == "node/n2"


def test_forwarding_that_is_off_explains_what_does_not_arrive() -> None:
    # The kernel writes it into every device's setting (devinet_sysctl_forward).
    off = section("n1", "sysctl", lambda t: re.sub(r"(ipv4/(conf/.*/forwarding|ip_forward)):1", r"\1:0", t))
    report = found(off(well()))
    first = report.findings[0]
    assert (first.code, first.place) == ("NI1301", "node/n1")
    assert all(s.place == "node/n1" for s in first.symptoms)
    assert {s.code for s in first.symptoms} >= {"NI2201"}


def test_a_fault_of_one_node_is_no_symptom_of_anothers() -> None:
    broken = both(edit("pods", "kube-proxy-9nzgh", not_ready), section("n1", "routes4", lines_without("10.244.1.0/24")))
    report = found(broken(well()))
    assert {f.code for f in report.findings} >= {"NI1805", "NI1601"}


def test_a_cause_is_as_bad_as_what_follows_from_it() -> None:
    own = [p.status.pod_ip for p in well().pods if p.metadata.name.startswith("web-")]

    def rules(text: str) -> str:
        return re.sub(f"--to-destination ({'|'.join(own)}):8080", "--to-destination 10.244.77.7:8080", text)

    def moved(piece: Json) -> None:
        for one in piece["endpoints"]:
            one["addresses"] = ["10.244.77.7" if a in own else a for a in one["addresses"]]

    broken = both(edit("endpoint_slices", "web-", moved), *(section(n, "iptables-nft", rules) for n in ("n1", "n2")))
    report = found(broken(well()))
    one = next(f for f in report.findings if f.code == "NI1804")
    assert BY_CODE["NI1804"].severity is Severity.WARNING
    assert one.severity is Severity.ERROR
    assert one.symptoms


def test_nothing_is_lost_in_folding() -> None:
    every = both(*(FIRES[c] for c in ("NI1104", "NI1301", "NI1401", "NI1403", "NI1601", "NI1801", "NI1805", "NI2204")))
    report = found(every(well()))
    told = {f.code for f in report.findings} | {s.code for f in report.findings for s in f.symptoms}
    assert {c.code for c in report.checks if c.found} == told
    count = len(report.findings) + sum(len(f.symptoms) for f in report.findings)
    assert sum(c.found for c in report.checks) == count


@pytest.mark.parametrize(
    ("fail_on", "code"), [(Severity.ERROR, 0), (Severity.WARNING, 1), (Severity.INFO, 1), (None, 0)]
)
def test_what_fails_a_run(fail_on: Severity | None, code: int) -> None:
    warned = FIRES["NI1802"](well())
    assert found(warned, fail_on=fail_on).outcome.value == code


def test_only_what_was_asked_for() -> None:
    broken = both(FIRES["NI1601"], edit("endpoint_slices", "web-", unready_endpoints))(well())
    of_namespace = found(broken, namespace="shop")
    assert {f.place for f in of_namespace.findings} == {"svc/shop/web", "svc/shop/web-headless"}
    of_node = found(broken, nodes=("n1",))
    assert {f.place for f in of_node.findings} >= {"node/n1"}
    assert not [f for f in found(broken, nodes=("n2",)).findings if f.place == "node/n1" and not f.peers]
    less = found(FIRES["NI1802"](well()), least=Severity.ERROR)
    assert not less.findings
    assert less.notes == ("1 less than error is left out",)
    assert {c.code for c in less.checks if c.found} == {"NI1802"}


def test_what_was_asked_for_is_shown_with_its_cause_elsewhere() -> None:
    # All pods behind the Service are on a node that reports no more.
    broken = both(
        FIRES["NI1001"], edit("endpoint_slices", "web-", unready_endpoints),
        edit("endpoint_slices", "web-", lambda s: [e.update(nodeName="n2") for e in s["endpoints"]]),
    )  # fmt: skip
    report = found(broken(well()), namespace="shop")
    assert [(f.code, f.place) for f in report.findings] == [("NI1001", "node/n2")]
    assert {s.place for s in report.findings[0].symptoms} >= {"svc/shop/web"}
    assert {c.code for c in report.checks if c.found} >= {"NI1001", "NI1801"}
    assert report.outcome.value == 1
    assert not found(FIRES["NI1001"](well()), namespace="shop").findings


def test_nodes_without_an_endpoint_are_those_that_are_asked_for() -> None:
    report = found(FIRES["NI1810"](well()), nodes=("n1", "n2"))
    bare = report.findings[0]
    asked = {n: found(FIRES["NI1810"](well()), nodes=(n,)).findings for n in ("n1", "n2")}
    assert {n for n, f in asked.items() if f} == {n for n in asked if f"pods of {n} " in bare.says}


def test_the_larger_form_of_a_list_is_read_once() -> None:
    needs = needs_of(CHECKS)
    assert NOTED_PODS in needs
    assert PODS not in needs
    assert len({n.name for n in needs}) == len(needs)


def test_a_fingerprint_stays() -> None:
    one = found(FIRES["NI1801"](well())).findings
    later = structs.replace(FIRES["NI1801"](well()), taken_at="2027-01-01T00:00:00Z")
    assert [f.fingerprint for f in one] == [f.fingerprint for f in found(later).findings]
    both_ = found(both(FIRES["NI1801"], FIRES["NI1802"])(well())).findings
    assert len({f.fingerprint for f in both_}) == len(both_)


SUPPRESSED = """
[[suppress]]
code = "NI1801"
object = "svc/shop/*"
reason = "it is being moved"
expires = 2026-12-31

[[suppress]]
code = "NI19"
object = "*"
reason = "never so"
"""


def test_suppressions() -> None:
    report = found(FIRES["NI1801"](well()))
    listed = suppressions(SUPPRESSED, "file")
    kept = accept(report, listed, frozenset(), TODAY, whole=True)
    assert {f.accepted for f in kept.findings} == {"it is being moved"}
    assert kept.outcome.value == 0
    assert [n for n in kept.notes if "matches nothing" in n and "NI19" in n]
    assert not accept(report, listed, frozenset(), TODAY, whole=False).notes
    late = accept(report, listed, frozenset(), date(2027, 1, 1), whole=True)
    assert late.outcome.value == 1
    assert any("expired" in n for n in late.notes)


def test_what_could_not_be_looked_at_leaves_no_suppression_unused() -> None:
    listed = suppressions('[[suppress]]\ncode = "NI2201"\nobject = "*"\nreason = "so"', "file")
    seen, blind = found(well()), found(unread(well()))
    assert accept(seen, listed, frozenset(), TODAY, whole=True).notes
    assert not accept(blind, listed, frozenset(), TODAY, whole=True).notes


def test_a_suppression_of_a_symptom_is_used() -> None:
    broken = both(FIRES["NI1805"], section("n2", "iptables-nft", lines_without("-A KUBE-SERVICES -d")))
    report = found(broken(well()))
    assert {s.code for f in report.findings for s in f.symptoms} >= {"NI2203"}
    listed = suppressions('[[suppress]]\ncode = "NI2203"\nobject = "*"\nreason = "so"', "file")
    done = accept(report, listed, frozenset(), TODAY, whole=True)
    assert not done.notes
    assert done.outcome.value == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[supress]]\ncode = 3", "no setting supress"),
        ("[[suppress]", "is not TOML"),
        ("suppress = 3", "no list of tables"),
        ('[[suppress]]\ncode = "NI1801"\nobject = "*"', "has no reason"),
        ('[[suppress]]\ncode = "X"\nobject = "*"\nreason = "r"', "is no code"),
        ('[[suppress]]\ncode = "NI1801"\nobject = "*"\nreason = "r"\nuntil = 3', "no field until"),
        ('[[suppress]]\ncode = "NI1801"\nobject = "*"\nreason = "r"\nexpires = "soon"', "is no day"),
    ],
)
def test_a_file_of_suppressions_that_is_wrong(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        suppressions(text, "file")


def test_the_baseline_hides_what_was_there() -> None:
    before = found(FIRES["NI1801"](well()))
    text = "".join(FORMATS["json"].render(before, Style())).encode()
    known = baseline(text, "file")
    now = found(both(FIRES["NI1801"], FIRES["NI1805"])(well()))
    left = accept(now, (), known, TODAY, whole=True)
    assert {f.code for f in left.findings if not f.accepted} == {"NI1805"}
    # What followed from something else is not new when that is mended.
    assert {s.code for f in now.findings for s in f.symptoms} == set()
    folded = found(both(FIRES["NI1805"], FIRES["NI2203"])(well()))
    text = "".join(FORMATS["json"].render(folded, Style())).encode()
    alone = accept(found(FIRES["NI2203"](well())), (), baseline(text, "file"), TODAY, whole=True)
    assert [f.accepted for f in alone.findings] == ["in the baseline"]
    with pytest.raises(UsageError, match="no report"):
        baseline(b"{}", "file")


def test_causes_are_looked_for_where_they_may_be() -> None:
    """Everywhere at once something is wrong in a large cluster too, and folding it takes no time that is squared."""

    def pairs(count: int) -> int:
        made = [
            _Found(BY_CODE[code], Problem(f"node/n{i}", "so", "why", "what"), Severity.ERROR, frozenset({f"n{i}"}))
            for i in range(count) for code in ("NI1001", "NI1104", "NI1601")
        ]  # fmt: skip
        return len(list(_near(made)))

    assert pairs(400) == 2 * pairs(200)


def test_codes_are_well_formed() -> None:
    for code, one in BY_CODE.items():
        assert code == one.code
        assert code.startswith("NI")
        assert code[2:].isdecimal()
        assert all(any(c.startswith(e) for c in BY_CODE) for e in one.explains), (code, one.explains)
