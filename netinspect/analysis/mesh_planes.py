"""The control planes of meshes: the pods that run them, or who does from outside of the cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from netinspect.analysis.webhooks import Webhooks
from netinspect.mesh import BY_NAME, DRIVERS
from netinspect.mesh.base import Driver
from netinspect.mesh.sight import Pod, Sight, version
from netinspect.model import wire
from netinspect.model.mesh import ControlPlane, Part
from netinspect.model.snapshot import Snapshot

# By label and value, or by a label that may have any. Many pods bear such labels, few with such values.
_MARKS: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
for _driver in DRIVERS:
    for _key, _value, _container in _driver.SIGNATURE.control:
        _MARKS[_key, _value].append((_driver.NAME, _container))


def is_control(pod: wire.NotedPod) -> bool:
    """Say whether a pod runs a mesh."""
    return bool(_control(pod))


def _control(pod: wire.NotedPod) -> dict[str, wire.NotedContainer]:
    """Give by mesh the container that tells a control plane's version, where a pod is of one."""
    found: dict[str, wire.NotedContainer] = {}
    for key, value in pod.metadata.labels.items():
        for mark in ((key, value), (key, "")):
            for mesh, container in _MARKS.get(mark, ()):
                own = next((c for c in pod.spec.containers if container in ("", c.name)), None)
                if own is not None:
                    found.setdefault(mesh, own)
    return found


def control_planes(sight: Sight) -> Iterator[ControlPlane]:
    """Group the pods of control planes by workload, revision and version."""
    every: dict[str, dict[tuple[str, str, str, str], list[wire.NotedPod]]] = {}
    for pod in sight.pods:
        for mesh, own in _control(pod).items():
            around = sight.namespaces.get(pod.metadata.namespace)
            part = BY_NAME[mesh].find(Pod(pod, around), sight)
            if part is not None and part.part is Part.NODE_PROXY:
                continue
            revision = pod.metadata.labels.get("istio.io/rev", "")
            key = (pod.metadata.namespace, _workload(pod), revision, version(own))
            every.setdefault(mesh, {}).setdefault(key, []).append(pod)
    for driver in DRIVERS:
        groups = every.get(driver.NAME, {})
        for (namespace, name, revision, told), pods in sorted(groups.items()):
            yield ControlPlane(
                mesh=driver.NAME, title=driver.TITLE, namespace=namespace, name=name, revision=revision, version=told,
                distribution=_product(driver, pods, sight), ready=sum(map(_is_ready, pods)), desired=len(pods),
            )  # fmt: skip
        if driver.SIGNATURE.webhooks is not None:
            for url in _external(sight.snapshot, driver):
                yield ControlPlane(
                    mesh=driver.NAME, title=driver.TITLE, distribution=_product(driver, (), sight), external=url
                )


def _external(snapshot: Snapshot, driver: Driver) -> list[str]:
    """Give the URLs outside of the cluster at which a mesh's injectors are."""
    pattern = driver.SIGNATURE.webhooks
    found = Webhooks(snapshot, pattern).all if pattern else ()
    return sorted({w.object.client_config.url for w in found if w.object.client_config.url})


def _workload(pod: wire.NotedPod) -> str:
    """Name what made a pod, a ReplicaSet without the hash of its template."""
    owner = next((o.name for o in pod.metadata.owner_references if o.controller), pod.metadata.name)
    return owner.removesuffix(f"-{pod.metadata.labels.get('pod-template-hash', '')}")


def _is_ready(pod: wire.NotedPod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def _product(driver: Driver, planes: Iterable[wire.NotedPod], sight: Sight) -> str:
    """Name what a control plane came as: by its images and namespace, else by what else is there.

    Custom resources outlive what they came with, so they count only where the images are not upstream's.
    """
    signature = driver.SIGNATURE
    images = [c.image for p in planes for c in p.spec.containers]
    places = {p.metadata.namespace for p in planes} or set(sight.namespaces)
    for product in signature.products:
        if (product.images and any(i.startswith(product.images) for i in images)) or places & product.namespaces:
            return product.title
    if signature.upstream and any(i.startswith(signature.upstream) for i in images):
        return ""
    configurations = [c.metadata.name for c in sight.snapshot.mutating_webhooks]
    for product in signature.products:
        named = product.configurations and any(c.startswith(product.configurations) for c in configurations)
        if named or not product.groups.isdisjoint(sight.groups):
            return product.title
    return ""
