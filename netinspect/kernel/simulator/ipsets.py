"""Whether a packet is in an ipset. Sources: ipset(8), net/netfilter/ipset/."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from msgspec import Struct

from netinspect.kernel.simulator.forks import Maybe, Truth
from netinspect.kernel.simulator.written import Key, Written, since
from netinspect.model.kernel import IpSet, IpSetEntry
from netinspect.model.packet import BITS, ICMP, ICMPV6, PORTED, PROTOCOLS, Packet, number

_NUMBERS: Final = {**PROTOCOLS, "icmpv6": ICMPV6, "ipv6-icmp": ICMPV6}
_TYPES: Final = frozenset({
    "bitmap:ip", "bitmap:ip,mac", "bitmap:port", "hash:ip", "hash:ip,mark", "hash:ip,port", "hash:ip,port,ip",
    "hash:ip,port,net", "hash:mac", "hash:ip,mac", "hash:net", "hash:net,net", "hash:net,iface", "hash:net,port",
    "hash:net,port,net", "list:set",
})  # fmt: skip

# How many members a set takes of which nobody has said it (IPSET_DEFAULT_MAXELEM).
_MOST_MEMBERS: Final = 65536


class Around(Struct, frozen=True, gc=False):
    """What a packet does not carry in its headers: the devices, by which a set may look up."""

    iif: str = ""
    oif: str = ""
    physin: str = ""
    physout: str = ""


class Sets:
    """The ipsets of one namespace."""

    def __init__(self, sets: Sequence[IpSet]) -> None:
        self._sets = {s.name: s for s in sets}
        self._indexes: dict[str, Index] = {}

    def holds(
        self, name: str, packet: Packet, directions: Sequence[str], around: Around,
        written: Callable[[str], Sequence[Written]], *, inverted: bool = False,
    ) -> Truth:  # fmt: skip
        """Say whether a set holds a packet, each dimension looked up by ``src`` or ``dst`` of it.

        ``written`` gives what rules have written into a set meanwhile. ``inverted`` asks for members that exclude, and
        for no others (--return-nomatch).
        """
        found = self._sets.get(name)
        if found is None:
            return Maybe(f"the set {name} was not read")
        if found.type not in _TYPES:
            return Maybe(f"sets of type {found.type} are not modelled")
        if found.type == "list:set":
            lists = (self.holds(e.value, packet, directions, around, written, inverted=inverted) for e in found.entries)
            answers = list(lists)
            if True in answers:
                return True
            return next((a for a in answers if isinstance(a, Maybe)), False)
        if not _takes(found, packet):
            return False
        index = self._index(found)
        key = index.key(packet, directions, around)
        if key is None or isinstance(key, Maybe):
            return key or False
        member = index.member(key)
        # Only sets of networks have members that exclude (IPSET_TYPE_NOMATCH).
        wanted = not (inverted and index.wide)
        return since(member is wanted, key, written(name))

    def write(
        self, name: str, packet: Packet, directions: Sequence[str], around: Around, *, held: bool
    ) -> Iterator[tuple[str, Written]]:
        """Give what the target SET does to which sets with a packet: puts it in, or takes it out."""
        found = self._sets.get(name)
        if found is None:
            return
        if found.type == "list:set":
            # It goes into the first that takes it, which hangs on how full each is (list_set_kadd).
            yield from ((e.value, Written(None, held)) for e in found.entries)
        elif found.type in _TYPES and _takes(found, packet):
            index = self._index(found)
            key = index.key(packet, directions, around)
            if isinstance(key, Maybe):
                yield name, Written(None, held)
            elif key is not None:
                yield name, Written(key if index.plain else None, held)

    def _index(self, one: IpSet) -> Index:
        if one.name not in self._indexes:
            self._indexes[one.name] = Index(one)
        return self._indexes[one.name]


def _takes(one: IpSet, packet: Packet) -> bool:
    return not one.family or one.family == ("inet" if packet.family == 4 else "inet6")


class Index:
    """One set by the parts of its members: networks by length, the rest exactly."""

    def __init__(self, one: IpSet) -> None:
        self.kinds = one.type.partition(":")[2].split(",")
        self.options = dict(one.options)
        self.family = 6 if one.family == "inet6" else 4
        self._entries = one.entries
        mask = self.options.get("bitmask")
        self._mask = number(mask)[1] if mask else self._ones(int(self.options.get("netmask", BITS[self.family])))
        self.wide = "net" in self.kinds
        # Of other sets it hangs on more than the packet what is written into them, and a full one takes nothing.
        room = len(one.entries) < int(self.options.get("maxelem", _MOST_MEMBERS))
        self.plain = one.type.startswith("hash:") and not self.wide and room
        if one.type in ("hash:ip,port,net", "hash:net,port,net", "hash:net,port", "hash:ip,port", "hash:ip,port,ip"):
            self.kinds = [k if k != "port" else "protoport" for k in self.kinds]

    @cached_property
    def members(self) -> Mapping[tuple[object, ...], bool]:
        """Give members by their parts; False where a member excludes (nomatch)."""
        return {self._parts(e): not e.nomatch for e in self._entries}

    @cached_property
    def lengths(self) -> tuple[tuple[int, ...], ...]:
        """Give the combinations of prefix lengths that members have, longest first."""
        found = {tuple(p[1] for p in parts if isinstance(p, tuple) and len(p) == 2 and p[0] != "port")
                 for parts in self.members}  # fmt: skip
        return tuple(sorted(found, reverse=True))

    def _parts(self, entry: IpSetEntry) -> tuple[object, ...]:
        words = _split(entry.value, len(self.kinds))
        parts = [self._part(kind, word) for kind, word in zip(self.kinds, words, strict=False)]
        return tuple(parts)

    def _part(self, kind: str, word: str) -> object:
        if kind in ("ip", "net"):
            address, _, length = word.partition("/")
            bits = int(length or (kind == "ip" and self.options.get("netmask")) or BITS[self.family])
            shift = BITS[self.family] - bits
            return number(address)[1] >> shift << shift, bits
        if kind == "protoport":
            return _protoport(word)
        if kind == "port":
            return int(word.rpartition(":")[2])
        if kind == "mark":
            return int(word, 0)
        return word.lower() if kind == "mac" else word  # of interfaces: "physdev:eth0" is a bridge's port

    def _ones(self, length: int) -> int:
        return (1 << BITS[self.family]) - (1 << BITS[self.family] - length)

    def key(self, packet: Packet, directions: Sequence[str], around: Around) -> Key | Maybe | None:
        """Give what is looked up of a packet; None where it has no such part, unknown where that is not known of it."""
        asked: list[object] = []
        for position, kind in enumerate(self.kinds):
            source = (directions[position] if position < len(directions) else "src") == "src"
            if kind in ("port", "protoport") and ("sport" if source else "dport") in packet.loose:
                return Maybe("the port is not known")
            part = _of_packet(kind, packet, around, source=source)
            if part is None:
                return None
            asked.append(part & self._mask if kind in ("ip", "net") and isinstance(part, int) else part)
        return tuple(asked)

    def member(self, asked: Key) -> bool | None:
        """Say whether the member that is meant includes or excludes; None where none is meant."""
        for lengths in self.lengths:
            key = self._masked(asked, lengths)
            for one in _spellings(key):
                if one in self.members:
                    return self.members[one]
        return None

    def _masked(self, asked: Sequence[object], lengths: Sequence[int]) -> tuple[object, ...]:
        left = iter(lengths)
        key: list[object] = []
        for kind, part in zip(self.kinds, asked, strict=True):
            if kind in ("ip", "net") and isinstance(part, int):
                bits = next(left)
                shift = BITS[self.family] - bits
                # A set of hosts may keep networks of one size (--netmask); its members then have that size.
                key.append((part >> shift << shift, bits))
            else:
                key.append(part)
        return tuple(key)


def _spellings(key: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    """Give the ways in which a member may name what was asked.

    A device is named as such, or as a bridge's port; with an address may stand no MAC (bitmap:ip,mac), which then is
    whatever comes first (bitmap_ipmac_do_test).
    """
    if key and isinstance(key[-1], tuple) and isinstance(key[-1][0], str) and key[-1][0] != "port":
        dev, phys = key[-1]
        yield (*key[:-1], dev)
        yield (*key[:-1], f"physdev:{phys}")
    else:
        yield key
        yield key[:-1]


def _split(value: str, parts: int) -> list[str]:
    return value.split(",", parts - 1) if parts > 1 else [value]


def _protoport(word: str) -> tuple[str, int, int]:
    protocol, _, port = word.rpartition(":")
    number_ = _NUMBERS[protocol] if protocol and not protocol.isdecimal() else int(protocol or 6)
    if number_ in _ICMP_TYPES:
        kind, _, code = _ICMP_TYPES[number_].get(port, port).partition("/")
        return "port", number_, int(kind) << 8 | int(code or 0)
    return "port", number_, int(port)


# How ipset writes the types and codes of ICMP (lib/icmp.c, lib/icmpv6.c); those without a name as numbers.
_ICMP_TYPES: Final = {
    ICMP: {
        "echo-reply": "0", "network-unreachable": "3/0", "host-unreachable": "3/1", "protocol-unreachable": "3/2",
        "port-unreachable": "3/3", "fragmentation-needed": "3/4", "source-route-failed": "3/5",
        "network-unknown": "3/6", "host-unknown": "3/7", "network-prohibited": "3/9", "host-prohibited": "3/10",
        "TOS-network-unreachable": "3/11", "TOS-host-unreachable": "3/12", "communication-prohibited": "3/13",
        "host-precedence-violation": "3/14", "precedence-cutoff": "3/15", "source-quench": "4",
        "network-redirect": "5/0", "host-redirect": "5/1", "TOS-network-redirect": "5/2", "TOS-host-redirect": "5/3",
        "echo-request": "8", "router-advertisement": "9", "router-solicitation": "10",
        "ttl-zero-during-transit": "11/0", "ttl-zero-during-reassembly": "11/1", "ip-header-bad": "12/0",
        "required-option-missing": "12/1", "timestamp-request": "13", "timestamp-reply": "14",
        "address-mask-request": "17", "address-mask-reply": "18",
    },
    ICMPV6: {
        "no-route": "1/0", "communication-prohibited": "1/1", "address-unreachable": "1/3", "port-unreachable": "1/4",
        "packet-too-big": "2", "ttl-zero-during-transit": "3/0", "ttl-zero-during-reassembly": "3/1",
        "bad-header": "4/0", "unknown-header-type": "4/1", "unknown-option": "4/2", "echo-request": "128",
        "echo-reply": "129", "router-solicitation": "133", "router-advertisement": "134",
        "neighbour-solicitation": "135", "neighbour-advertisement": "136", "redirect": "137",
    },
}  # fmt: skip


def _of_packet(kind: str, packet: Packet, around: Around, *, source: bool) -> object:
    if kind in ("ip", "net"):
        return packet.src if source else packet.dst
    if kind == "port":
        return (packet.sport if source else packet.dport) if packet.protocol in PORTED else None
    if kind == "protoport":
        if packet.protocol in (ICMP, ICMPV6):
            return "port", packet.protocol, packet.type << 8 | packet.code
        return "port", packet.protocol, packet.sport if source else packet.dport
    if kind == "mark":
        return packet.mark
    if kind == "mac":
        return packet.smac.lower() if source else packet.dmac.lower()
    return (around.iif if source else around.oif), (around.physin if source else around.physout)
