"""Kinds of Open Service Mesh and of the Service Mesh Interface that it follows."""

from msgspec import field

from netinspect.model.wire.base import Metadata, ObjectReference, Term, Wire


class OsmTraffic(Wire, frozen=True):
    """Whether all in the mesh may talk to one another, and what is left alone."""

    permissive: bool = field(default=False, name="enablePermissiveTrafficPolicyMode")
    egress: bool = field(default=False, name="enableEgress")
    inbound_port_exclusion_list: tuple[int, ...] = ()
    outbound_port_exclusion_list: tuple[int, ...] = ()
    outbound_ip_range_exclusion_list: tuple[str, ...] = field(default=(), name="outboundIPRangeExclusionList")
    outbound_ip_range_inclusion_list: tuple[str, ...] = field(default=(), name="outboundIPRangeInclusionList")


class OsmTracing(Wire, frozen=True):
    """Whether and where proxies send spans."""

    enable: bool = False
    address: str = ""
    port: int = 0


class OsmObservability(Wire, frozen=True):
    """What proxies tell of what they do."""

    tracing: OsmTracing = OsmTracing()


class OsmFlags(Wire, frozen=True):
    """Which kinds of policy count."""

    enable_retry_policy: bool = False


class OsmMeshConfigSpec(Wire, frozen=True):
    """What holds for all its proxies."""

    traffic: OsmTraffic = OsmTraffic()
    observability: OsmObservability = OsmObservability()
    feature_flags: OsmFlags = OsmFlags()


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


class OsmRetryPolicy(Wire, frozen=True):
    """What is tried again, and how often: once where it does not say."""

    retry_on: Term = ""
    per_try_timeout: Term = ""
    num_retries: int | None = None


class OsmRetrySpec(Wire, frozen=True):
    """Whose requests to which Services are tried again."""

    source: ObjectReference = ObjectReference()
    destinations: tuple[ObjectReference, ...] = ()
    retry_policy: OsmRetryPolicy = OsmRetryPolicy()


class OsmRetry(Wire, frozen=True):
    """A Retry (pkg/apis/policy/v1alpha1/retry.go)."""

    metadata: Metadata
    spec: OsmRetrySpec = OsmRetrySpec()


class OsmTCPSettings(Wire, frozen=True):
    """How many connections a client's proxy makes, and how long it waits for one."""

    max_connections: int | None = None
    connect_timeout: Term = ""


class OsmHTTPSettings(Wire, frozen=True):
    """How many requests a client's proxy has at a time."""

    max_requests: int | None = None
    max_pending_requests: int | None = None


class OsmConnectionSettings(Wire, frozen=True):
    """Limits of each client's proxy."""

    tcp: OsmTCPSettings = OsmTCPSettings()
    http: OsmHTTPSettings = OsmHTTPSettings()


class OsmRate(Wire, frozen=True):
    """How many requests or connections in a unit of time a server's proxy lets in."""

    requests: int = 0
    connections: int = 0
    unit: Term = ""
    response_status_code: int = 0


class OsmLocalRates(Wire, frozen=True):
    """What each server's proxy counts by itself."""

    http: OsmRate = OsmRate()
    tcp: OsmRate = OsmRate()


class OsmRateLimit(Wire, frozen=True):
    """How much servers' proxies let in."""

    local: OsmLocalRates = OsmLocalRates()


class UpstreamTrafficSettingSpec(Wire, frozen=True):
    """The whole name of a Service, and what holds for its traffic."""

    host: str = ""
    connection_settings: OsmConnectionSettings = OsmConnectionSettings()
    rate_limit: OsmRateLimit = OsmRateLimit()


class UpstreamTrafficSetting(Wire, frozen=True):
    """An UpstreamTrafficSetting (pkg/apis/policy/v1alpha1/upstreamtrafficsetting.go)."""

    metadata: Metadata
    spec: UpstreamTrafficSettingSpec = UpstreamTrafficSettingSpec()


class SplitBackend(Wire, frozen=True):
    """A Service, and its share of the sum."""

    service: str = ""
    weight: float = 0.0


class TrafficSplitSpec(Wire, frozen=True):
    """Where requests for a Service are led."""

    service: str = ""
    backends: tuple[SplitBackend, ...] = ()


class TrafficSplit(Wire, frozen=True):
    """A TrafficSplit of the Service Mesh Interface (split.smi-spec.io)."""

    metadata: Metadata
    spec: TrafficSplitSpec = TrafficSplitSpec()
