"""The tables with everything that does not fit into 80 columns: endpoints one by one, selectors, owners, versions."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.model.changes import DiffReport
from netinspect.model.check import CheckPage, CheckReport, Checks
from netinspect.model.cni import CniReport
from netinspect.model.inspection import NamespaceView
from netinspect.model.mesh import MeshReport, PairReport
from netinspect.model.topology import Document, Ownership, Topology
from netinspect.model.trace import ServiceTrace, Trace
from netinspect.model.verify import VerifyReport
from netinspect.output.base import Style
from netinspect.output.table import tables

NAME = "wide"
RENDERS: frozenset[type[Document]] = frozenset({
    Topology, Ownership, NamespaceView, Trace, ServiceTrace, CniReport, MeshReport, PairReport, CheckReport,
    CheckPage, Checks, VerifyReport, DiffReport,
})  # fmt: skip


def render(document: Document, style: Style) -> Iterator[str]:
    """Give the document as wide tables; lines are as long as they need to be."""
    return tables(document, Style(width=None, colour=style.colour), wide=True)
