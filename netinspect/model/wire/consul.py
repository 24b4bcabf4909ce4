"""Consul's kinds. Source: hashicorp/consul-k8s control-plane/api/v1alpha1."""

from msgspec import field

from netinspect.model.wire.base import Condition, Metadata, ObjectReference, Term, Wire
from netinspect.model.wire.core import Reason


class ConsulStatus(Wire, frozen=True):
    """Whether Consul has taken an entry: its condition Synced says so."""

    conditions: tuple[Condition, ...] = ()


class ConsulEntry(Wire, frozen=True):
    """What every configuration entry carries; the namespace that it is in counts for nothing."""

    metadata: Metadata
    status: ConsulStatus = ConsulStatus()

    @property
    def refused(self) -> bool:
        """Say whether Consul has not taken it."""
        return any(c.type == "Synced" and c.status == "False" for c in self.status.conditions)


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
    jwt: Reason | None = None


class ConsulDestination(Wire, frozen=True):
    """Where requests of Consul are led: a service, of which maybe a subset; the service itself where it says none."""

    service: str = ""
    service_subset: str = ""
    datacenter: str = ""
    peer: str = ""
    sameness_group: str = ""


class ConsulHashPolicy(Wire, frozen=True):
    """By what of a request its server is chosen."""

    kind: Term = field(default="", name="field")
    field_value: str = ""
    source_ip: bool = field(default=False, name="sourceIP")


class ConsulBalancing(Wire, frozen=True):
    """How a server is chosen; round robin where it says nothing."""

    policy: Term = ""
    hash_policies: tuple[ConsulHashPolicy, ...] = ()


class ServiceResolverSpec(Wire, frozen=True):
    """Which instances of a service are called, and how one is chosen."""

    default_subset: str = ""
    redirect: ConsulDestination | None = None
    connect_timeout: Term = ""
    request_timeout: Term = ""
    load_balancer: ConsulBalancing | None = None


class ServiceResolver(ConsulEntry, frozen=True):
    """A ServiceResolver of Consul's (consul-k8s control-plane/api/v1alpha1/serviceresolver_types.go)."""

    spec: ServiceResolverSpec = ServiceResolverSpec()


class ConsulRouteMatch(Wire, frozen=True):
    """What a route asks of a request."""

    http: ConsulHTTPMatch | None = None


class ConsulRouted(ConsulDestination, frozen=True):
    """Where a route leads, and what is done to its requests on the way."""

    prefix_rewrite: str = ""
    request_timeout: Term = ""
    num_retries: int = 0
    retry_on: tuple[Term, ...] = ()
    retry_on_connect_failure: bool = False
    retry_on_status_codes: tuple[int, ...] = ()


class ConsulRoute(Wire, frozen=True):
    """A route: the first that matches counts."""

    match: ConsulRouteMatch | None = None
    destination: ConsulRouted | None = None


class ServiceRouterSpec(Wire, frozen=True):
    """Where requests for a service are led."""

    routes: tuple[ConsulRoute, ...] = ()


class ServiceRouter(ConsulEntry, frozen=True):
    """A ServiceRouter of Consul's (consul-k8s control-plane/api/v1alpha1/servicerouter_types.go)."""

    spec: ServiceRouterSpec = ServiceRouterSpec()


class ConsulSplit(ConsulDestination, frozen=True):
    """A share of requests, in percent, and where it is led."""

    weight: float = 0.0


class ServiceSplitterSpec(Wire, frozen=True):
    """How requests for a service are shared out."""

    splits: tuple[ConsulSplit, ...] = ()


class ServiceSplitter(ConsulEntry, frozen=True):
    """A ServiceSplitter of Consul's (consul-k8s control-plane/api/v1alpha1/servicesplitter_types.go)."""

    spec: ServiceSplitterSpec = ServiceSplitterSpec()


class ConsulSource(Wire, frozen=True):
    """A client by its service's name, or all by a star, and what is done with it."""

    name: str = ""
    action: Term = ""
    permissions: tuple[ConsulPermission, ...] = ()
    peer: str = ""
    sameness_group: str = ""


class ServiceIntentionsSpec(Wire, frozen=True):
    """Who may call a service, a star meaning all, and with which tokens."""

    destination: ObjectReference = ObjectReference()
    sources: tuple[ConsulSource, ...] = ()
    jwt: Reason | None = None


class ServiceIntentions(ConsulEntry, frozen=True):
    """Intentions (consul-k8s control-plane/api/v1alpha1/serviceintentions_types.go)."""

    spec: ServiceIntentionsSpec = ServiceIntentionsSpec()


class ConsulLimits(Wire, frozen=True):
    """How much one client's proxy asks of a service at a time."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_concurrent_requests: int | None = None


class ConsulPassiveHealthCheck(Wire, frozen=True):
    """When a server that fails is left out."""

    max_failures: int = 0
    enforcing_consecutive_5xx: int | None = field(default=None, name="enforcingConsecutive5xx")
    max_ejection_percent: int | None = None
    base_ejection_time: Term = ""


class ConsulUpstream(Wire, frozen=True):
    """How a service calls another, or all others where it names none."""

    name: str = ""
    peer: str = ""
    partition: str = ""
    protocol: Term = ""
    connect_timeout_ms: int = 0
    limits: ConsulLimits | None = None
    passive_health_check: ConsulPassiveHealthCheck | None = None


class ConsulUpstreams(Wire, frozen=True):
    """How a service calls others; what an override does not say is of the defaults."""

    defaults: ConsulUpstream | None = None
    overrides: tuple[ConsulUpstream, ...] = ()


# What nobody checks the type of.
Free = str | int | float | bool | list[str] | dict[str, str] | None


class ConsulProxyConfig(Wire, frozen=True, rename="lower"):
    """What all proxies are told beside what kinds have fields for."""

    protocol: Free = ""
    envoy_prometheus_bind_addr: Free = ""
    envoy_tracing_json: Free = ""
    local_request_timeout_ms: Free = None


class ConsulAccessLogs(Wire, frozen=True):
    """Whether and where proxies write a line for each request."""

    enabled: bool = False
    type: Term = ""
    path: str = ""


class ConsulExtension(Wire, frozen=True):
    """What else is built into proxies."""

    name: Term = ""


class ConsulDialing(Wire, frozen=True):
    """Whether a pod may be called by its own address through the mesh."""

    dialed_directly: bool = False


class ConsulDefaultsSpec(Wire, frozen=True):
    """How proxies treat a service, or all, and how the service's own calls others."""

    protocol: Term = ""
    mutual_tls_mode: Term = field(default="", name="mutualTLSMode")
    transparent_proxy: ConsulDialing | None = None
    upstream_config: ConsulUpstreams | None = None
    local_request_timeout_ms: int = 0
    max_inbound_connections: int = 0
    envoy_extensions: tuple[ConsulExtension, ...] = ()
    access_logs: ConsulAccessLogs | None = None
    config: ConsulProxyConfig | None = None


class ConsulDefaults(ConsulEntry, frozen=True):
    """ServiceDefaults of a service, or ProxyDefaults of all (named ``global``)."""

    spec: ConsulDefaultsSpec = ConsulDefaultsSpec()


class ConsulTransparentProxy(Wire, frozen=True):
    """What transparent proxies do with what is not in the mesh."""

    mesh_destinations_only: bool = False


class ConsulMeshSpec(Wire, frozen=True):
    """Settings of the whole mesh."""

    transparent_proxy: ConsulTransparentProxy = ConsulTransparentProxy()
    allow_enabling_permissive_mutual_tls: bool = field(default=False, name="allowEnablingPermissiveMutualTLS")


class ConsulMesh(ConsulEntry, frozen=True):
    """The Mesh of Consul (mesh_types.go)."""

    spec: ConsulMeshSpec = ConsulMeshSpec()
