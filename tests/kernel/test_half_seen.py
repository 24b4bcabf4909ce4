"""A node of whose pods only some were read: what is known of the others, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.simulate import walk
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model.evidence import NamespaceEvidence
from netinspect.model.packet import SYN, TCP, Packet, number
from netinspect.model.walk import End, Verdict
from tests.kernel.small_node import node, sections

_MAC = "02:00:00:00:00:{:02x}"
_PORT = {"info_slave_kind": "bridge", "info_slave_data": {"state": "forwarding", "flood": True}}

_BLOCKED = {**_PORT, "info_slave_data": {"state": "blocking", "flood": True}}


def link(index: int, name: str, *addresses: str, kind: str = "", up: bool = True, **more: Any) -> dict[str, Any]:
    found = [{"family": "inet", "local": a, "prefixlen": 24, "scope": "global"} for a in addresses]
    details = {"linkinfo": {**({"info_kind": kind} if kind else {}), **more.pop("port", {})}}
    return {"ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"] if up else [], "mtu": 1500,
            "address": _MAC.format(index), "addr_info": found, **details, **more}  # fmt: skip


def host(
    *, eth0: str = "", port: dict[str, Any] | None = None, neighbours: Any = (), more: dict[str, str] | None = None
) -> Stack:
    """A bridge with the ports of two pods, the second of which nobody has read, and a wire."""
    veth: dict[str, Any] = {"kind": "veth", "link_index": 2}
    wire: dict[str, Any] = {"kind": eth0, "link_index": 9, "link_netnsid": 9} if eth0 else {}
    links = [
        {"ifindex": 1, "ifname": "lo", "link_type": "loopback", "flags": ["UP", "LOWER_UP"], "mtu": 65536},
        link(2, "eth0", "192.0.2.1", **wire),
        link(3, "cni0", "10.244.0.1", kind="bridge"),
        link(4, "veth4", **{**veth, "link_netnsid": 0, "master": "cni0", "port": _PORT, **(port or {})}),
        link(5, "veth5", **veth, link_netnsid=1, master="cni0", port=_PORT),
    ]
    routes = "192.0.2.0/24 dev eth0\n10.244.0.0/24 dev cni0\nlocal 10.244.0.1 dev cni0 table local\n"
    changed = {"links": json.dumps(links), "routes4": routes, "neighbours": json.dumps(list(neighbours))}
    return node(sections({**changed, **(more or {})}))


def pod(*, up: bool = True) -> Stack:
    links = [link(2, "eth0", "10.244.0.4", kind="veth", up=up, link_index=4, link_netnsid=0)]
    links[0]["address"] = "02:00:00:00:00:14"
    routes = "default via 10.244.0.1 dev eth0\n10.244.0.0/24 dev eth0\nlocal 10.244.0.4 dev eth0 table local\n"
    sockets = "tcp LISTEN 0 128 0.0.0.0:80 0.0.0.0:*\n"
    texts = {"links": json.dumps(links), "routes4": routes, "neighbours": "[]", "sysctl": "", "sockets": sockets}
    return Stack("pod/shop/web", Namespace(NamespaceEvidence("web", sections(texts))), "n1")


def ends(world: World, address: str) -> End:
    packet = Packet(family=4, src=0, dst=number(address)[1], protocol=TCP, sport=40000, dport=80, flags=SYN)
    (branch,) = walk(world, Send(world.stacks["n1"], packet))
    return branch.end


def worlds(first: Stack, second: Stack, *hidden: str) -> World:
    near = Stack(first.name, first.namespace, "n1", host=True)
    known = frozenset(map(number, hidden))
    return World([near, second], lambda _node, family, address: (family, address) in known)


def test_the_pod_that_was_read_takes_what_is_its() -> None:
    assert ends(worlds(host(), pod()), "10.244.0.4").verdict is Verdict.DELIVERED


def test_what_another_pod_may_have_leaves_what_was_read() -> None:
    assert ends(worlds(host(), pod(), "10.244.0.5"), "10.244.0.5").verdict is Verdict.LEFT
    unknown = World([Stack("n1", host().namespace, "n1", host=True), pod()])
    assert ends(unknown, "10.244.0.9").verdict is Verdict.LEFT


def test_nobody_answers_for_what_no_pod_has() -> None:
    end = ends(worlds(host(), pod(), "10.244.0.5"), "10.244.0.9")
    assert (end.verdict, end.reason) == (Verdict.UNREACHABLE, "nobody answers for 10.244.0.9 on cni0")


def test_a_neighbour_on_the_wire_that_did_not_answer_may_answer_now() -> None:
    assert ends(worlds(host(), pod()), "192.0.2.9").verdict is Verdict.LEFT
    asked = {"dst": "192.0.2.9", "dev": "eth0", "state": ["INCOMPLETE"]}
    end = ends(worlds(host(neighbours=[asked]), pod()), "192.0.2.9")
    assert (end.verdict, end.evidence.text if end.evidence else "") == (Verdict.UNREACHABLE, "192.0.2.9 INCOMPLETE")
    failed = worlds(host(neighbours=[{**asked, "state": ["FAILED"]}]), pod())
    packet = Packet(family=4, src=0, dst=number("192.0.2.9")[1], protocol=TCP, sport=40000, dport=80, flags=SYN)
    found = walk(failed, Send(failed.stacks["n1"], packet))
    assert {(b.end.verdict, b.probability) for b in found} == {(Verdict.UNREACHABLE, None), (Verdict.LEFT, None)}


def test_what_a_bond_reaches_its_members_reach() -> None:
    links = json.loads(host().namespace.evidence.sections["links"].text)
    links[1] = {**links[1], "addr_info": [], "master": "bond0"}
    links.append(link(8, "bond0", "192.0.2.1", kind="bond"))
    routes = "192.0.2.0/24 dev bond0\n"
    made = node(sections({"links": json.dumps(links), "routes4": routes, "neighbours": "[]"}))
    assert ends(worlds(made, pod()), "192.0.2.9").verdict is Verdict.LEFT


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (host(), pod(up=False), "eth0 of pod/shop/web is down"),
        (host(port={"up": False}), pod(), "veth4, which leads to pod/shop/web, is down"),
        (host(port={"master": ""}), pod(), "veth4, which leads to pod/shop/web, is no port of cni0"),
        (host(port={"port": _BLOCKED}), pod(), "veth4, which leads to pod/shop/web, is blocking in cni0"),
    ],
)
def test_what_cuts_a_pod_off_is_named(first: Stack, second: Stack, said: str) -> None:
    end = ends(worlds(first, second, "10.244.0.5"), "10.244.0.4")
    assert (end.verdict, end.reason) == (Verdict.UNREACHABLE, f"nobody answers for 10.244.0.4 on cni0: {said}")


def test_an_entry_that_names_another_device_than_the_one_that_has_the_address_is_named() -> None:
    wrong = {"dst": "10.244.0.4", "dev": "cni0", "lladdr": "02:00:00:00:00:99", "state": ["PERMANENT"]}
    end = ends(worlds(host(neighbours=[wrong]), pod(), "10.244.0.5"), "10.244.0.4")
    assert end.verdict is Verdict.DROPPED
    assert "10.244.0.4 is 02:00:00:00:00:99 by this entry, and eth0 of pod/shop/web has it" in end.reason


@pytest.mark.parametrize(("eth0", "wire"), [("", True), ("veth", True)])
def test_a_veth_is_a_wire_only_where_it_has_an_address_of_its_own(eth0: str, wire: bool) -> None:
    world = worlds(host(eth0=eth0), pod())
    near = world.stacks["n1"]
    assert world.uplink(near, near.links["eth0"]) is wire
    assert not world.uplink(near, near.links["veth5"])


def test_a_bridge_has_learned_where_the_sender_is_from_its_own_frame() -> None:
    hairpin = {**_PORT, "info_slave_data": {"state": "forwarding", "flood": True, "hairpin": True}}
    service = (
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
        "-A PREROUTING -d 10.96.0.9 -j DNAT --to-destination 10.244.0.4\n"
        "-A POSTROUTING -s 10.244.0.4 -d 10.244.0.4 -j MASQUERADE\nCOMMIT\n"
    )
    sysctl = "/proc/sys/net/bridge/bridge-nf-call-iptables:1\n/proc/sys/net/ipv4/conf/cni0/forwarding:1\n"
    near = host(port={"port": hairpin}, more={"iptables-nft": service, "sysctl": sysctl})
    world = worlds(near, pod())
    packet = Packet(family=4, src=0, dst=number("10.96.0.9")[1], protocol=TCP, sport=40000, dport=80, flags=SYN)
    (branch,) = walk(world, Send(world.stacks["pod/shop/web"], packet))
    assert (branch.end.verdict, branch.end.namespace) == (Verdict.DELIVERED, "pod/shop/web")
