"""What was declared of a cluster, and whether it is so: ``netinspect verify``."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from msgspec import Struct

from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document
from netinspect.model.trace import Level, Outcome


class Expect(str, Enum):
    """What should become of a flow."""

    REACHABLE = "reachable"
    BLOCKED = "blocked"
    MTLS = "mtls"
    PLAINTEXT = "plaintext"


class Declared(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what users write; a field that is not known is a mistake."""


class DeclaredFlow(Declared, frozen=True, kw_only=True, rename={"source": "from"}):
    """A flow, its ends written as for ``netinspect trace``. ``level`` is the least that its verdict may rest on."""

    source: str
    to: str
    expect: Expect
    name: str = ""
    namespace: str = ""
    port: int = 0
    protocol: Literal["tcp", "udp", "sctp", "icmp"] = "tcp"
    level: Literal["inferred", "simulated"] = "inferred"


class DeclaredFacts(Declared, frozen=True, kw_only=True):
    """What the cluster is: its CNI by name or title, its mode, its ranges, and the namespaces whose pods a mesh has."""

    cni: str = ""
    mode: str = ""
    pods: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    mesh: dict[str, tuple[str, ...]] = {}


class Expectations(Declared, frozen=True, kw_only=True, rename="camel"):
    """A file of expectations."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    kind: Literal["Expectations"] = "Expectations"
    facts: DeclaredFacts = DeclaredFacts()
    flows: tuple[DeclaredFlow, ...] = ()


class Verdict(str, Enum):
    """Whether something is as it was declared."""

    HOLDS = "holds"
    FAILS = "fails"
    UNSEEN = "unseen"


class Case(Document, frozen=True, kw_only=True):
    """One thing that was declared: what was expected, what was found, and why; ``level`` is what that rests on."""

    name: str
    verdict: Verdict
    expected: str
    found: str
    says: str = ""
    settles: str = ""
    level: Level | None = None


class VerifyReport(Document, frozen=True, tag_field="kind", tag="Verify", kw_only=True):
    """All that was declared, case by case."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    cases: tuple[Case, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Say whether all is as declared; what could not be seen is not settled."""
        found = {c.verdict for c in self.cases}
        if Verdict.FAILS in found:
            return Outcome.FAULTY
        return Outcome.UNSETTLED if Verdict.UNSEEN in found else Outcome.SOUND
