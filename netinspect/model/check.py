"""What ``netinspect check`` says: of each diagnosis whether it was made, what it found, and what follows from what."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from netinspect.model.finding import Severity
from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document
from netinspect.model.trace import Outcome, Proof


class Category(str, Enum):
    """What a diagnosis is about, in the order in which one thing rests on another."""

    NODES = "nodes"
    CNI = "cni"
    ADDRESSES = "addresses"
    KERNEL = "kernel"
    TUNNELS = "tunnels"
    MTU = "mtu"
    ROUTES = "routes"
    POLICIES = "policies"
    SERVICES = "services"
    DNS = "dns"
    MESH = "mesh"
    PATHS = "paths"


class Vantage(str, Enum):
    """From where a diagnosis is made."""

    API = "api"  # the API's objects alone
    NODE = "node"  # the kernels of the nodes
    POD = "pod"  # the network namespaces of the pods too


class Result(str, Enum):
    """What came of a diagnosis. What could not be looked at is never taken for sound."""

    PASSED = "passed"
    FOUND = "found"
    UNSEEN = "unseen"
    IRRELEVANT = "irrelevant"  # there is nothing of what it is about


class Blind(Document, frozen=True, kw_only=True):
    """What a diagnosis could not look at, and what would settle it."""

    says: str
    settles: str


class Symptom(Document, frozen=True, kw_only=True):
    """A finding that goes away with its cause."""

    code: str
    severity: Severity
    place: str
    says: str
    fingerprint: str = ""


class Diagnosis(Document, frozen=True, kw_only=True):
    """One thing that is wrong, where, why, and what to do; ``symptoms`` are what follows from it.

    ``fingerprint`` stays the same from run to run. ``accepted`` says why it does not count: a suppression's reason, or
    the baseline. ``way`` are the namespaces that a packet crosses, up to the one where it ends.
    """

    code: str
    title: str
    category: Category
    severity: Severity
    place: str
    says: str
    cause: str
    remedy: str
    fingerprint: str
    peers: tuple[str, ...] = ()
    proof: Proof | None = None
    way: tuple[str, ...] = ()
    symptoms: tuple[Symptom, ...] = ()
    accepted: str = ""

    @property
    def all(self) -> tuple[Diagnosis | Symptom, ...]:
        """Give it with what follows from it."""
        return self, *self.symptoms


class NodeSketch(Document, frozen=True, kw_only=True):
    """A node as the map draws it: its address, its range of pods, and how many it has; ``read`` from within."""

    name: str
    ready: bool
    address: str = ""
    pod_cidr: str = ""
    pods: int = 0
    read: bool = False


class CheckEntry(Document, frozen=True, kw_only=True):
    """One diagnosis, and what came of it. ``found`` counts what it found, symptoms of others included."""

    code: str
    title: str
    category: Category
    vantage: Vantage
    result: Result
    worst: Severity | None = None
    found: int = 0
    unseen: tuple[Blind, ...] = ()


class CheckReport(Document, frozen=True, tag_field="kind", tag="Check", kw_only=True):
    """All diagnoses, and what they found, causes first.

    ``fail_on`` is the least severity that fails the run, empty for none; ``strict`` says that what could not be looked
    at fails it too. ``notes`` are about suppressions and the baseline; ``cni`` and ``nodes`` are what the map shows.
    """

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    fail_on: Severity | None = None
    strict: bool = False
    findings: tuple[Diagnosis, ...] = ()
    checks: tuple[CheckEntry, ...] = ()
    cni: str = ""
    nodes: tuple[NodeSketch, ...] = ()
    notes: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def unseen(self) -> tuple[CheckEntry, ...]:
        """Give the diagnoses of which something could not be looked at."""
        return tuple(c for c in self.checks if c.unseen)

    @property
    def failing(self) -> tuple[Diagnosis, ...]:
        """Give what fails the run."""
        if self.fail_on is None:
            return ()
        least = ORDER[self.fail_on]
        return tuple(f for f in self.findings if not f.accepted and ORDER[f.severity] <= least)

    @property
    def outcome(self) -> Outcome:
        """Say how the run ends: what was found counts first, then what could not be looked at."""
        if self.failing:
            return Outcome.FAULTY
        nothing = not any(c.result in (Result.PASSED, Result.FOUND) for c in self.checks)
        return Outcome.UNSETTLED if self.unseen and (self.strict or nothing) else Outcome.SOUND


# Worst first.
ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


class CheckPage(Document, frozen=True, tag_field="kind", tag="CheckPage", kw_only=True):
    """What is to know of one diagnosis: ``netinspect explain CODE``. ``needs`` are the kinds that it reads.

    ``explains`` are the codes, or their beginnings, of what is its symptom on the same nodes.
    """

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    code: str
    title: str
    category: Category
    severity: Severity
    vantage: Vantage
    needs: tuple[str, ...] = ()
    explanation: str
    remedy: str
    links: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()


class Uncovered(Document, frozen=True, kw_only=True):
    """A diagnosis that is known and not made yet, and what it would take."""

    title: str
    takes: str


class Checks(Document, frozen=True, tag_field="kind", tag="Checks", kw_only=True):
    """All diagnoses: ``netinspect checks``."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    checks: tuple[CheckPage, ...]
    uncovered: tuple[Uncovered, ...] = ()
