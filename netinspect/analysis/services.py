"""The service network: Services, where their ports lead, and what about them cannot work as written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netinspect.analysis.backends import SERVICE_NAME, PodsByLabel, finished, pod_behind, readiness_of
from netinspect.analysis.pods import addresses, full_name
from netinspect.analysis.ranges import parse_address, service_ranges
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
    several,
)

Key = tuple[str, str]


def service_network(snapshot: Snapshot, selected: Selected) -> ServiceNetwork:
    """Lay out the Services with their endpoints."""
    slices: dict[Key, list[wire.EndpointSlice]] = defaultdict(list)
    for piece in snapshot.endpoint_slices:
        slices[piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, "")].append(piece)
    seen = _Seen(snapshot, selected.services)
    services = sorted(selected.services, key=lambda s: (s.metadata.namespace, s.metadata.name))
    shown = {full_name(s.metadata) for s in services}
    shown_namespaces = {s.metadata.namespace for s in services}
    fronts_unseen = snapshot.unseen("ingresses") or snapshot.unseen("gateways")
    return ServiceNetwork(
        ranges=service_ranges(snapshot),
        services=None
        if snapshot.unseen("services")
        else several(_entry(s, slices.get((s.metadata.namespace, s.metadata.name), []), seen) for s in services),
        entry_points=None
        if fronts_unseen
        else several(
            e
            for e in _entry_points(snapshot)
            if selected.namespace(e.namespace)
            or not shown.isdisjoint(e.services or ())
            or (e.services is None and e.namespace in shown_namespaces)
        ),
    )


def of_service(snapshot: Snapshot, service: wire.Service) -> ServiceEntry:
    """Lay out one Service with its endpoints."""
    mine = (service.metadata.namespace, service.metadata.name)
    slices = [
        piece for piece in snapshot.endpoint_slices
        if (piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, "")) == mine
    ]  # fmt: skip
    return _entry(service, slices, _Seen(snapshot, (service,)))


class _Seen:
    """What was read of the pods and slices, indexed for the questions that Services ask."""

    def __init__(self, snapshot: Snapshot, services: tuple[wire.Service, ...]) -> None:
        self._snapshot = snapshot
        self.pods = {(p.metadata.namespace, p.metadata.name): p for p in snapshot.pods}
        self.by_label = PodsByLabel(snapshot.pods, services)

    def judges(self, piece: wire.SliceMetadata, pod: str) -> bool:
        """Say whether the pods that were read tell what a slice says of one: all were, and none since it changed."""
        if not self.pods_of(pod.partition("/")[0]):
            return False
        pods = self._snapshot.versions.get("pods", "")
        if not pods or not piece.resource_version:
            return True
        return pods.isdecimal() and piece.resource_version.isdecimal() and int(pods) >= int(piece.resource_version)

    def pods_of(self, namespace: str) -> bool:
        """Say whether all pods of a namespace were read."""
        return self._snapshot.whole("pods", namespace)

    def slices_of(self, namespace: str) -> bool:
        """Say whether all slices of a namespace were read."""
        return self._snapshot.whole("endpoint_slices", namespace)


def _entry(service: wire.Service, slices: list[wire.EndpointSlice], seen: _Seen) -> ServiceEntry:
    spec = service.spec
    ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    balancers = service.status.load_balancer.ingress
    affinity = spec.session_affinity_config.client_ip if spec.session_affinity_config else None
    external_name = spec.type == "ExternalName"
    # A headless Service may have no ports, and its slices then have none either: its endpoints stand for every port.
    asked = spec.ports or ((wire.ServicePort(),) if "None" in ips else ())
    ports = several(_port(p, slices, seen, service) for p in asked)
    return ServiceEntry(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        type=spec.type,
        headless="None" in ips,
        cluster_ips=several(ip for ip in ips if ip != "None"),
        external_ips=spec.external_ips,
        load_balancers=several(LoadBalancer(address=b.ip or b.hostname, ip_mode=b.ip_mode) for b in balancers),
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
        mismatches=() if external_name else several(_mismatches(service, ports, seen)),
    )


def _port(port: wire.ServicePort, slices: list[wire.EndpointSlice], seen: _Seen, service: wire.Service) -> PortEntry:
    endpoints: tuple[EndpointEntry, ...] | None = None
    if seen.slices_of(service.metadata.namespace):
        found = (
            _endpoint(endpoint, text, number, piece.metadata, seen)
            for piece in slices
            for number in _numbers(piece, port)
            for endpoint in piece.endpoints or ()
            for text in endpoint.addresses
        )
        external = service.spec.type == "ExternalName"
        endpoints = () if external else several(sorted(found, key=lambda e: (e.pod, e.address)))
    return PortEntry(
        port=port.port,
        protocol=port.protocol if port.port else "any",
        target_port=port.target_port or port.port,
        name=port.name,
        node_port=port.node_port,
        app_protocol=port.app_protocol,
        endpoints=endpoints,
    )


def _numbers(piece: wire.EndpointSlice, port: wire.ServicePort) -> list[int | None]:
    """Give the ports on which a slice's endpoints answer for a Service's port; None stands for all of them."""
    if not port.port:
        return [None]
    return [p.port for p in piece.ports or () if (p.name, p.protocol) == (port.name, port.protocol)]


def _endpoint(
    endpoint: wire.Endpoint, address: str, port: int | None, piece: wire.SliceMetadata, seen: _Seen
) -> EndpointEntry:
    pod = pod_behind(endpoint, piece.namespace)
    conditions = endpoint.conditions
    ready, serving = readiness_of(conditions)
    return EndpointEntry(
        address=address,
        port=port,
        ready=ready,
        serving=serving,
        terminating=bool(conditions.terminating),
        pod=pod,
        node=endpoint.node_name,
        zone=endpoint.zone,
        stale=_stale(pod, address, seen) if pod and seen.judges(piece, pod) else "",
    )


def _stale(name: str, address: str, seen: _Seen) -> str:
    """Say why an endpoint does not lead to the pod that it names."""
    namespace, _, plain = name.partition("/")
    pod = seen.pods.get((namespace, plain))
    if pod is None:
        return "the pod does not exist"
    if finished(pod):
        return "the pod has finished"
    if parse_address(address) not in map(parse_address, addresses(pod)):
        return "the pod does not have this address"
    return ""


def _mismatches(service: wire.Service, ports: tuple[PortEntry, ...], seen: _Seen) -> Iterator[Mismatch]:
    """Find what cannot work as written; a port that has one reason for leading nowhere is not given a second."""
    matching = (
        seen.by_label.matching(service) if service.spec.selector and seen.pods_of(service.metadata.namespace) else None
    )
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
            where = f"port {port.port}/{port.protocol}: " if port.port else ""
            yield Mismatch(kind="no-ready-endpoint", message=where + reason)
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
            addresses=several(b.ip or b.hostname for b in ingress.status.load_balancer.ingress),
            services=several(sorted(names)),
        )
    for gateway in sorted(snapshot.gateways, key=lambda g: (g.metadata.namespace, g.metadata.name)):
        yield EntryPoint(
            kind="Gateway",
            namespace=gateway.metadata.namespace,
            name=gateway.metadata.name,
            controller_class=gateway.spec.gateway_class_name,
            addresses=several(a.value for a in gateway.status.addresses),
            ports=several(dict.fromkeys(listener.port for listener in gateway.spec.listeners)),
            services=None,
        )
