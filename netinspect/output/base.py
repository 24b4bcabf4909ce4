"""What a format is, and what every format must do with text that comes from a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from netinspect.model.topology import Document

# Control characters, and those that reorder or hide text: a name may hold none of them, so one that does is hostile.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Style:
    """Where the text goes: ``width`` is None where nothing limits a line, as in a pipe."""

    width: int | None = None
    colour: bool = False


class Format(Protocol):
    """A module in this package. Its docstring says what the format is for."""

    __doc__: str | None
    NAME: str
    RENDERS: frozenset[type[Document]]

    def render(self, document: Document, style: Style, /) -> Iterator[str]:
        """Give the text in pieces, each ending with a line end."""


def safe(text: str) -> str:
    r"""Write characters that a terminal would obey as escapes such as ``\x1b``."""
    return _UNSAFE.sub(lambda m: m.group().encode("unicode_escape", "surrogatepass").decode(), text)
