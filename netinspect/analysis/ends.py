"""The ends of a flow: what the user wrote, and what that is in the cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

from netinspect.analysis import dns
from netinspect.analysis.backends import finished
from netinspect.analysis.pods import addresses, full_name
from netinspect.analysis.ranges import parse_address
from netinspect.errors import UsageError
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot


class Kind(str, Enum):
    """What an end is."""

    POD = "pod"
    SERVICE = "service"
    NODE = "node"
    ADDRESS = "address"
    EXTERNAL = "external"


@dataclass(frozen=True)
class End:
    """One end: ``name`` is its full name, ``addresses`` those that it may be reached by, best first."""

    written: str
    kind: Kind
    name: str = ""
    addresses: tuple[str, ...] = ()
    node: str = ""
    port: int = 0
    pod: wire.Pod | None = None
    service: wire.Service | None = None

    @property
    def place(self) -> str:
        """Name its network namespace, as ``pod/NAMESPACE/NAME`` or ``node/NAME``; empty where none is known."""
        if self.pod is not None and not self.pod.spec.host_network:
            return f"pod/{self.name}"
        return f"node/{self.node}" if self.node else ""


T = TypeVar("T", wire.Pod, wire.Service)
# Addresses of the documentation ranges (RFC 5737, RFC 3849) that stand for any outside.
OUTSIDE = ("203.0.113.99", "2001:db8::99")
_PORT = re.compile(r"(.+?):(\d{1,5})", re.ASCII)
_BRACKETS = re.compile(r"\[([0-9a-fA-F:.]+)\](?::(\d{1,5}))?", re.ASCII)
_OWNERS = {
    **dict.fromkeys(("deploy", "deployment", "deployments"), "ReplicaSet"),
    **dict.fromkeys(("rs", "replicaset", "replicasets"), "ReplicaSet"),
    **dict.fromkeys(("sts", "statefulset", "statefulsets"), "StatefulSet"),
    **dict.fromkeys(("ds", "daemonset", "daemonsets"), "DaemonSet"),
    **dict.fromkeys(("job", "jobs"), "Job"),
}
_PODS = ("pod", "pods", "po")
_SERVICES = ("svc", "service", "services")
_NODES = ("node", "nodes", "no")


def resolve(snapshot: Snapshot, written: str, namespace: str, asker: Callable[[], dns.Resolver] | None = None) -> End:
    """Find what was written; ``UsageError`` where there is no such thing.

    ``namespace`` is where pods and Services are that were named without one; empty means any. ``asker`` looks names
    up, as the pod would that sends.
    """
    text, port = split_port(written)
    if text == "external":
        return End(written, Kind.EXTERNAL, addresses=OUTSIDE, port=port)
    if (address := parse_address(text)) is not None:
        return _address(snapshot, written, str(address), port)
    kind, slash, rest = text.partition("/")
    kind = kind.lower()
    if slash and kind in _NODES:
        found = _node(snapshot, written, rest)
    elif slash and kind in _SERVICES:
        found = _service(snapshot, written, rest, namespace)
    elif slash and kind in _OWNERS:
        found = _owned(snapshot, written, rest, namespace, _OWNERS[kind], of_set=kind.startswith("deploy"))
    elif slash and kind in _PODS:
        found = _pod(snapshot, written, rest, namespace)
    elif "." in text and not slash and not _matching(snapshot.pods, text, namespace):
        found = _name(snapshot, written, text, asker() if asker else dns.of_namespace(namespace or "default"))
    else:
        found = _pod(snapshot, written, text, namespace)
    return replace(found, port=port or found.port)


def split_port(written: str) -> tuple[str, int]:
    """Take ``:PORT`` off the end; 0 where there is none."""
    bracketed = _BRACKETS.fullmatch(written)
    if bracketed:
        text, port = bracketed.group(1), bracketed.group(2)
    elif parse_address(written) is None and (split := _PORT.fullmatch(written)):
        text, port = split.group(1), split.group(2)
    else:
        return written, 0
    if port and not 0 < int(port) < 1 << 16:
        raise UsageError(f"{port} is no port", hint="ports are 1 to 65535")
    return text, int(port or 0)


def _matching(objects: Sequence[T], name: str, namespace: str) -> list[T]:
    """Find objects by NAME or NAMESPACE/NAME."""
    given, _, short = name.rpartition("/")
    where = given or namespace
    return [o for o in objects if o.metadata.name == short and (not where or o.metadata.namespace == where)]


def _one(objects: Sequence[T], what: str, name: str, namespace: str) -> T:
    found = _matching(objects, name, namespace)
    if len(found) > 1:
        names = ", ".join(f"{what}/{full_name(o.metadata)}" for o in found[:4])
        raise UsageError(f"{what} {name} is in several namespaces", hint=f"name one of {names}")
    if not found:
        where = f" in namespace {namespace}" if namespace and "/" not in name else ""
        raise UsageError(f"there is no {what} {name}{where}", hint="`netinspect map -A` shows what there is")
    return found[0]


def sound(found: Iterable[str]) -> tuple[str, ...]:
    """Give what are addresses: what the cluster says is not to be trusted to be one, and "None" is none."""
    return tuple(a for a in found if parse_address(a) is not None)


def container_of(pod: wire.Pod, name: str) -> wire.Container | None:
    """Give a container of a pod by name, or its first; ``UsageError`` where there is none of that name."""
    spec = pod.spec
    listed = (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)
    for one in listed:
        if not name or one.name == name:
            return one
    if not name:
        return None
    hint = "it has " + ", ".join(c.name for c in listed)
    raise UsageError(f"pod {full_name(pod.metadata)} has no container {name}", hint=hint)


def of_pod(written: str, pod: wire.Pod) -> End:
    """Give a pod as an end; ``UsageError`` where it has no network."""
    name = full_name(pod.metadata)
    if finished(pod):
        raise UsageError(f"pod {name} has finished, so it has no address any more")
    if not pod.spec.node_name:
        raise UsageError(f"pod {name} is on no node yet, so it has no address")
    ports = [p.container_port for c in pod.spec.containers for p in c.ports if p.protocol == "TCP"]
    return End(written, Kind.POD, name, sound(addresses(pod)), pod.spec.node_name, ports[0] if ports else 0, pod)


def _pod(snapshot: Snapshot, written: str, name: str, namespace: str) -> End:
    return of_pod(written, _one(snapshot.pods, "pod", name, namespace))


def _owned(snapshot: Snapshot, written: str, name: str, namespace: str, kind: str, *, of_set: bool) -> End:
    """Give the first running pod of a workload; a Deployment's ReplicaSets have its name and a hash."""
    given, _, short = name.rpartition("/")
    where = given or namespace

    def owns(pod: wire.Pod) -> bool:
        controllers = (o.name for o in pod.metadata.owner_references if o.controller and o.kind == kind)
        return any((n.rpartition("-")[0] if of_set else n) == short for n in controllers)

    pods = [p for p in snapshot.pods if owns(p) and (not where or p.metadata.namespace == where) and not finished(p)]
    if not pods:
        raise UsageError(f"{written} has no pod", hint="`netinspect map -A --network cluster` shows the pods")
    return of_pod(written, min(pods, key=lambda p: (p.status.phase != "Running", full_name(p.metadata))))


def of_service(written: str, service: wire.Service) -> End:
    """Give a Service as an end, by its cluster addresses."""
    spec = service.spec
    ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    port = spec.ports[0].port if spec.ports else 0
    found = sound(ips)
    return End(written, Kind.SERVICE, full_name(service.metadata), found, port=port, service=service)


def _service(snapshot: Snapshot, written: str, name: str, namespace: str) -> End:
    return of_service(written, _one(snapshot.services, "svc", name, namespace))


def of_node(written: str, node: wire.Node) -> End:
    """Give a node as an end, by its internal addresses."""
    found = sorted(node.status.addresses, key=lambda a: a.type != "InternalIP")
    listed = tuple(dict.fromkeys(a.address for a in found if parse_address(a.address) is not None))
    return End(written, Kind.NODE, node.metadata.name, listed, node.metadata.name)


def _node(snapshot: Snapshot, written: str, name: str) -> End:
    for node in snapshot.nodes:
        if node.metadata.name == name:
            return of_node(written, node)
    raise UsageError(f"there is no node {name}", hint="`netinspect map --network host` lists them")


def _address(snapshot: Snapshot, written: str, address: str, port: int) -> End:
    """Give who has an address; it stays the address that is asked for."""
    for pod in snapshot.pods:
        if address in addresses(pod) and not finished(pod) and not pod.spec.host_network:
            found = of_pod(written, pod)
            return replace(found, addresses=(address,), port=port or found.port)
    for service in snapshot.services:
        balancers = (b.ip for b in service.status.load_balancer.ingress)
        if address in (*service.spec.cluster_ips, service.spec.cluster_ip, *service.spec.external_ips, *balancers):
            found = of_service(written, service)
            return replace(found, addresses=(address,), port=port or found.port)
    for node in snapshot.nodes:
        if any(a.address == address for a in node.status.addresses):
            return replace(of_node(written, node), addresses=(address,), port=port)
    return End(written, Kind.ADDRESS, addresses=(address,), port=port)


def _name(snapshot: Snapshot, written: str, name: str, asker: dns.Resolver) -> End:
    """Give what a name leads to: a Service, or of a headless one the pod with that host name."""
    found = dns.look_up(snapshot, asker, name) if asker.domain else None
    if not asker.domain and dns.look_up(snapshot, dns.of_namespace("default"), name) is not None:
        hint = "its dnsPolicy should be ClusterFirst, or ClusterFirstWithHostNet of a pod on the host network"
        said = f"{name} is not looked up in the cluster's DNS, which the sender's resolver does not ask"
        raise dns.Unresolved(said, hint=hint)
    if found is None:
        hint = "give its address: other servers would be asked, which netinspect does not do"
        raise UsageError(f"{name} is no name of this cluster's DNS", hint=hint)
    service, host = found
    if not host:
        return of_service(written, service)
    pod = next(
        (p for p in snapshot.pods if (p.metadata.name, p.metadata.namespace) == (host, service.metadata.namespace)),
        None,
    )
    if pod is None:
        raise UsageError(f"{name} names no pod behind svc/{full_name(service.metadata)}")
    return of_pod(written, pod)
