"""A mesh that is none of the others: an Envoy beside the application, and a start that may set rules of redirection.

A proxy alone is no mesh: many run one beside their application, as a gateway or for themselves. Where an init container
may also change the network, only the pod's namespace tells whether traffic is turned to it.
"""

from __future__ import annotations

from netinspect.mesh.base import WRITTEN, Presence, Signature, Wish
from netinspect.mesh.sight import Pod, Sight, names, version
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Part

NAME = "unknown"
TITLE = "an unknown mesh"
SELECTS = False
SIGNATURE = Signature()
SOURCES: tuple[str, ...] = ("Known by what the meshes above have in common.",)

_PROXIES = frozenset({"envoy", "proxyv2", "kuma-dp", "aws-appmesh-envoy", "consul-dataplane", "linkerd-proxy"})


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find a proxy beside an application, with an init container that may change the network."""
    starts = [c for c in pod.object.spec.init_containers if _may_redirect(c)]
    if not starts or len(pod.containers) < 3 or pod.on_host:
        return None
    proxy = next((c for c in pod.containers.values() if c.name == "envoy" or names(c) & _PROXIES), None)
    init = next((c for c in starts if c is not proxy), None)
    if proxy is None or init is None:
        return None
    clues = (
        Clue(says=f"runs {proxy.image or 'a proxy'}", source=f"container {proxy.name}", weight=WRITTEN),
        Clue(says="may change the pod's network", source=f"container {init.name}", weight=WRITTEN),
    )
    return Presence(
        Part.SIDECAR, clues, pod.placement(proxy.name), Capture.IPTABLES, proxy.name, pod.uid(proxy.name),
        version(proxy),
    )  # fmt: skip


def _may_redirect(container: wire.NotedContainer) -> bool:
    context = container.security_context
    return context is not None and (context.privileged or "NET_ADMIN" in context.capabilities.add)


def wish(_pod: Pod, _sight: Sight) -> Wish | None:
    """Say nothing: who is not known asks for nothing that is known."""
    return None
