"""A real API server on loopback that holds a large cluster made of objects alone: no kubelets, no controllers."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.lab import binaries

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

_CONNECTIONS = 24
_PODS_PER_SERVICE = 15


@dataclass(frozen=True)
class Server:
    """Where the server answers."""

    url: str
    kubeconfig: Path


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """Run etcd and kube-apiserver until the block ends; everything is allowed to everyone on loopback."""
    programs = binaries.build(print)
    folder = Path(tempfile.mkdtemp(prefix="netinspect-benchmark-"))
    client, peer, secure = (_free_port() for _ in range(3))
    etcd = f"http://127.0.0.1:{client}"
    peers = f"http://127.0.0.1:{peer}"
    key = folder / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    tokens = folder / "tokens.csv"
    tokens.write_text("benchmark,admin,1,system:masters\n")
    commands: list[list[str | Path]] = [
        [programs["etcd"], f"--data-dir={folder}/etcd", f"--listen-client-urls={etcd}",
         f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
         f"--initial-cluster=default={peers}", "--unsafe-no-fsync", "--quota-backend-bytes=8000000000"],
        [programs["kube-apiserver"], f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--secure-port={secure}",
         f"--cert-dir={folder}/certs", "--authorization-mode=AlwaysAllow", f"--token-auth-file={tokens}",
         "--disable-admission-plugins=ServiceAccount,DefaultStorageClass,StorageObjectInUseProtection",
         "--service-cluster-ip-range=10.96.0.0/12", "--service-account-issuer=https://kubernetes.default.svc",
         f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
         "--max-requests-inflight=2000", "--max-mutating-requests-inflight=2000"],
    ]  # fmt: skip
    kubeconfig = folder / "kubeconfig"
    url = f"https://127.0.0.1:{secure}"
    kubeconfig.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "b",
        "clusters": [{"name": "b", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "b", "user": {"token": "benchmark"}}],
        "contexts": [{"name": "b", "context": {"cluster": "b", "user": "b"}}],
    }))  # fmt: skip
    running = []
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
                running.append(subprocess.Popen([str(word) for word in command], stdout=log, stderr=log))
        _await(url, running)
        yield Server(url, kubeconfig)
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def populate(url: str, nodes: int, pods: int) -> None:
    """Create the nodes and pods, and a Service with an EndpointSlice for every fifteen pods."""
    post = _Poster(url)
    post.all([("/api/v1/nodes", _node(i)) for i in range(nodes)], status=True)
    post.all([("/api/v1/namespaces", {"metadata": {"name": f"team-{i}"}}) for i in range(100)])
    services = pods // _PODS_PER_SERVICE
    post.all([(f"/api/v1/namespaces/team-{i % 100}/services", _service(i)) for i in range(services)])
    slices = "/apis/discovery.k8s.io/v1/namespaces/team-{}/endpointslices"
    post.all([(slices.format(i % 100), _slice(i, nodes)) for i in range(services)])
    created = [(f"/api/v1/namespaces/team-{i // _PODS_PER_SERVICE % 100}/pods", _pod(i, nodes)) for i in range(pods)]
    post.all(created, status=True)


class _Poster:
    """Creates objects over many connections, and sets their status where they have one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS,
            cert_reqs="CERT_NONE",
            headers={"Content-Type": "application/json", "Authorization": "Bearer benchmark"},
        )

    def all(self, objects: list[tuple[str, dict[str, Any]]], *, status: bool = False) -> None:
        todo: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        for item in objects:
            todo.put(item)
        failures: list[str] = []

        def work() -> None:
            while not failures:
                try:
                    path, body = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    self._send("POST", path, body)
                    if status:
                        name = f"{path}/{body['metadata']['name']}/status"
                        self._send("PUT", name, body)
                except (RuntimeError, urllib3.exceptions.HTTPError) as error:
                    failures.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(failures[0])

    def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        response = self._pool.request(method, self._url + path, body=json.dumps(body))
        if response.status >= 300 and response.status != 409:
            raise RuntimeError(f"{method} {path}: {response.status} {response.data[:500]!r}")


def _node(i: int) -> dict[str, Any]:
    cidr = f"10.{128 + (i >> 8)}.{i & 255}.0/24"
    return {
        "metadata": {"name": f"node-{i}", "labels": {"topology.kubernetes.io/zone": f"zone-{i % 3}"}},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"172.20.{i >> 8}.{i & 255}"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }


def _pod(i: int, nodes: int) -> dict[str, Any]:
    service, node = i // _PODS_PER_SERVICE, i % nodes
    name, ip = f"app-{service}-{i:06}", f"10.{128 + (node >> 8)}.{node & 255}.{2 + i // nodes}"
    started = {"startedAt": "2026-01-01T00:00:00Z"}
    return {
        "metadata": {"name": name, "labels": {"app": f"app-{service}", "pod-template-hash": "6867898db6"}},
        "spec": {
            "nodeName": f"node-{node}",
            "containers": [
                {
                    "name": c, "image": f"registry.example/{c}:1.0.0",
                    "ports": [{"name": c, "containerPort": port}],
                    "env": [{"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(5)],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                }
                for c, port in (("http", 8080), ("metrics", 9100))
            ],
        },
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": f"172.20.{node >> 8}.{node & 255}",
            "conditions": [
                {"type": t, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for t in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "containerStatuses": [
                {"name": c, "ready": True, "restartCount": 0, "image": f"registry.example/{c}:1.0.0",
                 "imageID": f"sha256:{i:064x}", "containerID": f"containerd://{i:064x}", "started": True,
                 "state": {"running": started}}
                for c in ("http", "metrics")
            ],
        },
    }  # fmt: skip


def _service(i: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"app-{i}"},
        "spec": {"selector": {"app": f"app-{i}"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def _slice(i: int, nodes: int) -> dict[str, Any]:
    first = i * _PODS_PER_SERVICE
    return {
        "metadata": {"name": f"app-{i}-x", "labels": {"kubernetes.io/service-name": f"app-{i}"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [_pod(p, nodes)["status"]["podIP"]],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{p % nodes}",
                "targetRef": {"kind": "Pod", "name": f"app-{i}-{p:06}", "namespace": f"team-{i % 100}"},
            }
            for p in range(first, first + _PODS_PER_SERVICE)
        ],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _await(url: str, running: list[subprocess.Popen[bytes]]) -> None:
    pool = urllib3.PoolManager(cert_reqs="CERT_NONE", retries=False, headers={"Authorization": "Bearer benchmark"})
    for _ in range(600):
        if any(p.poll() is not None for p in running):
            raise RuntimeError("etcd or kube-apiserver ended")
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if pool.request("GET", f"{url}/readyz").status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError("the API server does not get ready")


if __name__ == "__main__":
    populate(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
