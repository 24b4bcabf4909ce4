"""Azure CNI: pods have addresses of the VNet, or of an overlay that the VNet itself carries; nothing is wrapped.

The Container Networking Service (azure-cns) hands out the addresses. Powered by Cilium, the plug-in is Cilium's and the
addresses still Azure's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netinspect.cni import cilium
from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Role, Subject

NAME = "azure-cni"
TITLE = "Azure CNI"
SIGNATURE = Signature(
    images=frozenset({"azure-cns", "containernetworking-azure-cns"}),
    programs=frozenset({"azure-cns"}),
    containers=frozenset({"cns-container"}),
    objects=frozenset({"azure-cns"}),
    labels=frozenset({"azure-cns"}),
    mounts=("/var/run/azure", "/var/run/azure-cns"),
    groups=frozenset({"acn.azure.com"}),
    node_labels=("kubernetes.azure.com/podnetwork-type",),
    plugins=frozenset({"azure-vnet", "azure-ipam"}),
    interfaces=re.compile(r"azv[0-9a-f]+|azure0"),
)
SOURCES: tuple[str, ...] = (
    "Azure/azure-container-networking crd/nodenetworkconfig",
    "Azure/azure-container-networking cni/azure-linux.conflist",
    "MicrosoftDocs/azure-aks-docs articles/aks/concepts-network-azure-cni-overlay.md",
)
PARTS: frozenset[str] = frozenset()


def describe(sight: Sight, _agent: Agent | None) -> Description:
    """Say which of its modes the nodes' labels and plug-ins tell."""
    kinds = {n.object.metadata.labels.get("kubernetes.azure.com/podnetwork-type", "") for n in sight.nodes.values()}
    by_cilium = any(
        a.object.spec.template.metadata.labels.get("kubernetes.azure.com/ebpf-dataplane") == "cilium"
        for a in sight.agents
    ) or any(
        n.object.metadata.labels.get("kubernetes.azure.com/ebpf-dataplane") == "cilium" for n in sight.nodes.values()
    )
    mode = "overlay" if "overlay" in kinds else "VNet addresses" if kinds - {""} else ""
    source = "the nodes' labels" if mode else ""
    if by_cilium:
        mode = f"{mode}, powered by Cilium".removeprefix(", ")
    plan = "a /24 of the pod CIDR for each node" if "overlay" in kinds else "addresses of the VNet, by azure-cns"
    facts = (
        Fact(subject=Subject.ENCAPSULATION, says="none: the VNet carries the pods' addresses", source="how it is made"),
        Fact(subject=Subject.ADDRESSES, says=plan, source=source or "how it is made"),
        Fact(
            subject=Subject.MASQUERADE,
            says="what leaves the pod CIDR has the node's address" if "overlay" in kinds else "by azure-ip-masq-agent",
            source="how it is made",
        ),
    )
    roles = {Role.IPAM} if by_cilium else {Role.DATAPATH, Role.IPAM}
    if by_cilium and not cilium.runs(sight):
        # Its agent may be out of sight, and is Cilium all the same.
        roles |= {Role.DATAPATH, Role.POLICY}
    return Description(frozenset(roles), mode, source, 0, (), facts)


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect that the nodes forward; the VNet's routes are not to be seen from here."""
    return forwarding(sight)
