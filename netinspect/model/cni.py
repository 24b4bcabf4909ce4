"""What ``netinspect cni`` says: which CNIs a cluster has, what they do, and where it is not as they would have it."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from netinspect.model.finding import Clue, Finding, Severity
from netinspect.model.snapshot import Gap
from netinspect.model.topology import Document
from netinspect.model.trace import Outcome


class Role(str, Enum):
    """One of the parts that a CNI may play; several share them where they are combined."""

    DATAPATH = "datapath"  # carries packets between pods
    IPAM = "ipam"  # hands out the pods' addresses
    POLICY = "policy"  # enforces network policies
    SERVICES = "services"  # turns a Service's address into an endpoint's
    META = "meta"  # calls other CNIs


class Standing(str, Enum):
    """Whether a CNI that was recognised is at work."""

    ACTIVE = "active"  # its agent runs, or the nodes use its plug-in
    PROBABLE = "probable"  # it left its marks, nothing else is there, and its agent was not seen
    LEFTOVER = "leftover"  # marks of one that is at work no more


class Subject(str, Enum):
    """What a statement is about."""

    ENCAPSULATION = "encapsulation"
    ADDRESSES = "addresses"
    ATTACHMENT = "attachment"
    ROUTING = "routing"
    SERVICES = "services"
    POLICIES = "policies"
    MASQUERADE = "masquerade"
    MTU = "mtu"
    SECONDARY = "secondary networks"
    HEALTH = "health"


class Fact(Document, frozen=True, kw_only=True):
    """A statement about how the cluster's network works, and what it rests on."""

    subject: Subject
    says: str
    source: str


class Port(Document, frozen=True, kw_only=True):
    """A port, or an IP protocol where ``number`` is 0, that must be open between the nodes."""

    protocol: str
    number: int
    purpose: str


class Recognised(Document, frozen=True, kw_only=True):
    """A CNI that left marks: how it is set up, by what it is known, and how its agents are.

    ``mode`` is empty where it is not known. ``agent`` is the DaemonSet, ``desired`` on how many nodes it should run.
    """

    name: str
    title: str
    standing: Standing
    roles: tuple[Role, ...] = ()
    mode: str = ""
    mode_source: str = ""
    version: str = ""
    agent: str = ""
    ready: int = 0
    desired: int = 0
    clues: tuple[Clue, ...] = ()
    facts: tuple[Fact, ...] = ()
    ports: tuple[Port, ...] = ()


class CniReport(Document, frozen=True, tag_field="kind", tag="CNI", kw_only=True):
    """The CNIs of a cluster. ``headline`` is one sentence; the roles name who plays them, empty where nobody does.

    ``compared`` counts the expectations that were compared with what there is, ``broken`` those of them that do not
    hold, ``unseen`` those that could not be compared.
    """

    api_version: Literal["netinspect.io/v1"] = "netinspect.io/v1"
    taken_at: str
    server_version: str
    headline: str
    datapath: str = ""
    ipam: str = ""
    policy: str = ""
    services: str = ""
    meta: str = ""
    cnis: tuple[Recognised, ...] = ()
    facts: tuple[Fact, ...] = ()
    findings: tuple[Finding, ...] = ()
    compared: int = 0
    broken: int = 0
    unseen: int = 0
    gaps: tuple[Gap, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Say whether a CNI is known and all is as it would have it; what is only told (info) is no fault."""
        if any(f.severity is not Severity.INFO for f in self.findings):
            return Outcome.FAULTY
        return Outcome.SOUND if self.datapath else Outcome.UNSETTLED
