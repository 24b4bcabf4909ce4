"""Requests that a real Istio cluster was asked (lab-istio): what is said of each is what became of it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec import structs

from netinspect.analysis.mesh_pair import Target, pair
from netinspect.errors import UsageError
from netinspect.model.mesh import Reach, Statement, Transport
from netinspect.model.snapshot import Snapshot
from tests import build, recorded

Json = dict[str, Any]
KINDS = {
    "PeerAuthentication": "peer_authentications", "DestinationRule": "destination_rules",
    "VirtualService": "virtual_services", "AuthorizationPolicy": "authorization_policies",
}  # fmt: skip
# Known noise: of a connection that was pooled before STRICT or a DestinationRule, which lives on for its drain of 45 s
# (README of the recording).
NOISE = {
    ("strict+dr-disable", "http://api.shop:8080/"),
    ("strict", "http://10.244.0.7:8080/podip"),
}


@cache
def verdicts() -> Json:
    found: Json = json.loads(recorded.files("istio")["verdicts.json"])
    return found


@cache
def snapshot(scenario: str) -> Snapshot:
    base = recorded.mesh("istio", "strict-deny-admin")
    policies: dict[str, list[Json]] = {name: [] for name in KINDS.values()}
    for policy in verdicts()["scenarios"][scenario]["policies"]:
        policies[KINDS[policy["kind"]]].append(policy)
    settings = json.loads(recorded.files("istio")["strict-deny-admin/kube/configmap-istio.json"])
    lists: Any = {**policies, "mesh_settings": [settings]}
    made = build.snapshot(**lists)
    return structs.replace(base, mesh_settings=made.mesh_settings, **{k: getattr(made, k) for k in policies})


def target(found: Snapshot, to: str) -> Target:
    """Turn a URL into what a user names: a Service, or the pod that has an address."""
    url = urlsplit(to)
    http = url.scheme == "http"
    port = url.port or 80
    method, path = ("GET", url.path) if http else (None, None)
    host = url.hostname or ""
    if host[0].isdecimal():
        pod = next(p for p in found.pods if p.status.pod_ip == host)
        return Target("pod", pod.metadata.namespace, pod.metadata.name, port, method, path)
    name, _, namespace = host.partition(".")
    return Target("svc", namespace, name, port, method, path)


def statements(request: Json) -> list[Statement]:
    found = snapshot(request["scenario"])
    source = f"{request['from']['namespace']}/{request['from']['pod']}"
    return list(pair(found, source, target(found, request["to"])).statements)


def real(request: Json) -> Reach:
    """Say by the answer and the proxies' logs what became of a request."""
    result, logs = request["result"], request["access_log"]
    code = result["http_code"]
    denied = any("rbac_access_denied" in f"{log['response_code_details']}{log['connection_termination_details']}"
                 for log in logs if log["side"] == "server")  # fmt: skip
    if denied:
        return Reach.DENIED
    if code == "200" or (request["protocol"] == "tcp" and result["exit"] == 0):
        return Reach.REACHED
    flags = {log["response_flags"] for log in logs if log["side"] == "client"}
    return Reach.FAILED if flags & {"NC", "UH", "FI"} else Reach.REFUSED


def unresolved(request: Json) -> bool:
    return "Could not resolve host" in request["result"]["stderr"]


REQUESTS = [pytest.param(n, id=str(n)) for n in range(56)]


@pytest.mark.parametrize("number", REQUESTS)
def test_what_is_said_of_a_request_is_what_became_of_it(number: int) -> None:
    request = verdicts()["requests"][number]
    if unresolved(request) or request["to"].endswith(":81/"):
        with pytest.raises(UsageError):
            statements(request)
        return
    from_sidecar = request["from"]["injected"]
    for said in statements(request):
        assert said.reasons or said.outcome is Reach.UNKNOWN
        if (request["scenario"], request["to"]) in NOISE and from_sidecar:
            continue
        if said.outcome is not Reach.UNKNOWN:
            assert said.outcome is real(request), (said, request["result"])
        names = [log["requested_server_name"] for log in request["access_log"] if log["side"] == "server"]
        if real(request) is Reach.REACHED and names:
            assert (said.transport is Transport.MTLS) == bool(names[0]), said
        if request["result"].get("xfcc_uri"):
            assert said.identity == request["result"]["xfcc_uri"]


def test_few_are_unknown() -> None:
    requests = [r for r in verdicts()["requests"] if not unresolved(r) and not r["to"].endswith(":81/")]
    assert len(verdicts()["requests"]) == len(REQUESTS)
    unknown = [r["to"] for r in requests if any(s.outcome is Reach.UNKNOWN for s in statements(r))]
    assert len(unknown) <= len(requests) // 10, unknown
