"""Linkerd: a small proxy of its own beside each application, with mTLS between all that have one.

The annotation that asks for injection stays where none happened, so it says what was meant, and nothing of what is.

Of a request are followed: Servers with their authorizations of both kinds, default policies, HTTPRoutes of Services and
ServiceProfiles. What routes of a Server let in, GRPCRoutes and splits of a ServiceProfile are unknown.
"""

from __future__ import annotations

import re

from netinspect.mesh.base import NOTED, RUNS, Presence, Product, Signature, Wish, number
from netinspect.mesh.sight import Pod, Sight, flag, variables, version
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "linkerd"
TITLE = "Linkerd"
SELECTS = False
SIGNATURE = Signature(
    containers=("linkerd-proxy", "linkerd-init", "linkerd-network-validator"),
    keys=("linkerd.io/", "config.linkerd.io/"),
    variables=("LINKERD2_PROXY_",),
    images=frozenset({"linkerd-proxy", "linkerd-proxy-init", "linkerd-controller"}),
    chains=("PROXY_INIT_",),
    asks=("linkerd.io/inject",),
    inbound=4143,
    outbound=4140,
    webhooks=re.compile(r"linkerd-proxy-injector\.linkerd\.io"),
    groups=frozenset({"policy.linkerd.io", "linkerd.io"}),
    control=(("linkerd.io/control-plane-component", "", ""),),
    products=(Product("Buoyant Enterprise for Linkerd", ("ghcr.io/buoyantio/",)),),
)
SOURCES: tuple[str, ...] = (
    "linkerd/linkerd2: pkg/inject/report.go, pkg/healthcheck/sidecar.go, pkg/k8s/labels.go",
    "linkerd/linkerd2: charts/partials/templates/_proxy.tpl, _proxy-init.tpl, _network-validator.tpl",
    "linkerd/linkerd2-proxy-init: pkg/iptables/iptables.go, cni-plugin/main.go",
)

_INJECT = "linkerd.io/inject"
_WANTED = ("enabled", "ingress")
_CONTROL = "linkerd.io/control-plane-ns"
_VERSION = "linkerd.io/proxy-version"


def find(pod: Pod, sight: Sight) -> Presence | None:
    """Find the proxy by its container together with the label of its control plane, or its own settings."""
    proxy = pod.containers.get("linkerd-proxy")
    if proxy is None:
        return None
    clues = []
    if _CONTROL in pod.labels:
        clues.append(Clue(says=f"is {pod.labels[_CONTROL]}", source=f"label {_CONTROL}", weight=NOTED))
    if _VERSION in pod.annotations:
        clues.append(Clue(says=f"is {pod.annotations[_VERSION]}", source=f"annotation {_VERSION}", weight=NOTED))
    if not clues and not any(v.startswith("LINKERD2_PROXY_") for v in variables(proxy)):
        return None
    capture, shown = _capture(pod, sight)
    return Presence(
        Part.SIDECAR,
        (Clue(says=f"runs {proxy.image}", source="container linkerd-proxy", weight=RUNS), *clues, *shown),
        pod.placement("linkerd-proxy"),
        capture,
        "linkerd-proxy",
        _uid(pod),
        pod.annotations.get(_VERSION) or version(proxy),
        pod.labels.get(_CONTROL, ""),
        outbound=_outbound(pod),
    )


def _capture(pod: Pod, sight: Sight) -> tuple[Capture, tuple[Clue, ...]]:
    if pod.has("linkerd-init"):
        return Capture.IPTABLES, (
            Clue(says="sets the rules of redirection", source="container linkerd-init", weight=RUNS),
        )
    if pod.has("linkerd-network-validator"):
        says = "waits for the CNI plug-in's rules"
        return Capture.CNI, (Clue(says=says, source="container linkerd-network-validator", weight=RUNS),)
    if any(p.metadata.labels.get("k8s-app") == "linkerd-cni" for p in sight.pods):
        # Before there was the validator, the plug-in acted on whoever has the proxy and no linkerd-init.
        return Capture.CNI, (Clue(says="wires such pods", source="DaemonSet linkerd-cni", weight=NOTED),)
    return Capture.NONE, ()


def _uid(pod: Pod) -> int | None:
    init = pod.containers.get("linkerd-init")
    told = flag(init, "--proxy-uid") if init else ""
    return found if (found := number(told)) is not None else pod.uid("linkerd-proxy")


def _outbound(pod: Pod) -> int:
    init = pod.containers.get("linkerd-init")
    return (number(flag(init, "--outgoing-proxy-port")) if init else None) or 0


def wish(pod: Pod, _sight: Sight) -> Wish | None:
    """Say what the pod's annotation asks for, else its namespace's; another's sidecar and the host network stop it."""
    own, around = pod.annotations.get(_INJECT) or None, pod.noted.get(_INJECT) or None
    value = own if own is not None else around
    if value is None:
        return None
    where = "the pod" if own is not None else f"namespace {pod.namespace}"
    says = f"{where} is annotated {_INJECT}={value}"
    if value not in _WANTED:
        return Wish(False, says, own=own is not None)
    if around not in (None, "disabled", *_WANTED):
        # What it cannot read on the namespace stops it, whatever the pod says (pkg/inject/report.go).
        return Wish(False, f"namespace {pod.namespace} is annotated {_INJECT}={around}, which is no value of it")
    stopped = _stopped(pod)
    if stopped:
        return Wish(False, stopped, own=True)
    return Wish(True, says, own=own is not None, key=_INJECT)


def _stopped(pod: Pod) -> str:
    """Say what keeps the injector from a pod that asks for it (pkg/inject/report.go); nothing where nothing does."""
    if pod.on_host:
        return "it is on the host network, where nothing is injected"
    if pod.has("istio-proxy") or pod.has("istio-init"):
        return "it has Istio's sidecar, beside which Linkerd injects none"
    return ""
