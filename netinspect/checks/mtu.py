"""Whether large packets get through."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.cni import NEEDS
from netinspect.checks.base import Problem, Seen, check, issue, problem
from netinspect.checks.view import View
from netinspect.cni.sight import Kernel, Node
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity


@check(
    "NI1501", "what pods and tunnels send fits into the uplinks", Category.MTU, Severity.WARNING, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links",),
    remedy="lower the MTU in the CNI's configuration and make the pods anew, or raise that of the uplinks",
    links=(issue("projectcalico/calico#2072"), issue("antrea-io/antrea#5868"), issue("cilium/cilium#37919")),
)  # fmt: skip
def too_large(view: View) -> Iterator[Seen]:
    """Find tunnels whose MTU with what they add is more than an uplink takes, and pods with more than their tunnel.

    Small packets get through and large ones do not: connections stand, and hang when data flows. They get through in
    the end only where the ICMP error about them comes back to the sender.
    """
    return map(problem, view.told("mtu"))


@check(
    "NI1502", "the nodes' uplinks take packets of one size", Category.MTU, Severity.INFO, needs=NEEDS,
    vantage=Vantage.NODE, reads=("links",),
    remedy="give all uplinks one MTU, or the CNI the smallest of them",
    links=(issue("hcloud-k8s/terraform-hcloud-kubernetes#450"),),
)  # fmt: skip
def uplinks_differ(view: View) -> Iterator[Seen]:
    """Find nodes whose uplink has another MTU than those of most.

    Where the CNI takes the MTU of each node's own uplink, pods of the one send what the other cannot take. What is
    too large is a finding of its own (NI1501); this only tells that the machines differ.
    """
    sizes = {node.name: mtu for node, kernel in view.sight.read if (mtu := _uplink(node, kernel))}
    if len(set(sizes.values())) > 1:
        values = list(sizes.values())
        usual = max(sorted(set(values)), key=values.count)
        for name, mtu in sizes.items():
            if mtu != usual:
                yield Problem(
                    f"node/{name}", f"its uplink takes {mtu} bytes, those of most nodes {usual}",
                    "machines of different kinds, or settings", "give all uplinks one MTU, or the CNI the smallest",
                    key="uplink",
                )  # fmt: skip


def _uplink(node: Node, kernel: Kernel) -> int:
    own = {a for a in (node.address(4), node.address(6)) if a}
    return next((k.mtu for k in (kernel.links or {}).values() if not own.isdisjoint(a.local for a in k.addresses)), 0)


CHECKS = (too_large, uplinks_differ)
