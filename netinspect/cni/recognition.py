"""By which clues a CNI is recognised, and how much each weighs: what it alone can have left counts, names hardly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from netinspect.cni.base import Driver, Signature
from netinspect.cni.sight import Agent, Sight
from netinspect.model.finding import Clue

# What a program cannot help showing, and what anybody may choose.
_IMAGE, _PROGRAM, _VARIABLES = 4, 3, 3
_CONTAINER, _NAME, _LABEL, _MOUNT = 2, 1, 1, 1
_NOTED, _CONFIGURED, _SETTINGS, _GROUP = 4, 3, 2, 1
_INTERFACE, _CHAIN = 3, 2
# A program's name, or names alone, make an agent only with others that agree, and where it is not another's.
_NAMES_ALONE = 5
_ENOUGH_VARIABLES = 2


@dataclass(frozen=True)
class Marks:
    """What a CNI left: its agent and those that help it, and clues by where they were found."""

    agent: Agent | None
    agent_clues: tuple[Clue, ...]
    api: tuple[Clue, ...]
    node: tuple[Clue, ...]
    configured: bool
    helpers: tuple[Agent, ...] = ()

    @property
    def clues(self) -> tuple[Clue, ...]:
        """Give them all, the weightiest first."""
        return tuple(sorted((*self.agent_clues, *self.api, *self.node), key=lambda c: -c.weight))

    @property
    def noted(self) -> bool:
        """Say whether an agent of it noted something on nodes, or what it made is in their kernels."""
        return bool(self.node) or self.announced

    @property
    def announced(self) -> bool:
        """Say whether an agent of it noted something on nodes."""
        return any(c.weight >= _NOTED for c in self.api)


def recognise(sight: Sight, drivers: Iterable[Driver]) -> Mapping[str, Marks]:
    """Give for each driver, by name, the marks of its CNI, where there are any."""
    known = tuple(drivers)
    agents = _agents(sight, known)
    claimed = frozenset[str]().union(*(d.SIGNATURE.files for d in known))
    found = {}
    for driver in known:
        agent, clues = agents.get(driver.NAME, (None, ()))
        configured = tuple(_configured(driver.SIGNATURE, sight, claimed - driver.SIGNATURE.files))
        marks = Marks(
            agent=agent,
            agent_clues=clues,
            api=tuple(_noted(driver.SIGNATURE, sight)),
            node=(*configured, *_programmed(driver.SIGNATURE, sight)),
            configured=bool(configured),
            helpers=tuple(a for a in sight.agents if a != agent and not a.parked and _helps(driver.SIGNATURE, a)),
        )
        if marks.clues:
            found[driver.NAME] = marks
    return found


def _agents(sight: Sight, drivers: tuple[Driver, ...]) -> dict[str, tuple[Agent, tuple[Clue, ...]]]:
    best: dict[str, tuple[tuple[bool, int], Agent, tuple[Clue, ...]]] = {}
    for agent in sight.agents:
        told = [(d, tuple(_hard(d.SIGNATURE, agent)), tuple(_soft(d.SIGNATURE, agent))) for d in drivers]
        somebodys = any(hard for _, hard, _ in told)
        for driver, hard, soft in told:
            weight = sum(c.weight for c in (*hard, *soft))
            alone = sum(c.weight for c in hard)
            if (alone < _IMAGE and weight < _NAMES_ALONE) or (not hard and somebodys):
                continue
            # Of several, as there are for several architectures, that counts which runs anywhere.
            rank = (not agent.parked, weight)
            known = best.get(driver.NAME)
            if known is None or rank > known[0]:
                best[driver.NAME] = (rank, agent, (*hard, *soft))
    return {name: (agent, clues) for name, (_, agent, clues) in best.items()}


def _helps(signature: Signature, agent: Agent) -> bool:
    return (
        not agent.image_names.isdisjoint(signature.helpers) or sum(c.weight for c in _hard(signature, agent)) >= _IMAGE
    )


def _hard(signature: Signature, agent: Agent) -> Iterator[Clue]:
    source = f"DaemonSet {agent.name}"
    images = agent.image_names & signature.images
    if images:
        yield Clue(says=f"runs the image {sorted(images)[0]}", source=source, weight=_IMAGE)
    programs = agent.programs & signature.programs
    if programs:
        yield Clue(says=f"runs {', '.join(sorted(programs))}", source=source, weight=_PROGRAM)
    own = [v for v in agent.variables if v.startswith(signature.variables)] if signature.variables else []
    if len(own) >= _ENOUGH_VARIABLES:
        yield Clue(says=f"is given {', '.join(own[:2])}", source=source, weight=_VARIABLES)


def _soft(signature: Signature, agent: Agent) -> Iterator[Clue]:
    source = f"DaemonSet {agent.name}"
    containers = {c.name for c in agent.spec.containers} & signature.containers
    if containers:
        yield Clue(says=f"has a container {sorted(containers)[0]}", source=source, weight=_CONTAINER)
    if agent.object.metadata.name in signature.objects:
        yield Clue(says="bears its name", source=source, weight=_NAME)
    labels = {*agent.object.metadata.labels.values(), *agent.object.spec.template.metadata.labels.values()}
    if labels & signature.labels:
        yield Clue(says=f"is labelled {sorted(labels & signature.labels)[0]}", source=source, weight=_LABEL)
    paths = (v.host_path.path for v in agent.spec.volumes or () if v.host_path)
    mounted = next((p for p in paths if signature.mounts and p.startswith(signature.mounts)), "")
    if mounted:
        yield Clue(says=f"mounts {mounted}", source=source, weight=_MOUNT)


def _noted(signature: Signature, sight: Sight) -> Iterator[Clue]:
    yield from _on_nodes("annotation", signature.annotations, sight, lambda o: o.metadata.annotations, _NOTED)
    yield from _on_nodes("label", signature.node_labels, sight, lambda o: o.metadata.labels, _NOTED)
    yield from _on_nodes("taint", signature.taints, sight, lambda o: [t.key for t in o.spec.taints], _GROUP)
    for settings in sight.snapshot.cni_settings:
        if settings.metadata.name in signature.settings:
            source = f"ConfigMap {settings.metadata.namespace}/{settings.metadata.name}"
            yield Clue(says="holds its settings", source=source, weight=_SETTINGS)
    groups = {d.metadata.name.partition(".")[2] for d in sight.snapshot.custom_resource_definitions}
    for group in sorted(groups & signature.groups):
        yield Clue(says="are kinds of its", source=f"CustomResourceDefinitions of {group}", weight=_GROUP)


def _on_nodes(
    what: str, beginnings: tuple[str, ...], sight: Sight, keys: Callable[..., Iterable[str]], weight: int
) -> Iterator[Clue]:
    """Count the nodes that carry a mark, and name the first."""
    for beginning in beginnings:
        marked = [(n.name, key) for n in sight.nodes.values() for key in keys(n.object) if key.startswith(beginning)]
        names = sorted({name for name, _ in marked})
        if names:
            others = f" and {len(names) - 1} others" if len(names) > 1 else ""
            source = f"node/{names[0]}{others}"
            yield Clue(says=f"bears the {what} {marked[0][1]}", source=source, weight=weight)


def _configured(signature: Signature, sight: Sight, others: frozenset[str]) -> Iterator[Clue]:
    """Find nodes whose first file of the CNI configuration calls its plug-in, or is its own by its name."""
    named = []
    for node, kernel in sight.read:
        if not kernel.conflists:
            continue
        first = kernel.conflists[0]
        file = first.called or first.file
        # Of plug-ins out of a file that is somebody else's Multus alone is not that one's.
        types = first.types if file not in others else first.types[:1] if first.called else ()
        if signature.plugins & frozenset(types) or file in signature.files:
            named.append((node.name, first))
    if named:
        node_name, first = named[0]
        plugin = next((t for t in first.types if t in signature.plugins), first.types[0])
        says = f"calls the plug-in {plugin}" + (f", as on {len(named) - 1} others" if len(named) > 1 else "")
        yield Clue(says=says, source=f"node/{node_name} {first.path}", weight=_CONFIGURED)


def _programmed(signature: Signature, sight: Sight) -> Iterator[Clue]:
    for node, kernel in sight.read:
        names = [n for n in kernel.links or () if signature.interfaces and signature.interfaces.fullmatch(n)]
        if names:
            yield Clue(says=f"has the interface {names[0]}", source=f"node/{node.name} links", weight=_INTERFACE)
            break
    for node, kernel in sight.read:
        chains = [c for c in kernel.chains or () if signature.chains and c.startswith(signature.chains)]
        if chains:
            yield Clue(says=f"has the chain {chains[0]}", source=f"node/{node.name} netfilter", weight=_CHAIN)
            break
