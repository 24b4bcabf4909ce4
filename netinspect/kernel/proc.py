"""Links, routes and neighbours out of /proc and /sys, for where there is no ip.

Sources: net/ipv4/fib_trie.c, net/ipv6/route.c, net/ipv6/addrconf.c, net/ipv4/arp.c and include/uapi/linux/route.h.
"""

from __future__ import annotations

import ipaddress
import re

from netinspect.kernel.reading import lines
from netinspect.model.kernel import Counters, Link, LinkAddress, Neighbour, Route

_REJECT = 0x0200
_GATEWAY = 0x0002
_LOCAL = 0x80000000
_ANYCAST = 0x00100000
_COMPLETE = 0x2
_PERMANENT = 0x4
_HOST_LOCAL = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
_SCOPES = {0x00: "global", 0x10: "host", 0x20: "link", 0x40: "site"}


def links(listed: str, counted: str, if_inet6: str, fib_trie: str) -> tuple[Link, ...]:
    """Put links together. Which link has an IPv4 address is not said here: it is ``lo``, or the only other one."""
    counters = dict(lines("proc-dev", counted, _counters))
    addresses: dict[str, list[LinkAddress]] = {}
    for name, address in lines("proc-if-inet6", if_inet6, _inet6):
        addresses.setdefault(name, []).append(address)
    found = lines("proc-links", listed, _link)
    others = [link.ifname for link in found if link.ifname != "lo"]
    for local in dict.fromkeys(_HOST_LOCAL.findall(fib_trie)):
        loopback = local.startswith("127.")
        if loopback or len(others) == 1:
            name = "lo" if loopback else others[0]
            addresses.setdefault(name, []).append(LinkAddress(family="inet", local=local, prefixlen=32))
    return tuple(
        Link(
            ifindex=link.ifindex,
            ifname=link.ifname,
            link_index=link.link_index,
            mtu=link.mtu,
            address=link.address,
            operstate=link.operstate,
            flags=link.flags,
            addresses=tuple(addresses.get(link.ifname, ())),
            rx=counters.get(link.ifname, (Counters(), Counters()))[0],
            tx=counters.get(link.ifname, (Counters(), Counters()))[1],
        )
        for link in found
    )


def _link(line: str, _number: int) -> Link:
    name, index, lower, mtu, address, *state = line.split()
    operstate = state[0].upper() if state else ""
    return Link(
        ifindex=int(index),
        ifname=name,
        link_index=int(lower) if lower != index else None,
        mtu=int(mtu),
        address=address,
        operstate=operstate,
        flags=("UP", "LOWER_UP") if operstate == "UP" else (),
    )


def _counters(line: str, _number: int) -> tuple[str, tuple[Counters, Counters]]:
    name, colon, numbers = line.partition(":")
    if not colon:
        return "", (Counters(), Counters())
    n = [int(x) for x in numbers.split()]
    return name.strip(), (
        Counters(bytes=n[0], packets=n[1], errors=n[2], dropped=n[3]),
        Counters(bytes=n[8], packets=n[9], errors=n[10], dropped=n[11]),
    )


def _inet6(line: str, _number: int) -> tuple[str, LinkAddress]:
    address, _index, length, scope, _flags, name = line.split()
    return name, LinkAddress(
        family="inet6",
        local=str(ipaddress.IPv6Address(int(address, 16))),
        prefixlen=int(length, 16),
        scope=_SCOPES.get(int(scope, 16), ""),
    )


def routes4(text: str) -> tuple[Route, ...]:
    """Read /proc/net/route: the main table alone."""
    return lines("proc-route", text, _route4)


def _route4(line: str, number: int) -> Route | None:
    dev, dst, gateway, flags, _ref, _use, metric, mask, mtu, *_ = line.split()
    if dev == "Iface":
        return None
    bits = int(flags, 16)
    length = _little(mask).packed.hex()
    prefix = f"{_little(dst)}/{bin(int(length, 16)).count('1')}"
    return Route(
        family="inet",
        dst=prefix,
        type="unreachable" if bits & _REJECT else "unicast",
        gateway=str(_little(gateway)) if bits & _GATEWAY else "",
        dev=dev,
        metric=int(metric),
        mtu=int(mtu) or None,
        line=number,
    )


def _little(text: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(text, 16).to_bytes(4, "little"))


def routes6(text: str) -> tuple[Route, ...]:
    """Read /proc/net/ipv6_route: all tables, without their names; local addresses are told by their flag."""
    return lines("proc-ipv6-route", text, _route6)


def _route6(line: str, number: int) -> Route:
    dst, length, _src, _srclen, gateway, metric, _ref, _use, flags, dev = line.split()
    bits = int(flags, 16)
    local = bool(bits & _LOCAL)
    via = ipaddress.IPv6Address(int(gateway, 16))
    return Route(
        family="inet6",
        dst=f"{ipaddress.IPv6Address(int(dst, 16))}/{int(length, 16)}",
        type="local" if local else "anycast" if bits & _ANYCAST else "unreachable" if bits & _REJECT else "unicast",
        table="local" if local else "main",
        gateway=str(via) if bits & _GATEWAY else "",
        dev=dev,
        metric=int(metric, 16),
        line=number,
    )


def neighbours(text: str) -> tuple[Neighbour, ...]:
    """Read /proc/net/arp: IPv4 alone."""
    return lines("proc-arp", text, _arp)


def _arp(line: str, number: int) -> Neighbour | None:
    if line.startswith("IP address"):
        return None
    address, _type, flags, lladdr, _mask, dev = line.split()
    bits = int(flags, 16)
    state = "PERMANENT" if bits & _PERMANENT else "REACHABLE" if bits & _COMPLETE else "INCOMPLETE"
    return Neighbour(dst=address, dev=dev, lladdr=lladdr if bits & _COMPLETE else "", state=(state,), line=number)
