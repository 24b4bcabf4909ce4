"""Consul's kinds. Source: hashicorp/consul-k8s control-plane/api/v1alpha1."""

from msgspec import field

from netinspect.model.wire.base import Metadata, ObjectReference, Term, Wire
from netinspect.model.wire.core import Reason


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
