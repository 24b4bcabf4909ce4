"""Antrea: Open vSwitch on every node, programmed by the agent with flows.

Between nodes it wraps packets (Geneve unless told otherwise), or leaves them to routes (noEncap), or does either by
subnet (hybrid); as policy engine on top of a cloud's CNI it does neither (networkPolicyOnly). The trace walks its
flows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation, LinkExpected
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Port, Role, Subject

NAME = "antrea"
TITLE = "Antrea"
SIGNATURE = Signature(
    images=frozenset(
        {"antrea-agent-ubuntu", "antrea-agent-ubi", "antrea-agent", "antrea-ubuntu", "antrea-antrea-ubuntu"}
    ),
    programs=frozenset({"antrea-agent", "start_ovs"}),
    containers=frozenset({"antrea-agent", "antrea-ovs"}),
    objects=frozenset({"antrea-agent"}),
    labels=frozenset({"antrea", "antrea-agent"}),
    mounts=("/var/run/antrea",),
    settings=frozenset({"antrea-config"}),
    groups=frozenset({"crd.antrea.io"}),
    annotations=("node.antrea.io/",),
    plugins=frozenset({"antrea"}),
    interfaces=re.compile(r"antrea-(?:gw0|tun0|wg0|egress0)"),
    chains=("nat/ANTREA-", "filter/ANTREA-", "mangle/ANTREA-"),
)
SOURCES: tuple[str, ...] = (
    "antrea-io/antrea build/yamls/antrea.yml",
    "antrea-io/antrea docs/network-requirements.md",
    "antrea-io/antrea pkg/agent/config/node_config.go",
)
PARTS: frozenset[str] = frozenset()

_SETTINGS = "antrea-config"
_TUNNELS = {
    "geneve": (50, Port(protocol="UDP", number=6081, purpose="Geneve between nodes")),
    "vxlan": (50, Port(protocol="UDP", number=4789, purpose="VXLAN between nodes")),
    "gre": (42, Port(protocol="GRE (47)", number=0, purpose="GRE between nodes")),
    "stt": (None, Port(protocol="TCP", number=7471, purpose="STT between nodes")),
}


def describe(sight: Sight, _agent: Agent | None) -> Description:
    """Say how it is set up by antrea-agent.conf."""
    settings = configuration(sight)
    source = f"ConfigMap {_SETTINGS}" if settings else ""
    encap, tunnel = settings.get("trafficEncapMode", "encap"), settings.get("tunnelType", "geneve")
    policy_only = encap == "networkPolicyOnly"
    roles = {Role.POLICY} if policy_only else {Role.DATAPATH, Role.IPAM, Role.POLICY}
    if settings.get("proxyAll") == "true":
        roles.add(Role.SERVICES)
    overhead, port = _TUNNELS.get(tunnel, (None, None))
    wrapped = encap in ("encap", "hybrid")
    mode = {
        "encap": f"encap, {tunnel}", "hybrid": f"hybrid, {tunnel} between subnets", "noEncap": "noEncap",
        "networkPolicyOnly": "policy only",
    }.get(encap, encap)  # fmt: skip
    encryption = settings.get("trafficEncryptionMode", "none").lower()
    if encryption == "wireguard":
        # It carries the packets itself, and nothing is wrapped besides.
        wrapped, port = True, Port(protocol="UDP", number=51820, purpose="WireGuard between nodes")
        mode = f"{encap}, WireGuard"
    sealed = (Port(protocol="ESP (50)", number=0, purpose="IPsec between nodes"),) if encryption == "ipsec" else ()
    ports = (
        sealed
        + ((port,) if wrapped and port else ())
        + (Port(protocol="TCP", number=10349, purpose="agents to the controller, through Services"),)
    )
    facts = tuple(_facts(settings, encap, tunnel, source)) if source else ()
    if encryption != "none" or encap == "hybrid":
        overhead = None
    elif not wrapped:
        overhead = 0
    return Description(frozenset(roles), mode if source else "", source, overhead, (), facts, ports)


def configuration(sight: Sight) -> Mapping[str, str]:
    """Give the settings of antrea-agent.conf that are given, on top of the defaults that matter; else nothing."""
    text = sight.settings(_SETTINGS).get("antrea-agent.conf", "")
    if not text:
        return {}
    found = dict(re.findall(r"^[ \t]*([A-Za-z]+):[ \t]*[\"']?([^\"'#\s]+)", text, re.MULTILINE))
    return {"trafficEncapMode": "encap", "tunnelType": "geneve", **found}


def _facts(settings: Mapping[str, str], encap: str, tunnel: str, source: str) -> Iterator[Fact]:
    says = {
        "encap": f"{tunnel.capitalize() if tunnel == 'geneve' else tunnel.upper()} between all nodes",
        "hybrid": f"{tunnel} between nodes of different subnets, none within one",
        "noEncap": "none: the nodes' network must know the nodes' ranges",
        "networkPolicyOnly": "that of the CNI that carries the packets",
    }.get(encap, encap)
    encryption = settings.get("trafficEncryptionMode", "none").lower()
    if encryption != "wireguard":
        yield Fact(subject=Subject.ENCAPSULATION, says=says, source=source)
    if encryption != "none":
        yield Fact(subject=Subject.ENCAPSULATION, says=f"encrypted between nodes by {encryption}", source=source)
    yield Fact(
        subject=Subject.POLICIES, says="flows in Open vSwitch, for NetworkPolicies and Antrea's own", source=source
    )  # fmt: skip
    if settings.get("AntreaProxy") != "false" and "proxyAll" not in settings:
        says = "AntreaProxy balances what pods send to ClusterIPs, in Open vSwitch; kube-proxy does the rest"
        yield Fact(subject=Subject.SERVICES, says=says, source="how it is made")
    if encap != "networkPolicyOnly":
        says = "each node's pods have addresses out of the node's pod CIDR (host-local), gateway antrea-gw0"
        yield Fact(subject=Subject.ADDRESSES, says=says, source="how it is made")
        says = "pods hang by a veth on Open vSwitch's bridge br-int; what leaves it goes through antrea-gw0"
        yield Fact(subject=Subject.ATTACHMENT, says=says, source="how it is made")
        off = settings.get("noSNAT") == "true"
        says = (
            "what leaves keeps the pod's address"
            if off
            else "what leaves for outside is masqueraded (ANTREA-POSTROUTING)"
        )
        yield Fact(subject=Subject.MASQUERADE, says=says, source=source)


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect its gateway on every node; how its flows are, only Open vSwitch tells."""
    yield from forwarding(sight)
    if configuration(sight).get("trafficEncapMode") == "networkPolicyOnly":
        return
    for node in sight.nodes.values():
        remedy = f"see the log of antrea-agent on {node.name}, and `antctl get agentinfo`"
        wanted = LinkExpected(configuration(sight).get("hostGateway", "antrea-gw0"))
        yield Expectation(node.name, "interface", wanted, "pods have no way out of Open vSwitch to the node", remedy)
