"""A thousand pairs of pods on a snapshot of some nodes with Flannel and kube-proxy, beside one pair alone."""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Iterator

from msgspec import structs

from benchmarks import rules
from netinspect.analysis.flow import Question
from netinspect.analysis.trace import Tracer
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, PodReference, Section
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level
from tests import build

NODES, PODS, SERVICES, PAIRS = 50, 30, 1_000, 1_000
_RULES = "0: from all lookup local\n32766: from all lookup main\n32767: from all lookup default\n"
_EMPTY = ("iptables-legacy", "nftables", "nexthops", "proxied", "fdb", "ipset", "ipvs", "qdiscs", "iptables-nft")


def _link(index: int, name: str, mac: str, *addresses: str, **more: object) -> build.Json:
    found = [{"family": "inet", "local": a, "prefixlen": int(p), "scope": "global"}
             for a, _, p in (x.partition("/") for x in addresses)]  # fmt: skip
    return {"ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": 1450, "address": mac,
            "addr_info": found, **more}  # fmt: skip


_LO = {"ifindex": 1, "ifname": "lo", "link_type": "loopback", "flags": ["UP", "LOWER_UP"], "mtu": 65536}


def _mac(kind: int, node: int, pod: int = 0) -> str:
    return f"02:{kind:02x}:00:{node:02x}:00:{pod:02x}"


def _veth(peer: int) -> build.Json:
    return {"link_index": peer, "link_netnsid": 0, "linkinfo": {"info_kind": "veth"}}


def _host(node: int, saved: str) -> dict[str, str]:
    others = [n for n in range(NODES) if n != node]
    bridge = {"linkinfo": {"info_kind": "bridge", "info_data": {}}}
    port = {"info_slave_kind": "bridge", "info_slave_data": {"state": "forwarding", "hairpin": True, "flood": True}}
    tunnel = {"linkinfo": {"info_kind": "vxlan", "info_data": {
        "id": 1, "port": 8472, "local": f"172.30.0.{node + 1}", "link": "eth0", "learning": False}}}  # fmt: skip
    links = [
        _LO, _link(2, "eth0", _mac(1, node), f"172.30.0.{node + 1}/24"),
        _link(3, "flannel.1", _mac(2, node), f"10.244.{node}.0/32", **tunnel),
        _link(4, "cni0", _mac(3, node), f"10.244.{node}.1/24", **bridge),
        *(_link(10 + p, f"veth{p}", _mac(4, node, p), master="cni0", link_index=2, link_netnsid=p,
                linkinfo={"info_kind": "veth", **port}) for p in range(PODS)),
    ]  # fmt: skip
    routes = [f"10.244.{n}.0/24 via 10.244.{n}.0 dev flannel.1 onlink" for n in others]
    routes += [f"10.244.{node}.0/24 dev cni0 src 10.244.{node}.1", "172.30.0.0/24 dev eth0", "default via 172.30.0.254"]
    routes[-1] += " dev eth0"
    routes += [
        f"local {a} dev {d} table local"
        for d, a in (("eth0", f"172.30.0.{node + 1}"), ("cni0", f"10.244.{node}.1"), ("flannel.1", f"10.244.{node}.0"))
    ]
    near = [{"dst": f"10.244.{n}.0", "dev": "flannel.1", "lladdr": _mac(2, n), "state": ["PERMANENT"]} for n in others]
    fdb = [{"mac": _mac(2, n), "ifname": "flannel.1", "dst": f"172.30.0.{n + 1}", "state": "permanent"} for n in others]
    sysctl = "".join(f"/proc/sys/net/ipv4/conf/{d}/forwarding:1\n" for d in ("all", "eth0", "cni0", "flannel.1"))
    return {
        "links": json.dumps(links),
        "routes4": "\n".join(routes) + "\n",
        "neighbours": json.dumps(near),
        "fdb": json.dumps(fdb),
        "iptables-nft": saved,
        "sysctl": sysctl + "/proc/sys/net/ipv4/ip_forward:1\n",
        "sockets": "",
    }


def _pod(node: int, pod: int) -> dict[str, str]:
    own = f"10.244.{node}.{pod + 2}"
    links = [_LO, _link(2, "eth0", _mac(5, node, pod), f"{own}/24", **_veth(10 + pod))]
    routes = f"default via 10.244.{node}.1 dev eth0\n10.244.{node}.0/24 dev eth0\nlocal {own} dev eth0 table local\n"
    return {"links": json.dumps(links), "routes4": routes, "neighbours": "[]", "sysctl": "",
            "sockets": "tcp LISTEN 0 128 *:8080 *:*\n"}  # fmt: skip


def _sections(texts: dict[str, str]) -> dict[str, Section]:
    whole = {**dict.fromkeys(_EMPTY, ""), "rules4": _RULES, **texts}
    return {name: Section(name, text, exit_code=0) for name, text in whole.items()}


def _kernels(saved: str) -> Iterator[NodeEvidence]:
    for node in range(NODES):
        pods = tuple(
            NamespaceEvidence(f"{node}.{pod}", _sections(_pod(node, pod)),
                              pods=(PodReference("", "shop", f"web-{node}-{pod}"),))
            for pod in range(PODS)
        )  # fmt: skip
        host = NamespaceEvidence("host", _sections(_host(node, saved)))
        yield NodeEvidence(f"n{node}", Access.POD, "benchmark", (host, *pods))


def snapshot() -> Snapshot:
    """Give the cluster: nodes, pods, and what their kernels have."""
    text = rules.iptables_save(SERVICES)
    saved = text.replace("*nat\n", "*nat\n:PREROUTING ACCEPT [0:0]\n").replace(
        "COMMIT", "-A PREROUTING -j KUBE-SERVICES\nCOMMIT"
    )
    found = build.snapshot(
        nodes=[build.node(f"n{n}", f"172.30.0.{n + 1}") for n in range(NODES)],
        pods=[build.pod(f"web-{n}-{p}", f"10.244.{n}.{p + 2}", on=f"n{n}") for n in range(NODES) for p in range(PODS)],
    )
    return structs.replace(found, kernels=tuple(_kernels(saved)))


def main() -> None:
    """Print what the pairs take, and what one alone takes."""
    gc.disable()
    made = snapshot()
    draw = random.Random(7)  # noqa: S311 - which pairs are traced, not a secret
    names = [f"pod/shop/web-{n}-{p}" for n in range(NODES) for p in range(PODS)]
    pairs = (draw.sample(names, 2) for _ in range(PAIRS))
    asked = [Question(source, destination, port=8080) for source, destination in pairs]
    begun = time.perf_counter()
    _trace(Tracer(made), asked[:1])
    alone = time.perf_counter() - begun
    begun = time.perf_counter()
    _trace(Tracer(made), asked)
    whole = time.perf_counter() - begun
    print(
        f"{PAIRS:,} pairs of {len(names):,} pods on {NODES} nodes with {SERVICES:,} Services: {whole:.2f} s; one alone "
        f"{alone:.2f} s, ratio {whole / alone:.1f}; {whole / PAIRS * 1e3:.1f} ms a pair"
    )


def _trace(tracer: Tracer, asked: list[Question]) -> None:
    for question in asked:
        found = tracer.trace(question)
        assert (found.level, found.arrival) == (Level.SIMULATED, Arrival.ARRIVES), found.sentence
