"""Canal: Flannel's VXLAN between nodes, and Calico's Felix for policies and the pods' own routes.

One DaemonSet runs both: Felix with its back end off, and flanneld. Addresses come out of the nodes' pod CIDRs
(host-local). RKE2 installs it unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.cni import calico, flannel
from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import Expectation
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Role, Subject

NAME = "canal"
TITLE = "Canal"
SIGNATURE = Signature(
    objects=frozenset({"canal", "rke2-canal"}),
    labels=frozenset({"canal", "rke2-canal"}),
    settings=frozenset({"canal-config"}),
    files=frozenset({"10-canal.conflist"}),
)
SOURCES: tuple[str, ...] = ("projectcalico/calico manifests/canal.yaml", "rancher/rke2 tests/client.go")
PARTS: frozenset[str] = frozenset({"flannel", "calico"})


def describe(sight: Sight, agent: Agent | None) -> Description:
    """Say what Flannel says of the way between nodes, and Calico of the rest."""
    below = flannel.describe(sight, agent)
    kept = {Subject.ENCAPSULATION, Subject.ADDRESSES}
    attached = "each pod hangs by a veth (cali…) on its node and is routed by itself; there is no bridge"
    facts = (
        *(f for f in below.facts if f.subject in kept),
        Fact(subject=Subject.ATTACHMENT, says=attached, source="how it is made"),
        Fact(subject=Subject.POLICIES, says="Felix enforces NetworkPolicies and Calico's own", source="its DaemonSet"),
        *_masquerade(sight, below),
    )
    roles = frozenset({Role.DATAPATH, Role.IPAM, Role.POLICY})
    return Description(roles, below.mode, below.source, below.overhead, below.tunnels, facts, below.ports)


def _masquerade(sight: Sight, below: Description) -> Iterator[Fact]:
    if sight.settings("canal-config").get("masquerade", "").lower() == "false":
        says = "not by it: what leaves keeps the pod's address"
        yield Fact(subject=Subject.MASQUERADE, says=says, source="ConfigMap canal-config")
        return
    yield from (f for f in below.facts if f.subject is Subject.MASQUERADE)


def expect(sight: Sight, agent: Agent | None) -> Iterator[Expectation]:
    """Expect what Flannel does between nodes, and what Felix does on each."""
    yield from flannel.expect(sight, agent)
    yield from calico.felix_at_work(sight, agent)
