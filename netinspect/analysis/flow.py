"""A flow: what is asked, the ends that it means, the nodes that it may cross, and its first packet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from netinspect.analysis import dns
from netinspect.analysis.endpoints import Backend, backends, port_of, usable
from netinspect.analysis.ends import End, Kind, container_of, resolve, sound
from netinspect.analysis.inside import Inside
from netinspect.analysis.pods import full_name
from netinspect.errors import UsageError
from netinspect.model import wire
from netinspect.model.packet import ICMP, ICMPV6, NOBODY_KNOWS, SCTP, SYN, TCP, UDP, Packet, number
from netinspect.model.snapshot import Snapshot

PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": ICMP}
# Stands for the port that the kernel would draw.
EPHEMERAL = 40_000
_LEAST = {TCP: 40, UDP: 28, SCTP: 48, ICMP: 28}
# Of how many nodes it is asked what comes of a load balancer's traffic: the rules are meant to be the same on all.
_DOORS = 4


class Via(str, Enum):
    """Which of a Service's addresses is asked for."""

    CLUSTER_IP = "clusterip"
    NODE_PORT = "nodeport"
    LOAD_BALANCER = "lb"
    EXTERNAL_IP = "externalip"


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
    via: Via | None = None
    container: str = ""
    reply: bool = True
    all_backends: bool = False


@dataclass(frozen=True)
class Flow:
    """The question with its ends found, the addresses chosen, and the port.

    ``doors`` are the nodes at which it may come in where it comes from outside; ``user`` is who sends it, -1 where
    nobody knows; ``entry`` is the node whose address is asked for.
    """

    question: Question
    source: End
    destination: End
    family: int
    address: str
    port: int
    doors: tuple[str, ...] = ()
    user: int = 0
    entry: str = ""

    @property
    def source_address(self) -> str:
        """Give the sender's address in the family of the flow, where it is known."""
        return next((a for a in self.source.addresses if number(a)[0] == self.family), "")

    @property
    def comes_in(self) -> bool:
        """Say whether it comes from outside the cluster."""
        return self.source.kind in (Kind.ADDRESS, Kind.EXTERNAL)

    @property
    def goes_out(self) -> bool:
        """Say whether it is meant to leave the cluster."""
        return self.destination.kind in (Kind.ADDRESS, Kind.EXTERNAL)


def find(snapshot: Snapshot, question: Question, inside: Inside | None = None) -> Flow:
    """Find the ends.

    ``UsageError`` where there are none, or where they share no address family; ``dns.Unresolved`` where the sender's
    resolver does not know the name.
    """
    source = resolve(snapshot, question.source, question.namespace)
    if source.kind is Kind.SERVICE:
        raise UsageError(f"{question.source} sends nothing", hint="name a pod behind it, or deploy/NAME")
    if not source.addresses:
        raise UsageError(f"{question.source} has no address to send from")
    home = source.pod.metadata.namespace if source.pod is not None else question.namespace
    destination = resolve(snapshot, question.destination, home, lambda: _resolver(snapshot, source, inside))
    if question.via is not None:
        destination, port = _through(snapshot, source, destination, question)
    else:
        destination, port = _headless(snapshot, destination, question.protocol), question.port or destination.port
    if not port and question.protocol != "ICMP":
        raise UsageError(f"which port of {question.destination}?", hint="add --port, or write it as NAME:PORT")
    family, address = _family(source, destination)
    entry = next((n.metadata.name for n in snapshot.nodes if address in {a.address for a in n.status.addresses}), "")
    user = user_of(source, question.container)
    flow = Flow(question, source, destination, family, address, port, user=user, entry=entry)
    return replace(flow, doors=_doors(snapshot, flow)) if flow.comes_in else flow


def _resolver(snapshot: Snapshot, source: End, inside: Inside | None) -> dns.Resolver:
    """Give how the source looks names up: as its own resolv.conf says, else as the kubelet writes it."""
    if source.pod is None:
        return dns.of_namespace("default")
    namespace = inside.pods.get(source.name) if inside is not None and not source.pod.spec.host_network else None
    written = namespace.text("resolv.conf") if namespace is not None else ""
    if not written.strip():
        return dns.of_pod(source.pod)
    return dns.parse(written, frozenset(ip for s in snapshot.services for ip in s.spec.cluster_ips))


def user_of(source: End, container: str) -> int:
    """Give the user who sends: whom the container or its pod says; -1 where its image does, which is not known.

    ``UsageError`` where the source has no such container.
    """
    if source.pod is None:
        if container:
            raise UsageError(f"{source.written} has no containers", hint="leave out --from-container")
        return 0
    chosen = container_of(source.pod, container)
    for context in (chosen.security_context if chosen is not None else None, source.pod.spec.security_context):
        if context is not None and context.run_as_user is not None:
            return context.run_as_user
    return NOBODY_KNOWS


def _through(snapshot: Snapshot, source: End, end: End, question: Question) -> tuple[End, int]:
    """Give a Service by the address that is asked for, and the port there."""
    number_ = question.port or end.port
    port = port_of(end.service, number_, question.protocol) if end.service is not None else None
    if end.service is None or port is None:
        hint = "name a Service and one of its ports: svc/NAME:PORT"
        raise UsageError(f"{end.written} is no port of a Service, so --via means nothing", hint=hint)
    spec = end.service.spec
    if question.via is Via.NODE_PORT:
        own = [n for n in snapshot.nodes if n.metadata.name == source.node] or list(snapshot.nodes)
        found = tuple(a.address for a in own[0].status.addresses if a.type == "InternalIP") if own else ()
        found, number_ = (found, port.node_port) if port.node_port else ((), 0)
    elif question.via is Via.LOAD_BALANCER:
        found = tuple(b.ip for b in end.service.status.load_balancer.ingress if b.ip)
    elif question.via is Via.EXTERNAL_IP:
        found = spec.external_ips
    else:
        found = spec.cluster_ips or (spec.cluster_ip,)
    found = sound(found)
    if not found:
        raise UsageError(f"svc/{end.name} has no address of that kind", hint=f"it is of type {spec.type}")
    return replace(end, addresses=found), number_


def _headless(snapshot: Snapshot, end: End, protocol: str) -> End:
    """Give a Service without an address by the first of the pods that its name means."""
    if end.kind is not Kind.SERVICE or end.addresses or end.service is None:
        return end
    if end.service.spec.type == "ExternalName":
        hint = f"it stands for {end.service.spec.external_name}: give that name's address"
        raise UsageError(f"svc/{end.name} has no address", hint=hint)
    found = usable(backends(snapshot, end.service, port_of(end.service, end.port, protocol)))
    if not found:
        raise UsageError(f"svc/{end.name} is headless, and no pod behind it is ready", hint="name a pod")
    # No proxy stands in between: the port is the one that is asked for.
    return replace(end, addresses=tuple(dict.fromkeys(sound(b.address for b in found))))


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


def _doors(snapshot: Snapshot, flow: Flow) -> tuple[str, ...]:
    """Give the nodes at which a flow from outside comes in: the one that has the address, or some that may be chosen.

    ``UsageError`` where only the network outside could know.
    """
    if flow.question.all_backends:
        raise UsageError("--all-backends goes from inside the cluster", hint="name a pod or node to send from")
    if flow.entry:
        return (flow.entry,)
    service = flow.destination.service
    outward = service is not None and (
        flow.address in service.spec.external_ips
        or any(b.ip == flow.address for b in service.status.load_balancer.ingress)
    )
    if service is None or not outward:
        hint = "from outside nodes are reached: name node/NAME:PORT, or a Service with --via nodeport or --via lb"
        raise UsageError(f"the cluster does not say how {flow.question.source} reaches {flow.address}", hint=hint)
    names = {b.pod for one, port in services(snapshot, flow) for b in usable(backends(snapshot, one, port))}
    near = {p.spec.node_name for p in snapshot.pods if full_name(p.metadata) in names}
    if service.spec.external_traffic_policy == "Local":
        return tuple(sorted(near))[:_DOORS] or tuple(n.metadata.name for n in snapshot.nodes)[:1]
    return tuple(sorted((n.metadata.name for n in snapshot.nodes), key=lambda n: (n not in near, n)))[:_DOORS]


def crossed(snapshot: Snapshot, question: Question) -> dict[str, tuple[str, ...]]:
    """Say as ``nodes`` does what a question needs; of a name that its sender cannot look up, the sender alone."""
    try:
        return nodes(snapshot, find(snapshot, question))
    except dns.Unresolved:
        return nodes(snapshot, find(snapshot, replace(question, destination="external", port=1, via=None)))


def nodes(snapshot: Snapshot, flow: Flow) -> dict[str, tuple[str, ...]]:
    """Say which nodes the flow may cross, and of each the UIDs of the pods whose namespaces matter."""
    pods = [e.pod for e in (flow.source, flow.destination) if e.pod is not None]
    names = {b.pod for b in _receivers(snapshot, flow)}
    pods += [p for p in snapshot.pods if (names and full_name(p.metadata) in names) or _has_host_port(p, flow)]
    wanted: dict[str, tuple[str, ...]] = {e.node: () for e in (flow.source, flow.destination) if e.node}
    wanted |= dict.fromkeys(flow.doors, ())
    if flow.question.via is Via.NODE_PORT:
        wanted |= {
            n.metadata.name: () for n in snapshot.nodes if flow.address in {a.address for a in n.status.addresses}
        }
    for pod in pods:
        if pod.spec.node_name:
            mine = () if pod.spec.host_network else (pod.metadata.uid,)
            wanted[pod.spec.node_name] = (*wanted.get(pod.spec.node_name, ()), *mine)
    return {node: tuple(dict.fromkeys(uids)) for node, uids in wanted.items()}


def _has_host_port(pod: wire.Pod, flow: Flow) -> bool:
    """Say whether a pod asks for the port that the flow goes to as a port of its node."""
    if flow.destination.kind is not Kind.NODE or pod.spec.node_name != flow.destination.node:
        return False
    asked = (flow.port, flow.question.protocol)
    return any((p.host_port, p.protocol) == asked for c in pod.spec.containers for p in c.ports)


def places(snapshot: Snapshot, homes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Say as ``nodes`` does where namespaces are, which are named as ``node/N1`` and ``pod/NS/NAME``."""
    wanted: dict[str, tuple[str, ...]] = {}
    pods = {f"pod/{full_name(p.metadata)}": p for p in snapshot.pods}
    for home in homes:
        pod = pods.get(home)
        node = home.removeprefix("node/") if pod is None else pod.spec.node_name
        mine = () if pod is None else (pod.metadata.uid,)
        wanted[node] = (*wanted.get(node, ()), *mine)
    return wanted


def _receivers(snapshot: Snapshot, flow: Flow) -> Iterator[Backend]:
    for service, port in services(snapshot, flow):
        found = backends(snapshot, service, port, flow.family)
        yield from found if flow.question.all_backends else usable(found)


def services(snapshot: Snapshot, flow: Flow) -> Iterable[tuple[wire.Service, wire.ServicePort]]:
    """Give the Service that is asked for, or of a node the one that has the node port."""
    protocol, service = flow.question.protocol, flow.destination.service
    if flow.question.via is Via.NODE_PORT or flow.destination.kind is Kind.NODE:
        asked = snapshot.services if service is None else (service,)
        found = ((s, p) for s in asked for p in s.spec.ports)
        yield from ((s, p) for s, p in found if (p.node_port, p.protocol) == (flow.port, protocol))
    elif service is not None and (port := port_of(service, flow.port, protocol)) is not None:
        yield service, port


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
        sport=0 if icmp else question.source_port or EPHEMERAL, dport=0 if icmp else flow.port,
        loose=frozenset() if icmp or question.source_port else frozenset({"sport"}),
        type=(8 if family == 4 else 128) if icmp else 0, ident=1 if icmp else 0, size=least + question.size,
        df=question.dont_fragment, uid=flow.user, gid=0 if flow.source.pod is None else NOBODY_KNOWS,
    )  # fmt: skip
