"""A scene: namespaces, what is in them, and packets to send. It is built for real, read by the collector, and asked."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from msgspec import Struct

from netinspect.kernel.namespace import Namespace
from netinspect.kernel.simulator.stack import Stack
from netinspect.kernel.simulator.world import World
from netinspect.kernel.stream import parse
from netinspect.model.evidence import Access, NamespaceEvidence, PodReference, Reading
from netinspect.node.reader import Request, script

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_COUNT = itertools.count()
# An emulated kernel on a busy machine may need minutes for what takes a second.
_READ_SECONDS = 600.0
# Errors must come at once and always: the kernel's limits on how often it complains are no part of what is compared.
_PATIENT = """
for f in /proc/sys/net/ipv4/icmp_ratelimit /proc/sys/net/ipv4/icmp_ratemask /proc/sys/net/ipv6/icmp/ratelimit; do
  [ ! -e $f ] || echo 0 >$f; done
[ ! -w /proc/sys/net/ipv4/icmp_msgs_per_sec ] || echo 1000000 >/proc/sys/net/ipv4/icmp_msgs_per_sec
[ ! -w /proc/sys/net/ipv4/icmp_msgs_burst ] || echo 1000000 >/proc/sys/net/ipv4/icmp_msgs_burst
for f in ipv4 ipv6; do echo 0 >/proc/sys/net/$f/route/mtu_expires; done
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
ip link set lo up
"""
_SOON = """
for d in /proc/sys/net/ipv[46]/neigh/*; do
  echo 1 >$d/mcast_solicit; echo 60 >$d/retrans_time_ms; echo 0 >$d/proxy_delay
done
"""
# The kernel gives a device its link-local address when it hears that it has a carrier, which may take a second; some
# have none.
_SETTLED = """
n=0
while [ $n -lt 30 ]; do
  missing=
  for dev in $(ip -o -d link show up 2>/dev/null | grep -v ' bond_slave \\| wireguard \\| ipip \\| vrf ' |
      sed -n 's/^[0-9]*: \\([^:@]*\\)[:@].*/\\1/p'); do
    [ "$dev" = lo ] || grep -q "^fe80.* 20 .* $dev\\$" /proc/net/if_inet6 || missing=$dev
  done
  [ -n "$missing" ] || break
  sleep 0.05
  n=$((n + 1))
done
"""


class Probe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A packet to send from a namespace, and where to; ``size`` is of its load, in bytes."""

    ns: str
    protocol: str
    dst: str
    dport: int = 0
    src: str = ""
    sport: int = 0
    size: int = 8
    df: bool = False
    mark: int = 0
    uid: int = 0


class Scene(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is built: links as lines of ip-batch(8) in which namespaces stand in braces, then lines for each namespace.

    A line of ``setup`` begins with its kind: ``ip``, ``sysctl NAME=VALUE``, ``ipset``, ``nft``, ``tc``,
    ``wg DEVICE``, or ``iptables-nft TABLE`` (also ``iptables-legacy``, ``ip6tables-nft``, ``ip6tables-legacy``) with a
    rule or a chain.
    """

    name: str
    namespaces: tuple[str, ...]
    links: tuple[str, ...] = ()
    setup: dict[str, tuple[str, ...]] = {}
    listeners: dict[str, tuple[tuple[str, int, str], ...]] = {}
    probes: tuple[Probe, ...] = ()
    seed: str = ""


class Built:
    """A scene that exists, until it is left."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.prefix = f"ni{os.getpid()}.{next(_COUNT)}."

    def real(self, ns: str) -> str:
        return self.prefix + ns

    def __enter__(self) -> Built:
        try:
            self._make()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _make(self) -> None:
        names = {ns: self.real(ns) for ns in self.scene.namespaces}
        batch("".join(f"netns add {name}\n" for name in names.values()))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda ns: inside(names[ns], _PATIENT), names))
            lines = [line.format_map(_Names(names)) for line in self.scene.links]
            batch("".join(f"{line}\n" for line in lines if not line.startswith("-n ")))
            for line in lines:
                if line.startswith("-n "):
                    subprocess.run(["ip", *line.split()], check=True, capture_output=True)
            list(pool.map(lambda ns: inside(names[ns], commands(self.scene.setup.get(ns, ())) + _SOON), names))
            list(pool.map(lambda ns: inside(names[ns], _SETTLED), names))

    def remove(self) -> None:
        for ns in self.scene.namespaces:
            subprocess.run(["ip", "netns", "del", self.real(ns)], check=False, capture_output=True)

    def read(self) -> World:
        """Read every namespace with the collector that users have."""
        with ThreadPoolExecutor(2) as pool:
            evidence = pool.map(self._read, self.scene.namespaces)
            return World(
                Stack(ns, Namespace(found), node="scene", host=True)
                for ns, found in zip(self.scene.namespaces, evidence, strict=True)
            )

    def _read(self, ns: str) -> NamespaceEvidence:
        asked = script(Request(within=True, deadline=_READ_SECONDS), secrets.token_hex(8))
        # Where it takes too long it ends its process group, which is not to be this one.
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.real(ns)}", "sh"], input=asked, capture_output=True, check=True,
            start_new_session=True,
        )  # fmt: skip
        reading = Reading(ns, Access.LOCAL, "test", done.stdout, PodReference("uid", "ns", ns))
        return parse(reading).namespaces[0]


class _Names(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def batch(lines: str) -> None:
    done = subprocess.run(["ip", "-batch", "-"], input=lines, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{done.stderr}\n{lines}")


def inside(namespace: str, text: str) -> str:
    command = ["nsenter", f"--net=/run/netns/{namespace}", "sh", "-e"]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode or "error" in done.stderr.lower():
        raise RuntimeError(f"{done.stderr}\n{text}")
    return done.stdout


def commands(lines: tuple[str, ...]) -> str:
    """Give the shell script for lines of a setup: the same tools in the order of their first use, each once."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        kind, _, rest = line.partition(" ")
        groups.setdefault(kind, []).append(rest)
    made = []
    for kind in sorted(groups, key=_ORDER.index):
        rests = groups[kind]
        if kind == "sysctl":
            made += [f"echo {v} >/proc/sys/net/{k}" for k, _, v in (r.partition("=") for r in rests)]
        elif kind == "ip":
            # A batch takes a family for all of its lines only, and whatever names one hangs on devices alone.
            sixes = [r.removeprefix("-6 ") for r in rests if r.startswith("-6 ")]
            made.append(_tried("ip", [r for r in rests if not r.startswith("-6 ")]))
            made += [_tried("ip -6", sixes)] if sixes else []
        elif kind == "bridge":
            made += [f"bridge {r}" for r in rests]
        elif kind == "wg":
            devices: dict[str, list[str]] = {}
            for dev, _, setting in (r.partition(" ") for r in rests):
                devices.setdefault(dev, []).append(setting)
            made += [_fed(f"wg setconf {dev} /proc/self/fd/0", settings) for dev, settings in devices.items()]
        elif kind == "ipvsadm":
            made.append(_fed("ipvsadm -R", rests))
        elif kind == "ipset":
            made.append(_fed("ipset restore", rests))
        elif kind == "nft":
            made.append(_fed("nft -f -", rests))
        else:
            made.append(_fed(f"{kind}-restore --noflush", _tables(rests)))
    return "\n".join(made)


_ORDER = (
    "wg",
    "ip",
    "bridge",
    "sysctl",
    "ipvsadm",
    "ipset",
    "iptables-nft",
    "iptables-legacy",
    "ip6tables-nft",
    "ip6tables-legacy",
    "nft",
)


def _tried(command: str, lines: list[str]) -> str:
    """Give a batch of ip(8) of which the kernel may refuse some: the state is read afterwards, whatever it is.

    What the tool itself does not understand is a mistake of whoever wrote the scene.
    """
    misread = "is unknown|is wrong|is a garbage|^Usage"
    return _fed(f"{{ {command} -force -batch - 2>&1 >/dev/null | {{ ! grep -E '{misread}' >&2; }}; }}", lines)


def _fed(command: str, lines: list[str]) -> str:
    return f"{command} <<'END'\n" + "\n".join(lines) + "\nEND"


def _tables(rests: list[str]) -> list[str]:
    tables: dict[str, list[str]] = {}
    for rest in rests:
        table, _, rule = rest.partition(" ")
        tables.setdefault(table, []).append(rule)
    lines = []
    for table, rules in tables.items():
        # Chains stand before rules.
        lines += [f"*{table}", *sorted(rules, key=lambda r: not r.startswith(":")), "COMMIT"]
    return lines


@contextlib.contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Be in a namespace, this thread alone: sockets that are made here stay there."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _LIBC.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        _LIBC.setns(own, _CLONE_NEWNET)
        os.close(own)
        os.close(there)


def save(scene: Scene, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(scene), indent=1) + b"\n")


def load(path: Path) -> Scene:
    return msgspec.json.decode(path.read_bytes(), type=Scene)
