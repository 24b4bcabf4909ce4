"""Look into the nodes: which way in, for which nodes and pods, and what becomes of those that let nobody in."""

from __future__ import annotations

import os
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netinspect.cli import console, source
from netinspect.cli.options import AccessLevel, Inspection, Target, duration
from netinspect.errors import NetinspectError, NodeError, UsageError
from netinspect.model.evidence import Access, PodReference, Reading
from netinspect.model.snapshot import Gap, GapReason, Snapshot
from netinspect.model.topology import Scope

if TYPE_CHECKING:
    from netinspect.analysis.agents import Agent
    from netinspect.cluster.collect import Progress
    from netinspect.cluster.exec import Place
    from netinspect.cluster.inspectors import Inspectors, Plan
    from netinspect.cluster.transport import Transport
    from netinspect.model import wire
    from netinspect.node.reader import Answer, Run

_MOST = 256 << 20
# A pod's own shell decides what it sends, and its namespace is small.
_MOST_WITHIN = 16 << 20
# Time for the script's own deadline to strike before ours does.
_GRACE = 5.0
_TRIES = 3
_WITHIN = 8


@dataclass(frozen=True)
class Wish:
    """A node to look into; ``pods`` are the UIDs of those whose namespaces are wanted, None for all."""

    node: str
    pods: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Looked:
    """What was read, and what was not."""

    readings: tuple[Reading, ...] = ()
    gaps: tuple[Gap, ...] = ()


def check(target: Target, inspection: Inspection) -> None:
    """Refuse flags that contradict each other."""
    recorded = target.from_ or target.demo
    if recorded and inspection.access not in (None, AccessLevel.NONE):
        raise UsageError("a recording holds what was read in the nodes then", hint="leave out --access")
    if inspection.dry_run and inspection.access is not AccessLevel.POD:
        raise UsageError("--dry-run prints what --access pod would create", hint="add --access pod")
    if duration(inspection.node_timeout) < 1:
        raise UsageError("--node-timeout must be a second or more, and not without bound")
    if inspection.image and inspection.access is not AccessLevel.POD:
        raise UsageError("--image is that of the pods that --access pod creates", hint="add --access pod")


def wishes(snapshot: Snapshot, scope: Scope, *, pods: bool = True) -> list[Wish]:
    """Say which nodes belong to what was asked for, and which of their pods, if any."""
    from netinspect.analysis.selection import select

    selected = select(snapshot, scope)
    names = [n.metadata.name for n in snapshot.nodes] or sorted({p.spec.node_name for p in snapshot.pods})
    narrowed = bool(scope.namespaces or scope.selector or scope.objects)
    uids: dict[str, list[str]] = {}
    for pod in selected.pods:
        uids.setdefault(pod.spec.node_name, []).append(pod.metadata.uid)
    shown = [name for name in names if name and selected.node(name)]
    if not pods:
        return [Wish(name, ()) for name in shown]
    return [Wish(name, tuple(uids.get(name, ())) if narrowed else None) for name in shown]


def with_kernels(
    snapshot: Snapshot, target: Target, inspection: Inspection, wishes: Sequence[Wish]
) -> tuple[Snapshot, tuple[Reading, ...]]:
    """Give the Snapshot with what was read in the nodes, and that as it was read."""
    import msgspec

    from netinspect.analysis.inside import unread
    from netinspect.kernel.stream import assemble

    if target.from_ or target.demo:
        hidden = inspection.access is AccessLevel.NONE
        return (msgspec.structs.replace(snapshot, kernels=()) if hidden else snapshot), ()
    if inspection.access in (None, AccessLevel.NONE):
        return snapshot, ()
    looked = look(snapshot, target, inspection, wishes)
    found = msgspec.structs.replace(snapshot, kernels=assemble(looked.readings), gaps=(*snapshot.gaps, *looked.gaps))
    more = unread(found, {wish.node: wish.pods for wish in wishes})
    return msgspec.structs.replace(found, gaps=(*found.gaps, *more)), looked.readings


def look(snapshot: Snapshot, target: Target, inspection: Inspection, wishes: Sequence[Wish]) -> Looked:
    """Read the nodes, each by the way that was chosen; what could not be read is a gap."""
    with console.progress(verbose=False) as progress:
        return _look(snapshot, target, inspection, wishes, progress)


def _look(
    snapshot: Snapshot, target: Target, inspection: Inspection, wishes: Sequence[Wish], progress: Progress
) -> Looked:
    from netinspect.parallel import each

    level = inspection.access
    results: list[tuple[Wish, Looked]]
    own = this_node(snapshot) if level is AccessLevel.LOCAL or (level is AccessLevel.AUTO and _is_root()) else ""
    looker = _Looker(snapshot, target, inspection)
    if level is AccessLevel.POD:
        return _through_inspectors(looker, inspection, wishes, progress)
    results = []
    remote = list(wishes)
    if own:
        remote = [w for w in wishes if w.node != own]
        results = [(w, looker.locally(w)) for w in wishes if w.node == own]
    if level is AccessLevel.LOCAL:
        error = NodeError("--access local reads this machine alone", hint="--access exec or pod reads others")
        results += [(w, _refused(w.node, error)) for w in remote]
    else:
        results += _counted(each(remote, looker.through_agents, inspection.parallel), progress)
    return _together([r for _, r in results])


def _counted(results: Iterable[tuple[Wish, Looked]], progress: Progress) -> Iterator[tuple[Wish, Looked]]:
    """Tell of each node that has been looked into."""
    for number, result in enumerate(results, 1):
        progress("nodes from within", number)
        yield result


def _through_inspectors(looker: _Looker, inspection: Inspection, wishes: Sequence[Wish], progress: Progress) -> Looked:
    from netinspect.cluster.inspectors import inspectors
    from netinspect.parallel import each

    found: list[Looked] = []
    try:
        planned = plan(inspection, [w.node for w in wishes])
        with inspectors(looker.transport, planned, _stays) as made:

            def read(wish: Wish) -> Looked:
                return looker.through_inspector(wish, made)

            found += (r for _, r in _counted(each(wishes, read, inspection.parallel), progress))
    except NodeError as error:
        # Nothing at all may be created there: each node is told of, and the rest goes on.
        found += [_refused(w.node, error) for w in wishes]
    return _together(found)


def _stays(what: str) -> None:
    console.say(f"{what}; `netinspect cleanup` removes it at once")


def this_node(snapshot: Snapshot) -> str:
    """Find the node that this machine is, by its host name and machine ID; without nodes to choose from, its name."""
    own = os.uname().nodename if hasattr(os, "uname") else ""
    machine = _machine_id()
    for node in snapshot.nodes:
        said = node.status.node_info.machine_id
        if machine and said and machine != said:
            continue
        names = {node.metadata.name, *(a.address for a in node.status.addresses if a.type == "Hostname")}
        if own in names or own.partition(".")[0] in names:
            return node.metadata.name
    return "" if snapshot.nodes else own


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _machine_id() -> str:
    """Read this machine's ID, as the kubelet reports it (machine-id(5)); nothing where there is none."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _together(parts: Sequence[Looked]) -> Looked:
    """Put the parts together, in an order that does not hang on which node was quicker."""
    readings = sorted(
        (r for p in parts for r in p.readings), key=lambda r: (r.node, r.pod is not None, r.pod or PodReference(""))
    )
    return Looked(tuple(readings), tuple(sorted((g for p in parts for g in p.gaps), key=lambda g: g.resource)))


def _refused(node: str, error: NetinspectError) -> Looked:
    return Looked(gaps=(Gap(resource=f"node/{node}", reason=GapReason.NO_ACCESS, message=str(error), hint=error.hint),))


class _Looker:
    """Looks into one node at a time; shared by the threads."""

    def __init__(self, snapshot: Snapshot, target: Target, inspection: Inspection) -> None:
        self._on_node: dict[str, list[wire.Pod]] = defaultdict(list)
        for pod in snapshot.pods:
            self._on_node[pod.spec.node_name].append(pod)
        self._target = target
        self._deadline = duration(inspection.node_timeout)
        self._verbose = target.verbose
        self._transport: Transport | None = None
        self._lock = threading.Lock()

    @property
    def transport(self) -> Transport:
        """Give the connection, opened when it is first needed, and once: it may take a person to log in."""
        with self._lock:
            if self._transport is None:
                from netinspect.cluster.connect import connect

                self._transport = connect(source.access(self._target))
            return self._transport

    def locally(self, wish: Wish) -> Looked:
        """Read this machine."""
        from netinspect.node import local

        def run(script: bytes) -> Answer:
            return local.run(script, deadline=self._deadline + _GRACE, most=_MOST)

        try:
            return self._read(run, wish, Access.LOCAL, "this machine", on_host=True)
        except NodeError as error:
            return _refused(wish.node, error)

    def through_agents(self, wish: Wish) -> Looked:
        """Read a node through pods that are there: the ablest that has a shell, and the wanted pods themselves."""
        from netinspect.analysis.agents import agents, within
        from netinspect.parallel import each

        looked: list[Looked] = []
        error = NodeError(
            "no pod there sees the node's network and may list its rules",
            hint="--access pod creates one for the time of the reading",
        )
        pods = self._on_node[wish.node]
        for agent in agents(pods)[:_TRIES]:
            try:
                found = self._read(self._exec(agent), wish, Access.EXEC, _name(agent), on_host=False)
            except NodeError as failed:
                error = failed
                continue
            looked.append(found)
            if self._whole(found):
                if agent.sees_pods:
                    return _together(looked)
                break
        if not looked:
            looked.append(_refused(wish.node, error))
        mine = [a for a in within(pods) if wish.pods is None or a.uid in wish.pods]
        looked += (found for _, found in each(mine, lambda agent: self._within(agent, wish.node), _WITHIN))
        return _together(looked)

    def _whole(self, found: Looked) -> bool:
        """Say whether an agent has the tools that matter most, so that no other need be asked."""
        from netinspect.kernel.stream import assemble

        hosts = [k.host for k in assemble(found.readings)]
        needed = ("links", "routes4")
        return all(h is not None and all(n in h.sections and h.sections[n].answered for n in needed) for h in hosts)

    def _within(self, agent: Agent, node: str) -> Looked:
        """Read a pod's namespace from within the pod, with whatever tools it has."""
        from netinspect.node.reader import Request, read

        pod = PodReference(agent.uid, agent.namespace, agent.pod)
        try:
            answer = read(self._exec(agent, _MOST_WITHIN), Request(within=True, deadline=self._deadline))
        except NodeError as error:
            gap = Gap(
                resource=f"pod/{pod.namespace}/{pod.name}",
                reason=GapReason.NO_ACCESS,
                message=str(error),
                hint="--access pod sees it from outside",
            )
            return Looked(gaps=(gap,))
        reading = Reading(node, Access.EXEC, _name(agent), answer.raw, pod, answer.broken)
        return Looked((reading,), _early(f"pod/{pod.namespace}/{pod.name}", "from within", answer))

    def through_inspector(self, wish: Wish, inspectors: Inspectors) -> Looked:
        """Read a node through a pod that is created on it for the time of the reading."""
        from netinspect.cluster.inspectors import wait

        try:
            with inspectors.on(wish.node) as place:
                wait(self.transport, place, self._deadline)
                return self._read(self._run_in(place), wish, Access.POD, str(place), on_host=False)
        except NodeError as error:
            return _refused(wish.node, error)

    def _read(self, run: Run, wish: Wish, access: Access, through: str, *, on_host: bool) -> Looked:
        from netinspect.node.reader import Request, read

        request = Request(pods=wish.pods, on_host=on_host, deadline=self._deadline)
        if self._verbose:
            console.say(f"reading node/{wish.node} through {through}")
        answer = read(run, request)
        reading = Reading(wish.node, access, through, answer.raw, None, answer.broken)
        return Looked((reading,), _early(f"node/{wish.node}", f"through {through}", answer))

    def _exec(self, agent: Agent, most: int = _MOST) -> Run:
        from netinspect.cluster.exec import Place

        return self._run_in(Place(agent.namespace, agent.pod, agent.container), most)

    def _run_in(self, place: Place, most: int = _MOST) -> Run:
        from netinspect.cluster import exec as remote
        from netinspect.node.reader import Answer

        def run(script: bytes) -> Answer:
            said = remote.run(self.transport, place, ["sh"], script, deadline=self._deadline + _GRACE, most=most)
            return Answer(said.stdout, said.stderr.decode(errors="replace"), said.broken)

        return run


def _early(resource: str, how: str, answer: Answer) -> tuple[Gap, ...]:
    """Say that a reading ended before its end, where it did."""
    from netinspect.analysis.inside import ended_early

    if not answer.broken and answer.finished:
        return ()
    return (ended_early(resource, f"the reading {how} ended early: {answer.broken or 'the shell stopped'}"),)


def _name(agent: Agent) -> str:
    return f"pod/{agent.namespace}/{agent.pod}"


def plan(inspection: Inspection, nodes: Sequence[str]) -> Plan:
    """Say what --access pod creates."""
    from netinspect.cluster.inspectors import IMAGE, Plan

    patience = duration(inspection.node_timeout)
    return Plan(
        run=secrets.token_hex(4),
        nodes=tuple(nodes),
        namespace=inspection.inspector_namespace,
        image=inspection.image or IMAGE,
        pull_policy=inspection.image_pull_policy.value,
        # Long enough for the slowest node to start its pod and be read, and for one batch after the other.
        lifetime=int(2 * patience) + 30,
        deadline=int(2 * patience * -(-max(len(nodes), 1) // inspection.parallel)) + 30,
    )


def print_plan(inspection: Inspection, nodes: Sequence[str]) -> None:
    """Print every object that would be created, as kubectl takes it."""
    import yaml

    from netinspect.cluster.inspectors import objects

    console.write([yaml.safe_dump_all(objects(plan(inspection, nodes)), sort_keys=False)])
