"""What Cilium's agent says of its maps: endpoints, addresses, Services and policies of one node.

It is read with ``cilium-dbg … -o json`` in the agent. Formats: cilium/cilium pkg/maps/{ipcache,lbmap,lxcmap,policymap},
api/v1/models, cilium-dbg/cmd/bpf_*.go.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from netinspect.model.evidence import Section
from netinspect.model.packet import BITS, PROTOCOLS, number

STATUS, CONFIG, ENDPOINTS = "cilium:status", "cilium:config", "cilium:endpoints"
IPCACHE, SERVICES = "cilium:bpf-ipcache", "cilium:bpf-lb"
ADDRESSES, POLICIES = "cilium:bpf-endpoint", "cilium:bpf-policy"
SECTIONS: Final = (STATUS, CONFIG, ENDPOINTS, IPCACHE, SERVICES, ADDRESSES, POLICIES)
_PEER = re.compile(r"identity=(\d+) .*tunnelendpoint=([^\s,]+)(?:,? flags=(\S+))?")
# What an address may be noted with and changes nothing here.
_PLAIN = frozenset({None, "", "<none>", "hastunnel"})
_ENDPOINT = re.compile(r"id=(\d+)\s+sec_id=(\d+)")
_FRONTEND = re.compile(r"(?P<address>.*):(?P<port>\d+)(?:/(?P<protocol>\w+))?(?P<inner>/i)? \((?P<slot>\d+)\)")
_BACKEND = re.compile(r"(?P<address>.*):(?P<port>\d+)(?:/\w+)? \(\d+\) \(\d+\)(?: \[(?P<flags>[^]]*)\])?")
# What comes before a policy entry's protocol and port in its key: identity, direction (struct policy_key).
_STATIC_BITS: Final = 40
_DENY: Final = 1


@dataclass(frozen=True)
class Endpoint:
    """A pod of this node: its number, identity, interface, and the policies that select it for each direction."""

    id: int
    identity: int
    dev: str
    policies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    audited: bool = False


@dataclass(frozen=True)
class Peer:
    """What is known of an address: its identity, the node behind whose tunnel it is, and the line that says so.

    ``odd`` says that it is noted with something that is not modelled.
    """

    identity: int
    tunnel: str
    prefix: str
    line: int
    odd: bool = False


class Backend(NamedTuple):
    """To which address, as a number, and port a Service leads."""

    address: int
    port: int


@dataclass(frozen=True)
class Frontend:
    """An address and port that are translated, and to what."""

    backends: tuple[Backend, ...]
    flags: frozenset[str]
    key: str
    line: int


@dataclass(frozen=True)
class Entry:
    """An entry of an endpoint's policy map. ``bits`` is how much of protocol and port it names; the rest is any."""

    bits: int
    protocol: int
    port: int
    deny: bool
    proxy: bool
    authenticated: bool
    precedence: int

    def fits(self, protocol: int, port: int) -> bool:
        """Say whether it is for a protocol and port (struct policy_key, whose tail is matched by its first bits)."""
        if self.bits and self.protocol != protocol:
            return False
        shift = max(0, 24 - self.bits)
        return self.bits <= 8 or self.port >> shift == port >> shift


@dataclass(frozen=True)
class Settings:
    """How the agent is set up.

    ``router`` is the address of cilium_host (IPv4). ``devices`` are those at which it serves node ports. ``rejects``
    says that who asks for a Service without backends may be sent an error. ``odd`` names what is on and not modelled.
    """

    tunnelled: bool = False
    tunnel_device: str = ""
    connects: bool = False
    connects_pods: bool = False
    node_ports: bool = False
    legacy_routing: bool = True
    masquerades: bool = False
    verifies_sources: bool = True
    rejects: bool = True
    router: int | None = None
    devices: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


# By family, address, protocol (0 for any) and port.
Services = Mapping[tuple[int, int, int, int], Frontend]


@dataclass(frozen=True)
class Maps:
    """All maps of one node.

    ``peers`` is by family, length of the prefix, the longest first, and prefix; ``policies`` by endpoint, direction
    (``ingress``, ``egress``) and identity.
    """

    settings: Settings
    by_dev: Mapping[str, Endpoint]
    by_address: Mapping[tuple[int, int], Endpoint]
    own: frozenset[tuple[int, int]]
    peers: Mapping[int, Mapping[int, Mapping[int, Peer]]]
    services: Services
    inner_services: Services
    policies: Mapping[int, Mapping[tuple[str, int], tuple[Entry, ...]]]
    policy_lines: Mapping[int, int]

    def peer(self, family: int, address: int) -> Peer | None:
        """Find an address by the longest prefix that holds it."""
        for bits, known in self.peers.get(family, {}).items():
            found = known.get(address >> (BITS[family] - bits))
            if found is not None:
                return found
        return None

    def front(self, place: tuple[int, int, int, int], *, inside: bool) -> Frontend | None:
        """Find the Service of a family, address, protocol and port; ``inside`` prefers what is for the cluster alone.

        Without a protocol in their keys (bpf-lb-proto-diff) frontends are for any.
        """
        family, address, _, port = place
        for one in (place, (family, address, 0, port)):
            found = (self.inner_services.get(one) if inside else None) or self.services.get(one)
            if found is not None:
                return found
        return None


def parse(sections: Mapping[str, Section]) -> Maps:
    """Read what the agent said; raises ``ValueError`` or ``LookupError`` where it has another form."""
    texts = {name: sections[name].text for name in SECTIONS}
    # Services and policies there may be none; an agent at work has all the others.
    for name in (STATUS, CONFIG, ENDPOINTS, IPCACHE, ADDRESSES):
        if texts[name].strip() in ("", "{}", "[]", "null"):
            raise ValueError(f"{name.partition(':')[2]} is empty")
    by_id = {e.id: e for e in _endpoints(texts[ENDPOINTS])}
    by_address: dict[tuple[int, int], Endpoint] = {}
    own: set[tuple[int, int]] = set()
    for address, said in _object(texts[ADDRESSES]).items():
        place = number(address.rpartition(":")[0].strip("[]"))
        if "localhost" in said[0]:
            own.add(place)
        elif found := _ENDPOINT.search(said[0]):
            id_, identity = int(found[1]), int(found[2])
            by_address[place] = replace(by_id.get(id_, Endpoint(id_, identity, "")), identity=identity)
    services, inner = _services(texts[SERVICES])
    policies, lines = _policies(texts[POLICIES])
    return Maps(
        settings=_settings(_object(texts[STATUS]), _object(texts[CONFIG])),
        by_dev={e.dev: e for e in by_address.values() if e.dev},
        by_address=by_address,
        own=frozenset(own),
        peers=_peers(texts[IPCACHE]),
        services=services,
        inner_services=inner,
        policies=policies,
        policy_lines=lines,
    )


def _object(text: str) -> dict[str, Any]:
    """Read an object; an empty map may print as nothing at all, or as null."""
    found = json.loads(text) if text.strip() else {}
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found


def _lines(text: str) -> dict[str, int]:
    """Give the line of each key of an object that is printed with one key a line."""
    found: dict[str, int] = {}
    for number_, line in enumerate(text.splitlines(), 1):
        key, colon, _ = line.strip().partition('": ')
        if colon and key.startswith('"'):
            found[key[1:]] = number_
    return found


def _endpoints(text: str) -> Iterator[Endpoint]:
    for one in json.loads(text) if text.strip() else ():
        status = one["status"]
        realized = status.get("policy", {}).get("realized", {})
        audited = one.get("spec", {}).get("options", {}).get("PolicyAuditMode", "Disabled") != "Disabled"
        yield Endpoint(
            one["id"], status.get("identity", {}).get("id", 0), status.get("networking", {}).get("interface-name", ""),
            {d: _policy_names(realized.get("l4", {}).get(d) or ()) for d in ("ingress", "egress")},
            audited,
        )  # fmt: skip


def _policy_names(rules: Any) -> tuple[str, ...]:
    """Name the objects that rules come from, by their labels (pkg/k8s/apis/cilium.io: PolicyLabel…)."""
    names: dict[str, None] = {}
    for rule in rules:
        for labels in rule.get("derived-from-rules") or ():
            found = dict(label.rpartition("policy.")[2].partition("=")[::2] for label in labels if "policy." in label)
            if "name" in found:
                where = f"{found['namespace']}/" if "namespace" in found else ""
                names[f"{found.get('derived-from', 'policy')} {where}{found['name']}"] = None
    return tuple(names)


def _peers(text: str) -> dict[int, dict[int, dict[int, Peer]]]:
    peers: dict[int, dict[int, dict[int, Peer]]] = defaultdict(lambda: defaultdict(dict))
    lines = _lines(text)
    for prefix, said in _object(text).items():
        address, _, bits = prefix.partition("/")
        family, value = number(address)
        length = int(bits.partition("@")[0]) if bits else BITS[family]
        if found := _PEER.search(said[0]):
            tunnel = found[2] if number(found[2])[1] else ""
            peers[family][length][value >> (BITS[family] - length)] = Peer(
                int(found[1]), tunnel, prefix, lines.get(prefix, 0), found[3] not in _PLAIN
            )
    return {family: dict(sorted(by_length.items(), reverse=True)) for family, by_length in peers.items()}


def _services(text: str) -> tuple[Services, Services]:
    """Read frontends by family, address, protocol (0 for any) and port, and those that are for inside alone."""
    backends: dict[str, list[Backend]] = defaultdict(list)
    heads: dict[str, tuple[re.Match[str], frozenset[str], str]] = {}
    for key, values in _object(text).items():
        front = _FRONTEND.fullmatch(key)
        back = _BACKEND.match(values[0].strip()) if values else None
        if front is not None and back is None and front["slot"] != "0":
            # A backend that went away while the map was read ("backend 7 not found").
            continue
        if front is None or back is None:
            raise ValueError(f"{key} is no frontend")
        name = key.rpartition(" ")[0]
        if front["slot"] == "0":
            flags = frozenset(f.strip() for f in (back["flags"] or "").split(",")) - {""}
            heads[name] = front, flags, key
        # Of a backend that is going away new connections take no notice.
        elif not back["flags"] or not {"quarantined", "maintenance", "terminating"} & set(back["flags"].split(", ")):
            backends[name].append(Backend(number(back["address"].strip("[]"))[1], int(back["port"])))
    outer: dict[tuple[int, int, int, int], Frontend] = {}
    inner: dict[tuple[int, int, int, int], Frontend] = {}
    lines = _lines(text)
    for name, (front, flags, key) in heads.items():
        protocol = PROTOCOLS.get((front["protocol"] or "any").lower(), 0)
        place = (*number(front["address"].strip("[]")), protocol, int(front["port"]))
        (inner if front["inner"] else outer)[place] = Frontend(tuple(backends[name]), flags, key, lines.get(key, 0))
    return outer, inner


def _policies(text: str) -> tuple[dict[int, dict[tuple[str, int], tuple[Entry, ...]]], dict[int, int]]:
    found: dict[int, dict[tuple[str, int], tuple[Entry, ...]]] = {}
    lines: dict[int, int] = {}
    for one in (json.loads(text) if text.strip() else None) or ():
        entries: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for said in one["Content"] or ():
            key = said["Key"]
            entry = _entry(said, key)
            entries[("ingress", "egress")[key["TrafficDirection"]], key["Identity"]].append(entry)
        id_ = int(one["EndpointID"])
        # The longest is met first (BPF_MAP_TYPE_LPM_TRIE).
        found[id_] = {k: tuple(sorted(v, key=lambda e: -e.bits)) for k, v in entries.items()}
        lines[id_] = text.count("\n", 0, max(0, text.find(f'"EndpointID": "{id_}"'))) + 1
    return found, lines


def _entry(said: Mapping[str, Any], key: Mapping[str, Any]) -> Entry:
    port = key["DestPortNetwork"]
    port = (port & 0xFF) << 8 | port >> 8
    length = key.get("Prefixlen")
    # Maps of before 1.16 have no lengths: what is 0 there is any.
    bits = length - _STATIC_BITS if length else 24 if port else 8 if key["Nexthdr"] else 0
    return Entry(
        bits, key["Nexthdr"], port, bool(said["Flags"] & _DENY), bool(said.get("ProxyPortNetwork")),
        bool(said.get("AuthRequirement", 0) & 0x7F), said.get("Precedence", 0),
    )  # fmt: skip


def _settings(status: Mapping[str, Any], config: Mapping[str, Any]) -> Settings:
    services = status.get("kube-proxy-replacement") or {}
    features = services.get("features") or {}
    node_port = features.get("nodePort") or {}
    sockets = features.get("socketLB") or {}
    hosts_only = bool(features.get("bpfSocketLBHostnsOnly"))
    routing = status.get("routing") or {}
    masquerading = status.get("masquerading") or {}
    allocated = (status.get("ipam") or {}).get("allocations") or {}
    routers = (number(a) for a, whose in allocated.items() if whose == "router")
    return Settings(
        tunnelled=str(routing.get("inter-host-routing-mode", "")).lower() == "tunnel",
        tunnel_device=f"cilium_{routing.get('tunnel-protocol', 'vxlan')}",
        connects=bool(sockets.get("enabled")),
        connects_pods=bool(sockets.get("enabled")) and not hosts_only,
        node_ports=bool(node_port.get("enabled")),
        legacy_routing=str(routing.get("intra-host-routing-mode", "")).lower() == "legacy",
        masquerades=bool(masquerading.get("enabled")) and str(masquerading.get("mode", "")).lower() == "bpf",
        verifies_sources=bool(config.get("EnableSourceIPVerification", True)),
        rejects=config.get("ServiceNoBackendResponse", "reject") != "drop",
        router=next((value for family, value in routers if family == 4), None),
        devices=tuple(services.get("devices") or ()),
        odd=tuple(_odd(status, config, node_port)),
    )


def _odd(status: Mapping[str, Any], config: Mapping[str, Any], node_port: Mapping[str, Any]) -> Iterator[str]:
    """Name what changes a packet's way and is not modelled."""
    if "EnableEndpointRoutes" not in config:
        yield "a configuration of this form"
    if (mode := str(status.get("datapath-mode", "veth"))) != "veth":
        yield f"datapath mode {mode}"
    for key, title in (("host-firewall", "the host firewall"), ("encryption", "encryption")):
        if str((status.get(key) or {}).get("mode", "Disabled")).lower() != "disabled":
            yield title
    if str((status.get("cni-chaining") or {}).get("mode", "none")) != "none":
        yield "chaining behind another CNI"
    if node_port.get("enabled") and str(node_port.get("mode", "SNAT")).upper() != "SNAT":
        yield f"node ports in mode {node_port.get('mode')}"
    for key, title in (
        ("EnableEndpointRoutes", "routes for each endpoint"), ("EnableEgressGateway", "the egress gateway"),
        ("EnableSRv6", "SRv6"), ("EnableVTEP", "VTEPs"), ("EnableLocalRedirectPolicy", "local redirect policies"),
        ("EnableNat46X64Gateway", "NAT between families"), ("PolicyAuditMode", "the policies' audit mode"),
    ):  # fmt: skip
        if config.get(key):
            yield title
