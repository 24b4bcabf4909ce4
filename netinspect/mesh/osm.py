"""Open Service Mesh, also as the retired add-on of AKS: an Envoy beside each application. Its project is archived."""

from __future__ import annotations

import re

from netinspect.mesh.base import NOTED, RUNS, Presence, Product, Signature, Wish
from netinspect.mesh.sight import Pod, Sight, version
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "osm"
TITLE = "Open Service Mesh"
SELECTS = False
SIGNATURE = Signature(
    containers=("osm-init", "osm-healthcheck"),
    keys=("osm-proxy-uuid", "openservicemesh.io/"),
    images=frozenset({"openservicemesh-init", "osm-controller", "osm-injector"}),
    alike=False,
    chains=("OSM_PROXY_",),
    asks=("openservicemesh.io/monitored-by", "openservicemesh.io/sidecar-injection"),
    inbound=15003,
    outbound=15001,
    webhooks=re.compile(r"osm-inject\.k8s\.io"),
    groups=frozenset({"config.openservicemesh.io", "policy.openservicemesh.io"}),
    control=(("app", "osm-controller", "osm-controller"), ("app", "osm-injector", "osm-injector")),
    products=(Product("the add-on of AKS", ("mcr.microsoft.com/",)),),
)
SOURCES: tuple[str, ...] = ("openservicemesh/osm: pkg/injector, pkg/constants/constants.go, charts/osm",)

_UUID = "osm-proxy-uuid"
_MONITORED = "openservicemesh.io/monitored-by"
_INJECTION = "openservicemesh.io/sidecar-injection"


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find the Envoy of a pod that bears the identity which the injector gave it."""
    proxy = pod.containers.get("envoy")
    if proxy is None or _UUID not in pod.labels:
        return None
    clues = (
        Clue(says=f"runs {proxy.image}", source="container envoy", weight=RUNS),
        Clue(says=f"is {pod.labels[_UUID]}", source=f"label {_UUID}", weight=NOTED),
    )
    capture = Capture.IPTABLES if pod.has("osm-init") else Capture.NONE
    shown = (Clue(says="sets the rules of redirection", source="container osm-init", weight=RUNS),)
    return Presence(
        Part.SIDECAR, (*clues, *(shown if capture is not Capture.NONE else ())), pod.placement("envoy"), capture,
        "envoy", pod.uid("envoy"), version(proxy),
    )  # fmt: skip


def wish(pod: Pod, _sight: Sight) -> Wish | None:
    """Say what is asked for: nothing without the namespace's label, whatever annotations say."""
    if _MONITORED not in pod.asked or "openservicemesh.io/ignore" in pod.asked:
        return None
    own = pod.annotations.get(_INJECTION)
    value = own if own is not None else pod.noted.get(_INJECTION)
    where = "the pod" if own is not None else f"namespace {pod.namespace}"
    if value is None:
        return None
    if pod.on_host:
        return Wish(False, "it is on the host network, where nothing is injected", own=True)
    # pkg/injector/webhook.go takes these words, and no others.
    wanted = value.lower() in ("enabled", "yes", "true")
    return Wish(
        wanted,
        f"{where} is annotated {_INJECTION}={value}",
        own=own is not None,
        key=_INJECTION,
    )
