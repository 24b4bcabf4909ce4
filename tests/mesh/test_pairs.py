"""What is said of two pods where objects contradict, are missing, or could not be read."""

from __future__ import annotations

from typing import Any

import pytest

from netinspect.analysis.mesh_pair import Target, pair
from netinspect.model.mesh import Reach, Statement, Transport
from tests import build

Json = dict[str, Any]
CAPTURED = [{"name": "istio-init", "args": ["istio-iptables", "-p", "15001", "-i", "*", "-b", "*", "-d", "15090"]}]
PROXY: Json = {"name": "istio-proxy", "image": "istio/proxyv2:1.30.0", "args": ["proxy", "sidecar"],
               "env": [{"name": "ISTIO_META_MESH_ID", "value": "m"}]}  # fmt: skip
WEB = {
    "clusterIP": "10.96.0.10",
    "selector": {"app": "web"},
    "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
}


def pod(name: str, address: str, *, sidecar: bool = True, captured: bool = True, env: Json | None = None) -> Json:
    found = build.pod(name, address, labels={"app": name})
    found["spec"]["serviceAccountName"] = name
    if sidecar:
        told = [{"name": k, "value": v} for k, v in (env or {}).items()]
        found["spec"]["containers"].append({**PROXY, "env": [*PROXY["env"], *told]})
        found["spec"]["initContainers"] = CAPTURED if captured else []
        found["metadata"]["labels"]["security.istio.io/tlsMode"] = "istio"
    return found


def policy(name: str, spec: Json, namespace: str = "shop") -> Json:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def said(client: Json, server: Json, *, service: Json | None = None, gaps: tuple[str, ...] = (), path: str = "/",
         to: str = "svc", **lists: list[Json]) -> Statement:  # fmt: skip
    web = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {**WEB, **(service or {})}}
    everything: Any = {"pods": [client, server], "services": [web], "namespaces": [{"metadata": {"name": "shop"}}],
                       **lists}  # fmt: skip
    aim = Target(to, "shop", "web", 80 if to == "svc" else 8080, "GET", path)
    found = pair(build.snapshot(gaps=gaps, **everything), "shop/client", aim).statements
    assert len(found) == 1
    return found[0]


CLIENT, SERVER = pod("client", "10.0.1.5"), pod("web", "10.0.2.5")
PLAIN = pod("client", "10.0.1.5", sidecar=False)
STRICT = {"mtls": {"mode": "STRICT"}}


def test_two_sidecars_use_mutual_tls() -> None:
    found = said(CLIENT, SERVER)
    assert (found.transport, found.outcome) == (Transport.MTLS, Reach.REACHED)
    assert found.identity == "spiffe://cluster.local/ns/shop/sa/client"
    assert found.balanced_by == "the client's proxy"


@pytest.mark.parametrize("gap", ["authorization_policies", "peer_authentications", "virtual_services", "namespaces"])
def test_what_could_not_be_read_lets_nobody_in(gap: str) -> None:
    found = said(CLIENT, SERVER, gaps=(gap,))
    assert found.outcome is Reach.UNKNOWN
    assert "could not be read" in found.says


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": {"matchLabels": {"app": "web"}}, "mtls": {"mode": "DISABLE"}},
        {"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}},
    ],
)
def test_clients_know_of_servers_that_take_no_tls(spec: Json) -> None:
    found = said(CLIENT, SERVER, peer_authentications=[policy("off", spec)])
    assert (found.transport, found.outcome) == (Transport.PLAINTEXT, Reach.REACHED)


def test_a_proxy_that_nothing_is_turned_to_takes_no_part() -> None:
    idle = pod("client", "10.0.1.5", captured=False)
    found = said(idle, SERVER, peer_authentications=[policy("all", STRICT)])
    assert (found.transport, found.outcome) == (Transport.PLAINTEXT, Reach.REFUSED)
    bare = pod("web", "10.0.2.5", captured=False)
    assert said(PLAIN, bare, peer_authentications=[policy("all", STRICT)]).outcome is Reach.REACHED


def test_the_root_namespace_is_the_control_planes() -> None:
    told = {"CA_ADDR": "istiod-asm-1-27.aks-istio-system.svc:15012"}
    server = pod("web", "10.0.2.5", env=told)
    found = said(PLAIN, server, peer_authentications=[policy("all", STRICT, "aks-istio-system")])
    assert found.outcome is Reach.REFUSED
    tenant = {"metadata": {"name": "istio", "namespace": "aaa"}, "data": {"mesh": "enableAutoMtls: false\n"}}
    assert said(CLIENT, SERVER, mesh_settings=[tenant]).transport is Transport.MTLS


@pytest.mark.parametrize("domain", ["proj.svc.id.goog", "cluster.local"])
def test_identities_by_the_proxys_trust_domain_and_by_its_alias(domain: str) -> None:
    client = pod("client", "10.0.1.5", env={"TRUST_DOMAIN": "proj.svc.id.goog"})
    rule = {"from": [{"source": {"principals": [f"{domain}/ns/shop/sa/client"]}}]}
    found = said(client, SERVER, authorization_policies=[policy("p", {"action": "ALLOW", "rules": [rule]})])
    assert found.outcome is Reach.REACHED


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"from": [{"source": {"serviceAccounts": ["client"]}}]}, Reach.REACHED),
        ({"from": [{"source": {"serviceAccounts": ["other/client"]}}]}, Reach.DENIED),
        ({"to": [{"operation": {"hosts": ["web.shop.svc.cluster.local"]}}]}, Reach.UNKNOWN),
        ({"to": [{"operation": {"hosts": ["elsewhere"]}}]}, Reach.DENIED),
        ({"to": [{"operation": {"paths": ["/a*"]}}]}, Reach.DENIED),
        ({"when": [{"key": "request.headers[x]", "values": ["y"]}]}, Reach.UNKNOWN),
    ],
)
def test_who_is_let_in(rule: Json, outcome: Reach) -> None:
    found = said(CLIENT, SERVER, authorization_policies=[policy("p", {"action": "ALLOW", "rules": [rule]})])
    assert found.outcome is outcome


def test_a_dry_run_denies_nobody() -> None:
    dry = policy("p", {"action": "DENY", "rules": [{}]})
    assert said(CLIENT, SERVER, authorization_policies=[dry]).outcome is Reach.DENIED
    dry["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    assert said(CLIENT, SERVER, authorization_policies=[dry]).outcome is Reach.REACHED


def test_the_nearest_rule_counts_and_those_of_one_host_are_one() -> None:
    wide = policy("wide", {"host": "*.shop.svc.cluster.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}})
    near = policy("near", {"host": "web", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}})
    assert said(CLIENT, SERVER, destination_rules=[wide, near]).transport is Transport.MTLS
    subsets = policy("subsets", {"host": "web", "subsets": [{"name": "v2", "labels": {"app": "web"}}]})
    routes = [{"route": [{"destination": {"host": "web", "subset": "v2"}}]}]
    virtual = policy("v", {"hosts": ["web"], "http": routes})
    found = said(CLIENT, SERVER, destination_rules=[near, subsets], virtual_services=[virtual])
    assert found.outcome is Reach.REACHED


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"fault": {"abort": {"httpStatus": 418}}, "route": [{"destination": {"host": "web"}}]}, Reach.REACHED),
        ({"route": [{"destination": {"host": "web", "port": {"number": 9090}}}]}, Reach.UNKNOWN),
        ({"route": [{"destination": {"host": "other.example.com"}}]}, Reach.UNKNOWN),
        ({"match": [{"uri": {"prefix": "/x"}}], "route": [{"destination": {"host": "web"}}]}, Reach.FAILED),
        ({"redirect": {"redirectCode": 301}}, Reach.FAILED),
    ],
)
def test_where_a_rule_leads(rule: Json, outcome: Reach) -> None:
    assert said(CLIENT, SERVER, virtual_services=[policy("v", {"hosts": ["web"], "http": [rule]})]).outcome is outcome


def test_a_route_of_the_gateway_api_is_not_overlooked() -> None:
    route = policy("r", {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}]})
    assert said(CLIENT, SERVER, http_routes=[route]).outcome is Reach.UNKNOWN


def test_a_service_without_an_address() -> None:
    """Nobody translates its port."""
    found = said(CLIENT, SERVER, service={"clusterIP": "None"})
    assert (found.port, found.transport) == (80, Transport.MTLS)


def test_straight_to_a_pod_goes_out_as_it_is() -> None:
    found = said(CLIENT, SERVER, to="pod", peer_authentications=[policy("all", STRICT)])
    assert (found.transport, found.outcome) == (Transport.PLAINTEXT, Reach.REFUSED)


@pytest.mark.parametrize(("host", "gaps", "outcome"), [
    ("nobody", (), Reach.FAILED), ("nobody.shop.svc.cluster.local", (), Reach.FAILED),
    ("nobody", ("services",), Reach.UNKNOWN), ("example.com", (), Reach.UNKNOWN),
])  # fmt: skip
def test_a_route_to_a_service_that_is_not_there_fails(host: str, gaps: tuple[str, ...], outcome: Reach) -> None:
    """What is no Service of the cluster may be a ServiceEntry's, which is not read."""
    rule = policy("web", {"hosts": ["web"], "http": [{"route": [{"destination": {"host": host}}]}]})
    found = said(CLIENT, SERVER, virtual_services=[rule], gaps=gaps)
    assert found.outcome is outcome


def test_where_proxies_let_nothing_out_to_strangers_a_pods_own_address_may_be_one() -> None:
    mesh = {"metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": "outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n"}}  # fmt: skip
    assert said(CLIENT, SERVER, to="pod", mesh_settings=[mesh]).outcome is Reach.UNKNOWN
    assert said(CLIENT, SERVER, mesh_settings=[mesh]).outcome is Reach.REACHED
    assert said(PLAIN, SERVER, to="pod", mesh_settings=[mesh]).outcome is Reach.REACHED
