"""Whether Services lead to pods, and somebody turns their addresses into those of pods."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from netinspect.analysis.cni import NEEDS, proxy_modes, proxy_setting
from netinspect.analysis.ranges import parse_address, parse_network
from netinspect.checks.base import IPTABLES, Irrelevant, Problem, Seen, Unseen, check, issue
from netinspect.checks.view import View
from netinspect.model import resources, wire
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity
from netinspect.model.image import image_names
from netinspect.model.topology import ServiceEntry

OF_SERVICES = (resources.SERVICES, resources.ENDPOINT_SLICES, resources.PODS)
_SERVICE = "https://kubernetes.io/docs/concepts/services-networking/service/"
# The Service by which every cluster's pods look names up (kubeadm, k3s, and the clouds name it so).
DNS = ("kube-system", frozenset({"kube-dns", "coredns", "rke2-coredns-rke2-coredns", "dns-default"}))


def _place(service: ServiceEntry) -> str:
    return f"svc/{service.namespace}/{service.name}"


def _mismatched(view: View, kind: str) -> Iterator[tuple[ServiceEntry, str]]:
    for service in view.services.services or ():
        for one in service.mismatches:
            if one.kind == kind:
                yield service, one.message


def is_dns(service: ServiceEntry) -> bool:
    """Say whether a Service is the cluster's DNS."""
    return service.namespace == DNS[0] and service.name in DNS[1]


@check(
    "NI1801", "every Service has an endpoint that is ready", Category.SERVICES, Severity.ERROR,
    needs=OF_SERVICES, explains=("NI22",),
    remedy="see why the pods are not ready: `kubectl get pods -l SELECTOR`, and their readiness probes",
    links=(f"{_SERVICE}#endpointslices", issue("projectcalico/calico#2024")),
)  # fmt: skip
def no_ready_endpoint(view: View) -> Iterator[Seen]:
    """Find Services with pods of which none is ready: connections to them are refused, or dropped.

    Services whose selector matches nothing are told of by NI1802, the cluster's DNS by NI1901. Services without a
    selector, whose endpoints somebody else writes, and such with terminating endpoints that still serve, are only
    warned of. Headless ones are too: their names do not resolve.
    """
    for service, message in _mismatched(view, "no-ready-endpoint"):
        if is_dns(service):
            continue
        ends = [e for p in service.ports for e in p.endpoints or ()]
        mild = not service.selector or service.headless or any(e.serving for e in ends)
        yield Problem(
            _place(service),
            message,
            _why_not_ready(view, [e.pod for e in ends]),
            "see the pods and their readiness probes: "
            + (
                f"kubectl -n {service.namespace} get pods -l {_selector(service)}"
                if service.selector
                else f"kubectl -n {service.namespace} get endpointslices"
            ),
            severity=Severity.WARNING if mild else None,
            nodes=tuple(sorted({e.node for e in ends if e.node})),
            key=message.partition(":")[0],
        )


def _selector(service: ServiceEntry) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(service.selector.items()))


def _why_not_ready(view: View, names: list[str]) -> str:
    for name in names:
        pod = view.pods.get(name)
        for status in pod.status.container_statuses if pod is not None else ():
            state = status.state.waiting or status.state.terminated
            if state is not None and state.reason:
                return f"container {status.name} of pod/{name}: {state.reason}"
    return "the pods' readiness probes fail, or they have not started" if names else "its EndpointSlices are empty"


@check(
    "NI1802", "every selector matches a pod", Category.SERVICES, Severity.WARNING,
    needs=OF_SERVICES, explains=("NI22",),
    remedy="mend the selector or the pods' labels; delete the Service if nobody needs it",
    links=(f"{_SERVICE}#defining-a-service",),
)  # fmt: skip
def selector_matches_nothing(view: View) -> Iterator[Seen]:
    """Find Services whose selector matches no live pod: a mistyped label, or a workload that is scaled to nothing."""
    for service, message in _mismatched(view, "selector-matches-nothing"):
        if not is_dns(service):
            yield Problem(
                _place(service), message, "a label that no pod has, or a workload without replicas",
                f"compare the selector with the labels: kubectl -n {service.namespace} get pods --show-labels",
            )  # fmt: skip


@check(
    "NI1803", "every named port of a Service is a port of its pods", Category.SERVICES, Severity.ERROR,
    needs=OF_SERVICES, explains=("NI22",),
    remedy="give the container port that name, or name the one that is meant in targetPort",
    links=(f"{_SERVICE}#field-spec-ports",),
)  # fmt: skip
def port_name_unknown(view: View) -> Iterator[Seen]:
    """Find Services whose targetPort is a name that no container of their pods has: the port has no endpoints."""
    for service, message in _mismatched(view, "port-name-unknown"):
        yield Problem(
            _place(service), message, "the name was mistyped, or the container's port was renamed",
            "give the container port that name, or mend targetPort", key=message,
        )  # fmt: skip


@check(
    "NI1804", "endpoints are addresses of the pods that they name", Category.SERVICES, Severity.WARNING,
    needs=OF_SERVICES, explains=("NI22",),
    remedy="delete the EndpointSlice: it is written anew; if wrong again see kube-controller-manager's log",
    links=("https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/",),
)  # fmt: skip
def stale_endpoint(view: View) -> Iterator[Seen]:
    """Find endpoints whose pod is gone, has finished, or has another address: connections to them go astray."""
    for service, message in _mismatched(view, "stale-endpoint"):
        yield Problem(
            _place(service), message, "who writes its EndpointSlices does not follow the pods",
            f"kubectl -n {service.namespace} get endpointslices -l kubernetes.io/service-name={service.name}",
            key=message.partition(" is said")[0],
        )  # fmt: skip


def _daemons(view: View) -> Iterator[wire.DaemonSet]:
    """Give the DaemonSets that run the image of kube-proxy."""
    for daemon in view.snapshot.daemon_sets:
        images = (image_names(c.image) for c in daemon.spec.template.spec.containers)
        if any("kube-proxy" in names for names in images):
            yield daemon


def _proxies(view: View) -> dict[str, wire.Pod]:
    """Give the pods of kube-proxy by their node."""
    found: dict[str, wire.Pod] = {}
    for daemon in _daemons(view):
        found |= view.pods_of.get((daemon.metadata.namespace, daemon.metadata.name), {})
    return found


@check(
    "NI1805", "kube-proxy is ready on every node", Category.SERVICES, Severity.ERROR, needs=NEEDS,
    explains=("NI22",), remedy="kubectl -n kube-system describe its pod on the node, and see its log",
    links=("https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
           issue("kubernetes/kubernetes#35641")),
)  # fmt: skip
def proxy_not_ready(view: View) -> Iterator[Seen]:
    """Find nodes on which the pod of kube-proxy is not ready, or not there while others have one.

    Its rules stay in the kernel and go stale: new Services are not reached from that node, and endpoints that are
    gone are still sent to. Distributions that run it within the kubelet or the CNI have no such pod, and nothing is
    said of them, nor of a pod that started less than two minutes ago.
    """
    pods = _proxies(view)
    meant = any(d.status.desired_number_scheduled for d in _daemons(view)) and not view.snapshot.gap("pods")
    if not pods and not meant:
        yield Irrelevant("no DaemonSet runs kube-proxy")
        return
    for node in view.linux:
        pod = pods.get(node.name)
        ready = next((c.status for c in pod.status.conditions if c.type == "Ready"), "") if pod is not None else "False"
        # A node that is not ready has a finding of its own.
        if (
            ready != "False"
            or not node.takes_agents
            or (pod is not None and (pod.metadata.deletion_timestamp or view.is_young(pod)))
        ):
            continue
        says = (
            f"kube-proxy there, pod/{pod.metadata.namespace}/{pod.metadata.name}, is not ready"
            if pod
            else "no pod of kube-proxy runs on it"
        )
        yield Problem(
            f"node/{node.name}", says, "its rules go stale: Services and endpoints that change are not followed there",
            f"kubectl -n kube-system get pods -o wide --field-selector spec.nodeName={node.name}, and see its log",
            key="kube-proxy",
        )  # fmt: skip


@check(
    "NI1806", "somebody translates Services", Category.SERVICES, Severity.ERROR, needs=NEEDS, vantage=Vantage.NODE,
    reads=("links", "nftables", *IPTABLES), explains=("NI22",),
    remedy="install kube-proxy, or let the CNI replace it (Cilium kubeProxyReplacement)",
    links=("https://kubernetes.io/docs/reference/networking/virtual-ips/",),
)  # fmt: skip
def nobody_translates(view: View) -> Iterator[Seen]:
    """Find clusters in which neither kube-proxy nor a CNI in its place was seen, by the API or in the kernels."""
    if view.cni.services:
        return
    if not view.sight.read:
        yield Unseen(
            "no kube-proxy and no CNI in its place was seen by the API", "--access exec or pod shows its rules"
        )
        return
    bare = [n.name for n, kernel in view.sight.read if kernel.chains is not None and not proxy_modes(kernel)]
    if bare and len(bare) == len(view.sight.read):
        yield Problem(
            "cluster", "no node has rules for Services", "neither kube-proxy nor a CNI in its place runs",
            "install kube-proxy, or turn on the CNI's replacement", key="none",
        )  # fmt: skip


@check(
    "NI1807", "one program translates Services", Category.SERVICES, Severity.WARNING, needs=NEEDS,
    remedy="remove kube-proxy (`kubectl -n kube-system delete daemonset kube-proxy`), and clean up its rules on each "
    "node (`kube-proxy --cleanup`), or turn the CNI's replacement off",
    links=(issue("projectcalico/calico#10748"), "https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/"),
)  # fmt: skip
def two_translate(view: View) -> Iterator[Seen]:
    """Find kube-proxy beside a CNI that replaces it: connections are translated by whichever comes first."""
    own = view.cni.services
    if own not in ("", "kube-proxy") and (pods := _proxies(view)):
        yield Problem(
            "cluster", f"kube-proxy runs on {len(pods)} nodes, and {own} translates Services too",
            "kube-proxy was not removed when it was replaced", "remove kube-proxy, and clean up its rules on each node",
            key="both",
        )  # fmt: skip


@check(
    "NI1808", "kube-proxy has one mode everywhere, and left nothing of another", Category.SERVICES, Severity.WARNING,
    needs=NEEDS, vantage=Vantage.NODE, reads=("links", "nftables", *IPTABLES),
    remedy="restart kube-proxy on the nodes that differ; `kube-proxy --cleanup`, or a restart of the node, removes the "
    "rest of the earlier mode",
    links=(issue("kubernetes/kubernetes#102314"),),
)  # fmt: skip
def modes_differ(view: View) -> Iterator[Seen]:
    """Find nodes whose rules are of another mode than most, of two modes, or of a kube-proxy that a CNI replaces."""
    modes = {n.name: found for n, kernel in view.sight.read if (found := proxy_modes(kernel))}
    usual = Counter(m for found in modes.values() for m in found).most_common(1)
    replaced = view.cni.services not in ("", "kube-proxy")
    for node, found in modes.items():
        if len(found) > 1:
            says = f"it has rules of kube-proxy's modes {' and '.join(found)}"
        elif replaced and not _proxies(view):
            says = f"it still has rules of kube-proxy ({found[0]}), which {view.cni.services} replaces"
        elif usual and found[0] != usual[0][0]:
            says = f"kube-proxy's mode is {found[0]} there, and {usual[0][0]} on most nodes"
        else:
            continue
        yield Problem(
            f"node/{node}", says, "the mode was changed, and what the earlier one made is still there",
            "restart kube-proxy there; kube-proxy --cleanup removes the rest", key="mode",
        )  # fmt: skip


@check(
    "NI1809", "kube-proxy's mode has a future", Category.SERVICES, Severity.INFO, needs=NEEDS,
    remedy="set mode: nftables in the ConfigMap kube-proxy (kernel 5.13 or newer), and restart it on each node",
    links=("https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/5495-deprecate-ipvs-mode-in-kube-proxy",
           "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/5343-nftables-to-default"),
)  # fmt: skip
def mode_deprecated(view: View) -> Iterator[Seen]:
    """Tell of kube-proxy in IPVS mode, which is deprecated since 1.35, and of a mode that is left to the default.

    The default is iptables and is meant to become nftables; a cluster that names its mode does not change by an
    upgrade.
    """
    if view.proxy is None or view.cni.services not in ("", "kube-proxy"):
        yield Irrelevant("kube-proxy is not at work")
        return
    if view.proxy[0] == "ipvs":
        yield Problem(
            "cluster", "kube-proxy translates Services by IPVS, which is deprecated since Kubernetes 1.35",
            "KEP-5495: off by default in 1.40, removed in 1.43", "move to mode nftables", key="ipvs",
        )  # fmt: skip
    if proxy_setting(view.snapshot, "mode") == "":
        yield Problem(
            "cluster", "kube-proxy's mode is left to the default, which will change from iptables to nftables",
            "ConfigMap kube-system/kube-proxy has no mode (KEP-5343)", "name the mode there", key="default",
        )  # fmt: skip


def _nodes_of(service: ServiceEntry) -> set[str]:
    return {e.node for p in service.ports for e in p.endpoints or () if e.ready and e.node}


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return f"{', '.join(listed[:3])}{f' and {len(listed) - 3} others' if len(listed) > 3 else ''}"


@check(
    "NI1810", "Services that keep traffic on its node have endpoints there", Category.SERVICES, Severity.INFO,
    needs=(resources.NODES, *OF_SERVICES),
    remedy="run an endpoint on every node (a DaemonSet), or use the traffic policy Cluster",
    links=("https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-policies",
           issue("kubernetes/kubernetes#104105")),
)  # fmt: skip
def kept_local(view: View) -> Iterator[Seen]:
    """Find Services with the traffic policy Local and nodes without a ready endpoint: what comes in there is dropped.

    internalTrafficPolicy: Local is a warning, since pods of such a node never reach the Service.
    externalTrafficPolicy: Local is only told where a balancer asks the health check port, by which it leaves those
    nodes out; without a balancer (a NodePort) it is a warning as well.
    """
    ready = {n.name for n in view.linux if n.takes_agents}
    for service in view.services.services or ():
        if "Local" not in (service.internal_traffic_policy, service.external_traffic_policy):
            continue
        ends = _nodes_of(service)
        bare = ready - ends
        if not ends or not bare:
            continue
        if service.internal_traffic_policy == "Local":
            yield Problem(
                _place(service),
                f"pods of {_some(bare)} do not reach it: internalTrafficPolicy is Local, and none of its "
                "endpoints is there",
                "the policy keeps traffic on the node that it comes from",
                "run an endpoint on every node, or set internalTrafficPolicy: Cluster",
                severity=Severity.WARNING,
                nodes=tuple(sorted(bare)),
                key="internal",
            )
        if service.external_traffic_policy == "Local" and service.type in ("NodePort", "LoadBalancer"):
            balanced = service.type == "LoadBalancer"
            yield Problem(
                _place(service),
                f"what comes in at {_some(bare)} is dropped: externalTrafficPolicy is Local, and none of "
                "its endpoints is there",
                f"its balancer leaves these nodes out by health check port {service.health_check_node_port}"
                if balanced
                else "nobody keeps clients away from these nodes",
                "no more than to know"
                if balanced
                else "run an endpoint on every node, or set externalTrafficPolicy: Cluster",
                severity=Severity.INFO if balanced else Severity.WARNING,
                nodes=tuple(sorted(bare)),
                key="external",
            )


@check(
    "NI1811", "kube-proxy knows the pods' range", Category.SERVICES, Severity.WARNING, needs=NEEDS,
    remedy="set clusterCIDR in the ConfigMap kube-proxy to the pods' ranges, or detectLocalMode to what fits the CNI",
    links=("https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",),
)  # fmt: skip
def cluster_cidr(view: View) -> Iterator[Seen]:
    """Find pods outside of the clusterCIDR that kube-proxy is configured with.

    kube-proxy masquerades what goes to a Service from outside of clusterCIDR: such pods' packets arrive with a node's
    address, so that NetworkPolicies and logs see the node. With another detectLocalMode the setting is not used.
    """
    told = (proxy_setting(view.snapshot, "clusterCIDR") or "").split(",")
    ranges = [n for part in told if (n := parse_network(part.strip())) is not None]
    if not ranges or proxy_setting(view.snapshot, "detectLocalMode") not in ("", "ClusterCIDR"):
        yield Irrelevant("kube-proxy is not configured with clusterCIDR")
        return
    for pod in view.cluster.pods or ():
        for one in pod.addresses:
            address = parse_address(one.address)
            same = [n for n in ranges if address is not None and n.version == address.version]
            if same and not one.released and not any(address in n for n in same):
                yield Problem(
                    "cluster",
                    f"pod/{pod.namespace}/{pod.name} has {address}, outside of kube-proxy's clusterCIDR {same[0]}",
                    "clusterCIDR was not changed with the CNI's range",
                    "set clusterCIDR in ConfigMap kube-system/kube-proxy, and restart kube-proxy",
                    key="clusterCIDR",
                )
                return


@check(
    "NI1812", "load balancers have an address", Category.SERVICES, Severity.WARNING, needs=OF_SERVICES,
    remedy="see who makes load balancers (a cloud controller, MetalLB, kube-vip), its log, and its pools of addresses",
    links=(f"{_SERVICE}#loadbalancer",),
)  # fmt: skip
def balancer_pending(view: View) -> Iterator[Seen]:
    """Find Services of type LoadBalancer without an address: nobody makes one, or it cannot."""
    for service in view.services.services or ():
        if service.load_balancer_pending:
            yield Problem(
                _place(service),
                "it waits for a load balancer",
                "nobody makes load balancers in this cluster, or it failed",
                f"kubectl -n {service.namespace} describe service {service.name}: the events tell",
            )


@check(
    "NI1813", "webhooks lead to Services that answer", Category.SERVICES, Severity.ERROR,
    needs=(resources.MUTATING_WEBHOOKS, *OF_SERVICES),
    remedy="bring back the webhook's pods, or delete its configuration if it was removed",
    links=("https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/",),
)  # fmt: skip
def webhook_down(view: View) -> Iterator[Seen]:
    """Find mutating webhooks whose Service is not there, or has no endpoint that is ready.

    With failurePolicy Fail (the default) the API server then refuses to create what the webhook is asked about: often
    all pods. With Ignore it creates them without what the webhook would have added, which is a warning.
    """
    for configuration in view.snapshot.mutating_webhooks:
        for hook in configuration.webhooks or ():
            service = hook.client_config.service
            if service is None or not view.snapshot.whole("services", service.namespace):
                continue
            entry = view.entries.get(f"svc/{service.namespace}/{service.name}")
            if entry is not None and (
                not entry.ports or any(p.endpoints is None or any(e.ready for e in p.endpoints) for p in entry.ports)
            ):
                continue
            what = "is not there" if entry is None else "has no endpoint that is ready"
            yield Problem(
                f"mutatingwebhookconfiguration/{configuration.metadata.name}",
                f"webhook {hook.name}: svc/{service.namespace}/{service.name} {what}",
                "what it is asked about is refused" if hook.failure_policy != "Ignore"
                else "what it is asked about is created without what it would add",
                "bring back its pods, or delete the configuration",
                severity=Severity.WARNING if hook.failure_policy == "Ignore" else None, key=hook.name,
            )  # fmt: skip


# pkg/util/kernel/constants.go of Kubernetes: NFTablesKubeProxyKernelVersion; pkg/proxy/nftables/supported.go.
_NFTABLES_KERNEL = (5, 13)
_SKIPS = "KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK"


@check(
    "NI1814", "the nodes' kernels are new enough for kube-proxy's mode", Category.SERVICES, Severity.ERROR, needs=NEEDS,
    explains=("NI1805", "NI22"),
    remedy="upgrade the kernel to 5.13 or newer, or set mode: iptables in the ConfigMap kube-proxy",
    links=("https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables",),
)  # fmt: skip
def kernel_too_old(view: View) -> Iterator[Seen]:
    """Find nodes whose kernel is older than 5.13 where kube-proxy's mode is nftables: there it refuses to start.

    It asks for that kernel since with an older one comes an nft which its rules may break. Who knows better sets
    KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK, and nothing is said then.
    """
    skipped = any(v.name == _SKIPS and v.value for d in _daemons(view) for c in d.spec.template.spec.containers
                  for v in c.env or ())  # fmt: skip
    if view.proxy is None or view.proxy[0] != "nftables" or skipped:
        yield Irrelevant("kube-proxy's mode is not nftables")
        return
    for node in view.linux:
        told = node.object.status.node_info.kernel_version
        found = re.match(r"(\d{1,9})\.(\d{1,9})", told)
        if found is None:
            yield Unseen(f"the version of the kernel of node/{node.name} is not known", "its kubelet reports it")
        elif (int(found[1]), int(found[2])) < _NFTABLES_KERNEL:
            yield Problem(
                f"node/{node.name}", f"its kernel is {told}, and kube-proxy's mode nftables takes 5.13 or newer",
                "kube-proxy refuses to start there", "upgrade the kernel, or use mode iptables", key="kernel",
            )  # fmt: skip


CHECKS = (
    no_ready_endpoint, selector_matches_nothing, port_name_unknown, stale_endpoint, proxy_not_ready, nobody_translates,
    two_translate, modes_differ, mode_deprecated, kept_local, cluster_cidr, balancer_pending, webhook_down,
    kernel_too_old,
)  # fmt: skip
