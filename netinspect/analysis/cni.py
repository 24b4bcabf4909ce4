"""Which CNIs a cluster has, what each does in it, and where the kernels are not as they would have them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netinspect.analysis.backends import finished
from netinspect.analysis.cni_ports import closed
from netinspect.analysis.cni_sizes import sizes, too_large
from netinspect.analysis.conflists import conflists
from netinspect.analysis.expectations import compare
from netinspect.analysis.inside import Inside, gaps, match
from netinspect.analysis.kernels import hosts
from netinspect.cni import BY_NAME, DRIVERS
from netinspect.cni.base import Description, Driver
from netinspect.cni.recognition import Marks, recognise
from netinspect.cni.sight import Agent, Kernel, Node, Sight
from netinspect.errors import ParseError
from netinspect.kernel.namespace import Namespace
from netinspect.model import resources, wire
from netinspect.model.cni import CniReport, Fact, Recognised, Role, Standing, Subject
from netinspect.model.finding import Finding, Severity
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import several

# What a headline rests on; it is cheap enough for every map.
HEADLINE_NEEDS = (resources.NODES, resources.DAEMON_SETS, resources.CNI_SETTINGS, resources.IP_POOLS)
NEEDS = (
    *HEADLINE_NEEDS,
    resources.NOTED_PODS,
    resources.CUSTOM_RESOURCE_DEFINITIONS,
    resources.NETWORK_POLICIES,
    resources.CONFIG_MAPS,
    resources.BLOCK_AFFINITIES,
    resources.IPAM_BLOCKS,
    resources.FELIX_CONFIGURATIONS,
    resources.CILIUM_NODES,
    resources.NETWORK_ATTACHMENTS,
)
# The sections of kernel state that expectations are compared with.
_COMPARED = frozenset({"links", "routes4", "routes6", "neighbours", "fdb", "sysctl", "iptables-nft", "iptables-legacy"})
_COMMENT = re.compile(r"(^|\s)#.*")
_TUNNELS = frozenset({"vxlan", "geneve", "ipip", "sit", "gre", "gretap", "ip6gre", "ip6tnl", "wireguard"})


def report(snapshot: Snapshot) -> CniReport:
    """Recognise the CNIs, explain them, and compare what each wants with what the kernels hold."""
    inside = match(snapshot)
    view = sight(snapshot, inside)
    found = _recognised(view)
    active = _at_work(found)
    roles = _roles(view, active)
    wanted = (e for driver, marks, _ in active.values() for e in driver.expect(view, marks.agent))
    result = compare(view, wanted)
    made = hosts(inside)
    compared = [result, *(closed(view, made, driver.TITLE, said) for driver, _, said in active.values())]
    findings = (
        *_about_all(view, found, roles), *_agents(active), *(f for one in compared for f in one.findings),
        *(f for driver, _, said in active.values() for f in too_large(view, driver, said)),
    )  # fmt: skip
    return CniReport(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        headline=_headline(view, active, roles),
        datapath=_named(roles, Role.DATAPATH),
        ipam=_named(roles, Role.IPAM),
        policy=_named(roles, Role.POLICY),
        services=_services(view, roles),
        meta=_named(roles, Role.META),
        cnis=several(_entry(*one) for one in found),
        facts=several(_facts(view, active, roles)),
        findings=several(findings),
        compared=sum(one.compared for one in compared),
        broken=sum(one.broken for one in compared),
        unseen=sum(one.unseen for one in compared),
        gaps=(*snapshot.gaps, *gaps(snapshot.kernels, _COMPARED)),
    )


def headline(snapshot: Snapshot) -> str:
    """Name the CNI and its mode in a few words, by the API and what of the nodes was read; nothing where none is known.

    The policy engine is named where it is another.
    """
    view, active, roles = _set_up(snapshot)
    return _headline(view, active, roles) if roles[Role.DATAPATH] else ""


def carrier(snapshot: Snapshot) -> tuple[str, Description] | None:
    """Give the CNI that carries packets between nodes, by its title, and how it is set up; None where not one is."""
    _, active, roles = _set_up(snapshot)
    names = roles[Role.DATAPATH]
    return (_title(names[0]), active[names[0]][2]) if len(names) == 1 else None


def _set_up(snapshot: Snapshot) -> tuple[Sight, _Active, Mapping[Role, tuple[str, ...]]]:
    view = sight(snapshot, match(snapshot))
    active = _at_work(_recognised(view))
    return view, active, _roles(view, active)


def sight(snapshot: Snapshot, inside: Inside) -> Sight:
    """Lay out for the drivers what was read."""
    pods: dict[str, list[wire.Pod]] = defaultdict(list)
    for pod in snapshot.pods:
        if not finished(pod):
            pods[pod.spec.node_name].append(pod)
    nodes = {
        n.metadata.name: Node(
            n.metadata.name,
            n,
            tuple(pods[n.metadata.name]),
            _kernel(inside.hosts[n.metadata.name]) if n.metadata.name in inside.hosts else None,
        )
        for n in snapshot.nodes
    }
    return Sight(snapshot, nodes)


def _kernel(host: Namespace) -> Kernel:
    def read(section: str, part: str) -> Any:
        found = host.evidence.sections.get(section)
        if found is None or not found.answered:
            return None
        try:
            return getattr(host, part)
        except ParseError:
            return None

    links = read("links", "links")
    flannel = host.evidence.sections.get("flannel")
    return Kernel(
        links={link.ifname: link for link in links} if links is not None else None,
        routes=read("routes4", "routes"),
        six=read("routes6", "routes") is not None,
        neighbours=read("neighbours", "neighbours"),
        fdb=read("fdb", "fdb"),
        chains=_chains(host),
        sysctls=read("sysctl", "sysctls"),
        wireguard=read("wireguard-allowed-ips", "wireguard"),
        conflists=conflists(host),
        subnet_env=flannel.text if flannel and flannel.answered else None,
    )


def _chains(host: Namespace) -> Mapping[str, tuple[tuple[str, ...], ...]] | None:
    """Give the chains of iptables with their rules, and the tables of nftables; None where neither was read."""
    sections = host.evidence.sections
    if not any(name in sections and sections[name].answered for name in ("iptables-nft", "iptables", "nftables")):
        return None
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    try:
        for ruleset in host.iptables:
            for table in ruleset.tables.values():
                for chain in table.chains.values():
                    name = f"{table.name}/{chain.name}"
                    found[name] = (*found.get(name, ()), tuple(text for _, text in chain.lines))
        if "nftables" in sections and sections["nftables"].answered:
            found |= {f"nft:{t.name}": () for t in host.nftables.tables}
    except ParseError:
        return found or None
    return found


_Found = tuple[Driver, Marks, Description, Standing]
_Active = Mapping[str, tuple[Driver, Marks, Description]]


def _recognised(view: Sight) -> list[_Found]:
    """Say of each CNI that left marks whether it is at work; the parts of one that is made of others are its own."""
    marks = _combined(view, dict(recognise(view, DRIVERS)))
    said = {name: BY_NAME[name].describe(view, m.agent) for name, m in marks.items()}
    busy = any(m.agent is not None and not m.agent.parked for m in marks.values())
    # What was set to run on no node while another does is put aside; without any status nobody knows.
    running = {n for n, m in marks.items() if m.configured or (m.agent and not (busy and m.agent.parked))}
    carried = any(Role.DATAPATH in said[name].roles for name in running)
    found = []
    for name, mark in marks.items():
        if name in running:
            standing = Standing.ACTIVE
        elif not mark.noted or (carried and _superseded(said[name])) or _unrun(view, name, said[name]):
            standing = Standing.LEFTOVER
        else:
            standing = Standing.PROBABLE
        found.append((BY_NAME[name], mark, said[name], standing))
    order = {Standing.ACTIVE: 0, Standing.PROBABLE: 1, Standing.LEFTOVER: 2}
    return sorted(found, key=lambda f: (order[f[3]], -sum(c.weight for c in f[1].clues), f[0].NAME))


def _at_work(found: Iterable[_Found]) -> _Active:
    return {d.NAME: (d, marks, said) for d, marks, said, standing in found if standing is not Standing.LEFTOVER}


def _unrun(view: Sight, name: str, said: Description) -> bool:
    """Say whether it is known that nobody runs a policy engine, whose rules are there still."""
    embedded = name == "kube-router" and _embedded_policies(view)
    return Role.DATAPATH not in said.roles and view.agents_known and not embedded


def _superseded(said: Description) -> bool:
    """Say whether a CNI without an agent is one beside which nobody else carries packets."""
    return Role.DATAPATH in said.roles


def _combined(view: Sight, marks: dict[str, Marks]) -> dict[str, Marks]:
    """Take one for the CNI that is made of others: where one agent runs them all, or nodes are configured for it."""
    for driver in DRIVERS:
        parts = [marks[p].agent for p in driver.PARTS if p in marks]
        own = marks.get(driver.NAME)
        together = len(parts) > 1 and len({a.name for a in parts if a is not None}) == 1 and None not in parts
        # Nobody could look at agents, or they are hidden: then its own configuration tells.
        named = own is not None and own.configured and all(a is None for a in parts)
        if driver.PARTS and (together or named):
            clues = [m for name in (*driver.PARTS, driver.NAME) if (m := marks.get(name)) is not None]
            marks[driver.NAME] = Marks(
                agent=parts[0] if together else own.agent if own else None,
                agent_clues=tuple(c for m in clues if m is not own or named for c in m.agent_clues),
                api=tuple(c for m in clues for c in m.api),
                node=tuple(c for m in clues for c in m.node),
                configured=any(m.configured for m in clues),
            )
            marks = {name: m for name, m in marks.items() if name not in driver.PARTS}
    # The reference plug-ins are what others delegate to: by themselves they are only where nobody else is at work.
    carriers = (BY_NAME[n].describe(view, m.agent) for n, m in marks.items() if m.agent is not None)
    if any(Role.DATAPATH in said.roles for said in carriers):
        marks.pop("reference", None)
    return marks


def _roles(view: Sight, active: _Active) -> Mapping[Role, tuple[str, ...]]:
    """Name who plays each part: agents that run before those that are only probable."""
    found = {role: [n for n, (_, _, said) in active.items() if role in said.roles] for role in Role}
    if any(marks.agent is not None for _, marks, _ in active.values()) and view.agents_known:
        # That nodes are configured for it is no agent that would enforce.
        alive = {n for n, (_, m, _) in active.items() if m.agent is not None or m.announced}
        found[Role.POLICY] = [n for n in found[Role.POLICY] if n in alive]
    if found[Role.POLICY]:
        # Who enforces beside a carrier that would enforce by itself is who was put there for it.
        alone = [n for n in found[Role.POLICY] if Role.DATAPATH not in active[n][2].roles]
        found[Role.POLICY] = alone or found[Role.POLICY]
    if not found[Role.POLICY] and _embedded_policies(view):
        found[Role.POLICY] = ["kube-router"]
    return {role: tuple(names) for role, names in found.items()}


def _embedded_policies(view: Sight) -> bool:
    """Say whether k3s' own policy controller is there, which no DaemonSet tells (k3s docs, networking)."""
    nodes = view.nodes.values()
    k3s = any(n.is_k3s for n in nodes)
    return k3s and not any("--disable-network-policy" in n.annotations.get("k3s.io/node-args", "") for n in nodes)


def _title(name: str) -> str:
    return BY_NAME[name].TITLE if name in BY_NAME else name


def _named(roles: Mapping[Role, tuple[str, ...]], role: Role) -> str:
    return ", ".join(roles[role])


def _headline(view: Sight, active: _Active, roles: Mapping[Role, tuple[str, ...]]) -> str:
    carriers = roles[Role.DATAPATH]
    said = " and ".join(f"{_title(n)}{f' ({mode})' if (mode := active[n][2].mode) else ''}" for n in carriers)
    if not said:
        said = "no CNI that carries packets was recognised"
        said += "" if view.read else " by the API alone (--access exec or pod looks into the nodes)"
    policy = [_enforcer(n, active) for n in roles[Role.POLICY] if n not in carriers]
    if policy:
        said += f", policies by {' and '.join(policy)}"
    if roles[Role.META]:
        said += f", called by {' and '.join(map(_title, roles[Role.META]))}"
    return said


def _enforcer(name: str, active: _Active) -> str:
    if name not in active:
        return f"{_title(name)} built in"
    return _title(name) + (" chained behind it" if active[name][2].mode.startswith("chained") else "")


def _services(view: Sight, roles: Mapping[Role, tuple[str, ...]]) -> str:
    """Say who turns Services' addresses into endpoints': a CNI, or kube-proxy and in which mode."""
    if roles[Role.SERVICES]:
        return _named(roles, Role.SERVICES)
    return "kube-proxy" if proxy(view) is not None else ""


def proxy(view: Sight) -> tuple[str, str] | None:
    """Give kube-proxy's mode, where something tells it, and what shows that it runs; None where nothing does.

    An empty mode in its configuration is iptables (k8s.io/kubernetes cmd/kube-proxy, before that changes: KEP-5343).
    """
    for node, kernel in view.read:
        if modes := proxy_modes(kernel):
            return modes[0], f"node/{node.name} netfilter"
    return _runs_proxy(view)


def _runs_proxy(view: Sight) -> tuple[str, str] | None:
    """Find what runs kube-proxy: a DaemonSet, a static pod (RKE2, GKE), or the one process that is all of k3s."""
    busy = any(not a.parked for a in view.agents)
    for agent in view.agents:
        if any("kube-proxy" in names for names, _ in agent.images) and not (busy and agent.parked):
            return agent.argument("proxy-mode") or _configured_mode(view), f"DaemonSet {agent.name}"
    for node in view.nodes.values():
        for pod in node.pods:
            static = any(o.kind == "Node" for o in pod.metadata.owner_references)
            if static and any(c.name == "kube-proxy" for c in pod.spec.containers):
                return "", f"pod/{pod.metadata.namespace}/{pod.metadata.name}"
    for node in view.nodes.values():
        if node.is_k3s and "--disable-kube-proxy" not in node.annotations.get("k3s.io/node-args", ""):
            return "", f"k3s on node/{node.name}, which it is a part of"
    return None


def proxy_modes(kernel: Kernel) -> tuple[str, ...]:
    """Give the modes of kube-proxy of which a node has the marks: more than one where an earlier left them."""
    chains, links = kernel.chains or {}, kernel.links or {}
    marks = (
        ("kube-ipvs0" in links, "ipvs"),
        ("nft:kube-proxy" in chains, "nftables"),
        ("nat/KUBE-SERVICES" in chains and "kube-ipvs0" not in links, "iptables"),
    )
    return tuple(mode for there, mode in marks if there)


def _configured_mode(view: Sight) -> str:
    """Give the mode that kube-proxy's ConfigMap gives it; nothing where it is not there, or holds something else."""
    mode = proxy_setting(view.snapshot, "mode")
    return mode or ("" if mode is None else "iptables")


def proxy_setting(snapshot: Snapshot, key: str) -> str | None:
    """Give what a line of kube-proxy's configuration sets, empty where none does; None without a configuration."""
    for configuration in snapshot.config_maps:
        text = "\n".join(configuration.data.values())
        if configuration.metadata.name == "kube-proxy" and "KubeProxyConfiguration" in text:
            lines = (w.partition(":")[2] for w in text.split("\n") if w.startswith(f"{key}:"))
            return _COMMENT.sub("", next(lines, "")).strip(" \"'")
    return None


def _entry(driver: Driver, marks: Marks, said: Description, standing: Standing) -> Recognised:
    agent = marks.agent
    status = agent.object.status if agent else wire.DaemonSetStatus()
    at_work = standing is not Standing.LEFTOVER
    return Recognised(
        name=driver.NAME,
        title=driver.TITLE,
        standing=standing,
        roles=several(r for r in Role if r in said.roles) if at_work else (),
        mode=said.mode if at_work else "",
        mode_source=said.source if at_work else "",
        version=_version(driver, agent),
        agent=agent.name if agent else "",
        ready=status.number_ready,
        desired=status.desired_number_scheduled,
        clues=marks.clues,
        facts=said.facts if at_work else (),
        ports=said.ports if at_work else (),
    )


def _version(driver: Driver, agent: Agent | None) -> str:
    parts = [driver, *(BY_NAME[p] for p in driver.PARTS)]
    own = frozenset().union(*(d.SIGNATURE.images for d in parts))
    return next((version for names, version in agent.images if names & own and version), "") if agent else ""


def _facts(view: Sight, active: _Active, roles: Mapping[Role, tuple[str, ...]]) -> Iterator[Fact]:
    """Say what hangs on several of them: who does Services and policies, and how large a packet may be."""
    found = proxy(view)
    told = any(f.subject is Subject.SERVICES for _, _, said in active.values() for f in said.facts)
    if not roles[Role.SERVICES]:
        if found is not None:
            mode = f" in {found[0]} mode" if found[0] else ""
            yield Fact(subject=Subject.SERVICES, says=f"kube-proxy{mode} translates Services", source=found[1])
        elif not told and not view.snapshot.gap("config_maps") and view.agents_known:
            yield Fact(
                subject=Subject.SERVICES, says="nobody was seen who translates Services", source="the API's objects"
            )
    elif found is not None and roles[Role.DATAPATH]:
        there = "is there" if _runs_proxy(view) is not None else "left its rules"
        says = f"kube-proxy {there} beside {_title(roles[Role.SERVICES][0])}, which translates Services itself"
        yield Fact(subject=Subject.SERVICES, says=says, source=found[1])
    if not roles[Role.POLICY] and view.agents_known and roles[Role.DATAPATH]:
        yield Fact(subject=Subject.POLICIES, says="nobody enforces NetworkPolicies", source="the CNIs that are at work")
    for name in roles[Role.DATAPATH]:
        yield from sizes(view, active[name][2])
    if not roles[Role.DATAPATH]:
        yield from _unknown(view)


def _unknown(view: Sight) -> Iterator[Fact]:
    """Say what the kernel of the first node that was read shows, as the kernel names it."""
    if not view.read:
        return
    node, kernel = view.read[0]
    links = kernel.links or {}
    source = f"node/{node.name}"
    tunnels = [f"{name} ({link.kind})" for name, link in links.items() if link.kind in _TUNNELS]
    if tunnels:
        yield Fact(subject=Subject.ENCAPSULATION, says=f"tunnels: {', '.join(tunnels)}", source=source)
    for bridge in (name for name, link in links.items() if link.kind == "bridge"):
        ports = sum(link.master == bridge for link in links.values())
        yield Fact(subject=Subject.ATTACHMENT, says=f"bridge {bridge} with {ports} ports", source=source)
    veths = sum(link.kind in ("veth", "netkit") and not link.master for link in links.values())
    if veths:
        yield Fact(subject=Subject.ATTACHMENT, says=f"{veths} veths that are in no bridge", source=source)
    for conflist in (kernel.conflists or ())[:1]:
        says = f"{conflist.path} calls {', '.join(conflist.types)}"
        yield Fact(subject=Subject.ATTACHMENT, says=says, source=source)
    cidrs = {c for n in view.nodes.values() for f in (4, 6) if (c := n.pod_cidr(f))}
    for route in kernel.routes or ():
        if route.dst in cidrs and (route.gateway or route.dev):
            way = f"via {route.gateway} " if route.gateway else ""
            says = f"{route.dst} {way}dev {route.dev} (protocol {route.protocol or 'unspec'})"
            yield Fact(subject=Subject.ROUTING, says=says, source=source)


def _about_all(view: Sight, found: Iterable[_Found], roles: Mapping[Role, tuple[str, ...]]) -> Iterator[Finding]:
    """Find what contradicts itself between several CNIs."""
    carriers = roles[Role.DATAPATH]
    if len(carriers) > 1:
        yield Finding(
            kind="several-cnis", severity=Severity.WARNING, place="cluster",
            says=f"{' and '.join(map(_title, carriers))} are both at work",
            cause="a migration that was not finished, or two installations: which of them a pod gets hangs on its node",
            remedy="remove one; `netinspect cni -o wide` lists by what each is known",
        )  # fmt: skip
    for driver, marks, _, standing in found:
        if standing is Standing.LEFTOVER and any(c.weight > 1 for c in marks.clues):
            first = marks.clues[0]
            yield Finding(
                kind="leftover", severity=Severity.INFO, place=first.source,
                says=f"{driver.TITLE} left {'its marks' if len(marks.clues) > 1 else 'a mark'}: {first.says}",
                cause=f"{driver.TITLE} was removed, and not all that it made",
                remedy="remove what is left by its own instructions; until then it only confuses",
            )  # fmt: skip
    yield from _configurations(view, (*carriers, *roles[Role.META]))
    policies = view.snapshot.network_policies
    if policies and not roles[Role.POLICY] and carriers and view.agents_known:
        yield Finding(
            kind="policies-not-enforced", severity=Severity.WARNING, place="cluster",
            says=f"{'a NetworkPolicy is' if len(policies) == 1 else f'{len(policies)} NetworkPolicies are'} there, "
            "and nobody enforces them",
            cause=f"nobody but {' and '.join(map(_title, carriers))} is at work, and that is not for policies",
            remedy="install a policy engine beside it (kube-network-policies, Calico, Cilium), or another CNI",
        )  # fmt: skip


def _configurations(view: Sight, names: tuple[str, ...]) -> Iterator[Finding]:
    """Find nodes with several files of CNI configuration: it is wrong where that of who is at work comes too late."""
    own = frozenset[str]().union(*(BY_NAME[n].SIGNATURE.plugins for n in names))
    for node, kernel in view.read:
        several = [c for c in kernel.conflists or () if set(c.types) != {"loopback"}]
        if len(several) < 2 or any("multus" in t for t in several[0].types):
            continue
        first, *others = several
        late = not own & set(first.types) and any(own & set(c.types) for c in others)
        unused = ", ".join(c.path.rpartition("/")[2] for c in others)
        yield Finding(
            kind="configuration-order", severity=Severity.WARNING if late else Severity.INFO,
            place=f"node/{node.name}",
            says=f"{first.path} comes first and calls {first.types[0]}; {unused} is not used",
            cause="the container runtime takes the first file by name",
            remedy="remove the files of CNIs that are not meant",
        )  # fmt: skip


def _agents(active: _Active) -> Iterator[Finding]:
    """Tell of DaemonSets of CNIs that are at work of which pods are not ready."""
    for driver, marks, _ in active.values():
        for agent in filter(None, (marks.agent, *marks.helpers)):
            status = agent.object.status
            if status.number_ready >= status.desired_number_scheduled:
                continue
            missing = status.desired_number_scheduled - status.number_ready
            lost = f"{driver.TITLE} does not follow changes there: new pods and nodes are not reached"
            yield Finding(
                kind="agent", severity=Severity.WARNING if status.number_ready else Severity.ERROR,
                place=f"daemonset/{agent.name}",
                says=f"its pods are not ready on {missing} of {status.desired_number_scheduled} nodes",
                cause=lost if agent is marks.agent else f"what it does for {driver.TITLE} is not done there",
                remedy=f"kubectl -n {agent.object.metadata.namespace} get pods -o wide, and see their logs",
            )  # fmt: skip
