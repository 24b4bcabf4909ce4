"""Nodes and pods in namespaces that a real Open vSwitch joins, in a folder of their own.

It forwards in userspace here (``datapath_type=netdev``), which needs no module of the kernel. What the collector reads
is then put as it is where the kernel's own datapath is at work: ports belong to ovs-system, and a tunnel has a device.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import structs

from netinspect.kernel.stream import assemble
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, PodReference, Reading
from netinspect.node.reader import Request, script
from tests.conftest import unavailable
from tests.kernel.oracle.scene import entered

PORT, OTHER_PORT, CLOSED_PORT = 8080, 9090, 7070
SHARE: Final = Path("/usr/share")
_TOOLS: Final = ("ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ethtool")
_COUNT: Final = itertools.count()
_ANSWER_S: Final = 1.2
_TRIES: Final = 80
_SWITCHED: Final = "ovs-system"
# What has a type of its own among the links of a node; all else but the loopback are ports.
_OWN: Final = frozenset({"br-int", "br-ex", "ovn-k8s-mp0", "antrea-gw0", _SWITCHED})
_GENEVE: Final = {
    "ifindex": 900, "ifname": "genev_sys_6081", "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"], "mtu": 65000,
    "operstate": "UNKNOWN", "link_type": "ether", "address": "7e:57:5e:79:14:d6", "master": _SWITCHED,
    "addr_info": [], "linkinfo": {
        "info_kind": "geneve", "info_slave_kind": "openvswitch",
        "info_data": {"external": True, "id": 0, "port": 6081},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Pod:
    """A pod on a node."""

    name: str
    node: str
    address: str
    mac: str
    gateway: str


class Failed(Exception):
    """A tool said no."""


def needs(*tools: str) -> None:
    if os.geteuid() != 0:
        unavailable("network namespaces need root")
    for tool in (*_TOOLS, *tools):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")


@dataclass
class Switches:
    """The nodes and pods, while they are there; what is on them a class of its own says in ``up``."""

    folder: Path
    nodes: tuple[str, ...] = ()
    pods: tuple[Pod, ...] = ()
    others: tuple[str, ...] = ()
    prefix: str = field(default_factory=lambda: f"nio{os.getpid()}.{next(_COUNT)}.")
    closing: threading.Event = field(default_factory=threading.Event)

    def up(self) -> None:
        """Build everything."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """Give all namespaces."""
        return (*self.others, *self.nodes, *(p.name for p in self.pods))

    def real(self, name: str) -> str:
        """Give the namespace of a node or pod."""
        return self.prefix + name

    def run(self, *command: str, ns: str = "", at: str = "", stdin: bytes = b"") -> str:
        """Run a command in a namespace, with a node's own Open vSwitch or the central one."""
        where = ["ip", "netns", "exec", self.real(ns)] if ns else []
        done = subprocess.run(
            [*where, *command], input=stdin, capture_output=True, env=self._environment(at), timeout=60, check=False,
            start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise Failed(f"{' '.join(command)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def _environment(self, at: str) -> Mapping[str, str]:
        """Tell the tools whose Open vSwitch they are to speak to."""
        own = str(self.folder / (at or "central"))
        names = ("OVS_RUNDIR", "OVN_RUNDIR", "OVS_LOGDIR", "OVN_LOGDIR", "OVS_DBDIR", "OVN_DBDIR")
        return {**os.environ, **dict.fromkeys(names, own)}

    def daemon(self, program: str, *arguments: str, name: str = "", at: str = "") -> None:
        """Start a daemon of a node, in its namespace, or a central one."""
        file = self.folder / (at or "central") / f"{name or program}.pid"
        where = ["ip", "netns", "exec", self.real(at)] if at in self.nodes else []
        command = [*where, program, "--detach", "--no-chdir", f"--pidfile={file}", "-vconsole:off", *arguments]
        # Its output is no pipe of ours, which it would hold open.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self._environment(at), timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failed(" ".join(command))

    def database(self, where: str, base: str, schema: Path) -> None:
        """Start a database of a node, or a central one."""
        own = self.folder / where
        sock = "db.sock" if base == "conf" else f"{base}.sock"
        self.run("ovsdb-tool", "create", str(own / f"{base}.db"), str(schema))
        self.daemon("ovsdb-server", f"--unixctl={own}/{base}.ctl", f"--remote=punix:{own}/{sock}",
                    str(own / f"{base}.db"), name=base, at=where)  # fmt: skip

    def switch(self, node: str) -> None:
        """Start a node's Open vSwitch."""
        own = self.folder / node
        own.mkdir()
        self.database(node, "conf", SHARE / "openvswitch" / "vswitch.ovsschema")
        self.vsctl(node, "--no-wait", "init")
        self.daemon("ovs-vswitchd", "--disable-system", f"unix:{own}/db.sock", at=node)
        # By this the collector knows that there is one.
        self.run("ip", "link", "add", _SWITCHED, "type", "bridge", ns=node)

    def vsctl(self, node: str, *arguments: str) -> str:
        """Change a node's Open vSwitch."""
        return self.run("ovs-vsctl", *arguments, ns=node, at=node)

    def namespaces(self) -> None:
        """Make them all."""
        for name in self.names:
            self.run("ip", "netns", "add", self.real(name))
            self.run("ip", "link", "set", "lo", "up", ns=name)

    def plug(self, pod: Pod) -> None:
        """Join a pod to its node's bridge br-int."""
        dev = f"{pod.name}-h"
        self.run("ip", "link", "add", dev, "mtu", "1400", "type", "veth", "peer", "name", "eth0", "netns",
                 self.real(pod.name), "mtu", "1400", "address", pod.mac, ns=pod.node)  # fmt: skip
        inside = f"""
            ethtool -K eth0 tx off >/dev/null
            ip link set eth0 up; ip addr add {pod.address}/24 dev eth0; ip route add default via {pod.gateway}
        """
        self.run("sh", "-e", ns=pod.name, stdin=inside.encode())
        self.run("ip", "link", "set", dev, "arp", "off", "up", ns=pod.node)
        self.vsctl(pod.node, "add-port", "br-int", dev, "--", "set", "Interface", dev,
                   f"external-ids:iface-id={pod.name}")  # fmt: skip

    def down(self) -> None:
        """Stop everything that was started here."""
        self.closing.set()
        for file in self.folder.glob("*/*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.real(name)], check=False, capture_output=True)

    # Packets

    def serve(self) -> None:
        """Let every pod and node answer connections by its name."""
        for name in self.names:
            for port in (PORT, OTHER_PORT):
                with entered(self.real(name)):
                    listener = socket.create_server(("0.0.0.0", port))
                listener.settimeout(0.2)
                threading.Thread(target=self._answer, args=(listener, name), daemon=True).start()

    def _answer(self, listener: socket.socket, name: str) -> None:
        with listener:
            while not self.closing.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(name.encode())

    def ask(self, source: str, address: str, port: int) -> str:
        """Connect, and give who answered, ``refused``, ``unreachable`` or ``timeout``."""
        with entered(self.real(source)):
            asking = socket.socket()
        with asking:
            asking.settimeout(_ANSWER_S)
            try:
                asking.connect((address, port))
                return asking.recv(100).decode()
            except ConnectionRefusedError:
                return "refused"
            except TimeoutError:
                return "timeout"
            except OSError:
                return "unreachable"

    def results(self, source: str, address: str, port: int, *, several: bool) -> set[str]:
        """Connect, and where there are ``several`` backends as often as it takes to see two of them."""
        found = {self.ask(source, address, port)}
        for _ in range(_TRIES if several else 0):
            if len(found) < 2:
                found.add(self.ask(source, address, port))
        return found

    def ping(self, source: str, address: str) -> bool:
        """Send an echo request, and say whether its answer came."""
        with entered(self.real(source)):
            asking = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with asking:
            ident = next(_COUNT) + 7000
            head = struct.pack("!BBHHH", 8, 0, 0, ident, 1)
            total = sum(struct.unpack("!4H", head))
            asking.sendto(head[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[4:], (address, 0))
            until = time.monotonic() + _ANSWER_S
            while (left := until - time.monotonic()) > 0:
                asking.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    came = asking.recv(200)[20:]
                    if came[0] == 0 and came[4:6] == struct.pack("!H", ident):
                        return True
        return False

    # Reading

    def read(self, *outside: str) -> tuple[NodeEvidence, ...]:
        """Read nodes and pods, and namespaces beside them as nodes, with the collector that users have."""
        jobs: list[tuple[str, str, PodReference | None]] = [(node, node, None) for node in (*self.nodes, *outside)]
        jobs += [(pod.node, pod.name, PodReference(f"uid-{pod.name}", "shop", pod.name)) for pod in self.pods]
        with ThreadPoolExecutor(2) as pool:
            kernels = assemble(pool.map(lambda job: self._reading(*job), jobs))
        return tuple(
            structs.replace(kernel, namespaces=tuple(map(as_in_the_kernel, kernel.namespaces))) for kernel in kernels
        )

    def _reading(self, node: str, name: str, pod: PodReference | None) -> Reading:
        asked = Request(within=True) if pod is not None else Request(pods=())
        out = self.run("sh", ns=name, at=node, stdin=script(asked, "0123456789abcdef"))
        return Reading(node, Access.LOCAL, "test", out.encode(), pod)


def as_in_the_kernel(found: NamespaceEvidence) -> NamespaceEvidence:
    """Put a node's links as `ip -d -j addr` shows them where the kernel's own datapath is at work."""
    if "ovs:bridges" not in found.sections:
        return found
    links = [link for link in json.loads(found.sections["links"].text) if link["ifname"] != "ovs-netdev"]
    said = json.dumps([*map(_link, links), _GENEVE])
    bridges = found.sections["ovs:bridges"]
    changed = {
        "links": structs.replace(found.sections["links"], text=said),
        "ovs:bridges": structs.replace(bridges, text=bridges.text.replace('"netdev"', '"system"')),
    }
    return structs.replace(found, sections={**found.sections, **changed})


def _link(link: dict[str, Any]) -> dict[str, Any]:
    name = link["ifname"]
    if name in _OWN:
        return {**link, "linkinfo": {"info_kind": "openvswitch"}}
    if name == "lo":
        return link
    # Here the kernel sees a port's frames beside Open vSwitch, and must not answer them.
    flags = [flag for flag in link["flags"] if flag != "NOARP"]
    info = {**link.get("linkinfo", {}), "info_slave_kind": "openvswitch"}
    made = {**link, "master": _SWITCHED, "linkinfo": info, "flags": flags}
    if name == "eth0":
        # The wire between the nodes, which are machines.
        made = {k: v for k, v in made.items() if k not in ("link_index", "link_netnsid", "link")}
        made["linkinfo"] = {"info_slave_kind": "openvswitch"}
    return made


Kind = TypeVar("Kind", bound=Switches)


@contextlib.contextmanager
def running(kind: type[Kind]) -> Iterator[Kind]:
    """Have nodes for a while."""
    with tempfile.TemporaryDirectory(prefix="nio") as folder:
        made = kind(Path(folder))
        try:
            made.up()
            made.serve()
            yield made
        finally:
            made.down()
            time.sleep(0.3)
