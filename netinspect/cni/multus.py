"""Multus: calls another CNI for a pod's first interface, and others for the secondary networks that the pod asks for.

The secondary ones are NetworkAttachmentDefinitions; kube-proxy and, as a rule, network policies do not touch them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation, PluginExpected
from netinspect.cni.sight import Agent, Sight
from netinspect.model import wire
from netinspect.model.cni import Fact, Role, Subject
from netinspect.model.finding import Severity

NAME = "multus"
TITLE = "Multus"
SIGNATURE = Signature(
    images=frozenset({"multus-cni", "multus", "k8snetworkplumbingwg-multus-cni"}),
    programs=frozenset({"multus-daemon", "thin_entrypoint"}),
    containers=frozenset({"kube-multus"}),
    objects=frozenset({"kube-multus-ds"}),
    labels=frozenset({"multus"}),
    settings=frozenset({"multus-cni-config", "multus-daemon-config"}),
    groups=frozenset({"k8s.cni.cncf.io"}),
    plugins=frozenset({"multus", "multus-shim"}),
)
SOURCES: tuple[str, ...] = (
    "k8snetworkplumbingwg/multus-cni deployments/multus-daemonset-thick.yml",
    "k8snetworkplumbingwg/multus-cni docs/how-to-use.md",
)
PARTS: frozenset[str] = frozenset()


def describe(sight: Sight, agent: Agent | None) -> Description:
    """List the secondary networks, and how many pods are in each."""
    thick = agent is not None and "multus-daemon" in agent.programs
    mode = "thick" if thick else "thin" if agent else ""
    source = f"DaemonSet {agent.name}" if agent else ""
    return Description(frozenset({Role.META}), mode, source, facts=tuple(_networks(sight)))


def _networks(sight: Sight) -> Iterator[Fact]:
    users = Counter(
        name
        for node in sight.nodes.values()
        for pod in node.pods
        if isinstance(pod, wire.NotedPod)
        for name in _joined(pod.metadata.annotations.get("k8s.v1.cni.cncf.io/network-status", ""))
    )
    for network in sight.snapshot.network_attachments:
        name = f"{network.metadata.namespace}/{network.metadata.name}"
        says = f"{name} by {plugin(network.spec.config) or 'a plug-in that its object does not name'}"
        says += f", in {users[name]} pods"
        yield Fact(subject=Subject.SECONDARY, says=says, source=f"NetworkAttachmentDefinition {name}")


def plugin(config: str) -> str:
    """Name the plug-in of a CNI configuration, the first of a list."""
    try:
        found = json.loads(config or "{}")
    except ValueError:
        return ""
    if isinstance(found, dict) and isinstance(found.get("plugins"), list) and found["plugins"]:
        found = found["plugins"][0]
    return str(found.get("type", "")) if isinstance(found, dict) else ""


def _joined(status: str) -> Iterator[str]:
    """Name the networks of a pod besides its default one, by what Multus noted on it."""
    try:
        found = json.loads(status or "[]")
    except ValueError:
        return
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and not one.get("default") and isinstance(one.get("name"), str):
            yield one["name"]


def expect(sight: Sight, agent: Agent | None) -> Iterator[Expectation]:
    """Expect the nodes' first configuration to be its own: sorted behind another it is silently not called."""
    if agent is None:
        return
    for node, kernel in sight.read:
        if kernel.conflists:
            calls = next((t for t in kernel.conflists[0].types if t in SIGNATURE.plugins), "multus")
            yield Expectation(
                node.name, "configuration-order", PluginExpected(calls),
                "the runtime takes the first file by name, so pods get no secondary networks",
                "name Multus' file so that it comes first (00-multus.conf), and see its agent's log",
                severity=Severity.WARNING,
            )  # fmt: skip
