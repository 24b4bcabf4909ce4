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
Image = Annotated[str, Meta(extra={"redact": "image"})]
# Said of an object's keys, which are its owner's; they do not stay in a redacted recording.
Dropped = Annotated[dict[str, dict[str, str]], Meta(extra={"redact": "drop"})]
Labels = dict[str, str]
# Only those that a driver reads stay when a recording is redacted.
Annotations = Annotated[dict[str, str], Meta(extra={"redact": "known"})]


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


class NotedMetadata(Metadata, frozen=True):
    """What an object carries besides: what others noted on it, and when it was made."""

    annotations: Annotations = field(default_factory=dict)
    creation_timestamp: Term | None = ""


class Condition(Wire, frozen=True):
    """One observed condition; ``status`` is True, False or Unknown."""

    type: str = ""
    status: Term = ""
    reason: Term = ""
    message: Text = ""
    last_transition_time: Term = ""


class FieldsSet(Wire, frozen=True):
    """Names of the labels and annotations that one manager last set, each after ``f:``."""

    labels: Dropped = field(default_factory=dict, name="f:labels")
    annotations: Dropped = field(default_factory=dict, name="f:annotations")


class FieldsV1(Wire, frozen=True):
    """The fields that one manager last set (KEP-555), as far as they are metadata."""

    metadata: FieldsSet = field(default=FieldsSet(), name="f:metadata")


class ManagedFields(Wire, frozen=True):
    """Who last set which fields, and when."""

    time: Term = ""
    fields_v1: FieldsV1 = field(default=FieldsV1(), name="fieldsV1")


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


class IPPoolSpec(Wire, frozen=True):
    """What a pool of Calico's IPAM hands out, and how packets travel between its blocks."""

    cidr: str = ""
    block_size: int = 0
    ipip_mode: Term = ""
    vxlan_mode: Term = ""
    nat_outgoing: bool = False
    disabled: bool = False
    node_selector: str = ""


class IPPool(Wire, frozen=True):
    """A pool of Calico (api/pkg/apis/projectcalico/v3/ippool.go)."""

    metadata: Metadata
    spec: IPPoolSpec = IPPoolSpec()


class BlockAffinitySpec(Wire, frozen=True):
    """Which node a block is meant for; ``deleted`` is text in v1."""

    cidr: str = ""
    node: str = ""
    state: Term = ""
    deleted: bool | Term = ""


class BlockAffinity(Wire, frozen=True):
    """A node's claim to a block of a pool (Calico design/ipam)."""

    metadata: Metadata
    spec: BlockAffinitySpec = BlockAffinitySpec()


class AllocationOwner(Wire, frozen=True, rename=None):
    """Who holds an address: a pod, or by its ``type`` a node's tunnel."""

    namespace: str = ""
    pod: str = ""
    node: str = ""
    type: Term = ""


class Allocation(Wire, frozen=True, rename=None):
    """What was noted when addresses of a block were handed out."""

    handle_id: str | None = ""
    secondary: AllocationOwner | None = None


class IPAMBlockSpec(Wire, frozen=True):
    """The addresses of a block in order: for each the index of its attributes, or null."""

    cidr: str = ""
    affinity: str | None = ""
    allocations: tuple[int | None, ...] = ()
    attributes: tuple[Allocation, ...] = ()
    deleted: bool | Term = False


class IPAMBlock(Wire, frozen=True):
    """A block of addresses and who holds them (Calico design/ipam)."""

    metadata: Metadata
    spec: IPAMBlockSpec = IPAMBlockSpec()


class FelixConfigurationSpec(Wire, frozen=True):
    """The settings of Felix that choose its data plane (felix/docs/config-params.json)."""

    bpf_enabled: bool | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = field(default=None, name="wireguardEnabledV6")
    nftables_mode: Term = ""
    chain_insert_mode: Term = ""
    interface_prefix: str = ""
    vxlan_vni: int | None = field(default=None, name="vxlanVNI")
    vxlan_port: int | None = None


class FelixConfiguration(Wire, frozen=True):
    """Settings of Felix, of all nodes (``default``) or of one (``node.NAME``)."""

    metadata: Metadata
    spec: FelixConfigurationSpec = FelixConfigurationSpec()


class CiliumAddress(Wire, frozen=True):
    """An address of a Cilium node: InternalIP, CiliumInternalIP and others."""

    ip: str = ""
    type: Term = ""


class CiliumPoolAllocation(Wire, frozen=True):
    """What a node has of a pool."""

    pool: str = ""
    cidrs: tuple[str, ...] | None = ()


class CiliumPools(Wire, frozen=True):
    """What a node has of the pools of multi-pool IPAM."""

    allocated: tuple[CiliumPoolAllocation, ...] | None = ()


class CiliumNodeIPAM(Wire, frozen=True):
    """The ranges out of which a node's pods get their addresses."""

    pod_cidrs: tuple[str, ...] | None = field(default=(), name="podCIDRs")
    pools: CiliumPools = CiliumPools()


class CiliumNodeSpec(Wire, frozen=True):
    """What Cilium knows of a node."""

    addresses: tuple[CiliumAddress, ...] | None = ()
    ipam: CiliumNodeIPAM = CiliumNodeIPAM()


class CiliumNode(Wire, frozen=True):
    """A node as Cilium sees it (pkg/k8s/apis/cilium.io/v2)."""

    metadata: Metadata
    spec: CiliumNodeSpec = CiliumNodeSpec()


class NetworkAttachmentSpec(Wire, frozen=True):
    """A CNI configuration, as JSON."""

    config: Text = ""


class NetworkAttachment(Wire, frozen=True):
    """A secondary network (NetworkAttachmentDefinition of the Network Plumbing Working Group)."""

    metadata: Metadata
    spec: NetworkAttachmentSpec = NetworkAttachmentSpec()


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


class MatchLabels(Wire, frozen=True):
    """Whom an object of Istio's is about, by labels (istio.io/api/type/v1beta1/selector.proto)."""

    match_labels: Labels = field(default_factory=dict)


class MutualTls(Wire, frozen=True):
    """Whether a proxy asks for mutual TLS: STRICT, PERMISSIVE, DISABLE, or UNSET."""

    mode: Term = ""


class PeerAuthenticationSpec(Wire, frozen=True):
    """What proxies ask of those who call them; the ports are the containers'."""

    selector: MatchLabels | None = None
    mtls: MutualTls | None = None
    port_level_mtls: dict[str, MutualTls] = field(default_factory=dict)


class PeerAuthentication(Wire, frozen=True):
    """A PeerAuthentication (istio.io/api/security/v1beta1/peer_authentication.proto)."""

    metadata: NotedMetadata
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()


class PortSelector(Wire, frozen=True):
    """A port by its number."""

    number: int = 0


class ConsistentHash(Wire, frozen=True):
    """By what of a request one server is chosen for all that are alike in it."""

    http_header_name: str = ""
    http_query_parameter_name: str = ""
    use_source_ip: bool = False


class LoadBalancing(Wire, frozen=True):
    """Who of a Service's pods is called."""

    simple: Term = ""
    consistent_hash: ConsistentHash | None = None


class TCPConnections(Wire, frozen=True):
    """How many connections a client's proxy opens to a host, and how long it waits for one."""

    max_connections: int = 0
    connect_timeout: str = ""


class HTTPConnections(Wire, frozen=True):
    """How many requests a client's proxy has open at a host; none is said by 0."""

    http1_max_pending_requests: int = field(default=0, name="http1MaxPendingRequests")
    http2_max_requests: int = field(default=0, name="http2MaxRequests")
    max_requests_per_connection: int = 0
    max_retries: int = 0


class ConnectionPool(Wire, frozen=True):
    """Beyond what the client's proxy answers 503 in a server's place."""

    tcp: TCPConnections = TCPConnections()
    http: HTTPConnections = HTTPConnections()


class OutlierDetection(Wire, frozen=True):
    """After how many errors in a row a server is not called for a while."""

    consecutive_5xx_errors: int | None = field(default=None, name="consecutive5xxErrors")
    consecutive_gateway_errors: int | None = None
    interval: str = "10s"
    base_ejection_time: str = "30s"
    max_ejection_percent: int = 10


class TrafficSettings(Wire, frozen=True):
    """How a client's proxy calls a Service; what is None is not said."""

    tls: MutualTls | None = None
    load_balancer: LoadBalancing | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None


class PortTrafficPolicy(TrafficSettings, frozen=True):
    """How a client's proxy calls one port of a Service, in place of what is said for all."""

    port: PortSelector = PortSelector()


class TrafficPolicy(TrafficSettings, frozen=True):
    """How a client's proxy calls a Service, and its single ports."""

    port_level_settings: tuple[PortTrafficPolicy, ...] = ()


class Subset(Wire, frozen=True):
    """Some of a Service's pods, by labels."""

    name: str = ""
    labels: Labels = field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


class DestinationRuleSpec(Wire, frozen=True):
    """How clients' proxies call a host."""

    host: str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    workload_selector: MatchLabels | None = None


class DestinationRule(Wire, frozen=True):
    """A DestinationRule (istio.io/api/networking/v1alpha3/destination_rule.proto)."""

    metadata: NotedMetadata
    spec: DestinationRuleSpec = DestinationRuleSpec()


class StringMatch(Wire, frozen=True):
    """What a text must be, in one of three ways."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class HTTPMatch(Wire, frozen=True):
    """Which requests a route is for."""

    uri: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    scheme: StringMatch | None = None
    headers: dict[str, StringMatch] = field(default_factory=dict)
    without_headers: dict[str, StringMatch] = field(default_factory=dict)
    query_params: dict[str, StringMatch] = field(default_factory=dict)
    ignore_uri_case: bool = False
    port: int = 0
    source_labels: Labels = field(default_factory=dict)
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()


class Destination(Wire, frozen=True):
    """A host, some of its pods, and its port."""

    host: str = ""
    subset: str = ""
    port: PortSelector | None = None


class RouteDestination(Wire, frozen=True):
    """Where a route leads, for what share of requests."""

    destination: Destination = Destination()
    weight: int = 0


class Percent(Wire, frozen=True):
    """A share of requests, in hundredths."""

    value: float = 0.0


class Abort(Wire, frozen=True):
    """A fault that answers in the server's place."""

    http_status: int = 0
    percentage: Percent | None = None


class Delay(Wire, frozen=True):
    """A fault that makes requests wait."""

    fixed_delay: str = ""
    percentage: Percent | None = None


class Fault(Wire, frozen=True):
    """Faults that are injected on purpose."""

    abort: Abort | None = None
    delay: Delay | None = None


class Retries(Wire, frozen=True):
    """How often a client's proxy asks again, and after what."""

    attempts: int = 0
    per_try_timeout: str = ""
    retry_on: str = ""


class Mirror(Wire, frozen=True):
    """Who is sent a copy of requests, whose answers nobody waits for."""

    destination: Destination = Destination()
    percentage: Percent | None = None


class HTTPRedirect(Wire, frozen=True):
    """An answer that sends the client elsewhere."""

    redirect_code: int = 301


class HTTPDirectResponse(Wire, frozen=True):
    """An answer of the proxy itself."""

    status: int = 0


class VirtualRoute(Wire, frozen=True):
    """A rule: which requests, and what becomes of them."""

    match: tuple[HTTPMatch, ...] = ()
    route: tuple[RouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    fault: Fault | None = None
    delegate: ObjectReference | None = None
    timeout: str = ""
    retries: Retries | None = None
    mirror: Destination | None = None
    mirrors: tuple[Mirror, ...] = ()


class VirtualServiceSpec(Wire, frozen=True):
    """Rules for requests to some hosts, of which the first that matches counts."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[VirtualRoute, ...] = ()
    tcp: tuple[VirtualRoute, ...] = ()
    export_to: tuple[str, ...] = ()


class VirtualService(Wire, frozen=True):
    """A VirtualService (istio.io/api/networking/v1alpha3/virtual_service.proto)."""

    metadata: NotedMetadata
    spec: VirtualServiceSpec = VirtualServiceSpec()


class WorkloadLabels(Wire, frozen=True):
    """Whom a Sidecar or an EnvoyFilter is about, by labels."""

    labels: Labels = field(default_factory=dict)


class SidecarListener(Wire, frozen=True):
    """What a proxy listens for: of what goes out the hosts (namespace/name) that it knows."""

    port: PortSelector | None = None
    bind: str = ""
    capture_mode: Term = ""
    hosts: tuple[str, ...] = ()


class OutboundPolicy(Wire, frozen=True):
    """What becomes of what goes to nobody known: ALLOW_ANY or REGISTRY_ONLY."""

    mode: Term = ""


class SidecarSpec(Wire, frozen=True):
    """Which pods a Sidecar is about, and what their proxies know and take."""

    workload_selector: WorkloadLabels | None = None
    ingress: tuple[SidecarListener, ...] = ()
    egress: tuple[SidecarListener, ...] = ()
    outbound_traffic_policy: OutboundPolicy | None = None


class IstioSidecar(Wire, frozen=True):
    """A Sidecar (istio.io/api/networking/v1alpha3/sidecar.proto)."""

    metadata: NotedMetadata
    spec: SidecarSpec = SidecarSpec()


class EnvoyFilterSpec(Wire, frozen=True):
    """Which proxies are changed: all of a namespace, or those of some pods, waypoints or gateways."""

    workload_selector: WorkloadLabels | None = None
    target_refs: tuple[ObjectReference, ...] = ()


class EnvoyFilter(Wire, frozen=True):
    """An EnvoyFilter (istio.io/api/networking/v1alpha3/envoy_filter.proto), which may change a proxy in any way."""

    metadata: Metadata
    spec: EnvoyFilterSpec = EnvoyFilterSpec()


class Provider(Wire, frozen=True):
    """Where something is sent to (MeshConfig.extensionProviders)."""

    name: str = ""


class Logging(Wire, frozen=True):
    """Lines for requests, or none."""

    disabled: bool | None = None
    providers: tuple[Provider, ...] = ()


class Tracing(Wire, frozen=True):
    """Spans of requests, of a share of them, in percent."""

    disable_span_reporting: bool | None = None
    random_sampling_percentage: float | None = None
    providers: tuple[Provider, ...] = ()


class TelemetrySpec(Wire, frozen=True):
    """What proxies tell of requests."""

    selector: MatchLabels | None = None
    target_refs: tuple[ObjectReference, ...] = ()
    access_logging: tuple[Logging, ...] = ()
    tracing: tuple[Tracing, ...] = ()


class Telemetry(Wire, frozen=True):
    """A Telemetry (istio.io/api/telemetry/v1alpha1/telemetry.proto)."""

    metadata: NotedMetadata
    spec: TelemetrySpec = TelemetrySpec()


class ServiceEntrySpec(Wire, frozen=True):
    """Names that proxies know besides those of Services."""

    hosts: tuple[str, ...] = ()


class ServiceEntry(Wire, frozen=True):
    """A ServiceEntry (istio.io/api/networking/v1alpha3/service_entry.proto)."""

    metadata: NotedMetadata
    spec: ServiceEntrySpec = ServiceEntrySpec()


class AuthorizationSource(Wire, frozen=True):
    """Who a request comes from; of each field one must hold, and none of what must not."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class AuthorizationOperation(Wire, frozen=True):
    """What a request is."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class AuthorizationFrom(Wire, frozen=True):
    """A source."""

    source: AuthorizationSource = AuthorizationSource()


class AuthorizationTo(Wire, frozen=True):
    """An operation."""

    operation: AuthorizationOperation = AuthorizationOperation()


class AuthorizationCondition(Wire, frozen=True):
    """A condition on one more attribute."""

    key: str = ""
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class AuthorizationRule(Wire, frozen=True):
    """A rule: one of the sources, one of the operations, and all conditions; what is not said holds."""

    from_: tuple[AuthorizationFrom, ...] = field(default=(), name="from")
    to: tuple[AuthorizationTo, ...] = ()
    when: tuple[AuthorizationCondition, ...] = ()


class AuthorizationPolicySpec(Wire, frozen=True):
    """Whom a policy is about, and what it does where a rule matches; without rules none does."""

    selector: MatchLabels | None = None
    target_ref: ObjectReference | None = None
    target_refs: tuple[ObjectReference, ...] = ()
    action: Term = "ALLOW"
    rules: tuple[AuthorizationRule, ...] = ()


class AuthorizationPolicy(Wire, frozen=True):
    """An AuthorizationPolicy of Istio's (istio.io/api/security/v1beta1/authorization_policy.proto)."""

    metadata: NotedMetadata
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()


class RouteParent(Wire, frozen=True):
    """What a route hangs on: a Gateway, or a Service of a mesh (GEP-1426)."""

    group: str = "gateway.networking.k8s.io"
    kind: str = "Gateway"
    name: str = ""
    namespace: str = ""
    port: int = 0


class PathMatch(Wire, frozen=True):
    """A path: Exact, PathPrefix or RegularExpression."""

    type: Term = "PathPrefix"
    value: str = "/"


class RouteMatch(Wire, frozen=True):
    """Which requests a rule is for: all of what it says must hold."""

    path: PathMatch | None = None
    method: str = ""
    headers: tuple[Reason, ...] = ()
    query_params: tuple[Reason, ...] = ()


class RouteBackend(Wire, frozen=True):
    """Where a rule leads, for what share of requests."""

    group: str = ""
    kind: str = "Service"
    name: str = ""
    namespace: str = ""
    port: int = 0
    weight: int = 1


class RouteFilter(Wire, frozen=True):
    """What is done to a request on its way."""

    type: Term = ""


class HTTPRouteRule(Wire, frozen=True):
    """Which requests, and where they go; without a match all."""

    matches: tuple[RouteMatch, ...] = ()
    filters: tuple[RouteFilter, ...] = ()
    backend_refs: tuple[RouteBackend, ...] = ()


class HTTPRouteSpec(Wire, frozen=True):
    """Rules for HTTP requests; more exact ones count first."""

    parent_refs: tuple[RouteParent, ...] = ()
    hostnames: tuple[str, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()


class HTTPRoute(Wire, frozen=True):
    """An HTTPRoute (sigs.k8s.io/gateway-api apis/v1, and Linkerd's own copy of it)."""

    metadata: NotedMetadata
    spec: HTTPRouteSpec = HTTPRouteSpec()


class GRPCRouteSpec(Wire, frozen=True):
    """What a route hangs on; its rules are not read."""

    parent_refs: tuple[RouteParent, ...] = ()


class GRPCRoute(Wire, frozen=True):
    """A GRPCRoute (sigs.k8s.io/gateway-api apis/v1)."""

    metadata: Metadata
    spec: GRPCRouteSpec = GRPCRouteSpec()


class LinkerdServerSpec(Wire, frozen=True):
    """A port of some pods, by number or name, and what holds where no policy lets a client in."""

    pod_selector: LabelSelector | None = None
    port: int | str = 0
    proxy_protocol: Term = ""
    access_policy: Term = "deny"


class LinkerdServer(Wire, frozen=True):
    """A Server (linkerd2 policy-controller/k8s/api/src/policy/server.rs)."""

    metadata: NotedMetadata
    spec: LinkerdServerSpec = LinkerdServerSpec()


class LinkerdAuthorizationSpec(Wire, frozen=True):
    """What a policy is about, and the authentications that a client must all have."""

    target_ref: ObjectReference = ObjectReference()
    required_authentication_refs: tuple[ObjectReference, ...] = ()


class LinkerdAuthorization(Wire, frozen=True):
    """An AuthorizationPolicy of Linkerd's (policy/authorization_policy.rs)."""

    metadata: NotedMetadata
    spec: LinkerdAuthorizationSpec = LinkerdAuthorizationSpec()


class MeshTLSAuthenticationSpec(Wire, frozen=True):
    """Clients by identity, or by what they run as."""

    identities: tuple[str, ...] = ()
    identity_refs: tuple[ObjectReference, ...] = ()


class MeshTLSAuthentication(Wire, frozen=True):
    """Clients that are in the mesh (policy/meshtls_authentication.rs)."""

    metadata: Metadata
    spec: MeshTLSAuthenticationSpec = MeshTLSAuthenticationSpec()


class AuthenticatedNetwork(Wire, frozen=True):
    """A range, without some of it."""

    cidr: str = ""
    except_: tuple[str, ...] = field(default=(), name="except")


class NetworkAuthenticationSpec(Wire, frozen=True):
    """Clients by address."""

    networks: tuple[AuthenticatedNetwork, ...] = ()


class NetworkAuthentication(Wire, frozen=True):
    """Clients of some networks (policy/network_authentication.rs)."""

    metadata: Metadata
    spec: NetworkAuthenticationSpec = NetworkAuthenticationSpec()


class AuthorizedServer(Wire, frozen=True):
    """Which Servers an authorization is about: one by name, or by labels."""

    name: str = ""
    selector: LabelSelector | None = None


class AuthorizedAccount(Wire, frozen=True):
    """What clients run as."""

    name: str = ""
    namespace: str = ""


class AuthorizedTLS(Wire, frozen=True):
    """Clients in the mesh: any that speaks TLS, or by who they are."""

    unauthenticated: bool = field(default=False, name="unauthenticatedTLS")
    identities: tuple[str, ...] = ()
    service_accounts: tuple[AuthorizedAccount, ...] = ()


class AuthorizedClient(Wire, frozen=True):
    """Who is let in: everybody, or who is in the mesh; from some networks, or from all."""

    unauthenticated: bool = False
    networks: tuple[AuthenticatedNetwork, ...] = ()
    mesh_tls: AuthorizedTLS | None = field(default=None, name="meshTLS")


class ServerAuthorizationSpec(Wire, frozen=True):
    """Which Servers let whom in."""

    server: AuthorizedServer = AuthorizedServer()
    client: AuthorizedClient = AuthorizedClient()


class ServerAuthorization(Wire, frozen=True):
    """A ServerAuthorization (policy/server_authorization.rs), which AuthorizationPolicies took the place of."""

    metadata: Metadata
    spec: ServerAuthorizationSpec = ServerAuthorizationSpec()


class RetryBudget(Wire, frozen=True):
    """How many requests more there may be."""

    retry_ratio: float = 0.0
    min_retries_per_second: int = 0


class ProfileRoute(Wire, frozen=True):
    """Requests of one kind, and what becomes of them where they fail or take long."""

    name: str = ""
    is_retryable: bool = False
    timeout: str = ""


class ProfileTarget(Wire, frozen=True):
    """Where else a Service's requests go."""

    authority: str = ""


class ServiceProfileSpec(Wire, frozen=True):
    """What Linkerd knows of a Service's requests, and where else they go."""

    routes: tuple[ProfileRoute, ...] = ()
    retry_budget: RetryBudget | None = None
    dst_overrides: tuple[ProfileTarget, ...] = ()


class ServiceProfile(Wire, frozen=True):
    """A ServiceProfile, whose name is the full name of a Service (linkerd2 controller/gen/apis/serviceprofile)."""

    metadata: Metadata
    spec: ServiceProfileSpec = ServiceProfileSpec()


class ConsulHTTPMatch(Wire, frozen=True):
    """Requests that a permission of an intention, or a route of a ServiceRouter, is about."""

    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    case_insensitive: bool = False
    methods: tuple[str, ...] = ()
    header: tuple[Reason, ...] = ()
    query_param: tuple[Reason, ...] = ()


class ConsulPermission(Wire, frozen=True):
    """What is done with some requests; of several the first that matches counts."""

    action: Term = ""
    http: ConsulHTTPMatch | None = None


class ConsulDestination(Wire, frozen=True):
    """Where requests of Consul are led: a service, of which maybe a subset; the service itself where it says none."""

    service: str = ""
    service_subset: str = ""
    datacenter: str = ""
    peer: str = ""
    sameness_group: str = ""


class ServiceResolverSpec(Wire, frozen=True):
    """Which instances of a service are called."""

    default_subset: str = ""
    redirect: ConsulDestination | None = None


class ServiceResolver(Wire, frozen=True):
    """A ServiceResolver of Consul's (consul-k8s control-plane/api/v1alpha1/serviceresolver_types.go)."""

    metadata: Metadata
    spec: ServiceResolverSpec = ServiceResolverSpec()


class ConsulRouteMatch(Wire, frozen=True):
    """What a route asks of a request."""

    http: ConsulHTTPMatch | None = None


class ConsulRoute(Wire, frozen=True):
    """A route: the first that matches counts."""

    match: ConsulRouteMatch | None = None
    destination: ConsulDestination | None = None


class ServiceRouterSpec(Wire, frozen=True):
    """Where requests for a service are led."""

    routes: tuple[ConsulRoute, ...] = ()


class ServiceRouter(Wire, frozen=True):
    """A ServiceRouter of Consul's (consul-k8s control-plane/api/v1alpha1/servicerouter_types.go)."""

    metadata: Metadata
    spec: ServiceRouterSpec = ServiceRouterSpec()


class ConsulSplit(ConsulDestination, frozen=True):
    """A share of requests, in percent, and where it is led."""

    weight: float = 0.0


class ServiceSplitterSpec(Wire, frozen=True):
    """How requests for a service are shared out."""

    splits: tuple[ConsulSplit, ...] = ()


class ServiceSplitter(Wire, frozen=True):
    """A ServiceSplitter of Consul's (consul-k8s control-plane/api/v1alpha1/servicesplitter_types.go)."""

    metadata: Metadata
    spec: ServiceSplitterSpec = ServiceSplitterSpec()


class ConsulSource(Wire, frozen=True):
    """A client by its service's name, or all by a star, and what is done with it."""

    name: str = ""
    action: Term = ""
    permissions: tuple[ConsulPermission, ...] = ()
    peer: str = ""
    sameness_group: str = ""


class ServiceIntentionsSpec(Wire, frozen=True):
    """Who may call a service; a star means all."""

    destination: ObjectReference = ObjectReference()
    sources: tuple[ConsulSource, ...] = ()


class ServiceIntentions(Wire, frozen=True):
    """Intentions (consul-k8s control-plane/api/v1alpha1/serviceintentions_types.go)."""

    metadata: Metadata
    spec: ServiceIntentionsSpec = ServiceIntentionsSpec()


class ConsulDefaultsSpec(Wire, frozen=True):
    """How proxies treat a service, or all: its protocol, and whether they take what is no mutual TLS."""

    protocol: Term = ""
    mutual_tls_mode: Term = field(default="", name="mutualTLSMode")


class ConsulDefaults(Wire, frozen=True):
    """ServiceDefaults of a service, or ProxyDefaults of all (named ``global``)."""

    metadata: Metadata
    spec: ConsulDefaultsSpec = ConsulDefaultsSpec()


class ConsulTransparentProxy(Wire, frozen=True):
    """What transparent proxies do with what is not in the mesh."""

    mesh_destinations_only: bool = False


class ConsulMeshSpec(Wire, frozen=True):
    """Settings of the whole mesh."""

    transparent_proxy: ConsulTransparentProxy = ConsulTransparentProxy()
    allow_enabling_permissive_mutual_tls: bool = field(default=False, name="allowEnablingPermissiveMutualTLS")


class ConsulMesh(Wire, frozen=True):
    """The Mesh of Consul (mesh_types.go)."""

    metadata: Metadata
    spec: ConsulMeshSpec = ConsulMeshSpec()


class KumaBackend(Wire, frozen=True):
    """Who signs a mesh's certificates, and whether proxies take plaintext too."""

    name: str = ""
    mode: Term = ""


class KumaMTLS(Wire, frozen=True):
    """Which backend is on; none where there is no mutual TLS."""

    enabled_backend: str = ""
    backends: tuple[KumaBackend, ...] = ()


class KumaOutbound(Wire, frozen=True):
    """Whether proxies let out what is for nobody of the mesh."""

    passthrough: bool = True


class KumaNetworking(Wire, frozen=True):
    """What proxies do with what leaves."""

    outbound: KumaOutbound = KumaOutbound()


class KumaMeshSpec(Wire, frozen=True):
    """How its proxies talk to one another, and to others."""

    mtls: KumaMTLS = KumaMTLS()
    networking: KumaNetworking = KumaNetworking()


class KumaMesh(Wire, frozen=True):
    """A mesh of Kuma's (api/mesh/v1alpha1/mesh.proto)."""

    metadata: Metadata
    spec: KumaMeshSpec = KumaMeshSpec()


class KumaRef(Wire, frozen=True):
    """Which proxies are meant."""

    kind: Term = ""
    name: str = ""
    namespace: str = ""
    section_name: str = ""
    labels: Labels = field(default_factory=dict)
    tags: Labels = field(default_factory=dict)
    proxy_types: tuple[Term, ...] = ()


class KumaConf(Wire, frozen=True):
    """What a MeshTrafficPermission does with a client, or how a MeshTLS has inbounds speak."""

    action: Term = ""
    mode: Term = ""


class KumaRule(Wire, frozen=True):
    """What holds for some clients, or for all."""

    target_ref: KumaRef = KumaRef()
    default: KumaConf = KumaConf()


class KumaSelector(Wire, frozen=True):
    """Which proxies are meant in policies of the old kind."""

    match: Labels = field(default_factory=dict)


class KumaPolicySpec(Wire, frozen=True):
    """For which proxies it is, and what it says of which clients."""

    target_ref: KumaRef = KumaRef()
    from_: tuple[KumaRule, ...] = field(default=(), name="from")
    rules: tuple[KumaRule, ...] = ()
    sources: tuple[KumaSelector, ...] = ()
    destinations: tuple[KumaSelector, ...] = ()


class KumaPolicy(Wire, frozen=True):
    """A policy of Kuma's, of whatever kind (api/common/v1alpha1/ref.go, pkg/plugins/policies)."""

    metadata: Metadata
    mesh: str = ""
    spec: KumaPolicySpec = KumaPolicySpec()


class OsmTraffic(Wire, frozen=True):
    """Whether all in the mesh may talk to one another, and what is left alone."""

    permissive: bool = field(default=False, name="enablePermissiveTrafficPolicyMode")
    egress: bool = field(default=False, name="enableEgress")
    inbound_port_exclusion_list: tuple[int, ...] = ()
    outbound_port_exclusion_list: tuple[int, ...] = ()
    outbound_ip_range_exclusion_list: tuple[str, ...] = field(default=(), name="outboundIPRangeExclusionList")
    outbound_ip_range_inclusion_list: tuple[str, ...] = field(default=(), name="outboundIPRangeInclusionList")


class OsmMeshConfigSpec(Wire, frozen=True):
    """What holds for all its proxies."""

    traffic: OsmTraffic = OsmTraffic()


class OsmMeshConfig(Wire, frozen=True):
    """The settings of Open Service Mesh (pkg/apis/config/v1alpha2/mesh_config.go)."""

    metadata: Metadata
    spec: OsmMeshConfigSpec = OsmMeshConfigSpec()


class TrafficTargetSpec(Wire, frozen=True):
    """Who may talk to whom, by what they run as, and by which routes."""

    destination: ObjectReference = ObjectReference()
    sources: tuple[ObjectReference, ...] = ()
    rules: tuple[ObjectReference, ...] = ()


class TrafficTarget(Wire, frozen=True):
    """A TrafficTarget of the Service Mesh Interface (access.smi-spec.io)."""

    metadata: Metadata
    spec: TrafficTargetSpec = TrafficTargetSpec()
