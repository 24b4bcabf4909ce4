"""Network Service Mesh: more interfaces for a pod, each a wire to a network service. It is no mesh of services.

No proxy stands before the application, so no pod is ever in it; where one asks for it, that is said.
"""

from __future__ import annotations

from netinspect.mesh.base import Presence, Signature, Wish
from netinspect.mesh.sight import Pod, Sight

NAME = "network-service-mesh"
TITLE = "Network Service Mesh"
SELECTS = False
SIGNATURE = Signature(images=frozenset({"cmd-nsmgr", "cmd-nsc"}))
SOURCES: tuple[str, ...] = (
    "networkservicemesh/cmd-admission-webhook-k8s: internal/config/config.go, main.go",
    "networkservicemesh/deployments-k8s: apps/nsmgr",
)

_SERVICES = "networkservicemesh.io"


def find(_pod: Pod, _sight: Sight) -> Presence | None:
    """Find nothing: an interface is no data plane of a mesh."""
    return None


def wish(pod: Pod, _sight: Sight) -> Wish | None:
    """Say which network services are asked for, by the pod or else its namespace."""
    own = pod.annotations.get(_SERVICES)
    value = own if own is not None else pod.noted.get(_SERVICES)
    if not value:
        return None
    return Wish(False, f"Network Service Mesh gives it an interface ({value}), which is no mesh", beside=True)
