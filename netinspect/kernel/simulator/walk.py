"""What one run of a walk has seen and made: its steps, the connections, the sockets that wait for an answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator

from netinspect.kernel.simulator.forks import Forks, Way
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import State
from netinspect.kernel.simulator.tracking import Ends, Tracking
from netinspect.kernel.simulator.world import World
from netinspect.kernel.simulator.written import Written
from netinspect.model.kernel import RealServer
from netinspect.model.packet import Packet
from netinspect.model.walk import End, Pointer, Stage, Step


class Blind(Exception):
    """What was not read decides."""

    def __init__(self, stack: Stack, section: str, message: str) -> None:
        super().__init__(f"{section} of {stack.name}: {message}")
        self.stack = stack
        self.section = section


class Walk:
    """One run through the forks, by ``through`` from state to state.

    ``waiting`` are the sockets to which an answer may come, by what they would receive, and ``accepted`` those among
    them that a server has accepted, and whether TPROXY had given it to it; ``carrying`` are the tunnels by which
    neighbours are asked for; ``learned`` are the neighbours that have made themselves known meanwhile, and
    ``rumoured`` those that may have; ``mistaken`` are hardware addresses that entries wrongly name, with why and the
    evidence; ``balanced`` is what IPVS has given to whom; ``remembered`` is what programs of eBPF have put into their
    maps, by node; ``written`` is what rules have written into sets, by namespace and the set's name.
    """

    def __init__(self, world: World, forks: Forks, through: Callable[[Walk, State], Iterator[State | End]]) -> None:
        self.world = world
        self.forks = forks
        self._through = through
        self.tracking = Tracking()
        self.balanced: dict[tuple[str, Ends], RealServer] = {}
        self.remembered: dict[str, dict[Hashable, Hashable]] = defaultdict(dict)
        self.written: dict[tuple[str, ...], list[Written]] = defaultdict(list)
        self.waiting: set[tuple[str, Ends]] = set()
        self.accepted: dict[tuple[str, Ends], bool] = {}
        self.carrying: set[tuple[str, str]] = set()
        self.learned: dict[tuple[str, str, int, int], str] = {}
        self.rumoured: dict[tuple[str, str, int, int], str] = {}
        self.mistaken: dict[str, tuple[str, Pointer]] = {}
        self.steps: list[Step] = []

    def aside(self) -> Walk:
        """Give a run for another packet, whose connections and steps are none of this one's."""
        other = Walk(self.world, self.forks, self._through)
        other.carrying, other.learned, other.rumoured = self.carrying, self.learned, self.rumoured
        return other

    def states(self, state: State) -> Iterator[State | End]:
        """Give what another packet comes to, on which the way of this one hangs."""
        return self._through(self, state)

    def step(self, stack: Stack, stage: Stage, said: str, packet: Packet, evidence: Pointer | None = None) -> None:
        """Note what happened."""
        self.steps.append(Step(stack.name, stage, said, packet, evidence))

    def needs(self, stack: Stack, *sections: str) -> None:
        """Fork where a section was not read whole: as if it held nothing more, or unknown (raises ``Blind``)."""
        if not stack.missing:
            return
        for section in sections:
            missing = stack.missing.get(section)
            if missing is not None:
                ways = (Way("nothing that matters is missing"), Way("something that matters is missing"))
                question = f"{section} of {stack.name}: {missing.message or missing.trouble.value}"
                if self.forks.take(question, ways, stack.pointer(section), once=(stack.name, section)):
                    raise Blind(stack, section, missing.message or missing.trouble.value)
