"""What looks as if it asked for a mesh, or refused one, and does not; and what looks like another mesh's."""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.analysis.mesh import report
from netinspect.model.mesh import Capture, MeshReport, Part, PodMesh, Verdict
from tests import build
from tests.mesh.test_judging import pod, webhook

Json = dict[str, Any]
AMBIENT, NONE = {"istio.io/dataplane-mode": "ambient"}, {"sidecar.istio.io/inject": "false"}
ASKED, TAKEN = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/status": "{}"}
BOTH = {**AMBIENT, "istio-injection": "enabled"}
LINKERD = {"linkerd.io/inject": "enabled"}
CONSUL = webhook("consul-connect-injector.consul.hashicorp.com",
                 {"matchExpressions": [{"key": "left-out", "operator": "DoesNotExist"}]}, objects={})  # fmt: skip


def component(name: str, labels: Json, *containers: Json, namespace: str = "mesh", **metadata: Any) -> Json:
    found = build.pod(name, labels=labels, containers=list(containers))
    found["metadata"] |= {"namespace": namespace, **metadata}
    return found


def injector(*flags: str) -> Json:
    line = " ".join(("consul-k8s-control-plane inject-connect", *flags))
    container = {"name": "sidecar-injector", "image": "hashicorp/consul-k8s-control-plane:1.5.0",
                 "command": ["/bin/sh", "-ec", f"exec {line} \\\n"]}  # fmt: skip
    return component("inject-0", {"app": "consul", "component": "connect-injector"}, container)


def told(found: Json, *, around: Json | None = None, noted: Json | None = None, others: tuple[Json, ...] = (),
         hooks: tuple[Json, ...] = ()) -> tuple[PodMesh, MeshReport]:  # fmt: skip
    namespaces: list[Json] = [{"metadata": {"name": "shop", "labels": around or {}, "annotations": noted or {}}},
                  {"metadata": {"name": "mesh"}}]  # fmt: skip
    made = build.snapshot(pods=[found, *others], namespaces=namespaces, mutating_webhooks=list(hooks))
    said = report(made)
    own = found["metadata"]
    return next(p for p in said.pods if (p.namespace, p.pod) == (own.get("namespace", "shop"), own["name"])), said


@pytest.mark.parametrize(
    ("found", "around", "verdict", "part"),
    [
        (pod(notes=TAKEN), AMBIENT, Verdict.NOT_MESHED, ""),
        (pod(labels=NONE), BOTH, Verdict.MISSING, "ambient"),
        (pod(labels={**NONE, **AMBIENT}), {"istio-injection": "enabled"}, Verdict.MISSING, "ambient"),
        (pod(labels=ASKED), AMBIENT, Verdict.MISSING, "sidecar.istio.io/inject"),
        (pod(labels={"istio.io/rev": "x"}), AMBIENT, Verdict.MISSING, "istio.io/rev=x"),
        (pod(sidecar=True), {"maistra.io/member-of": "control"}, Verdict.MESHED, ""),
        (pod(sidecar=True, labels=NONE), {"maistra.io/member-of": "control"}, Verdict.UNWANTED, ""),
        (pod(labels={"openshift.io/build.name": "b"}), {"kuma.io/sidecar-injection": "enabled"}, Verdict.NOT_MESHED,
         ""),
        (pod(notes={"openservicemesh.io/sidecar-injection": "on"}), {"openservicemesh.io/monitored-by": "osm"},
         Verdict.NOT_MESHED, ""),
        (pod(notes={"openservicemesh.io/sidecar-injection": "yes"}), {"openservicemesh.io/monitored-by": "osm"},
         Verdict.MISSING, ""),
    ],
)  # fmt: skip
def test_labels_mean_what_the_injectors_make_of_them(found: Json, around: Json, verdict: Verdict, part: str) -> None:
    one, _ = told(found, around=around)
    assert (one.verdict, part in one.says) == (verdict, True), one.says


def test_a_token_that_is_not_mounted_keeps_linkerd_from_nothing() -> None:
    bare = pod(automountServiceAccountToken=False)
    assert told(bare, noted=LINKERD)[0].verdict is Verdict.MISSING
    meshed = pod(automountServiceAccountToken=False, labels={"linkerd.io/control-plane-ns": "linkerd"})
    meshed["spec"]["containers"].append({"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:edge-26.8.3"})
    meshed["spec"]["initContainers"] = [{"name": "linkerd-init"}]
    assert told(meshed, noted=LINKERD)[0].verdict is Verdict.MESHED
    # Without an init container it is the CNI plug-in that turns its traffic, where there is one.
    meshed["spec"]["initContainers"] = []
    assert told(meshed)[0].capture is Capture.NONE
    agent = component("linkerd-cni-0", {"k8s-app": "linkerd-cni"})
    assert told(meshed, others=(agent,))[0].capture is Capture.CNI


@pytest.mark.parametrize(
    ("flags", "notes", "around", "verdict"),
    [
        (["-default-inject=true"], {}, {}, Verdict.MISSING),
        (["-default-inject=true"], {}, {"left-out": ""}, Verdict.NOT_MESHED),
        (["-default-inject=true", '-deny-k8s-namespace="shop"'], {}, {}, Verdict.NOT_MESHED),
        (["-default-inject=true", '-allow-k8s-namespace="other"'], {}, {}, Verdict.NOT_MESHED),
        (["-default-inject=true", '-allow-k8s-namespace="*"'], {}, {}, Verdict.MISSING),
        (['-deny-k8s-namespace="shop"'], {"consul.hashicorp.com/connect-inject": "true"}, {}, Verdict.NOT_MESHED),
        (['-deny-k8s-namespace="x"'], {"consul.hashicorp.com/connect-inject": "true"}, {}, Verdict.MISSING),
    ],
)  # fmt: skip
def test_consuls_lists_of_namespaces(flags: list[str], notes: Json, around: Json, verdict: Verdict) -> None:
    one, _ = told(pod(notes=notes), around=around, others=(injector(*flags),), hooks=(CONSUL,))
    assert one.verdict is verdict, one.says


def test_nginxs_webhooks_are_known_by_their_own_names() -> None:
    asks: Json = {"matchLabels": {"injector.nsm.nginx.com/auto-inject": "enabled"}}
    hook = webhook("nginx-mesh-controller.sidecar.injector", asks, made="2026-04-01T00:00:00Z", objects={})
    one, _ = told(pod(), around=asks["matchLabels"], hooks=(hook,))
    assert (one.verdict, "older than webhook" in one.cause) == (Verdict.MISSING, True)


def test_ciliums_ztunnel_is_not_istios() -> None:
    proxy = {"name": "istio-proxy", "image": "docker.io/istio/ztunnel:1.28.0", "args": ["proxy", "ztunnel"]}
    owner = [{"kind": "DaemonSet", "name": "ztunnel-cilium", "controller": True}]
    found = component("ztunnel-cilium-x", {"app": "ztunnel"}, proxy, namespace="kube-system", ownerReferences=owner)
    one, said = told(found)
    assert (one.mesh, one.part, list(said.meshes)) == ("cilium", Part.NODE_PROXY, ["cilium"])


def test_traefiks_proxies_are_no_control_plane() -> None:
    proxy = component(
        "mesh-proxy-x", {"app": "maesh", "component": "maesh-mesh"}, {"name": "p", "image": "traefik:v2.8"}
    )
    controller = component("controller-x", {"app": "maesh", "component": "controller"},
                           {"name": "c", "image": "traefik/mesh:v1.4.8"})  # fmt: skip
    _, said = told(proxy, others=(controller,))
    assert [p.name for p in said.control_planes] == ["controller-x"]


@pytest.mark.parametrize(("arn", "part"), [("mesh/m/virtualNode/virtualGateway-api_shop", Part.SIDECAR),
                                           ("mesh/m/virtualGateway/in_shop", Part.GATEWAY)])  # fmt: skip
def test_a_node_of_app_mesh_may_have_any_name(arn: str, part: Part) -> None:
    found = pod()
    found["spec"]["containers"].append({"name": "envoy", "env": [{"name": "APPMESH_RESOURCE_ARN", "value": arn}]})
    assert told(found)[0].part is part


def test_a_users_start_of_a_like_name_is_not_the_meshs() -> None:
    found = pod(sidecar=True)
    crashed = {"waiting": {"reason": "CrashLoopBackOff"}}
    found["status"]["initContainerStatuses"] = [{"name": "istio-init-db", "ready": False, "state": crashed}]
    assert told(found)[0].verdict is Verdict.MESHED
    found["status"]["initContainerStatuses"][0]["name"] = "istio-init"
    assert told(found)[0].verdict is Verdict.BROKEN


@pytest.mark.parametrize("name", ["kuma-sidecar", "nginx-mesh-sidecar"])
def test_a_name_and_a_refusal_are_no_mesh(name: str) -> None:
    refused = {"kuma.io/sidecar-injection": "disabled", "injector.nsm.nginx.com/auto-inject": "disabled"}
    found = pod(labels=refused)
    found["spec"]["containers"].append({"name": name, "image": "own/proxy:1"})
    assert told(found)[0].verdict in (Verdict.NOT_MESHED, Verdict.UNKNOWN)


def test_network_service_mesh_adds_an_interface_and_is_no_mesh_of_services() -> None:
    image = "ghcr.io/networkservicemesh/cmd-nsmgr:v1.10.0"
    manager = component("nsmgr-x", {"app": "nsmgr"}, {"name": "nsmgr", "image": image})
    found, said = told(pod(notes={"networkservicemesh.io": "kernel://vl3/nsm-1"}), others=(manager,))
    assert (found.verdict, found.mesh) == (Verdict.NOT_MESHED, "")
    assert "kernel://vl3/nsm-1" in found.says
    assert (said.headline, said.meshes, said.control_planes) == ("no mesh", (), ())
    snapshot = build.snapshot(pods=[pod(notes={"networkservicemesh.io": "x"})], gaps=("namespaces",))
    assert report(snapshot).pods[0].verdict is Verdict.UNKNOWN
