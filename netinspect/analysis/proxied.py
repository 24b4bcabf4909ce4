"""What sidecars make of a flow: who takes a connection by a pod's own rules, and by which one the proxy goes on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

from msgspec import structs

from netinspect.analysis.aims import Aim, Stop, aims, way_of
from netinspect.analysis.flow import EPHEMERAL, Flow, packet, user_of
from netinspect.analysis.mesh import Judge
from netinspect.analysis.mesh_pair import Asked, call, say
from netinspect.analysis.passage import Connection, Passage, added, assuming
from netinspect.analysis.pods import addresses, full_name
from netinspect.kernel.simulator.simulate import Attempt
from netinspect.kernel.simulator.world import World
from netinspect.mesh import BY_NAME, RELAYS
from netinspect.mesh.base import Driver, Onward, Presence, Relay, Said, is_named
from netinspect.mesh.glance import sidecar as glimpsed
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import walk, wire
from netinspect.model.mesh import Capture, Part, PodMesh, Reach, Transport, Verdict
from netinspect.model.packet import NOBODY_KNOWS, TCP, Packet, end, number, text
from netinspect.model.snapshot import Snapshot

# Sends a packet from a namespace, and follows what comes back.
Sender = Callable[[str, Packet], Iterable[Attempt]]

_OUT, _IN = "outbound proxy", "inbound proxy"
_RULES = ("iptables-nft", "iptables-legacy", "iptables", "ip6tables-nft", "ip6tables-legacy", "ip6tables", "nftables")
_VERDICTS = {
    "denied": walk.Verdict.REFUSED, "failed": walk.Verdict.REJECTED, "unknown": walk.Verdict.UNKNOWN,
}  # fmt: skip
_DECISIONS = {
    Reach.DENIED: "denied", Reach.REFUSED: "denied", Reach.FAILED: "failed", Reach.UNKNOWN: "unknown",
}  # fmt: skip
_SETTLES = "`netinspect mesh FROM TO` where the proxy is a mesh's, its own configuration, or a probe"


def meets(snapshot: Snapshot, places: Mapping[str, tuple[str, ...]]) -> bool:
    """Say whether a pod that a flow may come to, of those that are named by nodes and UIDs, has a sidecar."""
    uids = {uid for mine in places.values() for uid in mine}
    return any(p.metadata.uid in uids and glimpsed(p)[0] in RELAYS for p in snapshot.pods)


@dataclass(frozen=True)
class Sidecar:
    """A pod's proxy, by its mesh."""

    pod: wire.NotedPod
    judged: PodMesh
    driver: Driver
    presence: Presence
    relay: Relay

    @property
    def outbound(self) -> int:
        """Give the port at which it takes what its application sends."""
        return self.presence.outbound or self.driver.SIGNATURE.outbound

    @property
    def application(self) -> str:
        """Name the first container that is not of the mesh; nothing where there is none."""
        mine = (self.presence.proxy, *self.driver.SIGNATURE.containers)
        return next((c.name for c in self.pod.spec.containers if not is_named(c.name, mine)), "")

    @property
    def users(self) -> frozenset[int]:
        """Give those who send for the mesh in its pod."""
        return self.relay.USERS | ({self.presence.uid} if self.presence.uid is not None else frozenset())


@dataclass(frozen=True)
class Taken:
    """A connection that a sidecar takes: what goes out, or what comes in, and the port that was asked for."""

    sidecar: Sidecar
    goes: bool
    port: int


class Proxies:
    """Follows what sidecars take, in the pods whose namespaces were read."""

    def __init__(self, snapshot: Snapshot, world: World, send: Sender) -> None:
        self._snapshot = snapshot
        self._world = world
        self._send = send
        self._known: dict[str, Sidecar | None] = {}

    @cached_property
    def _judge(self) -> Judge:
        return Judge(self._snapshot)

    @cached_property
    def _sight(self) -> Sight:
        return Sight(self._snapshot)

    @cached_property
    def _pods(self) -> dict[str, wire.NotedPod]:
        return {f"pod/{full_name(p.metadata)}": p for p in self._sight.pods}

    @cached_property
    def _by_address(self) -> dict[str, wire.NotedPod]:
        return {a: p for p in self._pods.values() if not p.spec.host_network for a in addresses(p)}

    def sidecar(self, place: str) -> Sidecar | None:
        """Give the sidecar of a pod by its namespace's name; None where there is none that can be followed."""
        if place not in self._known:
            self._known[place] = self._find(place)
        return self._known[place]

    def _find(self, place: str) -> Sidecar | None:
        pod = self._pods.get(place) if place.startswith("pod/") and not self._snapshot.redacted else None
        if pod is None:
            return None
        around = Pod(pod, self._sight.namespaces.get(pod.metadata.namespace))
        found = [
            (name, p) for name in RELAYS
            if (p := BY_NAME[name].find(around, self._sight)) is not None and p.part is Part.SIDECAR
        ]  # fmt: skip
        if len(found) != 1:
            return None
        name, presence = found[0]
        judged = self._judge.pod(pod)
        return Sidecar(pod, judged, BY_NAME[name], presence, RELAYS[name]) if judged.mesh == name else None

    def first(self, flow: Flow) -> Packet:
        """Give the first packet of the flow, which an application sends; who is not known is none of the mesh's own.

        Rules that leave out another user than the mesh's stay undecided.
        """
        made = packet(flow)
        sidecar = self.sidecar(flow.source.place)
        if sidecar is None or flow.question.container == sidecar.presence.proxy:
            return made
        if not flow.question.container and (name := sidecar.application):
            made = structs.replace(made, uid=user_of(flow.source, name))
        rules = "".join(self._world.stacks[flow.source.place].namespace.text(section) for section in _RULES)
        own = sidecar.users
        uid = _other(own) if made.uid == NOBODY_KNOWS and _named(rules, "uid") <= own else made.uid
        if "uidrange" in self._world.stacks[flow.source.place].namespace.text("rules4"):
            uid = made.uid
        gid = _other(own) if made.gid == NOBODY_KNOWS and _named(rules, "gid") <= own else made.gid
        return structs.replace(made, uid=uid, gid=gid)

    def follow(self, flow: Flow, attempts: Iterable[Attempt]) -> Iterator[Passage]:
        """Give the flow's ways with all that proxies on them do."""
        for one, taken in self._merged(attempts, flow.source.place):
            start = Passage((Connection("", one if taken is None else _intercepted(one, taken)),))
            if programmed := self._programmed(flow.source.place, one.request.end):
                yield start.then(_stopped(_OUT, Stop("unknown", programmed, _SETTLES), start))
            elif taken is None and one.result == "left":
                yield self._beyond(flow, start)
            elif taken is None:
                yield Passage((Connection("", self._at_home(flow, _by_a_stranger(one))),))
            elif one.result != "ok":
                # The proxy takes it, and its answer does not come back.
                yield start
            elif taken.goes:
                yield from self._outward(flow, start, taken)
            else:
                yield from self._come(flow, start, taken)

    def _programmed(self, source: str, last: walk.End) -> str:
        """Say of what eBPF programs may turn to a proxy that nobody can tell; nothing of all else."""
        for place in (source, last.namespace) if last.packet.protocol == TCP else ():
            sidecar = self.sidecar(place)
            if sidecar is not None and sidecar.presence.capture is Capture.EBPF:
                return f"programs of eBPF turn what {place} sends and gets to {sidecar.driver.TITLE}'s proxy"
        return ""

    def _beyond(self, flow: Flow, passage: Passage) -> Passage:
        """Say of what leaves for a pod that was not read, and that its mesh would not let in, that nobody can tell."""
        sent = passage.request.end.packet
        while sent.inner is not None and not sent.is_error:
            sent = sent.inner
        client, server = flow.source.pod, self._by_address.get(text(sent.dst, sent.family))
        if server is None or not isinstance(client, wire.NotedPod) or sent.protocol != TCP or sent.is_error:
            return passage
        way = way_of(self._snapshot, flow)
        said = say(self._judge, Asked(client, server, sent.dport, way, client_taken=False))
        if said.outcome is Reach.REACHED:
            return passage
        says = f"it leaves for what was not read, and there: {said.says}"
        return passage.then(_stopped(_IN, Stop("unknown", says, f"reading the node of {_owner(server)}"), passage))

    def _at_home(self, flow: Flow, one: Attempt) -> Attempt:
        """Say of what a pod sends to itself that its proxy may be the one that listens, and that it may send it on."""
        last = one.request.end
        sidecar = self.sidecar(last.namespace) if last.namespace == flow.source.place else None
        owner = last.socket.uid if last.socket is not None else None
        if one.result != "ok" or sidecar is None or last.socket is None or owner not in (None, *sidecar.users):
            return one
        title = sidecar.driver.TITLE
        says = f"who listens at port {last.packet.dport} is not known: {title}'s proxy sends on what it takes"
        taken = structs.replace(last, verdict=walk.Verdict.UNKNOWN, answer=None, settles=_SETTLES, reason=says)
        return Attempt("unknown", structs.replace(one.request, end=taken))

    def _merged(self, attempts: Iterable[Attempt], source: str) -> Iterator[tuple[Attempt, Taken | None]]:
        """Put those together that one proxy takes for one purpose: how it goes on hangs on nothing else."""
        groups: dict[object, list[Attempt]] = defaultdict(list)
        whose: dict[object, Taken | None] = {}
        for place, one in enumerate(attempts):
            taken = self._taken(one, source)
            alone = taken is None or one.result != "ok"
            key: object = place if alone or taken is None else (one.request.end.namespace, taken.goes, taken.port)
            groups[key].append(one)
            whose[key] = taken
        for key, found in groups.items():
            yield added(found), whose[key]

    def _taken(self, one: Attempt, source: str) -> Taken | None:
        """Say which sidecar takes a connection, by the port where it ends and the rules that led there."""
        last = one.request.end
        sidecar = self.sidecar(last.namespace)
        if sidecar is None or last.verdict is not walk.Verdict.DELIVERED or last.packet.protocol != TCP:
            return None
        steps = one.request.steps
        turned = next(
            (n for n, s in enumerate(steps) if s.stage is walk.Stage.NAT and s.namespace == last.namespace), None
        )
        port = last.packet.steered or last.packet.dport
        before = steps[turned - 1].packet if turned else last.packet
        led = turned is not None or bool(last.packet.steered)
        if led and last.namespace == source and port == sidecar.outbound:
            return Taken(sidecar, True, before.dport)
        if port == sidecar.driver.SIGNATURE.inbound:
            return Taken(sidecar, False, before.dport)
        return None

    def _outward(self, flow: Flow, so_far: Passage, taken: Taken) -> Iterator[Passage]:
        """Go on from the client's proxy to each of whom it may call."""
        sidecar = taken.sidecar
        source = flow.source.place
        found = aims(self._snapshot, flow, sidecar.driver.TITLE, by_address=sidecar.relay.BY_ADDRESS)
        if isinstance(found, Stop):
            yield so_far.then(_stopped(_OUT, found, so_far))
            return
        groups: dict[object, list[tuple[Aim, Onward | Stop, Said | None]]] = defaultdict(list)
        for aim in found:
            onward, said = self._called(flow, sidecar, aim)
            # What is passed on as it was meant is not the proxy's choice, but that of whoever translates it next.
            key = onward if isinstance(onward, Onward) and onward.kept else aim.address
            groups[key].append((aim, onward, said))
        for chosen in groups.values():
            aim, onward, said = chosen[0]
            share = len(chosen) / len(found)
            asked = walk.Assumption(f"whom does the proxy of {source} call", _name(aim), share)
            if isinstance(onward, Stop):
                stub = _stopped(_OUT, onward, so_far)
                yield so_far.then(_assumed(stub, asked))
                continue
            sent = self._open(flow, onward, sidecar)
            for one, by in self._merged(self._send(source, sent), source):
                opened = Connection(_OUT, _opened(_intercepted(one, by) if by else one, sidecar, onward))
                notes = (said.caveat,) if said is not None and said.caveat else ()
                passage = so_far.then(_assumed(opened, asked), notes=notes)
                yield from self._arrived(flow, passage, aim, said, by)

    def _called(self, flow: Flow, sidecar: Sidecar, aim: Aim) -> tuple[Onward | Stop, Said | None]:
        """Say how the client's proxy calls one of those whom it may call, or why it does not."""
        if aim.way is None:
            return Onward(aim.address, aim.port, kept=True), None
        server = self._pods.get(f"pod/{aim.pod}")
        if server is None:
            says = f"what {sidecar.driver.TITLE} makes of {aim.address}, which is no pod's, is not evaluated"
            return Stop("unknown", says, _SETTLES), None
        asked = Asked(
            sidecar.pod, server, aim.port, aim.way, client_taken=True, client_address=flow.source_address,
            server_address=aim.address,
        )  # fmt: skip
        found = call(self._judge, asked)
        said = found if isinstance(found, Said) else say(self._judge, asked)
        if isinstance(found, Said) or said.outcome is Reach.FAILED or said.transport is Transport.UNKNOWN:
            return Stop(_DECISIONS.get(said.outcome, "unknown"), said.says, said.settled_by or _SETTLES), said
        onward = sidecar.relay.outward(found[1], said, self._sight)
        return (Stop("unknown", onward.doubt, _SETTLES) if onward.doubt else onward), said

    def _arrived(
        self, flow: Flow, passage: Passage, aim: Aim, said: Said | None, by: Taken | None
    ) -> Iterator[Passage]:
        """Say what becomes of what the client's proxy has sent on."""
        one = passage.last.attempt
        last = one.request.end
        if one.result == "left" and said is not None and said.outcome is not Reach.REACHED:
            says = f"it leaves for what was not read, and there: {said.says}"
            yield passage.then(_stopped(_IN, Stop("unknown", says, f"reading the node of {aim.pod}"), passage))
        elif one.result != "ok":
            yield passage
        elif by is not None and by.goes:
            users = ", ".join(map(str, sorted(by.sidecar.users)))
            says = f"what its proxy sends is turned back to it: no rule leaves out its user ({users})"
            yield passage.then(_stopped(_OUT, Stop("failed", says), passage))
        elif aim.way is None:
            says = f"who answers at {end(last.packet.dst, last.packet.dport, last.packet.family)} is not known"
            yield passage.then(_stopped(_OUT, Stop("unknown", says, "a probe"), passage))
        else:
            server = self._pods.get(last.namespace) or self._pods[f"pod/{aim.pod}"]
            direct = by is not None and by.port == by.sidecar.driver.SIGNATURE.inbound
            port = aim.port if direct else by.port if by is not None else last.packet.dport
            asked = Asked(
                self._pods[flow.source.place], server, port, aim.way, client_taken=True, server_taken=by is not None,
                client_address=text(last.packet.src, last.packet.family), server_address=_address(server, flow.family),
            )  # fmt: skip
            yield from self._let_in(flow, passage, by, asked)

    def _come(self, flow: Flow, passage: Passage, taken: Taken) -> Iterator[Passage]:
        """Go on from the server's proxy with what came to it without the client's."""
        title = taken.sidecar.driver.TITLE
        last = passage.request.end
        client = flow.source.pod
        if taken.port == taken.sidecar.driver.SIGNATURE.inbound:
            says = f"what {title}'s proxy makes of what asks for its own port is not evaluated"
            stop = Stop("unknown", says, _SETTLES)
            yield passage.then(_stopped(_IN, stop, passage))
        elif not isinstance(client, wire.NotedPod):
            stop = Stop("unknown", f"what {title}'s proxy makes of what no pod has sent is not evaluated", _SETTLES)
            yield passage.then(_stopped(_IN, stop, passage))
        else:
            asked = Asked(
                client, taken.sidecar.pod, taken.port, way_of(self._snapshot, flow), client_taken=False,
                server_taken=True, client_address=text(last.packet.src, last.packet.family),
                server_address=_address(taken.sidecar.pod, flow.family),
            )  # fmt: skip
            yield from self._let_in(flow, passage, taken, asked)

    def _let_in(self, flow: Flow, passage: Passage, by: Taken | None, asked: Asked) -> Iterator[Passage]:
        """Go on to the application, where the mesh lets it in."""
        said = say(self._judge, asked)
        if said.outcome is not Reach.REACHED:
            stop = Stop(_DECISIONS[said.outcome], said.says, said.settled_by or _SETTLES)
            yield passage.then(_stopped(_OUT if by is None else _IN, stop, passage))
            return
        passage = passage.then(notes=(said.caveat,) if said.caveat else ())
        found = call(self._judge, asked)
        if by is None:
            yield passage
            return
        if isinstance(found, Said) or found[0] != by.sidecar.driver.NAME:
            stop = Stop("unknown", f"what {by.sidecar.driver.TITLE} makes of it is not evaluated", _SETTLES)
            yield passage.then(_stopped(_IN, stop, passage))
            return
        onward = by.sidecar.relay.inward(found[1], self._sight)
        if onward.doubt:
            yield passage.then(_stopped(_IN, Stop("unknown", onward.doubt, _SETTLES), passage))
            return
        place = passage.request.end.namespace
        sent = self._open(flow, onward, by.sidecar)
        for one, again in self._merged(self._send(place, sent), place):
            opened = passage.then(Connection(_IN, _opened(one, by.sidecar, onward)))
            if again is not None and one.result == "ok":
                stop = Stop("failed", "what its proxy sends to the application is turned back to it")
                yield opened.then(_stopped(_IN, stop, opened))
            else:
                yield opened

    def _open(self, flow: Flow, onward: Onward, sidecar: Sidecar) -> Packet:
        """Give the first packet of a connection that a proxy opens."""
        family, address = number(onward.address)
        source = number(onward.source)[1] if onward.source else 0
        uid = NOBODY_KNOWS if sidecar.presence.uid is None else sidecar.presence.uid
        made = packet(flow)
        longer = 20 * ((family == 6) - (flow.family == 6))
        return structs.replace(
            made, family=family, src=source, dst=address, sport=EPHEMERAL, dport=onward.port,
            loose=frozenset({"sport"}), uid=uid, gid=NOBODY_KNOWS, size=made.size + longer,
        )  # fmt: skip

    def notes(self, flow: Flow, passages: Iterable[Passage]) -> Iterator[str]:
        """Say what passes a mesh by, and what was taken for granted."""
        if flow.question.protocol != "TCP":
            return
        found = tuple(passages)
        yield from dict.fromkeys(note for one in found for note in one.notes)
        if len({one.result for one in found if one.relayed}) > 1:
            yield "a proxy may try another endpoint where one fails, so that fewer requests fail than connections"
        ends = {one.request.end.namespace for one in found if one.result == "ok"}
        servers = [s for s in map(self.sidecar, sorted(ends - {flow.source.place})) if s is not None]
        yield from self._bypassed(flow, found, servers)
        client = self.sidecar(flow.source.place)
        if client is not None and found and user_of(flow.source, flow.question.container or client.application) < 0:
            users = ", ".join(map(str, sorted(client.users)))
            yield f"who sends is not known: it is taken for none of the mesh's own users ({users})"

    def _bypassed(self, flow: Flow, found: tuple[Passage, ...], servers: list[Sidecar]) -> Iterator[str]:
        client = self.sidecar(flow.source.place)
        pod = flow.source.pod
        if client is not None and client.presence.capture is not Capture.NONE and found and not any(
            s.stage is walk.Stage.NAT and s.namespace == flow.source.place for p in found for s in p.first.request.steps
        ):  # fmt: skip
            user = self.first(flow).uid
            why = f", as user {user} is its own" if user in client.users else ""
            says = f": {client.judged.says}" if client.judged.verdict is Verdict.BROKEN else ""
            title = client.driver.TITLE
            yield f"{flow.source.place}: nothing turns this to {title}'s proxy{why}: it bypasses the mesh{says}"
        if pod is not None and pod.spec.host_network and servers:
            says = "is on its node's network, where no mesh turns its traffic: it bypasses the mesh"
            yield f"pod/{flow.source.name} {says}"
        target = flow.destination.pod
        if target is not None and target.spec.host_network and client is not None:
            yield f"pod/{flow.destination.name} is on its node's network, where no mesh turns its traffic"
        for server in servers:
            place = f"pod/{server.judged.full_name}"
            reached = [p for p in found if p.result == "ok" and p.request.end.namespace == place]
            if server.presence.capture is not Capture.NONE and any(p.last.opener != _IN for p in reached):
                says = f": {server.judged.says}" if server.judged.verdict is Verdict.BROKEN else ""
                title = server.driver.TITLE
                yield f"{place}: nothing turns what comes to {title}'s proxy: it bypasses the mesh there{says}"


def _named(text_: str, kind: str) -> frozenset[int]:
    """Give the users or groups that rules ask for; one that no mesh has where they ask for what cannot be listed."""
    found = {int(n) for n in re.findall(rf"--{kind}-owner (\d+)(?!-)\b", text_)}
    found |= {int(n) for n in re.findall(rf'"sk{kind}"[^\[\]]*?"right": ?(\d+)', text_)}
    asked = len(re.findall(rf'--{kind}-owner |"sk{kind}"', text_))
    listed = len(re.findall(rf"--{kind}-owner \d+(?!-)\b", text_))
    listed += len(re.findall(rf'"sk{kind}"[^\[\]]*?"right": ?\d+', text_))
    return frozenset(found) if listed == asked else frozenset({NOBODY_KNOWS})


def _other(users: frozenset[int]) -> int:
    """Give a user that is none of these."""
    return next(n for n in count(1000) if n not in users)


def _address(pod: wire.NotedPod, family: int) -> str:
    return next((a for a in addresses(pod) if number(a)[0] == family), pod.status.pod_ip)


def _owner(pod: wire.NotedPod) -> str:
    return f"pod/{full_name(pod.metadata)}"


def _name(aim: Aim) -> str:
    return f"pod/{aim.pod}" if aim.pod else aim.address


def _intercepted(one: Attempt, taken: Taken) -> Attempt:
    """Say of a connection that it is a proxy's."""
    last = one.request.end
    port = last.packet.steered or last.packet.dport
    says = f"{taken.sidecar.driver.TITLE}'s proxy takes it at port {port}, where it listens for what "
    told = structs.replace(last, reason=says + ("goes out" if taken.goes else "comes in"))
    return Attempt(one.result, structs.replace(one.request, end=told), one.answer, one.data)


def _opened(one: Attempt, sidecar: Sidecar, onward: Onward) -> Attempt:
    """Say of a connection that a proxy opens it."""
    request = one.request
    place = f"pod/{sidecar.judged.full_name}"
    sent = request.steps[0].packet if request.steps else request.end.packet
    user = "" if sidecar.presence.uid is None else f", user {sidecar.presence.uid},"
    to = end(number(onward.address)[1], onward.port, sent.family)
    says = f"{sidecar.driver.TITLE}'s proxy{user} opens a connection to {to}"
    step = walk.Step(place, walk.Stage.SOCKET, says, sent)
    return Attempt(one.result, structs.replace(request, steps=(step, *request.steps)), one.answer, one.data)


def _assumed(one: Connection, asked: walk.Assumption) -> Connection:
    """Give a connection as one of several that a proxy may open; of one alone nothing is assumed."""
    return one if asked.probability == 1 else replace(one, attempt=assuming(one.attempt, asked))


def _stopped(opener: str, stop: Stop, so_far: Passage) -> Connection:
    """Say that a proxy does not go on with what it has taken, and why."""
    last = so_far.request.end
    made = walk.End(
        _VERDICTS[stop.result], stop.reason, last.namespace, last.packet,
        settles=stop.settles if stop.result == "unknown" else "",
    )  # fmt: skip
    return Connection(opener, Attempt(stop.result, walk.Branch((), made)))


def _by_a_stranger(one: Attempt) -> Attempt:
    """Say of what a proxy takes that nobody knows where it goes on: one to which rules of a pod itself lead."""
    last = one.request.end
    led = any(s.stage is walk.Stage.NAT and s.namespace == last.namespace for s in one.request.steps)
    if last.verdict is not walk.Verdict.DELIVERED or not led or not last.namespace.startswith("pod/"):
        return one
    taken = structs.replace(
        last, verdict=walk.Verdict.UNKNOWN, answer=None, settles=_SETTLES,
        reason=f"a proxy on port {last.packet.dport} takes it, and sends on what it likes",
    )  # fmt: skip
    return Attempt("unknown", structs.replace(one.request, end=taken))
