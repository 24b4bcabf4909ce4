"""How the nodes' kernels are set up, and what on the machine interferes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

from netinspect.analysis.cni import NEEDS
from netinspect.checks.base import IPTABLES, Irrelevant, Problem, Seen, Unseen, check, issue, problem
from netinspect.checks.view import View
from netinspect.errors import ParseError
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity
from netinspect.model.iptables import Ruleset
from netinspect.model.trace import Proof

# Node Problem Detector's share (config/plugin/network_problem.sh).
_CONNECTIONS = 0.9
_NEIGHBOURS = 0.8
_GONE = frozenset({"FAILED", "INCOMPLETE", "PERMANENT", "NOARP"})
# A rule without a match but its comment, which says "marked" all the same.
_DROPS_ALL = re.compile(r'(\[\d+:\d+\] )?-A KUBE-FIREWALL( -m comment --comment ("[^"]*"|\S+))* -j DROP')
_OF_KUBERNETES = ("KUBE-", "cali-", "CILIUM_", "FLANNEL", "CNI-", "WEAVE", "ANTREA", "AWS-SNAT")


@check(
    "NI1301", "the nodes forward packets, and bridges show them to iptables", Category.KERNEL, Severity.ERROR,
    needs=NEEDS, vantage=Vantage.NODE, reads=("sysctl", "links"), explains=("NI1302", "NI16", "NI18", "NI22"),
    remedy="set it with sysctl and in /etc/sysctl.d, and find what turned it off: hardening profiles, systemd-networkd",
    links=(issue("moby/moby#47966"), issue("kubernetes/kubernetes#38802"), issue("systemd/systemd#468")),
)  # fmt: skip
def setting(view: View) -> Iterator[Seen]:
    """Find nodes whose kernel settings stop pods' packets: forwarding of a family, and bridge-nf-call-iptables.

    Without forwarding a node's pods reach nothing but the node. Without br_netfilter the answers of pods on the same
    bridge bypass the rules that translate Services back; CNIs that route between pods do not need it, and are not
    asked for it.
    """
    return map(problem, view.told("setting"))


@check(
    "NI1302", "no interface of the CNI is kept from forwarding", Category.KERNEL, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("sysctl", "links"), explains=("NI16", "NI22"),
    remedy="set net.ipv4.conf.DEVICE.forwarding = 1; see whether systemd-networkd manages the device",
    links=(issue("systemd/systemd#468"),),
)  # fmt: skip
def interface_does_not_forward(view: View) -> Iterator[Seen]:
    """Find bridges, tunnels and pods' interfaces whose own forwarding is off while the node's is on.

    The kernel asks the interface by which a packet comes in (net.ipv4.conf.DEVICE.forwarding).
    """
    for node, kernel in view.sight.read:
        sysctls, links = kernel.sysctls or {}, kernel.links or {}
        if sysctls.get("ipv4/ip_forward") != "1":
            continue
        for name, link in links.items():
            carries = link.kind in ("bridge", "vxlan", "geneve", "ipip", "wireguard", "veth") and link.up
            if carries and not link.master and link.addresses and sysctls.get(f"ipv4/conf/{name}/forwarding") == "0":
                yield Problem(
                    f"node/{node.name}",
                    f"net.ipv4.conf.{name}.forwarding is 0, so what comes in there goes no further",
                    "something set the device apart: systemd-networkd, or a hardening script",
                    f"sysctl net.ipv4.conf.{name}.forwarding=1, and find who set it",
                    key=name,
                )


@check(
    "NI1303", "the connection tables have room", Category.KERNEL, Severity.ERROR, needs=NEEDS, vantage=Vantage.NODE,
    reads=("sysctl",), explains=("NI22",),
    remedy="raise net.netfilter.nf_conntrack_max (kube-proxy: conntrack.maxPerCore), or shorten its time-outs",
    links=("https://github.com/kubernetes/node-problem-detector/blob/master/config/plugin/network_problem.sh",
           issue("kubernetes/kubernetes#18604")),
)  # fmt: skip
def connections(view: View) -> Iterator[Seen]:
    """Find nodes of whose connection table nine tenths are taken: when it is full new connections are dropped."""
    for node, kernel in view.sight.read:
        count, most = (_number(kernel.sysctls, f"netfilter/nf_conntrack_{n}") for n in ("count", "max"))
        if most and count > _CONNECTIONS * most:
            yield Problem(
                f"node/{node.name}", f"{count} of {most} connections are tracked",
                "new connections are dropped when the table is full (nf_conntrack: table full)",
                "raise net.netfilter.nf_conntrack_max, and see which clients open so many", key="conntrack",
            )  # fmt: skip


def _number(sysctls: Mapping[str, str] | None, key: str) -> int:
    text = (sysctls or {}).get(key, "")
    return int(text) if text.isdecimal() else 0


@check(
    "NI1304", "the neighbour tables have room", Category.KERNEL, Severity.ERROR, needs=NEEDS, vantage=Vantage.NODE,
    reads=("sysctl", "neighbours"), explains=("NI22",),
    remedy="raise net.ipv4.neigh.default.gc_thresh3 and its two lower limits (ipv6 too) on the node",
    links=(issue("kubernetes/kops#4533"), issue("flannel-io/flannel#928")),
)  # fmt: skip
def neighbours(view: View) -> Iterator[Seen]:
    """Find nodes with more than four fifths of the neighbours that their kernel holds (gc_thresh3, 1024 by default).

    Beyond the limit new neighbours cannot be resolved, and packets to them are lost. The limit is of all namespaces
    of the machine together, of which only the node's own entries are counted; permanent entries do not count.
    """
    for node, kernel in view.sight.read:
        if kernel.sysctls is not None and "ipv4/neigh/default/gc_thresh3" not in kernel.sysctls:
            # Only a machine's first namespace shows it, and a node may be a container itself.
            yield Unseen("the nodes do not show the limit of the machine below them", "gc_thresh3 there")
        for family, version in ((4, "ipv4"), (6, "ipv6")):
            most = _number(kernel.sysctls, f"{version}/neigh/default/gc_thresh3")
            held = sum((":" in n.dst) == (family == 6) and not _GONE & set(n.state) for n in kernel.neighbours or ())
            if most and held >= _NEIGHBOURS * most:
                yield Problem(
                    f"node/{node.name}", f"its kernel knows {held} IPv{family} neighbours, and holds {most}",
                    "beyond gc_thresh3 packets to new neighbours are lost (neighbour table overflow)",
                    f"raise net.{version}.neigh.default.gc_thresh1, 2 and 3", key=version,
                )  # fmt: skip


def _rulesets(view: View) -> Iterator[tuple[str, tuple[Ruleset, ...]]]:
    for node, host in view.inside.hosts.items():
        with suppress(ParseError):
            yield node, host.iptables


def _rules(ruleset: Ruleset) -> int:
    """Count the rules of chains that Kubernetes' components make."""
    chains = (c for table in ruleset.tables.values() for c in table.chains.values())
    return sum(len(c.lines) for c in chains if c.name.startswith(_OF_KUBERNETES))


@check(
    "NI1305", "rules are kept in one variant of iptables", Category.KERNEL, Severity.WARNING, needs=NEEDS,
    vantage=Vantage.NODE, reads=IPTABLES,
    remedy="let kube-proxy and the CNI use one variant (their images choose by what they find), and flush the other: "
    "a restart of the node does",
    links=("https://github.com/kubernetes/node-problem-detector/blob/master/config/plugin/iptables_mode.sh",
           issue("kubernetes/kubernetes#71305"), issue("cloudnativelabs/kube-router#1069")),
)  # fmt: skip
def both_variants(view: View) -> Iterator[Seen]:
    """Find nodes where iptables-legacy and iptables-nft both hold rules of Kubernetes' components.

    The kernel obeys both, each without knowing of the other: what one accepts, the other may drop, and what was
    written in the variant that nobody updates any more goes stale. Rules of other programs, and empty chains, are
    left out.
    """
    for node, rulesets in _rulesets(view):
        counts = {v: sum(_rules(r) for r in rulesets if r.variant == v) for v in ("legacy", "nft")}
        if all(counts.values()):
            yield Problem(
                f"node/{node}",
                f"iptables-legacy holds {counts['legacy']} rules of Kubernetes' components, iptables-nft "
                f"{counts['nft']}",
                "two of them, or one before and after an upgrade, chose different variants",
                "find which component uses which, and restart the node after they agree",
                key="variants",
            )


@check(
    "NI1306", "KUBE-FIREWALL drops only what is marked", Category.KERNEL, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=IPTABLES, explains=("NI16", "NI18", "NI22"),
    remedy="run a kube-proxy and kubelet whose iptables is as new as the node's; delete the rule",
    links=(issue("kubernetes/kubernetes#112477"),),
)  # fmt: skip
def firewall_drops_all(view: View) -> Iterator[Seen]:
    """Find a rule in KUBE-FIREWALL that drops without asking for the mark 0x8000.

    An older iptables in an image wrote the rule so that a newer one on the node reads it without its match: the node
    then drops all that it receives and sends.
    """
    for node, rulesets in _rulesets(view):
        for ruleset in rulesets:
            chain = ruleset.tables["filter"].chains.get("KUBE-FIREWALL") if "filter" in ruleset.tables else None
            for number, text in chain.lines if chain is not None else ():
                if _DROPS_ALL.fullmatch(text):
                    six = "6" if ruleset.family == "inet6" else ""
                    yield Problem(
                        f"node/{node}", "a rule of KUBE-FIREWALL drops every packet",
                        "iptables on the node cannot read the mark that an older one wrote",
                        "delete the rule, and run a kube-proxy with a newer iptables",
                        proof=Proof(section=f"ip{six}tables-{ruleset.variant}", line=number, text=text),
                    )  # fmt: skip


@check(
    "NI1307", "reverse path filters let the CNI's packets in", Category.KERNEL, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("sysctl", "links"), explains=("NI22",),
    remedy="net.ipv4.conf.DEVICE.rp_filter = 0, by a file in /etc/sysctl.d that comes after systemd's own",
    links=(issue("cilium/cilium#10645"), issue("cilium/cilium#13717"), issue("projectcalico/calico#9138")),
)  # fmt: skip
def reverse_path(view: View) -> Iterator[Seen]:
    """Find strict reverse path filters on Cilium's interfaces, and on all where Calico's data plane is eBPF.

    There a packet comes in by another interface than the kernel's routes lead back by, and strict filtering (the
    greater of `all` and the device's value is 1) drops it. Calico's iptables data plane sets 1 on its own interfaces,
    and is right.
    """
    names = set(view.cni.datapath.split(", "))
    calico = any(c.spec.bpf_enabled for c in view.snapshot.felix_configurations) and "calico" in names
    if "cilium" not in names and not calico:
        yield Irrelevant("neither Cilium nor Calico's eBPF data plane is at work")
        return
    for node, kernel in view.sight.read:
        sysctls = kernel.sysctls or {}
        every = _number(sysctls, "ipv4/conf/all/rp_filter")
        strict = [
            name for name in kernel.links or {}
            if name.startswith(("lxc", "cilium_host") if "cilium" in names else "cali")
            and max(every, _number(sysctls, f"ipv4/conf/{name}/rp_filter")) == 1
        ]  # fmt: skip
        if strict:
            yield Problem(
                f"node/{node.name}",
                f"rp_filter of {strict[0]}" + (f" and {len(strict) - 1} others" if strict[1:] else "") + " is strict",
                "packets of pods are dropped as they come in: the way back leads by another interface",
                "sysctl net.ipv4.conf.all.rp_filter=0, and of these interfaces",
                key="rp_filter",
            )


@check(
    "NI1308", "router advertisements still give the default route", Category.KERNEL, Severity.WARNING, needs=NEEDS,
    vantage=Vantage.NODE, reads=("sysctl", "links", "routes6"),
    remedy="set net.ipv6.conf.DEVICE.accept_ra = 2 on the uplink, or a static default route",
    links=(issue("cilium/cilium#21819"), issue("k3s-io/k3s#5019")),
)  # fmt: skip
def advertised_route(view: View) -> Iterator[Seen]:
    """Find nodes that forward IPv6, have no default route of it, and an uplink with an address that is not link-local.

    A kernel that forwards ignores router advertisements unless accept_ra is 2, so a default route learnt by one
    expires. Nodes with a static route, and networks that have no way out, need no default route: hence only a
    warning, and only where the uplink's address was learnt from an advertisement.
    """
    for node, kernel in view.sight.read:
        sysctls = kernel.sysctls or {}
        if not kernel.six or sysctls.get("ipv6/conf/all/forwarding") != "1":
            continue
        if any(r.dst == "::/0" and r.type == "unicast" for r in kernel.routes or ()):
            continue
        for name, link in (kernel.links or {}).items():
            learnt = any(a.family == "inet6" and a.scope == "global" and a.dynamic for a in link.addresses)
            if learnt and sysctls.get(f"ipv6/conf/{name}/accept_ra") in ("0", "1"):
                yield Problem(
                    f"node/{node.name}", f"it has no IPv6 default route, and takes none from advertisements on {name}",
                    f"it forwards, and net.ipv6.conf.{name}.accept_ra is {sysctls[f'ipv6/conf/{name}/accept_ra']}",
                    f"sysctl net.ipv6.conf.{name}.accept_ra=2", key=name,
                )  # fmt: skip


@check(
    "NI1309", "each node has one default route of a family", Category.KERNEL, Severity.INFO, needs=NEEDS,
    vantage=Vantage.NODE, reads=("routes4", "routes6"),
    remedy="name the interface in the CNI's configuration (Flannel --iface, Calico IP_AUTODETECTION_METHOD)",
    links=(issue("projectcalico/calico#8607"),),
)  # fmt: skip
def several_uplinks(view: View) -> Iterator[Seen]:
    """Find nodes with several default routes of one family by different interfaces.

    CNIs take the address of the interface with the default route for that of the node, and may take the wrong one. It
    is only told, since machines with several networks are meant so where the CNI is told which to use.
    """
    for node, kernel in view.sight.read:
        for default, family in (("0.0.0.0/0", 4), ("::/0", 6)):
            found = [r for r in kernel.routes or () if r.dst == default and r.table == "main" and r.type == "unicast"]
            devices = sorted({r.dev for r in found if r.dev})
            if len(devices) > 1:
                yield Problem(
                    f"node/{node.name}",
                    f"it has IPv{family} default routes by {' and '.join(devices)}",
                    "the machine has several networks",
                    "tell the CNI which of them is the nodes'",
                    key=f"uplinks {family}",
                )


@check(
    "NI1310", "nothing on the machine removes the CNI's rules", Category.KERNEL, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=("rules4", "routes4"), explains=("NI16", "NI22"),
    remedy="disable nm-cloud-setup (service and timer), and restart the node",
    links=("https://github.com/aws/amazon-vpc-cni-k8s/blob/master/docs/troubleshooting.md",),
)  # fmt: skip
def interference(view: View) -> Iterator[Seen]:
    """Find the marks of nm-cloud-setup.

    Routing tables 30200 and 30400 on nodes of the AWS VPC CNI or Cilium's ENI mode. It rewrites the machine's policy
    rules, and with them those that lead to pods on secondary interfaces.
    """
    return map(problem, view.told("host-interference"))


CHECKS = (
    setting, interface_does_not_forward, connections, neighbours, both_variants, firewall_drops_all, reverse_path,
    advertised_route, several_uplinks, interference,
)  # fmt: skip
