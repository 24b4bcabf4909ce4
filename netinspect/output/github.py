"""Annotations of GitHub Actions: workflow commands, one a finding. The step summary is the format ``markdown``."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.model.check import CheckReport
from netinspect.model.finding import Severity
from netinspect.model.topology import Document
from netinspect.output.base import Style, safe
from netinspect.output.check import status

NAME = "github"
RENDERS: frozenset[type[Document]] = frozenset({CheckReport})

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the workflow commands, as actions/toolkit escapes them (packages/core/src/command.ts)."""
    assert isinstance(document, CheckReport)  # noqa: S101 - RENDERS says so
    for found in document.findings:
        if not found.accepted:
            title = _property(f"{found.code} {found.place}")
            text = _data(f"{found.says}\ncause: {found.cause}\nremedy: {found.remedy}")
            yield f"::{_COMMANDS[found.severity]} title={title}::{text}\n"
    if document.unseen:
        first = document.unseen[0]
        said = f"{first.code} {first.unseen[0].says}: {first.unseen[0].settles}"
        title = _property(f"{len(document.unseen)} checks could not see everything")
        yield f"::notice title={title}::{_data(said)}\n"
    yield f"{status(document)}\n"


def _data(text: str) -> str:
    lines = (safe(line) for line in text.split("\n"))
    return "\n".join(lines).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(safe(text)).replace(":", "%3A").replace(",", "%2C")
