"""What rules write into sets while a packet is on its way, so that the rules after them find it there."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netinspect.kernel.simulator.forks import Maybe, Truth

Key = tuple[object, ...]


class Written(Struct, frozen=True, gc=False):
    """A member that a rule has put into a set, or taken out of it; without ``key`` it may be any."""

    key: Key | None
    held: bool


def since(held: bool, key: Key, written: Iterable[Written]) -> Truth:
    """Say whether a set holds a member, by whether it did when it was read and by what was written after that."""
    answer: Truth = held
    for one in written:
        if one.key == key:
            answer = one.held
        elif one.key is None and answer is not one.held:
            answer = Maybe("a rule before it has changed the set")
    return answer
