"""What was found and does not count: suppressions that somebody gave a reason for, and what was there before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import structs

from netinspect.errors import UsageError
from netinspect.model.check import CheckReport, Diagnosis, Symptom

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FIELDS = frozenset({"code", "object", "reason", "expires"})
_KNOWN = "in the baseline"


@dataclass(frozen=True)
class Suppression:
    """Findings of a code, or of all that begin with it, about objects that match a pattern, accepted until a day."""

    code: str
    object: str
    reason: str
    expires: date | None = None

    def matches(self, found: Diagnosis) -> bool:
        """Say whether a finding is meant; in the pattern * stands for anything."""
        return self._is(found)

    def meets(self, found: Diagnosis) -> bool:
        """Say whether a finding, or what follows from it, is meant."""
        return any(map(self._is, found.all))

    def _is(self, one: Diagnosis | Symptom) -> bool:
        return one.code.startswith(self.code) and fnmatchcase(one.place, self.object)

    def __str__(self) -> str:
        """Name it as the file has it."""
        return f"{self.code} {self.object} ({self.reason})"


def suppressions(text: str, name: str) -> tuple[Suppression, ...]:
    """Read ``[[suppress]]`` tables of TOML; ``UsageError`` where one is not whole, or the file is none."""
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not TOML: {error}", hint="see docs/check.md for an example") from error
    listed = read.pop("suppress", [])
    if read:
        raise UsageError(f"{name}: there is no setting {min(read)}", hint="write [[suppress]]")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UsageError(f"{name}: suppress is no list of tables", hint="write [[suppress]]")
    return tuple(_suppression(one, f"{name}, suppression {place}") for place, one in enumerate(listed, 1))


def _suppression(one: dict[str, Any], where: str) -> Suppression:
    unknown = sorted(set(one) - _FIELDS)
    if unknown:
        raise UsageError(f"{where}: there is no field {unknown[0]}", hint=f"fields are {', '.join(sorted(_FIELDS))}")
    texts = {key: one.get(key, "") for key in ("code", "object", "reason")}
    missing = [key for key, value in texts.items() if not isinstance(value, str) or not value.strip()]
    if missing:
        raise UsageError(
            f"{where}: it has no {missing[0]}", hint='every suppression has code, object ("*" for all), reason'
        )
    if not texts["code"].startswith("NI"):
        raise UsageError(f"{where}: {texts['code']!r} is no code", hint="`netinspect checks` lists the codes")
    return Suppression(texts["code"], texts["object"], texts["reason"], _day(one.get("expires"), where))


def _day(value: Any, where: str) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise UsageError(f"{where}: {value!r} is no day", hint="write expires = 2027-01-31") from error


def baseline(text: bytes, name: str) -> frozenset[str]:
    """Read the fingerprints of an earlier report (-o json); ``UsageError`` where it is none."""
    try:
        report = msgspec.json.decode(text, type=CheckReport)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{name} is no report of `netinspect check -o json`: {error}") from error
    return frozenset(one.fingerprint for f in report.findings for one in f.all)


def accept(
    report: CheckReport, listed: Sequence[Suppression], known: frozenset[str], today: date, *, whole: bool
) -> CheckReport:
    """Mark what does not count, put it last, and say which suppressions have expired, or match nothing.

    ``whole`` says that every check was asked for everywhere: else a suppression may match what was not. So it may where
    something could not be looked at.
    """
    live = [s for s in listed if s.expires is None or s.expires >= today]
    notes = [f"the suppression {s} expired on {s.expires}" for s in listed if s not in live]
    marked = []
    for found in report.findings:
        reason = next((s.reason for s in live if s.matches(found)), "")
        marked.append(structs.replace(found, accepted=reason or (_KNOWN if found.fingerprint in known else "")))
    unsure = tuple(c.code for c in report.unseen)
    unused = [
        s for s in live if whole
        and not any(s.meets(f) for f in report.findings) and not any(code.startswith(s.code) for code in unsure)
    ]  # fmt: skip
    notes += [f"the suppression {s} matches nothing" for s in unused]
    marked.sort(key=lambda f: bool(f.accepted))
    return structs.replace(report, findings=tuple(marked), notes=(*report.notes, *notes))
