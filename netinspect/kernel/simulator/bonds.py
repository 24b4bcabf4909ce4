"""Bonds: by which of their members they send, and from which they take. Source: drivers/net/bonding/bond_main.c."""

from __future__ import annotations

from typing import Final

from netinspect.kernel.simulator.stack import Stack
from netinspect.model.kernel import BondData, Link

_ACTIVE_BACKUP: Final = "active-backup"


def senders(stack: Stack, bond: Link) -> tuple[Link, ...]:
    """Give the members by which a bond may send: the active one, or all that can carry (bond_start_xmit)."""
    able = (k for k in stack.namespace.links if k.master == bond.ifname and k.up and k.carrier)
    return tuple(k for k in able if uses(bond, k))


def uses(bond: Link, member: Link) -> bool:
    """Say whether a member is no backup, by which nothing goes or is taken (bond_should_deliver_exact_match)."""
    data = bond.data if isinstance(bond.data, BondData) else BondData()
    return data.mode != _ACTIVE_BACKUP or data.active_slave == member.ifname
