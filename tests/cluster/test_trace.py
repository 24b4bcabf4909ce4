"""What a trace says of a real cluster is what real connections there meet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netinspect.analysis.flow import Question
from netinspect.analysis.inside import match
from netinspect.analysis.pods import addresses, full_name
from netinspect.analysis.trace import Tracer
from netinspect.bundle import load
from netinspect.model.resources import RESOURCES
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level
from tests.cluster.test_inside import processes
from tests.conftest import Netinspect
from tests.lab import node as lab_node
from tests.lab.images import NETSHOOT
from tests.lab.network import NETNS
from tests.lab.settings import Settings, gateway, is_ipv6

# Connects to all addresses at once, as many times as it is told, and says what came of each.
TRY = """
import json, selectors, socket, sys, time
targets, times = json.load(sys.stdin), int(sys.argv[1])
results = [[] for _ in targets]
names = {0: "arrives", 111: "refused", 113: "unreachable", 101: "unreachable", 13: "unreachable", 1: "unreachable"}
for _ in range(times):
    select = selectors.DefaultSelector()
    for number, (address, port) in enumerate(targets):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.setblocking(False)
        code = made.connect_ex((address, port))
        if code in (0, 115):
            select.register(made, selectors.EVENT_WRITE, number)
        else:
            results[number].append(names.get(code, str(code)))
    until = time.monotonic() + 1.5
    while select.get_map() and time.monotonic() < until:
        for key, _ in select.select(0.1):
            results[key.data].append(names.get(key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "?"))
            select.unregister(key.fileobj)
            key.fileobj.close()
    for key in list(select.get_map().values()):
        results[key.data].append("lost")
        key.fileobj.close()
json.dump(results, sys.stdout)
"""
TIMES = 3


@pytest.fixture(scope="module")
def found(lab: Settings, netinspect: Netinspect, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Record the cluster with what its kernels have."""
    file = tmp_path_factory.mktemp("trace") / "lab.zip"
    access = ("--access", "pod", "--image", NETSHOOT)
    result = netinspect("snapshot", "--force", file, "--kubeconfig", lab.kubeconfig, *access)
    assert result.code in (0, 3), result.err
    return load(file, RESOURCES)


def sources(lab: Settings, snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    """Give who can send, and a process in its network namespace."""
    inside = match(snapshot)
    for pod in snapshot.pods:
        name = full_name(pod.metadata)
        if name in inside.places and pod.metadata.namespace == "shop" and (pids := processes(pod.metadata.uid)):
            yield name, pids[-1]
    for node in lab.node_names:
        pid = lab_node.init(lab, node)
        assert pid is not None
        yield f"node/{node}", pid


def targets(snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    """Give all that listens on TCP, or should: pods, Services, node ports."""
    for pod in snapshot.pods:
        if pod.status.phase == "Running" and not pod.spec.host_network:
            ports = {p.container_port for c in pod.spec.containers for p in c.ports if p.protocol == "TCP"} | {9}
            yield from ((address, port) for address in addresses(pod) for port in sorted(ports))
    nodes = [a.address for n in snapshot.nodes for a in n.status.addresses if a.type == "InternalIP"]
    for service in snapshot.services:
        for port in service.spec.ports:
            if port.protocol == "TCP":
                yield from ((ip, port.port) for ip in service.spec.cluster_ips if ip != "None")
                yield from ((node, port.node_port) for node in nodes if port.node_port)


def real(namespace: str | Path, aims: list[tuple[str, int]]) -> list[list[str]]:
    command = ["nsenter", f"--net={namespace}", sys.executable, "-c", TRY, str(TIMES)]
    done = subprocess.run(command, input=json.dumps(aims), capture_output=True, text=True, check=True)
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


def _limited(answers: list[str]) -> set[str]:
    """Leave out what was lost beside what was turned away: the kernel does not complain too often (icmp_ratelimit)."""
    found = set(answers)
    return found - {"lost"} if found & {"refused", "unreachable"} else found


def test_every_pair_meets_what_the_trace_says(lab: Settings, found: Snapshot) -> None:
    aims = sorted(set(targets(found)))
    assert len(aims) > 20
    counts: Counter[str] = Counter()
    wrong: list[Any] = []
    tracer = Tracer(found)
    for source, pid in sources(lab, found):
        for (address, port), answers in zip(aims, real(f"/proc/{pid}/ns/net", aims), strict=True):
            said = tracer.trace(Question(source, address, port=port))
            ways = {w.arrival.value for w in said.ways}
            if said.level is not Level.SIMULATED:
                counts["not simulated"] += 1
                wrong.append((source, address, port, said.sentence))
            elif said.arrival is Arrival.LEAVES:
                # To an address that nobody here has: what is outside says nothing, or that it knows no way.
                counts["leaves"] += 1
                assert {"lost", "unreachable"} >= set(answers), said.sentence
            elif _limited(answers) <= ways:
                counts[said.arrival.value] += 1
            elif Arrival.UNKNOWN.value in ways:
                counts["unknown, and more"] += 1
            else:
                wrong.append((source, address, port, answers, sorted(ways), said.sentence))
    print(lab.name, dict(counts), len(wrong), "wrong")
    assert not wrong, "\n".join(map(str, wrong[:20]))
    assert counts["arrives"] > counts.total() / 3
    assert counts["unknown"] + counts["unknown, and more"] <= counts.total() / 100


def test_what_comes_from_outside_meets_what_the_trace_says(lab: Settings, found: Snapshot) -> None:
    """The lab's switch is a client of the node ports, whose answers must find back to it."""
    ports = {p.node_port for s in found.services for p in s.spec.ports if p.node_port and p.protocol == "TCP"}
    nodes = [a.address for n in found.nodes for a in n.status.addresses if a.type == "InternalIP"]
    aims = [(address, port) for address in nodes for port in (*sorted(ports), 30999)]
    tracer = Tracer(found)
    answers = real(NETNS / lab.switch, aims)
    wrong = []
    for (address, port), met in zip(aims, answers, strict=True):
        source = next(gateway(r.nodes) for r in lab.ranges if is_ipv6(gateway(r.nodes)) == is_ipv6(address))
        said = tracer.trace(Question(source, address, port=port))
        ways = {w.arrival.value for w in said.ways}
        if said.level is not Level.SIMULATED or not _limited(met) <= ways:
            wrong.append((address, port, met, sorted(ways), said.sentence))
    print(len(aims), "node ports from outside", len(wrong), "wrong")
    assert not wrong, "\n".join(map(str, wrong[:20]))
    assert any("arrives" in met for met in answers)
    assert any("arrives" not in met for met in answers)


def test_the_command_looks_at_the_nodes_on_the_way(lab: Settings, netinspect: Netinspect) -> None:
    # A connection that stands since a fault of another test may be taken for this one, and nobody knows how likely.
    for name in lab.node_names:
        subprocess.run(lab_node.enter(lab, name, ["conntrack", "-F"]), check=True, capture_output=True)
    access = ("--access", "pod", "--image", NETSHOOT, "--kubeconfig", lab.kubeconfig)
    result = netinspect("trace", "-n", "shop", "deploy/cart", "svc/web", *access, "-o", "json")
    assert result.code == 0, result.err + result.out
    document = result.json
    assert (document["level"], document["arrival"]) == ("simulated", "arrives")
    backends = {way["backend"].rpartition(" ")[2] for way in document["ways"]}
    slices = json.loads(
        subprocess.run(
            ["kubectl", "--kubeconfig", str(lab.kubeconfig), "-n", "shop", "get", "endpointslices", "-o", "json",
             "-l", "kubernetes.io/service-name=web"],
            capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    ready = {
        f"{address}:8080"
        for piece in slices["items"] if piece["addressType"] == "IPv4"
        for endpoint in piece["endpoints"] if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    }  # fmt: skip
    assert backends == ready
    assert not [way["forks"] for way in document["ways"] if way["probability"] is None]
    assert sum(way["probability"] for way in document["ways"]) == pytest.approx(1)
