"""kopeio networking: the small network provider of kops, which routes the nodes' pod CIDRs or wraps them in GRE."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation, RouteExpected
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Role, Subject

NAME = "kopeio"
TITLE = "kopeio networking"
SIGNATURE = Signature(
    images=frozenset({"networking-agent", "kopeio-networking-agent"}),
    containers=frozenset({"networking-agent"}),
    objects=frozenset({"kopeio-networking-agent"}),
    labels=frozenset({"kopeio-networking-agent"}),
)
SOURCES: tuple[str, ...] = ("kubernetes/kops upup/models/cloudup/resources/addons/networking.kope.io",)
PARTS: frozenset[str] = frozenset()


def describe(_sight: Sight, agent: Agent | None) -> Description:
    """Say what it does; which of its providers is used its manifests leave open."""
    provider = agent.argument("provider") if agent else ""
    says = "each node's pods have addresses out of the node's pod CIDR"
    facts = (Fact(subject=Subject.ADDRESSES, says=says, source="how it is made"),)
    roles = frozenset({Role.DATAPATH, Role.IPAM})
    return Description(roles, provider, f"DaemonSet {agent.name}" if agent and provider else "", None, (), facts)


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect a route to every other node's range."""
    yield from forwarding(sight)
    for family in sight.families:
        members = [n for n in sight.nodes.values() if n.pod_cidr(family)]
        for node, peer in sight.pairs(members):
            cause = f"packets for the pods of {peer.name} do not find their way"
            remedy = f"see the log of the networking agent on {node.name}"
            yield Expectation(
                node.name, "route", RouteExpected(peer.pod_cidr(family)), cause, remedy, peer=peer.name
            )  # fmt: skip
