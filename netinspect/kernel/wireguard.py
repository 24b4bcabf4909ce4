"""WireGuard's peers, out of ``wg show all endpoints``, ``allowed-ips`` and ``latest-handshakes``: never a private key.

Source: wireguard-tools src/show.c.
"""

from __future__ import annotations

from netinspect.kernel.reading import lines
from netinspect.model.kernel import WireguardPeer


def parse(endpoints: str, allowed_ips: str, handshakes: str) -> tuple[WireguardPeer, ...]:
    """Put the three lists together, by link and public key."""
    reached = dict(lines("wireguard endpoints", endpoints, _row))
    allowed = dict(lines("wireguard allowed-ips", allowed_ips, _row))
    shaken = dict(lines("wireguard latest-handshakes", handshakes, _row))
    return tuple(
        WireguardPeer(
            dev=dev,
            public_key=key,
            endpoint="" if (found := "".join(reached.get((dev, key), ()))) == "(none)" else found,
            allowed_ips=tuple(a for a in allowed.get((dev, key), ()) if a != "(none)"),
            latest_handshake=_seconds(shaken.get((dev, key), ())),
        )
        for dev, key in dict.fromkeys([*allowed, *reached])
    )


def _row(line: str, _number: int) -> tuple[tuple[str, str], tuple[str, ...]]:
    dev, key, *values = line.split()
    return (dev, key), tuple(values)


def _seconds(values: tuple[str, ...]) -> int | None:
    return int(values[0]) if values and values[0].isdecimal() and values[0] != "0" else None
