"""Explain a Service: where its ports lead by the API's objects, and where the nodes that were read send to."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.endpoints import backends, usable
from netinspect.analysis.ends import End, Kind, resolve
from netinspect.analysis.flow import Question
from netinspect.analysis.pods import full_name
from netinspect.analysis.services import of_service
from netinspect.analysis.trace import Tracer
from netinspect.errors import UsageError
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import ServiceEntry, several
from netinspect.model.trace import Arrival, Level, ServiceTrace, Trace

# From how many nodes a Service is tried: kube-proxy writes the same rules on each.
_NODES = 4
_GOOD = frozenset({Arrival.ARRIVES})


def find(snapshot: Snapshot, written: str, namespace: str) -> tuple[End, wire.Service]:
    """Find the Service that was written; ``UsageError`` where it is none."""
    end = resolve(snapshot, written, namespace)
    if end.kind is not Kind.SERVICE or end.service is None:
        raise UsageError(f"where to from {written}?", hint="name TO; only a Service is explained by itself: svc/NAME")
    return end, end.service


def nodes(snapshot: Snapshot, written: str, namespace: str) -> dict[str, tuple[str, ...]]:
    """Say which nodes show what becomes of the Service, and of each the UIDs of the pods behind it."""
    _, service = find(snapshot, written, namespace)
    names = {b.pod for port in service.spec.ports for b in usable(backends(snapshot, service, port))}
    wanted: dict[str, tuple[str, ...]] = {}
    for pod in snapshot.pods:
        if full_name(pod.metadata) in names:
            mine = () if pod.spec.host_network else (pod.metadata.uid,)
            wanted[pod.spec.node_name] = (*wanted.get(pod.spec.node_name, ()), *mine)
    others = (n.metadata.name for n in snapshot.nodes if n.metadata.name not in wanted)
    for name in others:
        if len(wanted) >= _NODES:
            break
        wanted[name] = ()
    return wanted


def explain(snapshot: Snapshot, written: str, namespace: str) -> ServiceTrace:
    """Explain a Service; ``UsageError`` where there is none."""
    end, service = find(snapshot, written, namespace)
    entry = of_service(snapshot, service)
    traces = several(_traces(snapshot, end, service))
    return ServiceTrace(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        service=entry,
        level=_level(traces),
        sentence=_sentence(entry, traces),
        traces=traces,
        gaps=snapshot.gaps,
    )


def _traces(snapshot: Snapshot, end: End, service: wire.Service) -> Iterator[Trace]:
    read = sorted({k.node for k in snapshot.kernels})
    if not read or not end.addresses:
        return
    tracer = Tracer(snapshot)
    for node in read[:_NODES]:
        for port in service.spec.ports:
            if port.protocol in ("TCP", "UDP"):
                aim = f"svc/{end.name}:{port.port}"
                yield tracer.trace(Question(f"node/{node}", aim, protocol=port.protocol))


def _level(traces: tuple[Trace, ...]) -> Level:
    whole = traces and all(t.level is Level.SIMULATED for t in traces)
    return Level.SIMULATED if whole else Level.INFERRED


def _sentence(entry: ServiceEntry, traces: tuple[Trace, ...]) -> str:
    name = f"svc/{entry.namespace}/{entry.name}"
    if entry.type == "ExternalName":
        return f"{name} stands for {entry.external_name}, to which nothing of the cluster leads"
    if any(p.endpoints is None for p in entry.ports):
        return f"{name} leads to nobody knows whom: its EndpointSlices could not be read"
    counts = [len({e.pod or e.address for e in p.endpoints or () if e.ready}) for p in entry.ports]
    ready = max(counts, default=0)
    head = f"{name} ({'headless' if entry.headless else entry.type}) leads to {ready} ready endpoint" + "s" * (
        ready != 1
    )
    bad = [t for t in traces if t.arrival not in _GOOD]
    if bad:
        return f"{head}, but {bad[0].sentence}"
    if entry.mismatches:
        return f"{head}: {entry.mismatches[0].message}"
    if not traces:
        return head
    nodes = len({t.source.node for t in traces})
    tried = {(t.protocol, t.destination.port) for t in traces}
    said = "all ports answer" if len(tried) == len(entry.ports) else f"{len(tried)} of {len(entry.ports)} ports answer"
    return f"{head}; from {nodes} node{'s' * (nodes != 1)} {said}" + " as far as was read" * (
        _level(traces) is not Level.SIMULATED
    )
