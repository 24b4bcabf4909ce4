"""What Open Service Mesh, App Mesh and NGINX Service Mesh do to requests besides, by their objects."""

from __future__ import annotations

from typing import Any

from netinspect.model.mesh import Aspect, Reach
from tests.mesh import test_other_pairs as others
from tests.mesh.test_effects import effects

Json = dict[str, Any]
OSM, APP_MESH, NGINX = others.TestOpenServiceMesh(), others.TestAppMesh(), others.TestNginx()


def config(**more: Any) -> list[Json]:
    (found,) = OSM.config(enablePermissiveTrafficPolicyMode=True)
    return [{**found, "spec": {**found["spec"], **more}}]


def by_osm(server: Json | None = None, **lists: Any) -> dict[Aspect, list[str]]:
    everything = {"osm_configs": config(), **lists}
    return effects(others.said(OSM.pod("client"), server or OSM.pod("web"), **everything))


def shop(name: str, spec: Json, namespace: str = "shop") -> list[Json]:
    return [{"metadata": {"name": name, "namespace": namespace}, "spec": spec}]


def account(name: str, **more: str) -> Json:
    return {"kind": "ServiceAccount", "name": name, "namespace": "shop", **more}


def test_osms_own_are_turns_and_a_line_for_each_request() -> None:
    assert by_osm() == {
        Aspect.LOAD_BALANCING: ["its servers in turn, by request"],
        Aspect.MONITORING: ["each proxy writes a line to the output of its container"],
    }
    tcp: list[Json] = [{"metadata": {"name": "web", "namespace": "shop"},
            "spec": {**others.WEB, "ports": [{"name": "tcp-x", "port": 80, "targetPort": 8080}]}}]  # fmt: skip
    assert by_osm(services=tcp) == {Aspect.LOAD_BALANCING: ["its servers in turn, by connection"]}
    # What the port says of itself comes before its name.
    tcp[0]["spec"]["ports"][0]["appProtocol"] = "http"
    assert by_osm(services=tcp)[Aspect.LOAD_BALANCING] == ["its servers in turn, by request"]


def test_osms_retries_count_where_they_are_turned_on() -> None:
    policy = {"retryOn": "5xx", "numRetries": 4, "perTryTimeout": "1s"}
    service = {"kind": "Service", "name": "web", "namespace": "shop"}
    spec = {"source": account("client"), "destinations": [service], "retryPolicy": policy}
    on = config(featureFlags={"enableRetryPolicy": True})
    assert by_osm(osm_configs=on, osm_retries=shop("r", spec))[Aspect.RETRIES] == [
        "up to 4 times more, on 5xx, each of at most 1s"
    ]
    assert Aspect.RETRIES not in by_osm(osm_retries=shop("r", spec))
    for other in ({**spec, "source": account("other")}, {**spec, "destinations": [{**service, "namespace": ""}]}):
        assert Aspect.RETRIES not in by_osm(osm_configs=on, osm_retries=shop("r", other))


def test_osms_settings_of_a_service_are_those_of_its_whole_name() -> None:
    spec = {"host": "web.shop.svc.cluster.local",
            "connectionSettings": {"tcp": {"maxConnections": 7, "connectTimeout": "2s"}, "http": {"maxRequests": 8}},
            "rateLimit": {"local": {"http": {"requests": 9, "unit": "minute"}}}}  # fmt: skip
    found = by_osm(osm_upstreams=shop("u", spec))
    assert found[Aspect.CIRCUIT_BREAKING] == [
        "beyond 7 connections requests wait; requests beyond 8 at a time are answered 503",
        "beyond 9 a minute the server's proxy answers 429",
    ]
    assert found[Aspect.TIMEOUT] == ["a connection that is not there after 2s is given up"]
    for other in (shop("u", {**spec, "host": "web"}), shop("u", spec, "elsewhere")):
        assert Aspect.TIMEOUT not in by_osm(osm_upstreams=other)


def test_osms_split_metrics_and_spans() -> None:
    split = {"service": "web", "backends": [{"service": "web", "weight": 3}, {"service": "web-2", "weight": 1}]}
    assert by_osm(traffic_splits=shop("s", split))[Aspect.ROUTING] == ["75 % to web, 25 % to web-2"]
    scraped = OSM.pod("web", **{"prometheus.io/scrape": "true"})
    traced = config(observability={"tracing": {"enable": True, "address": "z.osm", "port": 9411}})
    assert by_osm(scraped, osm_configs=traced)[Aspect.MONITORING] == [
        "the server's proxy counts it: /stats/prometheus at port 15010",
        "each proxy writes a line to the output of its container", "spans go to z.osm:9411",
    ]  # fmt: skip


def test_app_meshs_listener_says_how_long_and_how_much() -> None:
    cluster = APP_MESH.cluster()
    found = effects(others.said(*APP_MESH.ends, **cluster))
    assert found == {
        Aspect.TIMEOUT: ["answered 504 after 15s by the server's proxy"],
        Aspect.MONITORING: ["the server's proxy counts it: /stats/prometheus at port 9901"],
    }
    node = cluster["virtual_nodes"][1]
    node["spec"]["listeners"][0] |= {
        "timeout": {"http": {"perRequest": {"unit": "ms", "value": 500}}},
        "connectionPool": {"http": {"maxConnections": 5, "maxPendingRequests": 6}, "tcp": {"maxConnections": 1}},
    }
    node["spec"]["logging"] = {"accessLog": {"file": {"path": "/dev/stdout"}}}
    server = APP_MESH.pod("web")
    server["spec"]["containers"][-1]["env"].append({"name": "ENABLE_ENVOY_XRAY_TRACING", "value": "1"})
    found = effects(others.said(APP_MESH.pod("client"), server, **cluster))
    assert found[Aspect.TIMEOUT] == ["answered 504 after 500ms by the server's proxy"]
    assert found[Aspect.CIRCUIT_BREAKING] == [
        "beyond 5 connections requests wait; requests beyond 6 that wait are answered 503"
    ]
    assert found[Aspect.MONITORING][1:] == [
        "the server's proxy writes a line to /dev/stdout of its container", "spans go to X-Ray",
    ]  # fmt: skip


def test_nginx_chooses_by_annotation_then_by_the_mesh() -> None:
    ends = NGINX.pod("client"), NGINX.pod("web")
    found = effects(others.said(*ends, **NGINX.config()))
    assert found == {
        Aspect.LOAD_BALANCING: ["least_time"],
        Aspect.CIRCUIT_BREAKING: ["a body of more than 1m is answered 413"],
        Aspect.MONITORING: ["the server's proxy counts it: /metrics at port 8887"],
    }
    whole = NGINX.config()
    whole["nginx_configs"][0]["spec"] |= {"nginxLBMethod": "round_robin", "clientMaxBodySize": "0"}
    found = effects(others.said(*ends, **whole))
    assert found[Aspect.LOAD_BALANCING] == ["round_robin"]
    assert Aspect.CIRCUIT_BREAKING not in found
    own = [{"metadata": {"name": "web", "namespace": "shop",
                         "annotations": {"config.nsm.nginx.com/lb-method": "random"}}, "spec": others.WEB}]  # fmt: skip
    assert effects(others.said(*ends, **whole, services=own))[Aspect.LOAD_BALANCING] == ["random"]


def test_nginxs_modes_are_written_in_any_case() -> None:
    """The injector lower-cases them, and drops what is none."""
    for noted, told in (("Strict", "strict"), ("bogus", "")):
        args = ("--mtls-annotation", told) if told else ()
        web = NGINX.pod("web", *args, notes={"config.nsm.nginx.com/mtls-mode": noted})
        found = others.said(NGINX.pod("client"), web, **NGINX.config())
        assert found.outcome is Reach.REACHED, found.says
