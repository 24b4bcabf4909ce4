"""A hook: connection tracking, translation and the rules of all tables, in the order of priorities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import structs

from netinspect.kernel.simulator import ipvs, nat, nftables, tracking, xtables
from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.hooks import CONNTRACK, NAT_DESTINATION, NAT_SOURCE, Called, Registered
from netinspect.kernel.simulator.traversal import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING, Traversal
from netinspect.model.packet import Packet
from netinspect.model.walk import End, Stage, Verdict

if TYPE_CHECKING:
    from netinspect.kernel.simulator.stack import Stack
    from netinspect.kernel.simulator.walk import Walk
    from netinspect.model.kernel import Connection

Part = Callable[[Traversal], End | None]
_CONFIRM: Final = 1 << 31
_WHICH: Final = "which connection is a tunnel's packet of, whose port was not read"
_BASES: Final = {PREROUTING: "PREROUTING", INPUT: "INPUT", FORWARD: "FORWARD", OUTPUT: "OUTPUT",
                 POSTROUTING: "POSTROUTING"}  # fmt: skip
_SECTIONS: Final = {
    4: ("iptables-nft", "iptables-legacy", "nftables"),
    6: ("ip6tables-nft", "ip6tables-legacy", "nftables"),
}


def call(at: Traversal) -> End | None:
    """Call everybody at a hook in the order of priorities; None where the packet may go on."""
    at.walk.needs(at.stack, *_SECTIONS[at.packet.family], *(("ipvs",) if at.hook in (INPUT, OUTPUT) else ()))
    called = at.stack.hooks.at(at.packet.family, at.hook)
    for _, part in _parts(at, called):
        ended = part(at)
        if ended is not None or at.balanced is not None:
            return ended
    return None


def _parts(at: Traversal, called: Called) -> list[tuple[int, Part]]:
    chains = _in_order(at, called, called.chains)
    parts: list[tuple[int, Part]] = [(r.priority, lambda at, r=r: run(r, at)) for r in chains]  # type: ignore[misc]
    if at.hook in (PREROUTING, OUTPUT):
        parts += [(CONNTRACK, _track), (NAT_DESTINATION, lambda at: _translate(at, called, source=False))]
    elif at.hook in (INPUT, POSTROUTING):
        parts += [(NAT_SOURCE, lambda at: _translate(at, called, source=True)), (_CONFIRM, _confirm)]
    if at.stack.virtual_services and not at.packet.balanced:
        parts += ipvs.parts(at.hook)
    return sorted(parts, key=lambda p: p[0])


def _in_order(at: Traversal, called: Called, registered: Sequence[Registered]) -> Sequence[Registered]:
    """Give chains in the order in which they are called; fork where it matters and nobody knows.

    Of the same priority, who was registered later is called first (nf_hook_entries_grow).
    """
    if not called.unsure:
        return registered
    ordered: list[Registered] = []
    for one in registered:
        rivals = ((place, other) for place, other in enumerate(ordered) if (other.name, one.name) in called.unsure)
        before = next((place for place, other in rivals if _is_later(at, one, other)), len(ordered))
        ordered.insert(before, one)
    return ordered


def _is_later(at: Traversal, one: Registered, other: Registered) -> bool:
    """Ask who was registered later: once for all that two have made, which programs do in one go."""
    ways = (Way(other.maker), Way(one.maker))
    asked = "whose chains of the same priority were made later, and so are called first"
    question = f"{asked}: those of {other.maker} or those of {one.maker}"
    return bool(at.walk.forks.take(question, ways, once=(at.stack.name, "order", other.maker, one.maker)))


def run(registered: Registered, at: Traversal) -> End | None:
    """Send the packet through one base chain; look its route up anew where that is what its change means."""
    before = at.packet
    ended: End | None = None
    if registered.chains is not None:
        ended = xtables.run(registered.chains, _BASES[at.hook], at)
    elif registered.tables is not None and registered.chain is not None:
        ended = nftables.run(registered.tables, registered.chain, at)
    if registered.reroutes and _routed_by(before) != _routed_by(at.packet):
        at.rerouted = at.packet
    return ended


def _routed_by(packet: Packet) -> tuple[int, ...]:
    return packet.mark, packet.src, packet.dst, packet.tos


def _track(at: Traversal) -> End | None:
    known = at.packet.connection
    at.packet = tracking.track(at.walk.tracking, at.stack, at.packet, at.zones)
    entry = at.entry
    if entry is None or known is not None or entry.confirmed:
        return None
    entry.standing, translated = tracking.alike(at.stack, at.packet, entry)
    ways = (Way("it begins one"), *(Way(f"it is of that of line {c.line}, which is translated") for c in translated))
    if chosen := at.walk.forks.take(_WHICH, ways, once=(at.stack.name, entry.original)):
        _join(at, entry, translated[chosen - 1])
    return None


def _join(at: Traversal, entry: tracking.Entry, standing: Connection) -> None:
    at.walk.tracking.join(at.stack, entry, standing)
    at.change(state=tracking.ESTABLISHED if entry.replied else tracking.NEW)


def _ask(at: Traversal, called: Called, entry: tracking.Entry, *, source: bool) -> End | None:
    """Let the nat chains choose a mapping; fork where a connection may stand already, of which they are not asked."""
    before, rerouted, steps = at.packet, at.rerouted, len(at.walk.steps)
    ended: End | None = None
    for registered in _in_order(at, called, called.translating):
        ended = run(registered, at)
        if ended is not None or (entry.source_done if source else entry.destination_done):
            break
    else:
        nat.setup(at, entry, nat.Range(), source=source)
    standing = entry.standing
    if standing is None or (ended is None and at.packet == before and entry.back == entry.original.inverse):
        return ended
    entry.standing = None
    ways = (Way("it begins one"), Way("it is of one that stands, which is not translated"))
    if not at.walk.forks.take(_WHICH, ways, tracking.evidence(at.stack, standing)):
        return ended
    at.packet, at.rerouted = before, rerouted
    del at.walk.steps[steps:]
    _join(at, entry, standing)
    return None


def _translate(at: Traversal, called: Called, *, source: bool) -> End | None:
    """Ask the nat chains for a mapping of what is new, then apply what the connection has (nf_nat_inet_fn)."""
    entry = at.entry
    if entry is None or at.packet.state == tracking.UNTRACKED:
        return None
    fresh = at.packet.state == tracking.NEW or (at.packet.state == tracking.RELATED and not at.packet.is_error)
    if fresh and not entry.confirmed and not (entry.source_done if source else entry.destination_done):
        ended = _ask(at, called, entry, source=source)
        if ended is not None:
            return ended
    before = at.packet
    at.packet = nat.translate(before, entry, source=source)
    if at.packet != before and (not fresh or entry.evidence is not None):
        said = nat.becomes(tracking.ends(before), tracking.ends(at.packet), source=source)
        at.step(Stage.NAT, f"{said}, as its connection has it", entry.evidence)
    if at.hook == OUTPUT and at.packet.dst != before.dst:
        at.rerouted = at.packet
    return None


def _confirm(at: Traversal) -> End | None:
    entry = at.entry
    if entry is None or entry.confirmed or at.packet.reply:
        return None
    taken = at.walk.tracking.taken
    # A port that is drawn is drawn among those that are free.
    drawn = at.packet.loose & {"sport", "dport"}
    if not drawn and (taken(at.stack, entry.zones[0], entry.original) or taken(at.stack, entry.zones[1], entry.back)):
        return at.end(Verdict.DROPPED, "another connection has these addresses and ports already")
    at.walk.tracking.confirm(at.stack, entry)
    return None


def bridge_chains(walk: Walk, stack: Stack, hook: str, packet: Packet, port: str, out: str) -> End | None:
    """Let the bridge family's chains see a frame; a mark that they change is not followed."""
    chains = stack.hooks.bridge(hook)
    if not chains:
        return None
    at = Traversal(walk, stack, hook, packet, iif=port, oif=out)
    for registered in chains:
        ended = run(registered, at)
        if ended is not None:
            # Nobody tells a sender what became of its frame in a bridge.
            return structs.replace(ended, stage=Stage.BRIDGE)
    if at.packet.mark != packet.mark:
        return at.unknown("a rule of the bridge family changes the mark", "a probe")
    return None
