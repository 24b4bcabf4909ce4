"""The service network: Services, where their ports lead, and what about them cannot work as written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netinspect.analysis.pods import addresses, finished, full_name
from netinspect.analysis.ranges import service_ranges
from netinspect.analysis.selection import Selected
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import (
    EndpointEntry,
    EntryPoint,
    LoadBalancer,
    Mismatch,
    PortEntry,
    ServiceEntry,
    ServiceNetwork,
)

_SERVICE_NAME = "kubernetes.io/service-name"
Key = tuple[str, str]


def service_network(snapshot: Snapshot, selected: Selected) -> ServiceNetwork:
    """Lay out the Services with their endpoints."""
    slices: dict[Key, list[wire.EndpointSlice]] = defaultdict(list)
    for piece in snapshot.endpoint_slices:
        slices[piece.metadata.namespace, piece.metadata.labels.get(_SERVICE_NAME, "")].append(piece)
    seen = _Seen(snapshot, selected.services)
    services = sorted(selected.services, key=lambda s: (s.metadata.namespace, s.metadata.name))
    shown = {full_name(s.metadata) for s in services}
    return ServiceNetwork(
        ranges=service_ranges(snapshot),
        services=None
        if snapshot.unseen("services")
        else tuple(_entry(s, slices.get((s.metadata.namespace, s.metadata.name), []), seen) for s in services),
        entry_points=tuple(
            e for e in _entry_points(snapshot) if selected.namespace(e.namespace) or not shown.isdisjoint(e.services)
        ),
    )


class _Seen:
    """What was read of the pods and slices, indexed for the questions that Services ask."""

    def __init__(self, snapshot: Snapshot, services: tuple[wire.Service, ...]) -> None:
        self.pods_known = snapshot.gap("pods") is None
        self.slices_known = snapshot.gap("endpoint_slices") is None
        self.pods = {(p.metadata.namespace, p.metadata.name): p for p in snapshot.pods}
        # Only labels that some selector asks for are indexed: pods carry many more.
        wanted = {pair for s in services for pair in s.spec.selector.items()}
        self._by_label: dict[tuple[str, str, str], list[wire.Pod]] = defaultdict(list)
        for pod in snapshot.pods:
            if not finished(pod):
                for key, value in wanted.intersection(pod.metadata.labels.items()):
                    self._by_label[pod.metadata.namespace, key, value].append(pod)

    def matching(self, service: wire.Service) -> list[wire.Pod]:
        """List the live pods that a Service's selector matches."""
        pairs = service.spec.selector.items()
        rarest = min((self._by_label.get((service.metadata.namespace, k, v), []) for k, v in pairs), key=len)
        return [p for p in rarest if pairs <= p.metadata.labels.items()]


def _entry(service: wire.Service, slices: list[wire.EndpointSlice], seen: _Seen) -> ServiceEntry:
    spec = service.spec
    ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    balancers = service.status.load_balancer.ingress
    affinity = spec.session_affinity_config.client_ip if spec.session_affinity_config else None
    external_name = spec.type == "ExternalName"
    ports = tuple(_port(p, slices, seen, external_name=external_name) for p in spec.ports)
    return ServiceEntry(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        type=spec.type,
        headless="None" in ips,
        cluster_ips=tuple(ip for ip in ips if ip != "None"),
        external_ips=spec.external_ips,
        load_balancers=tuple(LoadBalancer(address=b.ip or b.hostname, ip_mode=b.ip_mode) for b in balancers),
        load_balancer_pending=spec.type == "LoadBalancer" and not balancers,
        load_balancer_source_ranges=spec.load_balancer_source_ranges,
        external_name=spec.external_name,
        selector=spec.selector,
        ip_families=spec.ip_families,
        session_affinity_seconds=affinity.timeout_seconds if affinity and spec.session_affinity == "ClientIP" else 0,
        internal_traffic_policy=spec.internal_traffic_policy,
        external_traffic_policy=spec.external_traffic_policy,
        traffic_distribution=spec.traffic_distribution,
        health_check_node_port=spec.health_check_node_port,
        publish_not_ready_addresses=spec.publish_not_ready_addresses,
        ports=ports,
        mismatches=() if external_name else tuple(_mismatches(service, ports, seen)),
    )


def _port(port: wire.ServicePort, slices: list[wire.EndpointSlice], seen: _Seen, *, external_name: bool) -> PortEntry:
    endpoints: tuple[EndpointEntry, ...] | None = None
    if seen.slices_known:
        found = (
            _endpoint(endpoint, text, slice_port.port, piece.metadata.namespace, seen)
            for piece in slices
            for slice_port in piece.ports or ()
            if (slice_port.name, slice_port.protocol) == (port.name, port.protocol)
            for endpoint in piece.endpoints or ()
            for text in endpoint.addresses
        )
        endpoints = () if external_name else tuple(sorted(found, key=lambda e: (e.pod, e.address)))
    return PortEntry(
        port=port.port,
        protocol=port.protocol,
        target_port=port.target_port or port.port,
        name=port.name,
        node_port=port.node_port,
        app_protocol=port.app_protocol,
        endpoints=endpoints,
    )


def _endpoint(endpoint: wire.Endpoint, address: str, port: int | None, namespace: str, seen: _Seen) -> EndpointEntry:
    target = endpoint.target_ref
    pod = ""
    if target is not None and target.kind == "Pod":
        pod = f"{target.namespace or namespace}/{target.name}"
    conditions = endpoint.conditions
    ready = conditions.ready is not False
    return EndpointEntry(
        address=address,
        port=port,
        ready=ready,
        serving=ready if conditions.serving is None else conditions.serving,
        terminating=bool(conditions.terminating),
        pod=pod,
        node=endpoint.node_name,
        zone=endpoint.zone,
        stale=_stale(pod, address, seen) if pod and seen.pods_known else "",
    )


def _stale(name: str, address: str, seen: _Seen) -> str:
    """Say why an endpoint does not lead to the pod that it names."""
    namespace, _, plain = name.partition("/")
    pod = seen.pods.get((namespace, plain))
    if pod is None:
        return "the pod does not exist"
    if finished(pod):
        return "the pod has finished"
    if address not in addresses(pod):
        return "the pod has another address"
    return ""


def _mismatches(service: wire.Service, ports: tuple[PortEntry, ...], seen: _Seen) -> Iterator[Mismatch]:
    """Find what cannot work as written; a port that has one reason for leading nowhere is not given a second."""
    matching = seen.matching(service) if service.spec.selector and seen.pods_known else None
    if matching == []:
        selector = ",".join(f"{k}={v}" for k, v in sorted(service.spec.selector.items()))
        yield Mismatch(kind="selector-matches-nothing", message=f"no live pod has the labels {selector}")
    for port in ports if matching != [] else ():
        if matching and isinstance(port.target_port, str) and not _named(matching, port.target_port, port.protocol):
            yield Mismatch(
                kind="port-name-unknown",
                message=f"no container of the selected pods has a {port.protocol} port named {port.target_port}",
            )
        elif port.endpoints is not None and not any(e.ready for e in port.endpoints):
            reason = _why_none_ready(port.endpoints)
            yield Mismatch(kind="no-ready-endpoint", message=f"port {port.port}/{port.protocol}: {reason}")
    stale = {(e.pod, e.address, e.stale) for port in ports for e in port.endpoints or () if e.stale}
    for pod, address, why in sorted(stale):
        yield Mismatch(kind="stale-endpoint", message=f"{address} is said to be pod {pod}: {why}")


def _why_none_ready(endpoints: tuple[EndpointEntry, ...]) -> str:
    if not endpoints:
        return "no endpoints"
    serving = sum(1 for e in endpoints if e.serving and e.terminating)
    if serving:
        return f"no endpoint is ready; {serving} terminating still serve"
    return f"none of {len(endpoints)} endpoints is ready"


def _named(pods: list[wire.Pod], name: str, protocol: str) -> bool:
    """Say whether a pod has the named port; native sidecars count, as in the API server (pod/util FindPort)."""
    return any(
        (p.name, p.protocol) == (name, protocol)
        for pod in pods
        for c in (*pod.spec.containers, *(i for i in pod.spec.init_containers if i.restart_policy == "Always"))
        for p in c.ports
    )


def _entry_points(snapshot: Snapshot) -> Iterator[EntryPoint]:
    for ingress in sorted(snapshot.ingresses, key=lambda i: (i.metadata.namespace, i.metadata.name)):
        backends = [p.backend for rule in ingress.spec.rules for p in rule.http.paths]
        if ingress.spec.default_backend is not None:
            backends.append(ingress.spec.default_backend)
        names = {f"{ingress.metadata.namespace}/{b.service.name}" for b in backends if b.service is not None}
        yield EntryPoint(
            kind="Ingress",
            namespace=ingress.metadata.namespace,
            name=ingress.metadata.name,
            controller_class=ingress.spec.ingress_class_name,
            addresses=tuple(b.ip or b.hostname for b in ingress.status.load_balancer.ingress),
            services=tuple(sorted(names)),
        )
    for gateway in sorted(snapshot.gateways, key=lambda g: (g.metadata.namespace, g.metadata.name)):
        yield EntryPoint(
            kind="Gateway",
            namespace=gateway.metadata.namespace,
            name=gateway.metadata.name,
            controller_class=gateway.spec.gateway_class_name,
            addresses=tuple(a.value for a in gateway.status.addresses),
            ports=tuple(dict.fromkeys(listener.port for listener in gateway.spec.listeners)),
        )
