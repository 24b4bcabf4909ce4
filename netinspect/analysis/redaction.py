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
import typing
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from netinspect.model.decode import decode_page
from netinspect.model.resources import Resource
from netinspect.model.snapshot import Gap, Snapshot

# Names that every cluster has, and that say what their bearers are for.
_COMMON = frozenset(
    {
        "default",
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "kubernetes",
        "kube-dns",
        "kube-proxy",
        "coredns",
        "kubeadm-config",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "etcd",
        "control-plane",
        "None",
        "",
        "true",
        "false",
        "http",
        "https",
        "dns",
        "dns-tcp",
        "metrics",
        "grpc",
    }
)
_COMMON_KEY = re.compile(
    r"([a-z0-9.-]+\.)?(kubernetes|k8s)\.io/.*|app|component|tier|k8s-app|[a-z]+\.conf|config\.conf"
)
_FLAGS = ("--service-cluster-ip-range", "--cluster-cidr")
_SETTINGS = re.compile(r"\s*(podSubnet|serviceSubnet|clusterCIDR|mode):.*")
_ADDRESS = re.compile(r"[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*[0-9A-Fa-f:](?:/\d+)?")
# Meaningful to everyone and nobody's own: unspecified, loopback, link-local, multicast.
_KEPT = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"),
    )
)


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
        return msgspec.json.encode(
            {"metadata": {"continue": "" if not page.metadata.continue_ else "more"}, "items": items}
        )

    def snapshot(self, snapshot: Snapshot) -> Snapshot:
        """Redact what a recording says of itself: the server's messages name users and objects."""
        gaps = tuple(Gap(resource=g.resource, reason=g.reason, message=g.reason.value, hint="") for g in snapshot.gaps)
        return Snapshot(taken_at=snapshot.taken_at, server_version=snapshot.server_version, gaps=gaps)

    def name(self, text: str) -> str:
        """Give the pseudonym of a name; an address is replaced as an address."""
        if text in _COMMON or text.isdigit():
            return text
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

    def _value(self, value: Any, kind: Any) -> Any:
        """Redact by the declared type: a struct field by field, a plain string as a name."""
        how = _how(kind)
        if how == "keep" or value is None or isinstance(value, (bool, int)):
            return value
        if how == "flags":
            return [self._text(w) for w in value if w.startswith(_FLAGS)]
        if isinstance(value, Struct):
            return self._struct(value)
        if isinstance(value, dict):
            text = _how(typing.get_args(kind)[1]) == "text"
            return {self._label(k): self._settings(v) if text else self.name(v) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            inner = next((a for a in _arguments(kind) if a is not Ellipsis), str)
            return [self._value(v, inner) for v in value]
        return self.name(str(value))

    def _label(self, key: str) -> str:
        return key if _COMMON_KEY.fullmatch(key) else self.name(key)

    def _settings(self, text: str) -> str:
        """Keep the lines of a configuration that say which ranges the cluster has, and nothing else."""
        return "\n".join(self._text(line) for line in text.splitlines() if _SETTINGS.fullmatch(line))

    def _text(self, text: str) -> str:
        return _ADDRESS.sub(lambda m: self._as_address(m.group()) or m.group(), text)

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

        The last 8 bits stay, so that the first address of a range, its gateway and its DNS keep their meaning; so do
        the first 8 bits of an address, which say whether it is private.
        """
        width = address.max_prefixlen
        bits = int(address)
        result = 0
        for position in range(width):
            bit = bits >> (width - 1 - position) & 1
            if 8 <= position < width - 8:
                bit ^= self._bit(address.version, position, bits >> (width - position))
            result = result << 1 | bit
        return type(address)(result)

    def _new_bit(self, version: int, position: int, prefix: int) -> int:
        digest = hmac.digest(self._key, f"{version}/{position}/{prefix:x}".encode(), hashlib.sha256)
        return digest[0] & 1


def _how(kind: Any) -> str:
    """Say what the declared type wants done: ``keep``, ``flags``, ``text``, or nothing in particular."""
    for extra in getattr(kind, "__metadata__", ()):
        if isinstance(extra, msgspec.Meta) and extra.extra:
            return str(extra.extra.get("redact", ""))
    return ""


def _arguments(kind: Any) -> tuple[Any, ...]:
    """Give the element types of a collection, looking through ``X | None``."""
    if typing.get_origin(kind) in (tuple, list):
        return typing.get_args(kind)
    for option in typing.get_args(kind):
        if typing.get_origin(option) in (tuple, list):
            return typing.get_args(option)
    return ()
