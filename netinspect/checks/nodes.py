"""What the nodes' kubelets and controllers report about the network."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netinspect.checks.base import Problem, Seen, check
from netinspect.checks.view import View
from netinspect.cni.sight import Node
from netinspect.model import resources, wire
from netinspect.model.check import Category
from netinspect.model.finding import Severity

# The container runtime's words about a missing network (k8s.io/cri-api: NetworkReady; containerd and CRI-O).
_NETWORK = re.compile(r"NetworkPluginNotReady|NetworkReady=false|\bcni\b|network plugin", re.IGNORECASE)
_TAINTS = frozenset({"node.kubernetes.io/network-unavailable", "node.cilium.io/agent-not-ready"})
# A node that joins is not ready until its agent has run for the first time.
_JOINS = 120.0
_STARTS = 300.0
_DEPENDS = ("NI1104", "NI1105", "NI14", "NI16", "NI1801", "NI1804", "NI1805", "NI1901", "NI22")


def _condition(node: Node, type_: str) -> wire.Condition:
    return next((c for c in node.object.status.conditions if c.type == type_), wire.Condition())


def _is_new(view: View, node: Node, seconds: float) -> bool:
    age = view.age(node.object.metadata.creation_timestamp)
    return age is not None and age < seconds


@check(
    "NI1001", "the network of every node is ready", Category.NODES, Severity.ERROR,
    needs=(resources.NODES,), explains=_DEPENDS,
    remedy="see why the CNI's agent does not run on the node: `kubectl -n kube-system get pods -o wide`, the kubelet's "
    "and the container runtime's log, and what is in /etc/cni/net.d",
    links=("https://kubernetes.io/docs/concepts/architecture/nodes/#condition",),
)  # fmt: skip
def network_not_ready(view: View) -> Iterator[Seen]:
    """Find nodes that are not ready because their container runtime has no network.

    The kubelet reports Ready=False with the runtime's words (NetworkPluginNotReady, "cni plugin not initialized") until
    a valid CNI configuration lies in its folder. No pod with a network of its own starts there. A node that joined in
    the last two minutes is left out.
    """
    for node in view.linux:
        ready = _condition(node, "Ready")
        said = f"{ready.reason} {ready.message}"
        if ready.status == "False" and _NETWORK.search(said) and not _is_new(view, node, _JOINS):
            yield Problem(
                f"node/{node.name}", "its container runtime has no network, so that no pod starts on it",
                f"the kubelet says: {ready.message or ready.reason}",
                "see the CNI's agent there, and what is in /etc/cni/net.d",
            )  # fmt: skip


@check(
    "NI1002", "no node is marked as one without a network", Category.NODES, Severity.ERROR,
    needs=(resources.NODES,), explains=_DEPENDS,
    remedy="start the CNI's agent on the node; in a cloud see whether its route controller runs",
    links=("https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-network-unavailable",),
)  # fmt: skip
def network_unavailable(view: View) -> Iterator[Seen]:
    """Find ready nodes with the condition NetworkUnavailable, or the taint of a CNI that did not start.

    The scheduler puts no pods on them. A node that is not ready at all is left out, and so is one that joined in the
    last five minutes: its agent clears the mark when it has started.
    """
    for node in view.linux:
        if _condition(node, "Ready").status != "True" or _is_new(view, node, _STARTS):
            continue
        taints = [t.key for t in node.object.spec.taints if t.key in _TAINTS]
        marked = _condition(node, "NetworkUnavailable")
        if taints or marked.status == "True":
            by = f"taint {taints[0]}" if taints else "condition NetworkUnavailable"
            yield Problem(
                f"node/{node.name}", f"its {by} keeps pods away",
                marked.message or "the agent of the CNI, or the cloud's route controller, has not cleared it",
                "start the CNI's agent there and see its log; in a cloud see its route controller",
            )  # fmt: skip


@check(
    "NI1003", "every kubelet reports", Category.NODES, Severity.WARNING,
    needs=(resources.NODES,), explains=(),
    remedy="see whether the machine runs and reaches the API server: `kubectl describe node`, and the kubelet's log",
    links=("https://kubernetes.io/docs/concepts/architecture/nodes/#node-status",),
)  # fmt: skip
def kubelet_silent(view: View) -> Iterator[Seen]:
    """Find nodes whose kubelet no longer reports, or that are not ready for another reason than the network.

    Their pods stop being endpoints of Services. Nothing is said of why: that is not the network's to tell, unless the
    node lost its way to the API server.
    """
    for node in view.nodes.values():
        ready = _condition(node, "Ready")
        if ready.status in ("True", "") or _NETWORK.search(f"{ready.reason} {ready.message}"):
            continue
        if not _is_new(view, node, _JOINS):
            silent = ready.status == "Unknown"
            yield Problem(
                f"node/{node.name}", "its kubelet does not report" if silent else "it is not ready",
                ready.message or ready.reason or "no reason is given",
                f"kubectl describe node {node.name}, and see the kubelet's log",
            )  # fmt: skip


CHECKS = (network_not_ready, network_unavailable, kubelet_silent)
