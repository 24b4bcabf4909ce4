"""Istio: an Envoy beside each application, or one proxy a node and waypoints (ambient).

Its webhooks' selectors say who gets a sidecar, for every revision, tag and distribution; labels, and annotations that
veto, say the rest. An ambient pod is known by what the node's agent noted on it.

Of a request to a sidecar are followed: PeerAuthentications, DestinationRules, VirtualServices, HTTPRoutes of Services,
Sidecars, exportTo, REGISTRY_ONLY, AuthorizationPolicies; Telemetries are told. Of ambient: PeerAuthentications and
AuthorizationPolicies as ztunnel takes them, and of a waypoint those that hang on it or on the Service, and HTTPRoutes.
What gateways, GRPCRoutes and a waypoint's VirtualServices make of it is unknown, as is a call between a sidecar and a
ztunnel; an EnvoyFilter is named, as it may change all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from netinspect.mesh import cilium
from netinspect.mesh.base import NOTED, RUNS, Presence, Product, Signature, Wish, number
from netinspect.mesh.ranges import inside
from netinspect.mesh.sight import Pod, Sight, flag, names, variables, version, words
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "istio"
TITLE = "Istio"
SELECTS = True
SIGNATURE = Signature(
    containers=("istio-proxy", "istio-init", "istio-validation", "grpc-bootstrap-init"),
    keys=("sidecar.istio.io/", "security.istio.io/", "ambient.istio.io/", "istio.io/", "istio-injection"),
    variables=("ISTIO_META_", "GRPC_XDS_BOOTSTRAP"),
    images=frozenset({"proxyv2", "pilot", "ztunnel", "install-cni", "istio-proxyv2-rhel9", "istio-pilot-rhel9"}),
    chains=("ISTIO_",),
    tables=("istio-",),
    asks=("istio-injection", "istio.io/rev", "istio.io/dataplane-mode"),
    inbound=15006,
    outbound=15001,
    webhooks=re.compile(r".*sidecar-injector\.istio\.io"),
    agent=("k8s-app", "istio-cni-node"),
    exclusive=(("istio-injection", "istio.io/rev"),),
    groups=frozenset({"networking.istio.io", "security.istio.io", "telemetry.istio.io"}),
    control=(("app", "istiod", "discovery"),),
    upstream=("docker.io/istio/", "istio/", "gcr.io/istio-release/", "gcr.io/istio-testing/", "registry.istio.io/"),
    products=(
        Product("Azure's add-on for AKS", ("mcr.microsoft.com/oss/",), frozenset({"aks-istio-system"})),
        Product("Azure Kubernetes Application Network", namespaces=frozenset({"applink-system"})),
        Product("Solo", ("us-docker.pkg.dev/gloo-mesh/",)),
        Product("Tetrate", ("containers.istio.tetratelabs.com/",)),
        Product(
            "Google Cloud Service Mesh",
            ("gcr.io/gke-release/asm",),
            groups=frozenset({"mesh.cloud.google.com"}),
            configurations=("istiod-asm-managed",),
        ),
        Product(
            "OpenShift Service Mesh", ("registry.redhat.io/openshift-service-mesh/",), groups=frozenset({"maistra.io"})
        ),
        Product("Sail operator", groups=frozenset({"sailoperator.io"})),
    ),
)
SOURCES: tuple[str, ...] = (
    "istio/istio: pkg/kube/inject/inject.go, manifests/charts/istio-control/istio-discovery",
    "istio/istio: cni/pkg/util/podutil.go, cni/pkg/util/enablement_selector.go, cni/pkg/plugin/plugin.go",
    "istio/istio: tools/istio-iptables/pkg/cmd/root.go",
)

_STATUS = "sidecar.istio.io/status"
_INJECT = "sidecar.istio.io/inject"
_INJECTION = "istio-injection"
_REVISION = "istio.io/rev"
_MEMBER = "maistra.io/member-of"
_MODE = "istio.io/dataplane-mode"
_REDIRECTION = "ambient.istio.io/redirection"
_MANAGED = "gateway.istio.io/managed"
_PARTS = {
    "sidecar": Part.SIDECAR,
    "router": Part.GATEWAY,
    "waypoint": Part.WAYPOINT,
    "ztunnel": Part.NODE_PROXY,
}
# What the injector leaves alone whatever is asked for (pkg/kube/inject/initializer.go, IgnoredNamespaces).
_IGNORED = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find a proxy by its container together with what the injector noted, then what the node's agent noted."""
    if cilium.is_ztunnel(pod):
        return None
    proxy = pod.containers.get("istio-proxy")
    told = variables(proxy)
    marks = tuple(_marks(pod, proxy, told)) if proxy is not None else ()
    if proxy is not None and marks:
        return _proxied(pod, proxy, told, marks)
    if pod.has("grpc-bootstrap-init") and any("GRPC_XDS_BOOTSTRAP" in variables(c) for c in pod.containers.values()):
        clue = Clue(says="its start writes a bootstrap for gRPC", source="container grpc-bootstrap-init", weight=RUNS)
        return Presence(Part.PROXYLESS, (clue,), revision=_revision(pod))
    redirection = pod.annotations.get(_REDIRECTION, "")
    if redirection in ("enabled", "pending"):
        clue = Clue(says=f"the node's agent noted {redirection}", source=f"annotation {_REDIRECTION}", weight=NOTED)
        waits = "ztunnel has not taken it in: its traffic is blocked" if redirection == "pending" else ""
        return Presence(Part.AMBIENT, (clue,), capture=Capture.NODE, waits=waits)
    if "agentgateway" in pod.containers and _MANAGED in pod.labels:
        clue = Clue(says=pod.labels[_MANAGED], source=f"label {_MANAGED}", weight=NOTED)
        return Presence(_managed(pod), (clue,), pod.placement("agentgateway"), proxy="agentgateway")
    return None


def _marks(pod: Pod, proxy: wire.NotedContainer, told: Mapping[str, str]) -> Iterator[Clue]:
    if _STATUS in pod.annotations:
        yield Clue(says="the injector noted what it added", source=f"annotation {_STATUS}", weight=NOTED)
    if "security.istio.io/tlsMode" in pod.labels:
        says = f"is {pod.labels['security.istio.io/tlsMode']}"
        yield Clue(says=says, source="label security.istio.io/tlsMode", weight=NOTED)
    known = next((v for v in told if v.startswith("ISTIO_META_")), "")
    if known:
        yield Clue(says=f"is told {known}", source=f"container {proxy.name}", weight=RUNS)
    if words(proxy)[:2] == ("proxy", "ztunnel") or "ztunnel" in names(proxy):
        yield Clue(says="runs ztunnel", source=f"container {proxy.name}", weight=RUNS)
    if _MANAGED in pod.labels:
        yield Clue(says=pod.labels[_MANAGED], source=f"label {_MANAGED}", weight=NOTED)


def _proxied(pod: Pod, proxy: wire.NotedContainer, told: Mapping[str, str], marks: tuple[Clue, ...]) -> Presence:
    part = _part(pod, proxy, told)
    started = " ".join(words(proxy)[:2])
    clue = Clue(says=f"runs {started or proxy.image}", source=f"container {proxy.name}", weight=RUNS)
    capture = _capture(pod, told) if part is Part.SIDECAR else Capture.NONE
    shown = () if capture is Capture.NONE else (_shown(pod),)
    return Presence(
        part,
        (clue, *marks, *shown),
        pod.placement(proxy.name),
        capture,
        proxy.name,
        _uid(pod),
        version(proxy),
        _revision(pod),
        outbound=_outbound(pod),
    )


def _part(pod: Pod, proxy: wire.NotedContainer, told: Mapping[str, str]) -> Part:
    """Tell by its arguments what a proxy is for; they may have been replaced, and then by what else there is."""
    said = words(proxy)
    if told.get("ISTIO_META_GENERATOR") == "grpc":
        return Part.PROXYLESS
    if "proxy" in said:
        role = next(iter(said[said.index("proxy") + 1 :]), "")
        # A gateway between networks starts as a waypoint does.
        return _managed(pod) if role == "waypoint" else _PARTS.get(role, Part.SIDECAR)
    if "ztunnel" in names(proxy):
        return Part.NODE_PROXY
    return _managed(pod) if _MANAGED in pod.labels else Part.SIDECAR


def _managed(pod: Pod) -> Part:
    edge = pod.labels.get(_MANAGED, "") in (
        "istio.io-gateway-controller", "istio.io-eastwest-controller", "istio.io-agentgateway-controller",
    )  # fmt: skip
    return Part.GATEWAY if edge else Part.WAYPOINT


def _capture(pod: Pod, told: Mapping[str, str]) -> Capture:
    noted = pod.annotations.get("sidecar.istio.io/interceptionMode", "")
    mode = noted or told.get("ISTIO_META_INTERCEPTION_MODE", "")
    init = pod.containers.get("istio-init")
    if init is not None:
        return Capture.IPTABLES_TPROXY if (flag(init, "-m") or mode) == "TPROXY" else Capture.IPTABLES
    plugged = "istio-cni" in pod.annotations.get("k8s.v1.cni.cncf.io/networks", "")
    if mode != "NONE" and (pod.has("istio-validation") or plugged):
        return Capture.CNI_TPROXY if mode == "TPROXY" else Capture.CNI
    return Capture.NONE


def _shown(pod: Pod) -> Clue:
    """Say by what it is known that its traffic is turned to the proxy."""
    init = next((n for n in ("istio-init", "istio-validation") if pod.has(n)), "")
    if init == "istio-init":
        return Clue(says="sets the rules of redirection", source="container istio-init", weight=RUNS)
    if init:
        return Clue(says="waits for the CNI plug-in's rules", source="container istio-validation", weight=RUNS)
    return Clue(says="asks for istio-cni", source="annotation k8s.v1.cni.cncf.io/networks", weight=NOTED)


def _uid(pod: Pod) -> int | None:
    """Give the user whose traffic is not captured: as the rules were told, else as the proxy runs."""
    init = pod.containers.get("istio-init") or pod.containers.get("istio-validation")
    told = flag(init, "-u") if init else ""
    return found if (found := number(told)) is not None else pod.uid("istio-proxy")


def _outbound(pod: Pod) -> int:
    init = pod.containers.get("istio-init") or pod.containers.get("istio-validation")
    return (number(flag(init, "-p")) if init else None) or 0


def _revision(pod: Pod) -> str:
    if _REVISION in pod.annotations:
        return pod.annotations[_REVISION]
    try:
        noted = json.loads(pod.annotations.get(_STATUS, "{}"))
    except (ValueError, RecursionError):
        return ""
    return str(noted.get("revision") or "") if isinstance(noted, dict) else ""


def wish(pod: Pod, _sight: Sight) -> Wish | None:
    """Say what was asked for: a sidecar beats ambient, but not where the pod opts out of one; none is on the host."""
    ambient = _ambient(pod)
    asked = _member(pod) if _MEMBER in pod.asked else _injection(pod)
    opted = pod.labels.get(_INJECT, pod.annotations.get(_INJECT, ""))
    if opted == "false" and ambient is None:
        where = "labelled" if _INJECT in pod.labels else "annotated"
        return Wish(False, f"the pod is {where} {_INJECT}=false", own=True)
    if asked is None or (opted == "false") or (not asked.wanted and ambient is not None):
        asked = ambient
    if asked is None or not asked.wanted:
        return asked
    if pod.on_host:
        return Wish(False, "it is on the host network, where nothing is captured", asked.part, own=True)
    if pod.namespace in _IGNORED and asked.part is not Part.AMBIENT:
        return Wish(False, f"nothing is injected in {pod.namespace}")
    return asked


def _member(pod: Pod) -> Wish:
    """Say what a pod of OpenShift Service Mesh 2 asks for: each opts in, unless its control plane says otherwise."""
    value = pod.labels.get(_INJECT, pod.annotations.get(_INJECT, ""))
    says = f"{_INJECT} is {value or 'not set'}, and in {_MEMBER} each pod opts in"
    return Wish(value == "true", says, own=bool(value))


def _ambient(pod: Pod) -> Wish | None:
    """Say whether the node's proxy should take it, which never is where an injector noted that it was there."""
    own, around = pod.labels.get(_MODE, ""), pod.asked.get(_MODE, "")
    if "ambient" not in (own, around):
        return None
    if _STATUS in pod.annotations:
        return Wish(False, f"the pod is annotated {_STATUS}", Part.AMBIENT, own=True)
    if own == "ambient":
        return Wish(True, f"the pod is labelled {_MODE}=ambient", Part.AMBIENT)
    if own == "none":
        return Wish(False, f"the pod is labelled {_MODE}=none", Part.AMBIENT, own=True)
    return Wish(True, f"namespace {pod.namespace} is labelled {_MODE}=ambient", Part.AMBIENT, key=_MODE)


def _injection(pod: Pod) -> Wish | None:
    """Say whether it should have a sidecar, by the labels that webhooks select by."""
    injection = pod.asked.get(_INJECTION, "")
    if injection == "enabled":
        says = f"namespace {pod.namespace} is labelled {_INJECTION}=enabled"
        return Wish(True, says, key=_INJECTION, unanswered=_no_default(pod))
    if _INJECTION in pod.asked:
        # Any value of it keeps the webhooks of revisions away.
        return Wish(False, f"namespace {pod.namespace} is labelled {_INJECTION}={injection}")
    if _REVISION in pod.asked and pod.asked.get(_MODE) != "ambient":
        says = f"namespace {pod.namespace} is labelled {_REVISION}={pod.asked[_REVISION]}"
        return Wish(True, says, key=_REVISION, unanswered=_no_revision(pod.asked[_REVISION]))
    if pod.labels.get(_INJECT) == "true" and _REVISION not in pod.asked:
        return Wish(True, f"the pod is labelled {_INJECT}=true")
    if _REVISION not in pod.labels or _REVISION in pod.asked:
        return None
    says = f"the pod is labelled {_REVISION}={pod.labels[_REVISION]}"
    return Wish(True, says, unanswered=_no_revision(pod.labels[_REVISION]))


def _no_revision(revision: str) -> tuple[str, str]:
    return (
        f"no webhook injects for revision {revision}: it has no control plane, and is no tag",
        "install that revision, or ask for one that `netinspect mesh` lists",
    )


def _no_default(pod: Pod) -> tuple[str, str]:
    if _REVISION in pod.asked:
        return (
            f"{_INJECTION} makes {_REVISION} count for nothing, and there is no default revision",
            f"kubectl label namespace {pod.namespace} {_INJECTION}-",
        )
    return (
        f"no webhook injects for {_INJECTION}=enabled: there is no default revision",
        f"label the namespace {_REVISION}=REVISION instead, or make a revision the default: istioctl tag set default",
    )


def control(pod: Pod) -> tuple[str, str]:
    """Give the namespace and revision of the control plane that signs a proxy's certificates, as it was told.

    Empty where it was not told; the default revision has no name.
    """
    told = variables(pod.containers.get("istio-proxy")).get("CA_ADDR", "")
    service, _, rest = told.partition(".")
    found = rest.partition(".")[0]
    if not service.startswith("istiod") or not found:
        return "", ""
    return found, service.removeprefix("istiod").removeprefix("-")


def trust_domain(pod: Pod) -> str:
    """Give what a proxy's identity begins with, where it was told."""
    return variables(pod.containers.get("istio-proxy")).get("TRUST_DOMAIN", "")


def takes_outbound(pod: Pod, address: str, port: int) -> bool:
    """Say whether a sidecar takes a TCP connection that its application opens (tools/istio-iptables capture/run.go)."""
    excluded = _option(pod, "-o", "excludeOutboundPorts")
    if str(port) in excluded.split(","):
        return False
    if inside(address, _option(pod, "-x", "excludeOutboundIPRanges")):
        return False
    if str(port) in _option(pod, "-q", "includeOutboundPorts").split(","):
        return True
    included = _option(pod, "-i", "includeOutboundIPRanges", "*")
    return included == "*" or inside(address, included)


def takes_inbound(pod: Pod, port: int) -> bool:
    """Say whether a sidecar takes what comes for a port: beside a list of ports, those left out count no more."""
    included = _option(pod, "-b", "includeInboundPorts", "*")
    if included == "*":
        return str(port) not in _option(pod, "-d", "excludeInboundPorts").split(",")
    return str(port) in included.split(",")


def _option(pod: Pod, letter: str, note: str, otherwise: str = "") -> str:
    """Give a setting of the capture: as the init container was told, else as was noted for the CNI plug-in."""
    init = pod.containers.get("istio-init") or pod.containers.get("istio-validation")
    if init is not None and letter in words(init):
        return flag(init, letter)
    return pod.annotations.get(f"traffic.sidecar.istio.io/{note}", otherwise)
