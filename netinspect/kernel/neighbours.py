"""Neighbours and forwarding databases: ``ip neigh``, ``bridge fdb``, as JSON or text.

Sources: iproute2 ip/ipneigh.c, bridge/fdb.c.
"""

from __future__ import annotations

import itertools
from typing import Any

from netinspect.kernel.reading import is_json, lines, objects
from netinspect.model.kernel import FdbEntry, Neighbour

_STATES = frozenset({"INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT", "NONE"})
_FDB_FLAGS = frozenset({"self", "master", "router", "extern_learn", "offload", "sticky", "locked", "added_by_user"})
_FDB_STATES = frozenset({"permanent", "static", "stale", "dynamic"})


def neighbours(text: str) -> tuple[Neighbour, ...]:
    """Read the neighbour table, proxied entries included."""
    if is_json(text):
        return objects("neighbours", text, _from_json)
    return lines("neighbours", text, _from_text)


def _from_json(record: dict[str, Any], line: int) -> Neighbour:
    state = record.get("state") or ()
    return Neighbour(
        dst=str(record["dst"]),
        dev=str(record.get("dev", "")),
        lladdr=str(record.get("lladdr", "")),
        state=(state,) if isinstance(state, str) else tuple(state),
        router="router" in record,
        proxy="proxy" in record,
        extern_learn="extern_learn" in record,
        line=line,
    )


def _from_text(line: str, number: int) -> Neighbour:
    dst, *words = line.split()
    told = dict(itertools.pairwise(words))
    return Neighbour(
        dst=dst,
        dev=told.get("dev", ""),
        lladdr=told.get("lladdr", ""),
        state=tuple(w for w in words if w in _STATES),
        router="router" in words,
        proxy="proxy" in words,
        extern_learn="extern_learn" in words,
        line=number,
    )


def fdb(text: str) -> tuple[FdbEntry, ...]:
    """Read the forwarding databases of all bridges and tunnels."""
    if is_json(text):
        return objects("fdb", text, _fdb_from_json)
    return lines("fdb", text, _fdb_from_text)


def _fdb_from_json(record: dict[str, Any], line: int) -> FdbEntry:
    def number(name: str) -> int | None:
        return int(str(record[name]), 0) if record.get(name) not in (None, "") else None

    return FdbEntry(
        mac=str(record.get("mac", "")),
        dev=str(record.get("ifname", "")),
        master=str(record.get("master", "")),
        dst=str(record.get("dst", "")),
        state=str(record.get("state", "")),
        flags=tuple(record.get("flags") or ()),
        vlan=number("vlan"),
        vni=number("vni"),
        src_vni=number("src_vni"),
        port=number("port"),
        via=str(record.get("viaIf", record.get("via", ""))),
        nhid=number("nhid"),
        line=line,
    )


def _fdb_from_text(line: str, number: int) -> FdbEntry:
    mac, *words = line.split()
    found: dict[str, Any] = {"mac": mac, "line": number}
    flags: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("dev", "dst", "via"):
            found[word] = next(rest)
        elif word in ("vlan", "vni", "src_vni", "port", "nhid"):
            found[word] = int(next(rest), 0)
        elif word == "master":
            # Followed by the bridge, or a flag of its own where the entry is shown for one bridge.
            found["master"] = next(rest, "")
        elif word in _FDB_STATES:
            found["state"] = word
        elif word in _FDB_FLAGS:
            flags.append(word)
        elif word in ("used", "updated", "activity_notify", "[cached]"):
            next(rest, None)
    return FdbEntry(**found, flags=tuple(flags))
