"""What a driver is shown of a cluster: the objects of the API, and of each node that was read what its kernel holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from netinspect.model import wire
from netinspect.model.image import image_names, image_version
from netinspect.model.kernel import FdbEntry, Link, Neighbour, Route, WireguardPeer
from netinspect.model.snapshot import Snapshot


@dataclass(frozen=True)
class Conflist:
    """A file of the CNI configuration folder; of several the container runtime takes the first by name.

    ``plugins`` are the configurations in their order, those of a delegate after the one that calls it. ``called`` is
    the name of the file out of which Multus takes its delegate.
    """

    path: str
    name: str
    plugins: tuple[Mapping[str, Any], ...]
    index: int
    called: str = ""

    @property
    def file(self) -> str:
        """Give the file's name."""
        return self.path.rpartition("/")[2]

    @property
    def types(self) -> tuple[str, ...]:
        """Give the plug-ins' names."""
        return tuple(str(p.get("type", "")) for p in self.plugins)


@dataclass(frozen=True)
class Kernel:
    """A node's own network namespace; None where that part was not read.

    ``routes`` hold those of IPv6 only where ``six``. ``chains`` maps ``table/chain`` of iptables to its rules in order,
    for each ruleset that has it (variants and families), and ``nft:TABLE`` of nftables to none.
    """

    links: Mapping[str, Link] | None = None
    routes: tuple[Route, ...] | None = None
    six: bool = True
    neighbours: tuple[Neighbour, ...] | None = None
    fdb: tuple[FdbEntry, ...] | None = None
    chains: Mapping[str, tuple[tuple[str, ...], ...]] | None = None
    sysctls: Mapping[str, str] | None = None
    wireguard: tuple[WireguardPeer, ...] | None = None
    conflists: tuple[Conflist, ...] | None = None
    subnet_env: str | None = None


@dataclass(frozen=True)
class Node:
    """A node as the API has it, its live pods, and its kernel where it was read."""

    name: str
    object: wire.Node
    pods: tuple[wire.Pod, ...] = ()
    kernel: Kernel | None = None

    @property
    def annotations(self) -> Mapping[str, str]:
        """Give what agents noted on it."""
        return self.object.metadata.annotations

    @property
    def is_k3s(self) -> bool:
        """Say whether it is of k3s, inside whose one process much runs that is a pod elsewhere (k3s docs)."""
        return "+k3s" in self.object.status.node_info.kubelet_version

    @property
    def has_pods(self) -> bool:
        """Say whether any pod runs on it that has a namespace of its own."""
        return any(p.status.phase == "Running" and not p.spec.host_network for p in self.pods)

    @property
    def takes_agents(self) -> bool:
        """Say whether the agents of Linux are meant to run on it, and have had the time to."""
        labels = self.object.metadata.labels
        virtual = "virtual-kubelet" in (labels.get("type"), labels.get("kubernetes.azure.com/role"))
        fargate = labels.get("eks.amazonaws.com/compute-type") == "fargate"
        ready = any(c.type == "Ready" and c.status == "True" for c in self.object.status.conditions)
        return ready and not virtual and not fargate and self.object.status.node_info.operating_system != "windows"

    def address(self, family: int) -> str:
        """Give its InternalIP of a family (4 or 6); nothing where it has none."""
        found = (a.address for a in self.object.status.addresses if a.type == "InternalIP")
        return next((a for a in found if (":" in a) == (family == 6)), "")

    def pod_cidr(self, family: int) -> str:
        """Give the range of a family that the control plane handed it; nothing where it has none."""
        spec = self.object.spec
        return next((c for c in spec.pod_cidrs or (spec.pod_cidr,) if c and (":" in c) == (family == 6)), "")


@dataclass(frozen=True)
class Agent:
    """A DaemonSet, by what tells which program it runs."""

    object: wire.DaemonSet

    @property
    def name(self) -> str:
        """Write ``namespace/name``."""
        return f"{self.object.metadata.namespace}/{self.object.metadata.name}"

    @property
    def parked(self) -> bool:
        """Say whether no node is meant to run it."""
        return self.object.status.desired_number_scheduled == 0

    @property
    def spec(self) -> wire.AgentSpec:
        """Give what its pods are made from."""
        return self.object.spec.template.spec

    @cached_property
    def images(self) -> tuple[tuple[frozenset[str], str], ...]:
        """Give for each container, those of the start last, the names that its image goes by, and its version."""
        return tuple(
            (image_names(c.image), image_version(c.image))
            for c in (*self.spec.containers, *(self.spec.init_containers or ()))
        )

    @cached_property
    def image_names(self) -> frozenset[str]:
        """Give the names by which its images may be known."""
        return frozenset(name for names, _ in self.images for name in names)

    @cached_property
    def programs(self) -> frozenset[str]:
        """Give the names of the programs that its containers start."""
        return frozenset(c.command[0].rpartition("/")[2] for c in self.spec.containers if c.command)

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """Give the environment of its containers, by name."""
        return {v.name: v.value for c in self.spec.containers for v in c.env or ()}

    def argument(self, flag: str) -> str:
        """Give what ``--flag=value`` gives; nothing where it is not there."""
        words = (w for c in self.spec.containers for w in (*(c.command or ()), *(c.args or ())))
        return next((w.partition("=")[2] or "true" for w in words if w.partition("=")[0] == f"--{flag}"), "")


@dataclass(frozen=True)
class Sight:
    """Everything that a driver may look at."""

    snapshot: Snapshot
    nodes: Mapping[str, Node] = field(default_factory=dict)

    @cached_property
    def agents(self) -> tuple[Agent, ...]:
        """Give the DaemonSets on the host network: every agent of a CNI is one."""
        return tuple(Agent(d) for d in self.snapshot.daemon_sets if d.spec.template.spec.host_network)

    @property
    def agents_known(self) -> bool:
        """Say whether all DaemonSets could be read: only then is it known that an agent does not run."""
        return self.snapshot.gap("daemon_sets") is None

    def pairs(self, members: Iterable[Node]) -> Iterator[tuple[Node, Node]]:
        """Give each of these nodes that was read with each other of them: of the rest nothing could be compared."""
        known = tuple(members)
        return ((n, peer) for n in known if n.kernel is not None for peer in known if peer.name != n.name)

    @cached_property
    def read(self) -> tuple[tuple[Node, Kernel], ...]:
        """Give the nodes whose kernel was read."""
        return tuple((n, n.kernel) for n in self.nodes.values() if n.kernel is not None)

    def settings(self, name: str) -> Mapping[str, str]:
        """Give what a CNI's ConfigMap holds; nothing where there is none of that name."""
        return next((c.data for c in self.snapshot.cni_settings if c.metadata.name == name), {})

    def setting(self, name: str, key: str) -> Mapping[str, Any]:
        """Give an entry of a ConfigMap that is a JSON object; empty where it is none."""
        try:
            found = json.loads(self.settings(name).get(key, "{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def families(self) -> tuple[int, ...]:
        """Give the families (4, 6) in which the nodes have ranges for pods; IPv4 where no node has any."""
        found = tuple(f for f in (4, 6) if any(n.pod_cidr(f) for n in self.nodes.values()))
        return found or (4,)
