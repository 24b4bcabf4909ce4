"""The check report as text: what was looked at, category by category, then what was found, causes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from netinspect.model.check import CheckEntry, CheckPage, CheckReport, Checks, Diagnosis, Result, Vantage
from netinspect.model.finding import Severity
from netinspect.output.base import Style, safe
from netinspect.output.columns import columns, section
from netinspect.output.findings import COLOURS, MARKS

_SHOWN = 5


def mark(entry: CheckEntry) -> str:
    """Give the sign before a diagnosis: √ nothing wrong, × ‼ i what was found, ? what could not be looked at."""  # noqa: RUF002 - as linkerd check does
    if entry.result is Result.FOUND and entry.worst is not None:
        return MARKS[entry.worst]
    return {Result.PASSED: "√", Result.UNSEEN: "?"}.get(entry.result, "-")


def report(document: CheckReport, style: Style, *, wide: bool) -> Iterator[str]:
    """Give the report; ``wide`` adds what does not apply, each thing that was not seen, and every symptom."""
    for category, entries in groupby(document.checks, key=lambda c: c.category):
        mine = [c for c in entries if wide or c.result is not Result.IRRELEVANT]
        if mine:
            yield section(category.value, style)
            yield from _category(mine, style, wide=wide)
            yield "\n"
    live = [f for f in document.findings if not f.accepted]
    if live:
        yield section("FOUND, causes first", style)
        for finding in live:
            yield from _finding(finding, style, wide=wide)
        yield "\n"
    accepted = [f for f in document.findings if f.accepted]
    if accepted:
        yield section("ACCEPTED", style)
        for finding in accepted:
            yield f"- {finding.code} {safe(finding.place)}: {safe(finding.says)} ({safe(finding.accepted)})\n"
        yield "\n"
    for note in document.notes:
        yield f"! {safe(note)}\n"
    yield status(document) + "\n"


def _category(entries: list[CheckEntry], style: Style, *, wide: bool) -> Iterator[str]:
    unseen = []
    for entry in entries:
        if entry.result is Result.UNSEEN and not wide and entry.vantage is not Vantage.API:
            unseen.append(entry)
            continue
        count = f" ({entry.found})" if entry.found else ""
        line = f"{mark(entry)} {entry.code} {safe(entry.title)}{count}"
        yield _coloured(line, entry.worst if entry.result is Result.FOUND else None, style) + "\n"
        for blind in entry.unseen if wide or entry.vantage is Vantage.API else ():
            yield f"    ? {safe(blind.says)}: {safe(blind.settles)}\n"
    if unseen:
        codes = f"{unseen[0].code}…" if len(unseen) > 1 else unseen[0].code
        told = {(b.says, b.settles) for e in unseen for b in e.unseen}
        why = "; ".join(f"{says}: {settles}" for says, settles in sorted(told)[:2])
        yield f"? {codes} {len(unseen)} more could not be told ({safe(why)})\n"


def _coloured(line: str, worst: Severity | None, style: Style) -> str:
    return f"\x1b[{COLOURS[worst]}m{line}\x1b[0m" if style.colour and worst is not None else line


def _finding(found: Diagnosis, style: Style, *, wide: bool) -> Iterator[str]:
    towards = f" (towards {', '.join(found.peers)})" if found.peers else ""
    line = safe(f"{MARKS[found.severity]} {found.code} {found.place}: {found.says}{towards}")
    yield _coloured(line, found.severity, style) + "\n"
    yield f"    cause:  {safe(found.cause)}\n"
    if found.proof is not None:
        where = f"{found.proof.section}{f' line {found.proof.line}' if found.proof.line else ''}"
        yield f"    proof:  {safe(where)}{f': {safe(found.proof.text)}' if found.proof.text else ''}\n"
    yield f"    remedy: {safe(found.remedy)}\n"
    shown = found.symptoms if wide else found.symptoms[:_SHOWN]
    for symptom in shown:
        yield f"    so too: {symptom.code} {safe(symptom.place)}: {safe(symptom.says)}\n"
    if len(found.symptoms) > len(shown):
        yield f"    and {len(found.symptoms) - len(shown)} more that follow from it (-o wide)\n"


def status(document: CheckReport) -> str:
    """Sum up in one line, the symptoms of each finding not counted."""
    live = Counter(f.severity for f in document.findings if not f.accepted)
    told = [f"{n} {s.value}{'s' * (n != 1 and s is not Severity.INFO)}" for s in Severity if (n := live[s])]
    parts = [", ".join(told) or "nothing found"]
    if document.unseen:
        only = len(document.unseen)
        parts.append(f"{only} of {len(document.checks)} checks could not see everything")
    if accepted := sum(bool(f.accepted) for f in document.findings):
        parts.append(f"{accepted} accepted")
    verdict = {0: "√ passed", 1: "× failed", 3: "? not settled"}[document.outcome.value]  # noqa: RUF001 - as above
    return f"{verdict}: {'; '.join(parts)}"


def checks(document: Checks, style: Style, *, wide: bool) -> Iterator[str]:
    """List the diagnoses."""
    rows = [(c.code, c.severity.value, c.category.value, c.vantage.value, c.title, ", ".join(c.needs) if wide else "")
            for c in document.checks]  # fmt: skip
    yield from columns(
        ("CODE", "SEVERITY", "CATEGORY", "LEVEL", "WHAT IS SO WHERE NOTHING IS WRONG", "READS"), rows, style
    )
    if document.uncovered:
        yield "\n"
        yield section("NOT COVERED YET", style)
        yield from columns(("WHAT", "WHAT IT TAKES"), [(u.title, u.takes) for u in document.uncovered], style)


def page(document: CheckPage, style: Style) -> Iterator[str]:
    """Explain one diagnosis."""
    yield section(f"{document.code} {document.title}", style)
    yield f"{document.category.value}, {document.severity.value}, made from the {_LEVELS[document.vantage]}\n\n"
    yield f"{document.explanation}\n\n"
    yield f"remedy: {document.remedy}\n"
    yield f"reads:  {', '.join(document.needs)}\n"
    if document.explains:
        yield f"explains findings of the same nodes: {', '.join(document.explains)}\n"
    for link in document.links:
        yield f"see     {link}\n"


_LEVELS = {
    Vantage.API: "API's objects", Vantage.NODE: "nodes' kernels (--access)",
    Vantage.POD: "namespaces of nodes and pods (--access)",
}  # fmt: skip
