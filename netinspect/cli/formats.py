"""Which formats a document has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netinspect.errors import UsageError

if TYPE_CHECKING:
    from netinspect.cli.options import Output
    from netinspect.model.topology import Document
    from netinspect.output.base import Format


def chosen(output: Output, kind: type[Document]) -> Format:
    """Give the format that was asked for; ``UsageError`` where it does not write such a document."""
    return named(output.output.value, kind)


def named(name: str, kind: type[Document]) -> Format:
    """Give a format by its name."""
    from netinspect.output import BY_NAME

    found = BY_NAME.get(name)
    if found is None or kind not in found.RENDERS:
        names = [n for n, f in BY_NAME.items() if kind in f.RENDERS]
        raise UsageError(f"this has no format {name}", hint=f"use {', '.join(names[:-1])} or {names[-1]}")
    return found
