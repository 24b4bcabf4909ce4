"""Which of Kuma's policies are for a pod's proxy, and which versions do what.

Sources: kumahq/kuma pkg/core/resources/model/resource.go, pkg/plugins/policies/core/{matchers,rules},
api/common/v1alpha1/ref.go; docs/madr/decisions/081-inbound-policies-matches.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from netinspect.mesh.base import Doubt, Side
from netinspect.mesh.kuma import SIGNATURE
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

MESH = "kuma.io/mesh"
_Policy = TypeVar("_Policy", bound=wire.KumaObject)
_SYSTEMS = frozenset({"kuma-system", "kong-mesh-system"})
_SUBSETS = frozenset({"MeshSubset", "Dataplane"})
# Versions that know servers by the pods' tags where their Mesh does not say otherwise.
_BY_TAGS = ("1.", "2.")
# Set on a policy that shall be looked at, and not be in force.
_EFFECT = "kuma.io/effect"


def mesh_of(pod: Pod) -> str:
    """Name the mesh that a pod is in, of perhaps several (pkg/plugins/runtime/k8s/util/names.go)."""
    places = (pod.labels, pod.annotations, pod.asked, pod.noted)
    return next((where[MESH] for where in places if where.get(MESH)), "default")


def of_mesh(policies: Iterable[_Policy], mesh: str) -> list[_Policy]:
    """Give the policies of a mesh that are in force."""
    return [
        p for p in policies
        if (p.metadata.labels.get(MESH) or p.mesh or "default") == mesh and p.metadata.labels.get(_EFFECT) != "shadow"
    ]  # fmt: skip


def named(snapshot: Snapshot, mesh: str) -> wire.KumaMesh:
    """Give the Mesh of a name; raises ``Doubt`` where there is none."""
    found = next((m for m in snapshot.kuma_meshes if m.metadata.name == mesh), None)
    if found is None:
        raise Doubt(f"there is no Mesh {mesh}")
    return found


def selects(policy: wire.KumaPolicy | wire.KumaTraffic, pod: Pod, sight: Sight) -> bool | None:
    """Say whether a policy is for a pod's proxy: one outside of the control plane's namespace is for its own alone."""
    own = policy.metadata.namespace
    if own and own != pod.namespace and own not in systems(sight):
        return False
    return means(policy.spec.target_ref, pod)


def systems(sight: Sight) -> frozenset[str]:
    """Give the namespaces of the control plane."""
    control = {(key, value) for key, value, _ in SIGNATURE.control}
    found = {p.metadata.namespace for p in sight.pods if control & p.metadata.labels.items()}
    return frozenset(found) or _SYSTEMS


def means(ref: wire.KumaRef, pod: Pod) -> bool | None:
    """Say whether a pod's proxy is meant; None where that hangs on more than its labels."""
    if ref.proxy_types and "Sidecar" not in ref.proxy_types:
        return False
    if ref.kind in ("", "Mesh"):
        return True
    if ref.kind not in _SUBSETS or ref.name or ref.namespace:
        return None
    wanted = {**ref.tags, **ref.labels}
    # A proxy has its pod's labels but those of Kuma, which it gives itself; a star is any value of a tag.
    own = {key: value for key, value in pod.labels.items() if "kuma.io/" not in key}
    star = {"*"} if ref.tags else set()
    if any(key in own and value not in {own[key], *star} for key, value in wanted.items()):
        return False
    return True if wanted.keys() <= own.keys() and not ref.section_name else None


def by_meshservices(client: Side, snapshot: Snapshot) -> bool:
    """Say whether a client's proxy may know servers by MeshServices (mesh_helpers.go: MeshServicesMode)."""
    mode = named(snapshot, mesh_of(client.pod)).spec.mesh_services.mode
    return mode != "Disabled" if mode else not client.version.startswith(_BY_TAGS)


def at_least(version: str, major: int, minor: int) -> bool | None:
    """Say whether a version is not older than another; None where it is not known."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})", version)
    return (int(found[1]), int(found[2])) >= (major, minor) if found is not None else None
