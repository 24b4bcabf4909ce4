"""What Kuma does to requests besides, by its policies; where these may differ nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.model.mesh import Aspect, Reach, Statement
from tests.mesh import test_other_pairs as others
from tests.mesh.test_effects import effects

Json = dict[str, Any]
KUMA = others.TestKuma()


def web(protocol: str = "http") -> list[Json]:
    port = {"port": 80, "targetPort": 8080, **({"appProtocol": protocol} if protocol else {})}
    return [{"metadata": {"name": "web", "namespace": "shop"}, "spec": {**others.WEB, "ports": [port]}}]


def policy(
    default: Json, *, to: Json | None = None, of: Json | None = None, name: str = "p", namespace: str = "kuma-system",
    inward: bool = False, **labels: str,
) -> Json:  # fmt: skip
    entry = {"targetRef": to or {"kind": "Mesh"}, "default": default}
    return {"metadata": {"name": name, "namespace": namespace, "labels": {"kuma.io/mesh": "default", **labels}},
            "spec": {"targetRef": of or {"kind": "Mesh"}, ("from" if inward else "to"): [entry]}}  # fmt: skip


def asked(protocol: str = "http", **lists: Any) -> Statement:
    allowed: Any = {
        "kuma_meshes": [KUMA.mesh()],
        "kuma_permissions": [KUMA.permission("Allow")],
        "services": web(protocol),
    }
    found = others.said(*KUMA.ends, **{**allowed, **lists})
    assert found.outcome is Reach.REACHED
    return found


def test_without_policies_its_servers_take_turns() -> None:
    assert effects(asked()) == {Aspect.LOAD_BALANCING: ["round robin, by request"]}
    assert effects(asked("")) == {Aspect.LOAD_BALANCING: ["round robin, by connection"]}
    # The name of a port says nothing, an annotation of its Service does.
    noted = web("")
    noted[0]["metadata"]["annotations"] = {"80.service.kuma.io/protocol": "grpc"}
    assert effects(asked(services=noted))[Aspect.LOAD_BALANCING] == ["round robin, by request"]


RETRY = {"http": {"numRetries": 5, "perTryTimeout": "16s"}, "grpc": {"numRetries": 2}, "tcp": {"maxConnectAttempt": 3}}


def test_what_kuma_makes_for_a_new_mesh_is_told() -> None:
    times = {"connectionTimeout": "5s", "idleTimeout": "1h", "http": {"requestTimeout": "15s"}}
    limits = {"connectionLimits": {"maxConnections": 1024, "maxPendingRequests": 1024, "maxRequests": 1024}}
    made: Any = {"kuma_retries": [policy(RETRY)], "kuma_timeouts": [policy(times)], "kuma_breakers": [policy(limits)]}
    found = effects(asked(**made))
    assert found[Aspect.RETRIES] == [
        "up to 5 times more, on 502, 503 and 504, a failed connection, or a refused stream, each of at most 16s"
    ]
    assert found[Aspect.TIMEOUT] == [
        "answered 504 after 15s, retries included", "a connection that is not there after 5s is given up",
    ]  # fmt: skip
    assert found[Aspect.CIRCUIT_BREAKING] == [
        "beyond 1024 connections requests wait; requests beyond 1024 that wait, 1024 at a time are answered 503"
    ]
    assert Aspect.OUTLIER_DETECTION not in found
    by_connection = effects(asked("tcp", **made))
    assert by_connection[Aspect.CIRCUIT_BREAKING] == ["beyond 1024 connections more are closed"]
    assert by_connection[Aspect.RETRIES] == ["up to 3 attempts to connect"]
    assert by_connection[Aspect.TIMEOUT] == ["a connection that is not there after 5s is given up"]
    assert effects(asked("grpc", **made))[Aspect.RETRIES][0].startswith("up to 2 times more, on a failed connection")
    assert Aspect.RETRIES not in effects(asked("http2", **made))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        # By tags a Service has the name of its pods' tag.
        ({"to": {"kind": "MeshService", "name": "web", "namespace": "shop"}}, "several policies"),
        ({"to": {"kind": "MeshService", "name": "web_shop_svc_80"}}, "answered 504 after 3s"),
        ({"to": {"kind": "MeshService", "name": "other", "namespace": "shop"}}, "answered 504 after 15s"),
        ({"of": {"kind": "MeshSubset", "tags": {"app": "other"}}}, "answered 504 after 15s"),
        ({"namespace": "elsewhere"}, "answered 504 after 15s"),
        ({"kuma.io/effect": "shadow"}, "answered 504 after 15s"),
        ({"kuma.io/mesh": "other"}, "answered 504 after 15s"),
        ({"of": {"kind": "MeshSubset", "tags": {"app": "client"}}}, "several policies"),
        ({"of": {"kind": "MeshService", "name": "client"}}, "several policies"),
        # What another rank says of all comes before or after it.
        ({"to": {"kind": "MeshService", "name": "web_shop_svc_80"}, "of": {"kind": "MeshSubset"}}, "several policies"),
        ({"namespace": "elsewhere", "kuma.io/policy-role": "producer"}, "several policies"),
        ({"to": {"kind": "MeshService", "labels": {"a": "b"}}}, "several policies"),
    ],
)  # fmt: skip
def test_what_is_said_of_the_service_counts_and_the_rest_is_not_guessed(more: Json, says: str) -> None:
    for_all = policy({"http": {"requestTimeout": "15s"}}, name="all")
    other = policy({"http": {"requestTimeout": "3s"}}, **more)
    found = effects(asked(kuma_timeouts=[for_all, other]))[Aspect.TIMEOUT]
    assert len(found) == 1
    assert found[0].startswith(says)


def test_who_is_left_out_and_how_one_is_chosen() -> None:
    out = {"outlierDetection": {"baseEjectionTime": "10s", "detectors": {"totalFailures": {"consecutive": 3}}}}
    chosen = {"loadBalancer": {"type": "LeastRequest"}}
    found = effects(asked(kuma_breakers=[policy(out)], kuma_balancers=[policy(chosen)]))
    assert found[Aspect.OUTLIER_DETECTION] == [
        "a server that fails 3 times in a row (5xx) is left out for 10s and more, at most 10 % of them"
    ]
    assert found[Aspect.LOAD_BALANCING] == ["LeastRequest, by request"]
    off = {"outlierDetection": {"disabled": True}}
    assert effects(asked(kuma_breakers=[policy(off)]))[Aspect.OUTLIER_DETECTION] == ["no server is left out"]


def test_what_the_servers_proxy_lets_in_and_shows() -> None:
    rate = {"local": {"http": {"requestRate": {"num": 5, "interval": "1s"}}}}
    counted = {**policy({}), "spec": {"default": {"backends": [{"type": "Prometheus"}]}}}
    traced = {**policy({}), "spec": {"default": {"backends": [{"type": "Zipkin", "zipkin": {"url": "http://z:9411"}}]}}}
    logged = {"backends": [{"type": "File", "file": {"path": "/dev/stdout"}}]}
    found = effects(asked(
        kuma_rates=[policy(rate, inward=True)], kuma_metrics=[counted], kuma_traces=[traced],
        kuma_logs=[policy(logged, inward=True), policy(logged)],
    ))  # fmt: skip
    assert found[Aspect.CIRCUIT_BREAKING] == ["beyond 5 per 1s each server answers 429"]
    assert found[Aspect.MONITORING] == [
        "the client's proxy writes a line to /dev/stdout", "the server's proxy counts it: /metrics at port 5670",
        "the server's proxy writes a line to /dev/stdout", "spans go to http://z:9411",
    ]  # fmt: skip


def test_a_limit_that_is_turned_off_or_answers_otherwise() -> None:
    rate = {"requestRate": {"num": 5, "interval": "1s"}, "onRateLimit": {"status": 423}}
    told = policy({"local": {"http": rate}}, inward=True)
    assert effects(asked(kuma_rates=[told]))[Aspect.CIRCUIT_BREAKING] == ["beyond 5 per 1s each server answers 423"]
    off = policy({"local": {"http": {**rate, "disabled": True}}}, inward=True)
    assert Aspect.CIRCUIT_BREAKING not in effects(asked(kuma_rates=[off]))


def test_lines_of_a_policy_that_is_perhaps_for_another_are_not_told() -> None:
    logged = {"backends": [{"type": "File", "file": {"path": "/x"}}]}
    perhaps = policy(logged, to={"kind": "MeshService", "labels": {"a": "b"}})
    (found,) = effects(asked(kuma_logs=[perhaps]))[Aspect.MONITORING]
    assert "/x" not in found


def test_the_client_is_known_by_its_service() -> None:
    own = {"metadata": {"name": "client", "namespace": "shop"},
           "spec": {"clusterIP": "10.96.0.11", "selector": {"app": "client"}, "ports": [{"port": 81}]}}  # fmt: skip
    assert asked(services=[*web(), own]).identity == "spiffe://default/client_shop_svc_81"
    assert asked().identity == ""
