"""What else Istio and Linkerd are said to do to requests, by their objects."""

from __future__ import annotations

from typing import Any

from netinspect.analysis.mesh_pair import Target, pair
from netinspect.model.mesh import Aspect, Reach, Statement
from tests import build
from tests.mesh.test_pairs import CLIENT, PLAIN, SERVER, policy, said

Json = dict[str, Any]
SUBSETS: Json = {
    "host": "web",
    "trafficPolicy": {
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "outlierDetection": {"consecutive5xxErrors": 3, "baseEjectionTime": "1m"},
        "connectionPool": {"tcp": {"maxConnections": 7, "connectTimeout": "2s"}, "http": {"http2MaxRequests": 9}},
    },
    "subsets": [
        {"name": "v1", "labels": {"app": "web"}},
        {"name": "v2", "labels": {"app": "web"},
         "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}},
        {"name": "v3", "labels": {"app": "web"},
         "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}]}},
    ],
}  # fmt: skip


def route(**rule: Any) -> Json:
    return policy("web", {"hosts": ["web"], "http": [rule]})


def to(subset: str = "", weight: int = 0, host: str = "web") -> Json:
    return {"destination": {"host": host, "subset": subset}, "weight": weight}


def effects(found: Statement) -> dict[Aspect, list[str]]:
    kept: dict[Aspect, list[str]] = {}
    for one in found.effects:
        assert one.source
        kept.setdefault(one.aspect, []).append(one.says)
    return kept


def test_what_a_rule_says_of_requests() -> None:
    rule = route(
        route=[to()], timeout="3s", retries={"attempts": 4, "perTryTimeout": "1s", "retryOn": "5xx"},
        mirrors=[{"destination": {"host": "shadow"}, "percentage": {"value": 10}}],
        fault={"delay": {"fixedDelay": "5s", "percentage": {"value": 20}}},
    )  # fmt: skip
    found = effects(said(CLIENT, SERVER, virtual_services=[rule]))
    assert found[Aspect.TIMEOUT] == ["answered 504 after 3s"]
    assert found[Aspect.RETRIES] == ["up to 4 times more, on 5xx, each of at most 1s"]
    assert found[Aspect.MIRRORING] == ["10 % copied to shadow"]
    assert found[Aspect.FAULT] == ["20 % wait 5s"]
    assert Aspect.ROUTING not in found


def test_a_split_is_told_though_it_settles_nothing() -> None:
    rule = route(route=[to("v1", 90), to("v2", 10)])
    found = said(CLIENT, SERVER, virtual_services=[rule], destination_rules=[policy("web", SUBSETS)])
    assert found.outcome is Reach.UNKNOWN
    assert effects(found)[Aspect.ROUTING] == ["90 % to web subset v1, 10 % to web subset v2"]


def test_settings_of_a_subset_replace_the_rules_one_by_one_and_a_ports_replace_all() -> None:
    def of(subset: str) -> dict[Aspect, list[str]]:
        rules = [policy("web", SUBSETS)]
        return effects(said(CLIENT, SERVER, virtual_services=[route(route=[to(subset)])], destination_rules=rules))

    assert of("v1")[Aspect.LOAD_BALANCING] == ["ROUND_ROBIN"]
    assert of("v2")[Aspect.LOAD_BALANCING] == ["one server for all that are alike in header x-user"]
    for subset in ("v1", "v2"):
        found = of(subset)
        assert found[Aspect.CIRCUIT_BREAKING] == [
            "beyond 7 connections, 9 requests at a time of a client, its proxy answers 503"
        ]
        assert found[Aspect.OUTLIER_DETECTION][0].startswith("a server that fails 3 times in a row (5xx) is left out")
        assert found[Aspect.TIMEOUT] == ["a connection that is not there after 2s is given up"]
    assert of("v3")[Aspect.LOAD_BALANCING] == ["RANDOM"]
    assert {Aspect.CIRCUIT_BREAKING, Aspect.OUTLIER_DETECTION}.isdisjoint(of("v3"))


def test_what_no_object_says_is_istios_default() -> None:
    found = said(CLIENT, SERVER)
    assert [(e.aspect, e.source) for e in found.effects] == [
        (Aspect.RETRIES, "Istio's default"), (Aspect.MONITORING, "Istio's default"),
    ]  # fmt: skip
    none = effects(said(CLIENT, SERVER, virtual_services=[route(route=[to()], retries={"attempts": 0})]))
    assert none[Aspect.RETRIES] == ["none"]


def test_without_the_clients_proxy_nothing_is_routed() -> None:
    rule = route(route=[to()], timeout="3s")
    assert set(effects(said(PLAIN, SERVER, virtual_services=[rule]))) == {Aspect.MONITORING}


def linkerd(name: str, address: str, **ports: str) -> Json:
    found = build.pod(name, address, labels={"app": name, "linkerd.io/control-plane-ns": "linkerd"})
    env = [{"name": "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "value": ports.get("opaque", "")}]
    found["metadata"]["annotations"] = {"linkerd.io/proxy-version": "edge-26.8.3"}
    found["spec"]["containers"].append({"name": "linkerd-proxy", "image": "l/proxy:edge-26.8.3", "env": env})
    found["spec"]["initContainers"] = [{"name": "linkerd-init", "args": []}]
    return found


def by_linkerd(
    service: Json, route: Json | None = None, profiles: list[Json] | None = None, **ports: str
) -> dict[Aspect, list[str]]:
    web = {"metadata": {"name": "web", "namespace": "shop", "annotations": service},
           "spec": {"clusterIP": "10.96.0.10", "selector": {"app": "web"},
                    "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}  # fmt: skip
    leads = {"parentRefs": [{"group": "core", "kind": "Service", "name": "web"}],
             "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}  # fmt: skip
    meta = {"name": "web", "namespace": "shop", "annotations": route}
    routes = [] if route is None else [{"metadata": meta, "spec": leads}]
    found = pair(
        build.snapshot(
            pods=[linkerd("client", "10.0.1.5"), linkerd("web", "10.0.2.5", **ports)], services=[web],
            namespaces=[{"metadata": {"name": "shop"}}], http_routes=routes, service_profiles=profiles or [],
        ),
        "shop/client", Target("svc", "shop", "web", 80, "GET", "/"),
    )  # fmt: skip
    assert found.statements[0].outcome is Reach.REACHED
    return effects(found.statements[0])


def test_linkerds_annotations_of_a_route_replace_its_services() -> None:
    service = {"retry.linkerd.io/http": "5xx", "retry.linkerd.io/limit": "3", "timeout.linkerd.io/request": "10s",
               "balancer.linkerd.io/failure-accrual": "consecutive"}  # fmt: skip
    found = by_linkerd(service)
    assert found[Aspect.RETRIES][0].startswith("up to 3 times more, on http 5xx")
    assert found[Aspect.TIMEOUT][0].startswith("a request with its retries of more than 10s")
    assert found[Aspect.OUTLIER_DETECTION] == ["a server that fails 7 times in a row is left out for a while"]
    assert "by request" in found[Aspect.LOAD_BALANCING][0]
    assert by_linkerd(service, {})[Aspect.RETRIES] == found[Aspect.RETRIES]
    other = by_linkerd(service, {"timeout.linkerd.io/request": "1s"})
    assert other[Aspect.TIMEOUT][0].startswith("a request with its retries of more than 1s")
    assert Aspect.RETRIES not in other


def test_of_an_opaque_port_linkerd_sees_connections_alone() -> None:
    found = by_linkerd({"retry.linkerd.io/http": "5xx"}, opaque="8080")
    assert "by connection" in found[Aspect.LOAD_BALANCING][0]
    assert Aspect.RETRIES not in found
