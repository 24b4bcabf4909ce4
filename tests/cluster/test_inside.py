"""What is read in the nodes of a real cluster: three ways give the same, and it is what nsenter(1) shows outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netinspect.analysis.inside import Inside, match
from netinspect.bundle import load
from netinspect.kernel.namespace import Namespace
from netinspect.model.resources import RESOURCES
from netinspect.model.snapshot import Snapshot
from tests.conftest import Netinspect
from tests.lab import node as lab_node
from tests.lab.cluster import get, kubectl
from tests.lab.images import NETSHOOT
from tests.lab.settings import Settings

# What a node's agent of a kind that many clusters have may do: of a CSI driver, a node exporter, a security sensor.
AGENT = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: sensor, namespace: kube-system}
spec:
  selector: {matchLabels: {app: sensor}}
  template:
    metadata: {labels: {app: sensor}}
    spec:
      hostPID: true
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers:
      - {name: sensor, image: "IMAGE", command: [sleep, infinity], securityContext: {privileged: true}}
"""
COUNTERS = re.compile(r"\[\d+:\d+\] ?")


@pytest.fixture(scope="module")
def _agents(lab: Settings) -> Iterator[None]:
    kubectl(lab, "apply", "-f", "-", stdin=AGENT.replace("IMAGE", NETSHOOT))
    kubectl(lab, "-n", "kube-system", "rollout", "status", "daemonset/sensor", "--timeout=120s")
    # Until its address is known to be unique, a link has no IPv6 routes (RFC 4862, section 5.4).
    until = time.monotonic() + 30
    while any(_tentative(lab, node) for node in lab.node_names) and time.monotonic() < until:
        time.sleep(0.5)
    yield
    kubectl(lab, "-n", "kube-system", "delete", "daemonset/sensor", "--wait=false")


def _tentative(lab: Settings, node: str) -> bool:
    pid = lab_node.init(lab, node)
    assert pid is not None
    return any(k["addr_info"] for k in outside(pid, "ip", "-6", "-j", "addr", "show", "tentative") if k)


def recorded(lab: Settings, netinspect: Netinspect, file: Path, *arguments: str) -> Snapshot:
    result = netinspect("snapshot", "--force", file, "--kubeconfig", lab.kubeconfig, *arguments)
    assert result.code in (0, 3), result.err
    return load(file, RESOURCES)


@pytest.fixture(scope="module")
def by_level(
    lab: Settings, request: pytest.FixtureRequest, netinspect: Netinspect, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Inside]:
    """Read the whole cluster by each level, at a moment when nothing changes; locally it is one node."""
    request.getfixturevalue("_agents")
    folder = tmp_path_factory.mktemp("inside")
    pod = ("--image", NETSHOOT)
    for _ in range(6):
        before = match(recorded(lab, netinspect, folder / "before.zip", "--access", "exec"))
        found = {
            "exec": before,
            "pod": match(recorded(lab, netinspect, folder / "pod.zip", "--access", "pod", *pod)),
            "local": match(_locally(lab, folder)),
        }
        after = match(recorded(lab, netinspect, folder / "after.zip", "--access", "exec"))
        # A Service whose pod crashes again and again has other rules each time.
        if everything(before) == everything(after):
            return found
    raise AssertionError("the cluster does not come to rest")


def _locally(lab: Settings, folder: Path) -> Snapshot:
    # The node has no way to the administrator's forwarder on the outside, but one to the API server itself.
    inner = re.sub(r"https://127\.0\.0\.1:\d+", f"https://{lab.api_address}:6443", lab.kubeconfig.read_text())
    (folder / "kubeconfig").write_text(inner)
    file = folder / "local.zip"
    command = [sys.executable, "-m", "netinspect", "snapshot", "--force", str(file), "--access", "local"]
    done = subprocess.run(
        lab_node.enter(lab, lab.node_names[-1], [*command, "--kubeconfig", str(folder / "kubeconfig")]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr
    found = load(file, RESOURCES)
    assert [k.node for k in found.kernels] == [lab.node_names[-1]]
    return found


def everything(inside: Inside) -> dict[str, dict[str, Any]]:
    return {name: essence(n) for name, n in {**inside.hosts, **inside.pods}.items()}


def essence(namespace: Namespace) -> dict[str, Any]:
    """Give the state that stands still: without counters, handles, and what is learnt from traffic."""
    links = [
        (k.ifindex, k.ifname, k.kind, k.mtu, k.address, k.master, k.data, k.flags, k.port) for k in namespace.links
    ]
    return {
        "links": links,
        "addresses": [(k.ifname, a.local, a.prefixlen) for k in namespace.links for a in k.addresses],
        "routes": sorted(str(msgspec.structs.replace(r, line=0)) for r in namespace.routes),
        "rules": namespace.rules,
        "nexthops": namespace.nexthops,
        "permanent": sorted((n.dst, n.dev, n.lladdr) for n in namespace.neighbours if "PERMANENT" in n.state),
        "fdb": sorted((f.mac, f.dev, f.dst) for f in namespace.fdb if f.dst),
        "iptables": [
            (r.family, r.variant, t.name, c.name, c.policy, [COUNTERS.sub("", text) for _, text in c.lines])
            for r in namespace.iptables
            for t in r.tables.values()
            for c in t.chains.values()
        ],
        "nft": sorted(
            (c.family, c.table, c.name, c.hook, len(c.raw_rules)) for c in namespace.nftables.chains.values()
        ),
        "ipsets": [s.name for s in namespace.ipsets],
        "forwarding": {k: v for k, v in namespace.sysctls.items() if "forward" in k or "rp_filter" in k},
        "listening": sorted({(s.protocol, s.address, s.port) for s in namespace.sockets if s.state == "LISTEN"}),
    }


def test_all_levels_give_the_same_state(lab: Settings, by_level: dict[str, Inside]) -> None:
    exec_, pod, local = by_level["exec"], by_level["pod"], by_level["local"]
    assert set(exec_.hosts) == set(pod.hosts) == set(lab.node_names)
    assert set(exec_.pods) == set(pod.pods)
    mine = {name for name, place in local.places.items()}
    assert mine == {name for name, place in pod.places.items() if place == lab.node_names[-1]}
    assert len(mine) >= 3
    for node in lab.node_names:
        assert essence(exec_.hosts[node]) == essence(pod.hosts[node]), node
        if node in local.hosts:
            assert essence(local.hosts[node]) == essence(pod.hosts[node]), node
    for name in pod.places:
        assert essence(exec_.pods[name]) == essence(pod.pods[name]), name
        if name in mine:
            assert essence(local.pods[name]) == essence(pod.pods[name]), name
    assert any(essence(h)["iptables"] or essence(h)["nft"] for h in pod.hosts.values())


def processes(uid: str) -> list[int]:
    """Find a pod's processes from outside, by their cgroups."""
    spelt = (uid, uid.replace("-", "_"))
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cgroup").read_text()
        except OSError:
            continue
        if any(s in text for s in spelt):
            found.append(int(entry.name))
    return sorted(found)


def outside(pid: int, *command: str) -> Any:
    done = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *command], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_every_pod_is_found_and_is_what_nsenter_shows(lab: Settings, by_level: dict[str, Inside]) -> None:
    seen = {"own": 0, "host": 0, "finished": 0, "several": 0, "restarted": 0}
    for pod in get(lab, "pods", "--all-namespaces")["items"]:
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        namespace = by_level["pod"].pods.get(name)
        if pod["status"]["phase"] in ("Succeeded", "Failed") or not pod["spec"].get("nodeName"):
            seen["finished"] += pod["status"]["phase"] in ("Succeeded", "Failed")
            assert namespace is None, name
            continue
        if pod["metadata"].get("deletionTimestamp"):
            continue
        assert namespace is not None, name
        if pod["spec"].get("hostNetwork"):
            seen["host"] += 1
            assert namespace is by_level["pod"].hosts[pod["spec"]["nodeName"]]
            continue
        seen["own"] += 1
        seen["several"] += len(pod["spec"]["containers"]) > 1
        seen["restarted"] += any(c["restartCount"] for c in pod["status"]["containerStatuses"])
        pids = processes(pod["metadata"]["uid"])
        links = outside(pids[0], "ip", "-j", "addr", "show")
        assert namespace.evidence.id == str(Path(f"/proc/{pids[0]}/ns/net").stat().st_ino)
        assert [(k.ifname, k.mtu, k.address, k.ifindex) for k in namespace.links] == [
            (k["ifname"], k["mtu"], k["address"], k["ifindex"]) for k in links
        ]
        assert [a.local for k in namespace.links for a in k.addresses] == [
            a["local"] for k in links for a in k["addr_info"]
        ]
        addresses = {a["ip"] for a in pod["status"]["podIPs"]}
        assert addresses <= {a.local for k in namespace.links for a in k.addresses}
        routes = outside(pids[0], "ip", "-4", "-j", "route", "show", "table", "all")
        assert len([r for r in namespace.routes if r.family == "inet"]) == len(routes)
    assert min(seen.values()) > 0, seen


def test_the_map_shows_how_pods_hang_on_their_nodes(lab: Settings, netinspect: Netinspect) -> None:
    result = netinspect(
        "map", "-A", "-o", "json", "--network", "host", "--network", "container",
        "--access", "pod", "--image", NETSHOOT, "--kubeconfig", lab.kubeconfig,
    )  # fmt: skip
    assert result.code == 0, result.err
    peers = 0
    for entry in result.json["host"]["nodes"]:
        interfaces = {i["name"]: i for i in entry["interfaces"]}
        # From outside: the node's own links, and for each veth the pod whose process has the other end.
        pid = lab_node.init(lab, entry["name"])
        assert pid is not None
        assert set(interfaces) == {k["ifname"] for k in outside(pid, "ip", "-j", "link")}
        here = [p for p in result.json["container"]["pods"] if p["node"] == entry["name"] and p.get("attachments")]
        for pod in here:
            for attachment in pod["attachments"]:
                ends = interfaces[attachment["hostInterface"]]
                assert ends["peer"] == f"pod/{pod['namespace']}/{pod['name']}"
                assert ends.get("master", "") == attachment.get("bridge", "") == "cni0"
                assert attachment["interface"]["addresses"]
                peers += 1
            assert not pod.get("disagreements")
        assert {i["peer"] for i in interfaces.values() if i.get("peer")} == {
            f"pod/{p['namespace']}/{p['name']}" for p in here
        }
    assert peers > 5


def test_what_the_kernel_has_and_the_api_does_not_is_said(lab: Settings, netinspect: Netinspect) -> None:
    pod = next(
        p
        for p in get(lab, "pods", "-n", "shop", "-l", "app=web")["items"]
        if p["status"]["phase"] == "Running" and not p["metadata"].get("deletionTimestamp")
    )
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    enter = ["nsenter", f"--net=/proc/{processes(pod['metadata']['uid'])[0]}/ns/net", "ip"]
    subprocess.run([*enter, "route", "del", "default"], check=True)
    subprocess.run([*enter, "addr", "del", f"{address}/24", "dev", "eth0"], check=True)
    try:
        arguments = ("map", f"pod/shop/{name}", "--access", "pod", "--image", NETSHOOT, "--kubeconfig", lab.kubeconfig)
        result = netinspect(*arguments)
        assert f"the API says that it has {address}, the kernel has no such address in it" in result.out
        assert "it has no default route for IPv4" in result.out
    finally:
        gateway = address.rpartition(".")[0] + ".1"
        subprocess.run([*enter, "addr", "add", f"{address}/24", "dev", "eth0"], check=True)
        subprocess.run([*enter, "route", "add", "default", "via", gateway], check=True)


def test_a_recording_shows_what_was_read_then(lab: Settings, netinspect: Netinspect, tmp_path: Path) -> None:
    file = tmp_path / "with-kernels.zip"
    recorded(lab, netinspect, file, "--access", "pod", "--image", NETSHOOT)
    node = lab.node_names[-1]
    offline = netinspect("node", node, "--section", "links", "--from", file, "-o", "json")
    live = netinspect("node", node, "--section", "links", "--access", "pod", "--image", NETSHOOT, "-o", "json",
                      "--kubeconfig", lab.kubeconfig)  # fmt: skip
    assert offline.code == live.code == 0, offline.err + live.err
    names = [[k["ifname"] for k in r.json["links"]] for r in (offline, live)]
    assert names[0] == names[1]
    mapped = netinspect("map", "-A", "--network", "host", "--from", file)
    assert "cni0" in mapped.out
    assert "cni0" not in netinspect("map", "-A", "--network", "host", "--from", file, "--access", "none").out
    refused = netinspect("map", "--from", file, "--access", "pod")
    assert (refused.code, "recording" in refused.err) == (2, True)


def test_redaction_covers_the_kernel(lab: Settings, netinspect: Netinspect, tmp_path: Path) -> None:
    plain, hidden = tmp_path / "plain.zip", tmp_path / "hidden.zip"
    arguments = ("--access", "pod", "--image", NETSHOOT)
    seen = match(recorded(lab, netinspect, plain, *arguments))
    redacted = recorded(lab, netinspect, hidden, *arguments, "--redact")
    found = match(redacted)
    assert sorted(len(n.links) for n in found.pods.values()) == sorted(len(n.links) for n in seen.pods.values())
    text = "\n".join(s.text for k in redacted.kernels for n in k.namespaces for s in n.sections.values())
    objects = [o for kind in ("pods", "services", "nodes", "namespaces") for o in get(lab, kind, "-A")["items"]]
    names = {o["metadata"]["name"] for o in objects} - {
        "default", "kube-system", "kubernetes", "kube-dns", "web", "db", "edge",
    }  # fmt: skip
    addresses = {a["ip"] for o in objects for a in o.get("status", {}).get("podIPs", [])}
    addresses |= {a for o in objects for a in o["spec"].get("clusterIPs", []) if a != "None"}
    hardware = {k.address for n in seen.hosts.values() for k in n.links if k.kind}
    for secret in {*names, *addresses, *hardware}:
        assert not re.search(rf"(?<![\w.:-]){re.escape(secret)}(?![\w.:-])", text), secret
    for node, namespace in found.hosts.items():
        assert node not in lab.node_names
        assert not [m for m in namespace.missing() if m.trouble.value == "unreadable"]
        assert len(namespace.routes) in {len(n.routes) for n in seen.hosts.values()}


def test_a_node_alone_needs_no_api(lab: Settings) -> None:
    node = lab.node_names[-1]
    command = [sys.executable, "-m", "netinspect", "node", "--access", "local"]
    env = ["env", "KUBECONFIG=/nonexistent", "HOME=/nonexistent"]
    done = subprocess.run(lab_node.enter(lab, node, [*env, *command]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"node/{node}, read through this machine\n")
    assert "cni0" in done.stdout
    nat = subprocess.run(
        lab_node.enter(lab, node, [*env, *command, "--section", "nat", "--section", "nftables"]),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "KUBE-" in nat.stdout or "kube-proxy" in nat.stdout


def test_reading_changes_nothing(lab: Settings, netinspect: Netinspect) -> None:
    """The node's rules, links and modules are the same before and after, and no inspector stays."""
    pid = lab_node.init(lab, lab.node_names[-1])
    watched = ["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save", "ip link", "ip route show table all"]

    def state() -> list[str]:
        return [
            COUNTERS.sub("", subprocess.run(
                ["nsenter", f"--net=/proc/{pid}/ns/net", *c.split()], capture_output=True, text=True, check=False
            ).stdout)
            for c in watched
        ]  # fmt: skip

    def comparable(texts: list[str]) -> list[str]:
        return [re.sub(r"^#.*$", "", t, flags=re.MULTILINE) for t in texts]

    before, modules = comparable(state()), Path("/proc/modules").read_text() if Path("/proc/modules").exists() else ""
    netinspect("node", lab.node_names[-1], "--access", "pod", "--image", NETSHOOT, "--kubeconfig", lab.kubeconfig)
    assert comparable(state()) == before
    assert (Path("/proc/modules").read_text() if modules else "") == modules
    names = ["netinspect"]
    until = time.monotonic() + 20
    while names and time.monotonic() < until:
        pods = get(lab, "pods", "-n", "kube-system")["items"]
        names = [n for n in (p["metadata"]["name"] for p in pods) if n.startswith("netinspect")]
    assert not names
