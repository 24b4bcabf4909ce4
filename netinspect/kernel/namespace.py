"""One network namespace, parsed as it is asked for, and what of it could not be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property
from typing import TypeVar

from msgspec import Struct

from netinspect.errors import ParseError
from netinspect.kernel import (
    conntrack,
    ipset,
    iptables,
    ipvs,
    links,
    neighbours,
    nft,
    proc,
    routes,
    settings,
    sockets,
    traffic,
    wireguard,
)
from netinspect.model.evidence import NamespaceEvidence, Section
from netinspect.model.iptables import Ruleset
from netinspect.model.kernel import (
    Connection,
    FdbEntry,
    Filter,
    IpSet,
    Link,
    Neighbour,
    NextHopObject,
    PolicyRule,
    Qdisc,
    Route,
    Socket,
    VirtualService,
    WireguardPeer,
)
from netinspect.model.nft import NftRuleset

T = TypeVar("T")
_BUSYBOX = "BusyBox"
_FAMILIES = {"": "inet", "6": "inet6"}
_FALLBACKS = {
    "links": "proc-links",
    "routes4": "proc-route",
    "routes6": "proc-ipv6-route",
    "neighbours": "proc-arp",
    "sockets": "proc-tcp",
}
# What most nodes have no tool for, because most have nothing that it could show.
_RARE = frozenset({
    "wireguard-endpoints", "wireguard-allowed-ips", "wireguard-latest-handshakes", "wireguard-listen-port", "bpf-net",
    "bpf-cgroup", "xfrm-state", "xfrm-policy",
    "flannel", "resolv.conf", "pod-folders", "ip-version", "os-release", "modules",
})  # fmt: skip


class Trouble(str, Enum):
    """Why a section says less than the kernel would."""

    ABSENT = "absent"  # the tool is not there
    FAILED = "failed"  # the tool refused
    CUT = "cut"  # too long, or the reading ended
    LOSSY = "lossy"  # the tool is one that leaves things out
    UNREADABLE = "unreadable"  # the parser does not know the form


class Missing(Struct, frozen=True, gc=False):
    """A section of which something, or all, is not known."""

    section: str
    trouble: Trouble
    message: str


class Namespace:
    """The state of one network namespace. Attributes parse at first use and raise ``ParseError``."""

    def __init__(self, evidence: NamespaceEvidence) -> None:
        self.evidence = evidence

    def text(self, section: str) -> str:
        """Give what a section holds; nothing where its tool was absent."""
        found = self.evidence.sections.get(section)
        return found.text if found is not None else ""

    def _has(self, section: str) -> bool:
        found = self.evidence.sections.get(section)
        return found is not None and found.answered

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Give the links with their addresses."""
        if not self._has("links") and self._has("proc-links"):
            return proc.links(*map(self.text, ("proc-links", "proc-dev", "proc-if-inet6", "proc-fib-trie")))
        return links.links(self.text("links"))

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """Give the routes of all tables and both families."""
        four = routes.routes(self.text("routes4"), "inet")
        six = routes.routes(self.text("routes6"), "inet6")
        return (
            *(four or proc.routes4(self.text("proc-route"))),
            *(six or proc.routes6(self.text("proc-ipv6-route"))),
        )

    @cached_property
    def rules(self) -> tuple[PolicyRule, ...]:
        """Give the policy rules of both families."""
        return (*routes.rules(self.text("rules4"), "inet"), *routes.rules(self.text("rules6"), "inet6"))

    @cached_property
    def nexthops(self) -> tuple[NextHopObject, ...]:
        """Give the nexthop objects."""
        return routes.nexthops(self.text("nexthops"))

    @cached_property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """Give the neighbour tables, proxied entries included."""
        found = (*neighbours.neighbours(self.text("neighbours")), *neighbours.neighbours(self.text("proxied")))
        return found or proc.neighbours(self.text("proc-arp"))

    @cached_property
    def fdb(self) -> tuple[FdbEntry, ...]:
        """Give the forwarding databases."""
        return neighbours.fdb(self.text("fdb"))

    @cached_property
    def iptables(self) -> tuple[Ruleset, ...]:
        """Give the rulesets that hold any table: of both families and both variants."""
        found = []
        for suffix, family in _FAMILIES.items():
            for variant in ("nft", "legacy"):
                text = self.text(f"ip{suffix}tables-{variant}")
                if text.strip():
                    found.append(iptables.parse(text, family, variant))
            plain = self.text(f"ip{suffix}tables")
            if plain.strip():
                variant = "nft" if "nf_tables" in self.text("iptables-version") else "legacy"
                found.append(iptables.parse(plain, family, variant))
        return tuple(found)

    @cached_property
    def nftables(self) -> NftRuleset:
        """Give the nftables ruleset; what iptables-nft made is in it too, without its options."""
        return nft.parse(self.text("nftables"))

    @cached_property
    def ipsets(self) -> tuple[IpSet, ...]:
        """Give the ipsets."""
        return ipset.parse(self.text("ipset"))

    @cached_property
    def ipvs(self) -> tuple[VirtualService, ...]:
        """Give the virtual services of IPVS."""
        return ipvs.parse(self.text("ipvs"))

    @cached_property
    def connections(self) -> tuple[Connection, ...]:
        """Give the tracked connections, as far as they were read."""
        return conntrack.parse(self._whole_lines("conntrack"))

    @cached_property
    def sockets(self) -> tuple[Socket, ...]:
        """Give the sockets that wait."""
        if self._has("sockets"):
            return sockets.parse(self.text("sockets"))
        return tuple(s for p in ("tcp", "tcp6", "udp", "udp6") for s in sockets.parse_proc(self.text(f"proc-{p}"), p))

    @cached_property
    def sysctls(self) -> dict[str, str]:
        """Give the sysctls under net, by name with slashes: ``ipv4/ip_forward``."""
        return {name.removeprefix("net/"): value for name, value in settings.parse(self.text("sysctl")).items()}

    @cached_property
    def qdiscs(self) -> tuple[Qdisc, ...]:
        """Give the queueing disciplines."""
        return traffic.qdiscs(self.text("qdiscs"))

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """Give the filters of all links and directions."""
        found: list[Filter] = []
        for name in self.evidence.sections:
            if name.startswith("filters:"):
                dev, _, direction = name.removeprefix("filters:").rpartition(":")
                found += traffic.filters(self.text(name), dev, direction)
        return tuple(found)

    @cached_property
    def wireguard(self) -> tuple[WireguardPeer, ...]:
        """Give the WireGuard peers."""
        return wireguard.parse(
            *map(self.text, ("wireguard-endpoints", "wireguard-allowed-ips", "wireguard-latest-handshakes"))
        )

    def _whole_lines(self, name: str) -> str:
        """Give a section without the line at which it was cut."""
        section = self.evidence.sections.get(name)
        if section is None:
            return ""
        return section.text.rpartition("\n")[0] if section.cut else section.text

    def missing(self) -> tuple[Missing, ...]:
        """List what could not be seen, each section once."""
        found = {m.section: m for m in (*self._unreadable(), *self._unread())}
        return tuple(found[name] for name in sorted(found))

    def _unread(self) -> Iterator[Missing]:
        for section in self.evidence.sections.values():
            trouble = self._trouble(section)
            if trouble is not None:
                message = (section.stderr.strip().split("\n") or [""])[0]
                yield Missing(section.name, trouble, message or f"exit code {section.exit_code}")
        if any(_BUSYBOX in self.text(s) + self._said(s) for s in ("ip-version", "links")):
            message = "busybox's ip leaves out multipath routes, metrics and most selectors of rules"
            yield from (Missing(s, Trouble.LOSSY, message) for s in ("routes4", "routes6", "rules4", "rules6"))

    def _said(self, name: str) -> str:
        section = self.evidence.sections.get(name)
        return section.stderr if section else ""

    def _trouble(self, section: Section) -> Trouble | None:
        if section.name in _RARE or section.name.startswith(("proc-", "offloads:", "flags:", "iptables-", "filters:")):
            return None
        if section.absent:
            if section.name.startswith("ip") and "tables-" in section.name and self._other_variant(section.name):
                return None
            fallback = self.evidence.sections.get(_FALLBACKS.get(section.name, ""))
            return Trouble.LOSSY if fallback is not None and fallback.answered else Trouble.ABSENT
        if section.cut:
            return Trouble.CUT
        return None if section.exit_code == 0 else Trouble.FAILED

    def _other_variant(self, name: str) -> bool:
        """Say whether the plain command answered where one of its two names is absent."""
        return self._has(name.partition("-")[0])

    def _unreadable(self) -> Iterator[Missing]:
        parts: tuple[Callable[[], object], ...] = (
            lambda: self.links,
            lambda: self.routes,
            lambda: self.rules,
            lambda: self.nexthops,
            lambda: self.neighbours,
            lambda: self.fdb,
            lambda: self.iptables,
            lambda: self.nftables,
            lambda: self.ipsets,
            lambda: self.ipvs,
            lambda: self.connections,
            lambda: self.sockets,
            lambda: self.sysctls,
            lambda: self.qdiscs,
            lambda: self.filters,
            lambda: self.wireguard,
        )
        for part in parts:
            try:
                part()
            except ParseError as error:
                yield Missing(error.section, Trouble.UNREADABLE, str(error))
