"""Consul service mesh (Connect): an Envoy in Consul's dataplane beside each application.

Its webhook sees every pod; an annotation, or the default that the injector was started with, decides.
"""

from __future__ import annotations

import re

from netinspect.mesh.base import NOTED, RUNS, Presence, Signature, Wish, true
from netinspect.mesh.sight import Pod, Sight, version, words
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "consul"
TITLE = "Consul"
SELECTS = False
SIGNATURE = Signature(
    containers=(
        "consul-dataplane",
        "consul-dataplane-",
        "envoy-sidecar",
        "envoy-sidecar-",
        "consul-connect-inject-init",
        "consul-connect-inject-init-",
    ),
    keys=("consul.hashicorp.com/",),
    variables=("CONSUL_", "DP_"),
    images=frozenset({"consul-dataplane", "consul-k8s-control-plane", "hashicorp-consul"}),
    alike=False,
    chains=("CONSUL_PROXY_",),
    inbound=20000,
    outbound=15001,
    webhooks=re.compile(r".*connect-injector\.consul\.hashicorp\.com"),
    groups=frozenset({"consul.hashicorp.com"}),
    control=(("component", "connect-injector", "sidecar-injector"), ("component", "server", "consul")),
)
SOURCES: tuple[str, ...] = (
    "hashicorp/consul-k8s: control-plane/connect-inject/webhook, control-plane/connect-inject/constants",
    "hashicorp/consul-k8s: control-plane/connect-inject/common/common.go, control-plane/cni/main.go",
    "hashicorp/consul: sdk/iptables/iptables.go",
)

_KEY = "consul.hashicorp.com/"
_INJECT = f"{_KEY}connect-inject"
_STATUS = f"{_KEY}connect-inject-status"
_PROXY_STATUS = f"{_KEY}transparent-proxy-status"
_GATEWAY = f"{_KEY}gateway-kind"
_NEVER = frozenset({"kube-system", "kube-public"})


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find the dataplane by its container together with the status that the injector noted."""
    name = next((n for n in pod.containers if n.startswith(("consul-dataplane", "envoy-sidecar"))), "")
    gateway = pod.annotations.get(_GATEWAY, "")
    if gateway:
        clue = Clue(says=f"is {gateway}", source=f"annotation {_GATEWAY}", weight=NOTED)
        runs = name or next(iter(pod.containers), "")
        return Presence(
            Part.GATEWAY, (clue,), pod.placement(runs), proxy=runs, version=version(pod.containers.get(runs))
        )
    status = pod.annotations.get(_STATUS) or pod.labels.get(_STATUS)
    if not name or status != "injected":
        return None
    proxy = pod.containers[name]
    clues = (
        Clue(says=f"runs {proxy.image}", source=f"container {name}", weight=RUNS),
        Clue(says="is injected", source=f"annotation {_STATUS}", weight=NOTED),
    )
    capture, shown = _capture(pod)
    return Presence(
        Part.SIDECAR, (*clues, *shown), pod.placement(name), capture, name, pod.uid(name), version(proxy)
    )  # fmt: skip


def _capture(pod: Pod) -> tuple[Capture, tuple[Clue, ...]]:
    """Say whether its proxy is transparent; where it is not, only upstreams on localhost go through it."""
    status = pod.annotations.get(_PROXY_STATUS, "")
    if status not in ("enabled", "waiting", "complete"):
        return Capture.NONE, ()
    clue = Clue(says=f"is {status}", source=f"annotation {_PROXY_STATUS}", weight=NOTED)
    plugged = f"{_KEY}redirect-traffic-config" in pod.annotations or status != "enabled"
    return Capture.CNI if plugged else Capture.IPTABLES, (clue,)


def wish(pod: Pod, sight: Sight) -> Wish | None:
    """Say what the pod's annotation asks for, else the injector's default."""
    own = pod.annotations.get(_INJECT)
    if _GATEWAY in pod.annotations:
        return None
    asked = true(own)
    told = _injector(sight)
    left_out = _left_out(pod.namespace, told)
    if left_out and asked is not False:
        return Wish(False, left_out) if asked else None
    if asked is None:
        return _default(pod, told)
    if asked and pod.namespace in _NEVER:
        return Wish(False, f"nothing is injected in {pod.namespace}")
    return Wish(asked, f"the pod is annotated {_INJECT}={own}", own=True)


def _injector(sight: Sight) -> tuple[str, ...]:
    """Give the words of the injector's command line, which may be a line of a shell."""
    lines = (line for p in sight.components.get("connect-injector", ()) for c in p.spec.containers for line in words(c))
    return tuple(re.sub(r"[\"'\\\\]", "", word).lstrip("-") for line in lines for word in line.split())


def told_to_injector(sight: Sight) -> dict[str, str]:
    """Give the flags that the injector was started with, and their values."""
    return {name: value for name, _, value in (word.partition("=") for word in _injector(sight)) if name}


def _left_out(namespace: str, told: tuple[str, ...]) -> str:
    """Say why nothing is injected in a namespace: it is on the list of the denied, or not on that of the allowed."""
    denied, allowed = (
        [word.partition("=")[2] for word in told if word.startswith(f"{flag}-k8s-namespace=")]
        for flag in ("deny", "allow")
    )
    if namespace in denied:
        return f"the injector was started with -deny-k8s-namespace={namespace}"
    if allowed and not {"*", namespace} & set(allowed):
        return f"the injector was started with -allow-k8s-namespace for others than {namespace}"
    return ""


def _default(pod: Pod, told: tuple[str, ...]) -> Wish | None:
    """Say what the injector does with pods that ask for nothing; it says so by a flag."""
    if "default-inject=true" not in told or pod.namespace in _NEVER or pod.labels.get("app") == "consul":
        return None
    return Wish(True, "the injector was started with -default-inject=true", by_default=True)
