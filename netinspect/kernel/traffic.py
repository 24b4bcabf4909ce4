"""Queueing disciplines and filters: ``tc qdisc`` and ``tc filter``. Sources: iproute2 tc/tc_qdisc.c, tc_filter.c."""

from __future__ import annotations

import itertools
from typing import Any

from netinspect.kernel.reading import is_json, lines, objects
from netinspect.model.kernel import Filter, Qdisc


def qdiscs(text: str) -> tuple[Qdisc, ...]:
    """Read all queueing disciplines."""
    if is_json(text):
        return objects("qdiscs", text, _qdisc_from_json)
    return lines("qdiscs", text, _qdisc)


def _qdisc_from_json(record: dict[str, Any], _line: int) -> Qdisc:
    return Qdisc(
        dev=str(record.get("dev", "")),
        kind=str(record.get("kind", "")),
        handle=str(record.get("handle", "")),
        parent=str(record.get("parent", "")),
        root=bool(record.get("root")),
        options=dict(record.get("options") or {}),
    )


def _qdisc(line: str, _number: int) -> Qdisc:
    _, kind, handle, *words = line.split()
    told = dict(itertools.pairwise(words))
    return Qdisc(dev=told.get("dev", ""), kind=kind, handle=handle, parent=told.get("parent", ""), root="root" in words)


def filters(text: str, dev: str, direction: str) -> tuple[Filter, ...]:
    """Read the filters of one link and direction; of text only their kinds are read."""
    section = f"filters {dev} {direction}"
    if is_json(text):
        return objects(section, text, lambda record, _n: _filter_from_json(record, dev, direction))
    return lines(section, text, lambda line, _n: _filter(line, dev, direction))


def _filter_from_json(record: dict[str, Any], dev: str, direction: str) -> Filter:
    return Filter(
        dev=dev,
        direction=direction,
        kind=str(record.get("kind", "")),
        protocol=str(record.get("protocol", "")),
        pref=record.get("pref"),
        chain=record.get("chain"),
        options=dict(record.get("options") or {}),
    )


def _filter(line: str, dev: str, direction: str) -> Filter | None:
    words = line.split()
    if words[0] != "filter":
        return None
    told = dict(itertools.pairwise(words))
    pref = told.get("pref")
    kind = words[words.index("pref") + 2] if "pref" in words else words[-1]
    return Filter(
        dev=dev,
        direction=direction,
        kind=kind,
        protocol=told.get("protocol", ""),
        pref=int(pref) if pref else None,
        options={"text": line.strip()},
    )


def programs(text: str) -> tuple[Filter, ...]:
    """Read the programs of eBPF that stand at links without being filters: ``bpftool -j net`` (tcx, bpf_link)."""
    if not text.strip():
        return ()

    def attached(record: dict[str, Any], _line: int) -> Filter | None:
        kind, _, direction = str(record.get("kind", "")).partition("/")
        return Filter(dev=str(record.get("devname", "")), direction=direction, kind=kind) if kind == "tcx" else None

    found = objects("bpf-net", text, lambda record, _n: record)
    return tuple(f for one in found for record in one.get("tc") or () if (f := attached(record, 0)) is not None)
