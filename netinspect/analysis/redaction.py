"""Replace names and addresses consistently, keeping the structure, so that a recording can be shown to others.

Only what the wire structs know passes: every page is decoded into them and encoded again, so annotations, commands,
environment and free text are gone. Of what is left, each string is replaced unless its type says that it is a word of
the API. Addresses keep their common prefixes (the idea of Crypto-PAn), so ranges hold the same addresses as before.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import types
import typing
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from netinspect.analysis.ranges import flag_values, setting
from netinspect.cni import DRIVERS
from netinspect.model.decode import decode_page
from netinspect.model.evidence import PodReference, Reading
from netinspect.model.image import image_names, image_version
from netinspect.model.resources import Resource
from netinspect.model.snapshot import Gap, Snapshot

# Words that every cluster has, and that say what their bearers are for.
_COMMON = frozenset({
    "", "None", "true", "false", "default", "kube-system", "kube-public", "kube-node-lease", "kubernetes", "kube-dns",
    "kube-proxy", "coredns", "kubeadm-config", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd",
    "control-plane", "http", "https", "dns", "dns-tcp", "metrics", "grpc", "HTTP", "HTTPS", "TLS", "TCP", "UDP",
    "services",
    "Ready", "PodScheduled", "Initialized", "ContainersReady", "PodReadyToStartContainers", "NetworkUnavailable",
    "MemoryPressure", "DiskPressure", "PIDPressure", "Node", "Pod", "Service", "DaemonSet", "ReplicaSet", "StatefulSet",
    "Job", "app", "component", "tier", "k8s-app", "config.conf", "kubernetes.io/service-name", "kubernetes.io/hostname",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "node-role.kubernetes.io/control-plane",
    "endpointslice.kubernetes.io/managed-by",
})  # fmt: skip
# What tells a CNI and its mode, and is nobody's own: names of images, notes on nodes, settings and what they may be.
_IMAGES = frozenset().union(*(d.SIGNATURE.images for d in DRIVERS)) | {"kube-proxy"}
_NOTES = frozenset(
    f"{owner}/{note}"
    for owner, notes in (
        ("flannel.alpha.coreos.com", ("backend-type", "backend-data", "backend-v6-data", "public-ip", "public-ipv6")),
        ("projectcalico.org", ("IPv4Address", "IPv6Address", "IPv4VXLANTunnelAddr", "IPv6VXLANTunnelAddr")),
        ("k8s.ovn.org", ("node-subnets",)),
    )
    for note in notes
)
_VARIABLES = tuple(v for d in DRIVERS for v in d.SIGNATURE.variables)
_CHOICES = frozenset({
    "true", "false", "Always", "Never", "CrossSubnet", "none", "bird", "vxlan", "Enabled", "Disabled", "ACCEPT",
})  # fmt: skip
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
_FLAGS = ("--service-cluster-ip-range", "--cluster-cidr")
_SETTINGS = ("podSubnet", "serviceSubnet", "clusterCIDR")
# Sections of kernel state in which nothing stands but what is replaced below.
_KEPT_SECTIONS = frozenset({
    "links", "routes4", "routes6", "rules4", "rules6", "nexthops", "neighbours", "proxied", "fdb", "iptables-nft",
    "iptables-legacy", "iptables", "ip6tables-nft", "ip6tables-legacy", "ip6tables", "nftables", "ipset",
    "sockets", "conntrack", "conntrack6", "sysctl", "qdiscs", "kernel", "ip-version", "iptables-version",
    "nft-version", "places", "groups", "proc-dev",
})  # fmt: skip
_STREAM_BEGIN = re.compile(r"@([0-9a-zA-Z]{1,64}) begin 1")
# Comments and prefixes of logs, in iptables-save and in nft's JSON, and interfaces' aliases.
_QUOTED = re.compile(r'((?:--[a-z-]+ |"(?:comment|prefix|ifalias)": ?|comment )")((?:[^"\\]|\\.)*)(")')
_UNQUOTED = re.compile(r"(--(?:comment|(?:nf)?log-prefix|ulog-prefix|string|label) )([^\"\s]+)")
# Programs that have a socket, and the units that they are of.
_OWNERS = re.compile(r" ?users:\(\(.*\)\)| ?cgroup:\S+")
_EXIT = re.compile(r"exit \d{1,3}")
_GROUP = re.compile(r"(/proc/\d+/cgroup:\d*:[^:]*:)(.*)")
_WORD = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
# Names that are hashes of objects' names: of kube-proxy (iptables, nftables), portmap, Calico and kube-router.
_HASHED = re.compile(
    r"\b((?:KUBE-[A-Z]+-)(?=[A-Z2-7]{16}\b)|CNI-[A-Z]*-?(?=[0-9a-f]{16,})|cali(?=[0-9a-f]{11}\b)"
    r"|[a-z-]+-(?=[A-Z2-7]{8}-))([A-Z2-7]{16}|[A-Z2-7]{8}|[0-9a-f]{11,})"
)
_MACS = re.compile(r"(?<![0-9a-fA-F:])[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}(?![0-9a-fA-F:])")
_NAMED_AFTER_MAC = re.compile(r"\benx([0-9a-f]{12})\b")
_PLAIN_MACS = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})
_IDENTIFIERS = re.compile(
    r"(?:(?<=pod)|(?<![0-9a-f]))(?:[0-9a-f]{64}|[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    r"(?![0-9a-f])"
)
_PROXY_NAMES = re.compile(r"([a-z-]+-[A-Z0-9]{8}-)([^\s\"{}]+)")
_ADDRESSES = re.compile(
    r"(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:]*:[0-9a-fA-F:.]*)(?:/\d{1,3})?(?![\w.])"
)
# Numbers of ports and the like; longer ones may be somebody's account.
_SHORT_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
# Meaningful to everyone and nobody's own: unspecified, loopback, link-local, multicast.
_KEPT = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"),
    )
)
# Private stays private, and nothing else becomes so (RFC 1918, RFC 6598, RFC 4193).
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fd00::/8"))
)


_UNIONS = (typing.Union, types.UnionType)


class Redactor:
    """Replaces the same string by the same pseudonym throughout; two redactors use different ones."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()
        self._bit = lru_cache(maxsize=1 << 18)(self._new_bit)

    def page(self, resource: Resource, raw: bytes) -> bytes:
        """Redact one page of a list; its items stay in order, and its end stays its end."""
        page = decode_page(resource, raw)
        items = [self._struct(item) for item in page.items or ()]
        return msgspec.json.encode({"metadata": {"resourceVersion": page.metadata.resource_version}, "items": items})

    def snapshot(self, snapshot: Snapshot) -> Snapshot:
        """Redact what a recording says of itself: the server's messages name users and objects."""
        gaps = tuple(
            Gap(resource=self._resource(g), reason=g.reason, message=g.reason.value, hint="") for g in snapshot.gaps
        )
        return Snapshot(taken_at=snapshot.taken_at, server_version=snapshot.server_version, gaps=gaps)

    def _resource(self, gap: Gap) -> str:
        """Redact the node or pod that a gap is about; other gaps are about kinds, which every cluster has."""
        if not gap.inside:
            return gap.resource
        return self._named(gap.resource.partition(",")[0])

    def _named(self, text: str) -> str:
        """Redact ``node/n1`` or ``pod/shop/web``; what is no object says nothing of anybody."""
        kind, *names = text.split("/")
        return "/".join([kind, *map(self.name, names)])

    def reading(self, reading: Reading) -> Reading:
        """Redact what was read in a node: addresses, MACs and identifiers wherever they stand, names in comments.

        Sections that may hold anything (configuration, command lines, folders, IPsec) are left out, and so is what
        comes after the last whole section. To be called after the pages, which say what the names are.
        """
        pod = reading.pod
        return Reading(
            node=self.name(reading.node),
            access=reading.access,
            through=self._named(reading.through),
            raw=self._stream(reading.raw),
            pod=PodReference(self.name(pod.uid), self.name(pod.namespace), self.name(pod.name)) if pod else None,
            broken=bool(reading.broken) * "ended early",
        )

    def _stream(self, raw: bytes) -> bytes:
        lines: list[str] = []
        mark = ""
        kept = text = False
        for line in raw.decode(errors="backslashreplace").split("\n"):
            if not mark:
                begin = _STREAM_BEGIN.fullmatch(line)
                mark = f"@{begin[1]} " if begin else ""
            if not mark:
                continue
            if not line.startswith(mark):
                lines += [self._words(line) if text else self._complaint(line)] if kept else []
                continue
            verb, *words = line.removeprefix(mark).split(" ")
            if verb == "section" and len(words) >= 2:
                name = words[1].partition(":")[0]
                kept = text = name in _KEPT_SECTIONS
                lines.append(line if kept else f"{mark}absent {words[0]} {name} redacted")
            elif verb in ("begin", "host", "finish", "absent"):
                lines.append(line)
            elif verb in ("end", "done") and kept:
                text = False
                lines.append(line)
        return "\n".join(lines).encode() + b"\n"

    def _complaint(self, line: str) -> str:
        """Keep of a tool's complaints, which are free text, only its exit code and whose it was."""
        if _EXIT.fullmatch(line):
            return line
        return "BusyBox" if "BusyBox" in line else ""

    def _words(self, line: str) -> str:
        """Replace what stands for somebody in a line of a tool's output."""
        group = _GROUP.fullmatch(line)
        if group:
            # The groups above those of pods say where the node itself runs, and others what runs on it.
            found = "/".join(m[0] for m in _IDENTIFIERS.finditer(group[2]))
            line = f"{group[1]}/kubepods/pod{found}" if "kubepods" in group[2] else f"{group[1]}/{found}"
        line = _QUOTED.sub(lambda m: m[1] + self._said(m[2]) + m[3], line)
        line = _UNQUOTED.sub(lambda m: m[1] + self.name(m[2]), line)
        line = _OWNERS.sub("", line)
        line = _IDENTIFIERS.sub(lambda m: self._identifier(m[0]), line)
        line = _MACS.sub(lambda m: self._mac(m[0]), line)
        line = _NAMED_AFTER_MAC.sub(lambda m: "enx" + self._mac(m[1]).replace(":", ""), line)
        line = _ADDRESSES.sub(lambda m: self._address(m[0]), line)
        line = _PROXY_NAMES.sub(lambda m: m[1] + self._proxied(m[2]), line)
        return _HASHED.sub(lambda m: m[1] + self._hashed(m[2]), line)

    def _said(self, text: str) -> str:
        """Redact the words of a comment; its addresses are replaced with all others of the line."""
        pieces = []
        end = 0
        for found in _ADDRESSES.finditer(text):
            pieces += [_WORD.sub(lambda w: self.name(w[0]), text[end : found.start()]), found[0]]
            end = found.end()
        return "".join([*pieces, _WORD.sub(lambda w: self.name(w[0]), text[end:])])

    def _hashed(self, text: str) -> str:
        """Give another hash of the same form: a hash of names without a key can be guessed from a list of words."""
        digest = hmac.digest(self._key, f"hash/{text}".encode(), hashlib.sha256)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" if text.isupper() or text.isdigit() else "0123456789abcdef"
        spread = digest * (len(text) // len(digest) + 1)
        return "".join(letters[b % len(letters)] for b in spread[: len(text)])

    def _address(self, text: str) -> str:
        """Replace an address or range, also where what follows the slash is a port."""
        found = self._as_address(text)
        if found is None and "/" in text:
            head, _, tail = text.partition("/")
            return f"{self._as_address(head) or head}/{tail}"
        if found is None or not text.lower().startswith(("fe80:", "ff02::1:ff")):
            return found or text
        # An address of a link is made of its MAC, as often as not, and the group that asks for it of its end.
        address = ipaddress.ip_address(text.partition("/")[0])
        width = 64 if text.lower().startswith("fe80:") else 24
        low = int(address) & ((1 << width) - 1)
        digest = hmac.digest(self._key, f"low/{low:x}".encode(), hashlib.sha256)
        hidden = int.from_bytes(digest[:8], "big") & ((1 << width) - 1) if low >> 16 else low
        return (
            str(ipaddress.IPv6Address((int(address) >> width << width) | hidden)) + text[len(text.partition("/")[0]) :]
        )

    def _proxied(self, text: str) -> str:
        """Redact the end of a name that kube-proxy gives in nftables: NAMESPACE/SERVICE/PROTOCOL/PORT__ADDRESS/PORT.

        Source: k8s.io/kubernetes pkg/proxy/nftables/proxier.go (servicePortPolicyClusterChainName and its like).
        """
        service, mark, endpoint = text.partition("__")
        hidden = "/".join(map(self.name, service.split("/")))
        return hidden + mark + _ADDRESSES.sub(lambda m: self._address(m[0]), endpoint)

    def _identifier(self, text: str) -> str:
        """Give another UID or container ID of the same form: a keyed hash, so that it is the same everywhere."""
        bare = text.replace("-", "").replace("_", "")
        shape = iter(hmac.digest(self._key, f"id/{bare}".encode(), hashlib.sha256).hex())
        return "".join(c if c in "-_" else next(shape) for c in text)

    def _mac(self, token: str) -> str:
        """Give another locally administered address for a MAC, always the same; multicast says nothing of anybody."""
        token = token.lower()
        if token in _PLAIN_MACS or token.startswith(("33:33:00", "01:00:5e:")):
            return token
        digest = hmac.digest(self._key, f"mac/{token}".encode(), hashlib.sha256)
        return ":".join(f"{b:02x}" for b in bytes([0x02]) + digest[:5])

    def name(self, text: str) -> str:
        """Give the pseudonym of a name; an address is replaced as an address."""
        if text in _COMMON or _SHORT_NUMBER.fullmatch(text):
            return text
        runtime, scheme, identifier = text.rpartition("://")
        if _IDENTIFIERS.fullmatch(identifier):
            return runtime + scheme + self._identifier(identifier)
        if (address := self._as_address(text)) is not None:
            return address
        with self._lock:
            return self._names.setdefault(text, f"x{len(self._names) + 1}")

    def _struct(self, value: Struct) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in msgspec.structs.fields(value):
            content = getattr(value, field.name)
            if content != field.default or field.required:
                found[field.encode_name] = self._value(content, field.type)
        return found

    def _value(self, value: Any, kind: Any) -> Any:  # noqa: PLR0911 - one for each way
        """Redact by the declared type: a struct field by field, a plain string as a name."""
        how = _how(kind)
        if how == "keep" or value is None or isinstance(value, (bool, int, float)):
            return value
        if how == "drop":
            return {}
        if how == "image":
            return self._image(value)
        if how == "known":
            return self._known(value)
        if how == "flags":
            return [f"{flag}={self._ranges(found)}" for flag in _FLAGS for found in flag_values(value, flag)]
        if isinstance(value, Struct):
            return self._struct(value)
        if isinstance(value, dict):
            inner = typing.get_args(kind)[1]
            text = _how(inner) == "text"
            return {self.name(k): self._settings(v) if text else self._value(v, inner) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            inner = next((a for a in _arguments(kind) if a is not Ellipsis), str)
            return [self._value(v, inner) for v in value]
        return self.name(str(value))

    def _image(self, image: Any) -> str:
        """Keep of an image which CNI's it is, and its version."""
        known = sorted(image_names(image) & _IMAGES)
        version = image_version(image)
        return (known[0] + f":{version}" * bool(version)) if known else self.name(image)

    def _known(self, found: Any) -> Any:
        """Keep of notes and variables those by which a CNI's mode is known, with the addresses in them replaced."""
        if isinstance(found, dict):
            return {k: self._words(_PUBLIC_KEY.sub("redacted", v)) for k, v in found.items() if k in _NOTES}
        own = (v for v in found if v.name.startswith(_VARIABLES))
        return [{"name": v.name, "value": v.value if v.value in _CHOICES else self._ranges(v.value)} for v in own]

    def _settings(self, text: str) -> str:
        """Keep of a configuration which ranges the cluster has, and nothing else."""
        found = ((key, setting(text, key)) for key in _SETTINGS)
        return "\n".join(f"{key}: {self._ranges(value)}" for key, value in found if value)

    def _ranges(self, text: str) -> str:
        return ",".join(self._as_address(part) or "redacted" for part in text.split(",") if part)

    def _as_address(self, text: str) -> str | None:
        try:
            interface = ipaddress.ip_interface(text)
        except ValueError:
            return None
        if any(interface.ip in n for n in _KEPT if n.version == interface.version):
            return text
        mapped = self._mapped(interface.ip)
        if "/" not in text:
            return str(mapped)
        return str(ipaddress.ip_network((int(mapped), interface.network.prefixlen), strict=False))

    def _mapped(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Any:
        """Flip each bit or not, as a keyed hash of the bits before it says: equal prefixes stay equal.

        The last 8 bits stay, so that the first address of a range, its gateway and its DNS keep their meaning.
        """
        width = address.max_prefixlen
        bits = int(address)
        result = 0
        for position in range(width):
            bit = bits >> (width - 1 - position) & 1
            if position < width - 8:
                bit ^= self._bit(address.version, position, bits >> (width - position))
            result = result << 1 | bit
        return type(address)(result)

    def _new_bit(self, version: int, position: int, prefix: int) -> int:
        """Say whether the bit after a prefix is flipped; never on the way to a range that keeps its place."""
        for n in (*_KEPT, *_PRIVATE):
            on_the_way = n.version == version and n.prefixlen > position
            if on_the_way and int(n.network_address) >> (n.max_prefixlen - position) == prefix:
                return 0
        digest = hmac.digest(self._key, f"{version}/{position}/{prefix:x}".encode(), hashlib.sha256)
        return digest[0] & 1


def _how(kind: Any) -> str:
    """Say what the declared type wants done: ``keep``, ``flags``, ``text``, or nothing in particular."""
    for extra in getattr(kind, "__metadata__", ()):
        if isinstance(extra, msgspec.Meta) and extra.extra:
            return str(extra.extra.get("redact", ""))
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    return _how(options[0]) if typing.get_origin(kind) in _UNIONS and len(options) == 1 else ""


def _arguments(kind: Any) -> tuple[Any, ...]:
    """Give the element types of a collection, looking through ``X | None``."""
    if typing.get_origin(kind) in (tuple, list):
        return typing.get_args(kind)
    for option in typing.get_args(kind):
        if typing.get_origin(option) in (tuple, list):
            return typing.get_args(option)
    return ()
