"""kindnet: a veth for each pod, and a plain route to each other node's range; no tunnel.

Two programs bear the name: the one inside kind, and its successor with a plug-in of its own (cni-kindnet). Both want
all nodes on one link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation
from netinspect.cni.ranges import routed_to_nodes
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Role, Subject

NAME = "kindnet"
TITLE = "kindnet"
SIGNATURE = Signature(
    images=frozenset({"kindnetd", "kindnet", "kindest-kindnetd", "networking-kindnet", "aojea-kindnetd"}),
    programs=frozenset({"kindnetd"}),
    containers=frozenset({"kindnet-cni"}),
    objects=frozenset({"kindnet"}),
    labels=frozenset({"kindnet"}),
    mounts=("/var/lib/cni-kindnet",),
    plugins=frozenset({"cni-kindnet"}),
    files=frozenset({"10-kindnet.conflist"}),
    interfaces=re.compile(r"knet[0-9a-f]+|knet-xfrm0"),
    chains=("nat/KIND-MASQ-AGENT", "nft:kindnet-"),
)
SOURCES: tuple[str, ...] = (
    "kubernetes-sigs/kind images/kindnetd/cmd/kindnetd",
    "kubernetes-sigs/kindnet",
)
PARTS: frozenset[str] = frozenset()

_SOURCE = "how it is made"


def describe(_sight: Sight, agent: Agent | None) -> Description:
    """Say what it does everywhere."""
    masked = agent is None or agent.argument("masquerading") != "false"
    facts = (
        Fact(subject=Subject.ENCAPSULATION, says="none: all nodes must share a link", source=_SOURCE),
        Fact(subject=Subject.ADDRESSES, says="each node's pods have addresses out of its pod CIDR", source=_SOURCE),
        Fact(
            subject=Subject.ATTACHMENT,
            says="each pod hangs by a veth and is routed by itself; the node's end of every veth has the same address",
            source=_SOURCE,
        ),
        Fact(
            subject=Subject.POLICIES, says="in user space, by an NFQUEUE that lets pass what nobody answers for",
            source=_SOURCE,
        ),
        Fact(
            subject=Subject.MASQUERADE,
            says="what leaves for outside is masqueraded" if masked else "what leaves keeps the pod's address",
            source=f"DaemonSet {agent.name}" if agent else _SOURCE,
        ),
    )  # fmt: skip
    return Description(frozenset({Role.DATAPATH, Role.IPAM, Role.POLICY}), "routes", _SOURCE, 0, (), facts)


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect a route to every other node's range by its address."""
    return routed_to_nodes(sight, "see the log of kindnet on the node, and restart it (delete its pod)")
