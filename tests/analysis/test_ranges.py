from __future__ import annotations

from netinspect.analysis.ranges import Taken, capacity, parse_network, pod_ranges, service_ranges
from netinspect.model.topology import Evidence
from tests.build import Json, node, service, snapshot

CIDR = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00::/112"]}}


def apiserver(*command: str, component: str = "kube-apiserver") -> Json:
    return {
        "metadata": {"name": component, "labels": {"component": component}},
        "spec": {"containers": [{"name": component, "command": list(command)}]},
    }


def kubernetes(*ips: str) -> Json:
    return {**service("kubernetes", *ips), "metadata": {"name": "kubernetes", "namespace": "default"}}


def test_service_cidr_objects_come_first() -> None:
    found = service_ranges(snapshot(
        service_cidrs=[CIDR],
        services=[service("a", "10.96.0.1", "fd00::1"), service("b", "10.96.3.4"), service("headless", "None")],
        control_plane=[apiserver("kube-apiserver", "--service-cluster-ip-range=192.168.0.0/16")],
    ))  # fmt: skip
    assert [(r.cidr, r.evidence, r.source, r.used, r.capacity) for r in found] == [
        ("10.96.0.0/16", Evidence.OBJECT, "ServiceCIDR kubernetes", 2, 65534),
        ("fd00::/112", Evidence.OBJECT, "ServiceCIDR kubernetes", 1, 65536),
    ]


def test_flags_are_read_in_every_form_a_command_line_takes() -> None:
    for command in (
        ("kube-apiserver", "--service-cluster-ip-range=10.0.0.0/16,fd00::/112"),
        ("kube-apiserver", "--service-cluster-ip-range", "10.0.0.0/16,fd00::/112"),
        ("sh", "-c", "exec kube-apiserver --v=2 '--service-cluster-ip-range=10.0.0.0/16,fd00::/112' >log"),
    ):
        found = service_ranges(snapshot(control_plane=[apiserver(*command)]))
        assert [(r.cidr, r.source) for r in found] == [
            ("10.0.0.0/16", "kube-apiserver --service-cluster-ip-range"),
            ("fd00::/112", "kube-apiserver --service-cluster-ip-range"),
        ]


def test_kubeadm_configuration_stands_in_for_flags() -> None:
    text = 'networking:\n  dnsDomain: cluster.local\n  podSubnet: 10.244.0.0/16\n  serviceSubnet: "10.96.0.0/12"\n'
    known = snapshot(config_maps=[
        {"metadata": {"name": "kubeadm-config", "namespace": "kube-system"}, "data": {"ClusterConfiguration": text}}
    ])  # fmt: skip
    assert [(r.cidr, r.source) for r in service_ranges(known)] == [
        ("10.96.0.0/12", "ConfigMap kubeadm-config serviceSubnet")
    ]
    assert [r.cidr for r in pod_ranges(known, Taken(()))] == ["10.244.0.0/16"]


def test_ranges_are_inferred_last_and_said_to_be() -> None:
    """The API server takes the first address of the range, so 10.96.0.0 is known; its end is not."""
    found = service_ranges(snapshot(services=[kubernetes("10.96.0.1"), service("a", "10.96.200.7")]))
    assert [(r.cidr, r.evidence) for r in found] == [("10.96.0.0/16", Evidence.INFERRED)]
    found = service_ranges(snapshot(services=[service("a", "fd00::5"), service("b", "fd00::7")]))
    assert [(r.cidr, r.evidence) for r in found] == [("fd00::4/126", Evidence.INFERRED)]
    nodes = [node("n1", cidrs=("10.0.0.0/24",)), node("n2", cidrs=("10.0.1.0/24",)), node("n3", cidrs=("10.0.9.0/24",))]
    pods = pod_ranges(snapshot(nodes=nodes), Taken(()))
    assert [(r.cidr, r.evidence) for r in pods] == [
        ("10.0.0.0/23", Evidence.INFERRED), ("10.0.9.0/24", Evidence.INFERRED)
    ]  # fmt: skip


def test_nothing_is_inferred_from_nothing() -> None:
    assert service_ranges(snapshot()) == ()
    assert pod_ranges(snapshot(), Taken(())) == ()


def test_use_is_unknown_where_the_users_were_not_seen() -> None:
    assert service_ranges(snapshot(service_cidrs=[CIDR], gaps=("services",)))[0].used is None


def test_hostile_ranges_are_named_and_not_obeyed() -> None:
    odd = {"metadata": {"name": "odd"}, "spec": {"cidrs": ["not-a-range", "10.0.0.0/99"]}}
    assert [r.source for r in service_ranges(snapshot(service_cidrs=[odd]))] == [
        "ServiceCIDR odd (not a range)", "ServiceCIDR odd (not a range)"
    ]  # fmt: skip


def test_capacity_counts_what_can_be_handed_out() -> None:
    def of(text: str) -> int | None:
        network = parse_network(text)
        assert network is not None
        return capacity(network)

    assert [of("10.0.0.0/24"), of("10.0.0.0/31"), of("10.0.0.0/32"), of("fd00::/112")] == [254, 2, 1, 65536]
    assert of("fd00::/64") is None
