"""What else Consul does to requests: who is called, how often and for how long, who is left out, and where it shows.

Sources: hashicorp/consul agent/xds/{routes,clusters,listeners}.go, agent/xds/config/config.go; hashicorp/consul-k8s
control-plane/api/v1alpha1, control-plane/connect-inject/metrics/metrics_configuration.go; envoyproxy/envoy
api/envoy/config (its defaults where Consul writes nothing).
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.mesh.base import Call, left_out, limited, number, true
from netinspect.mesh.consul import told_to_injector
from netinspect.mesh.consul_chain import routed
from netinspect.mesh.consul_entries import defaults, entry, is_http, of_all, proxy_config, upstream
from netinspect.mesh.sight import Pod, Sight
from netinspect.model import wire
from netinspect.model.mesh import Aspect, Effect
from netinspect.model.snapshot import Snapshot

_KEY = "consul.hashicorp.com/"
_ENVOY = "Envoy's default"
_TIMEOUT = "15s"
_HASHED = frozenset({"ring_hash", "maglev"})
_METRICS, _METRICS_PATH = 20200, "/metrics"
_ALL = 100


def of_client(call: Call, snapshot: Snapshot, client: str, server: str) -> Iterator[Effect]:
    """Say what the client's proxy does to a request for a service, and what the server's makes of it in time."""
    http = is_http(snapshot, client, server)
    resolver = entry(snapshot.service_resolvers, server)
    spec = resolver.spec if resolver is not None else wire.ServiceResolverSpec()
    yield _balanced(spec.load_balancer, server, http=http)
    way = upstream(snapshot, client, server)
    yield _left_out(way.passive_health_check, client, servers=len(call.backends), http=http)
    yield from _limited(way.limits, client, http=http)
    if way.connect_timeout_ms or _is_set(spec.connect_timeout):
        own = f"{way.connect_timeout_ms / 1000:g}s" if way.connect_timeout_ms else ""
        says = f"a connection that is not there after {own or spec.connect_timeout} is given up"
        source = f"ServiceDefaults {client}" if own else f"ServiceResolver {server}"
        yield Effect(aspect=Aspect.TIMEOUT, says=says, source=source)
    if http:
        yield from _requests(call, snapshot, server, spec)
    yield from _extended(snapshot, server)


def _balanced(told: wire.ConsulBalancing | None, server: str, *, http: bool) -> Effect:
    policy = (told.policy if told is not None else "").replace("_", " ")
    says = f"{policy or 'round robin'}, by {'request' if http else 'connection'}"
    hashed = told is not None and told.policy in _HASHED and http
    alike = [_key(h) for h in told.hash_policies] if told is not None and hashed else []
    if alike:
        says += f": one server for all that are alike in {', '.join(alike)}"
    return Effect(aspect=Aspect.LOAD_BALANCING, says=says, source=f"ServiceResolver {server}" if policy else _ENVOY)


def _key(by: wire.ConsulHashPolicy) -> str:
    return "their source address" if by.source_ip else f"{by.kind.replace('_', ' ')} {by.field_value}"


def _left_out(told: wire.ConsulPassiveHealthCheck | None, client: str, *, servers: int, http: bool) -> Effect:
    """Say when a server is left out: Consul always turns it on, with Envoy's own figures where it has none."""
    check = told or wire.ConsulPassiveHealthCheck()
    source = f"ServiceDefaults {client}" if told is not None else _ENVOY
    if check.enforcing_consecutive_5xx == 0:
        return Effect(aspect=Aspect.OUTLIER_DETECTION, says="no server is left out for failing in a row", source=source)
    most = 10 if check.max_ejection_percent is None else check.max_ejection_percent
    kind = "5xx" if http else "no connection"
    failures = f"{check.max_failures or 5} times in a row ({kind})"
    says = left_out(failures, check.base_ejection_time or "30s", most)
    if most * servers < _ALL:
        # What is ejected may not be more than the share (outlier_detection_impl.cc).
        says += f": of {servers} none, since Envoy 1.28"
    return Effect(aspect=Aspect.OUTLIER_DETECTION, says=says, source=source)


def _limited(limits: wire.ConsulLimits | None, client: str, *, http: bool) -> Iterator[Effect]:
    told = limits or wire.ConsulLimits()
    says = limited(told.max_connections, told.max_pending_requests, told.max_concurrent_requests, http=http)
    if says:
        yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=says, source=f"ServiceDefaults {client}")


def _requests(call: Call, snapshot: Snapshot, server: str, spec: wire.ServiceResolverSpec) -> Iterator[Effect]:
    route, certain = routed(call, snapshot, server)
    router, resolver = f"ServiceRouter {server}", f"ServiceResolver {server}"
    splitter = entry(snapshot.service_splitters, server)
    if splitter is not None:
        shares = (f"{s.weight:g} % to {_service(s, server)}" for s in splitter.spec.splits)
        yield Effect(aspect=Aspect.ROUTING, says=", ".join(shares), source=f"ServiceSplitter {server}")
    if route is not None and route.prefix_rewrite:
        says = f"the beginning of its path becomes {route.prefix_rewrite}"
        yield Effect(aspect=Aspect.ROUTING, says=says, source=router)
    if route is not None:
        yield from _retried(route, router)
    first = entry(snapshot.service_routers, server) is None and splitter is None
    if route is not None and _is_set(route.request_timeout):
        yield _timed(route.request_timeout, router)
    elif first and _is_set(spec.request_timeout):
        yield _timed(spec.request_timeout, resolver)
    elif certain:
        yield _timed(_TIMEOUT, _ENVOY)
    if f"{_KEY}proxy-config-map" not in call.server.pod.annotations:
        yield _answered(snapshot, server)


def _is_set(after: str) -> bool:
    return after.strip("0smh") != ""


def _answered(snapshot: Snapshot, server: str) -> Effect:
    """Say how long the server's proxy waits: as ServiceDefaults say, else ProxyDefaults, where 0 is for ever."""
    own = defaults(snapshot, server).local_request_timeout_ms
    general = proxy_config(snapshot).local_request_timeout_ms
    waits = own or (general if isinstance(general, int | float) else None)
    source = f"ServiceDefaults {server}" if own else "ProxyDefaults" if waits is not None else _ENVOY
    if waits == 0:
        return Effect(aspect=Aspect.TIMEOUT, says="the server's proxy waits for its application", source=source)
    after = f"{waits / 1000:g}s" if waits is not None else _TIMEOUT
    says = f"the server's proxy waits {after} for its application, then answers 504"
    return Effect(aspect=Aspect.TIMEOUT, says=says, source=source)


def _service(to: wire.ConsulDestination, own: str) -> str:
    return f"{to.service or own}{f' subset {to.service_subset}' if to.service_subset else ''}"


def _retried(route: wire.ConsulRouted, source: str) -> Iterator[Effect]:
    """Say what is tried again: nothing without a condition, and once where there is one and no number."""
    on = [
        *route.retry_on, *(["connect-failure"] if route.retry_on_connect_failure else []),
        *(f"status {code}" for code in route.retry_on_status_codes),
    ]  # fmt: skip
    if on:
        times = route.num_retries or 1
        says = f"up to {times} {'time' if times == 1 else 'times'} more, on {', '.join(on)}"
        yield Effect(aspect=Aspect.RETRIES, says=says, source=source)


def _timed(after: str, source: str) -> Effect:
    says = "no request is too long" if after.startswith("-") else f"answered 504 after {after}, retries included"
    return Effect(aspect=Aspect.TIMEOUT, says=says, source=source)


def _extended(snapshot: Snapshot, server: str) -> Iterator[Effect]:
    for name, spec in (("ProxyDefaults", of_all(snapshot)), (f"ServiceDefaults {server}", defaults(snapshot, server))):
        for one in spec.envoy_extensions:
            says = f"the extension {one.name} may change it, which is not evaluated"
            yield Effect(aspect=Aspect.ROUTING, says=says, source=name)


def of_server(call: Call, sight: Sight, server: str) -> Iterator[Effect]:
    """Say how many the server's proxy takes at a time, and where it shows what it counts and writes."""
    snapshot = sight.snapshot
    if most := defaults(snapshot, server).max_inbound_connections:
        says = f"beyond {most} connections the server's proxy closes them"
        yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=says, source=f"ServiceDefaults {server}")
    yield from _counted(call, sight)
    logs = of_all(snapshot).access_logs
    if logs is not None and logs.enabled:
        where = logs.path if logs.type == "file" else logs.type or "stdout"
        says = f"each proxy writes a line to {where} of its container"
        yield Effect(aspect=Aspect.MONITORING, says=says, source="ProxyDefaults accessLogs")
    if proxy_config(snapshot).envoy_tracing_json:
        says = "spans are sent of what the caller already traces"
        yield Effect(aspect=Aspect.MONITORING, says=says, source="ProxyDefaults envoy_tracing_json")


def scrape(pod: Pod, sight: Sight) -> tuple[int, str, str] | None:
    """Give the port and path at which a pod's proxy shows what it counts, and who says so; None where it does not.

    The injector leaves that port out of the redirection.
    """
    flags = told_to_injector(sight)
    asked = pod.annotations.get(f"{_KEY}enable-metrics")
    if not (true(asked) if asked is not None else true(flags.get("default-enable-metrics"))):
        return None
    port = number(
        pod.annotations.get(f"{_KEY}prometheus-scrape-port") or flags.get("default-prometheus-scrape-port") or ""
    )
    path = pod.annotations.get(f"{_KEY}prometheus-scrape-path") or flags.get("default-prometheus-scrape-path")
    source = f"annotation {_KEY}enable-metrics" if asked is not None else "the injector's -default-enable-metrics"
    return port or _METRICS, path or _METRICS_PATH, source


def _counted(call: Call, sight: Sight) -> Iterator[Effect]:
    """Say where the proxy shows what it counts."""
    shown = scrape(call.server.pod, sight)
    if shown is not None:
        port, path, source = shown
        says = f"the server's proxy counts it: {path} at port {port}, past all intentions"
        yield Effect(aspect=Aspect.MONITORING, says=says, source=source)
    if bound := proxy_config(sight.snapshot).envoy_prometheus_bind_addr:
        says = f"the server's proxy counts it: {_METRICS_PATH} at {bound}"
        yield Effect(aspect=Aspect.MONITORING, says=says, source="ProxyDefaults envoy_prometheus_bind_addr")
