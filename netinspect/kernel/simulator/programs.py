"""Programs of eBPF and switches on a packet's way, where who knows them tells what they do (model/programs.py).

Sources: net/sched/cls_bpf.c and kernel/bpf/tcx.c for where they are called, net/core/filter.c for what they may do.
"""

from __future__ import annotations

from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.walk import Walk
from netinspect.model.kernel import Link
from netinspect.model.packet import Packet
from netinspect.model.programs import Action, Outcome, Programs, Stop
from netinspect.model.walk import End, Pointer


def at_device(walk: Walk, stack: Stack, link: Link, packet: Packet, hook: str) -> Action | End | None:
    """Give what the programs at a device do with a frame; None where it is not known that there are any."""
    programs = walk.world.programs(stack) if stack.host else None
    if programs is None or not programs.covers(link.ifname, hook):
        return None
    outcomes = programs.at(link.ifname, hook, packet, walk.remembered[stack.node])
    return _taken(walk, stack, programs, outcomes)


def at_connect(walk: Walk, stack: Stack, packet: Packet) -> Packet | End | None:
    """Give the packet of a socket that connects as programs in its cgroup make it; None where none is known of."""
    host = walk.world.host(stack.node)
    programs = walk.world.programs(host) if host is not None else None
    if host is None or programs is None:
        return None
    outcomes = programs.connect(packet, walk.remembered[stack.node], host=stack.host)
    if not outcomes:
        return None
    action = _taken(walk, host, programs, outcomes, seen_by=stack)
    return action if isinstance(action, End) else action.packet


def _taken(
    walk: Walk, stack: Stack, programs: Programs, outcomes: tuple[Outcome, ...], seen_by: Stack | None = None
) -> Action | End:
    """Choose among outcomes, note what was found, and keep what the maps hold from now on.

    ``stack`` is the node's own, whose maps they are; ``seen_by`` the namespace in which it happens, where another.
    """
    place = seen_by or stack
    chosen = 0
    if len(outcomes) > 1:
        chosen = walk.forks.take(programs.question, [Way(o.name, o.probability) for o in outcomes])
    outcome = outcomes[chosen]
    evidence: Pointer | None = None
    for note in outcome.notes:
        evidence = stack.pointer(note.section, note.line, note.text) if note.section else None
        walk.step(place, programs.stage, note.said, note.packet, evidence)
    walk.remembered[stack.node].update(outcome.remember)
    action = outcome.action
    if isinstance(action, Stop):
        return End(
            action.verdict, action.reason, place.name, action.packet, evidence, stage=programs.stage,
            settles=action.settles,
        )  # fmt: skip
    return action
