"""The whole doctor on real clusters: what the lab's workloads have on purpose is found, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.test_cni import looked_into
from tests.conftest import ROOT, Netinspect
from tests.lab.cluster import kubectl
from tests.lab.settings import Settings

# What tests/lab/manifests/workloads.yaml makes wrong.
ON_PURPOSE = {
    ("NI1701", "cluster"), ("NI1801", "svc/shop/crashing"), ("NI1801", "svc/shop/leaving"),
    ("NI1801", "svc/shop/unready"), ("NI1802", "svc/shop/nobody"), ("NI1803", "svc/shop/web-misnamed"),
    ("NI1804", "svc/shop/legacy"), ("NI1810", "svc/platform/syslog"), ("NI1810", "svc/shop/web-node"),
    ("NI1810", "svc/shop/edge"),
}  # fmt: skip
SETTLED = 8.0
# Nothing listens behind the host port of these pods.
SILENT = "pod/platform/syslog"


@pytest.fixture(scope="module")
def ready(lab: Settings) -> Iterator[Settings]:
    with looked_into(lab):
        yield lab


def report(netinspect: Netinspect, lab: Settings, *more: str) -> Any:
    return netinspect("check", "--kubeconfig", lab.kubeconfig, "-o", "json", *more)


def unmeant(found: Any) -> list[Any]:
    bad = [f for f in found.get("findings", ()) if f["severity"] != "info" and not f["place"].startswith(SILENT)]
    return [f for f in bad if (f["code"], f["place"]) not in ON_PURPOSE]


def test_nothing_is_found_but_what_is_wrong_on_purpose(ready: Settings, netinspect: Netinspect) -> None:
    done = report(netinspect, ready, "--access", "exec", "--strict")
    assert unmeant(done.json) == []
    assert done.code == 1
    found = {(f["code"], f["place"]) for f in done.json["findings"]}
    assert found >= {("NI1801", "svc/shop/crashing"), ("NI1802", "svc/shop/nobody"), ("NI1804", "svc/shop/legacy")}
    by_code = {c["code"]: c for c in done.json["checks"]}
    assert by_code["NI2201"]["result"] in ("passed", "found")
    assert by_code["NI1601"]["result"] == "passed"


def test_by_the_api_alone_the_same_and_less(ready: Settings, netinspect: Netinspect) -> None:
    done = report(netinspect, ready)
    assert unmeant(done.json) == []
    unseen = {c["code"] for c in done.json["checks"] if c["result"] == "unseen"}
    assert {"NI1301", "NI1601", "NI2201"} <= unseen
    assert report(netinspect, ready, "--only", "NI1301", "--strict").code == 3


def test_expectations_of_what_is_there_hold(ready: Settings, netinspect: Netinspect, tmp_path: Path) -> None:
    made = netinspect("verify", "--init", "--kubeconfig", ready.kubeconfig, "--access", "exec")
    assert made.code == 0
    file = tmp_path / "expectations.yaml"
    file.write_text(made.out)
    assert len(yaml.safe_load(made.out)["flows"]) > 5
    done = netinspect("verify", file, "--kubeconfig", ready.kubeconfig, "--access", "exec")
    assert done.code == 0, done.out


def test_a_flow_that_changed_is_told_first(ready: Settings, netinspect: Netinspect, tmp_path: Path) -> None:
    before, after = tmp_path / "before.zip", tmp_path / "after.zip"
    target = ("--kubeconfig", ready.kubeconfig, "--access", "exec")
    assert netinspect("snapshot", before, *target).code in (0, 3)
    kubectl(ready, "-n", "shop", "patch", "service", "web", "-p", '{"spec":{"selector":{"app":"elsewhere"}}}')
    try:
        # Its endpoints go first, and the rules of kube-proxy follow.
        time.sleep(SETTLED)
        assert netinspect("snapshot", after, *target).code in (0, 3)
    finally:
        kubectl(ready, "-n", "shop", "patch", "service", "web", "-p", '{"spec":{"selector":{"app":"web"}}}')
    done = netinspect("diff", before, after, "-o", "json")
    assert done.code == 1
    assert any("svc/shop/web:80" in f["flow"] for f in done.json["flows"])
    assert any(c["place"] == "svc/shop/web" and c["what"] == "endpoints" for c in done.json["changes"])


def test_the_job_in_the_cluster_has_the_rights_it_needs(dual_lab: Settings) -> None:
    """Its service account, with the role that comes with it, sees all that the checks by the API ask for."""
    kubectl(dual_lab, "apply", "-f", "-", stdin=(ROOT / "deploy/clusterrole.yaml").read_text())
    kubectl(dual_lab, "apply", "-f", "-", stdin=(ROOT / "deploy/cronjob.yaml").read_text())
    try:
        done = subprocess.run(
            [sys.executable, "-m", "netinspect", "check", "--kubeconfig", str(dual_lab.kubeconfig), "-o", "wide",
             "--as", "system:serviceaccount:netinspect:netinspect"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "forbidden" not in done.stdout
        jobs = kubectl(dual_lab, "-n", "netinspect", "get", "cronjob", "netinspect", "-o", "name")
        assert jobs.strip() == "cronjob.batch/netinspect"
    finally:
        kubectl(dual_lab, "delete", "-f", "-", "--ignore-not-found", stdin=(ROOT / "deploy/cronjob.yaml").read_text())
        kubectl(dual_lab, "delete", "clusterrole", "netinspect", "--ignore-not-found")


def test_the_action_s_script(dual_lab: Settings, tmp_path: Path) -> None:
    """What the GitHub action runs, with the environment that it gives."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    script = action["runs"]["steps"][-1]["run"]
    bin_ = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-e", "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": f"{bin_}:/usr/bin:/bin", "HOME": str(tmp_path), "FAIL_ON": "never", "JUNIT": "r.xml", "HTML": "",
             "SARIF": "r.sarif", "JSON": "", "ARGUMENTS": f"--kubeconfig '{dual_lab.kubeconfig}' --only NI18",
             "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "::error title=NI1801" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} >= {"r.xml", "r.sarif", "summary.md"}
