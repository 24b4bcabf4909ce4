"""What App Mesh's proxy does to the requests that it takes for its application, by the listener of its VirtualNode.

Sources: aws/aws-app-mesh-controller-for-k8s apis/appmesh/v1beta2, pkg/inject/sidecar_builder.go; awsdocs/
aws-app-mesh-user-guide doc_source/{envoy-defaults,envoy-config}.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.mesh.base import Side, limited
from netinspect.mesh.sight import variables
from netinspect.model import wire
from netinspect.model.mesh import Aspect, Effect

_DEFAULT, _TIMEOUT = "AWS's default", "15s"
_METRICS = 9901
_HTTP = ("http", "http2", "grpc")
_TRACING = (
    ("ENABLE_ENVOY_XRAY_TRACING", "X-Ray"), ("ENABLE_ENVOY_JAEGER_TRACING", "Jaeger"),
    ("ENABLE_ENVOY_DATADOG_TRACING", "Datadog"),
)  # fmt: skip


def of_server(server: Side, node: wire.VirtualNode, listener: wire.AppMeshListener) -> Iterator[Effect]:
    """Say how long and how much the server's proxy lets its application be asked, and where it shows that."""
    name = f"VirtualNode {node.metadata.namespace}/{node.metadata.name}"
    protocol = listener.port_mapping.protocol
    if protocol in _HTTP:
        timeouts = getattr(listener.timeout, protocol) if listener.timeout is not None else None
        told = timeouts.per_request if timeouts is not None else None
        after = f"{told.value}{told.unit}" if told is not None else _TIMEOUT
        says = f"answered 504 after {after} by the server's proxy"
        if told is not None and not told.value:
            says = "no request is too long for the server's proxy"
        yield Effect(aspect=Aspect.TIMEOUT, says=says, source=name if told is not None else _DEFAULT)
    pool: wire.AppMeshPool | None = (
        getattr(listener.connection_pool, protocol, None) if listener.connection_pool is not None else None
    )
    if pool is not None:
        http = protocol in _HTTP
        says = limited(pool.max_connections, pool.max_pending_requests, pool.max_requests, http=http)
        if says:
            yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=says, source=name)
    says = f"the server's proxy counts it: /stats/prometheus at port {_METRICS}"
    yield Effect(aspect=Aspect.MONITORING, says=says, source=_DEFAULT)
    log = node.spec.logging.access_log if node.spec.logging is not None else None
    if log is not None and log.file is not None and log.file.path:
        says = f"the server's proxy writes a line to {log.file.path} of its container"
        yield Effect(aspect=Aspect.MONITORING, says=says, source=name)
    proxy = server.presence.proxy if server.presence is not None else ""
    own = variables(server.pod.containers.get(proxy))
    for variable, whom in _TRACING:
        if own.get(variable) in ("1", "true"):
            yield Effect(aspect=Aspect.MONITORING, says=f"spans go to {whom}", source=f"variable {variable}")
