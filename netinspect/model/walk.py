"""A packet's way through the kernels of a cluster: steps with their evidence, branches with their probability."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from netinspect.model.kernel import Socket
from netinspect.model.packet import Packet


class Pointer(Struct, frozen=True, gc=False):
    """Where the evidence stands: a namespace, a section of what was read there, a line of it (from 1), and its text."""

    namespace: str
    section: str
    line: int = 0
    text: str = ""


class Stage(str, Enum):
    """What the kernel does with a packet, in its own words (netfilter's hooks, the names of its functions).

    Programs of eBPF, and Open vSwitch's flows (OpenFlow), do it in the kernel's place.
    """

    SOCKET = "socket"
    RECEIVE = "receive"
    BRIDGE = "bridge"
    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"
    INGRESS = "ingress"
    EGRESS = "egress"
    CONNTRACK = "conntrack"
    NAT = "nat"
    ROUTE = "route"
    SOURCE_CHECK = "source check"
    NEIGHBOUR = "neighbour"
    ENCAPSULATE = "encapsulate"
    DECAPSULATE = "decapsulate"
    IPVS = "ipvs"
    PROGRAM = "program"
    OPENFLOW = "openflow"
    TRANSMIT = "transmit"
    WIRE = "wire"
    DELIVER = "deliver"


class Step(Struct, frozen=True):
    """One thing that happened to the packet in a namespace, the evidence for it, and the packet after it."""

    namespace: str
    stage: Stage
    text: str
    packet: Packet
    evidence: Pointer | None = None


class Verdict(str, Enum):
    """How a packet's way ends."""

    DELIVERED = "delivered"  # a socket takes it, or the kernel answers it
    REFUSED = "refused"  # it reached its host, where nothing listens
    DROPPED = "dropped"  # something let it vanish
    REJECTED = "rejected"  # something answered that it may not pass
    UNREACHABLE = "unreachable"  # the kernel has no way for it, and says so where it may
    LEFT = "left"  # it left what was read
    UNKNOWN = "unknown"


class End(Struct, frozen=True):
    """Where a packet ends, and why. ``answer`` is what goes back from there: a reset, an ICMP error, a reply.

    ``stage`` is where it ended, where that is a hook, a route or a neighbour; ``settles`` says of an unknown end what
    would settle it.
    """

    verdict: Verdict
    reason: str
    namespace: str
    packet: Packet
    evidence: Pointer | None = None
    socket: Socket | None = None
    answer: Packet | None = None
    stage: Stage | None = None
    settles: str = ""


class Assumption(Struct, frozen=True):
    """A fork that was taken: what was asked there and which way this branch went.

    ``probability`` is None where nobody can know it: the condition is not modelled, or hangs on what was not read.
    """

    question: str
    taken: str
    probability: float | None
    evidence: Pointer | None = None


class Branch(Struct, frozen=True):
    """One way that the packet may take. ``probability`` is None where an assumption on it has none."""

    steps: tuple[Step, ...]
    end: End
    probability: float | None = 1.0
    assumptions: tuple[Assumption, ...] = ()
