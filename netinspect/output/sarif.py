"""SARIF 2.1.0: for GitHub's code scanning, and other places that collect findings of many tools.

Source: OASIS, Static Analysis Results Interchange Format Version 2.1.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from netinspect import __version__
from netinspect.model.check import CheckReport, Diagnosis
from netinspect.model.finding import Severity
from netinspect.model.topology import Document
from netinspect.output.base import Style, safe

NAME = "sarif"
RENDERS: frozenset[type[Document]] = frozenset({CheckReport})

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_HOME = "https://github.com/netinspect/netinspect"


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give one run. An object of the cluster is a logical location; places that show files get one named after it."""
    assert isinstance(document, CheckReport)  # noqa: S101 - RENDERS says so
    codes = [c.code for c in document.checks]
    log = {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "netinspect", "version": __version__, "informationUri": _HOME,
                "rules": [
                    {"id": c.code, "name": c.code, "shortDescription": {"text": c.title},
                     "helpUri": f"{_HOME}/blob/main/docs/checks.md#{c.code.lower()}",
                     "properties": {"category": c.category.value}}
                    for c in document.checks
                ],
            }},
            "results": [_result(f, codes.index(f.code)) for f in document.findings],
            "invocations": [{
                "executionSuccessful": True, "exitCode": document.outcome.value,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": safe(f"{b.says}: {b.settles}")},
                     "associatedRule": {"id": c.code}}
                    for c in document.unseen for b in c.unseen
                ],
            }],
        }],
    }  # fmt: skip
    yield msgspec.json.format(msgspec.json.encode(log), indent=2).decode() + "\n"


def _result(found: Diagnosis, rule: int) -> Mapping[str, Any]:
    text = f"{found.place}: {found.says}. Cause: {found.cause}. Remedy: {found.remedy}."
    symptoms = "".join(f" So too {s.code} {s.place}: {s.says}." for s in found.symptoms)
    kind, _, name = found.place.partition("/")
    result: dict[str, Any] = {
        "ruleId": found.code, "ruleIndex": rule, "level": _LEVELS[found.severity],
        "message": {"text": safe(text + symptoms)},
        "partialFingerprints": {"netinspect/v1": found.fingerprint},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": _uri(found.place)}},
            "logicalLocations": [
                {"name": safe(name or kind), "fullyQualifiedName": safe(found.place), "kind": "resource"},
            ],
        }],
    }  # fmt: skip
    if found.accepted:
        result["suppressions"] = [{"kind": "external", "justification": safe(found.accepted)}]
    return result


def _uri(place: str) -> str:
    """Write a place as a relative URI: RFC 3986 allows more than the characters that names of objects have."""
    return "cluster/" + "".join(c if c.isascii() and (c.isalnum() or c in "-._~/") else f"%{ord(c):02X}" for c in place)
