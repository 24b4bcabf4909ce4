"""What makes each check fire, as ``injected.yaml`` has it: put into a lab, and asked of ``netinspect check``."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from tests.faults.catalogue import Injection, named, steps
from tests.faults.judge import baseline_of, checked
from tests.faults.scene import Scene
from tests.lab.cluster import get
from tests.lab.settings import Settings

_FILE = Path(__file__).with_name("injected.yaml")


@dataclass(frozen=True, kw_only=True)
class Round(Injection):
    """Several injections at a time: the codes of the checks that must fire, and a pattern of where.

    ``access`` is by what nodes are looked into: a kubelet that stands still lets nobody in. ``age`` is how old nodes
    must be, in seconds: some checks leave out those that have just joined.
    """

    found: dict[str, str]
    access: str = "exec"
    age: int = 0


def _load() -> tuple[Round, ...]:
    return tuple(
        Round(
            name=one["name"], inject=steps(one["inject"]), heal=steps(one["heal"]), found=one["found"],
            labs=frozenset(one.get("labs", ())), access=one.get("access", "exec"),
            age=one.get("age", 0),
        )
        for one in yaml.safe_load(_FILE.read_text())["rounds"]
    )  # fmt: skip


ROUNDS = _load()


def come_of_age(lab: Settings, seconds: int) -> None:
    """Wait until all nodes of a lab are so old."""
    born = [node["metadata"]["creationTimestamp"] for node in get(lab, "nodes")["items"]]
    youngest = max(datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in born)
    time.sleep(max(0.0, seconds - (datetime.now(timezone.utc) - youngest).total_seconds()))


def fired(lab: Settings, access: str = "exec") -> list[tuple[str, str, str]]:
    """Give the code, place and words of all that is found beside what was there before, symptoms too."""
    report: Any = checked(lab, baseline_of(lab), access=access)
    live = [f for f in report.get("findings", ()) if not f.get("accepted")]
    return [(f["code"], f["place"], f["says"]) for one in live for f in (one, *one.get("symptoms", ()))]


def missing(one: Round, scene: Scene, found: list[tuple[str, str, str]]) -> list[str]:
    """Name the checks of a round that did not fire where they must."""
    names = {k: re.escape(v) for k, v in scene.facts.items()}
    return [
        f"{code} {place}" for code, place in one.found.items()
        if not any(c == code and re.fullmatch(named(place, names), p) for c, p, _ in found)
    ]  # fmt: skip
