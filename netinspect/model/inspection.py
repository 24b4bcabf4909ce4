"""What ``netinspect node`` and ``netinspect pod`` say: one network namespace as its kernel has it."""

from __future__ import annotations

from typing import Any, Literal

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
from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document


class ChainView(Document, frozen=True, kw_only=True):
    """A chain of iptables; its rules as iptables-save prints them, with their lines in the raw evidence."""

    name: str
    policy: str = ""
    rules: tuple[tuple[int, str], ...] = ()


class TableView(Document, frozen=True, kw_only=True):
    """A table of iptables. ``chains`` is null where only its size was asked for."""

    family: str
    variant: str
    table: str
    chain_count: int
    rule_count: int
    chains: tuple[ChainView, ...] | None = None


class NamespaceView(Document, frozen=True, tag_field="kind", tag="NetworkNamespace", omit_defaults=False, kw_only=True):
    """One network namespace. A part that was not asked for, or could not be read, is null; the gaps say which.

    ``owner`` is ``node/NAME`` or ``pod/NAMESPACE/NAME``; ``through`` is what it was read by. ``nftables`` is the
    ruleset as libnftables-json(5) has it. ``machine`` holds what is known of the node beside its namespaces.
    """

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    owner: str
    node: str
    namespace: str
    through: str
    access: str
    sections: tuple[str, ...] = ()
    links: tuple[Link, ...] | None = None
    routes: tuple[Route, ...] | None = None
    nexthops: tuple[NextHopObject, ...] | None = None
    rules: tuple[PolicyRule, ...] | None = None
    neighbours: tuple[Neighbour, ...] | None = None
    fdb: tuple[FdbEntry, ...] | None = None
    iptables: tuple[TableView, ...] | None = None
    nftables: Any = None
    ipsets: tuple[IpSet, ...] | None = None
    ipvs: tuple[VirtualService, ...] | None = None
    connections: tuple[Connection, ...] | None = None
    sockets: tuple[Socket, ...] | None = None
    sysctls: dict[str, str] | None = None
    qdiscs: tuple[Qdisc, ...] | None = None
    filters: tuple[Filter, ...] | None = None
    wireguard: tuple[WireguardPeer, ...] | None = None
    dns: tuple[str, ...] | None = None
    machine: dict[str, str] | None = None
    counts: dict[str, int] | None = None
    gaps: tuple[Gap, ...] = ()
