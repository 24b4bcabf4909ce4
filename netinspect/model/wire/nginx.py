"""NGINX Service Mesh's kinds. Source: nginxinc/nginx-service-mesh pkg/apis/mesh/v1alpha2."""

from msgspec import field

from netinspect.model.wire.base import Metadata, Term, Wire


class NginxMTLS(Wire, frozen=True):
    """How its proxies talk to one another: off, permissive or strict."""

    mode: Term = ""


class NginxMeshConfigSpec(Wire, frozen=True):
    """What holds for all its proxies."""

    mtls: NginxMTLS = NginxMTLS()
    access_control_mode: Term = ""
    nginx_lb_method: Term = field(default="", name="nginxLBMethod")
    client_max_body_size: Term = ""


class NginxMeshConfig(Wire, frozen=True):
    """The settings of NGINX Service Mesh that may change (meshconfig_types.go)."""

    metadata: Metadata
    spec: NginxMeshConfigSpec = NginxMeshConfigSpec()
