"""NGINX Service Mesh: an NGINX beside each application. Its project is archived."""

from __future__ import annotations

import re

from netinspect.mesh.base import NOTED, RUNS, Presence, Signature, Wish
from netinspect.mesh.sight import Pod, Sight, version
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "nginx"
TITLE = "NGINX Service Mesh"
SELECTS = True
SIGNATURE = Signature(
    containers=("nginx-mesh-sidecar", "nginx-mesh-init"),
    keys=("injector.nsm.nginx.com/", "config.nsm.nginx.com/"),
    images=frozenset({"nginx-mesh-sidecar", "nginx-mesh-init", "nginx-mesh-controller"}),
    asks=("injector.nsm.nginx.com/auto-inject",),
    inbound=8901,
    outbound=8900,
    webhooks=re.compile(r"nginx-mesh-(?:controller|api)(?:-obj)?\.sidecar\.injector"),
    groups=frozenset({"nsm.nginx.com", "specs.smi.nginx.com"}),
    control=(("app.kubernetes.io/name", "nginx-mesh-controller", ""), ("app", "nginx-mesh-controller", "")),
)
SOURCES: tuple[str, ...] = ("nginxinc/nginx-service-mesh: helm-chart, pkg/inject, docs/content",)

_AUTO = "injector.nsm.nginx.com/auto-inject"
_STATUS = "injector.nsm.nginx.com/status"


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find the sidecar by its container together with the status that the injector noted."""
    proxy = pod.containers.get("nginx-mesh-sidecar")
    # That it was asked for, or refused, says nothing of what is there.
    keys = {*pod.labels, *pod.annotations} - {_AUTO}
    if proxy is None or not any(k.startswith(SIGNATURE.keys) for k in keys):
        return None
    clues = [Clue(says=f"runs {proxy.image}", source="container nginx-mesh-sidecar", weight=RUNS)]
    for kind, noted in (("label", pod.labels), ("annotation", pod.annotations)):
        if _STATUS in noted:
            clues.append(Clue(says=f"is {noted[_STATUS]}", source=f"{kind} {_STATUS}", weight=NOTED))
    capture = Capture.IPTABLES if pod.has("nginx-mesh-init") else Capture.NONE
    if capture is not Capture.NONE:
        clues.append(Clue(says="sets the rules of redirection", source="container nginx-mesh-init", weight=RUNS))
    return Presence(
        Part.SIDECAR, tuple(clues), pod.placement("nginx-mesh-sidecar"), capture, "nginx-mesh-sidecar",
        pod.uid("nginx-mesh-sidecar"), version(proxy),
    )  # fmt: skip


def wish(pod: Pod, _sight: Sight) -> Wish | None:
    """Say what the pod's label asks for, else its namespace's."""
    own = pod.labels.get(_AUTO)
    value = own if own is not None else pod.asked.get(_AUTO)
    if value is None:
        return None
    where = "the pod" if own is not None else f"namespace {pod.namespace}"
    wanted = value in ("enabled", "true")
    return Wish(wanted, f"{where} is labelled {_AUTO}={value}", own=own is not None, key=_AUTO)
