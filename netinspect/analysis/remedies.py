"""What to do about the end of a walk: one sentence by what stands in its way."""

from __future__ import annotations

from netinspect.model.walk import End, Pointer, Stage, Verdict

_BY_SECTION = {
    "routes4": "correct the route: `ip route` on {place} shows the table, which the CNI's agent of that node writes",
    "routes6": "correct the route: `ip -6 route` on {place} shows the table, which the CNI's agent of that node writes",
    "rules4": "correct the policy rule: `ip rule` on {place} shows them in order",
    "rules6": "correct the policy rule: `ip -6 rule` on {place} shows them in order",
    "neighbours": "see whether the neighbour is up and in the same network; `ip neigh` on {place} shows the entry",
    "fdb": "restart the CNI's agent on {place}: it writes these entries, one for each other node",
    "links": "look at the device with `ip -d link` on {place}; set it up, or let the CNI make it anew",
    "nftables": "find who wrote the rule, and let it pass what should: `nft list ruleset` on {place} shows it",
    "ipvs": "see why the Service has no usable endpoint, and whether kube-proxy on {place} runs",
    "wireguard-allowed-ips": "add the address to the allowed IPs of the peer; the CNI's agent on {place} writes them",
    "cilium:bpf-policy": (
        "let a policy allow it: `cilium-dbg policy get` and `cilium-dbg bpf policy get ENDPOINT` in the agent of "
        "{place} show what is in force"
    ),
    "cilium:bpf-lb": "see why the Service has no ready endpoint, and whether Cilium's agent of {place} runs",
}
_MTU = "give pods an MTU that every way takes ({mtu} here; tunnels take 20 to 80 bytes), or this device a larger one"
_RULES = (
    "find who wrote the rule, and let it pass what should: `iptables-save -c` on {place} shows it and counts packets"
)
_POLICY = (
    "let a policy allow it, or change whom these select: `calicoctl get networkpolicy,globalnetworkpolicy -A -o yaml` "
    "and `kubectl get networkpolicy -A` show them"
)


def remedy(end: End, evidence: Pointer | None) -> str:
    """Give what to do about how a packet ended; ``evidence`` is for that, and may be the route by which it left."""
    if end.verdict in (Verdict.DELIVERED, Verdict.UNKNOWN):
        return f"what would settle it: {end.settles}" if end.settles else ""
    if end.answer is not None and end.answer.mtu:
        return _MTU.format(mtu=end.answer.mtu)
    section = evidence.section if evidence is not None else ""
    place = evidence.namespace if evidence is not None else end.namespace
    if section == "sysctl":
        name = evidence.text if evidence is not None and evidence.text else "the setting"
        return f"set {name} as the CNI wants it on {place}, and see who changed it"
    if section == "sockets":
        return "let the server listen there, on the address of the pod and not on 127.0.0.1 alone, or ask another port"
    if "tables-" in section:
        return _POLICY if evidence is not None and "-A cali-" in evidence.text else _RULES.format(place=place)
    if end.stage is Stage.NEIGHBOUR and section != "fdb":
        section = "neighbours"
    return _BY_SECTION.get(section, "").format(place=place)
