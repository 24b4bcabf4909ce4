"""Whether the address plans fit: ranges of nodes, pods and Services, who holds what, and how much is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netinspect.analysis.cni import NEEDS
from netinspect.analysis.pods import addresses
from netinspect.analysis.ranges import Network, node_ranges, parse_address, parse_network
from netinspect.checks.base import Irrelevant, Problem, Seen, check, issue, problem
from netinspect.checks.view import View
from netinspect.model import resources
from netinspect.model.check import Category
from netinspect.model.finding import Severity

# These take pods' addresses out of the ranges that the control plane hands to nodes (host-local or their own).
_BY_NODE_RANGE = frozenset({"flannel", "kindnet", "kube-router", "canal", "kopeio", "gke", "reference"})
# These give pods addresses of the machines' own network, which is meant.
_NATIVE = frozenset({"aws-vpc-cni", "azure-cni", "gke"})
_NEARLY = 0.9
_PLAN = (*resources.RANGE_EVIDENCE, resources.NODES, resources.PODS, resources.SERVICES)


def _planned(view: View) -> bool:
    """Say whether pods get their addresses from their nodes' ranges."""
    used = view.cluster.node_ranges_used
    return bool(_BY_NODE_RANGE & set(view.cni.ipam.split(", "))) if used is None else used


@check(
    "NI1201", "every node has a range for its pods", Category.ADDRESSES, Severity.ERROR, needs=NEEDS,
    explains=("NI1104", "NI1108", "NI14", "NI16", "NI22"),
    remedy="give kube-controller-manager --allocate-node-cidrs=true and a --cluster-cidr with room for another node "
    "(kubeadm: --pod-network-cidr)",
    links=(issue("flannel-io/flannel#728"), issue("kubernetes/kubernetes#103898")),
)  # fmt: skip
def range_missing(view: View) -> Iterator[Seen]:
    """Find nodes without spec.podCIDR where the CNI hands out addresses from it.

    The agent waits for the range ("pod cidr not assigned") and pods get no addresses. Calico, Weave, AWS, Azure and
    others have address plans of their own, in which an empty field means nothing.
    """
    ipam = set(view.cni.ipam.split(", "))
    if not _BY_NODE_RANGE & ipam:
        yield Irrelevant("the CNI has an address plan of its own")
        return
    ranges = node_ranges(view.snapshot)
    for node in view.linux:
        if not ranges.get(node.name):
            full = any(ranges.values())
            yield Problem(
                f"node/{node.name}", "it has no range for pods (spec.podCIDR)",
                "the cluster's range is used up, or smaller than a node's mask asks for" if full
                else "nobody hands out ranges: kube-controller-manager does with --allocate-node-cidrs",
                "enlarge --cluster-cidr, or set --allocate-node-cidrs and --cluster-cidr (kubeadm: --pod-network-cidr)",
            )  # fmt: skip


@check(
    "NI1202", "ranges of pods, Services and nodes share no address", Category.ADDRESSES, Severity.ERROR,
    needs=(*NEEDS, *_PLAN), explains=("NI1605",),
    remedy="choose ranges that have nothing in common; those of a running cluster can hardly be changed",
    links=(issue("cilium/cilium#42383"), issue("projectcalico/calico#2720"), issue("kubernetes/kubeadm#1185")),
)  # fmt: skip
def overlap(view: View) -> Iterator[Seen]:
    """Find ranges that hold common addresses: of different networks, or of two nodes.

    Packets for such an address go to one of its two meanings, whichever route is more specific. Clouds that give pods
    addresses of the machines' own network mean it so: there nodes inside a pods' range are no fault. A Service range
    that is only inferred from the addresses in use proves nothing, and is not compared.
    """
    cloud = any(c.name == "cilium" and "eni" in c.mode.lower() for c in view.cni.cnis)
    native = cloud or bool(_NATIVE & {*view.cni.datapath.split(", "), *view.cni.ipam.split(", ")})
    for one in view.overlaps:
        kinds = {one.first_network, one.second_network}
        if kinds == {"host", "cluster"} and native:
            continue
        yield Problem(
            "cluster", f"{one.first} of the {one.first_network} network and {one.second} of the {one.second_network} "
            "network share addresses",
            "the ranges were chosen one without the other" if len(kinds) > 1 else "one range was handed out twice",
            "renumber one of them: a new range for new nodes, pods or Services, and move over",
        )  # fmt: skip


@check(
    "NI1203", "the nodes' ranges lie in the CNI's network", Category.ADDRESSES, Severity.ERROR, needs=NEEDS,
    explains=("NI1104", "NI16", "NI22"),
    remedy="make --cluster-cidr of kube-controller-manager and Network in net-conf.json the same",
    links=("https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md",),
)  # fmt: skip
def range_outside_network(view: View) -> Iterator[Seen]:
    """Find nodes whose pod range is not inside Flannel's Network (net-conf.json).

    flanneld refuses such a range and does not start, and what is outside of its network is masqueraded between nodes.
    """
    configured = view.sight.setting("kube-flannel-cfg", "net-conf.json") or view.sight.setting(
        "canal-config", "net-conf.json"
    )
    networks = [
        n for key in ("Network", "IPv6Network") if (n := parse_network(str(configured.get(key, "")))) is not None
    ]
    if not networks or not {"flannel", "canal"} & set(view.cni.datapath.split(", ")):
        yield Irrelevant("Flannel is not at work")
        return
    for node, ranges in node_ranges(view.snapshot).items():
        for one in ranges:
            same = [n for n in networks if n.version == one.version]
            if same and not any(_inside(one, n) for n in same):
                yield Problem(
                    f"node/{node}", f"its range {one} is not inside Flannel's network {same[0]}",
                    "kube-controller-manager hands out ranges of another network than Flannel is configured for",
                    "make --cluster-cidr and Network in ConfigMap kube-flannel-cfg the same, and restart the agents",
                )  # fmt: skip


def _inside(one: Network, other: Network) -> bool:
    return one.version == other.version and (
        int(other.network_address) <= int(one.network_address)
        and int(one.broadcast_address) <= int(other.broadcast_address)
    )


@check(
    "NI1204", "no two pods have the same address", Category.ADDRESSES, Severity.ERROR, needs=(resources.PODS,),
    remedy="make the younger pod anew; then see why the IPAM handed the address out twice (lost state, a range twice)",
    links=(issue("aws/amazon-vpc-cni-k8s#711"), issue("flannel-io/flannel#1549")),
)  # fmt: skip
def address_twice(view: View) -> Iterator[Seen]:
    """Find live pods that claim one address on the pod network.

    Packets for it reach one of them, or each in turn. Pods on the host network share their node's address and are
    left out, as are pods that have finished. Where one of them is being deleted it is only a warning.
    """
    shared = {address: names for address, names in view.holders.items() if len(names) > 1}
    for address, names in sorted(shared.items()):
        ending = [n for n in names if n in view.pods and view.pods[n].metadata.deletion_timestamp]
        yield Problem(
            f"pod/{names[0]}", f"it has the address {address}, as {', '.join(f'pod/{n}' for n in names[1:])} has",
            "the CNI's IPAM handed it out twice", "make the younger of them anew",
            severity=Severity.WARNING if ending else None,
            nodes=tuple(view.pods[n].spec.node_name for n in names if n in view.pods), key=address,
        )  # fmt: skip


@check(
    "NI1205", "pods have addresses of their node's range", Category.ADDRESSES, Severity.WARNING, needs=NEEDS,
    remedy="make the pod anew; see which plug-in the first file of /etc/cni/net.d calls on its node",
    links=(issue("flannel-io/flannel#1437"),),
)  # fmt: skip
def address_outside_range(view: View) -> Iterator[Seen]:
    """Find pods whose address is not out of their node's range, where that is where addresses come from.

    The other nodes send what is for it to another node. Another plug-in wired the pod, or the node's range was changed
    after it. Where most pods lie outside, the CNI has a plan of its own, and nothing is said.
    """
    if not _planned(view):
        yield Irrelevant("pods do not get their addresses from their nodes' ranges")
        return
    for pod in view.cluster.pods or ():
        for address in pod.addresses:
            if address.outside_node_range and not address.released:
                yield Problem(
                    f"pod/{pod.namespace}/{pod.name}",
                    f"its address {address.address} is not in the range of {pod.node}",
                    "another plug-in wired it, or the node got another range after it was made",
                    "make the pod anew",
                    key=address.address,
                )


@check(
    "NI1206", "the nodes' ranges have room", Category.ADDRESSES, Severity.WARNING, needs=NEEDS,
    remedy="spread the pods, lower maxPods, or give new nodes a larger range (--node-cidr-mask-size)",
    links=(issue("kubernetes/kubernetes#103898"),),
)  # fmt: skip
def range_nearly_full(view: View) -> Iterator[Seen]:
    """Find nodes of whose range nine tenths are taken, and those whose kubelet takes more pods than the range holds.

    The next pod then waits with "no IP addresses available". CNIs that give a node more blocks as it needs them
    (Calico) are left out.
    """
    if not _planned(view):
        yield Irrelevant("pods do not get their addresses from their nodes' ranges")
        return
    most = {n.name: n.object.status.capacity.get("pods", "") for n in view.linux}
    for entry in view.cluster.nodes or ():
        place = f"node/{entry.node}"
        if entry.capacity and entry.used is not None and entry.used >= _NEARLY * entry.capacity:
            yield Problem(
                place, f"{entry.used} of the {entry.capacity} addresses of {entry.cidr} are taken",
                "pods that come next find no address", "spread the pods over more nodes, or give it a larger range",
                key=f"full {entry.cidr}",
            )  # fmt: skip
        if entry.capacity and most.get(entry.node, "").isdecimal() and int(most[entry.node]) > entry.capacity:
            yield Problem(
                place, f"its kubelet takes {most[entry.node]} pods, and {entry.cidr} has {entry.capacity} addresses",
                "maxPods and the mask of the nodes' ranges do not fit", "lower maxPods, or give it a larger range",
                severity=Severity.INFO, key=f"small {entry.cidr}",
            )  # fmt: skip


@check(
    "NI1207", "the Service ranges have room", Category.ADDRESSES, Severity.WARNING,
    needs=(*resources.RANGE_EVIDENCE, resources.SERVICES),
    remedy="add another range: a ServiceCIDR object (KEP-1880, Kubernetes 1.33), or free addresses",
    links=("https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/",),
)  # fmt: skip
def services_nearly_full(view: View) -> Iterator[Seen]:
    """Find Service ranges of which nine tenths are taken: Services that come next cannot be created."""
    for one in view.services.ranges:
        if one.capacity and one.used is not None and one.used >= _NEARLY * one.capacity:
            yield Problem(
                "cluster", f"{one.used} of the {one.capacity} addresses of the Service range {one.cidr} are taken",
                "the API server hands out no more than the range holds", "add a ServiceCIDR, or delete unused Services",
                key=one.cidr,
            )  # fmt: skip


@check(
    "NI1208", "Calico's IPAM holds no address of a pod that is gone", Category.ADDRESSES, Severity.WARNING, needs=NEEDS,
    remedy="`calicoctl ipam check`, then `calicoctl ipam release`; see that calico-kube-controllers runs",
    links=(issue("projectcalico/calico#8643"), issue("projectcalico/calico#4190")),
)  # fmt: skip
def leaked_address(view: View) -> Iterator[Seen]:
    """Find addresses in Calico's blocks whose pod does not exist any more; addresses of tunnels are left out.

    They stay taken until somebody frees them, so that pools fill up though there are few pods.
    """
    if not view.snapshot.ipam_blocks:
        return iter((Irrelevant("there is no IPAMBlock"),))
    return map(problem, view.told("leaked-address"))


@check(
    "NI1209", "Calico's IPAM holds no block of a node that is gone", Category.ADDRESSES, Severity.WARNING, needs=NEEDS,
    remedy="see that calico-kube-controllers runs: it frees them; else `calicoctl ipam check` and `release`",
    links=(issue("projectcalico/calico#2713"),),
)  # fmt: skip
def leaked_block(view: View) -> Iterator[Seen]:
    """Find blocks of Calico whose node is not in the cluster: nobody can use their addresses."""
    if not view.snapshot.ipam_blocks:
        return iter((Irrelevant("there is no IPAMBlock"),))
    return map(problem, view.told("leaked-block"))


@check(
    "NI1210", "no two nodes have the same block", Category.ADDRESSES, Severity.ERROR, needs=NEEDS,
    explains=("NI1204", "NI16", "NI22"),
    remedy="free the range of one of the nodes, restart its agent, and make its pods anew",
    links=(issue("cilium/cilium#41986"),),
)  # fmt: skip
def duplicate_block(view: View) -> Iterator[Seen]:
    """Find ranges that Cilium's operator or Calico's IPAM gave to two nodes."""
    yield from map(problem, view.told("duplicate-range"))
    claims: dict[str, list[str]] = defaultdict(list)
    for affinity in view.snapshot.block_affinities:
        if affinity.spec.state == "confirmed" and str(affinity.spec.deleted).lower() != "true":
            claims[affinity.spec.cidr].append(affinity.spec.node)
    for cidr, nodes in claims.items():
        if len(set(nodes)) > 1:
            yield Problem(
                "cluster", f"block {cidr} is confirmed for {' and '.join(sorted(set(nodes)))}",
                "pods of both may get the same addresses", "delete the BlockAffinity of one, and make its pods anew",
                nodes=tuple(sorted(set(nodes))), key=cidr,
            )  # fmt: skip


@check(
    "NI1211", "Calico's pools have room", Category.ADDRESSES, Severity.WARNING, needs=NEEDS,
    remedy="add an IPPool, or free what leaked (`calicoctl ipam check`)",
    links=(issue("projectcalico/cni-plugin#920"),),
)  # fmt: skip
def pool_nearly_full(view: View) -> Iterator[Seen]:
    """Find pools of Calico of which nine tenths of the addresses are handed out, of those that are not disabled."""
    if not view.snapshot.ip_pools:
        yield Irrelevant("there is no IPPool")
        return
    blocks = [(n, sum(a is not None for a in b.spec.allocations))
              for b in view.snapshot.ipam_blocks if (n := parse_network(b.spec.cidr)) is not None]  # fmt: skip
    for pool in view.snapshot.ip_pools:
        network = parse_network(pool.spec.cidr)
        if network is None or pool.spec.disabled:
            continue
        taken = sum(used for block, used in blocks if _inside(block, network))
        if taken >= _NEARLY * network.num_addresses:
            yield Problem(
                f"ippool/{pool.metadata.name}", f"{taken} of its {network.num_addresses} addresses are taken",
                "pods that come next find no address", "add an IPPool, or free what leaked", key="full",
            )  # fmt: skip


@check(
    "NI1212", "Calico's pools cover the pods", Category.ADDRESSES, Severity.WARNING, needs=NEEDS,
    remedy="bring back the pool of these addresses, or make the pods anew",
    links=(issue("kubernetes/kubernetes#71249"),),
)  # fmt: skip
def pool_does_not_cover(view: View) -> Iterator[Seen]:
    """Find pods whose address lies in no pool of Calico, where Calico hands out addresses.

    Outside of every pool Calico neither wraps nor masquerades as the pool says. A pool that is disabled still covers
    the pods that have its addresses.
    """
    pools = [n for p in view.snapshot.ip_pools if (n := parse_network(p.spec.cidr)) is not None]
    if "calico" not in view.cni.ipam.split(", ") or not pools:
        yield Irrelevant("Calico does not hand out addresses")
        return
    bare = []
    for name, pod in view.pods.items():
        found = () if pod.spec.host_network else addresses(pod)
        parsed = [a for text in found if (a := parse_address(text)) is not None]
        if any(not any(a.version == n.version and a in n for n in pools) for a in parsed):
            bare.append(name)
    if bare:
        yield Problem(
            f"pod/{bare[0]}",
            "its address is in no IPPool" + (f", nor are those of {len(bare) - 1} others" if bare[1:] else ""),
            "the pool was deleted, or another plug-in wired them",
            "bring back the pool, or make the pods anew",
            key="pools",
        )


_TUNNEL_NOTES = {
    "vxlan_mode": "projectcalico.org/IPv4VXLANTunnelAddr",
    "ipip_mode": "projectcalico.org/IPv4IPIPTunnelAddr",
}


@check(
    "NI1213", "Calico's tunnels have addresses of their own", Category.ADDRESSES, Severity.ERROR, needs=NEEDS,
    explains=("NI14", "NI16", "NI22"),
    remedy="restart calico-node on the node; make the pod that has its address anew",
    links=(issue("projectcalico/calico#3589"), issue("projectcalico/calico#7192")),
)  # fmt: skip
def tunnel_address(view: View) -> Iterator[Seen]:
    """Find nodes without an address for Calico's tunnel where a pool uses one, and pods that have such an address."""
    pools = [p for p in view.snapshot.ip_pools if not p.spec.disabled and "." in p.spec.cidr]
    used = [f for f in _TUNNEL_NOTES if any(getattr(p.spec, f) not in ("", "Never") for p in pools)]
    if "calico" not in view.cni.datapath.split(", ") or not used:
        yield Irrelevant("Calico uses no tunnel")
        return
    owners = view.holders
    for node in view.linux:
        for field in used:
            address = node.annotations.get(_TUNNEL_NOTES[field], "")
            if not address and node.takes_agents:
                yield Problem(
                    f"node/{node.name}", f"it bears no annotation {_TUNNEL_NOTES[field]}, though a pool wraps packets",
                    "calico-node did not run there, or found no free address in the pool",
                    f"restart calico-node on {node.name}, and see its log", key=field,
                )  # fmt: skip
            elif address in owners:
                yield Problem(
                    f"node/{node.name}",
                    f"the address of its tunnel, {address}, is also that of pod/{owners[address][0]}",
                    "the allocation of the tunnel's address was lost, and the pool handed it out again",
                    "make that pod anew, and restart calico-node",
                    key=field,
                )


@check(
    "NI1214", "no two pods claim one port of a node", Category.ADDRESSES, Severity.WARNING, needs=(resources.PODS,),
    remedy="give one of them another port, or keep them on different nodes",
    links=("https://kubernetes.io/docs/concepts/configuration/overview/",),
)  # fmt: skip
def port_twice(view: View) -> Iterator[Seen]:
    """Find pods on the host network, or with hostPorts, that declare one port of the same node.

    One of them does not get it: its container fails, or its hostPort leads to the other. Ports on different addresses
    of the node do not collide.
    """
    for node in view.host.nodes or ():
        for clash in node.clashes:
            yield Problem(
                f"node/{node.name}",
                f"{clash.port}/{clash.protocol} is claimed by {' and '.join(f'pod/{p}' for p in clash.pods)}",
                "a port of a node is one pod's",
                "give one of them another port",
                key=f"{clash.port}/{clash.protocol}",
            )


CHECKS = (
    range_missing, overlap, range_outside_network, address_twice, address_outside_range, range_nearly_full,
    services_nearly_full, leaked_address, leaked_block, duplicate_block, pool_nearly_full, pool_does_not_cover,
    tunnel_address, port_twice,
)  # fmt: skip
