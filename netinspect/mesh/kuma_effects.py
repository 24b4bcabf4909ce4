"""What else Kuma does to requests, as far as its policies agree: retries, limits of time and number, counts and lines.

Sources: kumahq/kuma pkg/plugins/policies/{meshretry,meshtimeout,meshcircuitbreaker,meshloadbalancingstrategy,
meshratelimit,meshaccesslog,meshmetric,meshtrace}, pkg/plugins/runtime/k8s/controllers/inbound_converter.go (protocols),
pkg/plugins/policies/core/xds/meshroute/clusters.go (its balancing without a policy).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from netinspect.mesh.base import Call
from netinspect.mesh.kuma_policies import mesh_of, of_mesh, selects
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.mesh import Aspect, Effect

_DEFAULT = "Kuma's default"
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
    source: str


def protocol(call: Call) -> str:
    """Name the protocol of a Service's port: as the port says, else its Service's annotation; its name says nothing."""
    ports = call.service.spec.ports if call.service is not None else ()
    port = next((p for p in ports if p.port == call.service_port), None)
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
    yield from _effect(Aspect.CIRCUIT_BREAKING, _one(breakers, lambda e: e.connection_limits), _limited)
    yield from _effect(Aspect.OUTLIER_DETECTION, _one(breakers, lambda e: e.outlier_detection), _left_out)
    yield from _logged(toward(snapshot.kuma_logs, "MeshAccessLog"), "client")


def of_server(call: Call, sight: Sight) -> Iterator[Effect]:
    """Say how much the server's proxy lets in, and where it shows what it counts and writes."""
    snapshot, pod = sight.snapshot, call.server.pod

    def inward(policies: Iterable[wire.KumaTraffic], kind: str) -> list[_Told]:
        return list(_inward(policies, kind, pod, sight))

    rates = inward(snapshot.kuma_rates, "MeshRateLimit")
    http = _one(
        rates, lambda e: e.local.http.request_rate if e.local is not None and e.local.http is not None else None
    )
    if protocol(call) in _HTTP:
        yield from _effect(
            Aspect.CIRCUIT_BREAKING, http, lambda r: f"beyond {r.num} per {r.interval} each server's proxy answers 429"
        )
    tcp = _one(
        rates, lambda e: e.local.tcp.connection_rate if e.local is not None and e.local.tcp is not None else None
    )
    yield from _effect(
        Aspect.CIRCUIT_BREAKING, tcp, lambda r: f"beyond {r.num} connections per {r.interval} its proxy closes them"
    )
    counted = inward(snapshot.kuma_metrics, "MeshMetric")
    for told in counted:
        for sink in told.says.backends or ():
            where = sink.prometheus or (wire.KumaAddress() if sink.type == "Prometheus" else None)
            if where is not None:
                says = f"the server's proxy counts it: {where.path} at port {where.port}"
                yield Effect(aspect=Aspect.MONITORING, says=says, source=told.source)
    yield from _logged(inward(snapshot.kuma_logs, "MeshAccessLog"), "server")
    for told in inward(snapshot.kuma_traces, "MeshTrace"):
        for sink in told.says.backends or ():
            to = sink.zipkin or sink.open_telemetry or sink.datadog or wire.KumaAddress()
            says = f"spans go to {to.url or to.endpoint or sink.type}"
            yield Effect(aspect=Aspect.MONITORING, says=says, source=told.source)


def _toward(
    policies: Iterable[wire.KumaTraffic], kind: str, pod: Pod, call: Call, sight: Sight
) -> Iterator[_Told]:  # fmt: skip
    """Give what policies say of a pod's calls to a Service: of all, or of that one."""
    for policy in of_mesh(policies, mesh_of(pod)):
        chosen = selects(policy, policy.spec.target_ref, pod, sight)
        for one in policy.spec.to if chosen is not False else ():
            meant = _is_service(one.target_ref, policy, call)
            if meant is not False:
                near = one.target_ref.kind not in ("", "Mesh")
                yield _Told(one.default, near, bool(chosen and meant), _name(policy, kind))


def _inward(policies: Iterable[wire.KumaTraffic], kind: str, pod: Pod, sight: Sight) -> Iterator[_Told]:
    """Give what policies say of what comes to a pod."""
    for policy in of_mesh(policies, mesh_of(pod)):
        chosen = selects(policy, policy.spec.target_ref, pod, sight)
        said = [*policy.spec.from_, *policy.spec.rules]
        for one in said if chosen is not False else ():
            certain = bool(chosen) and one.target_ref.kind in ("", "Mesh")
            yield _Told(one.default, False, certain, _name(policy, kind))
        if chosen is not False and policy.spec.default is not None:
            yield _Told(policy.spec.default, False, bool(chosen), _name(policy, kind))


def _is_service(ref: wire.KumaRef, policy: wire.KumaTraffic, call: Call) -> bool | None:
    """Say whether a Service is meant: by its name and namespace, or the name that it has as a tag of its pods."""
    if ref.kind in ("", "Mesh"):
        return True
    if ref.kind != "MeshService" or not ref.name or call.service is None:
        return None
    name, namespace = call.service.metadata.name, call.service.metadata.namespace
    if ref.name == f"{name}_{namespace}_svc_{call.service_port}":
        return True
    own = ref.namespace or policy.metadata.namespace
    return (ref.name, own) == (name, namespace) and (True if not ref.section_name else None)


def _name(policy: wire.KumaTraffic, kind: str) -> str:
    return f"{kind} {policy.metadata.namespace}/{policy.metadata.name}"


def _one(told: Iterable[_Told], field: Callable[[wire.KumaEffects], _Found | None]) -> tuple[_Found | None, str, bool]:
    """Give what is set, its source, and whether that is all: what is said of a Service comes before what is of all."""
    found = [(value, t) for t in told if (value := field(t.says)) is not None]
    nearest = [f for f in found if f[1].near] or found
    if not nearest:
        return None, "", True
    value, first = nearest[0]
    agreed = all(v == value for v, _ in nearest) and all(t.certain for _, t in nearest)
    # One of all the mesh may have been merged with what is said of the Service alone (rules/merge/merge.go).
    whole = len(found) == 1 or all(v == value for v, _ in found) or not isinstance(value, wire.Wire)
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


def _limited(limits: wire.KumaLimits) -> str:
    told = (
        (limits.max_connections, "connections"), (limits.max_pending_requests, "requests that wait"),
        (limits.max_requests, "requests at a time"),
    )  # fmt: skip
    said = [f"{count} {what}" for count, what in told if count is not None]
    return f"beyond {', '.join(said)} of a client, its proxy answers 503" if said else ""


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
    return f"a server that fails {' or '.join(said)} is left out for {after} and more, at most {most} % of them"


def _logged(told: Iterable[_Told], whose: str) -> Iterator[Effect]:
    for one in told:
        for sink in one.says.backends or ():
            to = sink.tcp or sink.open_telemetry or wire.KumaAddress()
            where = sink.file.path if sink.file is not None else to.address or to.endpoint or sink.type
            says = f"the {whose}'s proxy writes a line to {where}"
            yield Effect(aspect=Aspect.MONITORING, says=says, source=one.source)
