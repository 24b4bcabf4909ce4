"""Columns of plain text, in kubectl's manner: no borders, and nothing ever cut off.

A library's tables were tried: rich needs 14 seconds for the 30,000 rows that a large cluster has.
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


def columns(
    header: Sequence[str], rows: Iterable[Sequence[str]], style: Style, optional: Sequence[str] = ()
) -> Iterator[str]:
    """Align the rows below the header; a column that is empty in every row is left out.

    Where the width is limited, the widest columns are made narrower and their cells go on over several lines. Words
    are never broken: a name that stands in two pieces can be neither read nor copied. Where that is not enough, the
    ``optional`` columns are left out and said to be, and then the last column runs on.
    """
    cells = [row if "".join(row).isprintable() else tuple(map(safe, row)) for row in rows]
    if not any(map(any, cells)):
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    kept = [i for i, width in enumerate(widths) if width]
    dropped: list[str] = []
    if style.width is not None:
        floors = [max((len(w) for c in column for w in c.split()), default=0) for column in zip(*cells, strict=True)]
        floors = [max(floor, len(name)) for floor, name in zip(floors, header, strict=True)]
        for name in (n for n in optional if header.index(n) in kept):
            if _total([floors[i] for i in kept]) > style.width:
                kept.remove(header.index(name))
                dropped.append(name)
        widths = _fit([max(widths[i], len(header[i])) for i in kept], [floors[i] for i in kept], style.width)
    else:
        widths = [max(widths[i], len(header[i])) for i in kept]
    chosen: Callable[[Sequence[str]], Any] = itemgetter(*kept) if len(kept) > 1 else lambda row: (row[kept[0]],)
    template = _GAP.join(f"%-{width}s" for width in widths)
    yield (template % chosen(header)).rstrip() + "\n"
    for row in map(chosen, cells):
        if style.width is None or all(len(c) <= w for c, w in zip(row, widths, strict=True)):
            yield (template % row).rstrip() + "\n"
        else:
            yield from _wrapped(row, widths, template)
    if dropped:
        yield f"(-o wide also shows {', '.join(dropped)})\n"


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _fit(widths: list[int], floors: list[int], available: int) -> list[int]:
    """Narrow the widest columns until the line fits, but none so far that a name would have to be broken."""
    if _total(floors) > available:
        return [*floors[:-1], widths[-1]]
    fitted = list(widths)
    while _total(fitted) > available:
        slack = [i for i, width in enumerate(fitted) if width > floors[i]]
        fitted[max(slack, key=lambda i: fitted[i])] -= 1
    return fitted


def _wrapped(cells: Sequence[str], widths: Sequence[int], template: str) -> Iterator[str]:
    folded = [
        textwrap.wrap(c, w, break_on_hyphens=False, break_long_words=False) or [""]
        for c, w in zip(cells, widths, strict=True)
    ]
    for line in range(max(map(len, folded))):
        yield (template % tuple(f[line] if line < len(f) else "" for f in folded)).rstrip() + "\n"
