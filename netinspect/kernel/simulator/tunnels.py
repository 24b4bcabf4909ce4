"""Tunnels: a frame becomes the load of another packet, and comes out of it again.

Sources: drivers/net/vxlan/vxlan_core.c, drivers/net/geneve.c, net/ipv4/ip_tunnel.c, ipip.c, ip_gre.c, net/ipv6/sit.c,
drivers/net/wireguard/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import structs

from netinspect.kernel.simulator.fib import prefix
from netinspect.kernel.simulator.forks import Way
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.states import Arrive, Send, State, Transmit
from netinspect.kernel.simulator.traversal import unreachable
from netinspect.kernel.simulator.walk import Walk
from netinspect.model.kernel import FdbEntry, GeneveData, Link, TunnelData, VxlanData, WireguardDevice, WireguardPeer
from netinspect.model.packet import BITS, BROADCAST_MAC, GRE, IPIP, IPV6, UDP, Packet, Tunnel, number, text
from netinspect.model.programs import Wrap
from netinspect.model.walk import End, Pointer, Stage, Verdict

_IP_HEADER: Final = {4: 20, 6: 40}
_UDP_HEADER: Final = 8
_VXLAN_HEADER: Final = 8
_GENEVE_HEADER: Final = 8
_OPTION_HEADER: Final = 4
_ETHERNET_HEADER: Final = 14
_GRE_HEADER: Final = 4
_WIREGUARD_HEADER: Final = 32
# To how many bytes a load is filled up (MESSAGE_PADDING_MULTIPLE).
_WIREGUARD_BLOCK: Final = 16
_ANYBODY: Final = "00:00:00:00:00:00"
_DRAWN: Final = frozenset({"sport"})
# How many devices may send through one another (XMIT_RECURSION_LIMIT in include/linux/netdevice.h).
_MOST_TUNNELS: Final = 8
# The lowest source port that the kernel takes for the outer packet (udp_flow_src_port), which stands for all.
_OUTER_PORT: Final = 49152
_TITLES: Final = {"vxlan": "VXLAN", "geneve": "Geneve"}
_IPV4_KINDS: Final = {"ipip": IPIP, "sit": IPV6, "gre": GRE, "gretap": GRE}


def outer(packet: Packet, family: int, src: int, dst: int, protocol: int, overhead: int, **fields: object) -> Packet:
    """Give the packet that carries another; the mark and the sender's socket stay with it (iptunnel_xmit)."""
    size = (packet.fragment or packet.size) + _IP_HEADER[family] + overhead
    made = Packet(
        family=family, src=src, dst=dst, protocol=protocol, size=size, inner=packet, mark=packet.mark, uid=packet.uid,
        gid=packet.gid,
    )  # fmt: skip
    return structs.replace(made, **fields)


def in_tunnel(packet: Packet, family: int, remote: int) -> Packet:
    """Give a packet in IPIP."""
    return outer(packet, family, 0, remote, IPIP if packet.family == 4 else IPV6, 0)


def _depth(packet: Packet) -> int:
    depth = 0
    while packet.inner is not None:
        packet, depth = packet.inner, depth + 1
    return depth


def encapsulate(walk: Walk, state: Transmit, link: Link) -> State | End:
    """Wrap what a tunnel's device is to send."""
    if _depth(state.packet) >= _MOST_TUNNELS:
        said = f"{link.ifname} carries its own packets, again and again"
        return End(Verdict.DROPPED, said, state.stack.name, state.packet, state.stack.pointer("links"))
    data = link.data
    if isinstance(data, VxlanData):
        return _vxlan(walk, state, link, data)
    if isinstance(data, GeneveData):
        return _geneve(walk, state, link, data)
    if isinstance(data, TunnelData):
        return _tunnel(walk, state, link, data)
    return _wireguard(walk, state, link)


def _vxlan(walk: Walk, state: Transmit, link: Link, data: VxlanData) -> State | End:
    stack, packet = state.stack, state.packet
    if data.external:
        return _untold(state, link)
    walk.needs(stack, "fdb")
    entries = [e for e in stack.fdb.get((link.ifname, packet.dmac), ()) if e.dst]
    entries = entries or _flooded(walk, stack, link, packet)
    if len(entries) > 1 and packet.dmac not in ("", BROADCAST_MAC):
        said = f"it is flooded to {len(entries)} others, and none that was read has {packet.dmac}"
        return End(Verdict.UNKNOWN, said, stack.name, packet, stack.pointer("fdb", entries[0].line), settles="a probe")
    evidence = stack.pointer("fdb", entries[0].line, f"{entries[0].mac} dst {entries[0].dst}") if entries else None
    remote = entries[0].dst if entries else data.remote or data.remote6
    if not remote:
        said = f"{link.ifname} has no forwarding entry for {packet.dmac or 'its next hop'}"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("fdb"))
    family, dst = number(remote)
    local = data.local if family == 4 else data.local6
    port = (entries[0].port if entries else None) or data.port
    vni = entries[0].vni if entries and entries[0].vni is not None else data.id
    made = outer(
        packet, family, number(local)[1] if local else 0, dst, UDP,
        _UDP_HEADER + _VXLAN_HEADER + _ETHERNET_HEADER, sport=_OUTER_PORT, dport=port, loose=_DRAWN, key=vni,
        df=data.df == "set" or (data.df == "inherit" and packet.df), ttl=_ttl(data.ttl, packet),
    )  # fmt: skip
    walk.step(stack, Stage.ENCAPSULATE, f"{link.ifname}: VXLAN {vni} to {remote}", made, evidence)
    return Send(stack, made, data.link, past=link.ifname)


def _flooded(walk: Walk, stack: Stack, link: Link, packet: Packet) -> list[FdbEntry]:
    """Give to whom a frame for an unknown MAC goes: to all, of whom the one counts that has it."""
    everybody = [e for e in stack.fdb.get((link.ifname, _ANYBODY), ()) if e.dst]
    for entry in everybody if len(everybody) > 1 else ():
        far = (k for s in walk.world.owners(*number(entry.dst)) for k in s.namespace.links)
        if any(k.address.lower() == packet.dmac for k in far):
            return [entry]
    return everybody


def _geneve(walk: Walk, state: Transmit, link: Link, data: GeneveData) -> State | End:
    remote = data.remote or data.remote6
    if data.external or not remote:
        return _untold(state, link)
    family, dst = number(remote)
    made = outer(
        state.packet, family, 0, dst, UDP, _UDP_HEADER + _GENEVE_HEADER + _ETHERNET_HEADER, sport=_OUTER_PORT,
        dport=data.port, loose=_DRAWN, key=data.id, df=data.df == "set", ttl=_ttl(data.ttl, state.packet),
    )  # fmt: skip
    walk.step(state.stack, Stage.ENCAPSULATE, f"{link.ifname}: Geneve {data.id} to {remote}", made)
    return Send(state.stack, made, past=link.ifname)


def by_metadata(walk: Walk, state: Transmit, link: Link, told: Wrap) -> State | End:
    """Wrap what a program sends through a tunnel's device that is told for each packet where to (ip_tunnel_key)."""
    stack, packet, data = state.stack, state.packet, link.data
    if not isinstance(data, (VxlanData, GeneveData)):
        return _untold(state, link)
    family, dst = number(told.remote)
    header = _VXLAN_HEADER if isinstance(data, VxlanData) else _GENEVE_HEADER
    header += sum(_OPTION_HEADER + length for _, _, length, _ in told.options)
    made = outer(
        structs.replace(packet, tunnel=None), family, number(told.local)[1] if told.local else 0, dst, UDP,
        _UDP_HEADER + header + _ETHERNET_HEADER, sport=_OUTER_PORT, dport=data.port, loose=_DRAWN, key=told.key,
        options=told.options, df=told.df,
    )  # fmt: skip
    title = _TITLES.get(link.kind, link.kind)
    walk.step(stack, Stage.ENCAPSULATE, f"{link.ifname}: {title} {told.key} to {told.remote}", made)
    return Send(stack, made, past=link.ifname)


def _untold(state: Transmit, link: Link) -> End:
    said = f"{link.ifname} is told by a program or route where to send"
    return End(Verdict.UNKNOWN, said, state.stack.name, state.packet, settles="the program's own maps, or a probe")


def _tunnel(walk: Walk, state: Transmit, link: Link, data: TunnelData) -> State | End:
    stack, packet = state.stack, state.packet
    protocol = _IPV4_KINDS.get(link.kind)
    if protocol is None or data.external:
        said = f"tunnels of kind {link.kind} are not modelled"
        return End(Verdict.UNKNOWN, said, stack.name, packet, settles="a probe")
    if link.kind == "ipip" and packet.family == 6:
        return End(Verdict.DROPPED, f"{link.ifname} carries IPv4 only", stack.name, packet)
    remote = _any(data.remote)
    if not remote:
        # Without a far end of its own the next hop is it, as Calico and kube-router use it (ip_tunnel_xmit).
        remote = state.nexthop if state.nexthop is not None else packet.dst
    key = _key(data.okey)
    overhead = (_GRE_HEADER + 4 * (key is not None)) if protocol == GRE else 0
    overhead += _ETHERNET_HEADER if link.kind == "gretap" else 0
    made = outer(
        packet, 4, _any(data.local), remote, protocol, overhead, key=key, ttl=_ttl(data.ttl, packet),
        df=data.pmtudisc or (packet.df and not data.ignore_df),
    )  # fmt: skip
    walk.step(stack, Stage.ENCAPSULATE, f"{link.ifname}: {link.kind} to {text(remote, 4)}", made)
    return Send(stack, made, data.link, past=link.ifname)


def _any(address: str) -> int:
    return 0 if address in ("", "any") else number(address)[1]


def _key(written: str) -> int | None:
    if not written:
        return None
    return number(written)[1] if "." in written else int(written)


def _ttl(said: int | str | None, packet: Packet) -> int:
    if said in (None, 0, "0", "auto"):
        return 64
    return packet.ttl if said == "inherit" else int(said or 64)


def _wireguard(walk: Walk, state: Transmit, link: Link) -> State | End:
    """Choose the peer by its allowed addresses (wg_xmit, wg_allowedips_lookup_dst)."""
    stack, packet = state.stack, state.packet
    walk.needs(stack, "wireguard-allowed-ips", "wireguard-endpoints")
    peer = _peer(stack, {link.ifname}, packet.dst, packet.family)
    if peer is None:
        said = f"no peer of {link.ifname} is allowed {text(packet.dst, packet.family)}"
        return _refused_by_wireguard(stack, packet, said, stack.pointer("wireguard-allowed-ips"))
    evidence = stack.pointer("wireguard-endpoints", text=f"{peer.dev} {peer.public_key} {peer.endpoint or '(none)'}")
    if not peer.endpoint:
        return _refused_by_wireguard(stack, packet, f"the peer of {link.ifname} has no endpoint", evidence)
    if peer.latest_handshake is None:
        ways = (Way("it succeeds"), Way("it fails"))
        asked = f"does the handshake of {link.ifname} of {stack.name} with {peer.endpoint} succeed: there was none yet"
        if walk.forks.take(asked, ways, evidence, once=(stack.name, link.ifname, peer.public_key)):
            said = f"{link.ifname} and its peer {peer.endpoint} have no session"
            return End(Verdict.DROPPED, said, stack.name, packet, evidence)
    family, dst, port = endpoint(peer.endpoint)
    device = stack.wireguard.get(link.ifname, WireguardDevice(dev=link.ifname))
    if device.fwmark is None and any(rule.fwmark is not None for rule in stack.fib.rules[family]):
        # wg-quick and Calico mark what the device sends, so that it does not come back to it.
        walk.needs(stack, "wireguard-fwmark")
    padded = -(-packet.size // _WIREGUARD_BLOCK) * _WIREGUARD_BLOCK
    carried = structs.replace(packet, size=max(packet.size, min(padded, link.mtu)))
    made = outer(
        carried, family, 0, dst, UDP, _UDP_HEADER + _WIREGUARD_HEADER, sport=device.listen_port or port, dport=port,
        loose=frozenset() if device.listen_port else _DRAWN, uid=None, gid=None, mark=device.fwmark or 0,
        keys=(device.public_key, peer.public_key), inner=packet,
    )  # fmt: skip
    walk.step(stack, Stage.ENCAPSULATE, f"{link.ifname}: WireGuard to {peer.endpoint}", made, evidence)
    return Send(stack, made, past=link.ifname)


def endpoint(written: str) -> tuple[int, int, int]:
    """Read a peer's endpoint, such as ``[fd00::1]:51820``: its family, address and port."""
    address, _, port = written.rpartition(":")
    return *number(address.strip("[]")), int(port)


def _refused_by_wireguard(stack: Stack, packet: Packet, said: str, evidence: Pointer) -> End:
    """Tell the sender, by the address that it had before it was translated here (icmp_ndo_send)."""
    answer = unreachable(packet, 1 if packet.family == 4 else 3)
    stage = Stage.ENCAPSULATE
    return End(Verdict.UNREACHABLE, said, stack.name, packet, evidence, answer=answer, stage=stage)


def decapsulate(walk: Walk, stack: Stack, packet: Packet) -> State | End | None:
    """Take the load out of what has come to its end; None where no tunnel here is meant."""
    if packet.inner is None or packet.is_error:
        return None
    if packet.protocol == UDP:
        return _out_of_udp(walk, stack, packet, packet.inner)
    if packet.protocol in (IPIP, IPV6, GRE):
        return _out_of_ip(walk, stack, packet, packet.inner)
    return None


def _outer_family(link: Link) -> int | None:
    """Give the family of the packets that carry a tunnel's load; None where it is either."""
    data = link.data
    if not isinstance(data, (VxlanData, GeneveData)) or data.external:
        return None
    six = data.remote6 or (data.local6 if isinstance(data, VxlanData) else "")
    return 6 if six else 4


def _out_of_udp(walk: Walk, stack: Stack, packet: Packet, inner: Packet) -> State | End | None:
    kinds: dict[type, Callable[[Link], bool]] = {
        VxlanData: lambda k: isinstance(k.data, VxlanData) and k.data.port == packet.dport,
        GeneveData: lambda k: isinstance(k.data, GeneveData) and k.data.port == packet.dport,
    }
    # A device has a socket of the family of its ends alone, so that two may share port and identifier (vxlan_sock_add).
    every = [
        k for k in stack.namespace.links
        if any(fits(k) for fits in kinds.values()) and _outer_family(k) in (packet.family, None)
    ]  # fmt: skip
    mine = [k for k in every if k.up]
    down = [k.ifname for k in every if not k.up and getattr(k.data, "id", None) == packet.key]
    if down and not mine:
        # Its socket goes with it (vxlan_stop, geneve_stop).
        said = f"{down[0]}, which would take it out of its tunnel, is down"
        return End(Verdict.REFUSED, said, stack.name, packet, stack.pointer("links"))
    for link in mine:
        if getattr(link.data, "id", None) == packet.key or getattr(link.data, "external", False):
            if (
                isinstance(link.data, VxlanData)
                and link.data.learning
                and (fixed := _fixed(stack, link, packet, inner))
            ):
                said = f"{inner.smac} has a fixed entry behind {fixed.dst}, and this came from elsewhere"
                evidence = stack.pointer("fdb", fixed.line, f"{fixed.mac} dst {fixed.dst}")
                return End(Verdict.DROPPED, said, stack.name, packet, evidence)
            made = _unwrapped(packet, inner)
            walk.step(stack, Stage.DECAPSULATE, f"out of {link.kind} on {link.ifname}", made)
            if getattr(link.data, "external", False):
                told = Tunnel(packet.family, packet.src, packet.dst, packet.options)
                made = structs.replace(made, key=packet.key, tunnel=told)
            return Arrive(stack, made, link.ifname)
    if mine:
        said = f"no tunnel here has the network identifier {packet.key}"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("links"))
    return _out_of_wireguard(walk, stack, packet, inner)


def _fixed(stack: Stack, link: Link, packet: Packet, inner: Packet) -> FdbEntry | None:
    """Give the entry of a sender that is not to move, where its frame came from another place (vxlan_snoop)."""
    for entry in stack.fdb.get((link.ifname, inner.smac.lower()), ()):
        if entry.dst and "permanent" in entry.state and number(entry.dst)[1] != packet.src:
            return entry
    return None


def _peer(stack: Stack, devices: set[str], address: int, family: int) -> WireguardPeer | None:
    """Give the peer to which an address belongs, by the longest of the allowed prefixes (allowedips.c)."""
    best: tuple[int, WireguardPeer] | None = None
    for peer in stack.namespace.wireguard:
        for allowed in peer.allowed_ips if peer.dev in devices else ():
            if (":" in allowed) == (family == 6):
                value, bits = prefix(allowed, family)
                shift = BITS[family] - bits
                if address >> shift == value >> shift and (best is None or bits > best[0]):
                    best = bits, peer
    return best[1] if best else None


def _out_of_wireguard(walk: Walk, stack: Stack, packet: Packet, inner: Packet) -> State | End | None:
    """Take it from the peer whose key it was encrypted with, if that may send from its address (wg_packet_rx_poll)."""
    walk.needs(stack, "wireguard-allowed-ips", "wireguard-listen-port")
    devices = {k.ifname for k in stack.namespace.links if k.kind == "wireguard" and k.up}
    devices = {dev for dev in devices if _listens(stack.wireguard.get(dev), packet.dport)}
    if not devices or packet.key is not None:
        return None
    sender, aim = packet.keys or ("", "")
    if aim and all(d.public_key not in ("", aim) for d in map(stack.wireguard.get, devices) if d is not None):
        said = f"no WireGuard device here has the key {aim}, which it is for"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("wireguard-public-key"))
    if sender and not any(p.public_key == sender for p in stack.namespace.wireguard if p.dev in devices):
        said = f"no peer of {', '.join(sorted(devices))} has the key {sender}, with which it was sent"
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("wireguard-endpoints"))
    peer = _peer(stack, devices, inner.src, inner.family)
    if peer is None or (sender and peer.public_key != sender):
        said = f"{'no peer here' if peer is None else 'another peer than this'} is allowed to send from "
        said += text(inner.src, inner.family)
        return End(Verdict.DROPPED, said, stack.name, packet, stack.pointer("wireguard-allowed-ips"))
    # What was beside it, the mark too, is gone (wg_reset_packet).
    made = structs.replace(_bare(_unwrapped(packet, inner)), mark=0)
    walk.step(stack, Stage.DECAPSULATE, f"out of WireGuard on {peer.dev}", made)
    return Arrive(stack, made, peer.dev)


def _listens(device: WireguardDevice | None, port: int) -> bool:
    return device is None or device.listen_port in (None, port)


def _out_of_ip(walk: Walk, stack: Stack, packet: Packet, inner: Packet) -> State | End | None:
    """Find the tunnel for both ends, the most particular first (ip_tunnel_lookup)."""
    best: tuple[int, Link] | None = None
    for link in stack.namespace.links:
        data = link.data
        if not isinstance(data, TunnelData) or _IPV4_KINDS.get(link.kind) != packet.protocol or not link.up:
            continue
        remote, local = _any(data.remote), _any(data.local)
        if (remote and remote != packet.src) or (local and local != packet.dst):
            continue
        if packet.protocol == GRE and _key(data.ikey) != packet.key:
            continue
        score = 2 * bool(remote) + bool(local)
        if best is None or score > best[0]:
            best = score, link
    if best is None:
        return None
    made = _unwrapped(packet, inner)
    if best[1].kind != "gretap":
        made = _bare(made)
    walk.step(stack, Stage.DECAPSULATE, f"out of {best[1].kind} on {best[1].ifname}", made)
    return Arrive(stack, made, best[1].ifname)


def _unwrapped(packet: Packet, inner: Packet) -> Packet:
    """Give the load; the mark stays, as it does within one namespace (skb_scrub_packet)."""
    return structs.replace(
        inner, mark=packet.mark, connection=None, reply=False, state="", uid=None, gid=None, balanced=False, steered=0
    )


def _bare(packet: Packet) -> Packet:
    """Give a packet without the frame that it came in before its tunnel, which carries none (ip_tunnel_rcv)."""
    return structs.replace(packet, dmac="", smac="")
