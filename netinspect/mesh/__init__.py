"""Service meshes: one module each, listed here.

To add one, write a module that satisfies ``base.Driver`` and name it in ``DRIVERS``.
"""

from typing import Final

from netinspect.mesh import (
    app_mesh,
    app_mesh_pairs,
    cilium,
    cilium_nodes,
    cilium_pairs,
    consul,
    consul_pairs,
    consul_relay,
    istio,
    istio_pairs,
    istio_relay,
    kuma,
    kuma_pairs,
    kuma_relay,
    linkerd,
    linkerd_pairs,
    linkerd_relay,
    network_service_mesh,
    nginx,
    nginx_pairs,
    osm,
    osm_pairs,
    osm_relay,
    traefik,
    unknown,
)
from netinspect.mesh.base import Driver, OnNodes, Relay, Teller

# What is not one of the others is asked last.
DRIVERS: Final[tuple[Driver, ...]] = (
    app_mesh, cilium, consul, istio, kuma, linkerd, network_service_mesh, nginx, osm, traefik,
    unknown,
)  # fmt: skip
BY_NAME: Final = {driver.NAME: driver for driver in DRIVERS}
# Those that can say what becomes of a request between two pods.
TELLERS: Final[dict[str, Teller]] = {
    app_mesh.NAME: app_mesh_pairs.said,
    cilium.NAME: cilium_pairs.said,
    consul.NAME: consul_pairs.said,
    istio.NAME: istio_pairs.said,
    kuma.NAME: kuma_pairs.said,
    linkerd.NAME: linkerd_pairs.said,
    nginx.NAME: nginx_pairs.said,
    osm.NAME: osm_pairs.said,
}
# Those of which it is known how their sidecars go on with what they take.
RELAYS: Final[dict[str, Relay]] = {
    consul.NAME: consul_relay,
    istio.NAME: istio_relay,
    kuma.NAME: kuma_relay,
    linkerd.NAME: linkerd_relay,
    osm.NAME: osm_relay,
}
# Those that do more on nodes than serve the pods that are in them.
ON_NODES: Final[dict[str, OnNodes]] = {cilium.NAME: cilium_nodes}
