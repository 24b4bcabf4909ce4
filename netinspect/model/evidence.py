"""What was read in the nodes, as it was read: sections of tools' own output, for each network namespace."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct


class Access(str, Enum):
    """How a node was looked into."""

    NONE = "none"
    LOCAL = "local"
    EXEC = "exec"
    POD = "pod"


class Section(Struct, frozen=True, gc=False):
    """What one tool printed. ``text`` is empty where the tool is absent.

    ``exit_code`` is None where the tool was still printing when the reading ended. ``bound`` is how many bytes were
    read at most; 0 means all. ``line`` is where the text begins in the whole of what was read, from 1.
    """

    name: str
    text: str = ""
    absent: bool = False
    exit_code: int | None = None
    stderr: str = ""
    bound: int = 0
    line: int = 0

    @property
    def cut(self) -> bool:
        """Say whether something is missing at the end."""
        return self.exit_code is None or bool(self.bound and len(self.text.encode(errors="replace")) >= self.bound)

    @property
    def answered(self) -> bool:
        """Say whether the tool was there and did its work."""
        return not self.absent and self.exit_code == 0


class PodReference(Struct, frozen=True, gc=False, order=True):
    """A pod, by what the node knows of it; the name is empty where only its UID is known."""

    uid: str
    namespace: str = ""
    name: str = ""


class Reading(Struct, frozen=True):
    """One stream of the collector as it was read.

    ``pod`` is the pod from within which it was read, where it shows that pod's namespace alone; else it shows the
    node. ``broken`` says what ended it early.
    """

    node: str
    access: Access
    through: str
    raw: bytes
    pod: PodReference | None = None
    broken: str = ""


class NamespaceEvidence(Struct, frozen=True):
    """A network namespace: the node's own (``host``) or another, by its inode number in nsfs.

    ``names`` are those in /run/netns. ``containers`` are the IDs of the containers whose processes are in it.
    ``through`` says by what it was read.
    """

    id: str
    sections: Mapping[str, Section]
    names: tuple[str, ...] = ()
    pods: tuple[PodReference, ...] = ()
    containers: tuple[str, ...] = ()
    through: str = ""

    @property
    def is_host(self) -> bool:
        """Say whether it is the node's own."""
        return self.id == "host"


class NodeEvidence(Struct, frozen=True):
    """What was read of one node. ``through`` says by what: ``pod/kube-system/kube-proxy-abc``, or this machine.

    ``complete`` is false where the reading ended before its end. ``sees_pods`` is false where it was done from a place
    from which the processes of pods cannot be seen.
    """

    node: str
    access: Access
    through: str
    namespaces: tuple[NamespaceEvidence, ...] = ()
    complete: bool = True
    sees_pods: bool = True

    @property
    def host(self) -> NamespaceEvidence | None:
        """Give the node's own namespace."""
        return next((n for n in self.namespaces if n.is_host), None)
