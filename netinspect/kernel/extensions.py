"""What iptables-extensions(8) knows: every option of every match and target, with the type of its value.

Sources: the man page of iptables 1.8.11, and the print and save functions under extensions/ there. A value that would
not be printed again as it was read is not taken for known.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from netinspect.model.iptables import AddressRange, Masked, Prefix, Rate, SetReference, Span

_CACHE: Final = 1 << 16


@dataclass(frozen=True)
class Kind:
    """How the value of an option is written: in how many words, and what they mean. ``text`` may be quoted."""

    words: int
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    text: bool = False


def _checked(read: Callable[[str], Any], write: Callable[[Any], str]) -> Callable[[str], Any]:
    """Refuse what would not be printed again as it was read."""

    @lru_cache(maxsize=_CACHE)
    def checked(text: str) -> Any:
        value = read(text)
        if write(value) != text:
            raise ValueError("not in iptables' own spelling")
        return value

    return checked


def _kind(read: Callable[[str], Any], write: Callable[[Any], str] = str, words: int = 1) -> Kind:
    return Kind(words, _checked(read, write), write)


def _prefix(text: str) -> Prefix:
    address, _, mask = text.partition("/")
    ip = ipaddress.ip_address(address)
    full = (1 << ip.max_prefixlen) - 1
    if not mask:
        bits = full
    elif mask.isdecimal():
        length = int(mask)
        if length > ip.max_prefixlen:
            raise ValueError("longer than an address")
        bits = full ^ (full >> length)
    else:
        bits = int(ipaddress.ip_address(mask))
    return Prefix(text, ip.version, int(ip) & bits, bits)


def _masked(text: str) -> Masked:
    value, slash, mask = text.partition("/")
    return Masked(int(value, 0), int(mask, 0) if slash else None)


def _hex(value: Masked) -> str:
    return f"0x{value.value:x}" + ("" if value.mask is None else f"/0x{value.mask:x}")


def _decimal(value: Masked) -> str:
    return f"{value.value}" + ("" if value.mask is None else f"/{value.mask}")


def _span(separator: str) -> Callable[[str], Span]:
    def read(text: str) -> Span:
        first, found, last = text.partition(separator)
        return Span(int(first), int(last) if found else int(first), text)

    return read


def _open_span(text: str) -> Span:
    """Read ``5:``, ``:5`` and ``5:9``, where a missing end is the widest."""
    first, colon, last = text.partition(":")
    return Span(int(first or 0), (int(last) if last else 0xFFFFFFFF) if colon else int(first), text)


def _text(value: Any) -> str:
    text: str = value.text
    return text


def _address_range(text: str) -> AddressRange:
    """Read ``10.0.0.1-10.0.0.9:80-90``, ``[fd00::1]:80``, ``:80`` (extensions/libxt_NAT.c)."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d+(?:-\d+)?))?", text)
    if bracketed:
        addresses, ports = bracketed[1], bracketed[2]
    elif text.count(":") > 1:
        addresses, ports = text, None
    else:
        addresses, _, after = text.partition(":")
        ports = after or None
    if not addresses and not ports:
        raise ValueError("neither address nor port")
    first, _, last = addresses.partition("-")
    for address in (first, last):
        if address:
            ipaddress.ip_address(address)
    span = None
    if ports:
        low, _, high = ports.partition("/")[0].partition("-")
        span = Span(int(low), int(high or low), ports)
    return AddressRange(first, last or first, span, text)


_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400,
          "day": 86400}  # fmt: skip


def _rate(text: str) -> Rate:
    count, _, unit = text.partition("/")
    return Rate(int(count), _UNITS[unit], text)


def _set(text: str) -> SetReference:
    name, _, directions = text.partition(" ")
    return SetReference(name, tuple(directions.split(",")))


def _tcp_flags(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    mask, _, wanted = text.partition(" ")
    return tuple(mask.split(",")), tuple(wanted.split(","))


FLAG = Kind(0, lambda _text: True, lambda _value: "")
WORD = Kind(1, str, str)
TEXT = Kind(1, str, str, text=True)
INT = _kind(int)
PROBABILITY = _kind(float, lambda v: f"{v:.11f}")
MARK = _kind(_masked, _hex)
DECIMAL_MASK = _kind(_masked, _decimal)
HEX = _kind(lambda t: int(t, 16), lambda v: f"0x{v:x}")
HEX8 = _kind(lambda t: int(t, 16), lambda v: f"0x{v:08x}")
HEX2 = _kind(lambda t: int(t, 16), lambda v: f"0x{v:02x}")
PREFIX = _kind(_prefix, _text)
PORTS = _kind(_span(":"), _text)
NAT_PORTS = _kind(lambda t: _span("-")(t.partition("/")[0]), lambda v: v.text)
OPEN_SPAN = _kind(_open_span, _text)
PORT_LIST = _kind(lambda t: tuple(_span(":")(p) for p in t.split(",")), lambda v: ",".join(p.text for p in v))
WORDS = _kind(lambda t: tuple(t.split(",")), ",".join)
IDS = _kind(_span("-"), _text)
RANGE = _kind(lambda t: tuple(map(str, map(ipaddress.ip_address, t.split("-")))), "-".join)
ADDRESS_RANGE = _kind(_address_range, _text)
RATE = _kind(_rate, _text)
SET = _kind(_set, lambda v: f"{v.name} {','.join(v.directions)}", words=2)
TCP_FLAGS = _kind(_tcp_flags, lambda v: f"{','.join(v[0])} {','.join(v[1])}", words=2)
TWO = Kind(2, str, str)
# libxt_nfacct.c prints a space too many.
ACCOUNT = Kind(1, str, lambda v: f" {v}")

BASIC: Final[dict[str, Kind]] = {
    "-s": PREFIX, "-d": PREFIX, "-i": WORD, "-o": WORD, "-p": WORD, "-f": FLAG,
    "--source": PREFIX, "--destination": PREFIX,
}  # fmt: skip

_PORTED = {"--sport": PORTS, "--dport": PORTS, "--sports": PORT_LIST, "--dports": PORT_LIST,
           "--source-port": PORTS, "--destination-port": PORTS}  # fmt: skip
_LENGTHS = {"--length": OPEN_SPAN}
_HASHLIMIT = {
    "--hashlimit": WORD, "--hashlimit-upto": WORD, "--hashlimit-above": WORD, "--hashlimit-burst": WORD,
    "--hashlimit-mode": WORDS, "--hashlimit-name": WORD, "--hashlimit-htable-size": INT, "--hashlimit-htable-max": INT,
    "--hashlimit-htable-expire": INT, "--hashlimit-htable-gcinterval": INT, "--hashlimit-srcmask": INT,
    "--hashlimit-dstmask": INT, "--hashlimit-rate-match": FLAG, "--hashlimit-rate-interval": INT,
}  # fmt: skip
_CONNTRACK = {
    "--ctstate": WORDS, "--ctproto": WORD, "--ctorigsrc": PREFIX, "--ctorigdst": PREFIX, "--ctreplsrc": PREFIX,
    "--ctrepldst": PREFIX, "--ctorigsrcport": PORTS, "--ctorigdstport": PORTS, "--ctreplsrcport": PORTS,
    "--ctrepldstport": PORTS, "--ctstatus": WORDS, "--ctexpire": OPEN_SPAN, "--ctdir": WORD,
}  # fmt: skip
_HEADERS = {"--header": WORDS, "--soft": FLAG}

MATCHES: Final[dict[str, dict[str, Kind]]] = {
    "addrtype": {"--src-type": WORDS, "--dst-type": WORDS, "--limit-iface-in": FLAG, "--limit-iface-out": FLAG},
    "ah": {"--ahspi": OPEN_SPAN, "--ahlen": INT, "--ahres": FLAG},
    "bpf": {"--bytecode": TEXT, "--object-pinned": WORD},
    "cgroup": {"--cgroup": INT, "--path": TEXT},
    "cluster": {"--cluster-total-nodes": INT, "--cluster-local-node": INT, "--cluster-local-nodemask": HEX8,
                "--cluster-hash-seed": HEX8},
    "comment": {"--comment": TEXT},
    "connbytes": {"--connbytes": OPEN_SPAN, "--connbytes-mode": WORD, "--connbytes-dir": WORD},
    "connlabel": {"--label": TEXT, "--set": FLAG},
    "connlimit": {"--connlimit-upto": INT, "--connlimit-above": INT, "--connlimit-mask": INT,
                  "--connlimit-saddr": FLAG, "--connlimit-daddr": FLAG},
    "connmark": {"--mark": MARK},
    "conntrack": _CONNTRACK,
    "cpu": {"--cpu": INT},
    "dccp": {**_PORTED, "--dccp-types": WORDS, "--dccp-option": INT},
    "devgroup": {"--src-group": WORD, "--dst-group": WORD},
    "dscp": {"--dscp": HEX2, "--dscp-class": WORD},
    "dst": {"--dst-len": INT, "--dst-opts": WORD},
    "ecn": {"--ecn-tcp-cwr": FLAG, "--ecn-tcp-ece": FLAG, "--ecn-ip-ect": INT},
    "esp": {"--espspi": OPEN_SPAN},
    "eui64": {},
    "frag": {"--fragid": OPEN_SPAN, "--fraglen": INT, "--fragres": FLAG, "--fragfirst": FLAG, "--fragmore": FLAG,
             "--fraglast": FLAG},
    "hashlimit": _HASHLIMIT,
    "hbh": {"--hbh-len": INT, "--hbh-opts": WORD},
    "helper": {"--helper": TEXT},
    "hl": {"--hl-eq": INT, "--hl-lt": INT, "--hl-gt": INT},
    "icmp": {"--icmp-type": WORD},
    "icmp6": {"--icmpv6-type": WORD},
    "icmpv6": {"--icmpv6-type": WORD},
    "ipcomp": {"--ipcompspi": OPEN_SPAN, "--compres": FLAG},
    "iprange": {"--src-range": RANGE, "--dst-range": RANGE},
    "ipv6header": _HEADERS,
    "ipvs": {"--ipvs": FLAG, "--vproto": WORD, "--vaddr": PREFIX, "--vport": INT, "--vdir": WORD, "--vmethod": WORD,
             "--vportctl": INT},
    "l2tp": {"--tid": INT, "--sid": INT, "--pversion": INT, "--type": WORD},
    "length": _LENGTHS,
    "limit": {"--limit": RATE, "--limit-burst": INT},
    "mac": {"--mac-source": WORD},
    "mark": {"--mark": MARK},
    "mh": {"--mh-type": WORD},
    "multiport": {"--sports": PORT_LIST, "--dports": PORT_LIST, "--ports": PORT_LIST},
    "nfacct": {"--nfacct-name": ACCOUNT},
    "osf": {"--genre": WORD, "--ttl": INT, "--log": INT},
    "owner": {"--uid-owner": IDS, "--gid-owner": IDS, "--socket-exists": FLAG, "--suppl-groups": FLAG},
    "physdev": {"--physdev-in": WORD, "--physdev-out": WORD, "--physdev-is-in": FLAG, "--physdev-is-out": FLAG,
                "--physdev-is-bridged": FLAG},
    "pkttype": {"--pkt-type": WORD},
    "policy": {"--dir": WORD, "--pol": WORD, "--strict": FLAG, "--reqid": INT, "--spi": HEX, "--proto": WORD,
               "--mode": WORD, "--tunnel-src": PREFIX, "--tunnel-dst": PREFIX, "--next": FLAG},
    "quota": {"--quota": INT},
    "rateest": {"--rateest-delta": FLAG, "--rateest": WORD, "--rateest1": WORD, "--rateest2": WORD,
                "--rateest-bps": WORD, "--rateest-pps": WORD, "--rateest-lt": FLAG, "--rateest-gt": FLAG,
                "--rateest-eq": FLAG},
    "realm": {"--realm": WORD},
    "recent": {"--set": FLAG, "--rcheck": FLAG, "--update": FLAG, "--remove": FLAG, "--rttl": FLAG, "--name": WORD,
               "--mask": WORD, "--rsource": FLAG, "--rdest": FLAG, "--seconds": INT, "--reap": FLAG,
               "--hitcount": INT},
    "rpfilter": {"--loose": FLAG, "--validmark": FLAG, "--accept-local": FLAG, "--invert": FLAG},
    "rt": {"--rt-type": INT, "--rt-segsleft": OPEN_SPAN, "--rt-len": INT, "--rt-0-res": FLAG, "--rt-0-addrs": WORDS,
           "--rt-0-not-strict": FLAG},
    "sctp": {**_PORTED, "--chunk-types": TWO},
    "set": {"--match-set": SET, "--return-nomatch": FLAG, "--update-counters": FLAG, "--update-subcounters": FLAG,
            "--packets-eq": INT, "--packets-lt": INT, "--packets-gt": INT, "--bytes-eq": INT, "--bytes-lt": INT,
            "--bytes-gt": INT},
    "socket": {"--nowildcard": FLAG, "--transparent": FLAG, "--restore-skmark": FLAG},
    "state": {"--state": WORDS},
    "statistic": {"--mode": WORD, "--probability": PROBABILITY, "--every": INT, "--packet": INT},
    "string": {"--algo": WORD, "--from": INT, "--to": INT, "--string": TEXT, "--hex-string": TEXT, "--icase": FLAG},
    "tcp": {**_PORTED, "--tcp-flags": TCP_FLAGS, "--syn": FLAG, "--tcp-option": INT},
    "tcpmss": {"--mss": PORTS},
    "time": {"--timestart": WORD, "--timestop": WORD, "--monthdays": WORDS, "--weekdays": WORDS, "--datestart": WORD,
             "--datestop": WORD, "--kerneltz": FLAG, "--contiguous": FLAG},
    "tos": {"--tos": MARK},
    "ttl": {"--ttl-eq": INT, "--ttl-lt": INT, "--ttl-gt": INT},
    "u32": {"--u32": TEXT},
    "udp": _PORTED,
    "udplite": _PORTED,
}  # fmt: skip

_NAT = {"--to-destination": ADDRESS_RANGE, "--to-source": ADDRESS_RANGE, "--to-ports": NAT_PORTS, "--random": FLAG,
        "--random-fully": FLAG, "--persistent": FLAG}  # fmt: skip
_SET_TARGET = {"--add-set": SET, "--del-set": SET, "--map-set": SET, "--exist": FLAG, "--timeout": INT,
               "--map-mark": FLAG, "--map-prio": FLAG, "--map-queue": FLAG}  # fmt: skip
_SHARED_MARK = {"--set-xmark": MARK, "--set-mark": MARK, "--and-mark": MARK, "--or-mark": MARK, "--xor-mark": MARK}

TARGETS: Final[dict[str, dict[str, Kind]]] = {
    "AUDIT": {"--type": WORD},
    "CHECKSUM": {"--checksum-fill": FLAG},
    "CLASSIFY": {"--set-class": WORD},
    "CLUSTERIP": {"--new": FLAG, "--hashmode": WORD, "--clustermac": WORD, "--total-nodes": INT, "--local-node": INT,
                  "--hash-init": INT},
    "CONNMARK": {**_SHARED_MARK, "--save-mark": FLAG, "--restore-mark": FLAG, "--mask": HEX, "--nfmask": HEX,
                 "--ctmask": HEX, "--left-shift-mark": INT, "--right-shift-mark": INT},
    "CONNSECMARK": {"--save": FLAG, "--restore": FLAG},
    "CT": {"--notrack": FLAG, "--helper": WORD, "--timeout": WORD, "--ctevents": WORDS, "--expevents": WORDS,
           "--zone": WORD, "--zone-orig": WORD, "--zone-reply": WORD},
    "DNAT": _NAT,
    "DNPT": {"--src-pfx": PREFIX, "--dst-pfx": PREFIX},
    "DSCP": {"--set-dscp": HEX2, "--set-dscp-class": WORD},
    "ECN": {"--ecn-tcp-remove": FLAG},
    "HL": {"--hl-set": INT, "--hl-dec": INT, "--hl-inc": INT},
    "HMARK": {"--hmark-tuple": WORDS, "--hmark-mod": INT, "--hmark-offset": WORD, "--hmark-src-prefix": INT,
              "--hmark-dst-prefix": INT, "--hmark-sport-mask": WORD, "--hmark-dport-mask": WORD, "--hmark-spi": WORD,
              "--hmark-rnd": WORD, "--hmark-proto-mask": WORD},
    "IDLETIMER": {"--timeout": INT, "--label": TEXT, "--alarm": FLAG},
    "LED": {"--led-trigger-id": TEXT, "--led-delay": WORD, "--led-always-blink": FLAG},
    "LOG": {"--log-prefix": TEXT, "--log-level": WORD, "--log-tcp-sequence": FLAG, "--log-tcp-options": FLAG,
            "--log-ip-options": FLAG, "--log-uid": FLAG, "--log-macdecode": FLAG},
    "MARK": _SHARED_MARK,
    "MASQUERADE": _NAT,
    "NETMAP": {"--to": PREFIX},
    "NFLOG": {"--nflog-group": INT, "--nflog-prefix": TEXT, "--nflog-range": INT, "--nflog-size": INT,
              "--nflog-threshold": INT},
    "NFQUEUE": {"--queue-num": INT, "--queue-balance": WORD, "--queue-bypass": FLAG, "--queue-cpu-fanout": FLAG},
    "NOTRACK": {},
    "RATEEST": {"--rateest-name": WORD, "--rateest-interval": WORD, "--rateest-ewmalog": WORD},
    "REDIRECT": _NAT,
    "REJECT": {"--reject-with": WORD},
    "SECMARK": {"--selctx": WORD},
    "SET": _SET_TARGET,
    "SNAT": _NAT,
    "SNPT": {"--src-pfx": PREFIX, "--dst-pfx": PREFIX},
    "SYNPROXY": {"--sack-perm": FLAG, "--timestamp": FLAG, "--wscale": INT, "--mss": INT, "--ecn": FLAG},
    "TCPMSS": {"--set-mss": INT, "--clamp-mss-to-pmtu": FLAG},
    "TCPOPTSTRIP": {"--strip-options": WORDS},
    "TEE": {"--gateway": WORD, "--oif": WORD},
    "TOS": {"--set-tos": MARK, "--and-tos": HEX2, "--or-tos": HEX2, "--xor-tos": HEX2},
    "TPROXY": {"--on-port": INT, "--on-ip": WORD, "--tproxy-mark": MARK},
    "TRACE": {},
    "TTL": {"--ttl-set": INT, "--ttl-dec": INT, "--ttl-inc": INT},
    "ULOG": {"--ulog-nlgroup": INT, "--ulog-prefix": TEXT, "--ulog-cprange": INT, "--ulog-qthreshold": INT},
}  # fmt: skip
