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


def schema(
    document: Annotated[DocumentName, typer.Argument(help="The command whose JSON it describes")],
) -> None:
    """Print the JSON Schema of a command's -o json.

    Within v1 fields are only ever added.
    """
    import msgspec

    from netinspect.model.topology import Ownership, Topology

    kind = {DocumentName.MAP: Topology, DocumentName.WHOIS: Ownership}[document]
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://netinspect.io/schemas/v1/{document.value}.json",
        **msgspec.json.schema(kind),
    }
    console.write([msgspec.json.format(msgspec.json.encode(described), indent=2).decode() + "\n"])
