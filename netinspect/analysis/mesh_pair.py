"""What meshes make of traffic from one pod to another, or to a Service: how it travels, and whether it gets there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from netinspect.analysis.mesh import NEEDS as POD_NEEDS
from netinspect.analysis.mesh import Judge
from netinspect.errors import UsageError
from netinspect.mesh import BY_NAME, ON_NODES, TELLERS
from netinspect.mesh.base import Call, Said, Side
from netinspect.mesh.sight import Pod
from netinspect.model import resources, wire
from netinspect.model.mesh import PairReport, PodMesh, Reach, Statement, Transport, Verdict
from netinspect.model.snapshot import Snapshot

NEEDS = (*POD_NEEDS, *resources.MESH_POLICIES)
# The beginnings of ports' names, and application protocols, by which meshes tell HTTP from what is not.
_HTTP = frozenset({"http", "http2", "grpc", "grpc-web", "kubernetes.io/h2c", "h2c"})
_OTHER = frozenset({"tcp", "tls", "https", "mongo", "mysql", "redis", "kubernetes.io/wss"})


@dataclass(frozen=True)
class Target:
    """Where to: a pod, or a Service; a port of it, or all; and what is known of the request."""

    kind: str
    namespace: str
    name: str
    port: int = 0
    method: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        """Write it as it is asked for."""
        return f"{self.kind}/{self.namespace}/{self.name}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True)
class Way:
    """A port of the target, and the pods behind it, each with the number of its container's port."""

    service: wire.Service | None
    service_port: int
    http: bool | None
    servers: tuple[tuple[wire.NotedPod, int], ...]


@dataclass(frozen=True)
class Asked:
    """A call from one pod to a port of another; ``path`` and ``method`` are None where they are not known.

    ``client_taken`` and ``server_taken`` say whether the call was seen to go through the pods' proxies, None where
    nobody looked: then their specs tell, and that all works as they say.
    """

    client: wire.NotedPod
    server: wire.NotedPod
    port: int
    way: Way
    method: str | None = None
    path: str | None = None
    client_taken: bool | None = None
    server_taken: bool | None = None
    client_address: str = ""
    server_address: str = ""


def pair(snapshot: Snapshot, source: str, target: Target) -> PairReport:
    """Say it for each port; ``UsageError`` where the target has no such port, or is not there."""
    judge = Judge(snapshot)
    pods = {f"{p.metadata.namespace}/{p.metadata.name}": p for p in judge.sight.pods}
    client = pods.get(source)
    if client is None:
        raise UsageError(f"pod {source} is not there, or has finished")
    ways = list(_ways(snapshot, pods, target))
    ends = {p.metadata.uid or p.metadata.name: p for p in (client, *(server for w in ways for server, _ in w.servers))}
    return PairReport(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        source=judge.pod(client),
        target=str(target),
        statements=tuple(s for way in ways for s in _about(judge, client, way, target)),
        unproven=tuple(sorted(p.full_name for p in map(judge.pod, ends.values()) if p.presumed)),
        gaps=snapshot.gaps,
    )


def _ways(snapshot: Snapshot, pods: Mapping[str, wire.NotedPod], target: Target) -> Iterator[Way]:
    if target.kind == "pod":
        yield from _straight(snapshot, pods, target)
        return
    named = (target.namespace, target.name)
    service = next((s for s in snapshot.services if (s.metadata.namespace, s.metadata.name) == named), None)
    if service is None and not snapshot.whole("services", target.namespace):
        raise UsageError(f"whether there is a Service {target.namespace}/{target.name} could not be read")
    if service is None:
        raise UsageError(f"there is no Service {target.namespace}/{target.name}")
    chosen = [p for p in service.spec.ports if target.port in (0, p.port) and p.protocol == "TCP"]
    if not chosen:
        ports = ", ".join(str(p.port) for p in service.spec.ports) or "none"
        raise UsageError(
            f"Service {target.namespace}/{target.name} has no TCP port {target.port}", hint=f"it has {ports}"
        )
    members = [p for p in pods.values() if service.selects(p.metadata)]
    for port in chosen:
        # Nobody translates the port of a Service without an address.
        found = ((p, port.port if service.headless else _number(p, port)) for p in members)
        yield Way(service, port.port, is_http(port.app_protocol or port.name), tuple(s for s in found if s[1]))


def _straight(snapshot: Snapshot, pods: Mapping[str, wire.NotedPod], target: Target) -> Iterator[Way]:
    found = pods.get(f"{target.namespace}/{target.name}")
    if found is None:
        raise UsageError(f"pod {target.namespace}/{target.name} is not there, or has finished")
    own = {p.container_port: p.name for c in found.spec.containers for p in c.ports if p.protocol == "TCP"}
    ports = [target.port] if target.port else sorted(own)
    if not ports:
        raise UsageError(f"pod {target.namespace}/{target.name} declares no port", hint="name one: POD:PORT")
    for port in ports:
        yield Way(None, 0, told(snapshot, found, port), ((found, port),))


def told(snapshot: Snapshot, pod: wire.NotedPod, port: int) -> bool | None:
    """Say whether Services, whose ports' names count, call a pod's port HTTP; None where they do not agree."""
    said = {
        is_http(p.app_protocol or p.name)
        for s in snapshot.services if s.selects(pod.metadata)
        for p in s.spec.ports if _number(pod, p) == port
    }  # fmt: skip
    return said.pop() if len(said) == 1 else None


def _number(pod: wire.NotedPod, port: wire.ServicePort) -> int:
    """Give the container's port that a Service's leads to; 0 where the pod has none of that name."""
    if isinstance(port.target_port, int):
        return port.target_port or port.port
    return next((p.container_port for c in _running(pod) for p in c.ports if p.name == port.target_port), 0)


def _running(pod: wire.NotedPod) -> Iterator[wire.NotedContainer]:
    yield from pod.spec.containers
    yield from (c for c in pod.spec.init_containers if c.restart_policy == "Always")


def is_http(name: str) -> bool | None:
    """Say whether a port's name, or its application protocol, calls it HTTP; None where it says nothing."""
    first = name if name in _HTTP | _OTHER else name.partition("-")[0]
    return True if first in _HTTP else False if first in _OTHER else None


def _about(judge: Judge, client: wire.NotedPod, way: Way, target: Target) -> Iterator[Statement]:
    """Give one statement for all pods behind a port of which the same holds."""
    name = f"{target.namespace}/{target.name}:{way.service_port}" if way.service else ""
    groups: dict[tuple[int, Said], list[str]] = {}
    for server, port in way.servers:
        said = say(judge, Asked(client, server, port, way, target.method, target.path))
        groups.setdefault((port, said), []).append(f"{server.metadata.namespace}/{server.metadata.name}")
    if not way.servers:
        yield Statement(
            service=name, port=way.service_port, transport=Transport.NONE, outcome=Reach.UNKNOWN,
            says="no pod is behind it that could be read", settled_by="netinspect trace follows the Service",
        )  # fmt: skip
    for (port, said), servers in groups.items():
        chooser = "the client's proxy" if said.proxied else "kube-proxy, or who stands in for it"
        known = way.service is not None and said.transport is not Transport.UNKNOWN
        yield Statement(
            service=name, port=port, servers=tuple(sorted(servers)), transport=said.transport, outcome=said.outcome,
            says=said.says, balanced_by=chooser if known else "", identity=said.identity,
            caveat=said.caveat, settled_by=said.settled_by, reasons=said.reasons, effects=said.effects,
        )  # fmt: skip


def say(judge: Judge, asked: Asked) -> Said:
    """Say what the mesh that one of the ends is in makes of a call."""
    found = call(judge, asked)
    if isinstance(found, Said):
        return found
    mesh, made = found
    return TELLERS[mesh](made, judge.sight)


def call(judge: Judge, asked: Asked) -> tuple[str, Call] | Said:
    """Give the mesh that is to be asked, and the call as it is shown it; else what is known without one."""
    ends = (judge.pod(asked.client), judge.pod(asked.server))
    # Where the walk of packets decides who takes them, what is broken is met on the way.
    walked = asked.client_taken is not None
    unsettled = (Verdict.UNKNOWN,) if walked else (Verdict.BROKEN, Verdict.UNKNOWN)
    broken = next((e for e in ends if e.verdict in unsettled), None)
    if broken is not None:
        says = f"{broken.full_name}: {broken.says}"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, settled_by=broken.settled_by or broken.remedy)
    inside = sorted({e.mesh for e in ends if _in(e, walked=walked)})
    doubt = _on_nodes(judge, asked.way.service, ends[0].mesh if _in(ends[0], walked=walked) else "")
    if doubt:
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, doubt, settled_by="the log of the proxy's accesses")
    if not inside:
        caveats = "; ".join(c for other in ON_NODES.values() if (c := other.caveat(judge.sight)))
        return Said(Transport.PLAINTEXT, Reach.REACHED, "neither pod is in a mesh", caveat=caveats)
    if len(inside) > 1 or inside[0] not in TELLERS:
        titles = " and ".join(BY_NAME[m].TITLE for m in inside)
        return Said(
            Transport.UNKNOWN, Reach.UNKNOWN, f"what {titles} makes of it is not evaluated",
            settled_by="the mesh's own tool",
        )  # fmt: skip
    kinds = (*(r.name for r in resources.POLICIES_BY_MESH[inside[0]]), "namespaces", "services")
    unread = [k.replace("_", " ") for k in kinds if judge.sight.snapshot.gap(k)]
    if unread:
        says = f"{', '.join(unread)} could not be read whole"
        return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, settled_by="grant list on them in all namespaces")
    return inside[0], _call(judge, asked, inside[0])


def _on_nodes(judge: Judge, service: wire.Service | None, mesh: str) -> str:
    """Say what a mesh on nodes does to calls to a Service, of which the client's own mesh cannot know."""
    if service is None:
        return ""
    for name, other in ON_NODES.items():
        doubt = other.takes(service, judge.sight)
        if not doubt and mesh not in ("", name) and not service.headless:
            doubt = other.hides(judge.sight)
        if doubt:
            return doubt
    return ""


def _call(judge: Judge, asked: Asked, mesh: str) -> Call:
    client = _side(judge, asked.client, mesh, asked.client_address, asked.client_taken)
    server = _side(judge, asked.server, mesh, asked.server_address, asked.server_taken)
    way = asked.way
    address = way.service.spec.cluster_ip if way.service else server.address
    return Call(
        client, server, asked.port, way.service, way.service_port, server.address if address == "None" else address,
        way.http, asked.method, asked.path, tuple(p.metadata.labels for p, _ in way.servers),
    )  # fmt: skip


def _in(pod: PodMesh, *, walked: bool) -> bool:
    there = (Verdict.MESHED, Verdict.UNWANTED, Verdict.BROKEN) if walked else (Verdict.MESHED, Verdict.UNWANTED)
    return bool(pod.mesh) and pod.verdict in there


def _side(judge: Judge, found: wire.NotedPod, mesh: str, address: str, taken: bool | None) -> Side:
    pod = Pod(found, judge.sight.namespaces.get(found.metadata.namespace))
    return Side(pod, BY_NAME[mesh].find(pod, judge.sight), address or found.status.pod_ip, taken)
