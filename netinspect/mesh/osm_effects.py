"""What else Open Service Mesh does to requests, by its settings, Retry, UpstreamTrafficSetting and TrafficSplit.

Sources: openservicemesh/osm pkg/apis/policy/v1alpha1, pkg/policy/client.go, pkg/catalog/retry.go,
pkg/catalog/outbound_traffic_policies.go, pkg/smi/smi.go, pkg/envoy/generator/cds/builder.go (its defaults),
pkg/injector/metrics.go, pkg/k8s/client.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.mesh.base import Call, limited, split_of
from netinspect.model import wire
from netinspect.model.mesh import Aspect, Effect
from netinspect.model.snapshot import Snapshot

_DEFAULT = "Open Service Mesh's default"
_METRICS, _SCRAPED = 15010, "prometheus.io/scrape"
_PREFIXES = ("tcp-server-first", "http", "grpc", "tcp")


def protocol(call: Call) -> str:
    """Name the protocol of a Service's port: as the port says, else as its name begins, else HTTP."""
    port = call.declared
    if port is None:
        return "http"
    return port.app_protocol or next((p for p in _PREFIXES if port.name.startswith(f"{p}-")), "http")


def of_client(call: Call, snapshot: Snapshot, config: wire.OsmMeshConfig) -> Iterator[Effect]:
    """Say what the client's proxy does to a request for a Service."""
    http = not protocol(call).startswith("tcp")
    says = f"its servers in turn, by {'request' if http else 'connection'}"
    yield Effect(aspect=Aspect.LOAD_BALANCING, says=says, source=_DEFAULT)
    split = split_of(call, snapshot.traffic_splits)
    if split is not None:
        total = sum(b.weight for b in split.spec.backends)
        shares = (f"{b.weight * 100 / total if total else 0:g} % to {b.service}" for b in split.spec.backends)
        yield Effect(aspect=Aspect.ROUTING, says=", ".join(shares), source=_named("TrafficSplit", split.metadata))
    if http and config.spec.feature_flags.enable_retry_policy:
        yield from _retried(call, snapshot)
    setting = _setting(call, snapshot)
    if setting is not None and split is None:
        yield from _limited(setting, http=http)


def _named(kind: str, meta: wire.Metadata) -> str:
    return f"{kind} {meta.namespace}/{meta.name}"


def _retried(call: Call, snapshot: Snapshot) -> Iterator[Effect]:
    """Give the first Retry whose source and destination are these two, to the letter."""
    client, service = call.client.pod, call.service
    account = ("ServiceAccount", client.object.spec.service_account_name or "default", client.namespace)
    wanted = ("Service", service.metadata.name, service.metadata.namespace) if service is not None else ()
    for retry in snapshot.osm_retries:
        source = retry.spec.source
        to = [(d.kind, d.name, d.namespace) for d in retry.spec.destinations]
        if (source.kind, source.name, source.namespace) == account and wanted in to:
            told = retry.spec.retry_policy
            each = f", each of at most {told.per_try_timeout}" if told.per_try_timeout else ""
            times = 1 if told.num_retries is None else told.num_retries
            says = f"up to {times} {'time' if times == 1 else 'times'} more, on {told.retry_on}{each}"
            if times and told.retry_on:
                yield Effect(aspect=Aspect.RETRIES, says=says, source=_named("Retry", retry.metadata))
            return


def _setting(call: Call, snapshot: Snapshot) -> wire.UpstreamTrafficSetting | None:
    """Give what is set for a Service: in its namespace, by its whole name."""
    if call.service is None:
        return None
    meta = call.service.metadata
    host = f"{meta.name}.{meta.namespace}.svc.cluster.local"
    return next(
        (s for s in snapshot.osm_upstreams if s.metadata.namespace == meta.namespace and s.spec.host == host), None
    )


def _limited(setting: wire.UpstreamTrafficSetting, *, http: bool) -> Iterator[Effect]:
    source = _named("UpstreamTrafficSetting", setting.metadata)
    told, asked = setting.spec.connection_settings.tcp, setting.spec.connection_settings.http
    says = limited(told.max_connections, asked.max_pending_requests, asked.max_requests, http=http)
    if says:
        yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=says, source=source)
    if told.connect_timeout:
        says = f"a connection that is not there after {told.connect_timeout} is given up"
        yield Effect(aspect=Aspect.TIMEOUT, says=says, source=source)


def of_server(call: Call, snapshot: Snapshot, config: wire.OsmMeshConfig) -> Iterator[Effect]:
    """Say how much the server's proxy lets in, and where it shows what it counts and writes."""
    http = not protocol(call).startswith("tcp")
    setting = _setting(call, snapshot)
    if setting is not None:
        source = _named("UpstreamTrafficSetting", setting.metadata)
        local = setting.spec.rate_limit.local
        if local.http.requests and http:
            code = local.http.response_status_code or 429
            says = f"beyond {local.http.requests} a {local.http.unit} the server's proxy answers {code}"
            yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=says, source=source)
        if local.tcp.connections:
            says = f"beyond {local.tcp.connections} connections a {local.tcp.unit} the server's proxy closes them"
            yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=says, source=source)
    if call.server.pod.annotations.get(_SCRAPED) == "true":
        says = f"the server's proxy counts it: /stats/prometheus at port {_METRICS}"
        yield Effect(aspect=Aspect.MONITORING, says=says, source=f"annotation {_SCRAPED}")
    if http:
        says = "each proxy writes a line to the output of its container"
        yield Effect(aspect=Aspect.MONITORING, says=says, source=_DEFAULT)
    tracing = config.spec.observability.tracing
    if tracing.enable and http:
        says = f"spans go to {tracing.address or 'jaeger'}:{tracing.port or 9411}"
        yield Effect(aspect=Aspect.MONITORING, says=says, source=f"MeshConfig {config.metadata.name}")
