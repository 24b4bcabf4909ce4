"""Requests that a real Consul mesh was asked (lab-consul): what is said of each is what became of it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec import structs

from netinspect.analysis.mesh_pair import Target, pair
from netinspect.model.mesh import Reach, Statement
from netinspect.model.snapshot import Snapshot
from tests import build, recorded

Json = dict[str, Any]
KINDS = {
    "ServiceIntentions": "service_intentions", "ServiceDefaults": "service_defaults",
    "ProxyDefaults": "proxy_defaults", "Mesh": "consul_meshes", "ServiceResolver": "service_resolvers",
}  # fmt: skip
# In which of the recorded situations the pods were those that a scenario's requests were made between.
RECORDED = {"default-allow": "default-allow", "deny-client-web": "deny-client-web"}


@cache
def verdicts() -> Json:
    found: Json = json.loads(recorded.files("consul")["verdicts.json"])
    return found


@cache
def snapshot(scenario: str) -> Snapshot:
    situation = RECORDED.get(scenario, "final")
    base = recorded.mesh("consul", situation)
    lists: Any = {name: [] for name in KINDS.values()}
    for policy in verdicts()["scenarios"][scenario]["policies"]:
        lists[KINDS[policy["kind"]]].append(policy)
    settings = json.loads(recorded.files("consul")[f"{situation}/kube/configmap-consul-server-config.json"])
    made = build.snapshot(**lists, mesh_settings=[settings])
    return structs.replace(base, mesh_settings=made.mesh_settings, **{k: getattr(made, k) for k in lists})


def target(found: Snapshot, to: str) -> Target | None:
    """Turn a URL into what a user names; None where it is no Service's or pod's, but a name or port of Consul's."""
    url = urlsplit(to)
    path = url.path if url.scheme == "http" else None
    host, port = url.hostname or "", url.port or 80
    if host[0].isdecimal():
        pod = next((p for p in found.pods if p.status.pod_ip == host), None)
        return Target("pod", pod.metadata.namespace, pod.metadata.name, port, "GET", path) if pod else None
    name, _, namespace = host.partition(".")
    ports = {(s.metadata.namespace, s.metadata.name, p.port) for s in found.services for p in s.spec.ports}
    return Target("svc", namespace, name, port, "GET", path) if (namespace, name, port) in ports else None


def statements(request: Json) -> list[Statement] | None:
    found = snapshot(request["scenario"])
    aim = target(found, request["to"])
    source = f"{request['from']['namespace']}/{request['from']['pod']}"
    # The port of the proxy itself is nobody's to ask for.
    if aim is None or aim.port == 20000 or request["scenario"] == "api-scaled-to-0":
        return None
    if source not in {f"{p.metadata.namespace}/{p.metadata.name}" for p in found.pods}:
        return None
    return list(pair(found, source, aim).statements)


def real(request: Json) -> set[Reach]:
    result = request["result"]
    if result["http_code"] == "200":
        return {Reach.REACHED}
    # A proxy that does not let in and one that is denied by intentions both close without a word.
    return {Reach.REFUSED, Reach.DENIED} if result["exit"] == 52 else {Reach.FAILED, Reach.DENIED}


@pytest.mark.parametrize("number", range(70))
def test_what_is_said_of_a_request_is_what_became_of_it(number: int) -> None:
    request = verdicts()["requests"][number]
    for one in statements(request) or ():
        if one.outcome is not Reach.UNKNOWN:
            assert one.outcome in real(request), (one, request["result"])


def test_most_are_asked_and_few_are_unknown() -> None:
    answers = [(r, said) for r in verdicts()["requests"] if (said := statements(r)) is not None]
    assert len(answers) >= 40
    unknown = [r["to"] for r, said in answers if any(s.outcome is Reach.UNKNOWN for s in said)]
    assert len(unknown) <= len(answers) // 10, unknown


def routed(prefix: str, to: str = "other") -> Json:
    return {"routes": [{"match": {"http": {"pathPrefix": prefix}}, "destination": {"service": to}}]}


@pytest.mark.parametrize(
    ("kind", "spec", "known"),
    [
        ("service_resolvers", {"connectTimeout": "5s", "loadBalancer": {"policy": "ring_hash"}}, True),
        ("service_resolvers", {"defaultSubset": "v2"}, False),
        ("service_resolvers", {"redirect": {"service": "other"}}, False),
        ("service_routers", routed("/admin"), True),
        ("service_routers", routed("/"), False),
        ("service_routers", routed("/", "web"), True),
        ("service_routers", {"routes": [{"match": {"http": {"header": [{"name": "x"}]}}}]}, False),
        ("service_routers", {"routes": [{"match": {"http": {"methods": ["POST"]}}, "destination": {"service": "o"}}]},
         True),
        ("service_splitters", {"splits": [{"weight": 100}]}, True),
        ("service_splitters", {"splits": [{"weight": 50, "service": "web"}, {"weight": 50, "service": "o"}]}, False),
        ("service_splitters", {"splits": [{"weight": 100, "serviceSubset": "v2"}]}, False),
    ],
)  # fmt: skip
def test_what_keeps_a_request_with_its_service_changes_nothing(kind: str, spec: Json, known: bool) -> None:
    request = next(
        r for r in verdicts()["requests"]
        if r["result"]["http_code"] == "200" and (said := statements(r)) and said[0].service.startswith("store/web")
        and said[0].outcome is Reach.REACHED
    )  # fmt: skip
    base = snapshot(request["scenario"])
    objects: Any = {kind: [{"metadata": {"name": "web", "namespace": "store"}, "spec": spec}]}
    changed = structs.replace(base, **{kind: getattr(build.snapshot(**objects), kind)})
    aim = target(changed, request["to"])
    assert aim is not None
    found = pair(changed, f"{request['from']['namespace']}/{request['from']['pod']}", aim).statements
    assert {s.outcome for s in found} == {Reach.REACHED if known else Reach.UNKNOWN}
