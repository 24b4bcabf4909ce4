"""iptables' matches. Sources: iptables-extensions(8), net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Final

from netinspect.kernel.simulator.fib import Flow, dscp_class
from netinspect.kernel.simulator.forks import Drawn, Maybe, Truth
from netinspect.kernel.simulator.listeners import listening
from netinspect.kernel.simulator.tracking import INVALID, UNTRACKED, Ends, Entry
from netinspect.kernel.simulator.traversal import OUTPUT, POSTROUTING, Traversal, confirmed
from netinspect.model.iptables import IptablesRule, Masked, Match, Option, Prefix, SetReference, Span
from netinspect.model.packet import (
    ACK,
    AH,
    ESP,
    ICMP,
    ICMPV6,
    PORTED,
    PROTOCOLS,
    RST,
    SCTP,
    TCP,
    TCP_FLAGS,
    UDP,
    UDPLITE,
    number,
)

_ANY_PORT: Final = (0, 65535)
_DIMENSIONS: Final = ("sport", "dport")


def matches(rule: IptablesRule, at: Traversal) -> Truth:
    """Say whether a rule is for a packet: no, where any match says no; not certain, where any is not."""
    return every(map(_match, rule.matches, repeat(at)))


def _both(one: Maybe | None, other: Maybe) -> Maybe:
    if one is None:
        return other
    known = one.probability is not None and other.probability is not None
    return Maybe(f"{one.reason}; {other.reason}", one.probability * other.probability if known else None)  # type: ignore[operator]


def _match(match: Match, at: Traversal) -> Truth:
    if match.unmodelled:
        return Maybe(f"not modelled: {match.unmodelled}")
    whole = _WHOLE.get(match.module)
    if whole is not None:
        return whole(match.options, at)
    options = _OPTIONS.get(match.module)
    if options is None:
        return Maybe(f"-m {match.module} is not modelled")
    return every(map(_option, repeat(options), match.options, repeat(at)))


def every(answers: Iterable[Truth]) -> Truth:
    """Say whether all hold; ask no further than the first that does not."""
    unsure: Maybe | None = None
    for answer in answers:
        if answer is False:
            return False
        if answer is not True:
            unsure = _both(unsure, answer)
    return unsure or True


def _option(known: dict[str, Callable[[Any, Traversal], Truth]], option: Option, at: Traversal) -> Truth:
    check = known.get(option.flag)
    if check is None:
        return Maybe(f"{option.flag} is not modelled")
    return _negated(check(option.value, at), negated=option.negated)


def _negated(answer: Truth, *, negated: bool) -> Truth:
    if not negated:
        return answer
    if isinstance(answer, Maybe):
        return Maybe(f"not: {answer.reason}", None if answer.probability is None else 1 - answer.probability)
    return not answer


# iptables' own: -s -d -i -o -p -f.


def within(address: int, prefix: Prefix) -> bool:
    """Say whether a prefix holds an address."""
    return address & prefix.mask == prefix.value


def _device(pattern: str, dev: str) -> bool:
    return dev.startswith(pattern[:-1]) if pattern.endswith("+") else dev == pattern


def protocol(name: str) -> int:
    """Give the number of a protocol's name."""
    return int(name) if name.isdecimal() else PROTOCOLS.get(name, -1)


def _protocol(name: str, at: Traversal) -> Truth:
    wanted = protocol(name)
    if wanted == -1:
        return Maybe(f"no number is known of protocol {name}")
    return wanted in (0, at.packet.protocol)


_BASIC: Final[dict[str, Callable[[Any, Traversal], Truth]]] = {
    "-s": lambda v, at: within(at.packet.src, v),
    "-d": lambda v, at: within(at.packet.dst, v),
    "--source": lambda v, at: within(at.packet.src, v),
    "--destination": lambda v, at: within(at.packet.dst, v),
    "-i": lambda v, at: _device(v, at.iif),
    "-o": lambda v, at: _device(v, at.oif),
    "-p": _protocol,
    "-f": lambda _v, _at: False,
}


# Ports.


def _port(which: str, span: Span, at: Traversal) -> Truth:
    if (span.first, span.last) == _ANY_PORT:
        return True
    if which in at.packet.loose:
        reason = f"the {'source' if which == 'sport' else 'destination'} port is drawn"
        return Drawn(reason, first=at.packet.drawn[0], last=at.packet.drawn[1]).among(span.first, span.last)
    port: int = getattr(at.packet, which)
    return span.first <= port <= span.last


def _ported(wanted: int) -> dict[str, Callable[[Any, Traversal], Truth]]:
    def of(which: str) -> Callable[[Any, Traversal], Truth]:
        return lambda v, at: at.packet.protocol == wanted and _port(which, v, at)

    return {"--sport": of("sport"), "--dport": of("dport"), "--source-port": of("sport"),
            "--destination-port": of("dport")}  # fmt: skip


def _any_of(which: tuple[str, ...]) -> Callable[[Any, Traversal], Truth]:
    def check(spans: tuple[Span, ...], at: Traversal) -> Truth:
        if at.packet.protocol not in PORTED:
            return False
        answers = [_port(w, span, at) for w in which for span in spans]
        return True if True in answers else next((a for a in answers if a is not False), False)

    return check


def _flags(value: tuple[tuple[str, ...], tuple[str, ...]], at: Traversal) -> Truth:
    mask, wanted = (_bits(v) for v in value)
    return bool(at.packet.protocol == TCP and at.packet.flags & mask == wanted)


def _bits(names: tuple[str, ...]) -> int:
    bits = 0
    for name in names:
        if name not in TCP_FLAGS:
            raise ValueError(f"{name} is no flag of TCP that is known")
        bits |= TCP_FLAGS[name]
    return bits


_SYN: Final = (("FIN", "SYN", "RST", "ACK"), ("SYN",))

# ICMP: a type, or a type and code, or a name (iptables-extensions(8), libxt_icmp.h).
_ICMP_NAMES: Final = {
    "any": (255, None), "echo-reply": (0, None), "pong": (0, None), "destination-unreachable": (3, None),
    "network-unreachable": (3, 0), "host-unreachable": (3, 1), "protocol-unreachable": (3, 2),
    "port-unreachable": (3, 3), "fragmentation-needed": (3, 4), "source-route-failed": (3, 5),
    "network-unknown": (3, 6), "host-unknown": (3, 7), "network-prohibited": (3, 9), "host-prohibited": (3, 10),
    "communication-prohibited": (3, 13), "source-quench": (4, None), "redirect": (5, None),
    "echo-request": (8, None), "ping": (8, None), "router-advertisement": (9, None),
    "router-solicitation": (10, None), "time-exceeded": (11, None), "ttl-exceeded": (11, None),
    "ttl-zero-during-transit": (11, 0), "ttl-zero-during-reassembly": (11, 1), "parameter-problem": (12, None),
    "timestamp-request": (13, None), "timestamp-reply": (14, None),
}  # fmt: skip
_ICMPV6_NAMES: Final = {
    "destination-unreachable": (1, None), "no-route": (1, 0), "communication-prohibited": (1, 1),
    "beyond-scope": (1, 2), "address-unreachable": (1, 3), "port-unreachable": (1, 4), "failed-policy": (1, 5),
    "reject-route": (1, 6), "packet-too-big": (2, None), "time-exceeded": (3, None), "ttl-exceeded": (3, None),
    "parameter-problem": (4, None), "echo-request": (128, None), "ping": (128, None), "echo-reply": (129, None),
    "pong": (129, None), "router-solicitation": (133, None), "router-advertisement": (134, None),
    "neighbour-solicitation": (135, None), "neighbor-solicitation": (135, None),
    "neighbour-advertisement": (136, None), "neighbor-advertisement": (136, None), "redirect": (137, None),
}  # fmt: skip


def _icmp(wanted: int, names: dict[str, tuple[int, int | None]]) -> Callable[[Any, Traversal], Truth]:
    def check(written: str, at: Traversal) -> Truth:
        if at.packet.protocol != wanted:
            return False
        if written in names:
            type_, code = names[written]
        else:
            kind, _, rest = written.partition("/")
            type_, code = int(kind), int(rest) if rest else None
        if type_ == 255 and wanted == ICMP:
            return True
        return at.packet.type == type_ and code in (None, at.packet.code)

    return check


# Connections.

_STATUSES: Final[dict[str, Callable[[Entry, Traversal], Truth]]] = {
    "EXPECTED": lambda _e, _at: False,
    "SEEN_REPLY": lambda e, _at: e.replied,
    "ASSURED": lambda e, _at: e.assured,
    "CONFIRMED": lambda e, at: confirmed(at, e),
}


def _conntrack(options: tuple[Option, ...], at: Traversal) -> Truth:
    entry = at.entry
    if entry is None:
        states = [o for o in options if o.flag in ("--ctstate", "--state")]
        return bool(states) and every(_negated(_state(o.value, at), negated=o.negated) for o in states)
    return every(_negated(_connection(o, entry, at), negated=o.negated) for o in options)


def _state(names: tuple[str, ...], at: Traversal) -> Truth:
    entry = at.entry
    if entry is None:
        return (UNTRACKED if at.packet.state == UNTRACKED else INVALID) in names
    return (
        at.packet.state in names
        or ("SNAT" in names and entry.source_translated)
        or ("DNAT" in names and entry.destination_translated)
    )


def _connection(option: Option, entry: Entry, at: Traversal) -> Truth:
    value = option.value
    match option.flag:
        case "--ctstate" | "--state":
            return _state(value, at)
        case "--ctproto":
            return bool(entry.original.protocol == protocol(value))
        case "--ctdir":
            return bool(at.packet.reply == (value == "REPLY"))
        case "--ctstatus":
            # NONE is no bit, so that it never matches.
            told = [_STATUSES[name](entry, at) for name in value if name in _STATUSES]
            return True if True in told else next((t for t in told if isinstance(t, Maybe)), False)
        case "--ctexpire":
            return Maybe("it hangs on how long the connection has been idle")
        case _:
            return _tuple_option(option.flag, value, entry.original, entry.back, at)


def _tuple_option(flag: str, value: Any, original: Ends, back: Ends, at: Traversal) -> Truth:
    of = original if flag.startswith("--ctorig") else back
    part = flag.removeprefix("--ctorig").removeprefix("--ctrepl")
    if part in ("src", "dst"):
        return within(of.src if part == "src" else of.dst, value)
    if at.packet.loose:
        return Maybe("a port of the connection is drawn")
    return bool(value.first <= (of.sport if part == "srcport" else of.dport) <= value.last)


# Where an address belongs.


def _addrtype(options: tuple[Option, ...], at: Traversal) -> Truth:
    flags = {o.flag for o in options}
    dev = at.iif if "--limit-iface-in" in flags else at.oif if "--limit-iface-out" in flags else ""
    answers: list[Truth] = []
    for option in options:
        if option.flag in ("--src-type", "--dst-type"):
            address = at.packet.src if option.flag == "--src-type" else at.packet.dst
            kind = at.address_type(address, dev)
            wanted = {v.lower() for v in option.value}
            kinds = {kind, "anycast"} if at.seen_as_anycast(address) else {kind}
            held = kind in wanted if at.packet.family == 4 else _is_kind6(kinds, address, wanted)
            answers.append(_negated(held, negated=option.negated))
    return every(answers)


def _is_kind6(kinds: set[str], address: int, wanted: set[str]) -> bool:
    """Say whether an IPv6 address is of all kinds that its bits tell, and of one that its route tells (match_type6)."""
    if ("multicast" in wanted and "multicast" not in kinds) or ("unspec" in wanted and address):
        return False
    if "unicast" in wanted and ("multicast" in kinds or not address):
        return False
    routed = wanted & {"local", "anycast", "unreachable"}
    return not routed or bool(routed & kinds)


def _rpfilter(options: tuple[Option, ...], at: Traversal) -> Truth:
    flags = {o.flag for o in options}
    passed = at.iif == "lo" or _reverse_path(
        at, loose="--loose" in flags, mark="--validmark" in flags, local="--accept-local" in flags
    )
    return _negated(passed, negated="--invert" in flags)


def _reverse_path(at: Traversal, *, loose: bool, mark: bool, local: bool) -> Truth:
    """Say whether the way back to the sender leaves where the packet came in (ipt_rpfilter.c, ip6t_rpfilter.c)."""
    packet = at.packet
    found = at.look_up(
        Flow(
            family=packet.family, dst=packet.src, src=packet.dst, mark=packet.mark if mark else 0, tos=packet.tos,
            protocol=packet.protocol, iif="lo",
        )
    )  # fmt: skip
    if isinstance(found, Maybe):
        return found
    if found.kind not in ("unicast", "local") or (found.kind == "local" and not local):
        return False
    return loose or any(w.dev == at.iif for w in found.ways)


# Sets, marks, owners and the rest.


def _set(options: tuple[Option, ...], at: Traversal) -> Truth:
    answers: list[Truth] = []
    inverted = any(o.flag == "--return-nomatch" for o in options)
    for option in options:
        value = option.value
        if isinstance(value, SetReference):
            at.walk.needs(at.stack, "ipset")
            held = at.in_set(value, inverted=inverted)
            answers.append(_negated(held, negated=option.negated))
        elif option.flag not in ("--update-counters", "--update-subcounters", "--return-nomatch"):
            answers.append(Maybe(f"{option.flag} hangs on counters"))
    return every(answers)


def masked(mark: int, wanted: Masked) -> bool:
    """Say whether the bits that count are these."""
    mask = 0xFFFFFFFF if wanted.mask is None else wanted.mask
    return mark & mask == wanted.value


def _connmark(options: tuple[Option, ...], at: Traversal) -> Truth:
    """Compare the connection's mark; what has no connection never matches, nor does its opposite (xt_connmark.c)."""
    entry = at.entry
    return entry is not None and all(masked(entry.mark, o.value) != o.negated for o in options)


def _has_socket(at: Traversal) -> Truth:
    """Ask whether a socket sends a packet: the kernel sends ICMP, and resets of IPv4, by sockets that nobody owns.

    The packet of a tunnel keeps the socket of the one that it carries (iptunnel_xmit).
    """
    packet = at.packet
    if packet.uid is not None and packet.uid < 0 and packet.protocol == TCP and packet.flags == ACK:
        # What a server's kernel acknowledges before anybody accepts it has none yet (sk_socket).
        return Maybe("what is acknowledged may not be accepted yet")
    if packet.uid is not None or at.hook not in (OUTPUT, POSTROUTING):
        return packet.uid is not None
    while packet.inner is not None and not packet.is_error and not at.iif:
        packet = packet.inner
        if at.stack.fib.address_type(packet.family, packet.src) != "local":
            return False
    if packet.protocol in (ICMP, ICMPV6):
        return not at.iif
    if packet.protocol == TCP and packet.family == 4 and packet.flags & RST and not at.iif:
        return Maybe("a reset of the kernel has a socket, one of a rule has none")
    return False


def _owner(which: str) -> Callable[[Any, Traversal], Truth]:
    def check(span: Span, at: Traversal) -> Truth:
        owner = getattr(at.packet, which)
        if owner is None:
            return False
        return Maybe("the sender's user is not known") if owner < 0 else span.first <= owner <= span.last

    return check


def _physdev(options: tuple[Option, ...], at: Traversal) -> Truth:
    checks: dict[str, Callable[[Any], bool]] = {
        "--physdev-in": lambda v: bool(at.physin) and _device(v, at.physin),
        "--physdev-out": lambda v: bool(at.physout) and _device(v, at.physout),
        "--physdev-is-in": lambda _v: bool(at.physin),
        "--physdev-is-out": lambda _v: bool(at.physout),
        "--physdev-is-bridged": lambda _v: bool(at.physin and at.physout),
    }
    return every(_negated(checks[o.flag](o.value), negated=o.negated) for o in options)


def _statistic(options: tuple[Option, ...], _at: Traversal) -> Truth:
    values = {o.flag: o for o in options}
    if "--probability" in values:
        one = values["--probability"]
        p = 1 - one.value if one.negated else one.value
        return True if p >= 1 else False if p <= 0 else Maybe("drawn by chance", p)
    every_ = values["--every"].value if "--every" in values else 1
    return True if every_ <= 1 else Maybe(f"every {every_}th packet", 1 / every_)


def _socket(options: tuple[Option, ...], at: Traversal) -> Truth:
    flags = {o.flag for o in options}
    if at.packet.state == "ESTABLISHED":
        return Maybe("connected sockets were not read")
    found = listening(at.stack, at.packet, at.iif)
    if isinstance(found, Maybe):
        return found
    wildcard = found is not None and found.address in ("*", "0.0.0.0", "[::]", "::")  # noqa: S104
    if found is None or (wildcard and "--nowildcard" not in flags):
        return False
    return Maybe("whether the socket is transparent was not read") if "--transparent" in flags else True


def _mac(value: str, at: Traversal) -> Truth:
    return at.packet.smac.lower() == value.lower() if at.packet.smac else Maybe("the sender's MAC is not known")


def _range(which: str) -> Callable[[Any, Traversal], Truth]:
    def check(value: tuple[str, ...], at: Traversal) -> Truth:
        first, last = value[0], value[-1]
        return bool(number(first)[1] <= getattr(at.packet, which) <= number(last)[1])

    return check


def _length(value: Span, at: Traversal) -> Truth:
    if "size" in at.packet.loose:
        return Maybe("its length is not known")
    return value.first <= at.packet.size <= min(value.last, 65535)


def _compared(options: tuple[Option, ...], at: Traversal) -> Truth:
    checks: dict[str, Callable[[int], bool]] = {
        "eq": lambda v: at.packet.ttl == v,
        "lt": lambda v: at.packet.ttl < v,
        "gt": lambda v: at.packet.ttl > v,
    }
    return every(_negated(checks[o.flag[-2:]](o.value), negated=o.negated) for o in options)


def _packet_type(value: str, at: Traversal) -> Truth:
    packet = at.packet
    if at.iif == "lo":
        return value == "unicast"
    four = packet.family == 4
    if packet.dmac:
        first = int(packet.dmac[:2], 16)
        kind = "broadcast" if packet.dmac == "ff:ff:ff:ff:ff:ff" else "multicast" if first & 1 else "unicast"
    else:
        multicast = packet.dst >> 28 == 0xE if four else packet.dst >> 120 == 0xFF
        kind = "multicast" if multicast else "unicast"
    return kind == value


def _dscp(value: Any, at: Traversal) -> Truth:
    return bool(at.packet.tos >> 2 == value)


def _dscp_class(value: str, at: Traversal) -> Truth:
    return at.packet.tos >> 2 == dscp_class(value) >> 2


def _tos(value: Masked, at: Traversal) -> Truth:
    mask = 0xFF if value.mask is None else value.mask
    return at.packet.tos & mask == value.value


def _hangs(reason: str) -> Callable[[tuple[Option, ...], Traversal], Truth]:
    return lambda _options, _at: Maybe(reason)


def _recent(options: tuple[Option, ...], _at: Traversal) -> Truth:
    """Match what is only noted down; the rest hangs on what came before (recent_mt)."""
    for option in options:
        if option.flag == "--set":
            return not option.negated
    return Maybe("it hangs on which packets came before")


def _always(_options: tuple[Option, ...], _at: Traversal) -> Truth:
    return True


def _encrypted(options: tuple[Option, ...], _at: Traversal) -> Truth:
    wanted = {o.value for o in options if o.flag == "--pol"}
    return Maybe("whether IPsec applies is not modelled") if "ipsec" in wanted else True


_OPTIONS: Final[dict[str, dict[str, Callable[[Any, Traversal], Truth]]]] = {
    "": _BASIC,
    "tcp": {
        **_ported(TCP),
        "--tcp-flags": _flags,
        "--syn": lambda _v, at: _flags(_SYN, at),
        "--tcp-option": lambda _v, _at: Maybe("options of TCP are not modelled"),
    },
    "udp": _ported(UDP),
    "udplite": _ported(UDPLITE),
    "sctp": {**_ported(SCTP), "--chunk-types": lambda _v, _at: Maybe("chunks of SCTP are not modelled")},
    "multiport": {"--sports": _any_of(("sport",)), "--dports": _any_of(("dport",)), "--ports": _any_of(_DIMENSIONS)},
    "icmp": {"--icmp-type": _icmp(ICMP, _ICMP_NAMES)},
    "icmp6": {"--icmpv6-type": _icmp(ICMPV6, _ICMPV6_NAMES)},
    "icmpv6": {"--icmpv6-type": _icmp(ICMPV6, _ICMPV6_NAMES)},
    "mark": {"--mark": lambda v, at: masked(at.packet.mark, v)},
    "owner": {
        "--uid-owner": _owner("uid"),
        "--gid-owner": _owner("gid"),
        "--socket-exists": lambda _v, at: _has_socket(at),
    },
    "iprange": {"--src-range": _range("src"), "--dst-range": _range("dst")},
    "length": {"--length": _length},
    "mac": {"--mac-source": _mac},
    "pkttype": {"--pkt-type": _packet_type},
    "dscp": {"--dscp": _dscp, "--dscp-class": _dscp_class},
    "tos": {"--tos": _tos},
    "tcpmss": {"--mss": lambda _v, _at: Maybe("options of TCP are not modelled")},
    "ah": {"--ahspi": lambda _v, at: at.packet.protocol == AH and Maybe("its SPI is not modelled")},
    "esp": {"--espspi": lambda _v, at: at.packet.protocol == ESP and Maybe("its SPI is not modelled")},
}
_WHOLE: Final[dict[str, Callable[[tuple[Option, ...], Traversal], Truth]]] = {
    "comment": _always,
    "nfacct": _always,
    "conntrack": _conntrack,
    "connmark": _connmark,
    "state": _conntrack,
    "addrtype": _addrtype,
    "rpfilter": _rpfilter,
    "set": _set,
    "physdev": _physdev,
    "statistic": _statistic,
    "socket": _socket,
    "ttl": _compared,
    "hl": _compared,
    "policy": _encrypted,
    "limit": _hangs("it hangs on the rate of packets"),
    "hashlimit": _hangs("it hangs on the rate of packets"),
    "connlimit": _hangs("it hangs on how many connections there are"),
    "connbytes": _hangs("it hangs on how much the connection has carried"),
    "recent": _recent,
    "quota": _hangs("it hangs on how much has passed"),
    "time": _hangs("it hangs on the time of day"),
    "cpu": _hangs("it hangs on the processor"),
}
