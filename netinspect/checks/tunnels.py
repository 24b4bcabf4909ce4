"""Whether the tunnels between nodes are as both ends need them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netinspect.analysis.cni import NEEDS
from netinspect.checks.base import IPTABLES, Irrelevant, Problem, Seen, check, issue, problem
from netinspect.checks.view import View
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity

_BEHIND = ("NI1402", "NI1403", "NI16", "NI22")
_PUBLIC = "flannel.alpha.coreos.com/public-ip"
_TRANSPORTS = (
    _PUBLIC,
    "flannel.alpha.coreos.com/public-ipv6",
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv6Address",
)
_RESTART = "restart the CNI's agent on the node: it makes anew what is missing"
_FLANNEL = "https://github.com/flannel-io/flannel/blob/master/Documentation/troubleshooting.md"


@check(
    "NI1401", "the tunnels are those that the nodes announced", Category.TUNNELS, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links",), explains=_BEHIND, remedy=_RESTART,
    links=(issue("flannel-io/flannel#1795"), issue("projectcalico/calico#3271")),
)  # fmt: skip
def tunnel(view: View) -> Iterator[Seen]:
    """Find tunnel devices that are missing, down, or have another VNI, port, MAC or address than was announced.

    The others send to what the node announced in the API (annotations of Flannel and Calico), so packets that come for
    another are not taken. systemd gives devices a new MAC after they were made unless MACAddressPolicy=none.
    """
    return map(problem, view.told("tunnel"))


@check(
    "NI1402", "the tunnels send from the node's announced address", Category.TUNNELS, Severity.WARNING, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links",), remedy=_RESTART, links=(_FLANNEL,),
)  # fmt: skip
def tunnel_address(view: View) -> Iterator[Seen]:
    """Find tunnels whose local address is not the one that the node announced: firewalls and peers may refuse it."""
    return map(problem, view.told("tunnel-address"))


@check(
    "NI1403", "every node knows the tunnel of every other", Category.TUNNELS, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("neighbours", "fdb"), explains=("NI22",), remedy=_RESTART,
    links=("https://github.com/flannel-io/flannel/blob/master/pkg/backend/vxlan/vxlan_network.go",
           issue("k3s-io/k3s#9957")),
)  # fmt: skip
def peer_unknown(view: View) -> Iterator[Seen]:
    """Find neighbour and forwarding entries of tunnels that are missing or lead to another node than was announced."""
    return map(problem, view.told("forwarding-entry", "neighbour"))


@check(
    "NI1404", "all nodes use one kind of tunnel", Category.TUNNELS, Severity.ERROR, needs=NEEDS, explains=_BEHIND,
    remedy="restart the CNI's agents on all nodes after its backend was changed",
    links=("https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md",),
)  # fmt: skip
def mixed_backends(view: View) -> Iterator[Seen]:
    """Find nodes whose agent announced another backend than the rest: they cannot reach each other's pods."""
    return map(problem, view.told("mixed-backends"))


@check(
    "NI1405", "the address of each tunnel's end is the node's own", Category.TUNNELS, Severity.ERROR, needs=NEEDS,
    explains=_BEHIND,
    remedy="choose the interface: Flannel --iface or --public-ip, Calico IP_AUTODETECTION_METHOD; restart the agent",
    links=(issue("flannel-io/flannel#535"), issue("projectcalico/calico#3541"), _FLANNEL),
)  # fmt: skip
def wrong_endpoint(view: View) -> Iterator[Seen]:
    """Find nodes that announced an address that they do not have, or that another node announced too.

    So it is where the CNI took the first interface of the machine: the NAT interface that every VirtualBox machine has
    (10.0.2.15), a container bridge, a VPN. An address that was set by hand (public-ip-overwrite) is taken as meant.
    """
    yield from map(problem, view.told("wrong-public-address"))
    for key in _TRANSPORTS:
        holders: dict[str, list[str]] = defaultdict(list)
        for node in view.linux:
            if address := node.annotations.get(key, "").partition("/")[0]:
                holders[address].append(node.name)
        for address, nodes in sorted(holders.items()):
            if len(nodes) > 1:
                yield Problem(
                    f"node/{nodes[0]}",
                    f"it announced {address}, as {', '.join(f'node/{n}' for n in nodes[1:])} did",
                    "the CNI took an interface whose address is the same on every machine",
                    "choose the interface (Flannel --iface, Calico IP_AUTODETECTION_METHOD), and restart the agents",
                    nodes=tuple(nodes),
                    key=f"{key} {address}",
                )


@check(
    "NI1406", "no rule of a node stops the tunnels", Category.TUNNELS, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links", "routes4", "nftables", *IPTABLES), explains=("NI22",),
    remedy="let the node's firewall pass the tunnel's port from the other nodes, above the rule that is named",
    links=(issue("k3s-io/k3s#2935"), issue("flannel-io/flannel#2055")),
)  # fmt: skip
def port_closed(view: View) -> Iterator[Seen]:
    """Find rules of iptables or nftables that stop VXLAN between nodes, by walking its packets through both kernels."""
    return map(problem, view.told("port-closed"))


@check(
    "NI1407", "the cloud lets the tunnel's protocol through", Category.TUNNELS, Severity.ERROR, needs=NEEDS,
    explains=("NI22",),
    remedy="use VXLAN: set vxlanMode of the pool, and ipipMode: Never",
    links=("https://docs.tigera.io/calico/latest/reference/public-cloud/azure",),
)  # fmt: skip
def protocol_blocked(view: View) -> Iterator[Seen]:
    """Find Calico pools with IP in IP on Azure, whose network drops IP protocol 4.

    With CrossSubnet only packets between subnets are wrapped; there is nothing to say then without the subnets.
    """
    azure = [n for n in view.linux if n.object.spec.provider_id.startswith("azure://")]
    if not azure or not view.snapshot.ip_pools:
        yield Irrelevant("no node of Azure has a pool of Calico")
        return
    for pool in view.snapshot.ip_pools:
        if pool.spec.ipip_mode == "Always" and not pool.spec.disabled:
            yield Problem(
                f"ippool/{pool.metadata.name}", "it wraps packets in IP in IP, which Azure's network drops",
                "Azure lets TCP, UDP and ICMP through between machines, and no other protocol",
                "set ipipMode: Never and vxlanMode: Always in the pool", nodes=tuple(n.name for n in azure), key="ipip",
            )  # fmt: skip


CHECKS = (tunnel, tunnel_address, peer_unknown, mixed_backends, wrong_endpoint, port_closed, protocol_blocked)
