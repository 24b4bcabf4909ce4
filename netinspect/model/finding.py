"""What reports say: by what something is known, and what is wrong with it."""

from __future__ import annotations

from enum import Enum

from netinspect.model.topology import Document
from netinspect.model.trace import Proof


class Clue(Document, frozen=True, kw_only=True):
    """Something by which a CNI or a mesh is known, where it stands, and how much it weighs against other clues."""

    says: str
    source: str
    weight: int


class Severity(str, Enum):
    """How bad a finding is."""

    ERROR = "error"  # packets are lost
    WARNING = "warning"  # it may break, or is not what was meant
    INFO = "info"


class Finding(Document, frozen=True, kw_only=True):
    """Something that is not as it is meant to be. ``peers`` are the nodes towards which it matters."""

    kind: str
    severity: Severity
    place: str
    says: str
    cause: str
    remedy: str
    peers: tuple[str, ...] = ()
    proof: Proof | None = None
