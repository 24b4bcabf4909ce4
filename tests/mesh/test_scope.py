"""Which Services an Istio client knows, where routes of the Gateway API lead, and what nobody can evaluate."""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.model.mesh import Reach, Transport
from tests.mesh.test_effects import by_linkerd
from tests.mesh.test_pairs import CLIENT, SERVER, STRICT, policy, said

Json = dict[str, Any]
SHUT: Any = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
CLOSED = [{"metadata": {"name": "istio", "namespace": "istio-system"},
           "data": {"mesh": "outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n"}}]  # fmt: skip


def listing(*hosts: str, name: str = "narrow", namespace: str = "shop", **more: Any) -> Json:
    return policy(name, {"egress": [{"hosts": list(hosts)}], **more}, namespace)


@pytest.mark.parametrize(
    ("hosts", "known"),
    [
        (["./*"], True), (["*/*"], True), (["shop/*"], True), (["shop/web.shop.svc.cluster.local"], True),
        (["*/*.shop.svc.cluster.local"], True), (["other/*", "./*"], True),
        (["other/*"], False), (["~/*"], False), (["./api.shop.svc.cluster.local"], False), (["shop/*.example"], False),
        (["shop/web"], False),
    ],
)  # fmt: skip
def test_a_sidecar_lists_whom_a_client_knows(hosts: list[str], known: bool) -> None:
    found = said(CLIENT, SERVER, istio_sidecars=[listing(*hosts)])
    assert (found.transport, found.outcome, found.caveat) == (
        Transport.MTLS if known else Transport.PLAINTEXT, Reach.REACHED, "",
    )  # fmt: skip
    assert found.balanced_by == ("the client's proxy" if known else "kube-proxy, or who stands in for it")


def test_whom_a_client_does_not_know_it_calls_in_plain_text() -> None:
    found = said(CLIENT, SERVER, istio_sidecars=[listing("other/*")], peer_authentications=[policy("strict", STRICT)])
    assert (found.transport, found.outcome) == (Transport.PLAINTEXT, Reach.REFUSED)
    assert "Sidecar shop/narrow" in {r.source for r in found.reasons}


def test_whom_it_does_not_know_it_does_not_call_where_nothing_else_is_let_out() -> None:
    shut = said(CLIENT, SERVER, istio_sidecars=[listing("other/*", **SHUT)])
    assert (shut.outcome, "Sidecar shop/narrow" in shut.says) == (Reach.FAILED, True)
    assert said(CLIENT, SERVER, istio_sidecars=[listing("other/*")], mesh_settings=CLOSED).outcome is Reach.FAILED
    wide: Any = {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}
    found = said(CLIENT, SERVER, istio_sidecars=[listing("other/*", **wide)], mesh_settings=CLOSED)
    assert found.outcome is Reach.REACHED
    assert said(CLIENT, SERVER, istio_sidecars=[listing("./*", **SHUT)]).outcome is Reach.REACHED


def test_of_several_sidecars_the_one_that_selects_the_client_counts() -> None:
    chosen = listing("./*", name="chosen", workloadSelector={"labels": {"app": "client"}})
    other = listing("~/*", name="other", workloadSelector={"labels": {"app": "other"}})
    wide, root = listing("~/*", name="wide"), listing("~/*", name="root", namespace="istio-system")
    mtls = [[chosen, other, wide, root], [other], [listing("./*"), root]]
    plain = [[other, wide], [root]]
    assert {said(CLIENT, SERVER, istio_sidecars=s).transport for s in mtls} == {Transport.MTLS}
    assert {said(CLIENT, SERVER, istio_sidecars=s).transport for s in plain} == {Transport.PLAINTEXT}


def test_a_listener_for_a_port_takes_it_from_that_for_all() -> None:
    egress: list[Json] = [{"hosts": ["./*"]}, {"port": {"number": 80}, "hosts": ["other/*"]}]
    assert said(CLIENT, SERVER, istio_sidecars=[policy("s", {"egress": egress})]).transport is Transport.PLAINTEXT
    egress[1]["port"]["number"] = 81
    assert said(CLIENT, SERVER, istio_sidecars=[policy("s", {"egress": egress})]).transport is Transport.MTLS


def test_what_a_route_leads_to_may_be_known() -> None:
    rules = [{"route": [{"destination": {"host": "web"}}]}]
    leads = policy("v", {"hosts": ["front"], "http": rules})
    found = said(CLIENT, SERVER, istio_sidecars=[listing("other/*")], virtual_services=[leads])
    assert "Sidecar shop/narrow may keep the client" in found.caveat


def test_an_envoy_filter_may_change_all() -> None:
    patch = policy("patch", {"workloadSelector": {"labels": {"app": "web"}}})
    assert said(CLIENT, SERVER, envoy_filters=[patch]).caveat == "what EnvoyFilter shop/patch changes is not evaluated"
    patch["spec"]["workloadSelector"]["labels"] = {"app": "other"}
    assert not said(CLIENT, SERVER, envoy_filters=[patch]).caveat
    counting = policy("tcp-stats-filter-1.16", {}, "istio-system")
    assert not said(CLIENT, SERVER, envoy_filters=[counting]).caveat


PARENTS = {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}]}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"backendRefs": [{"name": "web", "port": 80}]}, Reach.REACHED),
        ({"backendRefs": [{"name": "web"}], "matches": [{"path": {"value": "/x"}}]}, Reach.FAILED),
        ({"backendRefs": [{"name": "gone", "port": 80}]}, Reach.FAILED),
        ({"backendRefs": [{"name": "web"}], "filters": [{"type": "RequestRedirect"}]}, Reach.FAILED),
        ({"backendRefs": [{"name": "web"}], "filters": [{"type": "URLRewrite"}]}, Reach.UNKNOWN),
        ({"backendRefs": [{"name": "web"}], "filters": [{"type": "RequestMirror"}]}, Reach.REACHED),
        ({"backendRefs": [{"name": "web"}], "matches": [{"headers": [{"name": "x", "value": "1"}]}]}, Reach.UNKNOWN),
    ],
)
def test_where_a_route_of_the_gateway_api_leads(rule: Json, outcome: Reach) -> None:
    assert said(CLIENT, SERVER, http_routes=[policy("r", {**PARENTS, "rules": [rule]})]).outcome is outcome


def test_a_grpc_route_is_not_overlooked() -> None:
    assert said(CLIENT, SERVER, grpc_routes=[policy("g", PARENTS)]).outcome is Reach.UNKNOWN


def test_the_nearest_telemetry_says_where_requests_are_told() -> None:
    def told(*telemetries: Json) -> list[tuple[str, str]]:
        found = said(CLIENT, SERVER, telemetries=list(telemetries))
        return [(e.says, e.source) for e in found.effects if e.source.startswith("Telemetry")]

    root = policy("mesh", {"accessLogging": [{"providers": [{"name": "envoy"}]}]}, "istio-system")
    spans = {"providers": [{"name": "zipkin"}], "randomSamplingPercentage": 5}
    near = policy("quiet", {"accessLogging": [{"disabled": True}], "tracing": [spans]})
    assert told(root) == [("lines for requests go to envoy", "Telemetry istio-system/mesh")]
    assert told(root, near) == [
        ("no lines are written for requests", "Telemetry shop/quiet"),
        ("spans of 5 % go to zipkin", "Telemetry shop/quiet"),
    ]  # fmt: skip


def test_a_service_profile_takes_the_place_of_annotations() -> None:
    profile = {
        "metadata": {"name": "web.shop.svc.cluster.local", "namespace": "shop"},
        "spec": {"routes": [{"name": "GET /a", "isRetryable": True}, {"name": "GET /b", "timeout": "250ms"}]},
    }
    found = by_linkerd({"retry.linkerd.io/http": "5xx"}, profiles=[profile])
    assert "what fails of GET /a, by up to 20 % of requests and 10 a second more" in [
        s for v in found.values() for s in v
    ]
    assert "GET /b is answered 504 after 250ms" in [s for v in found.values() for s in v]
