"""The values of nftables: how nft writes the constants of each type, as numbers. Source: nft(8), src/datatype.c."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from netinspect.kernel.simulator.fib import dscp_class
from netinspect.model.nft import Term
from netinspect.model.packet import BITS, PROTOCOLS, TCP_FLAGS, number

Value = int | str
_BITMASKS: Final = {
    "ct_state": {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64},
    "ct_status": {"expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "dying": 512},
    "tcp_flag": {name.lower(): bit for name, bit in TCP_FLAGS.items() if name not in ("ALL", "NONE")},
}
BITMASKS: Final = frozenset(_BITMASKS)
_NAMES: Final[dict[str, dict[str, int]]] = {
    **_BITMASKS,
    "inet_proto": {**PROTOCOLS, "ipv6-icmp": 58, "icmpv6": 58},
    "ct_dir": {"original": 0, "reply": 1},
    "boolean": {"exists": 1, "missing": 0, "true": 1, "false": 0},
    "nf_proto": {"ipv4": 2, "ipv6": 10},
    "ether_type": {"ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD, "vlan": 0x8100, "8021q": 0x8100},
    "icmp_type": {
        "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
        "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
        "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16,
        "address-mask-request": 17, "address-mask-reply": 18,
    },
    "icmpv6_type": {
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
        "echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131,
        "mld-listener-done": 132, "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134,
        "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138,
        "mld2-listener-report": 143,
    },
    "icmp_code": {
        "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3, "frag-needed": 4,
        "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
    },
    "icmpv6_code": {
        "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4, "policy-fail": 5,
        "reject-route": 6,
    },
    "iface_type": {"ether": 1, "loopback": 772, "ipip": 768, "sit": 776, "ipgre": 778},
    "port": {},
}  # fmt: skip
_TEXTS: Final = frozenset({"ifname", "iface_index", "pkt_type", "fib_addrtype", "ether_addr", "string"})


class Unmodelled(Exception):
    """A constant or expression whose meaning is not known."""


class Interval(Struct, frozen=True, gc=False):
    """The values from ``first`` to ``last``."""

    first: int
    last: int


Part = Value | Interval


def constant(kind: str, written: Any) -> Part:
    """Read one constant of a type: a value, or an interval of them; raises ``Unmodelled``."""
    if isinstance(written, Term):
        return _compound(kind, written)
    if isinstance(written, tuple):
        bits = 0
        for one in written:
            bits |= _number(kind, one)
        return bits
    if kind in _TEXTS:
        return _text(kind, str(written))
    return Interval(0, _full(kind)) if written == "*" else _number(kind, written)


def _text(kind: str, written: str) -> str:
    if kind == "iface_index" and written == "0":
        # No device at all.
        return ""
    return written.lower() if kind == "ether_addr" else written


def _full(kind: str) -> int:
    return (1 << (BITS[6] if kind == "ipv6_addr" else BITS[4])) - 1


def _compound(kind: str, written: Term) -> Part:
    body: Any = written.body
    match written.kind:
        case "prefix":
            bits = BITS[6] if kind == "ipv6_addr" else 32
            shift = bits - int(body["len"])
            base = _number(kind, body["addr"]) >> shift << shift
            return Interval(base, base | (1 << shift) - 1)
        case "range":
            first, last = (_number(kind, one) for one in body)
            return Interval(first, last)
        case "|":
            bits = 0
            for one in body:
                found = constant(kind, one)
                bits |= found if isinstance(found, int) else 0
            return bits
        case "elem":
            return constant(kind, body["val"])
        case _:
            pass
    raise Unmodelled(f"a constant of kind {written.kind}")


def _number(kind: str, written: Any) -> int:
    if isinstance(written, bool):
        return int(written)
    if isinstance(written, int):
        return written
    text = str(written)
    if kind in ("ipv4_addr", "ipv6_addr"):
        return number(text)[1]
    names = _NAMES.get(kind, {})
    if text in names:
        return names[text]
    if kind == "dscp" and not text[:1].isdecimal():
        return dscp_class(text.upper()) >> 2
    try:
        return int(text, 0)
    except ValueError as error:
        raise Unmodelled(f"{text!r} as a value of type {kind}") from error


def holds(part: Part, value: Value) -> bool:
    """Say whether a constant is or holds a value; a name of a device may end in a star."""
    if isinstance(part, Interval):
        return isinstance(value, int) and part.first <= value <= part.last
    if isinstance(part, str) and part.endswith("*") and isinstance(value, str):
        return value.startswith(part[:-1])
    return part == value
