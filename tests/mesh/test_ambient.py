"""What Istio's ztunnels and waypoints make of a call (architecture/ambient/ztunnel.md, serviceregistry/ambient)."""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.model.mesh import Reach, Transport
from tests import build
from tests.mesh.test_pairs import SERVER as SIDECAR
from tests.mesh.test_pairs import STRICT, policy, said

Json = dict[str, Any]


def ambient(name: str, address: str, **annotations: str) -> Json:
    found = build.pod(name, address, labels={"app": name})
    found["spec"]["serviceAccountName"] = name
    found["metadata"]["annotations"] = {"ambient.istio.io/redirection": "enabled", **annotations}
    return found


def outside(name: str, address: str) -> Json:
    found = ambient(name, address)
    del found["metadata"]["annotations"]
    return found


CLIENT, SERVER = ambient("client", "10.0.1.5"), ambient("web", "10.0.2.5")
PLAIN = outside("client", "10.0.1.5")
BOUND = {"metadata": {"name": "shop", "labels": {"istio.io/use-waypoint": "waypoint"}}}
FROM_CLIENT = [{"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}]


def gateway(serves: str = "", *, address: bool = True) -> Json:
    labels = {"istio.io/waypoint-for": serves} if serves else {}
    return {"metadata": {"name": "waypoint", "namespace": "shop", "labels": labels},
            "spec": {"gatewayClassName": "istio-waypoint"},
            "status": {"addresses": [{"value": "10.96.0.77"}] if address else []}}  # fmt: skip


def allow(*rules: Json, action: str = "ALLOW", **more: Any) -> Json:
    return policy("p", {"action": action, "rules": list(rules), **more})


def test_two_ztunnels_use_mutual_tls() -> None:
    found = said(CLIENT, SERVER)
    assert (found.transport, found.outcome) == (Transport.MTLS, Reach.REACHED)
    assert found.identity == "spiffe://cluster.local/ns/shop/sa/client"
    assert found.balanced_by == "the client's proxy"


def test_who_has_none_sends_or_gets_plain_text() -> None:
    assert said(PLAIN, SERVER).transport is Transport.PLAINTEXT
    assert said(CLIENT, outside("web", "10.0.2.5")).transport is Transport.PLAINTEXT
    assert said(CLIENT, outside("web", "10.0.2.5"), peer_authentications=[policy("s", STRICT)]).outcome is Reach.REACHED


@pytest.mark.parametrize(
    ("specs", "outcome"),
    [
        ([STRICT], Reach.REFUSED),
        ([{"mtls": {"mode": "DISABLE"}}], Reach.REACHED),
        ([{"selector": {"matchLabels": {"app": "web"}}, **STRICT, "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}}],
         Reach.REACHED),
        ([{"selector": {"matchLabels": {"app": "web"}}, **STRICT, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}],
         Reach.REACHED),
        # As others inherit it, only PERMISSIVE is a way out.
        ([STRICT, {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}],
         Reach.REFUSED),
        ([STRICT, {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}}],
         Reach.REACHED),
    ],
)  # fmt: skip
def test_a_plain_client_meets_what_the_server_asks_for(specs: list[Json], outcome: Reach) -> None:
    policies = [policy(f"p{n}", spec) for n, spec in enumerate(specs)]
    assert said(PLAIN, SERVER, peer_authentications=policies).outcome is outcome
    assert said(CLIENT, SERVER, peer_authentications=policies).outcome is Reach.REACHED


def test_what_is_not_captured_is_not_asked() -> None:
    bypassed = ambient("web", "10.0.2.5", **{"ambient.istio.io/bypass-inbound-capture": "true"})
    assert said(PLAIN, bypassed, peer_authentications=[policy("s", STRICT)]).outcome is Reach.REACHED


HTTP: Json = {"operation": {"methods": ["GET"]}}
PORT: Json = {"operation": {"ports": ["8080"]}}
OTHER: Json = {"operation": {"ports": ["1"]}}


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (allow({"from": FROM_CLIENT}), Reach.REACHED),
        (allow({"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/other"]}}]}), Reach.DENIED),
        (allow({"to": [PORT]}), Reach.REACHED),
        (allow({"to": [OTHER]}), Reach.DENIED),
        # What only HTTP has is gone from a DENY, and an ALLOW with it never matches.
        (allow({"to": [HTTP]}), Reach.DENIED),
        (allow({"to": [HTTP]}, {"to": [PORT]}), Reach.REACHED),
        (allow({"to": [HTTP]}, action="DENY"), Reach.REACHED),
        (allow({"from": FROM_CLIENT, "when": [{"key": "request.headers[x]", "values": ["y"]}]}, action="DENY"),
         Reach.DENIED),
        (allow({"to": [{"operation": {"ports": ["8080"], "methods": ["POST"]}}]}, action="DENY"), Reach.DENIED),
        (allow({"from": FROM_CLIENT, "to": [HTTP]}, action="DENY"), Reach.UNKNOWN),
        (allow({}, action="DENY"), Reach.DENIED),
        (allow({}, action="CUSTOM"), Reach.REACHED),
        (allow({"to": [OTHER]}, targetRefs=[{"kind": "Service", "name": "web"}]), Reach.REACHED),
    ],
)  # fmt: skip
def test_a_ztunnel_lets_in_by_what_it_sees(made: Json, outcome: Reach) -> None:
    assert said(CLIENT, SERVER, authorization_policies=[made]).outcome is outcome


def test_who_is_outside_has_no_identity() -> None:
    assert said(PLAIN, SERVER, authorization_policies=[allow({"from": FROM_CLIENT})]).outcome is Reach.DENIED


def test_whether_a_policy_is_only_tried_hangs_on_the_control_plane() -> None:
    dry = allow({}, action="DENY")
    dry["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    assert said(CLIENT, SERVER, authorization_policies=[dry]).outcome is Reach.UNKNOWN


def test_a_waypoint_judges_requests_and_the_server_sees_its_identity() -> None:
    bound: Any = {"namespaces": [BOUND], "gateways": [gateway()]}
    found = said(CLIENT, SERVER, **bound)
    assert (found.transport, found.outcome) == (Transport.MTLS, Reach.REACHED)
    assert any("waypoint shop/waypoint" in r.says for r in found.reasons)
    at_service: Any = {"targetRefs": [{"kind": "Service", "name": "web"}]}
    at_gateway: Any = {"targetRefs": [{"kind": "Gateway", "name": "waypoint"}]}
    get, post = {"to": [HTTP]}, {"to": [{"operation": {"methods": ["POST"]}}]}
    for target in (at_service, at_gateway):
        assert said(CLIENT, SERVER, authorization_policies=[allow(get, **target)], **bound).outcome is Reach.REACHED
        assert said(CLIENT, SERVER, authorization_policies=[allow(post, **target)], **bound).outcome is Reach.DENIED
    own = [allow({"from": FROM_CLIENT})]
    assert said(CLIENT, SERVER, authorization_policies=own, **bound).outcome is Reach.DENIED
    waypoints = [allow({"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/waypoint"]}}]})]
    assert said(CLIENT, SERVER, authorization_policies=waypoints, **bound).outcome is Reach.REACHED
    # Who has no ztunnel is not sent there.
    assert said(PLAIN, SERVER, authorization_policies=[allow(post, **at_service)], **bound).outcome is Reach.REACHED


def test_a_waypoint_follows_routes_and_what_else_it_follows_is_not_known() -> None:
    bound: Any = {"namespaces": [BOUND], "gateways": [gateway()]}
    lost = policy("r", {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
                        "rules": [{"backendRefs": [{"name": "gone", "port": 80}]}]})  # fmt: skip
    found = said(CLIENT, SERVER, http_routes=[lost], **bound)
    assert (found.outcome, "the waypoint answers 500" in found.says) == (Reach.FAILED, True)
    rule = policy("d", {"host": "web", "trafficPolicy": {"tls": {"mode": "DISABLE"}}})
    assert said(CLIENT, SERVER, destination_rules=[rule], **bound).outcome is Reach.UNKNOWN
    assert said(CLIENT, SERVER, destination_rules=[rule]).outcome is Reach.REACHED


@pytest.mark.parametrize(
    ("namespace", "gateways"),
    [
        (BOUND, []),
        (BOUND, [gateway(address=False)]),
        (BOUND, [gateway("workload")]),
        (BOUND, [gateway("none")]),
        ({"metadata": {"name": "shop", "labels": {"istio.io/use-waypoint": "none"}}}, [gateway()]),
    ],
)  # fmt: skip
def test_a_waypoint_that_does_not_serve_it_is_gone_past(namespace: Json, gateways: list[Json]) -> None:
    refused = [allow({"to": [OTHER]}, targetRefs=[{"kind": "Service", "name": "web"}])]
    found = said(CLIENT, SERVER, namespaces=[namespace], gateways=gateways, authorization_policies=refused)
    assert (found.outcome, [r for r in found.reasons if "waypoint" in r.says]) == (Reach.REACHED, [])


def test_straight_to_a_pod_a_waypoint_for_workloads_is_asked() -> None:
    bound: Any = {"namespaces": [BOUND], "gateways": [gateway("workload")]}
    refused = [allow({"to": [OTHER]}, targetRefs=[{"kind": "Gateway", "name": "waypoint"}])]
    assert said(CLIENT, SERVER, to="pod", authorization_policies=refused, **bound).outcome is Reach.DENIED
    assert said(PLAIN, SERVER, to="pod", authorization_policies=refused, **bound).outcome is Reach.UNKNOWN


def test_between_a_sidecar_and_a_ztunnel_nothing_is_claimed() -> None:
    assert said(CLIENT, SIDECAR).outcome is Reach.UNKNOWN
