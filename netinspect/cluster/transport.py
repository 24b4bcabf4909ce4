"""One request at a time: headers, deadline, retries, and errors that a person can act on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client
from urllib3 import exceptions as http

from netinspect import __version__
from netinspect.errors import ApiError, CertificateError, ClusterError, CredentialsError, UnreachableError

# Answers that another try may better. 410 is not among them: only the list as a whole can be tried again.
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_HEAD = 4096
_ATTEMPTS_WITHOUT_DEADLINE = 6


class Transport:
    """A connection to one API server. Safe to use from several threads."""

    def __init__(self, api: client.ApiClient, headers: dict[str, list[str]], timeout: float) -> None:
        self._api = api
        self._timeout = timeout
        self._headers = headers
        self.host: str = api.configuration.host

    @property
    def settings(self) -> client.Configuration:
        """Give the client's settings: certificates, proxy, and how the server's name is checked."""
        settings: client.Configuration = self._api.configuration
        return settings

    @property
    def timeout(self) -> float:
        """Give the longest wait for one answer in seconds; 0 means no bound."""
        return self._timeout

    def headers(self) -> list[tuple[str, str]]:
        """Give the headers of every request: who we are, and whom we impersonate."""
        _, _, sent, _, _ = self._api.param_serialize(
            "GET", "/", header_params={"User-Agent": f"netinspect/{__version__}"}, auth_settings=["BearerToken"]
        )
        return [*sent.items(), *((name, value) for name, values in self._headers.items() for value in values)]

    def send(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> bytes:
        """Create, change or delete, once: whether a request that broke was carried out is not known.

        Raises as ``get`` does.
        """
        content = None if body is None else json.dumps(body).encode()
        deadline = time.monotonic() + self._timeout if self._timeout else None
        try:
            return self._once(method, path, query or {}, "application/json", deadline, lambda _head: None, content)
        except _PassingError as passing:
            raise passing.final(1) from passing

    def get(
        self,
        path: str,
        query: dict[str, str] | None = None,
        accept: str = "application/json",
        on_head: Callable[[bytes], None] = lambda _head: None,
    ) -> bytes:
        """Read one resource whole; ``on_head`` is given its beginning as soon as that is there.

        What may pass is tried again until ``--request-timeout`` is over. Raises ``ApiError`` for an answer that
        stands, ``UnreachableError``, ``CertificateError`` or ``CredentialsError`` where there is none.
        """
        deadline = time.monotonic() + self._timeout if self._timeout else None
        pause = _FIRST_PAUSE
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once("GET", path, query or {}, accept, deadline, on_head)
            except _PassingError as passing:
                wait = max(pause, passing.retry_after)
                out_of_time = deadline is not None and time.monotonic() + wait >= deadline
                if out_of_time or (deadline is None and attempt >= _ATTEMPTS_WITHOUT_DEADLINE):
                    raise passing.final(attempt) from passing
                time.sleep(wait)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _once(  # noqa: PLR0917 - what a request is made of
        self,
        method: str,
        path: str,
        query: dict[str, str],
        accept: str,
        deadline: float | None,
        on_head: Callable[[bytes], None],
        content: bytes | None = None,
    ) -> bytes:
        remaining = None if deadline is None else max(deadline - time.monotonic(), 0.05)
        try:
            response = self._send(method, path, query, accept, remaining, content)
            with _ended_by(deadline, response):
                head = response.read(_HEAD, decode_content=True)
                if response.status < 300:
                    on_head(head)
                body = head + response.read(decode_content=True)
        except http.HTTPError as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise _timed_out(self.host, self._timeout) from error
            raise self._translate(error) from error
        if response.status < 300:
            return body
        raise self._refusal(path, response.status, response.headers, body)

    def _send(  # noqa: PLR0917 - as above
        self,
        method: str,
        path: str,
        query: dict[str, str],
        accept: str,
        remaining: float | None,
        content: bytes | None,
    ) -> urllib3.BaseHTTPResponse:
        sent = urllib3.HTTPHeaderDict(self.headers())
        sent["Accept"] = accept
        if content is not None:
            sent["Content-Type"] = "application/json"
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        timeout = urllib3.Timeout(connect=remaining, read=remaining)
        pool = self._api.rest_client.pool_manager
        return pool.request(
            method, url, headers=sent, body=content, timeout=timeout, preload_content=False, redirect=False
        )

    def _translate(self, error: http.HTTPError) -> Exception:
        reason: BaseException | None = error
        while isinstance(reason, http.MaxRetryError):
            reason = reason.reason
        text = " ".join(str(reason).split())
        hint = "check the server's address in the kubeconfig, and that it runs"
        match reason:
            case http.ProxyError():
                text = " ".join(str(reason.original_error).split())
                message = f"the proxy on the way to {self.host} failed: {text}"
                hint = "check proxy-url in the kubeconfig, or HTTPS_PROXY and NO_PROXY"
            case http.SSLError():
                return _certificate(self.host, text)
            case http.NameResolutionError():
                message = f"the name of the API server {self.host} cannot be resolved"
                hint = "check the server's address in the kubeconfig, and your DNS or VPN"
            case http.NewConnectionError():
                message = f"the API server {self.host} cannot be reached: {text.rpartition(': ')[2]}"
            case http.TimeoutError():
                return _timed_out(self.host, self._timeout)
            case http.LocationValueError():
                message = f"{self.host!r} is not an address of an API server"
                hint = "write --server as https://HOST:PORT"
            case _:
                return _PassingError(
                    lambda tries: UnreachableError(
                        f"the connection to {self.host} broke {tries} times: {text}",
                        hint="something in between may cut connections; a longer --request-timeout tries longer",
                    )
                )
        return UnreachableError(message, hint=hint)

    def _refusal(self, path: str, status: int, headers: Any, body: bytes) -> Exception:
        message, reason = _status(body)
        if status == 401:
            return CredentialsError(
                f"the API server {self.host} does not accept our credentials (401)",
                hint="the token or certificate is wrong or has expired: log in again, or check `kubectl auth whoami`",
            )
        if status in _TRY_AGAIN:

            def final(n: int) -> ClusterError:
                return ApiError(
                    f"the API server answered {status} to {n} tries of {path}: {message or reason}",
                    status=status,
                    reason=reason,
                    hint="the server is overloaded or not ready; a longer --request-timeout tries longer",
                )

            return _PassingError(final, _retry_after(headers.get("Retry-After")))
        if 300 <= status < 400:
            return UnreachableError(
                f"{self.host} answers with a redirect, as no API server does",
                hint="the address may be that of a web page in front of the cluster",
            )
        return ApiError(message or f"the API server answered {status} to {path}", status=status, reason=reason)


class _PassingError(Exception):
    """What may go better next time; ``final`` makes the error that stands when there is no next time."""

    def __init__(self, final: Callable[[int], ClusterError], retry_after: float = 0.0) -> None:
        super().__init__()
        self.final = final
        self.retry_after = retry_after


@contextmanager
def _ended_by(deadline: float | None, response: urllib3.BaseHTTPResponse) -> Iterator[None]:
    """End the reading of a body at the deadline: a socket's own time-out starts anew with each byte that drips in."""
    if deadline is None:
        yield
        return
    timer = threading.Timer(max(deadline - time.monotonic(), 0.0), response.shutdown)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _timed_out(host: str, timeout: float) -> UnreachableError:
    return UnreachableError(
        f"the API server {host} did not answer within {timeout:g} s",
        hint="--request-timeout gives it longer; a firewall that drops packets looks like this too",
    )


def _certificate(host: str, text: str) -> ClusterError:
    """Say what is wrong between the two sides' certificates, going by OpenSSL's words (x509_txt.c, ssl_err.c)."""
    if any(words in text for words in ("self-signed", "self signed", "unable to get", "signature failure")):
        message = f"the certificate of {host} is not signed by an authority that the kubeconfig trusts"
        hint = "check certificate-authority in the kubeconfig; --insecure-skip-tls-verify looks without checking"
    elif "match" in text or "not valid for" in text:
        message = f"the certificate of {host} is for another name: {text}"
        hint = "use a name that is in the certificate, or set tls-server-name in the kubeconfig"
    elif "expired" in text and "alert" in text:
        message = "our client certificate has expired"
        hint = "renew the kubeconfig's credentials"
    elif "expired" in text:
        message = f"the certificate of {host} has expired"
        hint = "renew the cluster's certificates, and check the clocks"
    elif any(words in text for words in ("WRONG_VERSION_NUMBER", "record layer", "EOF")):
        message = f"{host} does not speak TLS"
        hint = "the port may be another service's, or plain HTTP"
    else:
        message = f"no TLS connection to {host}: {text}"
        hint = "check the certificates in the kubeconfig"
    return CertificateError(message, hint=hint)


def _status(body: bytes) -> tuple[str, str]:
    """Take message and reason out of a Status object; a proxy's page is not repeated."""
    try:
        status = json.loads(body)
    except ValueError:
        return "", ""
    if not isinstance(status, dict):
        return "", ""
    return str(status.get("message") or ""), str(status.get("reason") or "")


def _retry_after(value: str | None) -> float:
    """Read Retry-After in seconds; the date form is not used by API servers."""
    try:
        return max(0.0, float(value)) if value else 0.0
    except ValueError:
        return 0.0
