"""Which mesh a pod's spec tells: what upstream's injectors write is known, and what only looks like it is not."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from netinspect.analysis.mesh import report
from netinspect.mesh import DRIVERS
from netinspect.mesh.glance import sidecar
from netinspect.model.mesh import PodMesh, Verdict
from tests import build, corpora

Json = dict[str, Any]
NET_ADMIN: Json = {"capabilities": {"add": ["NET_ADMIN"]}}
APP: Json = {"name": "app", "image": "example.com/shop/web:1.2"}


def judged(pod: Json) -> PodMesh:
    meta = {"name": "p", "namespace": "shop", **pod.get("metadata", {})}
    found = report(build.snapshot(pods=[{**pod, "metadata": meta}]))
    assert len(found.pods) == 1
    return found.pods[0]


def spec(
    *containers: Json, init: tuple[Json, ...] = (), labels: Json | None = None, notes: Json | None = None, **more: Any
) -> Json:
    return {
        "metadata": {"labels": labels or {}, "annotations": notes or {}},
        "spec": {"containers": list(containers), "initContainers": list(init), **more},
    }


def container(name: str, image: str = "example.com/mirror/x:1.0", *args: str, **env: str) -> Json:
    return {"name": name, "image": image, "args": list(args), "env": [{"name": k, "value": v} for k, v in env.items()]}


def native(found: Json) -> Json:
    return {**found, "restartPolicy": "Always"}


def cases() -> list[Json]:
    found: list[Json] = json.loads(gzip.decompress((corpora.folder() / "mesh" / "istio.json.gz").read_bytes()))["cases"]
    assert len(found) == 121
    return found


def test_every_pod_that_istios_own_tests_inject() -> None:
    for case in cases():
        pod = judged(case["pod"])
        inside = pod.verdict is Verdict.MESHED
        told = {
            "mesh": pod.mesh if inside else None,
            "role": pod.part.value if inside and pod.part else None,
            "placement": pod.placement.value if inside and pod.placement else None,
            "capture": pod.capture.value if inside and pod.capture else None,
        }
        assert told == case["expected"], case["id"]


UUID = "5f5a7ba2-8f6c-4f3c-8f0a-7c1a5a0d3f10"
L5D = {"linkerd.io/control-plane-ns": "linkerd"}
INJECTED = {"consul.hashicorp.com/connect-inject-status": "injected"}
TPROXY = {**INJECTED, "consul.hashicorp.com/transparent-proxy-status": "enabled"}
VN = {"APPMESH_VIRTUAL_NODE_NAME": "mesh/m/virtualNode/web_shop"}
WAYPOINT = {"gateway.istio.io/managed": "istio.io-mesh-controller"}
KUMA = {"kuma.io/sidecar-injected": "true", "kuma.io/sidecar-uid": "5678"}
NGINX = {"injector.nsm.nginx.com/status": "injected"}
# What is told: mesh, part, placement, capture, user.
OTHERS: dict[str, tuple[Json, tuple[str, str, str, str, int | None]]] = {
    "ambient": (
        spec(APP, notes={"ambient.istio.io/redirection": "enabled"}), ("istio", "ambient", "", "node", None)),
    "ztunnel": (
        spec(container("istio-proxy", "docker.io/istio/ztunnel:1.30.0", "proxy", "ztunnel"), labels={"app": "ztunnel"}),
        ("istio", "node-proxy", "classic", "none", None)),
    "waypoint": (
        spec(container("istio-proxy", "docker.io/istio/proxyv2:1.30.0", "proxy", "waypoint"), labels=WAYPOINT),
        ("istio", "waypoint", "classic", "none", None)),
    "a gateway between networks, which starts as a waypoint": (
        spec(container("istio-proxy", "istio/proxyv2:1.30.0", "proxy", "waypoint"),
             labels={"gateway.istio.io/managed": "istio.io-eastwest-controller"}),
        ("istio", "gateway", "classic", "none", None)),
    "agentgateway": (
        spec(container("agentgateway"), labels={"gateway.istio.io/managed": "istio.io-agentgateway-controller"}),
        ("istio", "gateway", "classic", "none", None)),
    "OpenShift Service Mesh 2, whose rules come from Multus": (
        spec(APP, container("istio-proxy", "registry.redhat.io/openshift-service-mesh/proxyv2-rhel8@sha256:00",
                            "proxy", "sidecar", ISTIO_META_MESH_ID="x"),
             notes={"k8s.v1.cni.cncf.io/networks": "v2-4-istio-cni", "sidecar.istio.io/status": "{}"}),
        ("istio", "sidecar", "classic", "cni", None)),
    "Linkerd before 2.20": (
        spec(container("linkerd-proxy", "cr.l5d.io/linkerd/proxy:stable-2.14.1"), APP,
             init=(container("linkerd-init", "cr.l5d.io/linkerd/proxy-init:v2.2.3", "--proxy-uid", "2102"),),
             labels=L5D), ("linkerd", "sidecar", "classic", "iptables", 2102)),
    "Linkerd, native": (
        spec(APP, init=(container("linkerd-init", "x", "--proxy-uid", "2102"), native(container("linkerd-proxy"))),
             labels=L5D), ("linkerd", "sidecar", "native", "iptables", 2102)),
    "Linkerd with its CNI plug-in": (
        spec(APP, init=(container("linkerd-network-validator"), native(container("linkerd-proxy"))), labels=L5D),
        ("linkerd", "sidecar", "native", "cni", None)),
    "Linkerd without the label": (
        spec(APP, container("linkerd-proxy", "x", LINKERD2_PROXY_LOG="warn")),
        ("linkerd", "sidecar", "classic", "none", None)),
    "Consul": (
        spec({**container("consul-dataplane", "hashicorp/consul-dataplane:1.5.0"),
              "securityContext": {"runAsUser": 5995}}, APP, init=(container("consul-connect-inject-init"),),
             notes=TPROXY), ("consul", "sidecar", "classic", "iptables", 5995)),
    "Consul with its CNI plug-in": (
        spec(container("consul-dataplane"), APP,
             notes={**TPROXY, "consul.hashicorp.com/redirect-traffic-config": "{}"}),
        ("consul", "sidecar", "classic", "cni", None)),
    "Consul, several ports": (
        spec(container("consul-dataplane-web"), container("consul-dataplane-admin"), APP, notes=INJECTED),
        ("consul", "sidecar", "classic", "none", None)),
    "Consul before 1.0": (
        spec(container("envoy-sidecar"), APP, labels=INJECTED), ("consul", "sidecar", "classic", "none", None)),
    "Consul's gateway": (
        spec(container("mesh-gateway"), notes={"consul.hashicorp.com/gateway-kind": "mesh-gateway"}),
        ("consul", "gateway", "classic", "none", None)),
    "App Mesh": (
        spec(APP, container("envoy", "840364872350.dkr.ecr.us-west-2.amazonaws.com/aws-appmesh-envoy:v1.29.6.0", **VN),
             init=(container("proxyinit", "x", APPMESH_APP_PORTS="8080"),)),
        ("app-mesh", "sidecar", "classic", "iptables", None)),
    "App Mesh whose proxy is told elsewhere": (
        spec(APP, container("envoy", "mirror.example.com/aws-appmesh-envoy:v1.29.6.0"),
             init=(container("proxyinit", "x", APPMESH_APP_PORTS="8080"),)),
        ("app-mesh", "sidecar", "classic", "iptables", None)),
    "App Mesh on Fargate": (
        spec(APP, container("envoy", **VN), labels={"eks.amazonaws.com/fargate-profile": "fp"}),
        ("app-mesh", "sidecar", "classic", "cni", None)),
    "App Mesh's gateway": (
        spec(container("envoy", APPMESH_RESOURCE_ARN="arn:aws:appmesh:x:1:mesh/m/virtualGateway/gw")),
        ("app-mesh", "gateway", "classic", "none", None)),
    "OSM": (
        spec(APP, container("envoy", "envoyproxy/envoy:v1.19.3"), init=(container("osm-init"),),
             labels={"osm-proxy-uuid": UUID}), ("osm", "sidecar", "classic", "iptables", None)),
    "Kuma": (
        spec(container("kuma-sidecar", "docker.io/kumahq/kuma-dp:2.9.1"), APP, init=(container("kuma-init"),),
             notes=KUMA), ("kuma", "sidecar", "classic", "iptables", 5678)),
    "Kuma with its CNI plug-in": (
        spec(APP, init=(container("kuma-validation"), native(container("kuma-sidecar"))), notes=KUMA),
        ("kuma", "sidecar", "native", "cni", 5678)),
    "Kuma with eBPF": (
        spec(container("kuma-sidecar"), APP, init=(container("kuma-init"),),
             notes={**KUMA, "kuma.io/transparent-proxying-ebpf": "enabled"}),
        ("kuma", "sidecar", "classic", "ebpf", 5678)),
    "Kuma's delegated gateway": (
        spec(container("kuma-sidecar"), container("kong"), notes={**KUMA, "kuma.io/gateway": "enabled"}),
        ("kuma", "gateway", "classic", "none", 5678)),
    "Kuma's zone ingress": (
        spec(container("ingress"), notes={"kuma.io/ingress": "enabled"}), ("kuma", "gateway", "classic", "none", None)),
    "NGINX": (
        spec(APP, container("nginx-mesh-sidecar"), init=(container("nginx-mesh-init"),), labels=NGINX),
        ("nginx", "sidecar", "classic", "iptables", None)),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_injectors_write(name: str) -> None:
    pod, expected = OTHERS[name]
    found = judged(pod)
    assert found.verdict is Verdict.MESHED
    told = (
        found.mesh, found.part.value if found.part else "", found.placement.value if found.placement else "",
        found.capture.value if found.capture else "", found.uid,
    )  # fmt: skip
    assert told == expected
    assert found.evidence


def beside(name: str, image: str = "example.com/mirror/x:1.0", *args: str, **more: Any) -> Json:
    return spec(APP, container(name, image, *args), **more)


DAPR = {"dapr.io/enabled": "true", "dapr.io/app-id": "web"}
VAULT = {"vault.hashicorp.com/agent-inject": "true", "vault.hashicorp.com/agent-inject-status": "injected"}
ENVOY = "docker.io/envoyproxy/envoy:v1.31.0"
LOOK_ALIKES: dict[str, Json] = {
    "nothing but the application": spec(APP),
    "Vault's agent": beside("vault-agent", "hashicorp/vault:1.17", init=(container("vault-agent-init"),), notes=VAULT),
    "Vault's status under another key": beside("vault-agent", notes={"connect-inject-status": "injected"}),
    "Dapr": beside("daprd", "daprio/daprd:1.14", labels={"dapr.io/sidecar-injected": "true"}, notes=DAPR),
    "Dapr, native": spec(APP, init=(native(container("daprd", "daprio/daprd:1.14")),), notes=DAPR),
    "Cloud SQL's proxy": beside("csql-shop-db", "gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.13"),
    "Cloud SQL's proxy, by hand": beside("cloudsql-proxy", "gcr.io/cloudsql-docker/gce-proxy:1.33"),
    "Cloud SQL's proxy, native": spec(APP, init=(native(container("cloud-sql-proxy")),)),
    "oauth2-proxy": beside("oauth2-proxy", "quay.io/oauth2-proxy/oauth2-proxy:v7.6.0"),
    "kube-rbac-proxy": beside("kube-rbac-proxy", "quay.io/brancz/kube-rbac-proxy:v0.18.0"),
    "fluent-bit": beside("fluent-bit", "fluent/fluent-bit:3.1"),
    "filebeat": beside("filebeat", "elastic/filebeat:8.15"),
    "promtail": beside("promtail", "grafana/promtail:3.1"),
    "otel collector": beside("otc-container", "otel/opentelemetry-collector:0.108"),
    "jaeger agent": beside("jaeger-agent", "jaegertracing/jaeger-agent:1.60"),
    "datadog": beside("datadog-agent", "gcr.io/datadoghq/agent:7"),
    "nginx in front": beside("nginx", "nginx:1.27"),
    "haproxy in front": beside("haproxy", "haproxy:3.0"),
    "caddy in front": beside("proxy", "caddy:2"),
    "an Envoy of one's own": beside("envoy", ENVOY),
    "an Envoy of one's own, run as 1337": spec(
        APP, {**container("envoy", ENVOY), "securityContext": {"runAsUser": 1337}}),
    "an Envoy of one's own, run as 1500": spec(
        APP, {**container("envoy", ENVOY), "securityContext": {"runAsUser": 1500}}),
    "an Envoy that starts a file of OSM's name": beside("envoy", ENVOY, "--config-path", "/etc/envoy/bootstrap.yaml"),
    "Contour's Envoy": spec(
        container("shutdown-manager"), container("envoy", ENVOY), init=(container("envoy-initconfig"),)),
    "Envoy Gateway's": beside("shutdown-manager", labels={"app.kubernetes.io/managed-by": "envoy-gateway"}),
    "Ambassador": beside("ambassador", "docker.io/emissaryingress/emissary:3.9"),
    "Traefik as ingress": spec(container("traefik", "traefik:v3.1"), labels={"app": "traefik"}),
    "Kong as ingress": spec(
        container("proxy", "kong:3.7"), container("ingress-controller", "kong/kubernetes-ingress-controller:3.3")),
    "nginx ingress": spec(container("controller", "registry.k8s.io/ingress-nginx/controller:v1.11")),
    "a container that is only named istio-proxy": beside("istio-proxy"),
    "an image that is only named proxyv2": beside("web", "example.com/team/proxyv2:1.22"),
    "an image with istio and proxy in its name": beside("web", "example.com/istio-tools/proxy-checker:1"),
    "an init container that is only named istio-init": spec(APP, init=(container("istio-init"),)),
    "Istio's label of a version alone": spec(APP, labels={"service.istio.io/canonical-name": "web"}),
    "Istio's status without a proxy": spec(APP, notes={"sidecar.istio.io/status": '{"containers":[]}'}),
    "Istio's revision on a pod that was copied": spec(APP, notes={"istio.io/rev": "default"}),
    "Istio's opt-out": spec(APP, labels={"sidecar.istio.io/inject": "false"}),
    "uid 1337 alone": spec({**APP, "securityContext": {"runAsUser": 1337}}),
    "ambient turned off": spec(APP, notes={"ambient.istio.io/redirection": "disabled"}),
    "an ambient opt-out": spec(APP, labels={"istio.io/dataplane-mode": "none"}),
    "gRPC with a bootstrap of one's own": spec(container("web", "x:1", GRPC_XDS_BOOTSTRAP="/etc/xds.json")),
    "Traffic Director's gRPC": spec(
        container("web", "x:1", GRPC_XDS_BOOTSTRAP="/x"), init=(container("grpc-td-init"),)),
    "istiod": spec(container("discovery", "docker.io/istio/pilot:1.30.0"), labels={"app": "istiod"}),
    "Istio's CNI agent": spec(
        container("install-cni", "istio/install-cni:1.30.0"), labels={"k8s-app": "istio-cni-node"}),
    "Kiali": spec(container("kiali", "quay.io/kiali/kiali:v1.89"), labels={"app": "kiali"}),
    "a container that is only named linkerd-proxy": beside("linkerd-proxy"),
    "Linkerd's init alone": spec(APP, init=(container("linkerd-init"),)),
    "Linkerd's annotation of an opt-out": spec(APP, notes={"linkerd.io/inject": "disabled"}),
    "Linkerd's web page": spec(
        container("web", "cr.l5d.io/linkerd/web:edge-26.8.3"), labels={"linkerd.io/extension": "viz"}),
    "a Consul client": spec(
        container("consul", "hashicorp/consul:1.19"), labels={"app": "consul", "component": "client"}),
    "Consul's template": beside("consul-template", "hashicorp/consul-template:0.39"),
    "a container that is only named consul-dataplane": beside("consul-dataplane"),
    "Consul's opt-out": spec(APP, notes={"consul.hashicorp.com/connect-inject": "false"}),
    "X-Ray of App Mesh without App Mesh": beside("xray-daemon", "amazon/aws-xray-daemon:3"),
    "a container that is only named proxyinit": spec(APP, init=(container("proxyinit"),)),
    "a container that is only named kuma-sidecar": beside("kuma-sidecar"),
    "Kuma's label of a mesh alone": spec(APP, labels={"kuma.io/mesh": "default"}),
    "a container that is only named nginx-mesh-sidecar": beside("nginx-mesh-sidecar"),
    "Network Service Mesh, which adds an interface": beside(
        "cmd-nsc", notes={"networkservicemesh.io": "kernel://vl3/nsm-1"}),
    "Traefik Mesh's client": spec(APP, labels={"app": "maesh-client"}),
    "a native sidecar": spec(APP, init=(native(container("other-sidecar")),)),
    "an init container that changes the network, and no proxy": spec(
        APP, init=({**container("tune"), "securityContext": NET_ADMIN},)),
    "an Envoy on the host network": spec(
        APP, container("envoy", ENVOY), init=({**container("tune"), "securityContext": NET_ADMIN},), hostNetwork=True),
    "Cilium's Envoy": spec(
        container("cilium-envoy", "quay.io/cilium/cilium-envoy:v1.30"), labels={"k8s-app": "cilium-envoy"}),
    "a pod of a tutorial": spec(container("sidecar", "busybox"), container("app", "busybox")),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_like_a_mesh(name: str) -> None:
    found = judged(LOOK_ALIKES[name])
    assert found.verdict is Verdict.NOT_MESHED, found.says
    assert found.mesh == ""


def test_there_are_many_look_alikes() -> None:
    assert len(LOOK_ALIKES) >= 60


def test_a_proxy_of_nobody_knows_whom() -> None:
    pod = spec(APP, container("envoy", ENVOY), init=({**container("redirect"), "securityContext": NET_ADMIN},))
    found = judged(pod)
    assert found.verdict is Verdict.UNKNOWN
    assert found.settled_by


def test_two_meshes_in_one_pod_are_broken() -> None:
    pod = spec(
        APP, container("istio-proxy", "istio/proxyv2:1.30.0", "proxy", "sidecar", ISTIO_META_MESH_ID="x"),
        container("linkerd-proxy"), init=(container("istio-init"), container("linkerd-init")), labels=L5D,
    )  # fmt: skip
    found = judged(pod)
    assert found.verdict is Verdict.BROKEN
    assert "Istio and Linkerd" in found.says


def test_every_driver_has_its_sources() -> None:
    for driver in DRIVERS:
        assert driver.__doc__
        assert driver.SOURCES


def test_a_map_calls_no_look_alike_meshed() -> None:
    for name, found in LOOK_ALIKES.items():
        pods = build.snapshot(
            pods=[{**found, "metadata": {"name": "p", "namespace": "shop", **found["metadata"]}}]
        ).pods
        assert sidecar(pods[0]) == ("", ""), name
    for case in cases():
        snapshot = build.snapshot(pods=[case["pod"]])
        assert sidecar(snapshot.pods[0])[0] in ("", case["expected"]["mesh"] or ""), case["id"]
