"""One packet through the OpenFlow tables of Open vSwitch's bridges, as ``ofproto/trace`` takes it.

A flow that is not modelled ends the way where it could match, never before. Where a group selects, every bucket is a
way.
Sources: openvswitch/ovs ofproto/ofproto-dpif-xlate.c, lib/ovs-actions.xml.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Final, NamedTuple

from netinspect.cni import openflow
from netinspect.cni.openflow import PLACES, STATES, Action, Bucket, Flow, Group
from netinspect.cni.openflow_bridge import Bridge, Port, Undecided, find
from netinspect.cni.openflow_frame import Frame
from netinspect.cni.openflow_tracking import Ct, Tracking, Unsettled, ends
from netinspect.model.packet import PORTED, Packet, end
from netinspect.model.programs import Note

# How deep tables may lead into one another, and how often in all (MAX_DEPTH, MAX_RESUBMITS).
_DEEPEST: Final = 64
_MOST: Final = 4096
_MOST_WAYS: Final = 64
_ETHERNET_HEADER: Final = 14
_PATCH: Final = "patch"
# Actions that lead to another table.
_LEADING: Final = frozenset({"resubmit", "goto_table"})
# What does not change where this packet goes.
_BESIDE: Final = frozenset({"note", "set_queue", "pop_queue", "fin_timeout", "sample"})


class Out(NamedTuple):
    """A port that a packet leaves by, its bridge, and the frame as it leaves."""

    bridge: Bridge
    port: Port
    frame: Frame


class Way(NamedTuple):
    """One way through the pipeline: where it leaves, what was found, what tracking holds from then on.

    ``states`` are what tracking said where it went on, as ``ofproto/trace`` takes them. ``unknown`` says why it cannot
    be told further, where it cannot.
    """

    outs: tuple[Out, ...]
    notes: tuple[Note, ...]
    keep: tuple[tuple[Hashable, Hashable], ...]
    name: str
    probability: float
    states: tuple[str, ...] = ()
    unknown: str = ""


def ways(bridges: Mapping[str, Bridge], bridge: Bridge, frame: Frame, known: Mapping[Hashable, Hashable]) -> list[Way]:
    """Give every way that a frame may take from the first table of a bridge on."""
    found: list[Way] = []
    waiting: list[tuple[int, ...]] = [()]
    while waiting and len(found) < _MOST_WAYS:
        given = waiting.pop()
        run = _Run(bridges, frame.copy(), known, given)
        found.append(run.way(bridge))
        taken = run.taken
        for place in range(len(taken) - 1, len(given) - 1, -1):
            before = tuple(t.chosen for t in taken[:place])
            waiting += [(*before, other) for other in range(taken[place].ways - 1, 0, -1)]
    if waiting:
        found.append(Way((), (), (), "", 0.0, unknown="there are more ways than were looked at"))
    return found


class _Taken(NamedTuple):
    """A bucket that was taken, of how many."""

    chosen: int
    ways: int
    name: str
    probability: float


class _Run:
    """One run of a packet, with the buckets that it takes given for a beginning."""

    def __init__(
        self, bridges: Mapping[str, Bridge], frame: Frame, known: Mapping[Hashable, Hashable], given: tuple[int, ...]
    ) -> None:
        self._bridges = bridges
        self._frame = frame
        self._known = known
        self._given = given
        self._tracking = Tracking(known)
        self._stack: list[tuple[int, int]] = []
        self._notes: list[Note] = []
        self._outs: list[Out] = []
        self._chosen: dict[Hashable, Hashable] = {}
        self._looked = 0
        self._states: list[str] = []
        self._told = ""
        self._dropped: Note | None = None
        self.taken: list[_Taken] = []

    def way(self, bridge: Bridge) -> Way:
        """Run it."""
        unknown = ""
        try:
            self._table(_Place(bridge, 0, 0), self._frame.fields["in_port"])
        except Unsettled as told:
            unknown = str(told)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            unknown = f"{bridge.name}'s flows cannot be read: {error}"
        if not self._outs and not unknown:
            unknown = self._told
            if self._dropped is not None and not unknown:
                self._notes.append(self._dropped)
        probability = 1.0
        for one in self.taken:
            probability *= one.probability
        name = ", ".join(t.name for t in self.taken)
        keep = (*self._tracking.made.items(), *self._chosen.items())
        return Way(tuple(self._outs), tuple(self._notes), keep, name, probability, tuple(self._states), unknown)

    # Tables

    def _table(self, at: _Place, in_port: int, *, aside: bool = False) -> None:
        """Look up a table, do what the flow says, and go on where it ends with another table.

        ``aside`` says that the packet goes on whatever the table holds.
        """
        following = self._once(at, in_port, aside=aside)
        while following is not None:
            following = self._once(*following)

    def _once(self, at: _Place, in_port: int, *, aside: bool = False) -> tuple[_Place, int] | None:
        """Look up one table, for which alone ``in_port`` counts; give the table with which the flow ends."""
        if at.bridge.dark:
            raise Unsettled(at.bridge.dark)
        self._looked += 1
        if at.depth > _DEEPEST or self._looked > _MOST:
            raise Unsettled(f"{at.bridge.name}'s tables lead into one another too often")
        own = self._frame.get(PLACES["in_port"])
        self._frame.put(PLACES["in_port"], in_port)
        try:
            flow = find(at.bridge, at.table, self._frame)
        except Undecided as undecided:
            said = f"{at.bridge.name} table {at.table}: {undecided}"
            self._note(at._replace(flow=undecided.flow), said)
            raise Unsettled(said) from undecided
        self._frame.put(PLACES["in_port"], own)
        if flow is None:
            if not aside:
                said = f"{at.bridge.name} table {at.table}: no flow matches, and it is dropped"
                self._dropped = Note(said, self._frame.as_packet(), at.bridge.flows_section)
            return None
        if all(a.name == "drop" for a in flow.actions):
            said = f"{at.bridge.name} table {at.table}: a flow of priority {flow.priority} drops it"
            self._dropped = self._noted(at, flow, said)
            return None
        at = at._replace(flow=flow)
        *before, last = flow.actions
        if last.name not in _LEADING:
            self._do(flow.actions, at)
            return None
        self._do(tuple(before), at)
        return self._leads(last, at)

    # Actions

    def _do(self, actions: tuple[Action, ...], at: _Place) -> None:
        for action in actions:
            if action.name in _BESIDE:
                continue
            does = _ACTIONS.get(action.name)
            if action.name in _LEADING:
                self._table(*self._leads(action, at), aside=action is not actions[-1])
            elif does is not None:
                does(self, action.said, at)
            elif not action.said and _port_number(action.name) is not None:
                self._output(action.name, at)
            else:
                self._note(at, f"{at.bridge.name} table {at.table}: {action.name}")
                raise Unsettled(f"the action {action.name} of {at.bridge.name} table {at.table} is not modelled")

    def _leads(self, action: Action, at: _Place) -> tuple[_Place, int]:
        """Give the table to which an action leads, and the port that counts there."""
        own = self._frame.get(PLACES["in_port"])
        port, table, *more = (*action.said.split(","), "") if action.name == "resubmit" else ("", action.said)
        if len(more) > 1:
            raise Unsettled("resubmit with ct is not modelled")
        in_port = openflow.value(port, 16) if port and port != "in_port" else own
        return at.to(int(table) if table else at.table), in_port

    def _nothing(self, _said: str, _at: _Place) -> None:
        """Do nothing to this packet."""

    def _set_field(self, said: str, _at: _Place) -> None:
        what, _, where = said.partition("->")
        place = openflow.slice_of(where)
        if self._frame.has(place):
            wanted, mask = openflow.masked(what, place.bits)
            self._frame.put(place, wanted, mask)

    def _move(self, said: str, _at: _Place) -> None:
        source, target = (openflow.slice_of(part) for part in said.split("->"))
        if self._frame.has(source) and self._frame.has(target):
            self._frame.put(target, self._frame.get(source), dark=self._frame.dark(source))

    def _push(self, said: str, _at: _Place) -> None:
        place = openflow.slice_of(said)
        self._stack.append((self._frame.get(place), self._frame.dark(place)))

    def _pop(self, said: str, _at: _Place) -> None:
        place = openflow.slice_of(said)
        if self._stack:
            what, dark = self._stack.pop()
            self._frame.put(place, what, dark=dark)

    def _write_metadata(self, said: str, _at: _Place) -> None:
        self._frame.put(PLACES["metadata"], *openflow.masked(said, 64))

    def _dec_ttl(self, _said: str, at: _Place) -> None:
        place = PLACES["ip_ttl"]
        if not self._frame.has(place):
            return
        left = self._frame.get(place)
        if left <= 1 or self._frame.dark(place):
            raise Unsettled("its TTL ends, and what the controller does then is not modelled")
        self._frame.put(place, left - 1)
        self._note(at, f"{at.bridge.name} table {at.table}: routed, TTL {left - 1}")

    def _check_length(self, said: str, at: _Place) -> None:
        most, _, where = said.partition("->")
        packet = self._frame.packet
        if "size" in packet.loose or packet.fragment:
            raise Unsettled(f"a flow of {at.bridge.name} table {at.table} asks for its length, which is not known")
        longer = packet.size + _ETHERNET_HEADER > int(most.strip("()"))
        self._frame.put(openflow.slice_of(where), int(longer))

    def _clone(self, said: str, at: _Place) -> None:
        frame, stack = self._frame, list(self._stack)
        self._frame = frame.copy()
        self._do(openflow.actions(said), at)
        self._frame, self._stack = frame, stack

    def _controller(self, said: str, at: _Place) -> None:
        told = f"{at.bridge.name} table {at.table}: its controller gets it"
        self._note(at, told)
        if "pause" in said:
            raise Unsettled(f"{told}, and decides")
        self._told = f"{told}, and what it does is not modelled"

    # Connection tracking

    def _ct_clear(self, _said: str, _at: _Place) -> None:
        self._frame.track(None)

    def _ct(self, said: str, at: _Place) -> None:
        told = Ct.of(said)
        if not self._frame.family:
            raise Unsettled("connection tracking of what is no IP is not modelled")
        if told.odd:
            raise Unsettled(f"{told.odd} in ct() of {at.bridge.name} table {at.table} is not modelled")
        place = openflow.slice_of(told.zone) if told.zone and not told.zone[0].isdigit() else None
        if place is not None and self._frame.dark(place):
            raise Unsettled("the zone of connection tracking is not known")
        zone = self._frame.get(place) if place is not None else int(told.zone or "0", 0)
        if not zone and self._frame.unknown.get("ct_state"):
            raise Unsettled("what the host's own zone of connection tracking says of it is not modelled")
        # What tracking makes of it stays with the frame; the pipeline sees that only where it goes on from here.
        seen = self._frame.copy()
        packet = seen.as_packet()
        if "src" in packet.loose or "dst" in packet.loose:
            raise Unsettled("connection tracking of addresses that are not known is not modelled")
        cached = seen.tracked
        tracked = cached if cached is not None and cached.zone == zone else self._tracking.look_up(zone, packet)
        if told.commit:
            tracked = self._tracking.commit(tracked, told.wanted)
        moved = packet
        if told.nat:
            tracked, moved = self._tracking.translate(tracked, packet, told.wanted)
        if told.exec:
            mark, label = self._marks(told.exec, at)
            tracked = self._tracking.note(tracked, mark, label)
        if tracked.connection is not None and tracked.connection.zone != zone:
            raise AssertionError("a connection is of the zone in which it was looked up")
        self._note_tracked(at, packet, moved, tracked.state, zone, commit=told.commit)
        if told.table is None:
            if (moved.src, moved.dst, moved.sport, moved.dport) != (packet.src, packet.dst, packet.sport, packet.dport):
                raise Unsettled("a translation whose packet goes on as if it were none is not modelled")
            self._frame.tracked = tracked
            return
        self._states.append(",".join(name for name, bit in STATES.items() if tracked.state & bit))
        _move_ends(seen, moved)
        seen.track(tracked)
        frame, stack = self._frame, list(self._stack)
        self._frame = seen
        # What comes out of it is taken up anew, as deep as nothing.
        self._table(at.to(told.table)._replace(depth=0), seen.get(PLACES["in_port"]))
        self._frame, self._stack = frame, stack

    def _marks(self, said: str, at: _Place) -> tuple[tuple[int, int], tuple[int, int]]:
        """Give what ``exec`` writes into mark and label: what it leaves the same, whatever was there before."""
        results = []
        frame = self._frame
        for before in (0, -1):
            self._frame = frame.copy()
            for name in ("ct_mark", "ct_label"):
                self._frame.put(PLACES[name], before)
            self._do(openflow.actions(said), at)
            if self._frame.dark(PLACES["ct_mark"]) or self._frame.dark(PLACES["ct_label"]):
                raise Unsettled("a mark of a connection is not known")
            results.append([self._frame.get(PLACES[name]) for name in ("ct_mark", "ct_label")])
        self._frame = frame
        (low_mark, low_label), (high_mark, high_label) = results
        return (low_mark, ~(low_mark ^ high_mark)), (low_label, ~(low_label ^ high_label))

    def _note_tracked(self, at: _Place, packet: Packet, moved: Packet, state: int, zone: int, *, commit: bool) -> None:
        names = ("new", "established", "related", "reply", "invalid")
        told = ", ".join(name for bit, name in enumerate(names) if state >> bit & 1)
        said = f"{at.bridge.name} table {at.table}: connection tracking in zone {zone}: {told}"
        if commit:
            said += ", committed"
        for title, one, other in (
            ("destination", (packet.dst, packet.dport), (moved.dst, moved.dport)),
            ("source", (packet.src, packet.sport), (moved.src, moved.sport)),
        ):
            if one != other:
                family = packet.family
                said += f"; {title} {end(*one, family)} becomes {end(*other, family)}"
        flow = at.flow
        line = at.bridge.groups_section if at.group is not None else at.bridge.flows_section
        source = at.group if at.group is not None else flow
        self._notes.append(Note(said, moved, line, source.line if source else 0, source.text if source else ""))

    # Ways out

    def _output(self, said: str, at: _Place) -> None:
        port = said.partition(",")[0].strip()
        if said.startswith("port="):
            port = port.partition("=")[2]
        numbered = _port_number(port)
        if numbered is None:
            place = openflow.slice_of(port)
            if self._frame.dark(place):
                raise Unsettled("the port that it leaves by is not known")
            numbered = self._frame.get(place) & 0xFFFF
        own = self._frame.get(PLACES["in_port"])
        if numbered == openflow.CONTROLLER:
            self._controller("", at)
        elif numbered == openflow.NORMAL:
            self._normal(at)
        elif numbered in (openflow.ALL, openflow.FLOOD):
            self._flood(at)
        elif numbered == openflow.IN_PORT:
            self._leave(own, at)
        elif numbered == openflow.TABLE:
            raise Unsettled("output to TABLE is not modelled")
        elif numbered == own:
            said = f"{at.bridge.name} table {at.table}: it would leave by the port that it came in by, and is dropped"
            self._dropped = self._noted(at, at.flow, said)
        elif numbered not in (openflow.NO_PORT, 0):
            self._leave(numbered, at)

    def _leave(self, numbered: int, at: _Place) -> None:
        port = at.bridge.ports.get(numbered)
        if port is None:
            raise Unsettled(f"{at.bridge.name} has no port {numbered} by what was read")
        if port.kind != _PATCH:
            self._note(at, f"{at.bridge.name} table {at.table}: out of {port.name}")
            self._outs.append(Out(at.bridge, port, self._frame.copy()))
            return
        for other in self._bridges.values():
            for far in other.ports.values():
                if far.name == port.options.get("peer"):
                    self._cross(other, far, at)
                    return
        raise Unsettled(f"the other end of the patch port {port.name} was not read")

    def _cross(self, other: Bridge, far: Port, at: _Place) -> None:
        """Go on in another bridge, which knows nothing of this one's registers (patch_port_output)."""
        frame, stack = self._frame, self._stack
        self._frame, self._stack = frame.copy(), []
        self._frame.track(None)
        for base in [b for b in self._frame.fields if b.startswith(("xxreg", "tun_"))]:
            self._frame.fields[base] = 0
            self._frame.unknown.pop(base, None)
        self._frame.put(PLACES["metadata"], 0)
        self._frame.put(PLACES["in_port"], far.number)
        self._note(at, f"{at.bridge.name} table {at.table}: to {other.name}")
        self._table(_Place(other, 0, at.depth + 1), far.number)
        self._frame, self._stack = frame, stack

    def _normal(self, at: _Place) -> None:
        """Forward as a switch that learns; one with VLANs of its own is not modelled."""
        if any(p.tagged for p in at.bridge.ports.values()) or self._frame.get(PLACES["vlan_tci"]):
            raise Unsettled(f"{at.bridge.name} forwards by VLAN (NORMAL), which is not modelled")
        place = PLACES["eth_dst"]
        if self._frame.dark(place):
            raise Unsettled(f"{at.bridge.name} forwards by the hardware address (NORMAL), which is not known")
        target = self._frame.get(place)
        behind = at.bridge.learned.get((0, target))
        if behind is None:
            self._flood(at)
        elif behind != self._frame.get(PLACES["in_port"]):
            self._leave(behind, at)

    def _flood(self, at: _Place) -> None:
        own = self._frame.get(PLACES["in_port"])
        for numbered in sorted(at.bridge.ports):
            if numbered != own:
                self._leave(numbered, at)

    # Groups

    def _group(self, said: str, at: _Place) -> None:
        group = at.bridge.groups[int(said)]
        at = at._replace(group=group)
        if group.kind in ("all", "indirect"):
            for bucket in group.buckets:
                self._bucket(bucket, at)
            return
        if group.kind != "select":
            raise Unsettled(f"groups of type {group.kind} are not modelled")
        key = ("openflow bucket", at.bridge.name, said, ends(self._frame.as_packet()))
        able = [b for b in group.buckets if b.weight]
        known = self._chosen.get(key, self._known.get(key))
        if isinstance(known, int) and known < len(able):
            chosen = known
        elif able:
            chosen = self._choose(able)
            self._chosen[key] = chosen
        else:
            self._dropped = Note(
                f"{at.bridge.name} table {at.table}: group {said} has no bucket, and it is dropped",
                self._frame.as_packet(), at.bridge.groups_section, group.line, group.text,
            )  # fmt: skip
            return
        self._bucket(able[chosen], at)

    def _choose(self, able: list[Bucket]) -> int:
        place = len(self.taken)
        chosen = self._given[place] if place < len(self._given) else 0
        if len(able) > 1:
            weight = able[chosen].weight / sum(b.weight for b in able)
            self.taken.append(_Taken(chosen, len(able), _named(able[chosen]), weight))
            return chosen
        return 0

    def _bucket(self, bucket: Bucket, at: _Place) -> None:
        """Do what a bucket says, to a copy of its own (xlate_group_bucket)."""
        frame, stack = self._frame, list(self._stack)
        self._frame = frame.copy()
        self._do(_action_set(bucket.actions), at)
        self._frame, self._stack = frame, stack

    def _noted(self, at: _Place, flow: Flow | None, said: str) -> Note:
        section = at.bridge.flows_section
        line, text = (flow.line, flow.text) if flow is not None else (0, "")
        return Note(said, self._frame.as_packet(), section, line, text)

    def _note(self, at: _Place, said: str) -> None:
        self._notes.append(self._noted(at, at.flow, said))


class _Place(NamedTuple):
    """Where in a pipeline something happens."""

    bridge: Bridge
    table: int
    depth: int
    flow: Flow | None = None
    group: Group | None = None

    def to(self, table: int) -> _Place:
        """Give the place in another table; only what leads back gets deeper (xlate_table_action)."""
        return _Place(self.bridge, table, self.depth + (table <= self.table))


def _move_ends(frame: Frame, packet: Packet) -> None:
    prefix = "ip" if packet.family == 4 else "ipv6"
    for base, what in ((f"{prefix}_src", packet.src), (f"{prefix}_dst", packet.dst)):
        if frame.fields[base] != what:
            frame.put(PLACES[base], what)
    if packet.protocol in PORTED:
        for base, what in (("tp_src", packet.sport), ("tp_dst", packet.dport)):
            if frame.fields[base] != what:
                frame.put(PLACES[base], what)


def _port_number(said: str) -> int | None:
    if said.isdecimal():
        return int(said)
    return openflow.RESERVED.get(said.upper())


def _action_set(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Put a bucket's actions as they are done: what changes the packet, then the last of those that end it.

    Without one that ends it nothing is done (ofpacts_execute_action_set).
    """
    ending = ("group", "output", "resubmit", "ct")
    named = [Action("output", a.name) if not a.said and _port_number(a.name) is not None else a for a in actions]
    for kind in ending:
        last = [a for a in named if a.name == kind][-1:]
        if last:
            changing = [a for a in named if a.name not in ending]
            return (*sorted(changing, key=lambda a: a.name != "dec_ttl"), *last)
    return ()


def _named(bucket: Bucket) -> str:
    """Name a bucket by what it translates to, where it does."""
    for action in bucket.actions:
        wanted = Ct.of(action.said).wanted if action.name == "ct" else None
        if wanted is not None and wanted.address is not None:
            return action.said.partition("nat(dst=")[2].partition(")")[0] or f"bucket {bucket.name}"
    return f"bucket {bucket.name}"


_Does = Callable[[_Run, str, _Place], None]


def _setting(name: str) -> _Does:
    return lambda run, said, at: run._set_field(f"{said}->{name}", at)


_ACTIONS: Final[dict[str, _Does]] = {
    "drop": _Run._nothing, "set_field": _Run._set_field, "load": _Run._set_field, "move": _Run._move,
    "push": _Run._push, "pop": _Run._pop, "group": _Run._group, "write_metadata": _Run._write_metadata,
    "dec_ttl": _Run._dec_ttl, "check_pkt_larger": _Run._check_length, "clone": _Run._clone,
    "controller": _Run._controller, "CONTROLLER": _Run._controller, "ct": _Run._ct, "ct_clear": _Run._ct_clear,
    "output": _Run._output, "mod_dl_src": _setting("eth_src"), "mod_dl_dst": _setting("eth_dst"),
    "mod_nw_src": _setting("ip_src"), "mod_nw_dst": _setting("ip_dst"), "mod_tp_src": _setting("tp_src"),
    "mod_tp_dst": _setting("tp_dst"), "mod_nw_ttl": _setting("ip_ttl"), "set_tunnel": _setting("tun_id"),
    "set_tunnel64": _setting("tun_id"),
}  # fmt: skip
