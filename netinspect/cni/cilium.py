"""Cilium: eBPF programs at every pod's interface forward, translate Services and enforce policies.

Between nodes it wraps packets in VXLAN or Geneve, or leaves them to routes (native), of a cloud's network too. With
kube-proxy replacement it serves Services at connect() and at the interfaces. It may also be chained behind another CNI,
which then carries the packets. What its maps hold is not in the kernel's tables: the trace asks ``cilium-dbg`` in the
agent, and walks through what its programs make of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from netinspect.cni import cilium_programs
from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Contradiction, Expectation, LinkExpected
from netinspect.cni.sight import Agent, Node, Sight
from netinspect.model import wire
from netinspect.model.cni import Fact, Port, Role, Subject
from netinspect.model.evidence import NamespaceEvidence
from netinspect.model.finding import Severity
from netinspect.model.programs import Programs

NAME = "cilium"
TITLE = "Cilium"
SIGNATURE = Signature(
    images=frozenset({"cilium", "cilium-cilium", "cilium-cilium-ci", "cilium-ci"}),
    helpers=frozenset({"cilium-envoy"}),
    programs=frozenset({"cilium-agent"}),
    variables=("CILIUM_",),
    containers=frozenset({"cilium-agent"}),
    objects=frozenset({"cilium", "anetd"}),
    labels=frozenset({"cilium", "cilium-agent"}),
    mounts=("/var/run/cilium", "/run/cilium"),
    settings=frozenset({"cilium-config"}),
    groups=frozenset({"cilium.io"}),
    annotations=("network.cilium.io/", "io.cilium.network."),
    taints=("node.cilium.io/",),
    plugins=frozenset({"cilium-cni"}),
    interfaces=re.compile(r"cilium_(?:host|net|vxlan|geneve|wg0|ipip[46])|lxc_health"),
    chains=("nat/CILIUM_", "filter/CILIUM_", "mangle/CILIUM_"),
)
SOURCES: tuple[str, ...] = (
    "cilium/cilium pkg/option/config.go",
    "cilium/cilium pkg/mtu/mtu.go",
    "cilium/cilium pkg/datapath/tunnel/tunnel.go",
    "docs.cilium.io operations/system_requirements",
)
PARTS: frozenset[str] = frozenset()

_SETTINGS = "cilium-config"
_TUNNEL_PORT = {"vxlan": 8472, "geneve": 6081}
_OVERHEAD = {"vxlan": 50, "geneve": 50}
_HEALTH = Port(protocol="TCP", number=4240, purpose="health checks between agents")


def describe(sight: Sight, _agent: Agent | None) -> Description:
    """Say how it is set up by cilium-config."""
    settings = sight.settings(_SETTINGS)
    source = f"ConfigMap {_SETTINGS}" if settings else ""
    chained = chaining(settings)
    roles = {Role.POLICY}
    if not chained:
        roles |= {Role.DATAPATH, Role.IPAM}
    replaced = settings.get("kube-proxy-replacement", "")
    if replaced in ("true", "strict"):
        roles.add(Role.SERVICES)
    delegated = settings.get("ipam", "") == "delegated-plugin"
    if delegated:
        roles.discard(Role.IPAM)
    how, tunnel = routing(settings)
    mode = ""
    if chained:
        mode = f"chained behind {chained}"
    elif how == "tunnel":
        mode = f"tunnel, {tunnel}"
    elif how == "native":
        mode = "native routing, ENI" if settings.get("ipam") == "eni" else "native routing"
    if mode and settings.get("datapath-mode", "veth") not in ("veth", ""):
        mode += f", {settings['datapath-mode']}"
    if mode and replaced in ("true", "strict"):
        mode += ", kube-proxy replacement"
    tunnelled = how == "tunnel" and not chained
    ports = (
        [Port(protocol="UDP", number=_port(settings, tunnel), purpose=f"{tunnel} between nodes")] if tunnelled else []
    )
    ports.append(_HEALTH)
    if settings.get("enable-wireguard") == "true":
        ports.append(Port(protocol="UDP", number=51871, purpose="WireGuard between nodes"))
    if settings.get("enable-ipsec") == "true":
        ports.append(Port(protocol="ESP (50)", number=0, purpose="IPsec between nodes"))
    overhead = _OVERHEAD.get(tunnel) if tunnelled else 0 if how == "native" else None
    if "true" in (settings.get("enable-wireguard"), settings.get("enable-ipsec")):
        overhead = None
    # The pods' interfaces keep the nodes' MTU: what a tunnel takes is on their routes (pkg/mtu/mtu.go).
    facts = tuple(_facts(sight, settings, source)) if source else ()
    return Description(frozenset(roles), mode, source, overhead, (), facts, tuple(ports))


def routing(settings: Mapping[str, str]) -> tuple[str, str]:
    """Give ``tunnel`` or ``native``, and the tunnel's protocol; older versions say both in one key, ``tunnel``."""
    old = settings.get("tunnel", "")
    if old:
        return ("native", "") if old == "disabled" else ("tunnel", old)
    how = settings.get("routing-mode", "tunnel" if settings else "")
    return how, settings.get("tunnel-protocol", "vxlan") if how == "tunnel" else ""


def runs(sight: Sight) -> bool:
    """Say whether an agent of Cilium's is to be seen."""
    return any(names & SIGNATURE.images for agent in sight.agents for names, _ in agent.images)


def chaining(settings: Mapping[str, str]) -> str:
    """Name the CNI that it is chained behind; nothing where it is not."""
    mode = settings.get("cni-chaining-mode", "")
    # portmap follows it in the chain, and does not carry packets.
    return "" if mode in ("", "none", "portmap") else settings.get("cni-chaining-target") or mode


def _port(settings: Mapping[str, str], tunnel: str) -> int:
    given = settings.get("tunnel-port", "")
    return int(given) if given.isdigit() and given != "0" else _TUNNEL_PORT.get(tunnel, 8472)


def _facts(sight: Sight, settings: Mapping[str, str], source: str) -> Iterator[Fact]:
    how, tunnel = routing(settings)
    chained = chaining(settings)
    if chained:
        yield Fact(subject=Subject.ENCAPSULATION, says=f"that of {chained}, which carries the packets", source=source)
    elif how == "tunnel":
        name = {"vxlan": "VXLAN", "geneve": "Geneve"}.get(tunnel, tunnel)
        says = f"{name}, the VNI being the sender's identity, UDP port {_port(settings, tunnel)}; 50 bytes a packet"
        yield Fact(subject=Subject.ENCAPSULATION, says=says, source=source)
    else:
        direct = settings.get("auto-direct-node-routes") == "true"
        carried = "each node's range is routed to its address" if direct else "the nodes' network must know the ranges"
        yield Fact(subject=Subject.ENCAPSULATION, says=f"none: {carried}", source=source)
    for key, name in (("enable-wireguard", "WireGuard"), ("enable-ipsec", "IPsec")):
        if settings.get(key) == "true":
            yield Fact(subject=Subject.ENCAPSULATION, says=f"encrypted between nodes by {name}", source=source)
    ipam = settings.get("ipam", "")
    plan = {
        "kubernetes": "out of each node's pod CIDR",
        "cluster-pool": "out of a range of each node that Cilium's operator hands out; pod CIDRs mean nothing",
        "multi-pool": "out of ranges of CiliumPodIPPools",
        "eni": "addresses of the nodes' network interfaces in the VPC",
        "azure": "addresses of the nodes' network interfaces in the VNet",
        "alibabacloud": "addresses of the nodes' network interfaces in the VPC",
        "delegated-plugin": "by the plug-in that its configuration names",
    }.get(ipam)
    if plan:
        yield Fact(subject=Subject.ADDRESSES, says=f"IPAM {ipam}: {plan}", source=source)
    attached = "netkit" if settings.get("datapath-mode", "").startswith("netkit") else "a veth (lxc…)"
    says = f"each pod hangs by {attached} on its node; programs at both ends hand packets straight on"
    yield Fact(subject=Subject.ATTACHMENT, says=says, source=source)
    if settings.get("kube-proxy-replacement", "") in ("true", "strict"):
        says = "Cilium translates Services itself: at connect() within nodes and pods, and at the interfaces"
    else:
        says = "Cilium translates Services for pods, kube-proxy for the nodes"
    yield Fact(subject=Subject.SERVICES, says=says, source=source)
    enforcement = settings.get("enable-policy", "default")
    yield Fact(subject=Subject.POLICIES, says=f"eBPF programs at the pods' interfaces ({enforcement})", source=source)
    if settings.get("enable-ipv4-masquerade", "true") == "true":
        where = "eBPF" if settings.get("enable-bpf-masquerade") == "true" else "iptables (CILIUM_POST_nat)"
        yield Fact(
            subject=Subject.MASQUERADE, says=f"what leaves for outside is masqueraded, in {where}", source=source
        )
    ranges = [f"{n.metadata.name}: {', '.join(cidrs)}" for n in sight.snapshot.cilium_nodes if (cidrs := _cidrs(n))]
    if ranges and len(ranges) <= 8:
        yield Fact(subject=Subject.ADDRESSES, says="; ".join(ranges), source="CiliumNodes")


def programs(host: NamespaceEvidence, devices: Collection[str]) -> Programs | None:
    """Give what its programs do on a node, by its agent's maps; None where it has no device of Cilium's."""
    return cilium_programs.load(host.sections) if "cilium_host" in devices else None


def _cidrs(node: wire.CiliumNode) -> tuple[str, ...]:
    pools = (c for p in node.spec.ipam.pools.allocated or () for c in p.cidrs or ())
    return (*(node.spec.ipam.pod_cidrs or ()), *pools)


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect a CiliumNode and Cilium's own interfaces on every node, and no two ranges that overlap."""
    settings = sight.settings(_SETTINGS)
    how, tunnel = routing(settings)
    known = {n.metadata.name: n for n in sight.snapshot.cilium_nodes}
    for node in sight.nodes.values():
        restart = f"see the log of the Cilium agent on {node.name}, and restart it (delete its pod)"
        if known and node.name not in known and node.takes_agents:
            yield Expectation(
                node.name, "not-announced", Contradiction("there is no CiliumNode of it"),
                "its agent never ran: the others have no way to its pods", restart,
            )  # fmt: skip
        if any(t.key.startswith("node.cilium.io/agent-not-ready") for t in node.object.spec.taints):
            yield Expectation(
                node.name, "agent", Contradiction("its taint says that the agent is not ready"),
                "no pods are put on it until its agent is ready", restart, severity=Severity.WARNING,
            )  # fmt: skip
        if chaining(settings) or not settings:
            continue
        yield from _interfaces(node, known.get(node.name), how, tunnel, restart)
    yield from _overlaps(known)


def _interfaces(
    node: Node, known: wire.CiliumNode | None, how: str, tunnel: str, restart: str
) -> Iterator[Expectation]:
    addresses = known.spec.addresses or () if known else ()
    router = next((a.ip for a in addresses if a.type == "CiliumInternalIP" and ":" not in a.ip), "")
    wanted = LinkExpected("cilium_host", address=router)
    yield Expectation(node.name, "interface", wanted, "the gateway of the node's pods is not there", restart)
    if how == "tunnel":
        device = LinkExpected(f"cilium_{tunnel}")
        yield Expectation(node.name, "tunnel", device, "it has no tunnel to the other nodes", restart)


def _overlaps(known: Mapping[str, wire.CiliumNode]) -> Iterator[Expectation]:
    owners: dict[str, str] = {}
    for name, node in sorted(known.items()):
        for cidr in _cidrs(node):
            if owners.setdefault(cidr, name) != name:
                says = f"its range {cidr} is that of {owners[cidr]} too"
                yield Expectation(
                    name, "duplicate-range", Contradiction(says), "pods of both nodes get the same addresses",
                    "delete the CiliumNode of one of them and restart its agent; its pods must be made anew",
                    peer=owners[cidr],
                )  # fmt: skip
