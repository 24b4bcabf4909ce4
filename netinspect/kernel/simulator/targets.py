"""iptables' targets. Sources: iptables-extensions(8), net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_REJECT.c."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from msgspec import structs

from netinspect.kernel.simulator import nat, traversal
from netinspect.kernel.simulator.fib import dscp_class
from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.listeners import listening
from netinspect.kernel.simulator.source import of_device4, of_masquerade
from netinspect.kernel.simulator.tracking import Ends, ends
from netinspect.kernel.simulator.traversal import Traversal
from netinspect.model.iptables import AddressRange, Masked, Prefix, SetReference, Target
from netinspect.model.kernel import Socket
from netinspect.model.packet import TCP, UDP, number
from netinspect.model.walk import End, Pointer, Stage, Verdict


class Next(Enum):
    """What the chain does after a target."""

    CONTINUE = "continue"
    ACCEPT = "accept"


Outcome = Next | End
_WORD: Final = 0xFFFFFFFF
_LOOPBACK6: Final = 1
# Only these change nothing that a walk depends on.
HARMLESS: Final = frozenset({
    "AUDIT", "CHECKSUM", "CLASSIFY", "CONNSECMARK", "IDLETIMER", "LED", "LOG", "NFLOG", "RATEEST", "SECMARK", "TCPMSS",
    "TCPOPTSTRIP", "TEE", "TRACE", "ULOG", "ECN",
})  # fmt: skip
# A program behind a queue may change what it is given.
CHANGING: Final = frozenset({
    "MARK", "CONNMARK", "CT", "NOTRACK", "TOS", "DSCP", "TTL", "HL", "TPROXY", "HMARK", "NFQUEUE", "QUEUE", "SET",
})  # fmt: skip
ANSWERING: Final = frozenset({"REJECT", "SYNPROXY"})
DROPPING: Final = frozenset({"DROP"})

_REJECTIONS: Final = {
    "icmp-net-unreachable": 0, "icmp-host-unreachable": 1, "icmp-proto-unreachable": 2, "icmp-port-unreachable": 3,
    "icmp-net-prohibited": 9, "icmp-host-prohibited": 10, "icmp-admin-prohibited": 13,
    "icmp6-no-route": 0, "icmp6-adm-prohibited": 1, "icmp6-addr-unreachable": 3, "icmp6-port-unreachable": 4,
    "icmp6-policy-fail": 5, "icmp6-reject-route": 6,
}  # fmt: skip


def apply(target: Target, at: Traversal, evidence: Pointer) -> Outcome:
    """Do what a target does to the packet."""
    if target.unmodelled:
        return at.unknown(f"-j {target.name} {target.unmodelled} is not modelled", "a probe", evidence)
    if target.name in HARMLESS:
        return Next.CONTINUE
    known = _TARGETS.get(target.name)
    if known is None:
        return at.unknown(f"-j {target.name} is not modelled", "a probe", evidence)
    return known(at, {o.flag: o.value for o in target.options}, evidence)


def _accept(_at: Traversal, _o: dict[str, Any], _e: Pointer) -> Outcome:
    return Next.ACCEPT


def _drop(at: Traversal, _o: dict[str, Any], evidence: Pointer) -> Outcome:
    return at.end(Verdict.DROPPED, "a rule drops it", evidence)


def reject(at: Traversal, kind: str, evidence: Pointer) -> End:
    """End with the answer that a rejection sends."""
    reset = kind == "tcp-reset"
    answer = traversal.reset(at.packet) if reset else traversal.unreachable(at.packet, _REJECTIONS[kind])
    return at.end(Verdict.REJECTED, f"a rule rejects it with {kind}", evidence, answer)


def _reject(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    default = "icmp-port-unreachable" if at.packet.family == 4 else "icmp6-port-unreachable"
    return reject(at, str(options.get("--reject-with", default)), evidence)


def _mark(at: Traversal, options: dict[str, Any], _e: Pointer) -> Outcome:
    at.change(mark=_set_mark(at.packet.mark, options))
    return Next.CONTINUE


def _set_mark(mark: int, options: dict[str, Masked]) -> int:
    for flag, value in options.items():
        mask = _WORD if value.mask is None else value.mask
        match flag:
            case "--set-xmark":
                return mark & ~mask & _WORD ^ value.value
            case "--set-mark":
                return mark & ~(mask | value.value) & _WORD | value.value
            case "--and-mark":
                return mark & value.value
            case "--or-mark":
                return mark | value.value
            case _:
                return mark ^ value.value
    return mark


def _connmark(at: Traversal, options: dict[str, Any], _e: Pointer) -> Outcome:
    entry = at.entry
    if entry is None:
        return Next.CONTINUE
    both = options.get("--mask")
    nfmask, ctmask = (options.get(n, _WORD if both is None else both) for n in ("--nfmask", "--ctmask"))
    left, right = options.get("--left-shift-mark", 0), options.get("--right-shift-mark", 0)
    if "--save-mark" in options:
        value = at.packet.mark & nfmask
        entry.mark = entry.mark & ~ctmask & _WORD ^ (value << left >> right & _WORD)
    elif "--restore-mark" in options:
        value = entry.mark & ctmask
        at.change(mark=at.packet.mark & ~nfmask & _WORD ^ (value << left >> right & _WORD))
    else:
        entry.mark = _set_mark(entry.mark, {k: v for k, v in options.items() if isinstance(v, Masked)})
    return Next.CONTINUE


def _write(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    """Put the packet into a set, take it out of one, or give it the mark of a member (set_target_v3)."""
    at.walk.needs(at.stack, "ipset")
    for flag, held in (("--add-set", True), ("--del-set", False)):
        wanted: SetReference | None = options.get(flag)
        if wanted is not None:
            for name, one in at.stack.sets.write(wanted.name, at.packet, wanted.directions, at.around, held=held):
                at.walk.written[at.stack.name, name].append(one)
    if "--map-set" in options and "--map-mark" in options and at.in_set(options["--map-set"]) is not False:
        return at.unknown("a mark that a set gives is not modelled", "a probe", evidence)
    return Next.CONTINUE


def _untracked(at: Traversal, _o: dict[str, Any], _e: Pointer) -> Outcome:
    if at.packet.connection is None:
        at.change(state="UNTRACKED")
    return Next.CONTINUE


def _ct(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    if "--notrack" in options:
        return _untracked(at, options, evidence)
    for flag, places in (("--zone", (0, 1)), ("--zone-orig", (0,)), ("--zone-reply", (1,))):
        if flag in options:
            zone = at.packet.mark & 0xFFFF if options[flag] == "mark" else int(options[flag])
            at.zones = (zone if 0 in places else at.zones[0], zone if 1 in places else at.zones[1])
    return Next.CONTINUE


def _range(options: dict[str, Any], flag: str) -> nat.Range:
    wanted: AddressRange | None = options.get(flag)
    drawn = "--random" in options or "--random-fully" in options
    if wanted is None:
        return nat.Range(random=drawn)
    addresses = (number(wanted.first)[1], number(wanted.last)[1]) if wanted.first else None
    ports = (wanted.ports.first, wanted.ports.last) if wanted.ports else None
    return nat.Range(addresses, ports, drawn)


def _destination(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    return translate(at, _range(options, "--to-destination"), evidence, source=False)


def _source(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    return translate(at, _range(options, "--to-source"), evidence, source=True)


def translate(at: Traversal, wanted: nat.Range, evidence: Pointer | None, *, source: bool) -> Outcome:
    """Give the packet's connection a mapping; what has no connection passes unchanged."""
    entry = at.entry
    if entry is not None:
        nat.setup(at, entry, wanted, source=source, evidence=evidence)
    return Next.ACCEPT


def _ports(options: dict[str, Any]) -> tuple[int, int] | None:
    span = options.get("--to-ports")
    return (span.first, span.last) if span else None


def _masquerade(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    return masquerade(at, _ports(options), evidence, drawn="--random" in options or "--random-fully" in options)


def masquerade(at: Traversal, ports: tuple[int, int] | None, evidence: Pointer, *, drawn: bool) -> Outcome:
    """Send from the address of the device that it leaves by (nf_nat_masquerade_ipv4, _ipv6)."""
    address = of_masquerade(at.stack, at.oif, at.packet, at.nexthop)
    if address is None:
        return at.end(Verdict.DROPPED, f"{at.oif} has no address to masquerade with", evidence)
    return translate(at, nat.Range((address, address), ports, drawn), evidence, source=True)


def _redirect(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    return redirect(at, _ports(options), evidence, drawn="--random" in options)


def redirect(at: Traversal, ports: tuple[int, int] | None, evidence: Pointer, *, drawn: bool) -> Outcome:
    """Send it to this host itself (nf_nat_redirect.c): to loopback, or to the address of the device it came in by."""
    family = at.packet.family
    if at.hook == traversal.OUTPUT:
        address: int | None = nat.LOOPBACK4 if family == 4 else _LOOPBACK6
    else:
        address = _first_address(at, family)
    if address is None:
        return at.end(Verdict.DROPPED, f"{at.iif} has no address to redirect to", evidence)
    return translate(at, nat.Range((address, address), ports, drawn), evidence, source=False)


def _first_address(at: Traversal, family: int) -> int | None:
    link = at.stack.links.get(at.iif)
    wanted = "inet" if family == 4 else "inet6"
    narrow = family == 6 and at.packet.dst >> 118 == 0xFE80 >> 6
    for address in link.addresses if link else ():
        if address.family == wanted and not address.tentative and (family == 4 or (address.scope == "link") == narrow):
            return number(address.local)[1]
    return None


def _netmap(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    to: Prefix = options["--to"]
    source = at.hook in (traversal.POSTROUTING, traversal.INPUT)
    return translate(at, nat.Range((to.value, to.value), mask=to.mask), evidence, source=source)


def _tproxy(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    on_ip = options.get("--on-ip")
    address = number(on_ip)[1] if on_ip else 0
    value = options.get("--tproxy-mark", Masked(0, 0))
    return steer(at, address, int(options.get("--on-port", 0)), value, evidence)


def steer(at: Traversal, address: int, port: int, mark: Masked | None, evidence: Pointer) -> Outcome:
    """Give the packet to the socket of a transparent proxy (xt_TPROXY.c); without one it is dropped."""
    if at.packet.protocol not in (TCP, UDP):
        return at.end(Verdict.DROPPED, "TPROXY takes TCP and UDP only", evidence)
    key = (at.stack.name, ends(at.packet))
    if key in at.walk.waiting:
        # A socket has it already, and that of a client is not a transparent one.
        if not _is_transparent(at, key, evidence):
            return at.end(Verdict.DROPPED, "TPROXY drops what is for a socket that is not transparent", evidence)
        aim = at.packet
    else:
        if not address:
            address = (of_device4(at.stack, at.iif, 0, 0) if at.packet.family == 4 else _first_address(at, 6)) or 0
        aim = structs.replace(at.packet, dst=address, dport=port or at.packet.dport, loose=frozenset())
        if not isinstance(listening(at.stack, aim, at.iif), Socket):
            return at.end(Verdict.DROPPED, f"TPROXY finds no socket on port {aim.dport}", evidence)
    if mark is not None:
        mask = _WORD if mark.mask is None else mark.mask
        at.change(mark=at.packet.mark & ~mask & _WORD ^ mark.value)
    at.change(steered=aim.dport)
    at.step(Stage.PREROUTING, f"TPROXY gives it to the socket on port {aim.dport}", evidence)
    return Next.ACCEPT


def _is_transparent(at: Traversal, key: tuple[str, Ends], evidence: Pointer) -> bool:
    """Say whether the socket that has a connection is transparent: ss does not, but TPROXY gives to no other."""
    steered = at.walk.accepted.get(key)
    if steered is None or steered:
        return bool(steered)
    ways = (Way("it is"), Way("it is not"))
    asked = f"is the socket on port {at.packet.dport} of {at.stack.name} transparent"
    return at.walk.forks.take(asked, ways, evidence, once=("transparent", at.stack.name, at.packet.dport)) == 0


def _tos(at: Traversal, options: dict[str, Any], _e: Pointer) -> Outcome:
    tos = at.packet.tos
    for flag, value in options.items():
        if flag == "--set-tos":
            mask = 0xFF if value.mask is None else value.mask
            tos = tos & ~mask & 0xFF ^ value.value
        else:
            tos = {"--and-tos": tos & value, "--or-tos": tos | value, "--xor-tos": tos ^ value}[flag]
    at.change(tos=tos)
    return Next.CONTINUE


def _dscp(at: Traversal, options: dict[str, Any], _e: Pointer) -> Outcome:
    value = options["--set-dscp"] if "--set-dscp" in options else dscp_class(options["--set-dscp-class"]) >> 2
    at.change(tos=at.packet.tos & 3 | value << 2)
    return Next.CONTINUE


def _ttl(at: Traversal, options: dict[str, Any], _e: Pointer) -> Outcome:
    ttl = at.packet.ttl
    for flag, value in options.items():
        ttl = {"set": value, "dec": max(ttl - value, 0), "inc": min(ttl + value, 255)}[flag[-3:]]
    at.change(ttl=ttl)
    return Next.CONTINUE


def _queue(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    number_ = options.get("--queue-num", options.get("--queue-balance", 0))
    return at.unknown(f"a program decides, behind queue {number_}", "a probe, or the program's own log", evidence)


def _stateless_prefix(at: Traversal, options: dict[str, Any], evidence: Pointer) -> Outcome:
    return at.unknown("translation of prefixes (RFC 6296) is not modelled", f"a probe to {options}", evidence)


_TARGETS: Final[dict[str, Callable[[Traversal, dict[str, Any], Pointer], Outcome]]] = {
    "ACCEPT": _accept,
    "DROP": _drop,
    "REJECT": _reject,
    "MARK": _mark,
    "SET": _write,
    "CONNMARK": _connmark,
    "NOTRACK": _untracked,
    "CT": _ct,
    "DNAT": _destination,
    "SNAT": _source,
    "MASQUERADE": _masquerade,
    "REDIRECT": _redirect,
    "NETMAP": _netmap,
    "TPROXY": _tproxy,
    "TOS": _tos,
    "DSCP": _dscp,
    "TTL": _ttl,
    "HL": _ttl,
    "NFQUEUE": _queue,
    "QUEUE": _queue,
    "DNPT": _stateless_prefix,
    "SNPT": _stateless_prefix,
}
