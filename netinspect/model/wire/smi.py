"""Kinds of Open Service Mesh and of the Service Mesh Interface that it follows."""

from msgspec import field

from netinspect.model.wire.base import Metadata, ObjectReference, Wire


class OsmTraffic(Wire, frozen=True):
    """Whether all in the mesh may talk to one another, and what is left alone."""

    permissive: bool = field(default=False, name="enablePermissiveTrafficPolicyMode")
    egress: bool = field(default=False, name="enableEgress")
    inbound_port_exclusion_list: tuple[int, ...] = ()
    outbound_port_exclusion_list: tuple[int, ...] = ()
    outbound_ip_range_exclusion_list: tuple[str, ...] = field(default=(), name="outboundIPRangeExclusionList")
    outbound_ip_range_inclusion_list: tuple[str, ...] = field(default=(), name="outboundIPRangeInclusionList")


class OsmMeshConfigSpec(Wire, frozen=True):
    """What holds for all its proxies."""

    traffic: OsmTraffic = OsmTraffic()


class OsmMeshConfig(Wire, frozen=True):
    """The settings of Open Service Mesh (pkg/apis/config/v1alpha2/mesh_config.go)."""

    metadata: Metadata
    spec: OsmMeshConfigSpec = OsmMeshConfigSpec()


class TrafficTargetSpec(Wire, frozen=True):
    """Who may talk to whom, by what they run as, and by which routes."""

    destination: ObjectReference = ObjectReference()
    sources: tuple[ObjectReference, ...] = ()
    rules: tuple[ObjectReference, ...] = ()


class TrafficTarget(Wire, frozen=True):
    """A TrafficTarget of the Service Mesh Interface (access.smi-spec.io)."""

    metadata: Metadata
    spec: TrafficTargetSpec = TrafficTargetSpec()
