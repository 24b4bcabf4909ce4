"""JUnit's XML, one test case for each diagnosis: for GitLab, Jenkins, Azure Pipelines and others that show tests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from netinspect.model.check import ORDER, CheckEntry, CheckReport, Diagnosis, Result
from netinspect.model.topology import Document
from netinspect.model.verify import Case, Verdict, VerifyReport
from netinspect.output.base import Style, safe

NAME = "junit"
RENDERS: frozenset[type[Document]] = frozenset({CheckReport, VerifyReport})


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the suites. What fails the run fails its case; what could not be looked at is skipped."""
    root = Element("testsuites", name="netinspect")
    if isinstance(document, CheckReport):
        for category, entries in groupby(document.checks, key=lambda c: c.category):
            suite = SubElement(root, "testsuite", name=category.value, timestamp=document.taken_at[:19])
            for entry in entries:
                _case(suite, entry, document)
            _count(suite)
    elif isinstance(document, VerifyReport):
        suite = SubElement(root, "testsuite", name="expectations", timestamp=document.taken_at[:19])
        for case in document.cases:
            _declared(suite, case)
        _count(suite)
    _count(root)
    indent(root)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield tostring(root, encoding="unicode") + "\n"


def _case(suite: Element, entry: CheckEntry, document: CheckReport) -> None:
    case = SubElement(
        suite, "testcase", name=f"{entry.code} {entry.title}", classname=f"netinspect.{entry.category.value}"
    )
    mine = [f for f in document.findings if f.code == entry.code]
    failing = [f for f in document.failing if f.code == entry.code]
    failing += [f for f in document.failing if f not in failing and any(s.code == entry.code for s in f.symptoms)]
    if failing or (document.strict and entry.unseen):
        worst = min((f.severity for f in failing), key=ORDER.__getitem__, default=None)
        texts = [*map(_text, failing), *(f"{b.says}: {b.settles}" for b in entry.unseen)]
        says = f"{failing[0].place}: {failing[0].says}" if failing else "could not be looked at"
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        failure = SubElement(case, "failure", message=safe(says + more), type=worst.value if worst else "unseen")
        failure.text = "\n\n".join(texts)
    elif entry.result is Result.UNSEEN:
        SubElement(case, "skipped", message=safe("; ".join(f"{b.says}: {b.settles}" for b in entry.unseen)))
    elif entry.result is Result.IRRELEVANT:
        SubElement(case, "skipped", message="there is nothing of what it is about")
    if mine and not failing:
        SubElement(case, "system-out").text = "\n\n".join(map(_text, mine))


def _declared(suite: Element, case: Case) -> None:
    """Write a case that was declared: one that could not be seen fails the run, and so it does its case."""
    element = SubElement(suite, "testcase", name=safe(case.name), classname="netinspect.expectations")
    if case.verdict is not Verdict.HOLDS:
        says = f"expected {case.expected}, found {case.found}"
        failure = SubElement(element, "failure", message=safe(says), type=case.verdict.value)
        failure.text = safe("; ".join(t for t in (case.says, case.settles and f"settled by: {case.settles}") if t))


def _text(found: Diagnosis) -> str:
    lines = [f"{found.severity.value} {found.place}: {found.says}", f"cause: {found.cause}", f"remedy: {found.remedy}"]
    if found.accepted:
        lines.append(f"accepted: {found.accepted}")
    lines += [f"so too: {s.code} {s.place}: {s.says}" for s in found.symptoms]
    return "\n".join(map(safe, lines))


def _count(element: Element) -> None:
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(c.find("failure") is not None for c in cases)))
    element.set("errors", "0")
    if element.tag == "testsuite":
        element.set("skipped", str(sum(c.find("skipped") is not None for c in cases)))
