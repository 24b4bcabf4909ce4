"""Sends for real, from the network namespace it runs in: ``python client.py TIMES SECONDS``, with aims on its input.

An aim is ``[protocol, address, port, source port, size, may be fragmented]``; of each, what every try met is printed.
A TCP or UDP server must answer what it is sent, or the try is lost.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import socket
import struct
import sys
import time
from typing import Any

DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
ERRORS = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
# A question for the name servers of the root, which servers of HTTP and echoes answer in their ways too.
QUESTION = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", 2, 1)
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
MEANING = {errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EPIPE: "reset", errno.ETIMEDOUT: "lost"}


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


class Try:
    """One packet, or one connection."""

    def __init__(self, aim: list[Any], number: int) -> None:
        self.protocol, self.address, self.port, source, self.size, fragment = aim
        self.family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self.ident = os.getpid() + number & 0xFFFF
        self.result = ""
        kinds = {"TCP": (socket.SOCK_STREAM, 0), "UDP": (socket.SOCK_DGRAM, 0)}
        raw = socket.IPPROTO_ICMPV6 if self.family == socket.AF_INET6 else socket.IPPROTO_ICMP
        self.socket = socket.socket(self.family, *kinds.get(self.protocol, (socket.SOCK_RAW, raw)))
        self.socket.setblocking(False)
        if self.protocol != "TCP":
            self.socket.setsockopt(*DISCOVER[self.family], 0 if fragment else 2)
            self.socket.setsockopt(*ERRORS[self.family], 1)
        if source:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("", source))

    def start(self) -> None:
        code = self.socket.connect_ex((self.address, self.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "")
        if self.protocol == "UDP":
            self.socket.send(QUESTION.ljust(self.size, b"\0"))
        elif self.protocol == "ICMP":
            self._echo()

    def _echo(self) -> None:
        kind = 8 if self.family == socket.AF_INET else 128
        load = bytes(self.size)
        plain = struct.pack("!BBHHH", kind, 0, 0, self.ident, 1) + load
        self.socket.send(struct.pack("!BBHHH", kind, 0, checksum(plain), self.ident, 1) + load)

    def ready(self, events: int) -> None:
        """Go on where the socket is ready."""
        if events & selectors.EVENT_WRITE:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, "")
            self.socket.send(REQUEST)
            return
        data = self.socket.recv(65536)
        if self.protocol == "ICMP":
            body = data if self.family == socket.AF_INET6 else data[(data[0] & 15) * 4 :]
            kind, _, _, ident = struct.unpack("!BBHH", body[:6])
            if ident != self.ident or kind not in (0, 129):
                return
        self.result = "arrives"


def main() -> None:
    times, seconds = int(sys.argv[1]), float(sys.argv[2])
    tries = [[Try(aim, 97 * place + n) for n in range(times)] for place, aim in enumerate(json.load(sys.stdin))]
    select = selectors.DefaultSelector()
    waiting = 0
    for one in (t for several in tries for t in several):
        try:
            one.start()
        except OSError as error:
            one.result = MEANING.get(error.errno or 0, "unreachable")
            continue
        select.register(one.socket, selectors.EVENT_WRITE if one.protocol == "TCP" else selectors.EVENT_READ, one)
        waiting += 1
    until = time.monotonic() + seconds
    while waiting and time.monotonic() < until:
        for key, events in select.select(0.1):
            one = key.data
            try:
                one.ready(events)
            except BlockingIOError:
                continue
            except OSError as error:
                one.result = MEANING.get(error.errno or 0, "unreachable")
            if one.result:
                select.unregister(one.socket)
                waiting -= 1
            elif events & selectors.EVENT_WRITE:
                select.modify(one.socket, selectors.EVENT_READ, one)
    json.dump([[t.result or "lost" for t in several] for several in tries], sys.stdout)


if __name__ == "__main__":
    main()
