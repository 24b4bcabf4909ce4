"""A packet as it stands in the kernel: its headers, and what the kernel keeps beside them."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from msgspec import Struct

# Protocol numbers (IANA assigned-internet-protocol-numbers).
ICMP: Final = 1
IPIP: Final = 4
TCP: Final = 6
UDP: Final = 17
IPV6: Final = 41
GRE: Final = 47
ESP: Final = 50
AH: Final = 51
ICMPV6: Final = 58
SCTP: Final = 132
UDPLITE: Final = 136

PROTOCOLS: Final = {
    "icmp": ICMP, "ipencap": IPIP, "ipip": IPIP, "tcp": TCP, "udp": UDP, "ipv6": IPV6, "gre": GRE, "esp": ESP,
    "ah": AH, "ipv6-icmp": ICMPV6, "icmpv6": ICMPV6, "icmp6": ICMPV6, "sctp": SCTP, "udplite": UDPLITE, "igmp": 2,
    "dccp": 33, "ospf": 89, "pim": 103, "vrrp": 112, "comp": 108, "ip": 0, "all": 0,
}  # fmt: skip
NAMES: Final = {
    ICMP: "ICMP", IPIP: "IPIP", TCP: "TCP", UDP: "UDP", IPV6: "IPv6", GRE: "GRE", ESP: "ESP", AH: "AH",
    ICMPV6: "ICMPv6", SCTP: "SCTP", UDPLITE: "UDP-Lite",
}  # fmt: skip
PORTED: Final = frozenset({TCP, UDP, SCTP, UDPLITE, 33})

# TCP flags (RFC 9293).
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
TCP_FLAGS: Final = {
    "FIN": FIN, "SYN": SYN, "RST": RST, "PSH": PSH, "ACK": ACK, "URG": URG, "ECE": ECE, "CWR": CWR, "NONE": 0,
    "ALL": FIN | SYN | RST | PSH | ACK | URG,
}  # fmt: skip

# Types of ICMP (RFC 792) and ICMPv6 (RFC 4443) that the walk itself makes or looks for.
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 8, 11
UNREACHABLE6, TOO_BIG6, TIME_EXCEEDED6, ECHO_REQUEST6, ECHO_REPLY6 = 1, 2, 3, 128, 129
FRAGMENTATION_NEEDED: Final = 4
ERRORS: Final = frozenset({UNREACHABLE, 4, 5, TIME_EXCEEDED, 12})
ERRORS6: Final = frozenset({1, 2, 3, 4})
REPLIES: Final = {ECHO_REQUEST: ECHO_REPLY, 13: 14, 15: 16, 17: 18}
REPLIES6: Final = {ECHO_REQUEST6: ECHO_REPLY6, 139: 140}

# The family of what is no IP packet: a request for a neighbour's address, or its answer.
ARP: Final = 0
BITS: Final = {4: 32, 6: 128}
# A sender's user or group that was not read.
NOBODY_KNOWS: Final = -1
BROADCAST_MAC: Final = "ff:ff:ff:ff:ff:ff"


# An option of Geneve: its class, its type, its length in bytes, and what is in it (RFC 8926).
Option = tuple[int, int, int, int]


class Tunnel(Struct, frozen=True, gc=False):
    """What is known of the tunnel that a packet came out of, beside its key: its ends, and Geneve's options."""

    family: int
    src: int
    dst: int
    options: tuple[Option, ...] = ()


ANY_PORT: Final = (1, 65535)


class Packet(Struct, frozen=True, kw_only=True):
    """An IP packet of a family (4 or 6); addresses are numbers, ``size`` is its length with the IP header, in bytes.

    ``fragment`` is the length of its largest fragment, 0 where it is whole. ``type``, ``code`` and ``ident`` belong to
    ICMP. ``inner`` is what a tunnel carries, or what an ICMP error is about; ``key`` is the tunnel's (a VNI, a GRE
    key), ``options`` are Geneve's, ``keys`` the public keys of WireGuard's two ends. ``loose`` names the fields that
    stand for any of several values, such as a source port that is drawn: no rule may be decided by them, but by what
    all of them are or none; ``drawn`` are the least and the greatest port that it may be.

    Beside the headers (struct sk_buff): ``mark``; ``uid`` and ``gid`` of the sender's socket where it is local, -1 if
    they were not read; ``connection`` is the number of its entry in this walk's connection tracking, ``state`` what
    that makes of it; ``steered`` is the port of the local socket that TPROXY gave it to; ``balanced`` says that IPVS
    has had it; ``tunnel`` is the one that it came out of, where its device tells programs.
    """

    family: int
    src: int
    dst: int
    protocol: int
    sport: int = 0
    dport: int = 0
    type: int = 0
    code: int = 0
    ident: int = 0
    flags: int = 0
    ttl: int = 64
    tos: int = 0
    size: int = 60
    df: bool = False
    fragment: int = 0
    key: int | None = None
    options: tuple[Option, ...] = ()
    keys: tuple[str, str] | None = None
    tunnel: Tunnel | None = None
    inner: Packet | None = None
    mtu: int = 0
    loose: frozenset[str] = frozenset()
    drawn: tuple[int, int] = ANY_PORT
    mark: int = 0
    priority: int = 0
    uid: int | None = None
    gid: int | None = None
    connection: int | None = None
    reply: bool = False
    state: str = ""
    steered: int = 0
    balanced: bool = False
    vlan: int = 0
    smac: str = ""
    dmac: str = ""

    @property
    def is_error(self) -> bool:
        """Say whether it is an ICMP error, which is about another packet."""
        return (self.protocol == ICMP and self.type in ERRORS) or (self.protocol == ICMPV6 and self.type in ERRORS6)

    def __str__(self) -> str:
        name = NAMES.get(self.protocol, f"protocol {self.protocol}")
        if self.protocol in (ICMP, ICMPV6):
            ends = f"{text(self.src, self.family)} → {text(self.dst, self.family)}"
            return f"{name} type {self.type} code {self.code} {ends}"
        return f"{name} {end(self.src, self.sport, self.family)} → {end(self.dst, self.dport, self.family)}"


# A walk reads and writes the same few addresses at every step.
_ADDRESSES = 65_536


@lru_cache(_ADDRESSES)
def text(address: int, family: int) -> str:
    """Write an address."""
    return str(ipaddress.IPv4Address(address) if family == 4 else ipaddress.IPv6Address(address))


def end(address: int, port: int, family: int) -> str:
    """Write an address and port; no port where it is 0."""
    written = text(address, family)
    if not port:
        return written
    return f"[{written}]:{port}" if family == 6 else f"{written}:{port}"


@lru_cache(_ADDRESSES)
def number(address: str) -> tuple[int, int]:
    """Read an address: its family and number; raises ``ValueError``."""
    ip = ipaddress.ip_address(address)
    return ip.version, int(ip)
