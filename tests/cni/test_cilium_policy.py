"""What a policy map of Cilium says, entry by entry: prefixes of ports, precedence, denials, proxies, audits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netinspect.cni.cilium_maps import POLICIES, Maps, parse
from netinspect.cni.cilium_policy import rule
from netinspect.model.packet import ICMP, TCP, UDP, Packet, number
from tests import recorded

PEER = 1226


def entry(identity: int, bits: int, protocol: int = TCP, port: int = 0, **more: Any) -> dict[str, Any]:
    """Give an entry as cilium-dbg prints it; the port stands in network order."""
    key = {
        "Prefixlen": 40 + bits, "Identity": identity, "TrafficDirection": 0, "Nexthdr": protocol,
        "DestPortNetwork": (port & 0xFF) << 8 | port >> 8,
    }  # fmt: skip
    return {"ProxyPortNetwork": 0, "Flags": bits << 3, "AuthRequirement": 0, "Precedence": 1, **more, "Key": key}


def maps(*entries: dict[str, Any]) -> Maps:
    host = recorded.cilium("b-kpr/2-policy").kernels[0].host
    assert host is not None
    text = json.dumps([{"EndpointID": "2031", "Path": "", "Content": list(entries)}], indent=1)
    return parse({**host.sections, POLICIES: recorded.section(POLICIES, text)})


def packet(port: int, protocol: int = TCP, type_: int = 0) -> Packet:
    return Packet(family=4, src=number("10.64.0.50")[1], dst=number("10.64.0.199")[1], protocol=protocol, sport=40000,
                  dport=port, type=type_)  # fmt: skip


DENY, PROXY = {"Flags": 1}, {"ProxyPortNetwork": 10000}


@pytest.mark.parametrize(
    ("entries", "asked", "allowed"),
    [
        ([], packet(80), False),
        ([entry(0, 0, 0)], packet(80), True),
        ([entry(PEER, 0, 0)], packet(80), True),
        ([entry(PEER + 1, 0, 0)], packet(80), False),
        ([entry(PEER, 8)], packet(80), True),
        ([entry(PEER, 8)], packet(80, UDP), False),
        ([entry(PEER, 24, port=8080)], packet(8080), True),
        ([entry(PEER, 24, port=8080)], packet(8081), False),
        # 8064 to 8095: the first eleven bits of the port.
        ([entry(PEER, 19, port=8064)], packet(8095), True),
        ([entry(PEER, 19, port=8064)], packet(8096), False),
        ([entry(PEER, 24, ICMP, 8)], packet(0, ICMP, 8), True),
        ([entry(PEER, 24, ICMP, 8)], packet(0, ICMP, 13), False),
        # Of one identity the longest decides, between identities the precedence, and then who denies.
        ([entry(PEER, 0, 0), entry(PEER, 24, port=80, **DENY)], packet(80), False),
        ([entry(PEER, 24, port=80), entry(PEER, 0, 0, **DENY)], packet(80), True),
        ([entry(PEER, 0, 0, **DENY), entry(0, 24, port=80)], packet(80), False),
        ([entry(PEER, 0, 0, **DENY), entry(0, 24, port=80, Precedence=2)], packet(80), True),
        ([entry(PEER, 24, port=80, **PROXY)], packet(80), None),
        ([entry(PEER, 24, port=80, AuthRequirement=1)], packet(80), None),
        # An identity that stands for many, and says otherwise than those that are meant.
        ([entry(11, 0, 0)], packet(80), None),
        ([entry(11, 0, 0), entry(0, 0, 0)], packet(80), True),
    ],
)  # fmt: skip
def test_what_an_entry_is_for(entries: list[dict[str, Any]], asked: Packet, allowed: bool | None) -> None:
    found = maps(*entries)
    pod = found.by_address[4, number("10.64.0.199")[1]]
    assert pod.id == 2031
    assert rule(found, pod, "ingress", PEER, asked).allowed is allowed
    assert rule(found, pod, "egress", PEER, asked).allowed is False


def test_maps_of_old_have_no_lengths() -> None:
    old = entry(PEER, 24, port=80)
    del old["Key"]["Prefixlen"]
    found = maps(old)
    pod = found.by_address[4, number("10.64.0.199")[1]]
    assert [rule(found, pod, "ingress", PEER, packet(port)).allowed for port in (80, 81)] == [True, False]


def test_an_endpoint_whose_map_was_not_read_is_unknown() -> None:
    found = maps()
    pod = found.by_address[4, number("10.64.0.50")[1]]
    assert rule(found, pod, "ingress", PEER, packet(80)).allowed is None


def test_in_audit_mode_nothing_is_denied() -> None:
    found = maps()
    pod = found.by_address[4, number("10.64.0.199")[1]]
    audited = type(pod)(pod.id, pod.identity, pod.dev, pod.policies, audited=True)
    assert rule(found, audited, "ingress", PEER, packet(80)).allowed is True
