"""What drivers share that route each node's pod CIDR to the node's own address, without a tunnel."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.cni.expectation import Expectation, RouteExpected, SysctlExpected
from netinspect.cni.sight import Sight


def routed_to_nodes(sight: Sight, remedy: str, dev: str = "") -> Iterator[Expectation]:
    """Expect on every node a route to the range of every other, by its InternalIP, and that it forwards."""
    yield from forwarding(sight)
    for family in sight.families():
        members = [n for n in sight.nodes.values() if n.pod_cidr(family) and n.address(family)]
        for node, peer in sight.pairs(members):
            wanted = RouteExpected(peer.pod_cidr(family), via=peer.address(family), dev=dev)
            cause = f"packets for the pods of {peer.name} do not find their way"
            yield Expectation(node.name, "route", wanted, cause, remedy, peer=peer.name)


def forwarding(sight: Sight) -> Iterator[Expectation]:
    """Expect that every node forwards packets."""
    for node in sight.nodes.values():
        yield Expectation(
            node.name, "setting", SysctlExpected("ipv4/ip_forward", ("1",)),
            "the node does not forward packets, so its pods reach nothing but it",
            "set net.ipv4.ip_forward = 1 on the node, in /etc/sysctl.d too",
        )  # fmt: skip
