"""Kuma's kinds. Source: kumahq/kuma api, pkg/plugins/policies."""

from msgspec import field

from netinspect.model.wire.base import Labels, Metadata, Term, Wire


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


class KumaMeshServices(Wire, frozen=True):
    """Whether proxies know servers by MeshServices."""

    mode: Term = ""


class KumaMeshSpec(Wire, frozen=True):
    """How its proxies talk to one another, and to others."""

    mesh_services: KumaMeshServices = KumaMeshServices()
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


class KumaObject(Wire, frozen=True):
    """What a policy of any kind carries; a label names its mesh, or a field where it is of the old kind."""

    metadata: Metadata
    mesh: str = ""


class KumaPolicy(KumaObject, frozen=True):
    """A policy of Kuma's of who may what (api/common/v1alpha1/ref.go, pkg/plugins/policies)."""

    spec: KumaPolicySpec = KumaPolicySpec()


class KumaRate(Wire, frozen=True):
    """So many in so long."""

    num: int = 0
    interval: Term = ""


class KumaAnswer(Wire, frozen=True):
    """With which status requests beyond a limit are answered."""

    status: int = 429


class KumaHTTPConf(Wire, frozen=True):
    """What a MeshRetry, MeshTimeout or MeshRateLimit says of requests."""

    num_retries: int | None = None
    per_try_timeout: Term = ""
    retry_on: tuple[Term, ...] | None = None
    request_timeout: Term = ""
    request_rate: KumaRate | None = None
    on_rate_limit: KumaAnswer | None = None
    disabled: bool = False


class KumaTCPConf(Wire, frozen=True):
    """What a MeshRetry or MeshRateLimit says of connections."""

    max_connect_attempt: int | None = None
    connection_rate: KumaRate | None = None
    disabled: bool = False


class KumaLocal(Wire, frozen=True):
    """How much each server's proxy lets in."""

    http: KumaHTTPConf | None = None
    tcp: KumaTCPConf | None = None


class KumaLimits(Wire, frozen=True):
    """How much one client's proxy asks of a server at a time."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None


class KumaDetector(Wire, frozen=True):
    """After how many failures in a row a server is left out."""

    consecutive: int | None = None


class KumaDetectors(Wire, frozen=True):
    """What is taken for a failure."""

    total_failures: KumaDetector | None = None
    gateway_failures: KumaDetector | None = None


class KumaOutliers(Wire, frozen=True):
    """Which servers are left out, and for how long."""

    disabled: bool = False
    base_ejection_time: Term = ""
    max_ejection_percent: int | None = None
    detectors: KumaDetectors | None = None


class KumaChooser(Wire, frozen=True):
    """How a server is chosen."""

    type: Term = ""


class KumaFile(Wire, frozen=True):
    """Where lines are written to."""

    path: str = ""


class KumaAddress(Wire, frozen=True):
    """To whom lines or spans are sent."""

    address: str = ""
    endpoint: str = ""
    url: str = ""


class KumaScraped(Wire, frozen=True):
    """Where a proxy shows what it counts."""

    port: int = 5670
    path: str = "/metrics"


class KumaSink(Wire, frozen=True):
    """One backend of a MeshAccessLog, a MeshTrace or a MeshMetric."""

    type: Term = ""
    file: KumaFile | None = None
    tcp: KumaAddress | None = None
    open_telemetry: KumaAddress | None = None
    zipkin: KumaAddress | None = None
    datadog: KumaAddress | None = None
    prometheus: KumaScraped | None = None


class KumaEffects(Wire, frozen=True):
    """What a policy has proxies do with traffic; each kind has some of these fields."""

    http: KumaHTTPConf | None = None
    grpc: KumaHTTPConf | None = None
    tcp: KumaTCPConf | None = None
    local: KumaLocal | None = None
    connection_timeout: Term = ""
    connection_limits: KumaLimits | None = None
    outlier_detection: KumaOutliers | None = None
    load_balancer: KumaChooser | None = None
    backends: tuple[KumaSink, ...] | None = None


class KumaToward(Wire, frozen=True):
    """What holds for traffic to some servers, or from some clients, whom ``matches`` may name."""

    target_ref: KumaRef = KumaRef()
    matches: tuple[Wire, ...] = ()
    default: KumaEffects = KumaEffects()


class KumaTrafficSpec(Wire, frozen=True):
    """For which proxies it is, and what these do."""

    target_ref: KumaRef = KumaRef()
    to: tuple[KumaToward, ...] = ()
    from_: tuple[KumaToward, ...] = field(default=(), name="from")
    rules: tuple[KumaToward, ...] = ()
    default: KumaEffects | None = None


class KumaTraffic(KumaObject, frozen=True):
    """A policy of Kuma's of what is done with traffic (pkg/plugins/policies)."""

    spec: KumaTrafficSpec = KumaTrafficSpec()
