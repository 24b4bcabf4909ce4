"""YAML: the same document as JSON, for people who would rather read it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import yaml

from netinspect.model.changes import DiffReport
from netinspect.model.check import CheckPage, CheckReport, Checks
from netinspect.model.cni import CniReport
from netinspect.model.inspection import NamespaceView
from netinspect.model.mesh import MeshReport, PairReport
from netinspect.model.topology import Document, Ownership, Topology
from netinspect.model.trace import ServiceTrace, Trace
from netinspect.model.verify import VerifyReport
from netinspect.output.base import Style

NAME = "yaml"
RENDERS: frozenset[type[Document]] = frozenset({
    Topology, Ownership, NamespaceView, Trace, ServiceTrace, CniReport, MeshReport, PairReport, CheckReport,
    CheckPage, Checks, VerifyReport, DiffReport,
})  # fmt: skip

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the document as YAML; whatever is not ASCII is escaped."""
    plain = msgspec.to_builtins(document, str_keys=True)
    yield yaml.dump(plain, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1000)
