"""Forms of Cilium that were not recorded, made from one that was: what is not modelled is never a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question
from netinspect.analysis.trace import Tracer
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Trace
from tests import recorded

STEP = "b-kpr/2-policy"
CLIENT, WEB, SERVICE = "shop/client-5hwbz", "10.64.1.100", "10.96.235.49"


def changed(change: Callable[[str, Any], Any], step: str = STEP, node: str = "") -> Snapshot:
    """Give the recording with the agent's answers changed, on all nodes or on one."""
    whole = recorded.cilium(step)
    kernels = []
    for kernel in whole.kernels:
        host, *pods = kernel.namespaces
        sections = dict(host.sections)
        for name in recorded.CILIUM_MAPS if node in ("", kernel.node) else ():
            made = change(name, json.loads(sections[name].text))
            sections[name] = recorded.section(name, json.dumps(made, indent=2))
        kernels.append(structs.replace(kernel, namespaces=(structs.replace(host, sections=sections), *pods)))
    return structs.replace(whole, kernels=tuple(kernels))


def asked(snapshot: Snapshot, source: str, destination: str, port: int) -> Trace:
    return Tracer(snapshot).trace(Question(source, destination, port=port))


def both_families(name: str, said: Any) -> Any:
    if name == "cilium:bpf-endpoint":
        said |= {f"[fd00::{n}]:0": v for n, v in enumerate(list(said.values()), 1) if "localhost" not in v[0]}
    return said


def no_protocols(name: str, said: Any) -> Any:
    if name == "cilium:bpf-lb":
        return {k.replace("/TCP", "").replace("/UDP", "") if "53" not in k else k: v for k, v in said.items()}
    return said


def lost_backend(name: str, said: Any) -> Any:
    if name == "cilium:bpf-lb":
        key = next(k for k in said if k.startswith(f"{SERVICE}:80/TCP (2)"))
        said[key] = ["backend 8 not found"]
    return said


@pytest.mark.parametrize("change", [both_families, no_protocols, lost_backend])
def test_what_changes_nothing_for_a_flow(change: Callable[[str, Any], Any]) -> None:
    found = changed(change)
    assert asked(found, CLIENT, WEB, 8080).arrival is Arrival.ARRIVES
    assert asked(found, CLIENT, SERVICE, 80).arrival is Arrival.ARRIVES
    assert asked(found, "node/k1", "10.96.0.1", 443).arrival is Arrival.LEAVES


def flagged(flag: str) -> Callable[[str, Any], Any]:
    def change(name: str, said: Any) -> Any:
        if name == "cilium:bpf-lb":
            return {k: [v[0].replace("[ClusterIP", f"[ClusterIP, {flag}")] for k, v in said.items()}
        return said

    return change


def skips_tunnel(name: str, said: Any) -> Any:
    if name == "cilium:bpf-ipcache":
        said[f"{WEB}/32"] = [said[f"{WEB}/32"][0].replace("hastunnel", "hastunnel,skiptunnel")]
    return said


def told(section: str, **settings: Any) -> Callable[[str, Any], Any]:
    return lambda name, said: {**said, **settings} if name == section else said


@pytest.mark.parametrize(
    ("change", "destination", "port"),
    [
        *((flagged(f), SERVICE, 80) for f in ("46x64", "l7-load-balancer", "check source-range", "LocalRedirect")),
        (skips_tunnel, WEB, 8080),
        (told("cilium:status", encryption={"mode": "Wireguard"}), WEB, 8080),
        (told("cilium:status", **{"datapath-mode": "netkit"}), WEB, 8080),
        (told("cilium:status", **{"host-firewall": {"mode": "BPF"}}), WEB, 8080),
        (told("cilium:config", EnableEndpointRoutes=True), WEB, 8080),
        (told("cilium:status", routing={"inter-host-routing-mode": "Native", "intra-host-routing-mode": "BPF"}),
         WEB, 8080),
    ],
)  # fmt: skip
def test_what_is_not_modelled_is_unknown(change: Callable[[str, Any], Any], destination: str, port: int) -> None:
    assert asked(changed(change), CLIENT, destination, port).arrival is Arrival.UNKNOWN


def test_a_node_whose_maps_are_dark_may_be_sent_elsewhere_at_connect() -> None:
    """Without the maps nobody knows that there is no Service: the flow does not just leave the cluster."""
    broken = changed(lambda name, said: ["?"] if name == "cilium:bpf-lb" else said, node="k1")
    assert asked(broken, "node/k1", SERVICE, 80).arrival is Arrival.UNKNOWN


def at_one_node(name: str, said: Any) -> Any:
    if name == "cilium:bpf-lb":
        said |= {
            "0.0.0.0:8081/TCP (0)": ["0.0.0.0:0 (20) (0) [HostPort, non-routable] "],
            "0.0.0.0:8081/TCP (1)": ["10.64.0.199:8080/TCP (20) (1)"],
        }
    return said


def test_a_host_port_is_its_own_nodes_alone() -> None:
    found = changed(at_one_node, node="k1")
    assert asked(found, CLIENT, "172.28.0.11", 8081).arrival is Arrival.ARRIVES
    assert asked(found, CLIENT, "172.28.0.12", 8081).arrival is not Arrival.ARRIVES


def test_a_node_reaches_its_node_ports_over_loopback() -> None:
    found = Tracer(recorded.cilium("b-kpr/1-no-policy")).trace(Question("node/k1", "127.0.0.1", port=31517))
    assert found.arrival is Arrival.ARRIVES


def local_traffic(name: str, said: Any) -> Any:
    if name != "cilium:bpf-lb":
        return said
    kept = {k: v for k, v in said.items() if not k.startswith("0.0.0.0:31517")}
    flags = "[NodePort, Local, two-scopes, non-routable] "
    return kept | {
        "0.0.0.0:31517/TCP (0)": [f"0.0.0.0:0 (8) (0) {flags}"],
        "0.0.0.0:31517/TCP/i (0)": [f"0.0.0.0:0 (8) (0) {flags}"],
        "0.0.0.0:31517/TCP/i (1)": ["10.64.0.199:8080/TCP (8) (1)"],
    }


def test_from_inside_a_node_port_of_external_traffic_policy_local_has_all_backends() -> None:
    assert asked(changed(local_traffic, node="k1"), CLIENT, "172.28.0.12", 31517).arrival is Arrival.ARRIVES


def another_world(name: str, said: Any) -> Any:
    """Give what is outside the identity that it has beside IPv6, and let a policy allow that."""
    if name == "cilium:bpf-ipcache":
        said["0.0.0.0/0"] = [said["0.0.0.0/0"][0].replace("identity=2 ", "identity=9 ")]
    if name == "cilium:bpf-policy":
        for one in said:
            key = {"Prefixlen": 40, "Identity": 9, "TrafficDirection": 0, "Nexthdr": 0, "DestPortNetwork": 0}
            one["Content"].append({"ProxyPortNetwork": 0, "Flags": 0, "Precedence": 4294967041, "Key": key})
    return said


def test_what_comes_from_outside_is_judged_as_the_world_of_its_family() -> None:
    assert asked(changed(another_world), "203.0.113.7", "node/k1", 31517).arrival is Arrival.ARRIVES
