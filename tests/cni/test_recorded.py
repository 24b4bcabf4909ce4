"""Real clusters as they were recorded: the CNI, its mode, and what is wrong where something was."""

from __future__ import annotations

import pytest

from netinspect.analysis.cni import report
from netinspect.model.cni import CniReport
from netinspect.model.finding import Severity
from tests import recorded


def calico(situation: str) -> CniReport:
    return report(recorded.calico(situation))


def test_calico_that_works_has_no_findings() -> None:
    found = calico("policies")
    assert found.headline == "Calico (VXLAN)"
    assert (found.datapath, found.ipam, found.policy) == ("calico", "calico", "calico")
    assert not [f for f in found.findings if f.severity is not Severity.INFO]
    assert found.compared > 30
    assert {("UDP", 4789)} == {(p.protocol, p.number) for c in found.cnis for p in c.ports}


def test_rules_of_kube_proxy_above_felix() -> None:
    found = calico("kube-proxy-just-restarted")
    assert {(f.kind, f.place) for f in found.findings} == {("policy-order", "node/c1"), ("policy-order", "node/c2")}
    assert all("KUBE-FORWARD stands above cali-FORWARD" in f.says for f in found.findings)


def test_felix_that_crashes_half_way() -> None:
    found = calico("k8s-networkpolicy-felix-crashlooping")
    missing = {(f.place, f.cause.partition(":")[0]) for f in found.findings if f.kind == "policy-missing"}
    assert ("node/c1", "Felix has not programmed NetworkPolicy shop/web-from-clients") in missing
    assert ("node/c2", "Felix has not programmed NetworkPolicy other/plain-egress") in missing
    assert not any("default-deny" in cause for _, cause in missing)


@pytest.mark.parametrize(
    ("step", "mode"),
    [
        ("a-kube-proxy/1-no-policy", "tunnel, vxlan"),
        ("a-kube-proxy/2-policy", "tunnel, vxlan"),
        ("b-kpr/1-no-policy", "tunnel, vxlan, kube-proxy replacement"),
        ("b-kpr/2-policy", "tunnel, vxlan, kube-proxy replacement"),
    ],
)
def test_cilium(step: str, mode: str) -> None:
    said = report(recorded.cilium(step))
    assert said.headline == f"Cilium ({mode})"
    assert (said.services == "cilium") == ("replacement" in mode)
    assert not [f for f in said.findings if f.severity is not Severity.INFO]
