"""The world beyond the cluster: a host of which only this is assumed, an address and a way to one node."""

from __future__ import annotations

import json
from typing import Final

from netinspect.errors import ParseError
from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.world import World
from netinspect.model.evidence import NamespaceEvidence, Section
from netinspect.model.packet import BITS, number

NAME: Final = "outside"
_RULES: Final = "0: from all lookup local\n32766: from all lookup main\n32767: from all lookup default\n"
_EMPTY: Final = (
    "iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy", "nftables", "nexthops", "proxied", "fdb",
    "neighbours", "ipset", "sockets", "ipvs", "qdiscs", "sysctl", "conntrack", "conntrack6", "routes4", "routes6",
)  # fmt: skip


def host(made: World, source: str, address: str, node: str) -> Stack | None:
    """Give the host at ``source`` that sends to ``address`` by way of a node; None where the node was not read.

    None too where no device of it is known to lead out, or the interfaces of some node have a form that is not known.
    """
    try:
        return _host(made, source, address, node)
    except ParseError:
        return None


def _host(made: World, source: str, address: str, node: str) -> Stack | None:
    family = number(source)[0]
    stack = made.stacks.get(f"node/{node}")
    if stack is None:
        return None
    listed = (a.local for link in stack.namespace.links for a in link.addresses if a.scope == "global")
    own = sorted((a for a in listed if number(a)[0] == family), key=lambda a: a != address)
    doors = ((a, door) for a in own if (door := made.door(stack, *number(a))) is not None)
    via, door = next(doors, ("", None))
    if door is None:
        return None
    bits = BITS[family]
    link = {
        "ifindex": 2, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "address": "02:00:5e:00:53:01",
        "addr_info": [{"family": "inet" if family == 4 else "inet6", "local": source, "prefixlen": bits,
                       "scope": "global"}],
    }  # fmt: skip
    way = f"{address} dev eth0" if via == address else f"{address} via {via} dev eth0 onlink"
    routes = f"{way}\nlocal {source} dev eth0 table local\n"
    # Who sends from outside resolves the node's address over whatever is between; its neighbour entry stands for that.
    known = [{"dst": via, "dev": "eth0", "lladdr": door[1].address, "state": ["PERMANENT"]}]
    sections = dict.fromkeys(_EMPTY, "") | {
        "links": json.dumps([link]), "rules4": _RULES, "rules6": _RULES, "neighbours": json.dumps(known),
        "routes4" if family == 4 else "routes6": routes,
    }  # fmt: skip
    evidence = NamespaceEvidence(NAME, {name: Section(name, found, exit_code=0) for name, found in sections.items()})
    return Stack(NAME, Namespace(evidence), NAME, host=True)
