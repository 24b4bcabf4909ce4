"""How a real API server is reached, and every way in which that fails."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import ROOT, Netinspect
from tests.lab import pki
from tests.lab.cluster import kubectl
from tests.lab.settings import Settings
from tests.wire import kubeconfig

ONLY_PODS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ROLE
metadata: {name: NAME, namespace: shop}
rules: [{apiGroups: [""], resources: [pods], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ROLEBinding
metadata: {name: NAME, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ROLE, name: NAME}
subjects: [{kind: ServiceAccount, name: NAME, namespace: default}]
"""


@pytest.fixture(scope="module")
def stored(dual_lab: Settings) -> Any:
    """Give the administrator's kubeconfig, taken apart."""
    return json.loads(dual_lab.kubeconfig.read_text())


@pytest.fixture(scope="module")
def cluster(stored: Any) -> dict[str, Any]:
    found: dict[str, Any] = stored["clusters"][0]["cluster"]
    return found


@pytest.fixture(scope="module")
def admin(stored: Any) -> dict[str, Any]:
    found: dict[str, Any] = stored["users"][0]["user"]
    return found


def account(lab: Settings, name: str, role: str) -> str:
    """Make a service account that may only list pods, everywhere or in one namespace, and give its token."""
    text = ONLY_PODS.replace("NAME", name).replace("ROLE", role)
    if role == "ClusterRole":
        text = text.replace("name: pods-all, namespace: shop", "name: pods-all")
    kubectl(lab, "apply", "-f", "-", stdin=text)
    return kubectl(lab, "-n", "default", "create", "token", name).strip()


def write(folder: Path, cluster: dict[str, Any], user: dict[str, Any], **context: Any) -> Path:
    path = folder / "kubeconfig"
    path.write_text(kubeconfig(cluster, user, **context))
    return path


def test_only_pods_give_a_useful_map(
    dual_lab: Settings, cluster: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    token = account(dual_lab, "pods-all", "ClusterRole")
    path = write(tmp_path, cluster, {"token": token})
    result = netinspect("map", "-A", "--kubeconfig", path, "-o", "json")
    assert result.code == 3
    seen = result.json
    assert {g["resource"]: g["reason"] for g in seen["gaps"]} == dict.fromkeys(
        (
            "nodes",
            "services",
            "endpoint_slices",
            "ingresses",
            "gateways",
            "service_cidrs",
            "config_maps",
            "daemon_sets",
            "cni_settings",
        ),
        "forbidden",
    )
    assert {g["hint"] for g in seen["gaps"]} >= {"grant list on nodes", "grant list on endpointslices.discovery.k8s.io"}
    assert {n["name"]: n["knownFrom"] for n in seen["host"]["nodes"]} == {"n1": "pods", "n2": "pods", "n3": "pods"}
    assert {a["address"] for n in seen["host"]["nodes"] for a in n["addresses"]} >= {"172.30.0.11", "fd00:30::13"}
    assert {p["name"] for p in seen["cluster"]["pods"]} >= {"db-0", "db-1", "leaving"}
    # The control plane's flags stand in kube-apiserver's pod, which may be listed.
    assert seen["service"]["ranges"][0]["source"] == "kube-apiserver --service-cluster-ip-range"
    assert seen["service"]["services"] is None
    assert seen["cluster"]["nodes"] is None
    table = netinspect("map", "-A", "--kubeconfig", path)
    assert table.code == 3
    assert "NOT SEEN" in table.out
    assert "Services: not known" in table.out
    containers = netinspect("map", "-A", "--network", "container", "--kubeconfig", path)
    assert containers.code == 0, "the container network needs nothing but pods"


def test_rights_in_one_namespace_give_a_map_of_that_namespace(
    dual_lab: Settings, cluster: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    token = account(dual_lab, "pods-here", "Role")
    path = write(tmp_path, cluster, {"token": token})
    result = netinspect("map", "-n", "shop", "--kubeconfig", path, "-o", "json")
    assert result.code == 3
    gaps = {g["resource"]: g for g in result.json["gaps"]}
    assert (gaps["pods"]["reason"], gaps["pods"]["message"]) == ("partial", "only those in shop may be listed")
    assert {p["namespace"] for p in result.json["cluster"]["pods"]} == {"shop"}
    named = netinspect("map", "pod/shop/db-0", "--kubeconfig", path, "-o", "json")
    assert [p["name"] for p in named.json["cluster"]["pods"]] == ["db-0"]


def test_impersonation_by_flag_and_by_kubeconfig(
    dual_lab: Settings, cluster: dict[str, Any], admin: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    flag = netinspect("map", "-A", "--kubeconfig", dual_lab.kubeconfig, "--as", "nobody", "-o", "json")
    assert 'User "nobody"' in flag.json["gaps"][0]["message"]
    path = write(tmp_path, cluster, {**admin, "as": "someone"})
    stored = netinspect("map", "-A", "--kubeconfig", path, "-o", "json")
    assert 'User "someone"' in stored.json["gaps"][0]["message"]
    group = ("--as", "nobody", "--as-group", "system:masters", "--as-group", "others")
    assert netinspect("map", "-A", "--kubeconfig", dual_lab.kubeconfig, *group).code == 0
    alone = netinspect("map", "-A", "--kubeconfig", dual_lab.kubeconfig, "--as-group", "g")
    assert (alone.code, "need --as" in alone.err) == (2, True)


def test_kubeconfigs_are_found_and_merged_as_kubectl_does(
    dual_lab: Settings, stored: Any, netinspect: Netinspect, tmp_path: Path
) -> None:
    """Users in one file, clusters in another, a file that is not there, and the first current-context."""
    whole = {"apiVersion": "v1", "kind": "Config"}
    users = tmp_path / "users"
    users.write_text(json.dumps({**whole, "users": stored["users"], "contexts": stored["contexts"],
                                 "current-context": "testdual"}))  # fmt: skip
    clusters = tmp_path / "clusters"
    clusters.write_text(json.dumps({**whole, "clusters": stored["clusters"]}))
    separator = ";" if sys.platform == "win32" else ":"
    both = separator.join(map(str, (users, tmp_path / "nosuch", clusters)))
    assert netinspect("map", "-A", env={"KUBECONFIG": both}).code == 0
    home = tmp_path / "home" / ".kube"
    home.mkdir(parents=True)
    (home / "config").write_text(json.dumps(stored))
    assert netinspect("map", "-A", env={"HOME": str(home.parent)}).code == 0
    assert netinspect("map", "-A", "--context", "testdual", "--kubeconfig", dual_lab.kubeconfig).code == 0
    chosen = ("--cluster", "testdual", "--user", "admin", "--kubeconfig", dual_lab.kubeconfig)
    assert netinspect("map", "-A", *chosen).code == 0


def test_files_are_relative_to_the_kubeconfig_that_names_them(
    cluster: dict[str, Any], admin: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    pairs = (("ca.crt", cluster["certificate-authority-data"]), ("me.crt", admin["client-certificate-data"]),
             ("me.key", admin["client-key-data"]))  # fmt: skip
    for name, data in pairs:
        (tmp_path / name).write_bytes(base64.b64decode(data))
    user = {"client-certificate": "me.crt", "client-key": "me.key"}
    path = write(tmp_path, {"server": cluster["server"], "certificate-authority": "ca.crt"}, user)
    for more in ((), ("--context", "here"), ("--user", "u"), ("--cluster", "c", "--user", "u")):
        assert netinspect("map", "-A", "--kubeconfig", path, *more).code == 0, more
    assert netinspect("map", "-A", env={"KUBECONFIG": str(path)}).code == 0


def test_the_context_gives_the_namespace(
    cluster: dict[str, Any], admin: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    path = write(tmp_path, cluster, admin, namespace="platform")
    result = netinspect("map", "--kubeconfig", path, "-o", "json")
    assert {p["namespace"] for p in result.json["container"]["pods"]} == {"platform"}
    plain = netinspect("map", "--kubeconfig", write(tmp_path, cluster, admin), "-o", "json")
    assert plain.json["scope"] == {"namespaces": ["default"]}
    assert "no pods in namespace default; -A shows every namespace" in plain.err


def test_inside_a_pod_the_service_account_is_used(dual_lab: Settings, cluster: dict[str, Any], tmp_path: Path) -> None:
    """The files that a kubelet mounts into a pod, at their path, in a mount namespace of our own."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(kubectl(dual_lab, "-n", "default", "create", "token", "pods-all"))
    (folder / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    (folder / "namespace").write_text("shop")
    host, port = cluster["server"].removeprefix("https://").split(":")
    target = "/run/secrets/kubernetes.io/serviceaccount"
    script = (
        f"mount -t tmpfs tmpfs /run && mkdir -p {target} && mount --bind {folder} {target} && "
        f"exec {sys.executable} -m netinspect map -o json"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/nonexistent", "KUBERNETES_SERVICE_HOST": host,
             "KUBERNETES_SERVICE_PORT": port},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    seen = json.loads(done.stdout)
    assert seen["scope"] == {"namespaces": ["shop"]}
    assert {p["namespace"] for p in seen["cluster"]["pods"]} == {"shop"}


def plugin(folder: Path, script: str) -> dict[str, Any]:
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program),
                     "interactiveMode": "Never", "installHint": "install the plugin"}}  # fmt: skip


def test_credential_plugins(
    dual_lab: Settings, cluster: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    token = kubectl(dual_lab, "-n", "default", "create", "token", "pods-all").strip()
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
    good = write(tmp_path, cluster, plugin(tmp_path, f"echo '{json.dumps(credential)}'"))
    assert netinspect("map", "-A", "--network", "container", "--kubeconfig", good).code == 0
    for script in ("echo no token today >&2; exit 1", "echo nonsense", "true"):
        bad = write(tmp_path, cluster, plugin(tmp_path, script))
        result = netinspect("map", "-A", "--kubeconfig", bad)
        assert (result.code, result.out) == (2, "")
        assert "the credential plugin" in result.err
        assert "hint: install the plugin" in result.err
    missing = write(tmp_path, cluster, {"exec": {**plugin(tmp_path, "")["exec"], "command": "/no/such/plugin"}})
    assert "'/no/such/plugin' failed" in netinspect("map", "-A", "--kubeconfig", missing).err


def test_credentials_that_the_server_does_not_take(
    dual_lab: Settings, cluster: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    garbage = netinspect("map", "-A", "--kubeconfig", write(tmp_path, cluster, {"token": "garbage"}))
    assert (garbage.code, garbage.out) == (3, "")
    assert "does not accept our credentials (401)" in garbage.err
    account(dual_lab, "short-lived", "Role")
    token = kubectl(dual_lab, "-n", "default", "create", "token", "short-lived").strip()
    kubectl(dual_lab, "-n", "default", "delete", "serviceaccount", "short-lived")
    deleted = netinspect("map", "-A", "--kubeconfig", write(tmp_path, cluster, {"token": token}))
    assert (deleted.code, "401" in deleted.err) == (3, True)


def test_an_expired_client_certificate(
    dual_lab: Settings, cluster: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    folder = dual_lab.folder / "pki"
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
    old = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")]))
        .issuer_name(authority.subject).public_key(key.public_key()).serial_number(1)
        .not_valid_before(then).not_valid_after(then + datetime.timedelta(days=1))
        .sign(signer, hashes.SHA256())
    )  # fmt: skip
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    user = {"client-certificate-data": base64.b64encode(old.public_bytes(serialization.Encoding.PEM)).decode(),
            "client-key-data": base64.b64encode(pem).decode()}  # fmt: skip
    result = netinspect("map", "-A", "--kubeconfig", write(tmp_path, cluster, user))
    assert (result.code, result.out) == (3, "")
    assert "credentials" in result.err


def test_certificates_that_do_not_fit(
    cluster: dict[str, Any], admin: dict[str, Any], netinspect: Netinspect, tmp_path: Path
) -> None:
    pki.Authority.new(tmp_path)
    other = base64.b64encode((tmp_path / "ca.crt").read_bytes()).decode()
    strange = write(tmp_path, {**cluster, "certificate-authority-data": other}, admin)
    refused = netinspect("map", "-A", "--kubeconfig", strange)
    assert (refused.code, refused.out) == (3, "")
    assert "not signed by an authority that the kubeconfig trusts" in refused.err
    assert "--insecure-skip-tls-verify" in refused.err
    unchecked = netinspect("map", "-A", "--kubeconfig", strange, "--insecure-skip-tls-verify")
    assert (unchecked.code, unchecked.err) == (0, "")
    misnamed = write(tmp_path, {**cluster, "tls-server-name": "wrong.example"}, admin)
    refused = netinspect("map", "-A", "--kubeconfig", misnamed)
    assert (refused.code, "is for another name" in refused.err) == (3, True)
    named = write(tmp_path, {**cluster, "tls-server-name": "kubernetes.default"}, admin)
    assert netinspect("map", "-A", "--kubeconfig", named).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--context", "nosuch"), "there is no context 'nosuch'"),
        (("--user", "nosuch"), "no user 'nosuch'"),
        (("--cluster", "nosuch"), "no cluster 'nosuch'"),
        (("--kubeconfig", "/no/such/file"), "there is no file /no/such/file"),
        (("--request-timeout", "soon"), "not a time span"),
        (("-n", "nosuch"), "there is no namespace nosuch"),
        (("-n", "shop", "pod/nosuch"), "there is no pod shop/nosuch"),
        (("--network", "nosuch"), "there is no network 'nosuch'"),
        (("-l", "a b"), "cannot read 'a b' in the label selector"),
        (("deploy/web",), "cannot read 'deploy/web' as an object"),
        (("pod/web", "-A"), "there is no pod web"),
        (("-n", "shop", "-A"), "exclude each other"),
        (("--node", "nosuch"), "there is no node nosuch"),
        (("--as", "\u674e"), "nobody can be impersonated by the name"),
        (("--as", "a\nb"), "nobody can be impersonated by the name"),
    ],
)
def test_mistakes_on_the_command_line(
    arguments: tuple[str, ...], said: str, dual_lab: Settings, netinspect: Netinspect
) -> None:
    result = netinspect("map", *arguments, env={"KUBECONFIG": str(dual_lab.kubeconfig)})
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert result.err.startswith("error: ")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "5", "nonsense", "a: [", '{"contexts": 5}', '{"clusters": [{"name": "c"}]}',
             '{"contexts": [{"name": "x"}], "current-context": "x"}', "\x00", "- a\n- b",
             '{"contexts": ["foo"], "current-context": "foo"}', '{"contexts": {"a": "b"}, "current-context": "a"}',
             '{"clusters": [{"name": "c", "cluster": {"server": 8080}}], "users": [{"name": "u", "user": {}}], '
             '"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}']
)  # fmt: skip
def test_broken_kubeconfigs(text: str, netinspect: Netinspect, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    result = netinspect("map", "-A", "--kubeconfig", tmp_path / "kubeconfig")
    assert (result.code, result.out) == (2, ""), result.err
    assert result.err.startswith("error: ")


def test_no_kubeconfig_at_all(netinspect: Netinspect) -> None:
    result = netinspect("map")
    assert (result.code, result.out) == (2, "")
    assert "there is no kubeconfig" in result.err
    assert "--demo" in result.err


def test_the_published_role_is_enough_and_nothing_too_much(
    dual_lab: Settings, netinspect: Netinspect, tmp_path: Path
) -> None:
    """With it nothing is a gap; without any one of its rules something is."""
    role = yaml.safe_load((ROOT / "deploy" / "clusterrole.yaml").read_text())
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "netinspect"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "netinspect"},
        "subjects": [{"kind": "User", "name": "inspector"}],
    }  # fmt: skip
    kubectl(dual_lab, "apply", "-f", "-", stdin=json.dumps(binding))

    def gaps(rules: list[Any]) -> int:
        kubectl(dual_lab, "apply", "-f", "-", stdin=json.dumps({**role, "rules": rules}))
        path = tmp_path / "s.zip"
        result = netinspect("snapshot", "--force", path, "--kubeconfig", dual_lab.kubeconfig, "--as", "inspector")
        return result.code

    assert gaps(role["rules"]) == 0
    # What a cluster does not have, as the kinds of CNIs that are not installed, nobody is missing.
    served = set(kubectl(dual_lab, "api-resources", "-o", "name").split())
    for rule in role["rules"]:
        assert rule["verbs"] == ["list"]
        (group,) = rule["apiGroups"]
        for resource in (r for r in rule["resources"] if f"{r}.{group}".removesuffix(".") in served):
            less = {**rule, "resources": [r for r in rule["resources"] if r != resource]}
            assert gaps([less if r is rule else r for r in role["rules"] if r is not rule or less["resources"]]) == 3, (
                resource
            )
