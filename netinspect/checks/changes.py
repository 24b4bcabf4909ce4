"""Compare two readings of a cluster: what its objects and kernels hold, and what becomes of flows."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

import msgspec

from netinspect.analysis.flow import Question
from netinspect.analysis.pods import addresses, full_name
from netinspect.checks.declared import NEEDS as DECLARED_NEEDS
from netinspect.checks.declared import workload
from netinspect.checks.view import View
from netinspect.errors import ParseError, UsageError
from netinspect.kernel.namespace import Namespace
from netinspect.model import resources, wire
from netinspect.model.changes import Area, Change, DiffReport, FlowChange
from netinspect.model.kernel import Link
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import several
from netinspect.model.trace import Arrival

NEEDS = tuple({r.name: r for r in (*DECLARED_NEEDS, *resources.MESH_POLICIES)}.values())
_POLICIES = ("network_policies", *(r.name for r in resources.MESH_POLICIES if r is not resources.MESH_SETTINGS))
# Flows are followed twice; so many take some seconds.
_FLOWS = 500
# Of one kind of line on one node no more are listed one by one.
_LINES = 20
_VOLATILE = ("nf_conntrack_count",)
# What changes by itself: the packets and bytes that iptables-save counts, and how long a learnt route stays.
_COUNTED = re.compile(r"^\[\d+:\d+\] ")
_EXPIRES = re.compile(r" expires \S+")


def diff(old: Snapshot, new: Snapshot) -> DiffReport:
    """Give what is different in the second."""
    before, after = View(old), View(new)
    asked = list(_flows(before, after))
    flows = [f for f in asked if f is not None]
    untold = len(asked) - len(flows)
    return DiffReport(
        before=old.taken_at,
        after=new.taken_at,
        flows=several(f for f in flows if f.before is not f.after),
        changes=several(_changes(before, after)),
        compared=len(flows),
        unseen=several((*_unseen(before, after), *([f"{untold} flows cannot be told in both"] if untold else []))),
        gaps=(*old.gaps, *new.gaps),
    )


def _unseen(before: View, after: View) -> Iterator[str]:
    """Name what was read in one of them alone; of that nothing is compared."""
    for resource in NEEDS:
        gaps = [v.snapshot.gap(resource.name) is not None for v in (before, after)]
        if any(gaps):
            which = "either" if all(gaps) else "the first" if gaps[0] else "the second"
            yield f"{resource.name.replace('_', ' ')} could not be read in {which}"
    one, two = (set(v.inside.hosts) for v in (before, after))
    for node in sorted(one ^ two):
        yield f"node/{node} was looked into in {'the first' if node in one else 'the second'} only"


def _changes(before: View, after: View) -> Iterator[Change]:
    views = (before, after)
    if before.cni.headline != after.cni.headline:
        yield Change(area=Area.CNI, place="cluster", what="CNI", before=before.cni.headline, after=after.cni.headline)
    yield from _objects("node", "nodes", views, Area.ADDRESSES, _node)
    yield from _pods(before, after)
    yield from _objects("svc", "services", views, Area.SERVICES, _service)
    yield from _endpoints(before, after)
    for name in _POLICIES:
        kind = name.removesuffix("s").replace("_", "")
        yield from _objects(kind, name, views, Area.POLICIES, _spec)
    yield from _mesh(before, after)
    for node in sorted(set(before.inside.hosts) & set(after.inside.hosts)):
        yield from _kernel(f"node/{node}", before.inside.hosts[node], after.inside.hosts[node])


def _objects(
    kind: str, resource: str, views: tuple[View, View], area: Area, told: Callable[[wire.Wire], str]
) -> Iterator[Change]:
    """Compare objects by name, each by what it says in words."""
    if any(v.snapshot.gap(resource) for v in views):
        return
    one, two = (
        {full_name(o.metadata).removeprefix("/"): told(o) for o in getattr(v.snapshot, resource)} for v in views
    )
    yield from _texts(area, kind, kind, one, two)


def _texts(area: Area, kind: str, what: str, one: Mapping[str, str], two: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*one, *two}):
        if one.get(name) != two.get(name):
            yield Change(
                area=area, place=f"{kind}/{name}", what=what, before=one.get(name, ""), after=two.get(name, "")
            )  # fmt: skip


def _node(found: wire.Wire) -> str:
    assert isinstance(found, wire.Node)  # noqa: S101 - nodes hold nothing else
    own = ", ".join(a.address for a in found.status.addresses if a.type != "Hostname")
    ranges = ", ".join(found.spec.pod_cidrs or (found.spec.pod_cidr,))
    return f"{own}; pods {ranges}" if ranges else own


def _pods(before: View, after: View) -> Iterator[Change]:
    """Compare the addresses of pods that are in both, and how many there are of each namespace."""
    if before.snapshot.gap("pods") or after.snapshot.gap("pods"):
        return
    for name in sorted(before.pods.keys() & after.pods.keys()):
        one, two = (", ".join(addresses(v.pods[name])) for v in (before, after))
        if one != two:
            yield Change(area=Area.ADDRESSES, place=f"pod/{name}", what="addresses", before=one, after=two)
    counts = [Counter(p.metadata.namespace for p in v.pods.values()) for v in (before, after)]
    for namespace in sorted({*counts[0], *counts[1]}):
        if counts[0][namespace] != counts[1][namespace]:
            one, two = (f"{c[namespace]} pods" for c in counts)
            yield Change(area=Area.ADDRESSES, place=f"namespace/{namespace}", what="pods", before=one, after=two)


def _service(found: wire.Wire) -> str:
    assert isinstance(found, wire.Service)  # noqa: S101 - services hold nothing else
    spec = found.spec
    ports = ", ".join(
        f"{p.port}→{p.target_port or p.port}/{p.protocol}" + (f" node port {p.node_port}" if p.node_port else "")
        for p in spec.ports
    )
    balancers = ", ".join(b.ip or b.hostname for b in found.status.load_balancer.ingress)
    selector = ",".join(f"{k}={v}" for k, v in sorted(spec.selector.items()))
    parts = (
        spec.type, ", ".join(spec.cluster_ips or (spec.cluster_ip,)), ports, selector and f"selects {selector}",
        spec.external_name, balancers and f"balancer {balancers}",
        spec.internal_traffic_policy == "Local" and "internal: Local",
        spec.external_traffic_policy == "Local" and "external: Local",
    )  # fmt: skip
    return "; ".join(p for p in parts if p)


def _endpoints(before: View, after: View) -> Iterator[Change]:
    """Compare how many endpoints are ready; which they are changes with every pod."""
    if any(v.snapshot.gap(r) for v in (before, after) for r in ("services", "endpoint_slices", "pods")):
        return
    one, two = (
        {f"{s.namespace}/{s.name}": _ready(sum(e.ready for p in s.ports for e in p.endpoints or ()))
         for s in v.services.services or ()}
        for v in (before, after)
    )  # fmt: skip
    both = one.keys() & two.keys()
    yield from _texts(Area.SERVICES, "svc", "endpoints", *({k: d[k] for k in both} for d in (one, two)))


def _ready(count: int) -> str:
    return f"{count} ready" if count else "none ready"


def _spec(found: wire.Wire) -> str:
    return msgspec.json.encode(getattr(found, "spec", None), order="sorted").decode()


def _mesh(before: View, after: View) -> Iterator[Change]:
    if any(v.snapshot.redacted or v.snapshot.gap("pods") or v.snapshot.gap("namespaces") for v in (before, after)):
        return
    one, two = before.mesh, after.mesh
    if one.headline != two.headline:
        yield Change(area=Area.MESH, place="cluster", what="mesh", before=one.headline, after=two.headline)
    told = [{p.full_name: f"{p.verdict.value}: {p.says}" for p in r.pods} for r in (one, two)]
    common = told[0].keys() & told[1].keys()
    yield from _texts(Area.MESH, "pod", "mesh", *({k: d[k] for k in common} for d in told))


def _kernel(place: str, one: Namespace, two: Namespace) -> Iterator[Change]:
    """Compare what two readings of a node's kernel hold, line by line."""
    for area, what, lines in (
        (Area.LINKS, "interface", _links), (Area.ROUTES, "route", _routes), (Area.RULES, "policy rule", _policy_rules),
        (Area.RULES, "iptables rule", _iptables), (Area.RULES, "nftables rule", _nftables),
        (Area.SETTINGS, "setting", _settings),
    ):  # fmt: skip
        with suppress(ParseError):
            yield from _lines(area, place, what, lines(one), lines(two))


def _lines(area: Area, place: str, what: str, one: Iterable[str] | None, two: Iterable[str] | None) -> Iterator[Change]:
    if one is None or two is None:
        return
    before, after = Counter(one), Counter(two)
    gone, come = list((before - after).elements()), list((after - before).elements())
    for line in gone[:_LINES]:
        yield Change(area=area, place=place, what=what, before=line)
    for line in come[:_LINES]:
        yield Change(area=area, place=place, what=what, after=line)
    if len(gone) > _LINES or len(come) > _LINES:
        more = [f"{len(x) - _LINES} more" if len(x) > _LINES else "" for x in (gone, come)]
        yield Change(area=area, place=place, what=f"{what}s", before=more[0], after=more[1])


def _read(namespace: Namespace, *sections: str) -> bool:
    held = namespace.evidence.sections
    return all(s in held and held[s].answered for s in sections)


def _links(namespace: Namespace) -> list[str] | None:
    # Those of pods come and go with them, under names of chance.
    return [_link(k) for k in namespace.links if k.kind != "veth"] if _read(namespace, "links") else None


def _link(link: Link) -> str:
    own = " ".join(f"{a.local}/{a.prefixlen}" for a in link.addresses if a.scope != "link")
    return " ".join(p for p in (link.ifname, link.kind, "up" if link.up else "down", f"mtu {link.mtu}", own) if p)


def _routes(namespace: Namespace) -> list[str] | None:
    sections = [s for s in ("routes4", "routes6") if _read(namespace, s)]
    lines = [line for s in sections for line in namespace.text(s).splitlines()]
    return [_EXPIRES.sub("", line).strip() for line in lines] if sections else None


def _policy_rules(namespace: Namespace) -> list[str] | None:
    sections = [s for s in ("rules4", "rules6") if _read(namespace, s)]
    return [" ".join(line.split()) for s in sections for line in namespace.text(s).splitlines()] if sections else None


def _iptables(namespace: Namespace) -> list[str] | None:
    if not any(_read(namespace, s) for s in ("iptables-nft", "iptables-legacy", "iptables")):
        return None
    return [
        f"{ruleset.family} {table.name} {_COUNTED.sub('', text)}" for ruleset in namespace.iptables
        for table in ruleset.tables.values() for chain in table.chains.values() for _, text in chain.lines
    ]  # fmt: skip


def _nftables(namespace: Namespace) -> list[str] | None:
    """Give the rules without what the kernel counts, and without those that iptables-nft shows better."""
    if not _read(namespace, "nftables"):
        return None
    try:
        listed = json.loads(namespace.text("nftables") or "{}").get("nftables", [])
    except (ValueError, AttributeError):
        return None
    found = []
    for one in listed:
        rule = one.get("rule") if isinstance(one, dict) else None
        if isinstance(rule, dict) and rule.get("table") not in ("filter", "nat", "mangle", "raw", "security"):
            said = [e for e in rule.get("expr", []) if isinstance(e, dict) and "counter" not in e]
            text = json.dumps(said, sort_keys=True)
            found.append(f"{rule.get('family')} {rule.get('table')} {rule.get('chain')} {text}")
    return found


def _settings(namespace: Namespace) -> list[str] | None:
    if not _read(namespace, "sysctl"):
        return None
    return [f"net/{k} = {v}" for k, v in namespace.sysctls.items() if not k.endswith(_VOLATILE)]


def _flows(before: View, after: View) -> Iterator[FlowChange | None]:
    """Follow the same flows through both: from each workload to the Services of its namespace, and to DNS.

    What cannot be told in both, or was looked into in only one of them, is None: it has not changed by that.
    """
    asked = _asked(before).keys() & _asked(after).keys()
    for source, to, namespace, protocol in islice(sorted(asked), _FLOWS):
        question = Question(source, to, namespace=namespace, protocol=protocol)
        with suppress(UsageError):
            one, two = before.tracer.trace(question), after.tracer.trace(question)
            told = one.level is two.level and Arrival.UNKNOWN not in (one.arrival, two.arrival)
            flow = f"{protocol} {source} to {to}"
            yield FlowChange(flow=flow, before=one.arrival, after=two.arrival, says=two.sentence) if told else None


def _asked(view: View) -> dict[tuple[str, str, str, str], None]:
    workloads: dict[str, set[str]] = defaultdict(set)
    for pod in view.pods.values():
        name = workload(pod)
        if name and pod.status.phase == "Running" and not pod.spec.host_network:
            workloads[pod.metadata.namespace].add(name)
    found: dict[tuple[str, str, str, str], None] = {}
    for service in view.snapshot.services:
        meta = service.metadata
        everywhere = meta.namespace == "kube-system" and any(p.port == 53 for p in service.spec.ports)
        homes = workloads if everywhere else {meta.namespace: workloads.get(meta.namespace, set())}
        for namespace, names in homes.items():
            for name in names:
                for port in service.spec.ports:
                    if port.protocol in ("TCP", "UDP"):
                        found[name, f"svc/{meta.namespace}/{meta.name}:{port.port}", namespace, port.protocol] = None
    return found
