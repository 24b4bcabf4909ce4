"""Kubernetes' own kinds. Source: k8s.io/api v0.36 (core/v1, apps/v1, discovery/v1, networking/v1)."""

from typing import Annotated

from msgspec import Meta, field

from netinspect.model.wire.base import (
    Condition,
    Flags,
    Image,
    Labels,
    ManagedFields,
    Metadata,
    NotedMetadata,
    ObjectReference,
    Term,
    Text,
    Wire,
)


class NamespaceMetadata(NotedMetadata, frozen=True):
    """What a namespace carries besides: when its labels were set."""

    managed_fields: tuple[ManagedFields, ...] = ()


class Namespace(Wire, frozen=True):
    """A namespace."""

    metadata: NamespaceMetadata


class Taint(Wire, frozen=True):
    """What keeps pods away from a node."""

    key: Term = ""
    effect: Term = ""


class NodeSpec(Wire, frozen=True):
    """What was given to a node: its pod ranges (one a family), its taints, and who made it."""

    pod_cidr: str = field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] = field(default=(), name="podCIDRs")
    taints: tuple[Taint, ...] = ()
    provider_id: str = field(default="", name="providerID")


class NodeAddress(Wire, frozen=True):
    """An address or name of a node and what it is good for: InternalIP, ExternalIP, Hostname and others."""

    type: Term = ""
    address: str = ""


class NodeInfo(Wire, frozen=True):
    """What the kubelet says of its machine."""

    machine_id: str = field(default="", name="machineID")
    kubelet_version: Term = ""
    kernel_version: Term = ""
    operating_system: Term = ""


class NodeStatus(Wire, frozen=True):
    """What the kubelet reports."""

    addresses: tuple[NodeAddress, ...] = ()
    capacity: dict[str, Term] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    node_info: NodeInfo = NodeInfo()


class Node(Wire, frozen=True):
    """A machine of the cluster."""

    metadata: NotedMetadata
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

    metadata: NotedMetadata
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def headless(self) -> bool:
        """Say whether it has no address of its own: its name leads to its pods'."""
        return self.spec.cluster_ip == "None"

    def selects(self, pod: Metadata) -> bool:
        """Say whether its selector means a pod; without one it means none."""
        wanted = self.spec.selector
        return bool(wanted) and self.metadata.namespace == pod.namespace and wanted.items() <= pod.labels.items()


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


class EnvironmentVariable(Wire, frozen=True):
    """A variable of a container; ``value`` is empty where it comes from elsewhere."""

    name: str = ""
    value: str = ""


# Only those that a driver reads stay when a recording is redacted.
Variables = Annotated[tuple[EnvironmentVariable, ...] | None, Meta(extra={"redact": "known"})]


class NotedContainer(Container, frozen=True):
    """A container, by what tells besides which program it is and how that is set up."""

    image: Image = ""
    command: Flags | None = ()
    args: Flags | None = ()
    env: Variables = ()


class NotedPodSpec(PodSpec, frozen=True):
    """What a pod asks for, its containers' programs with it."""

    containers: tuple[NotedContainer, ...] = ()
    init_containers: tuple[NotedContainer, ...] = ()
    service_account_name: str = ""
    automount_service_account_token: bool | None = None


class NotedPod(Pod, frozen=True):
    """A pod with what others noted on it and what its containers run; ten times as large as ``Pod``."""

    metadata: NotedMetadata
    spec: NotedPodSpec = NotedPodSpec()


class KeyReference(Wire, frozen=True):
    """An object that a volume shows."""

    name: str = ""


class HostPath(Wire, frozen=True):
    """A folder of the node."""

    path: str = ""


class Volume(Wire, frozen=True):
    """A volume of a pod, as far as it shows a folder of the node or a ConfigMap."""

    host_path: HostPath | None = None
    config_map: KeyReference | None = None


class AgentContainer(Wire, frozen=True):
    """A container of a DaemonSet, by what tells which program it is and how that is set up."""

    name: str = ""
    image: Image = ""
    command: Flags | None = ()
    args: Flags | None = ()
    env: Variables = ()


class AgentSpec(Wire, frozen=True):
    """The pods of a DaemonSet."""

    containers: tuple[AgentContainer, ...] = ()
    init_containers: tuple[AgentContainer, ...] | None = ()
    host_network: bool = False
    volumes: tuple[Volume, ...] | None = ()


class AgentTemplate(Wire, frozen=True):
    """What a DaemonSet makes its pods from."""

    metadata: Metadata = Metadata()
    spec: AgentSpec = AgentSpec()


class DaemonSetSpec(Wire, frozen=True):
    """What a DaemonSet asks for."""

    template: AgentTemplate = AgentTemplate()


class DaemonSetStatus(Wire, frozen=True):
    """On how many nodes a DaemonSet should run a pod, and on how many that is ready."""

    desired_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0


class DaemonSet(Wire, frozen=True):
    """A pod on every node: so the agents of CNIs run."""

    metadata: Metadata
    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()


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


class ServiceReference(Wire, frozen=True):
    """The Service behind which a webhook is."""

    name: str = ""
    namespace: str = ""


class WebhookClient(Wire, frozen=True):
    """How the API server reaches a webhook: by a Service, or by a URL outside of the cluster."""

    service: ServiceReference | None = None
    url: str = ""


class WebhookRule(Wire, frozen=True):
    """Which requests a webhook is asked about."""

    operations: tuple[Term, ...] | None = ()
    resources: tuple[Term, ...] | None = ()


class MatchCondition(Wire, frozen=True):
    """A condition in CEL, by its name (KEP-3716)."""

    name: str = ""


class MutatingWebhook(Wire, frozen=True):
    """A webhook that may change what is created (k8s.io/api/admissionregistration/v1)."""

    name: str = ""
    client_config: WebhookClient = WebhookClient()
    failure_policy: Term = ""
    namespace_selector: LabelSelector = LabelSelector()
    object_selector: LabelSelector = LabelSelector()
    rules: tuple[WebhookRule, ...] | None = ()
    match_conditions: tuple[MatchCondition, ...] | None = ()


class MutatingWebhookConfiguration(Wire, frozen=True):
    """Some webhooks that are asked before objects are stored."""

    metadata: NotedMetadata
    webhooks: tuple[MutatingWebhook, ...] | None = ()
