"""A frame in an OpenFlow pipeline: its fields and registers as numbers, and the bits of them that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec import structs

from netinspect.cni.openflow import ARP, IPV4, IPV6, KIND_NAMES, LOCAL, TAGGED, Match, Place, mac
from netinspect.cni.openflow_tracking import Tracked
from netinspect.model.packet import BROADCAST_MAC, ICMP, ICMPV6, PORTED, SCTP, TCP, UDP, Packet, text

_ICMP_KINDS: Final = {IPV4: ICMP, IPV6: ICMPV6}
_WHOLE: Final = {"tp_src": 0xFFFF, "tp_dst": 0xFFFF, "ip_src": 2**32 - 1, "ip_dst": 2**32 - 1, "ip_tos": 0xFF,
                 "ipv6_src": 2**128 - 1, "ipv6_dst": 2**128 - 1, "ip_ttl": 0xFF}  # fmt: skip
# What else a frame has from the start.
_EMPTY: Final = dict.fromkeys(
    ("xxreg0", "xxreg1", "xxreg2", "xxreg3", "metadata", "ct_state", "ct_zone", "ct_mark", "ct_label", "conj_id",
     "tun_id", "tun_src", "tun_dst", "tun_flags", "vlan_tci", "skb_priority"), 0,
)  # fmt: skip


@dataclass
class Frame:
    """What a pipeline matches on and changes; a field that is not in ``fields`` is one that the frame does not have.

    ``unknown`` has the bits of which nobody knows what they are. ``packet`` is what it was when it came.
    """

    fields: dict[str, int]
    packet: Packet
    unknown: dict[str, int] = field(default_factory=dict)
    tracked: Tracked | None = None

    def copy(self) -> Frame:
        """Give another one with the same in it."""
        return replace(self, fields=dict(self.fields), unknown=dict(self.unknown))

    def fits(self, match: Match) -> bool | None:
        """Say whether it is what a flow asks for; None where that hangs on what nobody knows."""
        certain = not match.strange
        for base, wanted, mask in match.asked:
            if base not in self.fields:
                # What tunnels and connections have is 0 where there is none; of all else a flow asks for what there is.
                if wanted or not base.startswith(("tun_", "ct_")):
                    return False
                continue
            dark = self.unknown.get(base, 0)
            if (self.fields[base] ^ wanted) & mask & ~dark:
                return False
            certain = certain and not mask & dark
        return True if certain else None

    def has(self, place: Place) -> bool:
        """Say whether it has a field at all."""
        return place.base in self.fields or place.base.startswith("tun_metadata")

    def get(self, place: Place) -> int:
        """Give what is in a field."""
        return self.fields.get(place.base, 0) >> place.low & ((1 << place.bits) - 1)

    def dark(self, place: Place) -> int:
        """Give the bits of a field that nobody knows."""
        return self.unknown.get(place.base, 0) >> place.low & ((1 << place.bits) - 1)

    def put(self, place: Place, what: int, mask: int | None = None, dark: int = 0) -> None:
        """Put something into a field, where ``mask`` has bits; of which ``dark`` nobody knows."""
        every = (1 << place.bits) - 1
        mask = (every if mask is None else mask & every) << place.low
        self.fields[place.base] = self.fields.get(place.base, 0) & ~mask | what << place.low & mask
        left = self.unknown.get(place.base, 0) & ~mask | dark << place.low & mask
        self.unknown[place.base] = left

    def track(self, tracked: Tracked | None) -> None:
        """Take what connection tracking says of it."""
        self.tracked = tracked
        told = tracked.fields() if tracked is not None else {}
        for base in ("ct_state", "ct_zone", "ct_mark", "ct_label"):
            self.unknown.pop(base, None)
        for base in ("ct_state", "ct_zone", "ct_mark", "ct_label"):
            self.fields[base] = told.get(base, 0)
        for base in [b for b in self.fields if b.startswith(("ct_nw_", "ct_ipv6_", "ct_tp_"))]:
            del self.fields[base]
        self.fields |= told

    @property
    def family(self) -> int:
        """Give its family, 0 where it is no IP."""
        return {IPV4: 4, IPV6: 6}.get(self.fields["eth_type"], 0)

    def as_packet(self) -> Packet:
        """Give the packet as it is now."""
        told = self.fields
        vlan = told["vlan_tci"] & 0xFFF if told["vlan_tci"] & TAGGED else 0
        made = structs.replace(
            self.packet, vlan=vlan, mark=told["pkt_mark"], smac=self._mac("eth_src"), dmac=self._mac("eth_dst")
        )
        if made.tunnel is not None:
            made = structs.replace(made, key=None, tunnel=None)
        if not self.family:
            return made
        prefix = "ip" if self.family == 4 else "ipv6"
        loose = self.packet.loose - {"sport", "dport", "src", "dst", "tos", "ttl"}
        names = {"src": f"{prefix}_src", "dst": f"{prefix}_dst", "sport": "tp_src", "dport": "tp_dst", "tos": "ip_tos",
                 "ttl": "ip_ttl"}  # fmt: skip
        loose |= {name for name, base in names.items() if self.unknown.get(base)}
        made = structs.replace(
            made, src=told[f"{prefix}_src"], dst=told[f"{prefix}_dst"], ttl=told["ip_ttl"], tos=told["ip_tos"],
            loose=frozenset(loose),
        )  # fmt: skip
        if "tp_src" in told:
            made = structs.replace(made, sport=told["tp_src"], dport=told["tp_dst"])
        if "icmp_type" in told:
            made = structs.replace(made, type=told["icmp_type"], code=told["icmp_code"])
        return made

    def _mac(self, base: str) -> str:
        return "" if self.unknown.get(base) else mac(self.fields[base])

    def as_flow(self) -> str:
        """Write it as ``ofproto/trace`` takes it, without hardware addresses that nobody knows."""
        told = self.fields
        port = "LOCAL" if told["in_port"] == LOCAL else str(told["in_port"])
        words = [f"in_port={port}"]
        known = (base for base in ("eth_src", "eth_dst") if not self.unknown.get(base))
        words += [f"dl_{base.removeprefix('eth_')}={mac(told[base])}" for base in known]
        if told["tun_id"] or told["tun_src"] or told["tun_dst"]:
            near, far = text(told["tun_dst"], 4), text(told["tun_src"], 4)
            words.append(f"tun_id={told['tun_id']:#x},tun_src={far},tun_dst={near}")
        words += [f"{base}={told[base]:#x}" for base in told if base.startswith("tun_metadata") and told[base]]
        if told["vlan_tci"]:
            words.append(f"dl_vlan={told['vlan_tci'] & 0xFFF}")
        if told["pkt_mark"]:
            words.append(f"pkt_mark={told['pkt_mark']:#x}")
        return ",".join([*words, *(self._as_ip() if self.family else ())])

    def _as_ip(self) -> Iterator[str]:
        told, family = self.fields, self.family
        plain, prefix, base = ("ip", "nw", "ip") if family == 4 else ("ipv6", "ipv6", "ipv6")
        yield KIND_NAMES.get((told["eth_type"], told["ip_proto"]), f"{plain},nw_proto={told['ip_proto']}")
        yield f"nw_ttl={told['ip_ttl']},nw_tos={told['ip_tos'] & 0xFC}"
        yield f"{prefix}_src={text(told[f'{base}_src'], family)},{prefix}_dst={text(told[f'{base}_dst'], family)}"
        # Ports and types go by the names that they have in their own protocol.
        own = {TCP: "tcp", UDP: "udp", SCTP: "sctp", ICMP: "icmp", ICMPV6: "icmpv6"}.get(told["ip_proto"])
        for name in ("tp_src", "tp_dst", "icmp_type", "icmp_code"):
            if name in told and own is not None:
                yield f"{own}_{name.partition('_')[2]}={told[name]}"
        if "tcp_flags" in told:
            yield f"tcp_flags={told['tcp_flags']:#x}"


def _number_of_mac(written: str) -> int:
    return int(written.replace(":", ""), 16) if written else 0


def _begin(port: int, packet: Packet, kind: int) -> Frame:
    told = {
        **_EMPTY, "in_port": port, "eth_type": kind, "eth_src": _number_of_mac(packet.smac),
        "eth_dst": _number_of_mac(packet.dmac), "pkt_mark": packet.mark,
        "vlan_tci": TAGGED | packet.vlan if packet.vlan else 0,
    }  # fmt: skip
    unknown = {base: 2**48 - 1 for base, known in (("eth_src", packet.smac), ("eth_dst", packet.dmac)) if not known}
    return Frame(told, packet, {**unknown, "skb_priority": 2**32 - 1})


def of_packet(port: int, packet: Packet) -> Frame:
    """Give the frame of an IP packet that comes in by a port."""
    kind, prefix = (IPV4, "ip") if packet.family == 4 else (IPV6, "ipv6")
    frame = _begin(port, packet, kind)
    told, unknown = frame.fields, frame.unknown
    told |= {
        f"{prefix}_src": packet.src, f"{prefix}_dst": packet.dst, "ip_proto": packet.protocol, "ip_tos": packet.tos,
        "ip_ttl": packet.ttl, "ip_frag": 0,
    }  # fmt: skip
    if packet.family == 6:
        told["ipv6_label"], unknown["ipv6_label"] = 0, 0xFFFFF
    if packet.fragment:
        # It stands for all of them, of which only the first has ports.
        unknown["ip_frag"] = 3
    if packet.protocol in PORTED:
        told |= {"tp_src": packet.sport, "tp_dst": packet.dport}
    if packet.protocol == TCP:
        told["tcp_flags"] = packet.flags
    if packet.protocol == _ICMP_KINDS[kind]:
        told |= {"icmp_type": packet.type, "icmp_code": packet.code}
        if packet.protocol == ICMPV6 and packet.type in (135, 136):
            told |= {"nd_target": 0, "nd_sll": 0, "nd_tll": 0}
            unknown |= {"nd_target": 2**128 - 1, "nd_sll": 2**48 - 1, "nd_tll": 2**48 - 1}
    names = {"src": f"{prefix}_src", "dst": f"{prefix}_dst", "sport": "tp_src", "dport": "tp_dst", "tos": "ip_tos",
             "ttl": "ip_ttl"}  # fmt: skip
    unknown |= {base: _WHOLE[base] for name, base in names.items() if name in packet.loose and base in told}
    return frame


def of_arp(port: int, operation: int, sender: tuple[int, str], target: tuple[int, str]) -> Frame:
    """Give the frame of a request (1) or an answer (2) of ARP; of an end its address and MAC are known."""
    dmac = target[1] if operation != 1 else BROADCAST_MAC
    frame = _begin(port, Packet(family=0, src=sender[0], dst=target[0], protocol=-1, smac=sender[1], dmac=dmac), ARP)
    frame.fields |= {
        "arp_op": operation, "arp_spa": sender[0], "arp_tpa": target[0], "arp_sha": _number_of_mac(sender[1]),
        "arp_tha": _number_of_mac(target[1]) if operation != 1 else 0, "ip_proto": operation,
    }  # fmt: skip
    return frame


def out_of_tunnel(frame: Frame, key: int, family: int, ends: tuple[int, int], told: dict[str, int]) -> Frame:
    """Give a frame what is known of the tunnel that it came out of; ``told`` are Geneve's options by their fields."""
    prefix = "tun" if family == 4 else "tun_ipv6"
    frame.fields |= {"tun_id": key, f"{prefix}_src": ends[0], f"{prefix}_dst": ends[1], **told}
    frame.unknown["tun_flags"] = 0xFFFF
    return frame
