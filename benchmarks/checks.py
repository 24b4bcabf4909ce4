"""All checks that the API alone answers, at three sizes up to 5,000 nodes, 150,000 pods and 10,000 Services."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

from msgspec import structs

from netinspect.checks import CHECKS
from netinspect.checks.run import Policy, run
from netinspect.model.snapshot import Snapshot
from tests import build

_SIZES = ((1_250, 37_500, 2_500), (2_500, 75_000, 5_000), (5_000, 150_000, 10_000))
_BOUND = 10.0
_NOTES = {"flannel.alpha.coreos.com/backend-type": "vxlan"}
_CONTAINER = {"name": "kube-flannel", "image": "ghcr.io/flannel-io/flannel:v0.27.0"}
_AGENT = {
    "metadata": {"name": "kube-flannel-ds", "namespace": "kube-flannel"},
    "spec": {"template": {"spec": {"hostNetwork": True, "containers": [_CONTAINER]}}},
}


def _address(number: int) -> str:
    return f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _nodes(count: int) -> Iterator[build.Json]:
    for n in range(count):
        made = build.node(
            f"n{n}", f"172.{16 + (n >> 14)}.{n >> 6 & 255}.{n & 63 + 1}", cidrs=(f"{_address(n << 8)}/24",)
        )
        made["metadata"]["annotations"] = {**_NOTES, "flannel.alpha.coreos.com/public-ip": f"172.16.{n >> 8}.{n & 255}"}
        yield made


def _pods(count: int, nodes: int) -> Iterator[build.Json]:
    for p in range(count):
        node = p % nodes
        made = build.pod(
            f"web-{p}", _address((node << 8) + 2 + p // nodes), on=f"n{node}", labels={"app": f"a{p // 15}"}
        )
        made["metadata"]["annotations"] = {"checksum/config": "0" * 64}
        yield made
    for n in range(nodes):
        agent = build.pod(f"kube-flannel-{n}", on=f"n{n}", hostNetwork=True)
        agent["metadata"] |= {"namespace": "kube-flannel",
                              "ownerReferences": [{"kind": "DaemonSet", "name": "kube-flannel-ds"}]}  # fmt: skip
        yield agent


def snapshot(nodes: int, pods: int, services: int) -> Snapshot:
    """Make a cluster of Flannel's in which nothing is wrong."""
    listed = [build.service(f"s{s}", f"10.96.{s >> 8}.{s & 255}", selector={"app": f"a{s}"}) for s in range(services)]
    slices = [
        build.endpoint_slice(f"s{s}", *(build.endpoint(_address(((p % nodes) << 8) + 2 + p // nodes), f"web-{p}")
                                        for p in range(15 * s, 15 * s + 15)))
        for s in range(services)
    ]  # fmt: skip
    made = build.snapshot(
        nodes=list(_nodes(nodes)), pods=list(_pods(pods, nodes)), services=listed, endpoint_slices=slices,
        daemon_sets=[_AGENT], namespaces=[{"metadata": {"name": "shop"}}, {"metadata": {"name": "kube-flannel"}}],
    )  # fmt: skip
    return structs.replace(made, gaps=())


def main() -> None:
    """Print how long it takes at each size, loading aside."""
    # As the program does.
    gc.disable()
    taken = []
    for size in _SIZES:
        made = snapshot(*size)
        started = time.process_time()
        found = run(made, CHECKS, Policy())
        taken.append(time.process_time() - started)
        nodes, pods, services = size
        print(
            f"{nodes:,} nodes, {pods:,} pods, {services:,} Services: {taken[-1]:.2f} s, {len(found.findings)} findings"
        )
    growth = taken[-1] / taken[0]
    print(f"four times as much takes {growth:.1f} times as long; the bound at the last size is {_BOUND:.0f} s")
    assert taken[-1] < _BOUND
