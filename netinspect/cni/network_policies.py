"""kube-network-policies: enforces NetworkPolicies beside a CNI that does not, in user space by an NFQUEUE.

Flannel's chart installs it where ``netpol.enabled`` is set.
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Role, Subject

NAME = "kube-network-policies"
TITLE = "kube-network-policies"
SIGNATURE = Signature(
    images=frozenset({"kube-network-policies", "networking-kube-network-policies"}),
    containers=frozenset({"kube-network-policies"}),
    objects=frozenset({"kube-network-policies"}),
    labels=frozenset({"kube-network-policies"}),
    chains=("nft:kube-network-policies",),
)
SOURCES: tuple[str, ...] = (
    "flannel-io/flannel Documentation/netpol.md",
    "kubernetes-sigs/kube-network-policies",
)
PARTS: frozenset[str] = frozenset()


def describe(_sight: Sight, agent: Agent | None) -> Description:
    """Say that it enforces policies, and nothing else."""
    source = f"DaemonSet {agent.name}" if agent else "its marks on the nodes"
    facts = (Fact(subject=Subject.POLICIES, says="in user space, by an NFQUEUE of nftables", source=source),)
    return Description(frozenset({Role.POLICY}), "policy only", source, facts=facts)


def expect(_sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect nothing of the kernels: its rules follow from the policies."""
    return iter(())
