"""What checks look at: the snapshot, and what several of them would compute, computed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property

from netinspect.analysis import cni, mesh
from netinspect.analysis.backends import finished
from netinspect.analysis.host import host_network
from netinspect.analysis.inside import Inside, match
from netinspect.analysis.moments import COMES_UP, elapsed
from netinspect.analysis.overlaps import overlaps
from netinspect.analysis.pods import cluster_network, holders
from netinspect.analysis.selection import Selected, select
from netinspect.analysis.services import service_network
from netinspect.analysis.trace import Tracer
from netinspect.cni.sight import Node, Sight
from netinspect.kernel.namespace import Trouble
from netinspect.model import wire
from netinspect.model.cni import CniReport
from netinspect.model.finding import Finding
from netinspect.model.mesh import MeshReport
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import ClusterNetwork, HostNetwork, Overlap, Scope, ServiceEntry, ServiceNetwork


class View:
    """A snapshot, with what is worked out of it when a check first asks."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @cached_property
    def inside(self) -> Inside:
        """Give the namespaces that were read."""
        return match(self.snapshot)

    @cached_property
    def sight(self) -> Sight:
        """Give the nodes with their pods and kernels."""
        return cni.sight(self.snapshot, self.inside)

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Give the nodes by name."""
        return self.sight.nodes

    @cached_property
    def holders(self) -> Mapping[str, tuple[str, ...]]:
        """Give the live pods that claim each address on the pod network."""
        return holders(self.snapshot)

    @cached_property
    def linux(self) -> tuple[Node, ...]:
        """Give the nodes on which the agents of Linux are meant to run."""
        return tuple(n for n in self.nodes.values() if _is_linux(n.object))

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Name the Linux nodes that were not looked into."""
        return tuple(n.name for n in self.linux if n.kernel is None)

    @cached_property
    def unread_pods(self) -> tuple[str, ...]:
        """Name the running pods on nodes that were looked into whose own namespaces were not."""
        return tuple(
            name
            for name, pod in self.pods.items()
            if pod.status.phase == "Running" and not pod.spec.host_network
            and pod.spec.node_name in self.inside.hosts and name not in self.inside.pods
        )  # fmt: skip

    @cached_property
    def lacking(self) -> Mapping[str, frozenset[str]]:
        """Give for each namespace that was read, as ``node/N1`` or ``pod/NS/NAME``, the sections that were not."""
        hosts = {f"node/{n}": space for n, space in self.inside.hosts.items()}
        pods = {f"pod/{p}": self.inside.pods[p] for p in self.inside.places}
        return {
            place: frozenset(m.section for m in space.missing() if m.trouble is not Trouble.LOSSY)
            for place, space in {**hosts, **pods}.items()
        }

    @property
    def faceless(self) -> bool:
        """Say whether no interface of a namespace could be read, so that no packet is followed through it."""
        return any("links" in gone for gone in self.lacking.values())

    @cached_property
    def cni(self) -> CniReport:
        """Give what ``netinspect cni`` says."""
        return cni.report(self.snapshot)

    def told(self, *kinds: str) -> Iterator[Finding]:
        """Give what ``netinspect cni`` finds, of these kinds."""
        return (f for f in self.cni.findings if f.kind in kinds)

    @cached_property
    def mesh(self) -> MeshReport:
        """Give what ``netinspect mesh`` says."""
        return mesh.report(self.snapshot)

    @cached_property
    def proxy(self) -> tuple[str, str] | None:
        """Give kube-proxy's mode and what shows that it runs; None where nothing does."""
        return cni.proxy(self.sight)

    @cached_property
    def _all(self) -> Selected:
        return select(self.snapshot, Scope())

    @cached_property
    def host(self) -> HostNetwork:
        """Give the host network as the map has it."""
        return host_network(self.snapshot, self._all, Inside())

    @cached_property
    def services(self) -> ServiceNetwork:
        """Give the service network as the map has it."""
        return service_network(self.snapshot, self._all)

    @cached_property
    def entries(self) -> Mapping[str, ServiceEntry]:
        """Give the Services as the map has them, by ``svc/namespace/name``."""
        return {f"svc/{s.namespace}/{s.name}": s for s in self.services.services or ()}

    @cached_property
    def cluster(self) -> ClusterNetwork:
        """Give the cluster network as the map has it."""
        return cluster_network(self.snapshot, self._all)

    @cached_property
    def overlaps(self) -> tuple[Overlap, ...]:
        """Give the ranges that share addresses."""
        return overlaps(self.snapshot, self.cluster.ranges, self.services.ranges)

    @cached_property
    def tracer(self) -> Tracer:
        """Give who follows packets."""
        return Tracer(self.snapshot)

    @cached_property
    def pods(self) -> Mapping[str, wire.Pod]:
        """Give the pods that have not finished, by ``namespace/name``."""
        live = (p for p in self.snapshot.pods if not finished(p))
        return {f"{p.metadata.namespace}/{p.metadata.name}": p for p in live}

    @cached_property
    def pods_of(self) -> Mapping[tuple[str, str], Mapping[str, wire.Pod]]:
        """Give the pods of each DaemonSet (namespace, name) by their node."""
        found: dict[tuple[str, str], dict[str, wire.Pod]] = defaultdict(dict)
        for pod in self.pods.values():
            for owner in pod.metadata.owner_references:
                if owner.kind == "DaemonSet":
                    found[pod.metadata.namespace, owner.name][pod.spec.node_name] = pod
        return found

    def age(self, moment: str | None) -> float | None:
        """Give the seconds from a moment (RFC 3339) to that of the snapshot; None where either is not known."""
        return elapsed(moment, self.snapshot.taken_at)

    def is_young(self, pod: wire.Pod) -> bool:
        """Say whether a pod was made so lately that it may not have come up yet."""
        age = self.age(pod.metadata.creation_timestamp if isinstance(pod.metadata, wire.NotedMetadata) else None)
        return age is not None and age < COMES_UP


def _is_linux(node: wire.Node) -> bool:
    labels = node.metadata.labels
    virtual = "virtual-kubelet" in (labels.get("type"), labels.get("kubernetes.azure.com/role"))
    fargate = labels.get("eks.amazonaws.com/compute-type") == "fargate"
    return not virtual and not fargate and node.status.node_info.operating_system != "windows"
