"""How every parser walks through what a tool printed, so that each error names its section and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from netinspect.errors import ParseError

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

# What a parser of one line runs into where the line is not of its kind.
MISREAD = (ValueError, LookupError, StopIteration, TypeError, AttributeError, RecursionError, OverflowError)
_SHOWN = 80


def is_json(text: str) -> bool:
    """Say whether a tool answered in JSON, as it was asked to, or in text, because it is too old to know how."""
    return text.lstrip()[:1] in ("[", "{")


def lines(section: str, text: str, parse: Callable[[str, int], T | None]) -> tuple[T, ...]:
    """Parse each line that is not empty; what ``parse`` gives None for is left out."""
    found: list[T] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            with_line = guarded(section, number, line, parse)
            if with_line is not None:
                found.append(with_line)
    return tuple(found)


def guarded(section: str, number: int, line: str, parse: Callable[[str, int], T]) -> T:
    """Parse one line, or raise ``ParseError`` that says which."""
    try:
        return parse(line, number)
    except MISREAD as error:
        raise ParseError(section, number, f"cannot read {line.strip()[:_SHOWN]!r} ({_reason(error)})") from error


def records(section: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the objects of a JSON array, counted from 1; older tools print an empty one for what they filtered out."""
    try:
        decoded = msgspec.json.decode(text) if text.strip() else []
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ParseError(section, 1, f"not JSON: {error}") from error
    if not isinstance(decoded, list):
        raise ParseError(section, 1, "not a JSON array")
    for number, record in enumerate(decoded, 1):
        if not isinstance(record, dict):
            raise ParseError(section, number, f"not an object: {str(record)[:_SHOWN]!r}")
        if record:
            yield number, record


def objects(section: str, text: str, build: Callable[[dict[str, Any], int], T]) -> tuple[T, ...]:
    """Build one value from each object of a JSON array."""
    return tuple(
        guarded(section, number, str(record), lambda _text, n, r=record: build(r, n))  # type: ignore[misc]
        for number, record in records(section, text)
    )


def convert(record: Any, kind: type[S]) -> S:
    """Fill a struct from an object; numbers may be written as strings."""
    return msgspec.convert(record, kind, strict=False)


def whole(first: str, *, family: str) -> str:
    """Give an address or prefix with its length: a bare address is a host, ``default`` is everything."""
    if first in ("default", "all", "any"):
        return "0.0.0.0/0" if family == "inet" else "::/0"
    if "." not in first and ":" not in first:
        raise ValueError(f"{first[:_SHOWN]!r} is no address")
    return first if "/" in first else f"{first}/{32 if family == 'inet' else 128}"


def span(text: str) -> tuple[int, int]:
    """Read ``80`` or ``80-90``."""
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:_SHOWN]}"
