"""Whether the pods that should be in a service mesh are, and work."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.mesh import NEEDS
from netinspect.checks.base import Irrelevant, Seen, Unseen, check, problem
from netinspect.checks.view import View
from netinspect.model.check import Category
from netinspect.model.finding import Severity
from netinspect.model.mesh import Verdict


def _told(view: View, kind: str) -> Iterator[Seen]:
    if view.snapshot.redacted:
        yield Unseen("the recording is redacted, and what tells a mesh is not in it", "record without --redact")
        return
    if not view.mesh.meshes and not view.mesh.findings:
        yield Irrelevant("there is no mesh")
    yield from (problem(f) for f in view.mesh.findings if f.kind == kind)


@check(
    "NI2101", "every pod that should be in a mesh is", Category.MESH, Severity.WARNING, needs=NEEDS,
    remedy="make the pods anew after what kept them out is mended: `kubectl rollout restart` of their workload",
    links=("https://istio.io/latest/docs/ops/common-problems/injection/",),
)  # fmt: skip
def not_meshed(view: View) -> Iterator[Seen]:
    """Find pods without a proxy though their namespace, labels or annotations ask for one.

    They are older than the label or the webhook, the injector was away when they were made, or the revision has no
    control plane. The cause is told of each; opting out is no fault.
    """
    yield from _told(view, "not-meshed")
    if not view.snapshot.redacted and any(p.verdict is Verdict.UNKNOWN for p in view.mesh.pods):
        pod = next(p for p in view.mesh.pods if p.verdict is Verdict.UNKNOWN)
        yield Unseen(f"pod/{pod.full_name}: {pod.says}", pod.settled_by or "`netinspect mesh` with --access")


@check(
    "NI2102", "no pod is in a mesh against its will", Category.MESH, Severity.WARNING, needs=NEEDS,
    remedy="make the pods anew: `kubectl rollout restart` of their workload",
)  # fmt: skip
def unwanted(view: View) -> Iterator[Seen]:
    """Find pods with a mesh's proxy that have opted out of it.

    They were made before, or the proxy was put in by hand.
    """
    return _told(view, "meshed-unasked")


@check(
    "NI2103", "the proxies work", Category.MESH, Severity.ERROR, needs=NEEDS, explains=("NI22",),
    remedy="see the proxy's log, and make the pod anew",
    links=("https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/",),
)  # fmt: skip
def broken(view: View) -> Iterator[Seen]:
    """Find pods whose proxy is not ready, has rules and nobody listening or the reverse, and pods in two meshes.

    Rules and sockets are only seen with --access; without it the containers' states tell.
    """
    return _told(view, "mesh-broken")


@check(
    "NI2104", "the control planes of meshes are ready", Category.MESH, Severity.ERROR, needs=NEEDS,
    explains=("NI2101", "NI1813"), remedy="kubectl get pods in its namespace, and see their logs",
)  # fmt: skip
def control_plane(view: View) -> Iterator[Seen]:
    """Find control planes of which not all pods are ready: proxies keep what they know, and new pods get none."""
    return _told(view, "control-plane")


@check(
    "NI2105", "proxies are of their control plane's version", Category.MESH, Severity.INFO, needs=NEEDS,
    remedy="make the pods anew after the control plane was upgraded",
)  # fmt: skip
def skew(view: View) -> Iterator[Seen]:
    """Find proxies of another version than any control plane of their mesh: pods keep the proxy they were made with."""
    return _told(view, "version-skew")


@check(
    "NI2106", "no label that asks for a mesh undoes another", Category.MESH, Severity.WARNING, needs=NEEDS,
    remedy="remove one of the two labels from the namespace",
    links=("https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/",),
)  # fmt: skip
def contradicting(view: View) -> Iterator[Seen]:
    """Find namespaces whose labels contradict each other: `istio-injection` makes `istio.io/rev` count for nothing."""
    return _told(view, "contradicting-labels")


CHECKS = (not_meshed, unwanted, broken, control_plane, skew, contradicting)
