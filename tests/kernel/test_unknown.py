"""What was not read or is not modelled is said to be unknown, and the walk goes on beside it."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from netinspect.kernel.simulator.forks import MOST_BRANCHES, MOST_STATES, Forks, Way, explore
from netinspect.kernel.simulator.simulate import walk
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Arrive, Receive
from netinspect.kernel.simulator.world import World
from netinspect.model.evidence import Section
from netinspect.model.packet import SCTP, SYN, TCP, Packet
from netinspect.model.walk import Branch, Verdict
from tests.kernel.small_node import node, sections

_TABLE = {"family": "ip", "table": "t"}
_BASE = {"type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}
_PORT = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}
_NFT = [
    {"metainfo": {"version": "1.1.1"}},
    {"table": {"family": "ip", "name": "t", "handle": 1}},
    {"chain": {**_TABLE, "name": "c", "handle": 1, **_BASE}},
    {"rule": {**_TABLE, "chain": "c", "handle": 2, "expr": [_PORT, {"drop": None}]}},
]
POD, OUTSIDE, OWN = (10 << 24) + (243 << 16) + 7, (198 << 24) + (51 << 16) + (100 << 8) + 9, (192 << 24) + 513
PACKET = Packet(family=4, src=POD, dst=OUTSIDE, protocol=TCP, sport=40000, dport=80, flags=SYN)


def through(stack: Stack, packet: Packet = PACKET) -> tuple[Branch, ...]:
    return walk(World([stack]), Receive(stack, packet, "cni0"))


def rules(*lines: str) -> dict[str, str]:
    added = "".join(f"-A FORWARD {line}\n" for line in lines)
    return {"iptables-nft": f"*filter\n:FORWARD ACCEPT [0:0]\n{added}COMMIT\n"}


def ends(branches: tuple[Branch, ...]) -> list[Verdict]:
    return [b.end.verdict for b in branches]


def test_what_is_known_has_one_way() -> None:
    (only,) = through(node(sections({})))
    assert (only.end.verdict, only.probability) == (Verdict.LEFT, 1.0)


@pytest.mark.parametrize("section", ["iptables-nft", "nftables", "routes4", "rules4", "sysctl"])
def test_a_section_that_was_not_read_forks_and_is_named(section: str) -> None:
    found = sections({})
    found[section] = Section(section, exit_code=1, stderr="Operation not permitted")
    branches = through(node(found))
    unknown = [b for b in branches if b.end.verdict is Verdict.UNKNOWN]
    assert unknown
    assert section in unknown[0].end.reason + unknown[0].end.settles
    assert unknown[0].probability is None
    assert any(section in x.question for x in unknown[0].assumptions)


def test_a_ruleset_that_ends_early_is_not_taken_for_a_whole_one() -> None:
    found = sections(rules("-p udp -j DROP"))
    found["iptables-nft"] = Section("iptables-nft", found["iptables-nft"].text[:-8], exit_code=None)
    assert Verdict.UNKNOWN in ends(through(node(found)))


@pytest.mark.parametrize("match", ["-m recent --name x --rcheck", "-m bpf --bytecode 1", "-m invented --yes"])
def test_a_match_that_is_not_modelled_goes_both_ways(match: str) -> None:
    branches = through(node(sections(rules(f"{match} -j DROP"))))
    assert set(ends(branches)) == {Verdict.DROPPED, Verdict.LEFT}
    assert {b.probability for b in branches} == {None}
    (dropped,) = [b for b in branches if b.end.verdict is Verdict.DROPPED]
    assert dropped.end.evidence is not None
    assert (dropped.end.evidence.section, dropped.end.evidence.line) == ("iptables-nft", 3)


def nft_rule(op: str, right: object) -> dict[str, str]:
    left = {"payload": {"protocol": "tcp", "field": "sport"}}
    match = {"match": {"op": op, "left": left, "right": right}}
    made = [*_NFT[:3], {"rule": {**_TABLE, "chain": "c", "handle": 2, "expr": [match, {"drop": None}]}}]
    return {"nftables": json.dumps({"nftables": made})}


@pytest.mark.parametrize(
    ("changed", "verdicts"),
    [
        (rules("-p tcp --sport 30080 -j DROP"), {Verdict.LEFT}),
        (rules("-p tcp --sport 1024:65535 -j DROP"), {Verdict.DROPPED}),
        (rules("-p tcp --sport 32768:32800 -j DROP"), {Verdict.DROPPED, Verdict.LEFT}),
        (rules("-p tcp -m multiport --sports 53,80,30000:32767 -j DROP"), {Verdict.LEFT}),
        (nft_rule("==", 30080), {Verdict.LEFT}),
        (nft_rule("!=", 30080), {Verdict.DROPPED}),
        (nft_rule("==", {"range": [32768, 60999]}), {Verdict.DROPPED}),
        (nft_rule("==", 40000), {Verdict.DROPPED, Verdict.LEFT}),
        (nft_rule("==", {"set": [53, {"range": [30000, 32767]}]}), {Verdict.LEFT}),
        (nft_rule("==", {"set": [53, {"range": [30000, 32768]}]}), {Verdict.DROPPED, Verdict.LEFT}),
    ],
)  # fmt: skip
def test_of_a_port_that_is_drawn_it_is_known_what_all_or_none_of_them_are(
    changed: dict[str, str], verdicts: set[Verdict]
) -> None:
    drawn = structs.replace(PACKET, loose=frozenset({"sport"}), drawn=(32768, 60999))
    assert set(ends(through(node(sections(changed)), drawn))) == verdicts


def test_a_target_that_is_not_modelled_ends_unknown() -> None:
    (only,) = through(node(sections(rules("-p tcp -j INVENTED"))))
    assert only.end.verdict is Verdict.UNKNOWN
    assert "INVENTED" in only.end.reason


def test_what_is_decided_whatever_the_unknown_rule_does_is_known() -> None:
    branches = through(node(sections(rules("-m recent --name x --rcheck -j DROP", "-p tcp -j DROP"))))
    assert set(ends(branches)) == {Verdict.DROPPED}


def test_more_ways_than_are_looked_at_are_said_to_be_unknown() -> None:
    marks = (f"-m recent --name x{n} --rcheck -j MARK --set-xmark 0x{n}/0xff" for n in range(9))
    branches = through(node(sections(rules(*marks))))
    assert len(branches) == MOST_BRANCHES + 1
    assert branches[-1].end.verdict is Verdict.UNKNOWN


def test_what_is_no_ruleset_is_unknown_and_not_empty() -> None:
    for text in ("{", '{"nftables": 7}', '{"nftables": [{"chain": 1}]}'):
        branches = through(node(sections({"nftables": text})))
        assert Verdict.UNKNOWN in ends(branches), text


def test_multicast_and_sctp_sockets_are_not_guessed() -> None:
    group = (239 << 24) + 1
    assert ends(through(node(sections({})), structs.replace(PACKET, dst=group))) == [Verdict.UNKNOWN]
    for_this_host = structs.replace(PACKET, dst=OWN, protocol=SCTP)
    assert ends(through(node(sections({})), for_this_host)) == [Verdict.UNKNOWN]


@pytest.mark.parametrize(("dev", "verdict"), [("cni0", Verdict.DROPPED), ("eth0", Verdict.REFUSED)])
def test_a_rule_finds_the_socket_of_the_device_by_which_a_packet_came(dev: str, verdict: Verdict) -> None:
    rule_ = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m socket --nowildcard -j DROP\nCOMMIT\n"
    sockets = f"tcp LISTEN 0 128 0.0.0.0%{dev}:80 0.0.0.0:*\n"
    found = node(sections({"iptables-nft": rule_, "sockets": sockets}))
    assert ends(through(found, structs.replace(PACKET, dst=OWN))) == [verdict]


def test_a_loop_of_chains_ends() -> None:
    """No kernel would have loaded it; a recording may hold it."""
    text = "*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n-A FORWARD -j A\n-A A -j B\n-A B -j A\nCOMMIT\n"
    assert len(through(node(sections({"iptables-nft": text})))) == 1


def nft(*objects: object) -> dict[str, str]:
    known: list[object] = [{"metainfo": {"version": "1.1.1"}}, {"table": {"family": "ip", "name": "t", "handle": 1}}]
    base = {"chain": {**_TABLE, "name": "c", "handle": 1, **_BASE}}
    return {"nftables": json.dumps({"nftables": [*known, base, *objects]})}


def rule(*expressions: object, chain: str = "c") -> dict[str, object]:
    return {"rule": {**_TABLE, "chain": chain, "handle": 2, "expr": list(expressions)}}


@pytest.mark.parametrize(
    "changed",
    [
        {"iptables-nft": "*filter\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n-A FORWARD -g A\n-A A -g A\nCOMMIT\n"},
        nft({"chain": {**_TABLE, "name": "a", "handle": 2}}, rule({"goto": {"target": "a"}}),
            rule({"goto": {"target": "a"}}, chain="a")),
        nft(rule({"jump": {"target": "nowhere"}})),
        nft(rule({"reject": {"type": "icmp", "expr": "frag-needed"}})),
        rules("-p tcp -m tcp --tcp-flags FIN,AE SYN -j DROP"),
        {"iptables-nft": "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DNAT --to-destination 10.0.0.9-10.0.0.1\n"
         "COMMIT\n"},
    ],
)  # fmt: skip
def test_what_no_kernel_would_have_ends_unknown(changed: dict[str, str]) -> None:
    assert Verdict.UNKNOWN in ends(through(node(sections(changed))))


def test_a_rule_of_routing_that_leads_back_is_passed_over() -> None:
    found = sections({"rules4": "0: from all lookup local\n100: from all goto 100\n32766: from all lookup main\n"})
    assert ends(through(node(found))) == [Verdict.LEFT]


@pytest.mark.parametrize(
    "match", ["-m addrtype ! --dst-type LOCAL", "-m rpfilter --invert", "-m addrtype --src-type UNICAST"]
)
def test_a_match_that_looks_routes_up_says_when_they_were_not_read(match: str) -> None:
    found = sections({"iptables-nft": f"*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {match} -j DROP\nCOMMIT\n"})
    found["routes4"] = Section("routes4", exit_code=1, stderr="Operation not permitted")
    branches = through(node(found))
    assert Verdict.UNKNOWN in ends(branches)
    assert all(b.probability is None for b in branches)


def test_a_policy_rule_that_is_not_modelled_leaves_the_source_check_open() -> None:
    found = sections({
        "rules4": "0: from all lookup local\n50: from all tun_id 7 lookup 9\n32766: from all lookup main\n",
        "sysctl": "/proc/sys/net/ipv4/ip_forward:1\n/proc/sys/net/ipv4/conf/cni0/forwarding:1\n"
        "/proc/sys/net/ipv4/conf/cni0/rp_filter:1\n",
    })  # fmt: skip
    assert Verdict.DROPPED not in ends(through(node(found)))


@pytest.mark.parametrize("kind", ["openvswitch", "team"])
def test_a_port_of_a_switch_that_is_not_modelled_is_unknown(kind: str) -> None:
    links = json.loads(sections({})["links"].text)
    links.append({"ifindex": 9, "ifname": "sw0", "flags": ["UP", "LOWER_UP"], "linkinfo": {"info_kind": kind}})
    links[2] |= {"master": "sw0"}
    stack = node(sections({"links": json.dumps(links)}))
    (only,) = walk(World([stack]), Arrive(stack, PACKET, "cni0"))
    assert only.end.verdict is Verdict.UNKNOWN
    assert {"openvswitch": "Open vSwitch"}.get(kind, kind) in only.end.reason


@pytest.mark.parametrize("section", ["neighbours", "qdiscs"])
def test_what_decides_on_the_way_out_is_asked_for(section: str) -> None:
    found = sections({})
    found[section] = Section(section, absent=True)
    assert Verdict.UNKNOWN in ends(through(node(found)))


def test_a_multipath_route_is_chosen_once_for_a_flow() -> None:
    two = "default nexthop via 192.0.2.254 dev eth0 weight 1 nexthop via 192.0.2.253 dev eth0 weight 3\n"
    text = two + sections({})["routes4"].text.partition("\n")[2]
    branches = through(node(sections({"routes4": text})))
    assert [b.probability for b in branches] == [0.25, 0.75]


def test_a_list_of_recent_senders_is_only_written() -> None:
    (only,) = through(node(sections(rules("-m recent --set --name x -j DROP"))))
    assert (only.end.verdict, only.probability) == (Verdict.DROPPED, 1.0)


def test_a_range_of_a_set_is_found_among_many() -> None:
    elements = [{"range": [f"10.{n}.0.0", f"10.{n}.0.9"]} for n in range(250)]
    members = {
        "set": {**_TABLE, "name": "s", "handle": 3, "type": "ipv4_addr", "flags": ["interval"], "elem": elements}
    }
    match: object = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@s"}}
    state = node(sections(nft(members, rule(match, {"drop": None}))))
    inside, outside = (structs.replace(PACKET, src=(10 << 24) + (243 << 16) + n) for n in (9, 10))
    assert ends(through(state, inside)) == [Verdict.DROPPED]
    assert ends(through(state, outside)) == [Verdict.LEFT]


def test_a_fib_expression_asks_whether_there_is_a_route() -> None:
    missing = {"match": {"op": "==", "left": {"fib": {"flags": ["saddr", "iif"], "result": "oif"}}, "right": False}}
    state = node(sections(nft(rule(missing, {"drop": None}))))
    assert ends(through(state)) == [Verdict.LEFT]
    assert ends(through(state, structs.replace(PACKET, src=OUTSIDE + 1))) == [Verdict.DROPPED]


def test_every_way_through_the_forks_is_gone_once() -> None:
    def run(forks: Forks) -> tuple[int, ...]:
        first = forks.take("a", [Way("0", 0.5), Way("1", 0.5)])
        if first:
            return (first, forks.take("b", [Way("0", 0.25), Way("1", 0.25), Way("2", 0.5)]))
        again = forks.take("a", [Way("0"), Way("1")], once="same")
        return (first, again, forks.take("a", [Way("0"), Way("1")], once="same"))

    runs, whole = explore(run)
    assert whole
    found = {r.result: r.forks.probability for r in runs}
    assert found == {(0, 0, 0): None, (0, 1, 1): None, (1, 0): 0.125, (1, 1): 0.125, (1, 2): 0.25}
    assert len(runs) == len(found)


def test_ways_that_go_round_and_fork_on_every_round_are_not_all_walked() -> None:
    def run(forks: Forks) -> None:
        for _ in range(100):
            forks.states += MOST_STATES // 400
            forks.take("a", [Way("0"), Way("1")])

    runs, whole = explore(run)
    assert len(runs) == 5
    assert not whole


BROKEN = {
    **rules("-p tcp -m multiport --dports 80,443 -j REJECT", "-m set --match-set s src -j DROP"),
    "nftables": json.dumps({"nftables": _NFT}),
    "ipset": "create s hash:net family inet hashsize 1024 maxelem 65536\nadd s 10.243.0.0/24\n",
}


@settings(max_examples=300)
@given(st.sampled_from(sorted(sections(BROKEN))), st.integers(0, 2**32), st.integers(1, 4))
def test_broken_state_is_walked_without_a_crash(section: str, seed: int, cuts: int) -> None:
    """Bytes of one section are changed, doubled or lost: whatever comes out, it is a verdict."""
    rng = random.Random(seed)
    found = sections(BROKEN)
    text = found[section].text
    for _ in range(cuts):
        at = rng.randrange(len(text) + 1)
        odd = rng.choice(["", "0", "\x00", "-", '"', "}", "ÿ", text[at : at + 20] * 2])
        text = text[:at] + odd + text[at + rng.randrange(3) :]
    found[section] = Section(section, text, exit_code=0)
    for branch in through(node(found)):
        assert isinstance(branch.end.verdict, Verdict)
