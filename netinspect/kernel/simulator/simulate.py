"""The simulator's door: a packet, or a whole attempt to connect, through the namespaces of a World."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct, structs

from netinspect.errors import ParseError
from netinspect.kernel.simulator import bridge, devices, local, output, routing, states
from netinspect.kernel.simulator.forks import Forks, Run, explore
from netinspect.kernel.simulator.states import Send, State
from netinspect.kernel.simulator.tracking import ends
from netinspect.kernel.simulator.walk import Blind, Walk
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import ICMP, ICMPV6, RST, TCP
from netinspect.model.walk import Branch, End, Step, Verdict

# More than any packet does before its TTL ends.
_MOST_STATES: Final = 4096
_NEXT: Final[dict[type[State], Callable[[Walk, Any], State | End]]] = {
    states.Send: output.send,
    states.Leave: output.leave,
    states.Transmit: devices.transmit,
    states.Arrive: devices.arrive,
    states.Switch: bridge.switch,
    states.Receive: local.receive,
    states.Route: routing.route,
    states.Forward: routing.forward,
    states.Deliver: local.deliver,
}


def run(walk: Walk, state: State) -> End:
    """Take a packet from state to state until it ends."""
    now: State | End = state
    for _ in range(_MOST_STATES):
        if isinstance(now, End):
            return now
        before = now
        try:
            now = _NEXT[type(now)](walk, now)
        except Blind as blind:
            now = _unknown(before, f"not seen: {blind}", f"reading {blind.section} of {blind.stack.name}")
        except ParseError as error:
            now = _unknown(before, f"cannot be read: {error}", "a parser that knows its form")
    return End(Verdict.DROPPED, "it goes round and round", state.stack.name, state.packet)


def _unknown(state: State, reason: str, settles: str) -> End:
    return End(Verdict.UNKNOWN, reason, state.stack.name, state.packet, settles=settles)


def walk(world: World, start: State) -> tuple[Branch, ...]:
    """Give every way that one packet may take."""

    def once(forks: Forks) -> tuple[Walk, End]:
        made = Walk(world, forks)
        return made, run(made, start)

    runs, whole = explore(once)
    found = [_branch(r, tuple(r.result[0].steps), r.result[1]) for r in runs]
    return tuple(found) if whole else (*found, _beyond(start))


def _branch(one: Run[Any], steps: tuple[Step, ...], end: End) -> Branch:
    return Branch(steps, end, one.forks.probability, tuple(one.forks.assumptions))


def _beyond(start: State) -> Branch:
    said = "there are more ways than were looked at"
    end = End(Verdict.UNKNOWN, said, start.stack.name, start.packet, settles="a probe")
    return Branch((), end, None)


class Attempt(Struct, frozen=True):
    """What a request meets: its own way, and that of what goes back; ``result`` is what the sender sees.

    ``result`` is ``ok``, ``refused`` (a reset, or an ICMP error for the port), ``unreachable`` (another ICMP error, or
    the sender's own kernel refuses), ``timeout`` (nothing comes back), ``left`` (it left what was read), ``unknown``.
    """

    result: str
    request: Branch
    answer: Branch | None = None


def attempt(world: World, start: Send) -> tuple[Attempt, ...]:
    """Send a request, and what comes back for it, through all forks."""

    def once(forks: Forks) -> tuple[str, tuple[Step, ...], End, tuple[Step, ...], End | None]:
        made = Walk(world, forks)
        there = run(made, start)
        steps = tuple(made.steps)
        made.steps.clear()
        if there.answer is None:
            return _without_answer(there), steps, there, (), None
        _expect(made, start, steps, there)
        answer = structs.replace(there.answer, ttl=64)
        back = run(made, Send(world.stacks[there.namespace], answer))
        return _result(start, there, back), steps, there, tuple(made.steps), back

    runs, whole = explore(once)
    found = []
    for one in runs:
        result, steps, there, back_steps, back = one.result
        request = _branch(one, steps, there)
        answer = _branch(one, back_steps, back) if back is not None else None
        found.append(Attempt(result, request, answer))
    if not whole:
        found.append(Attempt("unknown", _beyond(start)))
    return tuple(found)


def _expect(made: Walk, start: Send, steps: tuple[Step, ...], there: End) -> None:
    """Remember the sender's socket: it waits for what has the ends of the packet as it was sent, turned round."""
    sent = next((s.packet for s in steps if s.namespace == start.stack.name), there.packet)
    made.waiting.add((start.stack.name, ends(sent).inverse))


def _without_answer(there: End) -> str:
    if there.verdict is Verdict.UNKNOWN:
        return "unknown"
    if there.verdict is Verdict.LEFT:
        return "left"
    return "unreachable" if there.verdict is Verdict.UNREACHABLE else "timeout"


def _result(start: Send, there: End, back: End) -> str:
    if back.verdict is Verdict.UNKNOWN:
        return "unknown"
    if back.verdict is Verdict.LEFT:
        return "left"
    if back.verdict is not Verdict.DELIVERED or back.namespace != start.stack.name:
        return "timeout"
    packet = back.packet
    if packet.protocol == TCP and packet.flags & RST:
        return "refused"
    if packet.is_error:
        port = (ICMP, 3, 3) if packet.family == 4 else (ICMPV6, 1, 4)
        return "refused" if (packet.protocol, packet.type, packet.code) == port else "unreachable"
    return "ok"
