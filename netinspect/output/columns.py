"""Columns of plain text, in kubectl's manner: no borders, and nothing ever cut off.

A library's tables were tried: rich needs some 20 seconds for the 30,000 rows that a large cluster has.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from netinspect.output.base import Style, safe

_GAP = "  "


def section(title: str, style: Style) -> str:
    """Give the heading of a part."""
    return f"\x1b[1m{title}\x1b[0m\n" if style.colour else f"{title}\n"


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], style: Style) -> Iterator[str]:
    """Align the rows below the header; a column that is empty in every row is left out.

    Where the width is limited, the widest columns are made narrower and their cells go on over several lines. Words
    are never broken: a name that stands in two pieces can be neither read nor copied.
    """
    cells = [row if "".join(row).isprintable() else tuple(map(safe, row)) for row in rows]
    if not any(map(any, cells)):
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    kept = [i for i, width in enumerate(widths) if width]
    chosen: Callable[[Sequence[str]], Any] = itemgetter(*kept) if len(kept) > 1 else lambda row: (row[kept[0]],)
    widths = [max(widths[i], len(header[i])) for i in kept]
    if style.width is not None:
        chosen_cells = list(map(chosen, cells))
        longest = [max(len(w) for c in column for w in c.split() or [""]) for column in zip(*chosen_cells, strict=True)]
        floors = [max(word, len(header[i])) for word, i in zip(longest, kept, strict=True)]
        widths = _fit(widths, floors, style.width)
    template = _GAP.join(f"%-{width}s" for width in widths)
    yield (template % chosen(header)).rstrip() + "\n"
    for row in map(chosen, cells):
        if style.width is None or all(len(c) <= w for c, w in zip(row, widths, strict=True)):
            yield (template % row).rstrip() + "\n"
        else:
            yield from _wrapped(row, widths, template)


def _fit(widths: list[int], floors: list[int], available: int) -> list[int]:
    """Narrow the widest columns until the line fits, but none so far that a name would have to be broken."""
    fitted = list(widths)
    excess = sum(fitted) + len(_GAP) * (len(fitted) - 1) - available
    while excess > 0:
        slack = [i for i, width in enumerate(fitted) if width > floors[i]]
        if not slack:
            break
        fitted[max(slack, key=lambda i: fitted[i])] -= 1
        excess -= 1
    return fitted


def _wrapped(cells: Sequence[str], widths: Sequence[int], template: str) -> Iterator[str]:
    folded = [
        textwrap.wrap(c, w, break_on_hyphens=False, break_long_words=False) or [""]
        for c, w in zip(cells, widths, strict=True)
    ]
    for line in range(max(map(len, folded))):
        yield (template % tuple(f[line] if line < len(f) else "" for f in folded)).rstrip() + "\n"
