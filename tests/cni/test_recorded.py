"""Real clusters as they were recorded: the CNI, its mode, and what is wrong where something was."""

from __future__ import annotations

import json
import posixpath
from functools import cache
from typing import Any

import pytest
from msgspec import structs

from netinspect.analysis.cni import report
from netinspect.model.cni import CniReport, Severity
from netinspect.model.evidence import Access, NamespaceEvidence, NodeEvidence, Section
from netinspect.model.resources import CNI_SETTINGS
from netinspect.model.snapshot import Snapshot
from tests import build, corpora
from tests.kernel.test_calico_lab import namespace

CALICO = {
    "nodes": "nodes", "pods": "pods", "daemon_sets": "daemonsets", "network_policies": "networkpolicies",
    "ip_pools": "ippools.crd.projectcalico.org", "block_affinities": "blockaffinities.crd.projectcalico.org",
    "ipam_blocks": "ipamblocks.crd.projectcalico.org",
    "felix_configurations": "felixconfigurations.crd.projectcalico.org",
}  # fmt: skip
CILIUM = {
    "nodes": "nodes", "pods": "pods", "daemon_sets": "daemonsets", "network_policies": "networkpolicies",
    "cilium_nodes": "ciliumnodes", "custom_resource_definitions": "crds",
}  # fmt: skip


@cache
def files(name: str) -> dict[str, str]:
    found = corpora.recorded(corpora.folder() / f"lab-{name}.tar.gz")
    return {posixpath.relpath(path, f"lab-{name}"): text for path, text in found.items()}


def listed(found: dict[str, str], folder: str, kinds: dict[str, str]) -> Snapshot:
    lists: Any = {k: json.loads(found[f"{folder}/{v}.json"])["items"] for k, v in kinds.items()}
    return build.snapshot(**lists)


def calico(situation: str) -> CniReport:
    found = files("calico")
    snapshot = listed(found, f"{situation}/api", CALICO)
    settings = [c for c in json.loads(found[f"{situation}/api/configmaps.json"])["items"]
                if c["metadata"]["name"] in CNI_SETTINGS.objects]  # fmt: skip
    kernels = tuple(
        NodeEvidence(
            node, Access.EXEC, "recorded",
            (NamespaceEvidence("host", namespace(found, f"{situation}/{node}/host").evidence.sections),),
        )
        for node in ("c1", "c2")
    )  # fmt: skip
    with_settings = build.snapshot(cni_settings=settings).cni_settings
    return report(structs.replace(snapshot, kernels=kernels, cni_settings=with_settings))


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
    found = files("cilium")
    snapshot = listed(found, f"{step}/kubectl", CILIUM)
    settings = json.loads(found[f"{step}/kubectl/cm-cilium-config.json"])
    kernels = []
    for node in ("k1", "k2"):
        conflist = Section(
            "cni:/etc/cni/net.d/05-cilium.conflist", found[f"{step}/{node}/05-cilium.conflist"], exit_code=0
        )
        host = NamespaceEvidence("host", {conflist.name: conflist})
        kernels.append(NodeEvidence(node, Access.EXEC, "recorded", (host,)))
    with_settings = build.snapshot(cni_settings=[settings]).cni_settings
    said = report(structs.replace(snapshot, kernels=tuple(kernels), cni_settings=with_settings))
    assert said.headline == f"Cilium ({mode})"
    assert (said.services == "cilium") == ("replacement" in mode)
    assert not [f for f in said.findings if f.severity is not Severity.INFO]
