"""docs/simulator.md follows one request through the modules: what it shows is what the simulator says today."""

from __future__ import annotations

import json

import pytest

from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.simulate import attempt
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model.evidence import NamespaceEvidence, Section
from netinspect.model.packet import SYN, TCP, Packet, number
from netinspect.model.walk import Branch
from tests.conftest import ROOT
from tests.kernel.small_node import sections

_UP = ["UP", "LOWER_UP"]
_RULES = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-DB - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-DB
-A KUBE-SVC-DB -p tcp -m tcp -j DNAT --to-destination 10.243.0.9:8080
COMMIT
"""


def _link(index: int, name: str, **rest: object) -> dict[str, object]:
    mac = f"02:00:00:00:00:{index:02x}"
    return {"ifindex": index, "ifname": name, "flags": _UP, "mtu": 1450, "address": mac, **rest}


def _veth(index: int, name: str, peer: int, netns: int, **rest: object) -> dict[str, object]:
    return _link(index, name, link_index=peer, link_netnsid=netns, linkinfo={"info_kind": "veth", **rest})


def _pod(name: str, address: str, index: int, peer: int, socket: str) -> Stack:
    link = _veth(index, "eth0", peer, 0)
    link["addr_info"] = [{"family": "inet", "local": address, "prefixlen": 24, "scope": "global"}]
    routes = (
        f"default via 10.243.0.1 dev eth0\n10.243.0.0/24 dev eth0 src {address}\nlocal {address} dev eth0 table local\n"
    )
    found = sections({
        "links": json.dumps([_link(1, "lo", link_type="loopback"), link]),
        "routes4": routes, "neighbours": "[]", "sysctl": "", "sockets": socket,
    })  # fmt: skip
    return Stack(name, Namespace(NamespaceEvidence(name, found)), "n1")


def world(bridge_nf_call_iptables: int) -> World:
    node = sections({"iptables-nft": _RULES})
    switch = f"/proc/sys/net/bridge/bridge-nf-call-iptables:{bridge_nf_call_iptables}\n"
    node["sysctl"] = Section("sysctl", node["sysctl"].text + switch, exit_code=0)
    links = json.loads(node["links"].text)
    (bridge,) = (link for link in links if link["ifname"] == "cni0")
    bridge["linkinfo"] = {"info_kind": "bridge"}
    for index, netns in ((10, 1), (11, 2)):
        links.append(_veth(index, f"veth{netns}", index + 10, netns, info_slave_kind="bridge") | {"master": "cni0"})
    node["links"] = Section("links", json.dumps(links), exit_code=0)
    return World([
        Stack("n1", Namespace(NamespaceEvidence("n1", node)), "n1", host=True),
        _pod("web", "10.243.0.7", 20, 10, ""),
        _pod("db", "10.243.0.9", 21, 11, "tcp LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*\n"),
    ])  # fmt: skip


def lines(branch: Branch) -> list[str]:
    """Write a branch as the page does."""
    said = []
    for step in branch.steps:
        said.append(f"{step.namespace:4} {step.stage.value:12} {step.text}")
        if step.evidence is not None:
            said.append(f"{'':20}{step.evidence.section}: {step.evidence.text}")
    return [*said, f"{branch.end.namespace:4} = {branch.end.verdict.value}: {branch.end.reason}"]


@pytest.mark.parametrize(("switch", "result"), [(1, "ok"), (0, "timeout")])
def test_the_page_shows_what_the_simulator_says(switch: int, result: str) -> None:
    made = world(switch)
    service = number("10.96.0.10")[1]
    request = Packet(family=4, src=0, dst=service, protocol=TCP, sport=40000, dport=80, flags=SYN, uid=0)
    (found,) = attempt(made, Send(made.stacks["web"], request))
    assert (found.result, found.request.probability) == (result, 1.0)
    page = (ROOT / "docs" / "simulator.md").read_text()
    assert found.answer is not None
    for branch in (found.request, found.answer) if switch else (found.answer,):
        shown = "\n".join(lines(branch))
        assert shown in page, shown
