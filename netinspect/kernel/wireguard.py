"""WireGuard's devices and peers, out of what ``wg show all`` says of one thing at a time: never a private key.

Source: wireguard-tools src/show.c.
"""

from __future__ import annotations

from netinspect.kernel.reading import lines
from netinspect.model.kernel import WireguardDevice, WireguardPeer


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


def devices(listen_ports: str, public_keys: str, fwmarks: str) -> tuple[WireguardDevice, ...]:
    """Put together what is said of each device; ``off`` is a mark of 0."""
    ports = dict(lines("wireguard listen-port", listen_ports, _pair))
    keys = dict(lines("wireguard public-key", public_keys, _pair))
    marks = dict(lines("wireguard fwmark", fwmarks, _pair))
    return tuple(
        WireguardDevice(
            dev=dev,
            listen_port=int(ports[dev]) if dev in ports else None,
            public_key=keys.get(dev, ""),
            fwmark=None if dev not in marks else 0 if marks[dev] == "off" else int(marks[dev], 0),
        )
        for dev in dict.fromkeys([*ports, *keys, *marks])
    )


def _pair(line: str, _number: int) -> tuple[str, str]:
    dev, value = line.split()
    return dev, value


def _row(line: str, _number: int) -> tuple[tuple[str, str], tuple[str, ...]]:
    dev, key, *values = line.split()
    return (dev, key), tuple(values)


def _seconds(values: tuple[str, ...]) -> int | None:
    return int(values[0]) if values and values[0].isdecimal() and values[0] != "0" else None
