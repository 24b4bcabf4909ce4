"""Real requests between pods, and what is measured of each: the answer, the bytes on the wire, who had it."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.cluster.test_inside import processes
from tests.lab.cluster import get
from tests.lab.settings import Settings

# Of a capture by `tcpdump -i any` (LINKTYPE_LINUX_SLL2): the file's header, each packet's, and the link's.
_FILE, _PACKET, _LINK = 24, 16, 20
_TLS_RECORDS = (20, 21, 22, 23)
# What a server's discard port is sent after a request: where the capture holds it, it holds all that went before.
_AFTER, _AFTER_PORT = b"all of it was before this", 9
# How long a capture may be behind, in seconds.
_BEHIND = 60.0
_COUNTED = re.compile(
    r"^(listener\.0\.0\.0\.0_15006\.(?:downstream_cx_total|no_filter_chain_match)"
    r"|http\.inbound_\S+\.downstream_rq_total): (\d+)$"
)


@dataclass(frozen=True)
class Pod:
    """A running pod of a lab: its address, a process of its application, and whether it has a proxy."""

    namespace: str
    name: str
    uid: str
    address: str
    pid: int
    meshed: bool

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    def signal(self, number: int, program: str) -> None:
        """Send a signal to its processes of one program, from outside, as the first of a container heeds no other."""
        for process in processes(self.uid):
            if program.encode() in _command(process).partition(b"\0")[0]:
                os.kill(process, number)

    def run(self, *command: str) -> str:
        """Run a command among the application's files and in its network namespace, as root."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=False, timeout=60).stdout


@dataclass(frozen=True)
class Met:
    """What a request met: ``code`` is HTTP's, 0 where there was no answer; ``wire`` is plaintext, tls or nothing.

    ``taken`` and ``received`` say whether the client's and a server's proxy had it.
    """

    code: int
    wire: str
    taken: bool
    received: bool


def _command(process: int) -> bytes:
    """Give a process' command line; nothing where it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def pods(lab: Settings, *namespaces: str) -> dict[str, Pod]:
    """Give the running pods whose application is a web server, by their names without what a Deployment adds."""
    found: dict[str, Pod] = {}
    for namespace in namespaces:
        for one in get(lab, "pods", "-n", namespace)["items"]:
            meta, spec = one["metadata"], one["spec"]
            serving = [p for p in processes(meta["uid"]) if b"httpd" in _command(p)]
            if not serving or meta.get("deletionTimestamp"):
                continue
            containers = [c["name"] for c in (*spec["containers"], *spec.get("initContainers", ()))]
            meshed = "istio-proxy" in containers
            found[meta["name"]] = Pod(namespace, meta["name"], meta["uid"], one["status"]["podIP"], serving[0], meshed)
    return found


@contextmanager
def _captured(client: Pod, file: Path) -> Iterator[None]:
    enter = ["nsenter", f"--net=/proc/{client.pid}/ns/net", "--"]
    # Of any device's packets libpcap's buffer of 2 MiB holds eight, as each may be 256 KiB: the others are dropped
    # where tcpdump waits for a processor.
    room = ["--snapshot-length", "512", "--buffer-size", "4096"]
    what = ["-i", "any", "-Q", "out", f"tcp or udp port {_AFTER_PORT}"]
    command = [*enter, "tcpdump", "--immediate-mode", "-Z", "root", *room, "-U", "-w", str(file), *what]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as running:
        assert running.stderr is not None
        assert b"listening" in running.stderr.readline() + running.stderr.readline()
        try:
            yield
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(10)


def loads(file: Path, ports: frozenset[int]) -> Iterator[tuple[str, bytes]]:
    """Give what a capture holds of payloads that go to one of these ports, and to which addresses."""
    data, place = file.read_bytes(), _FILE
    while place + _PACKET <= len(data):
        (size,) = struct.unpack_from("<I", data, place + 8)
        if place + _PACKET + size > len(data):
            # The last one was being written when it ended.
            return
        packet = data[place + _PACKET + _LINK : place + _PACKET + size]
        place += _PACKET + size
        if not packet or packet[0] >> 4 != 4:
            continue
        header = (packet[0] & 15) * 4
        (port,) = struct.unpack_from("!H", packet, header + 2)
        load = packet[header + (packet[header + 12] >> 4) * 4 : struct.unpack_from("!H", packet, 2)[0]]
        if load and port in ports:
            yield str(IPv4Address(packet[16:20])), load


def on_the_wire(file: Path, addresses: frozenset[str], ports: frozenset[int]) -> str:
    """Say how bytes went to one of these addresses: as text that begins a request, or as records of TLS."""
    sent = [load for address, load in loads(file, ports) if address in addresses]
    if any(load.startswith(b"GET ") for load in sent):
        return "plaintext"
    if any(load[0] in _TLS_RECORDS and load[1] == 3 for load in sent):
        return "tls"
    return "nothing"


def _inside(pod: Pod, *command: str) -> str:
    """Run a program of the machine in a pod's network namespace; nothing where that fails."""
    enter = ["nsenter", f"--net=/proc/{pod.pid}/ns/net", "--"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=False).stdout


def _turned(client: Pod) -> int:
    """Count the connections that the client's own rules have turned to its proxy."""
    shown = _inside(client, "iptables", "-t", "nat", "-nvxL", "ISTIO_REDIRECT")
    return sum(int(line.split()[0]) for line in shown.splitlines() if "REDIRECT" in line and "Chain" not in line)


def _counted(server: Pod) -> int:
    """Count the connections and requests that the server's proxy has had from outside."""
    told = _inside(server, "curl", "-sS", "-m", "5", "http://127.0.0.1:15000/stats")
    return sum(int(found[2]) for line in told.splitlines() if (found := _COUNTED.match(line)))


def _all_captured(client: Pod, server: Pod, file: Path) -> None:
    """Wait until a capture holds all that has been sent so far."""
    _inside(client, "bash", "-c", f"printf '%s' '{_AFTER.decode()}' > /dev/udp/{server.address}/{_AFTER_PORT}")
    until = time.monotonic() + _BEHIND
    while _AFTER not in file.read_bytes():
        assert time.monotonic() < until, f"the capture in {client.full_name} is behind"
        time.sleep(0.05)


def ask(
    client: Pod, servers: list[Pod], url: str, *, addresses: frozenset[str], ports: frozenset[int], file: Path
) -> Met:
    """Ask for a page, and measure what comes of it."""
    proxies = [s for s in servers if s.meshed]
    before = _turned(client) if client.meshed else 0, sum(map(_counted, proxies))
    with _captured(client, file):
        said = client.run("curl", "-s", "-o", "/dev/null", "-m", "8", "-w", "%{http_code}", url)
        _all_captured(client, servers[0], file)
    after = _turned(client) if client.meshed else 0, sum(map(_counted, proxies))
    wire = on_the_wire(file, addresses, ports)
    return Met(int(said or 0), wire, after[0] > before[0], after[1] > before[1])
