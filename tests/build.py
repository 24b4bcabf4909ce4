"""Snapshots out of the JSON that an API server would send."""

from __future__ import annotations

import json
from typing import Any

from netinspect.model.decode import decode_page
from netinspect.model.resources import BY_NAME
from netinspect.model.snapshot import Gap, GapReason, Snapshot

Json = dict[str, Any]


def snapshot(*, gaps: tuple[str, ...] = (), **lists: list[Json]) -> Snapshot:
    """Decode the lists; kinds in ``gaps`` are forbidden."""
    found: Json = {
        name: tuple(decode_page(BY_NAME[name], json.dumps({"items": items}).encode()).items or ())
        for name, items in lists.items()
    }
    missing = tuple(Gap(resource=g, reason=GapReason.FORBIDDEN, message="no") for g in gaps)
    return Snapshot(taken_at="2026-01-01T00:00:00Z", server_version="v1.36.3", gaps=missing, **found)


def meta(name: str, namespace: str = "shop", **more: Any) -> Json:
    return {"name": name, **({"namespace": namespace} if namespace else {}), **more}


def node(name: str, *addresses: str, cidrs: tuple[str, ...] = (), ready: str = "True", **labels: str) -> Json:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": list(cidrs)} if cidrs else {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": a} for a in addresses],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def pod(name: str, *ips: str, on: str = "n1", phase: str = "Running", labels: Json | None = None,
        containers: list[Json] | None = None, ready: str = "True", **spec: Any) -> Json:  # fmt: skip
    return {
        "metadata": meta(name, labels=labels or {}),
        "spec": {"nodeName": on, "containers": containers or [{"name": "app"}], **spec},
        "status": {
            "phase": phase,
            "podIP": ips[0] if ips else "",
            "podIPs": [{"ip": ip} for ip in ips],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def service(name: str, *ips: str, selector: Json | None = None, ports: list[Json] | None = None, **spec: Any) -> Json:
    return {
        "metadata": meta(name),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ips[0] if ips else "",
            "clusterIPs": list(ips),
            "selector": selector or {},
            "ports": ports or [{"port": 80, "protocol": "TCP"}],
            **spec,
        },
    }


def endpoint_slice(of: str, *endpoints: Json, ports: list[Json] | None = None, kind: str = "IPv4") -> Json:
    return {
        "metadata": meta(f"{of}-{kind.lower()}", labels={"kubernetes.io/service-name": of}),
        "addressType": kind,
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}] if ports is None else ports,
        "endpoints": list(endpoints),
    }


def endpoint(address: str, pod_name: str = "", **conditions: bool) -> Json:
    target = {"targetRef": {"kind": "Pod", "name": pod_name, "namespace": "shop"}} if pod_name else {}
    return {"addresses": [address], "conditions": conditions, **target}
