"""Follow a flow: what the API's objects say should become of it, and what the kernels that were read will do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from msgspec import structs

from netinspect.analysis import dns, mesh_pair, outside, verdict
from netinspect.analysis.backends import finished
from netinspect.analysis.cni import carrier
from netinspect.analysis.endpoints import Backend, backends, usable
from netinspect.analysis.ends import End, Kind
from netinspect.analysis.expected import Expected, expect
from netinspect.analysis.flow import Flow, Question, find, packet, services
from netinspect.analysis.inferred import path
from netinspect.analysis.inside import match
from netinspect.analysis.kernels import world
from netinspect.analysis.naming import Names
from netinspect.analysis.passage import Passage, assuming
from netinspect.analysis.pods import addresses, full_name
from netinspect.analysis.proxied import Proxies
from netinspect.cni.base import Description
from netinspect.errors import UsageError
from netinspect.kernel.simulator import simulate
from netinspect.kernel.simulator.simulate import Attempt, attempt
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model import resources, walk
from netinspect.model.packet import Packet, text
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import several
from netinspect.model.trace import Arrival, BackendTrace, Cause, Fork, Hop, Leg, Level, Place, Trace, Way

NEEDS = (
    resources.NODES, resources.PODS, resources.SERVICES, resources.ENDPOINT_SLICES, resources.NETWORK_POLICIES,
)  # fmt: skip
# Where sidecars are on the way, what their meshes make of it is asked too, and pods with what is noted on them.
MESHED_NEEDS = (*(n for n in NEEDS if n is not resources.PODS and n not in mesh_pair.NEEDS), *mesh_pair.NEEDS)
# What one packet meets where nobody waits for an answer to it.
_ONE_WAY = {
    walk.Verdict.DELIVERED: "ok", walk.Verdict.REFUSED: "refused", walk.Verdict.REJECTED: "unreachable",
    walk.Verdict.UNREACHABLE: "unreachable", walk.Verdict.DROPPED: "timeout", walk.Verdict.LEFT: "left",
    walk.Verdict.UNKNOWN: "unknown",
}  # fmt: skip
# Whoever has an address, where not all who may have it were listed.
_SOMEBODY = "somebody who was not listed"
_OPEN = frozenset({Arrival.ARRIVES, Arrival.LEAVES, Arrival.UNKNOWN})


class Tracer:
    """Follows flows through what was read, which is parsed once for all of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._inside = match(snapshot)
        self._world = world(snapshot, self._inside)
        # Whose each address of the cluster is: what leaves for a namespace that was not read has not left the cluster.
        self._homes = {a.address: f"node/{n.metadata.name}" for n in snapshot.nodes for a in n.status.addresses}
        pods = (p for p in snapshot.pods if not finished(p) and not p.spec.host_network)
        self._homes |= {a: f"pod/{full_name(p.metadata)}" for p in pods for a in addresses(p)}
        self._names = Names(self._homes, self._world)
        self._proxies = Proxies(snapshot, self._world, self._send)

    def trace(self, question: Question) -> Trace:
        """Follow one flow; ``UsageError`` where it is none."""
        snapshot = self._snapshot
        try:
            flow = find(snapshot, question, self._inside)
        except dns.Unresolved as error:
            return self._unresolved(question, error)
        expected = expect(snapshot, flow)
        passages = tuple(self._passages(flow))
        ways = _folded(self._way(one, flow, expected) for one in passages)
        level, arrival = _together(ways, expected)
        simulated = level is Level.SIMULATED
        cause = verdict.cause(passages, arrival, flow, expected, self._names) if simulated else None
        return Trace(
            taken_at=snapshot.taken_at,
            server_version=snapshot.server_version,
            source=_place(flow.source, _sender(flow, passages), 0),
            destination=_place(flow.destination, flow.address, 0 if question.protocol == "ICMP" else flow.port),
            protocol=question.protocol,
            level=level,
            arrival=arrival,
            sentence=verdict.sentence(flow, arrival, level, cause, expected, ways),
            expected=expected.arrival,
            cause=cause,
            ways=ways,
            backends=several(self._backends(flow)) if question.all_backends else (),
            notes=several(self._notes(flow, expected, ways, passages, level)),
            gaps=snapshot.gaps,
        )

    @cached_property
    def _carrier(self) -> tuple[str, Description] | None:
        return carrier(self._snapshot)

    def _in_words(self, flow: Flow, expected: Expected, ways: tuple[Way, ...]) -> Iterator[str]:
        """Say where no kernel does in the CNI's words how it is carried."""
        if not ways:
            yield from path(self._carrier, flow, expected)

    def _notes(
        self, flow: Flow, expected: Expected, ways: tuple[Way, ...], passages: tuple[Passage, ...], level: Level
    ) -> Iterator[str]:
        relayed = any(p.relayed for p in passages)
        yield from verdict.notes(flow, expected, ways, level, relayed=relayed)
        yield from self._proxies.notes(flow, passages)
        yield from self._in_words(flow, expected, ways)

    def unread(self, question: Question) -> tuple[str, ...]:
        """Name what was not read and packets of a flow go to, as ``node/N1`` and ``pod/NS/NAME``."""
        try:
            flow = find(self._snapshot, question, self._inside)
        except dns.Unresolved:
            return ()
        ends = (b.end for one in self._passages(flow) for c in one.connections for b in c.attempt.branches)
        homes = (self._beyond(e) for e in ends if e.verdict is walk.Verdict.LEFT)
        return tuple(dict.fromkeys(home for home in homes if home not in ("", _SOMEBODY, *self._world.stacks)))

    def _unresolved(self, question: Question, error: dns.Unresolved) -> Trace:
        """Give what becomes of a flow to a name that the sender cannot look up: nothing is sent."""
        source = find(self._snapshot, replace(question, destination="external", port=1, via=None)).source
        read = source.name in self._inside.pods and source.pod is not None and not source.pod.spec.host_network
        return Trace(
            taken_at=self._snapshot.taken_at,
            server_version=self._snapshot.server_version,
            source=_place(source, "", 0),
            destination=Place(written=question.destination, kind="name", port=question.port),
            protocol=question.protocol,
            level=Level.SIMULATED if read else Level.INFERRED,
            arrival=Arrival.UNRESOLVED,
            sentence=f"{question.protocol} from {source.written} to {question.destination} is not sent: {error}",
            expected=Arrival.UNRESOLVED,
            cause=Cause(place=f"pod/{source.name}", reason=str(error), remedy=error.hint),
            gaps=self._snapshot.gaps,
        )

    def _passages(self, flow: Flow) -> Iterator[Passage]:
        return self._proxies.follow(flow, self._attempts(flow))

    def _send(self, place: str, sent: Packet) -> Iterator[Attempt]:
        """Follow a connection that a proxy opens, and what comes back: a proxy that hears nothing sends nothing on."""
        yield from attempt(self._world, Send(self._world.stacks[place], sent))

    def _attempts(self, flow: Flow) -> Iterator[Attempt]:
        if flow.comes_in:
            for door in flow.doors:
                stack = outside.host(self._world, flow.source_address, flow.address, door)
                if stack is None:
                    if self._world.stacks:
                        yield _through(_unseen_door(flow, door), door, len(flow.doors))
                    continue
                around = World([*self._world.stacks.values(), stack], self._world.hidden, self._world.programs)
                for one in _sent(around, stack.name, flow, packet(flow)):
                    yield _through(_answered(one, flow), door, len(flow.doors))
        elif flow.source.place in self._world.stacks:
            yield from _sent(self._world, flow.source.place, flow, self._proxies.first(flow))

    def _way(self, one: Passage, flow: Flow, expected: Expected) -> Way:
        homes = self._unread(one) if one.result == "left" else ()
        # Where a Service's endpoints could not be read, nobody knows whether they are outside.
        hidden = flow.destination.kind is Kind.SERVICE and expected.arrival is Arrival.UNKNOWN and not expected.backends
        doubtful = one.result == "left" and hidden
        unread = bool(homes) or doubtful
        meant = bool(homes) and all(home in self._meant(flow, expected) for home in homes)
        arrival = expected.arrival if meant else Arrival.UNKNOWN
        return Way(
            arrival=arrival if unread else verdict.arrival_of(one),
            level=Level.INFERRED if unread else Level.SIMULATED,
            probability=one.probability,
            backend=_backend(one.request.end),
            legs=several(_leg(name, b, self._names) for c in one.connections for name, b in c.legs),
            forks=several(Fork(question=a.question, taken=a.taken, probability=a.probability) for a in one.assumptions),
        )

    def _unread(self, one: Passage) -> tuple[str, ...]:
        """Name the nodes or pods of the cluster to which a packet left, and that were not read."""
        ends = [b.end for b in one.branches if b.end.verdict is walk.Verdict.LEFT]
        if any(e.namespace == outside.NAME for e in ends):
            return (outside.NAME,)
        homes = map(self._beyond, ends)
        return tuple(home for home in homes if home and home not in self._world.stacks)

    def _beyond(self, end: walk.End) -> str:
        """Name to whom a packet left: from a pod always its node, else who has the address; nothing where nobody."""
        stack = self._world.stacks.get(end.namespace)
        if stack is not None and not stack.host and self._world.host(stack.node) is None:
            return f"node/{stack.node}"
        unlisted = _SOMEBODY if self._snapshot.gap("pods") or self._snapshot.gap("nodes") else ""
        return self._homes.get(text(end.packet.dst, end.packet.family), unlisted)

    def _meant(self, flow: Flow, expected: Expected) -> frozenset[str]:
        """Name who may take the flow by the API's objects, and who waits for the answer."""
        ends = {f"pod/{b.pod}" for b in expected.backends} | {f"node/{b.node}" for b in expected.backends}
        tunnels = {f"node/{e.node}" for e in (flow.source, flow.destination) if e.node}
        return frozenset({*ends, *tunnels, flow.source.place, flow.destination.place, outside.NAME})

    def _backends(self, flow: Flow) -> Iterator[BackendTrace]:
        """Follow the flow to each endpoint by its own address."""
        for service, port in services(self._snapshot, flow):
            found = backends(self._snapshot, service, port, flow.family)
            used = usable(found)
            for one in found:
                yield self._straight_to(one, flow.question, used=one in used)

    def _straight_to(self, one: Backend, question: Question, *, used: bool) -> BackendTrace:
        aim = replace(question, destination=one.address, port=one.port or question.port, via=None, all_backends=False)
        try:
            found = self.trace(aim)
        except UsageError as error:
            return BackendTrace(
                address=one.address, port=one.port, pod=one.pod, node=one.node, ready=one.ready, serving=one.serving,
                used=used, level=Level.UNKNOWN, arrival=Arrival.UNKNOWN, sentence=str(error),
            )  # fmt: skip
        return BackendTrace(
            address=one.address, port=one.port, pod=one.pod, node=one.node, ready=one.ready, serving=one.serving,
            used=used, level=found.level, arrival=found.arrival, sentence=found.sentence, cause=found.cause,
        )  # fmt: skip


def trace(snapshot: Snapshot, question: Question) -> Trace:
    """Follow one flow through what was read."""
    return Tracer(snapshot).trace(question)


def _sent(made: World, place: str, flow: Flow, first: Packet) -> Iterator[Attempt]:
    start = Send(made.stacks[place], first)
    if flow.question.reply:
        yield from attempt(made, start)
    else:
        for branch in simulate.walk(made, start):
            answer = branch.end.answer
            rejected = branch.end.verdict is walk.Verdict.REJECTED and answer is not None
            yield Attempt(simulate.meaning(answer) if rejected and answer else _ONE_WAY[branch.end.verdict], branch)


def _answered(one: Attempt, flow: Flow) -> Attempt:
    """Count an answer that leaves for outside as one that comes back: the ways there are not the cluster's."""
    end = one.answer.end if one.answer is not None else None
    if one.result != "left" or end is None or end.verdict is not walk.Verdict.LEFT:
        return one
    gone = end.packet
    if text(gone.dst, gone.family) != flow.source_address:
        return one
    said = simulate.meaning(gone)
    if said == "ok" and (text(gone.src, gone.family), gone.sport or flow.port) != (flow.address, flow.port):
        said = "timeout"
    return structs.replace(one, result=said)


def _through(one: Attempt, door: str, count: int) -> Attempt:
    """Give an attempt as one of those by which the network outside may send it, in a way that only it knows."""
    if count == 1:
        return one
    return assuming(one, walk.Assumption("to which node does the network outside send it", door, None))


def _unseen_door(flow: Flow, door: str) -> Attempt:
    """Give what is known where it comes in at a node that was not read."""
    first = packet(flow)
    said = f"it comes in at {door}, which was not read"
    end = walk.End(walk.Verdict.LEFT, said, outside.NAME, first, settles="reading the node")
    return Attempt("left", walk.Branch((), end))


def _together(ways: tuple[Way, ...], expected: Expected) -> tuple[Level, Arrival]:
    """Put the ways together: one where they agree, mixed where chance decides, unknown where nobody knows."""
    if not ways:
        return Level.INFERRED, expected.arrival
    level = Level.INFERRED if any(w.level is Level.INFERRED for w in ways) else Level.SIMULATED
    arrivals = {w.arrival for w in ways}
    if len(arrivals) == 1:
        return level, arrivals.pop()
    if not arrivals & _OPEN:
        return level, Arrival.FAILS
    sure = all(w.probability is not None for w in ways)
    if Arrival.UNKNOWN in arrivals or Arrival.LEAVES in arrivals or not sure:
        return level, Arrival.UNKNOWN
    return level, Arrival.MIXED


def _sender(flow: Flow, passages: tuple[Passage, ...]) -> str:
    """Give the address that the flow is sent from: of a node's that which its kernel chooses, where that is one."""
    routed = (next((s for s in p.first.request.steps if s.stage is walk.Stage.ROUTE), None) for p in passages)
    chosen = {text(s.packet.src, s.packet.family) for s in routed if s is not None and s.namespace == flow.source.place}
    return chosen.pop() if len(chosen) == 1 else flow.source_address


def _place(end: End, address: str, port: int) -> Place:
    return Place(written=end.written, kind=end.kind.value, name=end.name, address=address, node=end.node, port=port)


def _backend(end: walk.End) -> str:
    """Name who took the packet, or refused it; nothing where it came to nobody."""
    if end.verdict not in (walk.Verdict.DELIVERED, walk.Verdict.REFUSED):
        return ""
    packet_ = end.packet
    address = text(packet_.dst, packet_.family)
    port = f":{packet_.dport}" if packet_.dport else ""
    return f"{end.namespace} {f'[{address}]' if ':' in address and port else address}{port}"


def _leg(name: str, branch: walk.Branch, names: Names) -> Leg:
    end = branch.end
    return Leg(
        name=name,
        verdict=end.verdict.value,
        place=end.namespace,
        reason=names.reason(end.evidence) or end.reason,
        hops=several(
            Hop(
                place=s.namespace,
                stage=s.stage.value,
                text=names.hop(s),
                packet=str(s.packet),
                proof=verdict.proof_of(s.evidence),
            )
            for s in branch.steps
        ),
        proof=verdict.proof_of(end.evidence),
        settles=end.settles,
    )


def _folded(ways: Iterable[Way]) -> tuple[Way, ...]:
    """Put ways together that differ in nothing but what was drawn."""
    found: dict[object, Way] = {}
    for way in ways:
        key = (way.arrival, way.level, way.backend, tuple((leg.verdict, leg.place, leg.reason) for leg in way.legs))
        known = found.get(key)
        if known is None:
            found[key] = way
            continue
        both = known.probability is not None and way.probability is not None
        total = (known.probability or 0) + (way.probability or 0) if both else None
        found[key] = structs.replace(known, probability=total)
    return several(found.values())
