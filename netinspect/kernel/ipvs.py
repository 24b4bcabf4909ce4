"""IPVS: ``ipvsadm -Ln``, ``ipvsadm -Sn`` or /proc/net/ip_vs. Sources: ipvsadm.c; net/netfilter/ipvs/ip_vs_ctl.c."""

from __future__ import annotations

import ipaddress
from typing import Any

from netinspect.errors import ParseError
from netinspect.kernel.reading import guarded
from netinspect.model.kernel import RealServer, VirtualService

SECTION = "ipvs"
_PROTOCOLS = frozenset({"TCP", "UDP", "SCTP", "FWM"})


def parse(text: str) -> tuple[VirtualService, ...]:
    """Read the virtual services with their real servers; the address form says which of the two sources it is."""
    found: list[tuple[dict[str, Any], list[RealServer]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if words and words[0] in _PROTOCOLS and len(words) > 1:
            found.append((guarded(SECTION, number, line, _service), []))
        elif words and words[0] == "->":
            if words[1:2] != ["RemoteAddress:Port"]:
                if not found:
                    raise ParseError(SECTION, number, "a real server of no virtual service")
                found[-1][1].append(guarded(SECTION, number, line, _server))
        elif words and words[0] not in ("IP", "Prot"):
            raise ParseError(SECTION, number, f"cannot read {line[:80]!r}")
    return tuple(VirtualService(**fields, servers=tuple(servers)) for fields, servers in found)


def _service(line: str, number: int) -> dict[str, Any]:
    protocol, where, scheduler, *rest = line.split()
    found: dict[str, Any] = {"protocol": protocol, "scheduler": scheduler, "line": number}
    if protocol == "FWM":
        # In hexadecimal in /proc, decimal with ipvsadm.
        found["fwmark"] = int(where, 16) if len(where) == 8 else int(where)
    else:
        found["address"], found["port"] = _endpoint(where)
    if "persistent" in rest:
        at = rest.index("persistent")
        # /proc counts in jiffies, whose length it does not say, and shows the mask after them.
        in_proc = len(rest) > at + 2 and len(rest[at + 2]) == 8
        found["persistent"] = None if in_proc else int(rest[at + 1])
        rest = rest[: at + 1]
    found["flags"] = tuple(w.strip("()") for w in rest)
    return found


def _server(line: str, _number: int) -> RealServer:
    _, where, forward, weight, active, inactive = line.split()[:6]
    address, port = _endpoint(where)
    return RealServer(
        address=address, port=port, forward=forward, weight=int(weight), active=int(active), inactive=int(inactive)
    )


def _endpoint(text: str) -> tuple[str, int]:
    """Read ``10.0.0.1:80``, ``[fd00::1]:80``, and /proc's ``0A000001:0050`` and ``[fd00:0000:…]:0050``."""
    address, _, port = text.rpartition(":")
    if len(address) == 8 and "." not in address and ":" not in address:
        return str(ipaddress.IPv4Address(int(address, 16))), int(port, 16)
    bracketed = address.startswith("[")
    bare = address.strip("[]")
    in_proc = bracketed and len(bare) == 39
    return str(ipaddress.ip_address(bare)), int(port, 16) if in_proc else int(port)
