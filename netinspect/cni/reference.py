"""The reference plug-ins by themselves: bridge, ptp, macvlan, ipvlan, with host-local addresses.

They only attach pods to their node. Who carries packets between nodes is up to whoever wrote the configuration: routes
that an administrator or a cloud has set, or the link that macvlan and ipvlan join.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation, LinkExpected, RouteExpected, SysctlExpected
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Conflist, Kernel, Node, Sight
from netinspect.model.cni import Fact, Role, Subject

NAME = "reference"
TITLE = "reference plug-ins"
_ATTACHING = ("bridge", "ptp", "macvlan", "ipvlan", "host-device", "vlan")
SIGNATURE = Signature(plugins=frozenset(_ATTACHING))
SOURCES: tuple[str, ...] = (
    "containernetworking/plugins plugins/main/bridge/bridge.go",
    "containernetworking/plugins plugins/main/ptp/ptp.go",
    "containernetworking/plugins plugins/ipam/host-local",
)
PARTS: frozenset[str] = frozenset()


def describe(sight: Sight, _agent: Agent | None) -> Description:
    """Say which plug-in attaches the pods, and what leads to other nodes, by the first node that was read."""
    chosen = _chosen(sight)
    if chosen is None:
        return Description(frozenset())
    node, kernel, conflist, plugin = chosen
    kind = str(plugin.get("type", ""))
    source = f"node/{node.name} {conflist.path}"
    roles = frozenset({Role.DATAPATH, Role.IPAM})
    return Description(roles, kind, source, 0, (), tuple(_facts(sight, node, kernel, plugin, source)))


def _chosen(sight: Sight) -> tuple[Node, Kernel, Conflist, Mapping[str, Any]] | None:
    for node, kernel in sight.read:
        for conflist in (kernel.conflists or ())[:1]:
            for plugin in conflist.plugins:
                if plugin.get("type") in _ATTACHING:
                    return node, kernel, conflist, plugin
    return None


def _bridge(plugin: Mapping[str, Any]) -> str:
    """Name the bridge of its configuration (bridge.go: cni0 unless told otherwise)."""
    return str(plugin.get("bridge") or "cni0")


def _facts(sight: Sight, node: Node, kernel: Kernel, plugin: Mapping[str, Any], source: str) -> Iterator[Fact]:
    kind = plugin.get("type")
    attached = {
        "bridge": f"pods hang by a veth on the bridge {_bridge(plugin)}; those of one node meet in it, at layer 2",
        "ptp": "each pod hangs by a veth on its node and is routed by itself",
        "macvlan": "each pod has a macvlan of a node's interface: it is on the nodes' own link",
        "ipvlan": "each pod has an ipvlan of a node's interface: it shares that one's MAC",
    }.get(str(kind), f"by the plug-in {kind}")
    yield Fact(subject=Subject.ATTACHMENT, says=attached, source=source)
    ipam = plugin.get("ipam")
    by = str(ipam.get("type", "")) if isinstance(ipam, dict) else ""
    yield Fact(subject=Subject.ADDRESSES, says=f"by {by or 'nobody that the configuration names'}", source=source)
    yield _masquerade(node, kernel, plugin, source)
    ways = [r for r in kernel.routes or () if r.gateway and r.dst in _others(sight, node)]
    if ways:
        says = f"to other nodes by routes that somebody set (protocol {ways[0].protocol or 'unspec'}), without a tunnel"
    elif kind in ("macvlan", "ipvlan"):
        says = "to the other nodes over their common link"
    else:
        says = "nothing on the node leads to the ranges of other nodes: a router outside must (a cloud's route table)"
    yield Fact(subject=Subject.ROUTING, says=says, source=f"node/{node.name} routes")


def _masquerade(node: Node, kernel: Kernel, plugin: Mapping[str, Any], source: str) -> Fact:
    """Say whose address leaves: the plug-in masquerades where it is told to, else perhaps ip-masq-agent."""
    if plugin.get("ipMasq") is True:
        says = "what leaves for outside is masqueraded (CNI-…)"
    elif kernel.chains is None:
        says = "not by it; whether anybody else masquerades was not read"
    elif "nat/IP-MASQ-AGENT" in kernel.chains:
        says, source = "by ip-masq-agent, of what leaves the ranges that it spares", f"node/{node.name} rules"
    else:
        says = "not by it: what leaves keeps the pod's address"
    return Fact(subject=Subject.MASQUERADE, says=says, source=source)


def _others(sight: Sight, node: Node) -> frozenset[str]:
    return frozenset(c for n in sight.nodes.values() if n.name != node.name for f in (4, 6) if (c := n.pod_cidr(f)))


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect what the configuration makes, and where any node has routes to the others that all have them all."""
    chosen = _chosen(sight)
    if chosen is None:
        return
    yield from forwarding(sight)
    for node, kernel in sight.read:
        for plugin in kernel.conflists[0].plugins if kernel.conflists else ():
            if plugin.get("type") == "bridge" and node.has_pods:
                yield from _bridged(node, _bridge(plugin))
    families = [f for f in sight.families if _routed(sight, f)]
    for family in families:
        members = [n for n in sight.nodes.values() if n.pod_cidr(family) and n.address(family)]
        for node, peer in sight.pairs(members):
            cidr, address = peer.pod_cidr(family), peer.address(family)
            yield Expectation(
                node.name, "route", RouteExpected(cidr, via=address),
                f"packets for the pods of {peer.name} do not find their way; other nodes have such routes",
                f"ip route replace {cidr} via {address}", peer=peer.name,
            )  # fmt: skip


def _bridged(node: Node, name: str) -> Iterator[Expectation]:
    cause = "the pods of the node hang on it"
    wanted = LinkExpected(name, kind="bridge")
    yield Expectation(node.name, "interface", wanted, cause, "the plug-in makes it anew for the next pod")
    yield Expectation(
        node.name, "setting", SysctlExpected("bridge/bridge-nf-call-iptables", ("1",)),
        "answers between pods of one node bypass the rules that translate Services back",
        "load br_netfilter, and set net.bridge.bridge-nf-call-iptables = 1 on the node, in /etc/sysctl.d too",
    )  # fmt: skip


def _routed(sight: Sight, family: int) -> bool:
    """Say whether routes on the nodes lead to other nodes' ranges: somebody means them to, then."""
    return any(
        r.dst in _others(sight, node) and (":" in r.dst) == (family == 6)
        for node, kernel in sight.read
        for r in kernel.routes or ()
        if r.gateway
    )
