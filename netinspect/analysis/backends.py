"""Which pods a Service's selector matches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from netinspect.model import wire

FINISHED = ("Succeeded", "Failed")


def finished(pod: wire.Pod) -> bool:
    """Say whether all containers have ended for good, so that the pod's addresses are free for others."""
    return pod.status.phase in FINISHED


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
