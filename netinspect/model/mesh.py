"""What ``netinspect mesh`` says: which service meshes there are, which pods are in them, and by what this is known."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from msgspec import field

from netinspect.model.finding import Clue, Finding, Severity
from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document
from netinspect.model.trace import Outcome


class Verdict(str, Enum):
    """Whether a pod is in a mesh, and whether that is as it should be."""

    MESHED = "meshed"
    NOT_MESHED = "not-meshed"
    MISSING = "missing"  # should be in, and is not
    UNWANTED = "unwanted"  # is in, and was told not to be
    BROKEN = "broken"  # its data plane is there in part, or does not run
    UNKNOWN = "unknown"


class Part(str, Enum):
    """What of a mesh a pod has, or is."""

    SIDECAR = "sidecar"  # a proxy beside the application, through which its traffic goes
    AMBIENT = "ambient"  # its traffic goes through a proxy of its node
    PROXYLESS = "proxyless"  # the application itself is told what a proxy would be; nothing is captured
    GATEWAY = "gateway"  # is itself a proxy at the mesh's edge
    WAYPOINT = "waypoint"  # is itself a proxy for others' requests
    NODE_PROXY = "node-proxy"  # is itself the proxy of its node
    CONTROL_PLANE = "control-plane"


class Placement(str, Enum):
    """Among which containers a sidecar is."""

    NATIVE = "native"  # an init container that is always restarted (KEP-753)
    CLASSIC = "classic"


class Capture(str, Enum):
    """What turns a pod's traffic to its proxy."""

    IPTABLES = "iptables"  # an init container's rules
    IPTABLES_TPROXY = "iptables-tproxy"
    CNI = "cni"  # a chained CNI plug-in's rules
    CNI_TPROXY = "cni-tproxy"
    EBPF = "ebpf"
    NODE = "node"  # rules that an agent on the node put into the pod's namespace
    NONE = "none"


class PodMesh(Document, frozen=True, kw_only=True):
    """A pod's place in the meshes. Fields of its proxy are empty where it has none, or nothing tells them.

    ``says`` is the verdict in words; ``proven`` that its namespace was read and shows the same; ``settled_by`` what
    would tell what is not known.
    """

    namespace: str
    pod: str
    node: str = ""
    verdict: Verdict
    mesh: str = ""
    part: Part | None = None
    placement: Placement | None = None
    capture: Capture | None = None
    proxy: str = ""
    uid: int | None = None
    version: str = ""
    revision: str = ""
    proven: bool = False
    says: str = ""
    cause: str = ""
    remedy: str = ""
    settled_by: str = ""
    evidence: tuple[Clue, ...] = ()

    @property
    def full_name(self) -> str:
        """Write ``namespace/name``."""
        return f"{self.namespace}/{self.pod}"

    @property
    def presumed(self) -> bool:
        """Say whether its traffic is turned to a proxy by its spec, and nobody looked whether it is."""
        return self.capture not in (None, Capture.NONE) and not self.proven


class ControlPlane(Document, frozen=True, kw_only=True):
    """Pods of one version that run a mesh, or a service outside of the cluster that does (``external``)."""

    mesh: str
    title: str
    namespace: str = ""
    name: str = ""
    revision: str = ""
    version: str = ""
    distribution: str = ""
    ready: int = 0
    desired: int = 0
    external: str = ""


class Feature(Document, frozen=True, kw_only=True):
    """What of a mesh is on in the cluster without being in any pod, and what says so."""

    mesh: str
    title: str
    says: str
    source: str


class NamespaceMesh(Document, frozen=True, kw_only=True):
    """A namespace that asks for a mesh, or has pods in one: how many pods have each verdict."""

    namespace: str
    meshes: tuple[str, ...] = ()
    asks: str = ""
    counts: dict[Verdict, int] = field(default_factory=dict)


class MeshReport(Document, frozen=True, tag_field="kind", tag="Mesh", kw_only=True):
    """The meshes of a cluster. ``headline`` is one sentence; ``unproven`` counts verdicts that rest on specs alone.

    ``namespace`` and ``pod`` are what was asked for, where it was not the whole cluster.
    """

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    headline: str
    namespace: str = ""
    pod: str = ""
    meshes: tuple[str, ...] = ()
    control_planes: tuple[ControlPlane, ...] = ()
    features: tuple[Feature, ...] = ()
    namespaces: tuple[NamespaceMesh, ...] = ()
    pods: tuple[PodMesh, ...] = ()
    findings: tuple[Finding, ...] = ()
    unproven: int = 0
    gaps: tuple[Gap, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Say whether all is as it is meant; a cluster without a mesh is sound."""
        if any(f.severity is not Severity.INFO for f in self.findings):
            return Outcome.FAULTY
        unknown = any(p.verdict is Verdict.UNKNOWN for p in self.pods) or any(g.resource == "pods" for g in self.gaps)
        return Outcome.UNSETTLED if unknown else Outcome.SOUND


class Transport(str, Enum):
    """How bytes travel between the two pods' namespaces."""

    MTLS = "mtls"  # both proxies prove who they are, and encrypt
    PLAINTEXT = "plaintext"
    TLS = "tls"  # encrypted, with no identity of the mesh
    NONE = "none"  # nothing travels
    UNKNOWN = "unknown"


class Reach(str, Enum):
    """What becomes of a request, as far as meshes decide it."""

    REACHED = "reached"
    DENIED = "denied"  # the server's proxy does not let it in
    REFUSED = "refused"  # the server's proxy breaks the connection
    FAILED = "failed"  # the client's proxy answers in the server's place
    UNKNOWN = "unknown"


class Aspect(str, Enum):
    """What of requests a mesh changes, beside how they travel and who lets them in."""

    ROUTING = "routing"
    RETRIES = "retries"
    TIMEOUT = "timeout"
    MIRRORING = "mirroring"
    FAULT = "fault"
    LOAD_BALANCING = "load-balancing"
    CIRCUIT_BREAKING = "circuit-breaking"
    OUTLIER_DETECTION = "outlier-detection"
    MONITORING = "monitoring"


class Effect(Document, frozen=True, kw_only=True):
    """One thing that a mesh does to requests, and the object that says so."""

    aspect: Aspect
    says: str
    source: str


class Statement(Document, frozen=True, kw_only=True):
    """What meshes make of requests from one pod to a port of others; ``port`` is the container's.

    ``balanced_by`` says who chooses among a Service's pods. ``identity`` is the client's as the server sees it.
    ``servers`` are the pods of which it holds, ``caveat`` what holds of some requests besides.
    """

    service: str = ""
    port: int
    servers: tuple[str, ...] = ()
    transport: Transport
    outcome: Reach
    says: str
    balanced_by: str = ""
    identity: str = ""
    caveat: str = ""
    settled_by: str = ""
    reasons: tuple[Clue, ...] = ()
    effects: tuple[Effect, ...] = ()


class PairReport(Document, frozen=True, tag_field="kind", tag="MeshPair", kw_only=True):
    """What meshes make of traffic from a pod to another, or to a Service.

    ``unproven`` are the pods of which only the spec tells that their traffic is turned to a proxy.
    """

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    source: PodMesh
    target: str
    statements: tuple[Statement, ...] = ()
    unproven: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Say whether every request gets there; what is not known is not settled."""
        found = {s.outcome for s in self.statements}
        if found & {Reach.DENIED, Reach.REFUSED, Reach.FAILED}:
            return Outcome.FAULTY
        return Outcome.UNSETTLED if Reach.UNKNOWN in found or not found else Outcome.SOUND
