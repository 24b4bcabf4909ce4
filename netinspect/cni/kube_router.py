"""kube-router: routes by BGP, policies by ipsets, Services by IPVS; each of the three may be off.

Without its router part it only enforces policies; k3s has that part built in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation, LinkExpected, RouteExpected
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Port, Role, Subject

NAME = "kube-router"
TITLE = "kube-router"
SIGNATURE = Signature(
    images=frozenset({"kube-router", "cloudnativelabs-kube-router"}),
    programs=frozenset({"kube-router"}),
    variables=("KUBE_ROUTER_",),
    containers=frozenset({"kube-router"}),
    objects=frozenset({"kube-router"}),
    labels=frozenset({"kube-router"}),
    mounts=("/var/lib/kube-router",),
    settings=frozenset({"kube-router-cfg"}),
    annotations=("kube-router.io/pod-cidr",),
    files=frozenset({"10-kuberouter.conflist", "10-kuberouter.conf"}),
    interfaces=re.compile(r"kube-bridge|kube-dummy-if|tun-[0-9a-f]{11}"),
    chains=("filter/KUBE-ROUTER-", "filter/KUBE-POD-FW-", "filter/KUBE-NWPLCY-"),
)
SOURCES: tuple[str, ...] = (
    "cloudnativelabs/kube-router daemonset/kubeadm-kuberouter.yaml",
    "cloudnativelabs/kube-router docs/tunnels.md",
    "cloudnativelabs/kube-router docs/troubleshoot.md",
)
PARTS: frozenset[str] = frozenset()
_FOU = 5555


def _runs(agent: Agent | None, part: str) -> bool:
    """Say whether a part of it runs: all do unless a flag says otherwise."""
    return agent is None or agent.argument(part) != "false"


def _wires(sight: Sight) -> bool:
    """Say whether nodes wire their pods by its configuration."""
    return any(k.conflists and k.conflists[0].file in SIGNATURE.files for _, k in sight.read)


def describe(sight: Sight, agent: Agent | None) -> Description:
    """Say which of its parts run, by its flags."""
    source = f"DaemonSet {agent.name}" if agent else "its marks on the nodes"
    roles = set()
    if _runs(agent, "run-router"):
        roles |= {Role.DATAPATH, Role.IPAM}
    if _runs(agent, "run-firewall"):
        roles.add(Role.POLICY)
    if _runs(agent, "run-service-proxy"):
        roles.add(Role.SERVICES)
    if agent is None and not _wires(sight):
        # What k3s has of it is the policies alone.
        roles = {Role.POLICY}
    overlay = (agent.argument("enable-overlay") or "true") if agent else ""
    routed = Role.DATAPATH in roles
    mode = "BGP" if routed else "policy only" if roles == {Role.POLICY} else "no router"
    facts = []
    ports: tuple[Port, ...] = ()
    if routed:
        kind = agent.argument("overlay-type") or "subnet" if agent else ""
        when = "between all nodes" if kind == "full" else "between nodes of different subnets"
        fou = agent is not None and agent.argument("overlay-encap") == "fou"
        port = agent.argument("overlay-encap-port") if agent else ""
        how = "IP in IP in UDP (FoU)" if fou else "IP in IP"
        says = "none" if overlay == "false" else f"{how} {when}; else none: routes learnt by BGP"
        facts.append(Fact(subject=Subject.ENCAPSULATION, says=says, source=source))
        says = "each node's pods have addresses out of the node's pod CIDR (host-local)"
        facts.append(Fact(subject=Subject.ADDRESSES, says=says, source="how it is made"))
        says = "pods hang by a veth on the bridge kube-bridge"
        facts.append(Fact(subject=Subject.ATTACHMENT, says=says, source="how it is made"))
        ports = (Port(protocol="TCP", number=179, purpose="BGP between nodes"),)
        if overlay != "false":
            wrapped = Port(protocol="IPIP (4)", number=0, purpose="IP in IP between nodes of different subnets")
            if fou:
                number = int(port) if port.isdecimal() else _FOU
                wrapped = Port(protocol="UDP", number=number, purpose="FoU between nodes of different subnets")
            ports += (wrapped,)
    if Role.POLICY in roles:
        says = "iptables and ipsets (KUBE-ROUTER-FORWARD, KUBE-POD-FW-…, KUBE-NWPLCY-…)"
        facts.append(Fact(subject=Subject.POLICIES, says=says, source=source))
    if Role.SERVICES in roles:
        facts.append(Fact(subject=Subject.SERVICES, says="IPVS, addresses on kube-dummy-if", source=source))
    return Description(frozenset(roles), mode, source, None if routed else 0, (), tuple(facts), ports)


def expect(sight: Sight, agent: Agent | None) -> Iterator[Expectation]:
    """Expect a route to every other node's range, however BGP learnt it, and its bridge."""
    if agent is None or not _runs(agent, "run-router"):
        return
    yield from forwarding(sight)
    # Without a mesh among themselves the nodes may know no more than a way to their router.
    for family in sight.families if agent.argument("enable-ibgp") != "false" else ():
        members = [n for n in sight.nodes.values() if n.pod_cidr(family)]
        for node, peer in sight.pairs(members):
            remedy = f"see `gobgp neighbor` in kube-router on {node.name}: is the session established?"
            cause = f"packets for the pods of {peer.name} do not find their way"
            wanted = RouteExpected(peer.pod_cidr(family))
            yield Expectation(node.name, "route", wanted, cause, remedy, peer=peer.name)
    for node in sight.nodes.values():
        if node.has_pods:
            remedy = f"see the log of kube-router on {node.name}"
            bridge = LinkExpected("kube-bridge", kind="bridge")
            yield Expectation(node.name, "interface", bridge, "its pods have no bridge", remedy)
