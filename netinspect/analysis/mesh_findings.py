"""What is wrong with meshes, and the sentence that sums them up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from netinspect.analysis.webhooks import Webhook
from netinspect.mesh import BY_NAME, DRIVERS, ON_NODES
from netinspect.mesh.base import Driver
from netinspect.mesh.sight import Sight
from netinspect.model.finding import Finding, Severity
from netinspect.model.mesh import ControlPlane, Feature, Part, PodMesh, Verdict

_SHOWN = 3


def headline(
    names: Sequence[str], pods: Iterable[PodMesh], planes: Iterable[ControlPlane], features: Iterable[Feature],
    sight: Sight,
) -> str:  # fmt: skip
    """Name the meshes with their versions, and how many pods each has, and those that do something without them."""
    more = "".join(f"; {title} does parts of one on nodes" for title in sorted({f.title for f in features}))
    return _of_pods(names, pods, planes, sight) + more


def _of_pods(names: Sequence[str], pods: Iterable[PodMesh], planes: Iterable[ControlPlane], sight: Sight) -> str:
    if not names and sight.snapshot.gap("pods"):
        return "no mesh among the pods that could be read"
    if not names:
        left = [d.TITLE for d in DRIVERS if not d.SIGNATURE.groups.isdisjoint(sight.groups)]
        return f"no mesh; custom resources of {' and '.join(left)} are left" if left else "no mesh"
    inside = Counter(p.mesh for p in pods if p.verdict is not Verdict.MISSING)
    said = []
    for name in names:
        own = [c for c in planes if c.mesh == name]
        versions = " and ".join(sorted({c.version for c in own if c.version}))
        product = next((f" ({c.distribution})" for c in own if c.distribution), "")
        lost = "" if own or not BY_NAME[name].SIGNATURE.control else ", whose control plane was not seen"
        count = inside[name]
        pods_said = f"{count} pod{'s' * (count != 1)}"
        said.append(f"{BY_NAME[name].TITLE}{f' {versions}' if versions else ''}{product} with {pods_said}{lost}")
    return "; ".join(said)


_KINDS: Mapping[Verdict, tuple[str, Severity]] = {
    Verdict.MISSING: ("not-meshed", Severity.WARNING),
    Verdict.UNWANTED: ("meshed-unasked", Severity.WARNING),
    Verdict.BROKEN: ("mesh-broken", Severity.ERROR),
}


def about_pods(pods: Iterable[PodMesh]) -> Iterator[Finding]:
    """Tell of pods that are not as they should be, those of one namespace with one cause together."""
    groups: dict[tuple[Verdict, str, str, str, str], list[PodMesh]] = defaultdict(list)
    for pod in pods:
        if pod.verdict in _KINDS:
            groups[pod.verdict, pod.namespace, pod.says, pod.cause, pod.remedy].append(pod)
    for (verdict, namespace, says, cause, remedy), members in groups.items():
        kind, severity = _KINDS[verdict]
        one = len(members) == 1
        names = ", ".join(p.pod for p in members[:_SHOWN])
        more = f" and {len(members) - _SHOWN} others" if len(members) > _SHOWN else ""
        yield Finding(
            kind=kind, severity=severity, place=f"pod/{members[0].full_name}" if one else f"namespace/{namespace}",
            says=says if one else f"{names}{more}: {says}", cause=cause, remedy=remedy,
        )  # fmt: skip


def about_planes(planes: Sequence[ControlPlane], pods: Sequence[PodMesh], sight: Sight) -> Iterator[Finding]:
    """Tell of control planes that do not run, versions that do not fit, and namespaces that contradict themselves."""
    for plane in planes:
        if plane.ready < plane.desired:
            yield Finding(
                kind="control-plane", severity=Severity.WARNING if plane.ready else Severity.ERROR,
                place=f"namespace/{plane.namespace}",
                says=f"{plane.desired - plane.ready} of {plane.desired} pods of {plane.name} are not ready",
                cause="those that are left carry on" if plane.ready else f"{plane.title} lacks what these do",
                remedy=f"kubectl -n {plane.namespace} get pods, and see their logs",
            )  # fmt: skip
    yield from _skew(planes, pods)
    for name, namespace in sight.namespaces.items():
        labels = namespace.metadata.labels
        for strong, weak in (pair for d in DRIVERS for pair in d.SIGNATURE.exclusive):
            if strong in labels and weak in labels:
                yield Finding(
                    kind="contradicting-labels", severity=Severity.WARNING, place=f"namespace/{name}",
                    says=f"{strong}={labels[strong]} makes {weak}={labels[weak]} count for nothing",
                    cause=f"webhooks that ask for {weak} leave out namespaces that have {strong}",
                    remedy=f"kubectl label namespace {name} {strong}-, or {weak}-",
                )  # fmt: skip


def about_nodes(pods: Iterable[PodMesh], sight: Sight) -> Iterator[Finding]:
    """Tell of what one mesh does on nodes to what proxies of others are there for."""
    beside = sorted({p.mesh for p in pods if p.part is Part.SIDECAR})
    for name, mesh in ON_NODES.items():
        others = " and ".join(BY_NAME[one].TITLE for one in beside if one != name)
        hidden = mesh.hides(sight) if others else ""
        if hidden:
            does, _, remedy = hidden.partition(": ")
            yield Finding(
                kind="services-hidden", severity=Severity.WARNING, place="cluster", says=does,
                cause=f"what {others} routes, balances or lets through by Service may not happen", remedy=remedy,
            )  # fmt: skip


def about_injectors(unanswered: Iterable[tuple[Driver, Webhook]]) -> Iterator[Finding]:
    """Tell of injectors that nobody answers for: of pods that are made now, not of those that are there."""
    told: set[str] = set()
    for driver, hook in unanswered:
        name = hook.configuration.metadata.name
        if name in told:
            continue
        told.add(name)
        policy = hook.object.failure_policy or "Fail"
        ignored = policy == "Ignore"
        yield Finding(
            kind="injector-away", severity=Severity.WARNING if ignored else Severity.ERROR,
            place=f"mutatingwebhookconfiguration/{name}",
            says=f"pods that ask for {driver.TITLE} are made without it" if ignored
            else f"pods that ask for {driver.TITLE} are refused",
            cause=f"no ready pod is behind Service {hook.service}, and failurePolicy is {policy}",
            remedy=f"bring back the pods of {hook.service}, or delete the configuration where the mesh was removed",
        )  # fmt: skip


def _skew(planes: Iterable[ControlPlane], pods: Iterable[PodMesh]) -> Iterator[Finding]:
    """Tell of proxies that are of no version that a control plane of theirs has."""
    own: dict[str, set[str]] = defaultdict(set)
    for plane in planes:
        if plane.version:
            own[plane.mesh].add(plane.version)
    old = Counter((p.mesh, p.version) for p in pods if p.version and p.version not in own.get(p.mesh, {p.version}))
    for (mesh, told), count in sorted(old.items()):
        if not BY_NAME[mesh].SIGNATURE.alike:
            continue
        yield Finding(
            kind="version-skew", severity=Severity.INFO, place="cluster",
            says=f"{count} prox{'ies are' if count != 1 else 'y is'} {BY_NAME[mesh].TITLE} {told}, "
            f"and the control plane {' and '.join(sorted(own[mesh]))}",
            cause="pods keep the proxy that they were made with",
            remedy="make them anew after the control plane was upgraded",
        )  # fmt: skip
