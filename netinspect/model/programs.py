"""Programs of eBPF at a node's devices and calls: what they do with a packet, told by who has loaded them.

The kernel's tables do not hold this. A CNI that loads such programs reads its own maps; the simulator asks it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol

from msgspec import Struct

from netinspect.model.packet import Packet
from netinspect.model.walk import Verdict


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


class Wrap(Struct, frozen=True):
    """The packet goes through a tunnel's device, to a far end and with a key (bpf_skb_set_tunnel_key)."""

    packet: Packet
    dev: str
    remote: str
    key: int


class Emit(Struct, frozen=True):
    """The packet goes out by the routing tables, past netfilter (bpf_fib_lookup, bpf_redirect_neigh)."""

    packet: Packet


class Stop(Struct, frozen=True):
    """The packet ends here; ``settles`` says of an unknown end what would settle it."""

    packet: Packet
    verdict: Verdict
    reason: str
    settles: str = ""


Action = Pass | HandOver | Inject | Wrap | Emit | Stop


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


class Programs(Protocol):
    """The programs of one node."""

    @property
    def question(self) -> str:
        """Say what is asked where there are several outcomes."""

    def covers(self, dev: str, hook: str) -> bool:
        """Say whether there is one at a device of the node's own namespace; ``hook`` is ``ingress`` or ``egress``."""

    def at(self, dev: str, hook: str, packet: Packet, known: Known) -> tuple[Outcome, ...]:
        """Say what becomes of a packet there."""

    def connect(self, packet: Packet, known: Known, *, host: bool) -> tuple[Outcome, ...]:
        """Say what becomes of a socket that connects, in the node's own namespace (``host``) or another."""
