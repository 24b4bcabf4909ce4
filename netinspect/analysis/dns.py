"""What a name means to a pod: its search list, and the records that the cluster's DNS makes of Services and pods.

Sources: resolv.conf(5), KEP-1024 and the Kubernetes DNS specification (kubernetes/dns docs/specification.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from netinspect.errors import UsageError
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

# What the kubelet writes for the policy ClusterFirst where nobody chose another domain.
DOMAIN = "cluster.local"
_NDOTS = 5


class Unresolved(UsageError):
    """The sender's resolver does not ask the cluster's DNS, so that a name of the cluster leads nowhere."""


@dataclass(frozen=True)
class Resolver:
    """How a pod looks names up; ``domain`` is empty where it does not know the cluster's."""

    search: tuple[str, ...]
    ndots: int = _NDOTS
    domain: str = DOMAIN

    def candidates(self, name: str) -> tuple[str, ...]:
        """Give the full names that are asked for, in their order (res_search in resolv.conf(5))."""
        if name.endswith("."):
            return (name.rstrip("."),)
        listed = tuple(f"{name}.{suffix}" for suffix in self.search)
        return (name, *listed) if name.count(".") >= self.ndots else (*listed, name)


def of_namespace(namespace: str) -> Resolver:
    """Give the resolver that the kubelet writes for a pod of a namespace."""
    return Resolver((f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN))


def of_pod(pod: wire.Pod) -> Resolver:
    """Give the resolver that the kubelet writes for a pod, by its policy (pkg/kubelet/network/dns/dns.go).

    ``UsageError`` where the pod writes it itself.
    """
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "None":
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        hint = "--access exec or pod reads it; or give the address"
        raise UsageError(f"pod {name} has a resolv.conf of its own (dnsPolicy None)", hint=hint)
    if policy == "Default" or (policy == "ClusterFirst" and pod.spec.host_network):
        return Resolver((), 1, "")
    return of_namespace(pod.metadata.namespace)


def parse(text: str, clusters: frozenset[str] = frozenset()) -> Resolver:
    """Read a pod's resolv.conf; ``clusters`` are the addresses of Services, the cluster's name servers among them."""
    search: tuple[str, ...] = ()
    ndots, asks_cluster = 1, False
    for line in text.splitlines():
        keyword, *words = line.split() or [""]
        if keyword == "nameserver":
            asks_cluster = asks_cluster or bool(clusters & set(words))
        elif keyword in ("search", "domain"):
            search = tuple(w.rstrip(".") for w in words)
        elif keyword == "options":
            told = [w.partition(":")[2] for w in words if w.startswith("ndots:")]
            ndots = int(told[-1]) if told and told[-1].isdecimal() else ndots
    domain = next((s.removeprefix("svc.") for s in search if s.startswith("svc.")), "")
    return Resolver(search, ndots, domain or (DOMAIN if asks_cluster else ""))


def service_of(snapshot: Snapshot, full: str, domain: str) -> tuple[wire.Service, str] | None:
    """Give the Service that a full name belongs to, and what stands before it (a pod's host name, or nothing)."""
    inside = full.lower().removesuffix(f".svc.{domain}")
    if inside == full.lower() or "." not in inside:
        return None
    *host, name, namespace = inside.split(".")
    for service in snapshot.services:
        if (service.metadata.name, service.metadata.namespace) == (name, namespace):
            return service, ".".join(host)
    return None


def look_up(snapshot: Snapshot, resolver: Resolver, name: str) -> tuple[wire.Service, str] | None:
    """Give what a name means to a pod, or None where the cluster's DNS would ask others."""
    found = (service_of(snapshot, full, resolver.domain) for full in resolver.candidates(name))
    return next((f for f in found if f is not None), None)
