"""exec against a server that answers what no API server should: each is an error that a person can act on."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from kubernetes import client

from netinspect.cluster.exec import Output, Place, run
from netinspect.cluster.transport import Transport
from netinspect.errors import NodeError

PLACE = Place("shop", "web", "app")
STATUS = b'{"status":"Success"}'


@contextmanager
def server(answer: Callable[[socket.socket, bytes], None]) -> Iterator[tuple[str, list[bytes]]]:
    """Accept connections on loopback, read each request's head, and give it to ``answer``."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += connection.recv(4096)
                    heads.append(head)
                    answer(connection, head)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
        listener.shutdown(socket.SHUT_RDWR)


def executed(host: str, *, deadline: float = 5, most: int = 1 << 20) -> Output:
    settings = client.Configuration(host=host, api_key={"authorization": "Bearer s3cret"})
    transport = Transport(client.ApiClient(settings), {"Impersonate-User": ["jane"]}, 5.0)
    return run(transport, PLACE, ["sh"], b"echo", deadline=deadline, most=most)


def page(status: str, headers: str = "", body: bytes = b"") -> Callable[[socket.socket, bytes], None]:
    text = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
    return lambda connection, _head: connection.sendall(text)


def talking(*frames: bytes, wait: threading.Event | None = None) -> Callable[[socket.socket, bytes], None]:
    """Open the WebSocket (RFC 6455) and send these messages."""

    def answer(connection: socket.socket, head: bytes) -> None:
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")).split()[1]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        )
        for content in frames:
            size = bytes([len(content)]) if len(content) < 126 else b"\x7e" + len(content).to_bytes(2, "big")
            connection.sendall(b"\x82" + size + content)
        if wait is not None:
            wait.wait(10)
        elif frames[-1:] and frames[-1][0] == 3:
            # A server keeps the connection until the other side has read the end.
            connection.settimeout(2)
            with suppress(OSError):
                while connection.recv(4096):
                    pass

    return answer


def test_the_request_says_who_we_are_and_whom_we_impersonate() -> None:
    with server(talking(b"\x01out", b"\x02err", b"\x03" + STATUS)) as (host, heads):
        assert executed(host) == Output(b"out", b"err")
    assert b"Impersonate-User: jane" in heads[0]
    assert b"authorization: Bearer s3cret" in heads[0]


def test_our_credentials_do_not_follow_a_redirect() -> None:
    with (
        server(talking()) as (other, stolen),
        server(page("302 Found", f"Location: {other.replace('http', 'ws')}/x\r\n")) as (host, _),
        pytest.raises(NodeError, match="no connection into"),
    ):
        executed(host)
    assert not stolen


@pytest.mark.parametrize(
    ("status", "body", "said", "hint"),
    [
        ("403 Forbidden", b'{"message": "no"}', "is forbidden: no", "netinspect rbac --access exec"),
        ("404 Not Found", b"{}", "is gone", ""),
        ("500 Oops", b'{"message": "dial tcp: no route"}', "the kubelet of pod/shop/web did not answer: dial", "10250"),
        ("400 Bad", b"[]", "was refused: 400", ""),
        ("200 OK", b"<html>", "was refused", ""),
    ],
)
def test_what_the_server_refuses(status: str, body: bytes, said: str, hint: str) -> None:
    with server(page(status, body=body)) as (host, _), pytest.raises(NodeError, match=said) as raised:
        executed(host)
    assert hint in raised.value.hint


@pytest.mark.parametrize("status", [b"[]", b"null", b"\xff", b'{"status": "Failure", "reason": "NonZeroExitCode"}'])
def test_an_end_is_an_end_however_it_is_said(status: bytes) -> None:
    with server(talking(b"\x01out", b"\x03" + status)) as (host, _):
        assert executed(host).stdout == b"out"


def test_a_program_that_cannot_be_started() -> None:
    failed = b'{"status": "Failure", "message": "exec: \\"sh\\": executable file not found in $PATH"}'
    with server(talking(b"\x03" + failed)) as (host, _), pytest.raises(NodeError, match="nothing can be run") as raised:
        executed(host)
    assert raised.value.hint == "the container has no shell"


def test_what_was_read_before_the_connection_broke_is_kept() -> None:
    with server(talking(b"\x01some")) as (host, _):
        output = executed(host)
    assert output.stdout == b"some"
    assert output.broken


def test_silence_ends_at_the_deadline() -> None:
    waiting = threading.Event()
    with server(talking(b"\x01some", wait=waiting)) as (host, _):
        output = executed(host, deadline=0.5)
        waiting.set()
    assert (output.stdout, output.broken) == (b"some", "no end after 0.5 s")


def test_no_more_is_read_than_the_bound() -> None:
    with server(talking(*[b"\x01" + b"x" * 1000] * 20, b"\x03" + STATUS)) as (host, _):
        output = executed(host, most=5000)
    assert len(output.stdout) == 5000
    assert "more than" in output.broken
