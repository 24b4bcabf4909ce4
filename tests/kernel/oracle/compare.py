"""The kernel's answer beside the simulator's, probe by probe."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from netinspect.kernel.simulator.simulate import Attempt, attempt
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import ICMP, ICMPV6, SYN, TCP, UDP, Packet, number, text
from netinspect.model.walk import Stage, Verdict
from tests.kernel.oracle.reality import Outcome, Seen, Session
from tests.kernel.oracle.scene import Built, Probe, Scene

_PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}


class Disagreement(Struct, frozen=True):
    """A probe that the simulator is wrong about."""

    probe: Probe
    number: int
    real: str
    simulated: tuple[str, ...]
    attempts: tuple[Attempt, ...]


class Comparison(Struct, frozen=True):
    """How many probes agree, how many the simulator does not know, and those that it is wrong about."""

    agreed: int
    unknown: int
    wrong: tuple[Disagreement, ...]
    attempts: tuple[tuple[Attempt, ...], ...]


def packet(probe: Probe, outcome: Outcome, ident: int) -> Packet:
    """Give the first packet of a probe as its socket sent it."""
    family, dst = number(probe.dst)
    header = 20 if family == 4 else 40
    protocol = ICMPV6 if probe.protocol == "icmp" and family == 6 else _PROTOCOLS[probe.protocol]
    icmp = protocol in (ICMP, ICMPV6)
    return Packet(
        family=family, src=number(probe.src)[1] if probe.src else 0, dst=dst, protocol=protocol, mark=probe.mark,
        uid=probe.uid, gid=0, size=header + (40 if protocol == TCP else 8 + probe.size),
        df=probe.df or protocol == TCP, flags=SYN if protocol == TCP else 0,
        sport=0 if icmp else outcome.sent_from[1] or 40000, dport=0 if icmp else probe.dport,
        type=(8 if family == 4 else 128) if icmp else 0, ident=ident if icmp else 0,
    )  # fmt: skip


def simulate(world: World, session: Session, which: int) -> tuple[Attempt, ...]:
    probe = session.probes[which]
    made = packet(probe, session.outcomes[which], session.ident(which))
    return attempt(world, Send(world.stacks[probe.ns], made))


def said(one: Attempt, probe: Probe) -> tuple[str, Seen | None]:
    """Give what the sender and the receiver would see."""
    ended = one.request.end
    seen = None
    if (
        ended.verdict is Verdict.DELIVERED
        and ended.socket is not None
        and (probe.protocol == "udp" or one.result == "ok")
    ):
        p = ended.packet
        seen = Seen(
            ended.namespace, text(p.src, p.family), text(p.dst, p.family),
            ended.socket.port if probe.protocol == "udp" else p.dport,
            None if "sport" in p.loose else p.sport, p.mark if probe.protocol == "udp" else None,
        )  # fmt: skip
    return one.result, seen


def fits(one: Attempt, probe: Probe, outcome: Outcome) -> bool:
    result, seen = said(one, probe)
    # Until the kernel gives a neighbour up it says nothing; of missing routes it tells nobody too often (ip_error).
    quiet = one.request.end.stage in (Stage.NEIGHBOUR, Stage.ROUTE)
    late = quiet and one.request.end.verdict is Verdict.UNREACHABLE and outcome.result == "timeout"
    if result != outcome.result and not late:
        return False
    if probe.protocol == "icmp":
        return True
    if seen is None:
        # Of a connection whose answers are lost, data may have arrived.
        return not outcome.seen or bool(one.data)
    return any(_same(seen, real) for real in outcome.seen)


def _same(seen: Seen, real: Seen) -> bool:
    return (seen.ns, seen.src, seen.dst, seen.dport) == (real.ns, real.src, real.dst, real.dport) and (
        seen.sport in (None, real.sport) and (seen.mark is None or real.mark is None or seen.mark == real.mark)
    )


def compare(session: Session, read: Callable[[], World]) -> Comparison:
    """Send all probes, and say which of the kernel's answers the simulator does not give."""
    world = read()
    probes = session.probes
    session.ask(range(len(probes)), 0.2)
    outcomes = list(session.outcomes)
    attempts = [simulate(world, session, n) for n in range(len(probes))]
    doubtful = [n for n, p in enumerate(probes) if not _covered(attempts[n], p, outcomes[n])]
    if doubtful:
        # A busy machine may answer late: what disagrees is asked again, with patience.
        session.ask(doubtful, 1.2)
        for n in doubtful:
            outcomes[n] = session.outcomes[n]
            attempts[n] = simulate(world, session, n)
    unheard = [n for n in doubtful if not _covered(attempts[n], probes[n], outcomes[n]) and _unheard(attempts[n])]
    if unheard:
        # Who was not known when the state was read may have been heard of since, by what asked for this host.
        world = read()
        session.ask(unheard, 1.2)
        for n in unheard:
            outcomes[n] = session.outcomes[n]
            attempts[n] = simulate(world, session, n)
    wrong, unknown = [], 0
    for n, probe in enumerate(probes):
        if any(fits(a, probe, outcomes[n]) for a in attempts[n]):
            continue
        if any(a.result == "unknown" for a in attempts[n]):
            unknown += 1
            continue
        shown = tuple(
            f"{said(a, probe)} {a.request.end.reason} / {a.answer.end.reason if a.answer else ''}" for a in attempts[n]
        )
        wrong.append(Disagreement(probe, n, f"{outcomes[n].result} {outcomes[n].seen}", shown, attempts[n]))
    return Comparison(len(probes) - unknown - len(wrong), unknown, tuple(wrong), tuple(attempts))


def _unheard(attempts: Iterable[Attempt]) -> bool:
    return any(branch.end.stage is Stage.NEIGHBOUR for a in attempts for branch in a.branches)


def _covered(attempts: Iterable[Attempt], probe: Probe, outcome: Outcome) -> bool:
    return any(fits(a, probe, outcome) for a in attempts)


def judge(scene: Scene) -> Comparison:
    """Build a scene and compare."""
    with Built(scene) as built, Session(built) as session:
        # What the first packets make the kernels learn is there when the state is read.
        session.ask(range(len(scene.probes)), 0.15)
        return compare(session, built.read)
