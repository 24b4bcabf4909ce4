"""Azure Network Policy Manager: enforces NetworkPolicies on AKS, in iptables and ipsets, beside Azure's CNI."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Role, Subject

NAME = "azure-npm"
TITLE = "Azure NPM"
SIGNATURE = Signature(
    images=frozenset({"azure-npm", "containernetworking-azure-npm"}),
    programs=frozenset({"azure-npm"}),
    containers=frozenset({"azure-npm"}),
    objects=frozenset({"azure-npm"}),
    labels=frozenset({"azure-npm"}),
    chains=("filter/AZURE-NPM",),
)
SOURCES: tuple[str, ...] = ("Azure/azure-container-networking npm",)
PARTS: frozenset[str] = frozenset()


def describe(_sight: Sight, agent: Agent | None) -> Description:
    """Say that it enforces policies, and nothing else."""
    source = f"DaemonSet {agent.name}" if agent else "its marks on the nodes"
    facts = (Fact(subject=Subject.POLICIES, says="in iptables (AZURE-NPM) and ipsets", source=source),)
    return Description(frozenset({Role.POLICY}), "policy only", source, facts=facts)


def expect(_sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect nothing of the kernels: its rules follow from the policies."""
    return iter(())
