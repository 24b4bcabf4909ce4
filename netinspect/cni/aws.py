"""AWS VPC CNI: pods have addresses of the VPC itself, on network interfaces (ENIs) that the agent attaches to nodes.

Nothing is wrapped: the VPC carries the packets. A pod whose address is of a secondary interface leaves through that
interface, by a routing rule of its own. Policies are enforced by an agent in eBPF beside it, or by Calico.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Contradiction, Expectation
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Role, Subject
from netinspect.model.finding import Severity

NAME = "aws-vpc-cni"
TITLE = "AWS VPC CNI"
SIGNATURE = Signature(
    images=frozenset({"amazon-k8s-cni", "amazon-k8s-cni-init"}),
    variables=("AWS_VPC_",),
    containers=frozenset({"aws-node"}),
    objects=frozenset({"aws-node"}),
    labels=frozenset({"aws-node", "aws-vpc-cni"}),
    mounts=("/var/run/aws-node", "/var/log/aws-routed-eni"),
    settings=frozenset({"amazon-vpc-cni"}),
    groups=frozenset({"crd.k8s.amazonaws.com", "vpcresources.k8s.aws"}),
    plugins=frozenset({"aws-cni"}),
    interfaces=re.compile(r"eni[0-9a-f]{11}|vlan\.eth\.\d+"),
    chains=("nat/AWS-", "mangle/AWS-"),
)
SOURCES: tuple[str, ...] = (
    "aws/amazon-vpc-cni-k8s README.md",
    "aws/amazon-vpc-cni-k8s pkg/networkutils/network.go",
    "aws/amazon-vpc-cni-k8s docs/troubleshooting.md",
)
PARTS: frozenset[str] = frozenset()


def _on(agent: Agent | None, name: str) -> bool:
    return agent is not None and agent.variables.get(name, "").lower() == "true"


def describe(_sight: Sight, agent: Agent | None) -> Description:
    """Say which of its ways of handing out addresses are on, by its variables."""
    source = f"DaemonSet {agent.name}" if agent else ""
    modes = [
        name
        for variable, name in (
            ("ENABLE_PREFIX_DELEGATION", "prefix delegation"),
            ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "custom networking"),
            ("ENABLE_POD_ENI", "security groups for pods"),
            ("ENABLE_IPv6", "IPv6"),
        )
        if _on(agent, variable)
    ]
    policies = agent is not None and agent.argument("enable-network-policy") == "true"
    roles = {Role.DATAPATH, Role.IPAM} | ({Role.POLICY} if policies else set())
    each = "prefixes of /28 (IPv6: /80)" if _on(agent, "ENABLE_PREFIX_DELEGATION") else "secondary addresses"
    where = "subnets that ENIConfigs name" if _on(agent, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG") else "the nodes' subnets"
    kept = _on(agent, "AWS_VPC_K8S_CNI_EXTERNALSNAT") or _on(agent, "ENABLE_IPv6")
    mtu = agent.variables.get("AWS_VPC_ENI_MTU", "") if agent else ""
    facts = [
        Fact(
            subject=Subject.ENCAPSULATION,
            says="none: pods have addresses of the VPC, which carries them",
            source="how it is made",
        ),
        Fact(subject=Subject.ADDRESSES, says=f"{each} of the nodes' network interfaces, in {where}", source=source),
        Fact(
            subject=Subject.ATTACHMENT,
            says="each pod hangs by a veth (eni…) and is routed by itself; it sends by the interface of its address",
            source="how it is made",
        ),
        Fact(
            subject=Subject.MASQUERADE,
            says="what leaves the VPC keeps the pod's address"
            if kept
            else "what leaves the VPC has the address of the node's first interface (AWS-SNAT-CHAIN-0)",
            source=source,
        ),
    ]
    if policies:
        says = "aws-network-policy-agent enforces NetworkPolicies, in eBPF"
        facts.append(Fact(subject=Subject.POLICIES, says=says, source=source))
    own = agent.variables.get("POD_MTU", "") if agent else ""
    if mtu or own:
        says = (
            f"interfaces have an MTU of {mtu or '9001'}, pods of {own}"
            if own
            else f"interfaces and pods have an MTU of {mtu}"
        )
        facts.append(Fact(subject=Subject.MTU, says=says, source=source))
    mode = ", ".join(modes) or ("secondary addresses" if agent else "")
    return Description(frozenset(roles), mode, source, 0, (), tuple(facts))


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect that the nodes forward, and that nobody else clears the pods' routing rules (docs/troubleshooting.md)."""
    yield from forwarding(sight)
    for node, kernel in sight.read:
        tables = {r.table for r in kernel.routes or ()}
        if tables & {"30200", "30400"}:
            yield Expectation(
                node.name, "host-interference", Contradiction("nm-cloud-setup made routing tables 30200 and 30400"),
                "it removes the pods' routing rules, so that pods on secondary interfaces lose their way",
                "disable nm-cloud-setup.service and its timer, and reboot the node", severity=Severity.ERROR,
            )  # fmt: skip
