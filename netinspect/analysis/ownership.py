"""Who has an address: every owner that the cluster names for it, the most exact first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from netinspect.analysis.backends import finished
from netinspect.analysis.pods import addresses, full_name, holders, node_ranges_used
from netinspect.analysis.ranges import (
    Address,
    Network,
    Taken,
    node_ranges,
    parse_address,
    parse_network,
    pod_ranges,
    service_ranges,
)
from netinspect.model import resources, wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import AddressOwners, Evidence, Owner, OwnerNetwork, Range

NEEDS = (*resources.DECISIVE, *resources.RANGE_EVIDENCE, resources.IP_ADDRESSES)
_DECISIVE = frozenset(r.name for r in resources.DECISIVE)

# Owners that nobody unseen can contradict: an endpoint or a released address may be a pod's that was not seen.
_SETTLING = frozenset({"pod address", "cluster IP", "InternalIP", "ExternalIP", "HostIP"})

# Ranges that mean something everywhere. Sources: RFC 6890 (special-purpose registries), RFC 5735, RFC 4291.
_SPECIAL: tuple[tuple[str, str], ...] = (
    ("127.0.0.0/8", "loopback: the pod or node that uses it"),
    ("::1/128", "loopback: the pod or node that uses it"),
    ("169.254.169.254/32", "instance metadata service of most clouds"),
    ("fd00:ec2::254/128", "instance metadata service of AWS"),
    ("169.254.0.0/16", "link-local"),
    ("fe80::/10", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("255.255.255.255/32", "limited broadcast"),
    ("0.0.0.0/32", "unspecified: every address of whoever listens on it"),
    ("::/128", "unspecified: every address of whoever listens on it"),
    ("192.0.2.0/24", "documentation (TEST-NET-1)"),
    ("198.51.100.0/24", "documentation (TEST-NET-2)"),
    ("203.0.113.0/24", "documentation (TEST-NET-3)"),
    ("2001:db8::/32", "documentation"),
    ("10.0.0.0/8", "private, not known to this cluster"),
    ("172.16.0.0/12", "private, not known to this cluster"),
    ("192.168.0.0/16", "private, not known to this cluster"),
    ("100.64.0.0/10", "shared address space (carrier-grade NAT), not known to this cluster"),
    ("fc00::/7", "unique local, not known to this cluster"),
)


class Owners:
    """An index of every address that the snapshot names."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._exact: dict[Address, dict[Owner, None]] = defaultdict(dict)
        for text, owner in _exact(snapshot):
            address = parse_address(text)
            if address is not None:
                self._exact[address][owner] = None
        # By prefix length, the longest first: a look-up costs one step per length, however many nodes there are.
        self._ranges: dict[tuple[int, int], dict[int, list[Owner]]] = {}
        for network, owner in _ranges(snapshot):
            prefixes = self._ranges.setdefault((network.version, network.prefixlen), {})
            prefixes.setdefault(int(network.network_address), []).append(owner)
        self._special = [(n, role) for text, role in _SPECIAL if (n := parse_network(text)) is not None]
        self.certain = not any(g.resource in _DECISIVE for g in snapshot.gaps)

    def of(self, text: str) -> AddressOwners | None:
        """Name the owners of an address; None where the text is no address.

        An IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) belongs to the owner of the IPv4 address, since that
        is how dual-stack sockets show it.
        """
        address = parse_address(text.partition("%")[0])
        if address is None:
            return None
        address = getattr(address, "ipv4_mapped", None) or address
        exact = self._exact.get(address, {})
        owners = [*exact, *self._inside(address)]
        certain = self.certain or any(o.role in _SETTLING for o in exact)
        if not owners:
            role = next((r for n, r in self._special if n.version == address.version and address in n), "external")
            owners = [Owner(network=OwnerNetwork.OUTSIDE, role=role)]
            certain = certain or address.is_loopback
        return AddressOwners(address=text, owners=tuple(owners), certain=certain)

    def _inside(self, address: Address) -> Iterator[Owner]:
        for (version, length), prefixes in self._ranges.items():
            if version == address.version:
                shift = address.max_prefixlen - length
                yield from prefixes.get(int(address) >> shift << shift, ())


def _exact(snapshot: Snapshot) -> Iterator[tuple[str, Owner]]:
    """Name every single address, in the order in which its owners matter."""
    yield from _pods(snapshot)
    yield from _nodes(snapshot)
    for service in snapshot.services:
        name = f"svc/{full_name(service.metadata)}"
        for address in service.spec.cluster_ips or (service.spec.cluster_ip,):
            yield address, _owner("service", "cluster IP", name, service.spec.type)
        for address in service.spec.external_ips:
            yield address, _owner("service", "external IP", name, "")
        for ingress in service.status.load_balancer.ingress:
            yield ingress.ip, _owner("service", "load balancer", name, "")
    yield from _entry_points(snapshot)
    yield from _endpoints(snapshot)
    yield from _released(snapshot)
    for taken in snapshot.ip_addresses:
        parent = taken.spec.parent_ref
        if parent.resource != "services":
            name = f"{parent.resource}/{parent.namespace}/{parent.name}"
            yield taken.metadata.name, _owner("service", "allocated", name, "")


def _pods(snapshot: Snapshot) -> Iterator[tuple[str, Owner]]:
    shared = {a for a, names in holders(snapshot).items() if len(names) > 1}
    for pod in snapshot.pods:
        if not pod.spec.host_network and not finished(pod):
            node = f"on {pod.spec.node_name}" if pod.spec.node_name else ""
            for address in addresses(pod):
                conflict = "; several pods claim it" if address in shared else ""
                yield address, _owner("cluster", "pod address", f"pod/{full_name(pod.metadata)}", node + conflict)


def _released(snapshot: Snapshot) -> Iterator[tuple[str, Owner]]:
    """Name the pods that had an address until they finished; someone else may have it by now."""
    for pod in snapshot.pods:
        if not pod.spec.host_network and finished(pod):
            for address in addresses(pod):
                name = f"pod/{full_name(pod.metadata)}"
                yield address, _owner("cluster", "released by a finished pod", name, f"on {pod.spec.node_name}")


def _nodes(snapshot: Snapshot) -> Iterator[tuple[str, Owner]]:
    for node in snapshot.nodes:
        for listed in node.status.addresses:
            yield listed.address, _owner("host", listed.type, f"node/{node.metadata.name}", "")
    if snapshot.gap("nodes"):
        for pod in snapshot.pods:
            for ip in (*pod.status.host_ips, wire.PodIP(pod.status.host_ip)):
                yield ip.ip, _owner("host", "HostIP", f"node/{pod.spec.node_name}", "")


def _entry_points(snapshot: Snapshot) -> Iterator[tuple[str, Owner]]:
    for entry in snapshot.ingresses:
        for ingress in entry.status.load_balancer.ingress:
            yield ingress.ip, _owner("service", "ingress", f"ingress/{full_name(entry.metadata)}", "")
    for gateway in snapshot.gateways:
        for value in gateway.status.addresses:
            yield value.value, _owner("service", "gateway", f"gateway/{full_name(gateway.metadata)}", "")


def _endpoints(snapshot: Snapshot) -> Iterator[tuple[str, Owner]]:
    """Name the Services that lead to an address, whoever has it."""
    for piece in snapshot.endpoint_slices:
        service = piece.metadata.labels.get("kubernetes.io/service-name", "")
        for endpoint in (piece.endpoints or ()) if service else ():
            for address in endpoint.addresses:
                yield address, _owner("service", "endpoint", f"svc/{piece.metadata.namespace}/{service}", "")


def _ranges(snapshot: Snapshot) -> Iterator[tuple[Network, Owner]]:
    """Name the ranges, the smallest first; what is only inferred of the Services' range may be far too wide."""
    nodes = node_ranges(snapshot)
    used = node_ranges_used(snapshot, nodes) is not False
    services = tuple(r for r in service_ranges(snapshot) if r.evidence is not Evidence.INFERRED)
    found: list[tuple[Network, Owner]] = [
        (network, _owner("cluster", "pod range", f"node/{node}", str(network)))
        for node, networks in nodes.items()
        for network in networks
        if used
    ]
    for network_name, role, ranges in (
        ("cluster", "pod range of the cluster", pod_ranges(snapshot, Taken(()))),
        ("service", "service range", services),
    ):
        found += [(n, _owner(network_name, role, "", f"{r.cidr}, {r.source}")) for n, r in _parsed(ranges)]
    return iter(sorted(found, key=lambda pair: -pair[0].prefixlen))


def _parsed(ranges: tuple[Range, ...]) -> Iterator[tuple[Network, Range]]:
    for r in ranges:
        network = parse_network(r.cidr)
        if network is not None:
            yield network, r


def _owner(network: str, role: str, owner: str, detail: str) -> Owner:
    return Owner(network=OwnerNetwork(network), role=role, owner=owner, detail=detail)


_REMEMBERED = 100_000

# An address in running text, not part of a longer word or number, so that versions, times and MACs are left alone. One
# further number may follow a dot: tcpdump writes ports so. The bracket after an IPv6 address belongs to it.
_IPV4 = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d+\.\d)"
_IPV6 = r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?![\w:])"
_CANDIDATE = re.compile(rf"({_IPV6}|{_IPV4})(\]?)", re.ASCII)


def annotate(lines: Iterable[str], owners: Owners, clean: Callable[[str], str]) -> Iterator[str]:
    """Write the owner behind each address of a text that one is known for, line by line; all else stays as it is.

    ``clean`` makes names from the cluster harmless.
    """
    known: dict[str, str] = {}

    def mark(match: re.Match[str]) -> str:
        text, bracket = match.groups()
        # A colon after an IPv6 address may be the sentence's own: "from fd00::5: icmp_seq=1".
        tail = ":" if text.endswith(":") and not text.endswith("::") else ""
        text = text.removesuffix(tail) if tail else text
        if text not in known:
            if len(known) > _REMEMBERED:
                known.clear()
            known[text] = clean(_label(owners.of(text)))
        return text + bracket + known[text] + tail

    for line in lines:
        yield _CANDIDATE.sub(mark, line)


def _label(found: AddressOwners | None) -> str:
    if found is None or found.owners[0].network is OwnerNetwork.OUTSIDE:
        return ""
    first = found.owners[0]
    rivals = [o.owner for o in found.owners[1:] if o.role == first.role == "pod address"]
    if first.role in ("released by a finished pod", "pod range"):
        return f"[{first.role} {first.owner}]"
    return f"[{' or '.join([first.owner or first.role, *rivals])}]"
