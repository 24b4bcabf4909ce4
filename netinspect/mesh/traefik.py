"""Traefik Mesh: one proxy a node that is reached by a name of its own, NAME.NAMESPACE.traefik.mesh.

Nothing is captured, so no pod is ever in it: a request is, where its client uses that name. Its project rests.
"""

from __future__ import annotations

from netinspect.mesh.base import RUNS, Presence, Signature, Wish
from netinspect.mesh.sight import Pod, Sight, version
from netinspect.model.finding import Clue
from netinspect.model.mesh import Part

NAME = "traefik"
TITLE = "Traefik Mesh"
SELECTS = False
SIGNATURE = Signature(
    images=frozenset({"traefik-mesh"}),
    control=(("app", "maesh", ""),),
)
SOURCES: tuple[str, ...] = ("traefik/mesh: pkg/annotations, helm/chart, docs/content",)


def find(pod: Pod, _sight: Sight) -> Presence | None:
    """Find the proxies of the nodes."""
    if pod.labels.get("app") != "maesh" or pod.labels.get("component") not in ("maesh-mesh", "mesh", "proxy"):
        return None
    name = next(iter(pod.containers), "")
    clue = Clue(says="is maesh", source="label app", weight=RUNS)
    return Presence(Part.NODE_PROXY, (clue,), proxy=name, version=version(pod.containers.get(name)))


def wish(_pod: Pod, _sight: Sight) -> Wish | None:
    """Say nothing: pods are not asked."""
    return None
