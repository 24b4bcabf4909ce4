"""iptables-save, both ways: text to a Ruleset and back to the same text.

The text is split into chains at once, and a chain is parsed when its rules are asked for: a node with ten thousand
Services has a hundred thousand rules, of which a packet meets a few. Source: iptables/iptables-save.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from netinspect.errors import ParseError
from netinspect.kernel.extensions import BASIC, MATCHES, TARGETS, Kind
from netinspect.kernel.reading import guarded
from netinspect.model.iptables import Chain, IptablesRule, Match, Option, Ruleset, Table, Target

_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|[^ ]+')
_ESCAPED = re.compile(r'\\(["\\])')
_COUNTERS = re.compile(r"\[(\d+):(\d+)\]")
_STARTERS = frozenset({"-m", "-j", "-g"})
_LONG = {"--match": "-m", "--jump": "-j", "--goto": "-g"}
_SHOWN = 80


def parse(text: str, family: str, variant: str) -> Ruleset:
    """Split a dump into its chains. Raises ``ParseError`` at a line that belongs nowhere."""
    section = f"iptables {variant} {family}"

    def rule(line: str, number: int) -> IptablesRule:
        return guarded(section, number, line, _rule)

    frame: list[tuple[int, str]] = []
    tables: dict[str, Table] = {}
    declared: dict[str, Chain] = {}
    lines: dict[str, list[tuple[int, str]]] = {}
    name = ""
    begun = 0

    def finish() -> None:
        if name:
            chains = {
                c: Chain(d.name, d.policy, d.packets, d.bytes, tuple(lines[c]), rule, d.line)
                for c, d in declared.items()
            }
            tables[name] = Table(name, chains, begun)

    indents: dict[int, str] = {}
    for number, found in enumerate(text.split("\n"), 1):
        line = found
        first = line[:1]
        if first == " ":
            line = found.lstrip(" ")
            first = line[:1]
            indents[number] = found[: len(found) - len(line)]
        if first in ("-", "["):
            words = line.split(" ", 3)[1 if first == "-" else 2 :]
            chain = words[0] if words else ""
            if chain not in lines:
                raise ParseError(section, number, f"a rule for {chain[:_SHOWN]!r}, which is not declared")
            lines[chain].append((number, line))
        elif first == ":":
            chain_found = guarded(section, number, line, lambda text, n: _chain(text, n, rule))
            declared[chain_found.name] = chain_found
            lines[chain_found.name] = []
        elif first == "*":
            finish()
            name, begun, declared, lines = line[1:].strip(), number, {}, {}
            if name in tables:
                raise ParseError(section, number, f"the table {name[:_SHOWN]!r} comes twice")
        elif not line or first == "#" or line == "COMMIT":
            frame.append((number, line))
        else:
            raise ParseError(section, number, f"cannot read {line[:_SHOWN]!r}")
    finish()
    return Ruleset(family, variant, tables, tuple(frame), indents)


def _chain(line: str, number: int, rule: object) -> Chain:
    """Read ``:INPUT ACCEPT [12:345]``; a chain that users made has the policy ``-``."""
    name, policy, *rest = line[1:].split(" ")
    counters = _COUNTERS.fullmatch(rest[0]) if rest else None
    if len(rest) > 1 or (rest and counters is None):
        raise ValueError("a chain is its name, policy and counters")
    return Chain(
        name,
        None if policy == "-" else policy,
        int(counters[1]) if counters else None,
        int(counters[2]) if counters else None,
        (),
        rule,  # type: ignore[arg-type]
        number,
    )


def _rule(line: str, number: int) -> IptablesRule:
    words = _WORDS.findall(line) if '"' in line else line.split()
    position = 0
    packets = count = None
    if words[0][0] == "[":
        counters = _COUNTERS.fullmatch(words[0])
        if counters is None:
            raise ValueError("counters are [packets:bytes]")
        packets, count = int(counters[1]), int(counters[2])
        position = 1
    if words[position] != "-A":
        raise ValueError("a rule begins with -A")
    reader = _Reader(words, position + 2)
    return IptablesRule(tuple(reader.matches()), reader.target, number, packets, count)


class _Reader:
    """Walks over the words of one rule."""

    def __init__(self, words: list[str], position: int) -> None:
        self._words = words
        self._at = position
        self.target: Target | None = None

    def matches(self) -> Iterator[Match]:
        """Give the matches; what follows them is the target."""
        words, end = self._words, len(self._words)
        if self._at < end and words[self._at] not in _STARTERS:
            yield from self._basic()
        while self._at < end:
            word = words[self._at]
            word = _LONG.get(word, word)
            if word == "-m":
                module = words[self._at + 1]
                yield self._match(module, self._at, self._at + 2, MATCHES.get(module))
            elif word in ("-j", "-g"):
                self.target = self._target(goto=word == "-g")
            else:
                # iptables' own matches may also stand after others where a person wrote the rules.
                yield from self._basic()

    def _basic(self) -> Iterator[Match]:
        start = self._at
        options = self._options(BASIC)
        if options is not None and options:
            yield Match("", options)
        protocol = next((str(o.value) for o in options or () if o.flag == "-p" and not o.negated), "")
        if self._at < len(self._words) and self._words[self._at] not in _STARTERS:
            begin = start if options is None else self._at
            implied = self._match(protocol, begin, self._at, MATCHES.get(protocol) if options is not None else None)
            yield Match(implied.module, implied.options, implicit=True, unmodelled=implied.unmodelled)

    def _match(self, module: str, start: int, begin: int, known: dict[str, Kind] | None) -> Match:
        """Read a match; one with anything that is not known keeps its whole text."""
        self._at = begin
        options = self._options(known) if known is not None else None
        words = self._words
        stopped = self._at < len(words) and words[self._at] not in _STARTERS and words[self._at] not in _LONG
        if options is not None and not (stopped and not self._at_basic()):
            return Match(module, options)
        self._skip()
        return Match(module, unmodelled=" ".join(words[start : self._at]))

    def _at_basic(self) -> bool:
        word = self._words[self._at]
        if word == "!" and self._at + 1 < len(self._words):
            word = self._words[self._at + 1]
        return word in BASIC

    def _target(self, *, goto: bool) -> Target:
        name = self._words[self._at + 1]
        begin = self._at = self._at + 2
        options = self._options(TARGETS.get(name, {}))
        if options is None or self._at < len(self._words):
            self._at = len(self._words)
            return Target(name, goto=goto, unmodelled=" ".join(self._words[begin:]))
        return Target(name, options, goto)

    def _options(self, known: dict[str, Kind]) -> tuple[Option, ...] | None:
        """Read options as long as they are known; None where a value is not of its kind."""
        words, at, end = self._words, self._at, len(self._words)
        options = []
        while at < end:
            word = words[at]
            negated = word == "!"
            if negated and at + 1 < end:
                word = words[at + 1]
            kind = known.get(word)
            if kind is None:
                break
            at += 2 if negated else 1
            count = kind.words
            if at + count > end:
                return None
            quoted = False
            value: Any = True
            if count == 0:
                pass
            elif count == 1:
                token = words[at]
                if kind.text:
                    quoted = token[0] == '"'
                    value = _ESCAPED.sub(r"\1", token[1:-1]) if quoted else token
                else:
                    try:
                        value = kind.read(token)
                    except (ValueError, KeyError):
                        return None
            else:
                try:
                    value = kind.read(" ".join(words[at : at + count]))
                except (ValueError, KeyError):
                    return None
            at += count
            options.append(Option(word, value, negated, quoted))
        self._at = at
        return tuple(options)

    def _skip(self) -> None:
        """Go on to where the next match or the target begins."""
        words = self._words
        while self._at < len(words) and words[self._at] not in _STARTERS and words[self._at] not in _LONG:
            self._at += 1


def unparse(ruleset: Ruleset) -> str:
    """Print a Ruleset as iptables-save would; of a parsed one this is the text that it was parsed from."""
    lines = dict(ruleset.frame)
    for table in ruleset.tables.values():
        lines[table.line] = f"*{table.name}"
        for chain in table.chains.values():
            counters = "" if chain.packets is None else f" [{chain.packets}:{chain.bytes}]"
            lines[chain.line] = f":{chain.name} {chain.policy or '-'}{counters}"
            for rule in chain.rules:
                lines[rule.line] = unparse_rule(chain.name, rule)
    return "\n".join(ruleset.indents.get(number, "") + lines[number] for number in sorted(lines))


def unparse_rule(chain: str, rule: IptablesRule) -> str:
    """Print one rule as a line of iptables-save."""
    words = [] if rule.packets is None else [f"[{rule.packets}:{rule.bytes}]"]
    words += ["-A", chain]
    for match in rule.matches:
        if match.unmodelled:
            words.append(match.unmodelled)
            continue
        if match.module and not match.implicit:
            words += ["-m", match.module]
        known = MATCHES[match.module] if match.module else BASIC
        words += _printed(match.options, known)
    if rule.target is not None:
        words += ["-g" if rule.target.goto else "-j", rule.target.name]
        words += [rule.target.unmodelled] if rule.target.unmodelled else []
        words += _printed(rule.target.options, TARGETS.get(rule.target.name, {}))
    return " ".join(words)


def _printed(options: tuple[Option, ...], known: dict[str, Kind]) -> Iterator[str]:
    for option in options:
        if option.negated:
            yield "!"
        yield option.flag
        kind = known[option.flag]
        if option.quoted:
            escaped = str(option.value).replace("\\", "\\\\").replace('"', '\\"')
            yield f'"{escaped}"'
        elif kind.words:
            yield kind.write(option.value)
