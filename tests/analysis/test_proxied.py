"""What a trace says of sidecars whose rules or listeners are not as they should be, and of what passes them by."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question, crossed
from netinspect.analysis.proxied import meets
from netinspect.analysis.trace import MESHED_NEEDS, NEEDS, trace
from netinspect.model import resources, wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level, Trace
from tests.mesh import test_consul_pairs as consul
from tests.mesh import test_istio_pairs as istio
from tests.mesh import test_linkerd_pairs as linkerd

Change = Callable[[str], str]
CLIENT, PLAIN = "shop/client-cd8944b64-t65ws", "legacy/plain-787fc96f64-tgqln"
WEB, FAR = "shop/web-v1-66968c577-g6sbf", "shop/web-v1-66968c577-qff8h"


def asked(snapshot: Snapshot, source: str = CLIENT, to: str = f"pod/{WEB}:8080", **more: object) -> Trace:
    return trace(snapshot, Question(source, to, **more))  # type: ignore[arg-type]


def changed(snapshot: Snapshot, *pods: str, **sections: Change) -> Snapshot:
    """Give the cluster with sections of pods' namespaces changed."""
    kernels = []
    for kernel in snapshot.kernels:
        spaces = []
        for space in kernel.namespaces:
            mine = any(f"{ref.namespace}/{ref.name}" in pods for ref in space.pods)
            texts = dict(space.sections)
            for name, change in sections.items() if mine else ():
                key = name.replace("_", "-")
                assert change(texts[key].text) != texts[key].text, f"nothing changes in {key}"
                texts[key] = structs.replace(texts[key], text=change(texts[key].text))
            spaces.append(structs.replace(space, sections=texts))
        kernels.append(structs.replace(kernel, namespaces=tuple(spaces)))
    return structs.replace(snapshot, kernels=tuple(kernels))


def without(words: str) -> Change:
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if words not in line)


def first_in_output(rule: str) -> Change:
    """Put a rule before the others of Istio's chain for what goes out."""
    chain = "[0:0] -A ISTIO_OUTPUT"
    return lambda text: text.replace(chain, f"{chain} {rule}\n{chain}", 1)


def no_rules(text: str) -> str:
    return without("-A ")(text)


def reason(found: Trace) -> str:
    assert found.cause is not None, found.sentence
    return f"{found.cause.place}: {found.cause.reason}"


def test_rules_that_were_flushed_let_it_go_straight_there() -> None:
    flushed = changed(istio.snapshot("permissive"), CLIENT, iptables_nft=no_rules)
    found = asked(flushed)
    assert found.arrival is Arrival.ARRIVES
    assert [leg.name for leg in found.ways[0].legs][:5:4] == ["request", "inbound proxy's request"]
    assert any(n.startswith(f"pod/{CLIENT}: nothing turns this to Istio's proxy: it bypasses") for n in found.notes)
    assert asked(istio.snapshot("permissive")).ways[0].legs[4].name == "outbound proxy's request"


def test_what_bypasses_the_clients_proxy_is_plain_to_the_servers() -> None:
    flushed = changed(istio.snapshot("strict"), CLIENT, iptables_nft=no_rules)
    found = asked(flushed, to="svc/shop/web:80")
    assert found.arrival is Arrival.REFUSED
    assert "asks for mutual TLS, and this is plaintext" in reason(found)
    assert asked(istio.snapshot("strict"), to="svc/shop/web:80").arrival is Arrival.ARRIVES


def test_a_server_whose_rules_are_gone_gets_what_is_meant_for_its_proxy() -> None:
    flushed = changed(istio.snapshot("strict"), WEB, FAR, iptables_nft=no_rules)
    found = asked(flushed, to="svc/shop/web:80")
    assert found.arrival is Arrival.REFUSED
    assert "mutual TLS comes to a server that has no proxy for it" in reason(found)
    plain = asked(flushed, PLAIN, to=f"pod/{WEB}:8080")
    assert plain.arrival is Arrival.ARRIVES
    assert any(note.startswith(f"pod/{WEB}: nothing turns what comes to Istio's proxy") for note in plain.notes)


def test_a_port_that_is_left_out_bypasses_the_mesh() -> None:
    rule = "-p tcp -m tcp --dport 8080 -j RETURN"
    left_out = changed(istio.snapshot("permissive"), CLIENT, iptables_nft=first_in_output(rule))
    found = asked(left_out)
    assert found.arrival is Arrival.ARRIVES
    assert not any(leg.name.startswith("outbound") for leg in found.ways[0].legs)
    assert any("bypasses the mesh" in note for note in found.notes)
    # Other ports are taken as before.
    assert any(leg.name.startswith("outbound") for leg in asked(left_out, to="svc/shop/web:80").ways[0].legs)


def test_a_port_that_was_left_out_on_a_real_cluster() -> None:
    """The first of the pod's containers is the proxy, which no application is."""
    found = asked(linkerd.snapshot("default"), "emoji/other-b9b57466f-xrd45", "svc/emoji/api:9000")
    assert found.arrival is Arrival.ARRIVES
    assert any(note.startswith("pod/emoji/other-b9b57466f-xrd45: nothing turns this") for note in found.notes)
    assert any(note.startswith("pod/emoji/api-6658b58d59-2kx5z: nothing turns what comes") for note in found.notes)


def test_what_the_proxys_own_user_sends_bypasses_it() -> None:
    found = asked(istio.snapshot("permissive"), container="istio-proxy")
    assert found.arrival is Arrival.ARRIVES
    assert any("as user 1337 is its own: it bypasses the mesh" in note for note in found.notes)


def on_the_host(snapshot: Snapshot, name: str) -> Snapshot:
    """Give the cluster with a pod on its node's network."""
    pods = []
    for pod in snapshot.pods:
        if f"{pod.metadata.namespace}/{pod.metadata.name}" == name:
            address = next(
                n.status.addresses[0].address for n in snapshot.nodes if n.metadata.name == pod.spec.node_name
            )
            status = structs.replace(pod.status, pod_ip=address, pod_ips=(wire.PodIP(ip=address),))
            spec = structs.replace(pod.spec, host_network=True)
            pod = structs.replace(pod, spec=spec, status=status)  # noqa: PLW2901 - the same pod, elsewhere
        pods.append(pod)
    return structs.replace(snapshot, pods=tuple(pods))


@pytest.mark.parametrize(("scenario", "arrival"), [("permissive", Arrival.ARRIVES), ("strict", Arrival.REFUSED)])
def test_a_pod_on_its_nodes_network_bypasses_the_mesh(scenario: str, arrival: Arrival) -> None:
    found = asked(on_the_host(istio.snapshot(scenario), PLAIN), PLAIN)
    assert found.arrival is arrival
    assert found.ways[0].legs[0].hops[0].place == "node/n2"
    if arrival is Arrival.ARRIVES:
        assert (
            f"pod/{PLAIN} is on its node's network, where no mesh turns its traffic: it bypasses the mesh"
            in found.notes
        )


def test_a_proxy_that_does_not_listen_refuses_at_the_redirection() -> None:
    silent = changed(istio.snapshot("permissive"), CLIENT, sockets=without(":15001"))
    found = asked(silent)
    assert found.arrival is Arrival.REFUSED
    assert reason(found) == f"pod/{CLIENT}: nothing listens on 127.0.0.1:15001"


def test_a_servers_proxy_that_does_not_listen_fails_what_the_clients_sends_on() -> None:
    silent = changed(istio.snapshot("permissive"), WEB, sockets=without(":15006"))
    found = asked(silent)
    assert found.arrival is Arrival.FAILS
    assert reason(found) == f"pod/{WEB}: nothing listens on 10.244.0.7:15006"
    assert found.cause is not None
    assert found.cause.leg == "outbound proxy's request"


@pytest.mark.parametrize("source", [CLIENT, PLAIN])
def test_nobody_listens_behind_the_servers_proxy(source: str) -> None:
    silent = changed(istio.snapshot("permissive"), WEB, sockets=without("*:8080"))
    found = asked(silent, source)
    assert found.arrival is Arrival.FAILS
    assert reason(found) == f"pod/{WEB}: nothing listens on 10.244.0.7:8080"
    assert found.cause is not None
    assert found.cause.leg == "inbound proxy's request"


def test_an_application_on_localhost_alone_is_not_found_by_istio_but_by_consul() -> None:
    found = asked(changed(istio.snapshot("permissive"), WEB, sockets=on_localhost))
    assert found.arrival is Arrival.FAILS
    web = "store/web-68c565955c-6hrtm"
    bound = changed(consul.snapshot("default-allow"), web, "store/web-68c565955c-cpkt7", sockets=on_localhost)
    assert asked(bound, "store/client-84fd699d67-gkcgm", "svc/store/web:80").arrival is Arrival.ARRIVES


def on_localhost(text: str) -> str:
    return text.replace(" *:8080 ", " 127.0.0.1:8080 ").replace(" *:* ", " 0.0.0.0:* ")


def test_a_proxy_whose_own_traffic_is_turned_back_to_it() -> None:
    looped = changed(istio.snapshot("permissive"), CLIENT, iptables_nft=without("-owner 1337 -j RETURN"))
    found = asked(looped)
    assert found.arrival is Arrival.FAILS
    assert "what its proxy sends is turned back to it: no rule leaves out its user (1337)" in reason(found)


def test_a_rule_on_another_user_is_not_decided() -> None:
    rule = "-m owner --uid-owner 1001 -j RETURN"
    some = changed(istio.snapshot("strict"), CLIENT, iptables_nft=first_in_output(rule))
    assert asked(some, to="svc/shop/web:80").arrival is Arrival.UNKNOWN


def test_a_mesh_that_is_not_known_is_not_followed() -> None:
    """Its labels and annotations tell whose a proxy is."""
    snapshot = istio.snapshot("permissive")
    pods = []
    for pod in snapshot.pods:
        if f"{pod.metadata.namespace}/{pod.metadata.name}" == CLIENT:
            bare = {
                name: tuple(structs.replace(c, env=()) for c in getattr(pod.spec, name))
                for name in ("containers", "init_containers")
            }
            marks = structs.replace(pod.metadata, labels={}, annotations={})
            pods.append(structs.replace(pod, metadata=marks, spec=structs.replace(pod.spec, **bare)))
        else:
            pods.append(pod)
    found = asked(structs.replace(snapshot, pods=tuple(pods)))
    assert found.arrival is Arrival.UNKNOWN
    assert any("a proxy on port 15001 takes it" in leg.reason for way in found.ways for leg in way.legs)


@pytest.mark.parametrize(
    ("scenario", "level", "arrival"),
    [("strict", Level.INFERRED, Arrival.ARRIVES), ("strict+allow-only-api", Level.SIMULATED, Arrival.UNKNOWN)],
)
def test_what_goes_to_a_node_that_was_not_read(scenario: str, level: Level, arrival: Arrival) -> None:
    """What the mesh denies does not arrive, whatever the API's objects say."""
    whole = istio.snapshot(scenario)
    near = structs.replace(whole, kernels=tuple(k for k in whole.kernels if k.node != "n3"))
    slices = tuple(
        structs.replace(s, endpoints=tuple(e for e in s.endpoints or () if e.node_name == "n3"))
        for s in near.endpoint_slices
    )
    found = asked(structs.replace(near, endpoint_slices=slices), to="svc/shop/web:80")
    assert (found.level, found.arrival) == (level, arrival), found.sentence


def test_what_leaves_for_a_pod_that_would_not_let_it_in_does_not_count_as_arriving() -> None:
    for scenario, level in (("permissive", Level.INFERRED), ("strict", Level.SIMULATED)):
        whole = istio.snapshot(scenario)
        near = structs.replace(whole, kernels=tuple(k for k in whole.kernels if k.node == "n2"))
        found = asked(near, PLAIN, f"pod/{WEB}:8080")
        assert found.level is level
        assert found.arrival is (Arrival.ARRIVES if scenario == "permissive" else Arrival.UNKNOWN), found.sentence


def test_one_endpoint_that_fails_is_one_of_those_that_the_proxy_chooses_among() -> None:
    silent = changed(istio.snapshot("strict"), FAR, sockets=without("*:8080"))
    found = asked(silent, to="svc/shop/web:80")
    assert found.arrival is Arrival.MIXED
    assert {w.arrival: w.probability for w in found.ways} == {Arrival.ARRIVES: 0.5, Arrival.FAILS: 0.5}
    assert any("another endpoint" in note for note in found.notes)


def test_a_service_without_ready_endpoints_fails_at_the_clients_proxy() -> None:
    snapshot = istio.snapshot("strict")
    empty = structs.replace(
        snapshot, endpoint_slices=tuple(structs.replace(s, endpoints=()) for s in snapshot.endpoint_slices)
    )
    found = asked(empty, to="svc/shop/web:80")
    assert found.arrival is Arrival.FAILS
    assert reason(found).startswith(f"pod/{CLIENT}: svc/shop/web has no endpoint that is ready")


@pytest.mark.parametrize(
    ("mode", "port", "redirected"), [("transport-header", 4143, False), ("transparent", 8080, True)]
)  # fmt: skip
def test_by_which_port_linkerds_proxies_call_each_other(mode: str, port: int, redirected: bool) -> None:
    snapshot = linkerd.snapshot("default")
    pods = []
    for pod in snapshot.pods:
        assert isinstance(pod, wire.NotedPod)
        containers = tuple(
            structs.replace(c, args=tuple(a.replace("=transport-header", f"={mode}") for a in c.args or ()))
            for c in pod.spec.containers
        )
        pods.append(structs.replace(pod, spec=structs.replace(pod.spec, containers=containers)))
    found = asked(structs.replace(snapshot, pods=tuple(pods)), "emoji/client-5c99546467-469ps", "svc/emoji/web:80")
    assert found.arrival is Arrival.ARRIVES
    second = next(leg for leg in found.ways[0].legs if leg.name == "outbound proxy's request")
    assert second.hops[0].text.endswith(f":{port}")
    assert any(h.stage == "nat" and h.place == second.place for h in second.hops) is redirected


def test_one_way_without_an_answer_goes_through_proxies_too() -> None:
    found = asked(istio.snapshot("permissive"), reply=False)
    assert found.arrival is Arrival.ARRIVES
    assert found.ways[0].legs[-1].place == f"pod/{WEB}"


def test_a_listener_on_localhost_may_be_the_proxys() -> None:
    found = asked(consul.snapshot("deny-all"), "store/upstream-79d9948744-2m7fk", "127.0.0.1:1234")
    assert found.arrival is Arrival.UNKNOWN
    assert "Consul's proxy sends on what it takes" in reason(found)


def test_what_meshes_say_is_read_only_where_a_sidecar_is_on_the_way() -> None:
    snapshot = istio.snapshot("strict")
    for source, to, met in ((PLAIN, f"pod/{WEB}:8080", True), (PLAIN, "node/n1:10250", False)):
        assert meets(snapshot, crossed(snapshot, Question(source, to))) is met
    names = [n.name for n in MESHED_NEEDS]
    assert len(names) == len(set(names))
    assert {n.name for n in NEEDS} <= set(names)
    assert resources.PODS not in MESHED_NEEDS
