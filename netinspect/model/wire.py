"""The few fields of Kubernetes objects that we read, under the API's own names.

Decoded straight from the API server's JSON; unknown fields are skipped. Source: k8s.io/api v0.36 (core/v1,
discovery/v1, networking/v1) and sigs.k8s.io/gateway-api (apis/v1).

A plain ``str`` may tell something about the cluster's owner. A ``Term`` is a word of the API, a protocol or a time,
and stays readable when a recording is redacted.
"""

from typing import Annotated

from msgspec import Meta, Struct, field

Term = Annotated[str, Meta(extra={"redact": "keep"})]
Flags = Annotated[tuple[str, ...], Meta(extra={"redact": "flags"})]
Text = Annotated[str, Meta(extra={"redact": "text"})]
Labels = dict[str, str]


class Wire(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Base of what the API server sends."""


class OwnerReference(Wire, frozen=True):
    """The object that made this one and takes it along when it goes."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(Wire, frozen=True):
    """What every object carries."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: Labels = field(default_factory=dict)
    deletion_timestamp: Term = ""
    owner_references: tuple[OwnerReference, ...] = ()


class Condition(Wire, frozen=True):
    """One observed condition; ``status`` is True, False or Unknown."""

    type: str = ""
    status: Term = ""
    reason: Term = ""


class Namespace(Wire, frozen=True):
    """A namespace."""

    metadata: Metadata


class NodeSpec(Wire, frozen=True):
    """What was given to a node: its pod ranges (one a family)."""

    pod_cidr: str = field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = field(default=(), name="podCIDRs")


class NodeAddress(Wire, frozen=True):
    """An address or name of a node and what it is good for: InternalIP, ExternalIP, Hostname and others."""

    type: Term = ""
    address: str = ""


class NodeInfo(Wire, frozen=True):
    """What the kubelet says of its machine."""

    machine_id: str = field(default="", name="machineID")
    kubelet_version: Term = ""
    operating_system: Term = ""


class NodeStatus(Wire, frozen=True):
    """What the kubelet reports."""

    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    node_info: NodeInfo = NodeInfo()


class Node(Wire, frozen=True):
    """A machine of the cluster."""

    metadata: Metadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ContainerPort(Wire, frozen=True):
    """A port that a container says it listens on; the list is a hint, not a limit."""

    container_port: int = 0
    name: str = ""
    protocol: Term = "TCP"
    host_port: int = 0
    host_ip: str = field(default="", name="hostIP")


class Capabilities(Wire, frozen=True):
    """Linux capabilities given beyond those of every container; ``ALL`` gives all (capabilities(7))."""

    add: tuple[Term, ...] = ()


class SecurityContext(Wire, frozen=True):
    """What a container may do on its node."""

    privileged: bool = False
    capabilities: Capabilities = Capabilities()
    run_as_user: int | None = None


class PodSecurityContext(Wire, frozen=True):
    """What holds for all containers of a pod that say nothing else."""

    run_as_user: int | None = None


class Container(Wire, frozen=True):
    """A container of a pod; an init container with ``restartPolicy: Always`` is a native sidecar (KEP-753)."""

    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: Term = ""
    security_context: SecurityContext | None = None


class PodSpec(Wire, frozen=True):
    """What a pod asks for."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    node_name: str = ""
    host_network: bool = False
    host_pid: bool = field(default=False, name="hostPID")
    dns_policy: Term = ""
    security_context: PodSecurityContext = PodSecurityContext()


class Reason(Wire, frozen=True):
    """Why a container waits or ended."""

    reason: Term = ""


class ContainerState(Wire, frozen=True):
    """One of three: waiting, running, terminated."""

    waiting: Reason | None = None
    running: Reason | None = None
    terminated: Reason | None = None


class ContainerStatus(Wire, frozen=True):
    """What the kubelet reports of a container."""

    name: str = ""
    ready: bool = False
    state: ContainerState = ContainerState()
    container_id: str = field(default="", name="containerID")


class PodIP(Wire, frozen=True):
    """One address of a pod."""

    ip: str = ""


class PodStatus(Wire, frozen=True):
    """What the kubelet reports of a pod; finished pods keep an address here that they no longer hold."""

    phase: Term = ""
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")
    host_ip: str = field(default="", name="hostIP")
    host_ips: tuple[PodIP, ...] = field(default=(), name="hostIPs")
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Wire, frozen=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ServicePort(Wire, frozen=True):
    """A port of a Service; ``target_port`` is a number, or the name of a container port."""

    port: int = 0
    name: str = ""
    protocol: Term = "TCP"
    target_port: int | str = 0
    node_port: int = 0
    app_protocol: str = ""


class ClientIPConfig(Wire, frozen=True):
    """How long a client stays with its endpoint, in seconds."""

    timeout_seconds: int = 0


class SessionAffinityConfig(Wire, frozen=True):
    """How clients stay with their endpoint."""

    client_ip: ClientIPConfig | None = field(default=None, name="clientIP")


class ServiceSpec(Wire, frozen=True):
    """What a Service promises."""

    type: Term = "ClusterIP"
    selector: Labels = field(default_factory=dict)
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = field(default=(), name="externalIPs")
    external_name: str = ""
    ip_families: tuple[Term, ...] = ()
    ip_family_policy: Term = ""
    session_affinity: Term = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: Term = ""
    external_traffic_policy: Term = ""
    traffic_distribution: Term = ""
    publish_not_ready_addresses: bool = False
    load_balancer_class: str = ""
    load_balancer_ip: str = field(default="", name="loadBalancerIP")
    load_balancer_source_ranges: tuple[str, ...] = ()
    health_check_node_port: int = 0


class LoadBalancerIngress(Wire, frozen=True):
    """A point where traffic enters: an address or a name; ``ip_mode`` VIP or Proxy (KEP-1860)."""

    ip: str = ""
    hostname: str = ""
    ip_mode: Term = ""


class LoadBalancerStatus(Wire, frozen=True):
    """What a load balancer's controller reports."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Wire, frozen=True):
    """What is reported of a Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Wire, frozen=True):
    """A stable name and address in front of changing pods."""

    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class ObjectReference(Wire, frozen=True):
    """Another object, named."""

    kind: Term = ""
    name: str = ""
    namespace: str = ""


class EndpointConditions(Wire, frozen=True):
    """Absent means: ready true, serving as ready, terminating false (discovery/v1)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Wire, frozen=True):
    """A zone that should use this endpoint."""

    name: str = ""


class EndpointHints(Wire, frozen=True):
    """Who should use this endpoint."""

    for_zones: tuple[ForZone, ...] = ()


class Endpoint(Wire, frozen=True):
    """One backend."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference | None = None
    hints: EndpointHints | None = None


class EndpointPort(Wire, frozen=True):
    """A port on which every endpoint of the slice answers; no number means all ports."""

    name: str = ""
    port: int | None = None
    protocol: Term = "TCP"


class SliceMetadata(Metadata, frozen=True):
    """What a slice carries besides: the moment of its last change, comparable with a list's (KEP-5504)."""

    resource_version: Term = ""


class EndpointSlice(Wire, frozen=True):
    """Some of a Service's backends."""

    metadata: SliceMetadata
    address_type: Term = ""
    endpoints: tuple[Endpoint, ...] | None = ()
    ports: tuple[EndpointPort, ...] | None = ()


class ServiceCIDRSpec(Wire, frozen=True):
    """Ranges out of which Services get their addresses."""

    cidrs: tuple[str, ...] = ()


class ServiceCIDR(Wire, frozen=True):
    """A service range as an object (KEP-1880)."""

    metadata: Metadata
    spec: ServiceCIDRSpec = ServiceCIDRSpec()


class ParentReference(Wire, frozen=True):
    """The object that uses an address."""

    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


class IPAddressSpec(Wire, frozen=True):
    """What an IPAddress stands for."""

    parent_ref: ParentReference = ParentReference()


class IPAddress(Wire, frozen=True):
    """A taken service address; the object's name is the address (KEP-1880)."""

    metadata: Metadata
    spec: IPAddressSpec = IPAddressSpec()


class ServiceBackendPort(Wire, frozen=True):
    """A Service's port, by name or number."""

    name: str = ""
    number: int = 0


class IngressServiceBackend(Wire, frozen=True):
    """A Service that an Ingress leads to."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class IngressBackend(Wire, frozen=True):
    """Where an Ingress leads."""

    service: IngressServiceBackend | None = None


class IngressPath(Wire, frozen=True):
    """One path of a host."""

    path: str = ""
    backend: IngressBackend = IngressBackend()


class IngressHTTP(Wire, frozen=True):
    """The paths of a host."""

    paths: tuple[IngressPath, ...] = ()


class IngressRule(Wire, frozen=True):
    """What a host leads to."""

    host: str = ""
    http: IngressHTTP = IngressHTTP()


class IngressSpec(Wire, frozen=True):
    """What an Ingress asks for."""

    ingress_class_name: str = ""
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()


class IngressStatus(Wire, frozen=True):
    """Where an Ingress can be reached."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Ingress(Wire, frozen=True):
    """HTTP from outside, by host and path."""

    metadata: Metadata
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class GatewayAddress(Wire, frozen=True):
    """An address or name at which a Gateway answers."""

    type: Term = ""
    value: str = ""


class Listener(Wire, frozen=True):
    """A port of a Gateway."""

    name: str = ""
    port: int = 0
    protocol: str = ""
    hostname: str = ""


class GatewaySpec(Wire, frozen=True):
    """What a Gateway asks for."""

    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()


class GatewayStatus(Wire, frozen=True):
    """Where a Gateway can be reached."""

    addresses: tuple[GatewayAddress, ...] = ()


class Gateway(Wire, frozen=True):
    """A Gateway API entry point."""

    metadata: Metadata
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


class Named(Wire, frozen=True):
    """An object of which only its being there is read so far."""

    metadata: Metadata


class Requirement(Wire, frozen=True):
    """A condition on one label: ``In``, ``NotIn``, ``Exists`` or ``DoesNotExist``."""

    key: str = ""
    operator: Term = ""
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        """Say whether labels meet it (k8s.io/apimachinery/pkg/labels)."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        return (value is not None) == (self.operator == "Exists")


class LabelSelector(Wire, frozen=True):
    """Which objects are meant, by their labels; an empty one means all."""

    match_labels: Labels = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Say whether an object with these labels is meant."""
        wanted = self.match_labels.items() <= labels.items()
        return wanted and all(r.holds(labels) for r in self.match_expressions)


class NetworkPolicySpec(Wire, frozen=True):
    """Whom a policy selects; an empty selector selects every pod of its namespace."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[Term, ...] = ()


class NetworkPolicy(Wire, frozen=True):
    """A NetworkPolicy, as far as it says whom it is about."""

    metadata: Metadata
    spec: NetworkPolicySpec = NetworkPolicySpec()


class ConfigMap(Wire, frozen=True):
    """Settings of the cluster."""

    metadata: Metadata
    data: dict[str, Text] = field(default_factory=dict)


class CommandContainer(Wire, frozen=True):
    """The command line of a control-plane component."""

    name: str = ""
    command: Flags = ()
    args: Flags = ()


class ControlPlaneSpec(Wire, frozen=True):
    """The containers of a control-plane pod."""

    containers: tuple[CommandContainer, ...] = ()


class ControlPlanePod(Wire, frozen=True):
    """A control-plane component that runs as a static pod, as kubeadm sets it up."""

    metadata: Metadata
    spec: ControlPlaneSpec = ControlPlaneSpec()
