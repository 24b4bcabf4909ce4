"""Istio's kinds. Source: istio.io/api."""

from msgspec import field

from netinspect.model.wire.base import Labels, Metadata, NotedMetadata, ObjectReference, Term, Wire


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
