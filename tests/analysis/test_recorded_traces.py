"""Every attempt that was made in a recorded cluster, asked of `trace`: it says what reality did, or cannot know it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs

from netinspect.analysis.flow import Question, Via
from netinspect.analysis.trace import Tracer
from netinspect.errors import UsageError
from netinspect.model.evidence import NamespaceEvidence
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival, Level, Trace
from tests import recorded
from tests.kernel.test_calico_lab import NOISE

RESULTS = {
    Arrival.ARRIVES: "ok", Arrival.REFUSED: "refused", Arrival.UNREACHABLE: "unreachable", Arrival.LOST: "timeout",
}  # fmt: skip
# What leaves the cluster, or what nobody can know, decides nothing.
OPEN = frozenset({Arrival.LEAVES, Arrival.UNKNOWN})


@dataclass(frozen=True)
class Attempt:
    """One attempt: who, whom, and what came of it; ``by`` is the pod that answered, where one did."""

    question: Question
    result: str
    by: str
    outside: bool


def calico(situation: str) -> list[Attempt]:
    made = json.loads(recorded.files("calico")[f"{situation}/verdicts.json"])["attempts"]
    return [_calico(one) for one in made if (situation, one["from"], f"{one['proto']} {one['to']}") not in NOISE]


def _calico(one: dict[str, Any]) -> Attempt:
    source = {"csw": "172.29.0.1"}.get(one["from"], f"node/{one['from']}" if "/" not in one["from"] else one["from"])
    host, _, port = one["to"].partition(":")
    result = {"net-unreachable": "unreachable"}.get(one["result"], one["result"])
    question = Question(source, host, protocol=one["proto"].upper(), port=int(port or 0))
    who, _, seen = one.get("reply", "").partition(" ")
    beyond = host in ("172.29.0.1", "172.29.0.2", "10.96.0.1")
    # The servers of the pods say their name and whom they see; others say what they like.
    return Attempt(question, result, who if seen.rpartition(":")[2].isdecimal() else "", beyond)


def cilium(step: str) -> list[Attempt]:
    made = json.loads(recorded.files("cilium")[f"{step}/verdicts.json"])["attempts"]
    return [_cilium(one) for one in made]


def _cilium(one: dict[str, Any]) -> Attempt:
    kind, _, name = one["from"].partition("/")
    source = {"pod": f"shop/{name}", "node": one["from"], "external": "172.28.0.1"}[kind]
    question = Question(source, one["toIP"], protocol=one["protocol"], port=one["port"])
    return Attempt(question, one["result"], one["answeredBy"] or "", one["to"].startswith("external"))


def traced(tracer: Tracer, question: Question) -> Trace | str:
    try:
        return tracer.trace(question)
    except UsageError as error:
        return str(error)


def judged(found: Trace | str, one: Attempt) -> tuple[str, Trace | str]:
    if isinstance(found, str):
        # From outside only nodes and what is published there can be asked for.
        return ("asks" if one.question.source.startswith("172.") else "wrong"), found
    arrivals = {w.arrival for w in found.ways}
    takers = {w.backend.partition(" ")[0].rpartition("/")[2] for w in found.ways if w.arrival is Arrival.ARRIVES}
    results = {RESULTS[a] for a in arrivals if a in RESULTS}
    if one.outside and one.result == "ok" and Arrival.LEAVES in arrivals:
        return "right", found
    if one.result in results and (one.result != "ok" or not one.by or one.by in takers or one.outside):
        return "right", found
    return ("unknown" if arrivals & OPEN else "wrong"), found


def check(snapshot: Snapshot, attempts: list[Attempt], most: float) -> Counter[str]:
    tracer = Tracer(snapshot)
    answers = {question: traced(tracer, question) for question in {one.question for one in attempts}}
    counts: Counter[str] = Counter()
    wrong = []
    for one in attempts:
        verdict, found = judged(answers[one.question], one)
        counts[verdict] += 1
        said = found if isinstance(found, str) else found.sentence
        if verdict == "wrong":
            wrong.append(f"{one}: {said}")
        elif verdict == "unknown":
            print(f"unknown: {one}: {said}")
    print(dict(counts))
    assert not wrong, "\n".join(wrong)
    assert counts["unknown"] <= most * len(attempts)
    return counts


@pytest.mark.parametrize("situation", ["policies", "kube-proxy-just-restarted", "k8s-networkpolicy-felix-crashlooping"])
def test_calico(situation: str) -> None:
    check(recorded.calico(situation), calico(situation), 0.03)


@pytest.mark.parametrize(
    "step", ["a-kube-proxy/1-no-policy", "a-kube-proxy/2-policy", "b-kpr/1-no-policy", "b-kpr/2-policy"]
)
def test_cilium(step: str) -> None:
    counts = check(recorded.cilium(step), cilium(step), 0.1)
    assert counts["right"] > 200


@pytest.mark.parametrize(
    ("source", "destination", "port", "reason"),
    [
        ("other/plain-gjdfv", "192.168.8.194", 8080,
         "no policy lets it in: NetworkPolicy shop/default-deny, NetworkPolicy shop/web-from-clients select the pod"),
        ("other/plain-gjdfv", "192.168.8.197", 7000,
         "no policy lets it out: NetworkPolicy other/plain-egress selects the pod"),
        ("other/quarantined-9f2jp", "192.168.8.194", 8080, "Calico policy default.quarantine denies it"),
    ],
)  # fmt: skip
def test_the_policy_behind_a_rule_of_felix_is_named(source: str, destination: str, port: int, reason: str) -> None:
    found = Tracer(recorded.calico("policies")).trace(Question(source, destination, port=port))
    assert found.arrival is Arrival.LOST
    assert found.cause is not None
    assert found.cause.reason == reason
    assert found.cause.proof is not None
    assert found.cause.proof.line
    assert "calicoctl" in found.cause.remedy


def test_the_cni_and_the_node_of_a_tunnel_are_named() -> None:
    found = Tracer(recorded.calico("policies")).trace(Question("shop/client-r6pzj", "192.168.8.194", port=8080))
    said = [h.text for leg in found.ways[0].legs for h in leg.hops if h.stage == "encapsulate"]
    assert "vxlan.calico: VXLAN 4096 to 172.29.0.11 (Calico, to node/c1)" in said


def test_the_policy_of_cilium_is_named_with_what_is_in_its_map() -> None:
    found = Tracer(recorded.cilium("b-kpr/2-policy")).trace(Question("shop/client-5hwbz", "10.64.1.134", port=5432))
    assert found.cause is not None
    assert found.cause.place == "node/k2"
    assert "no entry for 5432/TCP from 10.64.0.50, identity 1226" in found.cause.reason
    assert "NetworkPolicy shop/db-from-other selects it" in found.cause.reason
    assert found.cause.proof is not None
    assert found.cause.proof.section == "cilium:bpf-policy"


@pytest.mark.parametrize("section", sorted(recorded.CILIUM_MAPS))
@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"10.64.0.50/32": []}'])
def test_maps_that_were_not_read_leave_it_unknown(section: str, text: str | None) -> None:
    """Nothing that is missing, cut or broken makes a statement that the whole contradicts."""
    whole = recorded.cilium("b-kpr/2-policy")
    kernels = []
    for kernel in whole.kernels:
        host, *pods = kernel.namespaces
        sections = {k: v for k, v in host.sections.items() if k != section}
        if text is not None:
            sections[section] = recorded.section(section, text)
        kernels.append(structs.replace(kernel, namespaces=(structs.replace(host, sections=sections), *pods)))
    asked = Question("shop/client-5hwbz", "10.64.1.100", port=8080)
    found = Tracer(structs.replace(whole, kernels=tuple(kernels))).trace(asked)
    real = Tracer(whole).trace(asked)
    assert real.arrival is Arrival.ARRIVES
    # This flow goes to no Service, so that it does not matter that there are none.
    none = section == "cilium:bpf-lb" and text == ""
    assert found.arrival is (real.arrival if none else Arrival.UNKNOWN)


def test_a_node_sends_from_the_address_that_its_kernel_chooses() -> None:
    found = Tracer(recorded.calico("policies")).trace(Question("node/c1", "192.168.71.194", port=8080))
    first = next(h for h in found.ways[0].legs[0].hops if h.stage == "route")
    assert found.source.address == first.packet.partition(" ")[2].partition(":")[0]
    assert found.source.address != "172.29.0.11"


def test_an_echo_has_no_port() -> None:
    found = Tracer(recorded.calico("policies")).trace(
        Question("shop/client-dqd96", "shop/web-5b75cb4d55-bwqdm", protocol="ICMP")
    )
    assert found.destination.port == 0


def test_a_wire_drops_what_is_longer_than_its_far_end_takes() -> None:
    """A veth receives no frame beyond its MTU, of which its sender hears nothing."""
    whole = recorded.calico("policies")
    kernels = []
    for kernel in whole.kernels:
        host, *pods = kernel.namespaces
        links = host.sections["links"]
        if kernel.node == "c2":
            narrow = json.dumps([{**k, "mtu": 1400} if k["ifname"] == "eth0" else k for k in json.loads(links.text)])
            links = recorded.section("links", narrow)
        sections = {**host.sections, "links": links}
        kernels.append(structs.replace(kernel, namespaces=(structs.replace(host, sections=sections), *pods)))
    tracer = Tracer(structs.replace(whole, kernels=tuple(kernels)))
    asked = Question("other/plain-pk6pm", "192.168.71.194", port=9090, size=1400)
    assert Tracer(whole).trace(asked).arrival is Arrival.ARRIVES
    found = tracer.trace(asked)
    assert found.arrival is Arrival.LOST
    assert found.cause is not None
    assert "eth0 of node/c2 takes 1400" in found.cause.reason


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("shop/web-5b75cb4d55-sp7g8", "from c2 to c1, Calico: VXLAN, VNI 4096"),
        ("shop/web-5b75cb4d55-bwqdm", "on c2 itself, Calico: each pod hangs by a veth"),
    ],
)
def test_without_the_nodes_the_cni_says_how_it_is_carried(destination: str, said: str) -> None:
    blind = structs.replace(recorded.calico("policies"), kernels=())
    found = Tracer(blind).trace(Question("shop/client-r6pzj", destination, port=8080))
    assert not found.ways
    assert any(note.startswith(said) for note in found.notes), found.notes


def test_links_that_cannot_be_read_are_unknown_and_no_error() -> None:
    whole = recorded.calico("policies")
    kernels = []
    for kernel in whole.kernels:
        host, *pods = kernel.namespaces
        sections = {**host.sections, "links": recorded.section("links", "[{]")}
        kernels.append(structs.replace(kernel, namespaces=(structs.replace(host, sections=sections), *pods)))
    asked = Question("shop/client-r6pzj", "192.168.8.194", port=8080)
    found = Tracer(structs.replace(whole, kernels=tuple(kernels))).trace(asked)
    assert found.arrival is Arrival.UNKNOWN
    assert "cannot be read: links" in found.sentence


def told(whole: Snapshot, keep: Callable[[NamespaceEvidence], NamespaceEvidence | None]) -> Snapshot:
    """Give the cluster as it is read where some namespaces are left out, or hold less."""
    kernels = [
        structs.replace(k, namespaces=tuple(n for one in k.namespaces if (n := keep(one)) is not None))
        for k in whole.kernels
    ]
    return structs.replace(whole, kernels=tuple(kernels))


@pytest.mark.parametrize(
    "keep",
    [
        lambda one: None if one.is_host else one,
        lambda one: structs.replace(one, sections={k: v for k, v in one.sections.items() if k != "links"}),
    ],
    ids=["pods are read and their nodes are not", "no interface was read"],
)
def test_what_was_not_read_is_no_reason_for_packets_to_be_lost(
    keep: Callable[[NamespaceEvidence], NamespaceEvidence | None],
) -> None:
    tracer = Tracer(told(recorded.calico("policies"), keep))
    for source, destination, port in (
        ("kube-system/coredns-749f466c8f-5wt48", "other/quarantined-9f2jp", 8080),
        ("shop/client-r6pzj", "svc/kube-system/kube-dns", 53),
        ("node/c1", "kube-system/coredns-749f466c8f-5wt48", 53),
    ):
        found = tracer.trace(Question(source, destination, port=port))
        assert found.level is Level.INFERRED, found.sentence
        assert found.arrival is found.expected, found.sentence


def test_interfaces_in_no_known_form_are_no_error_outside_either() -> None:
    junk = recorded.section("links", "[{]")
    broken = told(
        recorded.calico("policies"), lambda one: structs.replace(one, sections={**one.sections, "links": junk})
    )
    found = Tracer(broken).trace(Question("external", "svc/shop/web", port=80, via=Via.NODE_PORT))
    assert found.arrival is Arrival.UNKNOWN


def test_what_a_policy_may_stop_still_leaves_by_a_route_that_is_missing() -> None:
    def without(one: NamespaceEvidence) -> NamespaceEvidence:
        if not one.is_host:
            return one
        routes = [r for r in json.loads(one.sections["routes4"].text) if r.get("dev") != "vxlan.calico"]
        return structs.replace(
            one, sections={**one.sections, "routes4": recorded.section("routes4", json.dumps(routes))}
        )

    tracer = Tracer(told(recorded.calico("policies"), without))
    found = tracer.trace(Question("shop/client-r6pzj", "shop/web-5b75cb4d55-sp7g8", port=8080))
    assert (found.expected, found.arrival, found.level) == (Arrival.UNKNOWN, Arrival.LEAVES, Level.SIMULATED)
    assert found.cause is not None
    assert found.cause.place == "node/c2"
