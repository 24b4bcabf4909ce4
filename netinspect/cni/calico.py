"""Calico: every pod routed by itself, blocks of addresses for nodes, and policies enforced by Felix.

A pool of addresses says how packets travel between its blocks: VXLAN, IP in IP, either of these only between subnets,
or not wrapped at all, by routes that BIRD learns over BGP. Felix programs the routes of VXLAN (since 3.33 those of IP
in IP too), the pods' own routes and all policies, in iptables, nftables or eBPF. It may also be there for its policies
alone, on top of another CNI.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from netinspect.cni.base import Description, Signature
from netinspect.cni.expectation import (
    ChainExpected,
    CommentExpected,
    Contradiction,
    Expectation,
    FdbExpected,
    FirstExpected,
    JumpExpected,
    LinkExpected,
    NeighbourExpected,
    RouteExpected,
)
from netinspect.cni.ranges import forwarding
from netinspect.cni.sight import Agent, Kernel, Node, Sight
from netinspect.model import wire
from netinspect.model.cni import Fact, Port, Role, Subject
from netinspect.model.finding import Severity

NAME = "calico"
TITLE = "Calico"
_PREFIX = "projectcalico.org/"
SIGNATURE = Signature(
    images=frozenset({"calico-node", "tigera-node", "calico-cni"}),
    programs=frozenset({"calico-node", "start_runit"}),
    variables=("CALICO_", "FELIX_"),
    containers=frozenset({"calico-node"}),
    objects=frozenset({"calico-node"}),
    labels=frozenset({"calico-node"}),
    mounts=("/var/run/calico", "/var/lib/calico"),
    settings=frozenset({"calico-config"}),
    groups=frozenset({"crd.projectcalico.org", "projectcalico.org", "operator.tigera.io"}),
    annotations=(f"{_PREFIX}IPv4Address", f"{_PREFIX}IPv6Address"),
    plugins=frozenset({"calico"}),
    interfaces=re.compile(
        r"cali[0-9a-f]{11}|vxlan(?:-v6)?\.calico|wireguard\.cali|wg-v6\.cali|bpfin\.cali|bpfout\.cali"
    ),
    chains=("filter/cali-", "nat/cali-", "nft:calico"),
)
SOURCES: tuple[str, ...] = (
    "projectcalico/calico manifests/calico.yaml",
    "projectcalico/calico felix/docs/config-params.json",
    "projectcalico/calico felix/rules/static.go",
    "projectcalico/calico libcalico-go/lib/backend/k8s/conversion/workload_endpoint_default.go",
    "projectcalico/calico design/ipam",
    "tigera/operator api/v1/installation_types.go",
)
PARTS: frozenset[str] = frozenset()

_VNI, _VXLAN_PORT = 4096, 4789
_SHOWN = 3
_OVERHEAD = {"VXLAN": 50, "IP in IP": 20, "no encapsulation": 0}
_BGP = Port(protocol="TCP", number=179, purpose="BGP between nodes")
_TYPHA = Port(protocol="TCP", number=5473, purpose="Typha, where it is used")
_POLICY_PREFIX = "knp.default."
_ACCEPTING = ("KUBE-FORWARD", "FLANNEL-FWD", "CNI-FORWARD", "ACCEPT")
# How Felix names a policy in its rules; older ones do not.
_NAMED = re.compile(r"Policy \S+/knp\.default\.\S+ (?:in|e)gress")


def describe(sight: Sight, agent: Agent | None) -> Description:
    """Say how packets travel and what enforces policies, by pools and settings, else by the agent's variables."""
    variables = agent.variables if agent else {}
    if policy_only(sight, agent):
        facts = (*_policy_facts(sight, agent),)
        return Description(frozenset({Role.POLICY}), "policy only", _backend_source(agent), facts=facts)
    kinds, source = _encapsulation(sight, agent)
    tunnelled = {k: between for k, between in kinds.items() if _OVERHEAD[k]}
    shown = tunnelled or kinds
    mode = " and ".join(k + (" between subnets" if between else "") for k, between in shown.items())
    bgp = backend(sight, agent) in {"bird", ""} and set(kinds) != {"VXLAN"}
    ports = []
    tunnels: tuple[str, ...] = ()
    if "VXLAN" in kinds:
        number = _felix(sight).vxlan_port or _VXLAN_PORT
        ports.append(Port(protocol="UDP", number=number, purpose="VXLAN between nodes"))
        tunnels = ("vxlan.calico", "vxlan-v6.calico")
    if "IP in IP" in kinds:
        ports.append(Port(protocol="IPIP (4)", number=0, purpose="IP in IP between nodes"))
        tunnels = (*tunnels, "tunl0")
    if bgp:
        ports.append(_BGP)
    typha = variables.get("FELIX_TYPHAK8SSERVICENAME") or sight.settings("calico-config").get("typha_service_name")
    if typha not in (None, "", "none"):
        ports.append(_TYPHA)
    if _ebpf(sight, variables) and "VXLAN" not in kinds:
        # Node ports with their servers on other nodes are carried there in VXLAN.
        number = _felix(sight).vxlan_port or _VXLAN_PORT
        ports.append(Port(protocol="UDP", number=number, purpose="node ports to servers on other nodes"))
    encrypted = _wireguard(sight, variables)
    if encrypted:
        ports.append(Port(protocol="UDP", number=51820, purpose="WireGuard between nodes"))
    if _wireguard6(sight, variables):
        encrypted = True
        ports.append(Port(protocol="UDP", number=51821, purpose="WireGuard of IPv6 between nodes"))
    roles = {Role.DATAPATH, Role.POLICY}
    # A node's pod CIDR is used where the plug-in is told so, which an agent learns by USE_POD_CIDR.
    own_ipam = variables.get("USE_POD_CIDR", "").lower() != "true"
    roles.add(Role.IPAM)
    facts = (
        *_facts(sight, kinds, source, own_ipam=own_ipam, encrypted=encrypted),
        *_policy_facts(sight, agent),
    )
    if _ebpf(sight, variables):
        roles.add(Role.SERVICES)
        mode = f"eBPF, {mode}" if mode else "eBPF"
    # What a pod of any pool may send.
    overhead = None if encrypted else max((_OVERHEAD[k] for k in kinds), default=None)
    return Description(frozenset(roles), mode, source, overhead, tunnels, facts, tuple(ports))


def backend(sight: Sight, agent: Agent | None) -> str:
    """Give ``bird``, ``vxlan`` or ``none``: what its node agent runs besides Felix; nothing where nothing tells."""
    chosen = agent.variables.get("CALICO_NETWORKING_BACKEND", "") if agent else ""
    return chosen or sight.settings("calico-config").get("calico_backend", "")


def policy_only(sight: Sight, agent: Agent | None) -> bool:
    """Say whether it is there for its policies alone: no back end, and an interface prefix or plug-in of others."""
    if agent is None:
        return False
    variables = agent.variables
    if variables.get("CALICO_MANAGE_CNI", "").lower() == "false":
        return True
    prefix = variables.get("FELIX_INTERFACEPREFIX", "") or _felix(sight).interface_prefix
    if prefix and prefix.split(",")[0] in {"eni", "azv", "gke", "veth"}:
        return True
    return bool(variables) and variables.get("CALICO_NETWORKING_BACKEND") == "none" and not _plugin(sight, agent)


def _plugin(sight: Sight, agent: Agent) -> bool:
    """Say whether its CNI plug-in is installed by the agent's start, or is what the nodes use."""
    installs = any("cni" in (c.name + c.image) for c in agent.spec.init_containers or ())
    return installs or any(k.conflists and "calico" in k.conflists[0].types for _, k in sight.read)


def _backend_source(agent: Agent | None) -> str:
    named = agent is not None and any(v.startswith("CALICO_") for v in agent.variables)
    return f"DaemonSet {agent.name}" if agent and named else "ConfigMap calico-config"


def _felix(sight: Sight) -> wire.FelixConfigurationSpec:
    found = (c.spec for c in sight.snapshot.felix_configurations if c.metadata.name == "default")
    return next(found, wire.FelixConfigurationSpec())


def _ebpf(sight: Sight, variables: object) -> bool:
    return _is_on(variables, "FELIX_BPFENABLED", _felix(sight).bpf_enabled)


def _wireguard(sight: Sight, variables: object) -> bool:
    return _is_on(variables, "FELIX_WIREGUARDENABLED", _felix(sight).wireguard_enabled)


def _wireguard6(sight: Sight, variables: object) -> bool:
    return _is_on(variables, "FELIX_WIREGUARDENABLEDV6", _felix(sight).wireguard_enabled_v6)


def _is_on(variables: object, name: str, setting: bool | None) -> bool:
    """Say whether Felix' configuration, or a variable of its agent, turns something on."""
    told = variables.get(name, "") if isinstance(variables, dict) else ""
    return bool(setting) or told.lower() == "true"


def _pools(sight: Sight) -> tuple[wire.IPPool, ...]:
    return tuple(p for p in sight.snapshot.ip_pools if not p.spec.disabled)


def _encapsulation(sight: Sight, agent: Agent | None) -> tuple[Mapping[str, bool], str]:
    """Give how packets travel between nodes, and of each kind whether between subnets alone.

    Pools count before what new ones are made with.
    """
    used = _pools(sight)
    if used:
        kinds = _kinds({"VXLAN": [p.spec.vxlan_mode for p in used], "IP in IP": [p.spec.ipip_mode for p in used]})
        if any({p.spec.vxlan_mode, p.spec.ipip_mode} <= {"", "Never"} for p in used):
            kinds["no encapsulation"] = False
        return kinds, "IPPool " + ", ".join(p.metadata.name for p in used)
    variables = agent.variables if agent else {}
    told = {k: v for k, v in variables.items() if re.fullmatch(r"CALICO_IPV[46]POOL_(VXLAN|IPIP)", k) and v}
    if told:
        vxlan, ipip = ([v for k, v in told.items() if k.endswith(mark)] for mark in ("VXLAN", "IPIP"))
        kinds = _kinds({"VXLAN": vxlan, "IP in IP": ipip})
        return kinds or {"no encapsulation": False}, f"DaemonSet {agent.name}" if agent else ""
    for _, kernel in sight.read:
        if "vxlan.calico" in (kernel.links or {}):
            return {"VXLAN": False}, "the nodes' interfaces"
    return ({"VXLAN": False}, "ConfigMap calico-config") if backend(sight, agent) == "vxlan" else ({}, "")


def _kinds(modes: Mapping[str, list[str]]) -> dict[str, bool]:
    used = {kind: {mode for mode in said if mode not in ("", "Never")} for kind, said in modes.items()}
    return {kind: said == {"CrossSubnet"} for kind, said in used.items() if said}


def _facts(sight: Sight, kinds: Mapping[str, bool], source: str, *, own_ipam: bool, encrypted: bool) -> Iterator[Fact]:
    six = sight.families == (6,)
    told = {
        "VXLAN": f"VXLAN, VNI {_felix(sight).vxlan_vni or _VNI}, UDP port {_felix(sight).vxlan_port or _VXLAN_PORT}, "
        f"by {'vxlan-v6.calico; 70' if six else 'vxlan.calico; 50'} bytes a packet",
        "IP in IP": "IP in IP, by tunl0; 20 bytes a packet; clouds such as Azure drop it",
        "no encapsulation": "none: the nodes' network must carry the pods' addresses, by BGP or on one link",
    }
    for kind, between in kinds.items():
        where = "; only between nodes of different subnets" if between else ""
        yield Fact(subject=Subject.ENCAPSULATION, says=told[kind] + where, source=source)
    if encrypted:
        says = "WireGuard between nodes, 60 bytes a packet; plain within a node"
        yield Fact(subject=Subject.ENCAPSULATION, says=says, source="Felix' configuration")
    if not own_ipam:
        says = "each node's pods have addresses out of the node's pod CIDR (host-local)"
        yield Fact(subject=Subject.ADDRESSES, says=says, source="USE_POD_CIDR of its agent")
    for pool in sight.snapshot.ip_pools if own_ipam else ():
        size = pool.spec.block_size or (122 if ":" in pool.spec.cidr else 26)
        nets = [b for b in _blocks(sight) if _within(b.spec.cidr, pool.spec.cidr)]
        off = ", disabled" if pool.spec.disabled else ""
        says = f"pool {pool.spec.cidr}{off}, in blocks of /{size}; {len(nets)} blocks are claimed by nodes"
        yield Fact(subject=Subject.ADDRESSES, says=says, source=f"IPPool {pool.metadata.name}")
        says = "is masqueraded" if pool.spec.nat_outgoing else "keeps the pod's address"
        yield Fact(
            subject=Subject.MASQUERADE, says=f"what leaves {pool.spec.cidr} for outside all pools {says}",
            source=f"IPPool {pool.metadata.name} natOutgoing",
        )  # fmt: skip
    borrowed = tuple(_borrowed(sight))
    if borrowed:
        more = f" and {len(borrowed) - _SHOWN} more" if len(borrowed) > _SHOWN else ""
        says = f"borrowed from other nodes' blocks: {'; '.join(borrowed[:_SHOWN])}{more}"
        yield Fact(subject=Subject.ADDRESSES, says=says, source="IPAMBlocks")
    attached = (
        "each pod hangs by a veth (cali…) on its node and is routed by itself: a /32, gateway 169.254.1.1, which the "
        "node answers for by proxy ARP"
    )
    yield Fact(subject=Subject.ATTACHMENT, says=attached, source="how it is made")


def _policy_facts(sight: Sight, agent: Agent | None) -> Iterator[Fact]:
    variables = agent.variables if agent else {}
    felix = _felix(sight)
    where = "iptables"
    if _ebpf(sight, variables):
        where = "eBPF programs"
    elif "Enabled" in (felix.nftables_mode, variables.get("FELIX_NFTABLESMODE")) or any(
        c.startswith("nft:calico") for _, k in sight.read for c in k.chains or ()
    ):
        where = "nftables (table calico)"
    says = f"Felix enforces NetworkPolicies and Calico's own, in {where}"
    yield Fact(subject=Subject.POLICIES, says=says, source="Felix' configuration")


def _blocks(sight: Sight) -> tuple[wire.BlockAffinity, ...]:
    """Give the blocks that nodes hold for sure (design/ipam: pending ones may be a crash's)."""
    return tuple(
        b
        for b in sight.snapshot.block_affinities
        if b.spec.state == "confirmed" and str(b.spec.deleted).lower() != "true"
    )


def _within(inner: str, outer: str) -> bool:
    try:
        one, other = ipaddress.ip_network(inner, strict=False), ipaddress.ip_network(outer, strict=False)
    except ValueError:
        return False
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]


def _held(block: wire.IPAMBlock) -> Iterator[tuple[str, wire.AllocationOwner, str]]:
    """Give the addresses of a block that are handed out, to whom, and by which handle."""
    try:
        first = ipaddress.ip_network(block.spec.cidr, strict=False).network_address
    except ValueError:
        return
    for number, index in enumerate(block.spec.allocations):
        if index is not None and 0 <= index < len(block.spec.attributes):
            allocation = block.spec.attributes[index]
            owner = allocation.secondary or wire.AllocationOwner()
            yield str(first + number), owner, allocation.handle_id or ""


def _live_blocks(sight: Sight) -> Iterator[wire.IPAMBlock]:
    return (b for b in sight.snapshot.ipam_blocks if str(b.spec.deleted).lower() != "true")


def _home(block: wire.IPAMBlock) -> str:
    """Name the node that a block is of; nothing where it is no node's, as that of load balancers."""
    kind, _, name = (block.spec.affinity or "").partition(":")
    return name if kind == "host" else ""


def _borrowed(sight: Sight) -> Iterator[str]:
    """Name addresses that pods of one node have out of a block of another."""
    for block in _live_blocks(sight):
        home = _home(block)
        for address, owner, _ in _held(block):
            if home and owner.pod and owner.node and owner.node != home:
                yield f"{address} of pod/{owner.namespace}/{owner.pod} on {owner.node} from {home}"


def expect(sight: Sight, agent: Agent | None) -> Iterator[Expectation]:
    """Compare routes and tunnels for every pair of nodes, what Felix programs on each, and IPAM with the pods."""
    variables = agent.variables if agent else {}
    # Without Felix' settings nobody knows its data plane, its numbers and its names.
    told = not sight.snapshot.gap("felix_configurations")
    if told and not _ebpf(sight, variables):
        yield from felix_at_work(sight, agent)
    if policy_only(sight, agent):
        return
    if variables.get("USE_POD_CIDR", "").lower() != "true":
        yield from _ipam(sight)
    yield from forwarding(sight)
    pools = sight.snapshot.ip_pools
    blocks: dict[str, list[str]] = defaultdict(list)
    for block in _blocks(sight):
        blocks[block.spec.node].append(block.spec.cidr)
    for node, kernel in sight.read:
        if told and kernel.links and any(p.spec.vxlan_mode == "Always" and ":" not in p.spec.cidr for p in pools):
            yield from _own_tunnel(node, sight)
        if told:
            yield from _own_pods(node, sight)
    for node, peer in sight.pairs(sight.nodes.values()):
        yield from _towards(node, peer, blocks[peer.name], pools)


def _tunnel_address(node: Node, family: int) -> str:
    return node.annotations.get(f"{_PREFIX}IPv{family}VXLANTunnelAddr", "")


def _own_address(node: Node, family: int) -> str:
    return node.annotations.get(f"{_PREFIX}IPv{family}Address", "").partition("/")[0]


def _own_tunnel(node: Node, sight: Sight) -> Iterator[Expectation]:
    felix = _felix(sight)
    address = _tunnel_address(node, 4)
    if not address:
        return
    wanted = LinkExpected(
        "vxlan.calico", kind="vxlan", vni=felix.vxlan_vni or _VNI, port=felix.vxlan_port or _VXLAN_PORT,
        address=address, local=_own_address(node, 4),
    )  # fmt: skip
    yield Expectation(
        node.name, "tunnel", wanted, "its tunnel is not the one that the others send to", _restart(node.name)
    )


def _restart(node: str) -> str:
    return f"see the log of calico-node on {node}, and restart it (delete its pod)"


def _towards(node: Node, peer: Node, blocks: list[str], pools: tuple[wire.IPPool, ...]) -> Iterator[Expectation]:
    cause = f"packets for the pods of {peer.name} do not find their way"
    wrapped = False
    for block in blocks:
        pool = next((p.spec for p in pools if _within(block, p.spec.cidr)), None)
        family = 6 if ":" in block else 4
        tunnel, address = _tunnel_address(peer, family), _own_address(peer, family)
        if pool is None or {pool.vxlan_mode, pool.ipip_mode} <= {"", "Never"}:
            # Not wrapped, it goes by what BGP taught, which may be a default route to a router that knows more.
            continue
        if "CrossSubnet" in (pool.vxlan_mode, pool.ipip_mode) or not address:
            # Whether the two share a subnet decides between two forms; either leads there.
            wanted = RouteExpected(block)
        elif pool.vxlan_mode == "Always":
            wrapped = wrapped or family == 4
            wanted = RouteExpected(block, via=tunnel, dev="vxlan.calico" if family == 4 else "vxlan-v6.calico")
        else:
            wanted = RouteExpected(block, via=address, dev="tunl0")
        yield Expectation(node.name, "route", wanted, cause, _restart(node.name), peer=peer.name)
    link = ((peer.kernel.links if peer.kernel else None) or {}).get("vxlan.calico")
    if wrapped and link is not None and _tunnel_address(peer, 4):
        for kind, one in (
            ("neighbour", NeighbourExpected(_tunnel_address(peer, 4), "vxlan.calico", link.address)),
            ("forwarding-entry", FdbExpected(link.address, "vxlan.calico", _own_address(peer, 4))),
        ):
            yield Expectation(node.name, kind, one, cause, _restart(node.name), peer=peer.name)


def interface(namespace: str, pod: str, prefix: str = "cali") -> str:
    """Give the name of a pod's interface on its node (workload_endpoint_default.go)."""
    return prefix + hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()[:11]


def _settled(pod: wire.Pod) -> bool:
    """Say whether a pod with a namespace of its own runs, is not just ending, and is ready: old enough to be known."""
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    return not pod.spec.host_network and ready and bool(pod.status.pod_ips) and not pod.metadata.deletion_timestamp


def _own_pods(node: Node, sight: Sight) -> Iterator[Expectation]:
    prefix = (_felix(sight).interface_prefix or "cali").split(",")[0]
    for pod in node.pods:
        if not _settled(pod):
            continue
        name = interface(pod.metadata.namespace, pod.metadata.name, prefix)
        for ip in pod.status.pod_ips:
            wanted = RouteExpected(f"{ip.ip}/{128 if ':' in ip.ip else 32}", dev=name)
            full = f"{pod.metadata.namespace}/{pod.metadata.name}"
            yield Expectation(
                node.name, "pod-route", wanted, f"packets for pod/{full} are not handed to it", _restart(node.name),
                about=f"pod/{full}",
            )  # fmt: skip


def felix_at_work(sight: Sight, agent: Agent | None) -> Iterator[Expectation]:
    """Expect Felix' chains where packets pass them, in front of those that would decide before them."""
    variables = agent.variables if agent else {}
    prefix = (variables.get("FELIX_INTERFACEPREFIX") or _felix(sight).interface_prefix or "cali").split(",")[0]
    mode = variables.get("FELIX_CHAININSERTMODE") or _felix(sight).chain_insert_mode
    appended = mode.lower() == "append"
    policies: dict[str, list[wire.NetworkPolicy]] = defaultdict(list)
    for policy in sight.snapshot.network_policies:
        policies[policy.metadata.namespace].append(policy)
    for node, kernel in sight.read:
        if _by_nftables(sight, kernel, variables):
            continue
        yield Expectation(
            node.name, "policy-bypassed", JumpExpected("filter/FORWARD", "cali-FORWARD"),
            "what is forwarded never meets Felix' rules, so that no policy is in force", _restart(node.name),
        )  # fmt: skip
        if not appended:
            yield Expectation(
                node.name, "policy-order",
                FirstExpected("filter/FORWARD", "cali-FORWARD", _ACCEPTING),
                "rules that accept packets stand before Felix', so what they accept (masqueraded node ports, answers) "
                "bypasses all policies; after a restart of kube-proxy Felix moves its rules back in some 90 seconds",
                f"wait for Felix' next look; if it stays so, {_restart(node.name)}",
                severity=Severity.WARNING,
            )  # fmt: skip
        settled = [p for p in node.pods if _settled(p)]
        for pod in settled:
            name = interface(pod.metadata.namespace, pod.metadata.name, prefix)
            if kernel.links and name in kernel.links:
                full = f"{pod.metadata.namespace}/{pod.metadata.name}"
                yield Expectation(
                    node.name, "policy-missing", ChainExpected(f"filter/cali-tw-{name}"),
                    f"Felix has no rules for pod/{full}, so that what is for it is dropped", _restart(node.name),
                    about=f"pod/{full}",
                )  # fmt: skip
        rules = (rule for groups in (kernel.chains or {}).values() for group in groups for rule in group)
        if any(_NAMED.search(rule) for rule in rules):
            yield from _policies(node, settled, policies)


def _by_nftables(sight: Sight, kernel: Kernel, variables: Mapping[str, str]) -> bool:
    """Say whether Felix may program nftables, whose rules are not compared: it is told to, or nothing denies it."""
    told = variables.get("FELIX_NFTABLESMODE") or _felix(sight).nftables_mode
    chains = kernel.chains or {}
    if told in ("Enabled", "Auto") or any(c.startswith("nft:calico") for c in chains):
        return True
    return not any("/cali-" in c for c in chains) and not any(c.startswith("nft:") for c in chains)


def _policies(
    node: Node, settled: list[wire.Pod], policies: Mapping[str, list[wire.NetworkPolicy]]
) -> Iterator[Expectation]:
    """Expect each NetworkPolicy that selects a pod of the node to be named in Felix' rules, where these name any."""
    for namespace in sorted({p.metadata.namespace for p in settled}):
        pods = [p for p in settled if p.metadata.namespace == namespace]
        for policy in policies.get(namespace, ()):
            name = f"{namespace}/{policy.metadata.name}"
            selected = any(policy.spec.pod_selector.matches(p.metadata.labels) for p in pods)
            for kind in (policy.spec.policy_types or ("Ingress",)) if selected else ():
                wanted = CommentExpected(f"Policy {namespace}/{_POLICY_PREFIX}{policy.metadata.name} {kind.lower()}")
                yield Expectation(
                    node.name, "policy-missing", wanted,
                    f"Felix has not programmed NetworkPolicy {name}: it cannot, or crashes over and over, so that "
                    "policies are half in force",
                    _restart(node.name), about=f"networkpolicy/{name}",
                )  # fmt: skip


def _ipam(sight: Sight) -> Iterator[Expectation]:
    """Compare what IPAM handed out with the pods that there are.

    The two were not read at one moment, and addresses are freed only after a while: what differs is told, no more.
    """
    if not sight.snapshot.ipam_blocks or sight.snapshot.gap("pods"):
        return
    names = {(p.metadata.namespace, p.metadata.name) for p in sight.snapshot.pods}
    for block in _live_blocks(sight):
        home = _home(block)
        owners = ((address, owner) for address, owner, _ in _held(block) if owner.pod)
        leaked = [f"{a} of pod/{o.namespace}/{o.pod}" for a, o in owners if (o.namespace, o.pod) not in names]
        if leaked:
            shown = ", ".join(leaked[:_SHOWN]) + (f" and {len(leaked) - _SHOWN} more" if len(leaked) > _SHOWN else "")
            yield Expectation(
                home or "?", "leaked-address", Contradiction(f"block {block.spec.cidr} still holds {shown}"),
                "addresses of pods that are gone are not free until somebody frees them",
                "calico-kube-controllers frees them after a while; if not, `calicoctl ipam check` and `ipam release`",
                severity=Severity.INFO,
            )  # fmt: skip
        if home and home not in sight.nodes and not sight.snapshot.gap("nodes"):
            yield Expectation(
                home, "leaked-block", Contradiction(f"block {block.spec.cidr} is of node {home}, which is not there"),
                "its addresses are lost to the pool",
                "see whether calico-kube-controllers runs, and `calicoctl ipam check`",
                severity=Severity.WARNING,
            )  # fmt: skip
