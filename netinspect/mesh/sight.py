"""What a driver is shown: a pod laid out for looking things up, and the cluster that it is in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from netinspect.model import wire
from netinspect.model.image import image_names
from netinspect.model.mesh import Placement
from netinspect.model.snapshot import Snapshot

# Some number their releases by a channel and a date: edge-26.8.3.
_VERSION = re.compile(r"(?:v|edge-|stable-|enterprise-)?\d+\.\d")
_NOTHING: Mapping[str, str] = {}


class Pod:
    """A pod by the names of its containers, its labels and annotations, and those of its namespace."""

    __slots__ = ("annotations", "asked", "containers", "labels", "namespace", "noted", "object")

    def __init__(self, pod: wire.NotedPod, namespace: wire.Namespace | None) -> None:
        self.object = pod
        self.namespace = pod.metadata.namespace
        self.labels = pod.metadata.labels
        self.annotations = pod.metadata.annotations
        self.asked = namespace.metadata.labels if namespace else _NOTHING
        self.noted = namespace.metadata.annotations if namespace else _NOTHING
        # A name may be in both lists, where a template changed one; what is restarted always is the one that runs.
        self.containers = {c.name: c for c in (*pod.spec.containers, *pod.spec.init_containers)}

    @property
    def on_host(self) -> bool:
        """Say whether it is on its node's own network."""
        return self.object.spec.host_network

    def has(self, name: str) -> bool:
        """Say whether it has a container of this name, those of the start included."""
        return name in self.containers

    def placement(self, name: str) -> Placement:
        """Say among which containers one is."""
        native = any(c.name == name and c.restart_policy == "Always" for c in self.object.spec.init_containers)
        return Placement.NATIVE if native else Placement.CLASSIC

    def uid(self, name: str) -> int | None:
        """Give the user that a container runs as, where its spec says it."""
        own = self.containers[name].security_context
        if own is not None and own.run_as_user is not None:
            return own.run_as_user
        return self.object.spec.security_context.run_as_user


def variables(container: wire.NotedContainer | None) -> Mapping[str, str]:
    """Give a container's environment, empty where a value comes from elsewhere."""
    return {v.name: v.value for v in container.env or ()} if container else {}


def words(container: wire.NotedContainer) -> tuple[str, ...]:
    """Give a container's command line."""
    return (*(container.command or ()), *(container.args or ()))


def flag(container: wire.NotedContainer, *names: str) -> str:
    """Give what ``--flag value`` or ``--flag=value`` gives; nothing where it is not there."""
    said = words(container)
    for place, word in enumerate(said):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else next(iter(said[place + 1 : place + 2]), "")
    return ""


def version(container: wire.NotedContainer | None) -> str:
    """Give the version of a container's image, without the kind of base that it was built on."""
    tag = container.image.partition("@")[0].rpartition("/")[2].partition(":")[2] if container else ""
    return tag.removesuffix("-distroless").removesuffix("-debug") if _VERSION.match(tag) else ""


def names(container: wire.NotedContainer) -> frozenset[str]:
    """Give the names by which a container's image may be known."""
    return image_names(container.image)


@dataclass(frozen=True)
class Sight:
    """The cluster that pods are looked at in."""

    snapshot: Snapshot

    @cached_property
    def namespaces(self) -> Mapping[str, wire.Namespace]:
        """Give the namespaces by name."""
        return {n.metadata.name: n for n in self.snapshot.namespaces}

    @cached_property
    def pods(self) -> tuple[wire.NotedPod, ...]:
        """Give the pods that were read with what was noted on them, and have not finished."""
        return tuple(
            p for p in self.snapshot.pods
            if isinstance(p, wire.NotedPod) and p.status.phase not in ("Succeeded", "Failed")
        )  # fmt: skip

    @cached_property
    def components(self) -> Mapping[str, list[wire.NotedPod]]:
        """Give the pods that charts label as a component, by its name."""
        found: dict[str, list[wire.NotedPod]] = {}
        for pod in self.pods:
            if "component" in pod.metadata.labels:
                found.setdefault(pod.metadata.labels["component"], []).append(pod)
        return found

    @cached_property
    def groups(self) -> frozenset[str]:
        """Give the groups of the custom resources."""
        return frozenset(d.metadata.name.partition(".")[2] for d in self.snapshot.custom_resource_definitions)

    def settings(self, name: str) -> Mapping[str, str]:
        """Give what a ConfigMap among the CNIs' settings holds; nothing where there is none of that name."""
        return next((c.data for c in self.snapshot.cni_settings if c.metadata.name == name), _NOTHING)
