"""Flannel: a subnet for each node, and one mechanism (its backend) that carries packets between them.

Each node's flanneld notes on its Node object how it can be reached (backend type, VTEP's MAC, public address), and
programs routes, neighbours and forwarding entries from what the others noted. k3s runs it inside its own process, so
that there is no DaemonSet; RKE2 installs Canal, or a DaemonSet. It enforces no policies.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import (
    Contradiction,
    Expectation,
    FdbExpected,
    LinkExpected,
    NeighbourExpected,
    RouteExpected,
    SysctlExpected,
    Wanted,
)
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Node, Sight
from netinspect.model.cni import Fact, Port, Role, Subject
from netinspect.model.finding import Severity

NAME = "flannel"
TITLE = "Flannel"
_PREFIX = "flannel.alpha.coreos.com/"
SIGNATURE = Signature(
    images=frozenset({"flannel", "flannel-flannel", "flannelcni-flannel"}),
    programs=frozenset({"flanneld"}),
    containers=frozenset({"kube-flannel"}),
    objects=frozenset({"kube-flannel-ds", "kube-flannel"}),
    labels=frozenset({"flannel"}),
    mounts=("/run/flannel",),
    settings=frozenset({"kube-flannel-cfg"}),
    annotations=(f"{_PREFIX}backend-type",),
    plugins=frozenset({"flannel"}),
    interfaces=re.compile(r"flannel(?:-v6)?\.\d+|flannel\.ipip|flannel-wg(?:-v6)?"),
    chains=("nat/FLANNEL-", "filter/FLANNEL-", "nft:flannel-"),
)
SOURCES: tuple[str, ...] = (
    "flannel-io/flannel Documentation/backends.md",
    "flannel-io/flannel Documentation/configuration.md",
    "flannel-io/flannel pkg/subnet/kube/annotations.go",
    "flannel-io/flannel pkg/backend/vxlan/vxlan_network.go",
    "k3s-io/k3s pkg/agent/flannel/setup.go",
)
PARTS: frozenset[str] = frozenset()

# What a packet grows by on its way, and the ports of each backend (Documentation/backends.md).
_OVERHEAD = {
    "vxlan": 50, "host-gw": 0, "wireguard": 80, "ipip": 20, "udp": 28, "ipsec": None, "alloc": 0, "extension": None,
}  # fmt: skip
_PORTS = {
    "vxlan": (Port(protocol="UDP", number=8472, purpose="VXLAN between nodes"),),
    "wireguard": (
        Port(protocol="UDP", number=51820, purpose="WireGuard between nodes, IPv4"),
        Port(protocol="UDP", number=51821, purpose="WireGuard between nodes, IPv6"),
    ),
    "ipip": (Port(protocol="IPIP (4)", number=0, purpose="IP in IP between nodes"),),
    "udp": (Port(protocol="UDP", number=8285, purpose="packets between nodes"),),
    "ipsec": (
        Port(protocol="UDP", number=500, purpose="IKE between nodes"),
        Port(protocol="UDP", number=4500, purpose="ESP in UDP between nodes"),
        Port(protocol="ESP (50)", number=0, purpose="ESP between nodes"),
    ),
}
_TUNNELS = {
    "vxlan": ("flannel.1", "flannel-v6.1"), "wireguard": ("flannel-wg", "flannel-wg-v6"), "ipip": ("flannel.ipip",),
}  # fmt: skip
_BACKEND_FLAG = re.compile(r"--flannel-backend[=\",\s]+([a-z-]+)")


def describe(sight: Sight, agent: Agent | None) -> Description:
    """Say which backend it uses, by what its agents noted on the nodes, else by its ConfigMap."""
    mode, source = backend(sight)
    vni, port = _numbers(sight)
    ports = _PORTS.get(mode, ())
    if mode == "vxlan":
        ports = (Port(protocol="UDP", number=port, purpose="VXLAN between nodes"),)
    facts = [*_facts(sight, mode, source, vni, port)]
    # There flanneld is a part of the one process (k3s docs, basic-network-options).
    if agent is None and any(n.is_k3s for n in sight.nodes.values()):
        facts.append(Fact(subject=Subject.HEALTH, says="it runs inside k3s", source="the kubelets' version"))
    return Description(
        roles=frozenset({Role.DATAPATH, Role.IPAM}),
        mode=mode,
        source=source,
        overhead=_OVERHEAD.get(mode),
        tunnels=tuple(t.replace(".1", f".{vni}") for t in _TUNNELS.get(mode, ())),
        facts=tuple(facts),
        ports=ports,
    )


def backend(sight: Sight) -> tuple[str, str]:
    """Give the backend's type in lower case, and what says so; nothing where nothing does."""
    types = sorted({t for n in sight.nodes.values() if (t := n.annotations.get(f"{_PREFIX}backend-type", ""))})
    if types:
        return "/".join(types).lower(), "the nodes' annotations"
    for name in ("kube-flannel-cfg", "canal-config"):
        configured = sight.setting(name, "net-conf.json").get("Backend", {})
        if isinstance(configured, dict) and configured.get("Type"):
            return str(configured["Type"]).lower(), f"ConfigMap {name}"
    for node in sight.nodes.values():
        for key in ("k3s.io/node-args", "rke2.io/node-args"):
            if found := _BACKEND_FLAG.search(node.annotations.get(key, "")):
                return found[1].removesuffix("-native"), f"node/{node.name} {key}"
    return "", ""


def _configuration(sight: Sight) -> Mapping[str, Any]:
    return sight.setting("kube-flannel-cfg", "net-conf.json") or sight.setting("canal-config", "net-conf.json")


def _direct(sight: Sight) -> bool:
    """Say whether nodes that share a link go without the tunnel."""
    chosen = _configuration(sight).get("Backend", {})
    return isinstance(chosen, dict) and bool(chosen.get("DirectRouting"))


def _numbers(sight: Sight) -> tuple[int, int]:
    """Give the VNI and the port of VXLAN, which are 1 and 8472 on Linux unless its configuration says otherwise."""
    chosen = _configuration(sight).get("Backend", {})
    chosen = chosen if isinstance(chosen, dict) else {}
    noted = (_data(n, 4).get("VNI") or _data(n, 6).get("VNI") for n in sight.nodes.values())
    vni = next((v for v in noted if isinstance(v, int)), chosen.get("VNI"))
    port = chosen.get("Port")
    return (vni if isinstance(vni, int) else 1), (port if isinstance(port, int) and port else 8472)


def _facts(sight: Sight, mode: str, source: str, vni: int, port: int) -> Iterator[Fact]:
    device, more = ("flannel-v6", 70) if sight.families == (6,) else ("flannel", 50)
    said = {
        "vxlan": f"VXLAN, VNI {vni}, UDP port {port}, by {device}.{vni}; {more} bytes a packet",
        "host-gw": "none: each node's range is routed to its address, so all nodes must share a link",
        "wireguard": "WireGuard, encrypted, by flannel-wg; 80 bytes a packet",
        "ipip": "IP in IP, by flannel.ipip; 20 bytes a packet; IPv4 only",
        "udp": "by flanneld itself, in UDP: slow, meant for debugging",
        "ipsec": "ESP by strongSwan",
        "alloc": "none: it only hands out subnets, and somebody else must route them",
    }.get(mode)
    if said:
        yield Fact(subject=Subject.ENCAPSULATION, says=said, source=source)
    configured = _configuration(sight)
    six = ("IPv6Network",) if configured.get("EnableIPv6") is True else ()
    networks = ", ".join(str(configured[k]) for k in ("Network", *six) if configured.get(k))
    plan = "each node's pods have addresses out of the node's pod CIDR (host-local)"
    if networks:
        yield Fact(subject=Subject.ADDRESSES, says=f"{plan}, out of {networks}", source="its ConfigMap")
    else:
        yield Fact(subject=Subject.ADDRESSES, says=plan, source="how it is made")
    attached = "pods hang by a veth on the bridge cni0; those of one node meet in it, at layer 2"
    yield Fact(subject=Subject.ATTACHMENT, says=attached, source="how it is made")
    masquerade = "what leaves for outside its network is masqueraded (FLANNEL-POSTRTG, or table flannel-ipv4)"
    yield Fact(subject=Subject.MASQUERADE, says=masquerade, source="how it is made")


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Compare each node with what all others noted."""
    mode, _ = backend(sight)
    vni, port = _numbers(sight)
    meant = _meant(sight)
    bridged = any(k.links and "cni0" in k.links for _, k in sight.read)
    yield from forwarding(sight)
    for node in sight.nodes.values():
        yield from _annotations(node, meant)
        if bridged:
            # kube-proxy's translations of answers between pods of one node are undone only where they see the bridge.
            yield _sysctl(
                node,
                "bridge/bridge-nf-call-iptables",
                "answers between pods of one node bypass the rules that translate Services back",
            )
    for family in sight.families:
        members = [n for n in sight.nodes.values() if n.pod_cidr(family) and _public(n, family)]
        for node in members:
            if mode == "vxlan" and not _misannounced(node, family):
                yield from _own_vtep(node, family, vni, port)
        # What others make of a wrong announcement is that node's fault, and said there.
        right = [n for n in members if not _misannounced(n, family)]
        ways = {n.name: tuple(_way_to(n, family, mode, vni, direct=_direct(sight))) for n in right}
        for node, peer in sight.pairs(members):
            cause = f"packets for the pods of {peer.name} do not find their way"
            remedy = f"restart flanneld on {node.name} (delete its pod), which programs it anew, and see its log"
            for kind, wanted in ways.get(peer.name, ()):
                yield Expectation(node.name, kind, wanted, cause, remedy, peer=peer.name)


def _sysctl(node: Node, key: str, cause: str) -> Expectation:
    wanted = SysctlExpected(key, ("1",))
    remedy = f"load br_netfilter, and set net.{key.replace('/', '.')} = 1 on the node, in /etc/sysctl.d too"
    return Expectation(node.name, "setting", wanted, cause, remedy)


def _data(node: Node, family: int) -> Mapping[str, Any]:
    """Give what its flanneld noted for a family: VNI and MAC of its VTEP, or its public key."""
    try:
        found = json.loads(node.annotations.get(f"{_PREFIX}backend-{'v6-' if family == 6 else ''}data", "null"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _public(node: Node, family: int) -> str:
    """Give the address at which others reach it."""
    six = "v6" if family == 6 else ""
    return node.annotations.get(f"{_PREFIX}public-ip{six}") or node.annotations.get(
        f"{_PREFIX}public-ip{six}-overwrite", ""
    )


def _annotations(node: Node, meant: str) -> Iterator[Expectation]:
    """Find what a node's own notes get wrong, which all others believe."""
    restart = f"restart flanneld on {node.name} (delete its pod), and see its log"
    if meant and f"{_PREFIX}backend-type" not in node.annotations and node.takes_agents:
        yield Expectation(
            node.name, "not-announced", Contradiction("it bears no annotations of Flannel"),
            "flanneld never ran on it, or could not write to the API server: nobody has a way to its pods", restart,
        )  # fmt: skip
        return
    own = node.annotations.get(f"{_PREFIX}backend-type", "")
    if own and own != meant:
        yield Expectation(
            node.name, "mixed-backends", Contradiction(f"its backend is {own}, that of the others {meant}"),
            "nodes of different backends cannot reach each other's pods",
            "restart flanneld on every node after a change of the backend",
        )  # fmt: skip
    for family in (4, 6):
        if says := _misannounced(node, family):
            yield Expectation(
                node.name, "wrong-public-address", Contradiction(says),
                "the others send packets for its pods to that address",
                f"choose the right interface (--iface, --public-ip), and {restart}",
            )  # fmt: skip


def _meant(sight: Sight) -> str:
    """Give the backend's type that all nodes should have: that of its ConfigMap, else the one that most have."""
    chosen = _configuration(sight).get("Backend", {})
    told = str(chosen.get("Type", "")) if isinstance(chosen, dict) else ""
    noted = Counter(t for n in sight.nodes.values() if (t := n.annotations.get(f"{_PREFIX}backend-type", "")))
    return told if told in noted else max(noted, key=lambda t: (noted[t], t), default="")


def _misannounced(node: Node, family: int) -> str:
    """Say what is wrong with the address that its flanneld announced; nothing where it was chosen by hand."""
    key = "public-ipv6" if family == 6 else "public-ip"
    told = node.annotations.get(f"{_PREFIX}{key}", "")
    if not told or node.annotations.get(f"{_PREFIX}{key}-overwrite"):
        return ""
    if _family(told) != family:
        return f"its annotation {key} is {told}, which is no IPv{family} address"
    # Which of its interfaces is used is for whoever set it up to say: only one that it has not is wrong.
    listed = {a.address for a in node.object.status.addresses}
    links = node.kernel.links if node.kernel else None
    held = {a.local for link in (links or {}).values() for a in link.addresses}
    if links is not None and told not in listed | held:
        return f"its annotation {key} is {told}, which the node has not"
    return ""


def _family(address: str) -> int:
    """Give 4 or 6; 0 where it is no address."""
    try:
        return int(ipaddress.ip_address(address).version)
    except ValueError:
        return 0


def _vtep(cidr: str) -> str:
    """Give the address of a node's VXLAN interface: the first of its range (vxlan_network.go)."""
    return str(ipaddress.ip_network(cidr, strict=False).network_address)


def _device(vni: int, family: int) -> str:
    return f"flannel-v6.{vni}" if family == 6 else f"flannel.{vni}"


def _own_vtep(node: Node, family: int, vni: int, port: int) -> Iterator[Expectation]:
    name = _device(vni, family)
    mac = str(_data(node, family).get("VtepMAC", ""))
    remedy = f"restart flanneld on {node.name} (delete its pod): it makes the interface anew"
    cause = "its tunnel is not the one that it announced, so packets of other nodes are not taken"
    cidr = node.pod_cidr(family)
    wanted = LinkExpected(name, kind="vxlan", vni=vni, port=port, mac=mac, address=_vtep(cidr))
    yield Expectation(node.name, "tunnel", wanted, cause, remedy)
    if _public(node, family) == node.address(family):
        local = LinkExpected(name, local=_public(node, family))
        sent = "its tunnel sends from another address than the one that it announced"
        yield Expectation(node.name, "tunnel-address", local, sent, remedy, severity=Severity.WARNING)


def _way_to(peer: Node, family: int, mode: str, vni: int, *, direct: bool) -> Iterator[tuple[str, Wanted]]:
    """Give what every other node needs for the pods of a node."""
    cidr, public = peer.pod_cidr(family), _public(peer, family)
    if mode == "vxlan" and direct:
        # Whether two nodes share a link is for flanneld to know; either route leads there.
        yield "route", RouteExpected(cidr)
    elif mode == "vxlan":
        mac, vtep, device = str(_data(peer, family).get("VtepMAC", "")), _vtep(cidr), _device(vni, family)
        yield "route", RouteExpected(cidr, via=vtep, dev=device)
        if mac:
            yield "neighbour", NeighbourExpected(vtep, device, mac)
            yield "forwarding-entry", FdbExpected(mac, device, public)
    elif mode == "host-gw":
        yield "route", RouteExpected(cidr, via=public)
    elif mode == "ipip":
        yield "route", RouteExpected(cidr, via=public, dev="flannel.ipip")
