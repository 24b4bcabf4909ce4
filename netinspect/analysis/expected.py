"""What the API's objects alone say of a flow: who is selected, where a Service leads, which policies are in the way."""

from __future__ import annotations

from dataclasses import dataclass

from netinspect.analysis.endpoints import Backend, backends, usable
from netinspect.analysis.ends import Kind
from netinspect.analysis.flow import Flow, services
from netinspect.analysis.pods import full_name
from netinspect.analysis.ranges import parse_address, parse_network
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival


@dataclass(frozen=True)
class Expected:
    """What should become of the flow, why, and to whom it may go."""

    arrival: Arrival
    reason: str
    backends: tuple[Backend, ...] = ()


def selected_by(snapshot: Snapshot, pod: wire.Pod | None, direction: str) -> tuple[str, ...]:
    """Name the NetworkPolicies that select a pod for ``Ingress`` or ``Egress``; the API server fills in the types."""
    if pod is None or pod.spec.host_network:
        return ()
    return tuple(
        f"networkpolicy/{full_name(p.metadata)}"
        for p in snapshot.network_policies
        if p.metadata.namespace == pod.metadata.namespace
        and direction in (p.spec.policy_types or ("Ingress",))
        and p.spec.pod_selector.matches(pod.metadata.labels)
    )


def expect(snapshot: Snapshot, flow: Flow) -> Expected:
    """Say what should become of a flow."""
    source, destination = flow.source, flow.destination
    for end in (source, destination):
        if end.pod is not None and end.pod.status.phase != "Running":
            return Expected(Arrival.LOST, f"pod {end.name} is {end.pod.status.phase or 'not running'}")
    found: tuple[Backend, ...] = ()
    if (destination.kind is Kind.SERVICE and not _is_headless(destination.service)) or any(services(snapshot, flow)):
        led = _through(snapshot, flow)
        if isinstance(led, Expected):
            return led
        found = led
    names = {b.pod for b in found}
    receivers = [p for p in snapshot.pods if full_name(p.metadata) in names] if names else [destination.pod]
    selecting = [*selected_by(snapshot, source.pod, "Egress")]
    selecting += (name for pod in receivers for name in selected_by(snapshot, pod, "Ingress"))
    policies = tuple(dict.fromkeys(selecting))
    arrival, reason = Arrival.ARRIVES, "every pod reaches every other"
    if policies:
        arrival, reason = Arrival.UNKNOWN, f"{', '.join(policies)} decides, and policies are not evaluated yet"
    elif snapshot.gap("network_policies"):
        arrival, reason = Arrival.UNKNOWN, "NetworkPolicies could not be read"
    elif flow.goes_out and (unseen := [k for k in ("pods", "services", "nodes") if snapshot.gap(k)]):
        arrival, reason = Arrival.UNKNOWN, f"whose address it is cannot be told: {', '.join(unseen)} could not be read"
    elif flow.goes_out:
        arrival, reason = Arrival.LEAVES, "the address is of nobody in the cluster"
    return Expected(arrival, reason, found)


def _through(snapshot: Snapshot, flow: Flow) -> tuple[Backend, ...] | Expected:
    """Give whom a Service leads to, or why it leads to nobody."""
    service, port = next(iter(services(snapshot, flow)), (flow.destination.service, None))
    if service is None or port is None:
        listed = ", ".join(f"{p.port}/{p.protocol}" for p in service.spec.ports) if service is not None else ""
        said = (
            f"svc/{flow.destination.name} has no port {flow.port}/{flow.question.protocol}; it has {listed or 'none'}"
        )
        return Expected(Arrival.LOST, said)
    name = full_name(service.metadata)
    if not snapshot.whole("endpoint_slices", service.metadata.namespace):
        return Expected(Arrival.UNKNOWN, "EndpointSlices could not be read")
    found = backends(snapshot, service, port, flow.family)
    if not usable(found):
        return Expected(Arrival.REFUSED, f"svc/{name} has no endpoint that is ready")
    if flow.comes_in and _leaves_out(service, flow):
        return Expected(
            Arrival.LOST, f"svc/{name} takes no traffic from {flow.source_address} (loadBalancerSourceRanges)"
        )
    node = _kept_on(service, flow)
    near = usable(tuple(b for b in found if b.node == node)) if node else usable(found)
    return near or Expected(Arrival.LOST, f"svc/{name} keeps traffic on {node}, which has no endpoint that is ready")


def _kept_on(service: wire.Service, flow: Flow) -> str:
    """Name the node whose endpoints alone are used, by the traffic policies of the Service; empty for all nodes.

    What comes from a node itself, or from its pods, counts as internal there (KEP-2086, and kube-proxy's comments).
    """
    source = flow.source.node
    if _is_headless(service):
        return ""
    if _is_cluster_ip(service, flow.address):
        return source if service.spec.internal_traffic_policy == "Local" else ""
    node = flow.entry
    if service.spec.external_traffic_policy != "Local":
        return ""
    return node if node and node != source else ""


def _is_cluster_ip(service: wire.Service, address: str) -> bool:
    return address in (*service.spec.cluster_ips, service.spec.cluster_ip)


def _is_headless(service: wire.Service | None) -> bool:
    return service is not None and service.headless


def _leaves_out(service: wire.Service, flow: Flow) -> bool:
    """Say whether a balancer's ranges leave the sender out (spec.loadBalancerSourceRanges)."""
    ranges = service.spec.load_balancer_source_ranges
    balanced = any(b.ip == flow.address for b in service.status.load_balancer.ingress)
    sender = parse_address(flow.source_address)
    if not ranges or not balanced or sender is None:
        return False
    return not any(sender in network for network in map(parse_network, ranges) if network is not None)
