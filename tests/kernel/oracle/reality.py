"""What really happens: sockets in the namespaces of a scene send its probes, and others say what arrived."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from tests.kernel.oracle.scene import Built, Probe, entered

# include/uapi/linux/in.h, in6.h, asm-generic/socket.h
_RECVMARK, _PKTINFO, _TRANSPARENT, _TRANSPARENT6, _RECVERR, _RECVERR6 = 75, 8, 19, 75, 11, 25
_MTU_DISCOVER, _DO, _DONT = 10, 2, 0
_MTU_DISCOVER6 = 23
_LISTEN = 512
_ESTABLISHED = 1
# What each load begins with: that it is ours, how often its probe was sent before, and its number.
_ANSWER = b"answered"
_HEADER, _MAGIC = struct.Struct("!IHH"), 0x6E657469
# struct icmphdr and icmp6hdr: type, code, checksum, identifier, sequence number.
_ECHO = struct.Struct("!BBHHH")
_RESULTS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    **dict.fromkeys(
        (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EMSGSIZE, errno.EINVAL, errno.EPROTO,
         errno.ENOPROTOOPT, errno.EPERM, errno.ENONET, errno.EHOSTDOWN, errno.ENOKEY,
         errno.EDESTADDRREQ),
        "unreachable",
    ),
    **dict.fromkeys((errno.ETIMEDOUT, errno.EPIPE, errno.EADDRNOTAVAIL), "timeout"),
    # What a device drops tells those who ask for errors.
    errno.ENOBUFS: "timeout",
}  # fmt: skip


class Seen(Struct, frozen=True):
    """A packet as its receiver saw it; ``sport`` and ``mark`` are None where that cannot be told."""

    ns: str
    src: str
    dst: str
    dport: int
    sport: int | None = None
    mark: int | None = None


@dataclass
class Outcome:
    """What came of a probe: what its sender met, and what any receiver saw."""

    result: str = "timeout"
    seen: list[Seen] = field(default_factory=list)
    sent_from: tuple[str, int] = ("", 0)
    error: str = ""


class Session:
    """All sockets of one scene."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self.probes = built.scene.probes
        self._select = selectors.DefaultSelector()
        self._all: list[socket.socket] = []
        self.outcomes: list[Outcome] = [Outcome() for _ in built.scene.probes]
        self._clients: dict[int, socket.socket] = {}
        self.asked: list[int] = [0 for _ in built.scene.probes]

    def __enter__(self) -> Session:
        for ns, wanted in self._built.scene.listeners.items():
            with entered(self._built.real(ns)):
                for protocol, port, address in wanted:
                    self._listen(ns, protocol, port, address)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            one.close()
        self._select.close()

    def _listen(self, ns: str, protocol: str, port: int, address: str) -> None:
        six = ":" in address
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
        self._all.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, _TRANSPARENT6, 1)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _TRANSPARENT, 1)
            made.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
        made.setsockopt(socket.SOL_SOCKET, _RECVMARK, 1)
        made.bind((address, port))
        made.setblocking(False)
        if protocol == "tcp":
            made.listen(_LISTEN)
            self._select.register(made, selectors.EVENT_READ, ("accept", ns))
        else:
            self._select.register(made, selectors.EVENT_READ, ("datagram", ns))

    def ask(self, numbers: Iterable[int], quiet: float) -> None:
        """Send some probes, and wait until nothing has come for so many seconds."""
        self._forget()
        self._send_all(list(numbers))
        self._wait(quiet)

    def _forget(self) -> None:
        """Let the kernels forget what errors have told them of the way: the collector does not see it."""
        for ns in self._built.scene.namespaces:
            with entered(self._built.real(ns)):
                for family in ("ipv4", "ipv6"):
                    Path(f"/proc/sys/net/{family}/route/flush").write_text("1")

    def _send_all(self, numbers: list[int]) -> None:
        for number in numbers:
            self.asked[number] += 1
        # All give up, asked again or not: a SYN sent anew would meet what others have made known (neigh_update).
        for earlier in self._clients.values():
            with contextlib.suppress(KeyError, ValueError):
                self._select.unregister(earlier)
            earlier.close()
        self._clients.clear()
        for number in numbers:
            probe = self.probes[number]
            self.outcomes[number] = Outcome()
            with entered(self._built.real(probe.ns)), _as(probe.uid):
                try:
                    self._send(number, probe)
                except OSError as error:
                    self._failed(number, error.errno or 0)

    def _send(self, number: int, probe: Probe) -> None:
        six = ":" in probe.dst
        family = socket.AF_INET6 if six else socket.AF_INET
        kinds = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0),
                 "icmp": (socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)}  # fmt: skip
        made = socket.socket(family, *kinds[probe.protocol])
        self._all.append(made)
        self._clients[number] = made
        made.setblocking(False)
        if probe.mark:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, probe.mark)
        discover = (socket.IPPROTO_IPV6, _MTU_DISCOVER6) if six else (socket.IPPROTO_IP, _MTU_DISCOVER)
        if probe.protocol != "tcp":
            made.setsockopt(*discover, _DO if probe.df else _DONT)
            made.setsockopt(*((socket.IPPROTO_IPV6, _RECVERR6) if six else (socket.IPPROTO_IP, _RECVERR)), 1)
        if probe.src or probe.sport:
            # The ports of earlier tries may still be in use, and their connections known.
            made.bind((probe.src, probe.sport and probe.sport + 1000 * self.asked[number]))
        load = self._head(number).ljust(probe.size, b".")
        if probe.protocol == "icmp":
            self._echo(made, number, probe, six=six)
            return
        # A datagram socket is told of errors only when it is connected.
        result = made.connect_ex((probe.dst, probe.dport))
        if result not in (0, errno.EINPROGRESS):
            self._failed(number, result)
            return
        self.outcomes[number].sent_from = made.getsockname()[:2]
        if probe.protocol == "udp":
            made.send(load)
            self._select.register(made, selectors.EVENT_READ, ("answer", number))
        else:
            self._select.register(made, selectors.EVENT_WRITE, ("connecting", number))

    def _head(self, number: int) -> bytes:
        return _HEADER.pack(_MAGIC, self.asked[number], number)

    def _numbered(self, load: bytes) -> int | None:
        """Give the probe that a load belongs to; None where it is none of ours, or comes late from an earlier try."""
        if len(load) < _HEADER.size:
            return None
        magic, asked, number = _HEADER.unpack(load[: _HEADER.size])
        known = magic == _MAGIC and number < len(self.asked) and asked == self.asked[number]
        return int(number) if known else None

    def ident(self, number: int) -> int:
        """Give the identifier of a probe's last echo request: another one each time, so that no connection is known."""
        return 0x4000 + 256 * self.asked[number] + number

    def _echo(self, made: socket.socket, number: int, probe: Probe, *, six: bool) -> None:
        made.connect((probe.dst, 0))
        self.outcomes[number].sent_from = made.getsockname()[:2]
        ident = self.ident(number)
        kind = 128 if six else 8
        header = _ECHO.pack(kind, 0, 0, ident, 1)
        load = b"." * probe.size
        sum_ = 0 if six else checksum(header + load)
        if six:
            # ping(8) sends by a socket that is not connected: of IPv6 a raw one that is looks its route up twice, the
            # second time from the address that it was given (rawv6_sendmsg). The connected one hears the answer.
            with self._raw6(probe) as sender:
                sender.sendto(_ECHO.pack(kind, 0, sum_, ident, 1) + load, (probe.dst, 0))
        else:
            made.send(_ECHO.pack(kind, 0, sum_, ident, 1) + load)
        self._select.register(made, selectors.EVENT_READ, ("echo", number))

    @staticmethod
    def _raw6(probe: Probe) -> socket.socket:
        made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        if probe.mark:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, probe.mark)
        made.setsockopt(socket.IPPROTO_IPV6, _MTU_DISCOVER6, _DO if probe.df else _DONT)
        made.setsockopt(socket.IPPROTO_IPV6, _RECVERR6, 1)
        if probe.src:
            made.bind((probe.src, 0))
        return made

    def _failed(self, number: int, code: int) -> None:
        if code not in _RESULTS:
            raise OSError(code, f"an error that no packet makes: {errno.errorcode.get(code)}")
        self.outcomes[number].result = _RESULTS[code]
        self.outcomes[number].error = errno.errorcode[code]

    def _wait(self, quiet: float) -> None:
        while True:
            ready = self._select.select(quiet)
            if not ready:
                return
            for key, _ in ready:
                what, which = key.data
                with contextlib.suppress(BlockingIOError):
                    getattr(self, f"_on_{what}")(key.fileobj, which)

    def _on_accept(self, listener: socket.socket, ns: str) -> None:
        made, _ = listener.accept()
        made.setblocking(False)
        self._all.append(made)
        self._select.register(made, selectors.EVENT_READ, ("stream", ns))

    def _on_stream(self, made: socket.socket, ns: str) -> None:
        try:
            load = made.recv(65536)
        except ConnectionError:
            load = b""
        number = self._numbered(load)
        if number is not None:
            try:
                own, peer = made.getsockname(), made.getpeername()
            except OSError:
                # It has been reset meanwhile.
                return
            self.outcomes[number].seen.append(Seen(ns, _plain(peer[0]), _plain(own[0]), own[1], peer[1]))
            with contextlib.suppress(OSError):
                made.send(load[:8])
        else:
            self._select.unregister(made)
            made.close()

    def _on_datagram(self, made: socket.socket, ns: str) -> None:
        load, extra, _, peer = made.recvmsg(65536, 1024)
        number = self._numbered(load)
        if number is None:
            return
        dst, mark = "", None
        for level, kind, data in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SO_MARK):
                mark = struct.unpack("I", data[:4])[0]
            elif (level, kind) == (socket.IPPROTO_IP, _PKTINFO):
                dst = socket.inet_ntop(socket.AF_INET, data[8:12])
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                dst = socket.inet_ntop(socket.AF_INET6, data[:16])
        self.outcomes[number].seen.append(Seen(ns, _plain(peer[0]), _plain(dst), made.getsockname()[1], peer[1], mark))
        # From the address that was asked, as a server does that listens on all. An answer is no question: two servers
        # to which rules lead each other's answers would go on for ever.
        with contextlib.suppress(OSError):
            made.sendmsg([_ANSWER], _from(dst), 0, peer)

    def _on_answer(self, made: socket.socket, number: int) -> None:
        try:
            made.recv(65536)
            self.outcomes[number].result = "ok"
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                return
            self._failed(number, error.errno or 0)
        self._select.unregister(made)

    def _on_connecting(self, made: socket.socket, number: int) -> None:
        code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._select.unregister(made)
        # An error about a connection that stands is kept for later, and asking for it gives it too soon (tcp_v4_err).
        stands = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
        if code and not stands:
            self._failed(number, code)
            return
        try:
            made.send(self._head(number))
        except OSError as error:
            self._failed(number, error.errno or 0)
            return
        self._select.register(made, selectors.EVENT_READ, ("answer", number))

    def _on_echo(self, made: socket.socket, number: int) -> None:
        try:
            load = made.recv(65536)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK) or not self._is_told(made, number):
                return
            self._failed(number, error.errno or 0)
            self._select.unregister(made)
            return
        six = made.family == socket.AF_INET6
        body = load if six else load[(load[0] & 15) * 4 :]
        kind, _, _, ident, _ = _ECHO.unpack(body[: _ECHO.size])
        if ident == self.ident(number) and kind == (129 if six else 0):
            self.outcomes[number].result = "ok"
            self._select.unregister(made)

    def _is_told(self, made: socket.socket, number: int) -> bool:
        """Say whether an error is about this probe: a raw socket hears of every echo between its addresses.

        The kernel does not look at their identifiers (raw_v4_match), but ping(8) does.
        """
        told: list[int] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                # What the sending host itself complains of names no packet (ip_local_error).
                about = made.recv(_ECHO.size, socket.MSG_ERRQUEUE)
                told.append(_ECHO.unpack(about)[3] if len(about) == _ECHO.size else self.ident(number))
        return not told or self.ident(number) in told


def _from(dst: str) -> list[tuple[int, int, bytes]]:
    if ":" in dst:
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, dst) + bytes(4))]
    return [(socket.IPPROTO_IP, _PKTINFO, bytes(4) + socket.inet_aton(dst) + bytes(4))]


def _plain(address: str) -> str:
    return address.partition("%")[0]


def checksum(data: bytes) -> int:
    """Give the checksum of the Internet (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


@contextlib.contextmanager
def _as(uid: int) -> Iterator[None]:
    """Be another user, as whom sockets are made."""
    if not uid:
        yield
        return
    os.setresuid(-1, uid, 0)
    try:
        yield
    finally:
        os.setresuid(-1, 0, 0)
