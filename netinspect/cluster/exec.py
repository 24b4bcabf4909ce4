"""Run a program in a container: the exec subresource over WebSocket, with input, a deadline and a bound.

Protocols: v5.channel.k8s.io, which can close the input, and v4 of older servers (KEP-4006;
k8s.io/apimachinery pkg/util/remotecommand/constants.go).
"""

from __future__ import annotations

import json
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import websocket
from websocket import ABNF

from netinspect.cluster.transport import Transport
from netinspect.errors import NodeError

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 1 << 16
_COMPLAINT = 1 << 16


@dataclass(frozen=True)
class Place:
    """A container to run something in."""

    namespace: str
    pod: str
    container: str

    def __str__(self) -> str:
        """Write it as the command line takes a pod."""
        return f"pod/{self.namespace}/{self.pod}"


@dataclass(frozen=True)
class Output:
    """What a program printed, as far as it was read; ``broken`` says what ended the reading early."""

    stdout: bytes
    stderr: bytes
    broken: str = ""


def run(transport: Transport, place: Place, command: list[str], stdin: bytes, *, deadline: float, most: int) -> Output:
    """Run a program and give it its input; stop after ``deadline`` seconds or ``most`` bytes.

    Raises ``NodeError`` where it could not be started.
    """
    until = time.monotonic() + deadline
    query = [("container", place.container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    path = f"/api/v1/namespaces/{quote(place.namespace)}/pods/{quote(place.pod)}/exec?{urlencode(query)}"
    connection = _connect(transport, place, path, deadline)
    stdout, stderr = bytearray(), bytearray()
    try:
        # A program that ended before it had read all may have said why.
        with suppress(websocket.WebSocketException, OSError):
            for start in range(0, len(stdin), _CHUNK):
                connection.send(bytes([_STDIN]) + stdin[start : start + _CHUNK], ABNF.OPCODE_BINARY)
            if connection.getsubprotocol() == _PROTOCOLS[0]:
                connection.send(bytes([_CLOSE, _STDIN]), ABNF.OPCODE_BINARY)
        while True:
            remaining = until - time.monotonic()
            if remaining <= 0:
                return Output(bytes(stdout), bytes(stderr), f"no end after {deadline:g} s")
            connection.settimeout(remaining)
            opcode, data = connection.recv_data()
            if opcode == ABNF.OPCODE_CLOSE:
                return Output(bytes(stdout), bytes(stderr), "the connection was closed before the end")
            channel = data[0] if data else None
            if channel == _STDOUT:
                stdout += data[1:]
            elif channel == _STDERR and len(stderr) < _COMPLAINT:
                stderr += data[1:_COMPLAINT]
            elif channel == _STATUS:
                _raise_unstarted(place, data[1:])
                return Output(bytes(stdout), bytes(stderr))
            if len(stdout) > most:
                return Output(bytes(stdout[:most]), bytes(stderr), f"more than {most >> 20} MiB")
    except websocket.WebSocketTimeoutException:
        return Output(bytes(stdout), bytes(stderr), f"no end after {deadline:g} s")
    except (websocket.WebSocketException, OSError) as error:
        return Output(bytes(stdout), bytes(stderr), f"the connection broke: {' '.join(str(error).split())}")
    finally:
        connection.shutdown()


def _connect(transport: Transport, place: Place, path: str, deadline: float) -> Any:
    settings = transport.settings
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE}
    if settings.verify_ssl:
        options = {"cert_reqs": ssl.CERT_REQUIRED}
        if settings.ssl_ca_cert:
            options["ca_certs"] = settings.ssl_ca_cert
        if settings.assert_hostname is not None:
            options["check_hostname"] = settings.assert_hostname
    options |= {"certfile": settings.cert_file} if settings.cert_file else {}
    options |= {"keyfile": settings.key_file} if settings.key_file else {}
    options |= {"server_hostname": settings.tls_server_name} if settings.tls_server_name else {}
    proxy = urlsplit(settings.proxy) if settings.proxy else None
    through: dict[str, Any] = {}
    if proxy is not None:
        through = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "proxy_type": "http"}
        if proxy.username:
            through["http_proxy_auth"] = (proxy.username, proxy.password or "")
    connection = websocket.WebSocket(sslopt=options, enable_multithread=False)
    patience = min(deadline, transport.timeout or deadline)
    try:
        connection.settimeout(patience)
        connection.connect(  # type: ignore[no-untyped-call]
            transport.host.replace("http", "ws", 1) + path,
            header=[f"{name}: {value}" for name, value in transport.headers()],
            subprotocols=list(_PROTOCOLS),
            suppress_origin=True,
            # Our credentials are for this server alone.
            redirect_limit=0,
            **through,
        )
    except websocket.WebSocketBadStatusException as error:
        raise _refused(place, error.status_code, error.resp_body) from error
    except websocket.WebSocketTimeoutException as error:
        raise NodeError(
            f"{place} did not answer within {patience:g} s",
            hint="the API server may not reach the node's kubelet (port 10250)",
        ) from error
    except (websocket.WebSocketException, OSError) as error:
        raise NodeError(
            f"no connection into {place}: {' '.join(str(error).split())}",
            hint="a proxy in the way may not let WebSocket through",
        ) from error
    return connection


def _refused(place: Place, status: int, body: bytes | None) -> NodeError:
    try:
        message = str(json.loads(body or b"{}").get("message") or "")
    except (ValueError, AttributeError):
        message = ""
    if status == 403:
        return NodeError(
            f"exec into {place} is forbidden: {message}",
            hint="grant get and create on pods/exec; `netinspect rbac --access exec` prints the role",
        )
    if status == 404:
        return NodeError(f"{place} is gone")
    if status >= 500:
        return NodeError(
            f"the kubelet of {place} did not answer: {message or status}",
            hint="the node may be down, or its port 10250 not reachable from the API server",
        )
    return NodeError(f"exec into {place} was refused: {message or status}")


def _raise_unstarted(place: Place, status: bytes) -> None:
    """Raise where the program was never started; that it ended with a code is no error of ours."""
    try:
        found = json.loads(status)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return
    if found.get("status") == "Success" or found.get("reason") == "NonZeroExitCode":
        return
    message = " ".join(str(found.get("message") or "").split())
    hint = "the container has no shell" if "not found" in message or "no such file" in message else ""
    raise NodeError(f"nothing can be run in {place}: {message}", hint=hint)
