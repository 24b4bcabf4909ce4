"""Weave Net (archived in 2022): one bridge on every node, joined by Open vSwitch's fast datapath or by sleeve.

Its peers share out one range among themselves, in a ring; nodes have no ranges of their own. IPv4 only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation, LinkExpected
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Port, Role, Subject
from netinspect.model.image import image_names

NAME = "weave"
TITLE = "Weave Net"
SIGNATURE = Signature(
    images=frozenset({"weave-kube", "weaveworks-weave-kube", "weave-npc"}),
    containers=frozenset({"weave", "weave-npc"}),
    objects=frozenset({"weave-net"}),
    labels=frozenset({"weave-net"}),
    mounts=("/var/lib/weave",),
    settings=frozenset({"weave-net"}),
    plugins=frozenset({"weave-net"}),
    interfaces=re.compile(r"weave|vethwe-(?:datapath|bridge|pcap)|vxlan-6784"),
    chains=("filter/WEAVE", "nat/WEAVE"),
)
SOURCES: tuple[str, ...] = (
    "weaveworks/weave prog/weave-kube/weave-daemonset-k8s-1.11.yaml",
    "weaveworks/weave site/tasks/manage/fastdp.md",
    "weaveworks/weave npc/constants.go",
)
PARTS: frozenset[str] = frozenset()

_SOURCE = "how it is made"
_POLICIES = Fact(subject=Subject.POLICIES, says="weave-npc, in iptables (WEAVE-NPC)", source=_SOURCE)


def describe(_sight: Sight, agent: Agent | None) -> Description:
    """Say what it does everywhere; which of its two ways a pair of nodes uses only its own status tells."""
    given = agent.variables.get("IPALLOC_RANGE", "") if agent else ""
    enforced = agent is None or any("weave-npc" in (c.name, *image_names(c.image)) for c in agent.spec.containers)
    facts = (
        Fact(
            subject=Subject.ENCAPSULATION,
            says="VXLAN by Open vSwitch (fast datapath, UDP 6784), or where that fails sleeve in user space (UDP 6783)",
            source=_SOURCE,
        ),
        Fact(
            subject=Subject.ADDRESSES,
            says=f"out of {given or '10.32.0.0/12'}, shared among the peers in a ring; no ranges of nodes",
            source=f"DaemonSet {agent.name}" if agent and given else _SOURCE,
        ),
        Fact(subject=Subject.ATTACHMENT, says="pods hang by a veth (vethwepl…) on the bridge weave", source=_SOURCE),
        *(
            [Fact(subject=Subject.POLICIES, says="weave-npc, in iptables (WEAVE-NPC)", source=_SOURCE)]
            if enforced
            else []
        ),
        Fact(subject=Subject.MASQUERADE, says="what leaves for outside is masqueraded (chain WEAVE)", source=_SOURCE),
    )
    ports = (
        Port(protocol="TCP", number=6783, purpose="control between peers"),
        Port(protocol="UDP", number=6783, purpose="sleeve between peers"),
        Port(protocol="UDP", number=6784, purpose="fast datapath between peers"),
    )
    roles = frozenset({Role.DATAPATH, Role.IPAM, *({Role.POLICY} if enforced else ())})
    return Description(roles, "fast datapath or sleeve", _SOURCE, None, (), facts, ports)


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect its bridge on every node."""
    for node in sight.nodes.values():
        remedy = f"see the log of weave on {node.name}, and `weave status` in it"
        yield Expectation(
            node.name, "interface", LinkExpected("weave", kind="bridge"), "its pods have no bridge", remedy
        )
