"""What a lab is: its name, size and choices, and every address, path and name that follows from them."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from enum import Enum
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.lab.errors import LabError

ROOT = Path("/var/lib/netinspect-lab")
CGROUP = "netinspect-lab"
API_PORT = 6443
DNS_DOMAIN = "cluster.local"


class Cni(str, Enum):
    """The pod network: Flannel, Calico, or the reference bridge plugin with a static route to each other node."""

    FLANNEL = "flannel"
    CALICO = "calico"
    BRIDGE = "bridge"


class Backend(str, Enum):
    """How Flannel brings packets to another node: in a tunnel, or by a route via that node."""

    VXLAN = "vxlan"
    HOST_GW = "host-gw"


class Mesh(str, Enum):
    """The service mesh, where a lab has one."""

    ISTIO = "istio"


class Proxy(str, Enum):
    """The mode of kube-proxy."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


class IpFamily(str, Enum):
    """IPv4 alone, or IPv4 first and IPv6 second."""

    IPV4 = "ipv4"
    DUAL = "dual"


@dataclass(frozen=True)
class Ranges:
    """The address plan of one family."""

    nodes: str
    pods: str
    services: str
    node_mask: int


IPV4 = Ranges(nodes="172.30.0.0/24", pods="10.244.0.0/16", services="10.96.0.0/16", node_mask=24)
IPV6 = Ranges(nodes="fd00:30::/64", pods="fd00:10:244::/56", services="fd00:10:96::/112", node_mask=64)


@dataclass(frozen=True)
class Settings:
    """One lab. Two labs may share every address, because each lives in network namespaces of its own."""

    name: str = "lab"
    nodes: int = 3
    cni: Cni = Cni.FLANNEL
    backend: Backend = Backend.VXLAN
    proxy: Proxy = Proxy.IPTABLES
    ip_family: IpFamily = IpFamily.IPV4
    mesh: Mesh | None = None
    workloads: bool = True

    def __post_init__(self) -> None:
        # The name ends up in paths, globs and namespaces that `down` removes as root.
        if not re.fullmatch(r"[a-z][a-z0-9]{0,30}", self.name):
            raise LabError(f"a lab cannot be called {self.name!r}: use lower-case letters and digits")
        if self.backend is not Backend.VXLAN and self.cni is not Cni.FLANNEL:
            raise LabError(f"{self.backend.value} is a backend of Flannel: {self.cni.value} has none to choose")
        if self.cni is Cni.CALICO and self.ip_family is not IpFamily.IPV4:
            raise LabError("Calico runs here with IPv4 alone")

    @property
    def network(self) -> str:
        """Name the pod network, and its backend where it has one."""
        return f"{self.cni.value} ({self.backend.value})" if self.cni is Cni.FLANNEL else self.cni.value

    @property
    def ranges(self) -> tuple[Ranges, ...]:
        return (IPV4, IPV6) if self.ip_family is IpFamily.DUAL else (IPV4,)

    @property
    def pod_cidrs(self) -> str:
        return ",".join(r.pods for r in self.ranges)

    @property
    def service_cidrs(self) -> str:
        return ",".join(r.services for r in self.ranges)

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"n{i}" for i in range(1, self.nodes + 1))

    @property
    def control_plane(self) -> str:
        return self.node_names[0]

    def node_addresses(self, node: str) -> tuple[str, ...]:
        """Give the node's own address in each family: .11 for n1, .12 for n2 and so on."""
        index = self.node_names.index(node)
        return tuple(
            str(ip_network(r.nodes)[int("0x11", 16) + index if ":" in r.nodes else 11 + index]) for r in self.ranges
        )

    @property
    def api_address(self) -> str:
        return self.node_addresses(self.control_plane)[0]

    @property
    def dns_addresses(self) -> tuple[str, ...]:
        return tuple(str(ip_network(r.services)[10]) for r in self.ranges)

    @property
    def folder(self) -> Path:
        """All state of the lab; removed by ``down``."""
        return ROOT / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def namespace(self, node: str) -> str:
        """Name the node's network namespace as ``ip netns`` knows it."""
        return f"{self.name}-{node}"

    @property
    def switch(self) -> str:
        return f"{self.name}-switch"

    def cgroup(self, node: str) -> str:
        return f"/{CGROUP}/{self.name}/{node}"

    def save(self) -> None:
        (self.folder / "settings.json").write_text(json.dumps(asdict(self)))


def load(name: str) -> Settings:
    """Read the settings of a lab that exists; ``LabError`` where there is none of that name."""
    path = ROOT / name / "settings.json"
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        raise LabError(f"there is no lab called {name}: start it with `python -m tests.lab up --name {name}`") from None
    return Settings(
        **{
            **stored,
            "cni": Cni(stored["cni"]),
            "backend": Backend(stored["backend"]),
            "proxy": Proxy(stored["proxy"]),
            "ip_family": IpFamily(stored["ip_family"]),
            "mesh": Mesh(stored["mesh"]) if stored["mesh"] else None,
        }
    )


def gateway(cidr: str) -> str:
    """Give the first address of a range, which the switch holds among the nodes and a bridge among its pods."""
    return str(ip_network(cidr)[1])


def is_ipv6(address: str) -> bool:
    return ip_address(address).version == 6
