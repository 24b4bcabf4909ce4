"""What was not read is never taken for sound, part by part, and no reason for a finding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from netinspect.checks import BY_CODE, CHECKS
from netinspect.checks.run import Policy, run
from netinspect.model.check import CheckReport, Result, Vantage
from netinspect.model.evidence import NamespaceEvidence
from netinspect.model.snapshot import Snapshot
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
