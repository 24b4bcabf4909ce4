"""Pods that stand as an injector leaves them, on a real cluster: real rules and sockets say which of them work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.test_cni import looked_into
from tests.conftest import Netinspect
from tests.lab.cluster import kubectl
from tests.lab.images import BUSYBOX, NETSHOOT
from tests.lab.settings import Settings

Json = dict[str, Any]
REDIRECT = (
    "iptables -t nat -N ISTIO_REDIRECT; iptables -t nat -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001; "
    "iptables -t nat -N ISTIO_OUTPUT; iptables -t nat -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN; "
    "iptables -t nat -A ISTIO_OUTPUT -j ISTIO_REDIRECT; iptables -t nat -A OUTPUT -p tcp -j ISTIO_OUTPUT"
)
# By names: what the start does to the pod's rules, and the port at which the proxy waits; None where it has none.
PODS = {
    "good": (REDIRECT, 15001),
    "flushed": (f"{REDIRECT}; iptables -t nat -F OUTPUT", 15001),
    "silent": (REDIRECT, 15099),
    "late": (None, None),
}


def manifest(name: str, rules: str | None, port: int | None) -> Json:
    app = {"name": "app", "image": BUSYBOX, "command": ["/bin/sh", "-c", "exec httpd -f -p 8080"]}
    spec: Json = {"terminationGracePeriodSeconds": 0, "containers": [app]}
    meta: Json = {"name": name, "namespace": "meshed"}
    if rules is not None:
        meta["annotations"] = {"sidecar.istio.io/status": "{}"}
        spec["initContainers"] = [{
            "name": "istio-init", "image": NETSHOOT, "command": ["/bin/sh", "-ec", rules],
            "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
        }]  # fmt: skip
        spec["containers"].append({
            "name": "istio-proxy", "image": BUSYBOX, "command": ["/bin/sh", "-c", f"exec httpd -f -p {port}"],
            "env": [{"name": "ISTIO_META_MESH_ID", "value": "cluster.local"}],
        })  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@pytest.fixture(scope="module")
def meshed(dual_lab: Settings) -> Iterator[Settings]:
    """Four pods in a namespace that asks for injection, which nobody does."""
    around = {"apiVersion": "v1", "kind": "Namespace",
              "metadata": {"name": "meshed", "labels": {"istio-injection": "enabled"}}}  # fmt: skip
    objects = [around, *(manifest(name, *how) for name, how in PODS.items())]
    try:
        kubectl(dual_lab, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        kubectl(dual_lab, "-n", "meshed", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
        yield dual_lab
    finally:
        kubectl(dual_lab, "delete", "namespace", "meshed", "--ignore-not-found", "--timeout=120s")


def judged(lab: Settings, netinspect: Netinspect, *more: str) -> dict[str, Json]:
    found = netinspect("mesh", "-n", "meshed", "--kubeconfig", lab.kubeconfig, "-o", "json", *more).json
    return {p["pod"]: p for p in found["pods"]}


def test_a_cluster_without_a_mesh(ipv4_lab: Settings, netinspect: Netinspect) -> None:
    result = netinspect("mesh", "--kubeconfig", ipv4_lab.kubeconfig)
    assert (result.code, result.out) == (0, "no mesh\n")


def test_what_the_api_tells(meshed: Settings, netinspect: Netinspect) -> None:
    found = judged(meshed, netinspect)
    assert {name: p["verdict"] for name, p in found.items()} == {
        "good": "meshed", "flushed": "meshed", "silent": "meshed", "late": "missing",
    }  # fmt: skip
    assert not any(p.get("proven") for p in found.values())
    assert "there is no default revision" in found["late"]["cause"]


def test_what_the_pods_own_namespaces_tell(meshed: Settings, netinspect: Netinspect) -> None:
    with looked_into(meshed):
        found = judged(meshed, netinspect, "--access", "exec")
    assert {name: p["verdict"] for name, p in found.items()} == {
        "good": "meshed", "flushed": "broken", "silent": "broken", "late": "missing",
    }  # fmt: skip
    assert found["good"]["proven"]
    assert "passes the proxy by" in found["flushed"]["says"]
    assert "15001" in found["silent"]["says"]


def test_one_pod_with_its_evidence(meshed: Settings, netinspect: Netinspect) -> None:
    result = netinspect("mesh", "meshed/good", "--kubeconfig", meshed.kubeconfig)
    assert result.code == 0
    assert "pod/meshed/good: meshed (istio)" in result.out
    assert "annotation sidecar.istio.io/status" in result.out
    nobody = netinspect("mesh", "meshed/nobody", "--kubeconfig", meshed.kubeconfig)
    assert nobody.code == 2
    assert "there is no pod meshed/nobody" in nobody.err


def test_a_pair(meshed: Settings, netinspect: Netinspect) -> None:
    both = netinspect("mesh", "meshed/good", "meshed/flushed:8080", "--kubeconfig", meshed.kubeconfig, "-o", "json")
    assert [s["transport"] for s in both.json["statements"]] == ["plaintext"]
    assert both.json["statements"][0]["outcome"] == "reached"
    wrong = netinspect("mesh", "meshed/good", "svc/shop/web:81", "--kubeconfig", meshed.kubeconfig)
    assert wrong.code == 2
    assert "no TCP port 81" in wrong.err
