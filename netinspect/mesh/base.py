"""What a mesh driver is: a module that satisfies ``Driver``, listed in this package's ``__init__``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Protocol

from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Effect, Feature, Part, Placement, Reach, Transport

# How much a clue weighs: what runs, what was noted by who put it there, what anybody may have written.
RUNS, NOTED, WRITTEN = 8, 4, 1


@dataclass(frozen=True)
class Product:
    """What a mesh is sold or installed as, known by any of these.

    Beginnings of ``images`` and of the names of webhooks' ``configurations``; names of ``namespaces`` and ``groups``.
    """

    title: str
    images: tuple[str, ...] = ()
    namespaces: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    configurations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """By what a mesh is known.

    Of a pod: its proxy's ``containers`` (names, or beginnings that end in a hyphen), beginnings of ``keys`` of labels
    and annotations and of the names of ``variables``; names of ``images``. Of a pod's namespace: beginnings of
    ``chains`` of iptables and of ``tables`` of nftables, and the ports at which its proxy takes what comes ``inbound``
    and goes ``outbound``.
    Of the cluster: the keys of a namespace's labels and annotations that say who ``asks`` for it, the names of its
    ``webhooks`` that inject, ``groups`` of custom resources, and a label and its value that pods of the control plane
    bear (``control``), whose container that tells the version may be named; the ``products`` that it comes as, the
    surest first, and the beginnings of the ``upstream`` images; the label of the ``agent`` that captures on each node;
    pairs of labels of which the first makes the second count for nothing (``exclusive``); whether proxies and control
    plane bear ``alike`` versions.
    """

    containers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    images: frozenset[str] = frozenset()
    chains: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    inbound: int = 0
    outbound: int = 0
    asks: tuple[str, ...] = ()
    webhooks: re.Pattern[str] | None = None
    groups: frozenset[str] = frozenset()
    control: tuple[tuple[str, str, str], ...] = ()
    products: tuple[Product, ...] = ()
    upstream: tuple[str, ...] = ()
    agent: tuple[str, str] = ("", "")
    exclusive: tuple[tuple[str, str], ...] = ()
    alike: bool = True


@dataclass(frozen=True)
class Presence:
    """What of a mesh is in a pod's spec.

    ``waits`` says what was noted that it still waits for.

    ``outbound`` is the port that takes what goes out, where that is another than the mesh's own.
    """

    part: Part
    clues: tuple[Clue, ...]
    placement: Placement | None = None
    capture: Capture = Capture.NONE
    proxy: str = ""
    uid: int | None = None
    version: str = ""
    revision: str = ""
    waits: str = ""
    outbound: int = 0


@dataclass(frozen=True)
class Wish:
    """What labels and annotations say of whether a pod should be in a mesh.

    ``own`` says that it is the pod itself that says so. ``key`` is the label or annotation, of the namespace where it
    is not the pod's own: when that was set tells which pods are older. ``unanswered`` is the cause, and its remedy,
    where no webhook selects what asks. ``by_default`` says that nothing asks but what holds for all that a webhook
    selects. ``beside`` says that what it says refuses no mesh.
    """

    wanted: bool
    says: str
    part: Part = Part.SIDECAR
    own: bool = False
    key: str = ""
    unanswered: tuple[str, str] | None = None
    by_default: bool = False
    beside: bool = False


@dataclass(frozen=True)
class Side:
    """One end of a call: the pod, and what of the mesh that is asked is in it.

    ``taken`` says whether the call was seen to go through its proxy, None where only its spec tells.
    """

    pod: Pod
    presence: Presence | None
    address: str = ""
    taken: bool | None = None

    @property
    def version(self) -> str:
        """Give the version of its proxy; nothing where it has none, or nothing tells it."""
        return self.presence.version if self.presence is not None else ""


@dataclass(frozen=True)
class Call:
    """A request from a pod to a port of another's container, by a Service or straight to its address.

    ``http`` says whether it is HTTP, None where that is not known; ``backends`` are the labels of the Service's pods.
    """

    client: Side
    server: Side
    port: int
    service: wire.Service | None = None
    service_port: int = 0
    address: str = ""
    http: bool | None = None
    method: str | None = None
    path: str | None = None
    backends: tuple[wire.Labels, ...] = ()

    @property
    def declared(self) -> wire.ServicePort | None:
        """Give the Service's port that is asked for."""
        ports = self.service.spec.ports if self.service is not None else ()
        return next((p for p in ports if p.port == self.service_port), None)


@dataclass(frozen=True)
class Said:
    """What a mesh makes of a call, and what that rests on; ``caveat`` is what holds of some requests besides.

    ``effects`` are what else it does to it.
    """

    transport: Transport
    outcome: Reach
    says: str
    reasons: tuple[Clue, ...] = ()
    identity: str = ""
    proxied: bool = False
    settled_by: str = ""
    caveat: str = ""
    effects: tuple[Effect, ...] = ()


class Doubt(Exception):
    """Why nobody can tell what a mesh makes of a call."""


# Says what a mesh makes of a call of which at least one end is in it.
Teller = Callable[[Call, Sight], Said]


def doubting(settled_by: str) -> Callable[[Teller], Teller]:
    """Have a teller say that it is unknown where it raises ``Doubt``, and what would settle that."""

    def with_doubts(teller: Teller) -> Teller:
        @wraps(teller)
        def said(call: Call, sight: Sight) -> Said:
            try:
                return teller(call, sight)
            except Doubt as doubt:
                return Said(Transport.UNKNOWN, Reach.UNKNOWN, str(doubt), settled_by=settled_by)

        return said

    return with_doubts


@dataclass(frozen=True)
class Onward:
    """The connection by which a proxy goes on: to whom, and from which address where its kernel does not choose it.

    ``kept`` says that it goes where the application meant it to. ``doubt`` says why nobody can tell all that.
    """

    address: str = ""
    port: int = 0
    source: str = ""
    kept: bool = False
    doubt: str = ""


class Relay(Protocol):
    """A module beside a driver: by which connections a mesh's sidecars go on with what they take.

    ``USERS`` are those who open connections for the mesh, beside the user of a pod's proxy; no application is one of
    them. ``BY_ADDRESS`` says that the address of a Service chooses among its pods, whatever port of it is asked for.
    """

    USERS: frozenset[int]
    BY_ADDRESS: bool

    def outward(self, call: Call, said: Said, sight: Sight, /) -> Onward:
        """Say how the client's proxy calls a server's pod, or who stands before it."""

    def inward(self, call: Call, sight: Sight, /) -> Onward:
        """Say how the server's proxy calls its application with what it has let in."""


class OnNodes(Protocol):
    """A module beside a driver: what a mesh does on nodes, whether or not a pod is in it."""

    def features(self, sight: Sight, /) -> Iterator[Feature]:
        """Give what of it is on."""

    def takes(self, service: wire.Service, sight: Sight, /) -> str:
        """Say why nobody can tell what requests to a Service meet; nothing where it leaves them alone."""

    def hides(self, sight: Sight, /) -> str:
        """Say why other meshes' proxies do not see Services' addresses; nothing where they do."""

    def caveat(self, sight: Sight, /) -> str:
        """Say what it does to some calls between pods that are in no mesh; nothing where it does not."""


class Driver(Protocol):
    """A module in this package. Its docstring is the first paragraph of its page.

    ``SOURCES`` are the upstream files that it rests on. ``SELECTS`` says that its webhooks' selectors decide who is
    injected; otherwise they let nearly every pod through, and what the pod and its namespace ask for decides.
    """

    __doc__: str | None
    NAME: str
    TITLE: str
    SIGNATURE: Signature
    SELECTS: bool
    SOURCES: tuple[str, ...]

    def find(self, pod: Pod, sight: Sight, /) -> Presence | None:
        """Find the mesh's data plane in a pod's spec; None where it is not there."""

    def wish(self, pod: Pod, sight: Sight, /) -> Wish | None:
        """Say what was asked for; None where nothing was, one way or the other."""


def is_named(container: str, names: tuple[str, ...]) -> bool:
    """Say whether a container has one of a mesh's names; those that end in a hyphen are beginnings."""
    return container in names or container.startswith(tuple(n for n in names if n.endswith("-")))


def true(text: str | None) -> bool | None:
    """Read a flag as Go's strconv.ParseBool does, and YAML's words for it; None where it is neither."""
    word = (text or "").strip().lower()
    if word in ("true", "1", "t", "yes", "y", "on"):
        return True
    return False if word in ("false", "0", "f", "no", "n", "off") else None


def number(text: str) -> int | None:
    """Read a port or a user's number; None where it is none, whatever a tenant wrote."""
    return int(text) if len(text) <= 10 and text.isascii() and text.isdecimal() else None


def in_ports(ports: str, port: int) -> bool:
    """Say whether a port is among those of a list such as ``80,443,8000-8010``."""
    for part in ports.split(","):
        first, _, last = part.strip().partition("-")
        low, high = number(first), number(last)
        if low is not None and low <= port <= (low if high is None else high):
            return True
    return False


def offered(sight: Sight, pod: Pod, port: int) -> bool:
    """Say whether a Service leads to a TCP port of a pod: of such ports alone some meshes know."""
    named = {p.name for c in pod.containers.values() for p in c.ports if p.container_port == port}
    ports = [
        p for s in sight.snapshot.services if s.selects(pod.object.metadata)
        for p in s.spec.ports if p.protocol == "TCP"
    ]  # fmt: skip
    return any(p.target_port in {port, *named} or (not p.target_port and p.port == port) for p in ports)


# Why nobody can tell what becomes of such a call.
ITSELF = "what a pod asks at its own address no proxy takes, if it listens there"


def of_itself(call: Call) -> bool:
    """Say whether a pod asks for its own address, which rules of redirection leave alone."""
    own = call.client.pod.object.metadata.uid
    return call.service is None and bool(own) and own == call.server.pod.object.metadata.uid


def left_out(failures: str, after: str, most: int) -> str:
    """Say which servers Envoy leaves out (api/envoy/config/cluster/v3/outlier_detection.proto)."""
    return f"a server that fails {failures} is left out for {after} and more, at most {most} % of them"


def limited(connections: int | None, waiting: int | None, at_once: int | None, *, http: bool) -> str:
    """Say beyond how much Envoy takes no more: connections, and of requests those that wait and that are under way.

    Without a connection for it a request waits, and a connection that carries no requests is closed
    (api/envoy/config/cluster/v3/circuit_breaker.proto).
    """
    told = []
    if connections is not None:
        told.append(f"beyond {connections} connections {'requests wait' if http else 'more are closed'}")
    counts = [f"{n} {what}" for n, what in ((waiting, "that wait"), (at_once, "at a time")) if n is not None]
    if counts and http:
        told.append(f"requests beyond {', '.join(counts)} are answered 503")
    return "; ".join(told)


def split_of(call: Call, splits: Iterable[wire.TrafficSplit]) -> wire.TrafficSplit | None:
    """Give the split of the Service Mesh Interface that leads a Service's requests elsewhere: the first of several."""
    if call.service is None:
        return None
    meta = call.service.metadata
    return next(
        (s for s in splits
         if (s.metadata.namespace, s.spec.service.partition(".")[0]) == (meta.namespace, meta.name)), None,
    )  # fmt: skip
