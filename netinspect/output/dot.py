"""Graphviz: `netinspect map -o dot | dot -Tsvg > map.svg`. Dashed arrows lead to endpoints that are not ready."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netinspect.model.topology import Document, Topology
from netinspect.model.trace import ServiceTrace, Trace
from netinspect.output import trace
from netinspect.output.base import Style, safe
from netinspect.output.graph import graph

NAME = "dot"
RENDERS: frozenset[type[Document]] = frozenset({Topology, Trace, ServiceTrace})

_SHAPES = {"pod": "box", "svc": "ellipse"}


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the map, or the ways of a flow, in the DOT language (graphviz.org/doc/info/lang.html)."""
    if isinstance(document, (Trace, ServiceTrace)):
        drawn = trace.graph(document)
    elif isinstance(document, Topology):
        drawn = graph(document)
    else:
        return
    yield 'digraph cluster {\n  rankdir=LR;\n  node [fontname="sans-serif", fontsize=10];\n'
    if drawn.unseen:
        yield f"  label={_quoted(['not seen: ' + ', '.join(drawn.unseen)])};\n"
    members = drawn.members()
    for number, (group, lines) in enumerate(sorted(drawn.groups.items())):
        yield f"  subgraph cluster_{number} {{\n    label={_quoted(lines)};\n"
        for box in members[group]:
            yield f"    {_quoted([box.key])} [shape=box, label={_quoted(box.lines)}];\n"
        yield "  }\n"
    for box in members[""]:
        yield f"  {_quoted([box.key])} [shape={_SHAPES.get(box.kind, 'box')}, label={_quoted(box.lines)}];\n"
    for arrow in drawn.arrows:
        style = "" if arrow.sound else ", style=dashed"
        yield f"  {_quoted([arrow.source])} -> {_quoted([arrow.target])} [label={_quoted([arrow.label])}{style}];\n"
    yield "}\n"


def _quoted(lines: Iterable[str]) -> str:
    escaped = (safe(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
