"""Links and their addresses: ``ip -d -j -s addr show``, or its text where ip is too old for JSON.

Source: iproute2 ip/ipaddress.c and ip/iplink_*.c.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import msgspec
from msgspec import Struct

from netinspect.kernel.reading import convert, guarded, is_json, objects
from netinspect.model.kernel import (
    BondData,
    BridgeData,
    BridgePortData,
    Counters,
    GeneveData,
    IpvlanData,
    Link,
    LinkAddress,
    MacvlanData,
    TunnelData,
    VlanData,
    VrfData,
    VxlanData,
    WireguardData,
)

SECTION = "links"
_DATA: dict[str, type[Struct]] = {
    "bridge": BridgeData,
    "vxlan": VxlanData,
    "geneve": GeneveData,
    "ipip": TunnelData,
    "sit": TunnelData,
    "ip6tnl": TunnelData,
    "gre": TunnelData,
    "gretap": TunnelData,
    "ip6gre": TunnelData,
    "ip6gretap": TunnelData,
    "erspan": TunnelData,
    "vti": TunnelData,
    "wireguard": WireguardData,
    "macvlan": MacvlanData,
    "macvtap": MacvlanData,
    "ipvlan": IpvlanData,
    "ipvtap": IpvlanData,
    "vlan": VlanData,
    "bond": BondData,
    "vrf": VrfData,
}
# Kinds that have no details of their own.
_PLAIN = frozenset({"", "veth", "dummy", "tun", "tap", "netkit", "nlmon", "ifb", "vcan"})
# What ip's text calls a field that JSON calls otherwise.
_TEXT_NAMES = {"dstport": "port", "dev": "link"}
_FLAGS = re.compile(r"<([^>]*)>")
_HEAD = re.compile(r"(\d+): ([^\s:]+?)(?:@([^\s:]+))?: <")
_SWITCHES = {"on": True, "off": False}


def links(text: str) -> tuple[Link, ...]:
    """Read all links of a namespace."""
    if is_json(text) or not text.strip():
        return objects(SECTION, text, _from_json)
    return tuple(_from_text(block, number) for number, block in _blocks(text))


def _from_json(record: dict[str, Any], _line: int) -> Link:
    info = record.get("linkinfo") or {}
    kind = str(info.get("info_kind", ""))
    data, unmodelled = _data(kind, info.get("info_data") or {})
    stats = record.get("stats64") or record.get("stats") or {}
    return convert(
        {
            **{k: v for k, v in record.items() if k not in ("linkinfo", "link")},
            "link": record.get("link") or "",
            "kind": kind,
            "data": data,
            "port": info.get("info_slave_data") if info.get("info_slave_kind") == "bridge" else None,
            "addresses": [a for a in record.get("addr_info") or () if a],
            "xdp": bool(record.get("xdp")),
            "rx": stats.get("rx", {}),
            "tx": stats.get("tx", {}),
            "unmodelled": unmodelled,
        },
        Link,
    )


def _data(kind: str, found: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Give a kind's details, checked against their struct, or as they are where the kind or their form is not known."""
    if kind in _PLAIN:
        return None, {}
    if kind not in _DATA:
        return None, found
    cleaned = {k: "" if v == "any" else v for k, v in found.items()}
    try:
        return msgspec.to_builtins(convert(cleaned, _DATA[kind])), {}
    except msgspec.ValidationError:
        return None, found


def _blocks(text: str) -> list[tuple[int, list[str]]]:
    """Split the text at the lines that begin a link."""
    blocks: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line[:1].isdigit():
            blocks.append((number, [line]))
        elif line.strip():
            if not blocks:
                guarded(SECTION, number, line, _unexpected)
            blocks[-1][1].append(line)
    return blocks


def _unexpected(line: str, _number: int) -> None:
    raise ValueError("no link begins here: " + line.strip()[:20])


def _from_text(block: list[str], first: int) -> Link:
    found: dict[str, Any] = guarded(SECTION, first, block[0], _head)
    addresses: list[LinkAddress] = []
    data: dict[str, Any] | None = None
    counters = {"RX": Counters(), "TX": Counters()}
    expected = ""
    for number, line in enumerate(block[1:], first + 1):
        words = line.split()
        word = words[0]
        if expected:
            counters[expected] = guarded(SECTION, number, line, _counters)
            expected = ""
        elif word.rstrip(":") in counters and ":" in word:
            expected = word.rstrip(":")
        elif word.startswith("link/"):
            found |= guarded(SECTION, number, line, _hardware)
        elif word in ("inet", "inet6"):
            addresses.append(guarded(SECTION, number, line, _address))
        elif word in _DATA or word in _PLAIN:
            found["kind"] = word
            data = _data(word, _settings(words[1:]))[0]
        elif word == "bridge_slave":
            found["port"] = guarded(SECTION, number, line, lambda text, _n: _port(text))
    typed: Any = convert(data, _DATA[found["kind"]]) if data else None
    return Link(**found, data=typed, addresses=tuple(addresses), rx=counters["RX"], tx=counters["TX"])


def _head(line: str, _number: int) -> dict[str, Any]:
    head = _HEAD.match(line)
    flags = _FLAGS.search(line)
    if head is None or flags is None:
        raise ValueError("no link begins here")
    words = line[flags.end() :].split()
    told = dict(zip(words[::2], words[1::2], strict=False))
    peer = head[3] or ""
    indexed = re.fullmatch(r"if(\d+)", peer)
    return {
        "ifindex": int(head[1]),
        "ifname": head[2],
        "link": "" if indexed or peer == "NONE" else peer,
        "link_index": int(indexed[1]) if indexed else None,
        "flags": tuple(f for f in flags[1].split(",") if f),
        "mtu": int(told.get("mtu", 0)),
        "qdisc": told.get("qdisc", ""),
        "operstate": told.get("state", ""),
        "master": told.get("master", ""),
        "txqlen": int(told.get("qlen", 0)),
    }


def _hardware(line: str, _number: int) -> dict[str, Any]:
    words = line.split()
    told = dict(itertools.pairwise(words))
    netns = told.get("link-netnsid")
    return {
        "link_type": words[0].partition("/")[2],
        "address": words[1] if (len(words) > 1 and ":" in words[1]) or (len(words) > 1 and "." in words[1]) else "",
        "link_netnsid": int(netns) if netns is not None else None,
    }


def _address(line: str, _number: int) -> LinkAddress:
    words = line.split()
    told = dict(itertools.pairwise(words))
    local, _, length = words[1].partition("/")
    peer = ""
    if told.get("peer"):
        peer, _, length = told["peer"].partition("/")
    flags: dict[str, Any] = dict.fromkeys(_ADDRESS_FLAGS & set(words), True)
    return LinkAddress(
        family=words[0],
        local=local,
        prefixlen=int(length or (32 if words[0] == "inet" else 128)),
        peer=peer,
        scope=told.get("scope", ""),
        broadcast=told.get("brd", ""),
        label=words[-1] if words[0] == "inet" and words[-1] not in _ADDRESS_FLAGS else "",
        **flags,
    )


_ADDRESS_FLAGS = frozenset({
    "dynamic", "deprecated", "tentative", "dadfailed", "secondary", "noprefixroute", "temporary", "mngtmpaddr", "nodad",
})  # fmt: skip


def _counters(line: str, _number: int) -> Counters:
    bytes_, packets, errors, dropped = (int(w) for w in line.split()[:4])
    return Counters(bytes=bytes_, packets=packets, errors=errors, dropped=dropped)


def _settings(words: list[str]) -> dict[str, Any]:
    """Read ``key value`` pairs and bare switches, where only the names tell which is which."""
    found: dict[str, Any] = {}
    names = {n for kind in _DATA.values() for n in kind.__struct_fields__}
    position = 0
    while position < len(words):
        word = words[position]
        name = _TEXT_NAMES.get(word, word)
        following = words[position + 1] if position + 1 < len(words) else ""
        if word.startswith("no") and word[2:] in names:
            found[word[2:]] = False
        elif name in names:
            if following and following not in names and not following.startswith("no"):
                found[name] = _SWITCHES.get(following, following)
                position += 1
            else:
                found[name] = True
        position += 1
    return found


def _port(line: str) -> BridgePortData:
    words = line.split()[1:]
    told = dict(zip(words[::2], words[1::2], strict=False))
    return convert({k: _SWITCHES.get(v, v) for k, v in told.items()}, BridgePortData)
