"""Inspector pods and execs when things go wrong: nothing stays behind, each node that was not read is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Netinspect
from tests.lab import cluster as lab_cluster
from tests.lab import node as lab_node
from tests.lab.cluster import get, kubectl
from tests.lab.images import BUSYBOX, NETSHOOT
from tests.lab.settings import Settings
from tests.wire import kubeconfig

Result = Any


def run(lab: Settings, netinspect: Netinspect, *arguments: str) -> Result:
    return netinspect(*arguments, "--kubeconfig", lab.kubeconfig)


def inspectors(lab: Settings, namespace: str = "kube-system") -> list[str]:
    selector = "app.kubernetes.io/name=netinspect"
    return [
        f"{o['kind']}/{o['metadata']['name']}" for o in get(lab, "jobs,pods", "-n", namespace, "-l", selector)["items"]
    ]


def gone(lab: Settings, within: float, namespace: str = "kube-system") -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not inspectors(lab, namespace):
            return True
        time.sleep(0.5)
    return False


def gaps(result: Result) -> dict[str, str]:
    return {g["resource"]: f"{g['message']} | {g.get('hint', '')}" for g in result.json["gaps"]}


HOST = ("map", "--network", "host", "-o", "json", "--access")
POD = (*HOST, "pod", "--image", NETSHOOT)


def test_dry_run_prints_what_the_server_takes_and_creates_nothing(dual_lab: Settings, netinspect: Netinspect) -> None:
    before = get(dual_lab, "events", "-n", "kube-system")["items"]
    result = run(dual_lab, netinspect, "map", "--access", "pod", "--image", NETSHOOT, "--dry-run")
    assert result.code == 0
    objects = list(yaml.safe_load_all(result.out))
    assert [o["kind"] for o in objects] == ["Job", "Pod", "Pod", "Pod"]
    assert {o["spec"]["nodeName"] for o in objects[1:]} == set(dual_lab.node_names)
    for one in objects:
        kubectl(dual_lab, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(one))
    assert not inspectors(dual_lab)
    assert len(get(dual_lab, "events", "-n", "kube-system")["items"]) >= len(before)


def test_the_security_context_is_no_more_than_is_needed(dual_lab: Settings, netinspect: Netinspect) -> None:
    (_, pod) = yaml.safe_load_all(run(dual_lab, netinspect, "node", "n1", "--access", "pod", "--dry-run").out)
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    context = container["securityContext"]
    assert context["privileged"] is False
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["readOnlyRootFilesystem"] is True
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] > 0
    assert set(container["resources"]) == {"requests", "limits"}
    assert "@sha256:" in container["image"]
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
    assert not any("hostPath" in v for v in spec.get("volumes", []))


def test_killed_in_the_middle_nothing_outlives_the_deadline(dual_lab: Settings) -> None:
    arguments = [*POD, "--node-timeout", "5s", "--kubeconfig", str(dual_lab.kubeconfig)]
    running = subprocess.Popen(
        [sys.executable, "-m", "netinspect", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    until = time.monotonic() + 30
    while len(inspectors(dual_lab)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    left = inspectors(dual_lab)
    assert left
    (job,) = [o for o in get(dual_lab, "jobs", "-n", "kube-system")["items"] if o["metadata"]["name"] in str(left)]
    assert gone(dual_lab, job["spec"]["activeDeadlineSeconds"] + 25), inspectors(dual_lab)


def test_ctrl_c_takes_everything_away(dual_lab: Settings) -> None:
    arguments = [*POD, "--kubeconfig", str(dual_lab.kubeconfig)]
    running = subprocess.Popen(
        [sys.executable, "-m", "netinspect", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    )
    until = time.monotonic() + 30
    while len(inspectors(dual_lab)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, b"interrupted" in said, b"Traceback" in said) == (130, True, False)
    assert gone(dual_lab, 20)


def test_cleanup_removes_what_is_left(dual_lab: Settings, netinspect: Netinspect) -> None:
    job, pod = yaml.safe_load_all(
        run(dual_lab, netinspect, "node", "n2", "--access", "pod", "--image", NETSHOOT, "--dry-run").out
    )
    made = json.loads(kubectl(dual_lab, "create", "-o", "json", "-f", "-", stdin=json.dumps(job)))
    pod["metadata"]["ownerReferences"][0]["uid"] = made["metadata"]["uid"]
    kubectl(dual_lab, "create", "-f", "-", stdin=json.dumps(pod))
    looked = run(dual_lab, netinspect, "cleanup", "--dry-run")
    assert {line.split()[0] for line in looked.out.splitlines()} == {
        f"job/{job['metadata']['name']}", f"pod/{pod['metadata']['name']}",
    }  # fmt: skip
    assert len(inspectors(dual_lab)) == 2
    assert "deleted" in run(dual_lab, netinspect, "cleanup").out
    assert gone(dual_lab, 20)
    assert "nothing" in run(dual_lab, netinspect, "cleanup").err


def test_deleting_the_one_owner_removes_all(dual_lab: Settings, netinspect: Netinspect) -> None:
    objects = list(yaml.safe_load_all(run(dual_lab, netinspect, *HOST, "pod", "--image", NETSHOOT, "--dry-run").out))
    made = json.loads(kubectl(dual_lab, "create", "-o", "json", "-f", "-", stdin=json.dumps(objects[0])))
    for pod in objects[1:]:
        pod["metadata"]["ownerReferences"][0]["uid"] = made["metadata"]["uid"]
        kubectl(dual_lab, "create", "-f", "-", stdin=json.dumps(pod))
    kubectl(dual_lab, "-n", "kube-system", "delete", "job", made["metadata"]["name"], "--wait=false")
    assert gone(dual_lab, 30)


def test_pod_security_admission_refuses(dual_lab: Settings, netinspect: Netinspect) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": labels}}
    kubectl(dual_lab, "apply", "-f", "-", stdin=json.dumps(namespace))
    result = run(dual_lab, netinspect, *POD, "--inspector-namespace", "strict")
    assert result.code == 3
    assert set(gaps(result)) == {f"node/{n}" for n in dual_lab.node_names}
    assert all("violates PodSecurity" in g and "enforce=privileged" in g for g in gaps(result).values())
    assert result.json["host"]["nodes"][0]["name"] == "n1"
    assert gone(dual_lab, 10, "strict")


def test_a_namespace_that_there_is_not(dual_lab: Settings, netinspect: Netinspect) -> None:
    result = run(dual_lab, netinspect, *POD, "--inspector-namespace", "nowhere")
    assert result.code == 3
    assert all("--inspector-namespace" in g for g in gaps(result).values())


def test_an_image_that_is_missing(dual_lab: Settings, netinspect: Netinspect) -> None:
    arguments = ("--image", "localhost:1/no/such:image", "--node-timeout", "20s")
    result = run(dual_lab, netinspect, "node", "n2", "--access", "pod", *arguments)
    assert result.code == 3
    assert "cannot start" in result.err
    assert "hint: --image" in result.err
    never = run(
        dual_lab, netinspect, "node", "n2", "--access", "pod", "--image-pull-policy", "Never", "--image", "no/such:1"
    )
    assert "ErrImageNeverPull" in never.err
    assert gone(dual_lab, 20)


def test_a_node_that_is_stopped_is_a_gap_and_the_others_are_read(dual_lab: Settings, netinspect: Netinspect) -> None:
    pid = lab_node.init(dual_lab, "n3")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        result = run(dual_lab, netinspect, *POD, "--node-timeout", "8s")
        assert result.code == 3
        assert list(gaps(result)) == ["node/n3"]
        assert "did not run within 8 s" in gaps(result)["node/n3"]
        read = {n["name"]: n.get("interfaces") for n in result.json["host"]["nodes"]}
        assert read["n1"]
        assert read["n2"]
        assert read["n3"] is None
        through = run(dual_lab, netinspect, *HOST, "exec", "--node-timeout", "5s", "--request-timeout", "5s")
        assert through.code == 3
        assert "node/n3" in gaps(through)
        assert next(n for n in through.json["host"]["nodes"] if n["name"] == "n1")["interfaces"]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert gone(dual_lab, 60)


def test_the_way_to_the_api_server_is_lost_in_the_middle(dual_lab: Settings) -> None:
    arguments = [*POD, "--node-timeout", "4s", "--request-timeout", "4s", "--kubeconfig", str(dual_lab.kubeconfig)]
    running = subprocess.Popen(
        [sys.executable, "-m", "netinspect", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    until = time.monotonic() + 30
    while len(inspectors(dual_lab)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    lab_cluster.freeze_forwarders(dual_lab)
    try:
        out, said = running.communicate(timeout=90)
    finally:
        lab_cluster.thaw_forwarders(dual_lab)
    assert running.returncode == 3, said
    assert b"Traceback" not in said
    assert {g["resource"] for g in json.loads(out)["gaps"]} <= {f"node/{n}" for n in dual_lab.node_names}
    assert gone(dual_lab, 70)


AGENT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: hung, namespace: kube-system}
data: {sh: "#!/bin/busybox ash\\nexec /bin/busybox sleep 3003\\n"}
---
apiVersion: v1
kind: Pod
metadata: {name: aaa-hung, namespace: kube-system}
spec:
  nodeName: n2
  hostPID: true
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
  - name: hung
    image: "IMAGE"
    command: [/bin/busybox, sleep, "3600"]
    securityContext: {privileged: true}
    volumeMounts: [{name: sh, mountPath: /bin/sh, subPath: sh}]
  volumes: [{name: sh, configMap: {name: hung, defaultMode: 0755}}]
"""


def test_a_shell_that_hangs_gives_way_to_the_next_agent(dual_lab: Settings, netinspect: Netinspect) -> None:
    kubectl(dual_lab, "apply", "-f", "-", stdin=AGENT.replace("IMAGE", BUSYBOX))
    try:
        kubectl(dual_lab, "-n", "kube-system", "wait", "--for=condition=Ready", "pod/aaa-hung", "--timeout=60s")
        result = run(
            dual_lab, netinspect, "node", "n2", "--access", "exec", "--node-timeout", "2s", "--section", "links"
        )
        assert "read through pod/kube-flannel/" in result.out, result.err
    finally:
        kubectl(dual_lab, "-n", "kube-system", "delete", "pod/aaa-hung", "configmap/hung", "--wait=true")


def test_a_pod_that_dies_meanwhile(dual_lab: Settings) -> None:
    container = {"name": "a", "image": BUSYBOX, "command": ["/bin/busybox", "sleep", "3600"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "mayfly", "namespace": "shop"},
        "spec": {"terminationGracePeriodSeconds": 0, "nodeName": "n2", "containers": [container]},
    }
    kubectl(dual_lab, "apply", "-f", "-", stdin=json.dumps(pod))
    kubectl(dual_lab, "-n", "shop", "wait", "--for=condition=Ready", "pod/mayfly", "--timeout=60s")
    arguments = ["map", "-A", "-o", "json", "--access", "exec", "--kubeconfig", str(dual_lab.kubeconfig)]
    running = subprocess.Popen(
        [sys.executable, "-m", "netinspect", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    time.sleep(0.7)
    kubectl(dual_lab, "-n", "shop", "delete", "pod", "mayfly", "--now", "--wait=false")
    out, said = running.communicate(timeout=120)
    assert running.returncode in (0, 3), said
    assert b"Traceback" not in said
    assert json.loads(out)["kind"] == "Topology"


@pytest.fixture(scope="module")
def stored(dual_lab: Settings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dual_lab.kubeconfig.read_text())["clusters"][0]["cluster"]
    return found


def account(
    lab: Settings, netinspect: Netinspect, level: str, namespace: str, drop: tuple[str, str] | None = None
) -> str:
    """Give the token of an account that has what ``netinspect rbac`` prints, but for one verb on one kind."""
    args = ("--access", level, "--inspector-namespace", namespace, "--serviceaccount", f"default:{level}")
    objects = list(yaml.safe_load_all(netinspect("rbac", *args).out))
    for one in objects:
        for rule in one.get("rules", []):
            if drop and drop[0] in rule["resources"] and (drop[0] != "pods" or one["kind"] == "Role"):
                rule["verbs"] = [v for v in rule["verbs"] if v != drop[1]]
    objects = [o for o in objects if o["kind"] != "Namespace" or not drop]
    for one in objects:
        one["rules"] = [r for r in one.get("rules", []) if r["verbs"]] if "rules" in one else None
    objects.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": level, "namespace": "default"}})
    for one in objects:
        kubectl(lab, "apply", "-f", "-", stdin=json.dumps({k: v for k, v in one.items() if v is not None}))
    return kubectl(lab, "-n", "default", "create", "token", level).strip()


def as_account(folder: Path, cluster: dict[str, Any], token: str) -> Path:
    path = folder / "kubeconfig"
    path.write_text(kubeconfig(cluster, {"token": token}))
    return path


def settled(run_: Result) -> bool:
    return bool(run_.code == 0)


def test_the_printed_roles_are_enough_and_nothing_too_much(
    dual_lab: Settings, stored: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    def works(level: str, drop: tuple[str, str] | None) -> bool:
        config = as_account(tmp_path, stored, account(dual_lab, netinspect, level, "netinspect", drop))
        arguments = ["--kubeconfig", str(config)]
        image = ["--image", NETSHOOT, "--inspector-namespace", "netinspect"] if level == "pod" else []
        read = netinspect("node", "n2", "--access", level, "--section", "links", *image, *arguments)
        if level == "exec":
            return settled(read)
        left = not gone(dual_lab, 4, "netinspect") if drop == ("jobs", "delete") else False
        leftover = {"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": "left", "namespace": "netinspect",
            "labels": {"app.kubernetes.io/name": "netinspect", "app.kubernetes.io/component": "inspector"}},
            "spec": {"containers": [{"name": "a", "image": BUSYBOX}]}}  # fmt: skip
        kubectl(dual_lab, "apply", "-f", "-", stdin=json.dumps(leftover))
        cleaned = netinspect("cleanup", "--inspector-namespace", "netinspect", *arguments)
        kubectl(dual_lab, "-n", "netinspect", "delete", "pods,jobs", "--all", "--now")
        return settled(read) and settled(cleaned) and not left

    assert works("exec", None)
    assert not works("exec", ("pods/exec", "get"))
    assert not works("exec", ("pods/exec", "create"))
    assert works("pod", None)
    for resource, verbs in (
        ("jobs", ("create", "list", "delete")),
        ("pods", ("create", "get", "delete")),
        ("pods/exec", ("get", "create")),
    ):
        for verb in verbs:
            assert not works("pod", (resource, verb)), (resource, verb)


def test_exec_forbidden_is_a_gap_with_the_way_out(
    dual_lab: Settings, stored: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    config = as_account(tmp_path, stored, account(dual_lab, netinspect, "none", "kube-system"))
    result = netinspect(*HOST, "exec", "--kubeconfig", config)
    assert result.code == 3
    assert set(gaps(result)) == {f"node/{n}" for n in dual_lab.node_names}
    assert all("forbidden" in g and "netinspect rbac --access exec" in g for g in gaps(result).values())
    created = netinspect(*POD, "--kubeconfig", config)
    assert all("netinspect rbac --access pod" in g for g in gaps(created).values())
    assert created.code == 3


@pytest.fixture(autouse=True)
def _nothing_stays(dual_lab: Settings) -> Iterator[None]:
    yield
    assert gone(dual_lab, 60)
