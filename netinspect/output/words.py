"""How values read to a person, the same in every text format."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.model.topology import (
    ContainerPortEntry,
    EndpointEntry,
    PodEntry,
    PortEntry,
    ServiceEntry,
    Truth,
)


def usage(used: int | None, capacity: int | None) -> str:
    """Write ``14 of 254``; a question mark where the number is not known."""
    taken = "?" if used is None else str(used)
    return f"{taken} of {capacity}" if capacity is not None else taken


def endpoint(address: str, port: int | None) -> str:
    """Write an address with its port, IPv6 in brackets (RFC 3986, section 3.2.2)."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def service_port(port: PortEntry) -> str:
    """Write ``80:30080→http/TCP``: port, node port, target and protocol."""
    if not port.port:
        return "any"
    node = f":{port.node_port}" if port.node_port else ""
    target = f"→{port.target_port}" if port.target_port != port.port else ""
    return f"{port.port}{node}{target}/{port.protocol}"


def endpoint_count(service: ServiceEntry) -> str:
    """Write how many endpoints are ready of how many there are, over all ports: ``3/3``."""
    if service.type == "ExternalName":
        return ""
    if any(p.endpoints is None for p in service.ports):
        return "?"
    # A dual-stack pod stands in two slices and is one endpoint.
    ready: dict[str, bool] = {}
    for port in service.ports:
        for e in port.endpoints or ():
            key = e.pod or e.address
            ready[key] = ready.get(key, True) and e.ready and not e.stale
    return f"{sum(ready.values())}/{len(ready)}"


def endpoint_state(entry: EndpointEntry) -> str:
    """Say what an endpoint is fit for: ready, serving while it terminates, or nothing."""
    words = ["ready"] if entry.ready else ["not ready"]
    if entry.terminating:
        words = ["terminating, still serving"] if entry.serving else ["terminating"]
    return ", ".join([*words, *([entry.stale] if entry.stale else [])])


def service_addresses(service: ServiceEntry) -> str:
    """Write every address at which a Service can be reached."""
    if service.type == "ExternalName":
        return f"→ {service.external_name}"
    words = ["headless"] if service.headless else list(service.cluster_ips)
    words += [f"external {ip}" for ip in service.external_ips]
    words += [f"lb {b.address}" for b in service.load_balancers]
    if service.load_balancer_pending:
        words.append("lb pending")
    return ", ".join(words)


def service_policies(service: ServiceEntry) -> str:
    """Write what makes a Service treat clients or endpoints unequally."""
    words = []
    if service.internal_traffic_policy == "Local":
        words.append("internal: Local")
    if service.external_traffic_policy == "Local":
        words.append("external: Local")
    if service.session_affinity_seconds:
        words.append(f"affinity {service.session_affinity_seconds} s")
    if service.publish_not_ready_addresses:
        words.append("publishes not-ready")
    if service.traffic_distribution:
        words.append(service.traffic_distribution)
    if service.load_balancer_source_ranges:
        words.append(f"from {' '.join(service.load_balancer_source_ranges)}")
    return ", ".join(words)


def pod_state(pod: PodEntry) -> str:
    """Say how a pod is, as kubectl does: its phase, or the reason why it is stuck."""
    if pod.terminating:
        return "Terminating"
    if pod.phase == "Succeeded":
        return "Completed"
    if pod.reason:
        return pod.reason
    if pod.phase == "Running" and pod.ready is not Truth.TRUE:
        return "Running, not ready"
    return pod.phase


def pod_notes(pod: PodEntry) -> Iterator[str]:
    """Say what is odd about a pod's addresses."""
    for address in pod.addresses:
        if address.shared_with:
            yield f"{address.address} is also claimed by {', '.join(address.shared_with)}"
        if address.outside_node_range:
            yield f"{address.address} is outside the pod range of its node {pod.node}"


def container_ports(ports: tuple[ContainerPortEntry, ...]) -> str:
    """Write ``8080/TCP (http)``, with the node's port where one is claimed."""
    words = []
    for port in ports:
        host = f" on node port {port.host_port}" if port.host_port else ""
        name = f" ({port.name})" if port.name else ""
        words.append(f"{port.port}/{port.protocol}{name}{host}")
    return ", ".join(words)
