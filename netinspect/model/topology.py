"""What ``netinspect map`` says: the four networks of a cluster and who owns each address.

``None`` where a list, a number or a truth value is expected means that it is not known; the gaps say why.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Literal, TypeVar

from msgspec import Struct

from netinspect.model.snapshot import Gap

API_VERSION = "netinspect.io/v1"
T = TypeVar("T")


def _key(field: str) -> str:
    """Spell a field as the Kubernetes API would: ``cluster_ips`` is ``clusterIPs``."""
    first, *rest = field.split("_")
    return first + "".join(_INITIALISMS.get(word, word.capitalize()) for word in rest)


_INITIALISMS = {"ip": "IP", "ips": "IPs", "cidrs": "CIDRs"}


class Document(Struct, frozen=True, kw_only=True, gc=False, rename=_key, omit_defaults=True):
    """Base of everything that is printed; absent fields are empty, and unknown ones are null."""


def several(items: Iterable[T]) -> tuple[T, ...]:
    """Give a tuple whose empty form is the one that the encoder knows for a default and leaves out.

    Python 3.10 makes another empty tuple from an empty generator.
    """
    return tuple(items) or ()


class Ref(Document, frozen=True, order=True, kw_only=True):
    """The name of an object; prints as ``pod/shop/web``."""

    kind: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        """Write it as the command line takes it."""
        return "/".join(part for part in (self.kind.lower(), self.namespace, self.name) if part)


class Evidence(str, Enum):
    """Where a statement comes from."""

    OBJECT = "object"  # an API object says so
    FLAG = "flag"  # a control-plane component's command line or configuration says so
    INFERRED = "inferred"  # it follows from what was seen, and may be wider in truth


class Range(Document, frozen=True, kw_only=True):
    """A range of addresses, where that is known from, and how much of it is taken."""

    cidr: str
    evidence: Evidence
    source: str
    used: int | None
    capacity: int | None = None


class Truth(str, Enum):
    """A condition as Kubernetes reports it."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class TypedAddress(Document, frozen=True, kw_only=True):
    """An address or name of a node: InternalIP, ExternalIP, Hostname, InternalDNS, ExternalDNS."""

    type: str
    address: str


class HostPort(Document, frozen=True, kw_only=True):
    """A port of a node that a pod claims: by its host network, or by ``hostPort`` on a pod address."""

    port: int
    protocol: str
    container: str
    via: Literal["hostNetwork", "hostPort"]
    host_ip: str = ""
    container_port: int = 0
    name: str = ""


class HostPod(Document, frozen=True, kw_only=True):
    """A pod that lives on the node's own addresses, or that claims ports of the node."""

    namespace: str
    name: str
    host_network: bool
    phase: str
    ports: tuple[HostPort, ...] = ()


class HostPortClash(Document, frozen=True, kw_only=True):
    """A port of a node that several pods claim; at most one of them can have it."""

    port: int
    protocol: str
    pods: tuple[str, ...]


class Interface(Document, frozen=True, kw_only=True):
    """A network interface as the kernel has it.

    ``kind`` is that of the kernel (``IFLA_INFO_KIND``), empty for hardware and where it is not known. ``state`` is
    ``up``, ``down``, or ``no carrier``. ``peer`` is what its other end belongs to, ``pod/NAMESPACE/NAME``, where that
    was read. ``details`` says in words what its kind does: a tunnel's VNI and ends, a bridge's filters.
    """

    name: str
    index: int
    kind: str
    state: str
    mtu: int
    mac: str = ""
    addresses: tuple[str, ...] = ()
    master: str = ""
    peer: str = ""
    details: str = ""


class Attachment(Document, frozen=True, kw_only=True):
    """How a pod hangs on its node: its interface, the other end of it, and the bridge that this is a port of.

    ``gateway`` is where the pod's default routes lead, one a family.
    """

    interface: Interface
    host_interface: str = ""
    bridge: str = ""
    gateway: tuple[str, ...] = ()


class NodeEntry(Document, frozen=True, kw_only=True):
    """A node on the host network. ``interfaces`` is null where the node was not looked into."""

    name: str
    ready: Truth
    known_from: Literal["nodes", "pods"] = "nodes"
    addresses: tuple[TypedAddress, ...] = ()
    roles: tuple[str, ...] = ()
    zone: str = ""
    region: str = ""
    pod_cidrs: tuple[str, ...] = ()
    kubelet_version: str = ""
    operating_system: str = ""
    pods: tuple[HostPod, ...] | None = ()
    clashes: tuple[HostPortClash, ...] = ()
    interfaces: tuple[Interface, ...] | None = None


class HostNetwork(Document, frozen=True, kw_only=True):
    """The nodes."""

    nodes: tuple[NodeEntry, ...] | None = ()


class NodePodNetwork(Document, frozen=True, kw_only=True):
    """The part of the pod network that one node hands out.

    ``capacity`` counts the addresses a pod can have: null where they are more than 2^53, as in IPv6.
    """

    node: str
    cidr: str
    used: int | None
    capacity: int | None


class PodAddress(Document, frozen=True, kw_only=True):
    """An address of a pod. ``released`` ones stand in the status of a finished pod, which no longer holds them."""

    address: str
    released: bool = False
    outside_node_range: bool = False
    shared_with: tuple[str, ...] = ()


class PodEntry(Document, frozen=True, kw_only=True):
    """A pod with an address of its own on the cluster network, or one that waits for it.

    ``mesh`` names the mesh whose sidecar it has, by its labels and containers' names; without one it may be in a mesh
    all the same, of which ``netinspect mesh`` tells.
    """

    namespace: str
    name: str
    node: str
    phase: str
    ready: Truth
    addresses: tuple[PodAddress, ...] = ()
    terminating: bool = False
    owner: str = ""
    reason: str = ""
    mesh: str = ""


class ClusterNetwork(Document, frozen=True, kw_only=True):
    """The pods, every one reaching every other without address translation.

    ``node_ranges_used`` says whether pods take their addresses out of their nodes' pod CIDRs, as some CNIs do and
    others do not; null where no pod tells. ``cni`` names who carries their packets, and how; empty where that is not
    known.
    """

    node_ranges_used: bool | None
    cni: str = ""
    ranges: tuple[Range, ...] = ()
    nodes: tuple[NodePodNetwork, ...] | None = ()
    pods: tuple[PodEntry, ...] | None = ()


class EndpointEntry(Document, frozen=True, kw_only=True):
    """A backend of a Service port. ``pod`` is empty for backends that are not pods."""

    address: str
    port: int | None
    ready: bool
    serving: bool
    terminating: bool
    pod: str = ""
    node: str = ""
    zone: str = ""
    stale: str = ""


class PortEntry(Document, frozen=True, kw_only=True):
    """A port of a Service, and where it leads; port 0 stands for all of a headless Service that names none."""

    port: int
    protocol: str
    target_port: int | str
    name: str = ""
    node_port: int = 0
    app_protocol: str = ""
    endpoints: tuple[EndpointEntry, ...] | None = ()


class LoadBalancer(Document, frozen=True, kw_only=True):
    """A point at which a load balancer takes traffic for a Service; ``ip_mode`` VIP or Proxy."""

    address: str
    ip_mode: str = ""


class Mismatch(Document, frozen=True, kw_only=True):
    """Something about a Service that cannot work as written."""

    kind: Literal["selector-matches-nothing", "no-ready-endpoint", "port-name-unknown", "stale-endpoint"]
    message: str


class ServiceEntry(Document, frozen=True, kw_only=True):
    """A Service: its addresses, its policies, and its ports with their endpoints."""

    namespace: str
    name: str
    type: str
    headless: bool = False
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()
    load_balancer_pending: bool = False
    load_balancer_source_ranges: tuple[str, ...] = ()
    external_name: str = ""
    selector: dict[str, str] = {}
    ip_families: tuple[str, ...] = ()
    session_affinity_seconds: int = 0
    internal_traffic_policy: str = ""
    external_traffic_policy: str = ""
    traffic_distribution: str = ""
    health_check_node_port: int = 0
    publish_not_ready_addresses: bool = False
    ports: tuple[PortEntry, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()


class EntryPoint(Document, frozen=True, kw_only=True):
    """An Ingress or Gateway: where it can be reached, and the Services it leads to.

    Those of a Gateway are null: they stand in routes, which are not evaluated.
    """

    kind: Literal["Ingress", "Gateway"]
    namespace: str
    name: str
    controller_class: str = ""
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    services: tuple[str, ...] | None = ()


class ServiceNetwork(Document, frozen=True, kw_only=True):
    """Stable addresses in front of changing pods."""

    ranges: tuple[Range, ...] = ()
    services: tuple[ServiceEntry, ...] | None = ()
    entry_points: tuple[EntryPoint, ...] | None = ()


Role = Literal["init", "sidecar", "container", "ephemeral"]


class ContainerPortEntry(Document, frozen=True, kw_only=True):
    """A port that a container says it listens on."""

    port: int
    protocol: str
    name: str = ""
    host_port: int = 0


class ContainerEntry(Document, frozen=True, kw_only=True):
    """A container. A ``sidecar`` is an init container that goes on running beside the others (KEP-753).

    ``mesh`` names the mesh whose proxy it is, where labels and names tell that.
    """

    name: str
    role: Role
    state: str
    ports: tuple[ContainerPortEntry, ...] = ()
    mesh: str = ""


class PortClash(Document, frozen=True, kw_only=True):
    """A port that several containers of one pod declare; they share one localhost, so only one can bind it."""

    port: int
    protocol: str
    containers: tuple[str, ...]


class PodContainers(Document, frozen=True, kw_only=True):
    """The containers of one pod, which share its addresses and localhost.

    ``attachments`` is null where its namespace was not looked into, or it is on the host network; ``disagreements``
    are what the kernel has and the API says otherwise.
    """

    namespace: str
    name: str
    node: str
    host_network: bool = False
    addresses: tuple[str, ...] = ()
    containers: tuple[ContainerEntry, ...] = ()
    clashes: tuple[PortClash, ...] = ()
    attachments: tuple[Attachment, ...] | None = None
    disagreements: tuple[str, ...] = ()


class ContainerNetwork(Document, frozen=True, kw_only=True):
    """What shares an address and a localhost."""

    pods: tuple[PodContainers, ...] | None = ()


class Overlap(Document, frozen=True, kw_only=True):
    """Two ranges that hold common addresses, or a node address inside a range that is not the nodes'."""

    first: str
    first_network: str
    second: str
    second_network: str


class Scope(Document, frozen=True, kw_only=True):
    """What was asked for; empty lists mean everything."""

    namespaces: tuple[str, ...] = ()
    selector: str = ""
    nodes: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()


class Topology(Document, frozen=True, tag_field="kind", tag="Topology", omit_defaults=False, kw_only=True):
    """The map. A network that was not asked for is null."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    scope: Scope = Scope()
    host: HostNetwork | None = None
    cluster: ClusterNetwork | None = None
    service: ServiceNetwork | None = None
    container: ContainerNetwork | None = None
    overlaps: tuple[Overlap, ...] = ()
    gaps: tuple[Gap, ...] = ()


class OwnerNetwork(str, Enum):
    """The network that an owner belongs to."""

    HOST = "host"
    CLUSTER = "cluster"
    SERVICE = "service"
    OUTSIDE = "outside"


class Owner(Document, frozen=True, kw_only=True):
    """Who has an address, and as what: ``pod address``, ``InternalIP``, ``cluster IP`` and so on."""

    network: OwnerNetwork
    role: str
    owner: str = ""
    detail: str = ""


class AddressOwners(Document, frozen=True, kw_only=True):
    """One address and its owners, the most exact first. ``certain`` is false where a gap may hide another owner."""

    address: str
    owners: tuple[Owner, ...] = ()
    certain: bool = True


class Ownership(Document, frozen=True, tag_field="kind", tag="Ownership", omit_defaults=False, kw_only=True):
    """What ``netinspect whois`` says."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    addresses: tuple[AddressOwners, ...] = ()
    gaps: tuple[Gap, ...] = ()
