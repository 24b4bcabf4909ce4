"""Routes, nexthop objects and policy rules: ``ip route``, ``ip nexthop``, ``ip rule``, as text or JSON.

The text is what the collector asks for: JSON leaves out that a metric is locked (iproute2 ip/iproute.c,
print_rta_metrics). Sources: iproute2 ip/iproute.c, ip/ipnexthop.c, ip/iprule.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

from netinspect.kernel.reading import guarded, is_json, lines, objects, span, whole
from netinspect.model.kernel import NextHop, NextHopObject, PolicyRule, Route

_TYPES = frozenset({
    "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat",
    "xresolve",
})  # fmt: skip
_FLAGS = frozenset({
    "onlink", "pervasive", "dead", "linkdown", "offload", "trap", "offload_failed", "unresolved", "notify", "rt_trap",
    "cache", "pref-src", "redirect",
})  # fmt: skip
_NUMBERS = {"metric": "metric", "mtu": "mtu", "advmss": "advmss", "nhid": "nhid"}
_WORDS = {"table": "table", "proto": "protocol", "scope": "scope", "src": "prefsrc", "from": "src", "pref": "pref",
          "tos": "tos", "dsfield": "tos"}  # fmt: skip
# Metrics (RTAX_*) and attributes that no part of the walk depends on, with their value.
_KEPT = frozenset({
    "window", "rtt", "rttvar", "ssthresh", "cwnd", "reordering", "hoplimit", "initcwnd", "features", "rto_min",
    "initrwnd", "quickack", "congctl", "fastopen_no_cookie", "realm", "realms", "expires", "error", "iif", "mark",
    "ttl-propagate",
})  # fmt: skip


_AFTER_ENCAP = frozenset(
    {"via", "dev", "table", "proto", "scope", "metric", "weight", "nexthop", "src", "pref", "onlink"}
)


def routes(text: str, family: str) -> tuple[Route, ...]:
    """Read all routes of all tables of a family (``inet`` or ``inet6``)."""
    section = f"routes {family}"
    if is_json(text):
        return objects(section, text, lambda record, line: _route_from_json(record, family, line))
    joined: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        # The ways of a multipath route stand on lines of their own.
        if line[:1] in ("\t", " ") and joined:
            joined[-1] = (joined[-1][0], joined[-1][1] + " " + line.strip())
        elif line.strip():
            joined.append((number, line))
    return tuple(guarded(section, number, line, lambda one, n: _route(one, n, family)) for number, line in joined)


def _route(line: str, number: int, family: str) -> Route:  # noqa: PLR0912 - one for each keyword
    words: Iterator[str] = iter(line.split())
    first = next(words)
    kind = "unicast"
    if first in _TYPES:
        kind, first = first, next(words)
    found: dict[str, Any] = {"family": family, "type": kind, "dst": whole(first, family=family), "line": number}
    flags: list[str] = []
    locked: list[str] = []
    unmodelled: dict[str, Any] = {}
    hops: list[dict[str, Any]] = []
    object_ = False
    while (word := next(words, None)) is not None:
        here = hops[-1] if hops else found
        if word == "nexthop":
            hops.append({})
            object_ = False
        elif object_ or word == "nh_info":
            # What follows is the nexthop object, which is read by itself.
            object_ = True
        elif word == "via":
            _gateway(words, here)
        elif word == "dev":
            here["dev"] = next(words)
        elif word == "weight":
            here["weight"] = int(next(words))
        elif word in _FLAGS or word.startswith("["):
            (hops[-1].setdefault("flags", []) if hops else flags).append(word)
        elif word in _NUMBERS:
            value = next(words)
            if value == "lock":
                locked.append(word)
                value = next(words)
            found[_NUMBERS[word]] = int(value)
        elif word in _WORDS:
            found[_WORDS[word]] = next(words)
        elif word == "encap":
            # Its arguments are of its kind; what follows them is the route's own again.
            said = list(takewhile(lambda w: w not in _AFTER_ENCAP, words_left := list(words)))
            here["encap"] = " ".join(said)
            words = iter(words_left[len(said) :])
        elif word in _KEPT:
            value = next(words)
            if value == "lock":
                locked.append(word)
                value = next(words)
            unmodelled[word] = value
        else:
            unmodelled[word] = ""
    ways = tuple(NextHop(**{**h, "flags": tuple(h.get("flags", ()))}) for h in hops)
    return Route(**found, flags=tuple(flags), locked=tuple(locked), nexthops=ways, unmodelled=unmodelled)


def _gateway(words: Iterator[str], into: dict[str, Any]) -> None:
    """Read what follows ``via``: a gateway, or a family and a gateway of it (RFC 5549)."""
    word = next(words)
    if word in ("inet", "inet6"):
        into["via"] = next(words)
    else:
        into["gateway"] = word


_ROUTE_KEYS = frozenset({
    "type", "table", "gateway", "dev", "prefsrc", "scope", "protocol", "metric", "flags", "nhid", "pref", "tos",
})  # fmt: skip


def _route_from_json(record: dict[str, Any], family: str, line: int) -> Route:
    metrics = {k: v for one in record.get("metrics") or () for k, v in one.items()}
    encap = record.get("encap")
    known = {k: record[k] for k in _ROUTE_KEYS if k in record}
    known["flags"] = tuple(known.get("flags") or ())
    ignored = {"dst", "from", "via", "metrics", "nexthops", "nh_info", "encap", *_ROUTE_KEYS}
    unmodelled = {k: v for k, v in (record | metrics).items() if k not in (*ignored, "mtu", "advmss")}
    return Route(
        **known,
        family=family,
        dst=whole(str(record["dst"]), family=family),
        src=str(record.get("from", "")),
        via=str(record["via"]["host"]) if "via" in record else "",
        mtu=_optional_int(metrics.get("mtu", record.get("mtu"))),
        advmss=_optional_int(metrics.get("advmss")),
        encap=str(encap) if encap else "",
        nexthops=tuple(_hop_from_json(h) for h in record.get("nexthops") or ()),
        unmodelled=unmodelled,
        line=line,
    )


def _hop_from_json(record: dict[str, Any]) -> NextHop:
    return NextHop(
        gateway=str(record.get("gateway", "")),
        dev=str(record.get("dev", "")),
        weight=int(record.get("weight", 1)),
        via=str(record["via"]["host"]) if "via" in record else "",
        flags=tuple(record.get("flags") or ()),
    )


def nexthops(text: str) -> tuple[NextHopObject, ...]:
    """Read the nexthop objects."""
    if is_json(text):
        return objects("nexthops", text, _nexthop_from_json)
    return lines("nexthops", text, _nexthop)


def _nexthop(line: str, number: int) -> NextHopObject:
    words = iter(line.split())
    found: dict[str, Any] = {"line": number}
    for word in words:
        if word == "id":
            found["id"] = int(next(words))
        elif word == "via":
            found["gateway"] = next(words)
        elif word in ("dev", "scope", "type"):
            found[word] = next(words)
        elif word == "blackhole":
            found["blackhole"] = True
        elif word == "group":
            members = (m.partition(",") for m in next(words).split("/"))
            found["group"] = tuple((int(i), int(w or 1)) for i, _, w in members)
    return NextHopObject(**found)


def _nexthop_from_json(record: dict[str, Any], line: int) -> NextHopObject:
    return NextHopObject(
        id=int(record["id"]),
        gateway=str(record.get("gateway", "")),
        dev=str(record.get("dev", "")),
        scope=str(record.get("scope", "")),
        blackhole="blackhole" in record,
        group=tuple((int(m["id"]), int(m.get("weight", 1))) for m in record.get("group") or ()),
        type=str(record.get("type", "")),
        line=line,
    )


def rules(text: str, family: str) -> tuple[PolicyRule, ...]:
    """Read the policy rules of a family, in their order."""
    section = f"rules {family}"
    if is_json(text):
        return objects(section, text, lambda record, line: _rule_from_json(record, family, line))
    return lines(section, text, lambda line, number: _rule(line, number, family))


_ACTIONS = frozenset({"blackhole", "unreachable", "prohibit", "nop"})
_RULE_SPANS = {"sport": "sport", "dport": "dport", "uidrange": "uidrange"}
_RULE_WORDS = {"iif": "iif", "oif": "oif", "tos": "tos", "dsfield": "tos", "ipproto": "ipproto", "proto": "protocol",
               "suppress_ifgroup": "suppress_ifgroup"}  # fmt: skip


def _rule(line: str, number: int, family: str) -> PolicyRule:
    priority, _, rest = line.partition(":")
    words = iter(rest.split())
    found: dict[str, Any] = {"family": family, "priority": int(priority), "line": number}
    unmodelled: dict[str, Any] = {}
    for word in words:
        if word == "not":
            found["negated"] = True
        elif word in ("from", "to"):
            value = next(words)
            found["src" if word == "from" else "dst"] = "" if value == "all" else whole(value, family=family)
        elif word == "fwmark":
            mark, _, mask = next(words).partition("/")
            found["fwmark"] = int(mark, 0)
            found["fwmask"] = int(mask, 0) if mask else 0xFFFFFFFF
        elif word in ("lookup", "table"):
            table = next(words)
            found |= {"l3mdev": True} if table == "[l3mdev-table]" else {"table": table}
        elif word in _RULE_SPANS:
            found[_RULE_SPANS[word]] = span(next(words))
        elif word in _RULE_WORDS:
            found[_RULE_WORDS[word]] = next(words)
        elif word in ("suppress_prefixlength", "suppress_prefixlen"):
            found["suppress_prefixlength"] = int(next(words))
        elif word == "goto":
            found |= {"action": "goto", "goto": int(next(words))}
        elif word in _ACTIONS:
            found["action"] = word
        elif word not in ("[detached]", "[unresolved]"):
            unmodelled[word] = next(words, "")
    return PolicyRule(**found, unmodelled=unmodelled)


_RULE_KEYS = frozenset({
    "priority", "src", "srclen", "dst", "dstlen", "fwmark", "fwmask", "iif", "oif", "l3mdev", "uid_start", "uid_end",
    "ipproto", "sport", "sport_start", "sport_end", "dport", "dport_start", "dport_end", "table", "suppress_prefixlen",
    "suppress_ifgroup", "goto", "action", "protocol", "not", "nop", "tos", "iif_detached", "oif_detached",
    "to_tbl",
})  # fmt: skip


def _rule_from_json(record: dict[str, Any], family: str, line: int) -> PolicyRule:
    width = 32 if family == "inet" else 128

    def prefix(name: str) -> str:
        text = str(record.get(name, ""))
        return "" if text in ("", "all") else f"{text}/{record.get(name + 'len', width)}"

    def range_(name: str, first: str, last: str) -> tuple[int, int] | None:
        if first in record:
            return int(record[first]), int(record[last])
        return (int(record[name]), int(record[name])) if name in record else None

    action = "goto" if "goto" in record else "nop" if "nop" in record else str(record.get("action", "lookup"))
    mark = record.get("fwmark")
    return PolicyRule(
        family=family,
        priority=int(record["priority"]),
        action=action,
        table=str(record.get("table", "")),
        negated="not" in record,
        src=prefix("src"),
        dst=prefix("dst"),
        iif=str(record.get("iif", "")),
        oif=str(record.get("oif", "")),
        fwmark=None if mark is None else int(str(mark), 0),
        fwmask=int(str(record.get("fwmask", "0xffffffff")), 0),
        tos=str(record.get("tos", "")),
        ipproto=str(record.get("ipproto", "")),
        sport=range_("sport", "sport_start", "sport_end"),
        dport=range_("dport", "dport_start", "dport_end"),
        uidrange=range_("uid", "uid_start", "uid_end"),
        suppress_prefixlength=_optional_int(record.get("suppress_prefixlen")),
        suppress_ifgroup=str(record.get("suppress_ifgroup", "")),
        goto=_optional_int(record.get("goto")),
        l3mdev="l3mdev" in record,
        protocol=str(record.get("protocol", "")),
        unmodelled={k: v for k, v in record.items() if k not in _RULE_KEYS},
        line=line,
    )


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)
