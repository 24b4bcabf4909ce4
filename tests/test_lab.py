"""The lab itself: what it promises to the tests that stand on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.conftest import ROOT, unavailable
from tests.lab import cluster, network, node
from tests.lab.cluster import kubectl
from tests.lab.errors import LabError
from tests.lab.settings import CGROUP, Backend, Cni, IpFamily, Proxy, Settings, load
from tests.lab.settings import ROOT as STATE


def run(lab: Settings, name: str, *command: str) -> str:
    done = subprocess.run(node.enter(lab, name, list(command)), capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def traces(name: str) -> list[str]:
    """List everything on the machine that belongs to a lab of this name."""
    found = network.existing(name)
    found += [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{CGROUP}/{name}")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f"netinspect-lab/{name}/" in line]
    found += [str(p) for p in (STATE / name,) if p.exists()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except FileNotFoundError:
            continue
        found += [" ".join(words) for w in words if f"netinspect-lab/{name}/" in w][:1]
    return found


def test_the_control_plane_runs_as_static_pods(lab: Settings) -> None:
    names = kubectl(lab, "-n", "kube-system", "get", "pods", "-l", "tier=control-plane", "-o", "name").split()
    assert names == [f"pod/{c}-n1" for c in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")]


def test_pods_reach_each_other_services_and_names(lab: Settings) -> None:
    pod = kubectl(lab, "-n", "shop", "get", "pods", "-l", "app=cart", "-o", "name").strip()
    addresses = kubectl(
        lab, "-n", "shop", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIPs[*].ip}"
    ).split()
    assert len(addresses) == (6 if lab.ip_family is IpFamily.DUAL else 3)
    for target in (*addresses, "web.shop.svc.cluster.local"):
        host = f"[{target}]" if ":" in target else target
        url = f"http://{host}:{80 if target.startswith('web') else 8080}/"
        # A local address passes for one that a pod of its own namespace may use; nothing leaves the lab.
        said = kubectl(lab, "-n", "shop", "exec", pod, "-c", "cart", "--", "curl", "-sS", "--max-time", "10", url)
        assert said.startswith("web-"), target


def test_the_proxy_runs_in_the_mode_that_was_asked_for(lab: Settings) -> None:
    tables = run(lab, lab.node_names[-1], "nft", "list", "tables")
    assert ("table ip kube-proxy" in tables) is (lab.proxy is Proxy.NFTABLES)
    rules = run(lab, lab.node_names[-1], "iptables-save", "-t", "nat")
    assert ("KUBE-SERVICES" in rules) is (lab.proxy is Proxy.IPTABLES)


def test_the_network_is_of_the_kind_that_was_asked_for(lab: Settings) -> None:
    routes = run(lab, "n1", "ip", "route")
    assert ("flannel.1" in routes) is (lab.network == "flannel (vxlan)")
    assert ("vxlan.calico" in routes) is (lab.cni is Cni.CALICO)
    # Which range a node gets depends on which registers first.
    assert (f"via {lab.node_addresses('n2')[0]} dev eth0" in routes) is (lab.network in ("flannel (host-gw)", "bridge"))


def test_a_node_sees_itself_as_a_machine(lab: Settings) -> None:
    assert run(lab, "n2", "hostname").strip() == "n2"
    assert "kubelet" in run(lab, "n2", "cat", "/proc/1/cmdline")
    assert "eth0" in run(lab, "n2", "ls", "/sys/class/net")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a-b", "*", "A", "1a", "a b"])
def test_names_that_would_reach_beyond_the_lab_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="cannot be called"):
        cluster.down(name, print)


def test_choices_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(LabError, match="a backend of Flannel"):
        Settings(cni=Cni.BRIDGE, backend=Backend.HOST_GW)
    with pytest.raises(LabError, match="IPv4 alone"):
        Settings(cni=Cni.CALICO, ip_family=IpFamily.DUAL)


def test_two_labs_stand_side_by_side(dual_lab: Settings, ipv4_lab: Settings) -> None:
    """They share addresses, and neither sees the other."""
    assert {dual_lab.name, ipv4_lab.name} <= set(cluster.names())
    assert len(kubectl(dual_lab, "get", "nodes", "-o", "name").split()) == 3
    assert len(kubectl(ipv4_lab, "get", "nodes", "-o", "name").split()) == 2


def test_up_again_changes_nothing(ipv4_lab: Settings) -> None:
    said: list[str] = []
    before = kubectl(ipv4_lab, "get", "nodes", "-o", "jsonpath={.items[*].metadata.uid}")
    cluster.up(ipv4_lab, said.append)
    assert said[0] == "testipv4 runs already"
    assert kubectl(ipv4_lab, "get", "nodes", "-o", "jsonpath={.items[*].metadata.uid}") == before
    with pytest.raises(LabError, match="other settings"):
        cluster.up(Settings(name=ipv4_lab.name, nodes=3), said.append)


def test_the_machine_itself_has_no_address_of_the_lab(lab: Settings) -> None:
    listed = subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    for ranges in lab.ranges:
        assert str(ip_network(ranges.nodes).network_address).rstrip("0:.") not in listed + routes


@pytest.mark.parametrize("seconds", [2, 12])
def test_an_interrupted_up_leaves_nothing(seconds: int) -> None:
    try:
        cluster.check_machine()
    except LabError as error:
        unavailable(f"the lab cannot run here: {error}")
    name = f"cut{seconds}"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "up", "--name", name, "--nodes", "1"], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        time.sleep(seconds)
        assert traces(name), "interrupted before it had begun"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert traces(name) == []


def test_down_leaves_nothing_whatever_happened_before() -> None:
    """Even where `up` was killed and could not clean up."""
    try:
        cluster.check_machine()
    except LabError as error:
        unavailable(f"the lab cannot run here: {error}")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "up", "--name", "killed", "--nodes", "1"], cwd=ROOT,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        time.sleep(15)
        os.kill(process.pid, signal.SIGKILL)
    assert load("killed").nodes == 1
    cluster.down("killed", lambda _: None)
    assert traces("killed") == []
    with pytest.raises(LabError, match="there is no lab"):
        load("killed")
