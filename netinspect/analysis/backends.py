"""Which pods a Service's selector matches, and what its EndpointSlices say of each endpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from netinspect.model import wire

FINISHED = ("Succeeded", "Failed")
# The label by which an EndpointSlice says whose it is.
SERVICE_NAME = "kubernetes.io/service-name"


def finished(pod: wire.Pod) -> bool:
    """Say whether all containers have ended for good, so that the pod's addresses are free for others."""
    return pod.status.phase in FINISHED


def pod_behind(endpoint: wire.Endpoint, namespace: str) -> str:
    """Name the pod of an endpoint, which a slice of that namespace has; nothing where it is none."""
    target = endpoint.target_ref
    if target is None or target.kind != "Pod":
        return ""
    return f"{target.namespace or namespace}/{target.name}"


def readiness_of(conditions: wire.EndpointConditions) -> tuple[bool, bool]:
    """Say whether an endpoint is ready, and whether it serves; what is not said counts as yes (discovery/v1)."""
    ready = conditions.ready is not False
    return ready, ready if conditions.serving is None else conditions.serving


class PodsByLabel:
    """Live pods by the labels that some selector asks for; they carry many more."""

    def __init__(self, pods: Iterable[wire.Pod], services: Iterable[wire.Service]) -> None:
        wanted = {pair for s in services for pair in s.spec.selector.items()}
        self._pods: dict[tuple[str, str, str], list[wire.Pod]] = defaultdict(list)
        for pod in pods:
            if not finished(pod):
                for key, value in wanted.intersection(pod.metadata.labels.items()):
                    self._pods[pod.metadata.namespace, key, value].append(pod)

    def matching(self, service: wire.Service) -> list[wire.Pod]:
        """List the live pods of the Service's namespace that its selector, which must not be empty, matches."""
        pairs = service.spec.selector.items()
        rarest = min((self._pods.get((service.metadata.namespace, k, v), []) for k, v in pairs), key=len)
        return [p for p in rarest if pairs <= p.metadata.labels.items()]
