"""Pods of which half have a sidecar: how long they are judged, beside how long they are decoded."""

from __future__ import annotations

import gc
import json
import time
from typing import Any

from netinspect.analysis.mesh import report
from netinspect.model.decode import decode_page
from netinspect.model.resources import MUTATING_WEBHOOKS, NAMESPACES, NOTED_PODS
from netinspect.model.snapshot import Snapshot

SIZES = (5_000, 10_000, 20_000)
NAMESPACE_COUNT = 200
_VARIABLES = [{"name": f"ISTIO_META_SETTING_{i}", "value": "x"} for i in range(20)]
_INIT = ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*"]


def _pod(number: int) -> dict[str, Any]:
    app = {
        "name": "app",
        "image": "example.com/shop/web:1.2",
        "env": [{"name": f"V{i}", "value": "x"} for i in range(8)],
    }
    meta = {
        "name": f"web-{number}", "namespace": f"ns-{number % NAMESPACE_COUNT}", "labels": {"app": "web"},
        "annotations": {}, "creationTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    if number % 2:
        return {"metadata": meta, "spec": {"containers": [app], "hostNetwork": True}}
    proxy = {
        "name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.30.0", "args": ["proxy", "sidecar", "--domain", "x"],
        "env": _VARIABLES, "restartPolicy": "Always",
    }  # fmt: skip
    meta["annotations"] = {"sidecar.istio.io/status": '{"containers":[]}', "istio.io/rev": "default"}
    meta["labels"] = {"app": "web", "security.istio.io/tlsMode": "istio"}
    init = {"name": "istio-init", "image": "docker.io/istio/proxyv2:1.30.0", "args": _INIT}
    return {"metadata": meta, "spec": {"containers": [app], "initContainers": [init, proxy]}}


def main() -> None:
    """Print the times and their ratio at three sizes."""
    selector = {"matchLabels": {"istio-injection": "enabled"}}
    hook = {"name": "namespace.sidecar-injector.istio.io", "namespaceSelector": selector,
            "rules": [{"operations": ["CREATE"], "resources": ["pods"]}]}  # fmt: skip
    hooks = _list([{"metadata": {"name": "istio"}, "webhooks": [hook]}])
    labels = {"istio-injection": "enabled"}
    around = _list([{"metadata": {"name": f"ns-{i}", "labels": labels}} for i in range(NAMESPACE_COUNT)])
    gc.disable()
    for size in SIZES:
        raw = _list([_pod(i) for i in range(size)])
        begun = time.perf_counter()
        pods: Any = tuple(decode_page(NOTED_PODS, raw).items or ())
        decoded = time.perf_counter()
        namespaces: Any = tuple(decode_page(NAMESPACES, around).items or ())
        webhooks: Any = tuple(decode_page(MUTATING_WEBHOOKS, hooks).items or ())
        snapshot = Snapshot(pods=pods, namespaces=namespaces, mutating_webhooks=webhooks)
        started = time.perf_counter()
        found = report(snapshot)
        judged = time.perf_counter() - started
        ratio = judged / (decoded - begun)
        print(f"{size} pods: decoded in {decoded - begun:.2f} s, judged in {judged:.2f} s, ratio {ratio:.1f}")
        assert len(found.pods) == size


def _list(items: list[Any]) -> bytes:
    return json.dumps({"items": items}).encode()
