"""The catalogue of faults, as ``faults.yaml`` has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.lab.settings import Settings

_NAME = re.compile(r"<(\w+)>")
# Longer than a neighbour is asked for (three times, a second apart) before the kernel says that it is unreachable.
SECONDS = 4.0
_FILE = Path(__file__).with_name("faults.yaml")


@dataclass(frozen=True)
class Flow:
    """What is sent: from a pod or node, to what a user writes; ``aim`` is the address and port that stands for it.

    A ``lookup`` is only asked for by its name.
    """

    source: str
    to: str
    aim: str
    protocol: str = "TCP"
    size: int = 0
    fragment: bool = False
    source_port: int = 0
    via: str = ""
    lookup: bool = False


@dataclass(frozen=True)
class Step:
    """A line of shell and where it runs; ``stays`` says that it goes on running until the fault is healed."""

    place: str
    shell: str
    stays: bool = False


@dataclass(frozen=True, kw_only=True)
class Injection:
    """What is put into a lab, and taken out of it again; ``labs`` limits it to a CNI, a proxy mode or a family."""

    name: str
    inject: tuple[Step, ...]
    heal: tuple[Step, ...]
    labs: frozenset[str] = frozenset()

    def fits(self, lab: Settings) -> bool:
        """Say whether it can be made in a lab."""
        return self.labs <= {lab.cni.value, lab.proxy.value, lab.ip_family.value}


@dataclass(frozen=True, kw_only=True)
class Fault(Injection):
    """One fault: what packets meet, and what must be named.

    ``check`` is how ``netinspect check`` says it where it knows better than a trace, or sees it though the flow
    arrives.
    """

    flow: Flow
    real: str
    place: str = ""
    cause: str = ""
    check: str = ""
    seconds: float = SECONDS


def named(text: str, names: Mapping[str, str]) -> str:
    """Put the scene's names in; ``KeyError`` where it has none such."""
    return _NAME.sub(lambda m: names[m.group(1)], text)


def _flow(found: Mapping[str, Any]) -> Flow:
    return Flow(source=found["from"], **{k: v for k, v in found.items() if k != "from"})


def steps(found: list[dict[str, str]]) -> tuple[Step, ...]:
    """Read steps: the place, and the line of shell for it."""
    lines = [line for step in found for line in step.items()]
    return tuple(Step(place.rstrip("&"), shell, place.endswith("&")) for place, shell in lines)


def _fault(found: dict[str, Any], flows: Mapping[str, Flow]) -> Fault:
    asked = found.pop("flow", "across")
    return Fault(
        flow=flows[asked] if isinstance(asked, str) else _flow(asked),
        inject=steps(found.pop("inject", [])),
        heal=steps(found.pop("heal", [])),
        labs=frozenset(found.pop("labs", ())),
        **found,
    )


def _load() -> tuple[dict[str, Flow], tuple[Fault, ...]]:
    whole = yaml.safe_load(_FILE.read_text())
    flows = {name: _flow(found) for name, found in whole["flows"].items()}
    return flows, tuple(_fault(found, flows) for found in whole["faults"])


FLOWS, FAULTS = _load()
