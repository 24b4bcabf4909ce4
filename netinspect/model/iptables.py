"""An iptables ruleset as iptables-save prints it: tables, chains, and rules made of typed terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from msgspec import Struct


class Prefix(Struct, frozen=True, gc=False):
    """An address and mask as numbers, beside the spelling they were read in. ``family`` is 4 or 6."""

    text: str
    family: int
    value: int
    mask: int


class Masked(Struct, frozen=True, gc=False):
    """A number and the bits of it that count; no mask means all."""

    value: int
    mask: int | None = None


class Span(Struct, frozen=True, gc=False):
    """Numbers from ``first`` to ``last``, both included; ``text`` is the spelling."""

    first: int
    last: int
    text: str


class AddressRange(Struct, frozen=True, gc=False):
    """What NAT puts in the place of an address and port (``--to-destination``, ``--to-source``); empty means kept."""

    first: str
    last: str
    ports: Span | None
    text: str


class Rate(Struct, frozen=True, gc=False):
    """So many an interval (``5/min``); the interval in seconds."""

    count: int
    seconds: int
    text: str


class SetReference(Struct, frozen=True, gc=False):
    """An ipset, and which parts of the packet are looked up in it: ``src`` or ``dst`` for each dimension."""

    name: str
    directions: tuple[str, ...]


class Option(Struct, frozen=True, gc=False):
    """One option of a match or target; the type of its value hangs on the flag (``kernel.extensions``)."""

    flag: str
    value: Any = True
    negated: bool = False
    quoted: bool = False


class Match(Struct, frozen=True, gc=False):
    """A match with its options; ``module`` is empty for iptables' own (-s, -d, -i, -o, -p, -f).

    ``implicit`` says that it came with ``-p`` instead of ``-m``. ``unmodelled`` is the text of one that is not known.
    """

    module: str
    options: tuple[Option, ...] = ()
    implicit: bool = False
    unmodelled: str = ""


class Target(Struct, frozen=True, gc=False):
    """What a rule does: a verdict, a jump or goto to a chain, or an extension with its options."""

    name: str
    options: tuple[Option, ...] = ()
    goto: bool = False
    unmodelled: str = ""


class IptablesRule(Struct, frozen=True, gc=False):
    """A rule; ``line`` is its line in the dump, from 1. Without a target it only counts."""

    matches: tuple[Match, ...]
    target: Target | None
    line: int
    packets: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain; ``policy`` is None for those that users made. Its rules are parsed when they are asked for."""

    name: str
    policy: str | None
    packets: int | None
    bytes: int | None
    lines: tuple[tuple[int, str], ...]
    parse: Callable[[str, int], IptablesRule]
    line: int

    @cached_property
    def rules(self) -> tuple[IptablesRule, ...]:
        """Give the rules in order; raises ``ParseError`` where a line is no rule."""
        return tuple(self.parse(text, number) for number, text in self.lines)


@dataclass(frozen=True, eq=False)
class Table:
    """A table (raw, mangle, nat, filter, security) with its chains in the order of the dump."""

    name: str
    chains: Mapping[str, Chain]
    line: int


@dataclass(frozen=True, eq=False)
class Ruleset:
    """All tables of one family (``inet`` or ``inet6``) and one variant (``nft`` or ``legacy``).

    ``frame`` holds the lines that are neither chains nor rules (comments, COMMIT) with their numbers, ``indents`` the
    blanks before lines that somebody has indented.
    """

    family: str
    variant: str
    tables: Mapping[str, Table]
    frame: tuple[tuple[int, str], ...] = ()
    indents: Mapping[int, str] = field(default_factory=dict)
