"""What else Istio does to requests, beside how they travel and who lets them in: routes, retries, limits, counts.

Sources: istio/istio pilot/pkg/networking/core/route/{route.go,retry/retry.go}, cluster_traffic_policy.go beside it;
istio/api networking/v1alpha3/{virtual_service,destination_rule}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.mesh.base import left_out
from netinspect.mesh.istio_policy import Policies, Routed
from netinspect.mesh.istio_scope import Service
from netinspect.mesh.sight import Pod
from netinspect.model import wire
from netinspect.model.mesh import Aspect, Effect

_DEFAULT = "Istio's default"
_METRICS = 15090


def of_client(
    policies: Policies, pod: Pod, service: Service, routed: Routed, *, http: bool | None
) -> Iterator[Effect]:  # fmt: skip
    """Say what the client's proxy does to a request to a Service, by the rule that routes it."""
    rule, name = routed.rule, routed.source
    if rule is not None:
        yield from _routed(rule, name)
    if http and not routed.fails:
        yield _retries(rule.retries if rule is not None else None, name)
    settings, said_by = policies.settings(pod.namespace, pod.labels, service, routed.subset)
    yield from _balanced(settings.load_balancer, said_by)
    yield from _limited(settings, said_by)


def of_server(policies: Policies, pod: Pod) -> Iterator[Effect]:
    """Say by what the server's proxy shows requests; its counts do not pass through itself, so no policy hides them."""
    says = f"the server's proxy counts it: /stats/prometheus at port {_METRICS}, in plain text past all policies"
    yield Effect(aspect=Aspect.MONITORING, says=says, source=_DEFAULT)
    levels = list(policies.telemetry(pod.namespace, pod.labels))
    yield from _logged(policies, levels)
    spans, source = next(((t, name) for spec, name in levels for t in spec.tracing), (None, ""))
    if spans is not None:
        where = ", ".join(p.name for p in spans.providers)
        share = "" if spans.random_sampling_percentage is None else f" of {spans.random_sampling_percentage:g} %"
        says = "no spans are sent" if spans.disable_span_reporting else f"spans{share} go to {where or 'the default'}"
        yield Effect(aspect=Aspect.MONITORING, says=says, source=source)


def _logged(policies: Policies, levels: list[tuple[wire.TelemetrySpec, str]]) -> Iterator[Effect]:
    """Say where a line for each request goes: the nearest Telemetry counts, and MeshConfig where there is none."""
    said, source = next(((one, name) for spec, name in levels for one in spec.access_logging), (None, ""))
    if said is None:
        if policies.access_log:
            says = f"each proxy writes a line to {policies.access_log} of its container"
            yield Effect(aspect=Aspect.MONITORING, says=says, source="MeshConfig accessLogFile")
        return
    where = ", ".join(p.name for p in said.providers) or policies.access_log or "the default"
    says = "no lines are written for requests" if said.disabled else f"lines for requests go to {where}"
    yield Effect(aspect=Aspect.MONITORING, says=says, source=source)


def _routed(rule: wire.VirtualRoute, name: str) -> Iterator[Effect]:
    total = sum(d.weight for d in rule.route)
    if len(rule.route) > 1:
        shares = (f"{d.weight * 100 / total if total else 0:g} % to {_host(d.destination)}" for d in rule.route)
        yield Effect(aspect=Aspect.ROUTING, says=", ".join(shares), source=name)
    elif rule.route and rule.route[0].destination.subset:
        yield Effect(aspect=Aspect.ROUTING, says=f"all to {_host(rule.route[0].destination)}", source=name)
    if rule.timeout:
        yield Effect(aspect=Aspect.TIMEOUT, says=f"answered 504 after {rule.timeout}", source=name)
    copies = [(m.destination, m.percentage) for m in rule.mirrors]
    for destination, share in (*copies, *([(rule.mirror, None)] if rule.mirror is not None else [])):
        says = f"{share.value if share else 100:g} % copied to {_host(destination)}"
        yield Effect(aspect=Aspect.MIRRORING, says=says, source=name)
    fault = rule.fault or wire.Fault()
    if fault.abort is not None:
        says = f"{_share(fault.abort.percentage)} answered {fault.abort.http_status} by the client's proxy"
        yield Effect(aspect=Aspect.FAULT, says=says, source=name)
    if fault.delay is not None:
        says = f"{_share(fault.delay.percentage)} wait {fault.delay.fixed_delay}"
        yield Effect(aspect=Aspect.FAULT, says=says, source=name)


def _host(destination: wire.Destination) -> str:
    return f"{destination.host}{f' subset {destination.subset}' if destination.subset else ''}"


def _share(percentage: wire.Percent | None) -> str:
    # Envoy does it to none where no share is said.
    return f"{percentage.value if percentage else 0:g} %"


def _retries(retries: wire.Retries | None, name: str) -> Effect:
    if retries is None:
        says = "up to 2 times more, where the server could not be reached, refused the stream, or answered 503"
        return Effect(aspect=Aspect.RETRIES, says=says, source=_DEFAULT)
    if not retries.attempts:
        return Effect(aspect=Aspect.RETRIES, says="none", source=name)
    on = f", on {retries.retry_on}" if retries.retry_on else ""
    each = f", each of at most {retries.per_try_timeout}" if retries.per_try_timeout else ""
    return Effect(aspect=Aspect.RETRIES, says=f"up to {retries.attempts} times more{on}{each}", source=name)


def _balanced(chosen: wire.LoadBalancing | None, name: str) -> Iterator[Effect]:
    if chosen is None:
        return
    if chosen.consistent_hash is not None:
        says = f"one server for all that are alike in {_key(chosen.consistent_hash)}"
        yield Effect(aspect=Aspect.LOAD_BALANCING, says=says, source=name)
    elif chosen.simple:
        yield Effect(aspect=Aspect.LOAD_BALANCING, says=chosen.simple, source=name)


def _key(by: wire.ConsistentHash) -> str:
    if by.http_header_name:
        return f"header {by.http_header_name}"
    if by.http_query_parameter_name:
        return f"query parameter {by.http_query_parameter_name}"
    return "their source address" if by.use_source_ip else "a cookie"


def _limited(settings: wire.TrafficSettings, name: str) -> Iterator[Effect]:
    pool = settings.connection_pool
    if pool is not None:
        limits = (
            (pool.tcp.max_connections, "connections"), (pool.http.http1_max_pending_requests, "requests that wait"),
            (pool.http.http2_max_requests, "requests at a time"), (pool.http.max_retries, "retries at a time"),
        )  # fmt: skip
        said = [f"{number} {what}" for number, what in limits if number]
        if said:
            says = f"beyond {', '.join(said)} of a client, its proxy answers 503"
            yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=says, source=name)
        if pool.tcp.connect_timeout:
            says = f"a connection that is not there after {pool.tcp.connect_timeout} is given up"
            yield Effect(aspect=Aspect.TIMEOUT, says=says, source=name)
    out = settings.outlier_detection
    if out is not None:
        errors = out.consecutive_5xx_errors if out.consecutive_5xx_errors is not None else 5
        kind = "5xx" if errors else "gateway"
        count = errors or out.consecutive_gateway_errors or 0
        says = left_out(f"{count} times in a row ({kind})", out.base_ejection_time, out.max_ejection_percent)
        yield Effect(aspect=Aspect.OUTLIER_DETECTION, says=says, source=name)
