"""Mistakes that tracers of packets have made, each as a scene in which the kernel shows what is right."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs

from netinspect.kernel.simulator.simulate import Attempt, walk
from netinspect.kernel.simulator.states import Receive
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import SYN, TCP, Packet, number, text
from netinspect.model.walk import Verdict
from tests.kernel.oracle.compare import Comparison, compare, judge, packet
from tests.kernel.oracle.generate import Draft
from tests.kernel.oracle.reality import Session
from tests.kernel.oracle.scene import Built, Probe, Scene
from tests.kernel.test_against_the_kernel import needs

A, B, C = "10.1.0.2", "10.2.0.2", "10.3.0.2"
SERVICE = "10.96.0.1"


@dataclass
class Case:
    """A client ``a`` and two servers behind a router ``r``; rules are added, then probes are sent."""

    draft: Draft

    def add(self, ns: str, *lines: str) -> Case:
        self.draft.add(ns, *lines)
        return self

    def scene(self, *probes: Probe) -> Scene:
        ports = [(p, n, a) for p in ("tcp", "udp") for n in (80, 8080, 15001) for a in ("0.0.0.0", "::")]
        d = self.draft
        return Scene(
            name="case", namespaces=tuple(d.namespaces), links=tuple(d.links), probes=probes,
            setup={ns: tuple(lines) for ns, lines in d.setup.items()}, listeners={n: tuple(ports) for n in "abc"},
        )  # fmt: skip

    def goes(self, *probes: Probe) -> list[tuple[Attempt, ...]]:
        """Give what the simulator says of each probe, once the kernel has agreed."""
        return _right(judge(self.scene(*probes)))

    def begins(self, *probes: Probe) -> list[tuple[Attempt, ...]]:
        """Give the same of probes that are the first packets after the state was read."""
        with Built(self.scene(*probes)) as built, Session(built) as session:
            return _right(compare(session, built.read))


def _right(found: Comparison) -> list[tuple[Attempt, ...]]:
    assert not found.wrong, [(w.probe, w.real, w.simulated) for w in found.wrong]
    return list(found.attempts)


@pytest.fixture
def case() -> Case:
    needs("ip", "nft", "ipset", "iptables-nft-restore", "iptables-legacy-restore", "nsenter")
    draft = Draft(random.Random(0), "")
    draft.namespace("a", "r", "b", "c")
    for index, ns in enumerate("abc", 1):
        draft.pair(ns, "eth0", "r", f"r{ns}")
        draft.address(ns, "eth0", f"10.{index}.0.2/24", f"fd00:{index}::2/64")
        draft.address("r", f"r{ns}", f"10.{index}.0.1/24", f"fd00:{index}::1/64")
        draft.up(ns, "eth0")
        draft.up("r", f"r{ns}")
        draft.add(ns, f"ip route add default via 10.{index}.0.1", f"ip route add default via fd00:{index}::1")
    draft.add("r", "sysctl ipv4/ip_forward=1", "sysctl ipv6/conf/all/forwarding=1")
    return Case(draft)


def tcp(dst: str, port: int = 80, **rest: Any) -> Probe:
    return Probe(ns="a", protocol="tcp", dst=dst, dport=port, **rest)


def udp(dst: str, port: int = 80, **rest: Any) -> Probe:
    return Probe(ns="a", protocol="udp", dst=dst, dport=port, **rest)


def results(attempts: tuple[Attempt, ...]) -> set[str]:
    return {a.result for a in attempts}


def ends(attempts: tuple[Attempt, ...]) -> set[tuple[str, str, int]]:
    """Give where the packet was taken: the namespace, the source as it was seen there, the socket's port."""
    taken = [a.request.end for a in attempts if a.request.end.socket is not None]
    return {(e.namespace, text(e.packet.src, e.packet.family), e.socket.port) for e in taken if e.socket}


def test_ipv6_is_walked_as_ipv4_is(case: Case) -> None:
    case.add(
        "r",
        "ip6tables-nft nat -A PREROUTING -d fd00:96::1 -p tcp -j DNAT --to-destination [fd00:2::2]:8080",
        "ip6tables-nft filter -A FORWARD -d fd00:3::2 -j REJECT --reject-with icmp6-adm-prohibited",
    )
    there, refused = case.goes(tcp("fd00:96::1"), tcp("fd00:3::2"))
    assert ends(there) == {("b", "fd00:1::2", 8080)}
    assert results(refused) == {"unreachable"}


def test_targets_change_the_packet(case: Case) -> None:
    case.add(
        "r",
        f"iptables-nft mangle -A PREROUTING -d {B} -p udp -j MARK --set-mark 0x5",
        "ip rule add fwmark 0x5 lookup 100",
        f"ip route add {B}/32 via {C} dev rc table 100",
        f"iptables-nft raw -A PREROUTING -d {C} -p tcp --dport 8080 -j NOTRACK",
        "iptables-nft filter -A FORWARD -m conntrack --ctstate UNTRACKED -j DROP",
        f"iptables-nft nat -A POSTROUTING -d {B} -p tcp --dport 80 -j SNAT --to-source 10.2.0.1",
        f"iptables-nft nat -A POSTROUTING -d {C} -p tcp --dport 80 -j MASQUERADE",
        f"iptables-nft filter -A FORWARD -d {B} -p tcp --dport 8080 -j REJECT --reject-with tcp-reset",
    )  # fmt: skip
    marked, untracked, snat, masqueraded, rejected = case.goes(udp(B), tcp(C, 8080), tcp(B), tcp(C), tcp(B, 8080))
    assert results(marked) == {"timeout"}
    assert marked[0].request.end.namespace == "c"
    assert results(untracked) == {"timeout"}
    assert ends(snat) == {("b", "10.2.0.1", 80)}
    assert ends(masqueraded) == {("c", "10.3.0.1", 80)}
    assert results(rejected) == {"refused"}


def test_tproxy_gives_it_to_a_socket_of_this_host(case: Case) -> None:
    case.add(
        "b",
        "iptables-nft mangle -A PREROUTING -p tcp --dport 443 -j TPROXY --on-port 15001 --tproxy-mark 0x1/0x1",
        "ip rule add fwmark 0x1/0x1 lookup 100",
        "ip route add local 0.0.0.0/0 dev lo table 100",
    )
    (found,) = case.goes(tcp(B, 443))
    assert results(found) == {"ok"}
    assert ends(found) == {("b", A, 15001)}


def test_the_state_of_a_connection_decides(case: Case) -> None:
    case.add(
        "r",
        "iptables-nft filter -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"iptables-nft filter -A FORWARD -d {B} -m conntrack --ctstate NEW -j DROP",
        f"iptables-nft filter -A FORWARD -s {C} -m conntrack --ctstate NEW -j DROP",
    )
    stopped, answered = case.goes(tcp(B), tcp(C))
    assert results(stopped) == {"timeout"}
    assert results(answered) == {"ok"}


def test_a_server_acknowledges_data_before_it_answers(case: Case) -> None:
    """Who resets the acknowledgement resets the connection; who resets the answer does so unheard of."""
    acknowledgement, answer = "--tcp-flags ALL ACK", "--tcp-flags ALL ACK,PSH"
    rules = (
        f"-s {B} --sport 80 {acknowledgement} -m length --length 52 -j REJECT --reject-with tcp-reset",
        f"-s {B} --sport 8080 {acknowledgement} -j DROP",
        f"-s {C} --sport 80 {answer} -j REJECT --reject-with tcp-reset",
        f"-s {C} --sport 8080 {acknowledgement} -j DROP",
        f"-s {C} --sport 8080 {answer} -j REJECT --reject-with tcp-reset",
    )
    case.add("r", *(f"iptables-nft filter -A FORWARD -p tcp {rule}" for rule in rules))
    reset, dropped, unheard, both = case.goes(tcp(B), tcp(B, 8080), tcp(C), tcp(C, 8080))
    assert results(reset) == {"reset"}
    assert results(dropped) == {"ok"}
    assert results(unheard) == {"timeout"}
    assert results(both) == {"reset"}


def test_a_connection_that_is_reset_before_it_is_answered_is_forgotten(case: Case) -> None:
    """The server's acknowledgement begins one that leads astray; its reset, later, belongs to none."""
    for six in ("", "6"):
        case.add(
            "b",
            f"ip{six}tables-legacy raw -A PREROUTING -p tcp -j CT --notrack",
            f"ip{six}tables-nft nat -A OUTPUT -p tcp --sport 80 -j REDIRECT --to-ports 9",
        )
    for found in case.goes(tcp(B), tcp("fd00:2::2")):
        assert results(found) == {"reset"}


def test_each_backend_has_its_probability(case: Case) -> None:
    to = "-m tcp -j DNAT --to-destination"
    case.add(
        "r",
        "iptables-nft nat :SVC - [0:0]",
        f"iptables-nft nat -A PREROUTING -d {SERVICE} -p tcp --dport 80 -j SVC",
        f"iptables-nft nat -A SVC -p tcp -m statistic --mode random --probability 0.33333333349 {to} {B}:80",
        f"iptables-nft nat -A SVC -p tcp -m statistic --mode random --probability 0.50000000000 {to} {C}:80",
        f"iptables-nft nat -A SVC -p tcp {to} {B}:8080",
    )
    for found in case.goes(*(tcp(SERVICE, sport=20000 + n) for n in range(8))):
        assert ends(found) == {("b", A, 80), ("c", A, 80), ("b", A, 8080)}
        assert [a.request.probability for a in found] == pytest.approx([1 / 3] * 3)


def test_return_goes_back_one_chain_and_goto_does_not_come_back(case: Case) -> None:
    case.add(
        "r",
        *(f"iptables-nft filter :{c} - [0:0]" for c in ("ONE", "TWO", "THREE")),
        "iptables-nft filter -A FORWARD -p tcp --dport 80 -j ONE",
        f"iptables-nft filter -A FORWARD -s {A} -p tcp --dport 8080 -g ONE",
        f"iptables-nft filter -A FORWARD -s {A} -p tcp -j DROP",
        "iptables-nft filter -A ONE -j TWO",
        f"iptables-nft filter -A ONE -s {A} -d {B} -p tcp --dport 80 -j REJECT --reject-with tcp-reset",
        "iptables-nft filter -A TWO -j THREE",
        "iptables-nft filter -A TWO -m comment --comment after-three -j RETURN",
        "iptables-nft filter -A THREE -j RETURN",
    )
    nested, past, gone = case.goes(tcp(B), tcp(C), tcp(B, 8080))
    assert results(nested) == {"refused"}
    assert results(past) == {"timeout"}
    assert results(gone) == {"ok"}


def test_what_is_not_modelled_does_not_hide_the_rules_beside_it(case: Case) -> None:
    case.add(
        "r",
        "iptables-nft filter -A FORWARD -m limit --limit 5/min -j LOG",
        "iptables-nft filter -A FORWARD -m recent --name seen --rcheck -j ACCEPT",
        f"iptables-nft filter -A FORWARD -d {B} -p tcp --dport 80 -j DROP",
    )
    (found,) = case.goes(tcp(B))
    assert results(found) == {"ok", "timeout"}
    assert {a.request.probability for a in found} == {None}
    asked = {x.question for a in found for x in a.request.assumptions}
    assert any("recent" in question for question in asked)


def test_a_sidecar_takes_what_its_pod_sends(case: Case) -> None:
    case.add(
        "a",
        *(f"iptables-nft nat :{c} - [0:0]" for c in ("ISTIO_OUTPUT", "ISTIO_REDIRECT")),
        "iptables-nft nat -A OUTPUT -p tcp -j ISTIO_OUTPUT",
        "iptables-nft nat -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "iptables-nft nat -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
        "iptables-nft nat -A ISTIO_OUTPUT -j ISTIO_REDIRECT",
        "iptables-nft nat -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
    )
    application, proxy = case.goes(tcp(B), tcp(B, uid=1337))
    assert ends(application) == {("a", A, 15001)}
    assert ends(proxy) == {("b", A, 80)}


@pytest.mark.parametrize("mode", ["iptables-nft", "iptables-legacy", "nftables"])
def test_a_service_goes_where_the_rules_of_the_node_send_it(case: Case, mode: str) -> None:
    """One backend is stale: whatever the API says, the node sends half of the connections to nobody."""
    backends = (B, "10.3.0.77")
    if mode == "nftables":
        ends_of = ", ".join(f"{n} : goto endpoint-{n}" for n in range(2))
        chains = "".join(
            f"chain endpoint-{n} {{ meta l4proto tcp dnat to {address}:80; }}; " for n, address in enumerate(backends)
        )
        case.add(
            "r",
            "nft add table ip kube-proxy",
            f"nft table ip kube-proxy {{ {chains}chain service {{ numgen random mod 2 vmap {{ {ends_of} }}; }}; "
            f"map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; "
            f"elements = {{ {SERVICE} . tcp . 80 : goto service }}; }}; "
            "chain nat-prerouting { type nat hook prerouting priority -100; "
            "ip daddr . meta l4proto . th dport vmap @service-ips; }; }",
        )
    else:
        case.add(
            "r",
            *(f"{mode} nat :{c} - [0:0]" for c in ("KUBE-SERVICES", "KUBE-SVC-A", "KUBE-SEP-A", "KUBE-SEP-B")),
            f"{mode} nat -A PREROUTING -j KUBE-SERVICES",
            f"{mode} nat -A KUBE-SERVICES -d {SERVICE}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A",
            f"{mode} nat -A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A",
            f"{mode} nat -A KUBE-SVC-A -j KUBE-SEP-B",
            f"{mode} nat -A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination {backends[0]}:80",
            f"{mode} nat -A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination {backends[1]}:80",
        )
    for found in case.goes(*(tcp(SERVICE, sport=20000 + n) for n in range(6))):
        assert {a.result: a.request.probability for a in found} == {"ok": 0.5, "unreachable": 0.5}
        assert ends(found) == {("b", A, 80)}


def test_a_second_interface_is_used_where_the_route_says_so(case: Case) -> None:
    draft = case.draft
    draft.pair("a", "net1", "c", "net1")
    draft.address("a", "net1", "172.20.0.1/24")
    draft.address("c", "net1", "172.20.0.2/24")
    draft.up("a", "net1")
    draft.up("c", "net1")
    by_net1, by_eth0 = case.goes(tcp("172.20.0.2"), tcp(C))
    assert ends(by_net1) == {("c", "172.20.0.1", 80)}
    assert ends(by_eth0) == {("c", A, 80)}
    assert not [s for a in by_net1 for s in a.request.steps if s.namespace == "r"]


def test_a_packet_may_come_from_outside(case: Case) -> None:
    """The client is nobody whom we know: the walk begins where its packet comes in."""
    case.add(
        "r",
        "iptables-nft nat -A PREROUTING -p tcp --dport 30080 -j DNAT --to-destination 10.2.0.2:80",
        "iptables-nft nat -A POSTROUTING -d 10.2.0.2 -j MASQUERADE",
    )
    scene = case.scene(tcp("10.1.0.1", 30080))
    with Built(scene) as built, Session(built) as session:
        session.ask([0], 0.3)
        everything = built.read()
        made = packet(scene.probes[0], session.outcomes[0], 0)
        (real,) = session.outcomes[0].seen
    world = World(stack for name, stack in everything.stacks.items() if name != "a")
    from_outside = Packet(
        family=4, src=number(A)[1], dst=made.dst, protocol=TCP, sport=made.sport, dport=30080, flags=SYN
    )
    (found,) = walk(world, Receive(world.stacks["r"], from_outside, "ra"))
    assert found.end.verdict is Verdict.DELIVERED
    assert (found.end.namespace, text(found.end.packet.src, 4)) == (real.ns, real.src) == ("b", "10.2.0.1")


def test_the_mtu_of_a_route_counts_and_not_only_that_of_a_device(case: Case) -> None:
    case.add("r", f"ip route replace {B}/32 dev rb mtu 1300", "ip link set rc mtu 1280")
    case.add("a", f"ip route add {C}/32 via 10.1.0.1 mtu lock 1200")
    big = {"size": 1350, "df": True}
    by_route, small, locked = case.goes(udp(B, **big), udp(B, size=1200, df=True), udp(C, size=1250, df=True))
    assert results(by_route) == {"unreachable"}
    assert results(small) == {"ok"}
    assert results(locked) == {"unreachable"}


def test_a_rule_finds_in_a_set_what_a_rule_before_it_has_written(case: Case) -> None:
    forward = "iptables-nft filter -A FORWARD"
    case.add(
        "r",
        *(f"ipset create {name} hash:ip" for name in ("seen", "left")),
        "ipset create near hash:ip netmask 16",
        "ipset create nets hash:net",
        f"ipset add left {A}",
        f"{forward} -d {B} -p tcp -m tcp --dport 80 -j SET --add-set seen src",
        f"{forward} -d {B} -p tcp -m tcp --dport 8080 -j SET --del-set left src",
        f"{forward} -s {A} -d {C} -p tcp -m tcp --dport 80 -j SET --add-set near dst",
        f"{forward} -s {A} -d {C} -p tcp -m tcp --dport 8080 -j SET --add-set nets dst",
        f"{forward} -d {B} -p tcp -m tcp --dport 80 -m set --match-set seen src -j DROP",
        f"{forward} -d {B} -p tcp -m tcp --dport 8080 -m set --match-set left src -j DROP",
        f"{forward} -s {C} -p tcp -m tcp --sport 80 -m set --match-set near src -j DROP",
        f"{forward} -s {C} -p tcp -m tcp --sport 8080 -m set --match-set nets src -j DROP",
    )
    put, taken, answered, net = case.begins(tcp(B), tcp(B, 8080), tcp(C), tcp(C, 8080))
    assert results(put) == {"timeout"}
    assert results(taken) == {"ok"}
    assert results(answered) == {"timeout"}
    # How long the network is that goes into a set of networks hangs on those in it.
    assert results(net) == {"ok", "timeout"}


def test_a_rule_of_nftables_finds_in_a_set_what_a_rule_before_it_has_written(case: Case) -> None:
    rules = (
        f"ip daddr {B} tcp dport 80 add @seen {{ ip saddr }}",
        f"ip daddr {B} tcp dport 8080 delete @left {{ ip saddr }}",
        f"ip daddr {C} tcp dport 80 update @pairs {{ ip saddr . tcp dport }}",
        f"ip daddr {B} tcp dport 80 ip saddr @seen drop",
        f"ip daddr {B} tcp dport 8080 ip saddr @left drop",
        f"ip saddr {C} ip daddr . tcp sport @pairs drop",
        f"ip daddr {B} udp dport 80 add @rates {{ ip saddr limit rate over 1000/second }} drop",
        f"ip daddr {B} udp dport 8080 add @full {{ ip saddr }} drop",
        f"ip daddr {C} udp dport 80 ip saddr @limits drop",
    )
    case.add(
        "r",
        "nft table ip t { set seen { type ipv4_addr; flags dynamic; }; "
        f"set left {{ type ipv4_addr; flags dynamic; elements = {{ {A} }}; }}; "
        "set pairs { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 3h; }; "
        "set rates { type ipv4_addr; flags dynamic; }; "
        f"set full {{ type ipv4_addr; flags dynamic; size 1; elements = {{ {C} }}; }}; "
        f"set limits {{ type ipv4_addr; flags dynamic; elements = {{ {A} limit rate over 1000/second }}; }}; "
        f"chain f {{ type filter hook forward priority 0; {'; '.join(rules)}; }}; }}",
    )
    put, taken, answered, rate, full, limit = case.begins(
        tcp(B), tcp(B, 8080), tcp(C), udp(B), udp(B, 8080), udp(C)
    )  # fmt: skip
    assert results(put) == {"timeout"}
    assert results(taken) == {"ok"}
    assert results(answered) == {"timeout"}
    for hanging in (rate, full, limit):
        assert results(hanging) == {"ok", "timeout"}


def test_members_that_exclude_are_found_where_a_rule_asks_for_them(case: Case) -> None:
    """With --return-nomatch a set matches by its members that exclude, and by no others."""
    asked = "-m set --match-set nets dst --return-nomatch -j DROP"
    case.add(
        "r",
        "ipset create nets hash:net",
        "ipset create list list:set",
        "ipset add nets 10.0.0.0/8",
        f"ipset add nets {B} nomatch",
        "ipset add list nets",
        f"iptables-nft filter -A FORWARD -s {A} -p tcp -m tcp --dport 80 {asked}",
        f"iptables-nft filter -A FORWARD -s {A} -p udp {asked.replace('-m set', '-m set !')}",
        f"iptables-nft filter -A FORWARD -s {A} -p tcp -m tcp --dport 8080 {asked.replace('nets', 'list')}",
    )
    found = case.goes(tcp(B), tcp(C), udp(B), udp(C), tcp(B, 8080), tcp(C, 8080))
    assert [results(f) for f in found] == [{"timeout"}, {"ok"}, {"ok"}, {"timeout"}, {"timeout"}, {"ok"}]


def test_a_set_may_look_at_some_bits_of_an_address_or_at_no_mac(case: Case) -> None:
    forward = "iptables-nft filter -A FORWARD -p"
    case.add(
        "r",
        "ipset create bits hash:ip bitmask 255.0.0.255",
        "ipset create ported hash:ip,port bitmask 255.0.0.255",
        f"ipset create hosts bitmap:ip,mac range {A}/24",
        "ipset create others bitmap:ip,mac range 10.1.0.0/24",
        "ipset add bits 10.9.9.2",
        "ipset add ported 10.9.9.2,udp:80",
        f"ipset add hosts {A}",
        f"ipset add others {A},02:00:00:00:99:99",
        f"{forward} tcp -m tcp --dport 80 -m set --match-set bits dst -j DROP",
        f"{forward} udp -m set --match-set ported dst,dst -j DROP",
        f"{forward} tcp -m tcp --dport 8080 -d {B} -m set --match-set hosts src,src -j DROP",
        f"{forward} tcp -m tcp --dport 8080 -d {C} -m set --match-set others src,src -j DROP",
    )
    found = case.begins(tcp(B), udp(B), udp(B, 8080), tcp(B, 8080), tcp(C, 8080))
    assert [results(f) for f in found] == [{"timeout"}, {"timeout"}, {"ok"}, {"timeout"}, {"ok"}]


def test_a_prefix_is_translated_to_the_prefix_of_a_map(case: Case) -> None:
    to = "dnat ip prefix to ip daddr map { 10.96.0.0/24 : 10.2.0.0/24, 10.97.0.0/24 : 10.3.0.0/24 }"
    case.add("r", f"nft table ip t {{ chain p {{ type nat hook prerouting priority -100; {to}; }}; }}")
    one, other = case.goes(tcp("10.96.0.2"), udp("10.97.0.2"))
    assert ends(one) == {("b", A, 80)}
    assert ends(other) == {("c", A, 80)}
    assert [a.request.probability for a in one] == [1.0]


def test_where_arp_is_off_nobody_is_asked(case: Case) -> None:
    """The kernel then takes its own hardware address for everybody's, and the other end drops what has it."""
    case.add("r", "ip link set rb arp off")
    for found in case.goes(tcp(B), tcp("fd00:2::2")):
        assert results(found) == {"timeout"}
        assert found[0].request.end.namespace == "b"


def test_a_host_may_answer_no_echo(case: Case) -> None:
    case.add("b", "sysctl ipv4/icmp_echo_ignore_all=1", "sysctl ipv6/icmp/echo_ignore_all=1")
    for found in case.goes(*(Probe(ns="a", protocol="icmp", dst=dst) for dst in (B, "fd00:2::2"))):
        assert results(found) == {"timeout"}


def test_nobody_knows_who_answers_for_an_address_that_no_known_route_has(case: Case) -> None:
    case.add("r", "ip rule add pref 5 lookup main suppress_ifgroup 0")
    (found,) = case.begins(tcp(B))
    assert "unknown" in results(found)


def test_errors_are_routed_by_the_tos_of_what_they_are_about_and_by_their_type(case: Case) -> None:
    """Rules of IPv4 see no precedence in a TOS, and a type where ports would be."""
    case.add("a", "iptables-legacy mangle -A POSTROUTING -d 10.1.0.1 -p udp -j DSCP --set-dscp 0x04")
    case.add("r", "ip rule add pref 1000 tos 0x10 prohibit")
    case.add("b", "ip rule add pref 1000 dport 771 prohibit", "ip rule add pref 1001 dport 2048 prohibit")
    asking, answering = (Probe(ns=ns, protocol="icmp", dst=dst) for ns, dst in (("b", A), ("a", B)))
    by_tos, by_type, asked, answered = case.goes(udp("10.1.0.1", 9), udp(B, 9), asking, answering)
    assert results(by_tos) == results(by_type) == {"timeout"}
    assert results(asked) == {"unreachable"}
    assert results(answered) == {"ok"}


def test_a_range_that_is_not_and_ends_before_it_begins_is_two_comparisons(case: Case) -> None:
    """So nft prints them; what neither forbids matches."""
    rules = "tcp dport < 8081 tcp dport > 8079 drop; udp dport < 81 udp dport > 80 drop"
    case.add("r", f"nft table ip t {{ chain f {{ type filter hook forward priority 0; {rules}; }}; }}")
    between, outside, never = case.goes(tcp(B, 8080), tcp(B), udp(B))
    assert results(between) == {"timeout"}
    assert results(outside) == results(never) == {"ok"}


def test_of_ipv6_every_message_is_routed_by_its_type(case: Case) -> None:
    case.add("a", "ip -6 rule add pref 1000 dport 32768 to fd00:3::/64 prohibit")
    case.add("b", "ip -6 rule add pref 1000 dport 260 prohibit", "ip -6 rule add pref 1001 dport 33024 prohibit")
    echo = Probe(ns="a", protocol="icmp", dst="fd00:3::2")
    asked, answered, error = case.goes(echo, structs.replace(echo, dst="fd00:2::2"), udp("fd00:2::2", 9))
    assert results(asked) == {"unreachable"}
    assert results(answered) == results(error) == {"timeout"}


def test_a_connection_of_ipv6_keeps_the_route_that_it_was_made_with(case: Case) -> None:
    """The route is looked up before there is a source address, by which a rule would refuse it."""
    case.add("a", "ip -6 rule add pref 1000 from fd00:1::/64 to fd00:2::2 prohibit")
    case.add("a", "ip rule add pref 1000 from 10.1.0.0/24 to 10.2.0.2 prohibit")
    six, four = case.goes(tcp("fd00:2::2"), tcp(B))
    assert results(six) == {"ok"}
    assert results(four) == {"unreachable"}


def test_an_advertisement_that_is_marked_is_routed_anew(case: Case) -> None:
    """Nobody routes what neighbours tell each other, until a rule in OUTPUT changes its mark."""
    chain = "chain f { type route hook output priority -90; meta mark set 0x10; }"
    case.add("r", f"nft table ip6 t {{ {chain}; }}", "ip -6 route add blackhole fd00:1::2/128")
    (lost,) = case.goes(udp("fd00:2::2"))
    assert results(lost) == {"unreachable"}


def test_what_is_routed_anew_is_nobodys_in_ipv4(case: Case) -> None:
    case.add(
        "a",
        "iptables-nft mangle -A OUTPUT -p tcp -j MARK --set-mark 0x10",
        "ip6tables-nft mangle -A OUTPUT -p tcp -j MARK --set-mark 0x10",
        "ip rule add pref 1000 fwmark 0x10 uidrange 1337-1337 prohibit",
        "ip -6 rule add pref 1000 fwmark 0x10 uidrange 1337-1337 prohibit",
    )
    four, six = case.goes(tcp(B, uid=1337), tcp("fd00:2::2", uid=1337))
    assert results(four) == {"ok"}
    assert results(six) == {"timeout"}


def test_a_host_may_give_all_its_packets_another_time_to_live(case: Case) -> None:
    case.add("a", "sysctl ipv4/ip_default_ttl=1", "sysctl ipv6/conf/eth0/hop_limit=1")
    case.add("r", "sysctl ipv4/ip_default_ttl=2")
    four, six, near = case.goes(tcp(B), tcp("fd00:2::2"), tcp("10.1.0.1"))
    assert results(four) == results(six) == {"unreachable"}
    assert results(near) == {"refused"}
