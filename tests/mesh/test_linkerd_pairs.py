"""Requests that a real Linkerd cluster was asked (lab-linkerd): what is said of each is what became of it."""

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
    "Server": "linkerd_servers", "AuthorizationPolicy": "linkerd_authorizations",
    "MeshTLSAuthentication": "mesh_tls_authentications", "NetworkAuthentication": "network_authentications",
    "HTTPRoute": "http_routes",
}  # fmt: skip
# Whose state was recorded with which pods; of others, made and removed in between, nothing was kept.
RECORDED = {"injector-down": "injector-down", "injector-back": "injector-down", "default": "default"}
REAL = {
    "ok": Reach.REACHED, "http-403": Reach.DENIED, "closed-without-data": Reach.DENIED, "http-404": Reach.FAILED,
    "http-500": Reach.FAILED,
}  # fmt: skip
# Known noise, by the recording's README.
NOISE = {("default", "http://optout.emoji:8080/", "http-504")}


@cache
def verdicts() -> Json:
    found: Json = json.loads(recorded.files("linkerd")["verdicts.json"])
    return found


@cache
def snapshot(scenario: str) -> Snapshot:
    base = recorded.mesh("linkerd", RECORDED.get(scenario, "final"))
    lists: Any = {name: [] for name in KINDS.values()}
    for policy in verdicts()["scenarios"][scenario]["policies"]:
        if policy["kind"] in KINDS:
            lists[KINDS[policy["kind"]]].append(policy)
    made = build.snapshot(**lists)
    return structs.replace(base, **{k: getattr(made, k) for k in lists})


def target(found: Snapshot, to: str) -> Target | None:
    """Turn a URL into what a user names; None where the pods that it is about were not recorded, or it is no pod."""
    url = urlsplit(to)
    path = url.path if url.scheme == "http" else None
    host, port = url.hostname or "", url.port or 80
    if host[0].isdecimal():
        pod = next((p for p in found.pods if p.status.pod_ip == host and not p.spec.host_network), None)
        return Target("pod", pod.metadata.namespace, pod.metadata.name, port, "GET", path) if pod else None
    name, _, namespace = host.partition(".")
    services = {(s.metadata.namespace, s.metadata.name) for s in found.services}
    return Target("svc", namespace, name, port, "GET", path) if (namespace, name) in services else None


def statements(request: Json) -> list[Statement] | None:
    found = snapshot(request["scenario"])
    aim = target(found, request["to"])
    source = f"{request['from']['namespace']}/{request['from']['pod']}"
    if aim is None or source not in {f"{p.metadata.namespace}/{p.metadata.name}" for p in found.pods}:
        return None
    return list(pair(found, source, aim).statements)


def asked() -> list[Json]:
    return [r for r in verdicts()["requests"] if not r["to"].endswith(":81/")]


@pytest.mark.parametrize("number", [pytest.param(n, id=str(n)) for n in range(143)])
def test_what_is_said_of_a_request_is_what_became_of_it(number: int) -> None:
    request = asked()[number]
    said = statements(request)
    if said is None or (request["scenario"], request["to"], request["verdict"]) in NOISE:
        return
    for one in said:
        if one.outcome is Reach.UNKNOWN:
            continue
        if request["verdict"] == "no-data-until-timeout":
            # It gave up before the proxy did: what protocol detection makes wait, whoever may come in after it.
            assert "protocol detection" in one.caveat, one
        else:
            assert one.outcome is REAL[request["verdict"]], (one, request["verdict"])
        if request["server_tls"]:
            assert (one.transport is Transport.MTLS) == (request["server_tls"] == ["true"]), one
        if request["client_id"]:
            assert one.identity == request["client_id"][0]


def test_most_are_asked_and_few_are_unknown() -> None:
    answers = [(r, said) for r in asked() if (said := statements(r)) is not None]
    # Left out are names that do not resolve, the nodes' own addresses, and pods that came and went between recordings.
    assert len(answers) >= 125
    unknown = [r["to"] for r, said in answers if any(s.outcome is Reach.UNKNOWN for s in said)]
    assert len(unknown) <= len(answers) // 20, unknown


def test_a_port_that_the_service_does_not_have() -> None:
    request = next(r for r in verdicts()["requests"] if r["to"].endswith(":81/"))
    with pytest.raises(UsageError):
        statements(request)
