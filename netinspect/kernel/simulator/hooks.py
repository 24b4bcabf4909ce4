"""Who is called at each hook, in the order of priorities: iptables of both variants and nftables together.

Sources: include/uapi/linux/netfilter_ipv4.h (priorities), net/netfilter/core.c, nf_nat_core.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from typing import Final

from msgspec import Struct

from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator import nftables, targets
from netinspect.kernel.simulator.nftables import Tables
from netinspect.kernel.simulator.traversal import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING
from netinspect.kernel.simulator.xtables import Chains
from netinspect.model.iptables import Table
from netinspect.model.nft import NftChain, NftRuleset

# Priorities at which the kernel's own parts are called.
CONNTRACK: Final = -200
NAT_DESTINATION: Final = -100
NAT_SOURCE: Final = 100
# Matches and targets of iptables that look at connections (nf_ct_netns_get in their checkentry).
_TRACKING: Final = re.compile(r"-m (?:conntrack|state|conn\w+|helper)\b|-j (?:CT|CONNMARK|SYNPROXY)\b")
_ALL: Final = (PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING)
_TABLES: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "raw": (-300, (PREROUTING, OUTPUT)),
    "mangle": (-150, _ALL),
    "nat": (0, (PREROUTING, INPUT, OUTPUT, POSTROUTING)),
    "filter": (0, (INPUT, FORWARD, OUTPUT)),
    "security": (50, (INPUT, FORWARD, OUTPUT)),
}
_NAT_HOOKS: Final = {PREROUTING: NAT_DESTINATION, OUTPUT: NAT_DESTINATION, POSTROUTING: NAT_SOURCE, INPUT: NAT_SOURCE}


class Registered(Struct, frozen=True):
    """A base chain at a hook. ``order`` tells who of the same priority is called first, where that is known.

    ``maker`` is what made it: a variant of iptables, or a table of nftables. ``drops`` says that its policy does.
    ``reroutes`` says that a change of mark or addresses there makes the kernel look the route up anew.
    """

    priority: int
    name: str
    maker: str
    chains: Chains | None = None
    tables: Tables | None = None
    chain: NftChain | None = None
    order: tuple[int, ...] | None = None
    drops: bool = False
    reroutes: bool = False

    @property
    def changes(self) -> bool:
        """Say whether a rule there may change the packet, on which what comes after it may hang."""
        return self._has(targets.CHANGING, nftables.CHANGING)

    @property
    def answers(self) -> bool:
        """Say whether a rule there may end the packet with an answer to its sender."""
        return self._has(targets.ANSWERING, nftables.ANSWERING)

    @property
    def ends(self) -> bool:
        """Say whether the packet may end there."""
        return self.drops or self.answers or self._has(targets.DROPPING, nftables.DROPPING)

    def _has(self, names: frozenset[str], kinds: frozenset[str]) -> bool:
        """Say whether a rule of its table has one of some targets of iptables, or of some statements of nftables."""
        if self.chains is not None:
            lines = (text for c in self.chains.table.chains.values() for _, text in c.lines)
            return any(f"-j {name}" in text for text in lines for name in names)
        of = (self.chain.family, self.chain.table) if self.chain is not None else ("", "")
        chains = self.tables.ruleset.chains.values() if self.tables is not None else ()
        raws = (bytes(raw) for c in chains if (c.family, c.table) == of for _, raw in c.raw_rules)
        return any(b'"%s"' % kind.encode() in raw for raw in raws for kind in kinds)


class Called(Struct, frozen=True):
    """Who is called at a hook: chains by priority, and those that nat asks for a mapping.

    ``unsure`` has the names of each two of which it matters who is called first, and nobody knows.
    """

    chains: tuple[Registered, ...] = ()
    translating: tuple[Registered, ...] = ()
    unsure: frozenset[tuple[str, str]] = frozenset()


class Hooks:
    """The hooks of one namespace; raises ``ParseError`` where the rulesets cannot be read."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self._namespace = namespace
        self._called: dict[tuple[int, str], Called] = {}
        self._at_devices: dict[tuple[str, str], tuple[Registered, ...]] = {}
        self.name = name

    def at(self, family: int, hook: str) -> Called:
        """Give who is called for a family (4 or 6) at a hook."""
        if (family, hook) not in self._called:
            self._called[family, hook] = self._collect(family, hook)
        return self._called[family, hook]

    def tracks(self, family: int) -> bool:
        """Say whether a rule has connections of a family tracked (nf_ct_netns_get, nf_nat_register_fn)."""
        if any(of == family and name == "nat" for of, _, name in self._all_saved):
            return True
        saved = (r for r in self._namespace.iptables if (r.family == "inet6") == (family == 6))
        lines = (line for r in saved for t in r.tables.values() for c in t.chains.values() for _, line in c.lines)
        if any(_TRACKING.search(line) for line in lines):
            return True
        wanted = {"ip" if family == 4 else "ip6", "inet"}
        chains = [c for (of, _, _), c in self._ruleset.chains.items() if of in wanted]
        return any(c.type == "nat" or any(b'"ct"' in bytes(raw) for _, raw in c.raw_rules) for c in chains)

    def bridge(self, hook: str) -> tuple[Registered, ...]:
        """Give the chains of the bridge family at a hook."""
        return self._of_devices(hook, {"bridge"})

    def device(self, dev: str, hook: str) -> tuple[Registered, ...]:
        """Give the chains of a device's own hook (ingress, egress); those too of which nft does not say the device."""
        return self._of_devices(hook, {"netdev", "inet"}, dev)

    def _of_devices(self, hook: str, families: set[str], dev: str = "") -> tuple[Registered, ...]:
        if (dev, hook) not in self._at_devices:
            every = self._nft(hook, families)
            found = (r for r in every if not dev or (r.chain and (dev in r.chain.devices or not r.chain.devices)))
            self._at_devices[dev, hook] = tuple(sorted(found, key=_first))
        return self._at_devices[dev, hook]

    def _collect(self, family: int, hook: str) -> Called:
        wanted = {"ip" if family == 4 else "ip6", "inet"}
        found = [*self._iptables(family, hook), *self._nft(hook, wanted)]
        nat = sorted((r for r in found if _is_nat(r)), key=_first)
        chains = sorted((r for r in found if not _is_nat(r)), key=_first)
        # Of the nat chains the first that gives a mapping is the last that is asked (nf_nat_inet_fn).
        rivals = [*_rivals(nat), *((a, b) for a, b in _rivals(chains) if _order_matters(a, b))]
        return Called(tuple(chains), tuple(nat), frozenset((a.name, b.name) for a, b in rivals))

    @cached_property
    def _ruleset(self) -> NftRuleset:
        return self._namespace.nftables

    @cached_property
    def tables(self) -> Tables:
        """Give the chains and sets of nftables."""
        return Tables(self._ruleset, self.name)

    @cached_property
    def _handles(self) -> dict[tuple[str, str], int]:
        found = {}
        for table in self._ruleset.tables:
            if isinstance(handle := table.fields.get("handle"), int):
                found[str(table.fields.get("family")), table.name] = handle
        return found

    @cached_property
    def _saved(self) -> dict[tuple[int, str, str], Chains]:
        """Give the tables of iptables that have a rule or a policy, by family, variant and name."""
        found = {}
        for ruleset in self._namespace.iptables:
            for table in ruleset.tables.values():
                if _matters(table):
                    family = 6 if ruleset.family == "inet6" else 4
                    found[family, ruleset.variant, table.name] = Chains(ruleset, table, self.name)
        return found

    def _iptables(self, family: int, hook: str) -> list[Registered]:
        found = []
        for (of, variant, name), chains in self._saved.items():
            priority, hooks = _TABLES.get(name, (0, ()))
            base = chains.table.chains.get(hook.upper())
            if of != family or hook not in hooks or base is None or not (base.lines or base.policy == "DROP"):
                # A chain that holds nothing does nothing, and iptables-nft may not even have made it.
                continue
            if name == "nat":
                priority = _NAT_HOOKS[hook]
            order = self._order("ip" if family == 4 else "ip6", name, hook.upper()) if variant == "nft" else None
            found.append(
                Registered(
                    priority, f"{variant} {name}", f"iptables-{variant}", chains=chains, order=order,
                    drops=base.policy == "DROP", reroutes=name == "mangle" and hook == OUTPUT,
                )
            )  # fmt: skip
        return found

    def _order(self, family: str, table: str, chain: str) -> tuple[int, ...] | None:
        """Tell who was registered later, and so is called first (nf_hook_entries_grow): handles grow."""
        handle = self._handles.get((family, table))
        own = self._ruleset.chains.get((family, table, chain))
        return None if handle is None or own is None else (-handle, -(own.handle or 0))

    def _nft(self, hook: str, families: set[str]) -> list[Registered]:
        saved = {("ip" if f == 4 else "ip6", name) for f, variant, name in self._all_saved if variant == "nft"}
        found = []
        for (family, table, name), chain in self._bases:
            if chain.hook != hook or family not in families or (family, table) in saved:
                continue
            if not chain.raw_rules and chain.policy != "drop":
                continue
            found.append(
                Registered(
                    chain.prio or 0, f"nft {family} {table} {name}", f"nft {family} {table}", tables=self.tables,
                    chain=chain, order=self._order(family, table, name), drops=chain.policy == "drop",
                    reroutes=chain.type == "route",
                )
            )  # fmt: skip
        return found

    @cached_property
    def _bases(self) -> tuple[tuple[tuple[str, str, str], NftChain], ...]:
        return tuple((place, chain) for place, chain in self._ruleset.chains.items() if chain.hook)

    @cached_property
    def _all_saved(self) -> frozenset[tuple[int, str, str]]:
        return frozenset(
            (6 if r.family == "inet6" else 4, r.variant, name) for r in self._namespace.iptables for name in r.tables
        )


def _first(registered: Registered) -> tuple[int, tuple[int, ...]]:
    return registered.priority, registered.order or (0,)


def _rivals(registered: list[Registered]) -> Iterator[tuple[Registered, Registered]]:
    """Give the pairs of the same priority of which nobody knows who is called first."""
    for a, b in combinations(registered, 2):
        if a.priority == b.priority and (a.order is None or b.order is None):
            yield a, b


def _order_matters(a: Registered, b: Registered) -> bool:
    """Say whether it may matter which of two is called first.

    What one changes the other may look at, and of two that end the packet the first alone answers (nf_hook_slow).
    """
    return a.changes or b.changes or (a.answers and b.ends) or (b.answers and a.ends)


def _is_nat(registered: Registered) -> bool:
    if registered.chain is not None:
        return registered.chain.type == "nat"
    return registered.chains is not None and registered.chains.table.name == "nat"


def _matters(table: Table) -> bool:
    return any(c.lines or c.policy == "DROP" for c in table.chains.values())
