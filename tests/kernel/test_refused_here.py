"""What the sender's own kernel tells it at its call, whatever becomes of ICMP messages about it."""

from __future__ import annotations

import json

import pytest

from netinspect.kernel.simulator.simulate import attempt
from netinspect.kernel.simulator.states import Send
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import SYN, TCP, UDP, Packet
from tests.kernel.small_node import node, sections

KEY = "rWqdTd0FOhdgX7VKAHvV8vdVCkVuCTroOGbrqkOTMjs="
LINKS = [
    {"ifindex": 1, "ifname": "lo", "link_type": "loopback", "flags": ["UP", "LOWER_UP"], "mtu": 65536},
    {"ifindex": 2, "ifname": "wg0", "flags": ["UP", "LOWER_UP"], "mtu": 1420, "linkinfo": {"info_kind": "wireguard"},
     "addr_info": [{"family": "inet", "local": "10.88.0.1", "prefixlen": 24, "scope": "global"}]},
]  # fmt: skip
ROUTES = "10.244.0.0/16 dev wg0\n10.88.0.0/24 dev wg0 src 10.88.0.1\nlocal 10.88.0.1 dev wg0 table local\n"
DEAF = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p icmp -j DROP\nCOMMIT\n"


@pytest.mark.parametrize(("protocol", "result"), [(UDP, "unreachable"), (TCP, "timeout")])
@pytest.mark.parametrize(
    ("endpoint", "allowed"), [("192.0.2.9:51820", "10.99.0.0/16"), ("(none)", "10.244.0.0/16")],
    ids=["no peer", "no endpoint"],
)  # fmt: skip
def test_wireguard_tells_its_own_host_of_a_peer_that_it_lacks(
    protocol: int, result: str, endpoint: str, allowed: str
) -> None:
    stack = node(sections({
        "links": json.dumps(LINKS), "routes4": ROUTES, "neighbours": "[]", "iptables-nft": DEAF,
        "wireguard-endpoints": f"wg0\t{KEY}\t{endpoint}\n", "wireguard-allowed-ips": f"wg0\t{KEY}\t{allowed}\n",
        "wireguard-latest-handshakes": f"wg0\t{KEY}\t1700000000\n", "wireguard-listen-port": "wg0\t51820\n",
        "wireguard-fwmark": "wg0\toff\n", "wireguard-public-key": f"wg0\t{KEY}\n",
    }))  # fmt: skip
    packet = Packet(family=4, src=0, dst=(10 << 24) + (244 << 16) + 7, protocol=protocol, sport=40000, dport=80,
                    flags=SYN if protocol == TCP else 0, uid=0, gid=0, size=60)  # fmt: skip
    assert {one.result for one in attempt(World([stack]), Send(stack, packet))} == {result}
