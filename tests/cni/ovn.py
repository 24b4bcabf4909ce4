"""Two nodes whose pods are joined by a real OVN: its daemons write the flows, Open vSwitch carries the packets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from netinspect.model.snapshot import Snapshot
from tests import build
from tests.cni.switches import CLOSED_PORT, OTHER_PORT, PORT, SHARE, Pod, Switches

TOOLS: Final = ("ovn-northd", "ovn-controller", "ovn-nbctl", "iptables-nft")
NODES: Final = {"n1": "172.31.0.1", "n2": "172.31.0.2"}
# Somebody outside, who is read too, so that a trace can say how it ends there.
OUTSIDE: Final = ("ext", "172.31.0.254")
SERVICE, EMPTY_SERVICE = "10.96.0.10", "10.96.0.11"
_READY_S: Final = 20


def _pod(name: str, node: str, number: int) -> Pod:
    subnet = list(NODES).index(node)
    mac = f"0a:58:0a:f4:{subnet:02x}:{number:02x}"
    return Pod(name, node, f"10.244.{subnet}.{number}", mac, f"10.244.{subnet}.1")


PODS: Final = (_pod("web", "n1", 5), _pod("client", "n1", 6), _pod("db", "n2", 5), _pod("other", "n2", 6))
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


@dataclass
class Ovn(Switches):
    """The nodes, while they are there."""

    nodes: tuple[str, ...] = tuple(NODES)
    pods: tuple[Pod, ...] = PODS
    others: tuple[str, ...] = ("wire", OUTSIDE[0])

    def up(self) -> None:
        """Build everything, and wait until the flows are there."""
        central = self.folder / "central"
        central.mkdir()
        self.namespaces()
        self.run("ip", "link", "add", "br0", "up", "type", "bridge", ns="wire")
        for name in (*NODES, OUTSIDE[0]):
            self.run("ip", "link", "add", f"to-{name}", "up", "master", "br0", "type", "veth", "peer", "name", "eth0",
                     "netns", self.real(name), ns="wire")  # fmt: skip
            self.run("ethtool", "-K", "eth0", "tx", "off", ns=name)
        self.run("ip", "addr", "add", f"{OUTSIDE[1]}/24", "dev", "eth0", ns=OUTSIDE[0])
        self.run("ip", "link", "set", "eth0", "up", ns=OUTSIDE[0])
        for base in ("nb", "sb"):
            self.database("central", base, SHARE / "ovn" / f"ovn-{base}.ovsschema")
        self.daemon("ovn-northd", f"--ovnnb-db=unix:{central}/nb.sock", f"--ovnsb-db=unix:{central}/sb.sock")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._node, NODES))
        self._logical()

    def _node(self, node: str) -> None:
        self.switch(node)
        external = {
            "system-id": node, "hostname": node, "ovn-remote": f"unix:{self.folder}/central/sb.sock",
            "ovn-encap-type": "geneve", "ovn-encap-ip": NODES[node], "ovn-bridge-datapath-type": "netdev",
            "ovn-bridge-mappings": "outside:br-ex",
        }  # fmt: skip
        self.vsctl(node, "set", "Open_vSwitch", ".", *(f"external-ids:{k}={v}" for k, v in external.items()))
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
            ip link set eth0 arp off up; ip link set br-ex up; ip link set ovn-k8s-mp0 up
            ip addr add {NODES[node]}/24 dev br-ex
            ip addr add 10.244.{subnet}.2/24 dev ovn-k8s-mp0
            ip route add 10.244.0.0/16 via 10.244.{subnet}.1; ip route add 10.96.0.0/16 via 10.244.{subnet}.1
            ip route add default via {OUTSIDE[1]}
            echo 1 >/proc/sys/net/ipv4/ip_forward
            iptables-nft -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -o br-ex -j MASQUERADE
        """
        self.run("sh", "-e", ns=node, stdin=script_.encode())
        self.daemon("ovn-controller", f"unix:{self.folder}/{node}/db.sock", at=node)
        for pod in PODS:
            if pod.node == node:
                self.plug(pod)

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
        self.run(*command.split(), "--wait=hv", f"--timeout={_READY_S}", "sync")
        port = self.vsctl("n1", f"--timeout={_READY_S}", "wait-until", "Interface", "patch-ln-n1-to-br-int",
                          "ofport>0", "--", "get", "Interface", "patch-ln-n1-to-br-int", "ofport").strip()  # fmt: skip
        flows = OUTER.replace("PATCH", port)
        self.run("ovs-ofctl", "add-flows", "br-ex", "-", ns="n1", at="n1", stdin=flows.encode())

    def snapshot(self) -> Snapshot:
        """Read it all, with what the API would say."""
        ready = [build.endpoint(p.address, p.name) for p in PODS if p.name in ("web", "db")]
        web = build.service("svc", SERVICE, ports=[{"port": 80, "targetPort": PORT, "protocol": "TCP"}])
        cidrs = {node: (f"10.244.{subnet}.0/24",) for subnet, node in enumerate(NODES)}
        snapshot = build.snapshot(
            nodes=[*(build.node(n, a, cidrs=cidrs[n]) for n, a in NODES.items()), build.node(*OUTSIDE)],
            pods=[build.pod(p.name, p.address, on=p.node) for p in PODS],
            services=[web], endpoint_slices=[build.endpoint_slice("svc", *ready)],
        )  # fmt: skip
        return structs.replace(snapshot, kernels=self.read(OUTSIDE[0]))
