"""OpenFlow tables and groups as ``ovs-ofctl dump-flows`` and ``dump-groups`` print them.

A field is a slice of a base: registers are slices of the 128 bits that they share, DSCP is one of the byte of TOS.
Where something in a match is not known it is kept as such, and decides nothing.
Sources: openvswitch/ovs lib/meta-flow.xml (ovs-fields(7)), lib/ofp-flow.c, lib/ofp-match.c, lib/ofp-group.c.
"""

from __future__ import annotations

import heapq
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

# Reserved ports (OFPP_…), of which the last is the bridge's own.
IN_PORT, TABLE, NORMAL, FLOOD, ALL, CONTROLLER, NO_PORT, LOCAL = (
    0xFFF8, 0xFFF9, 0xFFFA, 0xFFFB, 0xFFFC, 0xFFFD, 0xFFFF, 0xFFFE,
)  # fmt: skip
RESERVED: Final = {
    "IN_PORT": IN_PORT, "TABLE": TABLE, "NORMAL": NORMAL, "FLOOD": FLOOD, "ALL": ALL, "CONTROLLER": CONTROLLER,
    "LOCAL": LOCAL, "ANY": NO_PORT, "NONE": NO_PORT,
}  # fmt: skip
IPV4, ARP, RARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
# The bit of vlan_tci that says that there is a tag at all.
TAGGED: Final = 0x1000
# Bits of ct_state (ovs-fields(7)).
NEW, EST, REL, RPL, INV, TRK, SNAT, DNAT = (1 << n for n in range(8))
STATES: Final = {n: 1 << i for i, n in enumerate(("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"))}
_TCP_FLAGS: Final = {n: 1 << i for i, n in enumerate(("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"))}
_FRAGMENTS: Final = {"no": (0, 3), "yes": (1, 1), "first": (1, 3), "later": (3, 3), "not_later": (0, 2)}
_DEFAULT_PRIORITY: Final = 32768


class Place(NamedTuple):
    """A slice of a base: from which bit, and how many."""

    base: str
    low: int
    bits: int


def _places() -> dict[str, Place]:
    widths = {
        "in_port": 16, "metadata": 64, "tun_id": 64, "tun_src": 32, "tun_dst": 32, "tun_ipv6_src": 128,
        "tun_ipv6_dst": 128, "tun_flags": 16, "pkt_mark": 32, "skb_priority": 32, "ct_state": 32, "ct_zone": 16,
        "ct_mark": 32, "ct_label": 128, "ct_nw_src": 32, "ct_nw_dst": 32, "ct_ipv6_src": 128, "ct_ipv6_dst": 128,
        "ct_nw_proto": 8, "ct_tp_src": 16, "ct_tp_dst": 16, "conj_id": 32, "eth_src": 48, "eth_dst": 48,
        "eth_type": 16, "vlan_tci": 16, "ip_proto": 8, "ip_src": 32, "ip_dst": 32, "ipv6_src": 128, "ipv6_dst": 128,
        "ipv6_label": 20, "ip_tos": 8, "ip_ttl": 8, "ip_frag": 8, "tp_src": 16, "tp_dst": 16, "tcp_flags": 16,
        "icmp_type": 8, "icmp_code": 8, "arp_op": 16, "arp_spa": 32, "arp_tpa": 32, "arp_sha": 48, "arp_tha": 48,
        "nd_target": 128, "nd_sll": 48, "nd_tll": 48,
    }  # fmt: skip
    found = {name: Place(name, 0, bits) for name, bits in widths.items()}
    for n in range(16):
        found[f"reg{n}"] = Place(f"xxreg{n // 4}", 96 - 32 * (n % 4), 32)
    for n in range(8):
        found[f"xreg{n}"] = Place(f"xxreg{n // 2}", 64 - 64 * (n % 2), 64)
    for n in range(4):
        found[f"xxreg{n}"] = Place(f"xxreg{n}", 0, 128)
    for n in range(64):
        found[f"tun_metadata{n}"] = Place(f"tun_metadata{n}", 0, 8 * 124)
    found["ip_dscp"], found["ip_ecn"] = Place("ip_tos", 2, 6), Place("ip_tos", 0, 2)
    found["vlan_vid"], found["vlan_pcp"] = Place("vlan_tci", 0, 13), Place("vlan_tci", 13, 3)
    for name, aliases in _ALIASES.items():
        found |= dict.fromkeys(aliases.split(), found[name])
    for n in range(16):
        found[f"NXM_NX_REG{n}"] = found[f"reg{n}"]
    for n in range(8):
        found[f"OXM_OF_PKT_REG{n}"] = found[f"xreg{n}"]
    for n in range(4):
        found[f"NXM_NX_XXREG{n}"] = found[f"xxreg{n}"]
    for n in range(64):
        found[f"NXM_NX_TUN_METADATA{n}"] = found[f"tun_metadata{n}"]
    return found


_ALIASES: Final = {
    "in_port": "NXM_OF_IN_PORT", "metadata": "OXM_OF_METADATA", "tun_id": "NXM_NX_TUN_ID tunnel_id OXM_OF_TUNNEL_ID",
    "tun_src": "NXM_NX_TUN_IPV4_SRC", "tun_dst": "NXM_NX_TUN_IPV4_DST", "tun_ipv6_src": "NXM_NX_TUN_IPV6_SRC",
    "tun_ipv6_dst": "NXM_NX_TUN_IPV6_DST", "tun_flags": "NXM_NX_TUN_FLAGS", "pkt_mark": "NXM_NX_PKT_MARK",
    "ct_state": "NXM_NX_CT_STATE", "ct_zone": "NXM_NX_CT_ZONE", "ct_mark": "NXM_NX_CT_MARK",
    "ct_label": "NXM_NX_CT_LABEL", "ct_nw_src": "NXM_NX_CT_NW_SRC", "ct_nw_dst": "NXM_NX_CT_NW_DST",
    "ct_ipv6_src": "NXM_NX_CT_IPV6_SRC", "ct_ipv6_dst": "NXM_NX_CT_IPV6_DST", "ct_nw_proto": "NXM_NX_CT_NW_PROTO",
    "ct_tp_src": "NXM_NX_CT_TP_SRC", "ct_tp_dst": "NXM_NX_CT_TP_DST", "conj_id": "NXM_NX_CONJ_ID",
    "eth_src": "dl_src NXM_OF_ETH_SRC OXM_OF_ETH_SRC", "eth_dst": "dl_dst NXM_OF_ETH_DST OXM_OF_ETH_DST",
    "eth_type": "dl_type NXM_OF_ETH_TYPE OXM_OF_ETH_TYPE", "vlan_tci": "NXM_OF_VLAN_TCI",
    "vlan_vid": "OXM_OF_VLAN_VID", "vlan_pcp": "dl_vlan_pcp OXM_OF_VLAN_PCP",
    "ip_proto": "nw_proto NXM_OF_IP_PROTO OXM_OF_IP_PROTO", "ip_src": "nw_src NXM_OF_IP_SRC OXM_OF_IPV4_SRC",
    "ip_dst": "nw_dst NXM_OF_IP_DST OXM_OF_IPV4_DST", "ipv6_src": "NXM_NX_IPV6_SRC OXM_OF_IPV6_SRC",
    "ipv6_dst": "NXM_NX_IPV6_DST OXM_OF_IPV6_DST", "ipv6_label": "NXM_NX_IPV6_LABEL OXM_OF_IPV6_FLABEL",
    "ip_dscp": "OXM_OF_IP_DSCP", "ip_ecn": "nw_ecn NXM_NX_IP_ECN OXM_OF_IP_ECN", "ip_ttl": "nw_ttl NXM_NX_IP_TTL",
    "ip_frag": "nw_frag NXM_NX_IP_FRAG",
    "tp_src": "tcp_src udp_src sctp_src NXM_OF_TCP_SRC NXM_OF_UDP_SRC OXM_OF_TCP_SRC OXM_OF_UDP_SRC OXM_OF_SCTP_SRC",
    "tp_dst": "tcp_dst udp_dst sctp_dst NXM_OF_TCP_DST NXM_OF_UDP_DST OXM_OF_TCP_DST OXM_OF_UDP_DST OXM_OF_SCTP_DST",
    "tcp_flags": "NXM_NX_TCP_FLAGS OXM_OF_TCP_FLAGS",
    "icmp_type": "icmpv4_type icmpv6_type NXM_OF_ICMP_TYPE NXM_NX_ICMPV6_TYPE OXM_OF_ICMPV4_TYPE OXM_OF_ICMPV6_TYPE",
    "icmp_code": "icmpv4_code icmpv6_code NXM_OF_ICMP_CODE NXM_NX_ICMPV6_CODE OXM_OF_ICMPV4_CODE OXM_OF_ICMPV6_CODE",
    "arp_op": "NXM_OF_ARP_OP OXM_OF_ARP_OP", "arp_spa": "NXM_OF_ARP_SPA OXM_OF_ARP_SPA",
    "arp_tpa": "NXM_OF_ARP_TPA OXM_OF_ARP_TPA", "arp_sha": "NXM_NX_ARP_SHA OXM_OF_ARP_SHA",
    "arp_tha": "NXM_NX_ARP_THA OXM_OF_ARP_THA", "nd_target": "NXM_NX_ND_TARGET OXM_OF_IPV6_ND_TARGET",
    "nd_sll": "NXM_NX_ND_SLL OXM_OF_IPV6_ND_SLL", "nd_tll": "NXM_NX_ND_TLL OXM_OF_IPV6_ND_TLL",
}  # fmt: skip
PLACES: Final[Mapping[str, Place]] = _places()
# Words that stand for a type of frame and a protocol.
_KINDS: Final = {
    "ip": (IPV4, None), "ipv6": (IPV6, None), "arp": (ARP, None), "rarp": (RARP, None), "icmp": (IPV4, 1),
    "tcp": (IPV4, 6), "udp": (IPV4, 17), "sctp": (IPV4, 132), "icmp6": (IPV6, 58), "tcp6": (IPV6, 6),
    "udp6": (IPV6, 17), "sctp6": (IPV6, 132),
}  # fmt: skip
KIND_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
# What stands before a match and is none of it.
_ABOUT: Final = frozenset({
    "cookie", "duration", "table", "n_packets", "n_bytes", "idle_timeout", "hard_timeout", "idle_age", "hard_age",
    "importance", "priority", "send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts",
})  # fmt: skip


class Match(NamedTuple):
    """What a flow asks for: a value and a mask for each base, and what of it could not be read."""

    asked: tuple[tuple[str, int, int], ...]
    strange: tuple[str, ...] = ()


class Action(NamedTuple):
    """An action's name, and what stands in its brackets or behind its colon."""

    name: str
    said: str


@dataclass(frozen=True)
class Flow:
    """A flow by its line, from 1, of what was printed."""

    table: int
    priority: int
    line: int
    text: str

    @cached_property
    def match(self) -> Match:
        """Give what it asks for."""
        return match(self.text.partition("actions=")[0])

    @cached_property
    def actions(self) -> tuple[Action, ...]:
        """Give what it does."""
        return actions(self.text.partition("actions=")[2])


class Bucket(NamedTuple):
    """A bucket of a group; ``weight`` counts in groups that select."""

    name: str
    weight: int
    actions: tuple[Action, ...]


class Group(NamedTuple):
    """A group by its line, from 1, of what was printed."""

    kind: str
    buckets: tuple[Bucket, ...]
    line: int
    text: str


def value(text: str, bits: int) -> int:
    """Read a value of a field: a number, a reserved port, a MAC, an address; raises ``ValueError``."""
    if text in RESERVED:
        return RESERVED[text]
    if re.fullmatch(r"[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}", text) and bits == 48:
        return int("".join(part.zfill(2) for part in text.split(":")), 16)
    if ":" in text or "." in text:
        return int(ipaddress.ip_address(text))
    return int(text, 0)


def mac(address: int) -> str:
    """Write a MAC."""
    return ":".join(f"{address >> shift & 0xFF:02x}" for shift in range(40, -8, -8))


def masked(text: str, bits: int) -> tuple[int, int]:
    """Read ``VALUE`` or ``VALUE/MASK``; of addresses the mask may be a length. Raises ``ValueError``."""
    left, slash, right = text.partition("/")
    every = (1 << bits) - 1
    mask = every
    if slash:
        address = bits in (32, 128) and ("." in left or ":" in left)
        plain = right.isdecimal()
        mask = every ^ (every >> int(right)) if address and plain else value(right, bits)
    return value(left, bits) & mask, mask


def _flags(text: str, names: Mapping[str, int]) -> tuple[int, int]:
    """Read ``+new-est``, or a number with a mask; raises ``ValueError``."""
    words = re.findall(r"([+-])([a-z]+)", text)
    if "".join(a + b for a, b in words) != text:
        return masked(text, 16)
    if any(name not in names for _, name in words):
        raise ValueError(text)
    wanted, mask = 0, 0
    for sign, name in words:
        mask |= names[name]
        wanted |= names[name] if sign == "+" else 0
    return wanted, mask


def match(text: str) -> Match:
    """Read the match of a flow."""
    asked: dict[str, tuple[int, int]] = {}
    strange: list[str] = []

    def ask(base: str, wanted: int, mask: int) -> None:
        before = asked.get(base, (0, 0))
        asked[base] = (before[0] & ~mask | wanted & mask, before[1] | mask)

    for word in re.split(r"[,\s]+", text.strip(" ,\n")):
        name, equals, said = word.partition("=")
        if not name or name in _ABOUT:
            continue
        try:
            if not equals and name in _KINDS:
                kind, protocol = _KINDS[name]
                ask("eth_type", kind, 0xFFFF)
                if protocol is not None:
                    ask("ip_proto", protocol, 0xFF)
            elif equals:
                ask(*_term(name, said))
            else:
                strange.append(word)
        except (ValueError, KeyError):
            strange.append(word)
    return Match(tuple((base, wanted, mask) for base, (wanted, mask) in asked.items()), tuple(strange))


def _term(name: str, said: str) -> tuple[str, int, int]:
    """Read one ``NAME=VALUE``: the base, the value and the mask in it; raises ``ValueError``, ``KeyError``."""
    if name == "ct_state":
        return (name, *_flags(said, STATES))
    if name == "tcp_flags":
        return (name, *_flags(said, _TCP_FLAGS))
    if name in ("nw_frag", "ip_frag"):
        return ("ip_frag", *_FRAGMENTS[said])
    if name == "nw_tos":
        return "ip_tos", int(said, 0) & 0xFC, 0xFC
    if name == "dl_vlan":
        return "vlan_tci", TAGGED | int(said, 0) & 0xFFF, 0x1FFF
    place = PLACES[name]
    wanted, mask = masked(said, place.bits)
    return place.base, wanted << place.low, mask << place.low


def pieces(text: str) -> Iterator[str]:
    """Split at the commas that stand in no brackets."""
    depth, begin = 0, 0
    for at, char in enumerate(text):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == "," and not depth:
            yield text[begin:at].strip()
            begin = at + 1
    if text[begin:].strip():
        yield text[begin:].strip()


_ACTION: Final = re.compile(r"([A-Za-z_0-9]+)(?:[:=](.*)|\((.*)\))?", re.DOTALL)


def actions(text: str) -> tuple[Action, ...]:
    """Read a list of actions; what is no action by its form has the name that it has."""
    found = []
    for piece in pieces(text.strip()):
        read = _ACTION.fullmatch(piece)
        found.append(Action(read[1], read[2] or read[3] or "") if read is not None else Action(piece, ""))
    return tuple(found)


_SLICE: Final = re.compile(r"([A-Za-z0-9_]+)(?:\[(?:(\d+)(?:\.\.(\d+))?)?\])?")


def slice_of(text: str) -> Place:
    """Read ``FIELD``, ``FIELD[]``, ``FIELD[3]`` or ``FIELD[0..15]``; raises ``ValueError`` where it is not known."""
    read = _SLICE.fullmatch(text.strip())
    place = PLACES.get(read[1]) if read is not None else None
    if read is None or place is None:
        raise ValueError(text)
    if read[2] is None:
        return place
    low, high = int(read[2]), int(read[3] or read[2])
    return Place(place.base, place.low + low, high - low + 1)


_TABLE: Final = re.compile(r"(?:^|[,\s])table=([^,\s]+)")
_PRIORITY: Final = re.compile(r"(?:^|[,\s])priority=(\d+)")
# Of OVN's flows nearly all ask for one logical datapath, which is what splits large tables.
_METADATA: Final = re.compile(r"(?:^|[,\s])metadata=(0x[0-9a-f]+|\d+)(?=[,\s])")


class Table:
    """A table's flows, those of the highest priority first, and apart by the one metadata that they ask for."""

    def __init__(self, flows: list[Flow]) -> None:
        self._by_metadata: dict[int | None, list[Flow]] = {}
        for flow in sorted(flows, key=_rank):
            asked = _METADATA.search(flow.text.partition("actions=")[0])
            self._by_metadata.setdefault(int(asked[1], 0) if asked is not None else None, []).append(flow)

    def flows(self, metadata: int) -> Iterator[Flow]:
        """Give those that may match."""
        return heapq.merge(*(self._by_metadata.get(key, ()) for key in (metadata, None)), key=_rank)


def _rank(flow: Flow) -> tuple[int, int]:
    return -flow.priority, flow.line


def tables(text: str) -> dict[int, Table]:
    """Read what ``ovs-ofctl dump-flows`` prints; raises ``ValueError`` where tables have names."""
    found: dict[int, list[Flow]] = {}
    for line, said in enumerate(text.split("\n"), 1):
        head, actions_, _ = said.partition("actions=")
        if not actions_:
            continue
        table, priority = _TABLE.search(head), _PRIORITY.search(head)
        number = int(table[1]) if table is not None else 0
        flow = Flow(number, int(priority[1]) if priority is not None else _DEFAULT_PRIORITY, line, said.strip())
        found.setdefault(number, []).append(flow)
    return {number: Table(flows) for number, flows in found.items()}


def groups(text: str) -> dict[int, Group]:
    """Read what ``ovs-ofctl dump-groups`` prints; a group that cannot be read has a type of its own."""
    found: dict[int, Group] = {}
    for line, said in enumerate(text.split("\n"), 1):
        read = re.search(r"group_id=(\d+),type=([a-z_]+)", said)
        if read is None:
            continue
        _, *told = re.split(r",bucket=", said)
        try:
            kind, buckets = read[2], tuple(_bucket(n, one) for n, one in enumerate(told))
        except ValueError as error:
            kind, buckets = f"{read[2]} with {error}", ()
        found[int(read[1])] = Group(kind, buckets, line, said.strip())
    return found


def _bucket(number: int, text: str) -> Bucket:
    head, _, does = text.partition("actions=")
    told = dict(re.findall(r"([a-z_]+):(\w+)", head))
    if set(told) - {"bucket_id", "weight"}:
        raise ValueError(", ".join(sorted(set(told) - {"bucket_id", "weight"})))
    return Bucket(told.get("bucket_id", str(number)), int(told.get("weight", "1")), actions(does))


def tunnel_options(text: str) -> dict[str, tuple[int, int, int]]:
    """Read ``ovs-ofctl dump-tlv-map``: a field's class, type and length in bytes of Geneve's options."""
    read = re.findall(r"^\s*(0x[0-9a-f]+|\d+)\s+(0x[0-9a-f]+|\d+)\s+(\d+)\s+(tun_metadata\d+)", text, re.MULTILINE)
    return {name: (int(klass, 0), int(kind, 0), int(length)) for klass, kind, length, name in read}


def learned(text: str) -> dict[tuple[int, int], int]:
    """Read ``ovs-appctl fdb/show``: behind which port, by its number, a MAC of a VLAN is."""
    read = re.findall(r"^\s*(\d+|LOCAL)\s+(\d+)\s+([0-9a-f:]{17})\s", text, re.MULTILINE)
    return {(int(vlan), value(mac, 48)): value(port, 16) for port, vlan, mac in read}
