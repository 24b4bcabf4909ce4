"""The CNI report as text: what is there first, then what is wrong, then how it works."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.model.cni import CniReport, Recognised, Role, Standing
from netinspect.output import findings
from netinspect.output.base import Style, safe
from netinspect.output.columns import columns, section

_PARTS = {
    Role.DATAPATH: "packets between pods", Role.IPAM: "addresses of pods", Role.POLICY: "network policies",
    Role.SERVICES: "Services",
}  # fmt: skip


def report(document: CniReport, style: Style, *, wide: bool) -> Iterator[str]:
    """Give the report; ``wide`` adds by what each CNI is known and what each statement rests on."""
    yield f"{safe(document.headline)}\n"
    players = {
        Role.DATAPATH: document.datapath, Role.IPAM: document.ipam, Role.POLICY: document.policy,
        Role.SERVICES: document.services,
    }  # fmt: skip
    yield "\n"
    yield from columns(("PART", "BY"), [(_PARTS[r], players[r] or "nobody seen") for r in _PARTS], style)
    yield from _findings(document, style)
    if document.cnis:
        yield "\n"
        yield section("RECOGNISED", style)
        yield from columns(
            ("CNI", "STANDING", "MODE", "VERSION", "AGENT", "READY", "KNOWN BY"),
            [_row(one, wide=wide) for one in document.cnis],
            style,
        )
    told = (*(f for one in document.cnis for f in one.facts), *document.facts)
    facts = [(f.subject.value, f.says, f.source) for f in told]
    if facts:
        yield "\n"
        yield section("HOW IT WORKS", style)
        yield from columns(("ABOUT", "SAYS", "KNOWN FROM"), facts if wide else [(a, s, "") for a, s, _ in facts], style)
    ports = [(f"{p.protocol} {p.number or ''}".rstrip(), p.purpose, c.title) for c in document.cnis for p in c.ports]
    if ports:
        yield "\n"
        yield section("MUST BE OPEN BETWEEN NODES", style)
        yield from columns(("PORT", "FOR", "OF"), ports, style)
    if wide:
        yield "\n"
        yield section("CLUES", style)
        clues = [(c.title, str(k.weight), k.source, k.says) for c in document.cnis for k in c.clues]
        yield from columns(("CNI", "WEIGHT", "WHERE", "WHAT"), clues, style)


def _row(one: Recognised, *, wide: bool) -> tuple[str, ...]:
    clue = one.clues[0] if one.clues else None
    known = f"{clue.source} {clue.says}" if clue and not wide else ""
    ready = f"{one.ready} of {one.desired}" if one.agent else ""
    standing = one.standing.value if one.standing is not Standing.ACTIVE else "at work"
    return (one.title, standing, one.mode, one.version, one.agent, ready, known)


def _findings(document: CniReport, style: Style) -> Iterator[str]:
    if document.findings or document.compared or document.unseen:
        yield "\n"
    yield from findings.lines(document.findings, style)
    if document.compared:
        mark = "√" if not document.broken else "i"
        held = document.compared - document.broken
        yield f"{mark} {held} of {document.compared} expectations that were compared with the nodes hold\n"
    if document.unseen:
        rest = "were" if document.unseen != 1 else "was"
        yield f"? {document.unseen} expectations {rest} not compared: --access exec or pod looks into the nodes\n"
