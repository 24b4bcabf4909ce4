"""AWS App Mesh: an Envoy beside each application that a VirtualNode selects; its service ended in September 2026."""

from __future__ import annotations

import re

from netinspect.mesh.base import NOTED, RUNS, Presence, Signature, Wish
from netinspect.mesh.sight import Pod, Sight, names, variables, version
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "app-mesh"
TITLE = "AWS App Mesh"
SELECTS = False
SIGNATURE = Signature(
    containers=("proxyinit",),
    keys=("appmesh.k8s.aws/",),
    variables=("APPMESH_",),
    images=frozenset({"aws-appmesh-envoy", "aws-appmesh-proxy-route-manager", "appmesh-controller"}),
    alike=False,
    chains=("APPMESH_",),
    asks=("appmesh.k8s.aws/sidecarInjectorWebhook",),
    inbound=15000,
    outbound=15001,
    webhooks=re.compile(r"mpod\.appmesh\.k8s\.aws"),
    groups=frozenset({"appmesh.k8s.aws"}),
    control=(("app.kubernetes.io/name", "appmesh-controller", ""),),
)
SOURCES: tuple[str, ...] = (
    "aws/aws-app-mesh-controller-for-k8s: pkg/inject, config/webhook/manifests.yaml",
    "aws/aws-app-mesh-controller-for-k8s: config/helm/appmesh-controller",
)

_ENVOY = "aws-appmesh-envoy"
_INJECTOR = "appmesh.k8s.aws/sidecarInjectorWebhook"
# By which variables a proxy is told which virtual node, or gateway, it is.
TOLD = ("APPMESH_RESOURCE_ARN", "APPMESH_VIRTUAL_NODE_NAME")


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find the Envoy that is told which virtual node it is, or App Mesh's own beside its start."""
    for name, container in pod.containers.items():
        told = next((v.value for v in container.env or () if v.name in TOLD), None)
        if told is None and _ENVOY in names(container) and _starts(pod):
            told = ""
        if told is not None:
            gateway = "/virtualGateway/" in told
            says = f"is told that it is {told or 'a virtual node'}"
            clues = (Clue(says=says, source=f"container {name}", weight=RUNS),)
            capture, shown = (Capture.NONE, ()) if gateway else _capture(pod)
            part = Part.GATEWAY if gateway else Part.SIDECAR
            return Presence(
                part, (*clues, *shown), pod.placement(name), capture, name, pod.uid(name), version(container)
            )  # fmt: skip
    return None


def _starts(pod: Pod) -> bool:
    """Say whether App Mesh's own init container is in the pod."""
    return any(v.startswith("APPMESH_") for v in variables(pod.containers.get("proxyinit")))


def _capture(pod: Pod) -> tuple[Capture, tuple[Clue, ...]]:
    if _starts(pod):
        return _by(Capture.IPTABLES, "sets the rules of redirection", "container proxyinit", RUNS)
    if pod.annotations.get("appmesh.k8s.aws/appmeshCNI", "").lower() == "enabled":
        return _by(Capture.CNI, "is enabled", "annotation appmesh.k8s.aws/appmeshCNI", NOTED)
    if "eks.amazonaws.com/fargate-profile" in pod.labels:
        return _by(Capture.CNI, "runs on Fargate", "label eks.amazonaws.com/fargate-profile", NOTED)
    return Capture.NONE, ()


def _by(capture: Capture, says: str, source: str, weight: int) -> tuple[Capture, tuple[Clue, ...]]:
    return capture, (Clue(says=says, source=source, weight=weight),)


def wish(pod: Pod, _sight: Sight) -> Wish | None:
    """Say what the pod's annotation asks for, else its namespace's label.

    Whether a VirtualNode selects it is not read.
    """
    own = pod.annotations.get(_INJECTOR)
    value = own if own is not None else pod.asked.get(_INJECTOR)
    if value not in ("enabled", "disabled"):
        return None
    where = "the pod is annotated" if own is not None else f"namespace {pod.namespace} is labelled"
    return Wish(
        value == "enabled",
        f"{where} {_INJECTOR}={value}",
        own=own is not None,
        key=_INJECTOR,
    )
