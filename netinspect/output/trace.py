"""A trace as text: the verdict in a sentence first, then hop by hop."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.model.topology import ServiceEntry
from netinspect.model.trace import Arrival, BackendTrace, Leg, Level, Outcome, Place, Proof, ServiceTrace, Trace, Way
from netinspect.output import words
from netinspect.output.base import Style, safe
from netinspect.output.columns import columns, section
from netinspect.output.graph import Arrow, Box, Graph

_GOOD = (Arrival.ARRIVES, Arrival.LEAVES)
_LEVELS = {
    Level.INFERRED: "inferred: no kernel was read all the way",
    Level.SIMULATED: "simulated: what the kernels that were read do with it; nothing was sent",
    Level.UNKNOWN: "unknown",
}
# What happens on every way and explains nothing unless it goes wrong; -o wide shows it.
_DETAILS = frozenset({"prerouting", "input", "forward", "output", "postrouting", "neighbour", "conntrack"})


def trace(found: Trace, style: Style, *, wide: bool) -> Iterator[str]:
    """Give the verdict, the cause, and the ways."""
    yield _coloured(safe(found.sentence), found.arrival, style) + "\n"
    yield f"{safe(_end(found.source))} → {safe(_end(found.destination))}\n"
    yield f"{_LEVELS[found.level]}; the API's objects alone say: {found.expected.value}\n"
    if found.cause is not None:
        yield "\n"
        yield f"cause   {safe(found.cause.place)}: {safe(found.cause.reason)}\n"
        if found.cause.proof is not None:
            yield f"proof   {safe(_proof(found.cause.proof))}\n"
        if found.cause.remedy:
            yield f"remedy  {safe(found.cause.remedy)}\n"
    if found.backends:
        yield "\n"
        rows = [
            (f"{b.address}:{b.port}", b.pod, b.node, _state(b.ready, b.serving), b.arrival.value, _why(b))
            for b in found.backends
        ]
        yield from columns(("ENDPOINT", "POD", "NODE", "STATE", "ALONE IT", "WHY"), rows, style)
    shown: set[Arrival] = set()
    for way in found.ways:
        yield "\n"
        yield section(safe(_title(way, len(found.ways))), style)
        if not wide and way.arrival in shown:
            yield "  it ends as the one above; -o wide shows how\n"
            continue
        shown.add(way.arrival)
        for leg in way.legs if wide else _main(way):
            yield from _leg(leg, style, wide=wide)
        for fork in way.forks if wide or way.probability is None else ():
            chance = "" if fork.probability is None else f" ({fork.probability:.0%})"
            yield f"  if {safe(fork.question)}: {safe(fork.taken)}{chance}\n"
    if found.notes:
        yield "\n"
    for note in found.notes:
        yield f"! {safe(note)}\n"
    for gap in found.gaps if found.arrival is Arrival.UNKNOWN or wide else ():
        yield f"? {safe(gap.resource)}: {safe(gap.message)}" + (f" ({safe(gap.hint)})" if gap.hint else "") + "\n"


def _end(place: Place) -> str:
    address = f"{place.address}:{place.port}" if place.port and ":" not in place.address else place.address
    return " ".join(filter(None, (address or place.written, f"({place.name})" if place.name else "",
                                  f"on {place.node}" if place.node and place.node != place.name else "")))  # fmt: skip


def _state(ready: bool, serving: bool) -> str:
    return "ready" if ready else "serving" if serving else "not ready"


def _why(one: BackendTrace) -> str:
    return "" if one.cause is None else f"{one.cause.place}: {one.cause.reason}"


def service(found: ServiceTrace, style: Style, *, wide: bool) -> Iterator[str]:
    """Give a Service by itself: where its ports lead, and what they do from the nodes that were read."""
    entry = found.service
    good = found.outcome is Outcome.SOUND
    yield _coloured(safe(found.sentence), Arrival.ARRIVES if good else Arrival.LOST, style) + "\n"
    yield f"{found.level.value}; {safe(words.service_addresses(entry)) or 'no address of its own'}\n\n"
    rows = [
        (words.service_port(port), f"{e.address}:{e.port or ''}", e.pod, e.node, _state(e.ready, e.serving), e.stale)
        for port in entry.ports
        for e in port.endpoints or ()
    ]
    yield from columns(("PORT", "ENDPOINT", "POD", "NODE", "STATE", "BUT"), rows, style)
    for mismatch in entry.mismatches:
        yield f"! {safe(mismatch.message)}\n"
    if found.traces:
        yield "\n"
        shown = [
            (t.source.written, f"{t.destination.address}:{t.destination.port}", t.arrival.value,
             ", ".join(_taker(w) for w in t.ways if w.backend), _cause(t))
            for t in found.traces
        ]  # fmt: skip
        yield from columns(("FROM", "TO", "IT", "AT", "WHY"), shown, style)
    for one in found.traces if wide else ():
        yield "\n"
        yield from trace(one, style, wide=True)


def _taker(way: Way) -> str:
    return way.backend if way.probability in (None, 1) else f"{way.backend} ({way.probability:.0%})"


def _cause(found: Trace) -> str:
    return "" if found.cause is None else f"{found.cause.place}: {found.cause.reason}"


def _coloured(text: str, arrival: Arrival, style: Style) -> str:
    if not style.colour:
        return text
    colour = 32 if arrival in _GOOD else 33 if arrival is Arrival.UNKNOWN else 31
    return f"\x1b[{colour}m{text}\x1b[0m"


def _title(way: Way, count: int) -> str:
    chance = "" if count == 1 else "chance unknown, " if way.probability is None else f"{way.probability:.0%}, "
    taker = f" at {way.backend}" if way.backend else ""
    return f"WAY: {chance}{way.arrival.value}{taker}"


def _leg(leg: Leg, style: Style, *, wide: bool) -> Iterator[str]:
    shown = [h for h in leg.hops if wide or h.stage not in _DETAILS]
    rows = [
        (hop.place, hop.stage, hop.text, hop.packet if wide else "", _proof(hop.proof) if hop.proof else "")
        for hop in shown
    ]
    rows.append((leg.place, leg.verdict.upper(), leg.reason, "", _proof(leg.proof) if leg.proof else ""))
    yield from columns((f"{leg.name.upper()}: WHERE", "WHAT", "HOW", "PACKET", "PROOF"), rows, style, ("PROOF",))


def _main(way: Way) -> Iterator[Leg]:
    """Give the ways of each connection's request, and of the answer to it."""
    return (leg for leg in way.legs if "data" not in leg.name)


def _proof(proof: Proof) -> str:
    line = f":{proof.line}" if proof.line else ""
    return f"{proof.section}{line} {proof.text}".rstrip()


def tree(found: Trace) -> Iterator[str]:
    """Give each way as a branch: where the packet is, and what it becomes there."""
    yield safe(found.sentence) + "\n"
    for number, way in enumerate(found.ways, 1):
        last = number == len(found.ways)
        yield f"{'└── ' if last else '├── '}{safe(_title(way, len(found.ways)))}\n"
        stem = "    " if last else "│   "
        lines = list(_branch(way))
        for place, line in enumerate(lines, 1):
            yield f"{stem}{'└── ' if place == len(lines) else '├── '}{safe(line)}\n"


def _branch(way: Way) -> Iterator[str]:
    for leg in _main(way):
        for hop in leg.hops:
            if hop.stage not in _DETAILS:
                yield f"{leg.name}: {hop.place}: {hop.stage} {hop.text}"
        yield f"{leg.name}: {leg.place}: {leg.verdict}: {leg.reason}"


def service_tree(found: ServiceTrace) -> Iterator[str]:
    """Give each port of a Service as a branch, with its endpoints."""
    yield safe(found.sentence) + "\n"
    ports = found.service.ports
    for number, port in enumerate(ports, 1):
        last = number == len(ports)
        yield f"{'└── ' if last else '├── '}{safe(words.service_port(port))}\n"
        ends = [f"{e.address} {e.pod} {_state(e.ready, e.serving)}" for e in port.endpoints or ()]
        for place, line in enumerate(ends, 1):
            yield f"{'    ' if last else '│   '}{'└── ' if place == len(ends) else '├── '}{safe(line)}\n"


def graph(found: Trace | ServiceTrace) -> Graph:
    """Draw where the request goes: a box for each namespace, an arrow for each passage; or whom a Service leads to."""
    return _service_graph(found.service) if isinstance(found, ServiceTrace) else _graph(found)


def _service_graph(entry: ServiceEntry) -> Graph:
    name = f"svc/{entry.namespace}/{entry.name}"
    boxes = {name: Box(name, (name, *entry.cluster_ips), kind="svc")}
    arrows: dict[Arrow, None] = {}
    for port in entry.ports:
        for e in port.endpoints or ():
            boxes.setdefault(e.address, Box(e.address, (e.pod or e.address, e.address)))
            arrows[Arrow(name, e.address, words.service_port(port), e.ready)] = None
    return Graph({}, tuple(boxes.values()), tuple(arrows), ())


def _graph(found: Trace) -> Graph:
    boxes: dict[str, Box] = {}
    arrows: dict[Arrow, None] = {}
    for way in found.ways:
        for leg in (one for one in way.legs if one.name.endswith("request")):
            before = ""
            for hop in leg.hops:
                boxes.setdefault(hop.place, Box(hop.place, (hop.place,)))
                if before and before != hop.place:
                    arrows[Arrow(before, hop.place, hop.packet, way.arrival in _GOOD)] = None
                before = hop.place
            if leg.verdict != "delivered":
                key = f"{leg.place} {leg.reason}"
                boxes.setdefault(leg.place, Box(leg.place, (leg.place,)))
                boxes[key] = Box(key, (leg.verdict, leg.reason), kind="end")
                arrows[Arrow(leg.place, key, "", sound=False)] = None
    return Graph({}, tuple(boxes.values()), tuple(arrows), ())
