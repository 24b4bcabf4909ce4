"""Many scenes, one after another: ``python -m tests.kernel.oracle.campaign CASES [SEED]``; what fails is kept."""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from tests.kernel.oracle import features
from tests.kernel.oracle.compare import Comparison, judge
from tests.kernel.oracle.generate import scene
from tests.kernel.oracle.scene import Scene, save

KEPT = Path(__file__).parent.parent / "regressions"
_ROUNDS = 3


@dataclass
class Campaign:
    """What many scenes gave."""

    agreed: int = 0
    unknown: int = 0
    scenes: int = 0
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    present: Counter[tuple[str, str]] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)

    @property
    def cases(self) -> int:
        return self.agreed + self.unknown + len(self.wrong)

    def run(self, seed: str, *, user_mode: bool = False) -> None:
        """Run the scene of a seed."""
        self.judge(scene(seed, user_mode=user_mode), seed)

    def judge(self, made: Scene, name: str) -> None:
        """Run a scene."""
        try:
            found = judge(made)
        except RuntimeError as error:
            # The tools refuse some of what chance writes; such a scene is none.
            self.refused.append(f"{name}: {str(error).strip().splitlines()[0][:120]}")
            return
        self.scenes += 1
        self.agreed += found.agreed
        self.unknown += found.unknown
        self.present.update(features.present(made))
        for attempts in found.attempts:
            self.met.update(features.decided(attempts))
        for one in found.wrong:
            where = f"{name} {made.name} probe {one.number}"
            self.wrong.append(f"{where} {one.probe}: real {one.real}, simulated {one.simulated}")

    def report(self) -> str:
        said = f"{self.cases} cases in {self.scenes} scenes"
        said += f": {self.agreed} agree, {self.unknown} unknown, {len(self.wrong)} wrong"
        refused = f"; {len(self.refused)} scenes that the tools refuse" if self.refused else ""
        return f"{said}{refused}\n{features.report(self.present, self.met)}"


def shrunk(made: Scene, number: int) -> Scene:
    """Give the smallest scene that still fails: its one probe, and only the lines and the listeners that matter."""
    smallest = structs.replace(made, probes=(made.probes[number],))
    if not _fails(smallest):
        return made
    for _ in range(_ROUNDS):
        before = smallest
        for ns in smallest.namespaces:
            smallest = _without(smallest, ns)
        if smallest == before:
            break
    for ns in made.listeners:
        tried = structs.replace(smallest, listeners={**smallest.listeners, ns: ()})
        if _fails(tried):
            smallest = tried
    return smallest


def _without(made: Scene, ns: str) -> Scene:
    size = max(1, len(made.setup.get(ns, ())) // 2)
    while size:
        start = 0
        while start < len(made.setup[ns]):
            lines = made.setup[ns]
            tried = structs.replace(made, setup={**made.setup, ns: lines[:start] + lines[start + size :]})
            if _fails(tried):
                made = tried
            else:
                start += size
        size //= 2
    return made


def _fails(made: Scene) -> bool:
    try:
        found: Comparison = judge(made)
    except RuntimeError:
        return False
    return bool(found.wrong)


def main() -> None:
    """Run scenes until so many cases are compared; keep what fails, as small as it gets."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    print(f"seed {seed}", flush=True)
    campaign = Campaign()
    number = 0
    while campaign.cases < wanted:
        name = f"{seed}.{number}"
        known = len(campaign.wrong)
        campaign.run(name)
        number += 1
        for one in campaign.wrong[known : known + 1]:
            print(one, flush=True)
            probe = int(one.partition(" probe ")[2].split()[0])
            KEPT.mkdir(exist_ok=True)
            save(shrunk(scene(name), probe), KEPT / f"{name}.json")
        if number % 100 == 0:
            print(f"{campaign.cases} cases, {len(campaign.wrong)} wrong", flush=True)
    print(campaign.report())
    sys.exit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    main()
