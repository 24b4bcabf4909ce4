"""CNIs: one module each, listed here.

To add one, write a module that satisfies ``base.Driver`` and name it in ``DRIVERS``; docs/add-a-cni.md shows how.
"""

from typing import Final

from netinspect.cni import (
    antrea,
    aws,
    azure,
    azure_npm,
    calico,
    canal,
    cilium,
    flannel,
    gke,
    kindnet,
    kopeio,
    kube_ovn,
    kube_router,
    multus,
    network_policies,
    openvswitch,
    ovn_kubernetes,
    reference,
    weave,
)
from netinspect.cni.base import Driver, Loader

DRIVERS: Final[tuple[Driver, ...]] = (
    antrea, aws, azure, azure_npm, calico, canal, cilium, flannel, gke, kindnet, kopeio, kube_ovn, kube_router, multus,
    network_policies, ovn_kubernetes, reference, weave,
)  # fmt: skip
# Drivers whose CNI forwards in programs that the kernel's tables do not show, and that can say what these do.
LOADERS: Final[tuple[Loader, ...]] = (cilium.programs, openvswitch.load)
BY_NAME: Final = {driver.NAME: driver for driver in DRIVERS}
