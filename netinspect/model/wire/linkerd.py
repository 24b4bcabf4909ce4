"""Linkerd's kinds. Source: linkerd/linkerd2 policy-controller/k8s/api."""

from msgspec import field

from netinspect.model.wire.base import Metadata, NotedMetadata, ObjectReference, Term, Wire
from netinspect.model.wire.core import LabelSelector


class LinkerdServerSpec(Wire, frozen=True):
    """A port of some pods, by number or name, and what holds where no policy lets a client in."""

    pod_selector: LabelSelector | None = None
    port: int | str = 0
    proxy_protocol: Term = ""
    access_policy: Term = "deny"


class LinkerdServer(Wire, frozen=True):
    """A Server (linkerd2 policy-controller/k8s/api/src/policy/server.rs)."""

    metadata: NotedMetadata
    spec: LinkerdServerSpec = LinkerdServerSpec()


class LinkerdAuthorizationSpec(Wire, frozen=True):
    """What a policy is about, and the authentications that a client must all have."""

    target_ref: ObjectReference = ObjectReference()
    required_authentication_refs: tuple[ObjectReference, ...] = ()


class LinkerdAuthorization(Wire, frozen=True):
    """An AuthorizationPolicy of Linkerd's (policy/authorization_policy.rs)."""

    metadata: NotedMetadata
    spec: LinkerdAuthorizationSpec = LinkerdAuthorizationSpec()


class MeshTLSAuthenticationSpec(Wire, frozen=True):
    """Clients by identity, or by what they run as."""

    identities: tuple[str, ...] = ()
    identity_refs: tuple[ObjectReference, ...] = ()


class MeshTLSAuthentication(Wire, frozen=True):
    """Clients that are in the mesh (policy/meshtls_authentication.rs)."""

    metadata: Metadata
    spec: MeshTLSAuthenticationSpec = MeshTLSAuthenticationSpec()


class AuthenticatedNetwork(Wire, frozen=True):
    """A range, without some of it."""

    cidr: str = ""
    except_: tuple[str, ...] = field(default=(), name="except")


class NetworkAuthenticationSpec(Wire, frozen=True):
    """Clients by address."""

    networks: tuple[AuthenticatedNetwork, ...] = ()


class NetworkAuthentication(Wire, frozen=True):
    """Clients of some networks (policy/network_authentication.rs)."""

    metadata: Metadata
    spec: NetworkAuthenticationSpec = NetworkAuthenticationSpec()


class AuthorizedServer(Wire, frozen=True):
    """Which Servers an authorization is about: one by name, or by labels."""

    name: str = ""
    selector: LabelSelector | None = None


class AuthorizedAccount(Wire, frozen=True):
    """What clients run as."""

    name: str = ""
    namespace: str = ""


class AuthorizedTLS(Wire, frozen=True):
    """Clients in the mesh: any that speaks TLS, or by who they are."""

    unauthenticated: bool = field(default=False, name="unauthenticatedTLS")
    identities: tuple[str, ...] = ()
    service_accounts: tuple[AuthorizedAccount, ...] = ()


class AuthorizedClient(Wire, frozen=True):
    """Who is let in: everybody, or who is in the mesh; from some networks, or from all."""

    unauthenticated: bool = False
    networks: tuple[AuthenticatedNetwork, ...] = ()
    mesh_tls: AuthorizedTLS | None = field(default=None, name="meshTLS")


class ServerAuthorizationSpec(Wire, frozen=True):
    """Which Servers let whom in."""

    server: AuthorizedServer = AuthorizedServer()
    client: AuthorizedClient = AuthorizedClient()


class ServerAuthorization(Wire, frozen=True):
    """A ServerAuthorization (policy/server_authorization.rs), which AuthorizationPolicies took the place of."""

    metadata: Metadata
    spec: ServerAuthorizationSpec = ServerAuthorizationSpec()


class RetryBudget(Wire, frozen=True):
    """How many requests more there may be."""

    retry_ratio: float = 0.0
    min_retries_per_second: int = 0


class ProfileRoute(Wire, frozen=True):
    """Requests of one kind, and what becomes of them where they fail or take long."""

    name: str = ""
    is_retryable: bool = False
    timeout: str = ""


class ProfileTarget(Wire, frozen=True):
    """Where else a Service's requests go."""

    authority: str = ""


class ServiceProfileSpec(Wire, frozen=True):
    """What Linkerd knows of a Service's requests, and where else they go."""

    routes: tuple[ProfileRoute, ...] = ()
    retry_budget: RetryBudget | None = None
    dst_overrides: tuple[ProfileTarget, ...] = ()


class ServiceProfile(Wire, frozen=True):
    """A ServiceProfile, whose name is the full name of a Service (linkerd2 controller/gen/apis/serviceprofile)."""

    metadata: Metadata
    spec: ServiceProfileSpec = ServiceProfileSpec()
