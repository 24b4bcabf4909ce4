"""Whether the nodes' rules let through what a CNI's tunnels send, walked from node to node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netinspect.analysis.expectations import UNSEEN, Compared, Unseen
from netinspect.analysis.verdict import proof_of
from netinspect.cni.base import Description
from netinspect.cni.sight import Node, Sight
from netinspect.kernel.simulator.simulate import walk
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model.finding import Finding, Severity
from netinspect.model.kernel import Link, VxlanData
from netinspect.model.packet import UDP, Packet, number
from netinspect.model.topology import several
from netinspect.model.walk import Branch, Pointer, Verdict

# Of more nodes than these each is walked to from one other alone, since rules for single peers are rare.
_ALL_PAIRS = 8
_STOPPED = frozenset({Verdict.DROPPED, Verdict.REJECTED})


def closed(view: Sight, made: World, title: str, said: Description) -> Compared:
    """Find the rules that stop a CNI's VXLAN between nodes that were read and of which the one sends to the other.

    Other ports are needed between some nodes only, which their agents choose.
    """
    compared = unseen = 0
    stopped: dict[tuple[Pointer, int], list[str]] = defaultdict(list)
    for node, peer in _pairs(view):
        for name in said.tunnels:
            ends = _ends(node, peer, name)
            if ends is None:
                continue
            evidence = _stopped(made, node, *ends)
            compared += evidence is not UNSEEN
            unseen += evidence is UNSEEN
            if isinstance(evidence, Pointer):
                other = peer if evidence.namespace == f"node/{node.name}" else node
                stopped[evidence, ends[2]].append(f"node/{other.name}")
    findings = tuple(_finding(title, evidence, port, peers) for (evidence, port), peers in stopped.items())
    return Compared(findings, compared, sum(map(len, stopped.values())), unseen)


def _pairs(view: Sight) -> Iterator[tuple[Node, Node]]:
    known = [node for node, _ in view.read]
    reach = len(known) - 1 if len(known) <= _ALL_PAIRS else 1
    for place, node in enumerate(known):
        yield from ((node, known[(place + step) % len(known)]) for step in range(1, reach + 1))


def _ends(node: Node, peer: Node, name: str) -> tuple[str, str, int] | None:
    """Give from and to which address a node's tunnel sends, and the port; None where it sends nothing to that peer."""
    own, other = _tunnel(node, name), _tunnel(peer, name)
    if own is None or other is None or node.kernel is None:
        return None
    theirs = {a.local for a in other.addresses}
    if not any(r.dev == name and r.gateway in theirs for r in node.kernel.routes or ()):
        return None
    data, far = own.data, other.data
    if not isinstance(data, VxlanData) or not isinstance(far, VxlanData) or not data.port:
        return None
    src, dst = data.local or data.local6, far.local or far.local6
    return (src, dst, data.port) if src and dst else None


def _tunnel(node: Node, name: str) -> Link | None:
    return (node.kernel.links or {}).get(name) if node.kernel is not None else None


def _stopped(made: World, node: Node, src: str, dst: str, port: int) -> Pointer | Unseen | None:
    """Give the rule that stops a packet on every way that it may take; None where one gets through."""
    stack = made.stacks.get(f"node/{node.name}")
    if stack is None:
        return UNSEEN
    packet = Packet(
        family=number(src)[0], src=number(src)[1], dst=number(dst)[1], protocol=UDP, sport=49152, dport=port,
        loose=frozenset({"sport"}), uid=0, gid=0,
    )  # fmt: skip
    found = [_rule(b) for b in walk(made, Send(stack, packet))]
    if all(isinstance(one, Pointer) for one in found):
        return found[0]
    return None if None in found else UNSEEN


def _rule(branch: Branch) -> Pointer | Unseen | None:
    end = branch.end
    if end.verdict in _STOPPED and end.evidence is not None and "tables" in end.evidence.section:
        return end.evidence
    # Where nothing listens, or a route leads elsewhere, is for other expectations to say.
    return UNSEEN if end.verdict is Verdict.UNKNOWN else None


def _finding(title: str, evidence: Pointer, port: int, peers: list[str]) -> Finding:
    return Finding(
        kind="port-closed", severity=Severity.ERROR, place=evidence.namespace,
        says=f"a rule stops UDP {port} (VXLAN between nodes)",
        cause=f"what {title} sends between the nodes does not get through: their firewall does not know of it",
        remedy=f"let the node's firewall pass UDP {port} from the other nodes, above this rule",
        peers=several(dict.fromkeys(peers)),
        proof=proof_of(evidence),
    )  # fmt: skip
