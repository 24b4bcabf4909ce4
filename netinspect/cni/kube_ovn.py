"""Kube-OVN: subnets that span nodes as logical switches of OVN, carried by Open vSwitch.

A subnet belongs to namespaces, not to nodes; the join network (ovn0) connects nodes and pods. The trace walks the flows
that OVN wrote into Open vSwitch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation, LinkExpected
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Port, Role, Subject

NAME = "kube-ovn"
TITLE = "Kube-OVN"
SIGNATURE = Signature(
    images=frozenset({"kube-ovn", "kubeovn-kube-ovn"}),
    programs=frozenset({"start-cniserver.sh", "kube-ovn-daemon", "start-ovs.sh"}),
    containers=frozenset({"cni-server", "openvswitch"}),
    objects=frozenset({"kube-ovn-cni", "ovs-ovn"}),
    labels=frozenset({"kube-ovn-cni", "ovs"}),
    mounts=("/etc/origin/ovn", "/run/openvswitch"),
    groups=frozenset({"kubeovn.io"}),
    annotations=("ovn.kubernetes.io/",),
    plugins=frozenset({"kube-ovn"}),
    interfaces=re.compile(r"ovn0|ovnext0"),
    chains=("nat/OVN-", "filter/OVN-"),
)
SOURCES: tuple[str, ...] = (
    "kubeovn/kube-ovn dist/images/install.sh",
    "kubeovn/kube-ovn pkg/util/const.go",
    "kubeovn/kube-ovn pkg/daemon/gateway_linux.go",
)
PARTS: frozenset[str] = frozenset()

_SOURCE = "how it is made"
_TUNNELS = {
    "geneve": (100, Port(protocol="UDP", number=6081, purpose="Geneve between nodes")),
    "vxlan": (50, Port(protocol="UDP", number=4789, purpose="VXLAN between nodes")),
    "stt": (72, Port(protocol="TCP", number=7471, purpose="STT between nodes")),
}


def describe(_sight: Sight, agent: Agent | None) -> Description:
    """Say which tunnel it uses by its flags, else Geneve, which it uses unless told otherwise."""
    given = (agent.argument("network-type") or agent.variables.get("TUNNEL_TYPE", "")) if agent else ""
    tunnel = given if given in _TUNNELS else "geneve"
    overhead, port = _TUNNELS[tunnel]
    source = f"DaemonSet {agent.name}" if agent and given else _SOURCE
    facts = (
        Fact(subject=Subject.ENCAPSULATION, says=f"{tunnel} by Open vSwitch", source=source),
        Fact(
            subject=Subject.ADDRESSES, says="out of Subnets, which belong to namespaces and span nodes", source=_SOURCE
        ),
        Fact(subject=Subject.ATTACHMENT, says="pods hang by a veth on br-int; ovn0 is the node's port", source=_SOURCE),
        Fact(subject=Subject.SERVICES, says="OVN's load balancers for pods, kube-proxy for the nodes", source=_SOURCE),
        Fact(subject=Subject.POLICIES, says="ACLs of OVN", source=_SOURCE),
        Fact(
            subject=Subject.MASQUERADE,
            says="by the node of the pod (distributed gateway) or by those that its Subnet names (centralized)",
            source=_SOURCE,
        ),
    )
    roles = frozenset({Role.DATAPATH, Role.IPAM, Role.POLICY})
    return Description(roles, tunnel, source, overhead, (), facts, (port,))


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect the node's port of the join network."""
    for node in sight.nodes.values():
        remedy = f"see the log of kube-ovn-cni on {node.name}, and `kubectl ko diagnose all`"
        yield Expectation(node.name, "interface", LinkExpected("ovn0"), "the node has no port to its pods", remedy)
