"""What was not read is never taken for sound, part by part, and no reason for a finding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question
from netinspect.analysis.trace import Tracer
from netinspect.checks import BY_CODE, CHECKS
from netinspect.checks.run import Policy, run
from netinspect.model.check import CheckReport, Result, Vantage
from netinspect.model.evidence import NamespaceEvidence
from netinspect.model.finding import Severity
from netinspect.model.snapshot import Gap, GapReason, Snapshot
from netinspect.model.trace import Arrival
from tests import recorded
from tests.checks.cases import FIRES
from tests.checks.changed import Edit, well


def kept(keep: Callable[[NamespaceEvidence], NamespaceEvidence | None]) -> Edit:
    """Leave namespaces out, or parts of them."""

    def less(snapshot: Snapshot) -> Snapshot:
        kernels = (
            structs.replace(k, namespaces=tuple(n for one in k.namespaces if (n := keep(one)) is not None))
            for k in snapshot.kernels
        )
        return structs.replace(snapshot, kernels=tuple(kernels))

    return less


def lacks(*names: str, whose: str = "") -> Edit:
    """Take sections away, of nodes (``host``) or of pods (``pod``) alone where it says so."""

    def keep(one: NamespaceEvidence) -> NamespaceEvidence:
        if whose and (whose == "host") != one.is_host:
            return one
        return structs.replace(one, sections={k: v for k, v in one.sections.items() if k not in names})

    return kept(keep)


def asked(edit: Edit) -> CheckReport:
    return run(edit(well()), CHECKS, Policy(strict=True))


def results(report: CheckReport) -> dict[str, Result]:
    return {c.code: c.result for c in report.checks}


SECTIONS = sorted(frozenset().union(*(c.reads for c in CHECKS)))


@pytest.mark.parametrize("section", SECTIONS)
def test_a_check_without_what_it_reads_has_not_been_made(section: str) -> None:
    report = asked(lacks(section))
    found = results(report)
    meant = {c.code for c in CHECKS if section in c.reads}
    assert {code for code in meant if found[code] not in (Result.UNSEEN, Result.IRRELEVANT)} == set()
    assert not report.findings, [(f.code, f.says) for f in report.findings]
    assert report.outcome.value == 3


def test_every_check_of_kernels_says_what_it_reads() -> None:
    """Those that walk packets are told by the walk itself, and files of configuration are no section."""
    silent = {c.code for c in CHECKS if c.vantage is not Vantage.API and not c.reads}
    assert silent == {"NI1103", *(c for c in BY_CODE if c.startswith("NI22"))}


def test_a_node_without_its_configuration_files_was_not_seen() -> None:
    report = asked(lacks("cni:/etc/cni/net.d/10-flannel.conflist"))
    assert results(report)["NI1103"] is Result.UNSEEN


def test_pods_that_were_not_read_are_not_sound() -> None:
    report = asked(kept(lambda one: one if one.is_host else None))
    found = results(report)
    assert {c: found[c] for c in ("NI1606", "NI1607", "NI2201", "NI2203", "NI2205")} == dict.fromkeys(
        ("NI1606", "NI1607", "NI2201", "NI2203", "NI2205"), Result.UNSEEN
    )
    assert not report.findings


@pytest.mark.parametrize(
    "edit",
    [kept(lambda one: None if one.is_host else one), lacks("links"), lacks("links", whose="pod")],
    ids=["only pods were read", "no interface was read", "no interface of pods was read"],
)
def test_what_was_not_read_stops_no_packet(edit: Edit) -> None:
    report = asked(edit)
    assert not report.findings, [(f.code, f.says, f.cause) for f in report.findings]
    paths = {code: result for code, result in results(report).items() if code.startswith("NI22")}
    assert set(paths.values()) == {Result.UNSEEN}


def of_one_namespace(snapshot: Snapshot, namespace: str, *kinds: str) -> Snapshot:
    """Give what is read with rights in one namespace alone."""
    found = {k: tuple(o for o in getattr(snapshot, k) if o.metadata.namespace == namespace) for k in kinds}
    gaps = tuple(
        Gap(resource=k, reason=GapReason.PARTIAL, message="no", hint="grant it", namespaces=(namespace,)) for k in kinds
    )
    return structs.replace(snapshot, gaps=gaps, **found)


@pytest.mark.parametrize("kinds", [("pods",), ("endpoint_slices",), ("pods", "endpoint_slices"), ("services",)])
@pytest.mark.parametrize("namespace", ["shop", "kube-system"])
def test_rights_in_one_namespace_make_no_finding(kinds: tuple[str, ...], namespace: str) -> None:
    report = run(of_one_namespace(recorded.calico("policies"), namespace, *kinds), CHECKS, Policy(strict=True))
    # It has no pods and no endpoints, and this is so with any rights.
    assert {f.place for f in report.findings if f.severity is not Severity.INFO} <= {"svc/shop/nobody"}
    assert {c.result for c in report.checks if c.code.startswith("NI22")} == {Result.UNSEEN}


def test_a_service_is_judged_with_rights_in_its_namespace() -> None:
    kinds = ("pods", "services", "endpoint_slices")
    forbidden = tuple(
        Gap(resource=r.name, reason=GapReason.FORBIDDEN, message="no", hint="grant it")
        for r in {r.name: r for c in CHECKS for r in c.needs}.values() if r.name not in kinds
    )  # fmt: skip
    less = of_one_namespace(FIRES["NI1801"](well()), "shop", *kinds)
    less = structs.replace(less, gaps=(*less.gaps, *forbidden), **{g.resource: () for g in forbidden})
    report = run(less, CHECKS, Policy(namespace="shop"))
    assert "svc/shop/web" in {f.place for f in report.findings}
    assert report.outcome.value == 1
    assert results(report)["NI1901"] is Result.UNSEEN


def test_endpoints_that_were_not_read_are_no_stale_rules() -> None:
    less = of_one_namespace(recorded.calico("policies"), "kube-system", "endpoint_slices")
    tracer = Tracer(less)
    # The policies of the kernel decide the one; where the other is, nobody knows.
    for name, arrival in (("svc/shop/web:80", Arrival.LOST), ("svc/default/kubernetes:443", Arrival.UNKNOWN)):
        found = tracer.trace(Question("kube-system/coredns-749f466c8f-5wt48", name))
        assert found.arrival is arrival, found.sentence
        assert found.cause is None or "stale" not in found.cause.reason
