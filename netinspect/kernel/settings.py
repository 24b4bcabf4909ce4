"""Sysctls, as ``/proc/sys/`` paths or sysctl(8)'s names. Source: Documentation/networking/ip-sysctl.rst."""

from __future__ import annotations

from netinspect.kernel.reading import lines


def parse(text: str) -> dict[str, str]:
    """Read ``net.ipv4.ip_forward = 1`` and ``/proc/sys/net/ipv4/ip_forward:1`` into names with slashes.

    With slashes, since the name of a link may hold a dot: ``net/ipv4/conf/eth0.5/rp_filter``.
    """
    return dict(lines("sysctl", text, _setting))


def _setting(line: str, _number: int) -> tuple[str, str]:
    if line.startswith("/proc/sys/"):
        # The name of a link in the path may hold a colon, a value of ours never does.
        name, colon, value = line.removeprefix("/proc/sys/").rpartition(":")
        if not colon:
            raise ValueError("no value")
        return name, value.strip()
    name, equals, value = line.partition("=")
    if not equals:
        raise ValueError("no value")
    name = name.strip()
    if "/" in name:
        # sysctl(8) writes a dot within a name as a slash, and the slashes between as dots.
        return name.translate(str.maketrans("./", "/.")), value.strip()
    return name.replace(".", "/"), value.strip()
