"""What Consul does to requests besides, and what its configuration entries make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netinspect.analysis.mesh_pair import Target, pair
from netinspect.model.mesh import Aspect, Reach, Statement, Transport
from tests import build
from tests.mesh.test_effects import effects

Json = dict[str, Any]
KEY = "consul.hashicorp.com/"


def consul(name: str, address: str, *, transparent: bool = True, **notes: str) -> Json:
    found = build.pod(name, address, labels={"app": name, f"{KEY}connect-inject-status": "injected"})
    found["metadata"]["annotations"] = {
        f"{KEY}connect-inject-status": "injected", f"{KEY}connect-service-port": "8080",
        **({f"{KEY}transparent-proxy-status": "enabled"} if transparent else {}),
        **{f"{KEY}{k.replace('_', '-')}": v for k, v in notes.items()},
    }  # fmt: skip
    found["spec"]["containers"].append({"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:1.9.9"})
    found["spec"]["initContainers"] = [{"name": "consul-connect-inject-init"}]
    return found


def entry(name: str, spec: Json, synced: str = "True") -> Json:
    return {"metadata": {"name": name, "namespace": "any"}, "spec": spec,
            "status": {"conditions": [{"type": "Synced", "status": synced}]}}  # fmt: skip


def settings(**more: Any) -> list[Json]:
    told = {"datacenter": "dc1", **more}
    return [{"metadata": {"name": "consul-server-config", "namespace": "consul"},
             "data": {"server.json": json.dumps(told)}}]  # fmt: skip


HTTP = entry("web", {"protocol": "http"})


def said(
    to: str = "svc", *, port: int = 80, server: Json | None = None, client: Json | None = None, method: str = "GET",
    path: str | None = "/", labels: Json | None = None, more: list[Json] | None = None, **objects: Any,
) -> Statement:  # fmt: skip
    pods = [client or consul("client", "10.0.1.5"), server or consul("web", "10.0.2.5"), *(more or ())]
    services = [
        {"metadata": {"name": name, "namespace": "shop", "labels": labels if labels and name == "web" else {}},
         "spec": {"clusterIP": address, "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}}
        for name, address in (("web", "10.96.0.10"), ("client", "10.96.0.11"))
    ]  # fmt: skip
    known = {"mesh_settings": settings(), "service_defaults": [HTTP], **objects}
    snapshot = build.snapshot(pods=pods, services=services, namespaces=[{"metadata": {"name": "shop"}}], **known)
    (found,) = pair(snapshot, "shop/client", Target(to, "shop", "web", port, method, path)).statements
    return found


def test_what_is_written_nowhere_is_envoys() -> None:
    found = said()
    assert (found.outcome, found.transport) == (Reach.REACHED, Transport.MTLS)
    assert found.identity == "spiffe://…/ns/default/dc/dc1/svc/client"
    told = effects(found)
    assert told[Aspect.LOAD_BALANCING] == ["round robin, by request"]
    assert told[Aspect.OUTLIER_DETECTION][0].startswith(
        "a server that fails 5 times in a row (5xx) is left out for 30s"
    )
    assert told[Aspect.TIMEOUT][0].startswith("answered 504 after 15s")
    assert Aspect.RETRIES not in told
    assert Aspect.MONITORING not in told


def test_without_a_protocol_it_is_connections() -> None:
    for told in (
        [],
        [entry("web", {})],
        [HTTP, entry("client", {"upstreamConfig": {"defaults": {"protocol": "tcp"}}})],
    ):
        general = [entry("global", {"config": {"protocol": "http"}})] if told else []
        found = effects(said(service_defaults=told, proxy_defaults=general))
        assert found[Aspect.LOAD_BALANCING] == ["round robin, by connection"]
        assert Aspect.TIMEOUT not in found
    general = [entry("global", {"config": {"protocol": "grpc"}})]
    assert effects(said(service_defaults=[], proxy_defaults=general))[Aspect.LOAD_BALANCING][0].endswith("by request")


def test_a_route_says_what_is_tried_again_and_for_how_long() -> None:
    to = {
        "numRetries": 3,
        "retryOn": ["5xx"],
        "retryOnStatusCodes": [429],
        "requestTimeout": "60s",
        "prefixRewrite": "/v2",
    }
    routes = [{"match": {"http": {"pathPrefix": "/api"}}, "destination": to}, {"destination": {"numRetries": 9}}]
    router = [entry("web", {"routes": routes})]
    local = [entry("web", {"protocol": "http", "localRequestTimeoutMs": 20000})]
    found = effects(said(path="/api/x", service_routers=router, service_defaults=local))
    assert found[Aspect.RETRIES] == ["up to 3 times more, on 5xx, status 429"]
    assert [t.split(",")[0] for t in found[Aspect.TIMEOUT]] == [
        "answered 504 after 60s", "the server's proxy waits 20s for its application",
    ]  # fmt: skip
    assert found[Aspect.ROUTING] == ["the beginning of its path becomes /v2"]
    # Without a condition nothing is tried again, whatever the number.
    assert Aspect.RETRIES not in effects(said(path="/", service_routers=router))
    assert Aspect.RETRIES not in effects(
        said(path="/api/x", service_routers=[entry("web", {"routes": routes}, "False")])
    )


def test_no_limit_is_told_where_the_route_is_not_known() -> None:
    routes = [{"match": {"http": {"header": [{"name": "x"}]}}, "destination": {"requestTimeout": "1s"}}]
    found = effects(said(service_routers=[entry("web", {"routes": routes})]))
    assert [t.split(",")[0] for t in found[Aspect.TIMEOUT]] == ["the server's proxy waits 15s for its application"]
    nought = [entry("web", {"routes": [{"destination": {"requestTimeout": "0s"}}]})]
    assert effects(said(service_routers=nought))[Aspect.TIMEOUT][0].startswith("answered 504 after 15s")


def test_what_proxydefaults_say_of_waiting() -> None:
    def waits(config: Json) -> str:
        return effects(said(proxy_defaults=[entry("global", {"config": config})]))[Aspect.TIMEOUT][-1]

    assert waits({"local_request_timeout_ms": 60000}).startswith("the server's proxy waits 60s")
    assert waits({"local_request_timeout_ms": 0}) == "the server's proxy waits for its application"
    # Nobody checks the types of what is written there.
    assert waits({"envoy_tracing_json": {"a": "b"}, "protocol": 7}).startswith("the server's proxy waits 15s")


def test_the_clients_own_defaults_say_who_is_left_out_and_when_it_is_too_much() -> None:
    check = {"maxFailures": 2, "baseEjectionTime": "10s", "maxEjectionPercent": 50}
    own = {"upstreamConfig": {
        "defaults": {"limits": {"maxConnections": 7, "maxPendingRequests": 8}, "passiveHealthCheck": check},
        "overrides": [{"name": "web", "limits": {"maxConcurrentRequests": 9}, "connectTimeoutMs": 1500}]}}  # fmt: skip
    found = effects(said(service_defaults=[HTTP, entry("client", own)]))
    assert found[Aspect.OUTLIER_DETECTION] == [
        "a server that fails 2 times in a row (5xx) is left out for 10s and more, at most 50 % of them: "
        "of 1 none, since Envoy 1.28"
    ]
    assert found[Aspect.CIRCUIT_BREAKING] == ["requests beyond 9 at a time are answered 503"]
    assert found[Aspect.TIMEOUT][0] == "a connection that is not there after 1.5s is given up"
    off = {"upstreamConfig": {"defaults": {"passiveHealthCheck": {"enforcingConsecutive5xx": 0}}}}
    assert effects(said(service_defaults=[HTTP, entry("client", off)]))[Aspect.OUTLIER_DETECTION] == [
        "no server is left out for failing in a row"
    ]


def test_a_resolver_says_how_a_server_is_chosen() -> None:
    spec = {"loadBalancer": {"policy": "ring_hash", "hashPolicies": [{"field": "header", "fieldValue": "x-user"}]},
            "requestTimeout": "5s"}  # fmt: skip
    found = effects(said(service_resolvers=[entry("web", spec)]))
    assert found[Aspect.LOAD_BALANCING] == ["ring hash, by request: one server for all that are alike in header x-user"]
    assert found[Aspect.TIMEOUT][0] == "answered 504 after 5s, retries included"
    splits = [entry("web", {"splits": [{"weight": 90}, {"weight": 10, "serviceSubset": "v2"}]})]
    split = said(service_resolvers=[entry("web", spec)], service_splitters=splits)
    assert split.outcome is Reach.UNKNOWN
    assert effects(split)[Aspect.ROUTING] == ["90 % to web, 10 % to web subset v2"]
    assert effects(split)[Aspect.TIMEOUT][0].startswith("answered 504 after 15s")


def test_what_is_counted_and_written_is_told() -> None:
    config = {"envoy_prometheus_bind_addr": "0.0.0.0:9102", "envoy_tracing_json": "{}"}
    spec = {"accessLogs": {"enabled": True}, "envoyExtensions": [{"name": "builtin/lua"}], "config": config}
    general = [entry("global", spec)]
    server = consul("web", "10.0.2.5", enable_metrics="true")
    own = [entry("web", {"protocol": "http", "maxInboundConnections": 4})]
    found = effects(said(server=server, proxy_defaults=general, service_defaults=own))
    assert found[Aspect.MONITORING] == [
        "the server's proxy counts it: /metrics at port 20200, past all intentions",
        "the server's proxy counts it: /metrics at 0.0.0.0:9102",
        "each proxy writes a line to stdout of its container", "spans are sent of what the caller already traces",
    ]  # fmt: skip
    assert found[Aspect.CIRCUIT_BREAKING] == ["beyond 4 connections the server's proxy closes them"]
    assert found[Aspect.ROUTING] == ["the extension builtin/lua may change it, which is not evaluated"]


def intention(*permissions: Json, action: str = "", **more: Any) -> list[Json]:
    source = {"name": "client", **({"action": action} if action else {"permissions": list(permissions)})}
    return [entry("web", {"destination": {"name": "web"}, "sources": [source], **more})]


READ = {"action": "allow", "http": {"pathPrefix": "/read"}}
ACL = {"enabled": True, "default_policy": "deny"}
EXTRA = {"metadata": {"name": "consul-server-tmp-extra-config", "namespace": "consul"},
         "data": {"extra-from-values.json": '{"default_intention_policy": "deny"}'}}  # fmt: skip
PERMISSIVE = [entry("global", {"mutualTLSMode": "permissive"})]
DIALED = [entry("web", {"transparentProxy": {"dialedDirectly": True}})]
MESH_ONLY = [entry("mesh", {"transparentProxy": {"meshDestinationsOnly": True}})]
GET = {"action": "deny", "http": {"methods": ["get"]}}
# Written by anybody, in a namespace of their own.
ELSEWHERE = {**EXTRA, "metadata": {**EXTRA["metadata"], "namespace": "shop"}}
DEEP = {**EXTRA, "data": {"a.json": "[" * 100_000}}
SERVER = {**build.pod("consul-server-0", "10.0.3.5", labels={"app": "consul", "component": "server"}),
          "metadata": {"name": "consul-server-0", "namespace": "consul",
                       "labels": {"app": "consul", "component": "server"}}}  # fmt: skip


def left_out(ports: str) -> Json:
    return consul("web", "10.0.2.5", transparent_proxy_exclude_inbound_ports=ports, enable_metrics="true")


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        # What no permission is about meets the default.
        ({"service_intentions": intention(READ)}, Reach.REACHED),
        ({"service_intentions": intention(READ), "mesh_settings": settings(default_intention_policy="deny")},
         Reach.DENIED),
        ({"service_intentions": intention(READ), "mesh_settings": settings(acl=ACL)}, Reach.DENIED),
        ({"service_intentions": intention(READ), "mesh_settings": settings(acl=ACL, default_intention_policy="allow")},
         Reach.REACHED),
        ({"service_intentions": intention({**READ, "http": {"pathPrefix": "/"}, "jwt": {}})}, Reach.UNKNOWN),
        ({"service_intentions": intention(GET), "path": None}, Reach.DENIED),
        ({"service_intentions": intention(action="allow", jwt={})}, Reach.UNKNOWN),
        # Of a service that takes no requests permissions let nobody in.
        ({"service_intentions": intention({"action": "allow"}), "service_defaults": []}, Reach.DENIED),
        ({"mesh_settings": []}, Reach.UNKNOWN),
        ({"mesh_settings": [*settings(), ELSEWHERE]}, Reach.UNKNOWN),
        ({"mesh_settings": [*settings(), ELSEWHERE], "more": [SERVER]}, Reach.REACHED),
        ({"mesh_settings": [*settings(), DEEP]}, Reach.UNKNOWN),
        # Who is denied calls in plain, which reaches a port that its proxy leaves out.
        ({"service_intentions": intention(action="deny"), "server": left_out("9090, 8000:8090")}, Reach.UNKNOWN),
        ({"to": "pod", "port": 8080, "server": left_out("9090, 8000:8090")}, Reach.REACHED),
        ({"to": "pod", "port": 20200, "server": left_out("")}, Reach.REACHED),
        ({"to": "pod", "port": 20300}, Reach.UNKNOWN),
        ({"server": consul("web", "10.0.2.5", connect_service="web,admin")}, Reach.UNKNOWN),
        ({"server": consul("web", "10.0.2.5", consul_namespace="other")}, Reach.UNKNOWN),
        ({"mesh_settings": [*settings(), EXTRA]}, Reach.DENIED),
        ({"service_intentions": intention(action="deny")}, Reach.DENIED),
        # A denied client calls in plain, and who takes plain at this port lets it in perhaps.
        ({"service_intentions": intention(action="deny"),
          "service_defaults": [entry("web", {"mutualTLSMode": "permissive"})]}, Reach.UNKNOWN),
        ({"labels": {f"{KEY}service-ignore": "true"}, "server": consul("web", "10.0.2.5", connect_service="web")},
         Reach.REFUSED),
        ({"server": consul("web", "10.0.2.5", transparent=False)}, Reach.REACHED),
        ({"server": consul("web", "10.0.2.5", transparent=False),
          "consul_meshes": MESH_ONLY}, Reach.FAILED),
        ({"to": "pod", "port": 8080}, Reach.REFUSED),
        ({"to": "pod", "port": 8080, "service_defaults": DIALED}, Reach.UNKNOWN),
        ({"to": "pod", "port": 8080, "proxy_defaults": PERMISSIVE}, Reach.REACHED),
        # Permissive is the port that is registered alone.
        ({"to": "pod", "port": 9090, "proxy_defaults": PERMISSIVE}, Reach.REFUSED),
    ],
)  # fmt: skip
def test_what_entries_make_of_a_call(asked: Json, outcome: Reach) -> None:
    found = said(**asked)
    assert found.outcome is outcome, found.says


def test_a_service_does_not_call_itself_by_the_mesh() -> None:
    snapshot_client = consul("web-2", "10.0.1.5")
    snapshot_client["metadata"]["labels"]["app"] = "web"
    snapshot_client["metadata"]["name"] = "client"
    assert said(client=snapshot_client).outcome is Reach.REFUSED
