"""Which webhooks the API server asks when a pod is made: their selectors, evaluated as it does.

Source: k8s.io/apiserver pkg/admission/plugin/webhook (predicates/namespace, predicates/object, rules).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from netinspect.model import wire
from netinspect.model.snapshot import Snapshot


@dataclass(frozen=True)
class Webhook:
    """A webhook that may change pods as they are created, and the configuration that it stands in."""

    configuration: wire.MutatingWebhookConfiguration
    object: wire.MutatingWebhook

    @property
    def name(self) -> str:
        """Write ``configuration/webhook``."""
        return f"{self.configuration.metadata.name}/{self.object.name}"

    @property
    def service(self) -> str:
        """Write ``namespace/name`` of the Service behind which it is; nothing where it is outside of the cluster."""
        service = self.object.client_config.service
        return f"{service.namespace}/{service.name}" if service else ""


class Webhooks:
    """Those whose names match, for looking up who is asked about a pod."""

    def __init__(self, snapshot: Snapshot, name: re.Pattern[str]) -> None:
        self.all = tuple(
            Webhook(configuration, hook)
            for configuration in snapshot.mutating_webhooks
            for hook in configuration.webhooks or ()
            if name.fullmatch(hook.name) and _sees_pods(hook.rules or ())
        )
        self._in_namespace: dict[str, tuple[Webhook, ...]] = {}

    def selecting(self, namespace: str, around: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[Webhook]:
        """Give those that are asked about a pod with these labels, in a namespace with these."""
        if namespace not in self._in_namespace:
            # The API server gives each namespace this label; a recording may be of an older one.
            known = {**around, "kubernetes.io/metadata.name": namespace}
            self._in_namespace[namespace] = tuple(
                w for w in self.all if w.object.namespace_selector.matches(known)
            )  # fmt: skip
        own = dict(labels)
        return (w for w in self._in_namespace[namespace] if w.object.object_selector.matches(own))


def _sees_pods(rules: Iterable[wire.WebhookRule]) -> bool:
    return any(
        not {"pods", "*", "*/*"}.isdisjoint(r.resources or ()) and not {"CREATE", "*"}.isdisjoint(r.operations or ())
        for r in rules
    )
