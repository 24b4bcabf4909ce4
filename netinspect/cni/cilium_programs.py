"""What Cilium's eBPF programs do with a packet, by the maps of the node that it is on.

A pod's packet meets ``cil_from_container`` at the host's end of its veth: Service, egress policy, then straight on to
a pod here, into the tunnel, or up to the kernel. What the host sends to pods meets ``cil_from_host`` at cilium_host,
what comes out of the tunnel ``cil_from_overlay``; both lead through the ingress policy of the pod that it is for. With
kube-proxy replacement ``cil_from_netdev`` serves node ports at the wire, and a program at connect() Services.
Sources: cilium/cilium bpf/bpf_lxc.c, bpf_host.c, bpf_overlay.c, bpf_sock.c, bpf/lib/{common,lb,nodeport,identity}.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

from msgspec import structs

from netinspect.cni.cilium_maps import (
    IPCACHE,
    POLICIES,
    SECTIONS,
    SERVICES,
    Backend,
    Endpoint,
    Frontend,
    Maps,
    Peer,
    parse,
)
from netinspect.cni.cilium_policy import rule
from netinspect.model.evidence import Section
from netinspect.model.packet import ICMP, ICMPV6, PORTED, Packet, text
from netinspect.model.packet import end as written
from netinspect.model.programs import Action, Emit, HandOver, Inject, Known, Note, Outcome, Pass, Programs, Stop, Wrap
from netinspect.model.walk import Stage, Verdict

# Reserved identities (pkg/identity/numericidentity.go).
_HOST, _WORLD, _REMOTE_NODE, _API_SERVER = 1, 2, 6, 7
_NODES: Final = frozenset({_HOST, _REMOTE_NODE, _API_SERVER})
# What a mark says of who has sent a packet (bpf/lib/common.h: MARK_MAGIC_…).
_MAGIC, _FROM_HOST, _IDENTITY, _FROM_PROXY, _OVERLAY = 0xF00, 0xC00, 0xF00, frozenset({0xA00, 0xB00}), 0x400
# The source of what a Service leads back to its own sender (IPV4_LOOPBACK).
_LOOPBACK: Final = (169 << 24) | (254 << 16) | (42 << 8) | 1
_LOOPBACK_NETWORK: Final = 127
_SETTLES: Final = "`cilium-dbg monitor` in the agent, or a probe"
# What a frontend may be without any turn that is not modelled (pkg/loadbalancer: ServiceFlags.String()).
_PLAIN_FLAGS: Final = frozenset({
    "ClusterIP", "NodePort", "LoadBalancer", "HostPort", "ExternalIPs", "Local", "InternalLocal", "two-scopes",
    "sessionAffinity", "non-routable",
})  # fmt: skip
# A local CIDR's identity, which means the world to other nodes (pkg/identity: IdentityScopeLocal).
_LOCAL_SCOPE: Final = 1 << 24
_POD_DEVICE: Final = re.compile(r"lxc(?:_health|[0-9a-f]{8,})")
_OWN_DEVICES: Final = frozenset({"cilium_host", "cilium_net", "cilium_vxlan", "cilium_geneve"})
_TUNNELS: Final = frozenset({"cilium_vxlan", "cilium_geneve"})

Ends = tuple[int, int, int, int, int, int]


class _Restored(NamedTuple):
    """The ends that an answer gets back, of which a request was translated."""

    src: int
    sport: int
    dst: int
    dport: int


@dataclass(frozen=True)
class _At:
    """A packet on its way through the programs: what was found, what the maps hold, and what they hold from then on."""

    packet: Packet
    known: Known
    notes: tuple[Note, ...] = ()
    keep: tuple[tuple[Hashable, Hashable], ...] = ()

    def noted(self, said: str, section: str = "", line: int = 0, about: str = "", **fields: object) -> _At:
        """Note something, and change the packet."""
        packet = structs.replace(self.packet, **fields)
        return replace(self, packet=packet, notes=(*self.notes, Note(said, packet, section, line, about)))

    def kept(self, key: Hashable, value: Hashable = True) -> _At:
        """Put something into the maps."""
        return replace(self, keep=(*self.keep, (key, value)))

    def ends(self, action: Action) -> Outcome:
        """End the way with an action."""
        return Outcome(action, self.notes, self.keep)

    def stops(self, verdict: Verdict, reason: str) -> Outcome:
        """End the way of the packet."""
        return self.ends(Stop(self.packet, verdict, reason, _SETTLES if verdict is Verdict.UNKNOWN else ""))

    def unknown(self, reason: str) -> Outcome:
        """End the way where nobody can tell it."""
        return self.stops(Verdict.UNKNOWN, reason)

    def restored(self, name: str) -> Packet | None:
        """Give an answer the ends that its request had; None where the maps hold nothing of it."""
        back = self.known.get((name, _ends(self.packet)))
        if not isinstance(back, _Restored):
            return None
        return structs.replace(
            self.packet, src=back.src, sport=back.sport, dst=back.dst, dport=back.dport, key=None
        )  # fmt: skip


def _ends(packet: Packet) -> Ends:
    """Give what Cilium's connection tracking knows a packet by."""
    if packet.protocol in (ICMP, ICMPV6):
        return packet.family, packet.protocol, packet.src, packet.ident, packet.dst, packet.ident
    return packet.family, packet.protocol, packet.src, packet.sport, packet.dst, packet.dport


def _inverse(ends: Ends) -> Ends:
    family, protocol, src, sport, dst, dport = ends
    return family, protocol, dst, dport, src, sport


def _mark(identity: int, magic: int) -> int:
    """Give the mark that says whose a packet is (set_identity_mark)."""
    return (identity & 0xFFFF) << 16 | magic | identity >> 16 & 0xFF


def _aim(packet: Packet) -> str:
    return written(packet.dst, packet.dport, packet.family)


class Dark:
    """The programs of a node whose maps were not read, or cannot be: nobody can tell what they do."""

    stage = Stage.PROGRAM
    question = "what does Cilium's program at connect() do"

    def __init__(self, why: str) -> None:
        self._why = why

    def covers(self, dev: str, hook: str) -> bool:
        """Cover the devices at which Cilium always has programs."""
        return dev in _OWN_DEVICES or (_POD_DEVICE.fullmatch(dev) is not None and hook == "ingress")

    def at(self, dev: str, _hook: str, packet: Packet, known: Known) -> tuple[Outcome, ...]:
        """Say that it cannot be told."""
        return (_At(packet, known).unknown(f"Cilium's programs at {dev} decide, and {self._why}"),)

    def neighbour(self, _dev: str, _hook: str, _asked: Packet) -> None:
        """Say nothing: it is no switch."""

    def connect(self, packet: Packet, known: Known, *, host: bool) -> tuple[Outcome, ...]:  # noqa: ARG002 - protocol
        """Ask whether a program sends the socket elsewhere."""
        return _perhaps(_At(packet, known), f"Cilium's program at connect() decides, and {self._why}")


def _perhaps(at: _At, reason: str) -> tuple[Outcome, ...]:
    """Fork where a socket may be sent elsewhere, once for each connection."""
    key = ("connect", _ends(at.packet))
    if key in at.known:
        return (at.ends(Pass(at.packet)),)
    passes = structs.replace(at.kept(key).ends(Pass(at.packet)), name="it connects where it is asked to")
    return passes, structs.replace(at.unknown(reason), name="a program sends it elsewhere")


class Cilium:
    """The programs of a node whose maps were read."""

    stage = Stage.PROGRAM
    question = "which of the Service's backends does Cilium choose"

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self._settings = maps.settings

    def covers(self, dev: str, hook: str) -> bool:
        """Cover the pods' veths, Cilium's own devices, and those at which it serves node ports or masquerades."""
        at_wire = dev in self._settings.devices and (self._settings.node_ports or self._settings.masquerades)
        return dev in _OWN_DEVICES or (_POD_DEVICE.fullmatch(dev) is not None and hook == "ingress") or at_wire

    def at(self, dev: str, hook: str, packet: Packet, known: Known) -> tuple[Outcome, ...]:
        """Say what becomes of a packet at a device."""
        at = _At(packet, known)
        odd = self._settings.odd if packet.family == 4 else ("IPv6 in them",)
        if odd:
            return (at.unknown(f"Cilium's programs at {dev} decide, and {odd[0]} is not modelled"),)
        return tuple(self._program(dev, hook)(at))

    def neighbour(self, _dev: str, _hook: str, _asked: Packet) -> None:
        """Say nothing: it is no switch."""

    def _program(self, dev: str, hook: str) -> Callable[[_At], Iterable[Outcome]]:
        if hook == "ingress" and _POD_DEVICE.fullmatch(dev) is not None:
            return lambda at: self._from_container(at, dev)
        if hook == "egress" and dev == "cilium_host":
            return self._from_host
        if hook == "ingress" and dev in _TUNNELS:
            return self._from_overlay
        if dev in self._settings.devices:
            return self._from_wire if hook == "ingress" else self._to_wire
        return lambda at: (at.ends(Pass(at.packet)),)

    def connect(self, packet: Packet, known: Known, *, host: bool) -> tuple[Outcome, ...]:
        """Translate a Service before there is a packet (cil_sock4_connect)."""
        at = _At(packet, known)
        serves = self._settings.connects if host else self._settings.connects_pods
        if serves and packet.family != 4:
            return _perhaps(at, "Cilium's program at connect() decides, and IPv6 in it is not modelled")
        front = self._at_connect(packet, host=host) if serves else None
        if front is None:
            return (at.ends(Pass(packet)),)
        if not front.backends:
            at = self._served_by(at, front, f"{front.key} has no backend")
            return (at.stops(Verdict.UNREACHABLE, f"Cilium refuses to connect: {_aim(packet)} has no backend"),)
        return tuple(self._each(at, front, lambda to, _: to.ends(Pass(to.packet))))

    # Services

    def _front(self, packet: Packet) -> Frontend | None:
        """Find the Service of an address and port."""
        return self._maps.front((packet.family, packet.dst, packet.protocol, packet.dport), inside=True)

    def _at_connect(self, packet: Packet, *, host: bool) -> Frontend | None:
        """Find the Service as a socket sees it: node ports at any node (sock4_wildcard_lookup, sock4_skip_xlate)."""
        peer = self._maps.peer(packet.family, packet.dst)
        identity = peer.identity if peer is not None else _WORLD
        here = identity == _HOST or (host and packet.dst >> 24 == _LOOPBACK_NETWORK)
        found = self._front(packet)
        if found is None:
            found = self._maps.front((packet.family, 0, packet.protocol, packet.dport), inside=True)
            ported = found is not None and "NodePort" in found.flags and (here or identity in _NODES)
            hosted = found is not None and "HostPort" in found.flags and here
            found = found if ported or hosted else None
        if found is not None and not here and {"ExternalIPs", "HostPort"} & found.flags:
            return None
        return found

    @cached_property
    def _world(self) -> int:
        """Give the identity of what is outside, which is another where there are two families."""
        peer = self._maps.peer(4, 0)
        return peer.identity if peer is not None and peer.prefix.startswith("0.0.0.0/0") else _WORLD

    def _served_by(self, at: _At, front: Frontend, said: str, **fields: object) -> _At:
        return at.noted(f"Cilium: {said}", SERVICES, front.line, front.key, **fields)

    def _each(self, at: _At, front: Frontend, go: Callable[[_At, Backend], Outcome]) -> Iterable[Outcome]:
        """Go on to each backend, or to the one that the connection has already."""
        if front.flags - _PLAIN_FLAGS:
            yield at.unknown(f"Cilium's frontend {front.key} is of a kind that is not modelled")
            return
        chosen = at.known.get(("backend", _ends(at.packet)))
        backends = (chosen,) if isinstance(chosen, Backend) else front.backends
        if not backends:
            at = self._served_by(at, front, f"{front.key} has no backend")
            yield at.stops(Verdict.DROPPED, f"Cilium drops it: {_aim(at.packet)} has no backend")
        for backend in backends:
            name = written(backend.address, backend.port, at.packet.family)
            to = self._served_by(
                at, front, f"{_aim(at.packet)} → {name}", dst=backend.address, dport=backend.port
            ).kept(("backend", _ends(at.packet)), backend)  # fmt: skip
            yield structs.replace(go(to, backend), name=name, probability=1 / len(backends))

    # cil_from_container

    def _from_container(self, at: _At, dev: str) -> Iterable[Outcome]:
        packet = at.packet
        own = self._sender(at, dev)
        if isinstance(own, Outcome):
            return (own,)
        if (back := at.restored("loop")) is not None:
            return (replace(at, packet=back).noted("Cilium: back to the pod itself").ends(HandOver(back, dev)),)
        if (back := at.restored("node port")) is not None:
            return (replace(at, packet=back).noted("Cilium: the answer of a node port").ends(Emit(back)),)
        if packet.is_error or ("ingress", own.id, _inverse(_ends(packet))) in at.known:
            return (self._answers(at, own),)
        front = self._front(packet)
        if front is None or packet.protocol not in PORTED or self._settings.connects_pods:
            return (self._leaves(at, own),)

        def go(to: _At, backend: Backend) -> Outcome:
            if backend.address == packet.src:
                return self._loops(to, packet, dev)
            service = _Restored(packet.dst, packet.dport, packet.src, packet.sport)
            return self._leaves(to.kept(("service", _inverse(_ends(to.packet))), service), own)

        return self._each(at, front, go)

    def _sender(self, at: _At, dev: str) -> Endpoint | Outcome:
        own = self._maps.by_dev.get(dev)
        if own is None:
            return at.unknown(f"Cilium's agent has no endpoint at {dev}")
        known = self._maps.by_address.get((at.packet.family, at.packet.src))
        if known is not None and known.id == own.id:
            return known
        if not self._settings.verifies_sources:
            return at.unknown("Cilium lets pods send from any address here, and what becomes of it is not modelled")
        said = f"Cilium: {text(at.packet.src, at.packet.family)} is no address of the endpoint at {dev}"
        return at.stops(Verdict.DROPPED, said)

    def _answers(self, at: _At, own: Endpoint) -> Outcome:
        """Let out what answers, or is an error about, a connection that was let in (CT_REPLY, CT_RELATED)."""
        about = at.packet.inner
        if at.packet.is_error and (about is None or ("ingress", own.id, _ends(about)) not in at.known):
            return at.unknown("what an ICMP error is about is not known to Cilium's connection tracking here")
        return self._onwards(at.noted("Cilium: the answer to what was let in"), own)

    def _loops(self, at: _At, asked: Packet, dev: str) -> Outcome:
        """Lead a pod that asks a Service back to itself, from an address that is nobody's (lb4_local, loopback)."""
        at = at.noted("Cilium: to the pod itself", src=_LOOPBACK)
        back = _Restored(asked.dst, asked.dport, asked.src, asked.sport)
        return at.kept(("loop", _inverse(_ends(at.packet))), back).ends(HandOver(at.packet, dev))

    def _leaves(self, at: _At, own: Endpoint) -> Outcome:
        """Ask the egress policy of the sender, once for each connection."""
        packet = at.packet
        key = ("egress", own.id, _ends(packet))
        if key not in at.known:
            peer = self._maps.peer(packet.family, packet.dst)
            ruled = self._ruled(at, own, "egress", peer.identity if peer is not None else self._world)
            if isinstance(ruled, Outcome):
                return ruled
            at = ruled
        return self._onwards(at.kept(key), own)

    def _onwards(self, at: _At, own: Endpoint) -> Outcome:
        """Send on what a pod may send: to a pod here, to this host, into the tunnel, or up to the kernel."""
        place = (at.packet.family, at.packet.dst)
        if place in self._maps.by_address:
            return self._let_in(at, self._maps.by_address[place], own.identity)
        marked = structs.replace(at.packet, mark=_mark(own.identity, _IDENTITY))
        if place in self._maps.own:
            return at.ends(Inject(marked, "cilium_host"))
        peer = self._maps.peer(*place)
        if peer is not None and peer.tunnel and self._settings.tunnelled:
            return self._into_tunnel(at, peer, own.identity)
        if not self._settings.legacy_routing or self._settings.masquerades:
            return at.unknown("Cilium routes or masquerades it itself (in eBPF), which is not modelled")
        return at.ends(Pass(marked))

    def _into_tunnel(self, at: _At, peer: Peer, identity: int) -> Outcome:
        """Wrap it, with the sender's identity as key; the host is a remote node to others (encap_with_nodeid)."""
        if peer.odd:
            return at.unknown(f"Cilium's ipcache notes {peer.prefix} with what is not modelled")
        key = _REMOTE_NODE if identity == _HOST else identity
        about = f"{peer.prefix} identity={peer.identity} tunnelendpoint={peer.tunnel}"
        at = at.noted(
            f"Cilium: {peer.prefix} is behind {peer.tunnel}", IPCACHE, peer.line, about, mark=_mark(key, _OVERLAY)
        )
        return at.ends(Wrap(at.packet, self._settings.tunnel_device, peer.tunnel, key))

    # Into a pod: tail_ipv4_policy

    def _let_in(self, at: _At, pod: Endpoint, identity: int) -> Outcome:
        """Ask the ingress policy of the receiver, once for each connection, and undo a Service's translation."""
        packet = at.packet
        if not pod.dev:
            return at.unknown(f"the interface of Cilium's endpoint {pod.id} is not known")
        asked = _inverse(_ends(packet))
        if packet.is_error and packet.inner is not None:
            asked = _ends(packet.inner)
        if ("egress", pod.id, asked) in at.known:
            back = None if packet.is_error else at.restored("service")
            at = replace(at, packet=back or packet).noted("Cilium: the answer to what was let out")
            return at.ends(HandOver(at.packet, pod.dev))
        key = ("ingress", pod.id, _ends(packet))
        if key not in at.known:
            ruled = self._ruled(at, pod, "ingress", identity)
            if isinstance(ruled, Outcome):
                return ruled
            at = ruled
        return at.kept(key).ends(HandOver(packet, pod.dev))

    def _ruled(self, at: _At, pod: Endpoint, direction: str, identity: int) -> _At | Outcome:
        """Let a pod's policy decide; give how it ends where it does not pass."""
        ruling = rule(self._maps, pod, direction, identity, at.packet)
        at = at.noted(ruling.said, POLICIES, self._maps.policy_lines.get(pod.id, 0), f"endpoint {pod.id}")
        if ruling.allowed:
            return at
        return at.unknown(ruling.said) if ruling.allowed is None else at.stops(Verdict.DROPPED, ruling.said)

    # cil_from_host, cil_from_overlay

    def _from_host(self, at: _At) -> Iterable[Outcome]:
        packet = at.packet
        magic = packet.mark & _MAGIC
        if magic in _FROM_PROXY:
            return (at.unknown("it comes from Cilium's proxy, which is not modelled"),)
        identity = self._world
        if magic == _FROM_HOST:
            identity = _HOST
        elif magic == _IDENTITY:
            identity = (packet.mark & 0xFF) << 16 | packet.mark >> 16
        if identity == self._world or identity in _NODES:
            # What was masqueraded here has this host's address, and is not from it (resolve_srcid_ipv4).
            peer = self._maps.peer(packet.family, packet.src)
            if peer is not None and peer.identity not in (0, _HOST):
                identity = peer.identity
        return (self._towards(at, identity),)

    def _from_overlay(self, at: _At) -> Iterable[Outcome]:
        packet = at.packet
        if (back := at.restored("source")) is not None:
            return (replace(at, packet=back).noted("Cilium: the answer of a node port").ends(Emit(back)),)
        identity = packet.key or self._world
        if identity in _NODES:
            peer = self._maps.peer(packet.family, packet.src)
            identity = peer.identity if peer is not None and peer.identity else identity
        at = replace(at, packet=structs.replace(packet, key=None, mark=_mark(identity, _IDENTITY)))
        place = (packet.family, packet.dst)
        if place in self._maps.own:
            return (at.ends(Inject(at.packet, "cilium_host")),)
        if place in self._maps.by_address:
            return (self._towards(at, identity),)
        return (at.unknown(f"Cilium's agent here has no endpoint with {text(packet.dst, packet.family)}"),)

    def _towards(self, at: _At, identity: int) -> Outcome:
        place = (at.packet.family, at.packet.dst)
        if place in self._maps.by_address:
            return self._let_in(at, self._maps.by_address[place], identity)
        peer = self._maps.peer(*place)
        if place not in self._maps.own and peer is not None and peer.tunnel and self._settings.tunnelled:
            return self._into_tunnel(at, peer, identity)
        return at.ends(Pass(at.packet))

    # cil_from_netdev, cil_to_netdev

    def _from_wire(self, at: _At) -> Iterable[Outcome]:
        """Serve node ports and outer addresses at the wire (nodeport_lb4)."""
        packet = at.packet
        place = (packet.family, packet.dst, packet.protocol, packet.dport)
        asked = self._settings.node_ports and packet.protocol in PORTED
        front = self._maps.front(place, inside=False) if asked else None
        if front is None:
            if not self._settings.legacy_routing and place[:2] in self._maps.by_address:
                return (at.unknown("Cilium hands it on itself (host routing in eBPF), which is not modelled"),)
            return (at.ends(Pass(packet)),)
        if "non-routable" in front.flags:
            at = self._served_by(at, front, f"{front.key} is for inside the cluster")
            return (at.stops(Verdict.DROPPED, f"Cilium drops what comes from outside for {_aim(packet)}"),)
        if not front.backends and self._settings.rejects:
            return (at.unknown(f"{_aim(packet)} has no backend: Cilium drops it or answers with an error"),)
        back = _Restored(packet.dst, packet.dport, packet.src, packet.sport)
        return self._each(at, front, lambda to, backend: self._to_backend(to, back, backend))

    def _to_backend(self, at: _At, back: _Restored, backend: Backend) -> Outcome:
        """Lead what came to a node port to a pod here, or from cilium_host's address to another node's."""
        family = at.packet.family
        if (family, backend.address) in self._maps.by_address:
            return at.kept(("node port", _inverse(_ends(at.packet))), back).ends(Pass(at.packet))
        peer = self._maps.peer(family, backend.address)
        router = self._settings.router
        if peer is None or not peer.tunnel or not self._settings.tunnelled or router is None:
            return at.unknown(f"Cilium sends it on to {_aim(at.packet)} outside its tunnel, which is not modelled")
        at = at.noted(f"Cilium: from {text(router, family)}, so that the answer comes back here", src=router)
        client = self._maps.peer(family, back.dst)
        identity = client.identity if client is not None and client.identity < _LOCAL_SCOPE else self._world
        return self._into_tunnel(at.kept(("source", _inverse(_ends(at.packet))), back), peer, identity)

    def _to_wire(self, at: _At) -> Iterable[Outcome]:
        if self._settings.masquerades and (at.packet.family, at.packet.src) in self._maps.by_address:
            return (at.unknown("Cilium masquerades in eBPF, which is not modelled"),)
        return (at.ends(Pass(at.packet)),)


def load(sections: Mapping[str, Section]) -> Programs:
    """Give the programs of a node by what its agent said; dark ones where it did not, or in another form."""
    unread = [name for name in SECTIONS if name not in sections or not sections[name].answered or sections[name].cut]
    if unread:
        return Dark(f"{unread[0].partition(':')[2]} of its agent was not read")
    try:
        return Cilium(parse(sections))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Dark(f"what its agent says of its maps cannot be read: {error}")
