"""Every request that three real meshes were asked, as a trace through their proxies: it says what became of it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest

from netinspect.analysis.flow import Question
from netinspect.analysis.trace import Tracer
from netinspect.errors import UsageError
from netinspect.model.mesh import Reach
from netinspect.model.trace import Arrival, Level, Trace
from tests.mesh import test_consul_pairs, test_istio_pairs, test_linkerd_pairs

Json = dict[str, Any]
MESHES: dict[str, Any] = {"istio": test_istio_pairs, "linkerd": test_linkerd_pairs, "consul": test_consul_pairs}
BAD = frozenset({Arrival.REFUSED, Arrival.FAILS})
# What leaves for nobody of the cluster, or what nobody can know, decides nothing.
OPEN = frozenset({Arrival.UNKNOWN, Arrival.LEAVES})
# Of these situations the pods were not recorded as they were (see the tests of pairs).
UNRECORDED = frozenset({"api-scaled-to-0"})


@cache
def tracer(mesh: str, scenario: str) -> Tracer:
    return Tracer(MESHES[mesh].snapshot(scenario))


def traced(mesh: str, request: Json) -> Trace | str:
    url = urlsplit(request["to"])
    host = url.hostname or ""
    name, _, namespace = host.partition(".")
    to = host if host[0].isdecimal() else f"svc/{namespace}/{name}"
    source = f"{request['from']['namespace']}/{request['from']['pod']}"
    try:
        return tracer(mesh, request["scenario"]).trace(Question(source, to, port=url.port or 80))
    except UsageError as error:
        return str(error)


def arrived(mesh: str, request: Json) -> bool:
    """Say whether it got to the server's application, as its answer and the proxies' logs tell."""
    if mesh == "istio":
        return test_istio_pairs.real(request) is Reach.REACHED
    if mesh == "consul":
        return bool(request["result"]["http_code"] == "200")
    # It gave up before the proxy had waited for what no client sends: of that the trace has a note.
    return bool(request["verdict"] == "ok")


def noise(mesh: str, request: Json) -> bool:
    key = (request["scenario"], request["to"])
    if mesh == "istio":
        return key in test_istio_pairs.NOISE and bool(request["from"]["injected"])
    return mesh == "linkerd" and (*key, request["verdict"]) in test_linkerd_pairs.NOISE


def judged(mesh: str, request: Json) -> str:
    found = traced(mesh, request)
    if isinstance(found, str) or request["scenario"] in UNRECORDED or noise(mesh, request):
        return "not asked"
    if found.arrival in OPEN:
        assert found.cause is not None, found.sentence
        assert found.cause.reason, found.sentence
        return "unknown"
    assert found.level is Level.SIMULATED
    waits = request.get("verdict") == "no-data-until-timeout"
    if waits and found.arrival is Arrival.ARRIVES:
        assert any("protocol detection" in note for note in found.notes), found
        return "right"
    if arrived(mesh, request):
        return "right" if found.arrival is Arrival.ARRIVES else f"wrong: {found.sentence}"
    return "right" if found.arrival in BAD else f"wrong: {found.sentence}"


@pytest.mark.parametrize(
    ("mesh", "right", "unknown"), [("istio", 45, 8), ("linkerd", 120, 9), ("consul", 45, 13)]
)  # fmt: skip
def test_what_a_trace_says_of_a_request_is_what_became_of_it(mesh: str, right: int, unknown: int) -> None:
    requests = MESHES[mesh].verdicts()["requests"]
    counts: Counter[str] = Counter()
    for request in requests:
        verdict = judged(mesh, request)
        assert not verdict.startswith("wrong"), (request, verdict)
        counts[verdict] += 1
    print(mesh, dict(counts))
    assert counts["right"] >= right
    assert counts["unknown"] <= unknown


@pytest.mark.parametrize(
    ("mesh", "scenario", "source", "to", "ports"),
    [
        ("istio", "permissive", "shop/client", "svc/shop/web:80", (15001, 15006, 8080)),
        ("linkerd", "default", "emoji/client", "svc/emoji/web:80", (4140, 4143, 8080)),
        ("consul", "default-allow", "store/client", "svc/store/web:80", (15001, 20000, 8080)),
    ],
)
def test_each_proxy_is_a_hop_and_opens_a_connection(
    mesh: str, scenario: str, source: str, to: str, ports: tuple[int, int, int]
) -> None:
    namespace, _, name = source.partition("/")
    pods = MESHES[mesh].snapshot(scenario).pods
    own = next(p for p in pods if p.metadata.namespace == namespace and p.metadata.name.startswith(name))
    found = tracer(mesh, scenario).trace(Question(f"{namespace}/{own.metadata.name}", to))
    assert found.arrival is Arrival.ARRIVES
    assert sum(w.probability or 0 for w in found.ways) == pytest.approx(1)
    assert len(found.ways) == 2
    for way in found.ways:
        requests = {leg.name: leg for leg in way.legs if leg.name.endswith("request")}
        assert list(requests) == ["request", "outbound proxy's request", "inbound proxy's request"]
        taken = [next(h for h in leg.hops if h.stage == "deliver") for leg in requests.values()]
        assert [int(h.packet.rpartition(":")[2]) for h in taken] == list(ports)
        assert requests["request"].place == taken[0].place == f"pod/{namespace}/{own.metadata.name}"
        assert "where it listens for what goes out" in requests["request"].reason
        assert "where it listens for what comes in" in requests["outbound proxy's request"].reason
        assert requests["outbound proxy's request"].place == requests["inbound proxy's request"].place
        assert way.backend.startswith(f"{taken[2].place} ")
        redirect = next(h for h in requests["request"].hops if h.stage == "nat")
        assert redirect.proof is not None
        assert "-j REDIRECT" in redirect.proof.text
