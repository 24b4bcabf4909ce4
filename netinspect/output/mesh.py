"""The mesh report as text: what is there, which namespaces are in it, what is wrong; and a pod with its evidence."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.model.mesh import (
    Capture,
    ControlPlane,
    MeshReport,
    NamespaceMesh,
    PairReport,
    Part,
    PodMesh,
    Reach,
    Verdict,
)
from netinspect.output import findings
from netinspect.output.base import Style, safe
from netinspect.output.columns import columns, section

_VERDICTS = {
    Verdict.MESHED: "meshed", Verdict.NOT_MESHED: "not meshed", Verdict.MISSING: "should be, and is not",
    Verdict.UNWANTED: "should not be, and is", Verdict.BROKEN: "broken", Verdict.UNKNOWN: "unknown",
}  # fmt: skip


def report(document: MeshReport, style: Style, *, wide: bool) -> Iterator[str]:
    """Give the report; ``wide`` adds every pod."""
    if document.pod:
        for pod in document.pods:
            yield from _pod(pod, style)
    else:
        yield f"{safe(document.headline)}\n"
        yield from _planes(document, style)
        yield from _features(document, style)
        yield from _namespaces(document, style)
        if wide or document.namespace:
            yield from _pods(document, style)
    if document.findings:
        yield "\n"
        yield from findings.lines(document.findings, style)
    if document.unproven:
        one = document.unproven == 1
        yield (
            f"? {document.unproven} pod{'' if one else 's'} {'is' if one else 'are'} judged by the API alone: "
            "--access exec or pod looks at the rules in their namespaces\n"
        )


def _planes(document: MeshReport, style: Style) -> Iterator[str]:
    if document.control_planes:
        yield "\n"
        yield section("CONTROL PLANES", style)
        yield from columns(
            ("MESH", "VERSION", "REVISION", "NAMESPACE", "NAME", "READY", "AS"),
            [_plane(c) for c in document.control_planes],
            style,
        )


def _plane(one: ControlPlane) -> tuple[str, ...]:
    ready = f"{one.ready} of {one.desired}" if one.desired else ""
    return (one.title, one.version, one.revision, one.namespace, one.name or one.external, ready, one.distribution)


def _features(document: MeshReport, style: Style) -> Iterator[str]:
    if document.features:
        yield "\n"
        yield section("ON NODES", style)
        rows = [(f.title, f.source, f.says) for f in document.features]
        yield from columns(("MESH", "WHERE", "WHAT"), rows, style)


def _namespaces(document: MeshReport, style: Style) -> Iterator[str]:
    if document.namespaces:
        yield "\n"
        yield section("NAMESPACES", style)
        header = ("NAMESPACE", "ASKS", "MESHES", *(v.value.upper() for v in _VERDICTS))
        yield from columns(header, [_namespace(n) for n in document.namespaces], style, optional=("ASKS",))


def _namespace(one: NamespaceMesh) -> tuple[str, ...]:
    counts = (str(one.counts[v]) if v in one.counts else "" for v in _VERDICTS)
    return (one.namespace, one.asks, ", ".join(one.meshes), *counts)


def _pods(document: MeshReport, style: Style) -> Iterator[str]:
    if document.pods:
        yield "\n"
        yield section("PODS", style)
        header = ("NAMESPACE", "POD", "VERDICT", "MESH", "PART", "VERSION", "SAYS")
        rows = [(p.namespace, p.pod, _VERDICTS[p.verdict], p.mesh, _part(p), p.version, p.says) for p in document.pods]
        yield from columns(header, rows, style)


def _part(pod: PodMesh) -> str:
    """Say what of a mesh a pod has, where that stands, and what turns traffic to it."""
    if pod.part is None:
        return ""
    placement = f"{pod.placement.value} " if pod.placement and pod.part is Part.SIDECAR else ""
    capture = f", captured by {pod.capture.value}" if pod.capture not in (None, Capture.NONE) else ""
    return f"{placement}{pod.part.value}{capture}"


def _pod(pod: PodMesh, style: Style) -> Iterator[str]:
    yield f"pod/{safe(pod.full_name)}: {_VERDICTS[pod.verdict]}{f' ({pod.mesh})' if pod.mesh else ''}\n"
    yield f"  {safe(pod.says)}\n"
    told = (
        ("part", _part(pod)), ("proxy", pod.proxy), ("runs as user", "" if pod.uid is None else str(pod.uid)),
        ("version", pod.version), ("revision", pod.revision), ("cause", pod.cause), ("remedy", pod.remedy),
    )  # fmt: skip
    for name, value in told:
        if value:
            yield f"  {name}: {safe(value)}\n"
    if pod.settled_by:
        yield f"  ? {safe(pod.settled_by)}\n"
    if pod.evidence:
        yield "\n"
        yield section("KNOWN BY", style)
        rows = [(str(c.weight), c.source, c.says) for c in pod.evidence]
        yield from columns(("WEIGHT", "WHERE", "WHAT"), rows, style)


_OUTCOMES = {
    Reach.REACHED: "√", Reach.DENIED: "×", Reach.REFUSED: "×", Reach.FAILED: "×", Reach.UNKNOWN: "?",  # noqa: RUF001 - as linkerd check does
}  # fmt: skip


def pair(document: PairReport, style: Style) -> Iterator[str]:
    """Give what becomes of traffic between two pods, port by port, and what that rests on."""
    yield f"from pod/{safe(document.source.full_name)} ({safe(document.source.says)}) to {safe(document.target)}\n"
    for one in document.statements:
        yield "\n"
        yield section(f"{safe(one.service or 'port')} → {one.port}" if one.service else f"port {one.port}", style)
        yield f"{_OUTCOMES[one.outcome]} {one.outcome.value}, {one.transport.value}: {safe(one.says)}\n"
        told = (
            ("the server sees", one.identity), ("balanced by", one.balanced_by),
            ("holds of", ", ".join(one.servers)), ("but", one.caveat), ("would be settled by", one.settled_by),
        )  # fmt: skip
        for name, value in told:
            if value:
                yield f"  {name}: {safe(value)}\n"
        yield from columns(("  BECAUSE", "SAYS"), [(f"  {c.source}", c.says) for c in one.reasons], style)
        if one.effects:
            rows = [(f"  {e.aspect.value}", e.says, e.source) for e in one.effects]
            yield from columns(("  CHANGES", "HOW", "BY"), rows, style)
    if document.unproven:
        yield "\n"
        yield f"? by their specs alone traffic is turned to a proxy in {safe(', '.join(document.unproven))}: "
        yield "--access exec or pod looks\n"
