"""Every diagnosis of ``netinspect check``.

To add one, write a function with the decorator ``base.check`` in the module of its subject, and name it in that
module's ``CHECKS``; a module that is new is named in ``FAMILIES``. Its docstring is what ``netinspect explain``
prints.
"""

from typing import Final

from netinspect.checks import (
    addresses,
    cni,
    dns,
    kernel,
    mesh,
    mtu,
    nodes,
    paths,
    policies,
    routes,
    services,
    tunnels,
)
from netinspect.checks.base import Check

FAMILIES: Final = (
    nodes, cni, addresses, kernel, tunnels, mtu, routes, policies, services, dns, mesh, paths,
)  # fmt: skip
CHECKS: Final[tuple[Check, ...]] = tuple(one for family in FAMILIES for one in family.CHECKS)
BY_CODE: Final = {one.code: one for one in CHECKS}
