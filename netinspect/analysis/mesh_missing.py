"""Why a pod that should be in a mesh is not."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from netinspect.analysis.webhooks import Webhook
from netinspect.mesh.base import Driver, Wish
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.mesh import Part


class Causes:
    """Finds the cause for one pod after the other in the same cluster."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    def of(self, pod: Pod, driver: Driver, wish: Wish, webhooks: Iterable[Webhook]) -> tuple[str, str]:
        """Give the cause and its remedy: what is not there first, then what came later than the pod."""
        if wish.part is Part.AMBIENT:
            return self._not_captured(driver, wish)
        asked = tuple(webhooks)
        if not asked:
            return wish.unanswered or (
                f"no webhook of {driver.TITLE} selects the pod",
                "install its injector, or see the selectors of its MutatingWebhookConfiguration",
            )
        restart = f"make the pod anew: kubectl -n {pod.namespace} rollout restart its workload"
        return self._younger(pod, wish, asked, restart) or self._unreached(asked, restart)

    def _younger(self, pod: Pod, wish: Wish, asked: Iterable[Webhook], restart: str) -> tuple[str, str] | None:
        """Find what the pod is older than: every webhook that would inject it now, or its namespace's label."""
        born = pod.object.metadata.creation_timestamp or ""
        first = min(asked, key=lambda w: w.configuration.metadata.creation_timestamp or "")
        if born and (first.configuration.metadata.creation_timestamp or "") > born:
            return f"the pod is older than webhook {first.name}", restart
        set_at = "" if wish.own else self._set_at(pod.namespace, wish.key)
        if born and set_at >= born:
            # The API server keeps times by the second.
            than = "is older than" if set_at > born else "was made in the same second as"
            return f"the pod {than} {wish.key} on its namespace, which was set at {set_at}", restart
        return None

    def _unreached(self, asked: tuple[Webhook, ...], restart: str) -> tuple[str, str]:
        absent = next((w for w in asked if w.service and not self.answers(w.service)), None)
        if absent is not None:
            says = f"no ready pod is behind Service {absent.service}, where webhook {absent.name} is"
            ignored = absent.object.failure_policy == "Ignore"
            says += ": failurePolicy Ignore lets pods start without it" if ignored else ""
            return says, f"bring {absent.service} back, then {restart}"
        conditions = next((w for w in asked if w.object.match_conditions), None)
        if conditions is not None:
            return f"the matchConditions of webhook {conditions.name} may not hold", "evaluate them for this pod"
        return (
            f"webhook {asked[0].name} was not reached when the pod was made, or left it alone",
            f"see the events and the injector's log, then {restart}",
        )

    def _not_captured(self, driver: Driver, wish: Wish) -> tuple[str, str]:
        key, value = driver.SIGNATURE.agent
        if key and not any(p.metadata.labels.get(key) == value for p in self._sight.pods):
            return f"no pod of {value} runs, which would capture it", f"install {driver.TITLE}'s CNI agent"
        return (
            f"the agent on its node did not note that it captured it, though {wish.says}",
            f"see the log of {value or 'the agent'} on its node",
        )

    def _set_at(self, namespace: str, key: str) -> str:
        """Give when a namespace's label or annotation was last set; nothing where its managers do not tell."""
        found = self._sight.namespaces.get(namespace)
        if not key or found is None:
            return ""
        times = (
            m.time
            for m in found.metadata.managed_fields
            if f"f:{key}" in m.fields_v1.metadata.labels or f"f:{key}" in m.fields_v1.metadata.annotations
        )
        return max(times, default="")

    def answers(self, service: str) -> bool:
        """Say whether a ready pod is behind a Service; nothing is held against one whose pods are not known."""
        return self._sight.snapshot.gap("services") is not None or service in self._served

    @cached_property
    def _served(self) -> frozenset[str]:
        ready: dict[str, list[wire.Labels]] = {}
        for pod in self._sight.pods:
            if any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions):
                ready.setdefault(pod.metadata.namespace, []).append(pod.metadata.labels)
        return frozenset(
            f"{s.metadata.namespace}/{s.metadata.name}"
            for s in self._sight.snapshot.services
            if not s.spec.selector
            or any(s.spec.selector.items() <= labels.items() for labels in ready.get(s.metadata.namespace, ()))
        )
