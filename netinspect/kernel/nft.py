"""nft's JSON, both ways, versions 0.9 to 1.1. Source: libnftables-json(5) and nftables src/json.c, src/parser_json.c.

A rule is parsed when its chain is asked for its rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from netinspect.errors import ParseError
from netinspect.kernel.reading import MISREAD, guarded
from netinspect.model.nft import NftChain, NftObject, NftRule, NftRuleset, NftSet, Term

SECTION = "nftables"
_ANY: Final = None
_NAT = frozenset({"addr", "family", "port", "flags", "type_flags"})
_LIMIT = frozenset({"rate", "rate_unit", "per", "burst", "burst_unit", "inv", "name"})
_ELEMENT_STATEMENTS = frozenset({"counter", "limit", "quota", "last", "ct count", "connlimit"})

# The fields that each kind may have; None where its body is no mapping.
EXPRESSIONS: Final[dict[str, frozenset[str] | None]] = {
    "payload": frozenset({"protocol", "field", "base", "offset", "len", "tunnel"}),
    "exthdr": frozenset({"name", "field", "offset"}),
    "tcp option": frozenset({"name", "field", "base", "offset", "len"}),
    "ip option": frozenset({"name", "field"}),
    "sctp chunk": frozenset({"name", "field"}),
    "dccp option": frozenset({"type"}),
    "meta": frozenset({"key"}),
    "rt": frozenset({"key", "family"}),
    "ct": frozenset({"key", "family", "dir"}),
    "fib": frozenset({"result", "flags"}),
    "socket": frozenset({"key"}),
    "osf": frozenset({"key", "ttl"}),
    "ipsec": frozenset({"key", "family", "dir", "spnum"}),
    "tunnel": frozenset({"key"}),
    "numgen": frozenset({"mode", "mod", "offset"}),
    "jhash": frozenset({"mod", "offset", "seed", "expr"}),
    "symhash": frozenset({"mod", "offset"}),
    "prefix": frozenset({"addr", "len"}),
    "range": _ANY,
    "concat": _ANY,
    "set": frozenset({"op", "elem", "set", "stmt"}),
    "map": frozenset({"key", "data", "op", "elem", "map", "stmt"}),
    "elem": frozenset({"val", "timeout", "expires", "comment"}) | _ELEMENT_STATEMENTS,
    "|": _ANY,
    "^": _ANY,
    "&": _ANY,
    "<<": _ANY,
    ">>": _ANY,
    "accept": _ANY,
    "drop": _ANY,
    "continue": _ANY,
    "return": _ANY,
    "jump": frozenset({"target"}),
    "goto": frozenset({"target"}),
}
STATEMENTS: Final[dict[str, frozenset[str] | None]] = {
    "match": frozenset({"op", "left", "right"}),
    "counter": frozenset({"packets", "bytes", "name", "family", "table"}),
    "mangle": frozenset({"key", "value"}),
    "quota": frozenset({"val", "val_unit", "used", "used_unit", "inv", "name"}),
    "limit": _LIMIT,
    "flow": frozenset({"op", "flowtable"}),
    "fwd": frozenset({"dev", "family", "addr"}),
    "notrack": _ANY,
    "dup": frozenset({"addr", "dev"}),
    "snat": _NAT,
    "dnat": _NAT,
    "masquerade": _NAT,
    "redirect": _NAT,
    "reject": frozenset({"type", "expr"}),
    "set": frozenset({"op", "elem", "set", "stmt"}),
    "map": frozenset({"op", "elem", "data", "map", "stmt", "key"}),
    "log": frozenset({"prefix", "group", "snaplen", "queue-threshold", "level", "flags"}),
    "ct helper": _ANY,
    "ct timeout": _ANY,
    "ct expectation": _ANY,
    "ct count": frozenset({"val", "inv"}),
    "meter": frozenset({"name", "key", "stmt", "size"}),
    "queue": frozenset({"num", "flags"}),
    "vmap": frozenset({"key", "data"}),
    "tproxy": frozenset({"family", "addr", "port"}),
    "synproxy": frozenset({"mss", "wscale", "flags"}),
    "last": frozenset({"used"}),
    "secmark": _ANY,
    "reset": _ANY,
    **{verdict: EXPRESSIONS[verdict] for verdict in ("accept", "drop", "continue", "return", "jump", "goto")},
}
# nft prints an extension of iptables by its name at most, never with its options: iptables-save has them.
_OPAQUE: Final = "xt"
_KNOWN: Final = {
    kind: (EXPRESSIONS.get(kind) or frozenset()) | (STATEMENTS.get(kind) or frozenset())
    for kind in (*EXPRESSIONS, *STATEMENTS)
}
_SHOWN = 80
_NOWHERE: Final[Mapping[tuple[str, str, str], tuple[str, ...]]] = {}
_AT: Final = re.compile(r" hook \S+ (?:device (?P<one>\S+)|devices = \{(?P<several>[^}]*)\}) ")


def devices(text: str) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """Read out of ``nft list chains`` at which devices chains are, which nft 1.0 leaves out of its JSON."""
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    family = table = chain = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["table"] and len(words) >= 3:
            family, table = words[1:3]
        elif words[:1] == ["chain"] and len(words) >= 2:
            chain = words[1]
        elif told := _AT.search(line):
            names = told["one"] or told["several"]
            found[family, table, chain] = tuple(n.strip().strip('"') for n in names.split(","))
    return found


def parse(text: str, at: Mapping[tuple[str, str, str], tuple[str, ...]] = _NOWHERE) -> NftRuleset:
    """Read a ruleset; rules are parsed later. Raises ``ParseError`` that counts the objects as lines, from 1.

    ``at`` gives the devices of chains, by family, table and name, of which it does not say them.
    """
    try:
        found = msgspec.json.decode(text or '{"nftables":[]}', type=_Dump).nftables
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ParseError(SECTION, 1, f"not nft's JSON: {error}") from error
    order: list[tuple[str, Any]] = []
    rules: dict[tuple[str, str, str], list[tuple[int, Any]]] = {}
    for number, one in enumerate(found, 1):
        if len(one) != 1:
            raise ParseError(SECTION, number, f"an object of one kind was expected, not of {len(one)}")
        ((kind, raw),) = one.items()
        order.append((kind, raw))
        if kind == "rule":
            place = guarded(SECTION, number, "rule", lambda _text, _n, raw=raw: _place(raw))  # type: ignore[misc]
            rules.setdefault(place, []).append((number, raw))
    tables: list[NftObject] = []
    others: list[NftObject] = []
    chains: dict[tuple[str, str, str], NftChain] = {}
    sets: dict[tuple[str, str, str], NftSet] = {}
    version = ""
    for number, (kind, raw) in enumerate(order, 1):
        if kind == "rule":
            continue
        body = guarded(SECTION, number, kind, lambda _text, _n, raw=raw: _object(raw))  # type: ignore[misc]
        place = (str(body.get("family", "")), str(body.get("table", "")), str(body.get("name", "")))
        if kind == "metainfo":
            version = str(body.get("version", ""))
        elif kind == "table":
            tables.append(NftObject(kind, body, number))
        elif kind == "chain":
            mine = tuple(rules.get(place, ()))
            body.setdefault("dev", at.get(place))
            chains[place] = guarded(SECTION, number, kind, lambda _t, n, b=body, m=mine: _chain(b, m, n))  # type: ignore[misc]
        elif kind in ("set", "map"):
            sets[place] = guarded(SECTION, number, kind, lambda _text, n, body=body: _set(body, n))  # type: ignore[misc]
        else:
            others.append(NftObject(kind, body, number))
    return NftRuleset(version, tuple(tables), chains, sets, tuple(others), tuple(order))


class _Dump(msgspec.Struct):
    nftables: list[dict[str, msgspec.Raw]]


class _Place(msgspec.Struct, gc=False):
    family: str
    table: str
    chain: str


def _place(raw: Any) -> tuple[str, str, str]:
    place = msgspec.json.decode(raw, type=_Place)
    return place.family, place.table, place.chain


def _object(raw: Any) -> dict[str, Any]:
    body = msgspec.json.decode(raw)
    if not isinstance(body, dict):
        raise TypeError("an object was expected")
    return body


def _chain(body: dict[str, Any], rules: tuple[tuple[int, Any], ...], number: int) -> NftChain:
    devices = body.get("dev") or ()
    prio = body.get("prio")
    return NftChain(
        family=str(body.get("family", "")),
        table=str(body.get("table", "")),
        name=str(body.get("name", "")),
        hook=body.get("hook"),
        type=body.get("type"),
        prio=prio if isinstance(prio, int) else None,
        policy=body.get("policy"),
        devices=(devices,) if isinstance(devices, str) else tuple(devices),
        handle=body.get("handle"),
        comment=str(body.get("comment", "")),
        raw_rules=rules,
        parse=_rule,
        number=number,
    )


_SET_FIELDS = frozenset({"family", "table", "name", "type", "map", "flags", "elem"})


def _set(body: dict[str, Any], number: int) -> NftSet:
    flags = body.get("flags") or ()
    return NftSet(
        family=str(body.get("family", "")),
        table=str(body.get("table", "")),
        name=str(body.get("name", "")),
        key=term(body.get("type")),
        data=term(body.get("map")),
        number=number,
        flags=(flags,) if isinstance(flags, str) else tuple(flags),
        elements=tuple(term(e) for e in body.get("elem") or ()),
        fields={k: v for k, v in body.items() if k not in _SET_FIELDS},
    )


def _rule(raw: Any, number: int) -> NftRule:
    try:
        body = _object(raw)
        return NftRule(
            statements=tuple(statement(s) for s in body.get("expr") or ()),
            number=number,
            handle=body.get("handle"),
            comment=str(body.get("comment", "")),
        )
    except (msgspec.DecodeError, *MISREAD) as error:
        raise ParseError(SECTION, number, f"cannot read a rule: {str(error)[:_SHOWN]}") from error


def statement(found: Any) -> Term:
    """Read one statement of a rule."""
    read = term(found)
    if not isinstance(read, Term):
        raise TypeError("a statement has one key")
    return read


def term(found: Any) -> Any:  # noqa: PLR0911 - one for each form of a value
    """Read a value: a number or text is itself, a list a tuple, an object with one key a Term."""
    if isinstance(found, dict):
        if len(found) != 1:
            return {k: term(v) for k, v in found.items()}
        ((kind, body),) = found.items()
        if kind == _OPAQUE or kind not in _KNOWN:
            return Term(kind, body, modelled=False)
        if isinstance(body, dict) and not (len(body) == 1 and next(iter(body)) in EXPRESSIONS and _unnamed(kind)):
            if not body.keys() <= _KNOWN[kind]:
                return Term(kind, body, modelled=False)
            return Term(kind, {k: term(v) for k, v in body.items()})
        return Term(kind, term(body))
    if isinstance(found, list):
        return tuple(term(f) for f in found)
    return found


def _unnamed(kind: str) -> bool:
    """Say whether the body of a kind is itself an expression: an anonymous set of one, a range, an operation."""
    return _KNOWN[kind] == frozenset() or kind in ("set", "ct helper", "ct timeout", "ct expectation")


def plain(value: Any) -> Any:
    """Give a value as nft's JSON has it: the inverse of ``term``."""
    if isinstance(value, Term):
        return {value.kind: plain(value.body) if value.modelled else value.body}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value


def unparse(ruleset: NftRuleset) -> dict[str, Any]:
    """Give the JSON of a ruleset, as ``nft -j -f`` takes it."""
    found: dict[int, dict[str, Any]] = {}
    for number, (kind, raw) in enumerate(ruleset.order, 1):
        if kind == "metainfo":
            found[number] = {kind: msgspec.json.decode(raw)}
    for thing in (*ruleset.tables, *ruleset.others):
        found[thing.number] = {thing.kind: thing.fields}
    for chain in ruleset.chains.values():
        found[chain.number] = {"chain": _plain_chain(chain)}
        for rule in chain.rules:
            found[rule.number] = {"rule": _plain_rule(chain, rule)}
    for one in ruleset.sets.values():
        found[one.number] = {"set" if one.data is None else "map": _plain_set(one)}
    return {"nftables": [found[number] for number in sorted(found)]}


def _plain_chain(chain: NftChain) -> dict[str, Any]:
    devices = chain.devices[0] if len(chain.devices) == 1 else list(chain.devices)
    fields = {
        "family": chain.family,
        "table": chain.table,
        "name": chain.name,
        "handle": chain.handle,
        "comment": chain.comment or None,
        "dev": devices or None,
        "type": chain.type,
        "hook": chain.hook,
        "prio": chain.prio,
        "policy": chain.policy,
    }
    return {k: v for k, v in fields.items() if v is not None}


def _plain_rule(chain: NftChain, rule: NftRule) -> dict[str, Any]:
    fields = {
        "family": chain.family,
        "table": chain.table,
        "chain": chain.name,
        "handle": rule.handle,
        "comment": rule.comment or None,
        "expr": [plain(s) for s in rule.statements],
    }
    return {k: v for k, v in fields.items() if v is not None}


def _plain_set(one: NftSet) -> dict[str, Any]:
    fields = {
        "family": one.family,
        "name": one.name,
        "table": one.table,
        "type": plain(one.key),
        "map": plain(one.data),
        "flags": list(one.flags) or None,
        "elem": [plain(e) for e in one.elements] or None,
    }
    return {k: v for k, v in fields.items() if v is not None} | one.fields
