"""Columns of plain text, in kubectl's manner: no borders, and nothing ever cut off.

A library's tables were tried: rich needs some 20 seconds for the 30,000 rows that a large cluster has.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from netinspect.output.base import Style, safe

_GAP = "  "
_NARROWEST = 12


def section(title: str, style: Style) -> str:
    """Give the heading of a part."""
    return f"\x1b[1m{title}\x1b[0m\n" if style.colour else f"{title}\n"


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], style: Style) -> Iterator[str]:
    """Align the rows below the header; a column that is empty in every row is left out.

    Where the width is limited, the widest columns are made narrower and their cells go on over several lines.
    """
    cells = [tuple(safe(c) if not c.isascii() or not c.isprintable() else c for c in row) for row in rows]
    if not cells:
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    kept = [i for i, width in enumerate(widths) if width]
    widths = [max(widths[i], len(header[i])) for i in kept]
    if style.width is not None:
        widths = _fit(widths, style.width)
    yield _line([header[i] for i in kept], widths)
    for row in cells:
        wanted = [row[i] for i in kept]
        if style.width is None or all(len(c) <= w for c, w in zip(wanted, widths, strict=True)):
            yield _line(wanted, widths)
        else:
            yield from _wrapped(wanted, widths)


def _fit(widths: list[int], available: int) -> list[int]:
    fitted = list(widths)
    excess = sum(fitted) + len(_GAP) * (len(fitted) - 1) - available
    while excess > 0 and max(fitted) > _NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
        excess -= 1
    return fitted


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join([c.ljust(w) for c, w in zip(cells, widths, strict=True)]).rstrip() + "\n"


def _wrapped(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    folded = [textwrap.wrap(c, w, break_on_hyphens=False) or [""] for c, w in zip(cells, widths, strict=True)]
    for line in range(max(map(len, folded))):
        yield _line([f[line] if line < len(f) else "" for f in folded], widths)
