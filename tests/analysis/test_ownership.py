from __future__ import annotations

import pytest

from netinspect.analysis.ownership import Owners, annotate
from netinspect.output.base import safe
from tests.build import Json, endpoint, endpoint_slice, meta, node, pod, service, snapshot


def entry(kind_status: Json) -> Json:
    return {"metadata": meta("front"), "status": kind_status}


@pytest.fixture
def owners() -> Owners:
    balanced = service("web", "10.96.0.10", "fd00:96::a", externalIPs=["198.51.100.1"])
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}, {"hostname": "lb.example"}]}}
    return Owners(snapshot(
        nodes=[node("n1", "192.168.0.1", "fd00:5::1", cidrs=("10.0.1.0/24", "fd00:1::/64"))],
        pods=[
            pod("web", "10.0.1.2", "fd00:1::2"),
            pod("done", "10.0.1.3", phase="Succeeded"),
            pod("reborn", "10.0.1.3"),
            pod("finished", "10.0.1.4", phase="Failed"),
            pod("on-host", "192.168.0.1", hostNetwork=True),
        ],
        services=[balanced],
        service_cidrs=[{"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}}],
        endpoint_slices=[endpoint_slice("legacy", endpoint("198.51.100.7"), endpoint("10.0.1.2", "web"))],
        ingresses=[entry({"loadBalancer": {"ingress": [{"ip": "203.0.113.6"}]}})],
        gateways=[entry({"addresses": [{"type": "IPAddress", "value": "203.0.113.7"}]})],
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.1.2", ["pod/shop/web as pod address", "svc/shop/legacy as endpoint", "node/n1 as pod range",
                       "as pod range of the cluster"]),
        ("fd00:1::2", ["pod/shop/web as pod address", "node/n1 as pod range", "as pod range of the cluster"]),
        ("FD00:0001:0:0:0::2", ["pod/shop/web as pod address", "node/n1 as pod range", "as pod range of the cluster"]),
        ("::ffff:10.0.1.2", ["pod/shop/web as pod address", "svc/shop/legacy as endpoint", "node/n1 as pod range",
                       "as pod range of the cluster"]),
        ("10.0.1.3", ["pod/shop/reborn as pod address", "pod/shop/done as released by a finished pod",
                      "node/n1 as pod range", "as pod range of the cluster"]),
        ("10.0.1.4", ["pod/shop/finished as released by a finished pod", "node/n1 as pod range",
                      "as pod range of the cluster"]),
        ("10.0.1.99", ["node/n1 as pod range", "as pod range of the cluster"]),
        ("192.168.0.1", ["node/n1 as InternalIP"]),
        ("fe80::1%eth0", ["as link-local"]),
        ("10.96.0.10", ["svc/shop/web as cluster IP", "as service range"]),
        ("10.96.7.7", ["as service range"]),
        ("198.51.100.1", ["svc/shop/web as external IP"]),
        ("203.0.113.5", ["svc/shop/web as load balancer"]),
        ("203.0.113.6", ["ingress/shop/front as ingress"]),
        ("203.0.113.7", ["gateway/shop/front as gateway"]),
        ("198.51.100.7", ["svc/shop/legacy as endpoint"]),
        ("8.8.8.8", ["as external"]),
        ("127.0.0.1", ["as loopback: the pod or node that uses it"]),
        ("172.17.0.2", ["as private, not known to this cluster"]),
    ],
)  # fmt: skip
def test_every_owner_is_named_the_most_exact_first(owners: Owners, address: str, expected: list[str]) -> None:
    found = owners.of(address)
    assert found is not None
    assert [f"{o.owner} as {o.role}".strip() for o in found.owners] == expected
    assert found.certain


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "web", "10.0.0.1/24", "::g", "0x0a000001"])
def test_what_is_no_address_has_no_owner(owners: Owners, text: str) -> None:
    assert owners.of(text) is None


def test_a_gap_makes_external_uncertain_and_what_was_seen_certain() -> None:
    owners = Owners(snapshot(pods=[pod("web", "10.0.1.2")], gaps=("services",)))
    seen, unseen = owners.of("10.0.1.2"), owners.of("10.96.0.1")
    assert seen is not None
    assert unseen is not None
    assert (seen.certain, unseen.certain) == (True, False)


def test_two_pods_that_claim_one_address_are_both_named() -> None:
    found = Owners(snapshot(pods=[pod("a", "10.0.0.1"), pod("b", "10.0.0.1")])).of("10.0.0.1")
    assert found is not None
    assert [(o.owner, o.detail) for o in found.owners] == [
        ("pod/shop/a", "on n1; several pods claim it"), ("pod/shop/b", "on n1; several pods claim it")
    ]  # fmt: skip


W, D = "[pod/shop/web]", "[svc/shop/web]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("from 10.0.1.2:80 to 10.96.0.10:443", f"from 10.0.1.2{W}:80 to 10.96.0.10{D}:443"),
        ("tcp [fd00:1::2]:80 -> fd00:96::a", f"tcp [fd00:1::2]{W}:80 -> fd00:96::a{D}"),
        ("IP 10.0.1.2.51234 > 10.96.0.10.53: 1+ A?", f"IP 10.0.1.2{W}.51234 > 10.96.0.10{D}.53: 1+ A?"),
        ("IP6 fd00:1::2.51234 > fd00:96::a.53:", f"IP6 fd00:1::2{W}.51234 > fd00:96::a{D}.53:"),
        ('{"ip":"10.0.1.2"}', f'{{"ip":"10.0.1.2{W}"}}'),
        ("10.0.1.2", f"10.0.1.2{W}"),
        ("10.0.1.2/24,10.0.1.2", f"10.0.1.2{W}/24,10.0.1.2{W}"),
        ("::ffff:10.0.1.2", f"::ffff:10.0.1.2{W}"),
        ("in 10.0.1.99 free", "in 10.0.1.99[pod range node/n1] free"),
        ("8.8.8.8 is nobody's", "8.8.8.8 is nobody's"),
        ("v10.0.1.2 1.10.0.1.2 10.0.1.2.3.4 110.0.1.2", "v10.0.1.2 1.10.0.1.2 10.0.1.2.3.4 110.0.1.2"),
        ("64 bytes from fd00:1::2: seq=1", f"64 bytes from fd00:1::2{W}: seq=1"),
        ("to 10.0.1.4", "to 10.0.1.4[released by a finished pod pod/shop/finished]"),
        ("at 12:34:56 mac 0a:00:01:02:00:01 ::", "at 12:34:56 mac 0a:00:01:02:00:01 ::"),
        ("", ""),
    ],
)  # fmt: skip
def test_text_is_annotated_and_otherwise_unchanged(owners: Owners, line: str, expected: str) -> None:
    assert list(annotate([line], owners, safe)) == [expected]
