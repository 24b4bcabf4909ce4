"""Mermaid, as GitHub and many wikis draw it. Dashed arrows lead to endpoints that are not ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netinspect.model.topology import Document, Topology
from netinspect.model.trace import ServiceTrace, Trace
from netinspect.output import trace
from netinspect.output.base import Style, safe
from netinspect.output.graph import graph

NAME = "mermaid"
RENDERS: frozenset[type[Document]] = frozenset({Topology, Trace, ServiceTrace})


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the map, or the ways of a flow, as a Mermaid flowchart (mermaid.js.org/syntax/flowchart.html)."""
    if isinstance(document, (Trace, ServiceTrace)):
        drawn = trace.graph(document)
    elif isinstance(document, Topology):
        drawn = graph(document)
    else:
        return
    keys = {box.key: f"b{number}" for number, box in enumerate(drawn.boxes)}
    yield "flowchart LR\n"
    if drawn.unseen:
        yield f"  unseen>{_quoted(['not seen: ' + ', '.join(drawn.unseen)])}]\n"
    members = drawn.members()
    for number, (group, lines) in enumerate(sorted(drawn.groups.items())):
        yield f"  subgraph g{number}[{_quoted(lines)}]\n"
        for box in members[group]:
            yield f"    {keys[box.key]}[{_quoted(box.lines)}]\n"
        yield "  end\n"
    for box in members[""]:
        shape = "([{}])" if box.kind == "svc" else "[{}]"
        yield f"  {keys[box.key]}{shape.format(_quoted(box.lines))}\n"
    for arrow in drawn.arrows:
        line = "-->" if arrow.sound else "-.->"
        label = f"|{_quoted([arrow.label])}|" if arrow.label else ""
        yield f"  {keys[arrow.source]} {line}{label} {keys[arrow.target]}\n"


def _quoted(lines: Iterable[str]) -> str:
    # Mermaid knows no escape but entity codes, written with # instead of &.
    escaped = (
        safe(line).replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
        for line in lines
    )
    return '"' + "<br/>".join(escaped) + '"'
