"""The labs that faults are put into, and what runs there for ``--access exec``."""

from __future__ import annotations

from typing import Final

from tests.cluster.test_inside import AGENT
from tests.lab.cluster import kubectl
from tests.lab.images import NETSHOOT
from tests.lab.settings import Cni, IpFamily, Proxy, Settings

FAULTY: Final = (
    Settings(name="faultsa", nodes=2, ip_family=IpFamily.DUAL),
    Settings(name="faultsb", nodes=2, cni=Cni.BRIDGE, proxy=Proxy.NFTABLES),
)


def agents(lab: Settings) -> None:
    """Let an agent run on every node whose pods may be looked into the nodes from."""
    kubectl(lab, "apply", "-f", "-", stdin=AGENT.replace("IMAGE", NETSHOOT))
    kubectl(lab, "-n", "kube-system", "rollout", "status", "daemonset/sensor", "--timeout=120s")
