"""Which meshes a cluster has, and of each pod whether it is in one, should be, and works."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec import structs

from netinspect.analysis.inside import gaps, match
from netinspect.analysis.mesh_findings import about_injectors, about_nodes, about_planes, about_pods, headline
from netinspect.analysis.mesh_kernel import Seen, look
from netinspect.analysis.mesh_missing import Causes
from netinspect.analysis.mesh_planes import control_planes, is_control
from netinspect.analysis.mesh_state import starting, trouble
from netinspect.analysis.webhooks import Webhook, Webhooks
from netinspect.mesh import DRIVERS, ON_NODES
from netinspect.mesh.base import Driver, Presence, Wish
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import resources, wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, MeshReport, NamespaceMesh, Part, PodMesh, Verdict
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import several

NEEDS = (
    resources.NOTED_PODS,
    resources.NAMESPACES,
    resources.SERVICES,
    resources.MUTATING_WEBHOOKS,
    resources.CUSTOM_RESOURCE_DEFINITIONS,
    resources.CNI_SETTINGS,
    resources.CILIUM_ENVOY_CONFIGS,
    resources.CILIUM_CLUSTER_ENVOY_CONFIGS,
)
# The sections of a pod's namespace that verdicts are compared with.
_COMPARED = frozenset({"iptables-nft", "iptables-legacy", "nftables", "sockets"})
_RULES, _LISTENS = 16, 12
# At these ports a proxy of the node waits in the namespaces of the pods that it serves, and no sidecar does at both.
_AMBIENT = frozenset({15001, 15008})
_FROM_INSIDE = "--access exec or pod looks at the rules in its namespace"


def report(snapshot: Snapshot) -> MeshReport:
    """Judge every pod that has not finished, and sum up by namespace and mesh."""
    judge = Judge(snapshot)
    pods = tuple(judge.pod(p) for p in judge.sight.pods)
    planes = tuple(control_planes(judge.sight))
    features = tuple(f for mesh in ON_NODES.values() for f in mesh.features(judge.sight))
    names = [d.NAME for d in DRIVERS if any(p.mesh == d.NAME for p in pods) or any(c.mesh == d.NAME for c in planes)]
    shown = _COMPARED if snapshot.kernels else frozenset[str]()
    return MeshReport(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        headline=headline(names, pods, planes, features, judge.sight),
        meshes=several(names),
        control_planes=planes,
        features=several(features),
        namespaces=several(_namespaces(judge, pods)),
        pods=pods,
        findings=several(
            (
                *about_pods(pods),
                *about_planes(planes, pods, judge.sight),
                *about_nodes(pods, judge.sight),
                *about_injectors(judge.unanswered()),
            )
        ),
        unproven=sum(p.presumed for p in pods),
        gaps=(*snapshot.gaps, *gaps(snapshot.kernels, shown)),
    )


def narrow(found: MeshReport, namespace: str, pod: str) -> MeshReport:
    """Keep what is of one namespace, or of one pod (``namespace/name``), where either is named.

    What a namespace's pods have in common is told of its pods too.
    """
    if not namespace and not pod:
        return found
    pods = tuple(p for p in found.pods if (p.full_name == pod if pod else p.namespace == namespace))
    places = (f"namespace/{namespace}", f"pod/{namespace}/")
    about = [f for f in found.findings if f.place == places[0] or f.place.startswith(places[1])]
    return structs.replace(
        found,
        namespace=namespace,
        pod=pod,
        pods=pods,
        namespaces=tuple(n for n in found.namespaces if n.namespace == namespace),
        findings=several(about_pods(pods) if pod else about),
        unproven=sum(p.presumed for p in pods),
    )


@dataclass(frozen=True)
class _Found:
    driver: Driver
    presence: Presence


class Judge:
    """Judges one pod after the other of the same cluster."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.sight = Sight(snapshot)
        self._inside = match(snapshot)
        self._causes = Causes(self.sight)
        every = {d.NAME: Webhooks(snapshot, d.SIGNATURE.webhooks) for d in DRIVERS if d.SIGNATURE.webhooks}
        self._webhooks = {name: hooks for name, hooks in every.items() if hooks.all}

    @cached_property
    def blind(self) -> str:
        """Say what could not be read without which nobody knows which pods should be in a mesh; nothing if nothing."""
        unread = ("namespaces", "mutating_webhooks", "cni_settings")
        missing = [r for r in unread if self.sight.snapshot.gap(r)]
        return f"{' and '.join(missing).replace('_', ' ')} could not be read" if missing else ""

    def unanswered(self) -> Iterator[tuple[Driver, Webhook]]:
        """Give the webhooks that inject and lead to a Service that no ready pod is behind."""
        if self.sight.snapshot.gap("pods"):
            return
        for driver in DRIVERS:
            hooks = self._webhooks.get(driver.NAME)
            for hook in hooks.all if hooks is not None else ():
                if hook.service and not self._causes.answers(hook.service):
                    yield driver, hook

    def pod(self, found: wire.NotedPod) -> PodMesh:
        """Judge a pod."""
        pod = Pod(found, self.sight.namespaces.get(found.metadata.namespace))
        seen = self._seen(pod)
        present = [_Found(d, p) for d in DRIVERS[:-1] if (p := d.find(pod, self.sight)) is not None]
        if present:
            return self._present(pod, present, seen)
        unknown = DRIVERS[-1].find(pod, self.sight)
        if unknown is not None:
            return _unknown(pod, _Found(DRIVERS[-1], unknown), seen)
        return self._absent(pod, seen)

    def _seen(self, pod: Pod) -> Seen | None:
        namespace = self._inside.pods.get(f"{pod.namespace}/{pod.object.metadata.name}")
        return look(namespace) if namespace is not None and not pod.on_host else None

    def _present(self, pod: Pod, present: Sequence[_Found], seen: Seen | None) -> PodMesh:
        first = present[0]
        title = first.driver.TITLE
        if sum(f.presence.capture is not Capture.NONE for f in present) > 1:
            names = " and ".join(f.driver.TITLE for f in present)
            return _told(
                pod, first, Verdict.BROKEN, f"{names} are both in it", seen,
                cause="two meshes turn the same traffic, and only one of them gets it",
                remedy="opt the pod out of one, and make it anew",
            )  # fmt: skip
        fault = trouble(pod, first.presence, first.driver, seen, self.sight.snapshot.taken_at)
        if fault is not None:
            return _told(pod, first, Verdict.BROKEN, fault[0], seen, cause=fault[1], remedy=fault[2])
        wish = first.driver.wish(pod, self.sight) if first.presence.part in (Part.SIDECAR, Part.AMBIENT) else None
        if wish is not None and not wish.wanted and wish.own and wish.part is first.presence.part:
            return _told(
                pod, first, Verdict.UNWANTED, f"{title}'s proxy is in it though {wish.says}", seen,
                cause="it was made before that was said, or by hand",
                remedy=f"make the pod anew: kubectl -n {pod.namespace} rollout restart its workload",
            )  # fmt: skip
        says = starting(pod, first.presence) or _how(first)
        return _told(pod, first, Verdict.MESHED, says, seen)

    def _absent(self, pod: Pod, seen: Seen | None) -> PodMesh:
        turned = next((d for d in DRIVERS if seen.captures(d.SIGNATURE)), None) if seen is not None else None
        if turned is not None and seen is not None and (seen.listening or frozenset()) >= _AMBIENT:
            clue = Clue(says="a proxy of its node waits in it", source="sockets in the pod's namespace", weight=_RULES)
            presence = Presence(Part.AMBIENT, (clue,), capture=Capture.NODE)
            return _told(pod, _Found(turned, presence), Verdict.MESHED, _how(_Found(turned, presence)), seen)
        if turned is not None:
            says = f"rules of {turned.TITLE} turn its traffic to a proxy that is not there"
            clue = Clue(says="turns its traffic", source="rules in the pod's namespace", weight=_RULES)
            return _plain(
                pod, Verdict.BROKEN, says, turned.NAME, (clue,), proven=True,
                cause="its proxy was taken out, and the rules of its start or its node's agent stayed",
                remedy="make the pod anew",
            )  # fmt: skip
        refused = beside = ""
        for driver in DRIVERS:
            wish = driver.wish(pod, self.sight)
            if wish is not None and wish.beside:
                beside = f"; {wish.says}"
                continue
            if wish is None and driver.NAME not in self._webhooks:
                continue
            wish, asked = self._asked(driver, pod, wish)
            if wish is not None and wish.wanted:
                return self._missing(pod, driver, wish, asked)
            if wish is not None:
                refused = refused or wish.says
        part = Part.CONTROL_PLANE if is_control(pod.object) else None
        says = "it is of the control plane" if part else (refused or "nothing asks for a mesh") + beside
        if self.sight.snapshot.gap("namespaces") and not part and not refused and not pod.on_host:
            says = "it has no proxy, and whether it should is not known"
            return _plain(pod, Verdict.UNKNOWN, says, settled_by=self.blind)
        return _plain(pod, Verdict.NOT_MESHED, says, part=part, proven=seen is not None, settled_by=self.blind)

    def _asked(self, driver: Driver, pod: Pod, wish: Wish | None) -> tuple[Wish | None, tuple[Webhook, ...]]:
        """Say what is asked of a mesh for a pod, by webhooks too, and which of them were asked about it."""
        hooks = self._webhooks.get(driver.NAME)
        if hooks is None or (wish is not None and not wish.wanted):
            return wish, ()
        if wish is None and (not driver.SELECTS or pod.on_host):
            return None, ()
        asked = tuple(hooks.selecting(pod.namespace, pod.asked, pod.labels))
        if wish is not None and wish.by_default and not asked:
            return None, ()
        if wish is None and asked:
            wish = Wish(True, f"webhook {asked[0].name} selects it")
        return wish, asked

    def _missing(self, pod: Pod, driver: Driver, wish: Wish, asked: Iterable[Webhook]) -> PodMesh:
        says = f"it should be in {driver.TITLE}: {wish.says}"
        clue = Clue(says=wish.says, source="labels and annotations", weight=1)
        if not pod.object.status.pod_ip and wish.part is Part.AMBIENT:
            waits = "it has not started: it is captured as it does"
            return _plain(pod, Verdict.UNKNOWN, waits, driver.NAME, (clue,), settled_by="look again once it runs")
        if self.sight.snapshot.gap("namespaces") and driver.SELECTS:
            doubt = f"{says}, and its namespace, which could not be read, may say otherwise"
            return _plain(pod, Verdict.UNKNOWN, doubt, driver.NAME, (clue,), settled_by="grant list on namespaces")
        if self.sight.snapshot.gap("mutating_webhooks"):
            cause, remedy = "which webhooks there are could not be read", "grant list on mutatingwebhookconfigurations"
        else:
            cause, remedy = self._causes.of(pod, driver, wish, asked)
        return _plain(pod, Verdict.MISSING, says, driver.NAME, (clue,), cause=cause, remedy=remedy)


def _plain(
    pod: Pod,
    verdict: Verdict,
    says: str,
    mesh: str = "",
    evidence: tuple[Clue, ...] = (),
    *,
    part: Part | None = None,
    proven: bool = False,
    cause: str = "",
    remedy: str = "",
    settled_by: str = "",
) -> PodMesh:
    return PodMesh(
        namespace=pod.namespace,
        pod=pod.object.metadata.name,
        node=pod.object.spec.node_name,
        verdict=verdict,
        mesh=mesh,
        part=part,
        says=says,
        proven=proven,
        cause=cause,
        remedy=remedy,
        settled_by=settled_by,
        evidence=evidence,
    )


def _told(
    pod: Pod,
    found: _Found,
    verdict: Verdict,
    says: str,
    seen: Seen | None,
    *,
    cause: str = "",
    remedy: str = "",
    settled_by: str = "",
) -> PodMesh:
    presence = found.presence
    signature = found.driver.SIGNATURE
    evidence = []
    rules = seen.captures(signature) if seen is not None else None
    if rules:
        evidence.append(Clue(says="turn its traffic to the proxy", source="rules in its namespace", weight=_RULES))
    if seen is not None and signature.outbound in (seen.listening or ()):
        says_port = f"a program waits at port {signature.outbound}"
        evidence.append(Clue(says=says_port, source="sockets in its namespace", weight=_LISTENS))
    return PodMesh(
        namespace=pod.namespace,
        pod=pod.object.metadata.name,
        node=pod.object.spec.node_name,
        verdict=verdict,
        mesh=found.driver.NAME,
        part=presence.part,
        placement=presence.placement,
        capture=presence.capture,
        proxy=presence.proxy,
        uid=presence.uid,
        version=presence.version,
        revision=presence.revision,
        proven=rules is not None,
        says=says,
        cause=cause,
        remedy=remedy,
        settled_by=settled_by or ("" if rules is not None or presence.capture is Capture.NONE else _FROM_INSIDE),
        evidence=(*evidence, *presence.clues),
    )


_HOW = {
    Part.SIDECAR: "{} has a proxy beside it",
    Part.AMBIENT: "{} takes its traffic through its node's proxy",
    Part.PROXYLESS: "{} is spoken by the application itself, and nothing is captured",
    Part.GATEWAY: "it is a gateway of {}",
    Part.WAYPOINT: "it is a waypoint of {}",
    Part.NODE_PROXY: "it is the proxy of {} on its node",
    Part.CONTROL_PLANE: "it is of the control plane of {}",
}


def _how(found: _Found) -> str:
    said = _HOW[found.presence.part].format(found.driver.TITLE)
    if found.presence.part is Part.SIDECAR and found.presence.capture is Capture.NONE:
        return f"{said}, and nothing is turned to it: only what is sent to it is meshed"
    return said


def _unknown(pod: Pod, found: _Found, seen: Seen | None) -> PodMesh:
    if seen is None or seen.chains is None:
        says = "a proxy is beside it, of no mesh that is known, and its start may turn traffic to it"
        return _told(pod, found, Verdict.UNKNOWN, says, seen, settled_by=_FROM_INSIDE)
    if not seen.redirects:
        says = "a proxy is beside it, and no rule turns traffic to it"
        return _plain(pod, Verdict.NOT_MESHED, says, evidence=found.presence.clues, proven=True)
    return _told(
        pod, found, Verdict.MESHED, "a proxy of an unknown mesh is beside it, and rules turn traffic to it", seen
    )


def _namespaces(judge: Judge, pods: Iterable[PodMesh]) -> Iterator[NamespaceMesh]:
    """Sum up the namespaces that ask for a mesh, or of which a pod is in one."""
    by_name: dict[str, list[PodMesh]] = defaultdict(list)
    for pod in pods:
        by_name[pod.namespace].append(pod)
    keys = {key for driver in DRIVERS for key in driver.SIGNATURE.asks}
    for name in sorted({*judge.sight.namespaces, *by_name}):
        found = judge.sight.namespaces.get(name)
        marks = {**found.metadata.labels, **found.metadata.annotations} if found else {}
        asks = ", ".join(f"{k}={v}" for k, v in marks.items() if k in keys)
        meshes = {p.mesh for p in by_name[name] if p.mesh}
        if asks or meshes:
            counts = Counter(p.verdict for p in by_name[name])
            yield NamespaceMesh(
                namespace=name,
                meshes=several(sorted(meshes)),
                asks=asks,
                counts={v: counts[v] for v in Verdict if counts[v]},
            )
