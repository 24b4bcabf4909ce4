"""Where a packet may stand between two things that the kernel does with it."""

from __future__ import annotations

from dataclasses import dataclass

from netinspect.kernel.simulator.fib import Found, Way
from netinspect.kernel.simulator.stack import Stack
from netinspect.model.packet import Packet


@dataclass(frozen=True)
class State:
    """A packet in a namespace."""

    stack: Stack
    packet: Packet


@dataclass(frozen=True)
class Send(State):
    """Made here, and not yet routed; a source address of 0 is chosen. ``oif`` binds it to a device.

    ``foreign`` says that it may come from an address that is not one of this host; ``past`` is the tunnel's device
    that made it, by which it may not leave; ``complaint`` says that it is an error about what was for this host.
    ``kept`` says that its connection has kept the route that was found when it had no source address yet.
    """

    oif: str = ""
    foreign: bool = False
    past: str = ""
    complaint: bool = False
    kept: bool = False


@dataclass(frozen=True)
class Leave(State):
    """Routed and allowed to go: to POSTROUTING, then to its next hop."""

    found: Found
    way: Way
    iif: str = ""


@dataclass(frozen=True)
class Transmit(State):
    """A frame at a device that is to send it; ``nexthop`` is the gateway, by which some tunnels find their far end."""

    dev: str
    nexthop: int | None = None


@dataclass(frozen=True)
class Arrive(State):
    """A frame that a device has received.

    ``physin`` is the bridge port by which it came before, where PREROUTING was called there.
    """

    dev: str
    physin: str = ""


@dataclass(frozen=True)
class Switch(State):
    """A frame in a bridge; ``port`` is where it came in, empty where the host itself sends it."""

    bridge: str
    port: str = ""


@dataclass(frozen=True)
class Receive(State):
    """A packet at IP's door; ``physin`` is the bridge port by which it came, where PREROUTING was called there."""

    dev: str
    physin: str = ""


@dataclass(frozen=True)
class Route(State):
    """A packet past PREROUTING, to be routed."""

    dev: str
    physin: str = ""


@dataclass(frozen=True)
class Forward(State):
    """A packet for somebody else, with its route."""

    dev: str
    found: Found
    way: Way
    physin: str = ""


@dataclass(frozen=True)
class Deliver(State):
    """A packet for this host; ``anycast`` says that its route is that of an address which several hosts may have."""

    dev: str
    physin: str = ""
    anycast: bool = False
