"""What ``netinspect trace`` says: the ways of a packet from one end to another, how each ends, and why."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document


class Level(str, Enum):
    """What a statement rests on."""

    INFERRED = "inferred"  # API objects: what should happen
    SIMULATED = "simulated"  # collected kernel state: what the kernels will do
    UNKNOWN = "unknown"


class Arrival(str, Enum):
    """What becomes of the flow, as its sender sees it."""

    ARRIVES = "arrives"  # it is delivered, and the answer comes back
    REFUSED = "refused"  # a reset or an ICMP error comes back from the end itself
    UNREACHABLE = "unreachable"  # something on the way says that it cannot go on
    LOST = "lost"  # it vanishes, or its answer does
    RESET = "reset"  # the connection stands and is reset at once
    LEAVES = "leaves"  # it leaves the cluster
    MIXED = "mixed"  # some ways arrive, and some do not
    UNKNOWN = "unknown"


class Place(Document, frozen=True, kw_only=True):
    """One end of the flow: as it was written, what that is, its address, and the node it is on."""

    written: str
    kind: str
    name: str = ""
    address: str = ""
    node: str = ""
    port: int = 0


class Proof(Document, frozen=True, kw_only=True):
    """A line of what was read in a namespace (from 1; 0 where it is the section as a whole), and its text."""

    section: str
    line: int = 0
    text: str = ""


class Hop(Document, frozen=True, kw_only=True):
    """One thing that happens to the packet in a namespace (``node/NAME`` or ``pod/NAMESPACE/NAME``), and after it."""

    place: str
    stage: str
    text: str
    packet: str = ""
    proof: Proof | None = None


class Leg(Document, frozen=True, kw_only=True):
    """The way of one packet of the exchange, and how it ends."""

    name: str
    verdict: str
    place: str
    reason: str
    hops: tuple[Hop, ...] = ()
    proof: Proof | None = None
    settles: str = ""


class Fork(Document, frozen=True, kw_only=True):
    """What this way assumes; ``probability`` is null where nobody can know it."""

    question: str
    taken: str
    probability: float | None


class Way(Document, frozen=True, kw_only=True):
    """One way that the flow may take. ``backend`` is who takes it; ``probability`` is null where it is not known."""

    arrival: Arrival
    probability: float | None
    backend: str = ""
    legs: tuple[Leg, ...] = ()
    forks: tuple[Fork, ...] = ()


class Cause(Document, frozen=True, kw_only=True):
    """The one thing that stops the flow, where it is, the evidence for it, and what to do."""

    place: str
    reason: str
    leg: str = ""
    proof: Proof | None = None
    remedy: str = ""


class Trace(Document, frozen=True, tag_field="kind", tag="Trace", kw_only=True):
    """What becomes of a flow. ``expected`` is what the API's objects alone say; ``notes`` are what else was seen."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    source: Place
    destination: Place
    protocol: str
    level: Level
    arrival: Arrival
    sentence: str
    expected: Arrival
    cause: Cause | None = None
    ways: tuple[Way, ...] = ()
    notes: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
