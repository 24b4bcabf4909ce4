"""Whether pods can look names up."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.cni import NEEDS
from netinspect.checks.base import Irrelevant, Problem, Seen, check, issue
from netinspect.checks.services import OF_SERVICES, is_dns
from netinspect.checks.view import View
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity

_LOCAL = "169.254.20.10"


@check(
    "NI1901", "the cluster's DNS has an endpoint that is ready", Category.DNS, Severity.ERROR, needs=OF_SERVICES,
    explains=("NI1801",), remedy="see the pods of CoreDNS: `kubectl -n kube-system get pods -l k8s-app=kube-dns`",
    links=("https://kubernetes.io/docs/tasks/administer-cluster/dns-debugging-resolution/",),
)  # fmt: skip
def no_dns(view: View) -> Iterator[Seen]:
    """Find a cluster DNS Service without any endpoint that is ready: no pod finds a Service by its name."""
    found = [s for s in view.services.services or () if is_dns(s)]
    if not found:
        yield Irrelevant("no Service of the cluster's DNS is known by its name")
    for service in found:
        if service.ports and all(
            p.endpoints is not None and not any(e.ready for e in p.endpoints) for p in service.ports
        ):
            yield Problem(
                f"svc/{service.namespace}/{service.name}", "the cluster's DNS has no endpoint that is ready",
                "the name servers do not run, or are not ready",
                f"kubectl -n {service.namespace} get pods -l k8s-app=kube-dns, and see their logs", key="dns",
            )  # fmt: skip


@check(
    "NI1902", "nodes with a local name server listen for it", Category.DNS, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links",), explains=("NI22",), remedy="restart the pod of node-local-dns on the node",
    links=("https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/", issue("cilium/cilium#16906")),
)  # fmt: skip
def local_dns(view: View) -> Iterator[Seen]:
    """Find nodes on which NodeLocal DNSCache is meant to run, without its interface and address (169.254.20.10)."""
    agents = [d for d in view.snapshot.daemon_sets if d.metadata.name in ("node-local-dns", "nodelocaldns")]
    if not agents:
        yield Irrelevant("NodeLocal DNSCache is not installed")
    for node, kernel in view.sight.read:
        held = {a.local for link in (kernel.links or {}).values() for a in link.addresses}
        meant = any(node.name in view.pods_of.get((d.metadata.namespace, d.metadata.name), {}) for d in agents)
        if meant and kernel.links is not None and _LOCAL not in held:
            yield Problem(
                f"node/{node.name}", f"no interface of it has {_LOCAL}, at which pods ask for names",
                "node-local-dns has not made its interface, or something removed it",
                "restart the pod of node-local-dns there", key="local",
            )  # fmt: skip


CHECKS = (no_dns, local_dns)
