"""Kuma, and Kong Mesh which is built on it: an Envoy beside each application, in one of perhaps several meshes."""

from __future__ import annotations

import re

from netinspect.mesh.base import NOTED, RUNS, Presence, Product, Signature, Wish, number, true
from netinspect.mesh.sight import Pod, Sight, variables, version
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "kuma"
TITLE = "Kuma"
SELECTS = True
SIGNATURE = Signature(
    containers=("kuma-sidecar", "kuma-init", "kuma-validation"),
    keys=("kuma.io/", "k8s.kuma.io/", "traffic.kuma.io/"),
    variables=("KUMA_",),
    images=frozenset({"kuma-dp", "kuma-init", "kuma-cp"}),
    chains=("KUMA_MESH_",),
    asks=("kuma.io/sidecar-injection",),
    inbound=15006,
    outbound=15001,
    webhooks=re.compile(r".*kuma-injector\.kuma\.io"),
    groups=frozenset({"kuma.io"}),
    control=(("app", "kuma-control-plane", ""), ("app", "kong-mesh-control-plane", "")),
    products=(Product("Kong Mesh", ("kong/", "docker.io/kong/"), frozenset({"kong-mesh-system"})),),
)
SOURCES: tuple[str, ...] = (
    "kumahq/kuma: pkg/plugins/runtime/k8s/webhooks/injector, pkg/plugins/runtime/k8s/metadata/annotations.go",
    "kumahq/kuma: app/cni/pkg/cni/main_linux.go, pkg/transparentproxy/consts/consts.go",
)

_INJECTION = "kuma.io/sidecar-injection"
_INJECTED = "kuma.io/sidecar-injected"
_ZONE = ("kuma.io/ingress", "kuma.io/egress")
_BUILDERS = ("openshift.io/build.name", "openshift.io/deployer-pod-for.name")


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find the sidecar by its container together with a note or setting of Kuma's, then its zone proxies."""
    proxy = pod.containers.get("kuma-sidecar")
    zone = "k8s.kuma.io/zone-proxy-type" in pod.labels or any(
        key in pod.annotations and true(pod.annotations[key].replace("enabled", "true")) for key in _ZONE
    )
    if zone:
        name = next(iter(pod.containers), "")
        clue = Clue(says="is a proxy of its zone", source="annotations and labels of kuma.io", weight=NOTED)
        return Presence(
            Part.GATEWAY, (clue,), pod.placement(name), proxy=name, version=version(pod.containers.get(name))
        )
    if proxy is None:
        return None
    # That it was asked for, or refused, says nothing of what is there.
    keys = {*pod.annotations, *pod.labels} - {_INJECTION}
    if not any(k.startswith(("kuma.io/", "traffic.kuma.io/")) for k in keys) and not any(
        v.startswith("KUMA_") for v in variables(proxy)
    ):
        return None
    clues = [Clue(says=f"runs {proxy.image}", source="container kuma-sidecar", weight=RUNS)]
    if _INJECTED in pod.annotations:
        clues.append(Clue(says=f"is {pod.annotations[_INJECTED]}", source=f"annotation {_INJECTED}", weight=NOTED))
    capture, shown = _capture(pod)
    uid = pod.annotations.get("kuma.io/sidecar-uid", "")
    gateway = pod.annotations.get("kuma.io/gateway") in ("enabled", "true", "yes")
    return Presence(
        Part.GATEWAY if gateway else Part.SIDECAR,
        (*clues, *shown),
        pod.placement("kuma-sidecar"),
        capture,
        "kuma-sidecar",
        found if (found := number(uid)) is not None else pod.uid("kuma-sidecar"),
        version(proxy),
    )


def _capture(pod: Pod) -> tuple[Capture, tuple[Clue, ...]]:
    ebpf = "kuma.io/transparent-proxying-ebpf"
    if pod.annotations.get(ebpf) == "enabled":
        return Capture.EBPF, (Clue(says="is enabled", source=f"annotation {ebpf}", weight=NOTED),)
    if pod.has("kuma-init"):
        says = "sets the rules of redirection"
        return Capture.IPTABLES, (Clue(says=says, source="container kuma-init", weight=RUNS),)
    told = "traffic.kuma.io/transparent-proxy-config"
    plugged = told in pod.annotations or pod.annotations.get("kuma.io/transparent-proxying") == "enabled"
    if plugged or pod.has("kuma-validation") or "kuma-cni" in pod.annotations.get("k8s.v1.cni.cncf.io/networks", ""):
        return Capture.CNI, (Clue(says="waits for the CNI plug-in's rules", source="its start", weight=RUNS),)
    return Capture.NONE, ()


def wish(pod: Pod, _sight: Sight) -> Wish | None:
    """Say what the pod's label asks for, else its namespace's."""
    own = pod.labels.get(_INJECTION)
    value = own if own is not None else pod.asked.get(_INJECTION)
    if value is None:
        return None
    if pod.on_host:
        return Wish(False, "it is on the host network, where nothing is captured", own=True)
    if built := next((label for label in _BUILDERS if label in pod.labels), ""):
        return Wish(False, f"the pod is labelled {built}: builds and deployers of OpenShift are left alone", own=True)
    where = "the pod" if own is not None else f"namespace {pod.namespace}"
    says = f"{where} is labelled {_INJECTION}={value}"
    return Wish(value in ("enabled", "true"), says, own=own is not None, key=_INJECTION)
