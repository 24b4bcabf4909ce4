"""What Open vSwitch does with a packet, by the flows of a node's bridges: for every CNI that forwards by it.

A packet meets it at a bridge's port (a pod's veth, the uplink, a tunnel's device), or where the host sends by a device
that is a port of its own. The flows decide by which port it leaves. What is not modelled is unknown, and is settled by
``ofproto/trace`` with the very flow.
Sources: openvswitch/ovs vswitchd/vswitch.xml, lib/ovs-fields, ofproto/tunnel.c; net/openvswitch/vport.c.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from msgspec import structs

from netinspect.cni import openflow, openflow_pipeline
from netinspect.cni.openflow_bridge import Bridge, Port
from netinspect.cni.openflow_frame import Frame, of_arp, of_packet, out_of_tunnel
from netinspect.cni.openflow_pipeline import Out, Way
from netinspect.model.evidence import NamespaceEvidence, Section
from netinspect.model.packet import BROADCAST_MAC, Option, Packet, Tunnel, number, text
from netinspect.model.programs import (
    RECEIVE,
    SEND,
    Action,
    Answer,
    Known,
    Note,
    Outcome,
    Output,
    Programs,
    Stop,
    Wrap,
)
from netinspect.model.walk import Stage, Verdict

BRIDGES, PORTS, INTERFACES = "ovs:bridges", "ovs:ports", "ovs:interfaces"
FLOWS, GROUPS, OPTIONS, LEARNED = "ovs:flows:", "ovs:groups:", "ovs:options:", "ovs:learned:"
# What there always is where the kernel's datapath is at work.
DATAPATH: Final = "ovs-system"
_INTERNAL: Final = "internal"
_SYSTEM: Final = frozenset({"", "system"})
# The devices of tunnels in the kernel, and the port of UDP that is theirs unless another is told (vport-geneve.c).
_TUNNELS: Final = {"geneve": ("genev_sys", 6081), "vxlan": ("vxlan_sys", 4789)}
_KEY_BITS: Final = 24
_BY_FLOW: Final = "flow"
# What may be told of a tunnel's port and changes nothing of what is modelled.
_KNOWN_OPTIONS: Final = frozenset({
    "remote_ip", "local_ip", "key", "in_key", "out_key", "dst_port", "csum", "df_default", "ttl", "tos",
})  # fmt: skip
_PLAIN_OPTIONS: Final = {"ttl": "64", "tos": "0"}


@dataclass(frozen=True)
class _Door:
    """Where a packet gets into a bridge: by which port, of which one the frame is to be made."""

    bridge: Bridge
    port: Port


class OpenVSwitch:
    """The bridges of a node; ``options`` are Geneve's by bridge."""

    stage = Stage.OPENFLOW
    question = "which bucket of a group does Open vSwitch choose"

    def __init__(self, bridges: Mapping[str, Bridge], options: Mapping[str, Mapping[str, Option]]) -> None:
        self._bridges = bridges
        self._options = options
        self._doors: dict[tuple[str, str], _Door] = {}
        self._tunnels: dict[str, list[_Door]] = {}
        for bridge in bridges.values():
            for port in bridge.ports.values():
                if port.kind in _SYSTEM:
                    self._doors[port.name, RECEIVE] = _Door(bridge, port)
                elif port.kind == _INTERNAL:
                    self._doors[port.name, SEND] = _Door(bridge, port)
                elif (dev := _device(port)) is not None:
                    self._tunnels.setdefault(dev, []).append(_Door(bridge, port))

    def covers(self, dev: str, hook: str) -> bool:
        """Cover the ports that were read, and the devices of tunnels."""
        return (dev, hook) in self._doors or (hook == RECEIVE and dev in self._tunnels)

    def at(self, dev: str, hook: str, packet: Packet, known: Known) -> tuple[Outcome, ...]:
        """Let the flows of a bridge decide."""
        door = self._doors.get((dev, hook)) or self._out_of_tunnel(dev, packet)
        if door is None:
            far = text(packet.tunnel.src, packet.tunnel.family) if packet.tunnel is not None else "its sender"
            reason = f"no tunnel of Open vSwitch is for what comes from {far}"
            return (Outcome(Stop(packet, Verdict.DROPPED, reason), (Note(reason, packet, INTERFACES),)),)
        frame = of_packet(door.port.number, packet)
        if packet.connection is not None:
            # What the host has tracked comes as such (ovs_ct_fill_key), in the host's own zone.
            frame.unknown |= {"ct_state": -1, "ct_zone": -1, "ct_mark": -1, "ct_label": -1}
        if packet.tunnel is not None and packet.key is not None:
            tunnel = packet.tunnel
            told = {(klass, kind): what for klass, kind, _, what in tunnel.options}
            named = self._options.get(door.bridge.name, {})
            fields = {name: told.get((klass, kind), 0) for name, (klass, kind, _, _) in named.items()}
            frame = out_of_tunnel(frame, packet.key, tunnel.family, (tunnel.src, tunnel.dst), fields)
        found = openflow_pipeline.ways(self._bridges, door.bridge, frame, known)
        return tuple(self._outcome(way, door, frame, alone=len(found) == 1) for way in found)

    def neighbour(self, dev: str, hook: str, asked: Packet) -> Answer | None:
        """Say what the flows make of a request of ARP, or of an answer: an answer to it, or ports to pass it on to."""
        door = self._doors.get((dev, hook))
        if door is None:
            return None
        asks = asked.dmac == BROADCAST_MAC
        frame = of_arp(door.port.number, 1 if asks else 2, (asked.src, asked.smac), (asked.dst, asked.dmac))
        found = openflow_pipeline.ways(self._bridges, door.bridge, frame, {})
        if len(found) != 1 or found[0].unknown:
            return None
        outs, notes = found[0].outs, found[0].notes
        for out in outs:
            told = out.frame.fields
            back = (out.bridge, out.port) == (door.bridge, door.port)
            if asks and back and told.get("arp_op") == 2 and told["arp_spa"] == asked.dst:
                return Answer(openflow.mac(told["arp_sha"]), (), notes[-1] if notes else None)
        here = _SYSTEM | {_INTERNAL}
        return Answer("", tuple(o.port.name for o in outs if o.port.kind in here), notes[-1] if notes else None)

    def connect(self, packet: Packet, known: Known, *, host: bool) -> tuple[Outcome, ...]:  # noqa: ARG002 - protocol
        """Say nothing: Open vSwitch sees packets alone."""
        return ()

    def _out_of_tunnel(self, dev: str, packet: Packet) -> _Door | None:
        """Find the port for what came out of a tunnel, the one for its sender first (tnl_find)."""
        tunnel = packet.tunnel
        if tunnel is None:
            return None
        found = [d for d in self._tunnels.get(dev, ()) if _takes(d.port.options, tunnel, packet.key or 0)]
        return min(found, key=lambda d: d.port.options["remote_ip"] == _BY_FLOW, default=None)

    def _outcome(self, way: Way, door: _Door, frame: Frame, *, alone: bool) -> Outcome:
        told = "" if alone else way.name
        if way.unknown:
            made = self._unknown(door, frame, way, way.unknown)
        elif not way.outs:
            said = way.notes[-1].said if way.notes else f"{door.bridge.name} drops it"
            made = Outcome(Stop(frame.packet, Verdict.DROPPED, f"Open vSwitch drops it: {said}"), way.notes, way.keep)
        elif len(way.outs) > 1:
            names = ", ".join(out.port.name for out in way.outs)
            made = self._unknown(door, frame, way, f"it leaves by several ports ({names})")
        else:
            action = self._leaves(way.outs[0])
            if isinstance(action, str):
                made = self._unknown(door, frame, way, action)
            else:
                made = Outcome(action, way.notes, way.keep)
        return structs.replace(made, name=told, probability=None if alone else way.probability)

    def _leaves(self, out: Out) -> Action | str:
        """Say how it leaves by a port, or why that cannot be told."""
        port, packet = out.port, out.frame.as_packet()
        if (packet.type, packet.code) != (out.frame.packet.type, out.frame.packet.code):
            return "its flows answer the echo themselves, and the way of that is not modelled"
        if port.kind in _SYSTEM or port.kind == _INTERNAL:
            return Output(packet, port.name)
        dev = _device(port)
        if dev is None:
            return f"ports of type {port.kind} are not modelled"
        odd = set(port.options) - _KNOWN_OPTIONS
        odd |= {name for name, plain in _PLAIN_OPTIONS.items() if port.options.get(name, plain) != plain}
        if odd:
            return f"{min(odd)} of the tunnel {port.name} is not modelled"
        return self._wrapped(out, packet, dev)

    def _wrapped(self, out: Out, packet: Packet, dev: str) -> Action | str:
        """Say where a tunnel takes it: its port says so, or the flows do."""
        told, fields = out.port.options, out.frame.fields
        remote, local = told.get("remote_ip", ""), told.get("local_ip", "")
        if remote == _BY_FLOW:
            remote = text(fields["tun_dst"], 4) if fields["tun_dst"] else ""
        if not remote or local == _BY_FLOW or any(out.frame.unknown.get(f) for f in ("tun_id", "tun_dst")):
            return f"where the tunnel {out.port.name} leads to is not known"
        key = told.get("out_key", told.get("key", "0"))
        numbered = fields["tun_id"] if key == _BY_FLOW else int(key, 0)
        options = tuple(
            (klass, kind, length, fields[name])
            for name, (klass, kind, length, _) in self._options.get(out.bridge.name, {}).items()
            if fields.get(name)
        )
        df = told.get("df_default", "true") != "false"
        return Wrap(packet, dev, remote, numbered & (1 << _KEY_BITS) - 1, local, df, options)

    @staticmethod
    def _unknown(door: _Door, frame: Frame, way: Way, reason: str) -> Outcome:
        """End where nobody can tell; what settles it is what Open vSwitch itself says of the same packet."""
        states = "".join(f" --ct-next {state}" for state in way.states)
        asked = f"ovs-appctl ofproto/trace {door.bridge.name} '{frame.as_flow()}'{states}"
        missing = ", with its next hop's hardware address as dl_dst," if frame.unknown.get("eth_dst") else ""
        settles = f"`{asked}`{missing} on the node, or a probe"
        reason = f"Open vSwitch decides: {reason}"
        return Outcome(Stop(frame.packet, Verdict.UNKNOWN, reason, settles), way.notes)


def _takes(options: Mapping[str, str], tunnel: Tunnel, key: int) -> bool:
    """Say whether a tunnel's port is for what came from one address to another, with a key; raises ``ValueError``."""

    def fits(name: str, address: int) -> bool:
        told = options.get(name, _BY_FLOW)
        return told == _BY_FLOW or number(told) == (tunnel.family, address)

    told = options.get("in_key", options.get("key", "0"))
    keyed = told == _BY_FLOW or int(told, 0) == key
    return "remote_ip" in options and fits("remote_ip", tunnel.src) and fits("local_ip", tunnel.dst) and keyed


def _device(port: Port) -> str | None:
    """Give the kernel's device for a tunnel's port; None where it is no tunnel that is modelled."""
    if port.kind not in _TUNNELS:
        return None
    name, usual = _TUNNELS[port.kind]
    return f"{name}_{port.options.get('dst_port', usual)}"


def load(host: NamespaceEvidence, devices: Collection[str]) -> Programs | None:
    """Give what Open vSwitch does on a node; None where there is none, or its database was not read."""
    sections = host.sections
    if DATAPATH not in devices or any(not _whole(sections, name) for name in (BRIDGES, PORTS, INTERFACES)):
        return None
    try:
        return _load(sections)
    except (ValueError, LookupError, TypeError, AttributeError):
        # What it says of itself has another form: nobody can tell what is behind a port.
        return None


def _whole(sections: Mapping[str, Section], name: str) -> bool:
    found = sections.get(name)
    return found is not None and found.answered and not found.cut


def _load(sections: Mapping[str, Section]) -> Programs:
    bridges: dict[str, Bridge] = {}
    options: dict[str, Mapping[str, Option]] = {}
    interfaces = {row["_uuid"]: row for row in _rows(sections[INTERFACES].text)}
    ports = {row["_uuid"]: row for row in _rows(sections[PORTS].text)}
    for row in _rows(sections[BRIDGES].text):
        name = str(row["name"])
        rows = [ports[key] for key in _set(row["ports"])]
        numbered = {port.number: port for one in rows for port in _ports(one, interfaces)}
        dark = _dark(sections, row, rows)
        bridge = Bridge(name, {}, {}, numbered, {}, FLOWS + name, GROUPS + name, dark)
        bridges[name], options[name] = (bridge, {}) if dark else _read(bridge, sections)
    return OpenVSwitch(bridges, options)


def _dark(sections: Mapping[str, Section], row: Mapping[str, Any], ports: list[dict[str, Any]]) -> str:
    """Say why nobody can tell what a bridge does, where nobody can."""
    name = row["name"]
    missing = [kind for kind in (FLOWS, GROUPS, OPTIONS) if not _whole(sections, f"{kind}{name}")]
    if row["datapath_type"] not in _SYSTEM:
        return f"the datapath of {name} ({row['datapath_type']}) is not modelled"
    if row["stp_enable"] or row["rstp_enable"]:
        return f"the spanning tree of {name} is not modelled"
    if any(len(_set(port["interfaces"])) > 1 for port in ports):
        return f"the bond of {name} is not modelled"
    return f"the {missing[0].split(':')[1]} of {name} were not read" if missing else ""


def _read(bridge: Bridge, sections: Mapping[str, Section]) -> tuple[Bridge, dict[str, Option]]:
    def said(kind: str) -> str:
        return sections[kind + bridge.name].text if _whole(sections, kind + bridge.name) else ""

    told = openflow.tunnel_options(said(OPTIONS))
    made = replace(
        bridge, tables=openflow.tables(said(FLOWS)), groups=openflow.groups(said(GROUPS)),
        learned=openflow.learned(said(LEARNED)),
    )  # fmt: skip
    return made, {name: (*one, 0) for name, one in told.items()}


def _ports(row: Mapping[str, Any], interfaces: Mapping[str, Mapping[str, Any]]) -> Iterator[Port]:
    tagged = bool(_set(row["tag"]) or _set(row["trunks"]))
    for key in _set(row["interfaces"]):
        one = interfaces[key]
        numbers = _set(one["ofport"])
        if numbers and numbers[0] > 0:
            yield Port(str(one["name"]), int(numbers[0]), str(one["type"]), dict(one["options"]), tagged)


def _rows(said: str) -> list[dict[str, Any]]:
    """Read what ``ovs-vsctl --format=json list`` prints; a set of one is that one (RFC 7047, section 5.1)."""
    table = json.loads(said)
    return [dict(zip(table["headings"], map(_plain, row), strict=True)) for row in table["data"]]


def _plain(what: Any) -> Any:
    if isinstance(what, list) and len(what) == 2:
        kind, inside = what
        if kind == "uuid":
            return inside
        if kind == "set":
            return [_plain(one) for one in inside]
        if kind == "map":
            return {_plain(key): _plain(one) for key, one in inside}
    return what


def _set(what: Any) -> list[Any]:
    return what if isinstance(what, list) else [what]
