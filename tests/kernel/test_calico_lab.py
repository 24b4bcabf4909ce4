"""Real attempts of a recorded Calico cluster: the simulator says of each what reality did, or that it cannot know."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.simulate import Attempt, attempt
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model.evidence import NamespaceEvidence
from netinspect.model.packet import ICMP, SYN, TCP, UDP, Packet, number, text
from tests import corpora
from tests.recorded import CALICO_FILES, EMPTY, RULES, namespace, section

SITUATIONS = ("policies", "kube-proxy-just-restarted", "k8s-networkpolicy-felix-crashlooping")
LIMIT = 0.03
# Attempts that reality itself answered otherwise than its state says, by situation, sender and target, with the reason.
NOISE = {
    ("k8s-networkpolicy-felix-crashlooping", "shop/web-5b75cb4d55-flsng", "tcp 10.96.155.0:80"):
        "its README: ICMP rejections of Services without endpoints sometimes show as timeout",
}  # fmt: skip


def outside(files: dict[str, str], situation: str) -> list[Stack]:
    """The lab's switch, as recorded, and the control plane, of which the README and EndpointSlices say the address."""
    links = json.loads(files[f"{situation}/csw-link.json"])
    for link in links:
        if link["ifname"].startswith("p-"):
            # To the nodes they are wires, as of any switch; a veth in a node's bridge would be a pod's.
            link["linkinfo"].pop("info_kind")
        if link["ifname"] == "br0":
            link["addr_info"] = [{"family": "inet", "local": "172.29.0.1", "prefixlen": 24, "scope": "global"}]
    local = "local 172.29.0.1 dev br0 table local\nlocal 127.0.0.0/8 dev lo table local\n"
    switch = {
        "links": json.dumps(links),
        "routes4": local + "".join(_route_text(r) for r in json.loads(files[f"{situation}/csw-route.json"])),
        "rules4": RULES,
        "fdb": files[f"{situation}/csw-fdb.json"],
    }
    plane = {
        "links": json.dumps([{
            "ifindex": 2, "ifname": "eth0", "flags": ["UP", "LOWER_UP"], "mtu": 1500, "address": "02:00:00:00:00:02",
            "addr_info": [{"family": "inet", "local": "172.29.0.2", "prefixlen": 24, "scope": "global"}],
        }]),
        "routes4": "local 172.29.0.2 dev eth0 table local\n172.29.0.0/24 dev eth0 src 172.29.0.2\n",
        "rules4": RULES,
        "sockets": "tcp LISTEN 0 4096 *:6443 *:*\n",
    }  # fmt: skip
    return [
        Stack(name, Namespace(NamespaceEvidence(name, {
            n: section(n, found.get(n, "")) for n in (*CALICO_FILES, *EMPTY, "rules4")
        })), host=True)
        for name, found in (("csw", switch), ("ccp", plane))
    ]  # fmt: skip


def _route_text(route: dict[str, Any]) -> str:
    return f"{route['dst']} dev {route['dev']} src {route['prefsrc']}\n"


def world(files: dict[str, str], situation: str) -> World:
    stacks = outside(files, situation)
    for node in ("c1", "c2"):
        stacks.append(Stack(node, namespace(files, f"{situation}/{node}/host", CALICO_FILES), node, host=True))
        pods = {path.split("/")[3] for path in files if path.startswith(f"{situation}/{node}/pods/")}
        stacks += [
            Stack(pod.replace("_", "/"), namespace(files, f"{situation}/{node}/pods/{pod}", CALICO_FILES), node)
            for pod in sorted(pods)
        ]
    return World(stacks)


def packet(one: dict[str, Any], port: int) -> Packet:
    host, _, wanted = one["to"].partition(":")
    protocol = {"tcp": TCP, "udp": UDP, "icmp": ICMP}[one["proto"]]
    ports = (port, int(wanted), 0, 0) if wanted else (0, 0, 8, port)
    sport, dport, type_, ident = ports
    return Packet(
        family=4, src=0, dst=number(host)[1], protocol=protocol, uid=0, gid=0, df=True, sport=sport, dport=dport,
        type=type_, ident=ident, flags=SYN if protocol == TCP else 0,
    )  # fmt: skip


def said(one: Attempt) -> tuple[str, str]:
    """The result in the recording's words, and the sender's address as the receiver sees it."""
    result = one.result
    if result == "unreachable":
        result = "net-unreachable"
    seen = one.request.end.packet
    return result, text(seen.src, 4) if result == "ok" else ""


def fits(one: dict[str, Any], answers: set[tuple[str, str]]) -> bool:
    for result, seen in answers:
        if result != one["result"]:
            continue
        real = one.get("reply", "").rpartition(" ")[2].rpartition(":")[0]
        if result != "ok" or not real[:1].isdecimal() or real == seen:
            return True
    return False


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_attempt_is_what_reality_made_of_it(situation: str) -> None:
    archive = corpora.folder() / "lab-calico.tar.gz"
    files = {path.removeprefix("lab-calico/"): found for path, found in corpora.recorded(archive).items()}
    attempts = json.loads(files[f"{situation}/verdicts.json"])["attempts"]
    assert len(attempts) == 506
    made = world(files, situation)
    counts: Counter[str] = Counter()
    wrong = []
    for number_, one in enumerate(attempts):
        start = Send(made.stacks[one["from"]], packet(one, 61000 + number_ % 500))
        found = attempt(made, start)
        answers = {said(a) for a in found}
        known = (situation, one["from"], f"{one['proto']} {one['to']}")
        if fits(one, answers):
            counts["right"] += 1
        elif any(a.result in ("unknown", "left") for a in found):
            counts["unknown"] += 1
            print("unknown:", one, sorted(answers))
        elif known in NOISE:
            counts["noise"] += 1
        else:
            wrong.append((one, [(said(a), a.request.end.reason, a.answer and a.answer.end.reason) for a in found]))
    print(situation, dict(counts))
    assert not wrong, "\n".join(map(str, wrong))
    assert counts["unknown"] <= LIMIT * len(attempts)
    assert counts["noise"] == sum(1 for s, _, _ in NOISE if s == situation), "the list of noise is stale"
