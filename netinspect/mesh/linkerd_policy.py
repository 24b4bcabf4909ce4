"""Whom Linkerd's proxies let in: the Server of a port, the policies about it, and what holds where there is none.

Sources: linkerd/linkerd2 policy-controller/k8s/index/src/inbound/index.rs; linkerd.io reference/authorization-policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from netinspect.mesh.ranges import inside
from netinspect.mesh.sight import Pod, variables
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

_DEFAULT = "all-unauthenticated"
_POLICY = "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY"
_NETWORKS = "LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS"
_PRIVATE = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8"


@dataclass(frozen=True)
class Client:
    """Who asks: the identity that its proxy proves, empty where it proves none, and its address."""

    identity: str
    address: str


@dataclass(frozen=True)
class Decision:
    """Whether a client is let in, by what; None where that is not known."""

    allowed: bool | None
    by: str
    says: str = ""


def decide(snapshot: Snapshot, pod: Pod, port: int, client: Client) -> Decision:
    """Decide as the proxy does: a Server's policies, else its access policy; without a Server the pod's default."""
    server = server_of(snapshot, pod, port)
    if server is None:
        policy = default(pod)
        return _by_default(policy, pod, client, f"default policy {policy}")
    namespace, name = server.metadata.namespace, server.metadata.name
    by = f"Server {namespace}/{name}"
    if any(_is(ref.kind, ref.name, "Server", name) for r in _routes(snapshot, namespace) for ref in r.spec.parent_refs):
        return Decision(None, by, "what the routes of this Server let in is not evaluated")
    doubt = ""
    for policy_object in _policies(snapshot, namespace, name):
        met = _met(snapshot, policy_object, client)
        own = f"AuthorizationPolicy {namespace}/{policy_object.metadata.name}"
        if met:
            return Decision(True, own)
        if met is None:
            doubt = f"what {own} requires is not all known"
    for older in snapshot.server_authorizations:
        if older.metadata.namespace == namespace and _about(older.spec.server, server) and _admitted(older, client):
            return Decision(True, f"ServerAuthorization {namespace}/{older.metadata.name}")
    if doubt:
        return Decision(None, by, doubt)
    return _by_default(server.spec.access_policy or "deny", pod, client, by)


def default(pod: Pod) -> str:
    """Give a pod's default policy: as its proxy was told when it was made, not as annotations say by now."""
    return variables(pod.containers.get("linkerd-proxy")).get(_POLICY) or _DEFAULT


def server_of(snapshot: Snapshot, pod: Pod, port: int) -> wire.LinkerdServer | None:
    """Find the Server of a port; of several that claim it the oldest counts, then the first by name."""
    named = {p.name for c in pod.containers.values() for p in c.ports if p.container_port == port and p.name}
    found = [
        s for s in snapshot.linkerd_servers
        if s.metadata.namespace == pod.namespace
        and s.spec.pod_selector is not None and s.spec.pod_selector.matches(pod.labels)
        and (s.spec.port == port or s.spec.port in named or s.spec.port == str(port))
    ]  # fmt: skip
    return min(found, key=lambda s: (s.metadata.creation_timestamp or "", s.metadata.name)) if found else None


def _by_default(policy: str, pod: Pod, client: Client, by: str) -> Decision:
    if policy in ("all-unauthenticated", "audit"):
        return Decision(True, by)
    if policy == "all-authenticated":
        return Decision(bool(client.identity), by, "" if client.identity else "it proves no identity")
    if policy in ("cluster-authenticated", "cluster-unauthenticated"):
        ranges = variables(pod.containers.get("linkerd-proxy")).get(_NETWORKS) or _PRIVATE
        within = inside(client.address, ranges)
        proven = bool(client.identity) or policy == "cluster-unauthenticated"
        says = "" if within and proven else "it proves no identity" if within else "it is not of the cluster's networks"
        return Decision(within and proven, by, says)
    return (
        Decision(False, by, "nothing lets it in") if policy == "deny" else Decision(None, by, f"{policy} is not known")
    )


def _policies(snapshot: Snapshot, namespace: str, server: str) -> Iterator[wire.LinkerdAuthorization]:
    for policy in snapshot.linkerd_authorizations:
        ref = policy.spec.target_ref
        if policy.metadata.namespace == namespace and (
            _is(ref.kind, ref.name, "Server", server) or _is(ref.kind, ref.name, "Namespace", namespace)
        ):
            yield policy


def _routes(snapshot: Snapshot, namespace: str) -> Iterable[wire.HTTPRoute]:
    return (r for r in (*snapshot.linkerd_routes, *snapshot.http_routes) if r.metadata.namespace == namespace)


def _is(kind: str, name: str, wanted: str, own: str) -> bool:
    return kind == wanted and name == own


def _met(snapshot: Snapshot, policy: wire.LinkerdAuthorization, client: Client) -> bool | None:
    """Say whether a client has all the authentications that a policy requires."""
    found = [_has(snapshot, ref, policy.metadata.namespace, client) for ref in policy.spec.required_authentication_refs]
    return False if False in found else None if None in found else True


def _has(snapshot: Snapshot, ref: wire.ObjectReference, namespace: str, client: Client) -> bool | None:
    where = ref.namespace or namespace
    if ref.kind == "ServiceAccount":
        return client.identity.startswith(f"{ref.name}.{where}.serviceaccount.")
    if ref.kind == "MeshTLSAuthentication":
        for one in snapshot.mesh_tls_authentications:
            if (one.metadata.namespace, one.metadata.name) == (where, ref.name):
                return _identified(one.spec, where, client.identity)
        return False
    if ref.kind == "NetworkAuthentication":
        for network in snapshot.network_authentications:
            if (network.metadata.namespace, network.metadata.name) == (where, ref.name):
                return _among(network.spec.networks, client)
        return False
    return None


def _about(named: wire.AuthorizedServer, server: wire.LinkerdServer) -> bool:
    if named.name:
        return named.name == server.metadata.name
    return named.selector is None or named.selector.matches(server.metadata.labels)


def _admitted(authorization: wire.ServerAuthorization, client: Client) -> bool:
    """Say whether a ServerAuthorization lets a client in; without networks it is for all (grpc/src/inbound.rs)."""
    asked, namespace = authorization.spec.client, authorization.metadata.namespace
    if asked.networks and not _among(asked.networks, client):
        return False
    if asked.unauthenticated or asked.mesh_tls is None:
        return asked.unauthenticated
    accounts = tuple(
        wire.ObjectReference(kind="ServiceAccount", name=a.name, namespace=a.namespace)
        for a in asked.mesh_tls.service_accounts
    )
    known = wire.MeshTLSAuthenticationSpec(identities=asked.mesh_tls.identities, identity_refs=accounts)
    return bool(client.identity) if asked.mesh_tls.unauthenticated else _identified(known, namespace, client.identity)


def _among(networks: Iterable[wire.AuthenticatedNetwork], client: Client) -> bool:
    return any(
        inside(client.address, n.cidr) and not any(inside(client.address, e) for e in n.except_) for n in networks
    )


def _identified(spec: wire.MeshTLSAuthenticationSpec, namespace: str, identity: str) -> bool:
    if not identity:
        return False
    account, _, rest = identity.partition(".")
    own = rest.partition(".")[0]
    for pattern in spec.identities:
        # A star stands for all before the first dot or more of them: *.NAMESPACE.serviceaccount…
        if pattern in ("*", identity) or (pattern.startswith("*.") and identity.endswith(pattern[1:])):
            return True
    for ref in spec.identity_refs:
        if ref.kind == "ServiceAccount" and (ref.namespace or namespace, ref.name) == (own, account):
            return True
        if ref.kind == "Namespace" and (ref.name or namespace) == own:
            return True
    return False
