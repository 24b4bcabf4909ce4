"""Whether the nodes' rules let through what a CNI sends between nodes: its ports, walked from node to node."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from netinspect.cni.sight import Node, Sight
from netinspect.kernel.simulator.simulate import walk
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model.cni import Finding, Port, Severity
from netinspect.model.packet import PROTOCOLS, SYN, TCP, UDP, Packet, number
from netinspect.model.topology import several
from netinspect.model.trace import Proof
from netinspect.model.walk import Branch, Pointer, Verdict

# Of more nodes than these each is walked to from one other alone, since rules for single peers are rare.
_ALL_PAIRS = 8
_NUMBER = re.compile(r"\((\d+)\)")
_STOPPED = frozenset({Verdict.DROPPED, Verdict.REJECTED})


@dataclass
class Walked:
    """What came of it, in numbers of walks; what ended where nothing can be told is ``unseen``."""

    findings: list[Finding] = field(default_factory=list)
    compared: int = 0
    broken: int = 0
    unseen: int = 0


def closed(view: Sight, made: World, title: str, ports: Iterable[Port]) -> Walked:
    """Find the rules that stop a CNI's packets between the nodes that were read."""
    result = Walked()
    stopped: dict[tuple[Pointer, Port], list[str]] = defaultdict(list)
    for port in ports:
        for node, peer in _pairs(view):
            for family in view.families():
                if not (node.address(family) and peer.address(family)):
                    continue
                evidence = _stopped(made, node, peer, family, port)
                result.compared += evidence is not _UNSEEN
                result.unseen += evidence is _UNSEEN
                if isinstance(evidence, Pointer):
                    result.broken += 1
                    other = peer if evidence.namespace == f"node/{node.name}" else node
                    stopped[evidence, port].append(f"node/{other.name}")
    result.findings += [_finding(title, evidence, port, peers) for (evidence, port), peers in stopped.items()]
    return result


def _pairs(view: Sight) -> Iterator[tuple[Node, Node]]:
    known = [node for node, _ in view.read]
    reach = len(known) - 1 if len(known) <= _ALL_PAIRS else 1
    for place, node in enumerate(known):
        yield from ((node, known[(place + step) % len(known)]) for step in range(1, reach + 1))


class _Unseen:
    """Nobody can tell what becomes of it."""


_UNSEEN = _Unseen()


def _stopped(made: World, node: Node, peer: Node, family: int, port: Port) -> Pointer | _Unseen | None:
    """Give the rule that stops a packet on every way that it may take; None where one gets through."""
    stack = made.stacks.get(f"node/{node.name}")
    packet = _packet(node, peer, family, port)
    if stack is None or packet is None:
        return _UNSEEN
    branches = walk(made, Send(stack, packet))
    found = [_rule(b) for b in branches]
    if all(isinstance(one, Pointer) for one in found):
        return found[0]
    return None if None in found else _UNSEEN


def _rule(branch: Branch) -> Pointer | _Unseen | None:
    end = branch.end
    if end.verdict in _STOPPED and end.evidence is not None and _is_rule(end.evidence):
        return end.evidence
    # Where nothing listens, or a route leads elsewhere, is for other expectations to say.
    return _UNSEEN if end.verdict is Verdict.UNKNOWN else None


def _is_rule(evidence: Pointer) -> bool:
    return "tables" in evidence.section


def _packet(node: Node, peer: Node, family: int, port: Port) -> Packet | None:
    named = _NUMBER.search(port.protocol)
    protocol = int(named[1]) if named else PROTOCOLS.get(port.protocol.lower())
    if protocol is None:
        return None
    ported = protocol in (TCP, UDP)
    return Packet(
        family=family, src=number(node.address(family))[1], dst=number(peer.address(family))[1], protocol=protocol,
        sport=49152 if ported else 0, dport=port.number if ported else 0, flags=SYN if protocol == TCP else 0,
        loose=frozenset({"sport"}) if ported else frozenset(), uid=0, gid=0,
    )  # fmt: skip


def _finding(title: str, evidence: Pointer, port: Port, peers: list[str]) -> Finding:
    what = f"{port.protocol} {port.number}" if port.number else port.protocol
    return Finding(
        kind="port-closed", severity=Severity.WARNING if port.protocol == "TCP" else Severity.ERROR,
        place=evidence.namespace, says=f"a rule stops {what} ({port.purpose})",
        cause=f"{title} cannot use it there: a firewall of the node does not know of it",
        remedy=f"let the node's firewall pass {what} from the other nodes, above this rule",
        peers=several(dict.fromkeys(peers)),
        proof=Proof(section=evidence.section, line=evidence.line, text=evidence.text),
    )  # fmt: skip
