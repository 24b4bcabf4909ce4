"""What else Kuma does to requests, as far as its policies agree: retries, limits of time and number, counts and lines.

Sources: kumahq/kuma pkg/plugins/policies/{meshretry,meshtimeout,meshcircuitbreaker,meshloadbalancingstrategy,
meshratelimit,meshaccesslog,meshmetric,meshtrace}, pkg/plugins/runtime/k8s/controllers/inbound_converter.go (protocols),
pkg/plugins/policies/core/xds/meshroute/clusters.go (its balancing without a policy).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from netinspect.mesh.base import Call, left_out, limited
from netinspect.mesh.kuma_policies import by_meshservices, means, mesh_of, of_mesh, selects
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.mesh import Aspect, Effect

_DEFAULT = "Kuma's default"
_ROLE, _ORIGIN = "kuma.io/policy-role", "kuma.io/origin"
_KNOWN = frozenset({"http", "http2", "grpc", "kafka", "tcp"})
_HTTP = frozenset({"http", "http2", "grpc"})
_RETRIED = {
    "http": "502, 503 and 504, a failed connection, or a refused stream",
    "grpc": "a failed connection, a refused stream, a reset, or what gRPC says to be unavailable",
}
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class _Told:
    """What one policy says of the traffic, how near to it that is said, and where."""

    says: wire.KumaEffects
    near: bool
    certain: bool
    rank: tuple[str, ...]
    source: str


def protocol(call: Call) -> str:
    """Name the protocol of a Service's port: as the port says, else its Service's annotation; its name says nothing."""
    port = call.declared
    told = (port.app_protocol or "").lower() if port is not None else ""
    notes = call.service.metadata.annotations if call.service is not None else {}
    said = told if told in _KNOWN else notes.get(f"{call.service_port}.service.kuma.io/protocol", "").lower()
    return said if said in _KNOWN else "tcp"


def of_client(call: Call, sight: Sight) -> Iterator[Effect]:
    """Say what the client's proxy does to a request for a Service."""
    snapshot, pod, name = sight.snapshot, call.client.pod, protocol(call)
    http = name in _HTTP

    def toward(policies: Iterable[wire.KumaTraffic], kind: str) -> list[_Told]:
        return list(_toward(policies, kind, pod, call, sight))

    by = "by request" if http else "by connection"
    chosen = _one(toward(snapshot.kuma_balancers, "MeshLoadBalancingStrategy"), lambda e: e.load_balancer)
    yield from _effect(
        Aspect.LOAD_BALANCING, chosen, lambda c: f"{c.type or 'round robin'}, {by}", f"round robin, {by}"
    )
    retries = toward(snapshot.kuma_retries, "MeshRetry")
    if name in _RETRIED:
        found = _one(retries, lambda e: e.grpc if name == "grpc" else e.http)
        yield from _effect(Aspect.RETRIES, found, lambda c: _retried(c, name))
    elif name == "tcp":
        found_tcp = _one(retries, lambda e: e.tcp.max_connect_attempt if e.tcp is not None else None)
        yield from _effect(Aspect.RETRIES, found_tcp, lambda most: f"up to {most} attempts to connect")
    times = toward(snapshot.kuma_timeouts, "MeshTimeout")
    if http:
        whole = _one(times, lambda e: (e.http.request_timeout or None) if e.http is not None else None)
        yield from _effect(Aspect.TIMEOUT, whole, _answered)
    early = _one(times, lambda e: e.connection_timeout or None)
    yield from _effect(Aspect.TIMEOUT, early, lambda t: f"a connection that is not there after {t} is given up")
    breakers = toward(snapshot.kuma_breakers, "MeshCircuitBreaker")
    limits = _one(breakers, lambda e: e.connection_limits)
    yield from _effect(Aspect.CIRCUIT_BREAKING, limits, lambda told: _limited(told, http=http))
    yield from _effect(Aspect.OUTLIER_DETECTION, _one(breakers, lambda e: e.outlier_detection), _left_out)
    yield from _logged(toward(snapshot.kuma_logs, "MeshAccessLog"), "the client's proxy writes a line to")


def of_server(call: Call, sight: Sight) -> Iterator[Effect]:
    """Say how much the server's proxy lets in, and where it shows what it counts and writes."""
    snapshot, pod = sight.snapshot, call.server.pod

    def inward(policies: Iterable[wire.KumaTraffic], kind: str) -> list[_Told]:
        return list(_inward(policies, kind, pod, sight))

    rates = inward(snapshot.kuma_rates, "MeshRateLimit")
    http = protocol(call) in _HTTP
    if http:
        requests = _one(rates, lambda e: e.local.http if e.local else None)
        yield from _effect(Aspect.CIRCUIT_BREAKING, requests, _rated)
    connections = _one(rates, lambda e: e.local.tcp if e.local else None)
    yield from _effect(Aspect.CIRCUIT_BREAKING, connections, _connected)
    counted = _one(inward(snapshot.kuma_metrics, "MeshMetric"), lambda e: e.backends)
    yield from _effect(Aspect.MONITORING, counted, _counted)
    yield from _logged(inward(snapshot.kuma_logs, "MeshAccessLog"), "the server's proxy writes a line to")
    if http:
        yield from _logged(inward(snapshot.kuma_traces, "MeshTrace"), "spans go to")


def _toward(
    policies: Iterable[wire.KumaTraffic], kind: str, pod: Pod, call: Call, sight: Sight
) -> Iterator[_Told]:  # fmt: skip
    """Give what policies say of a pod's calls to a Service: of all, or of that one."""
    for policy in of_mesh(policies, mesh_of(pod)):
        # What a server's namespace says of its Services holds for clients of all others.
        everywhere = policy.metadata.labels.get(_ROLE) == "producer"
        chosen = means(policy.spec.target_ref, pod) if everywhere else selects(policy, pod, sight)
        for one in policy.spec.to if chosen is not False else ():
            meant = _is_service(one.target_ref, policy, call, sight)
            if meant is not False:
                near = one.target_ref.kind not in ("", "Mesh")
                yield _Told(one.default, near, bool(chosen and meant), _rank(policy), _name(policy, kind))


def _inward(policies: Iterable[wire.KumaTraffic], kind: str, pod: Pod, sight: Sight) -> Iterator[_Told]:
    """Give what policies say of what comes to a pod."""
    for policy in of_mesh(policies, mesh_of(pod)):
        chosen = selects(policy, pod, sight)
        said = [*policy.spec.from_, *policy.spec.rules]
        for one in said if chosen is not False else ():
            certain = bool(chosen) and one.target_ref.kind in ("", "Mesh") and not one.matches
            yield _Told(one.default, False, certain, _rank(policy), _name(policy, kind))
        if chosen is not False and policy.spec.default is not None:
            yield _Told(policy.spec.default, False, bool(chosen), _rank(policy), _name(policy, kind))


def _rank(policy: wire.KumaTraffic) -> tuple[str, ...]:
    """Give by what of two policies one is before the other, whatever they are about (rules/outbound/sort.go)."""
    labels = policy.metadata.labels
    return policy.spec.target_ref.kind or "Mesh", labels.get(_ORIGIN, ""), labels.get(_ROLE, "")


def _is_service(ref: wire.KumaRef, policy: wire.KumaTraffic, call: Call, sight: Sight) -> bool | None:
    """Say whether a Service is meant: as a MeshService, or by the name that it has as a tag of its pods."""
    if ref.kind in ("", "Mesh"):
        return True
    if ref.kind != "MeshService" or not ref.name or call.service is None:
        return None
    name, namespace = call.service.metadata.name, call.service.metadata.namespace
    by_name = by_meshservices(call.client, sight.snapshot)
    if ref.name == f"{name}_{namespace}_svc_{call.service_port}":
        return None if by_name else True
    if (ref.name, ref.namespace or policy.metadata.namespace) != (name, namespace):
        return False
    return True if by_name and not ref.section_name else None


def _name(policy: wire.KumaTraffic, kind: str) -> str:
    return f"{kind} {policy.metadata.namespace}/{policy.metadata.name}"


def _one(told: Iterable[_Told], field: Callable[[wire.KumaEffects], _Found | None]) -> tuple[_Found | None, str, bool]:
    """Give what is set, its source, and whether that is all.

    Of policies of one rank what is said of a Service comes before what is of all.
    """
    found = [(value, t) for t in told if (value := field(t.says)) is not None]
    alike = len({t.rank for _, t in found}) <= 1
    nearest = ([f for f in found if f[1].near] if alike else []) or found
    if not nearest:
        return None, "", True
    value, first = nearest[0]
    agreed = all(v == value for v, _ in nearest) and all(t.certain for _, t in nearest)
    # What is of all the mesh may be merged with what is said of the Service alone (rules/merge/merge.go).
    whole = all(v == value for v, _ in found) or not isinstance(value, wire.Wire)
    return value, first.source, agreed and whole


def _effect(
    aspect: Aspect, found: tuple[_Found | None, str, bool], says: Callable[[_Found], str], otherwise: str = ""
) -> Iterator[Effect]:  # fmt: skip
    value, source, agreed = found
    if value is None:
        if otherwise:
            yield Effect(aspect=aspect, says=otherwise, source=_DEFAULT)
    elif not agreed:
        told = "several policies may say something of it, and which of them counts is not evaluated"
        yield Effect(aspect=aspect, says=told, source=source)
    elif text := says(value):
        yield Effect(aspect=aspect, says=text, source=source)


def _retried(told: wire.KumaHTTPConf, name: str) -> str:
    times = 1 if told.num_retries is None else told.num_retries
    on = ", ".join(told.retry_on) if told.retry_on else _RETRIED[name]
    each = f", each of at most {told.per_try_timeout}" if told.per_try_timeout else ""
    return f"up to {times} times more, on {on}{each}" if times else "none"


def _answered(after: str) -> str:
    return "no request is too long" if after in ("0", "0s") else f"answered 504 after {after}, retries included"


def _limited(limits: wire.KumaLimits, *, http: bool) -> str:
    return limited(limits.max_connections, limits.max_pending_requests, limits.max_requests, http=http)


def _rated(told: wire.KumaHTTPConf) -> str:
    rate = told.request_rate
    code = told.on_rate_limit.status if told.on_rate_limit is not None else 429
    return "" if told.disabled or rate is None else f"beyond {rate.num} per {rate.interval} each server answers {code}"


def _connected(told: wire.KumaTCPConf) -> str:
    rate = told.connection_rate
    return "" if told.disabled or rate is None else f"beyond {rate.num} connections per {rate.interval} more are closed"


def _left_out(told: wire.KumaOutliers) -> str:
    if told.disabled:
        return "no server is left out"
    detectors = told.detectors or wire.KumaDetectors()
    kinds = ((detectors.total_failures, "5xx"), (detectors.gateway_failures, "502, 503 or 504"))
    said = [f"{d.consecutive or 5} times in a row ({kind})" for d, kind in kinds if d is not None]
    if not said:
        return ""
    most = 10 if told.max_ejection_percent is None else told.max_ejection_percent
    after = told.base_ejection_time or "30s"
    return left_out(" or ".join(said), after, most)


def _counted(sinks: tuple[wire.KumaSink, ...]) -> str:
    shown = [s.prometheus or wire.KumaScraped() for s in sinks if s.prometheus is not None or s.type == "Prometheus"]
    return "; ".join(f"the server's proxy counts it: {one.path} at port {one.port}" for one in shown)


def _logged(told: Iterable[_Told], what: str) -> Iterator[Effect]:
    def said(sinks: tuple[wire.KumaSink, ...]) -> str:
        return f"{what} {', '.join(map(_where, sinks))}" if sinks else ""

    yield from _effect(Aspect.MONITORING, _one(told, lambda e: e.backends), said)


def _where(sink: wire.KumaSink) -> str:
    if sink.file is not None:
        return sink.file.path
    to = sink.tcp or sink.open_telemetry or sink.zipkin or sink.datadog or wire.KumaAddress()
    return to.url or to.address or to.endpoint or sink.type
