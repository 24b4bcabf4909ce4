"""A real mesh of Istio's: what is said of every pair of pods is what real requests between them met."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netinspect.analysis.flow import Question
from netinspect.analysis.mesh_pair import Target, pair
from netinspect.analysis.trace import Tracer
from netinspect.bundle import load
from netinspect.model.mesh import Reach, Transport
from netinspect.model.resources import RESOURCES
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level, Trace
from tests.cluster.requests import Met, Pod, ask, pods
from tests.cluster.test_cni import looked_into
from tests.conftest import Netinspect, running
from tests.lab.cluster import get
from tests.lab.settings import Mesh, Settings

NAMESPACES = ("inside", "strict", "outside")
CLIENTS = ("client", "api", "leaker", "optout", "plain", "host")
# A Service, or a pod at its own address; the port that is asked for, and the container's.
SERVICES = (
    ("inside/web", 80, 8080), ("inside/web-headless", 8080, 8080), ("inside/api", 80, 8080),
    ("inside/partial", 80, 8080), ("inside/partial", 9090, 9090), ("strict/vault", 80, 8080),
    ("outside/plain", 80, 8080),
)  # fmt: skip
PODS = (("api", 8080), ("optout", 8080), ("host", 18080), ("vault", 8080), ("partial", 9090))
WIRE = {Transport.MTLS: "tls", Transport.PLAINTEXT: "plaintext", Transport.NONE: "nothing"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Settings]:
    """Two nodes, Flannel, kube-proxy with iptables, Istio with pods in it, out of it and partly in it."""
    for settings in running(Settings(name="testistio", nodes=2, mesh=Mesh.ISTIO, workloads=False)):
        with looked_into(settings):
            yield settings


@pytest.fixture(scope="module")
def record(lab: Settings, netinspect: Netinspect, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give a way to record the cluster as it is, from within its nodes too."""
    file = tmp_path_factory.mktemp("istio") / "lab.zip"

    def taken() -> Snapshot:
        result = netinspect("snapshot", "--force", file, "--kubeconfig", lab.kubeconfig, "--access", "exec")
        assert result.code in (0, 3), result.err
        return load(file, RESOURCES)

    return taken


def servers(lab: Settings, there: dict[str, Pod], service: str) -> list[Pod]:
    namespace, _, name = service.partition("/")
    app = get(lab, f"service/{name}", "-n", namespace)["spec"]["selector"]["app"]
    return [p for p in there.values() if p.namespace == namespace and p.name.startswith(app)]


class Asked:
    """A request between two pods of the lab: as a user asks for it, and what it met."""

    def __init__(self, client: Pod, to: str, port: int, met: Met) -> None:
        self.client, self.to, self.port, self.met = client, to, port, met

    def __str__(self) -> str:
        return f"{self.client.full_name} → {self.to}:{self.port}: {self.met}"

    def traced(self, tracer: Tracer) -> Trace:
        return tracer.trace(Question(self.client.full_name, self.to, port=self.port))

    @property
    def target(self) -> Target:
        kind, namespace, name = self.to.split("/")
        return Target(kind, namespace, name, self.port, "GET", "/")


def all_pairs(lab: Settings, folder: Path) -> Iterator[Asked]:
    """Ask every server from every client."""
    there = pods(lab, *NAMESPACES)
    assert set(CLIENTS) <= set(there)
    for client in (there[name] for name in CLIENTS):
        for service, port, own in SERVICES:
            behind = servers(lab, there, service)
            if client in behind:
                continue
            namespace, _, name = service.partition("/")
            address = get(lab, f"service/{name}", "-n", namespace)["spec"]["clusterIP"]
            met = ask(
                client, behind, f"http://{name}.{namespace}.svc.cluster.local:{port}/",
                addresses=frozenset({address, *(s.address for s in behind)}), ports=frozenset({port, own}),
                file=folder / "capture",
            )  # fmt: skip
            yield Asked(client, f"svc/{service}", port, met)
        for server, port in ((there[name], port) for name, port in PODS if name != client.name):
            met = ask(
                client, [server], f"http://{server.address}:{port}/", addresses=frozenset({server.address}),
                ports=frozenset({port}), file=folder / "capture",
            )  # fmt: skip
            yield Asked(client, f"pod/{server.full_name}", port, met)


@pytest.fixture(scope="module")
def asked(lab: Settings, tmp_path_factory: pytest.TempPathFactory) -> list[Asked]:
    return list(all_pairs(lab, tmp_path_factory.mktemp("wire")))


def contradicted(said: Reach, met: Met) -> bool:
    """Say whether a statement and an answer contradict each other."""
    if said is Reach.DENIED:
        return met.code != 403
    return (said is Reach.REACHED) != (met.code == 200)


def test_what_is_said_of_every_pair_is_what_was_measured(record: Any, asked: list[Asked]) -> None:
    snapshot = record()
    wrong = [
        (str(one), said.outcome, said.transport, said.says, said.servers)
        for one in asked
        for said in pair(snapshot, one.client.full_name, one.target).statements
        if contradicted(said.outcome, one.met) or WIRE.get(said.transport) != one.met.wire
    ]
    print(f"{len(asked)} pairs, {len(wrong)} wrong")
    assert wrong == []
    kinds = {(one.met.wire, one.met.code == 200) for one in asked}
    assert kinds >= {("tls", True), ("plaintext", True), ("plaintext", False)}


def test_the_hops_of_every_pair_are_those_that_had_the_request(record: Any, asked: list[Asked]) -> None:
    tracer = Tracer(record())
    wrong, unknown = [], []
    for one in asked:
        found = one.traced(tracer)
        if found.arrival is Arrival.UNKNOWN:
            unknown.append((str(one), found.sentence))
            continue
        assert found.level is Level.SIMULATED
        legs = {leg.name for way in found.ways for leg in way.legs}
        hops = ("outbound proxy's request" in legs, "inbound proxy's request" in legs)
        arrives = found.arrival is Arrival.ARRIVES
        if arrives != (one.met.code == 200) or hops != (one.met.taken, one.met.received):
            wrong.append((str(one), found.sentence, hops))
    print(f"{len(asked)} pairs, {len(wrong)} wrong, {len(unknown)} unknown")
    assert wrong == []
    assert unknown == []


def test_every_pod_is_told_rightly_from_outside_and_from_within(lab: Settings, netinspect: Netinspect) -> None:
    for access in ((), ("--access", "exec")):
        run = netinspect("mesh", "--kubeconfig", lab.kubeconfig, "-o", "json", *access)
        found = {p["pod"]: p for p in run.json["pods"]}
        for name in ("client", "leaker", "api", "partial", "vault"):
            assert (found[name]["verdict"], found[name]["mesh"]) == ("meshed", "istio"), name
            assert found[name]["placement"] == ("classic" if name == "api" else "native")
            assert found[name].get("proven", False) is bool(access)
        for name in ("optout", "plain", "host"):
            assert found[name]["verdict"] == "not-meshed", name
        (gateway,) = (p for name, p in found.items() if name.startswith("ingress"))
        assert gateway["part"] == "gateway"
        assert run.json.get("findings", []) == []


def test_the_gateway_leads_into_the_mesh(lab: Settings) -> None:
    there = pods(lab, *NAMESPACES)
    port = get(lab, "service/ingress", "-n", "inside")["spec"]["ports"][0]["nodePort"]
    said = there["host"].run("curl", "-sS", "-m", "8", f"http://{lab.node_addresses('n1')[0]}:{port}/")
    assert said.startswith("web-")


def test_a_healthy_mesh_has_no_findings(lab: Settings, netinspect: Netinspect) -> None:
    run = netinspect("check", "--kubeconfig", lab.kubeconfig, "--access", "exec", "-o", "json", "--fail-on", "warning")
    found = [(f["code"], f["object"], f["says"]) for f in run.json.get("findings", ()) if f["severity"] != "info"]
    assert found == []
    assert run.code == 0


def test_as_a_user_asks(lab: Settings, netinspect: Netinspect) -> None:
    said = netinspect("mesh", "inside/client", "svc/inside/web:80", "--kubeconfig", lab.kubeconfig)
    assert said.code == 0
    assert "√ reached, mtls" in said.out
    refused = netinspect("mesh", "outside/plain", "svc/strict/vault:80", "--kubeconfig", lab.kubeconfig)
    assert refused.code == 1
    assert "the server asks for mutual TLS" in refused.out
    traced = netinspect(
        "trace", "inside/client", "svc/inside/web:80", "--kubeconfig", lab.kubeconfig, "--access", "exec"
    )
    assert traced.code == 0, traced.out
    assert "OUTBOUND PROXY'S REQUEST" in traced.out
    assert "Istio's proxy takes it at port 15006" in traced.out
