"""What else Linkerd does to requests, by the annotations of a Service and of its routes.

Sources: linkerd/website linkerd.io/content reference/{retries,timeouts,circuit-breaking}.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netinspect.model import wire
from netinspect.model.mesh import Aspect, Effect

_RETRY, _TIMEOUT = "retry.linkerd.io/", "timeout.linkerd.io/"
_BREAKER = ("balancer.linkerd.io/failure-accrual", "balancer.alpha.linkerd.io/failure-accrual")
_METRICS = 4191
# The budget where none is written: retryRatio, minRetriesPerSecond (controller/api/destination/profile_translator.go).
_RATIO, _LEAST = 0.2, 10


def of_client(
    service: wire.Service, routes: Iterable[wire.HTTPRoute], profile: wire.ServiceProfile | None, *, opaque: bool
) -> Iterator[Effect]:  # fmt: skip
    """Say what the client's proxy does to a request to a Service; of an opaque port it sees no requests."""
    says = "the server that answers fastest, of two drawn (EWMA)" + (", by connection" if opaque else ", by request")
    yield Effect(aspect=Aspect.LOAD_BALANCING, says=says, source="Linkerd's default")
    yield from _breaker(service)
    if opaque:
        return
    if profile is not None:
        # It takes the place of all annotations and routes (linkerd.io reference/service-profiles).
        yield from _profiled(profile)
        return
    # A route that says anything of this makes all count for nothing that its Service says.
    metas = [("HTTPRoute", r.metadata) for r in routes]
    kind, meta = next((m for m in metas if any(k.startswith((_RETRY, _TIMEOUT)) for k in m[1].annotations)),
                      ("Service", service.metadata))  # fmt: skip
    source = f"{kind} {meta.namespace}/{meta.name}"
    on = [f"{k} {meta.annotations[f'{_RETRY}{k}']}" for k in ("http", "grpc") if f"{_RETRY}{k}" in meta.annotations]
    if on:
        limit = meta.annotations.get(f"{_RETRY}limit", "1")
        each = meta.annotations.get(f"{_RETRY}timeout")
        says = f"up to {limit} times more, on {', '.join(on)}{f', each of at most {each}' if each else ''}"
        yield Effect(aspect=Aspect.RETRIES, says=says, source=source)
    for kind, what in (("request", "a request with its retries"), ("response", "an answer"), ("idle", "silence")):
        if f"{_TIMEOUT}{kind}" in meta.annotations:
            says = f"{what} of more than {meta.annotations[f'{_TIMEOUT}{kind}']} ends it"
            yield Effect(aspect=Aspect.TIMEOUT, says=says, source=source)


def _profiled(profile: wire.ServiceProfile) -> Iterator[Effect]:
    source = f"ServiceProfile {profile.metadata.namespace}/{profile.metadata.name}"
    retried = [r.name for r in profile.spec.routes if r.is_retryable]
    if retried:
        budget = profile.spec.retry_budget
        ratio, least = (budget.retry_ratio, budget.min_retries_per_second) if budget else (_RATIO, _LEAST)
        says = f"what fails of {', '.join(retried)}, by up to {ratio * 100:g} % of requests and {least} a second more"
        yield Effect(aspect=Aspect.RETRIES, says=says, source=source)
    for route in profile.spec.routes:
        if route.timeout:
            says = f"{route.name} is answered 504 after {route.timeout}"
            yield Effect(aspect=Aspect.TIMEOUT, says=says, source=source)


def of_server() -> Effect:
    """Say where the server's proxy shows what it counts."""
    says = f"the server's proxy counts it: /metrics at port {_METRICS}"
    return Effect(aspect=Aspect.MONITORING, says=says, source="Linkerd's default")


def _breaker(service: wire.Service) -> Iterator[Effect]:
    for key in _BREAKER:
        if service.metadata.annotations.get(key) == "consecutive":
            failures = service.metadata.annotations.get(f"{key}-consecutive-max-failures", "7")
            says = f"a server that fails {failures} times in a row is left out for a while"
            source = f"Service {service.metadata.namespace}/{service.metadata.name}"
            yield Effect(aspect=Aspect.OUTLIER_DETECTION, says=says, source=source)
            return
