"""Rule and route look-up, for IPv4 and IPv6. Sources: net/core/fib_rules.c, net/ipv4/fib_trie.c, net/ipv6/route.c."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from itertools import groupby
from typing import Final

from msgspec import Struct, structs

from netinspect.model.kernel import NextHopObject, PolicyRule, Route
from netinspect.model.packet import BITS, PROTOCOLS, number

# What a look-up says of a destination that it has no way for (errno of fib_props in net/ipv4/fib_semantics.c).
_REFUSALS: Final = frozenset({"unreachable", "prohibit", "blackhole"})
_SCOPES: Final = {"": 0, "global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
# The bits of a TOS that rules and routes look at: INET_DSCP_LEGACY_TOS_MASK of IPv4, INET_DSCP_MASK of IPv6.
_TOS_BITS: Final = {4: 0x1C, 6: 0xFC}
_ROUTER_PREFERENCE: Final = {"low": 3, "": 0, "medium": 0, "high": 1}
_LOCAL_RULES: Final = 3
# A subnet so small has no anycast address of its routers (RFC 6164, section 6).
_POINT_TO_POINT_BITS: Final = 127
_LOCAL: Final = PolicyRule(family="inet", priority=0, table="local")


class Flow(Struct, frozen=True, kw_only=True, gc=False):
    """What a look-up is made for (struct flowi). ``iif`` is ``lo`` for what is sent from here."""

    family: int
    dst: int
    src: int = 0
    iif: str = "lo"
    oif: str = ""
    mark: int = 0
    tos: int = 0
    uid: int = 0
    protocol: int = 0
    sport: int = 0
    dport: int = 0
    scope: int = 0
    vrf: str = ""


class Way(Struct, frozen=True, gc=False):
    """One next hop: a gateway of a family (None: on link), a device, a weight."""

    dev: str
    gateway: int | None = None
    family: int = 4
    weight: int = 1
    onlink: bool = False
    encap: str = ""


class Found(Struct, frozen=True, gc=False):
    """What a look-up found: the type of the route, the route, the ways that it leaves open, the table and the rule.

    ``kind`` is a route type of rtnetlink(7), or ``none`` where no table has a route.
    """

    kind: str
    route: Route | None = None
    ways: tuple[Way, ...] = ()
    rule: PolicyRule | None = None
    unsure: str = ""

    @property
    def nowhere(self) -> bool:
        """Say whether no route was found, or one that refuses."""
        return self.kind == "none" or self.kind in _REFUSALS


class Entry(Struct, frozen=True, gc=False):
    """A route as the look-up needs it."""

    route: Route
    bits: int
    prefix: int
    tos: int
    ways: tuple[Way, ...]
    source: tuple[int, int] | None


class Fib:
    """The rules and tables of one namespace."""

    def __init__(
        self,
        rules: Sequence[PolicyRule],
        routes: Sequence[Route],
        nexthops: Sequence[NextHopObject] = (),
        silent: Set[tuple[str, int]] = frozenset(),
    ) -> None:
        self._rules = rules
        self._silent = silent
        self._routes = routes
        self._objects = {n.id: n for n in nexthops}

    @cached_property
    def rules(self) -> dict[int, tuple[PolicyRule, ...]]:
        """Give the rules of a family in their order."""
        return {f: tuple(r for r in self._rules if _version(r.family) == f) for f in (4, 6)}

    @cached_property
    def custom(self) -> bool:
        """Say whether there are IPv4 rules besides those that every namespace has (fib4_has_custom_rules)."""
        usual = [(0, "local"), (32766, "main"), (32767, "default")]
        plain = [(r.priority, r.table) for r in self.rules[4] if r == PolicyRule(
            family=r.family, priority=r.priority, table=r.table, protocol=r.protocol, line=r.line)]  # fmt: skip
        return plain != usual or len(self.rules[4]) != _LOCAL_RULES

    @cached_property
    def custom_local(self) -> bool:
        """Say whether somebody added local routes by hand (net->ipv4.fib_has_custom_local_routes)."""
        return any(r.type == "local" and r.family == "inet" and r.protocol not in ("kernel", "2") for r in self._routes)

    @cached_property
    def _own(self) -> frozenset[str]:
        """Give this host's IPv4 addresses: over one of them as its gateway, a route is on link (fib_check_nh_v4_gw)."""
        locals4 = (r for r in self._routes if r.type == "local" and r.family == "inet" and r.table == "local")
        return frozenset(r.dst.removesuffix("/32") for r in locals4)

    @cached_property
    def tables(self) -> dict[tuple[int, str], dict[int, dict[int, tuple[Entry, ...]]]]:
        """Give the routes by family and table, prefix length, and prefix; longest prefixes first."""
        found: dict[tuple[int, str], dict[int, dict[int, list[Entry]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for route in self._routes:
            if "cache" not in route.flags:
                entry = self._entry(route)
                family = _version(route.family)
                found[family, route.table][entry.bits][entry.prefix].append(entry)
        return {
            key: {
                bits: {prefix: tuple(sorted(entries, key=_precedence)) for prefix, entries in found[key][bits].items()}
                for bits in sorted(found[key], reverse=True)
            }
            for key in found
        }

    def _entry(self, route: Route) -> Entry:
        family = _version(route.family)
        value, bits = prefix(route.dst, family)
        source = prefix(route.src, family) if route.src and route.src not in ("all", "default") else None
        return Entry(route, bits, value, _tos(route.tos), tuple(self._ways(route, family)), source)

    def _ways(self, route: Route, family: int) -> Iterator[Way]:
        hops = route.nexthops
        if route.nhid is not None and not hops and not route.dev:
            yield from self._object_ways(route.nhid, family)
            return
        for hop in hops or (None,):
            said = hop or route
            gateway = said.gateway or said.via
            flags = said.flags
            if "dead" in flags:
                continue
            version, value = number(gateway) if gateway else (family, None)
            if route.table == "main" and gateway in self._own:
                value = None
            weight = hop.weight if hop else 1
            onlink = "onlink" in flags or "onlink" in route.flags
            yield Way(said.dev, value, version, weight, onlink, said.encap)

    def _object_ways(self, which: int, family: int) -> Iterator[Way]:
        found = self._objects.get(which)
        if found is None or found.blackhole:
            return
        for member, weight in found.group:
            yield from (Way(w.dev, w.gateway, w.family, weight) for w in self._object_ways(member, family))
        if not found.group:
            version, value = number(found.gateway) if found.gateway else (family, None)
            yield Way(found.dev, value, version)

    def address_type(self, family: int, address: int, dev: str = "") -> str:
        """Say what an address is to this namespace: local, broadcast, multicast, unicast (inet_dev_addr_type)."""
        if family == 4:
            if not address >> 24 or address == 0xFFFFFFFF:
                return "broadcast"
            if address >> 28 == 0xE:
                return "multicast"
        else:
            return self._address_type6(address, dev)
        found = self._in_table(Flow(family=family, dst=address), "local", _LOCAL)
        if found is None or (dev and all(w.dev != dev for w in found.ways)):
            return "unicast"
        return found.kind

    def _address_type6(self, address: int, dev: str) -> str:
        """Say the same of IPv6, where the way to the address counts (nft_fib6_eval_type, match_lookup_rt6)."""
        if address >> 120 == 0xFF:
            return "multicast"
        found = self.look_up(Flow(family=6, dst=address))
        if found.kind in ("none", "unknown"):
            return "unreachable"
        if found.kind in ("local", "anycast") and dev and all(w.dev != dev for w in found.ways):
            return "unicast"
        return found.kind

    def seen_as_anycast(self, address: int) -> bool:
        """Say whether rules see an anycast address in an IPv6 one: a subnet's first too (ipv6_anycast_destination)."""
        found = self.look_up(Flow(family=6, dst=address))
        if found.route is None or found.kind not in ("unicast", "local"):
            return found.kind == "anycast"
        value, bits = prefix(found.route.dst, 6)
        return value == address and bits < _POINT_TO_POINT_BITS and all(w.gateway is None for w in found.ways)

    def look_up(self, flow: Flow) -> Found:
        """Find the route for a flow, as fib_rules_lookup() and the table behind it do."""
        rules = self.rules[flow.family]
        position = 0
        while position < len(rules):
            rule = rules[position]
            position += 1
            if (
                rule.uidrange is not None
                and flow.uid < 0
                and _selects(rule, structs.replace(flow, uid=rule.uidrange[0]))
            ):
                return Found("unknown", rule=rule, unsure="a policy rule for users, and who sends is not known")
            if not _selects(rule, flow):
                continue
            if rule.unmodelled or rule.suppress_ifgroup:
                said = rule.unmodelled or f"suppress_ifgroup {rule.suppress_ifgroup}"
                return Found("unknown", rule=rule, unsure=f"a policy rule that is not modelled: {said}")
            if rule.action == "goto":
                # Only ever forward (fib_nl2rule); a target that is not there leads to the next rule.
                ahead = (i for i in range(position, len(rules)) if rules[i].priority == rule.goto)
                position = next(ahead, position)
                continue
            if rule.action in _REFUSALS:
                return Found(rule.action, rule=rule)
            if rule.action == "nop":
                continue
            table = flow.vrf if rule.l3mdev else rule.table
            if not table:
                continue
            found = self._in_table(flow, table, rule)
            if found is not None:
                return found
        return Found("none")

    def _in_table(self, flow: Flow, table: str, rule: PolicyRule) -> Found | None:
        """Look into one table; None where it has no route, or says throw, or the rule suppresses what it has.

        IPv6 first looks for a way over routers that answer (RT6_LOOKUP_F_REACHABLE).
        """
        if flow.family == 6 and self._silent:
            found = self._within(flow, table, rule, self._silent)
            if found is not None:
                return found
        return self._within(flow, table, rule)

    def _within(
        self, flow: Flow, table: str, rule: PolicyRule, silent: Set[tuple[str, int]] = frozenset()
    ) -> Found | None:
        for bits, entries in self._nodes(flow, table):
            chosen = _first4(entries, flow) if flow.family == 4 else _first6(entries, flow, silent)
            if chosen is None:
                continue
            entry, ways = chosen
            if entry.route.type == "throw":
                return None
            refuses = entry.route.type in _REFUSALS
            if rule.suppress_prefixlength is not None and bits <= rule.suppress_prefixlength and not refuses:
                return None
            if entry.route.nhid is not None and not ways and not refuses:
                return Found("unknown", entry.route, (), rule, f"the nexthop object {entry.route.nhid} was not read")
            return Found(entry.route.type, entry.route, ways, rule)
        return None

    def _nodes(self, flow: Flow, table: str) -> Iterator[tuple[int, tuple[Entry, ...]]]:
        """Give the routes to a destination by their prefixes, the longest first.

        Where IPv6 has routes for some sources only, it passes over all of that prefix for other sources, routes for
        any source among them: while it goes down the tree, not when it comes back, and not at the root
        (fib6_node_lookup_1, fib6_backtrack).
        """
        down = True
        for bits, prefixes in self.tables.get((flow.family, table), {}).items():
            shift = BITS[flow.family] - bits
            entries = prefixes.get(flow.dst >> shift << shift)
            if not entries:
                continue
            if flow.family == 4 or all(e.source is None for e in entries):
                down = False
                yield bits, entries
                continue
            groups = _sources6(entries, flow)
            if down and bits and not any(g[0].source for g in groups):
                continue
            down = False
            yield from ((bits, group) for group in groups)


def _sources6(entries: Sequence[Entry], flow: Flow) -> list[tuple[Entry, ...]]:
    """Give the routes that are for a source, those of the longest prefix of sources first and those of any last."""
    fit = [e for e in entries if e.source is None or _within(flow.src, e.source, 6)]
    return [tuple(same) for _, same in groupby(fit, key=lambda e: e.source)]


def _precedence(entry: Entry) -> tuple[int, int, int]:
    source = -entry.source[1] if entry.source else 0
    return source, -entry.tos, entry.route.metric


def _without_object(entry: Entry) -> bool:
    """Say whether a route names a nexthop object that was not read."""
    return entry.route.nhid is not None and not entry.ways


def _first4(entries: Sequence[Entry], flow: Flow) -> tuple[Entry, tuple[Way, ...]] | None:
    """Give the first route that serves (fib_table_lookup)."""
    for entry in entries:
        if entry.tos and entry.tos != flow.tos & _TOS_BITS[4]:
            continue
        if _SCOPES.get(entry.route.scope, 0) < flow.scope:
            continue
        if entry.route.type in _REFUSALS or entry.route.type == "throw" or _without_object(entry):
            return entry, ()
        ways = tuple(w for w in entry.ways if not flow.oif or w.dev == flow.oif)
        if ways:
            return entry, ways
    return None


def _first6(entries: Sequence[Entry], flow: Flow, silent: Set[tuple[str, int]]) -> tuple[Entry, tuple[Way, ...]] | None:
    """Give the best route (find_rr_leaf): of the lowest metric that serves, the one that routers prefer."""
    for metric in sorted({e.route.metric for e in entries}):
        serving: list[tuple[Entry, tuple[Way, ...]]] = []
        for entry in entries:
            if entry.route.metric == metric:
                if entry.route.type in _REFUSALS or entry.route.type == "throw":
                    # They stand on the loopback device, which who is bound to another does not see (rt6_check_dev).
                    serving += [(entry, ())] if flow.oif in ("", "lo") else []
                elif _without_object(entry):
                    serving.append((entry, ()))
                elif ways := tuple(
                    w for w in entry.ways if (not flow.oif or w.dev == flow.oif) and (w.dev, w.gateway) not in silent
                ):
                    serving.append((entry, ways))
        if serving:
            return max(serving, key=lambda s: _ROUTER_PREFERENCE.get(s[0].route.pref, 0))
    return None


def _selects(rule: PolicyRule, flow: Flow) -> bool:
    """Say whether a rule is for a flow (fib_rule_match, fib4_rule_match, fib6_rule_match)."""
    matched = (
        (not rule.iif or rule.iif == flow.iif)
        and (not rule.oif or rule.oif == flow.oif)
        and (rule.fwmark is None or not (rule.fwmark ^ flow.mark) & rule.fwmask)
        and (not rule.l3mdev or bool(flow.vrf))
        and (rule.uidrange is None or rule.uidrange[0] <= flow.uid <= rule.uidrange[1])
        and (not rule.src or _within(flow.src, prefix(rule.src, flow.family), flow.family))
        and (not rule.dst or _within(flow.dst, prefix(rule.dst, flow.family), flow.family))
        and (not rule.tos or _tos(rule.tos) == flow.tos & _TOS_BITS[flow.family])
        and (not rule.ipproto or _protocol(rule.ipproto) == flow.protocol)
        and (rule.sport is None or rule.sport[0] <= flow.sport <= rule.sport[1])
        and (rule.dport is None or rule.dport[0] <= flow.dport <= rule.dport[1])
    )
    return matched != rule.negated


def _protocol(name: str) -> int:
    return int(name) if name.isdecimal() else PROTOCOLS.get(name, -1)


def _tos(written: str) -> int:
    """Read a TOS; iproute2 writes 0x of it, or a name of rt_dsfield, of which these are the usual."""
    if not written:
        return 0
    try:
        return int(written, 16)
    except ValueError:
        return {"lowdelay": 0x10, "throughput": 0x08, "reliability": 0x04, "mincost": 0x02}.get(
            written, dscp_class(written)
        )


def dscp_class(name: str) -> int:
    """Give the TOS of a class name (RFC 2474, RFC 2597, RFC 3246)."""
    if name == "EF":
        return 0xB8
    if name.startswith("CS"):
        return int(name[2:]) << 5
    if name.startswith("AF"):
        return (int(name[2]) << 3 | int(name[3]) << 1) << 2
    return 0


def _version(family: str) -> int:
    return 6 if family == "inet6" else 4


def prefix(written: str, family: int) -> tuple[int, int]:
    """Read a prefix: its number and length."""
    address, _, length = written.partition("/")
    _, value = number(address)
    bits = int(length) if length else BITS[family]
    shift = BITS[family] - bits
    return value >> shift << shift, bits


def _within(address: int, of: tuple[int, int], family: int) -> bool:
    value, bits = of
    shift = BITS[family] - bits
    return address >> shift << shift == value
