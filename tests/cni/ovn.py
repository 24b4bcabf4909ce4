"""Two nodes whose pods are joined by a real OVN: its daemons write the flows, Open vSwitch carries the packets.

Open vSwitch forwards in userspace here (``datapath_type=netdev``), which needs no module of the kernel. What the
collector reads is then put as it is where the kernel's own datapath is at work: ports belong to ovs-system, and a
tunnel has a device.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from netinspect.kernel.stream import assemble
from netinspect.model.evidence import Access, NamespaceEvidence, PodReference, Reading
from netinspect.model.snapshot import Snapshot
from netinspect.node.reader import Request, script
from tests import build
from tests.kernel.oracle.scene import entered

TOOLS: Final = ("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ovn-northd", "ovn-controller", "ovn-nbctl")
NODES: Final = {"n1": "172.31.0.1", "n2": "172.31.0.2"}
# Somebody outside, who is read too, so that a trace can say how it ends there.
OUTSIDE: Final = ("ext", "172.31.0.254")
PORT, OTHER_PORT, CLOSED_PORT = 8080, 9090, 7070
SERVICE, EMPTY_SERVICE = "10.96.0.10", "10.96.0.11"
_SHARE: Final = Path("/usr/share")
_COUNT: Final = itertools.count()
_READY_S: Final = 20.0
_ANSWER_S: Final = 1.2
_GENEVE: Final = {
    "ifindex": 900, "ifname": "genev_sys_6081", "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"], "mtu": 65000,
    "operstate": "UNKNOWN", "link_type": "ether", "address": "7e:57:5e:79:14:d6", "master": "ovs-system",
    "addr_info": [], "linkinfo": {
        "info_kind": "geneve", "info_slave_kind": "openvswitch",
        "info_data": {"external": True, "id": 0, "port": 6081},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Pod:
    """A pod on a node, by the last number of its address."""

    name: str
    node: str
    number: int

    @property
    def subnet(self) -> int:
        return list(NODES).index(self.node)

    @property
    def address(self) -> str:
        return f"10.244.{self.subnet}.{self.number}"

    @property
    def mac(self) -> str:
        return f"0a:58:0a:f4:{self.subnet:02x}:{self.number:02x}"


PODS: Final = (Pod("web", "n1", 5), Pod("client", "n1", 6), Pod("db", "n2", 5), Pod("other", "n2", 6))
# What OVN-Kubernetes would make of Services and NetworkPolicies, for a cluster of this size.
LOGICAL: Final = f"""
lb-add svc {SERVICE}:80 10.244.0.5:{PORT},10.244.1.5:{PORT}
lb-add dead {EMPTY_SERVICE}:80 ""
pg-add policy db
acl-add policy to-lport 1000 "outport == @policy && ip4" drop
acl-add policy to-lport 1001 "outport == @policy && ip4.src == {{10.244.0.6, 10.244.1.6}} && tcp.dst == {{{PORT}, {OTHER_PORT}, {CLOSED_PORT}}}" allow-related
ls-lb-add n1 svc
ls-lb-add n2 svc
ls-lb-add n1 dead
ls-lb-add n2 dead
"""  # noqa: E501 - a line of ovn-nbctl


# What OVN-Kubernetes puts into br-ex, where host and OVN share the node's address: each gets its own answers.
OUTER: Final = """
priority=100,ip,in_port=LOCAL actions=ct(commit,zone=64000,exec(set_field:0x2->ct_mark)),output:1
priority=100,ip,in_port=PATCH actions=ct(commit,zone=64000,exec(set_field:0x1->ct_mark)),output:1
priority=50,ip,in_port=1 actions=ct(table=1,zone=64000)
priority=20,arp,in_port=1 actions=output:PATCH,LOCAL
priority=10,arp actions=output:1
table=1,priority=100,ct_state=+est+trk,ct_mark=0x1,ip actions=output:PATCH
table=1,priority=100,ct_state=+est+trk,ct_mark=0x2,ip actions=LOCAL
table=1,priority=0 actions=LOCAL
"""


def _outer_mac(node: str) -> str:
    return f"02:00:00:00:01:0{node[1:]}"


def _router_port(switch: str, port: str) -> tuple[str, ...]:
    name = f"to-{port}"
    return (
        f"lsp-add {switch} {name}", f"lsp-set-type {name} router", f"lsp-set-addresses {name} router",
        f"lsp-set-options {name} router-port={port}",
    )  # fmt: skip


class Failed(Exception):
    """A tool said no."""


@dataclass
class Ovn:
    """The nodes, while they are there."""

    folder: Path
    prefix: str = field(default_factory=lambda: f"nio{os.getpid()}.{next(_COUNT)}.")
    closing: threading.Event = field(default_factory=threading.Event)

    def real(self, name: str) -> str:
        """Give the namespace of a node or pod."""
        return self.prefix + name

    def run(self, *command: str, ns: str = "", at: str = "", stdin: bytes = b"") -> str:
        """Run a command in a namespace, with a node's own Open vSwitch or the central one."""
        where = ["ip", "netns", "exec", self.real(ns)] if ns else []
        done = subprocess.run(
            [*where, *command], input=stdin, capture_output=True, env=self.environment(at), timeout=60, check=False
        )
        if done.returncode:
            raise Failed(f"{' '.join(command)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def environment(self, at: str) -> Mapping[str, str]:
        """Tell the tools whose Open vSwitch they are to speak to."""
        own = str(self.folder / (at or "central"))
        names = ("OVS_RUNDIR", "OVN_RUNDIR", "OVS_LOGDIR", "OVN_LOGDIR", "OVS_DBDIR", "OVN_DBDIR")
        return {**os.environ, **dict.fromkeys(names, own)}

    def up(self) -> None:
        """Build everything, and wait until the flows are there."""
        central = self.folder / "central"
        central.mkdir()
        for name in ("wire", OUTSIDE[0], *NODES, *(p.name for p in PODS)):
            self.run("ip", "netns", "add", self.real(name))
            self.run("ip", "link", "set", "lo", "up", ns=name)
        self.run("ip", "link", "add", "br0", "up", "type", "bridge", ns="wire")
        for name in (*NODES, OUTSIDE[0]):
            self.run("ip", "link", "add", f"to-{name}", "up", "master", "br0", "type", "veth", "peer", "name", "eth0",
                     "netns", self.real(name), ns="wire")  # fmt: skip
            self.run("ethtool", "-K", "eth0", "tx", "off", ns=name)
        self.run("ip", "addr", "add", f"{OUTSIDE[1]}/24", "dev", "eth0", ns=OUTSIDE[0])
        self.run("ip", "link", "set", "eth0", "up", ns=OUTSIDE[0])
        for base in ("nb", "sb"):
            self._serve(central, base, _SHARE / "ovn" / f"ovn-{base}.ovsschema")
        self._daemon("ovn-northd", f"--ovnnb-db=unix:{central}/nb.sock", f"--ovnsb-db=unix:{central}/sb.sock")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._node, NODES))
        self._logical()

    def _serve(self, where: Path, base: str, schema: Path, ns: str = "") -> None:
        self.run("ovsdb-tool", "create", str(where / f"{base}.db"), str(schema))
        sock = "db.sock" if base == "conf" else f"{base}.sock"
        self._daemon("ovsdb-server", f"--unixctl={where}/{base}.ctl", f"--remote=punix:{where}/{sock}",
                     str(where / f"{base}.db"), pid=f"{where.name}-{base}", ns=ns, at=where.name)  # fmt: skip

    def _daemon(self, program: str, *arguments: str, pid: str = "", ns: str = "", at: str = "") -> None:
        file = self.folder / (at or "central") / f"{program if not pid or program != 'ovsdb-server' else pid}.pid"
        # Its output is no pipe of ours, which it would hold open.
        where = ["ip", "netns", "exec", self.real(ns)] if ns else []
        command = [*where, program, "--detach", "--no-chdir", f"--pidfile={file}", "-vconsole:off", *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self.environment(at), timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Failed(" ".join(command))

    def _node(self, node: str) -> None:
        own = self.folder / node
        own.mkdir()
        self._serve(own, "conf", _SHARE / "openvswitch" / "vswitch.ovsschema", ns=node)
        external = {
            "system-id": node, "hostname": node, "ovn-remote": f"unix:{self.folder}/central/sb.sock",
            "ovn-encap-type": "geneve", "ovn-encap-ip": NODES[node], "ovn-bridge-datapath-type": "netdev",
            "ovn-bridge-mappings": "outside:br-ex",
        }  # fmt: skip
        self.vsctl(node, "--no-wait", "init", "--", "set", "Open_vSwitch", ".",
                   *(f"external-ids:{name}={value}" for name, value in external.items()))  # fmt: skip
        self._daemon("ovs-vswitchd", "--disable-system", f"unix:{own}/db.sock", ns=node, at=node)
        subnet = list(NODES).index(node)
        mac = f"0a:58:0a:f4:{subnet:02x}:02"
        self.vsctl(
            node, "add-br", "br-ex", "--", "set", "Bridge", "br-ex", "datapath_type=netdev",
            f"other-config:hwaddr={_outer_mac(node)}", "--", "add-port", "br-ex", "eth0",
            "--", "add-br", "br-int", "--", "set", "Bridge", "br-int", "fail-mode=secure", "datapath_type=netdev",
            "--", "add-port", "br-int", "ovn-k8s-mp0", "--", "set", "Interface", "ovn-k8s-mp0", "type=internal",
            f"external-ids:iface-id=k8s-{node}", f'mac="{mac}"',
        )  # fmt: skip
        script_ = f"""
            ip link add ovs-system type bridge
            ip link set eth0 arp off up; ip link set br-ex up; ip link set ovn-k8s-mp0 up
            ip addr add {NODES[node]}/24 dev br-ex
            ip addr add 10.244.{subnet}.2/24 dev ovn-k8s-mp0
            ip route add 10.244.0.0/16 via 10.244.{subnet}.1; ip route add 10.96.0.0/16 via 10.244.{subnet}.1
            ip route add default via {OUTSIDE[1]}
            echo 1 >/proc/sys/net/ipv4/ip_forward
            iptables-nft -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -o br-ex -j MASQUERADE
        """
        self.run("sh", "-e", ns=node, stdin=script_.encode())
        self._daemon("ovn-controller", f"unix:{own}/db.sock", ns=node, at=node)
        for pod in PODS:
            if pod.node == node:
                self._pod(pod)

    def _pod(self, pod: Pod) -> None:
        dev = f"{pod.name}-h"
        self.run("ip", "link", "add", dev, "mtu", "1400", "type", "veth", "peer", "name", "eth0", "netns",
                 self.real(pod.name), "mtu", "1400", "address", pod.mac, ns=pod.node)  # fmt: skip
        script_ = f"""
            ethtool -K eth0 tx off >/dev/null
            ip link set eth0 up; ip addr add {pod.address}/24 dev eth0; ip route add default via 10.244.{pod.subnet}.1
        """
        self.run("sh", "-e", ns=pod.name, stdin=script_.encode())
        self.run("ip", "link", "set", dev, "arp", "off", "up", ns=pod.node)
        self.vsctl(pod.node, "add-port", "br-int", dev, "--", "set", "Interface", dev,
                   f"external-ids:iface-id={pod.name}")  # fmt: skip

    def _logical(self) -> None:
        """Lay out OVN-Kubernetes' default network: a switch for each node, one router, the nodes' management ports."""
        lines = ["lr-add ovn_cluster_router"]
        for subnet, node in enumerate(NODES):
            net, mac = f"10.244.{subnet}", f"0a:58:0a:f4:{subnet:02x}"
            lines += [
                f"ls-add {node}", f"lrp-add ovn_cluster_router rtos-{node} {mac}:01 {net}.1/24",
                f"lsp-add {node} stor-{node} -- lsp-set-type stor-{node} router "
                f"-- lsp-set-addresses stor-{node} router -- lsp-set-options stor-{node} router-port=rtos-{node}",
                f'lsp-add {node} k8s-{node} -- lsp-set-addresses k8s-{node} "{mac}:02 {net}.2"',
            ]  # fmt: skip
        lines += [
            # The gateway of n2 is its kernel, by the management port (local gateway); that of n1 a router of its own.
            "--policy=src-ip lr-route-add ovn_cluster_router 10.244.1.0/24 10.244.1.2",
            "--policy=src-ip lr-route-add ovn_cluster_router 10.244.0.0/24 100.64.0.2",
            "ls-add join", "lrp-add ovn_cluster_router rtoj-cluster 0a:58:64:40:00:01 100.64.0.1/16",
            *_router_port("join", "rtoj-cluster"), "lr-add GR_n1", "set Logical_Router GR_n1 options:chassis=n1",
            "lrp-add GR_n1 rtoj-n1 0a:58:64:40:00:02 100.64.0.2/16", *_router_port("join", "rtoj-n1"), "ls-add ext_n1",
            f"lrp-add GR_n1 rtoe-n1 {_outer_mac('n1')} {NODES['n1']}/24", *_router_port("ext_n1", "rtoe-n1"),
            "lsp-add ext_n1 ln-n1", "lsp-set-type ln-n1 localnet", "lsp-set-addresses ln-n1 unknown",
            "lsp-set-options ln-n1 network_name=outside", "lr-route-add GR_n1 10.244.0.0/16 100.64.0.1",
            f"lr-route-add GR_n1 0.0.0.0/0 {OUTSIDE[1]}", f"lr-nat-add GR_n1 snat {NODES['n1']} 10.244.0.0/16",
        ]  # fmt: skip
        for pod in PODS:
            ends = f'{pod.name} "{pod.mac} {pod.address}"'
            lines.append(f"lsp-add {pod.node} {pod.name} -- lsp-set-addresses {ends} -- lsp-set-port-security {ends}")
        lines += LOGICAL.strip().split("\n")
        command = f"ovn-nbctl --db=unix:{self.folder}/central/nb.sock"
        text = " \\\n-- ".join([f"{command} --no-wait {lines[0]}", *lines[1:]])
        self.run("sh", "-e", stdin=text.encode())
        self.run(*command.split(), "--wait=hv", f"--timeout={int(_READY_S)}", "sync")
        port = self.vsctl("n1", f"--timeout={int(_READY_S)}", "wait-until", "Interface", "patch-ln-n1-to-br-int",
                          "ofport>0", "--", "get", "Interface", "patch-ln-n1-to-br-int", "ofport").strip()  # fmt: skip
        flows = OUTER.replace("PATCH", port)
        self.run("ovs-ofctl", "add-flows", "br-ex", "-", ns="n1", at="n1", stdin=flows.encode())

    def vsctl(self, node: str, *arguments: str) -> str:
        """Change a node's Open vSwitch."""
        return self.run("ovs-vsctl", *arguments, ns=node, at=node)

    def down(self) -> None:
        """Stop everything that was started here."""
        self.closing.set()
        for file in self.folder.glob("*/*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)
        for name in ("wire", OUTSIDE[0], *NODES, *(p.name for p in PODS)):
            subprocess.run(["ip", "netns", "del", self.real(name)], check=False, capture_output=True)

    # Packets

    def serve(self) -> None:
        """Let every pod and node answer connections by its name."""
        for name in (OUTSIDE[0], *NODES, *(p.name for p in PODS)):
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

    # Reading

    def read(self) -> Snapshot:
        """Read the nodes and pods with the collector that users have."""
        jobs: list[tuple[str, str, PodReference | None]] = [(node, node, None) for node in (*NODES, OUTSIDE[0])]
        jobs += [(pod.node, pod.name, PodReference(f"uid-{pod.name}", "shop", pod.name)) for pod in PODS]
        with ThreadPoolExecutor(2) as pool:
            kernels = assemble(pool.map(lambda job: self._reading(*job), jobs))
        kernels = tuple(
            structs.replace(kernel, namespaces=tuple(map(as_in_the_kernel, kernel.namespaces))) for kernel in kernels
        )
        ready = [build.endpoint(p.address, p.name) for p in PODS if p.name in ("web", "db")]
        web = build.service("svc", SERVICE, ports=[{"port": 80, "targetPort": PORT, "protocol": "TCP"}])
        snapshot = build.snapshot(
            nodes=[
                *(build.node(n, a, cidrs=(f"10.244.{i}.0/24",)) for i, (n, a) in enumerate(NODES.items())),
                build.node(*OUTSIDE),
            ],
            pods=[build.pod(p.name, p.address, on=p.node) for p in PODS],
            services=[web], endpoint_slices=[build.endpoint_slice("svc", *ready)],
        )  # fmt: skip
        return structs.replace(snapshot, kernels=kernels)

    def _reading(self, node: str, name: str, pod: PodReference | None) -> Reading:
        asked = Request(within=True) if pod is not None else Request(pods=())
        out = self.run("sh", ns=name, at=node, stdin=script(asked, "0123456789abcdef"))
        return Reading(node, Access.LOCAL, "test", out.encode(), pod)


def as_in_the_kernel(found: NamespaceEvidence) -> NamespaceEvidence:
    """Put a node's links as `ip -d -j addr` shows them where the kernel's own datapath is at work."""
    if "ovs:bridges" not in found.sections:
        return found
    links = [link for link in json.loads(found.sections["links"].text) if link["ifname"] != "ovs-netdev"]
    made = [_link(link) for link in links]
    said = json.dumps([*made, _GENEVE])
    bridges = found.sections["ovs:bridges"]
    changed = {
        "links": structs.replace(found.sections["links"], text=said),
        "ovs:bridges": structs.replace(bridges, text=bridges.text.replace('"netdev"', '"system"')),
    }
    return structs.replace(found, sections={**found.sections, **changed})


def _link(link: dict[str, Any]) -> dict[str, Any]:
    name = link["ifname"]
    if name in ("br-int", "br-ex", "ovn-k8s-mp0", "ovs-system"):
        return {**link, "linkinfo": {"info_kind": "openvswitch"}}
    if name == "lo":
        return link
    # Here the kernel sees a port's frames beside Open vSwitch, and must not answer them.
    flags = [flag for flag in link["flags"] if flag != "NOARP"]
    info = {**link.get("linkinfo", {}), "info_slave_kind": "openvswitch"}
    made = {**link, "master": "ovs-system", "linkinfo": info, "flags": flags}
    if name == "eth0":
        # The wire between the nodes, which are machines.
        made = {k: v for k, v in made.items() if k not in ("link_index", "link_netnsid", "link")}
        made["linkinfo"] = {"info_slave_kind": "openvswitch"}
    return made


@contextlib.contextmanager
def running() -> Iterator[Ovn]:
    """Have the nodes for a while."""
    with tempfile.TemporaryDirectory(prefix="nio") as folder:
        ovn = Ovn(Path(folder))
        try:
            ovn.up()
            ovn.serve()
            yield ovn
        finally:
            ovn.down()
            time.sleep(0.3)
