"""What takes packets past the kernel's tables on a node, by who knows it: programs of eBPF, and Open vSwitch.

The kernel's tables do not hold this. A CNI reads its own maps, or the switch's flows; the simulator asks it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, Protocol

from msgspec import Struct

from netinspect.model.packet import Option, Packet
from netinspect.model.walk import Stage, Verdict

# Where a switch takes a frame: one that a port has received, or one that the host sends by a port of the switch's own.
RECEIVE: Final = "receive"
SEND: Final = "send"


class Pass(Struct, frozen=True):
    """The packet goes on to what the kernel does next (TC_ACT_OK)."""

    packet: Packet


class HandOver(Struct, frozen=True):
    """The packet goes straight to the other end of a veth, past all else here (bpf_redirect_peer)."""

    packet: Packet
    dev: str


class Inject(Struct, frozen=True):
    """The packet is received once more, by another device (bpf_redirect with BPF_F_INGRESS)."""

    packet: Packet
    dev: str


class Output(Struct, frozen=True):
    """The frame leaves a switch by a port, as it is: its device sends it, or is the host's own, which receives it."""

    packet: Packet
    dev: str


class Wrap(Struct, frozen=True):
    """The packet goes through a tunnel's device, to a far end and with a key (bpf_skb_set_tunnel_key).

    ``local`` is the near end where it is told; ``df`` says that the outer packet may not be fragmented.
    """

    packet: Packet
    dev: str
    remote: str
    key: int
    local: str = ""
    df: bool = False
    options: tuple[Option, ...] = ()


class Emit(Struct, frozen=True):
    """The packet goes out by the routing tables, past netfilter (bpf_fib_lookup, bpf_redirect_neigh)."""

    packet: Packet


class Stop(Struct, frozen=True):
    """The packet ends here; ``settles`` says of an unknown end what would settle it."""

    packet: Packet
    verdict: Verdict
    reason: str
    settles: str = ""


Action = Pass | HandOver | Inject | Output | Wrap | Emit | Stop


class Note(Struct, frozen=True):
    """What a program finds on its way, the packet after it, and the section and line of the node that says so."""

    said: str
    packet: Packet
    section: str = ""
    line: int = 0
    text: str = ""


class Outcome(Struct, frozen=True):
    """One thing that a program may do.

    Where there are several, ``name`` and ``probability`` tell them apart. ``remember`` is what its maps hold from then
    on: it is among what is ``known`` when a later packet comes. The last of ``notes`` is the evidence for a ``Stop``.
    """

    action: Action
    notes: tuple[Note, ...] = ()
    remember: tuple[tuple[Hashable, Hashable], ...] = ()
    name: str = ""
    probability: float | None = None


Known = Mapping[Hashable, Hashable]


class Answer(Struct, frozen=True):
    """Who answers a request for an address: the switch itself for a ``mac``, or whoever is behind ``devices``."""

    mac: str = ""
    devices: tuple[str, ...] = ()
    note: Note | None = None


class Programs(Protocol):
    """The programs of one node."""

    @property
    def stage(self) -> Stage:
        """Say what stage of a packet's way they are."""

    @property
    def question(self) -> str:
        """Say what is asked where there are several outcomes."""

    def covers(self, dev: str, hook: str) -> bool:
        """Say whether there is one at a device of the node's own namespace.

        ``hook`` is ``ingress`` or ``egress``, or where a switch takes a frame.
        """

    def at(self, dev: str, hook: str, packet: Packet, known: Known) -> tuple[Outcome, ...]:
        """Say what becomes of a packet there."""

    def neighbour(self, dev: str, hook: str, asked: Packet) -> Answer | None:
        """Say what becomes of a request of ARP at a switch; None where there is none, or it cannot be told."""

    def connect(self, packet: Packet, known: Known, *, host: bool) -> tuple[Outcome, ...]:
        """Say what becomes of a socket that connects, in the node's own namespace (``host``) or another.

        Nothing where it is none of its business.
        """
