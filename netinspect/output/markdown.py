"""Markdown: for a comment on a merge request, an issue, or the summary of a step in GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.model.check import CheckReport, Diagnosis
from netinspect.model.topology import Document
from netinspect.output.base import Style, safe
from netinspect.output.check import mark, status
from netinspect.output.findings import MARKS

NAME = "markdown"
RENDERS: frozenset[type[Document]] = frozenset({CheckReport})

# GitHub shows no more than a megabyte; the rest is in the other formats.
_MOST = 500


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the status, the findings in a table, and what was looked at."""
    assert isinstance(document, CheckReport)  # noqa: S101 - RENDERS says so
    yield f"## netinspect check\n\n**{status(document)}**\n\n"
    live = [f for f in document.findings if not f.accepted]
    if live:
        yield "| | code | where | what | cause | remedy |\n|---|---|---|---|---|---|\n"
        yield from map(_row, live[:_MOST])
        yield f"\n{len(live) - _MOST} more are in the other formats.\n" if len(live) > _MOST else "\n"
    for note in document.notes:
        yield f"- {_cell(note)}\n"
    yield "\n<details><summary>Checks</summary>\n\n| | code | |\n|---|---|---|\n"
    for entry in document.checks:
        seen = "; ".join(f"{b.says}: {b.settles}" for b in entry.unseen)
        yield f"| {mark(entry)} | {entry.code} | {_cell(entry.title)}{f' ({_cell(seen)})' if seen else ''} |\n"
    yield "\n</details>\n"


def _row(found: Diagnosis) -> str:
    more = "".join(f"<br>so too {s.code} {_cell(s.place)}: {_cell(s.says)}" for s in found.symptoms[:5])
    cells = (found.place, found.says, found.cause, found.remedy)
    where, what, cause, remedy = map(_cell, cells)
    return f"| {MARKS[found.severity]} | {found.code} | {where} | {what}{more} | {cause} | {remedy} |\n"


def _cell(text: str) -> str:
    """Write a text so that no part of it is taken for Markdown or HTML."""
    plain = safe(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~#" else c for c in plain).replace("@", "@<!-- -->")
