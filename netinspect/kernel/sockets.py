"""Sockets that wait: ``ss -H -l -n -e`` with processes where it may see them, or /proc/net/{tcp,udp}{,6}.

Sources: iproute2 misc/ss.c; Documentation/networking/proc_net_tcp.rst.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from netinspect.kernel.reading import lines
from netinspect.model.kernel import Socket

_PROCESS = re.compile(r'\("([^"]*)",pid=(\d+),fd=\d+\)')
_STATES = {"0A": "LISTEN", "07": "UNCONN", "01": "ESTAB"}
_WAITING = ("LISTEN", "UNCONN")


def parse(text: str) -> tuple[Socket, ...]:
    """Read the sockets that ss printed, its header left out or not."""
    return lines("sockets", text, _socket)


def _socket(line: str, number: int) -> Socket | None:
    words = line.split()
    if words[0] in ("Netid", "State"):
        return None
    protocol = "tcp"
    if words[0].islower() or words[0] in ("???", "u_str"):
        protocol = words.pop(0)
    state, _recv, _send, local, peer, *rest = words
    found: dict[str, Any] = {}
    for word in rest:
        key, colon, value = word.partition(":")
        if key == "users":
            found["processes"] = tuple(f"{name} ({pid})" for name, pid in _PROCESS.findall(line))
        elif key == "uid" and colon:
            found["uid"] = int(value)
        elif key == "ino" and colon:
            found["inode"] = int(value)
        elif key == "v6only" and colon:
            found["v6only"] = value == "1"
    address, port, dev = _endpoint(local)
    peer_address, peer_port, _ = _endpoint(peer)
    return Socket(
        protocol=protocol,
        state=state,
        address=address,
        port=port or 0,
        dev=dev,
        peer=peer_address,
        peer_port=peer_port,
        line=number,
        **found,
    )


def _endpoint(text: str) -> tuple[str, int | None, str]:
    """Read ``127.0.0.1%lo:53``, ``[::]:80``, ``*:80``; ``*`` as a port is None."""
    address, _, port = text.rpartition(":")
    host, _, dev = address.partition("%")
    dev = dev.rstrip("]")
    return host.strip("[]"), int(port) if port.isdecimal() else None, dev


def parse_proc(text: str, protocol: str) -> tuple[Socket, ...]:
    """Read one of the kernel's own tables, for where there is no ss; keeps those that wait."""
    found = lines(f"sockets {protocol}", text, lambda line, number: _proc(line, number, protocol))
    return tuple(s for s in found if s.state in _WAITING)


def _proc(line: str, number: int, protocol: str) -> Socket | None:
    words = line.split()
    if words[0] == "sl":
        return None
    address, port = _hex(words[1])
    peer, peer_port = _hex(words[2])
    return Socket(
        protocol=protocol.removesuffix("6"),
        state=_STATES.get(words[3], words[3]),
        address=address,
        port=port,
        peer=peer,
        peer_port=peer_port or None,
        uid=int(words[7]),
        inode=int(words[9]),
        line=number,
    )


def _hex(text: str) -> tuple[str, int]:
    """Read an address in words of the machine's byte order, which is taken for little-endian, and a port."""
    address, _, port = text.partition(":")
    packed = b"".join(int(address[i : i + 8], 16).to_bytes(4, "little") for i in range(0, len(address), 8))
    return str(ipaddress.ip_address(packed)), int(port, 16)
