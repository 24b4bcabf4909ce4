"""Addresses and the ranges that meshes' settings name."""

from __future__ import annotations

import ipaddress


def inside(address: str, ranges: str) -> bool:
    """Say whether an address is in one of some ranges, written with commas between; what is no range holds nothing."""
    try:
        own = ipaddress.ip_address(address)
    except ValueError:
        return False
    for one in ranges.split(","):
        try:
            if own in ipaddress.ip_network(one.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
