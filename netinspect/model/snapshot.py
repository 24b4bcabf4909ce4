"""Everything that was read of a cluster at one time, and what could not be read."""

from enum import Enum

import msgspec
from msgspec import Struct

from netinspect.model import wire
from netinspect.model.evidence import NodeEvidence


class GapReason(str, Enum):
    """Why something was not read."""

    FORBIDDEN = "forbidden"  # our role does not allow it
    NOT_SERVED = "not-served"  # the API server does not know the kind
    FAILED = "failed"  # the server or the way to it failed, again and again
    PARTIAL = "partial"  # allowed in one namespace only
    NO_ACCESS = "no-access"  # there is no way into the node, or not into all of it


class Gap(Struct, frozen=True, kw_only=True, rename="camel"):
    """A kind that was asked for and not read, or not whole; what depends on it is unknown.

    ``namespaces`` are those in which a partial kind was read whole. Of kernel state ``resource`` is ``node/NAME`` or
    ``pod/NAMESPACE/NAME``.
    """

    resource: str
    reason: GapReason
    message: str
    hint: str = ""
    namespaces: tuple[str, ...] = ()

    @property
    def inside(self) -> bool:
        """Say whether it is about what is inside a node, and not about a kind of the API."""
        return self.resource.startswith(("node/", "pod/"))


class Snapshot(Struct, frozen=True, kw_only=True):
    """A cluster, as far as it was read. A kind that is in ``gaps`` is empty without meaning that there is none.

    ``versions`` are the resource versions of the lists: each kind is read at a moment of its own. ``redacted`` says
    that names, notes and command lines were replaced or left out. ``kernels`` is what
    was read in the nodes, where any was looked into.
    """

    taken_at: str = ""
    server_version: str = ""
    versions: dict[str, str] = {}
    redacted: bool = False
    gaps: tuple[Gap, ...] = ()
    nodes: tuple[wire.Node, ...] = ()
    pods: tuple[wire.Pod, ...] = ()
    services: tuple[wire.Service, ...] = ()
    endpoint_slices: tuple[wire.EndpointSlice, ...] = ()
    namespaces: tuple[wire.Namespace, ...] = ()
    service_cidrs: tuple[wire.ServiceCIDR, ...] = ()
    ip_addresses: tuple[wire.IPAddress, ...] = ()
    ingresses: tuple[wire.Ingress, ...] = ()
    gateways: tuple[wire.Gateway, ...] = ()
    http_routes: tuple[wire.HTTPRoute, ...] = ()
    grpc_routes: tuple[wire.GRPCRoute, ...] = ()
    network_policies: tuple[wire.NetworkPolicy, ...] = ()
    daemon_sets: tuple[wire.DaemonSet, ...] = ()
    custom_resource_definitions: tuple[wire.Named, ...] = ()
    control_plane: tuple[wire.ControlPlanePod, ...] = ()
    config_maps: tuple[wire.ConfigMap, ...] = ()
    cni_settings: tuple[wire.ConfigMap, ...] = ()
    ip_pools: tuple[wire.IPPool, ...] = ()
    block_affinities: tuple[wire.BlockAffinity, ...] = ()
    ipam_blocks: tuple[wire.IPAMBlock, ...] = ()
    felix_configurations: tuple[wire.FelixConfiguration, ...] = ()
    cilium_nodes: tuple[wire.CiliumNode, ...] = ()
    cilium_envoy_configs: tuple[wire.CiliumEnvoyConfig, ...] = ()
    cilium_cluster_envoy_configs: tuple[wire.CiliumEnvoyConfig, ...] = ()
    network_attachments: tuple[wire.NetworkAttachment, ...] = ()
    mutating_webhooks: tuple[wire.MutatingWebhookConfiguration, ...] = ()
    mesh_settings: tuple[wire.ConfigMap, ...] = ()
    peer_authentications: tuple[wire.PeerAuthentication, ...] = ()
    authorization_policies: tuple[wire.AuthorizationPolicy, ...] = ()
    destination_rules: tuple[wire.DestinationRule, ...] = ()
    virtual_services: tuple[wire.VirtualService, ...] = ()
    istio_sidecars: tuple[wire.IstioSidecar, ...] = ()
    envoy_filters: tuple[wire.EnvoyFilter, ...] = ()
    telemetries: tuple[wire.Telemetry, ...] = ()
    istio_hosts: tuple[wire.ServiceEntry, ...] = ()
    linkerd_servers: tuple[wire.LinkerdServer, ...] = ()
    linkerd_authorizations: tuple[wire.LinkerdAuthorization, ...] = ()
    linkerd_routes: tuple[wire.HTTPRoute, ...] = ()
    mesh_tls_authentications: tuple[wire.MeshTLSAuthentication, ...] = ()
    network_authentications: tuple[wire.NetworkAuthentication, ...] = ()
    server_authorizations: tuple[wire.ServerAuthorization, ...] = ()
    service_profiles: tuple[wire.ServiceProfile, ...] = ()
    service_intentions: tuple[wire.ServiceIntentions, ...] = ()
    service_defaults: tuple[wire.ConsulDefaults, ...] = ()
    proxy_defaults: tuple[wire.ConsulDefaults, ...] = ()
    consul_meshes: tuple[wire.ConsulMesh, ...] = ()
    service_resolvers: tuple[wire.ServiceResolver, ...] = ()
    service_routers: tuple[wire.ServiceRouter, ...] = ()
    service_splitters: tuple[wire.ServiceSplitter, ...] = ()
    kuma_meshes: tuple[wire.KumaMesh, ...] = ()
    kuma_tls: tuple[wire.KumaPolicy, ...] = ()
    kuma_permissions: tuple[wire.KumaPolicy, ...] = ()
    kuma_old_permissions: tuple[wire.KumaPolicy, ...] = ()
    kuma_old_routes: tuple[wire.KumaPolicy, ...] = ()
    kuma_http_routes: tuple[wire.KumaPolicy, ...] = ()
    kuma_tcp_routes: tuple[wire.KumaPolicy, ...] = ()
    kuma_passthroughs: tuple[wire.KumaPolicy, ...] = ()
    kuma_identities: tuple[wire.KumaPolicy, ...] = ()
    kuma_faults: tuple[wire.KumaPolicy, ...] = ()
    kuma_patches: tuple[wire.KumaPolicy, ...] = ()
    kuma_old_faults: tuple[wire.KumaPolicy, ...] = ()
    kuma_old_patches: tuple[wire.KumaPolicy, ...] = ()
    kuma_retries: tuple[wire.KumaTraffic, ...] = ()
    kuma_timeouts: tuple[wire.KumaTraffic, ...] = ()
    kuma_breakers: tuple[wire.KumaTraffic, ...] = ()
    kuma_balancers: tuple[wire.KumaTraffic, ...] = ()
    kuma_rates: tuple[wire.KumaTraffic, ...] = ()
    kuma_logs: tuple[wire.KumaTraffic, ...] = ()
    kuma_metrics: tuple[wire.KumaTraffic, ...] = ()
    kuma_traces: tuple[wire.KumaTraffic, ...] = ()
    osm_configs: tuple[wire.OsmMeshConfig, ...] = ()
    osm_egresses: tuple[wire.Named, ...] = ()
    osm_ingress_backends: tuple[wire.Named, ...] = ()
    traffic_targets: tuple[wire.TrafficTarget, ...] = ()
    traffic_splits: tuple[wire.TrafficSplit, ...] = ()
    osm_retries: tuple[wire.OsmRetry, ...] = ()
    osm_upstreams: tuple[wire.UpstreamTrafficSetting, ...] = ()
    app_meshes: tuple[wire.AppMesh, ...] = ()
    virtual_nodes: tuple[wire.VirtualNode, ...] = ()
    nginx_configs: tuple[wire.NginxMeshConfig, ...] = ()
    kernels: tuple[NodeEvidence, ...] = ()

    def gap(self, resource: str) -> Gap | None:
        """Give the gap of a kind, or None where it was read whole."""
        return next((g for g in self.gaps if g.resource == resource), None)

    def whole(self, resource: str, namespace: str) -> bool:
        """Say whether all objects of a kind that are in a namespace were read."""
        gap = self.gap(resource)
        return gap is None or namespace in gap.namespaces

    def unseen(self, resource: str) -> bool:
        """Say whether nothing at all of a kind could be read."""
        gap = self.gap(resource)
        return gap is not None and gap.reason is not GapReason.PARTIAL


class ListMeta(Struct, frozen=True, gc=False, rename="camel"):
    """Where a page ends: empty ``continue_`` means that it was the last."""

    continue_: str = msgspec.field(default="", name="continue")
    resource_version: str = ""
    remaining_item_count: int | None = None
