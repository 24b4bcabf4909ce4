"""Findings as text: what is wrong and where, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netinspect.model.finding import Finding, Severity
from netinspect.output.base import Style, safe

MARKS = {
    Severity.ERROR: "×",  # noqa: RUF001 - as linkerd check does
    Severity.WARNING: "‼",
    Severity.INFO: "i",
}
COLOURS = {Severity.ERROR: 31, Severity.WARNING: 33, Severity.INFO: 36}


def lines(findings: Iterable[Finding], style: Style) -> Iterator[str]:
    """Give each finding with its cause and remedy."""
    for finding in findings:
        mark = MARKS[finding.severity]
        towards = f" (towards {', '.join(finding.peers)})" if finding.peers else ""
        line = f"{mark} {finding.place}: {finding.says}{towards}"
        yield (f"\x1b[{COLOURS[finding.severity]}m{safe(line)}\x1b[0m" if style.colour else safe(line)) + "\n"
        yield f"    cause:  {safe(finding.cause)}\n"
        yield f"    remedy: {safe(finding.remedy)}\n"
