from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from netinspect.analysis.topology import View, build, settled
from netinspect.model.snapshot import Gap, GapReason, Snapshot
from netinspect.model.topology import Scope
from tests.build import Json, endpoint, endpoint_slice, meta, node, pod, service, snapshot

ALL = frozenset(View)


def document(of: Snapshot) -> Any:
    return json.loads(msgspec.json.encode(build(of, ALL, Scope())))


def mapped(**lists: Any) -> Any:
    return document(snapshot(**lists))


def mismatches(found: Any) -> list[str]:
    return [m["kind"] for s in found["service"]["services"] for m in s.get("mismatches", ())]


def test_use_of_a_node_range_counts_live_addresses_once() -> None:
    found = mapped(
        nodes=[node("n1", cidrs=("10.0.1.0/24", "fd00:1::/64")), node("n2", cidrs=("10.0.2.0/24",))],
        pods=[
            pod("a", "10.0.1.2", "fd00:1::2"),
            pod("b", "10.0.1.3"),
            pod("twin", "10.0.1.3"),
            pod("done", "10.0.1.4", phase="Succeeded"),
            pod("failed", "10.0.1.5", phase="Failed"),
            pod("on-host", "192.168.0.1", hostNetwork=True),
            pod("stray", "10.0.2.9", on="n1"),
        ],
    )
    assert [(n["node"], n["cidr"], n["used"], n["capacity"]) for n in found["cluster"]["nodes"]] == [
        ("n1", "10.0.1.0/24", 2, 254),
        ("n1", "fd00:1::/64", 1, None),
        ("n2", "10.0.2.0/24", 1, 254),
    ]


def test_odd_addresses_of_pods_are_said() -> None:
    found = mapped(
        nodes=[node("n1", cidrs=("10.0.1.0/24",))],
        pods=[
            pod("good", "10.0.1.2"),
            pod("twin-a", "10.0.1.3"),
            pod("twin-b", "10.0.1.3"),
            pod("done", "10.0.1.3", phase="Succeeded"),
            pod("outside", "10.0.9.2"),
            pod("other-family", "fd00::1"),
            pod("waiting", phase="Pending", on=""),
        ],
    )
    pods = {p["name"]: p.get("addresses", []) for p in found["cluster"]["pods"]}
    assert pods["good"] == [{"address": "10.0.1.2"}]
    assert pods["twin-a"] == [{"address": "10.0.1.3", "sharedWith": ["shop/twin-b"]}]
    assert pods["done"] == [{"address": "10.0.1.3", "released": True}]
    assert pods["outside"] == [{"address": "10.0.9.2", "outsideNodeRange": True}]
    assert pods["other-family"] == [{"address": "fd00::1"}]
    assert pods["waiting"] == []


def test_ports_of_the_host_and_their_clashes() -> None:
    def claims(port: int, ip: str = "", protocol: str = "TCP") -> list[Json]:
        return [{"name": "c", "ports": [{"containerPort": 80, "hostPort": port, "hostIP": ip, "protocol": protocol}]}]

    found = mapped(
        nodes=[node("n1")],
        pods=[
            pod("a", containers=claims(80)),
            pod("b", containers=claims(80, "10.0.0.1")),
            pod("udp", containers=claims(80, protocol="UDP")),
            pod("x", containers=claims(90, "10.0.0.1")),
            pod("y", containers=claims(90, "10.0.0.2")),
            pod("gone", containers=claims(80), phase="Succeeded"),
            pod("silent", hostNetwork=True),
            pod("plain", containers=[{"name": "c", "ports": [{"containerPort": 80}]}]),
        ],
    )
    entry = found["host"]["nodes"][0]
    assert [p["name"] for p in entry["pods"]] == ["a", "b", "silent", "udp", "x", "y"]
    assert entry["clashes"] == [{"port": 80, "protocol": "TCP", "pods": ["shop/a", "shop/b"]}]


def test_nodes_are_told_by_their_pods_where_they_may_not_be_listed() -> None:
    one = pod("a", "10.0.1.2")
    one["status"] |= {"hostIP": "192.168.0.1", "hostIPs": [{"ip": "192.168.0.1"}, {"ip": "fd00::1"}]}
    entry = mapped(pods=[one], gaps=("nodes",))["host"]["nodes"][0]
    assert (entry["name"], entry["knownFrom"], entry["ready"]) == ("n1", "pods", "Unknown")
    assert [a["address"] for a in entry["addresses"]] == ["192.168.0.1", "fd00::1"]


def test_conditions_of_endpoints_have_the_defaults_of_the_api() -> None:
    """discovery/v1: absent ready means true, absent serving means as ready, absent terminating means false."""
    found = mapped(
        pods=[],
        services=[service("s", "10.96.0.1")],
        endpoint_slices=[endpoint_slice(
            "s", endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False),
            endpoint("10.0.0.3", ready=False, serving=True, terminating=True),
        )],
    )  # fmt: skip
    endpoints = found["service"]["services"][0]["ports"][0]["endpoints"]
    assert [(e["ready"], e["serving"], e["terminating"]) for e in endpoints] == [
        (True, True, False), (False, False, False), (False, True, True)
    ]  # fmt: skip


def test_ports_meet_slices_by_name_and_protocol() -> None:
    found = mapped(
        services=[service("dns", "10.96.0.10", ports=[
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}
        ])],
        endpoint_slices=[endpoint_slice("dns", endpoint("10.0.0.1"), ports=[
            {"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5354, "protocol": "TCP"}
        ])],
    )  # fmt: skip
    ports = found["service"]["services"][0]["ports"]
    assert [[e["port"] for e in p["endpoints"]] for p in ports] == [[5353], [5354]]


def test_a_slice_may_have_no_ports_and_no_endpoints() -> None:
    empty = {"metadata": meta("s-x", labels={"kubernetes.io/service-name": "s"}), "endpoints": None, "ports": None}
    assert mapped(services=[service("s", "10.96.0.1")], endpoint_slices=[empty])["service"]["services"][0]["ports"]


def test_mismatches_are_named_once_each() -> None:
    web = [{"name": "c", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]
    named = [{"port": 80, "protocol": "TCP", "targetPort": "http"}]
    found = mapped(
        pods=[
            pod("web", "10.0.0.1", labels={"app": "web"}, containers=web),
            pod("done", "10.0.0.2", labels={"app": "done"}, phase="Succeeded"),
        ],
        services=[
            service("a-good", "10.96.0.1", selector={"app": "web"}, ports=named),
            service("b-finished", "10.96.0.2", selector={"app": "done"}),
            service("c-misnamed", "10.96.0.3", selector={"app": "web"},
                    ports=[{"port": 80, "protocol": "TCP", "targetPort": "grpc"}]),
            service("d-wrong-protocol", "10.96.0.4", selector={"app": "web"},
                    ports=[{"port": 80, "protocol": "UDP", "targetPort": "http"}]),
            service("e-unready", "10.96.0.5"),
            service("f-external-name", type="ExternalName", externalName="example.com"),
            service("g-stale", "10.96.0.6"),
        ],
        endpoint_slices=[
            endpoint_slice("a-good", endpoint("10.0.0.1", "web")),
            endpoint_slice("e-unready", endpoint("10.0.0.1", "web", ready=False)),
            endpoint_slice("g-stale", endpoint("10.0.0.9", "web"), endpoint("10.0.0.8", "gone"),
                           endpoint("10.0.0.2", "done")),
        ],
    )  # fmt: skip
    by_name = {s["name"]: [m["kind"] for m in s.get("mismatches", ())] for s in found["service"]["services"]}
    assert by_name == {
        "a-good": [],
        "b-finished": ["selector-matches-nothing"],
        "c-misnamed": ["port-name-unknown"],
        "d-wrong-protocol": ["port-name-unknown"],
        "e-unready": ["no-ready-endpoint"],
        "f-external-name": [],
        "g-stale": ["stale-endpoint"] * 3,
    }


def test_nothing_is_called_wrong_that_was_not_seen() -> None:
    lists: Any = {"services": [service("s", "10.96.0.1", selector={"a": "b"},
                                       ports=[{"port": 80, "targetPort": "x"}])]}  # fmt: skip
    assert mismatches(mapped(**lists, gaps=("pods", "endpoint_slices"))) == []
    assert mismatches(mapped(**lists, gaps=("pods",))) == ["no-ready-endpoint"]
    unseen = mapped(**lists, gaps=("endpoint_slices", "pods"))["service"]["services"][0]["ports"][0]
    assert unseen["endpoints"] is None


def test_containers_share_one_localhost() -> None:
    def listens(name: str, *ports: int, **more: Any) -> Json:
        return {"name": name, "ports": [{"containerPort": p} for p in ports], **more}

    found = mapped(pods=[pod(
        "p", "10.0.0.1",
        containers=[listens("a", 80, 80), listens("b", 80, 81), listens("c", 82)],
        initContainers=[listens("setup", 80), listens("mesh", 82, restartPolicy="Always")],
        ephemeralContainers=[listens("debug")],
    )])["container"]["pods"][0]  # fmt: skip
    assert [(c["name"], c["role"]) for c in found["containers"]] == [
        ("setup", "init"), ("mesh", "sidecar"), ("a", "container"), ("b", "container"), ("c", "container"),
        ("debug", "ephemeral"),
    ]  # fmt: skip
    assert found["clashes"] == [
        {"port": 80, "protocol": "TCP", "containers": ["a", "b"]},
        {"port": 82, "protocol": "TCP", "containers": ["mesh", "c"]},
    ]


def overlaps(**lists: Any) -> list[tuple[str, str]]:
    return [(o["first"], o["second"]) for o in mapped(**lists)["overlaps"]]


def test_overlaps_of_any_two_networks() -> None:
    services = [{"metadata": {"name": "k"}, "spec": {"cidrs": ["10.0.1.0/25"]}}]
    nodes = [node("n1", "10.0.1.9", cidrs=("10.0.1.0/24",)), node("n2", "10.0.1.10", cidrs=("10.0.1.128/25",))]
    assert overlaps(nodes=nodes, service_cidrs=services) == [
        ("10.0.1.0/24 (pods)", "10.0.1.0/25 (services)"),
        ("10.0.1.9 (node n1) and 1 more", "10.0.1.0/24 (pods)"),
        ("10.0.1.9 (node n1) and 1 more", "10.0.1.0/25 (services)"),
        ("10.0.1.0/24 (node n1)", "10.0.1.128/25 (node n2)"),
    ]
    apart = [node("n1", "192.168.0.1", cidrs=("10.1.0.0/24", "fd00::/64")), node("n2", cidrs=("10.1.1.0/24",))]
    assert overlaps(nodes=apart, service_cidrs=services) == []


def test_overlaps_that_are_meant_so_or_only_inferred_are_not_said() -> None:
    """A ServiceCIDR is made larger by a second one around it; an inferred range may be too wide."""
    grown = [{"metadata": {"name": c}, "spec": {"cidrs": [c]}} for c in ("10.96.0.0/28", "10.96.0.0/24")]
    assert overlaps(service_cidrs=grown) == []
    apart = [service("a", "10.0.0.1"), service("b", "192.168.0.1")]
    assert overlaps(nodes=[node("n1", "100.64.0.1", cidrs=("10.5.0.0/24",))], services=apart) == []


def test_pods_of_a_cni_with_an_address_plan_of_its_own_are_not_called_astray() -> None:
    """Calico ignores the pod CIDRs that the control plane hands out."""
    nodes = [node("n1", cidrs=("10.244.0.0/24",)), node("n2", cidrs=("10.244.1.0/24",))]
    pods = [pod(f"p{i}", f"192.168.7.{i}") for i in range(5)]
    found = mapped(nodes=nodes, pods=pods)["cluster"]
    assert found["nodeRangesUsed"] is False
    assert not any(a.get("outsideNodeRange") for p in found["pods"] for a in p["addresses"])
    assert mapped(nodes=nodes, pods=[])["cluster"]["nodeRangesUsed"] is None
    inside = [pod(f"q{i}", f"10.244.0.{i}") for i in range(5)]
    found = mapped(nodes=nodes, pods=[*inside, pods[0]])["cluster"]
    assert found["nodeRangesUsed"] is True
    assert [p["name"] for p in found["pods"] if p["addresses"][0].get("outsideNodeRange")] == ["p0"]


def test_a_headless_service_without_ports_has_endpoints() -> None:
    found = mapped(
        services=[service("db", "None", selector={"a": "b"}) | {"spec": {"type": "ClusterIP", "clusterIPs": ["None"]}}],
        endpoint_slices=[endpoint_slice("db", endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False), ports=[])],
    )
    (port,) = found["service"]["services"][0]["ports"]
    assert (port["port"], port["protocol"]) == (0, "any")
    assert [(e["address"], e["port"], e["ready"]) for e in port["endpoints"]] == [
        ("10.0.0.1", None, True), ("10.0.0.2", None, False)
    ]  # fmt: skip


def test_what_was_read_in_one_namespace_is_judged_there_and_only_there() -> None:
    gap = Gap(resource="pods", reason=GapReason.PARTIAL, message="", namespaces=("shop",))
    elsewhere = service("away", "10.96.0.2", selector={"a": "b"})
    elsewhere["metadata"]["namespace"] = "other"
    seen = snapshot(services=[service("here", "10.96.0.1", selector={"a": "b"}), elsewhere], gaps=())
    found = document(msgspec.structs.replace(seen, gaps=(gap,)))
    judged = {s["name"]: [m["kind"] for m in s.get("mismatches", ())] for s in found["service"]["services"]}
    assert judged["here"] == ["selector-matches-nothing"]
    assert "selector-matches-nothing" not in judged["away"]


@pytest.mark.parametrize(
    ("pods", "piece", "judged"),
    [
        ("10", "9", True),
        ("10", "10", True),
        ("10", "11", False),
        ("10", "x", False),
        ("", "11", True),
        ("10", "", True),
    ],
)
def test_a_slice_that_is_newer_than_the_pods_is_not_called_stale(pods: str, piece: str, judged: bool) -> None:
    """On a busy cluster a pod may be made after the pods were read and before the slices are."""
    newer = endpoint_slice("s", endpoint("10.0.0.1", "just-made"))
    newer["metadata"]["resourceVersion"] = piece
    seen = snapshot(services=[service("s", "10.96.0.1")], endpoint_slices=[newer])
    found = document(msgspec.structs.replace(seen, versions={"pods": pods} if pods else {}))
    assert mismatches(found) == (["stale-endpoint"] if judged else [])


def test_addresses_are_compared_as_addresses() -> None:
    """An administrator may write an IPv6 address in any of its forms (RFC 5952)."""
    found = mapped(
        pods=[pod("p", "fd00::1")], services=[service("s", "fd00:96::1")],
        endpoint_slices=[endpoint_slice("s", endpoint("FD00:0:0::1", "p"))],
    )  # fmt: skip
    assert mismatches(found) == []


@pytest.mark.parametrize(
    ("gaps", "whole"), [((), True), (("config_maps", "control_plane"), True), (("pods",), False), (("nodes",), False)]
)
def test_a_map_is_settled_where_the_decisive_kinds_were_seen(gaps: tuple[str, ...], whole: bool) -> None:
    assert settled(build(snapshot(gaps=gaps), ALL, Scope()), snapshot(gaps=gaps)) is whole


def test_a_snapshot_is_not_changed_by_looking_at_it() -> None:
    seen = snapshot(
        nodes=[node("n1", "192.168.0.1", cidrs=("10.0.0.0/24",))],
        pods=[pod("a", "10.0.0.1", labels={"app": "a"})],
        services=[service("s", "10.96.0.1", selector={"app": "a"})],
    )
    before = msgspec.json.encode(seen)
    document(seen)
    assert msgspec.json.encode(seen) == before
