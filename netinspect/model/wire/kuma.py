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


class KumaPolicy(Wire, frozen=True):
    """A policy of Kuma's, of whatever kind (api/common/v1alpha1/ref.go, pkg/plugins/policies)."""

    metadata: Metadata
    mesh: str = ""
    spec: KumaPolicySpec = KumaPolicySpec()
