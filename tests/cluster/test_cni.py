"""What is said of the CNI of a real cluster: nothing is amiss where it is healthy, and the cause where it is broken."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Netinspect
from tests.faults.labs import agents
from tests.lab import network, process
from tests.lab.cluster import get, kubectl
from tests.lab.settings import Cni, Settings

# By then an agent that went on is ready again, in seconds.
RECOVERY = 60.0


@contextmanager
def looked_into(lab: Settings) -> Iterator[None]:
    """Let an agent run through which nodes are seen, and leave the lab as it was: other tests ask who else can."""
    agents(lab)
    try:
        yield
    finally:
        kubectl(lab, "-n", "kube-system", "delete", "daemonset/sensor", "--ignore-not-found", "--cascade=foreground")


@pytest.fixture(scope="module")
def ready(lab: Settings) -> Iterator[Settings]:
    with looked_into(lab):
        yield lab


def told(lab: Settings, netinspect: Netinspect, *more: str) -> Any:
    return netinspect("cni", "--kubeconfig", lab.kubeconfig, "--access", "exec", "-o", "json", *more).json


def kinds(found: Any) -> set[tuple[str, str]]:
    """Give what is wrong, without what the lab's workloads do on purpose: a policy that nobody enforces."""
    return {(f["kind"], f["place"]) for f in found.get("findings", ()) if f["kind"] != "policies-not-enforced"}


def test_a_healthy_cluster(ready: Settings, netinspect: Netinspect) -> None:
    found = told(ready, netinspect)
    assert kinds(found) == set()
    assert found.get("unseen", 0) == found.get("broken", 0) == 0
    flannel = ready.cni is Cni.FLANNEL
    assert found["headline"] == ("Flannel (vxlan)" if flannel else "reference plug-ins (bridge)")
    assert (found["services"], found.get("policy", "")) == ("kube-proxy", "")
    pairs = ready.nodes * (ready.nodes - 1) * len(ready.ranges)
    assert found["compared"] >= pairs * (3 if flannel else 1)
    said = " ".join(f["says"] for f in found["facts"])
    assert f"kube-proxy in {ready.proxy.value} mode" in said
    assert f"1500 of eth0 - {50 if flannel else 0} = {1450 if flannel else 1500} bytes" in said


def test_the_map_names_it(ready: Settings, netinspect: Netinspect) -> None:
    flannel = ready.cni is Cni.FLANNEL
    shown = netinspect("map", "--kubeconfig", ready.kubeconfig, "--network", "cluster", "-A")
    assert ("CNI: Flannel (vxlan)" in shown.out) == flannel


def test_without_the_nodes(ready: Settings, netinspect: Netinspect) -> None:
    """By the API alone Flannel is known, and what it wants is not compared; the bridge plugin leaves no trace there."""
    run = netinspect("cni", "--kubeconfig", ready.kubeconfig)
    if ready.cni is Cni.FLANNEL:
        assert "expectations were not compared: --access exec" in run.out
        assert run.code == 1
    else:
        assert (run.code, "--access exec or pod looks into the nodes" in run.out) == (3, True)


@dataclass(frozen=True)
class Fault:
    """What is done in the namespace of n1 or with kubectl, its undoing, and what must be named.

    ``code`` is that of the check that must fire too, where no other test injects what it is about.
    """

    name: str
    broken: str
    healed: str
    kind: str
    place: str = "node/n1"
    cni: Cni | None = None
    says: str = ""
    code: str = ""


_KEEP = "ip route save {peer_cidr} >/run/kept; "
_KNOWN = "ip neigh replace {peer_vtep} lladdr {peer_mac} dev flannel.1 nud permanent"
_BEHIND = "bridge fdb append {peer_mac} dev flannel.1 dst {peer} self permanent"
_FORGET = "bridge fdb del {peer_mac} dev flannel.1 self; "
_REMEMBER = (
    """awk '{{print "neigh replace", $1, "lladdr", $3, "dev flannel.1 nud permanent"}}' /run/kept | ip -batch -"""
)
FAULTS = (
    Fault("route to a peer missing", _KEEP + "ip route del {peer_cidr}",
          "ip route restore </run/kept", "route", says="it has no route to"),
    Fault("route to a peer elsewhere", _KEEP + "ip route replace {peer_cidr} via 172.30.0.1",
          "ip route del {peer_cidr}; ip route restore </run/kept", "route", says="leads via 172.30.0.1"),
    Fault("blackhole for a peer", _KEEP + "ip route replace blackhole {peer_cidr}",
          "ip route del {peer_cidr}; ip route restore </run/kept", "route", says="is blackhole"),
    Fault("ip_forward off", "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1", "setting",
          says="net.ipv4.ip_forward is 0"),
    Fault("bridge-nf-call-iptables off", "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
          "sysctl -qw net.bridge.bridge-nf-call-iptables=1", "setting", says="bridge-nf-call-iptables is 0"),
    # With its MAC a link loses its neighbours (neigh_changeaddr() of net/core/neighbour.c).
    Fault("VTEP's MAC changed",
          "ip neigh show dev flannel.1 nud permanent >/run/kept; ip link set flannel.1 address 02:00:00:00:00:99",
          "ip link set flannel.1 address {mac}; " + _REMEMBER, "tunnel", cni=Cni.FLANNEL,
          says="has the MAC 02:00:00:00:00:99"),
    # Without any address the kernel would forget routes and neighbours too.
    Fault("VTEP's address another", "ip addr add 192.0.2.77/32 dev flannel.1; ip addr del {vtep}/32 dev flannel.1",
          "ip addr add {vtep}/32 dev flannel.1; ip addr del 192.0.2.77/32 dev flannel.1", "tunnel", cni=Cni.FLANNEL,
          says="should have the address"),
    Fault("neighbour of the VTEP missing", "ip neigh del {peer_vtep} dev flannel.1",
          _KNOWN, "neighbour", cni=Cni.FLANNEL),
    Fault("neighbour of the VTEP wrong", "ip neigh replace {peer_vtep} lladdr 02:00:00:00:00:98 dev flannel.1",
          _KNOWN, "neighbour", cni=Cni.FLANNEL),
    Fault("forwarding entry missing", "bridge fdb del {peer_mac} dev flannel.1 self",
          _BEHIND, "forwarding-entry", cni=Cni.FLANNEL),
    Fault("forwarding entry wrong",
          _FORGET + "bridge fdb append {peer_mac} dev flannel.1 dst 172.30.0.99 self", _FORGET + _BEHIND,
          "forwarding-entry", cni=Cni.FLANNEL, says="172.30.0.99"),
    Fault("bridge down", "ip link set cni0 down", "ip link set cni0 up", "interface", cni=Cni.BRIDGE,
          says="cni0 is down"),
    Fault("MTU of the uplink too small", "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500", "mtu",
          cni=Cni.FLANNEL, says="eth0 takes 1400 bytes, and what flannel.1 wraps is up to 1500 long"),
    Fault("MTU of a pod too large",
          "ip link set $(ip -o link show master cni0 | head -n 1 | sed -e 's/^[0-9]*: //' -e 's/@.*//') mtu 1500",
          "ip -o link show master cni0 | sed -e 's/^[0-9]*: //' -e 's/@.*//' | xargs -I DEV ip link set DEV mtu 1450",
          "mtu", cni=Cni.FLANNEL, says="1 interface of pods takes up to 1500 bytes, flannel.1 takes 1450"),
    Fault("firewall on the port of VXLAN", "iptables -I INPUT -p udp --dport 8472 -j DROP",
          "iptables -D INPUT -p udp --dport 8472 -j DROP", "port-closed", cni=Cni.FLANNEL, says="UDP 8472"),
    Fault("firewall that lets VXLAN in and not out", "iptables -I OUTPUT -p udp --dport 8472 -j REJECT",
          "iptables -D OUTPUT -p udp --dport 8472 -j REJECT", "port-closed", cni=Cni.FLANNEL, says="UDP 8472"),
    Fault("firewall of nftables",
          "nft add table inet wall; "
          "nft add chain inet wall in '{{type filter hook input priority 0;policy accept;}}'; "
          "nft add rule inet wall in udp dport 8472 drop", "nft delete table inet wall", "port-closed",
          cni=Cni.FLANNEL, says="UDP 8472"),
    Fault("what a node announced is gone", "kubectl annotate node n2 flannel.alpha.coreos.com/backend-type-",
          "kubectl annotate --overwrite node n2 flannel.alpha.coreos.com/backend-type=vxlan", "not-announced",
          place="node/n2", cni=Cni.FLANNEL),
    Fault("address of another family announced",
          "kubectl annotate --overwrite node n2 flannel.alpha.coreos.com/public-ip=fd00:30::99",
          "kubectl annotate --overwrite node n2 flannel.alpha.coreos.com/public-ip={peer}", "wrong-public-address",
          place="node/n2", cni=Cni.FLANNEL),
    Fault("address of nobody announced",
          "kubectl annotate --overwrite node n2 flannel.alpha.coreos.com/public-ip=172.30.0.77",
          "kubectl annotate --overwrite node n2 flannel.alpha.coreos.com/public-ip={peer}", "wrong-public-address",
          place="node/n2", cni=Cni.FLANNEL),
    Fault("another backend announced",
          "kubectl annotate --overwrite node n2 flannel.alpha.coreos.com/backend-type=host-gw",
          "kubectl annotate --overwrite node n2 flannel.alpha.coreos.com/backend-type=vxlan", "mixed-backends",
          place="node/n2", cni=Cni.FLANNEL),
)  # fmt: skip


def words(lab: Settings) -> dict[str, str]:
    """Give what the faults speak of: n1's own tunnel, and n2 as its peer."""
    nodes = {n["metadata"]["name"]: n for n in get(lab, "nodes")["items"]}
    found = {"peer": lab.node_addresses("n2")[0], "peer_cidr": nodes["n2"]["spec"]["podCIDR"]}
    if lab.cni is Cni.FLANNEL:
        for prefix, name in (("", "n1"), ("peer_", "n2")):
            data = json.loads(nodes[name]["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-data"])
            found |= {
                f"{prefix}mac": data["VtepMAC"],
                f"{prefix}vtep": nodes[name]["spec"]["podCIDR"].partition("/")[0],
            }
    return found


def act(lab: Settings, command: str) -> None:
    for one in command.split("; "):
        if one.startswith("kubectl "):
            kubectl(lab, *one.split()[1:])
        else:
            folder = lab.folder / "kept"
            within = one.replace("/run/kept", str(folder))
            process.run("ip", "netns", "exec", lab.namespace("n1"), "sh", "-c", within)


def freeze(lab: Settings, what: signal.Signals) -> None:
    """Stop the agents of a lab, or let them go on."""
    name = "flanneld" if lab.cni is Cni.FLANNEL else "calico-node"
    for node in lab.node_names:
        for pid in network.processes(lab.namespace(node)):
            # A kubelet may kill one meanwhile, as its probes have no answer.
            with suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    os.kill(pid, what)


def test_each_fault_is_named(ready: Settings, netinspect: Netinspect) -> None:
    name_each(ready, netinspect, [f for f in FAULTS if f.cni in (None, ready.cni)], words(ready))


def name_each(lab: Settings, netinspect: Netinspect, faults: Iterable[Fault], known: Mapping[str, str]) -> None:
    """Break, look and heal, fault by fault: it is named at its place and nowhere else, and then nothing is."""
    with ExitStack() as stack:
        # They mend what is broken, and answer signals as any process.
        stack.callback(freeze, lab, signal.SIGCONT)
        for fault in faults:
            # One that was started anew meanwhile stops too.
            freeze(lab, signal.SIGSTOP)
            with ExitStack() as healing:
                healing.callback(act, lab, fault.healed.format(**known))
                act(lab, fault.broken.format(**known))
                found = told(lab, netinspect)
                if fault.code:
                    done = netinspect(
                        "check", "--only", fault.code, "--kubeconfig", lab.kubeconfig, "--access", "exec", "-o", "json"
                    )
                    assert fault.code in {f["code"] for f in done.json.get("findings", ())}, fault.name
            assert (fault.kind, fault.place) in kinds(found), (fault.name, found["findings"])
            # An agent that does nothing meanwhile is soon not ready.
            places = {place for kind, place in kinds(found) if kind != "agent"}
            assert places == {fault.place}, (fault.name, found["findings"])
            said = [f["says"] for f in found["findings"] if f["kind"] == fault.kind]
            assert any(fault.says.format(**known) in s for s in said), (fault.name, said)
    # A probe that waited for an agent as it stood still may fail only after it goes on.
    until = time.monotonic() + RECOVERY
    while (left := kinds(told(lab, netinspect))) and dict(left).keys() == {"agent"} and time.monotonic() < until:
        time.sleep(1)
    assert left == set()


def test_a_second_configuration_that_comes_first(ready: Settings, netinspect: Netinspect) -> None:
    folder = ready.folder / "nodes" / "n1" / "net.d"
    stray = folder / "00-stray.conflist"
    stray.write_text(json.dumps({"cniVersion": "1.0.0", "name": "stray", "plugins": [{"type": "ptp"}]}))
    try:
        found = told(ready, netinspect)
    finally:
        stray.unlink()
    assert ("configuration-order", "node/n1") in kinds(found)


def test_an_agent_that_is_down(dual_lab: Settings, netinspect: Netinspect) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "kube-flannel", "readinessProbe": {
        "exec": {"command": ["false"]}, "periodSeconds": 1}}]}}}}  # fmt: skip
    kubectl(dual_lab, "-n", "kube-flannel", "patch", "ds/kube-flannel-ds", "-p", json.dumps(patch))
    try:
        kubectl(dual_lab, "-n", "kube-flannel", "wait", "--for=jsonpath={.status.numberReady}=2", "ds/kube-flannel-ds",
                "--timeout=60s")  # fmt: skip
        with looked_into(dual_lab):
            found = told(dual_lab, netinspect)
    finally:
        kubectl(dual_lab, "-n", "kube-flannel", "rollout", "undo", "ds/kube-flannel-ds")
        kubectl(dual_lab, "-n", "kube-flannel", "rollout", "status", "ds/kube-flannel-ds", "--timeout=120s")
    assert ("agent", "daemonset/kube-flannel/kube-flannel-ds") in kinds(found)
