"""An nftables ruleset as ``nft -j list ruleset`` prints it (libnftables-json(5))."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec import Struct


class Term(Struct, frozen=True, gc=False):
    """An expression or statement: its kind is the key of libnftables-json(5), such as ``match`` or ``payload``.

    ``body`` is None, a number or text, a tuple of operands, or a mapping of fields, in all of which expressions are
    Terms. A kind or field that is not known makes a Term that is not ``modelled``, and keeps it whole.
    """

    kind: str
    body: Any = None
    modelled: bool = True

    def __getitem__(self, field: str) -> Any:
        """Give a field; None where it was not printed."""
        return self.body.get(field) if isinstance(self.body, Mapping) else None


class NftRule(Struct, frozen=True, gc=False):
    """A rule: its statements in order; ``number`` is its place among the objects of the ruleset, from 1."""

    statements: tuple[Term, ...]
    number: int
    handle: int | None = None
    comment: str = ""


@dataclass(frozen=True, eq=False)
class NftChain:
    """A chain; one without ``hook`` is only jumped to. ``prio`` orders the chains of a hook, lowest first."""

    family: str
    table: str
    name: str
    hook: str | None
    type: str | None
    prio: int | None
    policy: str | None
    devices: tuple[str, ...]
    handle: int | None
    comment: str
    raw_rules: tuple[tuple[int, Any], ...]
    parse: Callable[[Any, int], NftRule]
    number: int

    @cached_property
    def rules(self) -> tuple[NftRule, ...]:
        """Give the rules in order, parsed when they are asked for; raises ``ParseError``."""
        return tuple(self.parse(raw, number) for number, raw in self.raw_rules)


class NftSet(Struct, frozen=True, gc=False):
    """A set, or a map where ``data`` says what it maps to; ``key`` is a type, several of a concatenation, or a Term."""

    family: str
    table: str
    name: str
    key: Any
    data: Any
    number: int
    flags: tuple[str, ...] = ()
    elements: tuple[Any, ...] = ()
    fields: dict[str, Any] = {}


class NftObject(Struct, frozen=True, gc=False):
    """Any other object: table, flowtable, counter, quota, limit, ct helper, synproxy and so on, by its fields."""

    kind: str
    fields: dict[str, Any]
    number: int

    @property
    def name(self) -> str:
        """Give its name."""
        return str(self.fields.get("name", ""))


@dataclass(frozen=True, eq=False)
class NftRuleset:
    """A whole ruleset. ``version`` is nft's own; ``order`` holds every object as it came, so that none is lost."""

    version: str
    tables: tuple[NftObject, ...]
    chains: Mapping[tuple[str, str, str], NftChain]
    sets: Mapping[tuple[str, str, str], NftSet]
    others: tuple[NftObject, ...]
    order: tuple[tuple[str, Any], ...]
