"""A cluster that is well, recorded in the lab, and what is changed in it.

Recorded by ``python -m tests.lab up --name well --nodes 2 --ip-family dual --no-workloads``, a DaemonSet with two
Services and an agent, and ``netinspect snapshot --access exec tests/checks/well.zip``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from netinspect.bundle import load
from netinspect.model.evidence import NodeEvidence, Section
from netinspect.model.resources import BY_NAME, RESOURCES
from netinspect.model.snapshot import Snapshot

Json = dict[str, Any]
Edit = Callable[[Snapshot], Snapshot]
WELL = Path(__file__).with_name("well.zip")


@cache
def well() -> Snapshot:
    return load(WELL, RESOURCES)


def edit(kind: str, name: str, change: Callable[[Json], object]) -> Edit:
    """Change the objects of a kind whose name begins so, as JSON."""

    def edited(snapshot: Snapshot) -> Snapshot:
        found, hit = [], False
        for one in getattr(snapshot, kind):
            plain = msgspec.to_builtins(one)
            if one.metadata.name.startswith(name):
                change(plain)
                hit = True
            found.append(msgspec.convert(plain, BY_NAME[kind].type))
        assert hit, f"no {kind} {name}"
        return structs.replace(snapshot, **{kind: tuple(found)})

    return edited


def each(*changes: Callable[[Json], object]) -> Callable[[Json], object]:
    """Make several changes of one object."""

    def change(found: Json) -> None:
        for one in changes:
            one(found)

    return change


def add(kind: str, *objects: Json) -> Edit:
    """Add objects, as the API has them."""

    def added(snapshot: Snapshot) -> Snapshot:
        made = tuple(msgspec.convert(o, BY_NAME[kind].type) for o in objects)
        gaps = tuple(g for g in snapshot.gaps if g.resource != kind)
        return structs.replace(snapshot, gaps=gaps, **{kind: (*getattr(snapshot, kind), *made)})

    return added


def without(kind: str, name: str = "") -> Edit:
    """Take objects away whose name begins so."""

    def left(snapshot: Snapshot) -> Snapshot:
        kept = tuple(o for o in getattr(snapshot, kind) if not o.metadata.name.startswith(name))
        return structs.replace(snapshot, **{kind: kept})

    return left


def section(node: str, name: str, change: Callable[[str], str], place: str = "host") -> Edit:
    """Change what a tool printed on a node, or in the pod there whose name begins so."""

    def edited(snapshot: Snapshot) -> Snapshot:
        kernels = []
        for kernel in snapshot.kernels:
            namespaces = []
            for one in kernel.namespaces:
                mine = one.is_host if place == "host" else any(p.name.startswith(place) for p in one.pods)
                if kernel.node == node and mine and not (place != "host" and one.is_host):
                    text = change(one.sections[name].text if name in one.sections else "")
                    sections = {**one.sections, name: Section(name, text, exit_code=0)}
                    one = structs.replace(one, sections=sections)  # noqa: PLW2901 - the changed one takes its place
                namespaces.append(one)
            kernels.append(structs.replace(kernel, namespaces=tuple(namespaces)))
        assert kernels != list(snapshot.kernels), f"{name} of {place} on {node} is as it was"
        return structs.replace(snapshot, kernels=tuple(kernels))

    return edited


def swap(old: str, new: str) -> Callable[[str], str]:
    def swapped(text: str) -> str:
        assert old in text, f"there is no {old!r}"
        return text.replace(old, new)

    return swapped


def lines_without(part: str) -> Callable[[str], str]:
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if part not in line)


def items(change: Callable[[list[Json]], object]) -> Callable[[str], str]:
    """Change a section that is a JSON list."""

    def changed(text: str) -> str:
        found = json.loads(text)
        change(found)
        return json.dumps(found)

    return changed


def link(name: str, **fields: Any) -> Callable[[str], str]:
    """Change fields of an interface; ``down`` takes its flag away."""

    def change(found: list[Json]) -> None:
        mine = next(k for k in found if k["ifname"].startswith(name))
        if fields.get("down"):
            mine["flags"] = [f for f in mine["flags"] if f not in ("UP", "LOWER_UP")]
        mine.update({k: v for k, v in fields.items() if k != "down"})

    return items(change)


def sysctl(key: str, value: str) -> Callable[[str], str]:
    """Set a setting, where it was read or not."""
    line = f"/proc/sys/net/{key}:"
    return lambda text: lines_without(line)(text) + f"{line}{value}\n"


def both(*edits: Edit) -> Edit:
    def all_of_them(snapshot: Snapshot) -> Snapshot:
        for one in edits:
            snapshot = one(snapshot)
        return snapshot

    return all_of_them


def unread(snapshot: Snapshot) -> Snapshot:
    """Forget what was read in the nodes."""
    none: tuple[NodeEvidence, ...] = ()
    return structs.replace(snapshot, kernels=none)
