"""Kinds of CNIs: Calico's pools and blocks, Cilium's nodes, secondary networks."""

from msgspec import field

from netinspect.model.wire.base import Metadata, ObjectReference, Term, Text, Wire


class IPPoolSpec(Wire, frozen=True):
    """What a pool of Calico's IPAM hands out, and how packets travel between its blocks."""

    cidr: str = ""
    block_size: int = 0
    ipip_mode: Term = ""
    vxlan_mode: Term = ""
    nat_outgoing: bool = False
    disabled: bool = False
    node_selector: str = ""


class IPPool(Wire, frozen=True):
    """A pool of Calico (api/pkg/apis/projectcalico/v3/ippool.go)."""

    metadata: Metadata
    spec: IPPoolSpec = IPPoolSpec()


class BlockAffinitySpec(Wire, frozen=True):
    """Which node a block is meant for; ``deleted`` is text in v1."""

    cidr: str = ""
    node: str = ""
    state: Term = ""
    deleted: bool | Term = ""


class BlockAffinity(Wire, frozen=True):
    """A node's claim to a block of a pool (Calico design/ipam)."""

    metadata: Metadata
    spec: BlockAffinitySpec = BlockAffinitySpec()


class AllocationOwner(Wire, frozen=True, rename=None):
    """Who holds an address: a pod, or by its ``type`` a node's tunnel."""

    namespace: str = ""
    pod: str = ""
    node: str = ""
    type: Term = ""


class Allocation(Wire, frozen=True, rename=None):
    """What was noted when addresses of a block were handed out."""

    handle_id: str | None = ""
    secondary: AllocationOwner | None = None


class IPAMBlockSpec(Wire, frozen=True):
    """The addresses of a block in order: for each the index of its attributes, or null."""

    cidr: str = ""
    affinity: str | None = ""
    allocations: tuple[int | None, ...] = ()
    attributes: tuple[Allocation, ...] = ()
    deleted: bool | Term = False


class IPAMBlock(Wire, frozen=True):
    """A block of addresses and who holds them (Calico design/ipam)."""

    metadata: Metadata
    spec: IPAMBlockSpec = IPAMBlockSpec()


class FelixConfigurationSpec(Wire, frozen=True):
    """The settings of Felix that choose its data plane (felix/docs/config-params.json)."""

    bpf_enabled: bool | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = field(default=None, name="wireguardEnabledV6")
    nftables_mode: Term = ""
    chain_insert_mode: Term = ""
    interface_prefix: str = ""
    vxlan_vni: int | None = field(default=None, name="vxlanVNI")
    vxlan_port: int | None = None


class FelixConfiguration(Wire, frozen=True):
    """Settings of Felix, of all nodes (``default``) or of one (``node.NAME``)."""

    metadata: Metadata
    spec: FelixConfigurationSpec = FelixConfigurationSpec()


class CiliumAddress(Wire, frozen=True):
    """An address of a Cilium node: InternalIP, CiliumInternalIP and others."""

    ip: str = ""
    type: Term = ""


class CiliumPoolAllocation(Wire, frozen=True):
    """What a node has of a pool."""

    pool: str = ""
    cidrs: tuple[str, ...] | None = ()


class CiliumPools(Wire, frozen=True):
    """What a node has of the pools of multi-pool IPAM."""

    allocated: tuple[CiliumPoolAllocation, ...] | None = ()


class CiliumNodeIPAM(Wire, frozen=True):
    """The ranges out of which a node's pods get their addresses."""

    pod_cidrs: tuple[str, ...] | None = field(default=(), name="podCIDRs")
    pools: CiliumPools = CiliumPools()


class CiliumNodeSpec(Wire, frozen=True):
    """What Cilium knows of a node."""

    addresses: tuple[CiliumAddress, ...] | None = ()
    ipam: CiliumNodeIPAM = CiliumNodeIPAM()


class CiliumNode(Wire, frozen=True):
    """A node as Cilium sees it (pkg/k8s/apis/cilium.io/v2)."""

    metadata: Metadata
    spec: CiliumNodeSpec = CiliumNodeSpec()


class NetworkAttachmentSpec(Wire, frozen=True):
    """A CNI configuration, as JSON."""

    config: Text = ""


class NetworkAttachment(Wire, frozen=True):
    """A secondary network (NetworkAttachmentDefinition of the Network Plumbing Working Group)."""

    metadata: Metadata
    spec: NetworkAttachmentSpec = NetworkAttachmentSpec()


class CiliumEnvoyConfigSpec(Wire, frozen=True):
    """To which Services requests are turned to the node's Envoy."""

    services: tuple[ObjectReference, ...] = ()


class CiliumEnvoyConfig(Wire, frozen=True):
    """A configuration of the nodes' Envoys, of a namespace or of all (pkg/k8s/apis/cilium.io/v2/cec_types.go)."""

    metadata: Metadata
    spec: CiliumEnvoyConfigSpec = CiliumEnvoyConfigSpec()
