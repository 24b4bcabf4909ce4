"""A base chain of nftables: its rules, statement by statement. Sources: nft(8), net/netfilter/nf_tables_core.c."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final, cast

from msgspec import Struct

from netinspect.errors import ParseError
from netinspect.kernel.simulator import nat, targets
from netinspect.kernel.simulator.datatypes import Interval, Part, Unmodelled, Value, constant, holds
from netinspect.kernel.simulator.expressions import DRAWN, Read, draw, fields, is_bitmask, kinds, read, same_draw
from netinspect.kernel.simulator.forks import Drawn, Maybe, Truth, Way
from netinspect.kernel.simulator.targets import Next
from netinspect.kernel.simulator.traversal import Traversal
from netinspect.kernel.simulator.written import Written, since
from netinspect.model.nft import NftChain, NftRule, NftRuleset, NftSet, Term
from netinspect.model.packet import BITS, number
from netinspect.model.walk import End, Pointer, Stage, Verdict

_DEEPEST: Final = 16
# More than any ruleset has; a ruleset in which chains lead to each other does not load.
_MOST_JUMPS: Final = 10_000
# What nft gives a set that rules write into, where nobody has said how many elements it takes.
_MOST_ELEMENTS: Final = 65535
_SECTION: Final = "nftables"


class Jump(Struct, frozen=True, gc=False):
    """A verdict that leads to another chain, and back from there unless it is a goto."""

    target: str
    goto: bool


class Return(Struct, frozen=True, gc=False):
    """A verdict that leads back to where the chain was jumped from."""


# Where the rules stand whose extensions nft prints by their names alone.
_OWNERS: Final = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}
# Of a statement: None goes on with the next, False ends the rule without a verdict.
Done = Jump | Return | End | Next | bool | None


# Statements of an element by which it may not be there for a packet: they hang on what came before (nft_lookup_eval).
_CONDITIONS: Final = ("limit", "quota", "ct count")


class Elements:
    """The elements of a set or map, exact ones by their values, the others in order."""

    def __init__(self, elements: Sequence[Any], kind: tuple[str, ...], *, mapped: bool) -> None:
        self._raw = elements
        self._kinds = kind
        self._mapped = mapped
        self._conditional: dict[tuple[Part, ...], Maybe] = {}

    @cached_property
    def parts(self) -> tuple[tuple[tuple[Part, ...], Any], ...]:
        """Give each element's key, and what it maps to; raises ``Unmodelled``."""
        found = []
        for one in self._raw:
            key, data = (one[0], one[1]) if self._mapped else (one, None)
            if isinstance(key, Term) and key.kind == "elem":
                conditions = [c for c in _CONDITIONS if key[c] is not None]
                key = key["val"]
                if conditions:
                    self._conditional[self._key(key)] = Maybe(f"the element has a {conditions[0]} of its own")
            found.append((self._key(key), data))
        return tuple(found)

    def _key(self, key: Any) -> tuple[Part, ...]:
        if isinstance(key, Term) and key.kind == "concat":
            return tuple(constant(k, part) for k, part in zip(self._kinds, key.body, strict=True))
        return (constant(self._kinds[0], key),)

    @cached_property
    def _exact(self) -> dict[tuple[Part, ...], Any]:
        return {key: data for key, data in self.parts if not _wide(key)}

    @cached_property
    def _wide(self) -> tuple[tuple[tuple[Part, ...], Any], ...]:
        return tuple((key, data) for key, data in self.parts if _wide(key))

    @cached_property
    def _ranges(self) -> tuple[list[int], list[tuple[Interval, Any]]] | None:
        """Give the intervals by where they begin; None where a key is more than one interval. They do not overlap."""
        found = [(key[0], data) for key, data in self._wide if len(key) == 1 and isinstance(key[0], Interval)]
        if len(found) != len(self._wide):
            return None
        found.sort(key=lambda one: one[0].first)
        return [part.first for part, _ in found], found

    def find(self, value: tuple[Value | Maybe, ...]) -> tuple[Truth, Any]:
        """Say whether a value is in it, and what it maps to; not certain where a part of the value is not."""
        for unsure in value:
            if isinstance(unsure, Maybe):
                return (unsure if any(True for _ in self.candidates(value)) else False), None
        found = self._element(cast("tuple[Value, ...]", value))
        return (False, None) if found is None else (self._conditional.get(found[0], True), found[1])

    def _element(self, known: tuple[Value, ...]) -> tuple[tuple[Part, ...], Any] | None:
        if known in self._exact:
            return known, self._exact[known]
        if self._ranges is not None and len(known) == 1 and isinstance(known[0], int):
            place = bisect_right(self._ranges[0], known[0]) - 1
            part, data = self._ranges[1][place] if place >= 0 else (None, None)
            return ((part,), data) if part is not None and known[0] <= part.last else None
        for key, data in self._wide:
            if len(key) == len(known) and all(holds(k, v) for k, v in zip(key, known, strict=True)):
                return key, data
        return None

    def candidates(self, value: tuple[Value | Maybe, ...]) -> Iterator[tuple[tuple[Part, ...], Any]]:
        """Give the elements that a value may be, as far as it is known."""
        for key, data in self.parts:
            if len(key) == len(value) and all(may_be(k, v) for k, v in zip(key, value, strict=True)):
                yield key, data


def may_be(part: Part, value: Value | Maybe) -> bool:
    """Say whether a value may be what a part of an element's key holds, as far as it is known."""
    if isinstance(value, Drawn):
        return _drawn(part, value) is not False
    return isinstance(value, Maybe) or holds(part, value)


def _drawn(part: Part, value: Drawn) -> Truth:
    if isinstance(part, Interval):
        return value.among(part.first, part.last)
    return value.among(part, part) if isinstance(part, int) else value


def _wide(key: tuple[Part, ...]) -> bool:
    return any(isinstance(p, Interval) or (isinstance(p, str) and p.endswith("*")) for p in key)


class Tables:
    """All chains and sets of a namespace's nftables."""

    def __init__(self, ruleset: NftRuleset, namespace: str) -> None:
        self.ruleset = ruleset
        self._namespace = namespace
        self._elements: dict[object, Elements] = {}

    def pointer(self, number_: int, text: str = "") -> Pointer:
        """Point at an object of the ruleset."""
        return Pointer(self._namespace, _SECTION, number_, text)

    def elements(self, data: Any, chain: NftChain, kind: tuple[str, ...], *, mapped: bool) -> Elements | None:
        """Give the elements of a named or anonymous set; None where there is none of the name."""
        if isinstance(data, str):
            named: NftSet | None = self.ruleset.sets.get((chain.family, chain.table, data.removeprefix("@")))
            if named is None:
                return None
            key: object = (chain.family, chain.table, data, kind)
            raw: Sequence[Any] = named.elements
        else:
            key = (id(data), kind)
            body = data.body if isinstance(data, Term) else data
            raw = body if isinstance(body, tuple) else (body,)
        if key not in self._elements:
            self._elements[key] = Elements(raw, kind, mapped=mapped)
        return self._elements[key]


def run(tables: Tables, base: NftChain, at: Traversal) -> End | None:
    """Send a packet through a base chain; None where it may go on."""
    returns: list[tuple[NftChain, int]] = []
    chain, position, jumps = base, 0, 0
    while True:
        try:
            rules = chain.rules
        except ParseError as error:
            return at.unknown(f"a rule cannot be read: {error}", "a parser that knows its form")
        if position >= len(rules):
            done: Done = Return()
        else:
            done = _rule(tables, chain, rules[position], at)
            position += 1
        match done:
            case Return():
                if not returns:
                    return _policy(tables, base, at)
                chain, position = returns.pop()
            case Jump():
                if not done.goto:
                    returns.append((chain, position))
                jumps += 1
                target = tables.ruleset.chains.get((base.family, base.table, done.target))
                if target is None or len(returns) > _DEEPEST or jumps > _MOST_JUMPS:
                    what = "was not read" if target is None else "leads round and round, as no kernel allows"
                    return at.unknown(f"the chain {done.target} {what}", "reading the ruleset again")
                chain, position = target, 0
            case End():
                return done
            case Next.ACCEPT:
                return None
            case _:
                pass


def _policy(tables: Tables, base: NftChain, at: Traversal) -> End | None:
    if base.policy != "drop":
        return None
    said = f"the policy of {base.family} {base.table} {base.name} is drop"
    return at.end(Verdict.DROPPED, said, tables.pointer(base.number, said))


def _rule(tables: Tables, chain: NftChain, rule: NftRule, at: Traversal) -> Done:
    said = f"{chain.family} {chain.table} {chain.name}" + (f" ({rule.comment})" if rule.comment else "")
    pointer = tables.pointer(rule.number, said)
    maker = Rule(tables, chain, at, pointer)
    for statement in rule.statements:
        try:
            done = maker.do(statement)
        except Unmodelled as missing:
            if statement.kind not in ("match", "xt"):
                return at.unknown(f"not modelled: {missing}", "a probe", pointer)
            done = None
            if statement.kind == "xt" and _OWNERS.get(chain.family) in at.stack.missing:
                # That nothing that matters is missing there is supposed already: one question, and not one a rule.
                return False
            if not at.walk.forks.holds(Maybe(f"not modelled: {missing}"), f"does a rule of {said} match", pointer):
                return False
        if done is not None:
            if not isinstance(done, bool):
                at.step(Stage(at.hook), _shown(said, done), pointer)
            return done
    return None


def _shown(said: str, done: Done) -> str:
    match done:
        case Jump():
            return f"{said}: {'goto' if done.goto else 'jump'} {done.target}"
        case Return():
            return f"{said}: return"
        case End():
            return f"{said}: {done.verdict.value}"
        case _:
            return f"{said}: accept"


class Rule:
    """The statements of one rule, at work on a packet."""

    def __init__(self, tables: Tables, chain: NftChain, at: Traversal, pointer: Pointer) -> None:
        self.tables = tables
        self.chain = chain
        self.at = at
        self.pointer = pointer

    def do(self, statement: Term) -> Done:
        """Do one statement; raises ``Unmodelled``."""
        if not statement.modelled:
            raise Unmodelled(f"{statement.kind} {statement.body}"[:200])
        known = _STATEMENTS.get(statement.kind)
        if known is None:
            raise Unmodelled(f"the statement {statement.kind}")
        return known(self, statement)

    def value(self, term: Any) -> Read:
        """Read an expression, looking maps up."""
        if isinstance(term, Term) and term.kind == "map":
            found, data = self.look_up(term["key"], term["data"])
            return _plain(data) if found else None
        return read(term, self.at)

    def look_up(self, key: Any, data: Any) -> tuple[bool, Any]:
        """Look a key up in a map."""
        kind = kinds(key, self.at)
        elements = self.tables.elements(data, self.chain, kind, mapped=True)
        if elements is None:
            raise Unmodelled(f"the map {data}, which was not read")
        if isinstance(key, Term) and key.kind in DRAWN:
            return self._draw(key, elements)
        value = self.value(key)
        if value is None:
            return False, None
        whole = value if isinstance(value, tuple) else (value,)
        if any(w.key in (None, whole) for w in self.written(data)):
            raise Unmodelled(f"the map {data}, into which a rule before has written")
        found, result = elements.find(whole)
        return self._any(found, elements, whole) if isinstance(found, Maybe) else (found, result)

    def written(self, name: Any) -> list[Written]:
        """Give what rules have written into a set or map meanwhile: nothing into one without a name."""
        if not isinstance(name, str):
            return []
        return self.at.walk.written[self.at.stack.name, self.chain.family, self.chain.table, name]

    def _draw(self, key: Term, elements: Elements) -> tuple[bool, Any]:
        """Fork into the elements of a map that is looked up by chance, each as likely as it is wide."""
        count, offset = draw(key)
        ways: list[Way] = []
        datas: list[Any] = []
        left = count
        for (part, *_), data in elements.parts:
            first, last = (part.first, part.last) if isinstance(part, Interval) else (part, part)
            if not isinstance(first, int) or not isinstance(last, int):
                raise Unmodelled("a map of numbers with other keys")
            width = max(0, min(last, offset + count - 1) - max(first, offset) + 1)
            if width:
                ways.append(Way(f"{first}" if width == 1 else f"{first}-{last}", width / count))
                datas.append(data)
                left -= width
        if left > 0:
            ways.append(Way("no element", left / count))
        chosen = self.at.walk.forks.take(f"what {key.kind} draws", ways, self.pointer, once=same_draw(key, self.at))
        return (True, datas[chosen]) if chosen < len(datas) else (False, None)

    def _any(self, why: Maybe, elements: Elements, value: tuple[Value | Maybe, ...]) -> tuple[bool, Any]:
        """Fork into all elements of a map that a key may be which is not known."""
        found = list(elements.candidates(value))
        ways = [Way(str(key)) for key, _ in found]
        chosen = self.at.walk.forks.take(f"which element ({why.reason})", [*ways, Way("none")], self.pointer)
        return (True, found[chosen][1]) if chosen < len(ways) else (False, None)

    def matches(self, statement: Term) -> Truth:
        """Say whether a match holds."""
        left, right, op = statement["left"], statement["right"], str(statement["op"])
        kind = kinds(left, self.at)
        value = self.value(left)
        if value is None:
            return False
        plain = not _is_set(right) and not (isinstance(right, Term) and right.kind != "range")
        if isinstance(value, Drawn) and plain and op in ("==", "!="):
            found = _drawn(constant(kind[0], right), value)
            return found if isinstance(found, Maybe) else found != (op == "!=")
        if isinstance(value, Maybe) and not (isinstance(value, Drawn) and _is_set(right)):
            return value
        if _is_set(right):
            elements = self.tables.elements(right, self.chain, kind, mapped=False)
            if elements is None:
                raise Unmodelled(f"the set {right}, which was not read")
            if is_bitmask(kind) and op in ("==", "in") and not isinstance(right, str):
                return any(_flagged(k, value) for (k, *_), _ in elements.parts)
            whole = value if isinstance(value, tuple) else (value,)
            found = elements.find(whole)[0]
            if isinstance(found, bool):
                found = since(found, whole, self.written(right))
            return found if isinstance(found, Maybe) else found != (op == "!=")
        return self._compare(op, value, right, kind)

    def _compare(self, op: str, value: Any, right: Any, kind: tuple[str, ...]) -> Truth:
        if isinstance(right, Term) and right.kind == "concat":
            parts = tuple(constant(k, p) for k, p in zip(kind, right.body, strict=True))
            same = all(holds(p, v) for p, v in zip(parts, value, strict=True))
            return same != (op == "!=")
        if isinstance(right, Term) and right.kind in ("meta", "ct", "payload", "map"):
            other = self.value(right)
            if other is None or isinstance(other, Maybe):
                return False if other is None else other
            part: Part = other  # type: ignore[assignment]
        elif isinstance(right, bool):
            # Whether there is a route at all (fib ... exists, missing).
            return (value not in ("", 0)) == (right == (op == "=="))
        else:
            part = constant(kind[0], right)
        if op == "in" or (op == "!" and is_bitmask(kind)):
            return _flagged(part, value) != (op == "!")
        if op == "!=" and isinstance(part, Interval) and part.first > part.last:
            # So nft prints two comparisons of the same, "< first" and "> last" (range_expr of netlink_delinearize.c).
            return isinstance(value, int) and part.last < value < part.first
        if op in ("==", "!="):
            return holds(part, value) != (op == "!=")
        if not isinstance(part, int) or not isinstance(value, int):
            raise Unmodelled(f"the comparison {op}")
        return {"<": value < part, ">": value > part, "<=": value <= part, ">=": value >= part}[op]

    def number(self, term: Any, what: str) -> tuple[int, int] | None:
        """Give the range of numbers that a translation names: of addresses, or of ports."""
        if term is None:
            return None
        if isinstance(term, Term) and term.kind == "map":
            found, data = self.look_up(term["key"], term["data"])
            if not found:
                return None
            term = data
        if isinstance(term, Term) and term.kind in ("range", "prefix"):
            part = constant(what, term)
            return (part.first, part.last) if isinstance(part, Interval) else None
        if isinstance(term, Term) and term.kind not in ("concat",):
            value = self.value(term)
            if not isinstance(value, int):
                raise Unmodelled(f"a translation to {term.kind}")
            return value, value
        if isinstance(term, str) and what.startswith("ip"):
            value = number(term)[1]
            return value, value
        return int(term), int(term)


def _plain(data: Any) -> Read:
    if isinstance(data, Term):
        raise Unmodelled(f"a map to {data.kind}")
    if isinstance(data, str):
        try:
            return number(data)[1]
        except ValueError:
            return int(data, 0) if data[:2] == "0x" else data
    return int(data)


def _is_set(right: Any) -> bool:
    return (isinstance(right, str) and right.startswith("@")) or (isinstance(right, Term) and right.kind == "set")


def _flagged(part: Part, value: Any) -> bool:
    return isinstance(part, int) and isinstance(value, int) and bool(part & value)


# Statements.


def _match(rule: Rule, statement: Term) -> Done:
    truth = rule.matches(statement)
    held = rule.at.walk.forks.holds(truth, f"does a rule of {rule.pointer.text} match", rule.pointer)
    return None if held else False


def _verdict_map(rule: Rule, statement: Term) -> Done:
    found, data = rule.look_up(statement["key"], statement["data"])
    return rule.do(data) if found else False


def _mangle(rule: Rule, statement: Term) -> Done:
    key = statement["key"]
    what = (key.kind, str(key["key"] or f"{key['protocol']} {key['field']}"))
    if what in _UNCHANGED or key.kind in ("tcp option", "exthdr"):
        return None
    value = rule.value(statement["value"]) if isinstance(statement["value"], Term) else constant(
        kinds(key, rule.at)[0], statement["value"])  # fmt: skip
    if value is None:
        return False
    if isinstance(value, Maybe) or not isinstance(value, int):
        raise Unmodelled(f"setting {what} to {value}")
    setter = _SETTERS.get(what)
    if setter is None:
        raise Unmodelled(f"setting {' '.join(what)}")
    setter(rule.at, value)
    return None


def _set_ct_mark(at: Traversal, value: int) -> None:
    if at.entry is not None:
        at.entry.mark = value


def _set_zone(at: Traversal, value: int) -> None:
    at.zones = (value, value)


_UNCHANGED: Final = frozenset({("meta", "nftrace"), ("meta", "priority"), ("ct", "label"), ("ct", "event")})
_SETTERS: Final[dict[tuple[str, str], Callable[[Traversal, int], None]]] = {
    ("meta", "mark"): lambda at, v: at.change(mark=v),
    ("ct", "mark"): _set_ct_mark,
    ("ct", "zone"): _set_zone,
    ("payload", "ip ttl"): lambda at, v: at.change(ttl=v),
    ("payload", "ip6 hoplimit"): lambda at, v: at.change(ttl=v),
    ("payload", "ip dscp"): lambda at, v: at.change(tos=at.packet.tos & 3 | v << 2),
    ("payload", "ip6 dscp"): lambda at, v: at.change(tos=at.packet.tos & 3 | v << 2),
    ("payload", "ip daddr"): lambda at, v: at.change(dst=v),
    ("payload", "ip saddr"): lambda at, v: at.change(src=v),
    ("payload", "ip6 daddr"): lambda at, v: at.change(dst=v),
    ("payload", "ip6 saddr"): lambda at, v: at.change(src=v),
    **{("payload", f"{p} dport"): lambda at, v: at.change(dport=v) for p in ("tcp", "udp", "th", "sctp")},
    **{("payload", f"{p} sport"): lambda at, v: at.change(sport=v) for p in ("tcp", "udp", "th", "sctp")},
}


def _untrack(rule: Rule, _statement: Term) -> Done:
    if rule.at.packet.connection is None:
        rule.at.change(state="UNTRACKED")
    return None


def _translation(*, source: bool) -> Callable[[Rule, Term], Done]:
    def do(rule: Rule, statement: Term) -> Done:
        at = rule.at
        address, port = statement["addr"], statement["port"]
        kind = "ipv4_addr" if at.packet.family == 4 else "ipv6_addr"
        family = statement["family"]
        if family in ("ip", "ip6") and (family == "ip") != (at.packet.family == 4):
            return False
        if isinstance(address, Term) and address.kind == "map" and port is None:
            return _mapped(rule, statement, kind, source=source)
        addresses = rule.number(address, kind)
        if address is not None and addresses is None:
            return False
        mask = _mask(statement, address, kind)
        wanted = nat.Range(addresses, rule.number(port, "port"), _is_drawn(statement), mask)
        return targets.translate(at, wanted, rule.pointer, source=source)

    return do


def _mask(statement: Term, address: Any, kind: str) -> int | None:
    """Give the mask of a translation from one prefix to another (``snat prefix to``)."""
    if "prefix" not in (statement["type_flags"] or ()):
        return None
    if not isinstance(address, Term) or address.kind != "prefix":
        raise Unmodelled("a translation of prefixes to no prefix")
    bits = BITS[6 if kind == "ipv6_addr" else 4]
    return (1 << bits) - (1 << bits - int(address["len"]))


def _mapped(rule: Rule, statement: Term, kind: str, *, source: bool) -> Done:
    """Translate to what a map gives: an address, a prefix, or an address and a port."""
    found, data = rule.look_up(statement["addr"]["key"], statement["addr"]["data"])
    if not found:
        return False
    if isinstance(data, Term) and data.kind == "concat":
        address, port = data.body
        wanted = nat.Range(rule.number(address, kind), rule.number(port, "port"))
    else:
        wanted = nat.Range(rule.number(data, kind), mask=_mask(statement, data, kind))
    return targets.translate(rule.at, wanted, rule.pointer, source=source)


def _flags(statement: Term) -> tuple[str, ...]:
    flags = fields(statement.body).get("flags") or ()
    return (flags,) if isinstance(flags, str) else tuple(flags)


def _is_drawn(statement: Term) -> bool:
    return bool({"random", "fully-random"} & set(_flags(statement)))


def _masquerade(rule: Rule, statement: Term) -> Done:
    ports = rule.number(statement["port"], "port")
    return targets.masquerade(rule.at, ports, rule.pointer, drawn=_is_drawn(statement))


def _redirect(rule: Rule, statement: Term) -> Done:
    ports = rule.number(statement["port"], "port")
    return targets.redirect(rule.at, ports, rule.pointer, drawn=_is_drawn(statement))


_CODES: Final = {
    "net-unreachable": "icmp-net-unreachable", "host-unreachable": "icmp-host-unreachable",
    "prot-unreachable": "icmp-proto-unreachable", "port-unreachable": "icmp-port-unreachable",
    "net-prohibited": "icmp-net-prohibited", "host-prohibited": "icmp-host-prohibited",
    "admin-prohibited": "icmp-admin-prohibited",
}  # fmt: skip
_CODES6: Final = {
    "no-route": "icmp6-no-route", "admin-prohibited": "icmp6-adm-prohibited",
    "addr-unreachable": "icmp6-addr-unreachable", "port-unreachable": "icmp6-port-unreachable",
    "policy-fail": "icmp6-policy-fail", "reject-route": "icmp6-reject-route",
}  # fmt: skip
# The family-neutral codes (nft_reject.c), for both families.
_CODESX: Final = {
    "no-route": ("icmp-net-unreachable", "icmp6-no-route"),
    "port-unreachable": ("icmp-port-unreachable", "icmp6-port-unreachable"),
    "host-unreachable": ("icmp-host-unreachable", "icmp6-addr-unreachable"),
    "admin-prohibited": ("icmp-admin-prohibited", "icmp6-adm-prohibited"),
}


def _reject(rule: Rule, statement: Term) -> Done:
    four = rule.at.packet.family == 4
    kind, code = str(statement["type"] or "icmpx"), str(statement["expr"] or "port-unreachable")
    if kind == "tcp reset":
        return targets.reject(rule.at, "tcp-reset", rule.pointer)
    if kind != "icmpx" and (kind == "icmp") != four:
        return False
    known = _CODESX.get(code, ("", ""))[not four] if kind == "icmpx" else (_CODES if four else _CODES6).get(code)
    if not known:
        raise Unmodelled(f"reject with {kind} {code}")
    return targets.reject(rule.at, known, rule.pointer)


def _tproxy(rule: Rule, statement: Term) -> Done:
    family = statement["family"]
    if family in ("ip", "ip6") and (family == "ip") != (rule.at.packet.family == 4):
        return False
    address = rule.number(statement["addr"], "ipv4_addr" if rule.at.packet.family == 4 else "ipv6_addr")
    port = rule.number(statement["port"], "port")
    outcome = targets.steer(rule.at, address[0] if address else 0, port[0] if port else 0, None, rule.pointer)
    # nft's tproxy gives no verdict of its own, and where there is no socket it only ends the rule (nft_tproxy.c).
    if isinstance(outcome, End):
        return False
    return None


def _hangs(reason: str) -> Callable[[Rule, Term], Done]:
    def do(rule: Rule, _statement: Term) -> Done:
        held = rule.at.walk.forks.holds(Maybe(reason), f"does a rule of {rule.pointer.text} match", rule.pointer)
        return None if held else False

    return do


def _write(rule: Rule, statement: Term) -> Done:
    """Put into a set or map what is read of the packet, or take it out (nft_dynset_eval)."""
    name = statement["set"] or statement["map"]
    member = statement["elem"]
    value = rule.value(member["val"] if isinstance(member, Term) and member.kind == "elem" else member)
    if value is None:
        return False
    whole = value if isinstance(value, tuple) else (value,)
    key = None if any(isinstance(v, Maybe) for v in whole) else whole
    written = rule.written(name)
    named = rule.tables.ruleset.sets.get((rule.chain.family, rule.chain.table, str(name).removeprefix("@")))
    if named is None:
        raise Unmodelled(f"writing into the set {name}, which was not read")
    if statement["op"] == "delete":
        written.append(Written(key, held=False))
        return None
    conditions = [s for s in (statement["stmt"] or ()) if isinstance(s, Term) and s.kind in _CONDITIONS]
    conditions += [s for s in named.fields.get("stmt") or () if any(c in s for c in _CONDITIONS)]
    full = len(named.elements) + len(written) >= int(named.fields.get("size") or _MOST_ELEMENTS)
    if not full and not conditions:
        written.append(Written(key, held=True))
        return None
    written.append(Written(None, held=True))
    return _hangs("the set may be full" if full else "its element has a limit of its own")(rule, statement)


def _nothing(_rule: Rule, _statement: Term) -> Done:
    return None


def _drop(rule: Rule, _statement: Term) -> Done:
    return rule.at.end(Verdict.DROPPED, f"a rule of {rule.pointer.text} drops it", rule.pointer)


def _queue(rule: Rule, statement: Term) -> Done:
    said = f"a program decides, behind queue {fields(statement.body).get('num', 0)}"
    return rule.at.unknown(said, "a probe, or the program's own log", rule.pointer)


def _forward(rule: Rule, statement: Term) -> Done:
    return rule.at.unknown(f"fwd to {statement['dev']} is not modelled", "a probe", rule.pointer)


_STATEMENTS: Final[dict[str, Callable[[Rule, Term], Done]]] = {
    "match": _match,
    "vmap": _verdict_map,
    "mangle": _mangle,
    "notrack": _untrack,
    "dnat": _translation(source=False),
    "snat": _translation(source=True),
    "masquerade": _masquerade,
    "redirect": _redirect,
    "reject": _reject,
    "tproxy": _tproxy,
    "limit": _hangs("it hangs on the rate of packets"),
    "quota": _hangs("it hangs on how much has passed"),
    "ct count": _hangs("it hangs on how many connections there are"),
    "meter": _hangs("it hangs on which packets came before"),
    "queue": _queue,
    "fwd": _forward,
    "set": _write,
    "map": _write,
    **dict.fromkeys(
        ("counter", "log", "flow", "dup", "ct helper", "ct timeout", "ct expectation", "last", "secmark", "reset"),
        _nothing,
    ),
    "accept": lambda _r, _s: Next.ACCEPT,
    "drop": _drop,
    "continue": _nothing,
    "return": lambda _r, _s: Return(),
    "jump": lambda _r, s: Jump(str(s["target"]), goto=False),
    "goto": lambda _r, s: Jump(str(s["target"]), goto=True),
}  # fmt: skip
CHANGING: Final = frozenset({"mangle", "notrack", "tproxy", "queue"})
ANSWERING: Final = frozenset({"reject", "synproxy"})
# The verdicts of a map may stand in it, and not in the rule.
DROPPING: Final = frozenset({"drop", "vmap"})
