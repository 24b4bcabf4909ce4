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
    containers=("consul-dataplane", "envoy-sidecar", "consul-connect-inject-init"),
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
    if asked is None:
        return _default(pod, sight)
    if asked and pod.namespace in _NEVER:
        return Wish(False, f"nothing is injected in {pod.namespace}")
    return Wish(asked, f"the pod is annotated {_INJECT}={own}", own=True)


def _default(pod: Pod, sight: Sight) -> Wish | None:
    """Say what the injector does with pods that ask for nothing; it says so by a flag."""
    by_default = any(
        word in ("-default-inject=true", "--default-inject=true")
        for p in sight.components.get("connect-injector", ())
        for c in p.spec.containers
        for line in words(c)
        for word in line.split()
    )
    if not by_default or pod.namespace in _NEVER or pod.labels.get("app") == "consul":
        return None
    return Wish(True, "the injector was started with -default-inject=true")
