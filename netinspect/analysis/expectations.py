"""Compare what CNIs want with what the kernels hold: a difference is a finding, and what was not read is counted."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from netinspect.cni.expectation import (
    ChainExpected,
    CommentExpected,
    Contradiction,
    Expectation,
    FdbExpected,
    FirstExpected,
    JumpExpected,
    LinkExpected,
    NeighbourExpected,
    PluginExpected,
    RouteExpected,
    SysctlExpected,
)
from netinspect.cni.sight import Kernel, Sight
from netinspect.model.finding import Finding
from netinspect.model.kernel import Link, Route, VxlanData
from netinspect.model.topology import several


@dataclass(frozen=True)
class Unseen:
    """What would be compared was not read."""


@dataclass(frozen=True)
class Compared:
    """What came of it: how many expectations were compared, did not hold, and could not be compared."""

    findings: tuple[Finding, ...]
    compared: int
    broken: int
    unseen: int


UNSEEN = Unseen()
# A difference in words, None where there is none.
_Result = str | None | Unseen


def compare(sight: Sight, expectations: Iterable[Expectation]) -> Compared:
    """Give what is not as expected, and how many expectations were compared.

    What several nodes lack in the same words about one peer is one finding.
    """
    indexes = {node.name: _Index(kernel) for node, kernel in sight.read}
    compared = unseen = 0
    together: dict[tuple[str, str, str, str], list[tuple[Expectation, str]]] = defaultdict(list)
    for expectation in expectations:
        index = indexes.get(expectation.node)
        said: _Result
        if isinstance(expectation.wanted, Contradiction):
            said = expectation.wanted.says
        else:
            said = index.difference(expectation) if index else UNSEEN
        if isinstance(said, Unseen):
            unseen += 1
            continue
        compared += 1
        if said is not None:
            key = (expectation.node, expectation.kind, expectation.about or said, expectation.cause)
            together[key].append((expectation, said))
    findings = [_finding(found) for found in together.values()]
    order = {"error": 0, "warning": 1, "info": 2}
    found = several(sorted(findings, key=lambda f: (order[f.severity.value], f.place, f.kind, f.says)))
    return Compared(found, compared, sum(map(len, together.values())), unseen)


def _finding(found: list[tuple[Expectation, str]]) -> Finding:
    one, said = found[0]
    peers = dict.fromkeys(e.peer for e, _ in found if e.peer)
    return Finding(
        kind=one.kind, severity=one.severity, place=f"node/{one.node}", says=said, cause=one.cause, remedy=one.remedy,
        peers=several(f"node/{p}" for p in peers),
    )  # fmt: skip


class _Index:
    """A node's kernel, so that each of many expectations is looked up."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    @cached_property
    def _routes(self) -> dict[str, list[Route]]:
        found: dict[str, list[Route]] = defaultdict(list)
        for route in self._kernel.routes or ():
            if route.table == "main":
                found[_prefix(route.dst)].append(route)
        return found

    @cached_property
    def _neighbours(self) -> dict[tuple[str, str], str]:
        failed = {"FAILED", "INCOMPLETE"}
        return {(n.dst, n.dev): n.lladdr for n in self._kernel.neighbours or () if not failed & set(n.state)}

    @cached_property
    def _fdb(self) -> dict[tuple[str, str], str]:
        return {(e.dev, e.mac): e.dst for e in self._kernel.fdb or () if e.dst}

    @cached_property
    def _comments(self) -> str:
        return "\n".join(r for groups in (self._kernel.chains or {}).values() for group in groups for r in group)

    def difference(self, expectation: Expectation) -> _Result:  # noqa: PLR0911 - one for each kind
        """Say how the kernel differs from one expectation."""
        wanted = expectation.wanted
        if isinstance(wanted, LinkExpected):
            return self._link(wanted)
        if isinstance(wanted, RouteExpected):
            return self._route(wanted)
        if isinstance(wanted, NeighbourExpected):
            return self._neighbour(wanted)
        if isinstance(wanted, FdbExpected):
            return self._forwarding(wanted)
        if isinstance(wanted, SysctlExpected):
            return self._sysctl(wanted)
        if isinstance(wanted, PluginExpected):
            return self._plugin(wanted)
        return self._rules(wanted)

    def _link(self, wanted: LinkExpected) -> _Result:  # noqa: PLR0911 - one for each difference
        if self._kernel.links is None:
            return UNSEEN
        link = self._kernel.links.get(wanted.name)
        if link is None:
            return f"it has no interface {wanted.name}"
        if not link.up:
            return f"{wanted.name} is down"
        if wanted.kind and link.kind and link.kind != wanted.kind:
            return f"{wanted.name} is a {link.kind}, not a {wanted.kind}"
        if wanted.mac and link.address.lower() != wanted.mac.lower():
            return f"{wanted.name} has the MAC {link.address}, the others send to {wanted.mac}"
        if wanted.mtu and link.mtu > wanted.mtu:
            return f"{wanted.name} has an MTU of {link.mtu}, more than the {wanted.mtu} that get through"
        if wanted.address and wanted.address not in {a.local for a in link.addresses}:
            has = ", ".join(a.local for a in link.addresses) or "none"
            return f"{wanted.name} should have the address {wanted.address}, and has {has}"
        return _vxlan(link, wanted)

    def _route(self, wanted: RouteExpected) -> _Result:
        if self._kernel.routes is None or (":" in wanted.dst and not self._kernel.six):
            return UNSEEN
        found = self._routes.get(_prefix(wanted.dst), [])
        if not found:
            return f"it has no route to {wanted.dst}"
        best = min(found, key=lambda r: r.metric)
        if best.type != "unicast":
            return f"its route to {wanted.dst} is {best.type}"
        ways = [(n.gateway, n.dev) for n in best.nexthops] or [(best.gateway, best.dev)]
        if any((not wanted.via or via == wanted.via) and (not wanted.dev or dev == wanted.dev) for via, dev in ways):
            return None
        if best.nhid is not None and ways == [("", "")]:
            return UNSEEN
        has = ", ".join(f"{f'via {via} ' if via else ''}dev {dev}" for via, dev in ways)
        should = f"{f'via {wanted.via} ' if wanted.via else ''}{f'dev {wanted.dev}' if wanted.dev else ''}".strip()
        return f"its route to {wanted.dst} leads {has}, not {should}"

    def _neighbour(self, wanted: NeighbourExpected) -> _Result:
        if self._kernel.neighbours is None:
            return UNSEEN
        has = self._neighbours.get((wanted.dst, wanted.dev))
        if has is None:
            return f"it does not know the MAC of {wanted.dst} on {wanted.dev}"
        if has.lower() != wanted.mac.lower():
            return f"it takes {has} for the MAC of {wanted.dst} on {wanted.dev}, it is {wanted.mac}"
        return None

    def _forwarding(self, wanted: FdbExpected) -> _Result:
        if self._kernel.fdb is None:
            return UNSEEN
        has = self._fdb.get((wanted.dev, wanted.mac.lower()))
        if has is None:
            return f"{wanted.dev} does not know behind which node {wanted.mac} is"
        return (
            None if has == wanted.dst else f"{wanted.dev} sends what is for {wanted.mac} to {has}, not to {wanted.dst}"
        )

    def _sysctl(self, wanted: SysctlExpected) -> _Result:
        sysctls = self._kernel.sysctls or {}
        name = f"net.{wanted.key.replace('/', '.')}"
        if wanted.key not in sysctls:
            # All settings of bridges are read, and they are there as soon as their module is.
            without = "ipv4/ip_forward" in sysctls and wanted.key.startswith("bridge/")
            return f"it has no {name}: br_netfilter is not loaded" if without else UNSEEN
        has = sysctls[wanted.key]
        return None if has in wanted.values else f"{name} is {has}, not {' or '.join(wanted.values)}"

    def _plugin(self, wanted: PluginExpected) -> _Result:
        conflists = self._kernel.conflists
        if not conflists:
            return UNSEEN
        first = conflists[0]
        return None if wanted.type in first.types else f"{first.path} comes first and calls {', '.join(first.types)}"

    def _rules(self, wanted: object) -> _Result:
        chains = self._kernel.chains
        if chains is None or not any(not c.startswith("nft:") for c in chains):
            return UNSEEN
        if isinstance(wanted, ChainExpected):
            return None if wanted.chain in chains else f"it has no chain {wanted.chain}"
        if isinstance(wanted, CommentExpected):
            return None if wanted.comment in self._comments else f"no rule of it is marked {wanted.comment!r}"
        if isinstance(wanted, FirstExpected):
            return _first(wanted, chains.get(wanted.chain, ()))
        if isinstance(wanted, JumpExpected):
            led = any(wanted.to in targets for targets in _jumps(chains.get(wanted.chain, ())))
            return None if led else f"{wanted.chain} does not lead to {wanted.to}"
        return UNSEEN


def _first(wanted: FirstExpected, groups: tuple[tuple[str, ...], ...]) -> str | None:
    """Look into each ruleset that has the jump: what stands in another does not go before it there."""
    for targets in (t for t in _jumps(groups) if wanted.first in t):
        ahead = [t for t in targets[: targets.index(wanted.first)] if t in wanted.before]
        if ahead:
            return f"in {wanted.chain} {', '.join(ahead)} stands above {wanted.first}"
    return None


def _jumps(groups: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    """Give for each ruleset where the rules of a chain lead, in their order."""
    return [[rule.rpartition(" -j ")[2].split()[0] for rule in group if " -j " in rule] for group in groups]


def _vxlan(link: Link, wanted: LinkExpected) -> _Result:
    data = link.data if isinstance(link.data, VxlanData) else None
    if wanted.vni is None and not wanted.port and not wanted.local:
        return None
    if data is None:
        return UNSEEN
    if wanted.vni is not None and data.id != wanted.vni:
        return f"{link.ifname} has the VNI {data.id}, the others use {wanted.vni}"
    if wanted.port and data.port and data.port != wanted.port:
        return f"{link.ifname} uses the UDP port {data.port}, the others {wanted.port}"
    own = data.local or data.local6
    if wanted.local and own and own != wanted.local:
        return f"{link.ifname} sends from {own}, not from {wanted.local}"
    return None


def _prefix(dst: str) -> str:
    """Write a destination in one form: with its length, which the kernel leaves out of a host's."""
    try:
        return str(ipaddress.ip_network(dst, strict=False))
    except ValueError:
        return dst
