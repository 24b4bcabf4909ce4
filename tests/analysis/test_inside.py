"""Whose namespace is whose, and which pods can look into a node, without a cluster."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netinspect.analysis.agents import agents, within
from netinspect.analysis.inside import gaps, host_end, match, unread
from netinspect.analysis.interfaces import disagreements
from netinspect.analysis.topology import View, build, settled
from netinspect.kernel.namespace import Namespace
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, PodReference, Section
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Scope
from tests.build import snapshot

CONTAINER = "c" * 64


def pod(name: str, **changes: Any) -> dict[str, Any]:
    container = {"name": "app", "containerID": f"containerd://{CONTAINER}", "state": {"running": {}}}
    addresses = {"podIP": "10.0.0.5", "podIPs": [{"ip": "10.0.0.5"}]}
    status = {"phase": "Running", **addresses, "containerStatuses": [container]}
    spec: dict[str, Any] = {"nodeName": "n1", "containers": [{"name": "app"}]}
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-of-{name}"},
        "spec": spec | changes.pop("spec", {}),
        "status": status | changes.pop("status", {}),
    }


def link(index: int, name: str, peer: int | None = None, address: str = "", master: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": 1450}
    found |= {"link_index": peer, "link_netnsid": 0} if peer else {}
    found |= {"master": master} if master else {}
    return found | {"addr_info": [{"family": "inet", "local": address, "prefixlen": 24}] if address else []}


def namespace(id_: str, links: list[dict[str, Any]], **fields: Any) -> NamespaceEvidence:
    text = msgspec.json.encode(links).decode()
    return NamespaceEvidence(id=id_, sections={"links": Section("links", text, exit_code=0)}, **fields)


def looked(pods: list[dict[str, Any]], *namespaces: NamespaceEvidence) -> Snapshot:
    found = snapshot(pods=pods, nodes=[{"metadata": {"name": "n1"}}])
    kernel = NodeEvidence("n1", Access.POD, "pod/a/b", tuple(namespaces))
    return msgspec.structs.replace(found, kernels=(kernel,))


HOST = namespace("host", [link(1, "lo"), link(9, "veth9", peer=2, master="cni0")])
ETH0 = [link(2, "eth0", peer=9, address="10.0.0.5")]


@pytest.mark.parametrize(
    "known_by",
    [
        {"containers": (CONTAINER,)},
        {"pods": (PodReference("uid-of-web"),)},
        {"pods": (PodReference("of-the-static-pod", "shop", "web"),)},
        {},
    ],
    ids=["container", "uid", "name", "address"],
)
def test_a_pod_is_matched(known_by: dict[str, Any]) -> None:
    inside = match(looked([pod("web")], HOST, namespace("4026532177", ETH0, **known_by)))
    assert set(inside.pods) == {"shop/web"}
    assert inside.places == {"shop/web": "n1"}
    end = host_end(inside.pods["shop/web"].links[0], inside.hosts["n1"])
    assert end is not None
    assert (end.ifname, end.master) == ("veth9", "cni0")


def test_a_namespace_of_nobody_stays_apart() -> None:
    inside = match(looked([pod("web")], HOST, namespace("7", [link(2, "eth0", address="10.9.9.9")])))
    assert not inside.pods
    assert [n.evidence.id for n in inside.others["n1"]] == ["7"]


def test_a_pod_on_the_host_network_is_on_the_host_whatever_runs_in_it() -> None:
    agent = pod("agent", spec={"hostNetwork": True})
    inside = match(looked([agent], HOST, namespace("7", ETH0, pods=(PodReference("uid-of-agent"),))))
    assert inside.pods["shop/agent"] is inside.hosts["n1"]


def test_a_finished_pod_has_none() -> None:
    inside = match(looked([pod("done", status={"phase": "Succeeded"})], HOST, namespace("7", ETH0)))
    assert not inside.pods


def test_without_the_api_server_the_node_itself_says_the_names() -> None:
    kernel = NodeEvidence("n1", Access.LOCAL, "this machine", (
        HOST, namespace("7", ETH0, pods=(PodReference("u", "shop", "web"),)),
    ))  # fmt: skip
    assert set(match(Snapshot(kernels=(kernel,))).pods) == {"shop/web"}


def test_gaps_name_the_sections_that_matter() -> None:
    broken = NamespaceEvidence(id="host", sections={
        "links": Section("links", "[{]", exit_code=0),
        "routes4": Section("routes4", "", exit_code=1, stderr="RTNETLINK answers: Operation not permitted"),
        "nftables": Section("nftables", absent=True, stderr="no nft there"),
    })  # fmt: skip
    kernel = NodeEvidence("n1", Access.EXEC, "pod/a/b", (broken,))
    (gap,) = gaps((kernel,), frozenset({"links", "routes4"}))
    assert gap.resource == "node/n1"
    assert "failed: routes4 (RTNETLINK answers: Operation not permitted)" in gap.message
    assert "unreadable: links" in gap.message
    assert "nftables" not in gap.message


def test_the_pods_own_namespace_is_that_with_its_address() -> None:
    """What runs in a pod may make namespaces of its own, in which its processes are found as well."""
    inner = namespace("1", [link(1, "lo")], pods=(PodReference("uid-of-web"),))
    own = namespace("2", ETH0, pods=(PodReference("uid-of-web"),))
    for order in ((HOST, inner, own), (HOST, own, inner)):
        inside = match(looked([pod("web")], *order))
        assert inside.pods["shop/web"].evidence.id == "2"
        assert [n.evidence.id for n in inside.others["n1"]] == ["1"]


def test_an_earlier_pod_of_the_same_name_is_another() -> None:
    ending = namespace("1", [link(2, "eth0", address="10.0.0.99")], pods=(PodReference("older", "shop", "web"),))
    snapshot_ = looked([pod("web")], HOST, ending)
    assert not match(snapshot_).pods
    (gap,) = [g for g in unread(snapshot_, {"n1": None}) if g.resource.startswith("pod/")]
    assert (gap.resource, gap.reason.value) == ("pod/shop/web", "no-access")
    assert not unread(snapshot_, {"n1": ()})


def test_a_reading_that_ended_early_is_said() -> None:
    cut = NodeEvidence("n1", Access.EXEC, "pod/a/b", (HOST,), complete=False)
    found = msgspec.structs.replace(looked([], HOST), kernels=(cut,))
    assert [g.resource for g in unread(found, {"n1": ()})] == ["node/n1"]
    document = build(msgspec.structs.replace(found, gaps=unread(found, {"n1": ()})), frozenset({View.HOST}), Scope())
    assert not settled(document, msgspec.structs.replace(found, gaps=unread(found, {"n1": ()})))


def test_nothing_is_said_of_what_was_not_seen() -> None:
    """A pod whose routes could not be read is not said to have none, nor a tunnel that is always down to be a fault."""
    tunl0 = {"ifindex": 3, "ifname": "tunl0", "flags": ["NOARP"], "mtu": 1480}
    own = namespace("2", [*ETH0, tunl0], pods=(PodReference("uid-of-web"),))
    web = snapshot(pods=[pod("web")]).pods[0]
    assert disagreements(web, match(looked([pod("web")], HOST, own))) == ()
    routes = Section("routes4", "10.0.0.0/24 dev eth0 scope link\n", exit_code=0)
    seen = msgspec.structs.replace(own, sections={**own.sections, "routes4": routes})
    assert disagreements(web, match(looked([pod("web")], HOST, seen))) == ("it has no default route for IPv4",)
    odd = msgspec.structs.replace(own, sections={**own.sections, "routes4": Section("routes4", "via", exit_code=0)})
    assert disagreements(web, match(looked([pod("web")], HOST, odd))) == ()


def test_every_section_that_did_not_come_is_missing() -> None:
    failed = {
        name: Section(name, exit_code=4, stderr="Permission denied") for name in ("iptables-nft", "ip6tables-nft")
    }
    evidence = NamespaceEvidence(
        id="host", sections={**failed, "rules4": Section("rules4", "0: dport x/y", exit_code=0)}
    )
    troubles = {m.section: m.trouble.value for m in Namespace(evidence).missing()}
    assert troubles["iptables-nft"] == troubles["ip6tables-nft"] == "failed"
    assert troubles["rules4"] == "unreadable"
    assert troubles["links"] == troubles["nftables"] == "cut"
    assert "wireguard-endpoints" not in troubles
    assert "wireguard-endpoints" in {m.section for m in Namespace(evidence).missing(frozenset({"wireguard-endpoints"}))}


def test_a_table_that_iptables_cannot_show_is_missing() -> None:
    text = "# Table `filter' is incompatible, use 'nft' tool.\n"
    evidence = NamespaceEvidence(id="host", sections={"iptables-nft": Section("iptables-nft", text, exit_code=0)})
    (found,) = [m for m in Namespace(evidence).missing() if m.section == "iptables-nft"]
    assert "nftables has it" in found.message


def context(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "securityContext": fields}]}


@pytest.mark.parametrize(
    ("spec", "sees_pods"),
    [
        ({"hostNetwork": True, **context(privileged=True)}, False),
        ({"hostNetwork": True, **context(capabilities={"add": ["NET_ADMIN"]})}, False),
        ({"hostPID": True, **context(privileged=True)}, True),
        ({"hostPID": True, **context(capabilities={"add": ["CAP_SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"]})}, True),
        ({"hostNetwork": True}, None),
        ({"hostPID": True, **context(capabilities={"add": ["SYS_ADMIN"]})}, None),
        (context(privileged=True), None),
    ],
)
def test_agents_are_chosen_by_what_they_may_do(spec: dict[str, Any], sees_pods: bool | None) -> None:
    found = agents(snapshot(pods=[pod("any-name", spec=spec)]).pods)
    assert [a.sees_pods for a in found] == ([] if sees_pods is None else [sees_pods])


def test_the_ablest_agent_comes_first_and_those_that_do_not_run_are_none() -> None:
    proxy = pod("a-proxy", spec={"hostNetwork": True, **context(privileged=True)})
    sensor = pod("z-sensor", spec={"hostPID": True, **context(privileged=True)})
    crashing = {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
    down = pod("b-down", spec={"hostPID": True, **context(privileged=True)}, status=crashing)
    assert [a.pod for a in agents(snapshot(pods=[proxy, sensor, down]).pods)] == ["z-sensor", "a-proxy"]
    assert [a.pod for a in within(snapshot(pods=[pod("web"), proxy]).pods)] == ["web"]
