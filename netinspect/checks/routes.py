"""Whether nodes have a way to all pods, and pods to their nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from netinspect.analysis.cni import NEEDS
from netinspect.analysis.inside import host_end
from netinspect.analysis.pods import addresses
from netinspect.analysis.ranges import Network, node_ranges, parse_address, parse_network
from netinspect.checks.base import Problem, Seen, check, issue, problem
from netinspect.checks.view import View
from netinspect.cni.sight import Kernel
from netinspect.errors import ParseError
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity
from netinspect.model.kernel import Link, Route

_RESTART = "restart the CNI's agent on the node: it makes anew what is missing"
# Interfaces of other engines and of hypervisors, which choose ranges without asking (their default configurations).
_FOREIGN = ("docker", "br-", "virbr", "podman", "lxcbr", "lxdbr", "tailscale", "tun", "ppp", "zt", "wt")


@check(
    "NI1601", "every node has a route to the pods of every other", Category.ROUTES, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("routes4", "routes6"), explains=("NI22",), remedy=_RESTART,
    links=(issue("cilium/cilium#26588"), issue("projectcalico/calicoctl#1859")),
)  # fmt: skip
def route_missing(view: View) -> Iterator[Seen]:
    """Find routes to other nodes' pods that are missing, or lead by another device or next hop than they should.

    Packets then follow the default route out of the cluster, or a route that does not lead there.
    """
    return map(problem, view.told("route"))


@check(
    "NI1602", "the CNI's own interfaces are there and up", Category.ROUTES, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links",), explains=("NI1601", "NI1604", "NI22"), remedy=_RESTART,
)  # fmt: skip
def interface_missing(view: View) -> Iterator[Seen]:
    """Find nodes without the interface by which the CNI's packets go.

    Its bridge, `cilium_host`, `antrea-gw0`, `ovn0`.
    """
    return map(problem, view.told("interface", "bridge"))


@check(
    "NI1603", "every node has a route to each of its own pods", Category.ROUTES, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("routes4",), explains=("NI22",), remedy=_RESTART + "; else make the pod anew",
)  # fmt: skip
def pod_route(view: View) -> Iterator[Seen]:
    """Find running pods that their node has no route to, where the CNI makes one for each (Calico)."""
    return map(problem, view.told("pod-route"))


@check(
    "NI1604", "the bridge has an address of the node's range", Category.ROUTES, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links",), explains=("NI22",),
    remedy="drain the node, delete the bridge (`ip link del cni0`), and let new pods make it anew",
    links=(issue("containernetworking/cni#585"), issue("inclavare-containers/inclavare-containers#1364")),
)  # fmt: skip
def bridge_address(view: View) -> Iterator[Seen]:
    """Find bridges of the CNI (`cni0`, `kube-bridge`) whose addresses are all outside of the node's pod ranges.

    The plug-in refuses to wire new pods: "cni0 already has an IP address different from". The node got another range
    after the bridge was made. A bridge without an address is not made yet, or not used.
    """
    ranges = node_ranges(view.snapshot)
    for node, kernel in view.sight.read:
        for name in ("cni0", "kube-bridge"):
            link = (kernel.links or {}).get(name)
            own = [a for one in (link.addresses if link else ()) if one.scope == "global"
                   and (a := parse_address(one.local)) is not None]  # fmt: skip
            mine = ranges.get(node.name, ())
            for family in {a.version for a in own} & {n.version for n in mine}:
                held = [a for a in own if a.version == family]
                if not any(a in n for a in held for n in mine if n.version == family):
                    yield Problem(
                        f"node/{node.name}", f"{name} has {held[0]}, and the node's range is "
                        f"{next(n for n in mine if n.version == family)}",
                        "the node got another range after its bridge was made",
                        f"drain the node, `ip link del {name}`, and make its pods anew", key=f"{name} {family}",
                    )  # fmt: skip


@check(
    "NI1605", "no other interface has a route into the ranges of pods and Services", Category.ROUTES, Severity.ERROR,
    needs=NEEDS, vantage=Vantage.NODE, reads=("links", "routes4", "routes6"), explains=("NI22",),
    remedy="give that interface another range (Docker: default-address-pools; a VPN: its routes)",
    links=(issue("projectcalico/calico#2720"), issue("projectcalico/calico#2252")),
)  # fmt: skip
def foreign_route(view: View) -> Iterator[Seen]:
    """Find routes of container engines, hypervisors and VPNs that lead addresses of pods or Services astray.

    Such a route is more specific than the CNI's or as specific, so that packets for these pods go to the other
    interface. Only interfaces that are known to belong to others are judged (docker0, virbr0, tun0 and their like).
    """
    pods = [n for r in view.cluster.ranges if (n := parse_network(r.cidr)) is not None]
    pods += [n for own in node_ranges(view.snapshot).values() for n in own]
    services = [n for r in view.services.ranges if (n := parse_network(r.cidr)) is not None]
    for node, kernel in view.sight.read:
        for route in kernel.routes or ():
            network = parse_network(route.dst) if _is_foreign(route, kernel) else None
            met = next((r for r in (*pods, *services) if network is not None and _meet(network, r)), None)
            if met is not None:
                what = "pods" if met in pods else "Services"
                yield Problem(
                    f"node/{node.name}", f"{route.dst} leads to {route.dev}, and {met} is a range of {what}",
                    f"{route.dev} belongs to another program, which chose its range by itself",
                    f"give {route.dev} another range", key=f"{route.dst} {route.dev}",
                )  # fmt: skip


def _is_foreign(route: Route, kernel: Kernel) -> bool:
    link = (kernel.links or {}).get(route.dev)
    ours = link is None or not route.dev.startswith(_FOREIGN) or link.kind == "ipip"
    return not ours and route.table == "main" and route.type == "unicast" and not route.dst.endswith("/0")


def _meet(one: Network, other: Network) -> bool:
    if one.version != other.version:
        return False
    first, last = int(one.network_address), int(one.broadcast_address)
    return first <= int(other.broadcast_address) and int(other.network_address) <= last


@check(
    "NI1606", "every pod has a default route", Category.ROUTES, Severity.ERROR, needs=NEEDS, vantage=Vantage.POD,
    reads=("routes4", "routes6"), explains=("NI22",),
    remedy="make the pod anew; see what changed routes in it (a VPN client, a secondary network)",
    links=("https://github.com/k8snetworkplumbingwg/multus-cni/blob/master/docs/how-to-use.md",),
)  # fmt: skip
def pod_without_route(view: View) -> Iterator[Seen]:
    """Find pods whose network namespace was read, and has no default route in a family in which the pod has an address.

    The pod then reaches nothing but its own link. Pods that are made so on purpose, without any route, do not exist
    with the CNIs that are known.
    """
    for name, namespace in view.inside.pods.items():
        pod = view.pods.get(name)
        sections = namespace.evidence.sections
        if pod is None or pod.spec.host_network or "routes4" not in sections or not sections["routes4"].answered:
            continue
        with suppress(ParseError):
            families = {"inet6" if ":" in a else "inet" for a in addresses(pod)}
            had = {r.family for r in namespace.routes if r.dst in ("0.0.0.0/0", "::/0") and r.type == "unicast"}
            if "routes6" not in sections or not sections["routes6"].answered:
                families -= {"inet6"}
            for family in sorted(families - had):
                yield Problem(
                    f"pod/{name}", f"it has no IPv{6 if family == 'inet6' else 4} default route",
                    "something removed it, or the CNI did not finish", "make the pod anew", key=family,
                )  # fmt: skip


@check(
    "NI1607", "every pod's interface leads to its node", Category.ROUTES, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.POD, reads=("links",), explains=("NI1606", "NI22"),
    remedy="make the pod anew; see what took the interface down",
    links=("https://github.com/alibaba/kubeskoop",),
)  # fmt: skip
def pod_unplugged(view: View) -> Iterator[Seen]:
    """Find running pods whose interface is down at either end, or whose node's end is in no bridge where others are."""
    for name, namespace in view.inside.pods.items():
        pod, host = view.pods.get(name), view.inside.hosts.get(view.inside.places.get(name, ""))
        if pod is None or pod.spec.host_network or pod.status.phase != "Running" or host is None:
            continue
        with suppress(ParseError):
            mine = set(addresses(pod))
            link = next((k for k in namespace.links if mine & {a.local for a in k.addresses}), None)
            far = host_end(link, host) if link is not None else None
            says = _unplugged(link, far, host.links) if link is not None else ""
            if says:
                yield Problem(
                    f"pod/{name}", says, "something on the node changed it after the CNI had made it",
                    "make the pod anew", key="link",
                )  # fmt: skip


def _unplugged(link: Link, far: Link | None, links: tuple[Link, ...]) -> str:
    if not link.up:
        return f"its {link.ifname} is down"
    if far is None:
        return ""
    if not far.up:
        return f"the node's end of its {link.ifname}, {far.ifname}, is down"
    bridged = [k.master for k in links if k.kind == "veth" and k.master]
    if bridged and not far.master and len(bridged) >= sum(k.kind == "veth" for k in links) / 2:
        return f"the node's end of its {link.ifname}, {far.ifname}, is in no bridge, and others are in {bridged[0]}"
    return ""


@check(
    "NI1608", "no node has the address of a pod", Category.ROUTES, Severity.ERROR, needs=NEEDS, vantage=Vantage.NODE,
    reads=("links",), explains=("NI22",), remedy="take the address from the node's interface: `ip addr del`",
)  # fmt: skip
def pod_address_on_node(view: View) -> Iterator[Seen]:
    """Find interfaces of nodes with an address that a pod on the pod network has.

    The node then keeps what is for the pod, and drops what comes from it as a martian. Somebody added the address by
    hand, or a load balancer's or VPN's range meets the pods'.
    """
    held = view.holders
    for node, kernel in view.sight.read:
        for link in (kernel.links or {}).values():
            for address in sorted({a.local for a in link.addresses} & held.keys()):
                pod = held[address][0]
                yield Problem(
                    f"node/{node.name}", f"{link.ifname} has {address}, which is the address of pod/{pod}",
                    "somebody gave it to the node, or two ranges meet", f"ip addr del it from {link.ifname}",
                    key=f"{link.ifname} {address}",
                )  # fmt: skip


CHECKS = (
    route_missing, interface_missing, pod_route, bridge_address, foreign_route, pod_without_route, pod_unplugged,
    pod_address_on_node,
)  # fmt: skip
