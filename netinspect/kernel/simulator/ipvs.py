"""IPVS: virtual services, their schedulers, and the ways to a real server. Sources: net/netfilter/ipvs/, ipvsadm(8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import structs

from netinspect.kernel.simulator import traversal
from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.tracking import UNTRACKED, Entry, ends
from netinspect.kernel.simulator.traversal import FORWARD, INPUT, OUTPUT, Traversal
from netinspect.model.kernel import RealServer, VirtualService
from netinspect.model.packet import PORTED, number, text
from netinspect.model.walk import End, Stage, Verdict

Part = Callable[[Traversal], End | None]
# NF_IP_PRI_NAT_SRC - 1 and NF_IP_PRI_NAT_DST + 2 (ip_vs_ops4 in ip_vs_core.c).
_INPUT: Final = 99
_OUTPUT: Final = -98
_FORWARD: Final = 100
_REPLY_INPUT: Final = 98
_REPLY_OUTPUT: Final = -99
# Schedulers by a hash of the addresses (ip_vs_sh.c, ip_vs_dh.c): they keep their choice even if it takes nothing now.
_STUBBORN: Final = frozenset({"sh", "dh"})
_FALLBACK: Final = "flag-1"


def parts(hook: str) -> list[tuple[int, Part]]:
    """Give what IPVS does at a hook, with the priorities."""
    if hook == INPUT:
        return [(_REPLY_INPUT, _reply), (_INPUT, _request)]
    if hook == OUTPUT:
        return [(_REPLY_OUTPUT, _reply), (_OUTPUT, _request)]
    return [(_FORWARD, _reply)] if hook == FORWARD else []


def service_for(at: Traversal) -> VirtualService | None:
    """Give the virtual service of a packet (ip_vs_service_find): by mark, else by address and port, else any port."""
    packet, known = at.packet, at.stack.virtual_services
    marked = known.get(packet.mark) if packet.mark else None
    if marked is not None or packet.protocol not in PORTED:
        return marked
    exact = known.get((packet.protocol, packet.family, packet.dst, packet.dport))
    return exact or known.get((packet.protocol, packet.family, packet.dst, 0))


def _request(at: Traversal) -> End | None:
    """Give a packet to a real server (ip_vs_in_hook)."""
    if at.packet.is_error:
        return None
    known = at.walk.balanced.get((at.stack.name, ends(at.packet)))
    if known is None:
        service = service_for(at)
        if service is None:
            return None
        pointer = at.stack.pointer("ipvs", service.line)
        server = _schedule(at, service)
        if server is None:
            answer = traversal.unreachable(at.packet, 3 if at.packet.family == 4 else 4)
            return at.end(Verdict.REJECTED, "the virtual service has no real server", pointer, answer)
        at.walk.balanced[at.stack.name, ends(at.packet)] = known = server
        at.step(Stage.IPVS, f"{server.forward} to {server.address}:{server.port}", pointer)
    return _forward(at, known)


def _schedule(at: Traversal, service: VirtualService) -> RealServer | None:
    alive = [s for s in service.servers if s.weight > 0]
    if service.scheduler in _STUBBORN and _FALLBACK not in service.flags and "sh-fallback" not in service.flags:
        drawn = list(service.servers)
    else:
        drawn = alive
    if not alive:
        return None
    if service.scheduler == "rr":
        chances: list[float | None] = [1 / len(drawn)] * len(drawn)
    elif service.scheduler in ("wrr", "wlc"):
        total = sum(s.weight for s in drawn)
        chances = [s.weight / total for s in drawn]
    else:
        chances = [None] * len(drawn)
    ways = [Way(f"{s.address}:{s.port}", p) for s, p in zip(drawn, chances, strict=True)]
    asked = f"which real server {service.scheduler} takes"
    taken = drawn[at.walk.forks.take(asked, ways, at.stack.pointer("ipvs", service.line))]
    return taken if taken.weight > 0 else None


def _forward(at: Traversal, server: RealServer) -> End | None:
    """Send on by the server's method: translated, as it is, or in a tunnel (ip_vs_xmit.c)."""
    method = server.forward.lower()
    family, address = number(server.address)
    entry = at.entry
    if method == "masq":
        if entry is not None:
            _alter(entry, address, server.port)
        at.change(dst=address, dport=server.port)
        at.balanced = (family, address)
    elif method == "route":
        at.balanced = (family, address)
    elif method == "tunnel":
        at.balanced = (family, address)
        at.tunnelled = True
    else:
        return at.unknown(f"IPVS forwards by {server.forward}, which is not modelled", "a probe")
    if at.stack.fib.address_type(family, address) == "local":
        # For this host: the packet stays in the hook that it is in (ip_vs_nat_send_or_cont, ip_vs_send_or_cont).
        at.balanced, at.tunnelled = None, False
        at.change(balanced=True)
    _let_go(at)
    return None


def _let_go(at: Traversal) -> None:
    """Take the packet out of connection tracking, unless IPVS is told to keep it there (ip_vs_notrack)."""
    if at.stack.sysctl("ipv4/vs/conntrack") == "0":
        at.change(connection=None, reply=False, state=UNTRACKED)


def _alter(entry: Entry, address: int, port: int) -> None:
    """Tell connection tracking where answers will come from (ip_vs_update_conntrack)."""
    if not entry.confirmed:
        plain = entry.back.inverse
        entry.back = structs.replace(plain, dst=address, dport=port).inverse


def _reply(at: Traversal) -> End | None:
    """Put the virtual address back into what a real server answers (ip_vs_out_hook), or complains about."""
    p = at.packet
    sent = p.inner if p.is_error else traversal.turned(p)
    if sent is None:
        return None
    for (name, asked), server in at.walk.balanced.items():
        if name != at.stack.name or server.forward.lower() != "masq" or asked.protocol != sent.protocol:
            continue
        to = (number(server.address)[1], server.port)
        if (sent.dst, sent.dport) == to and (sent.src, sent.sport) == (asked.src, asked.sport):
            if p.is_error and p.family == 6 and not _verified(at):
                said = (
                    "IPVS takes the checksum of an IPv6 error for wrong, where connection tracking has not verified it"
                )
                return at.end(Verdict.DROPPED, said)
            if p.is_error:
                # Whoever complains, it looks as if the virtual service did (ip_vs_nat_icmp).
                at.change(src=asked.dst, inner=structs.replace(sent, dst=asked.dst, dport=asked.dport))
            else:
                at.change(src=asked.dst, sport=asked.dport)
            _let_go(at)
            at.step(Stage.IPVS, f"the answer's source becomes {text(asked.dst, p.family)}:{asked.dport}")
            return None
    return None


def _verified(at: Traversal) -> bool:
    """Say whether connection tracking has verified an error of IPv6.

    What it has not, IPVS verifies as if there were no pseudo-header (handle_response_icmp, ip_vs_checksum_complete).
    """
    if at.stack.sysctl("netfilter/nf_conntrack_checksum") == "0":
        return False
    if at.stack.hooks.tracks(6):
        return True
    ways = (Way("what no rule shows has them tracked"), Way("they are not tracked"))
    return not at.walk.forks.take("whether connections of IPv6 are tracked", ways, once=(at.stack.name, "tracks 6"))
