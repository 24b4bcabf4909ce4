"""What a check is: a pure function of what was read, with what is to know about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netinspect.checks.view import View
from netinspect.model.check import Category, CheckPage, Vantage
from netinspect.model.finding import Finding, Severity
from netinspect.model.resources import Resource
from netinspect.model.trace import Proof


@dataclass(frozen=True)
class Problem:
    """Something that is wrong. Without a ``severity`` it is the check's.

    ``place`` is ``cluster`` or an object, as in ``node/N1`` and ``svc/shop/web``. ``nodes`` are those that it concerns
    where the place does not tell, ``about`` the objects, ``way`` the namespaces that a packet crosses. ``key`` tells it
    from others of the same check and place for good, where what it ``says`` changes with time.
    """

    place: str
    says: str
    cause: str
    remedy: str
    severity: Severity | None = None
    peers: tuple[str, ...] = ()
    proof: Proof | None = None
    nodes: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    way: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Unseen:
    """Something that could not be looked at, and what would settle it."""

    says: str
    settles: str


@dataclass(frozen=True)
class Irrelevant:
    """The cluster has nothing of what the check is about."""

    says: str


Seen = Problem | Unseen | Irrelevant
# What the tools of iptables show, of both families.
IPTABLES = ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")

Look = Callable[[View], Iterable[Seen]]


@dataclass(frozen=True)
class Check:
    """One diagnosis. ``title`` says what is so where nothing is wrong. Codes are never used for something else.

    ``reads`` are the sections of kernel state on which it rests, by the collector's names: of the nodes, or from the
    vantage of pods of theirs. Where one was not read it has not been made.
    ``explains`` are the codes, or their beginnings, of what goes away with it: findings about the same nodes are its
    symptoms.
    """

    code: str
    title: str
    category: Category
    severity: Severity
    look: Look
    needs: tuple[Resource, ...]
    vantage: Vantage
    reads: frozenset[str]
    remedy: str
    links: tuple[str, ...]
    explains: tuple[str, ...]

    @property
    def explanation(self) -> str:
        """Give what the function's docstring says."""
        return inspect.getdoc(self.look) or ""

    @property
    def page(self) -> CheckPage:
        """Give what is to know about it."""
        return CheckPage(
            code=self.code, title=self.title, category=self.category, severity=self.severity, vantage=self.vantage,
            needs=tuple(r.qualified for r in self.needs), explanation=self.explanation, remedy=self.remedy,
            links=self.links, explains=self.explains,
        )  # fmt: skip


def check(
    code: str,
    title: str,
    category: Category,
    severity: Severity,
    *,
    needs: tuple[Resource, ...],
    remedy: str,
    vantage: Vantage = Vantage.API,
    reads: tuple[str, ...] = (),
    links: tuple[str, ...] = (),
    explains: tuple[str, ...] = (),
) -> Callable[[Look], Check]:
    """Make a check of a function; its docstring is the explanation that users read."""

    def made(look: Look) -> Check:
        return Check(code, title, category, severity, look, needs, vantage, frozenset(reads), remedy, links, explains)

    return made


def problem(found: Finding) -> Problem:
    """Take over what another report found."""
    return Problem(
        place=found.place, says=found.says, cause=found.cause, remedy=found.remedy, severity=found.severity,
        peers=found.peers, proof=found.proof,
    )  # fmt: skip


def issue(thread: str) -> str:
    """Give the address of an issue or pull request on GitHub, written ``owner/name#number``."""
    repository, _, number = thread.partition("#")
    return f"https://github.com/{repository}/issues/{number}"
