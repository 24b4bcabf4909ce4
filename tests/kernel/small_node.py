"""A node that routes between a wire and its pods' bridge, as what the collector would have read of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.stack import Stack
from netinspect.model.evidence import NamespaceEvidence, Section

_LINKS = [
    {"ifindex": 1, "ifname": "lo", "link_type": "loopback", "flags": ["UP", "LOWER_UP"], "mtu": 65536},
    {"ifindex": 2, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "address": "02:00:00:00:00:01",
     "addr_info": [{"family": "inet", "local": "192.0.2.1", "prefixlen": 24, "scope": "global"}]},
    {"ifindex": 3, "ifname": "cni0", "flags": ["UP", "LOWER_UP"], "mtu": 1450, "address": "02:00:00:00:00:02",
     "addr_info": [{"family": "inet", "local": "10.243.0.1", "prefixlen": 24, "scope": "global"}]},
]  # fmt: skip
_ROUTES = (
    "default via 192.0.2.254 dev eth0\n10.243.0.0/24 dev cni0 src 10.243.0.1\nlocal 192.0.2.1 dev eth0 table local\n"
    "local 10.243.0.1 dev cni0 table local\n"
)
_RULES = "0: from all lookup local\n32766: from all lookup main\n32767: from all lookup default\n"
_NEIGHBOURS = [{"dst": "192.0.2.254", "dev": "eth0", "lladdr": "02:00:00:00:00:fe", "state": ["PERMANENT"]}]
_SYSCTL = "/proc/sys/net/ipv4/ip_forward:1\n/proc/sys/net/ipv4/conf/cni0/forwarding:1\n"
_EMPTY = (
    "iptables-nft", "iptables-legacy", "nftables", "nexthops", "proxied", "fdb", "ipset", "sockets", "ipvs", "qdiscs",
)  # fmt: skip


def sections(changed: Mapping[str, str]) -> dict[str, Section]:
    """Give its sections, some of them changed."""
    texts = {
        "links": json.dumps(_LINKS), "routes4": _ROUTES, "rules4": _RULES, "neighbours": json.dumps(_NEIGHBOURS),
        "sysctl": _SYSCTL, **dict.fromkeys(_EMPTY, ""), **changed,
    }  # fmt: skip
    return {name: Section(name, text, exit_code=0) for name, text in texts.items()}


def node(found: Mapping[str, Section]) -> Stack:
    """Give the node of these sections."""
    return Stack("n1", Namespace(NamespaceEvidence("n1", found)), host=True)
