"""One namespace in a document: the parts that were asked for, and what of them is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from netinspect.analysis.inside import Inside, missing_parts
from netinspect.errors import ParseError, UsageError
from netinspect.kernel import nft
from netinspect.kernel.namespace import Namespace
from netinspect.model import resources
from netinspect.model.evidence import NodeEvidence
from netinspect.model.inspection import ChainView, NamespaceView, TableView
from netinspect.model.snapshot import Gap, GapReason, Snapshot
from netinspect.model.topology import several

NEEDS = (resources.NODES, resources.PODS)

_TABLES = ("raw", "mangle", "nat", "filter", "security")
_IPTABLES = frozenset({
    "iptables-nft", "iptables-legacy", "iptables", "ip6tables-nft", "ip6tables-legacy", "ip6tables",
})  # fmt: skip
# What the user may ask for, and the collector's sections that it is made of.
SECTIONS: dict[str, frozenset[str]] = {
    "links": frozenset({"links"}),
    "routes": frozenset({"routes4", "routes6", "nexthops"}),
    "rules": frozenset({"rules4", "rules6"}),
    "neighbours": frozenset({"neighbours", "proxied"}),
    "fdb": frozenset({"fdb"}),
    **dict.fromkeys(_TABLES, _IPTABLES),
    "nftables": frozenset({"nftables"}),
    "ipset": frozenset({"ipset"}),
    "ipvs": frozenset({"ipvs"}),
    "conntrack": frozenset({"conntrack", "conntrack6"}),
    "sockets": frozenset({"sockets"}),
    "sysctl": frozenset({"sysctl"}),
    "tc": frozenset({"qdiscs"}),
    "wireguard": frozenset(
        {"wireguard-endpoints", "wireguard-allowed-ips", "wireguard-latest-handshakes", "wireguard-listen-port"}
    ),
    "dns": frozenset({"resolv.conf"}),
    "machine": frozenset({"kernel", "hostname"}),
}
# What fits on a screen and answers most questions; of the rest the sizes are shown.
BRIEF = ("links", "routes", "rules", "neighbours", "dns")
_MACHINE = ("kernel", "hostname", "os-release", "ip-version", "iptables-version", "nft-version", "modules", "flannel")
_MACHINE_PREFIXES = ("cni:", "flags:", "offloads:", "bpf-", "xfrm-")


def check(sections: tuple[str, ...]) -> None:
    """Refuse a section that there is not."""
    for section in sections:
        if section not in SECTIONS:
            raise UsageError(f"there is no section {section!r}", hint=f"the sections are {', '.join(SECTIONS)}")


def inspect(
    snapshot: Snapshot, inside: Inside, owner: str, node: str, sections: tuple[str, ...], *, brief: bool
) -> NamespaceView | None:
    """Give the namespace of ``node/NAME`` or ``pod/NAMESPACE/NAME``; None where it was not read.

    ``brief`` leaves what is long at its size.
    """
    namespace = inside.hosts.get(node) if owner.startswith("node/") else inside.pods.get(owner.removeprefix("pod/"))
    if namespace is None:
        return None
    kernel = next(k for k in snapshot.kernels if k.node == node)
    wanted = sections or tuple(SECTIONS)
    shown = BRIEF if brief and not sections else wanted
    reader = _Reader(namespace, shown)
    view = NamespaceView(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        owner=owner,
        node=node,
        namespace=namespace.evidence.id,
        through=namespace.evidence.through,
        access=kernel.access.value,
        sections=sections,
        links=reader.part("links", lambda: namespace.links),
        routes=reader.part("routes", lambda: namespace.routes),
        nexthops=reader.part("routes", lambda: namespace.nexthops),
        rules=reader.part("rules", lambda: namespace.rules),
        neighbours=reader.part("neighbours", lambda: namespace.neighbours),
        fdb=reader.part("fdb", lambda: namespace.fdb),
        iptables=_tables(namespace, wanted, shown),
        nftables=reader.part("nftables", lambda: nft.unparse(namespace.nftables)),
        ipsets=reader.part("ipset", lambda: namespace.ipsets),
        ipvs=reader.part("ipvs", lambda: namespace.ipvs),
        connections=reader.part("conntrack", lambda: namespace.connections),
        sockets=reader.part("sockets", lambda: namespace.sockets),
        sysctls=reader.part("sysctl", lambda: namespace.sysctls),
        qdiscs=reader.part("tc", lambda: namespace.qdiscs),
        filters=reader.part("tc", lambda: namespace.filters),
        wireguard=reader.part("wireguard", lambda: namespace.wireguard),
        dns=reader.part("dns", lambda: several(line for line in namespace.text("resolv.conf").split("\n") if line)),
        machine=_machine(namespace) if "machine" in shown else None,
        counts=_counts(namespace) if brief and not sections else None,
        gaps=_gaps(snapshot, kernel, namespace, owner, wanted, asked=bool(sections)),
    )
    told = " ".join(g.message for g in view.gaps)
    more = (
        Gap(resource=owner, reason=GapReason.FAILED, message=said) for said in reader.unreadable if said not in told
    )
    return msgspec.structs.replace(view, gaps=(*view.gaps, *more))


class _Reader:
    def __init__(self, namespace: Namespace, shown: tuple[str, ...]) -> None:
        self._namespace = namespace
        self._shown = shown
        self.unreadable: list[str] = []

    def part(self, section: str, read: Callable[[], Any]) -> Any:
        """Give a part, or None where it was not asked for or cannot be read."""
        if section not in self._shown:
            return None
        sections = self._namespace.evidence.sections
        if not any(name in sections and (sections[name].answered or sections[name].cut) for name in SECTIONS[section]):
            fallback = section in ("links", "routes", "sockets", "neighbours")
            if not fallback or not any(name.startswith("proc-") for name in sections):
                return None
        try:
            return read()
        except ParseError as error:
            self.unreadable.append(str(error))
            return None


def _tables(namespace: Namespace, wanted: tuple[str, ...], shown: tuple[str, ...]) -> tuple[TableView, ...] | None:
    names = [t for t in _TABLES if t in wanted]
    sections = namespace.evidence.sections
    if not names or not any(name in sections and (sections[name].answered or sections[name].cut) for name in _IPTABLES):
        return None
    try:
        return several(
            TableView(
                family=ruleset.family,
                variant=ruleset.variant,
                table=table.name,
                chain_count=len(table.chains),
                rule_count=sum(len(c.lines) for c in table.chains.values()),
                chains=several(
                    ChainView(name=c.name, policy=c.policy or "", rules=c.lines) for c in table.chains.values()
                )
                if table.name in shown
                else None,
            )
            for ruleset in namespace.iptables
            for table in ruleset.tables.values()
            if table.name in names
        )
    except ParseError:
        return None


def _machine(namespace: Namespace) -> dict[str, str]:
    return {
        name: section.text
        for name, section in namespace.evidence.sections.items()
        if (name in _MACHINE or name.startswith(_MACHINE_PREFIXES)) and section.answered
    }


def _counts(namespace: Namespace) -> dict[str, int]:
    """Say how much there is of what is not shown."""
    parts: dict[str, Callable[[], int]] = {
        "fdb": lambda: len(namespace.fdb),
        "nftables": lambda: sum(len(c.raw_rules) for c in namespace.nftables.chains.values()),
        "ipset": lambda: len(namespace.ipsets),
        "ipvs": lambda: len(namespace.ipvs),
        "conntrack": lambda: len(namespace.connections),
        "sockets": lambda: len(namespace.sockets),
        "sysctl": lambda: len(namespace.sysctls),
        "tc": lambda: len(namespace.filters),
        "wireguard": lambda: len(namespace.wireguard),
    }
    found = {}
    for name, count in parts.items():
        try:
            found[name] = count()
        except ParseError:
            continue
    return {name: number for name, number in found.items() if number}


def _gaps(
    snapshot: Snapshot, kernel: NodeEvidence, namespace: Namespace, owner: str, wanted: tuple[str, ...], *, asked: bool
) -> tuple[Gap, ...]:
    about = (owner, f"node/{kernel.node}")
    told = [g for g in snapshot.gaps if g.resource in about]
    sections = frozenset().union(*(SECTIONS[w] for w in wanted))
    told += missing_parts(namespace, owner, kernel.access, sections, sections if asked else frozenset())
    return several(told)
