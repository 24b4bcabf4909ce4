"""Follow a flow: what the API's objects say should become of it, and what the kernels that were read will do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from netinspect.analysis import dns
from netinspect.analysis.backends import finished
from netinspect.analysis.ends import End, Kind, resolve
from netinspect.analysis.expected import Expected, backends, expect, port_of, usable
from netinspect.analysis.inside import Inside, match
from netinspect.analysis.kernels import world
from netinspect.analysis.pods import addresses, full_name
from netinspect.analysis.remedies import remedy
from netinspect.errors import UsageError
from netinspect.kernel.simulator.simulate import Attempt, attempt
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model import resources, walk, wire
from netinspect.model.packet import ICMP, ICMPV6, SCTP, SYN, TCP, UDP, Packet, number, text
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import several
from netinspect.model.trace import Arrival, Cause, Fork, Hop, Leg, Level, Place, Proof, Trace, Way

NEEDS = (
    resources.NODES, resources.PODS, resources.SERVICES, resources.ENDPOINT_SLICES, resources.NETWORK_POLICIES,
)  # fmt: skip
PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": ICMP}
_ARRIVALS = {
    "ok": Arrival.ARRIVES, "refused": Arrival.REFUSED, "unreachable": Arrival.UNREACHABLE, "timeout": Arrival.LOST,
    "reset": Arrival.RESET, "left": Arrival.LEAVES, "unknown": Arrival.UNKNOWN,
}  # fmt: skip
_LEGS = ("request", "answer", "data", "data's answer")
# Stands for the port that the kernel would draw.
_PORT = 40_000
_LEAST = {TCP: 40, UDP: 28, SCTP: 48, ICMP: 28}


@dataclass(frozen=True)
class Question:
    """What is asked: the ends as they were written, and the packet. ``size`` is of its load in bytes."""

    source: str
    destination: str
    namespace: str = ""
    protocol: str = "TCP"
    port: int = 0
    source_port: int = 0
    size: int = 0
    dont_fragment: bool = True


@dataclass(frozen=True)
class Flow:
    """The question with its ends found, the addresses chosen, and the port."""

    question: Question
    source: End
    destination: End
    family: int
    address: str
    port: int


def find(snapshot: Snapshot, question: Question, inside: Inside | None = None) -> Flow:
    """Find the ends; ``UsageError`` where there are none, or where they share no address family."""
    source = resolve(snapshot, question.source, question.namespace)
    if source.kind is Kind.SERVICE:
        raise UsageError(f"{question.source} sends nothing", hint="name a pod behind it, or deploy/NAME")
    if source.kind in (Kind.ADDRESS, Kind.EXTERNAL):
        hint = "what comes from outside is traced from the node at which it comes in: node/NAME"
        raise UsageError(f"{question.source} is nobody of the cluster", hint=hint)
    home = source.pod.metadata.namespace if source.pod is not None else question.namespace
    destination = resolve(snapshot, question.destination, home, _resolver(source, inside))
    destination = _headless(snapshot, destination, question.protocol)
    port = question.port or destination.port
    if not port and question.protocol != "ICMP":
        raise UsageError(f"which port of {question.destination}?", hint="add --port, or write it as NAME:PORT")
    family, address = _family(source, destination)
    return Flow(question, source, destination, family, address, port)


def _resolver(source: End, inside: Inside | None) -> dns.Resolver | None:
    """Give how the source looks names up: as its own resolv.conf says, else as the kubelet writes it."""
    if source.pod is None:
        return None
    namespace = inside.pods.get(source.name) if inside is not None else None
    read = dns.parse(namespace.text("resolv.conf")) if namespace is not None else None
    return read or dns.of_namespace(source.pod.metadata.namespace)


def _headless(snapshot: Snapshot, end: End, protocol: str) -> End:
    """Give a Service without an address by the first of the pods that its name means."""
    if end.kind is not Kind.SERVICE or end.addresses or end.service is None:
        return end
    if end.service.spec.type == "ExternalName":
        hint = f"it stands for {end.service.spec.external_name}: give that name's address"
        raise UsageError(f"svc/{end.name} has no address", hint=hint)
    port = port_of(end.service, end.port, protocol)
    found = usable(backends(snapshot, end.service, port)) if port is not None else ()
    if not found:
        raise UsageError(f"svc/{end.name} is headless, and no pod behind it is ready", hint="name a pod")
    # No proxy stands in between: the port is the one that is asked for.
    return replace(end, addresses=tuple(dict.fromkeys(b.address for b in found)))


def _family(source: End, destination: End) -> tuple[int, str]:
    """Choose the destination's first address that the source has a family for."""
    own = {number(a)[0] for a in source.addresses} or {4, 6}
    for address in destination.addresses:
        family = number(address)[0]
        if family in own:
            return family, address
    if not destination.addresses:
        raise UsageError(f"{destination.written} has no address")
    raise UsageError(
        f"{source.written} and {destination.written} have no address family in common",
        hint="the one has " + ", ".join(source.addresses) + ", the other " + ", ".join(destination.addresses),
    )


def nodes(snapshot: Snapshot, flow: Flow) -> dict[str, tuple[str, ...]]:
    """Say which nodes the flow may cross, and of each the UIDs of the pods whose namespaces matter."""
    pods = [e.pod for e in (flow.source, flow.destination) if e.pod is not None]
    names = {b.pod for service, port in _services(snapshot, flow) for b in usable(backends(snapshot, service, port))}
    pods += [p for p in snapshot.pods if names and full_name(p.metadata) in names]
    wanted: dict[str, tuple[str, ...]] = {e.node: () for e in (flow.source, flow.destination) if e.node}
    for pod in pods:
        if pod.spec.node_name:
            mine = () if pod.spec.host_network else (pod.metadata.uid,)
            wanted[pod.spec.node_name] = (*wanted.get(pod.spec.node_name, ()), *mine)
    return {node: tuple(dict.fromkeys(uids)) for node, uids in wanted.items()}


def _services(snapshot: Snapshot, flow: Flow) -> Iterable[tuple[wire.Service, wire.ServicePort]]:
    """Give the Service that is asked for, or of a node the one that has the node port."""
    protocol, service = flow.question.protocol, flow.destination.service
    if service is not None and (port := port_of(service, flow.port, protocol)) is not None:
        yield service, port
    elif flow.destination.kind is Kind.NODE:
        found = ((s, p) for s in snapshot.services for p in s.spec.ports)
        yield from ((s, p) for s, p in found if (p.node_port, p.protocol) == (flow.port, protocol))


class Tracer:
    """Follows flows through what was read, which is parsed once for all of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._inside = match(snapshot)
        self._world = world(self._inside)
        # Whose each address of the cluster is: what leaves for a namespace that was not read has not left the cluster.
        self._homes = {a.address: f"node/{n.metadata.name}" for n in snapshot.nodes for a in n.status.addresses}
        pods = (p for p in snapshot.pods if not finished(p) and not p.spec.host_network)
        self._homes |= {a: f"pod/{full_name(p.metadata)}" for p in pods for a in addresses(p)}

    def trace(self, question: Question) -> Trace:
        """Follow one flow; ``UsageError`` where it is none."""
        snapshot = self._snapshot
        flow = find(snapshot, question, self._inside)
        expected = expect(snapshot, flow.source, replace(flow.destination, port=flow.port), question.protocol)
        attempts = _attempts(self._world, flow)
        ways = _folded(map(_way, attempts))
        level, arrival = self._arrival(attempts, ways, expected)
        cause = _cause(attempts, arrival, flow, self._homes) if level is Level.SIMULATED else None
        return Trace(
            taken_at=snapshot.taken_at,
            server_version=snapshot.server_version,
            source=_place(flow.source, _source_address(flow), 0),
            destination=_place(flow.destination, flow.address, flow.port),
            protocol=question.protocol,
            level=level,
            arrival=arrival,
            sentence=_sentence(flow, arrival, level, cause, expected, ways),
            expected=expected.arrival,
            cause=cause,
            ways=ways,
            notes=several(_notes(flow, expected, ways, level)),
            gaps=snapshot.gaps,
        )

    def _arrival(
        self, attempts: tuple[Attempt, ...], ways: tuple[Way, ...], expected: Expected
    ) -> tuple[Level, Arrival]:
        """Put the ways together: one where they agree, mixed where chance decides, unknown where nobody knows."""
        if not ways:
            return Level.INFERRED, expected.arrival
        arrivals = {w.arrival for w in ways}
        if arrivals == {Arrival.LEAVES} and any(self._unread(a) for a in attempts):
            return Level.INFERRED, expected.arrival
        if len(arrivals) == 1:
            return Level.SIMULATED, arrivals.pop()
        sure = all(w.probability is not None for w in ways)
        if Arrival.UNKNOWN in arrivals or Arrival.LEAVES in arrivals or not sure:
            return Level.SIMULATED, Arrival.UNKNOWN
        return Level.SIMULATED, Arrival.MIXED

    def _unread(self, one: Attempt) -> bool:
        """Say whether a packet left for a node or pod of the cluster that was not read."""
        ends = (b.end.packet for b in one.branches if b.end.verdict is walk.Verdict.LEFT)
        homes = (self._homes.get(text(p.dst, p.family)) for p in ends)
        return any(home and home not in self._world.stacks for home in homes)


def trace(snapshot: Snapshot, question: Question) -> Trace:
    """Follow one flow through what was read."""
    return Tracer(snapshot).trace(question)


def _place(end: End, address: str, port: int) -> Place:
    return Place(written=end.written, kind=end.kind.value, name=end.name, address=address, node=end.node, port=port)


def _source_address(flow: Flow) -> str:
    return next((a for a in flow.source.addresses if number(a)[0] == flow.family), "")


def packet(flow: Flow) -> Packet:
    """Give the first packet of the flow, as its sender makes it."""
    question = flow.question
    family, dst = number(flow.address)
    protocol = PROTOCOLS[question.protocol]
    protocol = ICMPV6 if protocol == ICMP and family == 6 else protocol
    icmp = protocol in (ICMP, ICMPV6)
    least = _LEAST[PROTOCOLS[question.protocol]] + (20 if family == 6 else 0)
    return Packet(
        family=family, src=0, dst=dst, protocol=protocol, flags=SYN if protocol == TCP else 0,
        sport=0 if icmp else question.source_port or _PORT, dport=0 if icmp else flow.port,
        loose=frozenset() if icmp or question.source_port else frozenset({"sport"}),
        type=(8 if family == 4 else 128) if icmp else 0, ident=1 if icmp else 0, size=least + question.size,
        df=question.dont_fragment, uid=0, gid=0,
    )  # fmt: skip


def _attempts(made: World, flow: Flow) -> tuple[Attempt, ...]:
    stack = made.stacks.get(flow.source.place)
    if stack is None:
        return ()
    return attempt(made, Send(stack, packet(flow)))


def _way(one: Attempt) -> Way:
    branches = one.branches
    last = branches[-1]
    return Way(
        arrival=_ARRIVALS[one.result],
        probability=last.probability,
        backend=_backend(one.request.end),
        legs=several(_leg(name, b) for name, b in zip(_LEGS, branches, strict=False)),
        forks=several(Fork(question=a.question, taken=a.taken, probability=a.probability) for a in last.assumptions),
    )


def _backend(end: walk.End) -> str:
    """Name who took the packet; nothing where nobody did."""
    if end.verdict is not walk.Verdict.DELIVERED:
        return ""
    packet_ = end.packet
    address = text(packet_.dst, packet_.family)
    port = f":{packet_.dport}" if packet_.dport else ""
    return f"{end.namespace} {f'[{address}]' if ':' in address and port else address}{port}"


def _leg(name: str, branch: walk.Branch) -> Leg:
    end = branch.end
    return Leg(
        name=name,
        verdict=end.verdict.value,
        place=end.namespace,
        reason=end.reason,
        hops=several(
            Hop(place=s.namespace, stage=s.stage.value, text=s.text, packet=str(s.packet), proof=_proof(s.evidence))
            for s in branch.steps
        ),
        proof=_proof(end.evidence),
        settles=end.settles,
    )


def _proof(pointer: walk.Pointer | None) -> Proof | None:
    return None if pointer is None else Proof(section=pointer.section, line=pointer.line, text=pointer.text)


def _folded(ways: Iterable[Way]) -> tuple[Way, ...]:
    """Put ways together that differ in nothing but what was drawn."""
    found: dict[object, Way] = {}
    for way in ways:
        key = (way.arrival, way.backend, tuple((leg.verdict, leg.place, leg.reason) for leg in way.legs))
        known = found.get(key)
        if known is None:
            found[key] = way
            continue
        both = known.probability is not None and way.probability is not None
        total = (known.probability or 0) + (way.probability or 0) if both else None
        found[key] = Way(
            arrival=known.arrival, probability=total, backend=known.backend, legs=known.legs, forks=known.forks
        )
    return several(found.values())


def outside(flow: Flow) -> bool:
    """Say whether the flow is meant to leave the cluster."""
    return flow.destination.kind in (Kind.ADDRESS, Kind.EXTERNAL)


def _cause(attempts: tuple[Attempt, ...], arrival: Arrival, flow: Flow, homes: dict[str, str]) -> Cause | None:
    """Name what stops the likeliest way that does not arrive; of an unknown flow what nobody can tell."""
    if arrival is Arrival.ARRIVES or (arrival is Arrival.LEAVES and outside(flow)):
        return None
    failing = [a for a in attempts if a.result != "ok"]
    wanted = "unknown" if arrival is Arrival.UNKNOWN else ""
    one = next((a for a in failing if a.result == wanted), failing[0] if failing else None)
    if one is None:
        return None
    branches = one.branches
    place, branch = _stopped(branches, _ARRIVALS[one.result])
    end = branch.end
    reason, evidence = _reason(end, branch.steps, homes)
    if arrival is Arrival.UNKNOWN and one.result != "unknown":
        open_ = [a for b in branches for a in b.assumptions if a.probability is None]
        reason = f"it hangs on this: {open_[0].question}" if open_ else reason
    return Cause(
        place=end.namespace, reason=reason, leg=_LEGS[place] if place < len(_LEGS) else "data",
        proof=_proof(evidence), remedy=remedy(end, evidence),
    )  # fmt: skip


def _stopped(branches: tuple[walk.Branch, ...], arrival: Arrival) -> tuple[int, walk.Branch]:
    """Find the leg that makes the flow what it is: the first that ends badly, or the way back of what it is answered.

    A sender that is refused or turned away has had its answer; one that waits in vain has lost it.
    """
    answered = arrival in (Arrival.REFUSED, Arrival.UNREACHABLE)
    for place, branch in enumerate(branches):
        good = branch.end.verdict is walk.Verdict.DELIVERED
        goes_on = branch.end.answer is not None and place + 1 < len(branches) and not answered
        if not good and not goes_on:
            return place, branch
    return len(branches) - 1, branches[-1]


def _reason(end: walk.End, steps: tuple[walk.Step, ...], homes: dict[str, str]) -> tuple[str, walk.Pointer | None]:
    """Say why a packet ended, and the evidence; of one that left for nobody by which route it did."""
    if end.verdict is not walk.Verdict.LEFT:
        return end.reason, end.evidence
    address = text(end.packet.dst, end.packet.family)
    routes = [s for s in steps if s.stage is walk.Stage.ROUTE and s.namespace == end.namespace]
    evidence = routes[-1].evidence if routes else None
    if address in homes:
        return f"{end.reason}, though {address} is {homes[address]}'s: it has no route there", evidence
    return f"{end.reason}: nobody in the cluster has {address}", evidence


def _notes(flow: Flow, expected: Expected, ways: tuple[Way, ...], level: Level) -> Iterable[str]:
    """Say what the two levels do not agree on, and what was looked at only in part."""
    simulated = level is Level.SIMULATED
    if expected.backends and simulated and ways and flow.destination.kind is Kind.SERVICE:
        meant = {b.address for b in expected.backends}
        used = {w.backend.rpartition(" ")[2].rpartition(":")[0].strip("[]") for w in ways if w.backend} - {""}
        for address in sorted(used - meant):
            name = f"svc/{flow.destination.name}"
            yield f"the node sends to {address}, which is no endpoint of {name}: its rules are stale"
        missing = sorted(meant - used)
        if missing and all(w.arrival is Arrival.ARRIVES for w in ways):
            yield f"the node does not send to {', '.join(missing)}, though the API has it as an endpoint"
    if any(w.arrival is Arrival.LEAVES for w in ways) and not simulated:
        end = next(leg for w in ways for leg in w.legs if leg.verdict == walk.Verdict.LEFT.value)
        yield f"simulated up to {end.place}: {end.reason}; from there on it is inferred"
    if not ways:
        yield "no node was looked into: --access exec or pod simulates what its kernel does"


_SAID = {
    Arrival.ARRIVES: "arrives, and the answer comes back",
    Arrival.REFUSED: "is refused",
    Arrival.UNREACHABLE: "is turned away",
    Arrival.LOST: "is lost",
    Arrival.RESET: "is reset as soon as it stands",
    Arrival.LEAVES: "leaves the cluster",
    Arrival.MIXED: "arrives only sometimes",
    Arrival.UNKNOWN: "cannot be told",
}


def _sentence(  # noqa: PLR0917 - all that the sentence is about
    flow: Flow, arrival: Arrival, level: Level, cause: Cause | None, expected: Expected, ways: tuple[Way, ...]
) -> str:
    """Say in one sentence what becomes of the flow."""
    port = f":{flow.port}" if flow.port and flow.question.protocol != "ICMP" else ""
    name = flow.destination.written.partition(":")[0] if flow.destination.kind is not Kind.ADDRESS else flow.address
    head = f"{flow.question.protocol} from {flow.source.written} to {name}{port}"
    if level is Level.INFERRED:
        should = "should arrive" if arrival is Arrival.ARRIVES else _SAID[arrival]
        return f"{head} {should}: {expected.reason}"
    if arrival is Arrival.MIXED:
        share = sum(w.probability or 0 for w in ways if w.arrival is Arrival.ARRIVES)
        tail = f"{share:.0%} of connections arrive"
        return f"{head} {_SAID[arrival]}: {tail}; " + (f"else {cause.place}: {cause.reason}" if cause else "")
    if cause is not None:
        way_back = "its answer: " if cause.leg not in ("request", "data", "") else ""
        return f"{head} {_SAID[arrival]}: {way_back}{cause.place}: {cause.reason}"
    return f"{head} {_SAID[arrival]}"
