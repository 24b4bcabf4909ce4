"""What a network, a proxy or a tired API server can do to a reading; each must be said as what it is."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import Netinspect
from tests.lab import pki
from tests.wire import Request, WireServer, kubeconfig

PODS = "/api/v1/pods"


def _pods(names: list[str], token: str = "") -> dict[str, object]:
    items = [{"metadata": {"name": n, "namespace": "shop"}, "status": {"phase": "Running"}} for n in names]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": token}, "items": items}


def test_pages_are_joined_in_order(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    def page(request: Request) -> None:
        number = int(request.query.get("continue", "0"))
        request.json(_pods([f"pod-{number}"], str(number + 1) if number < 3 else ""))

    wire.on(PODS, page)
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert [p["name"] for p in result.json["cluster"]["pods"]] == ["pod-0", "pod-1", "pod-2", "pod-3"]
    assert result.code == 0


def test_gone_in_the_middle_starts_the_list_again(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    wire.on(
        PODS,
        lambda r: r.json(_pods(["old-1"], "a")),
        lambda r: r.status(410, "Expired", "The provided continue parameter is too old"),
        lambda r: r.json(_pods(["new-1"], "b")),
        lambda r: r.json(_pods(["new-2"])),
    )
    result = netinspect("map", "-A", "--network", "container", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert [p["name"] for p in result.json["container"]["pods"]] == ["new-1", "new-2"]


def test_gone_for_ever_is_a_gap(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    wire.on(PODS, lambda r: r.status(410, "Expired", "too old"))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert result.code == 3
    assert [(g["resource"], g["reason"], g["message"]) for g in result.json["gaps"]] == [("pods", "failed", "too old")]
    assert result.json["cluster"]["pods"] is None


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(lambda r: r.status(429, "TooManyRequests", "slow down", {"Retry-After": "0"}), id="429"),
        pytest.param(lambda r: r.status(500, "InternalError", "oops"), id="500"),
        pytest.param(lambda r: r.status(503, "ServiceUnavailable", "starting"), id="503"),
        pytest.param(lambda r: r.cut(), id="cut"),
    ],
)
def test_passing_failures_are_tried_again(
    failure: object, wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    wire.on(PODS, failure, failure, lambda r: r.json(_pods(["there"])))  # type: ignore[arg-type]
    result = netinspect("map", "-A", "--network", "container", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert [p["name"] for p in result.json["container"]["pods"]] == ["there"]
    assert result.code == 0


def test_retry_after_is_obeyed(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    at: list[float] = []

    def busy(request: Request) -> None:
        at.append(time.monotonic())
        request.status(429, "TooManyRequests", "slow down", {"Retry-After": "1"})

    def calm(request: Request) -> None:
        at.append(time.monotonic())
        request.json(_pods([]))

    wire.on(PODS, busy, calm)
    netinspect("map", "-A", "--network", "container", "--kubeconfig", wire.kubeconfig(tmp_path))
    assert at[1] - at[0] >= 1.0


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (lambda r: r.status(503, "ServiceUnavailable", "no leader"), "answered 503"),
        (lambda r: r.cut(), "broke"),
        (lambda _: time.sleep(30), "did not answer within 1 s"),
    ],
    ids=["503", "cut", "silent"],
)
def test_lasting_failure_of_one_kind_is_a_gap(
    failure: object, said: str, wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    wire.on(PODS, failure)  # type: ignore[arg-type]
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "--request-timeout", "1s", "-o", "json")
    assert result.code == 3
    gaps = {g["resource"]: g for g in result.json["gaps"]}
    assert gaps["pods"]["reason"] == "failed"
    assert said in gaps["pods"]["message"]
    assert result.json["cluster"]["pods"] is None
    assert "nodes" not in gaps


def test_a_server_that_says_nothing_at_all(netinspect: Netinspect, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig({"server": f"http://127.0.0.1:{listener.getsockname()[1]}"}, {}))
        result = netinspect("map", "-A", "--kubeconfig", path, "--request-timeout", "1s")
    assert (result.code, result.out) == (3, "")
    assert "did not answer within 1 s" in result.err
    assert "hint: --request-timeout" in result.err


def test_a_server_that_drips_is_ended_by_the_deadline(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    def drip(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        for _ in range(100):
            try:
                request.wfile.write(b" ")
                request.wfile.flush()
            except OSError:
                return
            time.sleep(0.2)

    wire.on(PODS, drip)
    started = time.monotonic()
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "--request-timeout", "2s", "-o", "json")
    assert result.json["gaps"][0]["message"].endswith("did not answer within 2 s")
    assert time.monotonic() - started < 15


def test_nobody_listens(netinspect: Netinspect, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig({"server": f"https://127.0.0.1:{port}"}, {}))
    result = netinspect("map", "-A", "--kubeconfig", path)
    assert (result.code, result.out) == (3, "")
    assert f"127.0.0.1:{port} cannot be reached" in result.err
    assert "refused" in result.err


def test_a_name_that_does_not_resolve(netinspect: Netinspect, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig({"server": "https://no-such-host.invalid:6443"}, {}))
    result = netinspect("map", "-A", "--kubeconfig", path)
    assert result.code == 3
    assert "cannot be resolved" in result.err


def test_plain_http_behind_an_https_address(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    path = wire.kubeconfig(tmp_path, server=wire.url.replace("http:", "https:"))
    result = netinspect("map", "-A", "--kubeconfig", path)
    assert result.code == 3
    assert "does not speak TLS" in result.err


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (lambda r: r.send(b"<html>welcome</html>"), "not as a Kubernetes API server"),
        (lambda r: r.json({"hello": "world"}), "not as a Kubernetes API server"),
        (lambda r: r.send(b"", 302, {"Location": "https://login.example/"}), "redirect"),
        (lambda r: r.status(401, "Unauthorized", "Unauthorized"), "does not accept our credentials"),
    ],
    ids=["page", "other-json", "redirect", "401"],
)
def test_something_else_answers(
    version: object, said: str, wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    wire.on("/version", version)  # type: ignore[arg-type]
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path))
    assert (result.code, result.out) == (3, "")
    assert said in result.err
    assert "hint: " in result.err


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"items": 5}',
        b'{"items": [{"metadata": {"name": 5}}]}',
        b"[" * 100_000,
        b'{"items": [',
        b"\xff\xfe",
    ],
    ids=["page", "number", "field", "deep", "half", "bytes"],
)
def test_half_an_answer_is_a_gap(body: bytes, wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    wire.on(PODS, lambda r: r.send(body))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert result.code == 3
    assert "the list of pods cannot be read" in result.json["gaps"][0]["message"]


def test_an_old_server_without_the_new_kinds_is_seen_whole(
    wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    for path in (
        "/apis/networking.k8s.io/v1/servicecidrs", "/apis/networking.k8s.io/v1beta1/servicecidrs",
        "/apis/gateway.networking.k8s.io/v1/gateways", "/apis/gateway.networking.k8s.io/v1beta1/gateways",
    ):  # fmt: skip
        wire.on(path, lambda r: r.status(404, "NotFound", "the server could not find the requested resource"))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert (result.code, result.json["gaps"]) == (0, [])


@pytest.mark.parametrize(("served", "gaps"), [("httproutes", []), ("gateways", ["gateways"])])
def test_a_kind_that_is_forbidden_because_it_is_not_installed_is_no_gap(
    served: str, gaps: list[str], wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    """The API server asks whether one may before it looks whether there is anything."""
    for version in ("v1", "v1beta1"):
        group = f"/apis/gateway.networking.k8s.io/{version}"
        wire.on(f"{group}/gateways", lambda r: r.status(403, "Forbidden", "gateways is forbidden"))
        wire.on(group, lambda r: r.json({"kind": "APIResourceList", "resources": [{"name": served}]}))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert [g["resource"] for g in result.json["gaps"]] == gaps
    assert result.code == (3 if gaps else 0)


def test_an_older_version_of_a_kind_is_read(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    wire.on("/apis/networking.k8s.io/v1/servicecidrs", lambda r: r.status(404, "NotFound", "not found"))
    beta = {"metadata": {}, "items": [{"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.0.0.0/16"]}}]}
    wire.on("/apis/networking.k8s.io/v1beta1/servicecidrs", lambda r: r.json(beta))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert result.json["service"]["ranges"][0]["source"] == "ServiceCIDR kubernetes"


def test_a_kind_that_every_cluster_has_and_this_one_lacks(
    wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    wire.on("/apis/discovery.k8s.io/v1/endpointslices", lambda r: r.status(404, "NotFound", "not found"))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert result.code == 3
    assert [(g["resource"], g["reason"]) for g in result.json["gaps"]] == [("endpoint_slices", "not-served")]


def test_only_what_the_view_needs_is_read(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    netinspect("map", "-A", "--network", "container", "--kubeconfig", wire.kubeconfig(tmp_path))
    assert [r.partition("?")[0] for r in wire.requests] == ["/version", PODS]


def test_secrets_are_never_asked_for(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    kubeconfig_path = wire.kubeconfig(tmp_path)
    assert netinspect("snapshot", tmp_path / "s.zip", "--kubeconfig", kubeconfig_path).code == 0
    assert wire.requests
    assert not any("secret" in r for r in wire.requests)


def test_a_dead_proxy_is_named(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    path = wire.kubeconfig(tmp_path, **{"proxy-url": "http://127.0.0.1:1"})
    result = netinspect("map", "-A", "--kubeconfig", path)
    assert result.code == 3
    assert "the proxy on the way" in result.err


def test_a_proxy_from_the_kubeconfig_is_used(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def proxy() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(4096).split(b"\r\n")[0])

        threading.Thread(target=proxy, daemon=True).start()
        path = wire.kubeconfig(tmp_path, **{"proxy-url": f"http://127.0.0.1:{listener.getsockname()[1]}"})
        netinspect("map", "-A", "--kubeconfig", path, "--request-timeout", "1s")
    assert seen[0].startswith(f"GET {wire.url}/version".encode())
    assert not wire.requests


def _text_page(name: str, token: str, *, metadata_first: bool) -> bytes:
    metadata = f'"metadata":{{"resourceVersion":"1","continue":"{token}"}}'
    # A pod may carry the very words that the list's own token is known by.
    item = f'{{"metadata":{{"name":"{name}","namespace":"s","annotations":{{"x":"\\"continue\\":\\"lie\\""}}}}}}'
    items = f'"items":[{item}]'
    return f"{{{metadata},{items}}}".encode() if metadata_first else f"{{{items},{metadata}}}".encode()


@pytest.mark.parametrize("metadata_first", [True, False], ids=["metadata-first", "items-first"])
def test_pages_are_asked_for_ahead_and_each_once(
    metadata_first: bool, wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    """The next page is asked for while the last is still on its way, where its beginning says how."""
    arrived: dict[int, float] = {}
    finished: dict[int, float] = {}

    def page(request: Request) -> None:
        number = int(request.query.get("continue", "0"))
        arrived[number] = time.monotonic()
        body = _text_page(f"pod-{number}", str(number + 1) if number < 4 else "", metadata_first=metadata_first)
        body = body[:-1] + b" " * 8000 + b"}"
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[:6000])
        request.wfile.flush()
        time.sleep(0.3)
        finished[number] = time.monotonic()
        request.wfile.write(body[6000:])

    wire.on(PODS, page)
    result = netinspect("map", "-A", "--network", "container", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert [p["name"] for p in result.json["container"]["pods"]] == [f"pod-{n}" for n in range(5)]
    assert len([r for r in wire.requests if r.startswith(PODS)]) == 5
    assert (arrived[1] < finished[0]) is metadata_first


def test_a_page_that_was_asked_for_ahead_may_fail_too(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    """First page cut after its beginning, second gone for ever: tried again, then a gap, and no page twice."""
    first = _text_page("a", "t", metadata_first=True)
    tries: list[int] = []

    def page(request: Request) -> None:
        if request.query.get("continue"):
            request.status(403, "Forbidden", "no more")
        elif not tries:
            tries.append(1)
            request.send_response(200)
            request.send_header("Content-Length", "100000")
            request.end_headers()
            request.wfile.write(first + b" " * 5000)
            request.connection.shutdown(socket.SHUT_RDWR)
        else:
            request.send(first)

    wire.on(PODS, page)
    result = netinspect("map", "-A", "--network", "container", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", "json")
    assert result.code == 3
    assert [(g["reason"], g["message"]) for g in result.json["gaps"]] == [("forbidden", "no more")]


def test_a_proxy_from_the_environment_is_used_and_no_proxy_heeded(
    wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    path = wire.kubeconfig(tmp_path)
    through = netinspect("map", "-A", "--kubeconfig", path, env={"http_proxy": "http://127.0.0.1:1"})
    assert (through.code, "the proxy on the way" in through.err) == (3, True)
    around = {"http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"}
    assert netinspect("map", "-A", "--kubeconfig", path, env=around).code == 0


def test_an_oidc_token_is_presented(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    """The kubeconfig's auth provider holds an ID token (RFC 7519) that has not expired: it is used as it is."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'none'})}.{part({'exp': int(time.time()) + 3600, 'sub': 'me'})}.c2lnbmF0dXJl"
    provider = {
        "name": "oidc",
        "config": {"id-token": token, "client-id": "x", "idp-issuer-url": "https://idp.invalid"},
    }
    seen: list[str | None] = []

    def version(request: Request) -> None:
        seen.append(request.headers["Authorization"])
        request.json({"gitVersion": "v1.36.3"})

    wire.on("/version", version)
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig({"server": wire.url}, {"auth-provider": provider}))
    assert netinspect("map", "-A", "--kubeconfig", path).code == 0
    assert seen == [f"Bearer {token}"]


def test_an_expired_certificate_of_the_server(netinspect: Netinspect, tmp_path: Path) -> None:
    authority = pki.Authority.new(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
    old = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject).public_key(key.public_key()).serial_number(1)
        .not_valid_before(then).not_valid_after(then + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(authority.key, hashes.SHA256())
    )  # fmt: skip
    (tmp_path / "old.crt").write_bytes(old.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "old.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "old.crt", tmp_path / "old.key")
    with WireServer(context) as server:
        path = server.kubeconfig(tmp_path, **{"certificate-authority": str(tmp_path / "ca.crt")})
        result = netinspect("map", "-A", "--kubeconfig", path)
    assert (result.code, result.out) == (3, "")
    assert "has expired" in result.err
    assert "hint: renew the cluster's certificates" in result.err
