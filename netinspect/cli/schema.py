"""``netinspect schema``."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from netinspect.cli import console


class DocumentName(str, Enum):
    """The commands whose JSON has a schema."""

    MAP = "map"
    WHOIS = "whois"
    NODE = "node"
    POD = "pod"
    TRACE = "trace"
    CNI = "cni"
    CHECK = "check"
    CHECKS = "checks"
    EXPLAIN = "explain"
    VERIFY = "verify"
    DIFF = "diff"
    EXPECTATIONS = "expectations"
    MESH = "mesh"
    MESH_PAIR = "mesh-pair"
    SERVICE_TRACE = "service-trace"


def schema(
    document: Annotated[DocumentName, typer.Argument(help="The command whose JSON it describes")],
) -> None:
    """Print the JSON Schema of a command's -o json.

    Within v1 fields are only ever added.
    """
    import msgspec

    from netinspect.model.changes import DiffReport
    from netinspect.model.check import CheckPage, CheckReport, Checks
    from netinspect.model.cni import CniReport
    from netinspect.model.inspection import NamespaceView
    from netinspect.model.mesh import MeshReport, PairReport
    from netinspect.model.topology import Ownership, Topology
    from netinspect.model.trace import ServiceTrace, Trace
    from netinspect.model.verify import Expectations, VerifyReport

    kinds = {
        DocumentName.MAP: Topology,
        DocumentName.WHOIS: Ownership,
        DocumentName.NODE: NamespaceView,
        DocumentName.POD: NamespaceView,
        DocumentName.TRACE: Trace,
        DocumentName.CNI: CniReport,
        DocumentName.CHECK: CheckReport,
        DocumentName.CHECKS: Checks,
        DocumentName.EXPLAIN: CheckPage,
        DocumentName.VERIFY: VerifyReport,
        DocumentName.DIFF: DiffReport,
        DocumentName.EXPECTATIONS: Expectations,
        DocumentName.MESH: MeshReport,
        DocumentName.MESH_PAIR: PairReport,
        DocumentName.SERVICE_TRACE: ServiceTrace,
    }
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://netinspect.io/schemas/v1/{document.value}.json",
        **msgspec.json.schema(kinds[document]),
    }
    console.write([msgspec.json.format(msgspec.json.encode(described), indent=2).decode() + "\n"])
