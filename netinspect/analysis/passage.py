"""A flow's way as the connections that it is made of: the sender's own, and those by which proxies go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from msgspec import structs

from netinspect.kernel.simulator.simulate import Attempt
from netinspect.model import walk

LEGS = ("request", "answer", "data", "data's answer")
# What a connection comes to that a proxy opened, where its sender has one of its own that stands.
_TOLD = frozenset({"ok", "left", "unknown", "denied", "failed"})


@dataclass(frozen=True)
class Connection:
    """One connection, and who opened it: empty where it is the sender itself."""

    opener: str
    attempt: Attempt

    @property
    def legs(self) -> Iterator[tuple[str, walk.Branch]]:
        """Give its packets' ways with their names."""
        for name, branch in zip(LEGS, self.attempt.branches, strict=False):
            yield (f"{self.opener}'s {name}" if self.opener else name), branch


@dataclass(frozen=True)
class Passage:
    """The connections of one way: a proxy that takes one opens the next. ``notes`` are what else was seen."""

    connections: tuple[Connection, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Attempt:
        """Give the sender's own connection."""
        return self.connections[0].attempt

    @property
    def last(self) -> Connection:
        """Give the connection that tells what becomes of the flow: those before it are taken."""
        return self.connections[-1]

    @property
    def request(self) -> walk.Branch:
        """Give the way of the last connection's request."""
        return self.last.attempt.request

    @property
    def branches(self) -> tuple[walk.Branch, ...]:
        """Give the ways of the last connection's packets."""
        return self.last.attempt.branches

    @property
    def relayed(self) -> bool:
        """Say whether a proxy is on the way."""
        return len(self.connections) > 1

    @property
    def result(self) -> str:
        """Give what becomes of it, as an attempt does; ``denied`` by a proxy, ``failed`` behind one."""
        said = self.last.attempt.result
        return said if said in _TOLD or not self.relayed else "failed"

    @property
    def probability(self) -> float | None:
        """Give the chance of all that its connections assume; None where nobody can know it."""
        whole = 1.0
        for one in self.connections:
            own = one.attempt.branches[-1].probability
            if own is None:
                return None
            whole *= own
        return whole

    @property
    def assumptions(self) -> tuple[walk.Assumption, ...]:
        """Give what its connections assume."""
        return tuple(a for one in self.connections for a in one.attempt.branches[-1].assumptions)

    def then(self, *more: Connection, notes: tuple[str, ...] = ()) -> Passage:
        """Go on by more connections."""
        return replace(self, connections=(*self.connections, *more), notes=(*self.notes, *notes))


def assuming(one: Attempt, asked: walk.Assumption) -> Attempt:
    """Give an attempt as one of several, in a way that hangs on something more."""

    def of(branch: walk.Branch) -> walk.Branch:
        both = None if branch.probability is None or asked.probability is None else (
            branch.probability * asked.probability
        )  # fmt: skip
        return structs.replace(branch, probability=both, assumptions=(asked, *branch.assumptions))

    return Attempt(one.result, of(one.request), one.answer and of(one.answer), tuple(map(of, one.data)))


def added(attempts: Iterable[Attempt]) -> Attempt:
    """Put attempts together that come to the same, and give the first with the chance of all."""
    first, *others = attempts
    if not others:
        return first
    chances = [one.request.probability for one in (first, *others)]
    whole = None if None in chances else sum(c or 0 for c in chances)
    shared = tuple(
        a for a in first.request.assumptions if all(a in one.request.assumptions for one in others)
    )  # fmt: skip

    def of(branch: walk.Branch) -> walk.Branch:
        return structs.replace(branch, probability=whole, assumptions=shared)

    return Attempt(first.result, of(first.request), first.answer and of(first.answer), tuple(map(of, first.data)))
