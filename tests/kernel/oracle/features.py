"""What the scenes have in them, and what of it decided something: so that one sees what was really compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from netinspect.kernel.simulator.simulate import Attempt
from netinspect.model.walk import Stage
from tests.kernel.oracle.scene import Scene

# Every feature that a scene may have, as the words by which it is written: what stays at 0 was not reached.
FEATURES = {
    "match": (
        "addrtype", "comment", "connmark", "conntrack", "dscp", "hl", "icmp-type", "icmpv6-type", "iprange", "length",
        "mac", "mark", "multiport", "owner", "physdev", "pkttype", "rpfilter", "set", "statistic", "tcp-flags", "syn",
        "tos", "ttl", "dport", "sport", "ah", "bpf", "cluster", "connbytes", "connlabel", "connlimit", "cpu", "dccp",
        "esp", "hashlimit", "helper", "limit", "policy", "quota", "realm", "recent", "sctp", "socket", "string",
        "tcpmss", "time", "u32",
    ),
    "target": (
        "ACCEPT", "DROP", "REJECT", "RETURN", "MARK", "CONNMARK", "TOS", "DSCP", "TTL", "HL", "CT", "NOTRACK", "DNAT",
        "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "TPROXY", "CHECKSUM", "CLASSIFY", "LOG", "NFLOG", "NFQUEUE", "SET",
        "SNPT", "SYNPROXY", "TCPMSS", "TEE", "TRACE",
    ),
    "set type": (
        "bitmap:ip", "bitmap:port", "hash:ip", "hash:net", "hash:ip,port", "hash:net,port", "hash:ip,port,ip",
        "hash:ip,port,net", "hash:net,iface", "list:set", "hash:net,net", "hash:ip,mark", "hash:net,port,net",
        "hash:mac", "hash:ip,mac",
    ),
    "nft": (
        "saddr", "daddr", "dport", "@th,16,16",
        "l4proto", "meta mark", "ct state", "ct status", "ct direction", "ct mark",
        "ct original", "ct reply", "fib daddr", "fib saddr", "length", "numgen", "ttl", "hoplimit", "dscp", "icmp",
        "icmpv6", "tcp flags", "meta protocol", "iifname", "oifname", "oif", "skuid", "vmap", "map", "@s0", "@s1",
        "@s2", "accept", "drop", "reject", "return", "continue", "jump", "goto", "notrack", "meta mark set",
        "ct mark set", "dnat", "snat", "masquerade", "redirect", "fully-random", "ether", "ingress",
        "jhash", "symhash", "tproxy", "socket", "rt", "limit", "quota", "log", "queue", "flow add", "synproxy", "dup",
        "fwd", "ct helper", "ct zone", "exthdr", "tcp option",
    ),
    "rule": ("fwmark", "from", "to", "iif", "uidrange", "ipproto", "dport", "not", "tos", "suppress_prefixlength"),
    "route": (
        "unreachable", "blackhole", "prohibit", "throw", "local", "onlink", "nexthop", "nhid", "mtu", "from", "encap",
        "anycast", "nat",
    ),
    "tunnel": (
        "vxlan", "ipip", "gre", "gretap", "geneve", "sit", "vlan", "macvlan", "ipvsadm", "ipvlan", "wireguard", "bond",
        "vrf", "ip6tnl", "ip6gre",
    ),
}  # fmt: skip


def present(scene: Scene) -> Iterator[tuple[str, str]]:
    """Give the features that a scene has, each once."""
    lines = [line for found in scene.setup.values() for line in found] + list(scene.links)
    by_kind = {
        "match": " ".join(x for x in lines if "tables-" in x),
        "target": " ".join(x for x in lines if "tables-" in x),
        "set type": " ".join(x for x in lines if x.startswith("ipset create")),
        "nft": " ".join(x for x in lines if x.startswith("nft")),
        "rule": " ".join(x for x in lines if " rule add" in x),
        "route": " ".join(x for x in lines if " route " in x),
        "tunnel": " ".join(lines),
    }
    for kind, words in FEATURES.items():
        for word in words:
            prefix = {"match": "(?:-m |--)", "target": "-j ", "set type": " "}.get(kind, r"(?:^|\W)")
            if re.search(f"{prefix}{re.escape(word)}(?![\\w:,-])", by_kind[kind]):
                yield kind, word


def decided(attempts: Iterable[Attempt]) -> Iterator[str]:
    """Give what was met on the way: the targets of rules, translations, tunnels, the sections that were pointed at."""
    for one in attempts:
        for branch in one.branches:
            for step in branch.steps:
                if step.stage in (Stage.ENCAPSULATE, Stage.NAT, Stage.IPVS):
                    yield f"{step.stage.value} {step.text.split()[0]}"
                elif step.evidence is not None:
                    yield step.evidence.section + (
                        ": " + step.text.rpartition(": ")[2] if "tables" in step.evidence.section else ""
                    )


def report(count: Counter[tuple[str, str]], met: Counter[str]) -> str:
    """Say how many scenes had each feature, which none had, and how often what was met."""
    lines = []
    for kind, words in FEATURES.items():
        lines.append(f"{kind}: " + ", ".join(f"{w} {count[kind, w]}" for w in words if count[kind, w]))
        missing = [w for w in words if not count[kind, w]]
        if missing:
            lines.append(f"  in no scene: {', '.join(missing)}")
    interesting = {k: n for k, n in met.items() if not re.search(r": (jump|goto|[CSK][0-9UKMPE])", k)}
    lines.append("met: " + ", ".join(f"{k} {n}" for k, n in sorted(interesting.items())))
    return "\n".join(lines)
