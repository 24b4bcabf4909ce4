"""A node's collection beside the same tools run by hand in one shell, on a lab node."""

from __future__ import annotations

import subprocess
import time

from netinspect.kernel.stream import parse
from netinspect.model.evidence import Access, Reading
from netinspect.node.reader import Request, script
from tests.lab import node as lab_node
from tests.lab.settings import Settings, load

ROUNDS = 3
# The tools of the collector's script, as a person would type them one after the other.
TOOLS = (
    "ip -j -d -s addr show", "ip -4 -d route show table all", "ip -6 -d route show table all", "ip -4 -d rule show",
    "ip -6 -d rule show", "ip -d nexthop show", "ip -j neigh show nud all", "ip -j neigh show proxy",
    "bridge -j fdb show",
    "iptables-nft-save -c", "iptables-legacy-save -c", "ip6tables-nft-save -c", "ip6tables-legacy-save -c",
    "nft -j list ruleset", "ipset save", "ss -H -l -n -e -t -u -w", "tc -j qdisc show", "tc qdisc show",
    "ip -d xfrm policy list", "ip xfrm state list nokeys", "conntrack -L -o extended -f ipv4",
    "conntrack -L -o extended -f ipv6",
    "sh -c 'grep -s \"\" /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/forwarding'",
)  # fmt: skip


def main(lab: str, node: str) -> None:
    """Time the collector and the tools by hand, both in one shell on the node, and the collector through a pod."""
    settings = load(lab)
    request = Request(on_host=True, deadline=300)
    read = _timed(lab_node.enter(settings, node, ["setsid", "sh"]), script(request, "benchmark"))
    namespaces = [n for n in parse(Reading(node, Access.LOCAL, "", read[1])).namespaces if not n.is_host]
    by_hand = "".join(_by_hand(f"nsenter --net={p} ") for p in ["/proc/1/ns/net", *_paths(settings, node)])
    hand = min(_timed(lab_node.enter(settings, node, ["sh"]), by_hand.encode())[0] for _ in range(ROUNDS))
    collector = script(request, "benchmark")
    ours = min(_timed(lab_node.enter(settings, node, ["setsid", "sh"]), collector)[0] for _ in range(ROUNDS))
    print(f"{node}: {len(namespaces)} namespaces of pods, {len(TOOLS)} tools in each")
    print(f"by hand {hand:.2f} s; the collector {ours:.2f} s; {ours - hand:+.2f} s, ratio {ours / hand:.2f}")


def _by_hand(enter: str) -> str:
    return "".join(f"{enter}{tool} >/dev/null 2>&1 </dev/null\n" for tool in TOOLS)


def _paths(settings: Settings, node: str) -> list[str]:
    listed = subprocess.run(
        lab_node.enter(settings, node, ["sh", "-c", "ls -l /proc/[0-9]*/ns/net"]),
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        words = line.split()
        found.setdefault(words[-1], words[-3])
    own = subprocess.run(
        lab_node.enter(settings, node, ["readlink", "/proc/1/ns/net"]), capture_output=True, text=True, check=True
    )
    found.pop(own.stdout.strip(), None)
    return list(found.values())


def _timed(command: list[str], stdin: bytes) -> tuple[float, bytes]:
    begun = time.monotonic()
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return time.monotonic() - begun, done.stdout
