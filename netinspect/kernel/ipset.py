"""``ipset save``, both ways. Source: ipset(8), lib/session.c."""

from __future__ import annotations

from collections.abc import Iterable

from netinspect.errors import ParseError
from netinspect.kernel.reading import guarded
from netinspect.model.kernel import IpSet, IpSetEntry

SECTION = "ipset"
_FLAGS = frozenset({"counters", "comment", "skbinfo", "forceadd", "nomatch"})


def parse(text: str) -> tuple[IpSet, ...]:
    """Read all sets with their entries; raises ``ParseError``."""
    sets: dict[str, IpSet] = {}
    entries: dict[str, list[IpSetEntry]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("add "):
            # Most lines are of two words after the verb: a set may have a hundred thousand.
            words = line.split(" ")
            if len(words) == 3:
                name, entry = words[1], IpSetEntry(value=words[2])
            else:
                name, entry = guarded(SECTION, number, line, _entry)
            if name not in entries:
                raise ParseError(SECTION, number, f"an entry of {name[:80]!r}, which was not created")
            entries[name].append(entry)
        elif line.startswith("create "):
            created = guarded(SECTION, number, line, _create)
            sets[created.name] = created
            entries[created.name] = []
        elif line.strip() and not line.startswith("#"):
            raise ParseError(SECTION, number, f"cannot read {line[:80]!r}")
    return tuple(
        IpSet(name=s.name, type=s.type, options=s.options, entries=tuple(entries[s.name]), line=s.line)
        for s in sets.values()
    )


def _create(line: str, number: int) -> IpSet:
    words = _words(line)
    return IpSet(name=words[1], type=words[2], options=_options(words[3:]), line=number)


def _entry(line: str, _number: int) -> tuple[str, IpSetEntry]:
    words = _words(line)
    options = _options(words[3:])
    nomatch = ("nomatch", "") in options
    return words[1], IpSetEntry(
        value=words[2], nomatch=nomatch, options=tuple(o for o in options if o != ("nomatch", ""))
    )


def _words(line: str) -> list[str]:
    """Split a line at blanks, but not within quotes; comments hold no quotes (ipset(8))."""
    words: list[str] = []
    for number, part in enumerate(line.split('"')):
        words += [f'"{part}"'] if number % 2 else part.split()
    return words


def _options(words: list[str]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(words):
        word = words[position]
        following = words[position + 1] if position + 1 < len(words) else ""
        # ``comment`` is a flag of a set and has a value with an entry.
        if (word in _FLAGS and not following.startswith('"')) or not following:
            found.append((word, ""))
            position += 1
        else:
            found.append((word, following))
            position += 2
    return tuple(found)


def unparse(sets: Iterable[IpSet]) -> str:
    """Print sets as ``ipset save`` would."""
    lines: list[str] = []
    for one in sets:
        lines.append(" ".join(["create", one.name, one.type, *_printed(one.options)]))
        lines += [
            " ".join(["add", one.name, e.value, *_printed(e.options), *(["nomatch"] if e.nomatch else [])])
            for e in one.entries
        ]
    return "".join(f"{line}\n" for line in lines)


def _printed(options: tuple[tuple[str, str], ...]) -> list[str]:
    return [word for option in options for word in option if word]
