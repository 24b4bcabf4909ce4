"""Random scenes with devices that few kernels have at hand: WireGuard, bonds, VRFs, ipvlan.

``python -m tests.kernel.oracle.uncommon SCENES [SEED]`` runs fixed ones, and so many fresh ones, where they are.
"""

from __future__ import annotations

import random
import secrets
import sys

from tests.kernel.oracle.campaign import Campaign
from tests.kernel.oracle.generate import Draft, forwarding, sysctls
from tests.kernel.oracle.scene import Scene

# Private and public keys of devices that nobody else has (wg genkey, wg pubkey).
_KEYS = {
    1: ("aEFQwNou2z9aIAISWcMTVndD2K1RKtZo+AKEoC0+KFQ=", "rWqdTd0FOhdgX7VKAHvV8vdVCkVuCTroOGbrqkOTMjs="),
    2: ("8E7O2ZzRBvhtL6nXzruw7SaCkjvhFEsb1Zav6csxNlk=", "5hxHFoKomaI+ebKoBKdE23hLmnTyaRtfvDrPwahEHA8="),
    3: ("KJ5qwesILIurYHLHFqg1QxR9HSvoK57cR3zPboXi2Uw=", "9dl2r3lnGy2oen9+Koeq+WmPrepbIzL82e6FNAbXvjg="),
}

# One of each family; the first has packets for which WireGuard knows no peer.
_SEEDS = ("k1.9", "k1.1", "k1.0", "k1.4")


def _nodes_with_pods(d: Draft) -> None:
    """Two nodes, a pod behind each; what lies between the nodes is not made."""
    d.namespace("n1", "n2", "p1", "p2")
    for n in (1, 2):
        node, pod = f"n{n}", f"p{n}"
        d.pair(pod, "eth0", node, f"veth{n}")
        d.address(pod, "eth0", f"10.244.{n}.2/24", f"fd4{n}::2/64")
        d.address(node, f"veth{n}", f"10.244.{n}.1/24", f"fd4{n}::1/64")
        d.up(pod, "eth0")
        d.up(node, f"veth{n}")
        d.add(pod, f"ip route add default via 10.244.{n}.1", f"ip route add default via fd4{n}::1")


def wireguarded(rng: random.Random, seed: str) -> Scene:
    """Two nodes with WireGuard between them as Flannel, Calico and Cilium set it up, and its mistakes."""
    d = Draft(rng, seed)
    _nodes_with_pods(d)
    d.pair("n1", "eth0", "n2", "eth0")
    six = d.chance(0.2)
    marked = d.chance(0.4)
    for n, other in ((1, 2), (2, 1)):
        node = f"n{n}"
        d.address(node, "eth0", f"172.16.0.{n}/24", f"fd16::{n}/64")
        d.up(node, "eth0")
        d.links.append(f"-n {{{node}}} link add name wg0 index {270 + n} type wireguard")
        allowed = [f"10.244.{other}.0/24", f"fd4{other}::/64", f"10.88.0.{other}/32"]
        if d.chance(0.15):
            allowed.remove(rng.choice(allowed))
        if d.chance(0.1):
            allowed = ["0.0.0.0/0", "::/0"]
        told = d.chance(0.9) or n == 1
        host = f"[fd16::{other}]" if six else f"172.16.0.{other}"
        public = _KEYS[3 if d.chance(0.06) else other][1]
        d.add(node, "wg wg0 [Interface]", f"wg wg0 PrivateKey = {_KEYS[n][0]}", f"wg wg0 ListenPort = {51820 + n}")
        if marked:
            d.add(node, "wg wg0 FwMark = 0x20")
        d.add(node, "wg wg0 [Peer]", f"wg wg0 PublicKey = {public}", f"wg wg0 AllowedIPs = {', '.join(allowed)}")
        if told:
            d.add(node, f"wg wg0 Endpoint = {host}:{51820 + other}")
        if d.chance(0.3):
            # A second peer, whose key nobody has: what is allowed to it goes nowhere.
            d.add(node, "wg wg0 [Peer]", f"wg wg0 PublicKey = {_KEYS[3][1]}" if public != _KEYS[3][1] else
                  f"wg wg0 PublicKey = {_KEYS[other][1]}", f"wg wg0 AllowedIPs = 10.244.{other}.2/32"
                  if d.chance(0.3) else "wg wg0 AllowedIPs = 10.99.0.0/16")  # fmt: skip
        d.devices[node].append("wg0")
        d.address(node, "wg0", f"10.88.0.{n}/24")
        d.up(node, "wg0")
        if d.chance(0.2):
            d.add(node, f"ip link set wg0 mtu {rng.choice([1300, 1440])}")
        if marked and d.chance(0.7):
            # As wg-quick and Calico do it: all but WireGuard's own goes into the device.
            d.add(node, "ip rule add pref 99 not fwmark 0x20/0x20 lookup 51",
                  f"ip route add 10.244.{other}.0/24 dev wg0 table 51",
                  "ip -6 rule add pref 99 not fwmark 0x20/0x20 lookup 51",
                  f"ip -6 route add fd4{other}::/64 dev wg0 table 51")  # fmt: skip
        else:
            d.add(node, f"ip route add 10.244.{other}.0/24 dev wg0", f"ip route add fd4{other}::/64 dev wg0")
        forwarding(d, node)
        if d.chance(0.2):
            sysctls(d, node)
    targets = ["10.244.1.2", "10.244.2.2", "172.16.0.2", "fd41::2", "fd42::2", "10.88.0.2"]
    for node in ("n1", "n2"):
        if d.chance(0.4):
            d.rules(node, ["10.96.0.1"], targets, 4)
    extra = ["10.244.2.2", "10.244.1.2", "10.88.0.2", "10.88.0.1", "10.99.0.1", "fd42::2", "fd41::2"]
    return d.scene("wireguarded", extra, ["p1", "p1", "p2", "n1", "n2"])


def bonded(rng: random.Random, seed: str) -> Scene:
    """Two nodes with two cables between them in a bond, perhaps a VLAN or a bridge on it, and a pod behind each."""
    d = Draft(rng, seed)
    _nodes_with_pods(d)
    d.pair("n1", "s0", "n2", "s0")
    d.pair("n1", "s1", "n2", "s1")
    mode = rng.choice(["active-backup", "active-backup", "balance-rr", "balance-xor", "broadcast"])
    how = f"mode {mode} miimon 20"
    above = rng.choice(["", "", "vlan", "bridge"])
    for n, other in ((1, 2), (2, 1)):
        node = f"n{n}"
        d.add(node, f"ip link add name bond0 index {280 + n} address 02:00:00:00:bb:0{n} type bond {how}")
        d.add(node, "ip link set s0 master bond0", "ip link set s1 master bond0", "ip link set bond0 up")
        d.devices[node].append("bond0")
        dev = "bond0"
        if above == "vlan":
            dev = "bond0.7"
            d.add(node, f"ip link add link bond0 name {dev} index {290 + n} type vlan id 7")
        elif above == "bridge":
            dev = "br0"
            d.add(node, f"ip link add name {dev} index {290 + n} type bridge", f"ip link set bond0 master {dev}")
        if above:
            d.devices[node].append(dev)
            d.up(node, dev)
        d.address(node, dev, f"172.16.0.{n}/24", f"fd16::{n}/64")
        d.add(
            node,
            f"ip route add 10.244.{other}.0/24 via 172.16.0.{other}",
            f"ip route add fd4{other}::/64 via fd16::{other}",
        )
        forwarding(d, node)
    if d.chance(0.2):
        d.add("n2", "ip link set s1 down")
    if d.chance(0.3):
        d.add(rng.choice(["n1", "n2"]), f"ip link set bond0 mtu {rng.choice([1280, 1400])}")
    targets = ["10.244.1.2", "10.244.2.2", "172.16.0.2", "fd41::2", "fd42::2"]
    for node in ("n1", "n2"):
        if d.chance(0.4):
            d.rules(node, ["10.96.0.1"], targets, 4)
    return d.scene(f"bonded {mode} {above}".strip(), ["10.244.2.2", "10.244.1.2", "fd42::2"], ["p1", "p1", "p2", "n1"])


def separated(rng: random.Random, seed: str) -> Scene:
    """A router with devices in VRFs, so that neighbours with the same addresses do not meet."""
    d = Draft(rng, seed)
    d.namespace("a", "b", "c", "r")
    for number, ns in enumerate(("a", "b", "c"), 1):
        d.pair(ns, "eth0", "r", f"r{ns}0")
        d.address(ns, "eth0", f"10.{number}.0.2/24", f"fd0{number}::2/64")
        d.up(ns, "eth0")
        d.add(ns, f"ip route add default via 10.{number}.0.1", f"ip route add default via fd0{number}::1")
    d.add("r", "ip link add name red index 300 type vrf table 10", "ip link add name blue index 301 type vrf table 11")
    d.up("r", "red", "blue")
    d.devices["r"] += ["red", "blue"]
    masters = {"ra0": "red", "rb0": "red", "rc0": rng.choice(["red", "blue", ""])}
    for number, (dev, master) in enumerate(masters.items(), 1):
        if master:
            d.add("r", f"ip link set {dev} master {master}")
        d.address("r", dev, f"10.{number}.0.1/24", f"fd0{number}::1/64")
        d.up("r", dev)
    if d.chance(0.4):
        d.add("r", "ip route add 10.3.0.0/24 dev rc0 table 10", "ip -6 route add fd03::/64 dev rc0 table 10")
    if d.chance(0.4):
        d.add("r", "ip route add unreachable default metric 4278198272 table 10")
    if d.chance(0.4):
        d.add("r", "ip addr add 10.20.0.1/32 dev red")
        d.own["r"].append("10.20.0.1")
    if d.chance(0.3):
        d.add(
            "r",
            f"sysctl ipv4/tcp_l3mdev_accept={rng.choice([0, 1])}",
            f"sysctl ipv4/udp_l3mdev_accept={rng.choice([0, 1])}",
        )
    forwarding(d, "r")
    targets = ["10.2.0.2", "10.3.0.2", "10.1.0.2", "10.2.0.1", "fd02::2", "fd03::2"]
    if d.chance(0.5):
        d.rules("r", ["10.96.0.1"], targets, 5)
    return d.scene("separated", ["10.20.0.1", "10.3.0.2", "10.96.0.1", "fd03::2"], ["a", "a", "b", "c", "r"])


def ipvlans(rng: random.Random, seed: str) -> Scene:
    """A node whose pods stand on its own device by ipvlan, and a neighbour on the same wire."""
    d = Draft(rng, seed)
    d.namespace("n", "p1", "p2", "e")
    d.pair("n", "eth0", "e", "eth0")
    mode = rng.choice(["l2", "l2", "l3", "l3s"])
    kind = rng.choice(["bridge", "bridge", "private", "vepa"])
    how = f"mode {mode} {kind}"
    d.address("n", "eth0", "10.5.0.1/24", "fd05::1/64")
    d.address("e", "eth0", "10.5.0.9/24", "fd05::9/64")
    d.up("n", "eth0")
    d.up("e", "eth0")
    for number, pod in enumerate(("p1", "p2"), 2):
        d.links.append(f"-n {{n}} link add link eth0 name iv{number} index {70 + number} type ipvlan {how}")
        d.links.append(f"-n {{n}} link set iv{number} netns {{{pod}}} name eth0")
        d.devices[pod].append("eth0")
        d.address(pod, "eth0", f"10.5.0.{number}/24", f"fd05::{number}/64")
        d.up(pod, "eth0")
        d.add(pod, "ip route add default via 10.5.0.9" if mode == "l2" else "ip route add default dev eth0")
    targets = ["10.5.0.1", "10.5.0.2", "10.5.0.3", "fd05::2", "fd05::9"]
    for ns in d.namespaces:
        if d.chance(0.4):
            d.rules(ns, ["10.96.0.1"], targets, 4)
    return d.scene(f"ipvlans {mode} {kind}", ["10.96.0.1", "10.5.0.77"], ["p1", "p2", "n", "e"])


FAMILIES = (wireguarded, wireguarded, bonded, separated, ipvlans)


def scene(seed: str) -> Scene:
    """Give the scene of a seed."""
    rng = random.Random(seed)
    return rng.choice(FAMILIES)(rng, seed)


def main() -> None:
    """Run fixed scenes and fresh ones, where the kernel has such devices; fail where the simulator is wrong."""
    count = int(sys.argv[1])
    fresh = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    print(f"fresh seed: {fresh}", flush=True)
    campaign = Campaign()
    for seed in (*_SEEDS, *(f"{fresh}.{number}" for number in range(count))):
        campaign.judge(scene(seed), seed)
    print(campaign.report())
    print("\n".join(campaign.wrong + campaign.refused))
    sys.exit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    main()
