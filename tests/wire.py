"""A server that speaks HTTP on loopback and misbehaves on demand: what no API server can be made to do."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlparse

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request, with ways to answer it well or badly."""

    protocol_version = "HTTP/1.1"
    wire: WireServer

    @property
    def url(self) -> str:
        return urlparse(self.path).path

    @property
    def query(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlparse(self.path).query).items()}

    def send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(value).encode(), status, headers)

    def status(self, code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        """Answer with a Status object, as the API server does where it refuses."""
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }
        self.json(body, code, headers)

    def cut(self) -> None:
        """Promise much, send little, and hang up."""
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b'{"items":[')
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self.wire.answer(self)

    def log_message(self, *_: Any) -> None:
        pass


class WireServer:
    """Serves an empty cluster, but for what ``on`` was told."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        handler = type("Handler", (Request,), {"wire": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            # A handshake that the client breaks off is what the tests are about, and no news.
            self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> WireServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def on(self, path: str, *answers: Answer) -> None:
        """Answer requests of a path in turn; the last answer stays."""
        self._answers[path] = list(answers)

    def answer(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request.path)
            waiting = self._answers.get(request.url)
            chosen = None
            if waiting:
                chosen = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if chosen is not None:
            chosen(request)
        elif request.url == "/version":
            request.json({"gitVersion": "v1.36.3"})
        else:
            request.json({"kind": "List", "metadata": {}, "items": []})

    def kubeconfig(self, folder: Path, **cluster: Any) -> Path:
        """Write a kubeconfig that leads here."""
        path = folder / "kubeconfig"
        path.write_text(kubeconfig({"server": self.url, **cluster}, {}))
        return path


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any], **context: Any) -> str:
    """Give the text of a kubeconfig with one context."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **context}}],
            "current-context": "here",
        }
    )
