"""Google Kubernetes Engine: pods have addresses of alias ranges that the VPC routes; nothing is wrapped.

netd and the reference plug-in ptp set up each pod; with Dataplane V2 Cilium does, managed by Google under another name
(anetd), and still without a tunnel.
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

NAME = "gke"
TITLE = "GKE"
SIGNATURE = Signature(
    images=frozenset({"netd-amd64", "netd-arm64", "netd", "gke-netd", "gke-gcr-io-netd"}),
    programs=frozenset({"netd"}),
    containers=frozenset({"netd"}),
    objects=frozenset({"netd", "anetd"}),
    labels=frozenset({"netd", "anetd"}),
    mounts=("/home/kubernetes/bin",),
    node_labels=("cloud.google.com/gke-netd-ready", "cloud.google.com/gke-dpv2"),
    plugins=frozenset({"gke"}),
    files=frozenset({"10-gke-ptp.conflist"}),
    interfaces=re.compile(r"gke[0-9a-f]{11}"),
    chains=("mangle/GCP-",),
)
SOURCES: tuple[str, ...] = ("GoogleCloudPlatform/netd netd.yaml", "kubernetes-sigs/ip-masq-agent README.md")
PARTS: frozenset[str] = frozenset()


def describe(sight: Sight, _agent: Agent | None) -> Description:
    """Say whether it is Dataplane V2, by the nodes' labels and the name of its agent."""
    labels = {k for n in sight.nodes.values() for k in n.object.metadata.labels}
    second = any(k.startswith("cloud.google.com/gke-dpv2") for k in labels) or any(
        a.object.metadata.name == "anetd" for a in sight.agents
    )
    facts = (
        Fact(subject=Subject.ENCAPSULATION, says="none: the VPC routes each node's range", source="how it is made"),
        Fact(subject=Subject.ADDRESSES, says="out of each node's alias range", source="how it is made"),
        Fact(
            subject=Subject.MASQUERADE, says="by ip-masq-agent where it runs (IP-MASQ-AGENT), else by the nodes",
            source="how it is made",
        ),
    )  # fmt: skip
    # Where Cilium is chained behind it, it is Google's own plug-in that carries packets.
    by_cilium = second and not cilium.chaining(sight.settings("cilium-config"))
    roles = {Role.IPAM} if by_cilium else {Role.DATAPATH, Role.IPAM}
    if by_cilium and not cilium.runs(sight):
        # Its agent may be out of sight, and is Cilium all the same.
        roles |= {Role.DATAPATH, Role.POLICY, Role.SERVICES}
    mode = "Dataplane V2" if second else "routes of the VPC"
    return Description(frozenset(roles), mode, "the nodes' labels", 0, (), facts)


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect that the nodes forward; the VPC's routes are not to be seen from here."""
    return forwarding(sight)
