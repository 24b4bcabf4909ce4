"""Limits that a node shares with its machine, on a machine of its own: ``python -m tests.checks.limits`` in a kernel.

It prints which of their checks fire before its tables are filled, and which after.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
from pathlib import Path

from msgspec import structs

from netinspect.checks import BY_CODE
from netinspect.checks.run import Policy, run
from netinspect.kernel.stream import parse
from netinspect.model.evidence import Access, NodeEvidence, Reading
from netinspect.node.reader import Request, script
from tests.checks.changed import well

CODES = ("NI1303", "NI1304")
_LEAST, _MOST = 4, 20
_TRACKED = 50
# A rule that asks for its state has a connection tracked.
_PLACES = """
ip link set lo up
ip link add e0 type veth peer name e1
ip addr add 10.9.9.1/24 dev e0
ip link set e0 up; ip link set e1 up
iptables-legacy -A INPUT -m conntrack --ctstate INVALID -j DROP
"""


def _written(key: str, value: int) -> None:
    Path("/proc/sys/net", key).write_text(str(value))


def _shell(lines: str) -> None:
    subprocess.run(["sh", "-ec", lines], check=True)


def _filled() -> None:
    """Know nearly as many neighbours as the kernel holds, and track nearly as many connections."""
    for n, limit in enumerate((_LEAST, _MOST, _MOST), 1):
        _written(f"ipv4/neigh/default/gc_thresh{n}", limit)
    known = range(2, _MOST)
    _shell("\n".join(f"ip neigh add 10.9.9.{n} lladdr 02:00:00:00:00:{n:02x} dev e0 nud stale" for n in known))
    _written("netfilter/nf_conntrack_max", _TRACKED)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for port in range(1, _TRACKED):
            try:
                sender.sendto(b"", ("127.0.0.1", port))
            except ConnectionRefusedError:
                continue


def _read() -> NodeEvidence:
    asked = script(Request(pods=()), secrets.token_hex(8))
    done = subprocess.run(["sh"], input=asked, capture_output=True, check=True, start_new_session=True)
    return parse(Reading("n1", Access.LOCAL, "test", done.stdout))


def _fired() -> str:
    others = tuple(k for k in well().kernels if k.node != "n1")
    report = run(structs.replace(well(), kernels=(_read(), *others)), [BY_CODE[code] for code in CODES], Policy())
    return " ".join(sorted({f"{f.code}:{f.place}" for f in report.findings})) or "none"


def main() -> None:
    """Ask before and after."""
    _shell(_PLACES)
    print(f"before: {_fired()}")
    _filled()
    print(f"after: {_fired()}")


if __name__ == "__main__":
    main()
