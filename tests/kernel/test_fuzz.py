"""Whatever a tool prints, a parser gives a value or a ``ParseError`` that names section and line."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netinspect.errors import ParseError
from netinspect.kernel import (
    conntrack,
    ipset,
    iptables,
    ipvs,
    links,
    neighbours,
    nft,
    proc,
    routes,
    sockets,
    stream,
    traffic,
    wireguard,
)
from netinspect.kernel import settings as sysctls
from netinspect.kernel.namespace import Namespace
from netinspect.model.evidence import Access, Reading


def _whole_iptables(text: str) -> object:
    return iptables.unparse(iptables.parse(text, "inet", "nft"))


def _whole_nft(text: str) -> object:
    return nft.unparse(nft.parse(text))


def _stream(text: str) -> object:
    reading = Reading("n1", Access.EXEC, "pod/a/b", f"@abc begin 1\n{text}".encode(errors="replace"))
    return [Namespace(n).missing() for n in stream.parse(reading).namespaces]


PARSERS: dict[str, Callable[[str], object]] = {
    "conntrack": conntrack.parse,
    "fdb": neighbours.fdb,
    "filters": lambda text: traffic.filters(text, "eth0", "ingress"),
    "ipset": ipset.parse,
    "iptables": _whole_iptables,
    "ipvs": ipvs.parse,
    "links": links.links,
    "neighbours": neighbours.neighbours,
    "nexthops": routes.nexthops,
    "nftables": _whole_nft,
    "proc arp": proc.neighbours,
    "proc links": lambda text: proc.links(text, text, text, text),
    "proc route": proc.routes4,
    "proc route6": proc.routes6,
    "qdiscs": traffic.qdiscs,
    "routes": lambda text: routes.routes(text, "inet"),
    "rules": lambda text: routes.rules(text, "inet6"),
    "sockets": sockets.parse,
    "sockets of proc": lambda text: sockets.parse_proc(text, "tcp6"),
    "stream": _stream,
    "sysctl": sysctls.parse,
    "wireguard": lambda text: wireguard.parse(text, text, text),
}
# Words of the tools, so that what is drawn gets past the first check now and then.
SPOKEN = """
*nat :INPUT ACCEPT - [0:0] [1:2] -A INPUT -m tcp -p ! --dport 80 -s 10.0.0.0/8 -j DNAT --to-destination 10.0.0.1:80
COMMIT # "a b" " \\ default via dev eth0 lock mtu 1400 nexthop weight table 100 proto kernel from all lookup main
fwmark 0x1/0x2 uidrange 1-2 not 0: 100: 2: eth0@if3: <UP,LOWER_UP> inet 10.0.0.1/8 link/ether RX: TX: vxlan id 5
create add x hash:ip family nomatch timeout TCP UDP FWM -> wrr persistent src=10.0.0.1 dst=fd00::1 sport=1 mark=1
[ASSURED] tcp udp LISTEN 0.0.0.0:80 [::]:80 * lladdr PERMANENT proxy self master permanent /proc/sys/net/ipv4/x:1
net.ipv4.x = 1 qdisc filter pref 5 0A000001:0050 00000000 @abc section host links end done absent finish 0
99999999999999999999 -1 0x 0xzz / : , é \x00 \x1b[31m
"""
WORDS = st.sampled_from(SPOKEN.split())
LINES = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=9).map("\n".join)
FIELDS = """
ifname ifindex flags mtu addr_info family local prefixlen linkinfo info_kind info_data info_slave_kind info_slave_data
id dst dev gateway metrics nexthops via host priority fwmark table uid_start mac vlan state kind options pref nftables
chain rule set map expr elem name match left right op payload type stats64 rx
"""
KEYS = st.sampled_from(FIELDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


def tried(name: str, text: str) -> None:
    try:
        PARSERS[name](text)
    except ParseError as error:
        said = error
    else:
        return
    assert said.section
    assert said.line >= 1
    assert str(said).startswith(f"{said.section}, line {said.line}: ")


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
@settings(max_examples=150)
def test_any_bytes(name: str, data: Any) -> None:
    text = data.draw(
        st.binary(max_size=200).map(lambda b: b.decode(errors="backslashreplace"))
        | st.text(max_size=100)
        | LINES
        | st.lists(JSON, max_size=3).map(_json)
        | JSON.map(_json)
    )
    tried(name, text)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode(errors="replace")


@pytest.mark.parametrize("name", PARSERS)
def test_deep_and_huge_values(name: str) -> None:
    for text in ("[" * 5000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, "9" * 5000, "a" * 100_000):
        tried(name, text)
        tried(name, f'[{{"ifindex": {text[:200]}}}]')


@pytest.mark.parametrize("text", ['{"nftables":[{"chain":{"dev":5,"family":"ip","table":"t","name":"c"}}]}'])
def test_values_that_once_were_not_refused(text: str) -> None:
    tried("nftables", text)


LINE = {
    "conntrack": "udp 17 10 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1",
    "ipset": "create s{n} hash:ip family inet",
    "iptables": ":CHAIN{n} - [0:0]\n-A CHAIN{n} -p tcp -m tcp --dport 80 -j ACCEPT",
    "links": "{n}: eth{n}: <UP> mtu 1500",
    "neighbours": "10.0.0.1 dev eth0 lladdr 02:00:00:00:00:01 REACHABLE",
    "routes": "10.0.0.0/8 via 10.0.0.1 dev eth0",
    "sockets": "tcp LISTEN 0 128 0.0.0.0:80 0.0.0.0:*",
    "sysctl": "/proc/sys/net/ipv4/conf/eth{n}/rp_filter:0",
    "stream": "@abc section host links{n}\nx\n\n@abc end 0\n\n@abc done",
}


@pytest.mark.parametrize("name", LINE)
def test_the_time_grows_with_the_length_and_not_faster(name: str) -> None:
    """Ten times as much may take fifty times as much of the processor, but not a hundred.

    Of the processor, and not of the clock: what else runs on the machine is no matter. Python's collection of garbage
    looks through all that was made, and is off in the program too.
    """

    def text(count: int) -> str:
        head = "*nat\n" if name == "iptables" else ""
        return head + "\n".join(LINE[name].replace("{n}", str(n)) for n in range(count))

    def taken(count: int) -> float:
        found, best = text(count), float("inf")
        for _ in range(5):
            begun = time.process_time()
            PARSERS[name](found)
            best = min(best, time.process_time() - begun)
        return best

    gc.disable()
    try:
        assert taken(5000) < 50 * max(taken(500), 1e-4)
    finally:
        gc.enable()
