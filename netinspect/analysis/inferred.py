"""The way of a flow where no node was looked into: in the words of the CNI that is at work, by the API alone."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.cni import HEADLINE_NEEDS
from netinspect.analysis.ends import Kind
from netinspect.analysis.expected import Expected
from netinspect.analysis.flow import Flow
from netinspect.cni.base import Description
from netinspect.model.cni import Subject

NEEDS = HEADLINE_NEEDS


def path(found: tuple[str, Description] | None, flow: Flow, expected: Expected) -> Iterator[str]:
    """Say how the CNI that was found (``cni.carrier``) means to carry the flow between its nodes."""
    if found is None or not flow.source.node:
        return
    title, said = found
    receivers = {b.node for b in expected.backends if b.node} or {flow.destination.node} - {""}
    if flow.destination.kind is Kind.SERVICE:
        yield from _said(title, said, Subject.SERVICES)
    away = sorted(receivers - {flow.source.node})
    if away:
        others = ", ".join(away[:3]) + (f" and {len(away) - 3} more" if len(away) > 3 else "")
        yield from _said(f"from {flow.source.node} to {others}, {title}", said, Subject.ENCAPSULATION)
    if flow.source.node in receivers:
        yield from _said(f"on {flow.source.node} itself, {title}", said, Subject.ATTACHMENT)
    if flow.goes_out:
        yield from _said(title, said, Subject.MASQUERADE)


def _said(head: str, said: Description, subject: Subject) -> Iterator[str]:
    facts = [fact.says for fact in said.facts if fact.subject is subject]
    if facts:
        yield f"{head}: {'; '.join(facts)}"
