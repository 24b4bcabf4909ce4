"""What ``netinspect trace`` says: the ways of a packet from one end to another, how each ends, and why."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document, ServiceEntry


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
    UNRESOLVED = "unresolved"  # the sender's resolver does not find the name, so that nothing is sent
    LEAVES = "leaves"  # it leaves the cluster
    FAILS = "fails"  # it does not arrive; which of these its sender sees hangs on what is not known
    MIXED = "mixed"  # some ways arrive, and some do not
    UNKNOWN = "unknown"


class Outcome(Enum):
    """What a run that asks for a flow ends with: 0, 1 or 3 as its exit code."""

    SOUND = 0
    FAULTY = 1
    UNSETTLED = 3


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
    """One way that the flow may take. ``backend`` is who takes or refuses it.

    Its ``probability`` is null where it is not known, and its ``level`` inferred where it goes on to what was not read.
    """

    arrival: Arrival
    probability: float | None
    level: Level = Level.SIMULATED
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


class BackendTrace(Document, frozen=True, kw_only=True):
    """What becomes of the flow where it goes straight to one endpoint; ``used`` says that the Service sends there."""

    address: str
    port: int
    pod: str = ""
    node: str = ""
    ready: bool
    serving: bool
    used: bool
    level: Level
    arrival: Arrival
    sentence: str
    cause: Cause | None = None


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
    backends: tuple[BackendTrace, ...] = ()
    notes: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Say whether all is as it should be: what leaves where it was meant to does, and nothing is named as a cause.

        Of endpoints that are asked one by one, those that the Service sends to count.
        """
        arrivals = {self.arrival, *(b.arrival for b in self.backends if b.used)}
        good = arrivals <= {Arrival.ARRIVES, Arrival.LEAVES} and self.cause is None
        if good:
            return Outcome.SOUND
        return Outcome.UNSETTLED if arrivals - {Arrival.ARRIVES} == {Arrival.UNKNOWN} else Outcome.FAULTY


class ServiceTrace(Document, frozen=True, tag_field="kind", tag="ServiceTrace", kw_only=True):
    """A Service by itself: its addresses, ports and endpoints, and what each of its ports does from nodes."""

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    service: ServiceEntry
    level: Level
    sentence: str
    traces: tuple[Trace, ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Say whether every port answers from everywhere, or by the API's objects alone that nothing is amiss."""
        found = {t.outcome for t in self.traces}
        if self.service.mismatches or Outcome.FAULTY in found:
            return Outcome.FAULTY
        if any(port.endpoints is None for port in self.service.ports):
            return Outcome.UNSETTLED
        return Outcome.UNSETTLED if Outcome.UNSETTLED in found else Outcome.SOUND
