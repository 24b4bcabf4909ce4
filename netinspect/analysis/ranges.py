"""The ranges that a cluster takes its addresses from, by the best evidence there is."""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton

from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Evidence, Range, several

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The largest integer that JSON numbers carry exactly (RFC 8259, section 6).
_EXACT = 2**53


def parse_address(text: str) -> Address | None:
    """Read an address, or None where it is none: what the cluster says is not to be trusted to be one."""
    # inet_pton() is eight times as fast as ip_address(), which counts where 150,000 pods have one or two each.
    try:
        if ":" in text:
            return IPv6Address(int.from_bytes(inet_pton(AF_INET6, text), "big"))
        return IPv4Address(int.from_bytes(inet_pton(AF_INET, text), "big"))
    except (OSError, ValueError):
        return None


def parse_network(text: str) -> Network | None:
    """Read a range, host bits allowed, or None where it is none."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def capacity(network: Network) -> int | None:
    """Count the addresses that can be handed out; None where there are more than 2^53 of them."""
    reserved = 2 if network.version == 4 and network.prefixlen < 31 else 0
    count = network.num_addresses - reserved
    return count if count <= _EXACT else None


class Taken:
    """Addresses that somebody holds, in order, so that those within a range are counted by two look-ups."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._numbers: dict[int, list[int]] = {4: [], 6: []}
        for address in addresses:
            self._numbers[address.version].append(int(address))
        for numbers in self._numbers.values():
            numbers.sort()

    def within(self, network: Network) -> int:
        """Count the addresses inside a range."""
        numbers = self._numbers[network.version]
        first, last = int(network.network_address), int(network.broadcast_address)
        return bisect_right(numbers, last) - bisect_left(numbers, first)


def service_ranges(snapshot: Snapshot) -> tuple[Range, ...]:
    """Find the service ranges: ServiceCIDR objects, else a flag of the control plane, else what Services have."""
    found = [
        (cidr, Evidence.OBJECT, f"ServiceCIDR {o.metadata.name}")
        for o in snapshot.service_cidrs
        for cidr in o.spec.cidrs
    ]
    found = found or _declared(snapshot, "--service-cluster-ip-range", "serviceSubnet")
    taken = [a for a in _cluster_ips(snapshot) if a is not None]
    found = found or [
        (str(n), Evidence.INFERRED, "the Services' addresses; the range may be wider")
        for n in _smallest_cover(snapshot, taken)
    ]
    known = Taken(taken) if snapshot.gap("services") is None else None
    return tuple(_range(cidr, evidence, source, known) for cidr, evidence, source in found)


def node_ranges(snapshot: Snapshot) -> dict[str, tuple[Network, ...]]:
    """Map each node to the pod CIDRs that the control plane gave it."""
    return {
        node.metadata.name: several(
            n for c in (node.spec.pod_cidrs or (node.spec.pod_cidr,)) if (n := parse_network(c)) is not None
        )
        for node in snapshot.nodes
    }


def pod_ranges(snapshot: Snapshot, held: Taken) -> tuple[Range, ...]:
    """Find the ranges of the pod network: a flag of the control plane, else the nodes' own ranges taken together."""
    found = _declared(snapshot, "--cluster-cidr", "podSubnet", "clusterCIDR")
    if not found:
        cidrs = [n for networks in node_ranges(snapshot).values() for n in networks]
        found = [(str(n), Evidence.INFERRED, "the nodes' pod CIDRs; the range may be wider") for n in _collapse(cidrs)]
    taken = held if snapshot.gap("pods") is None else None
    return tuple(_range(cidr, evidence, source, taken) for cidr, evidence, source in found)


def _range(cidr: str, evidence: Evidence, source: str, taken: Taken | None) -> Range:
    network = parse_network(cidr)
    if network is None:
        return Range(cidr=cidr, evidence=evidence, source=f"{source} (not a range)", used=None)
    used = None if taken is None else taken.within(network)
    return Range(cidr=str(network), evidence=evidence, source=source, used=used, capacity=capacity(network))


def _declared(snapshot: Snapshot, flag: str, *keys: str) -> list[tuple[str, Evidence, str]]:
    """Find a range in a control-plane command line, else under a key of kubeadm's or kube-proxy's configuration."""
    for pod in snapshot.control_plane:
        for value in flag_values(
            pod.spec.containers[0].command + pod.spec.containers[0].args if pod.spec.containers else (), flag
        ):
            component = pod.metadata.labels.get("component", pod.metadata.name)
            return [(c, Evidence.FLAG, f"{component} {flag}") for c in value.split(",") if c]
    for key in keys:
        for configuration in snapshot.config_maps:
            for text in configuration.data.values():
                if value := setting(text, key):
                    source = f"ConfigMap {configuration.metadata.name} {key}"
                    return [(c, Evidence.FLAG, source) for c in value.split(",") if c]
    return []


def setting(text: str, key: str) -> str:
    """Find the ranges that a line of a YAML configuration gives to a key; empty where there are none."""
    match = re.search(rf"^[ \t]*{key}:[ \t]*[\"']?([0-9a-fA-F:./,]+)", text, re.MULTILINE)
    return match.group(1) if match else ""


def flag_values(words: tuple[str, ...], flag: str) -> Iterator[str]:
    """Find what a command line gives to a flag, in either of its forms."""
    # A command may also be one string for a shell.
    flat = [w.strip("\"'") for word in words for w in word.split()]
    for word, following in zip(flat, [*flat[1:], ""], strict=True):
        if word.startswith(f"{flag}="):
            yield word[len(flag) + 1 :].strip("\"'")
        elif word == flag and following:
            yield following


def _cluster_ips(snapshot: Snapshot) -> Iterator[Address | None]:
    for service in snapshot.services:
        for text in service.spec.cluster_ips or (service.spec.cluster_ip,):
            yield parse_address(text)


def _smallest_cover(snapshot: Snapshot, taken: list[Address]) -> Iterator[Network]:
    """Cover the Services' addresses by the smallest range that could be theirs.

    The API server gives the first address of the range to the Service ``kubernetes``
    (pkg/controlplane/controller/kubernetesservice), so the range begins just before it.
    """
    first = next(
        (s for s in snapshot.services if (s.metadata.namespace, s.metadata.name) == ("default", "kubernetes")), None
    )
    starts = {
        a.version: a - 1
        for t in (first.spec.cluster_ips or (first.spec.cluster_ip,) if first else ())
        if (a := parse_address(t)) is not None and int(a)
    }
    for version in (4, 6):
        own = [a for a in taken if a.version == version]
        if own:
            low, high = min([*own, *([starts[version]] if version in starts else [])]), max(own)
            bits = (int(low) ^ int(high)).bit_length()
            yield ipaddress.ip_network((int(low) >> bits << bits, low.max_prefixlen - bits))


def _collapse(networks: list[Network]) -> Iterator[Network]:
    yield from ipaddress.collapse_addresses([n for n in networks if isinstance(n, IPv4Network)])
    yield from ipaddress.collapse_addresses([n for n in networks if isinstance(n, IPv6Network)])
