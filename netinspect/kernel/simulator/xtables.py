"""A table of iptables: its chains, rule by rule. Sources: net/ipv4/netfilter/ip_tables.c, net/netfilter/x_tables.c."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Final

from netinspect.errors import ParseError
from netinspect.kernel.simulator import targets
from netinspect.kernel.simulator.matches import matches
from netinspect.kernel.simulator.targets import Next
from netinspect.kernel.simulator.traversal import Traversal
from netinspect.model.iptables import Chain, IptablesRule, Prefix, Ruleset, Span, Table
from netinspect.model.walk import End, Pointer, Stage, Verdict

# A chain shorter than this is quicker read through than indexed.
_SHORT: Final = 16
_DEEPEST: Final = 1000
# More than any ruleset has; a ruleset in which chains lead to each other does not load.
_MOST_JUMPS: Final = 10_000
# What long chains can be indexed by: parts of the packet or of the hook of which a rule names one value.
_KEYS: Final = ("dst", "src", "oif", "iif", "dport")


class Chains:
    """The chains of one table, with the rules that can match a packet at all."""

    def __init__(self, ruleset: Ruleset, table: Table, namespace: str) -> None:
        self.table = table
        self._section = f"ip{'6' if ruleset.family == 'inet6' else ''}tables-{ruleset.variant}"
        self._namespace = namespace
        self._indexes: dict[str, Index] = {}

    def rules(self, chain: Chain, at: Traversal, after: int) -> Iterator[tuple[int, IptablesRule]]:
        """Give the rules from a position on, without those that an index can rule out."""
        if len(chain.lines) < _SHORT:
            yield from zip(range(after, len(chain.rules)), islice(chain.rules, after, None), strict=True)
            return
        if chain.name not in self._indexes:
            self._indexes[chain.name] = Index(chain)
        yield from ((i, chain.rules[i]) for i in self._indexes[chain.name].candidates(at) if i >= after)

    def pointer(self, chain: Chain, position: int) -> Pointer:
        """Point at a rule."""
        line, text = chain.lines[position]
        return Pointer(self._namespace, self._section, line, text)

    def policy(self, chain: Chain) -> Pointer:
        """Point at the policy of a chain."""
        return Pointer(self._namespace, self._section, chain.line, f":{chain.name} {chain.policy}")


class Index:
    """The rules of a long chain by the option that most of them have; the others are always candidates."""

    def __init__(self, chain: Chain) -> None:
        keyed: dict[str, list[tuple[object, int]]] = {key: [] for key in _KEYS}
        for position, rule in enumerate(chain.rules):
            for key, value in _key_values(rule):
                keyed[key].append((value, position))
        self.key = max(keyed, key=lambda k: len(keyed[k]))
        self._buckets: dict[object, list[int]] = defaultdict(list)
        for value, position in keyed[self.key]:
            self._buckets[value].append(position)
        indexed = {position for _, position in keyed[self.key]}
        self._others = [i for i in range(len(chain.lines)) if i not in indexed]
        self._all = range(len(chain.lines))

    def candidates(self, at: Traversal) -> Iterator[int]:
        """Give the positions of the rules that may match, in order."""
        if self.key in at.packet.loose:
            return iter(self._all)
        value = getattr(at, self.key) if self.key in ("iif", "oif") else getattr(at.packet, self.key)
        return iter(merge(self._buckets.get(value, ()), self._others))


def _key_values(rule: IptablesRule) -> Iterator[tuple[str, object]]:
    for match in rule.matches:
        for option in match.options:
            if option.negated:
                continue
            value = option.value
            if isinstance(value, Prefix):
                if match.module == "" and value.mask == (1 << (32 if value.family == 4 else 128)) - 1:
                    yield ("dst" if option.flag in ("-d", "--destination") else "src"), value.value
            elif isinstance(value, Span):
                if match.module in ("tcp", "udp", "sctp") and option.flag == "--dport" and value.first == value.last:
                    yield "dport", value.first
            elif match.module == "" and option.flag in ("-i", "-o") and not str(value).endswith("+"):
                yield ("iif" if option.flag == "-i" else "oif"), value


def run(chains: Chains, base: str, at: Traversal) -> End | None:
    """Send a packet through a base chain; None where it may go on."""
    chain = chains.table.chains.get(base)
    if chain is None:
        return None
    stage = Stage(at.hook)
    try:
        return _run(chains, chain, at, stage)
    except ParseError as error:
        return at.unknown(f"a rule cannot be read: {error}", "a parser that knows its form", chains.policy(chain))


def _run(chains: Chains, base: Chain, at: Traversal, stage: Stage) -> End | None:
    returns: list[tuple[Chain, int]] = []
    chain, rules, jumps = base, chains.rules(base, at, 0), 0
    while True:
        found = next(rules, None)
        if found is None or (outcome := _rule(chains, chain, *found, at, stage)) == "RETURN":
            if not returns:
                return _policy(chains, base, at)
            chain, position = returns.pop()
            rules = chains.rules(chain, at, position)
        elif isinstance(outcome, End):
            return outcome
        elif outcome is Next.ACCEPT:
            return None
        elif isinstance(outcome, Chain):
            rule = found[1]
            if rule.target is not None and not rule.target.goto:
                returns.append((chain, found[0] + 1))
            jumps += 1
            if len(returns) > _DEEPEST or jumps > _MOST_JUMPS:
                said = f"the chain {outcome.name} leads round and round, as no kernel allows"
                return at.unknown(said, "reading the ruleset again", chains.policy(chain))
            chain, rules = outcome, chains.rules(outcome, at, 0)


def _rule(
    chains: Chains, chain: Chain, position: int, rule: IptablesRule, at: Traversal, stage: Stage
) -> Chain | End | Next | str:
    truth = matches(rule, at)
    if truth is False:
        return Next.CONTINUE
    target = rule.target
    if target is None or target.name in targets.HARMLESS:
        return Next.CONTINUE
    pointer = chains.pointer(chain, position)
    if not at.walk.forks.holds(truth, f"does {pointer.text} match", pointer):
        return Next.CONTINUE
    at.step(stage, f"{chains.table.name} {chain.name}: {target.name}", pointer)
    if target.name == "RETURN":
        return "RETURN"
    following = chains.table.chains.get(target.name)
    if following is not None:
        return following
    return targets.apply(target, at, pointer)


def _policy(chains: Chains, base: Chain, at: Traversal) -> End | None:
    if base.policy != "DROP":
        return None
    return at.end(
        Verdict.DROPPED, f"the policy of {base.name} in table {chains.table.name} is DROP", chains.policy(base)
    )
