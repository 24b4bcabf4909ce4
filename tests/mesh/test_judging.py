"""Whether a pod should be in a mesh, and whether what is in it works: by webhooks, states, and its own namespace."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from netinspect.analysis.mesh import report
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, PodReference, Section
from netinspect.model.mesh import MeshReport, Part, PodMesh, Verdict
from netinspect.model.snapshot import Snapshot
from tests import build

Json = dict[str, Any]
BORN = "2026-03-01T10:00:00Z"
EARLIER, LATER = "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"
RULES = [{"operations": ["CREATE"], "resources": ["pods"]}]
NOT_FALSE = {"matchExpressions": [{"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}]}
CHAINS = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
"""
LISTENING = "tcp LISTEN 0 4096 0.0.0.0:15001 0.0.0.0:*\ntcp LISTEN 0 4096 0.0.0.0:15006 0.0.0.0:*\n"


def namespace(*, labels: Json | None = None, notes: Json | None = None, set_at: str = EARLIER) -> Json:
    fields: Json = {"f:metadata": {"f:labels": {f"f:{k}": {} for k in labels or {}},
                             "f:annotations": {f"f:{k}": {} for k in notes or {}}}}  # fmt: skip
    managed = [{"manager": "kubectl", "operation": "Update", "time": set_at, "fieldsV1": fields}]
    return {"metadata": {"name": "shop", "labels": labels or {}, "annotations": notes or {}, "managedFields": managed}}


def webhook(
    name: str, selector: Json, *, made: str = EARLIER, policy: str = "Fail", objects: Json | None = None
) -> Json:
    hook = {
        "name": name, "failurePolicy": policy, "rules": RULES, "namespaceSelector": selector,
        "objectSelector": objects if objects is not None else NOT_FALSE,
        "clientConfig": {"service": {"name": "injector", "namespace": "mesh"}},
    }  # fmt: skip
    return {"metadata": {"name": f"{name}-config", "creationTimestamp": made}, "webhooks": [hook]}


DEFAULT = webhook("namespace.sidecar-injector.istio.io", {"matchLabels": {"istio-injection": "enabled"}})
INJECTOR = {
    **build.pod("injector-0", "10.0.9.1", labels={"app": "injector"}),
}
INJECTOR["metadata"] = {**INJECTOR["metadata"], "namespace": "mesh"}
SERVICE = {"metadata": {"name": "injector", "namespace": "mesh"}, "spec": {"selector": {"app": "injector"}}}
ENABLED = {"istio-injection": "enabled"}


def pod(*, labels: Json | None = None, notes: Json | None = None, sidecar: bool = False, **spec: Any) -> Json:
    found = build.pod("web", "10.0.1.5", labels=labels or {}, **spec)
    found["metadata"] |= {"creationTimestamp": BORN, "annotations": notes or {}, "uid": "u1"}
    if sidecar:
        proxy = {"name": "istio-proxy", "image": "istio/proxyv2:1.30.0", "args": ["proxy", "sidecar"],
                 "env": [{"name": "ISTIO_META_MESH_ID", "value": "m"}]}  # fmt: skip
        found["spec"]["containers"].append(proxy)
        found["spec"]["initContainers"] = [{"name": "istio-init"}]
        ready = {"name": "istio-proxy", "ready": True, "state": {"running": {}}}
        found["status"]["containerStatuses"] = [ready]
    return found


def judged(found: Json, *, around: Json | None = None, hooks: tuple[Json, ...] = (DEFAULT,), injector: bool = True,
           gaps: tuple[str, ...] = ()) -> tuple[PodMesh, MeshReport]:  # fmt: skip
    lists = {"pods": [found, *([INJECTOR] if injector else [])], "services": [SERVICE],
             "namespaces": [around or namespace()], "mutating_webhooks": list(hooks)}  # fmt: skip
    told = report(build.snapshot(gaps=gaps, **{k: v for k, v in lists.items() if k not in gaps}))
    return next(p for p in told.pods if p.pod == "web"), told


def inside(found: Json, rules: str, sockets: str) -> PodMesh:
    snapshot = build.snapshot(pods=[found], namespaces=[namespace(labels=ENABLED)], mutating_webhooks=[DEFAULT])
    sections = {"iptables-nft": Section("iptables-nft", rules, exit_code=0),
                "iptables-legacy": Section("iptables-legacy", "", exit_code=0),
                "sockets": Section("sockets", sockets, exit_code=0)}  # fmt: skip
    space = NamespaceEvidence("1", sections, pods=(PodReference("u1", "shop", "web"),))
    kernels = (NodeEvidence("n1", Access.EXEC, "recorded", (space,)),)
    return report(structs.replace(snapshot, kernels=kernels)).pods[0]


class TestWhoShouldBe:
    def test_nobody_without_a_mesh(self) -> None:
        found, told = judged(pod(), hooks=())
        assert found.verdict is Verdict.NOT_MESHED
        assert told.headline == "no mesh"
        assert told.outcome.value == 0

    @pytest.mark.parametrize(
        ("around", "own", "says"),
        [
            (ENABLED, {"labels": {"sidecar.istio.io/inject": "false"}}, "the pod is labelled"),
            (ENABLED, {"notes": {"sidecar.istio.io/inject": "false"}}, "the pod is annotated"),
            (ENABLED, {"hostNetwork": True}, "it is on the host network"),
            ({"istio-injection": "disabled"}, {"labels": {"sidecar.istio.io/inject": "true"}}, "injection=disabled"),
            ({"istio.io/dataplane-mode": "ambient"}, {"labels": {"istio.io/dataplane-mode": "none"}}, "mode=none"),
        ],
    )  # fmt: skip
    def test_who_opted_out_is_not_missed(self, around: Json, own: Json, says: str) -> None:
        found, told = judged(pod(**own), around=namespace(labels=around))
        assert found.verdict is Verdict.NOT_MESHED
        assert says in found.says
        assert told.findings == ()

    def test_a_pod_older_than_the_label(self) -> None:
        found, told = judged(pod(), around=namespace(labels=ENABLED, set_at=LATER))
        assert found.verdict is Verdict.MISSING
        assert "older than istio-injection" in found.cause
        assert told.outcome.value == 1
        same, _ = judged(pod(), around=namespace(labels=ENABLED, set_at=BORN))
        assert "same second as istio-injection" in same.cause

    def test_a_pod_older_than_the_webhook(self) -> None:
        hook = webhook("namespace.sidecar-injector.istio.io", {"matchLabels": ENABLED}, made=LATER)
        found, _ = judged(pod(), around=namespace(labels=ENABLED), hooks=(hook,))
        assert "older than webhook" in found.cause

    def test_a_revision_that_nobody_injects_for(self) -> None:
        found, _ = judged(pod(), around=namespace(labels={"istio.io/rev": "1-99"}))
        assert found.cause.startswith("no webhook injects for revision 1-99")

    def test_labels_that_contradict_each_other(self) -> None:
        both = {"istio-injection": "enabled", "istio.io/rev": "1-30"}
        rev = webhook("rev.namespace.sidecar-injector.istio.io", {"matchExpressions": [
            {"key": "istio.io/rev", "operator": "In", "values": ["1-30"]},
            {"key": "istio-injection", "operator": "DoesNotExist"}]})  # fmt: skip
        found, told = judged(pod(), around=namespace(labels=both), hooks=(rev,))
        assert "makes istio.io/rev count for nothing" in found.cause
        assert "contradicting-labels" in {f.kind for f in told.findings}

    def test_an_injector_that_was_away(self) -> None:
        hook = webhook("linkerd-proxy-injector.linkerd.io", {}, policy="Ignore", objects={})
        around = namespace(notes={"linkerd.io/inject": "enabled"})
        found, _ = judged(pod(), around=around, hooks=(hook,), injector=False)
        assert found.mesh == "linkerd"
        assert found.cause.startswith("no ready pod is behind Service mesh/injector")
        there, _ = judged(pod(), around=around, hooks=(hook,))
        assert "was not reached" in there.cause

    def test_an_ambient_pod_that_was_not_captured(self) -> None:
        found, _ = judged(pod(), around=namespace(labels={"istio.io/dataplane-mode": "ambient"}))
        assert found.verdict is Verdict.MISSING
        assert "istio-cni-node" in found.cause

    def test_webhooks_that_may_not_be_read_are_no_cause(self) -> None:
        found, _ = judged(pod(), around=namespace(labels=ENABLED), gaps=("mutating_webhooks",))
        assert found.verdict is Verdict.MISSING
        assert "could not be read" in found.cause
        without, _ = judged(pod(), gaps=("namespaces",))
        assert without.verdict is Verdict.UNKNOWN
        assert "namespaces could not be read" in without.settled_by

    def test_a_sidecar_that_was_opted_out_of(self) -> None:
        found, _ = judged(
            pod(sidecar=True, labels={"sidecar.istio.io/inject": "false"}), around=namespace(labels=ENABLED)
        )
        assert found.verdict is Verdict.UNWANTED

    def test_members_of_openshift_opt_in(self) -> None:
        selector = {"matchExpressions": [{"key": "maistra.io/member-of", "operator": "In", "values": ["istio-system"]}]}
        hook = webhook("sidecar-injector.istio.io", selector, objects={})
        around = namespace(labels={"maistra.io/member-of": "istio-system"})
        assert judged(pod(), around=around, hooks=(hook,))[0].verdict is Verdict.NOT_MESHED
        asks = pod(labels={"sidecar.istio.io/inject": "true"})
        assert judged(asks, around=around, hooks=(hook,))[0].verdict is Verdict.MISSING

    def test_an_odd_value_keeps_all_webhooks_away(self) -> None:
        found, _ = judged(pod(), around=namespace(labels={"istio-injection": "foo", "istio.io/rev": "x"}))
        assert found.verdict is Verdict.NOT_MESHED

    def test_an_ambient_pod_that_has_not_started(self) -> None:
        waits = pod(phase="Pending")
        waits["status"]["podIP"] = ""
        found, _ = judged(waits, around=namespace(labels={"istio.io/dataplane-mode": "ambient"}))
        assert found.verdict is Verdict.UNKNOWN

    def test_pods_that_could_not_be_read(self) -> None:
        told = report(build.snapshot(gaps=("pods",)))
        assert told.headline != "no mesh"
        assert told.outcome.value == 3


class TestWhatWorks:
    @pytest.mark.parametrize(
        "notes",
        [
            {"sidecar.istio.io/status": "[" * 100_000},
            {"kuma.io/sidecar-uid": "9" * 5000},
            {"kuma.io/ingress": "enabled"},
        ],
    )
    def test_what_a_tenant_writes_breaks_nothing(self, notes: Json) -> None:
        found = pod(sidecar=True, notes=notes)
        found["spec"]["containers"].append({"name": "kuma-sidecar", "image": "kumahq/kuma-dp:2.9.1"})
        found["spec"]["initContainers"][0]["args"] = ["istio-iptables", "-u", "9" * 5000]
        assert judged(found)[0].verdict

    def test_rules_that_were_read_in_part_are_no_proof(self) -> None:
        """Empty legacy tables beside nft's, which could not be read, are normal."""
        found = pod(sidecar=True)
        snapshot = build.snapshot(pods=[found], namespaces=[namespace(labels=ENABLED)], mutating_webhooks=[DEFAULT])
        sections = {"iptables-legacy": Section("iptables-legacy", "", exit_code=0),
                    "sockets": Section("sockets", LISTENING, exit_code=0)}  # fmt: skip
        space = NamespaceEvidence("1", sections, pods=(PodReference("u1", "shop", "web"),))
        kernels = (NodeEvidence("n1", Access.EXEC, "recorded", (space,)),)
        told = report(structs.replace(snapshot, kernels=kernels)).pods[0]
        assert (told.verdict, told.proven) == (Verdict.MESHED, False)

    def test_an_ambient_pod_is_proven_by_who_waits_in_it(self) -> None:
        rules = CHAINS.replace("ISTIO_REDIRECT", "ISTIO_PRERT")
        found = inside(pod(), rules, LISTENING + "tcp LISTEN 0 4096 *:15008 *:*\n")
        assert (found.verdict, found.part) == (Verdict.MESHED, Part.AMBIENT)

    def test_a_proxy_that_crashes(self) -> None:
        found = pod(sidecar=True)
        found["status"]["containerStatuses"] = [
            {"name": "istio-proxy", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
        ]
        told, whole = judged(found, around=namespace(labels=ENABLED))
        assert told.verdict is Verdict.BROKEN
        assert "CrashLoopBackOff" in told.says
        assert whole.outcome.value == 1

    def test_a_start_that_fails(self) -> None:
        found = pod(sidecar=True)
        found["status"]["initContainerStatuses"] = [
            {"name": "istio-init", "state": {"terminated": {"reason": "Error"}}}
        ]
        assert judged(found, around=namespace(labels=ENABLED))[0].says == "its start fails: istio-init ended: Error"

    def test_a_pod_that_begins_is_not_broken(self) -> None:
        found = pod(sidecar=True, phase="Pending")
        found["status"]["containerStatuses"] = [
            {"name": "istio-proxy", "ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}
        ]
        told = judged(found, around=namespace(labels=ENABLED))[0]
        assert told.verdict is Verdict.MESHED
        assert "not begun" in told.says

    @pytest.mark.parametrize(("made", "verdict"), [
        ("2025-12-31T23:59:30Z", Verdict.MESHED), ("2025-12-31T23:50:00Z", Verdict.BROKEN), ("", Verdict.MESHED),
    ])  # fmt: skip
    def test_a_native_sidecar_that_does_not_come_up_keeps_its_pod_waiting(self, made: str, verdict: Verdict) -> None:
        """Its pod stays Pending however long that takes."""
        found = pod(sidecar=True, phase="Pending")
        found["metadata"]["creationTimestamp"] = made
        found["status"]["containerStatuses"] = []
        found["status"]["initContainerStatuses"] = [{"name": "istio-proxy", "ready": False, "state": {"running": {}}}]
        told = judged(found, around=namespace(labels=ENABLED))[0]
        assert told.verdict is verdict
        assert ("is not ready" in told.says) is (verdict is Verdict.BROKEN)

    def test_an_ambient_pod_that_ztunnel_has_not_taken(self) -> None:
        told = judged(pod(notes={"ambient.istio.io/redirection": "pending"}))[0]
        assert told.verdict is Verdict.BROKEN
        assert "blocked" in told.says

    def test_rules_and_sockets_prove_it(self) -> None:
        found = inside(pod(sidecar=True), CHAINS, LISTENING)
        assert found.verdict is Verdict.MESHED
        assert found.proven
        assert not found.settled_by

    def test_rules_that_were_flushed(self) -> None:
        flushed = "\n".join(line for line in CHAINS.splitlines() if not line.startswith("-A OUTPUT")) + "\n"
        found = inside(pod(sidecar=True), flushed, LISTENING)
        assert found.verdict is Verdict.BROKEN
        assert "passes the proxy by" in found.says

    def test_a_proxy_that_does_not_listen(self) -> None:
        found = inside(pod(sidecar=True), CHAINS, "")
        assert found.verdict is Verdict.BROKEN
        assert "15001" in found.says

    def test_rules_without_a_proxy(self) -> None:
        found = inside(pod(), CHAINS, "")
        assert found.verdict is Verdict.BROKEN
        assert found.mesh == "istio"

    def test_a_proxy_of_an_unknown_mesh_is_told_by_its_rules(self) -> None:
        found = pod()
        found["spec"]["containers"].append({"name": "envoy", "image": "envoyproxy/envoy:v1.31.0"})
        found["spec"]["initContainers"] = [
            {"name": "start", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}
        ]
        other = CHAINS.replace("ISTIO_", "ACME_")
        assert inside(found, other, LISTENING).verdict is Verdict.MESHED
        assert inside(found, "", LISTENING).verdict is Verdict.NOT_MESHED


def test_many_pods_of_one_cause_are_one_finding() -> None:
    pods = [{**pod(), "metadata": {**pod()["metadata"], "name": f"web-{i}"}} for i in range(40)]
    snapshot: Snapshot = build.snapshot(pods=pods, namespaces=[namespace(labels={"istio.io/rev": "gone"})],
                                        mutating_webhooks=[], services=[])  # fmt: skip
    findings = report(snapshot).findings
    assert len(findings) == 1
    assert "and 37 others" in findings[0].says


@pytest.mark.parametrize(("policy", "says"), [("Fail", "are refused"), ("Ignore", "are made without it")])
def test_an_injector_that_nobody_answers_for(policy: str, says: str) -> None:
    """Found once for a configuration, whether or not a pod misses it; where pods were not all read it is not said."""
    hook = webhook("namespace.sidecar-injector.istio.io", {"matchLabels": ENABLED}, policy=policy)
    hook["webhooks"] *= 2
    lists: Any = {"services": [SERVICE], "mutating_webhooks": [hook], "namespaces": [namespace()]}
    (found,) = report(build.snapshot(pods=[], **lists)).findings
    assert (found.kind, says in found.says) == ("injector-away", True)
    assert "Service mesh/injector" in found.cause
    assert not report(build.snapshot(pods=[], gaps=("pods",), **lists)).findings
    ready = {**INJECTOR, "status": {**INJECTOR["status"], "conditions": [{"type": "Ready", "status": "True"}]}}
    assert not report(build.snapshot(pods=[ready], **lists)).findings
