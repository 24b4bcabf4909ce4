"""What was declared and what changed, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from netinspect.model.changes import DiffReport
from netinspect.model.verify import Verdict, VerifyReport
from netinspect.output.base import Style, safe
from netinspect.output.columns import section

_MARKS = {Verdict.HOLDS: "√", Verdict.FAILS: "×", Verdict.UNSEEN: "?"}  # noqa: RUF001 - as linkerd check does
_COLOURS = {Verdict.FAILS: 31, Verdict.UNSEEN: 33}


def verified(document: VerifyReport, style: Style, *, wide: bool) -> Iterator[str]:
    """Give a line for each case, and why where it is not as declared."""
    for case in document.cases:
        line = safe(f"{_MARKS[case.verdict]} {case.name}: {case.expected}")
        if case.verdict is not Verdict.HOLDS or wide:
            line += safe(f", found {case.found}")
        colour = _COLOURS.get(case.verdict) if style.colour else None
        yield f"\x1b[{colour}m{line}\x1b[0m\n" if colour else f"{line}\n"
        if case.says and (wide or case.verdict is not Verdict.HOLDS):
            yield f"    {safe(case.says)}\n"
        if case.settles:
            yield f"    settled by: {safe(case.settles)}\n"
    counts = Counter(c.verdict for c in document.cases)
    told = (f"{n} {v.value}" for v in Verdict if (n := counts[v]))
    yield f"\n{len(document.cases)} declared: {', '.join(told) or 'nothing'}\n"


def changed(document: DiffReport, style: Style, *, wide: bool) -> Iterator[str]:
    """Give the flows that changed, then what did."""
    yield f"{safe(document.before)} → {safe(document.after)}\n"
    if document.flows:
        yield "\n" + section("FLOWS", style)
    for flow in document.flows:
        yield f"{safe(flow.flow)}: {flow.before.value} → {flow.after.value}\n    {safe(flow.says)}\n"
    for area, changes in groupby(sorted(document.changes, key=lambda c: c.area.value), key=lambda c: c.area):
        yield "\n" + section(area.value.upper(), style)
        for one in changes:
            yield f"{safe(one.place)} {safe(one.what)}\n"
            yield f"  - {safe(one.before)}\n" if one.before else ""
            yield f"  + {safe(one.after)}\n" if one.after else ""
    if not document.flows and not document.changes:
        yield "nothing changed, as far as it was seen\n"
    yield f"\n{len(document.flows)} of {document.compared} flows changed, and {len(document.changes)} other things\n"
    for unseen in document.unseen if wide else document.unseen[:5]:
        yield f"? {safe(unseen)}\n"
    if len(document.unseen) > 5 and not wide:
        yield f"? and {len(document.unseen) - 5} more (-o wide)\n"
