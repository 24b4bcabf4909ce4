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
from netinspect.model.evidence import NamespaceEvidence
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
    WireguardDevice,
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
_SAVED = tuple(f"ip{six}tables-{variant}" for six in ("", "6") for variant in ("nft", "legacy"))
# What the collector reads in every namespace: a section that is not there was not read.
EXPECTED = (
    "links", "routes4", "routes6", "rules4", "rules6", "nexthops", "neighbours", "proxied", "fdb", *_SAVED, "nftables",
    "ipset", "sockets", "qdiscs", "conntrack", "conntrack6", "sysctl", "ipvs",
)  # fmt: skip
_OPTIONAL = (
    "wireguard-endpoints", "wireguard-allowed-ips", "wireguard-latest-handshakes", "wireguard-listen-port",
    "wireguard-public-key", "wireguard-fwmark", "resolv.conf",
)  # fmt: skip
# iptables-save says this of a table in which there is something that iptables cannot show.
_INCOMPATIBLE = "is incompatible, use 'nft' tool"
_LEGACY_PRESENT = "iptables-legacy tables present"


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
        """Give what a section holds, without the half of a line at which it was cut."""
        found = self.evidence.sections.get(section)
        if found is None:
            return ""
        return found.text.rpartition("\n")[0] if found.cut and not found.absent else found.text

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
        return nft.parse(self.text("nftables"), nft.devices(self.text("nft-devices")))

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
        return (*conntrack.parse(self.text("conntrack")), *conntrack.parse(self.text("conntrack6")))

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
        return (*found, *traffic.programs(self.text("bpf-net")))

    @cached_property
    def wireguard_devices(self) -> tuple[WireguardDevice, ...]:
        """Give the WireGuard devices, each with what is its own."""
        parts = ("wireguard-listen-port", "wireguard-public-key", "wireguard-fwmark")
        return wireguard.devices(*map(self.text, parts))

    @cached_property
    def wireguard(self) -> tuple[WireguardPeer, ...]:
        """Give the WireGuard peers."""
        return wireguard.parse(
            *map(self.text, ("wireguard-endpoints", "wireguard-allowed-ips", "wireguard-latest-handshakes"))
        )

    def missing(self, asked: frozenset[str] = frozenset()) -> tuple[Missing, ...]:
        """List what could not be seen, each section once.

        What most nodes have no tool for, because they have nothing that it would show, is only listed where ``asked``.
        """
        names = dict.fromkeys((*EXPECTED, *(name for name in _OPTIONAL if name in asked), *self._dynamic()))
        found = [m for name in names if (m := self._trouble(name)) is not None]
        found += self._lossy()
        found += self._unreadable()
        return tuple({m.section: m for m in reversed(found)}[name] for name in sorted({m.section for m in found}))

    def _dynamic(self) -> list[str]:
        return [name for name in self.evidence.sections if name.startswith("filters:")]

    def _trouble(self, name: str) -> Missing | None:
        section = self.evidence.sections.get(name)
        if section is None:
            # Behind the plain command there is one of its two names, and a fallback behind a tool that is not there.
            return None if self._stands_in(name) else Missing(name, Trouble.CUT, "was not read")
        said = (section.stderr.strip().split("\n") or [""])[0]
        if section.absent:
            if self._stands_in(name):
                return None
            fallback = self._has(_FALLBACKS.get(name, ""))
            return Missing(name, Trouble.LOSSY if fallback else Trouble.ABSENT, said)
        if section.cut:
            return Missing(name, Trouble.CUT, said or "ended early")
        return (
            None if section.exit_code == 0 else Missing(name, Trouble.FAILED, said or f"exit code {section.exit_code}")
        )

    def _stands_in(self, name: str) -> bool:
        return name in _SAVED and self._has(name.partition("-")[0])

    def _lossy(self) -> Iterator[Missing]:
        if any(_BUSYBOX in self.text(s) + self._said(s) for s in ("ip-version", "links", "nexthops")):
            message = "busybox's ip leaves out multipath routes, metrics and most selectors of rules"
            yield from (Missing(s, Trouble.LOSSY, message) for s in ("routes4", "routes6", "rules4", "rules6"))
        for name in (*_SAVED, "iptables", "ip6tables"):
            text = self.text(name)
            legacy = f"{name.partition('-')[0]}-legacy"
            if _INCOMPATIBLE in text:
                yield Missing(name, Trouble.FAILED, "a table holds what iptables cannot show; nftables has it")
            elif _LEGACY_PRESENT in text + self._said(name) and not self._has(legacy):
                yield Missing(legacy, Trouble.ABSENT, "there are legacy tables, and no tool for them")

    def _said(self, name: str) -> str:
        section = self.evidence.sections.get(name)
        return section.stderr if section else ""

    def _unreadable(self) -> Iterator[Missing]:
        parts: tuple[tuple[tuple[str, ...], Callable[[], object]], ...] = (
            (("links",), lambda: self.links),
            (("routes4", "routes6"), lambda: self.routes),
            (("rules4", "rules6"), lambda: self.rules),
            (("nexthops",), lambda: self.nexthops),
            (("neighbours", "proxied"), lambda: self.neighbours),
            (("fdb",), lambda: self.fdb),
            (_SAVED, lambda: self.iptables),
            (("nftables",), lambda: self.nftables),
            (("ipset",), lambda: self.ipsets),
            (("ipvs",), lambda: self.ipvs),
            (("conntrack", "conntrack6"), lambda: self.connections),
            (("sockets",), lambda: self.sockets),
            (("sysctl",), lambda: self.sysctls),
            (("qdiscs",), lambda: self.qdiscs),
            (tuple(self._dynamic()), lambda: self.filters),
            (("wireguard-endpoints", "wireguard-allowed-ips"), lambda: self.wireguard),
        )
        for names, part in parts:
            try:
                part()
            except ParseError as error:
                yield from (Missing(name, Trouble.UNREADABLE, str(error)) for name in names)
