"""The words of a verdict: what stops a flow, what the evidence does not agree on, and one sentence for all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netinspect.analysis.ends import Kind, split_port
from netinspect.analysis.expected import Expected
from netinspect.analysis.flow import Flow
from netinspect.analysis.naming import Names
from netinspect.analysis.passage import LEGS, Passage
from netinspect.analysis.remedies import remedy
from netinspect.model import walk
from netinspect.model.packet import end as address_and_port
from netinspect.model.packet import text
from netinspect.model.trace import Arrival, Cause, Level, Proof, Way

_ARRIVALS = {
    "ok": Arrival.ARRIVES, "refused": Arrival.REFUSED, "unreachable": Arrival.UNREACHABLE, "timeout": Arrival.LOST,
    "reset": Arrival.RESET, "left": Arrival.LEAVES, "unknown": Arrival.UNKNOWN,
    "denied": Arrival.REFUSED, "failed": Arrival.FAILS,
}  # fmt: skip
_FORESEEN = frozenset({Arrival.LOST, Arrival.REFUSED})
_LEFT = walk.Verdict.LEFT.value
_MISSING_ROUTE = (
    "add the route that is missing (the default route, which is shown, is not to blame): the CNI's agent on {place} "
    "writes one for each other node, and takes it away with its device; `ip route` and `ip -d link` show both"
)
_SEE_MESH = "`netinspect mesh FROM TO` names the policies and settings that this rests on"
_SEE_ANSWERS = (
    "let the answer pass the node that translated the request: net.bridge.bridge-nf-call-iptables = 1 where client and "
    "server share a bridge, or masquerading there"
)


def arrival_of(one: Passage) -> Arrival:
    """Give what a way comes to, as its sender sees it."""
    return _ARRIVALS[one.result]


def proof_of(pointer: walk.Pointer | None) -> Proof | None:
    """Give a pointer as the document has it."""
    return None if pointer is None else Proof(section=pointer.section, line=pointer.line, text=pointer.text)


def cause(
    passages: tuple[Passage, ...], arrival: Arrival, flow: Flow, expected: Expected, names: Names
) -> Cause | None:
    """Name what stops the first way that does not arrive; of an unknown flow what nobody can tell."""
    homes = names.homes
    if arrival is Arrival.ARRIVES or (arrival is Arrival.LEAVES and _is_meant_to(passages, flow, expected, homes)):
        return None
    failing = [p for p in passages if p.result != "ok"]
    wanted = "unknown" if arrival is Arrival.UNKNOWN else ""
    one = next((p for p in failing if p.result == wanted), failing[0] if failing else None)
    if one is None:
        return None
    branches = one.branches
    names_of_legs = tuple(name for name, _ in one.last.legs)
    place, branch = _stopped(branches, _ARRIVALS[one.last.attempt.result])
    end = branch.end
    reason, evidence = _reason(end, branch.steps, homes)
    reason = names.reason(evidence) or reason
    stale = _stale(branches[0], flow, expected)
    if stale is not None and arrival is not Arrival.UNKNOWN:
        return stale
    if strange := _tunnelled_to_nobody(branch, homes):
        reason, evidence = strange
    advice = _MISSING_ROUTE.format(place=end.namespace) if _lacks_route(end, evidence, homes) else remedy(end, evidence)
    if one.result in ("denied", "failed") and not branch.steps:
        advice = _SEE_MESH
    if astray := _astray(branches[0], end, place):
        reason, advice = astray, _SEE_ANSWERS
    if arrival is Arrival.UNKNOWN and one.result != "unknown":
        open_ = [a for a in one.assumptions if a.probability is None]
        reason = f"it hangs on this: {open_[0].question}" if open_ else reason
    if expected.arrival in _FORESEEN and place == 0 and end.namespace.startswith("node/"):
        # The kernel does what the API's objects make it do.
        reason = f"{reason}: {expected.reason}"
    return Cause(
        place=end.namespace, reason=reason, leg=names_of_legs[place] if place < len(names_of_legs) else "data",
        proof=proof_of(evidence), remedy=advice,
    )  # fmt: skip


def _is_meant_to(passages: tuple[Passage, ...], flow: Flow, expected: Expected, homes: Mapping[str, str]) -> bool:
    """Say whether what leaves should: the request does, and its destination or its Service's endpoint is outside."""
    outside = {b.address for b in expected.backends if not b.pod} - set(homes)
    ends = [one.request.end for one in passages if one.result == "left"]
    return all(
        e.verdict is walk.Verdict.LEFT and (flow.goes_out or text(e.packet.dst, e.packet.family) in outside)
        for e in ends
    )


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


def _stale(request: walk.Branch, flow: Flow, expected: Expected) -> Cause | None:
    """Name rules that send what goes to a Service to none of its endpoints: there the kernel leaves the API's way."""
    unread = expected.arrival is Arrival.UNKNOWN
    if not expected.backends and (unread or flow.destination.kind is not Kind.SERVICE):
        return None
    meant = {b.address for b in expected.backends} | {flow.address}
    sent = request.end.packet
    address = text(sent.dst, sent.family)
    steps = [s for s in request.steps if s.stage is walk.Stage.NAT and s.text.startswith("destination")]
    if not steps or sent.inner is not None or address in meant or not steps[-1].namespace.startswith("node/"):
        return None
    place, proof = steps[-1].namespace, proof_of(steps[-1].evidence)
    name = f"svc/{flow.destination.name}" if flow.destination.kind is Kind.SERVICE else "the Service"
    reason = f"its rules send to {address}, which is no ready endpoint of {name}: they are stale"
    advice = f"see whether kube-proxy, or what is in its place, runs on {place} and reaches the API server"
    return Cause(place=place, reason=reason, leg=LEGS[0], proof=proof, remedy=advice)


def _astray(request: walk.Branch, end: walk.End, place: int) -> str:
    """Say of an answer that its receiver does not know it because it comes from elsewhere than was asked."""
    # A program at connect() is before there is a packet.
    sent = next((s.packet for s in request.steps if s.stage is not walk.Stage.PROGRAM), request.end.packet)
    back = end.packet
    home = request.steps[0].namespace if request.steps else ""
    unknown = place > 0 and end.namespace == home and end.verdict in (walk.Verdict.REFUSED, walk.Verdict.DROPPED)
    # A rule that drops it does so before it could be known.
    unknown = unknown and (end.evidence is None or end.evidence.section == "sockets")
    if not unknown or back.is_error or (back.src, back.sport) == (sent.dst, sent.dport):
        return ""
    came, asked = (
        address_and_port(back.src, back.sport, back.family),
        address_and_port(sent.dst, sent.dport, sent.family),
    )
    return f"the answer comes from {came}, and {asked} was asked: on its way back nothing translated it"


def _reason(end: walk.End, steps: tuple[walk.Step, ...], homes: Mapping[str, str]) -> tuple[str, walk.Pointer | None]:
    """Say why a packet ended, and the evidence; of one that left for nobody by which route it did."""
    if end.verdict is not walk.Verdict.LEFT:
        return end.reason, end.evidence
    address = text(end.packet.dst, end.packet.family)
    routes = [s for s in steps if s.stage is walk.Stage.ROUTE and s.namespace == end.namespace]
    evidence = routes[-1].evidence if routes else None
    if address in homes:
        whose = f"{address}, which is {homes[address]}'s"
        if _is_default(evidence):
            return f"it has no route to {whose}: its default route takes it out of the cluster", evidence
        return f"its route to {whose}, does not lead there: {end.reason}", evidence
    return f"{end.reason}: nobody in the cluster has {address}", evidence


def _lacks_route(end: walk.End, evidence: walk.Pointer | None, homes: Mapping[str, str]) -> bool:
    known = text(end.packet.dst, end.packet.family) in homes
    return end.verdict is walk.Verdict.LEFT and known and _is_default(evidence)


def _is_default(evidence: walk.Pointer | None) -> bool:
    return evidence is not None and evidence.text.startswith(("0.0.0.0/0 ", "::/0 "))


def _tunnelled_to_nobody(branch: walk.Branch, homes: Mapping[str, str]) -> tuple[str, walk.Pointer | None] | None:
    """Say of a tunnel's packet that finds nobody to whom the tunnel's own entry sends it, where that is no node."""
    sent = branch.end.packet
    address = text(sent.dst, sent.family)
    steps = [s for s in branch.steps if s.stage is walk.Stage.ENCAPSULATE]
    if sent.inner is None or sent.is_error or address in homes or not steps:
        return None
    return f"{branch.end.reason}, and {address}, to which the tunnel's entry sends it, is no node's", steps[-1].evidence


def notes(
    flow: Flow, expected: Expected, ways: tuple[Way, ...], level: Level, *, relayed: bool
) -> Iterable[str]:  # fmt: skip
    """Say what the two levels do not agree on, and what was looked at only in part.

    ``relayed`` says that proxies are on the way: whom they call is theirs to choose, not the nodes'.
    """
    simulated = level is Level.SIMULATED
    if expected.backends and simulated and ways and not relayed and flow.destination.kind is Kind.SERVICE:
        meant = {b.address for b in expected.backends}
        takers = (w.backend.partition(" ") for w in ways if w.backend)
        used = {at.rpartition(":")[0].strip("[]") for place, _, at in takers if place != flow.source.place} - {""}
        for address in sorted(used - meant):
            name = f"svc/{flow.destination.name}"
            yield f"the node sends to {address}, which is no ready endpoint of {name}: its rules are stale"
        missing = sorted(meant - used)
        if missing and all(w.arrival is Arrival.ARRIVES for w in ways):
            yield f"the node does not send to {', '.join(missing)}, though the API has it as an endpoint"
    taken = {w.backend.partition(" ")[0] for w in ways if w.arrival is Arrival.ARRIVES and w.backend}
    meant_for = flow.destination.place
    if flow.destination.pod is not None and taken - {meant_for}:
        yield f"by the API {meant_for} takes it; by the kernels {', '.join(sorted(taken - {meant_for}))} does"
    if len(flow.doors) > 1:
        yield f"the network outside chooses the node; these were asked: {', '.join(flow.doors)}"
    inferred = [w for w in ways if w.level is Level.INFERRED]
    for end in dict.fromkeys((leg.place, leg.reason) for w in inferred for leg in w.legs if leg.verdict == _LEFT):
        yield f"simulated up to {end[0]}: {end[1]}; from there on it is inferred"
    if not ways:
        yield "no node was looked into: --access exec or pod simulates what its kernel does"


_SAID = {
    Arrival.ARRIVES: "arrives, and the answer comes back",
    Arrival.REFUSED: "is refused",
    Arrival.UNREACHABLE: "is turned away",
    Arrival.LOST: "is lost",
    Arrival.RESET: "is reset as soon as it stands",
    Arrival.LEAVES: "leaves the cluster",
    Arrival.UNRESOLVED: "is not sent",
    Arrival.FAILS: "does not arrive",
    Arrival.MIXED: "arrives only sometimes",
    Arrival.UNKNOWN: "cannot be told",
}


def sentence(  # noqa: PLR0917 - all that the sentence is about
    flow: Flow, arrival: Arrival, level: Level, cause: Cause | None, expected: Expected, ways: tuple[Way, ...]
) -> str:
    """Say in one sentence what becomes of the flow."""
    port = f":{flow.port}" if flow.port and flow.question.protocol != "ICMP" else ""
    name, _ = split_port(flow.destination.written)
    name = f"[{name}]" if ":" in name and port else name
    head = f"{flow.question.protocol} from {flow.source.written} to {name}{port}"
    if level is Level.INFERRED and len({w.arrival for w in ways}) > 1:
        return f"{head} {_SAID[arrival]}: its ways differ, and not all of them were read"
    if level is Level.INFERRED and arrival is Arrival.UNKNOWN and expected.arrival is not Arrival.UNKNOWN:
        return f"{head} {_SAID[arrival]}: it goes where it should not, to what was not read"
    if level is Level.INFERRED:
        should = "should arrive" if arrival is Arrival.ARRIVES else _SAID[arrival]
        return f"{head} {should}: {expected.reason}"
    if arrival is Arrival.MIXED:
        share = sum(w.probability or 0 for w in ways if w.arrival is Arrival.ARRIVES)
        tail = f"{share:.0%} of connections arrive at the first try"
        return f"{head} {_SAID[arrival]}: {tail}; " + (f"else {cause.place}: {cause.reason}" if cause else "")
    if cause is not None:
        way_back = "its answer: " if cause.leg.endswith("answer") else ""
        return f"{head} {_SAID[arrival]}: {way_back}{cause.place}: {cause.reason}"
    said = _SAID[arrival] if flow.question.reply else _SAID[arrival].partition(",")[0]
    return f"{head} {said}"
