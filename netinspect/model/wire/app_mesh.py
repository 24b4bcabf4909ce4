"""AWS App Mesh's kinds. Source: aws/aws-app-mesh-controller-for-k8s apis/appmesh/v1beta2."""

from msgspec import field

from netinspect.model.wire.base import Metadata, ObjectReference, Term, Wire


class AppMeshEgress(Wire, frozen=True):
    """Whether proxies let out what is for nobody of the mesh; AWS drops it where nothing is said."""

    type: Term = "DROP_ALL"


class AppMeshSpec(Wire, frozen=True):
    """What holds for all of a mesh; ``aws_name`` is its object's own name where it is none."""

    aws_name: str = ""
    egress_filter: AppMeshEgress = AppMeshEgress()


class AppMesh(Wire, frozen=True):
    """A mesh (mesh_types.go)."""

    metadata: Metadata
    spec: AppMeshSpec = AppMeshSpec()


class AppMeshPort(Wire, frozen=True):
    """A port that a proxy listens for, and what it takes there: http, http2, grpc or tcp."""

    port: int = 0
    protocol: Term = ""


class AppMeshTLS(Wire, frozen=True):
    """Whether a listener takes TLS alone (STRICT), too (PERMISSIVE), or not at all (DISABLED)."""

    mode: Term = ""


class AppMeshDuration(Wire, frozen=True):
    """So many seconds (s) or milliseconds (ms)."""

    unit: Term = ""
    value: int = 0


class AppMeshTimeouts(Wire, frozen=True):
    """How long one request may take."""

    per_request: AppMeshDuration | None = None


class AppMeshListenerTimeout(Wire, frozen=True):
    """How long requests may take, by their protocol."""

    http: AppMeshTimeouts | None = None
    http2: AppMeshTimeouts | None = None
    grpc: AppMeshTimeouts | None = None


class AppMeshPool(Wire, frozen=True):
    """How much the application is asked at a time."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None


class AppMeshPools(Wire, frozen=True):
    """The same by protocol."""

    http: AppMeshPool | None = None
    http2: AppMeshPool | None = None
    grpc: AppMeshPool | None = None
    tcp: AppMeshPool | None = None


class AppMeshListener(Wire, frozen=True):
    """What a proxy takes for its application, and how much of it."""

    port_mapping: AppMeshPort = AppMeshPort()
    tls: AppMeshTLS | None = None
    timeout: AppMeshListenerTimeout | None = None
    connection_pool: AppMeshPools | None = None


class AppMeshFile(Wire, frozen=True):
    """Where lines are written to."""

    path: str = ""


class AppMeshAccessLog(Wire, frozen=True):
    """Whether lines are written for requests."""

    file: AppMeshFile | None = None


class AppMeshLogging(Wire, frozen=True):
    """What a proxy writes."""

    access_log: AppMeshAccessLog | None = None


class VirtualNodeSpec(Wire, frozen=True):
    """What the pods of a virtual node take, and whom they may call."""

    aws_name: str = ""
    listeners: tuple[AppMeshListener, ...] = ()
    backends: tuple[Wire, ...] = ()
    backend_groups: tuple[Wire, ...] = ()
    logging: AppMeshLogging | None = None
    mesh_ref: ObjectReference = field(default=ObjectReference())


class VirtualNode(Wire, frozen=True):
    """Pods that App Mesh takes for one (virtualnode_types.go)."""

    metadata: Metadata
    spec: VirtualNodeSpec = VirtualNodeSpec()
