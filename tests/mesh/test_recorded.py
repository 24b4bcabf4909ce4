"""Three meshes on one real cluster, recorded: each pod is told rightly, from its spec and from its own namespace."""

from __future__ import annotations

import pytest
from msgspec import structs

from netinspect.analysis.mesh import report
from netinspect.mesh.glance import sidecar
from netinspect.model.finding import Severity
from netinspect.model.mesh import Capture, MeshReport, Placement, Verdict
from tests import recorded

SITUATIONS = (
    ("istio", "strict-deny-admin"), ("istio", "strict-dr-disable"), ("linkerd", "default"), ("linkerd", "final"),
    ("linkerd", "injector-down"), ("consul", "default-allow"), ("consul", "deny-client-web"), ("consul", "final"),
)  # fmt: skip
# Who is in which mesh, by the recordings' own READMEs; of these namespaces the named applications are in none.
MESHES = {"shop": "istio", "emoji": "linkerd", "emoji-legacy": "linkerd", "linkerd": "linkerd", "store": "consul"}
NOT = frozenset({"optout", "late", "plain", "outside"})
CLASSIC = frozenset({("shop", "api"), ("emoji", "api"), ("linkerd", "linkerd-identity")})


def told(name: str, situation: str, *, inside: bool) -> MeshReport:
    snapshot = recorded.mesh(name, situation)
    return report(snapshot if inside else structs.replace(snapshot, kernels=()))


@pytest.mark.parametrize(("name", "situation"), SITUATIONS)
@pytest.mark.parametrize("inside", [False, True])
def test_each_pod_is_told_rightly(name: str, situation: str, inside: bool) -> None:
    found = told(name, situation, inside=inside)
    assert len(found.pods) == len(recorded.mesh(name, situation).pods)
    for pod in found.pods:
        app = pod.pod.rpartition("-")[0].rpartition("-")[0]
        app = app.removesuffix("-v1")
        expected = "" if app in NOT else MESHES.get(pod.namespace, "")
        assert (pod.mesh if pod.verdict is Verdict.MESHED else "") == expected, pod
        if expected:
            consul = expected == "consul" and app != "native"
            classic = consul or (pod.namespace, app) in CLASSIC
            assert pod.placement == (Placement.CLASSIC if classic else Placement.NATIVE), pod
            assert pod.capture == (Capture.NONE if app == "upstream" else Capture.IPTABLES), pod
            assert pod.version


@pytest.mark.parametrize(("name", "situation"), SITUATIONS)
def test_what_its_namespace_shows_is_evidence(name: str, situation: str) -> None:
    found = told(name, situation, inside=True)
    seen = {k for node in recorded.mesh(name, situation).kernels for s in node.namespaces for k in s.pods}
    names = {f"{k.namespace}/{k.name}" for k in seen}
    captured = [p for p in found.pods if p.full_name in names and p.capture and p.capture.value == "iptables"]
    assert captured
    for pod in captured:
        assert pod.proven, pod
        assert pod.evidence[0].source == "rules in its namespace", pod
        assert pod.evidence[1].source == "sockets in its namespace", pod


@pytest.mark.parametrize(("name", "situation"), SITUATIONS)
def test_nothing_is_found_wrong_but_what_is(name: str, situation: str) -> None:
    found = told(name, situation, inside=True)
    wrong = [f for f in found.findings if f.severity is not Severity.INFO]
    # A pod that was made while Linkerd's injector was away, as it still is.
    late = [p.full_name for p in found.pods if p.pod.startswith("late-")]
    away = ("injector-away", "mutatingwebhookconfiguration/linkerd-proxy-injector-webhook-config")
    told_ = [(f.kind, f.place) for f in wrong]
    assert told_ == [*(("not-meshed", f"pod/{full}") for full in late), *([away] if late else [])]
    assert bool(late) == ((name, situation) in {("linkerd", "injector-down"), ("consul", "final")})
    for finding in wrong:
        assert finding.cause.startswith("no ready pod is behind Service linkerd/linkerd-proxy-injector")
        assert "Ignore" in finding.cause


def test_the_control_planes_are_named() -> None:
    found = told("consul", "final", inside=False)
    assert set(found.meshes) == {"istio", "linkerd", "consul"}
    planes = {(c.mesh, c.namespace, c.name, c.version) for c in found.control_planes}
    assert ("istio", "istio-system", "istiod", "1.31.0") in planes
    assert ("linkerd", "linkerd", "linkerd-destination", "edge-26.8.3") in planes
    assert ("consul", "consul", "consul-connect-injector", "1.9.11") in planes


@pytest.mark.parametrize(("name", "situation"), SITUATIONS)
def test_what_a_map_shows_is_no_other_mesh(name: str, situation: str) -> None:
    """It knows less, and nothing else."""
    told_ = {p.full_name: p for p in told(name, situation, inside=False).pods}
    shown = 0
    for pod in recorded.mesh(name, situation).pods:
        mesh, proxy = sidecar(pod)
        judged = told_[f"{pod.metadata.namespace}/{pod.metadata.name}"]
        assert (mesh, proxy) in (("", ""), (judged.mesh, judged.proxy))
        shown += bool(mesh)
    assert shown >= 4
