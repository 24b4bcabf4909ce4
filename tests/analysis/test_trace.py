"""What the API's objects alone say of a flow, and how its ends are found."""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.analysis.dns import Resolver, of_namespace, parse
from netinspect.analysis.ends import Kind, resolve
from netinspect.analysis.flow import Question, Via, crossed, find, nodes, packet
from netinspect.analysis.service_trace import explain
from netinspect.analysis.trace import trace
from netinspect.errors import UsageError
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level, Outcome
from tests.build import Json, endpoint, endpoint_slice, meta, node, pod, service, snapshot

WEB = pod("web-6d4b75cb6d-x", "10.244.1.5", "fd44::5", labels={"app": "web"},
          containers=[{"name": "app", "ports": [{"containerPort": 8080}]}])  # fmt: skip
WEB["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "web-6d4b75cb6d", "controller": True}]
DB = pod("db-0", "10.244.2.7", on="n2", labels={"app": "db"})
HOST = pod("agent", "172.30.0.11", hostNetwork=True)


def policy(name: str, selector: Json, *types: str) -> Json:
    return {"metadata": meta(name), "spec": {"podSelector": selector, "policyTypes": list(types)}}


def cluster(**more: Any) -> Snapshot:
    lists: dict[str, list[Json]] = {
        "nodes": [node("n1", "172.30.0.11"), node("n2", "172.30.0.12")],
        "pods": [WEB, DB, HOST],
        "services": [
            service("db", "10.96.0.10", selector={"app": "db"}, ports=[{"port": 5432, "protocol": "TCP"}]),
            service("none", "10.96.0.11"),
            service("all", "None", ports=[{"port": 5432, "protocol": "TCP"}]),
            service("away", type="ExternalName", externalName="db.example.org", ports=[]),
        ],
        "endpoint_slices": [endpoint_slice("db", endpoint("10.244.2.7", "db-0")),
                            endpoint_slice("all", endpoint("10.244.2.7", "db-0"))],
    }  # fmt: skip
    gaps = more.pop("gaps", ())
    return snapshot(gaps=gaps, **{**lists, **more})


def asked(source: str, destination: str, found: Snapshot | None = None, **more: Any):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return trace(found or cluster(), Question(source, destination, "shop", **more))


@pytest.mark.parametrize(
    ("written", "kind", "name", "address", "port"),
    [
        ("db-0", Kind.POD, "shop/db-0", "10.244.2.7", 0),
        ("shop/db-0:5432", Kind.POD, "shop/db-0", "10.244.2.7", 5432),
        ("pod/db-0", Kind.POD, "shop/db-0", "10.244.2.7", 0),
        ("deploy/web", Kind.POD, "shop/web-6d4b75cb6d-x", "10.244.1.5", 8080),
        ("svc/db", Kind.SERVICE, "shop/db", "10.96.0.10", 5432),
        ("svc/shop/db:80", Kind.SERVICE, "shop/db", "10.96.0.10", 80),
        ("node/n2", Kind.NODE, "n2", "172.30.0.12", 0),
        ("10.244.2.7:5432", Kind.POD, "shop/db-0", "10.244.2.7", 5432),
        ("[fd44::5]:80", Kind.POD, "shop/web-6d4b75cb6d-x", "fd44::5", 80),
        ("fd44::5", Kind.POD, "shop/web-6d4b75cb6d-x", "fd44::5", 8080),
        ("10.96.0.10", Kind.SERVICE, "shop/db", "10.96.0.10", 5432),
        ("172.30.0.12", Kind.NODE, "n2", "172.30.0.12", 0),
        ("192.0.2.1:443", Kind.ADDRESS, "", "192.0.2.1", 443),
        ("db.shop", Kind.SERVICE, "shop/db", "10.96.0.10", 5432),
        ("db.shop.svc.cluster.local.", Kind.SERVICE, "shop/db", "10.96.0.10", 5432),
        ("db-0.all.shop.svc", Kind.POD, "shop/db-0", "10.244.2.7", 0),
    ],
)
def test_an_end_is_found_as_it_is_written(written: str, kind: Kind, name: str, address: str, port: int) -> None:
    found = resolve(cluster(), written, "shop")
    assert (found.kind, found.name, found.addresses[0], found.port) == (kind, name, address, port)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("nobody", "no pod nobody in namespace shop"), ("svc/nobody", "no svc nobody"), ("node/n9", "no node n9"),
        ("deploy/nobody", "has no pod"), ("db-0:70000", "no port"), ("www.example.org", "no name of this cluster"),
        ("nobody.all.shop.svc", "no pod behind"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_to_be(written: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolve(cluster(), written, "shop")


def test_a_pod_that_is_nowhere_or_over_has_no_address() -> None:
    found = cluster(pods=[pod("over", "10.244.1.9", phase="Succeeded"), pod("waiting", on="")])
    for name in ("over", "waiting"):
        with pytest.raises(UsageError, match="no address"):
            resolve(found, name, "shop")


def test_names_are_looked_up_by_the_search_list() -> None:
    resolver = of_namespace("shop")
    assert resolver.candidates("db")[0] == "db.shop.svc.cluster.local"
    assert resolver.candidates("a.b.c.d.e.f")[0] == "a.b.c.d.e.f"
    assert resolver.candidates("db.") == ("db",)
    read = parse("search shop.svc.corp.example svc.corp.example corp.example\nnameserver 10.96.0.10\noptions ndots:2\n")
    assert read == Resolver(("shop.svc.corp.example", "svc.corp.example", "corp.example"), 2, "corp.example")
    assert not parse("nameserver 192.0.2.1\n").domain


@pytest.mark.parametrize(
    ("source", "destination", "arrival", "said"),
    [
        ("deploy/web", "svc/db", Arrival.ARRIVES, "should arrive"),
        ("deploy/web", "db-0:5432", Arrival.ARRIVES, "should arrive"),
        ("deploy/web", "svc/db:80", Arrival.LOST, "has no port 80/TCP; it has 5432/TCP"),
        ("deploy/web", "svc/none", Arrival.REFUSED, "no endpoint that is ready"),
        ("deploy/web", "svc/all", Arrival.ARRIVES, "should arrive"),
        ("deploy/web", "192.0.2.1:443", Arrival.LEAVES, "nobody in the cluster"),
        ("node/n1", "svc/db", Arrival.ARRIVES, "should arrive"),
    ],
)
def test_the_objects_alone_say_what_should_become_of_a_flow(
    source: str, destination: str, arrival: Arrival, said: str
) -> None:
    found = asked(source, destination)
    assert (found.level, found.arrival) == (Level.INFERRED, arrival)
    assert said in found.sentence
    assert any("no node was looked into" in note for note in found.notes)


def test_a_policy_that_selects_an_end_makes_it_unknown_and_is_named() -> None:
    ingress = policy("deny", {"matchLabels": {"app": "db"}}, "Ingress")
    found = asked("deploy/web", "svc/db", cluster(network_policies=[ingress]))
    assert found.arrival is Arrival.UNKNOWN
    assert "networkpolicy/shop/deny" in found.sentence
    egress = policy("out", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, "Egress")
    assert "networkpolicy/shop/out" in asked("deploy/web", "svc/db", cluster(network_policies=[egress])).sentence


@pytest.mark.parametrize(
    "other",
    [
        policy("deny", {"matchLabels": {"app": "db"}}, "Egress"),
        policy("deny", {"matchLabels": {"app": "web"}}, "Ingress"),
        policy("deny", {"matchExpressions": [{"key": "app", "operator": "Exists"},
                                             {"key": "app", "operator": "NotIn", "values": ["db", "web"]}]}, "Ingress"),
        policy("deny", {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, "Ingress"),
    ],
)  # fmt: skip
def test_a_policy_about_somebody_else_or_the_other_direction_does_not_count(other: Json) -> None:
    assert asked("deploy/web", "svc/db", cluster(network_policies=[other])).arrival is Arrival.ARRIVES


def test_policies_that_could_not_be_read_make_it_unknown() -> None:
    assert asked("deploy/web", "svc/db", cluster(gaps=("network_policies",))).arrival is Arrival.UNKNOWN


def test_what_has_no_address_or_no_port_is_asked_for() -> None:
    for destination, said in (("db-0", "which port"), ("svc/away:80", "db.example.org")):
        with pytest.raises(UsageError) as error:
            asked("deploy/web", destination)
        assert said in str(error.value) + error.value.hint
    with pytest.raises(UsageError, match="no address family in common"):
        asked("db-0", "[fd44::5]:80")
    with pytest.raises(UsageError, match="sends nothing"):
        asked("svc/db", "db-0:5432")
    for source in ("192.0.2.1", "external"):
        with pytest.raises(UsageError, match="does not say how"):
            asked(source, "svc/db")


def test_the_nodes_on_the_way_are_those_of_both_ends() -> None:
    found = cluster()
    assert set(nodes(found, find(found, Question("deploy/web", "svc/db", "shop")))) == {"n1", "n2"}
    assert set(nodes(found, find(found, Question("node/n1", "192.0.2.1:80", "shop")))) == {"n1"}


EDGE = service("edge", "10.96.0.20", selector={"app": "db"}, type="LoadBalancer", externalIPs=["198.51.100.1"],
               ports=[{"port": 80, "protocol": "TCP", "nodePort": 30080}])  # fmt: skip
EDGE["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}


def edged(**more: Any) -> Snapshot:
    entry = {**endpoint("10.244.2.7", "db-0"), "nodeName": "n2"}
    changed = {**EDGE, "spec": {**EDGE["spec"], **more}}
    return cluster(services=[changed], endpoint_slices=[endpoint_slice("edge", entry)])


@pytest.mark.parametrize(
    ("source", "via", "address", "port", "doors"),
    [
        ("deploy/web", Via.CLUSTER_IP, "10.96.0.20", 80, ()),
        ("deploy/web", Via.NODE_PORT, "172.30.0.11", 30080, ()),
        ("db-0", Via.NODE_PORT, "172.30.0.12", 30080, ()),
        ("deploy/web", Via.LOAD_BALANCER, "192.0.2.10", 80, ()),
        ("external", Via.LOAD_BALANCER, "192.0.2.10", 80, ("n2", "n1")),
        ("external", Via.EXTERNAL_IP, "198.51.100.1", 80, ("n2", "n1")),
        ("203.0.113.7", Via.NODE_PORT, "172.30.0.11", 30080, ("n1",)),
    ],
)
def test_a_service_is_asked_by_the_address_that_is_wanted(
    source: str, via: Via, address: str, port: int, doors: tuple[str, ...]
) -> None:
    flow = find(edged(), Question(source, "svc/edge", "shop", via=via))
    assert (flow.address, flow.port, flow.doors) == (address, port, doors)


def test_what_keeps_to_its_node_comes_in_only_where_an_endpoint_is() -> None:
    kept = edged(externalTrafficPolicy="Local", internalTrafficPolicy="Local")
    assert find(kept, Question("external", "svc/edge", "shop", via=Via.LOAD_BALANCER)).doors == ("n2",)
    said = asked("external", "node/n1:30080", kept)
    assert (said.arrival, said.level) == (Arrival.LOST, Level.INFERRED)
    assert "keeps traffic on n1" in said.sentence
    assert asked("external", "node/n2:30080", kept).arrival is Arrival.ARRIVES
    assert asked("deploy/web", "svc/edge", kept).arrival is Arrival.LOST
    assert asked("db-0", "svc/edge", kept).arrival is Arrival.ARRIVES
    # What starts on a node counts as internal there.
    assert asked("deploy/web", "node/n1:30080", kept).arrival is Arrival.ARRIVES
    assert asked("deploy/web", "node/n2:30080", kept).arrival is Arrival.ARRIVES


def test_an_address_that_a_service_does_not_have_is_refused() -> None:
    for via in (Via.NODE_PORT, Via.LOAD_BALANCER, Via.EXTERNAL_IP):
        with pytest.raises(UsageError, match="no address of that kind"):
            find(cluster(), Question("deploy/web", "svc/db", "shop", via=via))
    with pytest.raises(UsageError, match="no port of a Service"):
        find(cluster(), Question("deploy/web", "db-0:5432", "shop", via=Via.NODE_PORT))


def test_the_sender_is_the_user_of_its_container() -> None:
    containers: list[Json] = [{"name": "app", "securityContext": {"runAsUser": 1000}}, {"name": "proxy"}]
    sender = pod("web", "10.244.1.5", containers=containers, securityContext={"runAsUser": 2000})
    found = cluster(pods=[sender, DB])
    users = {c: packet(find(found, Question("web", "db-0:80", "shop", container=c))).uid for c in ("", "app", "proxy")}
    assert users == {"": 1000, "app": 1000, "proxy": 2000}
    with pytest.raises(UsageError, match="no container nobody"):
        find(found, Question("web", "db-0:80", "shop", container="nobody"))
    with pytest.raises(UsageError, match="has no containers"):
        find(found, Question("node/n1", "db-0:80", "shop", container="app"))


@pytest.mark.parametrize("spec", [{"dnsPolicy": "Default"}, {"dnsPolicy": "ClusterFirst", "hostNetwork": True}])
def test_a_name_is_not_sent_to_where_the_policy_keeps_the_clusters_dns_away(spec: Json) -> None:
    found = cluster(pods=[pod("web", "10.244.1.5", **spec), DB])
    said = asked("web", "db.shop:5432", found)
    assert (said.arrival, said.outcome) == (Arrival.UNRESOLVED, Outcome.FAULTY)
    assert "does not ask" in said.sentence
    assert "dnsPolicy" in (said.cause.remedy if said.cause else "")
    assert set(crossed(found, Question("web", "db.shop:5432", "shop"))) == {"n1"}
    assert asked("db-0", "db.shop:5432", found).arrival is Arrival.ARRIVES


def test_every_backend_is_followed_by_itself() -> None:
    found = cluster(endpoint_slices=[endpoint_slice(
        "db", endpoint("10.244.2.7", "db-0"), endpoint("10.244.1.5", "web-6d4b75cb6d-x", ready=False)
    )])  # fmt: skip
    said = asked("deploy/web", "svc/db", found, all_backends=True)
    assert [(b.address, b.port, b.used, b.ready, b.arrival) for b in said.backends] == [
        ("10.244.2.7", 8080, True, True, Arrival.ARRIVES), ("10.244.1.5", 8080, False, False, Arrival.ARRIVES)
    ]  # fmt: skip


def test_a_service_is_explained_by_itself() -> None:
    said = explain(
        cluster(pods=[WEB, {**DB, "metadata": {**DB["metadata"], "labels": {"app": "db"}}}]), "svc/db", "shop"
    )
    assert said.sentence == "svc/shop/db (ClusterIP) leads to 1 ready endpoint"
    assert said.outcome is Outcome.SOUND
    assert explain(cluster(), "svc/none", "shop").outcome is Outcome.FAULTY
    with pytest.raises(UsageError, match="where to"):
        explain(cluster(), "db-0", "shop")


def test_what_is_no_address_is_not_taken_for_one() -> None:
    odd = cluster(
        pods=[pod("web", "nonsense", "10.244.1.5"), pod("worse", "x"), DB],
        nodes=[node("n1", "no-address", "172.30.0.11", cidrs=("garbage",)), node("n2", "172.30.0.12")],
        services=[service("db", "10.96.0.10", "y", selector={"app": "db"}, ports=[{"port": 5432, "protocol": "TCP"}])],
    )
    assert asked("web", "svc/db", odd).arrival is Arrival.ARRIVES
    assert asked("external", "node/n1:80", odd).destination.address == "172.30.0.11"
    for source, destination in (("worse", "db-0:80"), ("db-0", "worse:80")):
        with pytest.raises(UsageError, match="has no address"):
            asked(source, destination, odd)
