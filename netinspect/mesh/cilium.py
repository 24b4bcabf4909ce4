"""Cilium's mesh without sidecars: an Envoy a node for L7, and where it is enabled a ztunnel a node for mTLS.

A pod is in the mesh where its namespace is enrolled with ztunnel. What else is on (mutual authentication, Ingress,
Gateways, CiliumEnvoyConfigs) is told of the cluster: it hangs on policies and routes, not on pods, and what becomes of
a request there is not evaluated.
"""

from __future__ import annotations

from netinspect.mesh.base import NOTED, RUNS, Presence, Signature, Wish, true
from netinspect.mesh.sight import Pod, Sight, version
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "cilium"
TITLE = "Cilium"
SELECTS = False
SIGNATURE = Signature(
    keys=("io.cilium/mtls-enabled",),
    chains=("CILIUM_PREROUTING", "CILIUM_OUTPUT"),
    asks=("io.cilium/mtls-enabled",),
    inbound=15006,
    outbound=15001,
)
SOURCES: tuple[str, ...] = (
    "cilium/cilium: install/kubernetes/cilium/templates/cilium-configmap.yaml, pkg/ztunnel",
    "cilium/cilium: Documentation/network/servicemesh, Documentation/security/network/encryption-ztunnel.rst",
)

_ENROLLED = "io.cilium/mtls-enabled"
_DAEMON_SET = "ztunnel-cilium"


def find(pod: Pod, sight: Sight) -> Presence | None:
    """Find the pods of enrolled namespaces where ztunnel is on; what was done about each only its node tells."""
    if is_ztunnel(pod):
        clue = Clue(says=f"is of DaemonSet {_DAEMON_SET}", source="its owner", weight=RUNS)
        return Presence(
            Part.NODE_PROXY, (clue,), proxy="istio-proxy", version=version(pod.containers.get("istio-proxy"))
        )
    # Whatever is called so is left alone (pkg/ztunnel/table, reconciler.go).
    if pod.on_host or "ztunnel" in pod.object.metadata.name or not _enrolled(pod) or not _ztunnel(sight):
        return None
    clues = (
        Clue(says="is true", source=f"label {_ENROLLED} of namespace {pod.namespace}", weight=NOTED),
        Clue(says="enable-ztunnel is true", source="ConfigMap cilium-config", weight=NOTED),
    )
    return Presence(Part.AMBIENT, clues, capture=Capture.NODE)


def is_ztunnel(pod: Pod) -> bool:
    """Say whether it is Cilium's own ztunnel, which looks like Istio's: a DaemonSet of another name runs it."""
    meta = pod.object.metadata
    owners = [o.name for o in meta.owner_references if o.kind == "DaemonSet"]
    return _DAEMON_SET in owners if owners else meta.name.startswith(f"{_DAEMON_SET}-")


def _enrolled(pod: Pod) -> bool:
    """Say whether its namespace is: this word counts, and no other (enrolled_namespaces.go)."""
    return pod.asked.get(_ENROLLED) == "true"


def _ztunnel(sight: Sight) -> bool:
    return true(sight.settings("cilium-config").get("enable-ztunnel")) is True


def wish(pod: Pod, sight: Sight) -> Wish | None:
    """Say whether a pod's namespace is enrolled."""
    if not _enrolled(pod):
        return None
    if sight.snapshot.gap("cni_settings"):
        return None
    if pod.on_host:
        return Wish(False, "it is on the host network, where nothing is captured", Part.AMBIENT, own=True)
    says = f"namespace {pod.namespace} is labelled {_ENROLLED}=true"
    return Wish(_ztunnel(sight), says if _ztunnel(sight) else f"{says}, and ztunnel is not enabled", Part.AMBIENT)


def translates_at_sockets(sight: Sight) -> bool:
    """Say whether a Service's address is changed for a pod's already as its program connects."""
    settings = sight.settings("cilium-config")
    whole = any(
        true(settings.get(key)) or settings.get(key) == "strict"
        for key in ("kube-proxy-replacement", "bpf-lb-sock", "enable-host-reachable-services")
    )
    return whole and not true(settings.get("bpf-lb-sock-hostns-only"))
