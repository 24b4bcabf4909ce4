"""What is said of two pods in meshes that cannot run here: by their own objects, and unknown where those do not tell.

The facts are those of the sources that each driver names.
"""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.analysis.mesh import report
from netinspect.analysis.mesh_pair import Target, pair
from netinspect.model.mesh import Reach, Statement, Transport
from tests import build

Json = dict[str, Any]
MTLS, PLAINTEXT, NONE, UNKNOWN = Transport.MTLS, Transport.PLAINTEXT, Transport.NONE, Transport.UNKNOWN
WEB = {"clusterIP": "10.96.0.10", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
ZTUNNEL: list[Json] = [
    {"metadata": {"name": "cilium-config", "namespace": "kube-system"}, "data": {"enable-ztunnel": "true"}}
]


def bare(name: str, labels: Json | None = None) -> Json:
    found = build.pod(name, "10.0.1.5" if name == "client" else "10.0.2.5", labels={"app": name, **(labels or {})})
    found["spec"]["serviceAccountName"] = name
    return found


def of_version(pod: Json, version: str) -> Json:
    """Give a pod with another version of its proxy."""
    containers = [
        {**c, "image": c["image"].rpartition(":")[0] + f":{version}"} if "image" in c else c
        for c in pod["spec"]["containers"]
    ]
    return {**pod, "spec": {**pod["spec"], "containers": containers}}


def noted(pod: Json, **annotations: str) -> Json:
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}


def said(client: Json, server: Json, *, to: str = "svc", asked: Json | None = None, **lists: list[Json]) -> Statement:
    web = {"metadata": {"name": "web", "namespace": "shop"}, "spec": WEB}
    everything: Any = {"pods": [client, server], "services": [web],
                       "namespaces": [{"metadata": {"name": "shop", "labels": asked or {}}}], **lists}  # fmt: skip
    aim = Target(to, "shop", "web", 80 if to == "svc" else 8080)
    (found,) = pair(build.snapshot(**everything), "shop/client", aim).statements
    return found


def told(found: Statement) -> tuple[Transport, Reach]:
    return found.transport, found.outcome


class TestKuma:
    @staticmethod
    def pod(name: str, **annotations: str) -> Json:
        found = noted(bare(name), **{"kuma.io/sidecar-injected": "true"} | annotations)
        found["spec"]["containers"].append({"name": "kuma-sidecar", "image": "docker.io/kumahq/kuma-dp:2.11.0"})
        found["spec"]["initContainers"] = [{"name": "kuma-init", "image": "docker.io/kumahq/kuma-init:2.11.0"}]
        return found

    @staticmethod
    def mesh(mode: str | None = "STRICT", **spec: Any) -> Json:
        backends = [{"name": "ca-1", "type": "builtin", **({"mode": mode} if mode else {})}]
        mtls = {"enabledBackend": "ca-1", "backends": backends}
        return {"metadata": {"name": "default"}, "spec": {"mtls": mtls, **spec}}

    @staticmethod
    def permission(action: str, *, of: Json | None = None, to: Json | None = None, namespace: str = "kuma-system",
                   mesh: str = "default") -> Json:  # fmt: skip
        return {"metadata": {"name": f"{action}-it".lower(), "namespace": namespace, "labels": {"kuma.io/mesh": mesh}},
                "spec": {"targetRef": to or {"kind": "Mesh"},
                         "from": [{"targetRef": of or {"kind": "Mesh"}, "default": {"action": action}}]}}  # fmt: skip

    @property
    def ends(self) -> tuple[Json, Json]:
        return self.pod("client"), self.pod("web")

    def test_a_mesh_without_mutual_tls_keeps_nobody_out(self) -> None:
        off = {"metadata": {"name": "default"}, "spec": {}}
        assert told(said(*self.ends, kuma_meshes=[off])) == (PLAINTEXT, Reach.REACHED)
        denied = self.permission("Deny")
        assert told(said(*self.ends, kuma_meshes=[off], kuma_permissions=[denied])) == (PLAINTEXT, Reach.REACHED)

    def test_without_a_permission_nobody_is_let_in(self) -> None:
        assert told(said(*self.ends, kuma_meshes=[self.mesh()])) == (MTLS, Reach.DENIED)

    @pytest.mark.parametrize("action", ["Allow", "AllowWithShadowDeny"])
    def test_a_permission_for_all_lets_all_in(self, action: str) -> None:
        found = said(*self.ends, kuma_meshes=[self.mesh()], kuma_permissions=[self.permission(action)])
        assert told(found) == (MTLS, Reach.REACHED)
        assert found.balanced_by == "the client's proxy"

    @pytest.mark.parametrize(
        ("of", "to", "outcome"),
        [
            ({"kind": "MeshSubset", "tags": {"app": "client"}}, None, Reach.REACHED),
            ({"kind": "MeshSubset", "tags": {"app": "other"}}, None, Reach.DENIED),
            ({"kind": "MeshSubset", "tags": {"kuma.io/service": "client_shop_svc"}}, None, Reach.UNKNOWN),
            (None, {"kind": "Dataplane", "labels": {"app": "web"}}, Reach.REACHED),
            (None, {"kind": "Dataplane", "labels": {"app": "other"}}, Reach.DENIED),
            (None, {"kind": "Dataplane", "labels": {"app": "web"}, "sectionName": "http"}, Reach.UNKNOWN),
            (None, {"kind": "MeshService", "name": "web_shop_svc_80"}, Reach.UNKNOWN),
            (None, {"kind": "Mesh", "proxyTypes": ["Gateway"]}, Reach.DENIED),
        ],
    )
    def test_permissions_for_some(self, of: Json | None, to: Json | None, outcome: Reach) -> None:
        permission = self.permission("Allow", of=of, to=to)
        found = said(*self.ends, kuma_meshes=[self.mesh()], kuma_permissions=[permission])
        assert told(found) == (MTLS, outcome)

    def test_which_of_several_counts_is_not_guessed(self) -> None:
        both = [self.permission("Allow"), self.permission("Deny", of={"kind": "MeshSubset", "tags": {"app": "client"}})]
        assert said(*self.ends, kuma_meshes=[self.mesh()], kuma_permissions=both).outcome is Reach.UNKNOWN

    @pytest.mark.parametrize(("namespace", "mesh"), [("elsewhere", "default"), ("kuma-system", "other")])
    def test_permissions_of_others_do_not_count(self, namespace: str, mesh: str) -> None:
        permission = self.permission("Allow", namespace=namespace, mesh=mesh)
        found = said(*self.ends, kuma_meshes=[self.mesh()], kuma_permissions=[permission])
        assert found.outcome is Reach.DENIED

    def test_the_control_plane_may_be_in_any_namespace(self) -> None:
        plane = build.pod("cp", "10.0.3.3", labels={"app": "kuma-control-plane"})
        plane["metadata"]["namespace"] = "elsewhere"
        permission = self.permission("Allow", namespace="elsewhere")
        pods = [*self.ends, plane]
        found = said(*self.ends, kuma_meshes=[self.mesh()], kuma_permissions=[permission], pods=pods)
        assert found.outcome is Reach.REACHED

    def test_the_permission_that_older_versions_made(self) -> None:
        all_ = [{"match": {"kuma.io/service": "*"}}]
        old = {"metadata": {"name": "allow-all-default"}, "mesh": "default",
               "spec": {"sources": all_, "destinations": all_}}  # fmt: skip
        found = said(*self.ends, kuma_meshes=[self.mesh()], kuma_old_permissions=[old])
        assert told(found) == (MTLS, Reach.REACHED)
        narrow = {**old, "spec": {"sources": [{"match": {"kuma.io/service": "a"}}], "destinations": all_}}
        found = said(*self.ends, kuma_meshes=[self.mesh()], kuma_old_permissions=[narrow])
        assert found.outcome is Reach.UNKNOWN

    def test_a_client_without_a_sidecar(self) -> None:
        plain, server = bare("client"), self.pod("web")
        assert told(said(plain, server, kuma_meshes=[self.mesh(None)])) == (PLAINTEXT, Reach.REFUSED)
        lax: Any = {"kuma_meshes": [self.mesh("PERMISSIVE")]}
        allowed = said(plain, server, **lax, kuma_permissions=[self.permission("Allow")])
        assert told(allowed) == (PLAINTEXT, Reach.REACHED)
        assert told(said(plain, server, **lax)) == (PLAINTEXT, Reach.REACHED)
        assert said(plain, of_version(server, "2.4.3"), **lax).outcome is Reach.UNKNOWN

    def test_meshtls_that_asks_for_another_mode(self) -> None:
        lax = {"metadata": {"name": "lax", "namespace": "kuma-system"}, "spec": {
            "targetRef": {"kind": "Mesh"}, "rules": [{"default": {"mode": "Permissive"}}]}}  # fmt: skip
        plain, server = bare("client"), self.pod("web")
        assert said(plain, server, kuma_meshes=[self.mesh()], kuma_tls=[lax]).outcome is Reach.UNKNOWN
        elsewhere = {**lax, "metadata": {"name": "lax", "namespace": "elsewhere"}}
        assert said(plain, server, kuma_meshes=[self.mesh()], kuma_tls=[elsewhere]).outcome is Reach.REFUSED

    def test_a_server_without_a_sidecar(self) -> None:
        client, plain = self.pod("client"), bare("web")
        assert told(said(client, plain, kuma_meshes=[self.mesh()])) == (PLAINTEXT, Reach.REACHED)
        shut = self.mesh(networking={"outbound": {"passthrough": False}})
        assert said(client, plain, kuma_meshes=[shut]).outcome is Reach.UNKNOWN
        chosen: Any = {"kuma_meshes": [self.mesh()], "kuma_passthroughs": [self.permission("Allow")]}
        assert said(client, plain, **chosen).outcome is Reach.UNKNOWN

    @pytest.mark.parametrize("mode", ["Exclusive", "Everywhere", "ReachableBackends"])
    def test_servers_are_known_by_meshservices(self, mode: str) -> None:
        meshes = [self.mesh(meshServices={"mode": mode})]
        allowed: Any = {"kuma_meshes": meshes, "kuma_permissions": [self.permission("Allow")]}
        assert said(*self.ends, **allowed).outcome is Reach.UNKNOWN
        asked = {"kuma.io/sidecar-injection": "enabled"}
        assert told(said(*self.ends, asked=asked, **allowed)) == (MTLS, Reach.REACHED)
        assert said(self.pod("client"), bare("web"), asked=asked, kuma_meshes=meshes).outcome is Reach.UNKNOWN

    @pytest.mark.parametrize("value", ["enabled", "true", "builtin"])
    def test_gateways_are_no_sidecars(self, value: str) -> None:
        gateway = {"kuma.io/gateway": value}
        assert said(bare("client"), self.pod("web", **gateway), kuma_meshes=[self.mesh()]).outcome is Reach.UNKNOWN
        built_in = noted(bare("client"), **gateway)
        assert said(built_in, self.pod("web"), kuma_meshes=[self.mesh()]).outcome is Reach.UNKNOWN

    def test_permissive_between_proxies(self) -> None:
        lax: Any = {"kuma_meshes": [self.mesh("PERMISSIVE")]}
        found = said(*self.ends, **lax, kuma_permissions=[self.permission("Allow")])
        assert (told(found), bool(found.caveat)) == ((MTLS, Reach.REACHED), True)
        # As long as it is called in plaintext no permission is asked for.
        assert said(*self.ends, **lax).outcome is Reach.UNKNOWN

    def test_a_client_without_a_certificate_is_none_that_is_named(self) -> None:
        own = self.permission("Allow", of={"kind": "MeshSubset", "tags": {"app": "client"}})
        lax: Any = {"kuma_meshes": [self.mesh("PERMISSIVE")], "kuma_permissions": [own]}
        assert told(said(bare("client"), self.pod("web"), **lax)) == (PLAINTEXT, Reach.REACHED)
        assert said(bare("client"), of_version(self.pod("web"), "2.4.3"), **lax).outcome is Reach.UNKNOWN

    def test_a_port_that_no_service_leads_to(self) -> None:
        datagrams = {"metadata": {"name": "web", "namespace": "shop"},
                     "spec": {**WEB, "ports": [{"port": 8080, "protocol": "UDP"}]}}  # fmt: skip
        asked: Any = {"to": "pod", "kuma_meshes": [self.mesh()], "services": [datagrams]}
        assert said(bare("client"), self.pod("web"), **asked).outcome is Reach.UNKNOWN
        lax: Any = {**asked, "kuma_meshes": [self.mesh("PERMISSIVE")]}
        assert told(said(bare("client"), self.pod("web"), **lax)) == (PLAINTEXT, Reach.REACHED)

    def test_what_its_start_was_told_counts_and_not_what_was_noted_since(self) -> None:
        def started(name: str, *args: str, **annotations: str) -> Json:
            found = self.pod(name, **annotations)
            found["spec"]["initContainers"][0]["args"] = [*args]
            return found

        allowed: Any = {"kuma_meshes": [self.mesh()], "kuma_permissions": [self.permission("Allow")]}
        noted_since = started(
            "client", "--exclude-outbound-ports", "", **{"traffic.kuma.io/exclude-outbound-ports": "80"}
        )
        assert told(said(noted_since, self.pod("web"), **allowed)) == (MTLS, Reach.REACHED)
        out = started("client", "--exclude-outbound-ports", "80,443")
        assert told(said(out, self.pod("web"), **allowed)) == (PLAINTEXT, Reach.REFUSED)
        odd = started("client", "--exclude-outbound-ips", "10.0.0.0/8")
        assert said(odd, self.pod("web"), **allowed).outcome is Reach.UNKNOWN

    @pytest.mark.parametrize(
        "lists",
        [
            {"kuma_meshes": []},
            {"kuma_identities": [{"metadata": {"name": "identity", "namespace": "kuma-system"}}]},
            {"kuma_http_routes": [{"metadata": {"name": "canary", "namespace": "shop"}}]},
            {"kuma_old_routes": [{"metadata": {"name": "route-all-to-canary"}, "mesh": "default"}]},
            {"kuma_faults": [{"metadata": {"name": "abort", "namespace": "shop"}}]},
            {"kuma_old_patches": [{"metadata": {"name": "patch"}, "mesh": "default"}]},
        ],
        ids=["no mesh", "identities", "a route", "an old route", "a fault", "a patch"],
    )
    def test_what_is_not_evaluated_is_unknown(self, lists: Any) -> None:
        everything = {"kuma_meshes": [self.mesh()], "kuma_permissions": [self.permission("Allow")], **lists}
        assert said(*self.ends, **everything).outcome is Reach.UNKNOWN

    def test_the_pods_own_address_has_a_listener_where_a_headless_service_has_it(self) -> None:
        allowed: Any = {"kuma_meshes": [self.mesh()], "kuma_permissions": [self.permission("Allow")]}
        assert told(said(*self.ends, to="pod", **allowed)) == (PLAINTEXT, Reach.REFUSED)
        lax: Any = {**allowed, "kuma_meshes": [self.mesh("PERMISSIVE")]}
        assert told(said(*self.ends, to="pod", **lax)) == (PLAINTEXT, Reach.REACHED)

        def headless(port: int, target: int) -> list[Json]:
            spec = {**WEB, "clusterIP": "None", "ports": [{"port": port, "targetPort": target}]}
            return [{"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}]

        assert told(said(*self.ends, to="pod", services=headless(8080, 8080), **allowed)) == (MTLS, Reach.REACHED)
        # By tags a proxy listens for the pods' port, by MeshServices for the Service's.
        assert said(*self.ends, to="pod", services=headless(80, 8080), **allowed).outcome is Reach.UNKNOWN
        others = [*headless(9999, 9999), {"metadata": {"name": "w", "namespace": "shop"}, "spec": WEB}]
        assert told(said(*self.ends, to="pod", services=others, **allowed)) == (PLAINTEXT, Reach.REFUSED)
        faults: Any = {"kuma_faults": [{"metadata": {"name": "f", "labels": {"kuma.io/mesh": "default"}}}]}
        assert said(*self.ends, to="pod", **{**lax, **faults}).outcome is Reach.UNKNOWN
        closed: Any = {**allowed, "kuma_meshes": [self.mesh(networking={"outbound": {"passthrough": False}})]}
        assert said(*self.ends, to="pod", **closed).outcome is Reach.UNKNOWN

    def test_labels_of_kumas_own_are_not_a_pods_to_write(self) -> None:
        client = self.pod("client")
        client["metadata"]["labels"]["kuma.io/service"] = "admin"
        own = self.permission("Allow", of={"kind": "MeshSubset", "tags": {"kuma.io/service": "admin"}})
        found = said(client, self.pod("web"), kuma_meshes=[self.mesh()], kuma_permissions=[own])
        assert told(found) == (MTLS, Reach.UNKNOWN)

    def test_what_is_only_to_be_looked_at_is_not_in_force(self) -> None:
        shadow = self.permission("Allow")
        shadow["metadata"]["labels"]["kuma.io/effect"] = "shadow"
        found = said(*self.ends, kuma_meshes=[self.mesh()], kuma_permissions=[shadow])
        assert told(found) == (MTLS, Reach.DENIED)

    def test_ports_that_are_left_out(self) -> None:
        out = self.pod("client", **{"traffic.kuma.io/exclude-outbound-ports": "80"})
        assert told(said(out, self.pod("web"), kuma_meshes=[self.mesh()])) == (PLAINTEXT, Reach.REFUSED)
        into = self.pod("web", **{"traffic.kuma.io/exclude-inbound-ports": "8000-8090"})
        assert said(self.pod("client"), into, kuma_meshes=[self.mesh()]).outcome is Reach.UNKNOWN
        assert told(said(out, into, kuma_meshes=[self.mesh()])) == (PLAINTEXT, Reach.REACHED)
        odd = self.pod("client", **{"traffic.kuma.io/exclude-outbound-ips": "10.0.0.0/8"})
        assert said(odd, self.pod("web"), kuma_meshes=[self.mesh()]).outcome is Reach.UNKNOWN

    def test_a_service_that_is_left_out_of_the_mesh(self) -> None:
        left = {
            "metadata": {"name": "web", "namespace": "shop", "annotations": {"kuma.io/ignore": "true"}},
            "spec": WEB,
        }
        allowed: Any = {"kuma_meshes": [self.mesh()], "kuma_permissions": [self.permission("Allow")]}
        assert said(*self.ends, **allowed, services=[left]).outcome is Reach.UNKNOWN

    def test_two_meshes(self) -> None:
        other = self.pod("client", **{"kuma.io/mesh": "other"})
        assert said(other, self.pod("web"), kuma_meshes=[self.mesh()]).outcome is Reach.UNKNOWN


class TestOpenServiceMesh:
    @staticmethod
    def pod(name: str, **annotations: str) -> Json:
        found = noted(bare(name, {"osm-proxy-uuid": "7"}), **annotations)
        found["spec"]["containers"].append({"name": "envoy", "image": "envoyproxy/envoy:v1.22.2"})
        found["spec"]["initContainers"] = [{"name": "osm-init", "image": "openservicemesh/init:v1.2.4"}]
        return found

    @staticmethod
    def config(**traffic: Any) -> list[Json]:
        return [{"metadata": {"name": "osm-mesh-config", "namespace": "osm-system"}, "spec": {"traffic": traffic}}]

    @staticmethod
    def target(source: str) -> Json:
        def account(name: str) -> Json:
            return {"kind": "ServiceAccount", "name": name, "namespace": "shop"}

        return {"metadata": {"name": "t", "namespace": "shop"}, "spec": {
            "destination": account("web"), "sources": [account(source)],
            "rules": [{"kind": "HTTPRouteGroup", "name": "all"}]}}  # fmt: skip

    @property
    def ends(self) -> tuple[Json, Json]:
        return self.pod("client"), self.pod("web")

    def test_permissive_lets_all_of_the_mesh_in(self) -> None:
        config = self.config(enablePermissiveTrafficPolicyMode=True)
        assert told(said(*self.ends, osm_configs=config)) == (MTLS, Reach.REACHED)

    def test_without_a_target_the_client_has_no_way(self) -> None:
        assert told(said(*self.ends, osm_configs=self.config())) == (NONE, Reach.FAILED)
        others = [self.target("somebody")]
        assert said(*self.ends, osm_configs=self.config(), traffic_targets=others).outcome is Reach.FAILED
        out = self.config(enableEgress=True)
        assert told(said(*self.ends, osm_configs=out)) == (PLAINTEXT, Reach.REFUSED)

    def test_what_a_target_lets_in_hangs_on_its_routes(self) -> None:
        found = said(*self.ends, osm_configs=self.config(), traffic_targets=[self.target("client")])
        assert told(found) == (MTLS, Reach.UNKNOWN)

    def test_a_client_without_a_sidecar_is_refused(self) -> None:
        config = self.config(enablePermissiveTrafficPolicyMode=True)
        assert told(said(bare("client"), self.pod("web"), osm_configs=config)) == (PLAINTEXT, Reach.REFUSED)
        backend = {"metadata": {"name": "in", "namespace": "shop"}}
        found = said(bare("client"), self.pod("web"), osm_configs=config, osm_ingress_backends=[backend])
        assert found.outcome is Reach.UNKNOWN

    def test_what_is_outside_is_reached_where_egress_is_on(self) -> None:
        ends = self.pod("client"), bare("web")
        assert told(said(*ends, osm_configs=self.config(enableEgress=True))) == (PLAINTEXT, Reach.REACHED)
        assert told(said(*ends, osm_configs=self.config())) == (NONE, Reach.FAILED)
        egress = {"metadata": {"name": "out", "namespace": "shop"}}
        assert said(*ends, osm_configs=self.config(), osm_egresses=[egress]).outcome is Reach.UNKNOWN
        asked = {"openservicemesh.io/monitored-by": "osm"}
        assert said(*ends, asked=asked, osm_configs=self.config(enableEgress=True)).outcome is Reach.UNKNOWN

    def test_ports_that_are_left_out(self) -> None:
        config = self.config(inboundPortExclusionList=[8080], outboundPortExclusionList=[80])
        assert said(*self.ends, osm_configs=config).outcome is Reach.UNKNOWN

        def started(name: str, chain: str, ports: str) -> Json:
            found = self.pod(name)
            script = f"iptables-restore <<EOF\n-A {chain} -p tcp -m multiport --dports {ports} -j RETURN\nEOF"
            found["spec"]["initContainers"][0]["args"] = ["-c", script]
            return found

        client = started("client", "OSM_PROXY_OUTBOUND", "80,443")
        server = started("web", "OSM_PROXY_INBOUND", "8080")
        assert told(said(client, server, osm_configs=self.config())) == (PLAINTEXT, Reach.REACHED)
        assert told(said(client, self.pod("web"), osm_configs=self.config())) == (PLAINTEXT, Reach.REFUSED)
        other = started("client", "OSM_PROXY_OUTBOUND", "443")
        permissive = self.config(enablePermissiveTrafficPolicyMode=True, outboundPortExclusionList=[80])
        assert told(said(other, self.pod("web"), osm_configs=permissive)) == (MTLS, Reach.REACHED)

    def test_two_meshes_in_one_cluster(self) -> None:
        config = self.config(enablePermissiveTrafficPolicyMode=True)
        other = [{"metadata": {"name": "osm-mesh-config", "namespace": "other"}, "spec": {}}]
        assert said(*self.ends, osm_configs=[*config, *other]).outcome is Reach.UNKNOWN

    @pytest.mark.parametrize(("name", "outcome"), [("mysql", Reach.UNKNOWN), ("tcp-mysql", Reach.REACHED)])
    def test_what_is_not_called_tcp_is_http_to_it(self, name: str, outcome: Reach) -> None:
        web = {"metadata": {"name": "web", "namespace": "shop"},
               "spec": {**WEB, "ports": [{"name": name, "port": 80, "targetPort": 8080}]}}  # fmt: skip
        config = self.config(enablePermissiveTrafficPolicyMode=True)
        assert said(*self.ends, osm_configs=config, services=[web]).outcome is outcome

    def test_what_is_not_evaluated_is_unknown(self) -> None:
        config = self.config(enablePermissiveTrafficPolicyMode=True)
        split = {"metadata": {"name": "s", "namespace": "shop"}, "spec": {"service": "web"}}
        assert said(*self.ends).outcome is Reach.UNKNOWN
        assert said(*self.ends, osm_configs=config, traffic_splits=[split]).outcome is Reach.UNKNOWN
        # A pod's own address has a listener where a headless Service has it.
        assert told(said(*self.ends, to="pod", osm_configs=config)) == (NONE, Reach.FAILED)
        egress = self.config(enablePermissiveTrafficPolicyMode=True, enableEgress=True)
        assert told(said(*self.ends, to="pod", osm_configs=egress)) == (PLAINTEXT, Reach.REFUSED)
        headless = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {**WEB, "clusterIP": "None"}}
        found = said(*self.ends, to="pod", osm_configs=config, services=[headless])
        assert found.outcome is Reach.UNKNOWN
        other = {"metadata": {"name": "s", "namespace": "shop"}, "spec": {"service": "other"}}
        assert said(*self.ends, osm_configs=config, traffic_splits=[other]).outcome is Reach.REACHED
        odd = {"metadata": {"name": "web", "namespace": "shop"},
               "spec": {**WEB, "ports": [{"port": 80, "targetPort": 8080, "appProtocol": "mysql"}]}}  # fmt: skip
        assert said(*self.ends, osm_configs=config, services=[odd]).outcome is Reach.UNKNOWN
        ranges = self.config(outboundIPRangeExclusionList=["10.0.0.0/8"], enablePermissiveTrafficPolicyMode=True)
        assert said(*self.ends, osm_configs=ranges).outcome is Reach.UNKNOWN


class TestCilium:
    @pytest.mark.parametrize(
        ("settings", "to", "outcome"),
        [
            ({"kube-proxy-replacement": "true"}, "svc", Reach.REACHED),
            ({"bpf-lb-sock": "true"}, "svc", Reach.REACHED),
            ({"kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true"}, "svc", Reach.UNKNOWN),
            ({}, "svc", Reach.UNKNOWN),
            ({}, "pod", Reach.REACHED),
        ],
    )
    def test_both_enrolled(self, settings: Json, to: str, outcome: Reach) -> None:
        config = [{**ZTUNNEL[0], "data": {"enable-ztunnel": "true", **settings}}]
        found = said(bare("client"), bare("web"), to=to, asked={"io.cilium/mtls-enabled": "true"}, cni_settings=config)
        assert found.outcome is outcome
        assert found.transport is (MTLS if outcome is Reach.REACHED else UNKNOWN)

    @staticmethod
    def settings(**data: str) -> list[Json]:
        found = {key.replace("_", "-"): value for key, value in data.items()}
        return [{"metadata": {"name": "cilium-config", "namespace": "kube-system"}, "data": found}]

    def test_mutual_authentication_is_told_and_encrypts_nothing(self) -> None:
        found = said(bare("client"), bare("web"), cni_settings=self.settings(mesh_auth_mutual_enabled="true"))
        assert told(found) == (PLAINTEXT, Reach.REACHED)
        assert "encrypts nothing" in found.caveat
        assert not said(bare("client"), bare("web"), cni_settings=self.settings(mesh_auth_enabled="true")).caveat

    def test_a_service_that_the_nodes_envoy_takes(self) -> None:
        config = {"metadata": {"name": "l7", "namespace": "shop"}, "spec": {"services": [{"name": "web"}]}}
        everywhere = {"metadata": {"name": "l7"}, "spec": {"services": [{"name": "web", "namespace": "shop"}]}}
        other = {"metadata": {"name": "l7", "namespace": "away"}, "spec": {"services": [{"name": "web"}]}}
        ends = bare("client"), bare("web")
        assert said(*ends, cilium_envoy_configs=[config]).outcome is Reach.UNKNOWN
        assert said(*ends, cilium_cluster_envoy_configs=[everywhere]).outcome is Reach.UNKNOWN
        assert said(*ends, cilium_envoy_configs=[other]).outcome is Reach.REACHED
        assert said(*ends, to="pod", cilium_envoy_configs=[config]).outcome is Reach.REACHED

    def test_what_could_not_be_read_is_doubted_where_cilium_is(self) -> None:
        crds: Any = {"custom_resource_definitions": [{"metadata": {"name": "ciliumnodes.cilium.io"}}]}
        gaps: Any = {"gaps": ("cilium_envoy_configs", "cni_settings")}
        assert said(bare("client"), bare("web"), **crds | gaps).outcome is Reach.UNKNOWN
        assert "could not be read" in said(bare("client"), bare("web"), to="pod", **crds | gaps).caveat
        assert told(said(bare("client"), bare("web"), **gaps)) == (PLAINTEXT, Reach.REACHED)

    def test_configurations_that_nobody_reads(self) -> None:
        left = {"metadata": {"name": "l7", "namespace": "shop"}, "spec": {"services": [{"name": "web"}]}}
        off: Any = {"cni_settings": self.settings(enable_envoy_config="false"), "cilium_envoy_configs": [left]}
        assert said(bare("client"), bare("web"), **off).outcome is Reach.REACHED
        on = {**off, "cni_settings": self.settings(enable_envoy_config="true")}
        assert said(bare("client"), bare("web"), **on).outcome is Reach.UNKNOWN

    def test_a_services_address_that_other_meshes_do_not_see(self) -> None:
        ends = TestOpenServiceMesh.pod("client"), TestOpenServiceMesh.pod("web")
        lax: Any = {"osm_configs": TestOpenServiceMesh.config(enablePermissiveTrafficPolicyMode=True)}
        hidden = self.settings(kube_proxy_replacement="true")
        (finding,) = report(build.snapshot(pods=list(ends), cni_settings=hidden)).findings
        assert (finding.kind, "Open Service Mesh" in finding.cause) == ("services-hidden", True)
        assert not report(build.snapshot(pods=[bare("web")], cni_settings=hidden)).findings
        assert said(*ends, **lax, cni_settings=hidden).outcome is Reach.UNKNOWN
        seen = self.settings(kube_proxy_replacement="true", bpf_lb_sock_hostns_only="true")
        assert said(*ends, **lax, cni_settings=seen).outcome is Reach.REACHED

    def test_what_is_on_without_being_in_a_pod_is_told_of_the_cluster(self) -> None:
        listens = {"metadata": {"name": "front", "namespace": "shop"}, "spec": {}}
        settings = self.settings(enable_gateway_api="true", mesh_auth_mutual_enabled="true", loadbalancer_l7="envoy")
        found = report(build.snapshot(pods=[bare("web")], cni_settings=settings, cilium_envoy_configs=[listens]))
        assert [f.source.rpartition(" ")[2] for f in found.features] == [
            "enable-gateway-api", "mesh-auth-mutual-enabled", "loadbalancer-l7", "shop/front",
        ]  # fmt: skip
        assert found.headline == "no mesh; Cilium does parts of one on nodes"
        assert not report(build.snapshot(pods=[bare("web")])).features

    def test_this_word_counts_and_no_other(self) -> None:
        found = said(
            bare("client"), bare("web"), to="pod", asked={"io.cilium/mtls-enabled": "yes"}, cni_settings=ZTUNNEL
        )
        assert told(found) == (PLAINTEXT, Reach.REACHED)

    def test_one_enrolled_is_not_guessed(self) -> None:
        away = bare("client")
        away["metadata"]["namespace"] = "away"
        spaces: list[Json] = [{"metadata": {"name": "shop", "labels": {"io.cilium/mtls-enabled": "true"}}},
                  {"metadata": {"name": "away"}}]  # fmt: skip
        web = {"metadata": {"name": "web", "namespace": "shop"}, "spec": WEB}
        made = build.snapshot(pods=[away, bare("web")], services=[web], namespaces=spaces, cni_settings=ZTUNNEL)
        (found,) = pair(made, "away/client", Target("svc", "shop", "web", 80)).statements
        assert told(found) == (UNKNOWN, Reach.UNKNOWN)


class TestNginx:
    @staticmethod
    def pod(name: str, *args: str, init: tuple[str, ...] = (), notes: Json | None = None) -> Json:
        found = noted(bare(name), **{"injector.nsm.nginx.com/status": "injected"} | (notes or {}))
        image = "docker-registry.nginx.com/nsm/nginx-mesh-"
        found["spec"]["containers"][0]["ports"] = [{"containerPort": 8080}]
        found["spec"]["containers"].append({"name": "nginx-mesh-sidecar", "image": f"{image}sidecar:2.0.0",
                                            "args": [*args]})  # fmt: skip
        found["spec"]["initContainers"] = [{"name": "nginx-mesh-init", "image": f"{image}init:2.0.0", "args": [*init]}]
        return found

    def own(self, name: str, mode: str) -> Json:
        return self.pod(name, "--mtls-annotation", mode, notes={"config.nsm.nginx.com/mtls-mode": mode})

    @staticmethod
    def config(mode: str = "permissive", access: str = "allow") -> Json:
        spec = {"mtls": {"mode": mode}, "accessControlMode": access}
        return {"nginx_configs": [{"metadata": {"name": "nginx-mesh-config", "namespace": "nginx-mesh"}, "spec": spec}]}

    @property
    def ends(self) -> tuple[Json, Json]:
        return self.pod("client"), self.pod("web")

    @pytest.mark.parametrize(("mode", "transport"), [("strict", MTLS), ("permissive", MTLS), ("off", PLAINTEXT)])
    def test_between_proxies(self, mode: str, transport: Transport) -> None:
        assert told(said(*self.ends, **self.config(mode))) == (transport, Reach.REACHED)

    @pytest.mark.parametrize(
        ("mode", "outcome"), [("strict", Reach.REFUSED), ("permissive", Reach.REACHED), ("off", Reach.REACHED)]
    )
    def test_a_client_without_a_sidecar(self, mode: str, outcome: Reach) -> None:
        assert told(said(bare("client"), self.pod("web"), **self.config(mode))) == (PLAINTEXT, outcome)
        ingress = bare("client", {"nsm.nginx.com/enable-ingress": "true"})
        assert said(ingress, self.pod("web"), **self.config(mode)).outcome is Reach.UNKNOWN

    def test_a_server_without_a_sidecar(self) -> None:
        ends = self.pod("client"), bare("web")
        assert told(said(*ends, **self.config())) == (PLAINTEXT, Reach.REACHED)
        assert told(said(*ends, **self.config("strict"))) == (NONE, Reach.FAILED)
        out = self.pod("client", notes={"config.nsm.nginx.com/default-egress-allowed": "true"})
        assert said(out, bare("web"), **self.config("strict")).outcome is Reach.UNKNOWN

    def test_a_pods_own_mode_counts_unless_all_are_strict(self) -> None:
        strict = self.own("web", "strict")
        assert told(said(bare("client"), strict, **self.config())) == (PLAINTEXT, Reach.REFUSED)
        assert told(said(self.pod("client"), strict, **self.config())) == (MTLS, Reach.REACHED)
        assert said(self.own("client", "off"), strict, **self.config()).outcome is Reach.UNKNOWN
        lax = self.own("web", "off")
        assert told(said(bare("client"), lax, **self.config("strict"))) == (PLAINTEXT, Reach.REFUSED)

    def test_a_mode_that_was_noted_since_does_not_count(self) -> None:
        since = self.pod("web", notes={"config.nsm.nginx.com/mtls-mode": "strict"})
        assert said(bare("client"), since, **self.config()).outcome is Reach.UNKNOWN

    def test_ports_that_are_left_out(self) -> None:
        client = self.pod("client", init=("--ignore-outgoing-ports", "80"))
        server = self.pod("web", init=("--ignore-incoming-ports", "8887", "--ignore-incoming-ports", "8080"))
        assert told(said(client, server, **self.config("strict"))) == (PLAINTEXT, Reach.REACHED)
        assert told(said(client, self.pod("web"), **self.config("strict"))) == (PLAINTEXT, Reach.REFUSED)
        assert said(self.pod("client"), server, **self.config("strict")).outcome is Reach.UNKNOWN

    def test_what_is_not_evaluated_is_unknown(self) -> None:
        account = {"kind": "ServiceAccount", "name": "web", "namespace": "shop"}
        target = {"metadata": {"name": "t", "namespace": "shop"}, "spec": {"destination": account}}
        split = {"metadata": {"name": "s", "namespace": "shop"}, "spec": {"service": "web"}}
        for lists in (
            {}, self.config("strict", "deny"), {**self.config(), "traffic_targets": [target]},
            {**self.config(), "traffic_splits": [split]},
        ):  # fmt: skip
            assert said(*self.ends, **lists).outcome is Reach.UNKNOWN
        assert said(*self.ends, to="pod", **self.config()).outcome is Reach.UNKNOWN
        undeclared = self.pod("web")
        undeclared["spec"]["containers"][0]["ports"] = []
        assert said(self.pod("client"), undeclared, **self.config("strict")).outcome is Reach.UNKNOWN


class TestAppMesh:
    @staticmethod
    def pod(name: str, *, ports: str = "8080", left: str = "22", arn: str = "mesh/m/virtualNode/{}_shop") -> Json:
        found = bare(name)
        told = [{"name": "APPMESH_RESOURCE_ARN", "value": arn.format(name)}]
        image = "840364872350.dkr.ecr.eu-west-1.amazonaws.com/aws-appmesh-"
        found["spec"]["containers"].append({"name": "envoy", "image": f"{image}envoy:v1.29.12.1-prod", "env": told})
        env = {"APPMESH_APP_PORTS": ports, "APPMESH_EGRESS_IGNORED_PORTS": left,
               "APPMESH_EGRESS_IGNORED_IP": "169.254.169.254"}  # fmt: skip
        found["spec"]["initContainers"] = [
            {"name": "proxyinit", "image": f"{image}proxy-route-manager:v7-prod",
             "env": [{"name": key, "value": value} for key, value in env.items()]}
        ]  # fmt: skip
        return found

    @staticmethod
    def cluster(mode: str | None = None, egress: str = "ALLOW_ALL", backends: int = 0) -> Json:
        def node(name: str) -> Json:
            listener = {"portMapping": {"port": 8080, "protocol": "http"}, **({"tls": {"mode": mode}} if mode else {})}
            backend = {"virtualService": {"virtualServiceRef": {"name": "web"}}}
            return {"metadata": {"name": name, "namespace": "shop"},
                    "spec": {"listeners": [listener], "backends": [backend] * backends,
                             "meshRef": {"name": "m", "uid": "1"}}}  # fmt: skip

        mesh = {"metadata": {"name": "m"}, "spec": {"egressFilter": {"type": egress}}}
        return {"app_meshes": [mesh], "virtual_nodes": [node("client"), node("web")], "services": TestAppMesh.http()}

    @staticmethod
    def http() -> list[Json]:
        spec = {**WEB, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        return [{"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}]

    @property
    def ends(self) -> tuple[Json, Json]:
        return self.pod("client"), self.pod("web")

    @pytest.mark.parametrize(
        ("mode", "outcome"),
        [(None, Reach.REACHED), ("DISABLED", Reach.REACHED), ("PERMISSIVE", Reach.REACHED), ("STRICT", Reach.REFUSED)],
    )
    def test_a_listener_says_whether_plaintext_is_taken(self, mode: str | None, outcome: Reach) -> None:
        assert told(said(bare("client"), self.pod("web"), **self.cluster(mode))) == (PLAINTEXT, outcome)
        # A client's proxy without backends passes all on as it is.
        assert told(said(*self.ends, **self.cluster(mode))) == (PLAINTEXT, outcome)

    def test_a_port_that_was_not_declared_is_not_taken(self) -> None:
        found = said(bare("client"), self.pod("web", ports="9090"), **self.cluster("STRICT"))
        assert told(found) == (PLAINTEXT, Reach.REACHED)

    def test_what_the_clients_proxy_leaves_out(self) -> None:
        out = self.pod("client", left="22,80")
        assert told(said(out, self.pod("web"), **self.cluster("STRICT", backends=1))) == (PLAINTEXT, Reach.REFUSED)

    def test_the_plug_in_is_told_by_annotations(self) -> None:
        server = self.pod("web")
        server["spec"]["initContainers"] = []
        noted_ = {"appmesh.k8s.aws/appmeshCNI": "enabled", "appmesh.k8s.aws/ports": "8080"}
        assert told(said(bare("client"), noted(server, **noted_), **self.cluster("STRICT"))) == (
            PLAINTEXT, Reach.REFUSED,
        )  # fmt: skip

    @pytest.mark.parametrize("settings", [{"backends": 1}, {"egress": "DROP_ALL"}], ids=["backends", "DROP_ALL"])
    def test_which_virtual_service_takes_it_is_not_guessed(self, settings: Json) -> None:
        assert said(*self.ends, **self.cluster(**settings)).outcome is Reach.UNKNOWN

    def test_a_virtual_node_that_is_not_there_is_not_guessed(self) -> None:
        other = self.pod("web", arn="mesh/m/virtualNode/elsewhere")
        assert said(bare("client"), other, **self.cluster("STRICT")).outcome is Reach.UNKNOWN
        whole = self.pod("web", arn="arn:aws:appmesh:eu-west-1:1:mesh/m/virtualNode/web_shop")
        assert said(bare("client"), whole, **self.cluster("STRICT")).outcome is Reach.REFUSED
        gateway = self.pod("web", arn="mesh/m/virtualGateway/web_shop")
        assert said(bare("client"), gateway, **self.cluster("STRICT")).outcome is Reach.UNKNOWN

    def test_what_the_application_may_speak_itself_is_not_guessed(self) -> None:
        ends, plain = (bare("client"), self.pod("web")), {"metadata": {"name": "web", "namespace": "shop"}, "spec": WEB}
        assert said(*ends, **{**self.cluster("STRICT"), "services": [plain]}).outcome is Reach.UNKNOWN
        assert said(*ends, **{**self.cluster(), "services": [plain]}).outcome is Reach.REACHED
        tcp = {**plain, "spec": {**WEB, "ports": [{"name": "tcp-x", "port": 80, "targetPort": 8080}]}}
        assert said(*ends, **{**self.cluster(), "services": [tcp]}).outcome is Reach.UNKNOWN
