"""What a trace says where kernels were read, and where only some of them were."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question, Via
from netinspect.analysis.service_trace import explain
from netinspect.analysis.trace import trace
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, PodReference
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level, Outcome, Trace
from tests import build
from tests.kernel.small_node import sections

_RULES = "*nat\n:PREROUTING ACCEPT [0:0]\n{}COMMIT\n"
WEB = "10.243.0.7"


def link(index: int, name: str, address: str, kind: str = "", **more: object) -> dict[str, object]:
    local, _, length = address.partition("/")
    own = [{"family": "inet", "local": local, "prefixlen": int(length), "scope": "global"}] if local else []
    info = {"info_kind": kind} if kind else {}
    return {"ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": 1500, "addr_info": own,
            "address": f"02:00:00:00:{index:02x}:01", "linkinfo": info, **more}  # fmt: skip


def lo() -> dict[str, object]:
    return {"ifindex": 1, "ifname": "lo", "link_type": "loopback", "flags": ["UP", "LOWER_UP"], "mtu": 65536}


def pod(**changed: str) -> NamespaceEvidence:
    links = [lo(), link(9, "eth0", f"{WEB}/24", "veth", link_index=10, link_netnsid=0)]
    texts = {
        "links": json.dumps(links), "neighbours": "[]", "sysctl": "",
        "routes4": f"default via 10.243.0.1 dev eth0\n10.243.0.0/24 dev eth0\nlocal {WEB} dev eth0 table local\n"
        "local 127.0.0.0/8 dev lo table local\n",
        "sockets": "tcp LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*\n", **changed,
    }  # fmt: skip
    return NamespaceEvidence("pod", sections(texts), pods=(PodReference("", "shop", "web"),))


def node(gateway: str = "REACHABLE", **changed: str) -> NamespaceEvidence:
    links = [
        lo(), link(2, "eth0", "192.0.2.1/24"), link(3, "cni0", "10.243.0.1/24", "bridge"),
        link(10, "veth10", "", "veth", link_index=9, link_netnsid=0, master="cni0"),
    ]  # fmt: skip
    near = [{"dst": "192.0.2.254", "dev": "eth0", "lladdr": "02:00:00:00:00:fe", "state": [gateway]}]
    sysctl = "".join(f"/proc/sys/net/ipv4/conf/{d}/forwarding:1\n" for d in ("eth0", "cni0"))
    texts = {"links": json.dumps(links), "neighbours": json.dumps(near if gateway else []),
             "sysctl": sysctl + "/proc/sys/net/ipv4/ip_forward:1\n", "sockets": "", **changed}  # fmt: skip
    return NamespaceEvidence("host", sections(texts))


def cluster(host: NamespaceEvidence, inside: NamespaceEvidence, **more: object) -> Snapshot:
    port = {"port": 80, "protocol": "TCP", "nodePort": 30080}
    edge = build.service("edge", "10.96.0.20", ports=[port], type="LoadBalancer")
    edge["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.80"}]}}
    lists: dict[str, list[build.Json]] = {
        "nodes": [build.node("n1", "192.0.2.1"), build.node("n2", "192.0.2.2")],
        "pods": [build.pod("web", WEB), build.pod("other", "10.243.1.9", on="n2")],
        "services": [edge],
        "endpoint_slices": [build.endpoint_slice("edge", {**build.endpoint(WEB, "web"), "nodeName": "n1"})],
    }
    found = build.snapshot(**{**lists, **more})  # type: ignore[arg-type]
    return structs.replace(found, kernels=(NodeEvidence("n1", Access.POD, "test", (host, inside)),))


def rules(*lines: str) -> Mapping[str, str]:
    return {"iptables-nft": _RULES.format("".join(f"-A {line}\n" for line in lines))}


TO_WEB = f"PREROUTING -p tcp --dport 30080 -j DNAT --to-destination {WEB}:8080"
TO_NOBODY = f"PREROUTING -p tcp --dport 30080 -j DNAT --to-destination {WEB}:81"


def asked(
    host: NamespaceEvidence, source: str, to: str, inside: NamespaceEvidence | None = None, **more: object
) -> Trace:
    extra = {k: more.pop(k) for k in ("services", "endpoint_slices", "pods") if k in more}
    question = Question(source, to, "shop", **more)  # type: ignore[arg-type]
    return trace(cluster(host, inside or pod(), **extra), question)


@pytest.mark.parametrize("gateway", ["REACHABLE", ""])
@pytest.mark.parametrize(("rule", "arrival"), [(TO_WEB, Arrival.ARRIVES), (TO_NOBODY, Arrival.REFUSED)])
def test_an_answer_that_leaves_is_what_it_says(gateway: str, rule: str, arrival: Arrival) -> None:
    found = asked(node(gateway, **rules(rule)), "external", "node/n1:30080")
    assert (found.level, found.arrival) == (Level.SIMULATED, arrival)


def test_a_door_that_was_not_read_is_not_left_out() -> None:
    found = asked(node(**rules(TO_WEB)), "external", "svc/edge", via=Via.LOAD_BALANCER)
    assert found.level is Level.INFERRED
    assert {f.taken: f.probability for w in found.ways for f in w.forks} == {"n1": None, "n2": None}
    assert any("n1, n2" in note for note in found.notes)


def test_what_strays_to_what_was_not_read_does_not_count_as_meant() -> None:
    stray = "OUTPUT -d 10.96.0.20/32 -p tcp -j DNAT --to-destination 10.243.1.9:8080"
    text = _RULES.replace(":PRE", ":OUTPUT ACCEPT [0:0]\n:PRE").format(f"-A {stray}\n")
    host = node(**{"iptables-nft": text})
    found = asked(host, "node/n1", "svc/edge")
    assert (found.level, found.arrival, found.outcome) == (Level.INFERRED, Arrival.UNKNOWN, Outcome.UNSETTLED)
    assert explain(cluster(host, pod()), "svc/edge", "shop").outcome is Outcome.UNSETTLED


def test_rules_that_send_to_no_endpoint_are_the_cause() -> None:
    other = "OUTPUT -d 10.96.0.20/32 -p tcp -j DNAT --to-destination 10.243.0.7:81"
    text = _RULES.replace(":PRE", ":OUTPUT ACCEPT [0:0]\n:PRE").format(f"-A {other}\n")
    slices = [build.endpoint_slice("edge", build.endpoint("10.243.1.9", "other"))]
    found = asked(node(**{"iptables-nft": text}), "node/n1", "svc/edge", endpoint_slices=slices)
    assert found.arrival is Arrival.REFUSED
    assert found.cause is not None
    assert (found.cause.place, found.cause.proof is not None) == ("node/n1", True)
    assert "no ready endpoint of svc/shop/edge: they are stale" in found.cause.reason


def test_a_service_of_what_is_outside_should_lead_there() -> None:
    outside = "OUTPUT -d 10.96.0.20/32 -p tcp -j DNAT --to-destination 198.51.100.9:443"
    text = _RULES.replace(":PRE", ":OUTPUT ACCEPT [0:0]\n:PRE").format(f"-A {outside}\n")
    slices = [build.endpoint_slice("edge", build.endpoint("198.51.100.9"))]
    found = asked(node(**{"iptables-nft": text}), "node/n1", "svc/edge", endpoint_slices=slices)
    assert (found.arrival, found.cause, found.outcome) == (Arrival.LEAVES, None, Outcome.SOUND)
    gone = [build.endpoint_slice("edge", build.endpoint("198.51.100.9", "of-a-pod-that-is-gone"))]
    found = asked(node(**{"iptables-nft": text}), "node/n1", "svc/edge", endpoint_slices=gone)
    assert (found.arrival, found.outcome) == (Arrival.LEAVES, Outcome.FAULTY)


def test_a_service_whose_pod_has_no_route_there_or_back_is_not_meant_to_leave() -> None:
    text = _RULES.replace(":PRE", ":OUTPUT ACCEPT [0:0]\n:PRE").format(
        f"-A OUTPUT -d 10.96.0.20/32 -p tcp -j DNAT --to-destination {WEB}:8080\n"
    )
    own = "local 10.243.0.1 dev cni0 table local\nlocal 192.0.2.1 dev eth0 table local\n"
    default = f"default via 192.0.2.254 dev eth0\n{own}"
    there = asked(node(**{"iptables-nft": text, "routes4": default + "192.0.2.0/24 dev eth0\n"}), "node/n1", "svc/edge")
    assert (there.arrival, there.outcome) == (Arrival.LEAVES, Outcome.FAULTY)
    assert there.cause is not None
    assert f"no route to {WEB}, which is pod/shop/web's" in there.cause.reason
    links = json.loads(pod().sections["links"].text)
    links.append(link(11, "net1", "198.51.100.7/24"))
    astray = f"default via 198.51.100.1 dev net1\nlocal {WEB} dev eth0 table local\n198.51.100.0/24 dev net1\n"
    inside = pod(links=json.dumps(links), routes4=astray)
    back = asked(node(**{"iptables-nft": text}), "node/n1", "svc/edge", inside)
    assert back.arrival is not Arrival.ARRIVES
    assert back.outcome is Outcome.FAULTY


def test_nobody_knows_where_a_proxy_sends_on_to() -> None:
    text = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -j REDIRECT --to-ports 8080\nCOMMIT\n"
    found = asked(node(), "web", "192.0.2.77:80", pod(**{"iptables-nft": text}))
    assert (found.arrival, found.outcome) == (Arrival.UNKNOWN, Outcome.UNSETTLED)
    assert "a proxy on port 8080 takes it" in found.sentence


def test_a_rule_on_a_user_that_nobody_knows_is_not_decided() -> None:
    text = "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -m owner --uid-owner 0 -j DROP\nCOMMIT\n"
    inside = pod(**{"iptables-nft": text})
    host = node(sockets="tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n")
    assert asked(host, "web", "node/n1:22", inside).arrival is Arrival.UNKNOWN
    known = [build.pod("web", WEB, securityContext={"runAsUser": 1000})]
    assert asked(host, "web", "node/n1:22", inside, pods=known).arrival is Arrival.ARRIVES


def test_a_policy_rule_for_users_is_not_decided_either() -> None:
    inside = pod(rules4="0: from all lookup local\n9: from all uidrange 0-0 prohibit\n32766: from all lookup main\n")
    assert asked(node(), "web", "node/n1:22", inside).arrival is Arrival.UNKNOWN


def test_a_drop_of_the_answer_is_the_cause_and_not_that_it_was_not_translated() -> None:
    text = (
        "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --sport 8080 -j DROP\nCOMMIT\n"
        f"*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 10.96.0.20/32 -p tcp -j DNAT --to-destination {WEB}:8080\nCOMMIT\n"
    )
    found = asked(node(**{"iptables-nft": text}), "node/n1", "svc/edge")
    assert found.arrival is Arrival.LOST
    assert found.cause is not None
    assert found.cause.reason == "a rule drops it"
