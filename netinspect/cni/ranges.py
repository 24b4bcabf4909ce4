"""What drivers share that route each node's pod CIDR to the node's own address, without a tunnel."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.cni.expectation import Expectation, RouteExpected, SysctlExpected
from netinspect.cni.sight import Sight


def routed_to_nodes(sight: Sight, remedy: str, dev: str = "") -> Iterator[Expectation]:
    """Expect on every node a route to the range of every other, by its InternalIP, and that it forwards."""
    yield from forwarding(sight)
    for family in sight.families:
        members = [n for n in sight.nodes.values() if n.pod_cidr(family) and n.address(family)]
        for node, peer in sight.pairs(members):
            wanted = RouteExpected(peer.pod_cidr(family), via=peer.address(family), dev=dev)
            cause = f"packets for the pods of {peer.name} do not find their way"
            yield Expectation(node.name, "route", wanted, cause, remedy, peer=peer.name)


def forwarding(sight: Sight) -> Iterator[Expectation]:
    """Expect that every node forwards packets."""
    keys = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
    for node in sight.nodes.values():
        for family in sight.families:
            if node.address(family):
                name = f"net.{keys[family].replace('/', '.')}"
                yield Expectation(
                    node.name, "setting", SysctlExpected(keys[family], ("1",)),
                    f"the node does not forward IPv{family} packets, so its pods reach nothing but it",
                    f"set {name} = 1 on the node, in /etc/sysctl.d too",
                )  # fmt: skip
