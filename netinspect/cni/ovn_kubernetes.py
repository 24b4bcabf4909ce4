"""OVN-Kubernetes: a logical network of switches and routers in OVN, carried by Open vSwitch and Geneve.

The default network of OpenShift. A switch for each node, one cluster router, and a gateway router per node through
which packets leave, either by themselves (shared gateway) or by the node's kernel (local gateway). Services are OVN's
load balancers: there is no kube-proxy. The trace walks the flows that OVN wrote into Open vSwitch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Contradiction, Expectation, LinkExpected
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Port, Role, Subject

NAME = "ovn-kubernetes"
TITLE = "OVN-Kubernetes"
_PREFIX = "k8s.ovn.org/"
SIGNATURE = Signature(
    images=frozenset({"ovn-kube-ubuntu", "ovn-kube-fedora", "ovn-kube", "ovn-kubernetes", "ovn-kube-u"}),
    programs=frozenset({"ovnkube.sh", "ovnkube"}),
    variables=("OVN_KUBE", "OVNKUBE_"),
    containers=frozenset({"ovnkube-controller", "ovnkube-node", "ovn-controller", "kube-rbac-proxy-ovn-metrics"}),
    objects=frozenset({"ovnkube-node", "ovnkube-single-node-zone"}),
    labels=frozenset({"ovnkube-node"}),
    mounts=("/var/lib/ovn", "/var/run/ovn", "/run/openvswitch", "/var/run/openvswitch"),
    settings=frozenset({"ovnkube-config", "ovn-config"}),
    groups=frozenset({"k8s.ovn.org"}),
    annotations=(f"{_PREFIX}node-subnets", f"{_PREFIX}node-chassis-id"),
    taints=(f"{_PREFIX}mtu-too-small",),
    plugins=frozenset({"ovn-k8s-cni-overlay"}),
    interfaces=re.compile(r"ovn-k8s-mp\d+"),
)
SOURCES: tuple[str, ...] = (
    "ovn-kubernetes/ovn-kubernetes go-controller/pkg/util/node_annotations.go",
    "ovn-kubernetes/ovn-kubernetes docs/design/topology.md",
    "ovn-kubernetes/ovn-kubernetes go-controller/pkg/config/config.go",
)
PARTS: frozenset[str] = frozenset()


def describe(sight: Sight, _agent: Agent | None) -> Description:
    """Say how packets leave by what the nodes' annotations tell; Geneve is what all but routed networks use."""
    gateways = sorted(
        {g for n in sight.nodes.values() if (g := _gateway(n.annotations.get(f"{_PREFIX}l3-gateway-config", "")))}
    )
    mode = f"{'/'.join(gateways)} gateway" if gateways else ""
    source = "the nodes' annotations" if gateways else ""
    made = "how it is made"
    facts = (
        Fact(
            subject=Subject.ENCAPSULATION,
            says="Geneve by Open vSwitch, UDP port 6081, unless a network is advertised by BGP instead",
            source=made,
        ),
        Fact(
            subject=Subject.ADDRESSES,
            says="out of each node's subnet, which OVN hands out",
            source=f"{_PREFIX}node-subnets",
        ),
        Fact(
            subject=Subject.ATTACHMENT,
            says="pods hang by a veth on br-int; ovn-k8s-mp0 is the node's port",
            source=made,
        ),
        Fact(subject=Subject.SERVICES, says="OVN's load balancers; there is no kube-proxy", source=made),
        Fact(subject=Subject.POLICIES, says="ACLs of OVN", source=made),
        Fact(
            subject=Subject.MASQUERADE,
            says="by the node's kernel (iptables)" if gateways == ["local"] else "by OVN's gateway router of the node",
            source=source or made,
        ),
    )
    ports = (Port(protocol="UDP", number=6081, purpose="Geneve between nodes"),)
    roles = frozenset({Role.DATAPATH, Role.IPAM, Role.POLICY, Role.SERVICES})
    return Description(roles, mode, source, 100, (), facts, ports)


def _gateway(text: str) -> str:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return ""
    network = found.get("default", {}) if isinstance(found, dict) else {}
    return str(network.get("mode", "")) if isinstance(network, dict) else ""


def expect(sight: Sight, _agent: Agent | None) -> Iterator[Expectation]:
    """Expect every node to have a subnet and a management port, and an MTU that carries Geneve."""
    for node in sight.nodes.values():
        remedy = f"see the log of ovnkube-node on {node.name}"
        if node.takes_agents and f"{_PREFIX}node-subnets" not in node.annotations:
            yield Expectation(
                node.name, "not-announced", Contradiction(f"it bears no annotation {_PREFIX}node-subnets"),
                "OVN gave it no range, so its pods get no addresses", "see the log of ovnkube-control-plane",
            )  # fmt: skip
        if any(t.key == f"{_PREFIX}mtu-too-small" for t in node.object.spec.taints):
            yield Expectation(
                node.name, "mtu", Contradiction("its taint says that its MTU is too small for Geneve"),
                "large packets between nodes are lost", "raise the MTU of its interface, or lower that of the pods",
            )  # fmt: skip
        wanted = LinkExpected("ovn-k8s-mp0")
        yield Expectation(node.name, "interface", wanted, "the node has no port to its pods", remedy)
