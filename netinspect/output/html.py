"""One page of HTML that needs nothing else: to keep with a build, to send, to read on a phone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from itertools import groupby

from netinspect.model.check import ORDER, CheckReport, Diagnosis, NodeSketch, Result
from netinspect.model.finding import Severity
from netinspect.model.topology import Document
from netinspect.output.base import Style, safe
from netinspect.output.check import mark, status
from netinspect.output.findings import MARKS

NAME = "html"
RENDERS: frozenset[type[Document]] = frozenset({CheckReport})

# So many nodes can be told apart in a picture; those of which something was found come first.
_DRAWN = 60
_STYLE = """
:root{color-scheme:light dark;--bad:#c62828;--warn:#b26a00;--info:#1565c0;--good:#2e7d32;--line:#8886}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:60rem;overflow-wrap:anywhere}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
article{border:1px solid var(--line);border-left:.4rem solid var(--info);border-radius:.3rem}
article{padding:.6rem .8rem;margin:.7rem 0}
article.error{border-left-color:var(--bad)}article.warning{border-left-color:var(--warn)}
article.accepted{opacity:.6;border-left-color:var(--line)}
article h3{margin:0;font-size:1rem}dl{margin:.4rem 0 0}dt{font-size:.8rem;opacity:.7}dd{margin:0 0 .4rem}
code{font-size:.9em}ul{padding-left:1.2rem}svg{max-width:100%;height:auto;display:block}
svg rect{fill:none;stroke:currentColor}svg text{fill:currentColor;font:13px system-ui,sans-serif}
svg .error{stroke:var(--bad);stroke-width:3}svg .warning{stroke:var(--warn);stroke-width:3}
svg .end{stroke:var(--bad);stroke-width:3}svg line{stroke:currentColor}
.status{font-weight:600}.node{display:inline-block;width:15rem;max-width:100%}
""".strip()


def render(document: Document, _style: Style) -> Iterator[str]:
    """Give the page: the status, the map of the nodes, the findings with the ways of their packets, and the checks."""
    assert isinstance(document, CheckReport)  # noqa: S101 - RENDERS says so
    yield "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
    yield "<meta name=viewport content='width=device-width,initial-scale=1'>\n"
    # The page loads nothing and runs nothing, whatever names it shows.
    yield "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    yield f"<title>netinspect check</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
    yield f"<h1>netinspect check</h1>\n<p class=status id=status>{_text(status(document))}</p>\n"
    yield f"<p>{_text(document.taken_at)} {_text(document.server_version)}</p>\n"
    yield from _map(document)
    if document.findings:
        yield "<h2>Found, causes first</h2>\n"
    for found in document.findings:
        yield from _finding(found)
    for note in document.notes:
        yield f"<p>{_text(note)}</p>\n"
    yield "<h2>Checks</h2>\n"
    for category, group in groupby(document.checks, key=lambda c: c.category):
        entries = list(group)
        counts = ", ".join(f"{sign} {n}" for sign, n in Counter(map(mark, entries)).items())
        yield f"<details><summary>{_text(category.value)} ({counts})</summary><ul>\n"
        for entry in entries:
            seen = "; ".join(f"{b.says}: {b.settles}" for b in entry.unseen)
            passed = "does not apply" if entry.result is Result.IRRELEVANT else seen
            why = f" ({_text(passed)})" if passed else ""
            yield f"<li>{mark(entry)} <code>{entry.code}</code> {_text(entry.title)}{why}\n"
        yield "</ul></details>\n"
    yield "</body>\n</html>\n"


def _text(text: str) -> str:
    return escape(safe(text))


def _map(document: CheckReport) -> Iterator[str]:
    """Draw the nodes; the frame of each has the colour of the worst that was found about it."""
    if not document.nodes:
        return
    worst: dict[str, Severity] = {}
    for found in document.findings:
        for place in (found.place, *found.peers, *found.way):
            kind, _, name = place.partition("/")
            if (
                kind == "node"
                and not found.accepted
                and ORDER[found.severity] < ORDER.get(worst.get(name, Severity.INFO), 2)
            ):
                worst[name] = found.severity
    ordered = sorted(document.nodes, key=lambda n: (ORDER[worst.get(n.name, Severity.INFO)], n.name))
    yield f"<h2>Map</h2>\n<p>{_text(document.cni)}</p>\n<div id=map>\n"
    for node in ordered[:_DRAWN]:
        yield _node(node, worst.get(node.name))
    yield "</div>\n"
    if len(ordered) > _DRAWN:
        yield f"<p>and {len(ordered) - _DRAWN} nodes more</p>\n"


def _node(node: NodeSketch, worst: Severity | None) -> str:
    lines = (
        node.name, node.address, f"pods {node.pod_cidr}" if node.pod_cidr else "",
        f"{node.pods} pods{'' if node.ready else ', not ready'}{', looked into' if node.read else ''}",
    )  # fmt: skip
    texts = "".join(f"<text x=10 y={20 + 18 * i}>{_text(_short(line))}</text>" for i, line in enumerate(lines))
    said = worst.value if worst else "nothing found" if node.read else "not looked into"
    label = _text(f"{node.name}: {said}")
    return (
        f"<svg class=node viewBox='0 0 240 90' role=img aria-label='{label}'><rect x=2 y=2 width=236 height=86 rx=6 "
        f"class='{worst.value if worst else ''}'/>{texts}</svg>\n"
    )


def _short(text: str, most: int = 32) -> str:
    """Shorten a name so that it fits into its box; the text beside the picture has it whole."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def _finding(found: Diagnosis) -> Iterator[str]:
    accepted = " accepted" if found.accepted else ""
    yield f"<article class='{found.severity.value}{accepted}' id='f-{found.fingerprint}'>\n"
    yield f"<h3>{MARKS[found.severity]} <code>{found.code}</code> {_text(found.place)}: {_text(found.says)}</h3>\n"
    if len(found.way) > 1:
        yield _way(found.way)
    proof = f"{found.proof.section} {found.proof.text}" if found.proof is not None else ""
    rows = (
        ("cause", found.cause), ("proof", proof), ("remedy", found.remedy), ("towards", ", ".join(found.peers)),
        ("accepted", found.accepted),
    )  # fmt: skip
    told = "".join(f"<dt>{name}<dd>{_text(text)}" for name, text in rows if text)
    yield f"<dl>{told}</dl>\n"
    if found.symptoms:
        yield f"<details><summary>{len(found.symptoms)} follow from it</summary><ul>\n"
        yield from (f"<li><code>{s.code}</code> {_text(s.place)}: {_text(s.says)}\n" for s in found.symptoms)
        yield "</ul></details>\n"
    yield "</article>\n"


def _way(places: tuple[str, ...]) -> str:
    """Draw the namespaces that the packet crosses, one below the other, so that a phone shows them whole."""
    height = 44 * len(places)
    boxes = []
    for number, place in enumerate(places):
        top, last = 44 * number, number == len(places) - 1
        boxes.append(f"<rect x=2 y={top + 2} width=296 height=28 rx=4 class='{'end' if last else ''}'/>")
        boxes.append(f"<text x=10 y={top + 21}>{_text(_short(place, 34))}{' ✗' if last else ''}</text>")
        if not last:
            boxes.append(f"<line x1=150 y1={top + 30} x2=150 y2={top + 46} />")
    label = _text("the way of the packet: " + ", ".join(places))
    return f"<svg class=way viewBox='0 0 300 {height}' width=300 role=img aria-label='{label}'>{''.join(boxes)}</svg>\n"
