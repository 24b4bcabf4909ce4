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


class AppMeshListener(Wire, frozen=True):
    """What a proxy takes for its application."""

    port_mapping: AppMeshPort = AppMeshPort()
    tls: AppMeshTLS | None = None


class VirtualNodeSpec(Wire, frozen=True):
    """What the pods of a virtual node take, and whom they may call."""

    aws_name: str = ""
    listeners: tuple[AppMeshListener, ...] = ()
    backends: tuple[Wire, ...] = ()
    backend_groups: tuple[Wire, ...] = ()
    mesh_ref: ObjectReference = field(default=ObjectReference())


class VirtualNode(Wire, frozen=True):
    """Pods that App Mesh takes for one (virtualnode_types.go)."""

    metadata: Metadata
    spec: VirtualNodeSpec = VirtualNodeSpec()
