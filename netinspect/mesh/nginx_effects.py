"""What else NGINX Service Mesh does to requests: who is chosen, how large one may be, and where it shows.

Sources: nginxinc/nginx-service-mesh docs/content/get-started/install/configuration.md, pkg/sidecar/config.go,
pkg/apis/mesh/v1alpha2/meshconfig_types.go, docs/content/about/tech-specs.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.mesh.base import Call
from netinspect.mesh.sight import Sight
from netinspect.model.mesh import Aspect, Effect

_DEFAULT, _CONFIG = "NGINX Service Mesh's default", "MeshConfig"
_METHOD, _SIZE = "config.nsm.nginx.com/lb-method", "config.nsm.nginx.com/client-max-body-size"
_METRICS, _HTTP = 8887, 80


def of_client(call: Call, sight: Sight) -> Iterator[Effect]:
    """Say how the client's proxy chooses a server."""
    notes = call.service.metadata.annotations if call.service is not None else {}
    whole = next((c.spec.nginx_lb_method for c in sight.snapshot.nginx_configs), "")
    own = notes.get(_METHOD, "")
    source = f"annotation {_METHOD}" if own else _CONFIG if whole else _DEFAULT
    yield Effect(aspect=Aspect.LOAD_BALANCING, says=own or whole or "least_time", source=source)


def of_server(call: Call, sight: Sight) -> Iterator[Effect]:
    """Say how large a request the server's proxy takes, and where it shows what it counts."""
    whole = next((c.spec.client_max_body_size for c in sight.snapshot.nginx_configs), "")
    own = call.server.pod.annotations.get(_SIZE, "")
    size = own or whole or "1m"
    port = call.declared
    # A port whose name does not begin with its protocol is HTTP where it is 80.
    http = port is not None and (port.name.partition("-")[0] == "http" or (not port.name and port.port == _HTTP))
    if http and size != "0":
        source = f"annotation {_SIZE}" if own else _CONFIG if whole else _DEFAULT
        yield Effect(aspect=Aspect.CIRCUIT_BREAKING, says=f"a body of more than {size} is answered 413", source=source)
    says = f"the server's proxy counts it: /metrics at port {_METRICS}"
    yield Effect(aspect=Aspect.MONITORING, says=says, source=_DEFAULT)
