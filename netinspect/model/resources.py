"""The kinds that can be read, how the API calls them, and what they are decoded into."""

from dataclasses import dataclass, replace

from netinspect.model import wire


@dataclass(frozen=True)
class Resource:
    """One list that is read whole.

    ``name`` is the field of the Snapshot and the folder in a bundle. Of ``versions`` the first that is served counts.
    ``optional`` kinds may be missing from a cluster without anything being unknown: what is not installed holds
    nothing. ``fixed_namespace``, ``selector`` and ``objects`` narrow what is asked for to what is needed, so that a
    role may be narrow too.
    """

    name: str
    plural: str
    versions: tuple[str, ...]
    type: type[wire.Wire]
    namespaced: bool = True
    optional: bool = False
    metadata_only: bool = False
    fixed_namespace: str = ""
    selector: str = ""
    objects: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        """Name the kind as kubectl and RBAC do: ``pods``, ``ingresses.networking.k8s.io``."""
        group = self.versions[0].rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    def paths(self, namespace: str = "") -> list[str]:
        """Give the URL path of the list for each version, best first."""
        inside = self.fixed_namespace or namespace
        scope = f"namespaces/{inside}/" if inside and self.namespaced else ""
        return [f"/{'api' if v == 'v1' else 'apis'}/{v}/{scope}{self.plural}" for v in self.versions]


_GATEWAY = ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")
_NETWORKING = ("networking.k8s.io/v1", "networking.k8s.io/v1beta1")

NODES = Resource("nodes", "nodes", ("v1",), wire.Node, namespaced=False)
PODS = Resource("pods", "pods", ("v1",), wire.Pod)
# The same list with more of each pod: what recordings hold, and what few commands need.
NOTED_PODS = replace(PODS, type=wire.NotedPod)
SERVICES = Resource("services", "services", ("v1",), wire.Service)
ENDPOINT_SLICES = Resource("endpoint_slices", "endpointslices", ("discovery.k8s.io/v1",), wire.EndpointSlice)
NAMESPACES = Resource("namespaces", "namespaces", ("v1",), wire.Namespace, namespaced=False)
SERVICE_CIDRS = Resource(
    "service_cidrs", "servicecidrs", _NETWORKING, wire.ServiceCIDR, namespaced=False, optional=True
)
IP_ADDRESSES = Resource("ip_addresses", "ipaddresses", _NETWORKING, wire.IPAddress, namespaced=False, optional=True)
INGRESSES = Resource("ingresses", "ingresses", ("networking.k8s.io/v1",), wire.Ingress, optional=True)
GATEWAYS = Resource("gateways", "gateways", _GATEWAY, wire.Gateway, optional=True)
HTTP_ROUTES = Resource("http_routes", "httproutes", _GATEWAY, wire.HTTPRoute, optional=True)
GRPC_ROUTES = Resource("grpc_routes", "grpcroutes", _GATEWAY[:1], wire.GRPCRoute, optional=True)
NETWORK_POLICIES = Resource("network_policies", "networkpolicies", ("networking.k8s.io/v1",), wire.NetworkPolicy)
DAEMON_SETS = Resource("daemon_sets", "daemonsets", ("apps/v1",), wire.DaemonSet)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "custom_resource_definitions",
    "customresourcedefinitions",
    ("apiextensions.k8s.io/v1",),
    wire.Named,
    namespaced=False,
    metadata_only=True,
)
CONTROL_PLANE = Resource(
    "control_plane",
    "pods",
    ("v1",),
    wire.ControlPlanePod,
    fixed_namespace="kube-system",
    selector="component in (kube-apiserver,kube-controller-manager)",
)
CONFIG_MAPS = Resource(
    "config_maps",
    "configmaps",
    ("v1",),
    wire.ConfigMap,
    fixed_namespace="kube-system",
    objects=("kubeadm-config", "kube-proxy"),
)
# The settings of CNIs by the names that their own manifests and charts give them, in whatever namespace they are.
CNI_SETTINGS = Resource(
    "cni_settings",
    "configmaps",
    ("v1",),
    wire.ConfigMap,
    optional=True,
    objects=(
        "amazon-vpc-cni", "antrea-config", "calico-config", "canal-config", "cilium-config", "kube-flannel-cfg",
        "kube-router-cfg", "multus-cni-config", "multus-daemon-config", "ovn-config", "ovnkube-config", "weave-net",
    ),
)  # fmt: skip
_CALICO = ("crd.projectcalico.org/v1", "projectcalico.org/v3")
IP_POOLS = Resource("ip_pools", "ippools", _CALICO, wire.IPPool, namespaced=False, optional=True)
BLOCK_AFFINITIES = Resource(
    "block_affinities", "blockaffinities", _CALICO, wire.BlockAffinity, namespaced=False, optional=True
)
IPAM_BLOCKS = Resource("ipam_blocks", "ipamblocks", _CALICO, wire.IPAMBlock, namespaced=False, optional=True)
FELIX_CONFIGURATIONS = Resource(
    "felix_configurations", "felixconfigurations", _CALICO, wire.FelixConfiguration, namespaced=False, optional=True
)
CILIUM_NODES = Resource(
    "cilium_nodes", "ciliumnodes", ("cilium.io/v2",), wire.CiliumNode, namespaced=False, optional=True
)
CILIUM_ENVOY_CONFIGS = Resource(
    "cilium_envoy_configs", "ciliumenvoyconfigs", ("cilium.io/v2",), wire.CiliumEnvoyConfig, optional=True
)
CILIUM_CLUSTER_ENVOY_CONFIGS = Resource(
    "cilium_cluster_envoy_configs", "ciliumclusterwideenvoyconfigs", ("cilium.io/v2",), wire.CiliumEnvoyConfig,
    namespaced=False, optional=True,
)  # fmt: skip
NETWORK_ATTACHMENTS = Resource(
    "network_attachments",
    "network-attachment-definitions",
    ("k8s.cni.cncf.io/v1",),
    wire.NetworkAttachment,
    optional=True,
)
MUTATING_WEBHOOKS = Resource(
    "mutating_webhooks",
    "mutatingwebhookconfigurations",
    ("admissionregistration.k8s.io/v1",),
    wire.MutatingWebhookConfiguration,
    namespaced=False,
)
MESH_SETTINGS = Resource(
    "mesh_settings",
    "configmaps",
    ("v1",),
    wire.ConfigMap,
    optional=True,
    objects=(
        "istio",
        "consul-server-config",
        "consul-consul-server-config",
        "consul-server-tmp-extra-config",
        "consul-consul-server-tmp-extra-config",
    ),
)
_SECURITY = ("security.istio.io/v1", "security.istio.io/v1beta1")
_ISTIO = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
PEER_AUTHENTICATIONS = Resource(
    "peer_authentications", "peerauthentications", _SECURITY, wire.PeerAuthentication, optional=True
)
AUTHORIZATION_POLICIES = Resource(
    "authorization_policies", "authorizationpolicies", _SECURITY, wire.AuthorizationPolicy, optional=True
)
DESTINATION_RULES = Resource("destination_rules", "destinationrules", _ISTIO, wire.DestinationRule, optional=True)
VIRTUAL_SERVICES = Resource("virtual_services", "virtualservices", _ISTIO, wire.VirtualService, optional=True)
ISTIO_SIDECARS = Resource("istio_sidecars", "sidecars", _ISTIO, wire.IstioSidecar, optional=True)
ENVOY_FILTERS = Resource("envoy_filters", "envoyfilters", _ISTIO[2:], wire.EnvoyFilter, optional=True)
TELEMETRIES = Resource(
    "telemetries", "telemetries", ("telemetry.istio.io/v1", "telemetry.istio.io/v1alpha1"), wire.Telemetry,
    optional=True,
)  # fmt: skip
ISTIO_HOSTS = Resource("istio_hosts", "serviceentries", _ISTIO, wire.ServiceEntry, optional=True)
_L5D = ("policy.linkerd.io/v1alpha1",)
_SERVERS = tuple(f"policy.linkerd.io/v1beta{n}" for n in (3, 2, 1))
LINKERD_SERVERS = Resource("linkerd_servers", "servers", _SERVERS, wire.LinkerdServer, optional=True)
LINKERD_AUTHORIZATIONS = Resource(
    "linkerd_authorizations", "authorizationpolicies", _L5D, wire.LinkerdAuthorization, optional=True
)
LINKERD_ROUTES = Resource("linkerd_routes", "httproutes", _SERVERS, wire.HTTPRoute, optional=True)
MESH_TLS_AUTHENTICATIONS = Resource(
    "mesh_tls_authentications", "meshtlsauthentications", _L5D, wire.MeshTLSAuthentication, optional=True
)
NETWORK_AUTHENTICATIONS = Resource(
    "network_authentications", "networkauthentications", _L5D, wire.NetworkAuthentication, optional=True
)
SERVER_AUTHORIZATIONS = Resource(
    "server_authorizations",
    "serverauthorizations",
    ("policy.linkerd.io/v1beta1",),
    wire.ServerAuthorization,
    optional=True,
)
SERVICE_PROFILES = Resource(
    "service_profiles", "serviceprofiles", ("linkerd.io/v1alpha2",), wire.ServiceProfile, optional=True
)
_CONSUL = ("consul.hashicorp.com/v1alpha1",)
SERVICE_INTENTIONS = Resource("service_intentions", "serviceintentions", _CONSUL, wire.ServiceIntentions, optional=True)
SERVICE_DEFAULTS = Resource("service_defaults", "servicedefaults", _CONSUL, wire.ConsulDefaults, optional=True)
PROXY_DEFAULTS = Resource("proxy_defaults", "proxydefaults", _CONSUL, wire.ConsulDefaults, optional=True)
CONSUL_MESHES = Resource("consul_meshes", "meshes", _CONSUL, wire.ConsulMesh, optional=True)
SERVICE_RESOLVERS = Resource("service_resolvers", "serviceresolvers", _CONSUL, wire.ServiceResolver, optional=True)
SERVICE_ROUTERS = Resource("service_routers", "servicerouters", _CONSUL, wire.ServiceRouter, optional=True)
SERVICE_SPLITTERS = Resource("service_splitters", "servicesplitters", _CONSUL, wire.ServiceSplitter, optional=True)
_KUMA = ("kuma.io/v1alpha1",)
KUMA_MESHES = Resource("kuma_meshes", "meshes", _KUMA, wire.KumaMesh, namespaced=False, optional=True)
KUMA_TLS = Resource("kuma_tls", "meshtlses", _KUMA, wire.KumaPolicy, optional=True)
KUMA_PERMISSIONS = Resource("kuma_permissions", "meshtrafficpermissions", _KUMA, wire.KumaPolicy, optional=True)
KUMA_OLD_PERMISSIONS = Resource(
    "kuma_old_permissions", "trafficpermissions", _KUMA, wire.KumaPolicy, namespaced=False, optional=True
)
KUMA_OLD_ROUTES = Resource("kuma_old_routes", "trafficroutes", _KUMA, wire.KumaPolicy, namespaced=False, optional=True)
KUMA_HTTP_ROUTES = Resource("kuma_http_routes", "meshhttproutes", _KUMA, wire.KumaPolicy, optional=True)
KUMA_TCP_ROUTES = Resource("kuma_tcp_routes", "meshtcproutes", _KUMA, wire.KumaPolicy, optional=True)
KUMA_PASSTHROUGHS = Resource("kuma_passthroughs", "meshpassthroughs", _KUMA, wire.KumaPolicy, optional=True)
KUMA_IDENTITIES = Resource("kuma_identities", "meshidentities", _KUMA, wire.KumaPolicy, optional=True)
KUMA_FAULTS = Resource("kuma_faults", "meshfaultinjections", _KUMA, wire.KumaPolicy, optional=True)
KUMA_PATCHES = Resource("kuma_patches", "meshproxypatches", _KUMA, wire.KumaPolicy, optional=True)
KUMA_OLD_FAULTS = Resource(
    "kuma_old_faults", "faultinjections", _KUMA, wire.KumaPolicy, namespaced=False, optional=True
)
KUMA_OLD_PATCHES = Resource(
    "kuma_old_patches", "proxytemplates", _KUMA, wire.KumaPolicy, namespaced=False, optional=True
)
KUMA_RETRIES = Resource("kuma_retries", "meshretries", _KUMA, wire.KumaTraffic, optional=True)
KUMA_TIMEOUTS = Resource("kuma_timeouts", "meshtimeouts", _KUMA, wire.KumaTraffic, optional=True)
KUMA_BREAKERS = Resource("kuma_breakers", "meshcircuitbreakers", _KUMA, wire.KumaTraffic, optional=True)
KUMA_BALANCERS = Resource("kuma_balancers", "meshloadbalancingstrategies", _KUMA, wire.KumaTraffic, optional=True)
KUMA_RATES = Resource("kuma_rates", "meshratelimits", _KUMA, wire.KumaTraffic, optional=True)
KUMA_LOGS = Resource("kuma_logs", "meshaccesslogs", _KUMA, wire.KumaTraffic, optional=True)
KUMA_METRICS = Resource("kuma_metrics", "meshmetrics", _KUMA, wire.KumaTraffic, optional=True)
KUMA_TRACES = Resource("kuma_traces", "meshtraces", _KUMA, wire.KumaTraffic, optional=True)
_OF_KUMA = (
    KUMA_MESHES, KUMA_TLS, KUMA_PERMISSIONS, KUMA_OLD_PERMISSIONS, KUMA_OLD_ROUTES, KUMA_HTTP_ROUTES, KUMA_TCP_ROUTES,
    KUMA_PASSTHROUGHS, KUMA_IDENTITIES, KUMA_FAULTS, KUMA_PATCHES, KUMA_OLD_FAULTS, KUMA_OLD_PATCHES,
    KUMA_RETRIES, KUMA_TIMEOUTS, KUMA_BREAKERS, KUMA_BALANCERS, KUMA_RATES, KUMA_LOGS, KUMA_METRICS, KUMA_TRACES,
)  # fmt: skip
_OSM = ("policy.openservicemesh.io/v1alpha1",)
OSM_CONFIGS = Resource(
    "osm_configs",
    "meshconfigs",
    ("config.openservicemesh.io/v1alpha2", "config.openservicemesh.io/v1alpha1"),
    wire.OsmMeshConfig,
    optional=True,
)
OSM_EGRESSES = Resource("osm_egresses", "egresses", _OSM, wire.Named, optional=True)
OSM_INGRESS_BACKENDS = Resource("osm_ingress_backends", "ingressbackends", _OSM, wire.Named, optional=True)
TRAFFIC_TARGETS = Resource(
    "traffic_targets",
    "traffictargets",
    ("access.smi-spec.io/v1alpha3", "access.smi-spec.io/v1alpha2"),
    wire.TrafficTarget,
    optional=True,
)
TRAFFIC_SPLITS = Resource(
    "traffic_splits",
    "trafficsplits",
    ("split.smi-spec.io/v1alpha4", "split.smi-spec.io/v1alpha3", "split.smi-spec.io/v1alpha2"),
    wire.TrafficSplit,
    optional=True,
)
OSM_RETRIES = Resource("osm_retries", "retries", _OSM, wire.OsmRetry, optional=True)
OSM_UPSTREAMS = Resource("osm_upstreams", "upstreamtrafficsettings", _OSM, wire.UpstreamTrafficSetting, optional=True)
_OF_OSM = (
    OSM_CONFIGS, OSM_EGRESSES, OSM_INGRESS_BACKENDS, TRAFFIC_TARGETS, TRAFFIC_SPLITS, OSM_RETRIES, OSM_UPSTREAMS,
)  # fmt: skip
_APP_MESH = ("appmesh.k8s.aws/v1beta2",)
APP_MESHES = Resource("app_meshes", "meshes", _APP_MESH, wire.AppMesh, namespaced=False, optional=True)
VIRTUAL_NODES = Resource("virtual_nodes", "virtualnodes", _APP_MESH, wire.VirtualNode, optional=True)
_OF_APP_MESH = (APP_MESHES, VIRTUAL_NODES)
NGINX_CONFIGS = Resource(
    "nginx_configs", "meshconfigs", ("nsm.nginx.com/v1alpha2",), wire.NginxMeshConfig, optional=True
)
_OF_CONSUL = (
    SERVICE_INTENTIONS, SERVICE_DEFAULTS, PROXY_DEFAULTS, CONSUL_MESHES, SERVICE_RESOLVERS, SERVICE_ROUTERS,
    SERVICE_SPLITTERS,
)  # fmt: skip
_OF_ISTIO = (
    PEER_AUTHENTICATIONS, AUTHORIZATION_POLICIES, DESTINATION_RULES, VIRTUAL_SERVICES, ISTIO_SIDECARS, ISTIO_HOSTS,
    ENVOY_FILTERS, TELEMETRIES,
)  # fmt: skip
_OF_LINKERD = (
    LINKERD_SERVERS, LINKERD_AUTHORIZATIONS, LINKERD_ROUTES, MESH_TLS_AUTHENTICATIONS, NETWORK_AUTHENTICATIONS,
    SERVER_AUTHORIZATIONS, SERVICE_PROFILES,
)  # fmt: skip
# What meshes make of a request hangs on these.
POLICIES_BY_MESH = {
    "istio": (MESH_SETTINGS, GATEWAYS, HTTP_ROUTES, GRPC_ROUTES, *_OF_ISTIO),
    "linkerd": (HTTP_ROUTES, GRPC_ROUTES, *_OF_LINKERD),
    "consul": (MESH_SETTINGS, *_OF_CONSUL),
    "kuma": _OF_KUMA,
    "osm": _OF_OSM,
    "app-mesh": _OF_APP_MESH,
    "nginx": (NGINX_CONFIGS, TRAFFIC_TARGETS, TRAFFIC_SPLITS),
    "cilium": (),
}
MESH_POLICIES = (
    MESH_SETTINGS, GATEWAYS, HTTP_ROUTES, GRPC_ROUTES, *_OF_ISTIO, *_OF_LINKERD, *_OF_CONSUL, *_OF_KUMA, *_OF_OSM,
    *_OF_APP_MESH, NGINX_CONFIGS,
)  # fmt: skip

RESOURCES = (
    NODES,
    NOTED_PODS,
    SERVICES,
    ENDPOINT_SLICES,
    NAMESPACES,
    SERVICE_CIDRS,
    IP_ADDRESSES,
    INGRESSES,
    GATEWAYS,
    HTTP_ROUTES,
    GRPC_ROUTES,
    NETWORK_POLICIES,
    DAEMON_SETS,
    CUSTOM_RESOURCE_DEFINITIONS,
    CONTROL_PLANE,
    CONFIG_MAPS,
    CNI_SETTINGS,
    IP_POOLS,
    BLOCK_AFFINITIES,
    IPAM_BLOCKS,
    FELIX_CONFIGURATIONS,
    CILIUM_NODES,
    CILIUM_ENVOY_CONFIGS,
    CILIUM_CLUSTER_ENVOY_CONFIGS,
    NETWORK_ATTACHMENTS,
    MUTATING_WEBHOOKS,
    MESH_SETTINGS,
    *_OF_ISTIO,
    *_OF_LINKERD,
    *_OF_CONSUL,
    *_OF_KUMA,
    *_OF_OSM,
    *_OF_APP_MESH,
    NGINX_CONFIGS,
)
# Kinds without which a network, or an owner, is not known; the others only make the evidence better.
DECISIVE = (NODES, PODS, SERVICES, ENDPOINT_SLICES, INGRESSES, GATEWAYS)
RANGE_EVIDENCE = (SERVICE_CIDRS, CONTROL_PLANE, CONFIG_MAPS)
BY_NAME = {resource.name: resource for resource in RESOURCES}
