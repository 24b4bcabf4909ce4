"""Make every diagnosis, put symptoms under their causes, and set aside what is accepted."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from netinspect.checks.base import Check, Irrelevant, Problem, Unseen
from netinspect.checks.view import View
from netinspect.cni.sight import Node
from netinspect.model.check import (
    ORDER,
    Blind,
    Category,
    CheckEntry,
    CheckReport,
    Diagnosis,
    NodeSketch,
    Result,
    Symptom,
    Vantage,
)
from netinspect.model.finding import Severity
from netinspect.model.resources import Resource
from netinspect.model.snapshot import Gap, Snapshot
from netinspect.model.topology import several

_INTO_NODES = "--access exec or pod looks into the nodes"
_FROM_OUTSIDE = "--access pod sees it from outside, with tools of its own"
_RANK = {category: place for place, category in enumerate(Category)}


@dataclass(frozen=True)
class Policy:
    """What is asked of a run: what fails it, and what is shown.

    ``namespace`` and ``node`` keep what is about them alone.
    """

    fail_on: Severity | None = Severity.ERROR
    strict: bool = False
    least: Severity = Severity.INFO
    namespace: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A problem with its check, and on which nodes it is felt."""

    check: Check
    problem: Problem
    severity: Severity
    nodes: frozenset[str]

    @property
    def order(self) -> tuple[int, int, str, str]:
        return ORDER[self.severity], _RANK[self.check.category], self.problem.place, self.problem.says


def run(snapshot: Snapshot, checks: Sequence[Check], policy: Policy) -> CheckReport:
    """Make the diagnoses; what is shown first explains most.

    What is asked for is shown with its causes, wherever they are.
    """
    view = View(snapshot)
    entries, found = [], []
    for one in checks:
        problems, entry = _make(one, view)
        entries.append(entry)
        found += [_found(one, p, view) for p in problems]
    groups = [g for g in _folded(found) if any(_is_asked(f, policy, view) for f in g)]
    findings = [_diagnosis(cause, symptoms) for cause, *symptoms in groups]
    shown = [f for f in findings if ORDER[f.severity] <= ORDER[policy.least]]
    hidden = len(findings) - len(shown)
    return CheckReport(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        fail_on=policy.fail_on,
        strict=policy.strict,
        findings=several(shown),
        checks=several(_counted(e, [f for g in groups for f in g if f.check.code == e.code]) for e in entries),
        cni=view.cni.headline,
        nodes=several(_sketch(n) for n in view.nodes.values()),
        notes=(f"{hidden} less than {policy.least.value} {'is' if hidden == 1 else 'are'} left out",) if hidden else (),
        gaps=snapshot.gaps,
    )


def _counted(entry: CheckEntry, mine: Sequence[_Found]) -> CheckEntry:
    """Give what came of a diagnosis for what was asked: elsewhere it may have found more."""
    result = entry.result
    if not mine and result is Result.FOUND:
        result = Result.UNSEEN if entry.unseen else Result.PASSED
    return structs.replace(entry, result=result, worst=_worst(mine) if mine else None, found=len(mine))


def needs_of(checks: Iterable[Check]) -> tuple[Resource, ...]:
    """List the kinds that checks read, each once: of two forms of one list the one that holds more."""
    found: dict[str, Resource] = {}
    for need in (r for one in checks for r in one.needs):
        if need.name not in found or issubclass(need.type, found[need.name].type):
            found[need.name] = need
    return tuple(found.values())


def _sketch(node: Node) -> NodeSketch:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.object.status.conditions)
    return NodeSketch(
        name=node.name, ready=ready, address=node.address(4) or node.address(6), read=node.kernel is not None,
        pod_cidr=node.pod_cidr(4) or node.pod_cidr(6), pods=len(node.pods),
    )  # fmt: skip


def _entry(one: Check, result: Result, unseen: tuple[Blind, ...] = ()) -> CheckEntry:
    return CheckEntry(
        code=one.code, title=one.title, category=one.category, vantage=one.vantage, result=result, unseen=unseen
    )


def _make(one: Check, view: View) -> tuple[list[Problem], CheckEntry]:
    """Make one diagnosis, as far as what it needs was read."""
    missing = [g for r in one.needs if (g := view.snapshot.gap(r.name)) is not None]
    unseen = [_blind(g) for g in missing]
    if any(view.snapshot.unseen(g.resource) for g in missing):
        return [], _entry(one, Result.UNSEEN, several(unseen))
    problems, irrelevant = [], False
    for seen in one.look(view):
        if isinstance(seen, Problem):
            problems.append(seen)
        elif isinstance(seen, Unseen):
            unseen.append(Blind(says=seen.says, settles=seen.settles))
        else:
            irrelevant = isinstance(seen, Irrelevant)
    if irrelevant and not problems and not missing:
        return [], _entry(one, Result.IRRELEVANT)
    if one.vantage is not Vantage.API:
        unseen += _unread(one, view)
    result = Result.FOUND if problems else Result.UNSEEN if unseen else Result.PASSED
    return problems, _entry(one, result, several(dict.fromkeys(unseen)))


def _blind(gap: Gap) -> Blind:
    says = f"{gap.resource.replace('_', ' ')}: {gap.message or gap.reason.value}"
    return Blind(says=says, settles=gap.hint or "grant list on it")


def _unread(one: Check, view: View) -> Iterator[Blind]:
    """Say which nodes and pods, and which parts of them, a diagnosis could not look at."""
    count = len(view.unread)
    if count and count == len(view.linux):
        yield Blind(says="no node was looked into", settles=_INTO_NODES)
        return
    if count:
        were = "was" if count == 1 else "were"
        yield Blind(says=f"{count} of {len(view.linux)} nodes {were} not looked into", settles=_INTO_NODES)
    kind = "pod" if one.vantage is Vantage.POD else "node"
    if kind == "pod" and view.unread_pods:
        yield _lacking("the namespace", [f"pod/{name}" for name in view.unread_pods])
    for section in sorted(one.reads):
        places = [p for p, gone in view.lacking.items() if section in gone and p.startswith(f"{kind}/")]
        if places:
            yield _lacking(section, places)


def _lacking(what: str, places: Sequence[str]) -> Blind:
    told = places[0] if len(places) == 1 else f"{len(places)} {places[0].partition('/')[0]}s ({places[0]} …)"
    return Blind(says=f"{what} of {told} could not be read", settles=_FROM_OUTSIDE)


def _found(one: Check, found: Problem, view: View) -> _Found:
    return _Found(one, found, found.severity or one.severity, frozenset(_nodes(found, view)))


def _nodes(found: Problem, view: View) -> Iterator[str]:
    """Name the nodes on which a problem is felt, as far as its place tells."""
    yield from found.nodes
    kind, _, name = found.place.partition("/")
    if kind == "node":
        yield name
    elif kind == "pod" and name in view.pods:
        yield view.pods[name].spec.node_name


def _is_asked(found: _Found, policy: Policy, view: View) -> bool:
    """Say whether a finding is about what was asked for."""
    if policy.namespace:
        kind, _, name = found.problem.place.partition("/")
        return name.partition("/")[0] == policy.namespace and kind not in ("node", "cluster")
    if policy.nodes:
        touched = found.nodes | {p.removeprefix("node/") for p in found.problem.peers}
        return not touched.isdisjoint(policy.nodes)
    return bool(view)


def _folded(found: Iterable[_Found]) -> Iterator[tuple[_Found, ...]]:
    """Give each cause with what follows from it; what explains most comes first."""
    ordered = sorted(found, key=lambda f: (_RANK[f.check.category], *f.order))
    above = _causes(ordered)
    symptoms: dict[int, list[_Found]] = defaultdict(list)
    for number, one in enumerate(ordered):
        if number in above:
            symptoms[_root(number, above)].append(one)
    # A cause is as bad as the worst that follows from it.
    causes = [
        (replace(one, severity=_worst((one, *symptoms.get(number, ())))), symptoms.get(number, []))
        for number, one in enumerate(ordered) if number not in above
    ]  # fmt: skip
    for cause, mine in sorted(causes, key=lambda c: (ORDER[c[0].severity], -len(c[1]), c[0].order)):
        yield cause, *mine


def _causes(ordered: Sequence[_Found]) -> dict[int, int]:
    """Give for each finding that goes away with another the number of that; of two that explain each other the first.

    None goes away with itself, however many are between.
    """
    above: dict[int, int] = {}
    for number, other in sorted(_near(ordered)):
        cause, one = ordered[number], ordered[other]
        if number == other or other in above or not _explains(cause, one):
            continue
        if (number < other or not _explains(one, cause)) and _root(number, above) != other:
            above[other] = number
    return above


def _near(ordered: Sequence[_Found]) -> Iterator[tuple[int, int]]:
    """Give the numbers of findings, each with those of which it may be a symptom, by where they are."""
    places: dict[str, list[int]] = defaultdict(list)
    nodes: dict[str, list[int]] = defaultdict(list)
    everywhere = []
    for number, one in enumerate(ordered):
        places[one.problem.place].append(number)
        for node in one.nodes:
            nodes[node].append(number)
        if one.problem.place == "cluster" and not one.nodes:
            everywhere.append(number)
    for other, one in enumerate(ordered):
        found = {*everywhere, *(n for p in (one.problem.place, *one.problem.about) for n in places.get(p, ()))}
        # A cause is felt on all nodes on which its symptom is, so on the first of them.
        found |= set(nodes[min(one.nodes)]) if one.nodes else set()
        yield from ((number, other) for number in found)


def _root(number: int, above: Mapping[int, int]) -> int:
    seen = {number}
    while number in above and above[number] not in seen:
        number = above[number]
        seen.add(number)
    return number


def _may_explain(one: Check, code: str) -> bool:
    return code.startswith(one.explains or ("-",)) or (one.category is Category.PATHS and code.startswith("NI22"))


def _worst(found: Iterable[_Found]) -> Severity:
    return min((f.severity for f in found), key=ORDER.__getitem__)


def _explains(cause: _Found, other: _Found) -> bool:
    """Say whether a finding goes away with another: one about its object, or felt on all the nodes on which it is.

    What stops packets in the same place for the same reason is one thing, whichever flows showed it.
    """
    one, two = cause.problem, other.problem
    if cause.check.category is other.check.category is Category.PATHS:
        return (one.place, one.key) == (two.place, two.key)
    if not _may_explain(cause.check, other.check.code):
        return False
    if one.place == two.place or one.place in two.about:
        return True
    if not one.place.startswith(("node/", "cluster")):
        return False
    everywhere = one.place == "cluster" and not cause.nodes
    return everywhere or (bool(other.nodes) and other.nodes <= cause.nodes)


def _diagnosis(found: _Found, symptoms: Sequence[_Found]) -> Diagnosis:
    one, problem = found.check, found.problem
    return Diagnosis(
        code=one.code, title=one.title, category=one.category, severity=found.severity, place=problem.place,
        says=problem.says, cause=problem.cause, remedy=problem.remedy, fingerprint=_fingerprint(found),
        peers=problem.peers, proof=problem.proof, way=problem.way,
        symptoms=several(
            Symptom(
                code=s.check.code, severity=s.severity, place=s.problem.place, says=s.problem.says,
                fingerprint=_fingerprint(s),
            )
            for s in symptoms
        ),
    )  # fmt: skip


def _fingerprint(found: _Found) -> str:
    """Give what tells a finding from others for good: its check, its place, and what it is about there."""
    said = "\n".join((found.check.code, found.problem.place, found.problem.key or found.problem.says))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
