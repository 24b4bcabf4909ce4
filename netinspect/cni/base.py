"""What a CNI driver is: a module that satisfies ``Driver``, listed in this package's ``__init__``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from netinspect.cni.expectation import Expectation
from netinspect.cni.sight import Agent, Sight
from netinspect.model.cni import Fact, Port, Role
from netinspect.model.evidence import NamespaceEvidence
from netinspect.model.programs import Programs


@dataclass(frozen=True)
class Signature:
    """By what a CNI is known.

    Of its agent, which is a DaemonSet on the host network: ``images`` (see ``model.image``), ``programs``, the
    beginnings of the names of its ``variables``; what anybody may choose, so that it counts little: names of
    ``containers`` and ``objects``, values of ``labels``, beginnings of the folders of the node that it ``mounts``.
    Images of further DaemonSets that do a part of its work are its ``helpers``; alone they are no mark of it.
    Of the API: names of ConfigMaps (``settings``), groups of custom resources, beginnings of the nodes' ``annotations``
    and ``node_labels``, the ``taints`` that it sets. Of a node: ``plugins`` of the CNI configuration, the names of its
    ``files`` where the plug-ins are anybody's, ``interfaces``, and beginnings of ``chains`` (``table/chain`` of
    iptables, ``nft:table`` of nftables).
    """

    images: frozenset[str] = frozenset()
    helpers: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    variables: tuple[str, ...] = ()
    containers: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    mounts: tuple[str, ...] = ()
    settings: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    annotations: tuple[str, ...] = ()
    node_labels: tuple[str, ...] = ()
    taints: tuple[str, ...] = ()
    plugins: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    interfaces: re.Pattern[str] | None = None
    chains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """How a CNI is set up in a cluster. ``mode`` is empty where nothing tells it.

    ``tunnels`` are the interfaces that carry packets between nodes; ``overhead`` is by how many bytes what it carries
    grows on the wire, None where that is not known.
    """

    roles: frozenset[Role]
    mode: str = ""
    source: str = ""
    overhead: int | None = None
    tunnels: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    ports: tuple[Port, ...] = ()


# Gives what programs of eBPF do on a node, by what was read of it and its devices' names; None where it has none.
Loader = Callable[[NamespaceEvidence, Collection[str]], Programs | None]


class Driver(Protocol):
    """A module in this package. Its docstring is the first paragraph of its page.

    ``SOURCES`` are the upstream files that it rests on. ``PARTS`` names other drivers that it is made of, whose marks
    are its own where it is at work.
    """

    __doc__: str | None
    NAME: str
    TITLE: str
    SIGNATURE: Signature
    SOURCES: tuple[str, ...]
    PARTS: frozenset[str]

    def describe(self, sight: Sight, agent: Agent | None, /) -> Description:
        """Say how it is set up; ``agent`` is its DaemonSet where it has one."""

    def expect(self, sight: Sight, agent: Agent | None, /) -> Iterable[Expectation]:
        """List what should be there, for every node and every pair of nodes."""
