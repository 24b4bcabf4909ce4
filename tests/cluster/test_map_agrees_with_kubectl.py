"""The map and `kubectl get -o json`, compared field by field by code that shares nothing with the program."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.conftest import Netinspect
from tests.lab.cluster import get, kubectl
from tests.lab.settings import IpFamily, Settings

KINDS = ("nodes", "pods", "services", "endpointslices", "servicecidrs", "ingresses", "gateways")
State = dict[str, list[Any]]
T = TypeVar("T")


def state(lab: Settings) -> State:
    return {kind: get(lab, kind, "--all-namespaces")["items"] for kind in KINDS}


def at_rest(lab: Settings, read: Callable[[], T]) -> tuple[State, T]:
    """Read the cluster some other way, at a moment when nothing changes."""
    for _ in range(30):
        before = state(lab)
        result = read()
        if state(lab) == before:
            return before, result
        time.sleep(1)
    raise AssertionError("the cluster does not come to rest")


def mapped(lab: Settings, netinspect: Netinspect) -> Any:
    result = netinspect("map", "-A", "-o", "json", "--kubeconfig", lab.kubeconfig)
    assert result.code == 0, result.err
    return result.json


def name(o: Any) -> tuple[str, str]:
    return o["metadata"].get("namespace", ""), o["metadata"]["name"]


def compare(seen: Any, expected: dict[Any, Any], key: Callable[[Any], Any]) -> None:
    """Compare the expected fields of each entry; an entry too many or too few fails too."""
    found = {key(entry): entry for entry in seen}
    assert found.keys() == expected.keys()
    for identity, fields in expected.items():
        got = {field: found[identity].get(field, type(value)()) for field, value in fields.items()}
        assert got == fields, identity


def condition(o: Any, kind: str) -> str:
    return next((c["status"] for c in o["status"].get("conditions", []) if c["type"] == kind), "Unknown")


def owned(entry: Any) -> tuple[str, str]:
    return entry["namespace"], entry["name"]


def check_host(kubectl_state: State, seen: Any) -> None:
    prefix = "node-role.kubernetes.io/"
    expected = {
        n["metadata"]["name"]: {
            "ready": condition(n, "Ready"),
            "addresses": n["status"]["addresses"],
            "roles": sorted(k.replace(prefix, "") for k in n["metadata"]["labels"] if k.startswith(prefix)),
            "zone": n["metadata"]["labels"]["topology.kubernetes.io/zone"],
            "podCIDRs": n["spec"]["podCIDRs"],
            "kubeletVersion": n["status"]["nodeInfo"]["kubeletVersion"],
        }
        for n in kubectl_state["nodes"]
    }
    compare(seen["nodes"], expected, lambda n: n["name"])
    ports = {
        (n["name"], p["namespace"], p["name"], port["container"], port["port"], port["protocol"], port["via"])
        for n in seen["nodes"] for p in n["pods"] for port in p.get("ports", [])
    }  # fmt: skip
    assert ports == {
        (p["spec"]["nodeName"], *name(p), c["name"], port["hostPort"], port["protocol"],
         "hostNetwork" if p["spec"].get("hostNetwork") else "hostPort")
        for p in kubectl_state["pods"] for c in p["spec"]["containers"] for port in c.get("ports", [])
        if "hostPort" in port and "nodeName" in p["spec"]
    }  # fmt: skip
    listed = {(n["name"], *owned(p)) for n in seen["nodes"] for p in n["pods"] if p["hostNetwork"]}
    assert listed == {(p["spec"]["nodeName"], *name(p)) for p in kubectl_state["pods"] if p["spec"].get("hostNetwork")}


def check_cluster(kubectl_state: State, seen: Any) -> None:
    pods = [p for p in kubectl_state["pods"] if not p["spec"].get("hostNetwork")]
    finished = ("Succeeded", "Failed")
    expected = {
        name(p): {
            "node": p["spec"].get("nodeName", ""),
            "phase": p["status"]["phase"],
            "ready": condition(p, "Ready"),
            "terminating": "deletionTimestamp" in p["metadata"],
            "addresses": [
                {"address": a["ip"], **({"released": True} if p["status"]["phase"] in finished else {})}
                for a in p["status"].get("podIPs", [])
            ],
        }
        for p in pods
    }
    compare(seen["pods"], expected, owned)
    held = [ipaddress.ip_address(a["ip"]) for p in pods if p["status"]["phase"] not in finished
            for a in p["status"].get("podIPs", [])]  # fmt: skip
    expected_ranges = {
        (n["metadata"]["name"], cidr): sum(a in ipaddress.ip_network(cidr) for a in held)
        for n in kubectl_state["nodes"] for cidr in n["spec"]["podCIDRs"]
    }  # fmt: skip
    assert {(n["node"], n["cidr"]): n["used"] for n in seen["nodes"]} == expected_ranges


def endpoints(kubectl_state: State, service: Any, port: Any) -> set[tuple[Any, ...]]:
    found = set()
    for piece in kubectl_state["endpointslices"]:
        namespace, _ = name(piece)
        if (namespace, piece["metadata"].get("labels", {}).get("kubernetes.io/service-name")) != name(service):
            continue
        for slice_port in piece["ports"] or []:
            if (slice_port.get("name", ""), slice_port["protocol"]) == (port.get("name", ""), port["protocol"]):
                for e in piece["endpoints"] or []:
                    conditions = e["conditions"]
                    ready = conditions.get("ready", True)
                    pod = e.get("targetRef", {}).get("kind") == "Pod"
                    found |= {
                        (address, slice_port["port"], ready, conditions.get("serving", ready),
                         conditions.get("terminating", False), e.get("nodeName", ""), e.get("zone", ""),
                         f"{namespace}/{e['targetRef']['name']}" if pod else "")
                        for address in e["addresses"]
                    }  # fmt: skip
    return found


def check_service(kubectl_state: State, seen: Any) -> None:
    expected = {}
    for s in kubectl_state["services"]:
        spec = s["spec"]
        ips = spec.get("clusterIPs", [])
        expected[name(s)] = {
            "type": spec["type"],
            "headless": ips == ["None"],
            "clusterIPs": [ip for ip in ips if ip != "None"],
            "externalIPs": spec.get("externalIPs", []),
            "externalName": spec.get("externalName", ""),
            "selector": spec.get("selector", {}),
            "ipFamilies": spec.get("ipFamilies", []),
            "internalTrafficPolicy": spec.get("internalTrafficPolicy", ""),
            "externalTrafficPolicy": spec.get("externalTrafficPolicy", ""),
            "healthCheckNodePort": spec.get("healthCheckNodePort", 0),
            "loadBalancerSourceRanges": spec.get("loadBalancerSourceRanges", []),
            "publishNotReadyAddresses": spec.get("publishNotReadyAddresses", False),
            "sessionAffinitySeconds": spec.get("sessionAffinityConfig", {})
            .get("clientIP", {})
            .get("timeoutSeconds", 0),
            "loadBalancers": [
                {"address": i["ip"], "ipMode": i["ipMode"]}
                for i in s["status"].get("loadBalancer", {}).get("ingress", [])
            ],
        }
    compare(seen["services"], expected, owned)
    by_name = {owned(s): s for s in seen["services"]}
    for s in kubectl_state["services"]:
        ports = by_name[name(s)].get("ports", [])
        assert [
            (p["port"], p["protocol"], p["targetPort"], p.get("name", ""), p.get("nodePort", 0)) for p in ports
        ] == [
            (p["port"], p["protocol"], p["targetPort"], p.get("name", ""), p.get("nodePort", 0))
            for p in s["spec"].get("ports", [])
        ]
        for shown, port in zip(ports, s["spec"].get("ports", []), strict=True):
            assert {
                (e["address"], e["port"], e["ready"], e["serving"], e["terminating"], e.get("node", ""),
                 e.get("zone", ""), e.get("pod", ""))
                for e in shown.get("endpoints", [])
            } == endpoints(kubectl_state, s, port), name(s)  # fmt: skip
    cidrs = [c for o in kubectl_state["servicecidrs"] for c in o["spec"]["cidrs"]]
    taken = [ipaddress.ip_address(ip) for e in expected.values() for ip in e["clusterIPs"]]
    assert {r["cidr"]: r["used"] for r in seen["ranges"]} == {
        c: sum(a in ipaddress.ip_network(c) for a in taken) for c in cidrs
    }
    fronts = {("Ingress", name(i)): i["status"]["loadBalancer"]["ingress"] for i in kubectl_state["ingresses"]}
    fronts |= {("Gateway", name(g)): g["status"]["addresses"] for g in kubectl_state["gateways"]}
    assert {(e["kind"], owned(e)): e["addresses"] for e in seen["entryPoints"]} == {
        front: [a.get("ip") or a.get("hostname") or a.get("value") for a in addresses]
        for front, addresses in fronts.items()
    }


def check_container(kubectl_state: State, seen: Any) -> None:
    def ports(container: Any) -> list[Any]:
        return [
            {k: v for k, v in (("port", p["containerPort"]), ("protocol", p["protocol"]), ("name", p.get("name")),
                               ("hostPort", p.get("hostPort"))) if v is not None}
            for p in container.get("ports", [])
        ]  # fmt: skip

    expected = {}
    for p in kubectl_state["pods"]:
        containers = [
            (c["name"], "sidecar" if c.get("restartPolicy") == "Always" else "init", ports(c))
            for c in p["spec"].get("initContainers", [])
        ]
        containers += [(c["name"], "container", ports(c)) for c in p["spec"]["containers"]]
        expected[name(p)] = {"node": p["spec"].get("nodeName", ""), "containers": containers}
    shown = [
        {**p, "containers": [(c["name"], c["role"], c.get("ports", [])) for c in p["containers"]]} for p in seen["pods"]
    ]
    compare(shown, expected, owned)
    states = {(owned(p), c["name"]): c["state"] for p in seen["pods"] for c in p["containers"]}
    for p in kubectl_state["pods"]:
        for status in (*p["status"].get("containerStatuses", []), *p["status"].get("initContainerStatuses", [])):
            (state, detail), *_ = status["state"].items()
            word = detail.get("reason", "") or {"running": "ready" if status["ready"] else "running"}.get(state, state)
            assert states[name(p), status["name"]] == word


def check(lab: Settings, netinspect: Netinspect) -> Any:
    kubectl_state, seen = at_rest(lab, lambda: mapped(lab, netinspect))
    check_host(kubectl_state, seen["host"])
    check_cluster(kubectl_state, seen["cluster"])
    check_service(kubectl_state, seen["service"])
    check_container(kubectl_state, seen["container"])
    assert (seen["overlaps"], seen["gaps"]) == ([], [])
    return seen


def test_the_map_says_what_kubectl_says(lab: Settings, netinspect: Netinspect) -> None:
    seen = check(lab, netinspect)
    families = 2 if lab.ip_family is IpFamily.DUAL else 1
    assert len(seen["cluster"]["ranges"]) == len(seen["service"]["ranges"]) == families
    assert {len(p["addresses"]) for p in seen["cluster"]["pods"] if p["name"].startswith("web-")} == {families}


def test_the_workloads_show_what_is_wrong_with_them(lab: Settings, netinspect: Netinspect) -> None:
    seen = check(lab, netinspect)
    wrong = {(s["name"], m["kind"]) for s in seen["service"]["services"] for m in s.get("mismatches", ())}
    assert wrong == {
        ("crashing", "no-ready-endpoint"),
        ("leaving", "no-ready-endpoint"),
        ("legacy", "stale-endpoint"),
        ("nobody", "selector-matches-nothing"),
        ("unready", "no-ready-endpoint"),
        ("web-misnamed", "port-name-unknown"),
    }
    (leaving,) = [s for s in seen["service"]["services"] if s["name"] == "leaving"]
    (serving,) = leaving["ports"][0]["endpoints"]
    assert (serving["ready"], serving["serving"], serving["terminating"]) == (False, True, True)
    clashes = [p["clashes"] for p in seen["container"]["pods"] if p.get("clashes")]
    assert clashes == [[{"port": 8080, "protocol": "TCP", "containers": ["first", "second"]}]]
    states = {p["name"].split("-")[0]: p["phase"] for p in seen["cluster"]["pods"]}
    assert (states["migrate"], states["homeless"], states["leaving"]) == ("Succeeded", "Pending", "Running")


def test_the_map_follows_pods_that_are_deleted_moved_and_made_again(lab: Settings, netinspect: Netinspect) -> None:
    namespace = ("-n", "shop")
    before = {
        p["metadata"]["name"]: p["spec"]["nodeName"] for p in get(lab, *namespace, "pods", "-l", "app=db")["items"]
    }
    victim, *_ = sorted(
        get(lab, *namespace, "pods", "-l", "app=web")["items"], key=lambda p: str(p["spec"]["nodeName"])
    )
    kubectl(lab, *namespace, "delete", "pod", victim["metadata"]["name"], "--grace-period=1")
    # Cordoned away from where it was, the StatefulSet's first pod must come up elsewhere under the same name.
    home = before["db-0"]
    kubectl(lab, "taint", "node", lab.control_plane, "node-role.kubernetes.io/control-plane:NoSchedule-")
    kubectl(lab, "cordon", home)
    try:
        kubectl(lab, *namespace, "delete", "pod", "db-0", "--grace-period=1")
        kubectl(lab, *namespace, "rollout", "status", "statefulset/db", "--timeout=120s")
        kubectl(lab, *namespace, "rollout", "status", "deployment/web", "--timeout=120s")
        seen = check(lab, netinspect)
    finally:
        kubectl(lab, "uncordon", home)
        kubectl(lab, "taint", "node", lab.control_plane, "node-role.kubernetes.io/control-plane=:NoSchedule")
    after = {p["name"]: p["node"] for p in seen["cluster"]["pods"]}
    assert after["db-0"] not in ("", home)
    assert victim["metadata"]["name"] not in after
    kubectl(lab, *namespace, "delete", "pod", "db-0", "--grace-period=1")
    kubectl(lab, *namespace, "rollout", "status", "statefulset/db", "--timeout=120s")
    check(lab, netinspect)


def test_recorded_and_live_give_the_same_document(lab: Settings, netinspect: Netinspect, tmp_path: Path) -> None:
    path = tmp_path / "lab.zip"

    def both_ways() -> tuple[list[str], list[str]]:
        assert netinspect("snapshot", "--force", path, "--kubeconfig", lab.kubeconfig).code == 0
        found: tuple[list[str], list[str]] = ([], [])
        for output in ("json", "wide"):
            for texts, source in zip(found, (("--kubeconfig", lab.kubeconfig), ("--from", path)), strict=True):
                texts.append(without_time(netinspect("map", "-A", "-o", output, *source).out))
        return found

    _, (live, offline) = at_rest(lab, both_ways)
    assert all(live)
    assert offline == live


def without_time(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "takenAt" not in line)


def test_a_redacted_recording_has_the_same_structure(lab: Settings, netinspect: Netinspect, tmp_path: Path) -> None:
    path = tmp_path / "redacted.zip"

    def both_ways() -> tuple[Any, Any]:
        assert netinspect("snapshot", "--redact", "--force", path, "--kubeconfig", lab.kubeconfig).code == 0
        return mapped(lab, netinspect), netinspect("map", "-A", "-o", "json", "--from", path)

    _, (seen, redacted) = at_rest(lab, both_ways)
    assert redacted.code == 0
    for secret in ("web-misnamed", "node-exporter", "platform", "shop.example", "n1"):
        assert f'"{secret}' not in redacted.out, secret
    # A private network becomes another one, by chance with the same beginning.
    hidden = set(re.findall(r'"((?:10|172)\.\d+\.\d+\.\d+)"', json.dumps(seen)))
    assert hidden
    assert {address for address in hidden if f'"{address}"' in redacted.out} == set()
    assert shape(redacted.json) == shape(seen)


def shape(document: Any) -> Any:
    """Give what redaction must keep: how many of what, used how much, wrong in which way."""
    services = document["service"]["services"]
    return (
        sorted((n["used"], n["cidr"].split("/")[1]) for n in document["cluster"]["nodes"]),
        sorted((p["phase"], p["ready"], len(p.get("addresses", []))) for p in document["cluster"]["pods"]),
        sorted((s["type"], json.dumps([m["kind"] for m in s.get("mismatches", [])]),
                [len(p.get("endpoints", [])) for p in s.get("ports", [])]) for s in services),
        [r["used"] for r in document["service"]["ranges"]],
    )  # fmt: skip
