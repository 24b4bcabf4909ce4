"""The simulator's door: a packet, or a whole attempt to connect, through the namespaces of a World."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec import Struct, structs

from netinspect.errors import ParseError
from netinspect.kernel.simulator import bridge, devices, local, output, routing, states
from netinspect.kernel.simulator.forks import Forks, Run, Way, explore
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Send, State
from netinspect.kernel.simulator.tracking import ends
from netinspect.kernel.simulator.traversal import turned
from netinspect.kernel.simulator.walk import Blind, Walk
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import ACK, ICMP, ICMPV6, NOBODY_KNOWS, PSH, RST, TCP, UDP, Packet, text
from netinspect.model.walk import Branch, End, Stage, Step, Verdict

# An acknowledgement without data, with the timestamps that both sides have agreed on (tcp_established_options).
_BARE: Final = {4: 52, 6: 72}
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
    for now in through(walk, state):
        if isinstance(now, End):
            return now
    return End(Verdict.DROPPED, "it goes round and round", state.stack.name, state.packet)


def through(walk: Walk, state: State) -> Iterator[State | End]:
    """Give what a packet comes to, state by state."""
    now: State | End = state
    for _ in range(_MOST_STATES):
        if isinstance(now, End):
            return
        before = now
        walk.forks.states += 1
        try:
            now = _NEXT[type(now)](walk, now)
        except Blind as blind:
            now = _unknown(before, f"not seen: {blind}", f"reading {blind.section} of {blind.stack.name}")
        except (ParseError, ValueError, LookupError, TypeError) as error:
            # A value that is none, such as a route to 192.0.2.1.0, is met where it is first looked at.
            now = _unknown(before, f"cannot be read: {error}", "a parser that knows its form")
        yield now


def _unknown(state: State, reason: str, settles: str) -> End:
    return End(Verdict.UNKNOWN, reason, state.stack.name, state.packet, settles=settles)


def walk(world: World, start: State) -> tuple[Branch, ...]:
    """Give every way that one packet may take."""

    def once(forks: Forks) -> tuple[Walk, End]:
        made = Walk(world, forks, through)
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
    the sender's own kernel refuses), ``timeout`` (nothing comes back), ``reset`` (it stood, and was reset at once),
    ``left`` (it left what was read), ``unknown``.
    ``data`` is what follows once a TCP connection stands, and its answer.
    """

    result: str
    request: Branch
    answer: Branch | None = None
    data: tuple[Branch, ...] = ()

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Give all packets' ways, in their order."""
        return (self.request, *([self.answer] if self.answer else []), *self.data)


Leg = tuple[tuple[Step, ...], End]


def attempt(world: World, start: Send) -> tuple[Attempt, ...]:
    """Send a request, and what comes back for it, through all forks."""
    runs, whole = explore(lambda forks: _exchange(Walk(world, forks, through), start))
    found = []
    for one in runs:
        result, legs = one.result
        request, *rest = [_branch(one, steps, end) for steps, end in legs]
        found.append(Attempt(result, request, rest[0] if rest else None, tuple(rest[1:])))
    if not whole:
        found.append(Attempt("unknown", _beyond(start)))
    return tuple(found)


def _exchange(made: Walk, start: Send) -> tuple[str, list[Leg]]:
    """Walk the request, its answer, and of a TCP connection the first data and its acknowledgement."""
    legs = [_leg(made, start)]
    there = legs[0][1]
    carried = there.packet.inner is not None and not there.packet.is_error
    if there.answer is None or carried or _refused_here(start, there):
        return _without_answer(start, there), legs
    own = (s.packet for s in legs[0][0] if s.namespace == start.stack.name and s.stage is not Stage.PROGRAM)
    sent = next(own, there.packet)
    made.waiting.add((start.stack.name, ends(sent).inverse))
    legs.append(_leg(made, _back(made, there)))
    result = _result(start, legs[1][1])
    if result != "ok" or sent.protocol != TCP:
        return result, legs
    made.waiting.add((there.namespace, ends(there.packet)))
    made.accepted[there.namespace, ends(there.packet)] = bool(there.packet.steered)
    bare = structs.replace(_fresh(sent), flags=ACK, size=_BARE[sent.family])
    # IPv4 looks again from the address that it chose, IPv6 does not (tcp_v6_connect, ip6_dst_store).
    kept = sent.family == 6 and not start.packet.src
    acknowledged = _leg(made, Send(start.stack, bare, start.oif, kept=kept))
    if acknowledged[1].answer is not None:
        # Whoever got it is not the one that answered, and resets what it does not know.
        legs += [acknowledged, _leg(made, _back(made, acknowledged[1]))]
        if _resets(start, legs[-1][1]):
            return "reset", legs
        del legs[2:]
    data = Send(start.stack, structs.replace(_fresh(sent), flags=ACK | PSH), start.oif, kept=kept)
    legs.append(_leg(made, data))
    arrived = legs[2][1]
    if arrived.verdict is not Verdict.DELIVERED or arrived.namespace != there.namespace:
        return ("unknown" if arrived.verdict is Verdict.UNKNOWN else "timeout"), legs
    owner = legs[0][1].answer or arrived.packet
    back = turned(arrived.packet)
    reply = structs.replace(back, flags=ACK | PSH, uid=owner.uid, gid=owner.gid, loose=back.loose | {"size"})
    # Its kernel acknowledges the first data at once, before any answer, by a packet of its own, and does not wait for
    # the server to accept the connection (tcp_event_data_recv, __tcp_ack_snd_check).
    bare = structs.replace(back, flags=ACK, uid=NOBODY_KNOWS, gid=NOBODY_KNOWS, size=_BARE[back.family])
    return _answer_to_data(made, data, legs, (bare, reply)), legs


def _answer_to_data(made: Walk, data: Send, legs: list[Leg], packets: tuple[Packet, ...]) -> str:
    """Say what comes of what a server sends once it has data; it adds the leg that tells.

    Whoever gets a packet that is not for him resets the server's connection, and so do rules. The sender hears of that
    only if no acknowledgement has reached it: then it sends its data again, to a server that knows it no more.
    """
    there = legs[0][1]
    result = ""
    for packet in packets:
        server = _back(made, structs.replace(there, answer=packet))
        acknowledged = result == "ok"
        legs[3:] = [_leg(made, server)]
        back = legs[3][1]
        result = _result(data, back)
        if back.answer is not None and _resets(server, _leg(made, _back(made, back))[1]):
            made.waiting.discard((there.namespace, ends(there.packet)))
            made.accepted.pop((there.namespace, ends(there.packet)), None)
            again = None if acknowledged else _leg(made, data)[1]
            heard = again is not None and again.answer is not None and _resets(data, _leg(made, _back(made, again))[1])
            return "reset" if heard else "timeout"
    return result


def _resets(waiting: Send, back: End) -> bool:
    """Say whether a connection that stands is reset; an ICMP error about it does not end it (tcp_v4_err)."""
    return back.packet.protocol == TCP and _result(waiting, back) == "refused"


def _leg(made: Walk, start: Send) -> Leg:
    ended = run(made, start)
    steps = tuple(made.steps)
    made.steps.clear()
    return steps, ended


def _stack(made: Walk, ended: End) -> Stack:
    return made.world.stacks[ended.namespace]


def _back(made: Walk, there: End) -> Send:
    answer = there.answer
    if answer is None:
        raise AssertionError("only what answers goes back")
    foreign = there.verdict is Verdict.REJECTED or bool(there.packet.steered) or _may_be_another(made, there)
    if there.packet.steered and there.socket is not None and answer.protocol == UDP:
        ways = (Way("by its own"), Way("by the one that was asked"))
        asked = "by which port does the proxy answer that TPROXY gave it to"
        if not made.forks.take(asked, ways, there.evidence, once=("steered", there.namespace, there.packet.dport)):
            answer = structs.replace(answer, sport=there.socket.port)
    complaint = answer.is_error and answer.family == 4 and there.stage is Stage.INPUT
    return Send(_stack(made, there), answer, foreign=foreign and not complaint, complaint=complaint)


def _may_be_another(made: Walk, there: End) -> bool:
    """Ask whether a socket may answer from an address that is not its host's (IP_TRANSPARENT): ss does not say."""
    packet = there.packet
    if there.socket is None or packet.family != 4:
        return False
    if _stack(made, there).fib.address_type(4, packet.dst) == "local":
        return False
    ways = (Way("it may not"), Way("it may"))
    asked = f"may the socket answer from {text(packet.dst, 4)}, which is not its host's"
    return bool(made.forks.take(asked, ways, there.evidence, once=(there.namespace, packet.dst)))


def _fresh(packet: Packet) -> Packet:
    """Give a packet as its sender makes it: what hooks have put beside it is not there yet."""
    return structs.replace(packet, connection=None, reply=False, state="")


def _refused_here(start: Send, there: End) -> bool:
    """Say whether the sender's own hooks stop it, or its WireGuard that knows no peer; TCP only tries again.

    Its call tells it (EPERM, ENOKEY, EDESTADDRREQ), and not what became of the packet in which a tunnel carries its
    own.
    """
    own = there.namespace == start.stack.name and there.packet.inner is None and start.packet.protocol != TCP
    hooks = there.stage in (Stage.OUTPUT, Stage.POSTROUTING) and there.verdict in (Verdict.DROPPED, Verdict.REJECTED)
    return own and (hooks or (there.stage is Stage.ENCAPSULATE and there.verdict is Verdict.UNREACHABLE))


def _without_answer(start: Send, there: End) -> str:
    if _refused_here(start, there):
        return "unreachable"
    if there.verdict is Verdict.UNKNOWN:
        return "unknown"
    if there.verdict is Verdict.LEFT:
        return "left"
    # Only the sender's own kernel tells it, and not of the packet in which a tunnel carries its own.
    told = there.namespace == start.stack.name and there.packet.inner is None
    return "unreachable" if there.verdict is Verdict.UNREACHABLE and told else "timeout"


def _result(start: Send, back: End) -> str:
    if back.verdict is Verdict.UNKNOWN:
        return "unknown"
    if back.verdict is Verdict.LEFT:
        return "left"
    if back.verdict is not Verdict.DELIVERED or back.namespace != start.stack.name or back.socket is not None:
        return "timeout"
    return meaning(back.packet)


def meaning(packet: Packet) -> str:
    """Say what an answer means to who gets it: ``ok``, ``refused`` or ``unreachable``."""
    if packet.protocol == TCP and packet.flags & RST:
        return "refused"
    if packet.is_error:
        port = (ICMP, 3, 3) if packet.family == 4 else (ICMPV6, 1, 4)
        return "refused" if (packet.protocol, packet.type, packet.code) == port else "unreachable"
    return "ok"
