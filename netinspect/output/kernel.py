"""Tables of one network namespace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from netinspect.model.inspection import NamespaceView, TableView
from netinspect.model.kernel import Link, PolicyRule, Route
from netinspect.output.base import Style, safe
from netinspect.output.columns import columns, section

Rows = Sequence[Sequence[str]]


def namespace(view: NamespaceView, style: Style, *, wide: bool) -> Iterator[str]:
    """Give the parts that were read, each under its heading."""
    yield f"{safe(view.owner)}, read through {safe(view.through)}\n"
    if view.namespace == "host" and view.owner.startswith("pod/"):
        yield f"it is on the host network: this is the namespace of node/{safe(view.node)}\n"
    for title, header, rows in _parts(view, wide=wide):
        yield "\n"
        yield section(title, style)
        if rows:
            yield from columns(header, rows, style)
        else:
            yield "none\n"
    if view.iptables is not None:
        yield from _iptables(view.iptables, style)
    if view.nftables is not None:
        yield from _nftables(view, style)
    for name, text in sorted((view.machine or {}).items()):
        yield "\n"
        yield section(f"MACHINE {safe(name)}", style)
        yield from (f"{safe(line)}\n" for line in text.strip().split("\n"))
    if view.counts:
        yield "\n"
        yield "also there, shown by --section: "
        yield ", ".join(f"{name} ({number:,})" for name, number in view.counts.items()) + "\n"


def _parts(view: NamespaceView, *, wide: bool) -> Iterator[tuple[str, Sequence[str], Rows]]:
    header: Sequence[str]
    if view.links is not None:
        header = (
            "INDEX",
            "LINK",
            "KIND",
            "STATE",
            "MTU",
            "MAC",
            "ADDRESSES",
            "MASTER",
            "OTHER-END",
            "RX",
            "TX",
            "DROPPED",
        )
        yield "LINKS", header, [_link(link, wide=wide) for link in view.links]
    if view.routes is not None:
        shown = [r for r in view.routes if wide or view.sections or r.table != "local"]
        header = ("TABLE", "TYPE", "DESTINATION", "VIA", "DEV", "SOURCE", "METRIC", "PROTOCOL", "MORE")
        yield "ROUTES", header, [row for r in shown for row in _route(r)]
    if view.nexthops:
        yield (
            "NEXTHOPS",
            ("ID", "VIA", "DEV", "GROUP"),
            [(str(n.id), n.gateway, n.dev, ",".join(f"{i}x{w}" for i, w in n.group)) for n in view.nexthops],
        )
    if view.rules is not None:
        header = ("FAMILY", "PRIORITY", "WHAT", "ACTION")
        yield "RULES", header, [(_family(r.family), str(r.priority), _selectors(r), _action(r)) for r in view.rules]
    if view.neighbours is not None:
        header = ("ADDRESS", "DEV", "MAC", "STATE")
        found = [(n.dst, n.dev, n.lladdr, "proxy" if n.proxy else ",".join(n.state)) for n in view.neighbours]
        yield "NEIGHBOURS", header, found
    if view.fdb is not None:
        header = ("MAC", "DEV", "MASTER", "REMOTE", "STATE", "FLAGS", "VLAN")
        yield (
            "FORWARDING DATABASE",
            header,
            [
                (f.mac, f.dev, f.master, f.dst, f.state, ",".join(f.flags), "" if f.vlan is None else str(f.vlan))
                for f in view.fdb
            ],
        )
    if view.dns is not None:
        yield "RESOLV.CONF", ("LINE",), [(line,) for line in view.dns]
    yield from _others(view)


def _others(view: NamespaceView) -> Iterator[tuple[str, Sequence[str], Rows]]:
    header: Sequence[str]
    if view.sockets is not None:
        header = ("PROTOCOL", "STATE", "ADDRESS", "PORT", "DEV", "UID", "PROCESSES")
        yield (
            "SOCKETS",
            header,
            [
                (s.protocol, s.state, s.address, str(s.port), s.dev, "" if s.uid is None else str(s.uid),
                 ", ".join(dict.fromkeys(s.processes)))
                for s in view.sockets
            ],
        )  # fmt: skip
    if view.ipsets is not None:
        yield (
            "IPSETS",
            ("SET", "TYPE", "OPTIONS", "ENTRY"),
            [
                (s.name, s.type, " ".join(w for o in s.options for w in o if w), f"{e.value}{' nomatch' * e.nomatch}")
                for s in view.ipsets
                for e in s.entries
            ],
        )
    if view.ipvs is not None:
        yield (
            "IPVS",
            ("PROTOCOL", "SERVICE", "SCHEDULER", "SERVER", "FORWARD", "WEIGHT"),
            [
                (v.protocol, f"mark {v.fwmark}" if v.fwmark is not None else f"{v.address} port {v.port}", v.scheduler,
                 f"{r.address} port {r.port}", r.forward, str(r.weight))
                for v in view.ipvs
                for r in v.servers
            ],
        )  # fmt: skip
    if view.connections is not None:
        header = ("PROTOCOL", "STATE", "ORIGINAL", "REPLY", "STATUS", "MARK", "ZONE", "SECONDS")
        yield (
            "CONNECTIONS",
            header,
            [
                (c.protocol, c.state, _flow(c.original), _flow(c.reply), ",".join(c.status),
                 f"0x{c.mark:x}" if c.mark else "", str(c.zone or ""), "" if c.timeout is None else str(c.timeout))
                for c in view.connections
            ],
        )  # fmt: skip
    if view.sysctls is not None:
        yield "SYSCTLS", ("NAME", "VALUE"), sorted(view.sysctls.items())
    if view.qdiscs is not None:
        yield "QDISCS", ("DEV", "KIND", "HANDLE", "PARENT"), [(q.dev, q.kind, q.handle, q.parent) for q in view.qdiscs]
    if view.filters:
        yield (
            "FILTERS",
            ("DEV", "DIRECTION", "KIND", "PROTOCOL", "PREF", "OPTIONS"),
            [
                (f.dev, f.direction, f.kind, f.protocol, "" if f.pref is None else str(f.pref),
                 " ".join(f"{k}={v}" for k, v in f.options.items()))
                for f in view.filters
            ],
        )  # fmt: skip
    if view.wireguard is not None:
        yield (
            "WIREGUARD PEERS",
            ("DEV", "PEER", "ENDPOINT", "ALLOWED-IPS"),
            [(p.dev, p.public_key, p.endpoint, ", ".join(p.allowed_ips)) for p in view.wireguard],
        )


def _link(link: Link, *, wide: bool) -> Sequence[str]:
    other = link.link or (f"index {link.link_index}" if link.link_index is not None else "")
    if link.link_netnsid is not None and other:
        other += " elsewhere"
    state = "down" if not link.up else "up" if link.carrier else "no carrier"
    return (
        str(link.ifindex),
        link.ifname,
        link.kind,
        state,
        str(link.mtu),
        link.address,
        ", ".join(f"{a.local}/{a.prefixlen}" for a in link.addresses if wide or a.scope != "link"),
        link.master,
        other,
        f"{link.rx.packets:,}" if wide else "",
        f"{link.tx.packets:,}" if wide else "",
        f"{link.rx.dropped + link.tx.dropped:,}" if wide else "",
    )


def _route(route: Route) -> Iterator[Sequence[str]]:
    more = [f"mtu {'lock ' * ('mtu' in route.locked)}{route.mtu}"] if route.mtu is not None else []
    more += [f"tos {route.tos}"] if route.tos else []
    more += [f"encap {route.encap}"] if route.encap else []
    more += [f"from {route.src}"] if route.src else []
    more += [f"nhid {route.nhid}"] if route.nhid is not None else []
    more += route.flags
    first = (route.table, "" if route.type == "unicast" else route.type, route.dst)
    last = (route.prefsrc, str(route.metric or ""), route.protocol, " ".join(more))
    yield (*first, route.gateway or route.via, route.dev, *last)
    for hop in route.nexthops:
        yield (*first, hop.gateway or hop.via, hop.dev, "", "", "", f"weight {hop.weight}")


def _family(family: str) -> str:
    return "IPv4" if family == "inet" else "IPv6"


def _selectors(rule: PolicyRule) -> str:
    words = ["not"] if rule.negated else []
    words += [f"from {rule.src or 'all'}"]
    words += [f"to {rule.dst}"] if rule.dst else []
    words += [f"iif {rule.iif}"] if rule.iif else []
    words += [f"oif {rule.oif}"] if rule.oif else []
    words += [f"fwmark 0x{rule.fwmark:x}/0x{rule.fwmask:x}"] if rule.fwmark is not None else []
    words += [f"tos {rule.tos}"] if rule.tos else []
    words += [f"ipproto {rule.ipproto}"] if rule.ipproto else []
    spans = (("sport", rule.sport), ("dport", rule.dport), ("uidrange", rule.uidrange))
    words += [f"{name} {found[0]}-{found[1]}" for name, found in spans if found is not None]
    words += [f"{k} {v}" for k, v in rule.unmodelled.items()]
    return " ".join(words)


def _action(rule: PolicyRule) -> str:
    action = "lookup the table of the VRF" if rule.l3mdev else f"{rule.action} {rule.table or rule.goto or ''}".strip()
    if rule.suppress_prefixlength is not None:
        action += f" but no prefix of {rule.suppress_prefixlength} bits or fewer"
    return action


def _flow(one: object) -> str:
    src, dst = getattr(one, "src", ""), getattr(one, "dst", "")
    sport, dport = getattr(one, "sport", None), getattr(one, "dport", None)
    if sport is None:
        return f"{src} > {dst}"
    return f"{src} port {sport} > {dst} port {dport}"


def _iptables(tables: Sequence[TableView], style: Style) -> Iterator[str]:
    yield "\n"
    if not tables:
        yield section("IPTABLES", style)
        yield "none\n"
    elif all(t.chains is None for t in tables):
        yield section("IPTABLES", style)
        yield from columns(
            ("FAMILY", "VARIANT", "TABLE", "CHAINS", "RULES"),
            [(_family(t.family), t.variant, t.table, f"{t.chain_count:,}", f"{t.rule_count:,}") for t in tables],
            style,
        )
        return
    for table in tables:
        if table.chains is not None:
            yield section(
                f"TABLE {safe(table.table)} of {_family(table.family)}, iptables-{safe(table.variant)}", style
            )
            for chain in table.chains:
                yield f":{safe(chain.name)} {safe(chain.policy or '-')}\n"
                yield from (f"{safe(text)}\n" for _, text in chain.rules)


def _nftables(view: NamespaceView, style: Style) -> Iterator[str]:
    yield "\n"
    yield section("NFTABLES", style)
    objects = [one for one in view.nftables["nftables"] if "metainfo" not in one]
    if not objects:
        yield "none\n"
    for one in objects:
        yield safe(json.dumps(one, ensure_ascii=False)) + "\n"
