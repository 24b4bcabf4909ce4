"""Forks: a walk is written as if it had one way, and is run again for every other answer to a question on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from netinspect.model.walk import Assumption, Pointer

T = TypeVar("T")
# Each unknown rule doubles the ways; what lies beyond so many is not looked at, and said to be unknown.
MOST_BRANCHES = 256
# A packet that goes round meets what it forks at on every round, so that all its ways together are long.
MOST_STATES = 65_536


class Maybe(Struct, frozen=True, gc=False):
    """Neither true nor false: true with a probability, or for a reason that nobody can decide from what was read."""

    reason: str
    probability: float | None = None


class Drawn(Maybe, frozen=True, gc=False):
    """A number that is drawn between two others, both included."""

    first: int = 0
    last: int = 0

    def among(self, first: int, last: int) -> Truth:
        """Say whether it is one of some numbers: where all or none are, that is known."""
        if last < self.first or self.last < first:
            return False
        return True if first <= self.first and self.last <= last else self


Truth = bool | Maybe


class Way(Struct, frozen=True, gc=False):
    """One answer at a fork."""

    name: str
    probability: float | None = None


class Forks:
    """The answers of one run: those that are given, then the first way of every further question.

    ``states`` is how many states its packets came to.
    """

    def __init__(self, given: tuple[int, ...] = ()) -> None:
        self._given = given
        self.states = 0
        self.taken: list[tuple[int, int]] = []
        self.assumptions: list[Assumption] = []
        self._settled: dict[object, int] = {}

    def take(self, question: str, ways: Sequence[Way], evidence: Pointer | None = None, *, once: object = None) -> int:
        """Ask a question; give the index of the way to go. ``once`` is what makes the same question the same."""
        if len(ways) == 1:
            return 0
        if once is not None and once in self._settled:
            return self._settled[once]
        place = len(self.taken)
        chosen = self._given[place] if place < len(self._given) else 0
        self.taken.append((chosen, len(ways)))
        way = ways[chosen]
        self.assumptions.append(Assumption(question, way.name, way.probability, evidence))
        if once is not None:
            self._settled[once] = chosen
        return chosen

    def holds(self, truth: Truth, question: str, evidence: Pointer | None = None) -> bool:
        """Give a truth; fork where it is not certain."""
        if isinstance(truth, bool):
            return truth
        p = truth.probability
        ways = (Way("matches", p), Way("does not match", None if p is None else 1 - p))
        return self.take(f"{question} ({truth.reason})", ways, evidence) == 0

    @property
    def probability(self) -> float | None:
        """Give how likely this run is, where that can be known."""
        product = 1.0
        for one in self.assumptions:
            if one.probability is None:
                return None
            product *= one.probability
        return product


class Run(Struct, Generic[T], frozen=True):
    """What came out of a run, and the forks it took."""

    result: T
    forks: Forks


def explore(run: Callable[[Forks], T], most: int = MOST_BRANCHES) -> tuple[list[Run[T]], bool]:
    """Run through all forks, in the order of their ways; say whether that was all.

    It ends after so many ways, and where those that were walked are very long.
    """
    # Answers that lead to a fork, its place among them, and another way to go there.
    waiting: list[tuple[tuple[int, ...], int, tuple[int, ...]]] = [((), 0, ())]
    runs: list[Run[T]] = []
    states = 0
    while waiting and len(runs) < most and states < MOST_STATES:
        before, place, other = waiting.pop()
        given = (*before[:place], *other)
        forks = Forks(given)
        runs.append(Run(run(forks), forks))
        states += forks.states
        chosen = tuple(c for c, _ in forks.taken)
        for place in range(len(forks.taken) - 1, len(given) - 1, -1):
            waiting += [(chosen, place, (way,)) for way in range(forks.taken[place][1] - 1, 0, -1)]
    return runs, not waiting
