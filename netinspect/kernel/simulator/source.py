"""Which of its addresses the kernel sends from. Sources: net/ipv4/devinet.c, net/ipv6/addrconf.c, RFC 6724."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from netinspect.kernel.simulator.fib import Found, Way, prefix
from netinspect.model.kernel import Link, LinkAddress
from netinspect.model.packet import Packet, number

if TYPE_CHECKING:
    from netinspect.kernel.simulator.stack import Stack

_SCOPES: Final = {"": 0, "global": 0, "site": 200, "link": 253, "host": 254}
# RFC 6724 section 2.1, as the kernel has it (net/ipv6/addrlabel.c): prefix, length, label; longest first.
_LABELS: Final = tuple(
    sorted(
        (
            ("::1", 128, 0), ("fc00::", 7, 5), ("fec0::", 10, 11), ("3ffe::", 16, 12), ("2001::", 32, 6),
            ("2001:10::", 28, 7), ("::ffff:0:0", 96, 4), ("2002::", 16, 2), ("::", 96, 3), ("::", 0, 1),
        ),
        key=lambda entry: -entry[1],
    )
)  # fmt: skip


def of_route(stack: Stack, found: Found, way: Way, dst: int, family: int) -> int | None:
    """Give the source address for a route: its own preference, or what suits device and destination."""
    route = found.route
    if route is not None and route.prefsrc:
        return number(route.prefsrc)[1]
    if family == 6:
        return of_device6(stack, way.dev, dst)
    scope = _SCOPES.get(route.scope, 0) if route is not None else 0
    return of_device4(stack, way.dev, way.gateway or 0, scope)


def of_device4(stack: Stack, dev: str, dst: int, scope: int) -> int | None:
    """Give a device's first address of a scope, preferably of the prefix of a destination (inet_select_addr)."""
    link = stack.links.get(dev)
    own = [a for a in (link.addresses if link else ()) if _usable4(a, scope)]
    for address in own:
        value = number(address.local)[1]
        base = number(address.peer)[1] if address.peer else value
        shift = 32 - address.prefixlen
        if not dst or base >> shift == dst >> shift:
            return value
    if own:
        return number(own[0].local)[1]
    # Not on this device: any other's will do, lo's first since it is the first of all; a slave of a VRF keeps to it.
    master = link.master if link and stack.links.get(link.master, link).kind == "vrf" else ""
    # The kernel goes by when they were made; indexes tell that, the order in which old kernels list them does not.
    for other in sorted(stack.namespace.links, key=lambda k: k.ifindex):
        for address in other.addresses:
            if address.scope != "link" and _usable4(address, scope) and (not master or other.master == master):
                return number(address.local)[1]
    return None


def of_masquerade(stack: Stack, dev: str, packet: Packet, nexthop: int | None) -> int | None:
    """Give the address that masquerading takes on a device (nf_nat_masquerade.c)."""
    if packet.family == 6:
        return of_device6(stack, dev, packet.dst)
    return of_device4(stack, dev, nexthop or packet.dst, 0)


def _usable4(address: LinkAddress, scope: int) -> bool:
    return address.family == "inet" and not address.secondary and _SCOPES.get(address.scope, 0) <= scope


def of_device6(stack: Stack, dev: str, dst: int) -> int | None:
    """Choose among all addresses by the rules of RFC 6724, section 5 (ipv6_dev_get_saddr)."""
    wanted = _scope6(dst)
    best: tuple[tuple[int, ...], int] | None = None
    for link in stack.namespace.links:
        for address in link.addresses:
            if address.family != "inet6" or address.tentative or address.dadfailed:
                continue
            # Multicast and link-local destinations are reached from the device itself only.
            if wanted <= 2 and link.ifname != dev:
                continue
            score = _score6(number(address.local)[1], address, link, dev, dst)
            if best is None or score > best[0]:
                best = score, number(address.local)[1]
    return best[1] if best else None


def _score6(value: int, address: LinkAddress, link: Link, dev: str, dst: int) -> tuple[int, ...]:
    own, wanted = _scope6(value), _scope6(dst)
    common = 128 - (value ^ dst).bit_length()
    return (
        int(value == dst),
        -own if own >= wanted else own - 128,
        int(not address.deprecated),
        int(link.ifname == dev),
        int(_label(value) == _label(dst)),
        int(not address.temporary),
        min(common, address.prefixlen),
    )


def _scope6(value: int) -> int:
    """Give the scope in the numbers of RFC 4291: 1 interface, 2 link, 5 site, 14 global."""
    if value >> 120 == 0xFF:
        return value >> 112 & 0xF
    if value == 1 or value >> 118 == 0xFE80 >> 6:
        return 2
    return 5 if value >> 118 == 0xFEC0 >> 6 else 14


@lru_cache(maxsize=4096)
def _label(value: int) -> int:
    for text, bits, label in _LABELS:
        if value >> (128 - bits) == prefix(f"{text}/{bits}", 6)[0] >> (128 - bits):
            return label
    return 1
