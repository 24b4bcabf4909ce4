"""Compare what was declared of a cluster with what there is, and declare what there is now."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

from netinspect.analysis import mesh_pair
from netinspect.analysis.cni import NEEDS as CNI_NEEDS
from netinspect.analysis.ends import Kind, resolve, split_port
from netinspect.analysis.flow import Question
from netinspect.analysis.pods import full_name
from netinspect.analysis.trace import MESHED_NEEDS
from netinspect.checks.view import View
from netinspect.errors import UsageError
from netinspect.model import resources, wire
from netinspect.model.mesh import Reach, Statement, Transport
from netinspect.model.mesh import Verdict as MeshVerdict
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import several
from netinspect.model.trace import Arrival, Level
from netinspect.model.verify import (
    Case,
    DeclaredFacts,
    DeclaredFlow,
    Expect,
    Expectations,
    Verdict,
    VerifyReport,
)

NEEDS = tuple({r.name: r for r in (*resources.RANGE_EVIDENCE, *CNI_NEEDS, *MESHED_NEEDS)}.values())
_INTO = "--access exec or pod looks into the nodes"
# So many flows are declared by `--init`; a person goes through them.
_MOST = 100
_STANDING = frozenset({MeshVerdict.MESHED, MeshVerdict.BROKEN})


def verify(snapshot: Snapshot, declared: Expectations) -> VerifyReport:
    """Compare everything; a flow whose ends are not there is not as declared."""
    view = View(snapshot)
    return VerifyReport(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        cases=several((*_facts(view, declared.facts), *(_flow(view, f) for f in declared.flows))),
        gaps=snapshot.gaps,
    )


def _facts(view: View, facts: DeclaredFacts) -> Iterator[Case]:
    if facts.cni:
        names = {n for c in view.cni.cnis if c.roles for n in (c.name, c.title)}
        found = view.cni.datapath
        yield _told("cni", facts.cni, found, holds=facts.cni in names, seen=bool(found), settles=_INTO)
    if facts.mode:
        modes = [c.mode for c in view.cni.cnis if c.name in view.cni.datapath.split(", ")]
        yield _told("mode", facts.mode, ", ".join(modes), holds=facts.mode in modes, seen=any(modes), settles=_INTO)
    for name, wanted, ranges in (
        ("pod ranges", facts.pods, view.cluster.ranges), ("service ranges", facts.services, view.services.ranges),
    ):  # fmt: skip
        if wanted:
            known = sorted(r.cidr for r in ranges)
            yield _told(
                name, ", ".join(sorted(wanted)), ", ".join(known), holds=sorted(wanted) == known, seen=bool(known),
                settles="reading ServiceCIDRs, and the control plane's pods and settings in kube-system",
            )  # fmt: skip
    for mesh, namespaces in facts.mesh.items():
        for namespace in namespaces:
            yield _coverage(view, mesh, namespace)


def _told(name: str, expected: str, found: str, *, holds: bool, seen: bool, settles: str) -> Case:
    verdict = Verdict.HOLDS if holds else Verdict.FAILS if seen else Verdict.UNSEEN
    unseen = verdict is Verdict.UNSEEN
    return Case(
        name=name, verdict=verdict, expected=expected, found=found or "not known", settles=settles if unseen else ""
    )


def _coverage(view: View, mesh: str, namespace: str) -> Case:
    """Say whether every pod of a namespace is in a mesh."""
    name, wanted = f"mesh {mesh} in {namespace}", "every pod in the mesh"
    if view.snapshot.redacted:
        return Case(name=name, verdict=Verdict.UNSEEN, expected=wanted, found="the recording is redacted",
                    settles="a recording without --redact")  # fmt: skip
    pods = [p for p in view.mesh.pods if p.namespace == namespace]
    bare = [p for p in pods if p.mesh != mesh or p.verdict not in (*_STANDING, MeshVerdict.UNKNOWN)]
    doubtful = [p for p in pods if p.verdict is MeshVerdict.UNKNOWN]
    if not view.snapshot.whole("pods", namespace):
        return Case(name=name, verdict=Verdict.UNSEEN, expected=wanted, found="pods could not be read",
                    settles="grant list on pods")  # fmt: skip
    if bare or not pods:
        first = f"pod/{bare[0].full_name}: {bare[0].says}" if bare else "the namespace has no pod"
        return Case(name=name, verdict=Verdict.FAILS, expected=wanted, found=f"{len(bare)} of {len(pods)} pods are not",
                    says=first)  # fmt: skip
    if doubtful:
        return Case(name=name, verdict=Verdict.UNSEEN, expected=wanted, found=doubtful[0].says,
                    settles=doubtful[0].settled_by)  # fmt: skip
    return Case(name=name, verdict=Verdict.HOLDS, expected=wanted, found=f"all {len(pods)} pods are")


def _flow(view: View, flow: DeclaredFlow) -> Case:
    name = flow.name or f"{flow.source} to {flow.to} {flow.protocol}{f' {flow.port}' if flow.port else ''}"
    try:
        if flow.expect in (Expect.MTLS, Expect.PLAINTEXT):
            return _transport(view, flow, name)
        return _arrival(view, flow, name)
    except UsageError as error:
        return Case(name=name, verdict=Verdict.FAILS, expected=flow.expect.value, found="no such flow",
                    says=str(error), settles=error.hint)  # fmt: skip


def _arrival(view: View, flow: DeclaredFlow, name: str) -> Case:
    found = view.tracer.trace(
        Question(flow.source, flow.to, namespace=flow.namespace, protocol=flow.protocol.upper(), port=flow.port)
    )
    settled = found.level is Level.SIMULATED or flow.level == "inferred"
    if found.arrival is Arrival.UNKNOWN or not settled:
        verdict = Verdict.UNSEEN
    elif found.arrival is Arrival.ARRIVES or (found.arrival is Arrival.LEAVES and found.cause is None):
        # What leaves with a cause is led astray.
        verdict = Verdict.HOLDS if flow.expect is Expect.REACHABLE else Verdict.FAILS
    elif found.arrival is Arrival.MIXED:
        verdict = Verdict.FAILS
    else:
        verdict = Verdict.HOLDS if flow.expect is Expect.BLOCKED else Verdict.FAILS
    return Case(
        name=name, verdict=verdict, expected=flow.expect.value, found=found.arrival.value, says=found.sentence,
        settles=_INTO if verdict is Verdict.UNSEEN else "", level=found.level,
    )  # fmt: skip


def _transport(view: View, flow: DeclaredFlow, name: str) -> Case:
    if view.snapshot.redacted:
        return Case(name=name, verdict=Verdict.UNSEEN, expected=flow.expect.value, found="the recording is redacted",
                    settles="a recording without --redact")  # fmt: skip
    source = resolve(view.snapshot, flow.source, flow.namespace)
    home = source.pod.metadata.namespace if source.pod is not None else flow.namespace
    target = resolve(view.snapshot, flow.to, home)
    if source.kind is not Kind.POD or target.kind not in (Kind.POD, Kind.SERVICE):
        raise UsageError(f"{name}: only traffic of pods goes through a mesh", hint="name a pod, and a pod or Service")
    where, _, plain = target.name.partition("/")
    port = flow.port or split_port(flow.to)[1]
    aim = mesh_pair.Target("svc" if target.kind is Kind.SERVICE else "pod", where, plain, port)
    statements = mesh_pair.pair(view.snapshot, source.name, aim).statements
    wanted = Transport.MTLS if flow.expect is Expect.MTLS else Transport.PLAINTEXT
    verdicts = {_judged(s, wanted) for s in statements} or {Verdict.UNSEEN}
    verdict = next(v for v in (Verdict.FAILS, Verdict.UNSEEN, Verdict.HOLDS) if v in verdicts)
    shown = next((s for s in statements if _judged(s, wanted) is verdict), None)
    return Case(
        name=name, verdict=verdict, expected=flow.expect.value, found=shown.transport.value if shown else "not known",
        says=shown.says if shown else "", settles=shown.settled_by if shown else "", level=Level.INFERRED,
    )  # fmt: skip


def _judged(said: Statement, wanted: Transport) -> Verdict:
    if said.outcome is Reach.UNKNOWN or said.transport is Transport.UNKNOWN:
        return Verdict.UNSEEN
    return Verdict.HOLDS if said.transport is wanted and said.outcome is Reach.REACHED else Verdict.FAILS


def declare(snapshot: Snapshot) -> Expectations:
    """Declare what there is now: the CNI, the ranges, namespaces that are whole in a mesh, and flows to Services."""
    view = View(snapshot)
    carriers = view.cni.datapath.split(", ")
    mode = next((c.mode for c in view.cni.cnis if len(carriers) == 1 and c.name == carriers[0]), "")
    return Expectations(
        facts=DeclaredFacts(
            cni=view.cni.datapath if len(carriers) == 1 else "", mode=mode,
            pods=tuple(r.cidr for r in view.cluster.ranges), services=tuple(r.cidr for r in view.services.ranges),
            mesh={} if snapshot.redacted else _covered(view),
        ),
        flows=tuple(islice(_flows(view), _MOST)),
    )  # fmt: skip


def _covered(view: View) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for one in view.mesh.namespaces:
        if len(one.meshes) == 1 and set(one.counts) == {MeshVerdict.MESHED}:
            found.setdefault(one.meshes[0], []).append(one.namespace)
    return {mesh: tuple(names) for mesh, names in found.items()}


def _flows(view: View) -> Iterator[DeclaredFlow]:
    """Give a flow from a workload of each namespace to each of its Services, and to DNS, as it is now."""
    senders: dict[str, str] = {}
    for name, pod in sorted(view.pods.items()):
        if pod.status.phase == "Running" and not pod.spec.host_network:
            senders.setdefault(pod.metadata.namespace, workload(pod) or name)
    for service in view.snapshot.services:
        meta = service.metadata
        sender = senders.get(meta.namespace)
        for port in service.spec.ports if sender is not None else ():
            if port.protocol not in ("TCP", "UDP"):
                continue
            protocol: Literal["tcp", "udp"] = "udp" if port.protocol == "UDP" else "tcp"
            for expect in (Expect.REACHABLE, Expect.BLOCKED):
                flow = DeclaredFlow(
                    source=sender or "", to=f"svc/{meta.namespace}/{meta.name}:{port.port}", expect=expect,
                    namespace=meta.namespace, protocol=protocol,
                )  # fmt: skip
                if _flow(view, flow).verdict is Verdict.HOLDS:
                    yield flow


def workload(pod: wire.Pod) -> str:
    """Name what outlives the pod, as ``netinspect trace`` takes it; nothing where it is on its own."""
    for owner in pod.metadata.owner_references:
        if owner.kind in ("StatefulSet", "DaemonSet") and owner.controller:
            return f"{'sts' if owner.kind == 'StatefulSet' else 'ds'}/{pod.metadata.namespace}/{owner.name}"
        if owner.kind == "ReplicaSet" and owner.controller and "-" in owner.name:
            return f"deploy/{pod.metadata.namespace}/{owner.name.rpartition('-')[0]}"
    return "" if pod.metadata.owner_references else f"pod/{full_name(pod.metadata)}"
