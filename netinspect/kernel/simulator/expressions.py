"""nftables' expressions: what a rule reads of a packet. Sources: nft(8), net/netfilter/nft_*.c."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from netinspect.kernel.simulator.datatypes import BITMASKS, Unmodelled, Value, constant
from netinspect.kernel.simulator.fib import Flow
from netinspect.kernel.simulator.forks import Drawn, Maybe, Way
from netinspect.kernel.simulator.headers import bits
from netinspect.kernel.simulator.listeners import listening
from netinspect.kernel.simulator.tracking import UNTRACKED
from netinspect.kernel.simulator.traversal import Traversal, confirmed
from netinspect.model.kernel import Socket
from netinspect.model.nft import Term
from netinspect.model.packet import ARP, ICMP, ICMPV6, PORTED, SCTP, TCP, UDP, UDPLITE

# What an expression gives: a value, several of a concatenation, something unknown, or None where it cannot be read of
# this packet, at which a rule ends (NFT_BREAK).
Read = Value | tuple[Value | Maybe, ...] | Maybe | None
DRAWN: Final = frozenset({"numgen", "jhash", "symhash"})
_MOST_DRAWN: Final = 64
_LINK_LOCAL: Final = 0xFE80 >> 6
_PROTOCOLS: Final = {"tcp": TCP, "udp": UDP, "sctp": SCTP, "udplite": UDPLITE, "icmp": ICMP, "icmpv6": ICMPV6}
_FAMILIES: Final = {"ip": 4, "ip6": 6}
_ETHER_TYPES: Final = {4: 0x0800, 6: 0x86DD, ARP: 0x0806}

_FIELDS: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("ip", "saddr"): ("ipv4_addr", "src"), ("ip", "daddr"): ("ipv4_addr", "dst"),
    ("ip", "protocol"): ("inet_proto", "protocol"), ("ip", "ttl"): ("integer", "ttl"),
    ("ip", "length"): ("integer", "size"), ("ip6", "saddr"): ("ipv6_addr", "src"),
    ("ip6", "daddr"): ("ipv6_addr", "dst"), ("ip6", "nexthdr"): ("inet_proto", "protocol"),
    ("ip6", "hoplimit"): ("integer", "ttl"), ("icmp", "type"): ("icmp_type", "type"),
    ("icmp", "code"): ("icmp_code", "code"), ("icmp", "id"): ("integer", "ident"),
    ("icmpv6", "type"): ("icmpv6_type", "type"), ("icmpv6", "code"): ("icmpv6_code", "code"),
    ("icmpv6", "id"): ("integer", "ident"), ("tcp", "flags"): ("tcp_flag", "flags"),
    ("ether", "saddr"): ("ether_addr", "smac"), ("ether", "daddr"): ("ether_addr", "dmac"),
    **{(p, "sport"): ("port", "sport") for p in ("tcp", "udp", "sctp", "udplite", "dccp", "th")},
    **{(p, "dport"): ("port", "dport") for p in ("tcp", "udp", "sctp", "udplite", "dccp", "th")},
}  # fmt: skip
_META: Final = {
    "l4proto": "inet_proto", "nfproto": "nf_proto", "protocol": "ether_type", "mark": "mark", "iifname": "ifname",
    "oifname": "ifname", "iif": "iface_index", "oif": "iface_index", "skuid": "uid", "skgid": "gid",
    "pkttype": "pkt_type", "length": "integer", "priority": "integer", "ibrname": "ifname", "obrname": "ifname",
    "iiftype": "iface_type", "oiftype": "iface_type", "iifkind": "string", "oifkind": "string",
}  # fmt: skip
_CT: Final = {
    "state": "ct_state", "status": "ct_status", "mark": "mark", "direction": "ct_dir", "protocol": "inet_proto",
    "l3proto": "nf_proto", "saddr": "ipv4_addr", "daddr": "ipv4_addr", "ip saddr": "ipv4_addr",
    "ip daddr": "ipv4_addr", "ip6 saddr": "ipv6_addr", "ip6 daddr": "ipv6_addr", "proto-src": "port",
    "proto-dst": "port", "zone": "integer",
}  # fmt: skip


def kinds(term: Any, at: Traversal) -> tuple[str, ...]:
    """Give the types of what an expression reads: one, or those of a concatenation."""
    if not isinstance(term, Term):
        return ("integer",)
    if term.kind == "concat":
        return tuple(kind for one in term.body for kind in kinds(one, at))
    if term.kind == "payload":
        found = _FIELDS.get((str(term["protocol"]), str(term["field"])))
        return (found[0] if found else "dscp" if term["field"] == "dscp" else "ether_type"
                if (term["protocol"], term["field"]) == ("ether", "type") else "integer",)  # fmt: skip
    if term.kind == "ct" and term["key"] in ("saddr", "daddr") and at.packet.family == 6:
        return ("ipv6_addr",)
    if term.kind in ("&", "|", "^", "<<", ">>"):
        return kinds(term.body[0], at)
    if term.kind in ("map", "elem"):
        return ("integer",)
    known = {
        "meta": _META.get(str(term["key"])), "ct": _CT.get(str(term["key"])), "rt": "ipv4_addr",
        "socket": "boolean" if term["key"] in ("transparent", "wildcard") else "mark",
        "fib": {"type": "fib_addrtype", "oif": "iface_index", "oifname": "ifname"}.get(str(term["result"]), "boolean"),
        "exthdr": "boolean",
    }  # fmt: skip
    return (known.get(term.kind) or "integer",)


def read(term: Any, at: Traversal) -> Read:
    """Read an expression of a packet; raises ``Unmodelled``."""
    if not isinstance(term, Term):
        if isinstance(term, int | str):
            return term
        raise Unmodelled(f"the expression {term}")
    if not term.modelled:
        raise Unmodelled(f"the expression {term.kind}")
    reader = _READERS.get(term.kind)
    if reader is None:
        raise Unmodelled(f"the expression {term.kind}")
    return reader(term, at)


def _payload(term: Term, at: Traversal) -> Read:
    packet = at.packet
    if term["base"] is not None:
        return bits(packet, str(term["base"]), int(term["offset"]), int(term["len"]))
    protocol, field = str(term["protocol"]), str(term["field"])
    if protocol == "ether" and field == "type":
        return _ETHER_TYPES[packet.family]
    if protocol in _FAMILIES and _FAMILIES[protocol] != packet.family:
        return None
    if protocol in _PROTOCOLS and _PROTOCOLS[protocol] != packet.protocol:
        return None
    if (packet.family == ARP) != (protocol == "arp") and protocol != "ether":
        return None
    if protocol == "th" and packet.protocol not in PORTED:
        # The bytes are read whatever they mean there: of ICMP a type and code, or a checksum.
        return bits(packet, "th", 0 if field == "sport" else 16, 16)
    if field == "dscp":
        return packet.tos >> 2
    known = _FIELDS.get((protocol, field))
    if known is None:
        raise Unmodelled(f"{protocol} {field}")
    if known[1] in packet.loose:
        return Drawn("the port is drawn", first=packet.drawn[0], last=packet.drawn[1])
    if protocol == "ether" and not getattr(packet, known[1]):
        return None
    value: Value = getattr(packet, known[1])
    return value


def _meta(term: Term, at: Traversal) -> Read:
    reader = _META_READERS.get(str(term["key"]))
    if reader is None:
        raise Unmodelled(f"meta {term['key']}")
    return reader(at)


def _owner(owner: int | None) -> Read:
    return Maybe("the sender's user is not known") if owner is not None and owner < 0 else owner


def _kind(at: Traversal, dev: str) -> Read:
    link = at.stack.links.get(dev)
    return link.kind if link else None


def _bridge_of(at: Traversal, dev: str) -> Read:
    link = at.stack.links.get(dev)
    return link.master if link and link.master else ""


def _packet_type(at: Traversal) -> Read:
    packet = at.packet
    if packet.dmac == "ff:ff:ff:ff:ff:ff":
        return "broadcast"
    if packet.dmac and int(packet.dmac[:2], 16) & 1:
        return "multicast"
    return "host"


_META_READERS: Final[dict[str, Callable[[Traversal], Read]]] = {
    "l4proto": lambda at: None if at.packet.family == ARP else at.packet.protocol,
    "nfproto": lambda at: {4: 2, 6: 10}.get(at.packet.family, 7),
    "protocol": lambda at: _ETHER_TYPES[at.packet.family],
    "mark": lambda at: at.packet.mark,
    "iifname": lambda at: at.iif,
    "oifname": lambda at: at.oif,
    "iif": lambda at: at.iif or None,
    "oif": lambda at: at.oif or None,
    "skuid": lambda at: _owner(at.packet.uid),
    "skgid": lambda at: _owner(at.packet.gid),
    "length": lambda at: Maybe("its length is not known") if "size" in at.packet.loose else at.packet.size,
    "priority": lambda at: at.packet.priority,
    "pkttype": _packet_type,
    "ibrname": lambda at: _bridge_of(at, at.physin or at.iif),
    "obrname": lambda at: _bridge_of(at, at.physout or at.oif),
    "random": lambda _at: Maybe("drawn by chance"),
    "time": lambda _at: Maybe("it hangs on the time"),
    "hour": lambda _at: Maybe("it hangs on the time of day"),
    "day": lambda _at: Maybe("it hangs on the day"),
    "cpu": lambda _at: Maybe("it hangs on the processor"),
    "iifkind": lambda at: _kind(at, at.iif),
    "oifkind": lambda at: _kind(at, at.oif),
}

_STATES: Final = {"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}


def _ct(term: Term, at: Traversal) -> Read:
    key = str(term["key"])
    entry = at.entry
    if key == "state":
        return _STATES[at.packet.state] if entry else 64 if at.packet.state == UNTRACKED else 1
    if entry is None:
        return None
    direction = term["dir"]
    reply = at.packet.reply if direction is None else direction == "reply"
    one = entry.back if reply else entry.original
    values: dict[str, Callable[[], Read]] = {
        "mark": lambda: entry.mark,
        "direction": lambda: int(at.packet.reply),
        "status": lambda: _status(at),
        "l3proto": lambda: 2 if one.family == 4 else 10,
        "protocol": lambda: one.protocol,
        "saddr": lambda: one.src,
        "daddr": lambda: one.dst,
        "ip saddr": lambda: one.src if one.family == 4 else None,
        "ip daddr": lambda: one.dst if one.family == 4 else None,
        "ip6 saddr": lambda: one.src if one.family == 6 else None,
        "ip6 daddr": lambda: one.dst if one.family == 6 else None,
        "proto-src": lambda: Maybe("the port is drawn") if "sport" in at.packet.loose else one.sport,
        "proto-dst": lambda: Maybe("the port is drawn") if "dport" in at.packet.loose else one.dport,
        "zone": lambda: entry.zones[reply],
    }
    if key in ("expiration", "packets", "bytes", "avgpkt", "id"):
        return Maybe(f"ct {key} hangs on what the connection has done")
    if key not in values:
        raise Unmodelled(f"ct {key}")
    return values[key]()


def _status(at: Traversal) -> int | Maybe:
    entry = at.entry
    if entry is None:
        return 0
    stands = confirmed(at, entry)
    if isinstance(stands, Maybe):
        return stands
    flags = (
        (2, entry.replied), (4, entry.assured), (8, stands), (16, entry.source_translated),
        (32, entry.destination_translated),
    )  # fmt: skip
    return sum(bit for bit, on in flags if on)


def _fib(term: Term, at: Traversal) -> Read:
    """Look an address up (nft_fib_ipv4.c, nft_fib_ipv6.c): its type, or the device that it is reached by."""
    packet = at.packet
    flags = term["flags"] or ()
    flags = (flags,) if isinstance(flags, str) else flags
    source = "saddr" in flags
    address = packet.src if source else packet.dst
    dev = at.iif if "iif" in flags else at.oif if "oif" in flags else ""
    if term["result"] == "type":
        return "anycast" if at.seen_as_anycast(address) else at.address_type(address, dev)
    if at.iif == "lo":
        return "lo"
    # A link-local address means another one on each link, so only there the look-up is bound to it.
    bound = dev if packet.family == 6 and address >> 118 == _LINK_LOCAL else ""
    found = at.look_up(
        Flow(
            family=packet.family, dst=address, src=packet.dst if source else packet.src, tos=packet.tos, oif=bound,
            mark=packet.mark if "mark" in flags else 0,
        )
    )  # fmt: skip
    if isinstance(found, Maybe):
        return found
    devices = [w.dev for w in found.ways if w.dev == (dev or w.dev)] if found.kind == "unicast" else []
    if term["result"] == "check":
        return int(bool(devices))
    return devices[0] if devices else ""


def _socket(term: Term, at: Traversal) -> Read:
    if at.packet.state == "ESTABLISHED":
        return Maybe("connected sockets were not read")
    found = listening(at.stack, at.packet, at.iif)
    if isinstance(found, Socket):
        if term["key"] == "wildcard":
            return int(found.address in ("*", "0.0.0.0", "[::]", "::"))  # noqa: S104 - a value that is read
        return Maybe(f"the socket's {term['key']} was not read")
    return found


def _concatenation(term: Term, at: Traversal) -> Read:
    parts: list[Value | Maybe] = []
    for one in term.body:
        part = read(one, at)
        if part is None:
            return part
        parts += part if isinstance(part, tuple) else (part,)
    return tuple(parts)


def _operation(term: Term, at: Traversal) -> Read:
    left = read(term.body[0], at)
    if left is None or isinstance(left, Maybe):
        return left
    kind = kinds(term.body[0], at)[0]
    result = left
    for operand in term.body[1:]:
        right = read(operand, at) if isinstance(operand, Term) and operand.kind not in ("|", "prefix") else constant(
            kind, operand)  # fmt: skip
        if not isinstance(result, int) or not isinstance(right, int):
            raise Unmodelled(f"the operation {term.kind} on {result!r}")
        result = _OPERATIONS[term.kind](result, right)
    return result


_OPERATIONS: Final[dict[str, Callable[[int, int], int]]] = {
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b & 0xFFFFFFFF,
    ">>": lambda a, b: a >> b,
}


def draw(term: Term) -> tuple[int, int]:
    """Give how many values a drawing expression has, and the lowest."""
    return int(term["mod"] or 1), int(term["offset"] or 0)


def same_draw(term: Term, at: Traversal) -> object:
    """Give what makes a draw the same one: a hash of the same fields stays what it is, a number is drawn each time."""
    if term.kind != "jhash":
        return None
    return term.kind, at.stack.name, id(term), str(read(term["expr"], at))


def _drawn(term: Term, at: Traversal) -> Read:
    count, offset = draw(term)
    if count > _MOST_DRAWN:
        return Maybe(f"drawn of {count} values")
    ways = [Way(str(offset + i), 1 / count) for i in range(count)]
    return offset + at.walk.forks.take(f"which number {term.kind} draws", ways, once=same_draw(term, at))


def _extension(term: Term, at: Traversal) -> Read:
    """Extension headers: packets of a walk carry none."""
    if at.packet.family == 6 and term["field"] is None:
        return 0
    return None


_READERS: Final[dict[str, Callable[[Term, Traversal], Read]]] = {
    "payload": _payload,
    "meta": _meta,
    "ct": _ct,
    "fib": _fib,
    "socket": _socket,
    "concat": _concatenation,
    "exthdr": _extension,
    "ip option": lambda _t, _a: None,
    "tcp option": lambda _t, _a: Maybe("options of TCP are not modelled"),
    "numgen": _drawn,
    "jhash": _drawn,
    "symhash": _drawn,
    **dict.fromkeys(_OPERATIONS, _operation),
}


def is_bitmask(kind: tuple[str, ...]) -> bool:
    """Say whether values of a type are sets of flags."""
    return len(kind) == 1 and kind[0] in BITMASKS


def fields(body: Any) -> Mapping[str, Any]:
    """Give the fields of a term's body; none where it has none."""
    return body if isinstance(body, Mapping) else {}
