"""What the kernel of a node holds for one network namespace: links, addresses, routes, rules, neighbours, sockets.

Field names are those of iproute2's JSON (which are those of rtnetlink(7)) unless they are Python's own words. A field
that a tool did not print has its default; ``None`` where a number may be missing.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct


class Fact(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything read from a kernel."""


class LinkAddress(Fact, frozen=True, kw_only=True):
    """An address of a link (``ifa_*`` of rtnetlink(7)): prefix length, scope, flags, the peer of a point-to-point."""

    family: str
    local: str
    prefixlen: int = 0
    scope: str = ""
    peer: str = msgspec.field(name="address", default="")
    broadcast: str = ""
    label: str = ""
    dynamic: bool = False
    deprecated: bool = False
    tentative: bool = False
    dadfailed: bool = False
    secondary: bool = False
    noprefixroute: bool = False
    temporary: bool = False
    mngtmpaddr: bool = False
    nodad: bool = False
    metric: int | None = None
    protocol: str = ""


class BridgeData(Fact, frozen=True, kw_only=True, tag="bridge"):
    """``IFLA_BR_*``: what decides forwarding in a bridge; times in hundredths of a second."""

    ageing_time: int = 0
    stp_state: int = 0
    vlan_filtering: int = 0
    vlan_protocol: str = ""
    vlan_default_pvid: int = 0
    group_fwd_mask: str = ""
    mcast_snooping: int = 0
    nf_call_iptables: int = 0
    nf_call_ip6tables: int = 0
    nf_call_arptables: int = 0
    fdb_max_learned: int = 0


class BridgePortData(Fact, frozen=True, kw_only=True):
    """``IFLA_BRPORT_*``: a link's part in its bridge; ``hairpin`` lets a frame leave where it came in.

    ``flood``, ``bcast_flood`` and ``mcast_flood`` say whether what is for an unknown address, for all and for a group
    leaves by it.
    """

    state: str = ""
    hairpin: bool = False
    guard: bool = False
    root_block: bool = False
    learning: bool = True
    flood: bool = True
    bcast_flood: bool = True
    mcast_flood: bool = True
    isolated: bool = False
    proxy_arp: bool = False
    proxy_arp_wifi: bool = False
    neigh_suppress: bool = False
    vlan_tunnel: bool = False
    locked: bool = False


class VxlanData(Fact, frozen=True, kw_only=True, tag="vxlan"):
    """``IFLA_VXLAN_*`` (RFC 7348): VNI, both ends or the group, port, and how it learns."""

    id: int = 0
    local: str = ""
    local6: str = ""
    remote: str = ""
    remote6: str = ""
    group: str = ""
    group6: str = ""
    link: str = ""
    port: int = 0
    learning: bool = False
    external: bool = False
    vnifilter: bool = False
    ttl: int | str | None = None
    df: str = ""
    proxy: bool = False
    rsc: bool = False
    l2miss: bool = False
    l3miss: bool = False
    gbp: bool = False
    gpe: bool = False
    limit: int = 0
    udp_csum: bool = False
    udp_zero_csum6_tx: bool = False
    udp_zero_csum6_rx: bool = False


class GeneveData(Fact, frozen=True, kw_only=True, tag="geneve"):
    """``IFLA_GENEVE_*`` (RFC 8926)."""

    id: int = 0
    remote: str = ""
    remote6: str = ""
    port: int = 0
    external: bool = False
    ttl: int | str | None = None
    df: str = ""
    udp_csum: bool = False


class TunnelData(Fact, frozen=True, kw_only=True, tag="tunnel"):
    """IPIP, SIT, GRE and their kin (``IFLA_IPTUN_*``, ``IFLA_GRE_*``; RFC 2003, RFC 2784): both ends, keys, PMTU."""

    remote: str = ""
    local: str = ""
    link: str = ""
    ttl: int | str | None = None
    proto: str = ""
    pmtudisc: bool = False
    ignore_df: bool = False
    external: bool = False
    ikey: str = ""
    okey: str = ""


class WireguardData(Fact, frozen=True, kw_only=True, tag="wireguard"):
    """A WireGuard link; its peers are in the ``wireguard`` section, its keys nowhere."""


class MacvlanData(Fact, frozen=True, kw_only=True, tag="macvlan"):
    """``IFLA_MACVLAN_*``: private, vepa, bridge, passthru or source."""

    mode: str = ""


class IpvlanData(Fact, frozen=True, kw_only=True, tag="ipvlan"):
    """``IFLA_IPVLAN_*``: l2, l3 or l3s; all that stand on one device meet, unless they are private or vepa."""

    mode: str = ""
    private: bool = False
    vepa: bool = False


class VlanData(Fact, frozen=True, kw_only=True, tag="vlan"):
    """``IFLA_VLAN_*`` (IEEE 802.1Q)."""

    id: int = 0
    protocol: str = ""


class BondData(Fact, frozen=True, kw_only=True, tag="bond"):
    """``IFLA_BOND_*``."""

    mode: str = ""
    active_slave: str = ""
    miimon: int = 0
    primary: str = ""
    xmit_hash_policy: str = ""


class VrfData(Fact, frozen=True, kw_only=True, tag="vrf"):
    """``IFLA_VRF_TABLE``: the routing table of a VRF."""

    table: int = 0


LinkData: TypeAlias = (
    BridgeData
    | VxlanData
    | GeneveData
    | TunnelData
    | WireguardData
    | MacvlanData
    | IpvlanData
    | VlanData
    | BondData
    | VrfData
    | None
)


class Counters(Fact, frozen=True, kw_only=True):
    """One direction of ``IFLA_STATS64``."""

    bytes: int = 0
    packets: int = 0
    errors: int = 0
    dropped: int = 0


class Link(Fact, frozen=True, kw_only=True):
    """A network interface.

    ``link_index`` is the lower or peer link's index, in the namespace ``link_netnsid`` where that is not None (an id
    that only this namespace gives a meaning). ``kind`` is ``IFLA_INFO_KIND``, empty for hardware. ``unmodelled`` holds
    the details of a kind that is not one of ours, as they were printed.
    """

    ifindex: int
    ifname: str
    flags: tuple[str, ...] = ()
    mtu: int = 0
    operstate: str = ""
    link_type: str = ""
    address: str = ""
    master: str = ""
    link: str = ""
    link_index: int | None = None
    link_netnsid: int | None = None
    kind: str = ""
    data: LinkData = None
    port: BridgePortData | None = None
    unmodelled: dict[str, Any] = {}
    addresses: tuple[LinkAddress, ...] = ()
    altnames: tuple[str, ...] = ()
    qdisc: str = ""
    txqlen: int = 0
    gso_max_size: int = 0
    xdp: bool = False
    rx: Counters = Counters()
    tx: Counters = Counters()

    @property
    def up(self) -> bool:
        """Say whether it is administratively up (``IFF_UP``)."""
        return "UP" in self.flags

    @property
    def carrier(self) -> bool:
        """Say whether it can carry traffic (``IFF_LOWER_UP``)."""
        return "LOWER_UP" in self.flags


class NextHop(Fact, frozen=True, kw_only=True):
    """One way of a multipath route; ``weight`` counts from 1."""

    gateway: str = ""
    dev: str = ""
    weight: int = 1
    via: str = ""
    encap: str = ""
    flags: tuple[str, ...] = ()


class Route(Fact, frozen=True, kw_only=True):
    """A route (``rtm_*`` and ``RTA_*`` of rtnetlink(7)).

    ``dst`` is a prefix in full: ``0.0.0.0/0`` for the default route. ``table`` is its number as text or its name in
    rt_tables. ``via`` is a gateway of the other family (RFC 5549). ``locked`` names the metrics that path MTU
    discovery may not change. ``nhid`` refers to a nexthop object.
    """

    family: str
    dst: str
    type: str = "unicast"
    table: str = "main"
    gateway: str = ""
    via: str = ""
    dev: str = ""
    prefsrc: str = ""
    src: str = ""
    scope: str = ""
    protocol: str = ""
    metric: int = 0
    tos: str = ""
    flags: tuple[str, ...] = ()
    mtu: int | None = None
    advmss: int | None = None
    locked: tuple[str, ...] = ()
    nhid: int | None = None
    nexthops: tuple[NextHop, ...] = ()
    encap: str = ""
    pref: str = ""
    unmodelled: dict[str, Any] = {}
    line: int = 0


class NextHopObject(Fact, frozen=True, kw_only=True):
    """A nexthop object or a group of them (ip-nexthop(8)); ``group`` holds (id, weight)."""

    id: int
    gateway: str = ""
    dev: str = ""
    scope: str = ""
    blackhole: bool = False
    group: tuple[tuple[int, int], ...] = ()
    type: str = ""
    line: int = 0


class PolicyRule(Fact, frozen=True, kw_only=True):
    """A routing policy rule (ip-rule(8)); ``action`` is ``lookup``, ``goto``, ``blackhole`` and so on.

    ``fwmark`` and ``fwmask`` are numbers; ranges are ``(first, last)``. ``negated`` is ``not``.
    """

    family: str
    priority: int
    action: str = "lookup"
    table: str = ""
    negated: bool = False
    src: str = ""
    dst: str = ""
    iif: str = ""
    oif: str = ""
    fwmark: int | None = None
    fwmask: int = 0xFFFFFFFF
    tos: str = ""
    ipproto: str = ""
    sport: tuple[int, int] | None = None
    dport: tuple[int, int] | None = None
    uidrange: tuple[int, int] | None = None
    suppress_prefixlength: int | None = None
    suppress_ifgroup: str = ""
    goto: int | None = None
    l3mdev: bool = False
    protocol: str = ""
    unmodelled: dict[str, Any] = {}
    line: int = 0


class Neighbour(Fact, frozen=True, kw_only=True):
    """An entry of the neighbour table (ARP, RFC 826; NDP, RFC 4861): ``state`` holds the ``NUD_*`` names."""

    dst: str
    dev: str
    lladdr: str = ""
    state: tuple[str, ...] = ()
    router: bool = False
    proxy: bool = False
    extern_learn: bool = False
    line: int = 0


class FdbEntry(Fact, frozen=True, kw_only=True):
    """An entry of a forwarding database (bridge(8)): a MAC behind a port, or behind a remote tunnel end ``dst``."""

    mac: str
    dev: str
    master: str = ""
    dst: str = ""
    state: str = ""
    flags: tuple[str, ...] = ()
    vlan: int | None = None
    vni: int | None = None
    src_vni: int | None = None
    port: int | None = None
    via: str = ""
    nhid: int | None = None
    line: int = 0


class Socket(Fact, frozen=True, kw_only=True):
    """A socket that waits for packets or connections; ``address`` ``*`` is every address, of both families in IPv6.

    ``v6only`` is None where the tool does not say.
    """

    protocol: str
    state: str
    address: str
    port: int
    dev: str = ""
    peer: str = ""
    peer_port: int | None = None
    uid: int | None = None
    inode: int | None = None
    v6only: bool | None = None
    processes: tuple[str, ...] = ()
    line: int = 0


class Tuple(Fact, frozen=True, kw_only=True):
    """One direction of a connection (``nf_conntrack_tuple``): ports, or ICMP type, code and id."""

    src: str
    dst: str
    sport: int | None = None
    dport: int | None = None
    type: int | None = None
    code: int | None = None
    id: int | None = None
    packets: int | None = None
    bytes: int | None = None


class Connection(Fact, frozen=True, kw_only=True):
    """An entry of the connection tracking table (conntrack(8)); ``timeout`` in seconds."""

    family: str
    protocol: str
    original: Tuple
    reply: Tuple
    timeout: int | None = None
    state: str = ""
    status: tuple[str, ...] = ()
    mark: int = 0
    zone: int = 0
    zone_original: int | None = None
    zone_reply: int | None = None
    secctx: str = ""
    line: int = 0


class IpSet(Fact, frozen=True, kw_only=True):
    """A set of ipset(8): ``type`` such as ``hash:ip,port``; options as printed; each entry with its own options."""

    name: str
    type: str
    options: tuple[tuple[str, str], ...] = ()
    entries: tuple[IpSetEntry, ...] = ()
    line: int = 0

    @property
    def family(self) -> str:
        """Give ``inet``, ``inet6``, or nothing for sets that have no family."""
        return dict(self.options).get("family", "")


class IpSetEntry(Fact, frozen=True, kw_only=True, gc=False):
    """A member of a set; ``nomatch`` excludes what a wider entry holds."""

    value: str
    nomatch: bool = False
    options: tuple[tuple[str, str], ...] = ()


class RealServer(Fact, frozen=True, kw_only=True):
    """A backend of IPVS (ipvsadm(8)): ``forward`` is Masq, Route or Tunnel."""

    address: str
    port: int
    forward: str
    weight: int
    active: int = 0
    inactive: int = 0


class VirtualService(Fact, frozen=True, kw_only=True):
    """A virtual service of IPVS; a firewall-mark service has a ``fwmark`` and no address.

    ``persistent`` is in seconds; where these are not known the flag of the same name says that it is.
    """

    protocol: str
    address: str = ""
    port: int = 0
    fwmark: int | None = None
    scheduler: str = ""
    flags: tuple[str, ...] = ()
    persistent: int | None = None
    servers: tuple[RealServer, ...] = ()
    line: int = 0


class WireguardDevice(Fact, frozen=True, kw_only=True):
    """What is a WireGuard device's own (wg(8)); ``fwmark`` is of the packets that it sends, None where not read."""

    dev: str
    listen_port: int | None = None
    public_key: str = ""
    fwmark: int | None = None


class WireguardPeer(Fact, frozen=True, kw_only=True):
    """A WireGuard peer by its public key (wg(8))."""

    dev: str
    public_key: str
    endpoint: str = ""
    allowed_ips: tuple[str, ...] = ()
    latest_handshake: int | None = None


class Filter(Fact, frozen=True, kw_only=True):
    """A tc filter or clsact program (tc(8)); options as printed."""

    dev: str
    direction: str
    kind: str
    protocol: str = ""
    pref: int | None = None
    chain: int | None = None
    options: dict[str, Any] = {}


class Qdisc(Fact, frozen=True, kw_only=True):
    """A queueing discipline (tc(8)); options as printed."""

    dev: str
    kind: str
    handle: str = ""
    parent: str = ""
    root: bool = False
    options: dict[str, Any] = {}
