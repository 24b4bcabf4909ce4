"""Traces through the sidecars of meshes that cannot run here: a recorded cluster whose pods have their rules instead.

The rules are those that kumahq/kuma pkg/transparentproxy/iptables/builder/builder_table_nat.go and openservicemesh/osm
pkg/injector/iptables.go write.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question
from netinspect.analysis.trace import trace
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Trace
from tests import build
from tests.analysis.test_proxied import CLIENT, FAR, WEB, changed
from tests.mesh import test_istio_pairs as istio

KUMA = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUMA_MESH_INBOUND - [0:0]
:KUMA_MESH_INBOUND_REDIRECT - [0:0]
:KUMA_MESH_OUTBOUND - [0:0]
:KUMA_MESH_OUTBOUND_REDIRECT - [0:0]
-A PREROUTING -p tcp -j KUMA_MESH_INBOUND
-A OUTPUT -p tcp -j KUMA_MESH_OUTBOUND
-A KUMA_MESH_INBOUND -p tcp -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_INBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A KUMA_MESH_OUTBOUND -s 127.0.0.6/32 -o lo -j RETURN
-A KUMA_MESH_OUTBOUND ! -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 5678 -j KUMA_MESH_INBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND -o lo -p tcp -m owner ! --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -m owner --uid-owner 5678 -j RETURN
-A KUMA_MESH_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A KUMA_MESH_OUTBOUND -j KUMA_MESH_OUTBOUND_REDIRECT
-A KUMA_MESH_OUTBOUND_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
"""
OSM = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:OSM_PROXY_INBOUND - [0:0]
:OSM_PROXY_IN_REDIRECT - [0:0]
:OSM_PROXY_OUTBOUND - [0:0]
:OSM_PROXY_OUT_REDIRECT - [0:0]
-A PREROUTING -p tcp -j OSM_PROXY_INBOUND
-A OUTPUT -p tcp -j OSM_PROXY_OUTBOUND
-A OSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15003
-A OSM_PROXY_INBOUND -p tcp -m tcp --dport 15010 -j RETURN
-A OSM_PROXY_INBOUND -p tcp -j OSM_PROXY_IN_REDIRECT
-A OSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A OSM_PROXY_OUTBOUND ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1500 -j OSM_PROXY_IN_REDIRECT
-A OSM_PROXY_OUTBOUND -o lo -m owner ! --uid-owner 1500 -j RETURN
-A OSM_PROXY_OUTBOUND -m owner --uid-owner 1500 -j RETURN
-A OSM_PROXY_OUTBOUND -d 127.0.0.1/32 -j RETURN
-A OSM_PROXY_OUTBOUND -j OSM_PROXY_OUT_REDIRECT
COMMIT
"""
MTLS = {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin", "mode": "STRICT"}]}
ALL: Any = {"kind": "Mesh"}
MESHES: dict[str, Any] = {
    "kuma": {
        "rules": KUMA, "inbound": "15006", "proxy": ("kuma-sidecar", "docker.io/kumahq/kuma-dp:2.11.0", 5678),
        "init": ("kuma-init", "docker.io/kumahq/kuma-init:2.11.0"), "notes": {"kuma.io/sidecar-injected": "true"},
        "objects": {
            "kuma_meshes": [{"metadata": {"name": "default"}, "spec": {"mtls": MTLS}}],
            "kuma_permissions": [{
                "metadata": {"name": "all", "namespace": "kuma-system", "labels": {"kuma.io/mesh": "default"}},
                "spec": {"targetRef": ALL, "from": [{"targetRef": ALL, "default": {"action": "Allow"}}]}}],
        },
    },
    "osm": {
        "rules": OSM, "inbound": "15003", "proxy": ("envoy", "envoyproxy/envoy:v1.22.2", 1500),
        "init": ("osm-init", "openservicemesh/init:v1.2.4"), "labels": {"osm-proxy-uuid": "7"},
        "objects": {"osm_configs": [{"metadata": {"name": "osm-mesh-config", "namespace": "osm-system"},
                                     "spec": {"traffic": {"enablePermissiveTrafficPolicyMode": True}}}]},
    },
}  # fmt: skip


def moved(mesh: str) -> Snapshot:
    """Give the recorded cluster with the pods of Istio's mesh in another."""
    made = MESHES[mesh]
    base = istio.snapshot("permissive")
    pods, mine = [], set()
    for pod in base.pods:
        names = [c.name for c in (*pod.spec.containers, *pod.spec.init_containers)]
        if "istio-proxy" not in names:
            pods.append(pod)
            continue
        mine.add((pod.metadata.namespace, pod.metadata.name))
        name, image, user = made["proxy"]
        proxy = wire.NotedContainer(
            name=name, image=image, security_context=wire.SecurityContext(run_as_user=user),
        )  # fmt: skip
        kept = tuple(c for c in pod.spec.containers if c.name != "istio-proxy")
        init = wire.NotedContainer(name=made["init"][0], image=made["init"][1])
        spec = structs.replace(pod.spec, containers=(*kept, proxy), init_containers=(init,))
        metadata = structs.replace(
            pod.metadata, annotations=made.get("notes", {}),
            labels={"app": pod.metadata.labels["app"], **made.get("labels", {})},
        )  # fmt: skip
        pods.append(structs.replace(pod, spec=spec, metadata=metadata))
    kernels = []
    for kernel in base.kernels:
        spaces = []
        for space in kernel.namespaces:
            texts = dict(space.sections)
            if any((ref.namespace, ref.name) in mine for ref in space.pods):
                sockets = texts["sockets"].text.replace(":15006", f":{made['inbound']}")
                texts["sockets"] = structs.replace(texts["sockets"], text=sockets)
                texts["iptables-nft"] = structs.replace(texts["iptables-nft"], text=made["rules"])
            spaces.append(structs.replace(space, sections=texts))
        kernels.append(structs.replace(kernel, namespaces=tuple(spaces)))
    objects = {name: getattr(build.snapshot(**made["objects"]), name) for name in made["objects"]}
    return structs.replace(base, pods=tuple(pods), kernels=tuple(kernels), **objects)


def asked(snapshot: Snapshot, to: str) -> Trace:
    return trace(snapshot, Question(CLIENT, to))


def legs(found: Trace) -> list[str]:
    return [leg.name for leg in found.ways[0].legs]


@pytest.mark.parametrize("mesh", MESHES)
def test_a_request_goes_from_proxy_to_proxy_to_the_application(mesh: str) -> None:
    found = asked(moved(mesh), "svc/shop/web:80")
    assert found.arrival is Arrival.ARRIVES, found.sentence
    assert {"outbound proxy's request", "inbound proxy's request"} <= set(legs(found))
    for port in ("15001", MESHES[mesh]["inbound"]):
        assert f"proxy takes it at port {port}, where it listens" in str(found.ways[0])


def test_kumas_proxy_calls_its_pods_own_address_and_osms_localhost() -> None:
    for mesh in MESHES:
        snapshot = moved(mesh)
        found = asked(snapshot, "svc/shop/web:80")
        opened = [h for leg in found.ways[0].legs for h in leg.hops if "opens a connection to" in h.text]
        own = {f"pod/{p.metadata.namespace}/{p.metadata.name}": p.status.pod_ip for p in snapshot.pods}
        address = own[opened[1].place] if mesh == "kuma" else "127.0.0.1"
        assert [h.text.rpartition(" ")[2] for h in opened] == [f"{own[opened[1].place]}:8080", f"{address}:8080"]


def noted(snapshot: Snapshot, name: str, **notes: str) -> Snapshot:
    """Give the cluster with more annotations of a pod."""
    pods = []
    for pod in snapshot.pods:
        made = pod
        if f"{pod.metadata.namespace}/{pod.metadata.name}" == name:
            assert isinstance(pod.metadata, wire.NotedMetadata)
            metadata = structs.replace(pod.metadata, annotations={**pod.metadata.annotations, **notes})
            made = structs.replace(pod, metadata=metadata)
        pods.append(made)
    return structs.replace(snapshot, pods=tuple(pods))


def test_which_servers_a_kuma_proxy_knows_may_be_narrowed() -> None:
    key = "kuma.io/transparent-proxying-reachable-services"
    narrowed = noted(moved("kuma"), CLIENT, **{key: "other_shop_svc_80"})
    assert asked(narrowed, "svc/shop/web:80").arrival is Arrival.UNKNOWN
    # Of the server's own it says nothing.
    own = noted(noted(moved("kuma"), WEB, **{key: "x"}), FAR, **{key: "x"})
    assert asked(own, "svc/shop/web:80").arrival is Arrival.ARRIVES


def test_what_programs_of_ebpf_turn_is_not_said_to_bypass_the_mesh() -> None:
    programmed = noted(moved("kuma"), CLIENT, **{"kuma.io/transparent-proxying-ebpf": "enabled"})
    found = asked(changed(programmed, CLIENT, iptables_nft=lambda text: text.replace("-A OUTPUT", "-A INPUT")),
                  f"pod/{WEB}:8080")  # fmt: skip
    assert found.arrival is Arrival.UNKNOWN
    assert "programs of eBPF" in found.sentence


@pytest.mark.parametrize(("mesh", "arrival"), [("kuma", Arrival.REFUSED), ("osm", Arrival.FAILS)])
def test_a_pods_own_address_is_no_services(mesh: str, arrival: Arrival) -> None:
    """Kuma's proxy passes it on as it is to one that asks for TLS; Open Service Mesh's lets nothing such out."""
    assert asked(moved(mesh), f"pod/{WEB}:8080").arrival is arrival
    assert asked(moved(mesh), f"pod/{FAR}:8080").arrival is arrival
