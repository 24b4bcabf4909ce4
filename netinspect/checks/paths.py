"""Packets walked through the kernels that were read: between pods, from nodes to their pods, to Services and ports."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from netinspect.analysis.cni import NEEDS as CNI_NEEDS
from netinspect.analysis.flow import Question, Via
from netinspect.analysis.trace import MESHED_NEEDS
from netinspect.checks.base import Irrelevant, Problem, Seen, Unseen, check
from netinspect.checks.view import View
from netinspect.errors import ParseError, UsageError
from netinspect.kernel.namespace import Namespace
from netinspect.mesh.glance import sidecar
from netinspect.model import wire
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity
from netinspect.model.kernel import Socket
from netinspect.model.trace import Arrival, Cause, Level, Trace

# Whom policies are enforced by, and what meshes make of a flow, is asked too.
_NEEDS = tuple({r.name: r for r in (*CNI_NEEDS, *MESHED_NEEDS)}.values())
# A walk takes some milliseconds: of more flows than these a part is walked, and said to be one.
_MOST = 2_000
# Of no more pods than these each sends to each other.
_FEW = 20
# A port on which nothing listens: to be refused there is to get there, and no firewall is about it.
_CLOSED = 1
_BAD = frozenset({
    Arrival.LOST, Arrival.REFUSED, Arrival.UNREACHABLE, Arrival.RESET, Arrival.FAILS, Arrival.MIXED, Arrival.LEAVES,
})  # fmt: skip
# Chains of Felix, kube-router, Weave's and Antrea's policies, and what stands above them in their stead.
_POLICIES = re.compile(r"(\[\d+:\d+\] )?(-A |:)(cali-|KUBE-NWPLCY|KUBE-POD-FW|KUBE-ROUTER|WEAVE-NPC|ANTREA)")
_COUNTED = re.compile(r"^\[\d+:\d+\] ")
_LOOPBACK = ("127.", "::1", "[::1]")
_NAMED = 3
_SETTLES = "`netinspect trace` of the flow that is named tells what would"


@dataclass
class _Group:
    """Flows that one thing stops."""

    cause: Cause
    arrival: Arrival
    way: tuple[str, ...]
    about: set[str]
    flows: list[str] = field(default_factory=list)
    # The addresses that nobody has for which they leave.
    beyond: set[str] = field(default_factory=set)

    def add(self, found: Trace, cause: Cause) -> None:
        """Put one more flow into the group."""
        self.flows.append(_flow(found))
        self.about &= _ends(found)
        self.way = max(self.way, _way(found), key=len)
        if found.arrival is Arrival.LEAVES:
            self.beyond.add(cause.reason.rpartition(" ")[2])


def _judged(view: View, questions: Iterable[Question]) -> Iterator[Seen]:
    """Walk the flows, and tell what stops those that should arrive by the API's objects, each cause once."""
    groups: dict[tuple[str, str], _Group] = {}
    unknown: list[Trace] = []
    beyond: list[Trace] = []
    count = 0
    listed = iter(questions)
    for question in islice(listed, _MOST):
        try:
            found = view.tracer.trace(question)
        except UsageError:
            # An end without an address of a family, or a pod that has ended meanwhile.
            continue
        count += 1
        if not _should_arrive(found, view) or _is_there(found, question):
            continue
        if found.arrival in _BAD and found.cause is not None:
            key = _key(found, found.cause)
            group = groups.setdefault(key, _Group(found.cause, found.arrival, _way(found), _ends(found)))
            group.add(found, found.cause)
        elif found.arrival is Arrival.UNKNOWN:
            unknown.append(found)
        elif found.level is not Level.SIMULATED:
            beyond.append(found)
    if not count and (view.unread or view.unread_pods or view.faceless):
        yield Unseen("no packet could be followed", "--access exec or pod looks into the nodes and pods")
    elif not count:
        yield Irrelevant("there is no such flow between what was read")
    for key, group in sorted(groups.items(), key=lambda g: -len(g[1].flows)):
        yield _problem(group, key[1])
    if unknown:
        first = unknown[0]
        yield Unseen(f"{len(unknown)} of {count} flows cannot be told: {first.sentence}", _SETTLES)
    if beyond:
        yield Unseen(
            f"{len(beyond)} of {count} flows go by what was not read, the first {_flow(beyond[0])}",
            "--access exec or pod looks into the nodes",
        )
    if next(listed, None) is not None:
        yield Unseen(f"only the first {_MOST} flows were walked", "-n, --node, or `netinspect trace` for the others")


def _is_there(found: Trace, question: Question) -> bool:
    """Say whether what was sent to a closed port came to whom it is for."""
    return question.port == _CLOSED and found.cause is not None and found.cause.reason.startswith("nothing listens")


def _should_arrive(found: Trace, view: View) -> bool:
    """Say whether nothing is meant to stop a flow, as an engine's policies and a mesh's are."""
    if found.expected not in (Arrival.ARRIVES, Arrival.UNKNOWN) or found.cause is None:
        return found.expected is Arrival.ARRIVES
    proof = found.cause.proof
    if proof is None:
        return "proxy" not in found.cause.leg
    if proof.section.startswith("cilium"):
        return False
    return not view.cni.policy or (proof.section != "nftables" and not _POLICIES.match(proof.text))


def _key(found: Trace, cause: Cause) -> tuple[str, str]:
    """Tell causes from each other: by the line that is the proof, without its counters, else by the reason.

    A route by which what leaves the cluster leaves is no cause: what no Service's rules took is told from the rest.
    """
    if cause.proof is None:
        return cause.place, cause.reason
    line = f"{cause.proof.section} {_COUNTED.sub('', cause.proof.text)}"
    kept = found.arrival is Arrival.LEAVES and cause.reason.endswith(f" {found.destination.address}")
    return cause.place, f"{line} untranslated" if kept else line


def _flow(found: Trace) -> str:
    port = f":{found.destination.port}" if found.destination.port and ":" not in found.destination.written else ""
    return f"{found.protocol} {found.source.written} to {found.destination.written}{port}"


def _ends(found: Trace) -> set[str]:
    """Name the objects at the ends of a flow."""
    kinds = {"service": "svc", "pod": "pod", "node": "node"}
    ends = (found.source, found.destination)
    return {f"{kinds[e.kind]}/{e.name}" for e in ends if e.kind in kinds and e.name}


def _way(found: Trace) -> tuple[str, ...]:
    """Name the namespaces that the packet crosses up to where it ends, each once."""
    bad = next((w for w in found.ways if w.arrival in _BAD), None)
    hops = (h.place for leg in (bad.legs if bad is not None else ())[:1] for h in leg.hops)
    end = found.cause.place if found.cause is not None else ""
    return tuple(dict.fromkeys((*(h for h in hops if h), *((end,) if end else ()))))


def _problem(group: _Group, key: str) -> Problem:
    cause = group.cause
    shown = "; ".join(group.flows[:_NAMED])
    more = f" and {len(group.flows) - _NAMED} other flows" if len(group.flows) > _NAMED else ""
    verb = {
        Arrival.REFUSED: "refused",
        Arrival.UNREACHABLE: "turned away",
        Arrival.RESET: "reset",
        Arrival.MIXED: "lost now and then",
        Arrival.LEAVES: "led out of the cluster",
    }.get(group.arrival, "lost")
    way = " (their answers)" if cause.leg not in ("request", "data", "") else ""
    others = f" and {len(group.beyond) - 1} addresses more" if len(group.beyond) > 1 else ""
    # One more address that is led out is news, though it goes the same way.
    key = " ".join((key, *sorted(group.beyond)))
    return Problem(
        cause.place or "cluster", f"{cause.reason}{others}{way}", f"{verb} is {shown}{more}", cause.remedy or _SETTLES,
        proof=cause.proof, way=group.way, key=key,
        about=tuple(sorted(group.about)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Port:
    """A port on which a pod was seen to listen, or says that it does, and in which families."""

    number: int
    protocol: str
    families: frozenset[int] = frozenset({4, 6})


def _listening(namespace: Namespace, pod: wire.Pod) -> tuple[_Port, ...]:
    """Give the ports that are declared and on which something listens; where sockets tell nothing, those declared."""
    mesh, proxy = sidecar(pod)
    own = [c for c in pod.spec.containers if c.name != proxy]
    declared = {(p.protocol, p.container_port) for c in own for p in c.ports if p.container_port}
    section = namespace.evidence.sections.get("sockets")
    if section is None or not section.answered:
        return tuple(_Port(number, protocol) for protocol, number in sorted(declared))
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    with suppress(ParseError):
        for one in namespace.sockets:
            key = one.protocol.removesuffix("6").upper(), one.port
            waits = one.state in ("LISTEN", "UNCONN") and not one.address.startswith(_LOOPBACK)
            if waits and (key in declared or (key[0] == "TCP" and not mesh)):
                found[key] |= _families(one)
    return tuple(_Port(number, protocol, frozenset(found[protocol, number])) for protocol, number in sorted(found))


def _families(socket: Socket) -> set[int]:
    """Say in which families a socket takes what comes; one of IPv6 takes both unless it says otherwise (ipv6(7))."""
    if "." in socket.address and ":" not in socket.address:
        return {4}
    if socket.address in ("*", "::", "[::]"):
        return {6} if socket.v6only else {4, 6}
    return {6}


def _read(view: View) -> Mapping[str, list[str]]:
    """Name the running pods whose namespaces were read, by node."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(view.inside.pods):
        pod = view.pods.get(name)
        if pod is not None and pod.status.phase == "Running" and not pod.spec.host_network:
            found[pod.spec.node_name].append(name)
    return found


def _senders(view: View, target: str) -> Iterator[str]:
    """Choose who sends to a pod: all others, or of many the next of its own node and one of each of the next two."""
    placed = _read(view)
    every = [name for names in placed.values() for name in names]
    if len(every) <= _FEW:
        yield from (n for n in every if n != target)
        return
    home = view.pods[target].spec.node_name
    own = placed.get(home, [])
    beside = [n for n in own if n != target]
    yield from beside[own.index(target) % max(len(beside), 1) :][:1]
    nodes = sorted(placed)
    start = nodes.index(home) if home in nodes else 0
    others = [n for n in (*nodes[start + 1 :], *nodes[:start]) if placed[n]]
    for number, node in enumerate(others[:2]):
        yield placed[node][(start + number) % len(placed[node])]


@check(
    "NI2201", "pods reach pods", Category.PATHS, Severity.ERROR, needs=_NEEDS, vantage=Vantage.POD,
    remedy="`netinspect trace` follows the flow hop by hop, and shows the rule, route or entry that stops it",
    links=("https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model",),
)  # fmt: skip
def pod_to_pod(view: View) -> Iterator[Seen]:
    """Walk packets from pods of the same and of other nodes to each pod, on ports on which it listens, and back.

    What is found is the one thing that stops them, with the line of the kernel's state that does; flows that the same
    thing stops are told of together. Flows that NetworkPolicies may stop are not judged. Nothing is sent: the
    kernels' own tables are run, as `netinspect trace` does.
    """
    return _judged(view, _to_pods(view))


def _to_pods(view: View) -> Iterator[Question]:
    for names in _read(view).values():
        for name in names:
            pod, namespace = view.pods[name], view.inside.pods[name]
            ports = _listening(namespace, pod)
            for sender in _senders(view, name):
                for address in pod.status.pod_ips or (wire.PodIP(pod.status.pod_ip),):
                    family = 6 if ":" in address.ip else 4
                    mine = [(p.protocol, p.number) for p in ports if family in p.families]
                    aims = mine or [("TCP", _CLOSED)]
                    for protocol, port in aims:
                        yield Question(f"pod/{sender}", address.ip, protocol=protocol, port=port)


@check(
    "NI2202", "nodes reach their pods", Category.PATHS, Severity.ERROR, needs=_NEEDS, vantage=Vantage.POD,
    remedy="`netinspect trace node/NAME NAMESPACE/POD` follows it hop by hop",
    links=("https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model",),
)  # fmt: skip
def node_to_pod(view: View) -> Iterator[Seen]:
    """Walk packets from each node to its own pods, as the kubelet's probes go, and to a pod of the next node."""

    def questions() -> Iterator[Question]:
        placed = _read(view)
        nodes = sorted(placed)
        for place, node in enumerate(nodes):
            other = placed[nodes[(place + 1) % len(nodes)]][:1] if len(nodes) > 1 else []
            for name in (*placed[node], *other):
                pod = view.pods[name]
                family = 6 if ":" in pod.status.pod_ip else 4
                mine = [p for p in _listening(view.inside.pods[name], pod) if family in p.families]
                for port in mine[:1] or (_Port(_CLOSED, "TCP"),):
                    yield Question(f"node/{node}", f"pod/{name}", protocol=port.protocol, port=port.number)

    return _judged(view, questions())


@check(
    "NI2203", "pods reach Services", Category.PATHS, Severity.ERROR, needs=_NEEDS, vantage=Vantage.POD,
    remedy="`netinspect trace NAMESPACE/POD svc/NAME` follows it hop by hop",
    links=("https://kubernetes.io/docs/reference/networking/virtual-ips/",),
)  # fmt: skip
def pod_to_service(view: View) -> Iterator[Seen]:
    """Walk packets from a pod of each node, and from those behind it, to every Service, and from every pod to DNS.

    DNS is asked by UDP. So stale or missing rules of kube-proxy are seen, node by node, whatever mode it has.
    """

    def questions() -> Iterator[Question]:
        placed = _read(view)
        first = [names[0] for names in placed.values() if names]
        for service in _services(view):
            meta, spec = service.metadata, service.spec
            name = f"svc/{meta.namespace}/{meta.name}"
            lookup = meta.namespace == "kube-system" and any(p.port == 53 for p in spec.ports)
            senders = [n for names in placed.values() for n in names] if lookup else [*first, *_behind(view, name)]
            for port in spec.ports if spec.cluster_ip not in ("", "None") else ():
                for sender in senders if not lookup or port.protocol == "UDP" else first:
                    if port.protocol in ("TCP", "UDP"):
                        yield Question(f"pod/{sender}", f"{name}:{port.port}", protocol=port.protocol)

    return _judged(view, questions())


def _services(view: View) -> Iterator[wire.Service]:
    """Give the Services whose endpoints are known."""
    whole = view.snapshot.whole
    for service in view.snapshot.services:
        if all(whole(kind, service.metadata.namespace) for kind in ("endpoint_slices", "pods")):
            yield service


def _behind(view: View, service: str) -> Iterator[str]:
    """Name of the pods behind a Service one of each node: what they send to it may come back to themselves."""
    told: set[str] = set()
    entry = view.entries.get(service)
    for end in (e for port in (entry.ports if entry is not None else ()) for e in port.endpoints or ()):
        pod = view.pods.get(end.pod)
        if end.node not in told and end.pod in view.inside.pods and pod and not pod.spec.host_network:
            told.add(end.node)
            yield end.pod


@check(
    "NI2204", "nodes' ports lead to their Services and pods", Category.PATHS, Severity.ERROR, needs=_NEEDS,
    vantage=Vantage.NODE,
    remedy="`netinspect trace node/OTHER svc/NAME --via nodeport` follows it hop by hop",
    links=("https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",),
)  # fmt: skip
def to_node_ports(view: View) -> Iterator[Seen]:
    """Walk packets to node ports of Services, from each node to the next and from outside, and to pods' hostPorts."""

    def questions() -> Iterator[Question]:
        nodes = [n.name for n, _ in view.sight.read]
        ports = [
            (f"svc/{s.metadata.namespace}/{s.metadata.name}:{p.port}", p)
            for s in _services(view) for p in s.spec.ports if p.node_port and p.protocol in ("TCP", "UDP")
        ]  # fmt: skip
        for place, node in enumerate(nodes if len(nodes) > 1 else ()):
            other = nodes[(place + 1) % len(nodes)]
            for _, port in ports:
                yield Question(f"node/{node}", f"node/{other}:{port.node_port}", protocol=port.protocol)
            yield from _host_ports(view, other, node)
        for name, port in ports:
            yield Question("external", name, protocol=port.protocol, via=Via.NODE_PORT)

    return _judged(view, questions())


def _host_ports(view: View, node: str, sender: str) -> Iterator[Question]:
    for pod in view.nodes[node].pods:
        for container in pod.spec.containers if pod.status.phase == "Running" else ():
            for port in container.ports:
                if (
                    port.host_port
                    and not port.host_ip
                    and port.protocol in ("TCP", "UDP")
                    and not pod.spec.host_network
                ):
                    yield Question(f"node/{sender}", f"node/{node}:{port.host_port}", protocol=port.protocol)


@check(
    "NI2205", "packets as large as pods may send get through", Category.PATHS, Severity.ERROR, needs=_NEEDS,
    vantage=Vantage.POD,
    remedy="lower the MTU in the CNI's configuration and make the pods anew, or raise that of what is named",
    links=("https://github.com/cilium/cilium/issues/37919",),
)  # fmt: skip
def large_packets(view: View) -> Iterator[Seen]:
    """Walk an ICMP packet of the size of the pod's MTU, not to be fragmented, between pods of each two nodes.

    What stops it is named where the small packets of the other checks get through: the device whose MTU is less.
    """

    def questions() -> Iterator[Question]:
        placed = _read(view)
        nodes = sorted(placed)
        few = sum(map(len, placed.values())) <= _FEW
        for place, node in enumerate(nodes):
            other = nodes[(place + 1) % len(nodes)]
            for target in placed[other] if few and other != node else placed[other][: other != node]:
                sender = placed[node][0]
                if size := _largest(view, sender):
                    yield Question(f"pod/{sender}", f"pod/{target}", protocol="ICMP", size=size)

    # What stops pings of any size is no matter of theirs.
    return (s for s in _judged(view, questions()) if not isinstance(s, Problem) or "bytes" in s.says)


def _largest(view: View, name: str) -> int:
    """Give the load of the largest ICMP packet that a pod's own interface takes; 0 where it is not known."""
    with suppress(ParseError):
        own = view.pods[name].status.pod_ip
        inside = view.inside.pods[name]
        links = (k for k in inside.links if own in {a.local for a in k.addresses})
        # Some CNIs bound packets by the routes in the pod (Cilium).
        sizes = [next((k.mtu for k in links), 0), *(r.mtu for r in inside.routes if r.mtu)]
        return max(0, min(sizes) - (48 if ":" in own else 28))
    return 0


CHECKS = (pod_to_pod, node_to_pod, pod_to_service, to_node_ports, large_packets)
