"""What should be there, as data: a driver states it, and the analysis compares it with what the kernels hold."""

from __future__ import annotations

from dataclasses import dataclass

from netinspect.model.finding import Severity


@dataclass(frozen=True)
class LinkExpected:
    """An interface. What is empty, 0 or None may be anything; ``mtu`` is the most that it may have.

    ``address`` is one that it has; ``vni``, ``port`` and ``local`` are those of a VXLAN.
    """

    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    address: str = ""
    vni: int | None = None
    port: int = 0
    local: str = ""


@dataclass(frozen=True)
class RouteExpected:
    """A route of the main table, by its destination; ``via`` and ``dev`` may be empty, which is any."""

    dst: str
    via: str = ""
    dev: str = ""


@dataclass(frozen=True)
class NeighbourExpected:
    """An entry of the neighbour table that leads to a MAC."""

    dst: str
    dev: str
    mac: str


@dataclass(frozen=True)
class FdbExpected:
    """An entry of a tunnel's forwarding database: the far end that a MAC is behind."""

    mac: str
    dev: str
    dst: str


@dataclass(frozen=True)
class SysctlExpected:
    """A setting under /proc/sys/net that has one of these values."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ChainExpected:
    """A chain of iptables, ``table/chain``, that exists."""

    chain: str


@dataclass(frozen=True)
class FirstExpected:
    """A jump in a chain that, where it is there, stands before any of the jumps that would decide without it."""

    chain: str
    first: str
    before: tuple[str, ...]


@dataclass(frozen=True)
class JumpExpected:
    """A jump from a chain of iptables to another."""

    chain: str
    to: str


@dataclass(frozen=True)
class CommentExpected:
    """A rule that carries a comment, in any chain of iptables."""

    comment: str


@dataclass(frozen=True)
class PluginExpected:
    """The first file of the CNI configuration folder calls this plug-in."""

    type: str


@dataclass(frozen=True)
class Contradiction:
    """What is wrong whatever the kernel holds: objects that contradict each other."""

    says: str


Wanted = (
    LinkExpected
    | RouteExpected
    | NeighbourExpected
    | FdbExpected
    | SysctlExpected
    | ChainExpected
    | FirstExpected
    | JumpExpected
    | CommentExpected
    | PluginExpected
    | Contradiction
)


@dataclass(frozen=True)
class Expectation:
    """Something that should be so on a node, and what it means where it is not.

    ``kind`` names what is wrong then. ``peer`` is the node that cannot be reached without it. ``about`` is whose
    mistake it is, where that is another place than the node.
    """

    node: str
    kind: str
    wanted: Wanted
    cause: str
    remedy: str
    peer: str = ""
    about: str = ""
    severity: Severity = Severity.ERROR
