"""The connection table: ``conntrack -L -o extended`` or /proc/net/nf_conntrack.

Source: libnetfilter_conntrack src/conntrack/snprintf_default.c.
"""

from __future__ import annotations

from typing import Any

from netinspect.kernel.reading import lines
from netinspect.model.kernel import Connection, Tuple

_FAMILIES = {"ipv4": "inet", "ipv6": "inet6"}
_TUPLE = frozenset({"src", "dst", "sport", "dport", "type", "code", "id", "packets", "bytes"})
_INTEGERS = _TUPLE - {"src", "dst"}


def parse(text: str) -> tuple[Connection, ...]:
    """Read the entries of the table."""
    return lines("conntrack", text, _connection)


def _connection(line: str, number: int) -> Connection:
    words = line.split()
    family = "inet6" if ":" in next(w for w in words if w.startswith("src=")) else "inet"
    if words[0] in _FAMILIES:
        family = _FAMILIES[words[0]]
        words = words[2:]
    protocol, number_of_protocol, *rest = words
    int(number_of_protocol)
    found: dict[str, Any] = {}
    if rest and rest[0].isdecimal():
        found["timeout"] = int(rest.pop(0))
    if rest and "=" not in rest[0] and not rest[0].startswith("["):
        found["state"] = rest.pop(0)
    status: list[str] = []
    tuples: list[dict[str, Any]] = []
    for word in rest:
        key, equals, value = word.partition("=")
        if word.startswith("["):
            status.append(word.strip("[]"))
        elif key == "src":
            tuples.append({"src": value})
        elif key in _TUPLE and tuples:
            tuples[-1][key] = int(value) if key in _INTEGERS else value
        elif key == "mark":
            found["mark"] = int(value, 0)
        elif key == "zone":
            found["zone"] = int(value)
        elif key in ("zone-orig", "zone-reply"):
            found["zone_original" if key == "zone-orig" else "zone_reply"] = int(value)
        elif key == "secctx":
            found["secctx"] = value
        elif not equals:
            status.append(word)
    original, reply = tuples
    return Connection(
        family=family,
        protocol=protocol,
        original=Tuple(**original),
        reply=Tuple(**reply),
        status=tuple(status),
        line=number,
        **found,
    )
