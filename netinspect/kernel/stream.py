"""The collector's stream: from bytes to the sections of each namespace, whatever the bytes are.

Each line of the collector's own begins with ``@`` and a nonce that it was given; the first one tells which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from netinspect.errors import ParseError
from netinspect.model.evidence import NamespaceEvidence, NodeEvidence, PodReference, Reading, Section

_BEGIN = re.compile(r"^@([0-9a-zA-Z]{1,64}) begin 1$", re.MULTILINE)
_PROC = re.compile(r"/proc/(\d+)/ns/net -> net:\[(\d+)\]")
_GROUP = re.compile(r"^/proc/(\d+)/cgroup:(.*)$")
_UID = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})")
_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_FOLDER = re.compile(r"([a-z0-9-]{1,63})_([a-z0-9.-]{1,253})_([0-9a-f-]{32,36})")
_LEFT_CODE = re.compile(r"(?:^|\n)exit (\d+)\s*$")
_HOST = "host"
_FACTS = ("ip-version", "iptables-version", "nft-version")


@dataclass
class _Found:
    """What a stream holds, before it is put in order."""

    sections: dict[str, dict[str, Section]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    sees_pods: bool = True
    complete: bool = False

    def keep(self, namespace: str, section: Section) -> None:
        self.sections.setdefault(namespace, {})[section.name] = section


def assemble(readings: Iterable[Reading]) -> tuple[NodeEvidence, ...]:
    """Put the streams of each node together. Raises ``ParseError`` where one is not of the collector.

    What an earlier stream of a node has is not replaced by a later one, only completed.
    """
    nodes: dict[str, NodeEvidence] = {}
    for reading in readings:
        read = parse(reading)
        known = nodes.get(read.node)
        nodes[read.node] = read if known is None else _joined(known, read)
    return tuple(nodes.values())


def _joined(first: NodeEvidence, second: NodeEvidence) -> NodeEvidence:
    namespaces = {n.id: n for n in first.namespaces}
    for other in second.namespaces:
        known = namespaces.get(other.id)
        if known is None:
            namespaces[other.id] = other
        else:
            answered = {name: s for name, s in known.sections.items() if s.answered}
            sections = {**known.sections, **other.sections, **answered}
            namespaces[other.id] = msgspec.structs.replace(known, sections=sections)
    return msgspec.structs.replace(
        first,
        namespaces=tuple(namespaces.values()),
        complete=first.complete and second.complete,
        sees_pods=first.sees_pods or second.sees_pods,
    )


def parse(reading: Reading) -> NodeEvidence:
    """Read one stream, also one that ends in the middle. Raises ``ParseError`` where it is not one of ours."""
    text = reading.raw.decode(errors="backslashreplace")
    begin = _BEGIN.search(text)
    if begin is None:
        raise ParseError(f"stream of {reading.node}", 1, "nothing of the collector is in it")
    mark = f"@{begin[1]} "
    found = _read(text[begin.start() :], mark, text.count("\n", 0, begin.start()) + 1)
    return NodeEvidence(
        node=reading.node,
        access=reading.access,
        through=reading.through,
        namespaces=tuple(_namespaces(found, reading)),
        complete=found.complete,
        sees_pods=found.sees_pods and reading.pod is None,
    )


def _namespaces(found: _Found, reading: Reading) -> Iterator[NamespaceEvidence]:
    host = found.sections.get(_HOST, {})
    pods = _pods_of(host)
    folders = _folders(host.get("pod-folders"))
    # What the tools are is asked once, and holds for all that they read.
    facts = {name: host[name] for name in _FACTS if name in host}
    for id_, own in found.sections.items():
        sections = {**facts, **own}
        if (pod := reading.pod) is not None:
            name = f"pod/{pod.namespace}/{pod.name}"
            yield NamespaceEvidence(id=name, sections=sections, pods=(pod,), through=reading.through)
            continue
        uids, containers = pods.get(id_, (set(), set()))
        references = tuple(sorted(PodReference(u, *folders.get(u, ("", ""))) for u in uids))
        yield NamespaceEvidence(
            id=id_,
            sections=sections,
            names=tuple(sorted(found.names.get(id_, ()))),
            pods=() if id_ == _HOST else references,
            containers=() if id_ == _HOST else tuple(sorted(containers)),
            through=reading.through,
        )


def _read(text: str, mark: str, first: int) -> _Found:
    found = _Found()
    # Only the collector's own lines are looked at, and only whole ones: between them stands whatever a tool printed.
    own = re.compile(rf"^{re.escape(mark)}(.*)\n", re.MULTILINE)
    opened: tuple[str, Section, int] | None = None
    ended: tuple[str, Section, int] | None = None
    line = first
    counted = 0
    for match in own.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        verb, *words = match[1].split(" ")
        if verb == "end" and opened:
            namespace, section, begin = opened
            body = text[begin : max(begin, match.start() - 1)]
            ended = (namespace, _with(section, body, _code(words)), match.end())
            opened = None
        elif verb == "done" and ended:
            namespace, section, begin = ended
            found.keep(namespace, _complained(section, text[begin : match.start()].strip("\n")))
            ended = None
        elif verb == "section" and len(words) >= 2:
            bound = int(words[2]) if len(words) > 2 and words[2].isdecimal() and len(words[2]) < 12 else 0
            opened = (words[0], Section(words[1], bound=bound, line=line + 1), match.end())
        elif verb == "absent" and len(words) >= 2:
            found.keep(words[0], Section(words[1], absent=True, stderr=f"no {words[-1]} there", line=line))
        elif verb == "name" and len(words) == 2:
            found.names.setdefault(words[0], []).append(words[1])
        elif verb == "host" and len(words) == 2:
            found.sees_pods = words[1] == "seeing"
        elif verb == "finish":
            found.complete = True
    if opened:
        namespace, section, begin = opened
        whole, _, last = text[begin:].rpartition("\n")
        # The beginning of a line of our own, at which the stream was cut, is no output of the tool.
        broken = bool(last) and (last.startswith(mark) or mark.startswith(last))
        found.keep(namespace, _with(section, whole if broken else text[begin:], None))
    elif ended:
        found.keep(ended[0], ended[1])
    return found


def _code(words: list[str]) -> int | None:
    return int(words[0]) if words and words[0].isdecimal() and len(words[0]) < 6 else None


def _with(section: Section, body: str, code: int | None) -> Section:
    return Section(section.name, body, exit_code=code, bound=section.bound, line=section.line)


def _complained(section: Section, stderr: str) -> Section:
    code = section.exit_code
    if code is None and (left := _LEFT_CODE.search(stderr)):
        # Of a tool behind a pipe the exit code comes last among its complaints.
        code = int(left[1][:5])
        stderr = stderr[: left.start()]
    return Section(section.name, section.text, exit_code=code, stderr=stderr, bound=section.bound, line=section.line)


def _pods_of(host: dict[str, Section]) -> dict[str, tuple[set[str], set[str]]]:
    """Say for each namespace which pods and containers have processes in it, by their cgroups."""
    places = host.get("places")
    groups = host.get("groups")
    if places is None or groups is None:
        return {}
    inodes = dict(_PROC.findall(places.text))
    found: dict[str, tuple[set[str], set[str]]] = {}
    for line in groups.text.split("\n"):
        matched = _GROUP.match(line)
        if matched is None or matched[1] not in inodes:
            continue
        uids, containers = found.setdefault(inodes[matched[1]], (set(), set()))
        if uid := _UID.search(matched[2]):
            uids.add(uid[1].replace("_", "-"))
        containers.update(_CONTAINER.findall(matched[2])[-1:])
    return found


def _folders(section: Section | None) -> dict[str, tuple[str, str]]:
    """Read the kubelet's log folders, which carry namespace, name and UID of each pod."""
    found = {}
    for line in section.text.split("\n") if section else ():
        if named := _FOLDER.fullmatch(line.strip()):
            found[named[3]] = (named[1], named[2])
    return found
