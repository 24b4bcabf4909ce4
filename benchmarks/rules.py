"""A node with 10,000 Services of 5 endpoints each: how fast its rules are parsed, whole and one chain of them."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable

from netinspect.kernel import ipset, iptables, nft

SERVICES = 10_000
ENDPOINTS = 5
ROUNDS = 3


def iptables_save(services: int = SERVICES) -> str:
    """Give what kube-proxy's iptables mode makes, as iptables-save prints it: of 10,000 Services 170,000 rules."""
    rules: list[str] = []
    chains = ["KUBE-SERVICES", "KUBE-MARK-MASQ"]
    for i in range(services):
        address, service, name = (
            f"10.{96 + i // 65536}.{i // 256 % 256}.{i % 256}/32",
            f"KUBE-SVC-{i:016d}",
            f"ns-{i}/web:http",
        )
        comment = f'-m comment --comment "{name} cluster IP" -m tcp --dport 80'
        chains.append(service)
        rules.append(f"-A KUBE-SERVICES -d {address} -p tcp {comment} -j {service}")
        rules.append(f"-A {service} ! -s 10.244.0.0/16 -d {address} -p tcp {comment} -j KUBE-MARK-MASQ")
        for j in range(ENDPOINTS):
            end, backend = f"KUBE-SEP-{i:08d}{j:08d}", f"10.244.{i % 256}.{j}"
            chains.append(end)
            mode = "-m statistic --mode random --probability 0.20000000019"
            rules.append(f'-A {service} -m comment --comment "{name} -> {backend}:8080" {mode} -j {end}')
            rules.append(f'-A {end} -s {backend}/32 -m comment --comment "{name}" -j KUBE-MARK-MASQ')
            rules.append(
                f'-A {end} -p tcp -m comment --comment "{name}" -m tcp -j DNAT --to-destination {backend}:8080'
            )
    declared = "".join(f":{c} - [0:0]\n" for c in chains)
    return f"*nat\n{declared}" + "\n".join(rules) + "\nCOMMIT\n"


def nft_services(services: int) -> str:
    """Give what kube-proxy's nftables mode makes, as nft prints it in JSON: a verdict map, two chains for each end."""
    place = {"family": "ip", "table": "kube-proxy"}
    daddr = {"payload": {"protocol": "ip", "field": "daddr"}}
    key = {"concat": [daddr, {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}
    objects: list[object] = [
        {"metainfo": {"version": "1.1.1"}},
        {"table": {**place, "name": "kube-proxy", "handle": 1}},
    ]
    base = {"type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}
    objects.append({"chain": {**place, "name": "nat-prerouting", "handle": 2, **base}})
    elements: list[object] = []
    rules: list[tuple[str, list[object]]] = [
        ("nat-prerouting", [{"jump": {"target": "services"}}]),
        ("services", [{"vmap": {"key": key, "data": "@service-ips"}}]),
    ]
    objects.append({"chain": {**place, "name": "services", "handle": 3}})
    for i in range(services):
        address, service = f"10.{96 + i // 65536}.{i // 256 % 256}.{i % 256}", f"service-{i}"
        elements.append([{"concat": [address, "tcp", 80]}, {"goto": {"target": service}}])
        objects.append({"chain": {**place, "name": service, "handle": i}})
        source = {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                            "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}}  # fmt: skip
        rules.append((service, [source, {"jump": {"target": "mark-for-masquerade"}}]))
        ends = [[j, {"goto": {"target": f"endpoint-{i}-{j}"}}] for j in range(ENDPOINTS)]
        numgen = {"numgen": {"mode": "random", "mod": ENDPOINTS, "offset": 0}}
        rules.append((service, [{"vmap": {"key": numgen, "data": {"set": ends}}}]))
        for j in range(ENDPOINTS):
            end, backend = f"endpoint-{i}-{j}", f"10.244.{i % 256}.{j}"
            objects.append({"chain": {**place, "name": end, "handle": i}})
            own = {"match": {"op": "==", "left": source["match"]["left"], "right": backend}}
            rules.append((end, [own, {"jump": {"target": "mark-for-masquerade"}}]))
            tcp = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}
            rules.append((end, [tcp, {"dnat": {"addr": backend, "port": 8080}}]))
    kinds = ["ipv4_addr", "inet_proto", "inet_service"]
    objects.append(
        {"map": {**place, "name": "service-ips", "type": kinds, "map": "verdict", "handle": 4, "elem": elements}}
    )
    objects += [{"rule": {**place, "chain": c, "handle": n, "expr": e}} for n, (c, e) in enumerate(rules)]
    return json.dumps({"nftables": objects})


def nft_json() -> str:
    """Give a tenth of it in nft's JSON, as chains of kube-proxy's nftables mode: 17,000 rules."""
    objects: list[object] = [{"metainfo": {"version": "1.0.9"}}, {"table": {"family": "ip", "name": "kube-proxy"}}]
    place = {"family": "ip", "table": "kube-proxy"}
    for i in range(SERVICES // 10):
        daddr = {"payload": {"protocol": "ip", "field": "daddr"}}
        match = {"match": {"op": "==", "left": daddr, "right": f"10.96.{i // 256}.{i % 256}"}}
        statements: list[list[object]] = [
            [match, {"counter": {"packets": 0, "bytes": 0}}, {"jump": {"target": "mark"}}]
        ]
        choices = [[j, {"goto": {"target": f"endpoint-{i}-{j}"}}] for j in range(ENDPOINTS)]
        numgen = {"numgen": {"mode": "random", "mod": ENDPOINTS, "offset": 0}}
        statements.append([{"vmap": {"key": numgen, "data": {"set": choices}}}])
        statements += [[match, {"dnat": {"addr": f"10.244.{i % 256}.{j}", "port": 8080}}] for j in range(15)]
        objects.append({"chain": {**place, "name": f"service-{i}", "handle": i}})
        objects += [{"rule": {**place, "chain": f"service-{i}", "handle": i, "expr": s}} for s in statements]
    return json.dumps({"nftables": objects})


def ipset_save() -> str:
    """Give a set of 170,000 members."""
    members = "".join(f"add big 10.{i // 65536}.{i // 256 % 256}.{i % 256},tcp:80\n" for i in range(170_000))
    return f"create big hash:ip,port family inet hashsize 65536 maxelem 200000\n{members}"


def main() -> None:
    """Print each rate beside what it takes only to split the same text into words."""
    gc.disable()
    text = iptables_save()
    ruleset = iptables.parse(text, "inet", "nft")
    first = next(iter(ruleset.tables["nat"].chains.values()))
    chain = max(ruleset.tables["nat"].chains.values(), key=lambda c: c.name)
    total = sum(len(c.lines) for c in ruleset.tables["nat"].chains.values())
    split = _best(lambda: iptables.parse(text, "inet", "nft"))
    words = _best(lambda: [line.split(" ") for line in text.split("\n")])
    whole = _best(lambda: _all_rules(text))
    one = _best(lambda: [chain.parse(line, number) for number, line in chain.lines])
    long = _best(lambda: [first.parse(line, number) for number, line in first.lines])
    _say("iptables-save, whole", total, whole, words)
    print(f"  of it splitting into {len(ruleset.tables['nat'].chains):,} chains: {split:.2f} s")
    print(f"  one Service's chain of {len(chain.lines)} rules: {one * 1e6:.0f} µs")
    print(f"  KUBE-SERVICES, {len(first.lines):,} rules: {long:.2f} s")
    found = nft_json()
    _say(
        "nft -j list ruleset, whole",
        found.count('"rule"'),
        _best(lambda: _all_nft(found)),
        _best(lambda: json.loads(found)),
    )
    saved = ipset_save()
    _say(
        "ipset save, whole",
        saved.count("\nadd "),
        _best(lambda: ipset.parse(saved)),
        _best(lambda: [line.split(" ") for line in saved.split("\n")]),
    )


def _all_rules(text: str) -> int:
    ruleset = iptables.parse(text, "inet", "nft")
    return sum(len(c.rules) for t in ruleset.tables.values() for c in t.chains.values())


def _all_nft(text: str) -> int:
    return sum(len(c.rules) for c in nft.parse(text).chains.values())


def _best(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
        gc.collect()
    return min(taken)


def _say(what: str, count: int, taken: float, least: float) -> None:
    rate = f"{count:,} in {taken:.2f} s, {count / taken:,.0f} a second"
    print(f"{what}: {rate}; {taken / least:.1f} times the bare split or decode")
