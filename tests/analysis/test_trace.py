"""What the API's objects alone say of a flow, and how its ends are found."""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.analysis.dns import Resolver, of_namespace, parse
from netinspect.analysis.ends import Kind, resolve
from netinspect.analysis.flow import Question, find, nodes
from netinspect.analysis.trace import trace
from netinspect.errors import UsageError
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level
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
