"""What changed between two readings of a cluster: ``netinspect diff``."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document
from netinspect.model.trace import Arrival, Outcome


class Area(str, Enum):
    """What a change is of."""

    CNI = "cni"
    ADDRESSES = "addresses"
    SERVICES = "services"
    POLICIES = "policies"
    MESH = "mesh"
    LINKS = "links"
    ROUTES = "routes"
    RULES = "rules"
    SETTINGS = "settings"


class Change(Document, frozen=True, kw_only=True):
    """One thing that is another than it was; ``before`` or ``after`` is empty where it was not, or is not, there."""

    area: Area
    place: str
    what: str
    before: str = ""
    after: str = ""


class FlowChange(Document, frozen=True, kw_only=True):
    """A flow that becomes something else than it did, and why."""

    flow: str
    before: Arrival
    after: Arrival
    says: str


class DiffReport(Document, frozen=True, tag_field="kind", tag="Diff", kw_only=True):
    """All changes. ``compared`` counts the flows that were followed in both; ``unseen`` is what one of them lacks."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    before: str
    after: str
    flows: tuple[FlowChange, ...] = ()
    changes: tuple[Change, ...] = ()
    compared: int = 0
    unseen: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Say whether anything changed, as diff(1) does; what only one of them saw is not settled."""
        if self.flows or self.changes:
            return Outcome.FAULTY
        return Outcome.UNSETTLED if self.unseen else Outcome.SOUND
