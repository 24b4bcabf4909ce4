"""JSON with ``apiVersion`` and ``kind``; `netinspect schema` prints its JSON Schema. Made for jq and for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from netinspect.model.changes import DiffReport
from netinspect.model.check import CheckPage, CheckReport, Checks
from netinspect.model.cni import CniReport
from netinspect.model.inspection import NamespaceView
from netinspect.model.mesh import MeshReport, PairReport
from netinspect.model.topology import Document, Ownership, Topology
from netinspect.model.trace import ServiceTrace, Trace
from netinspect.model.verify import VerifyReport
from netinspect.output.base import Style

NAME = "json"
RENDERS: frozenset[type[Document]] = frozenset({
    Topology, Ownership, NamespaceView, Trace, ServiceTrace, CniReport, MeshReport, PairReport, CheckReport,
    CheckPage, Checks, VerifyReport, DiffReport,
})  # fmt: skip

_PIECE = 1 << 20
# JSON escapes the first 32 control characters; a terminal obeys more than these.
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the document as indented JSON, in pieces: a large cluster's is some 40 MB, and one copy of it is enough."""
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    start = 0
    while start < len(encoded):
        end = encoded.find(b"\n", start + _PIECE) + 1 or len(encoded)
        yield _UNSAFE.sub(lambda m: f"\\u{ord(m.group()):04x}", encoded[start:end].decode())
        start = end
    yield "\n"
