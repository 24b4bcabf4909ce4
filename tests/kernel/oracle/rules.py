# ruff: noqa: E501 - a rule is one line
"""Random rules that mean something in a scene: they name its addresses, ports, devices, marks and sets."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}
_PRIORITIES = {"prerouting": (-310, -250, -160, -90, 10), "input": (-10, 5, 60), "forward": (-10, 5, 60),
               "output": (-310, -160, -90, 7), "postrouting": (-160, 90, 110)}  # fmt: skip


@dataclass
class Pool:
    """What rules in one namespace may name."""

    rng: random.Random
    addresses: list[str]
    prefixes: list[str]
    targets: list[str]
    ports: list[int]
    devices: list[str]
    family: int = 4
    sets: list[tuple[str, int]] = field(default_factory=list)
    bridged: bool = False
    macs: list[str] = field(default_factory=list)

    def address(self) -> str:
        return self.rng.choice(self.addresses)

    def place(self) -> str:
        return self.rng.choice([*self.addresses, *self.prefixes])

    def port(self) -> int:
        return self.rng.choice(self.ports)

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def no(self) -> str:
        return "! " if self.chance(0.25) else ""


def ipsets(pool: Pool, prefix: str, *, every: bool = False) -> list[str]:
    """Make sets of many types, remember them in the pool, and give the lines of ``ipset restore``.

    ``every`` says that the kernel has all types.
    """
    rng, family = pool.rng, "inet" if pool.family == 4 else "inet6"
    lines: list[str] = []
    kinds = ["hash:ip", "hash:net", "hash:ip,port", "hash:net,port", "hash:ip,port,ip", "hash:ip,port,net",
             "hash:net,iface", "bitmap:port", "list:set"]  # fmt: skip
    if every:
        kinds += ["hash:net,net", "hash:ip,mark", "hash:net,port,net"]
    if pool.family == 4:
        kinds += ["bitmap:ip", *(["hash:mac", "hash:ip,mac"] if every else [])]
    for kind in rng.sample(kinds, 4):
        name = f"{prefix}{len(pool.sets)}"
        if pool.bridged and kind == "hash:net,iface":
            continue
        dimensions = len(kind.split(":")[1].split(",")) if ":" in kind else 1
        options = {"bitmap:port": "range 0-65535", "bitmap:ip": "range 10.0.0.0/16", "list:set": "", "hash:mac": ""}.get(
            kind, f"family {family}")  # fmt: skip
        if kind == "bitmap:ip":
            options = "range 10.1.0.0/16"
        if kind == "hash:ip" and pool.chance(0.3):
            options += f" netmask {24 if pool.family == 4 else 64}"
        lines.append(f"ipset create {name} {kind} {options}")
        if kind == "list:set":
            lines += [f"ipset add {name} {n}" for n, d in pool.sets if d == 1][:2]
            dimensions = 1
        else:
            members = {_member(pool, kind) for _ in range(rng.randint(1, 5))}
            for member in sorted(members - {""}):
                nomatch = " nomatch" if "net" in kind and pool.chance(0.15) else ""
                lines.append(f"ipset add {name} {member}{nomatch} -exist")
        pool.sets.append((name, dimensions))
    return lines


def _member(pool: Pool, kind: str) -> str:
    parts = []
    if kind == "bitmap:ip":
        inside = [a for a in pool.addresses if a.startswith("10.1.")]
        return pool.rng.choice(inside) if inside else ""
    for part in kind.split(":")[1].split(","):
        if part == "ip":
            parts.append(pool.address())
        elif part == "net":
            parts.append(pool.place())
        elif part == "port":
            if kind == "bitmap:port":
                parts.append(str(pool.port()))
            else:
                icmp = "icmp:echo-request" if pool.family == 4 else "icmpv6:echo-request"
                parts.append(pool.rng.choice([f"tcp:{pool.port()}", f"udp:{pool.port()}", icmp]))
        elif part == "iface":
            parts.append(pool.rng.choice(pool.devices))
        elif part == "mark":
            parts.append(pool.rng.choice(["0x1", "0x10", "0x0"]))
        elif part == "mac":
            parts.append(pool.rng.choice(pool.macs) if pool.macs else "02:00:00:00:00:01")
    return ",".join(parts)


# iptables.


def iptables(pool: Pool, variant: str, count: int) -> list[str]:
    """Give some rules of a variant (``iptables-nft`` and so on), with chains of their own."""
    rng = pool.rng
    lines: list[str] = []
    tables = ["filter", "filter", "nat", "nat", "mangle", "raw"]
    own: dict[str, list[str]] = {}
    for _ in range(count):
        table = rng.choice(tables)
        if table not in own:
            own[table] = [f"C{n}" for n in range(rng.randint(0, 3))]
            lines += [f"{variant} {table} :{c} - [0:0]" for c in own[table]]
        chains = own[table]
        hook = rng.choice(_HOOKS[table])
        place = rng.choice([hook, *chains]) if chains else hook
        # A chain is only jumped to from one that stands before it, so that there is no loop.
        below = chains if place == hook else chains[chains.index(place) + 1 :]
        protocol = rng.choice(["tcp", "udp", "icmp", "", "", "tcp"])
        matches = _matches(pool, table, hook, place, protocol)
        lines.append(f"{variant} {table} -A {place} {matches}{_target(pool, table, hook, place, below, protocol)}")
    if pool.chance(0.1):
        lines.append(f"{variant} filter :{rng.choice(_HOOKS['filter'])} DROP [0:0]")
    return lines


def _matches(pool: Pool, table: str, hook: str, place: str, protocol: str) -> str:
    rng = pool.rng
    words = []
    if pool.chance(0.5):
        words.append(f"{pool.no()}-d {pool.place()}")
    if pool.chance(0.3):
        words.append(f"{pool.no()}-s {pool.place()}")
    user = place != hook
    if hook in ("PREROUTING", "INPUT", "FORWARD") and not user and pool.chance(0.3):
        words.append(f"{pool.no()}-i {rng.choice([*pool.devices, 'lo', pool.devices[0][:2] + '+'])}")
    if hook in ("FORWARD", "OUTPUT", "POSTROUTING") and not user and pool.chance(0.3):
        words.append(f"{pool.no()}-o {rng.choice([*pool.devices, 'lo'])}")
    if protocol:
        words.append(f"-p {'ipv6-icmp' if protocol == 'icmp' and pool.family == 6 else protocol}")
        words += _of_protocol(pool, protocol)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        words.append(_match(pool, table, hook, user=user))
    return " ".join(w for w in words if w) + " "


def _of_protocol(pool: Pool, protocol: str) -> list[str]:
    rng = pool.rng
    if protocol in ("tcp", "udp"):
        words = []
        if pool.chance(0.5):
            port = pool.port()
            words.append(rng.choice([f"--dport {port}", f"! --dport {port}", f"--dport {max(1, port - 5)}:{port + 5}",
                                     f"-m multiport --dports {port},1:20", f"--sport {port}"]))  # fmt: skip
        if protocol == "tcp" and pool.chance(0.2):
            words.append(rng.choice(["--syn", "! --syn", "--tcp-flags SYN,ACK SYN,ACK", "--tcp-flags ALL ACK"]))
        return words
    if protocol == "icmp":
        flag = "--icmp-type" if pool.family == 4 else "--icmpv6-type"
        return [f"{flag} {rng.choice(['echo-request', 'echo-reply', 'destination-unreachable'])}"] * pool.chance(0.6)
    return []


def _match(pool: Pool, table: str, hook: str, *, user: bool) -> str:
    rng = pool.rng
    family4 = pool.family == 4
    choices = [
        f"-m mark {pool.no()}--mark {rng.choice(['0x1', '0x10/0xf0', '0x0/0x1'])}",
        f"-m connmark {pool.no()}--mark {rng.choice(['0x1', '0x2/0x2', '0x0'])}",
        f"-m conntrack {pool.no()}--ctstate {rng.choice(['NEW', 'ESTABLISHED', 'RELATED,ESTABLISHED', 'INVALID', 'DNAT', 'SNAT', 'UNTRACKED', 'NEW,DNAT'])}",
        f"-m conntrack --ctdir {rng.choice(['ORIGINAL', 'REPLY'])}",
        f"-m conntrack {pool.no()}--ctorigdst {pool.place()}",
        f"-m conntrack {pool.no()}--ctreplsrc {pool.place()}",
        f"-m conntrack {pool.no()}--ctorigsrc {pool.place()}",
        f"-m conntrack {pool.no()}--ctstatus {rng.choice(['SEEN_REPLY', 'CONFIRMED', 'NONE', 'EXPECTED'])}",
        f"-m conntrack --ctproto {rng.choice(['6', '17'])}",
        f"-m addrtype {pool.no()}--dst-type {rng.choice(['LOCAL', 'UNICAST', 'LOCAL,BROADCAST' if family4 else 'LOCAL,UNICAST', 'MULTICAST'])}",
        f"-m addrtype {pool.no()}--src-type {rng.choice(['LOCAL', 'UNICAST'])}",
        f"-m iprange {pool.no()}--{rng.choice(['src', 'dst'])}-range {_range(pool)}",
        f"-m length --length {rng.choice(['0:60', '61:1500', '36', '28:84'])}",
        f'-m comment --comment "{rng.choice(["plain", "two words"])}"',
        f"-m statistic --mode random --probability {rng.choice(['0.50000000000', '0.33333333349'])}",
        f"-m {'ttl' if family4 else 'hl'} --{'ttl' if family4 else 'hl'}-{rng.choice(['lt', 'gt', 'eq'])} {rng.choice([63, 64, 62, 65])}",
        f"-m tos {pool.no()}--tos {rng.choice(['0x10/0xff', '0x00/0xff'])}",
        f"-m dscp {pool.no()}--dscp {rng.choice(['0x04', '0x00'])}",
        f"-m pkttype {pool.no()}--pkt-type {rng.choice(['unicast', 'broadcast'])}",
    ]
    if pool.sets:
        name, dimensions = rng.choice(pool.sets)
        directions = ",".join(rng.choice(["src", "dst"]) for _ in range(dimensions))
        choices += [f"-m set {pool.no()}--match-set {name} {directions}"] * 4
    if hook in ("OUTPUT", "POSTROUTING") and not user:
        choices += [f"-m owner {pool.no()}--uid-owner {rng.choice([0, 1337])}", "-m owner --socket-exists"]
    if hook == "PREROUTING" and table in ("raw", "mangle") and not user:
        choices.append(f"-m rpfilter{rng.choice(['', ' --loose', ' --validmark'])}{rng.choice(['', ' --invert'])}")
    if pool.macs and hook in ("PREROUTING", "INPUT", "FORWARD") and not user:
        choices.append(f"-m mac {pool.no()}--mac-source {rng.choice(pool.macs)}")
    if pool.bridged:
        choices += [f"-m physdev {pool.no()}--physdev-in {rng.choice(pool.devices)}", "-m physdev --physdev-is-in"]
        if hook in ("FORWARD", "POSTROUTING") and not user:
            choices += ["-m physdev --physdev-is-bridged", "-m physdev ! --physdev-is-bridged"]
    return rng.choice(choices)


def _range(pool: Pool) -> str:
    one = pool.address()
    separator = "." if pool.family == 4 else ":"
    base = one.rpartition(separator)[0]
    return f"{base}{separator}1-{base}{separator}9"


_REJECTS = ["icmp-port-unreachable", "icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable",
            "icmp-net-prohibited", "icmp-host-prohibited", "icmp-admin-prohibited"]  # fmt: skip
_REJECTS6 = ["icmp6-no-route", "icmp6-adm-prohibited", "icmp6-addr-unreachable", "icmp6-port-unreachable"]


def _target(pool: Pool, table: str, hook: str, place: str, below: list[str], protocol: str) -> str:
    rng = pool.rng
    general = ["-j ACCEPT", "-j RETURN", ""]
    general += [f"-j {c}" for c in below] * 2 + [f"-g {c}" for c in below]
    if table in ("filter", "security"):
        reject = rng.choice(_REJECTS if pool.family == 4 else _REJECTS6)
        return rng.choice([*general, *general, "-j DROP", f"-j REJECT --reject-with {reject}"])
    if table == "raw":
        return rng.choice(
            [*general, "-j CT --notrack", "-j CT --zone 5", "-j NOTRACK", "-j DROP" if pool.chance(0.3) else ""]
        )
    if table == "mangle":
        ttl = "-j TTL --ttl-set 70" if pool.family == 4 else "-j HL --hl-set 70"
        specials = ["-j MARK --set-xmark 0x1/0xf", "-j MARK --set-xmark 0x10/0xf0", "-j MARK --or-mark 0x2",
                    "-j MARK --set-mark 0x1", "-j MARK --and-mark 0xf0", "-j CONNMARK --save-mark",
                    "-j CONNMARK --restore-mark", "-j CONNMARK --set-xmark 0x2/0x2", "-j TOS --set-tos 0x10/0xff",
                    "-j DSCP --set-dscp 0x04", ttl]  # fmt: skip
        if hook == "PREROUTING" and protocol in ("tcp", "udp") and place == hook:
            specials += [f"-j TPROXY --on-port {pool.port()} --tproxy-mark 0x100/0x100"] * 2
        return rng.choice([*general, *specials])
    user = place != hook
    to = rng.choice(pool.targets)
    if hook in ("PREROUTING", "OUTPUT") and not user:
        ported = f"[{to}]:{pool.port()}" if pool.family == 6 else f"{to}:{pool.port()}"
        ranged = f"[{to}]:100-200" if pool.family == 6 else f"{to}:100-200"
        translated = [f"-j DNAT --to-destination {to}"] * 3
        if protocol in ("tcp", "udp"):
            translated += [f"-j DNAT --to-destination {ported}", f"-j REDIRECT --to-ports {pool.port()}",
                           f"-j DNAT --to-destination {ranged}"]  # fmt: skip
        if pool.family == 4:
            translated += ["-j REDIRECT", f"-j NETMAP --to {rng.choice(pool.prefixes)}"]
        return rng.choice([*general, *translated])
    if hook == "POSTROUTING" and not user:
        translated = ["-j MASQUERADE", f"-j SNAT --to-source {to}", "-j MASQUERADE --random-fully"]
        if protocol in ("tcp", "udp"):
            ported = f"[{to}]:3000-4000" if pool.family == 6 else f"{to}:3000-4000"
            translated += [f"-j SNAT --to-source {ported}", "-j MASQUERADE --to-ports 3000-4000"]
        return rng.choice([*general, *translated])
    return rng.choice(general)


def translations(pool: Pool, variant: str, services: list[tuple[str, int]]) -> list[str]:
    """Give what kube-proxy's iptables mode makes of Services: chains, chances, marks, masquerading."""
    rng = pool.rng
    six = "[{}]:{}" if pool.family == 6 else "{}:{}"
    lines = [f"{variant} nat :{c} - [0:0]" for c in ("KSVC", "KMARK", "KPOST")]
    lines += [f"{variant} nat -A {hook} -j KSVC" for hook in ("PREROUTING", "OUTPUT")]
    lines += [f"{variant} nat -A KMARK -j MARK --or-mark 0x4000", f"{variant} nat -A POSTROUTING -j KPOST",
              f"{variant} nat -A KPOST -m mark ! --mark 0x4000/0x4000 -j RETURN",
              f"{variant} nat -A KPOST -j MARK --xor-mark 0x4000",
              f"{variant} nat -A KPOST -j MASQUERADE{rng.choice(['', ' --random-fully'])}"]  # fmt: skip
    for number, (address, port) in enumerate(services):
        protocol = rng.choice(["tcp", "udp"])
        chain = f"S{number}"
        lines += [f"{variant} nat :{chain} - [0:0]",
                  f"{variant} nat -A KSVC -d {address} -p {protocol} --dport {port} -j {chain}"]  # fmt: skip
        if pool.chance(0.4):
            lines.append(f"{variant} nat -A {chain} ! -s {rng.choice(pool.prefixes)} -j KMARK")
        ends = rng.sample(pool.targets, min(len(pool.targets), rng.randint(1, 3)))
        for position, end in enumerate(ends):
            sep = f"{chain}E{position}"
            left = len(ends) - position
            chance = "" if left == 1 else f"-m statistic --mode random --probability {1 / left:.11f} "
            lines += [f"{variant} nat :{sep} - [0:0]", f"{variant} nat -A {chain} {chance}-j {sep}",
                      f"{variant} nat -A {sep} -s {end} -j KMARK",
                      f"{variant} nat -A {sep} -p {protocol} -j DNAT --to-destination {six.format(end, pool.port())}"]  # fmt: skip
    return lines


# nftables.


def nftables(pool: Pool, name: str, count: int) -> list[str]:
    """Give a table of nftables with chains at random hooks and priorities, sets and maps."""
    rng = pool.rng
    ip = "ip" if pool.family == 4 else "ip6"
    family = rng.choice([ip, ip, "inet"])
    kind = "ipv4_addr" if pool.family == 4 else "ipv6_addr"
    body: list[str] = []
    body.append(f"set s0 {{ type {kind}; elements = {{ {_unique(pool, pool.addresses, 3)} }}; }}")
    body.append(f"set s1 {{ type {kind}; flags interval; elements = {{ {_unique(pool, pool.prefixes, 2)} }}; }}")
    pairs = ", ".join({f"{pool.address()} . {p} . {pool.port()}" for p in ("tcp", "udp", "tcp")})
    body.append(f"set s2 {{ type {kind} . inet_proto . inet_service; elements = {{ {pairs} }}; }}")
    body.append(
        f"map m0 {{ type {kind} : mark; elements = {{ {pool.addresses[0]} : 0x1, {pool.addresses[-1]} : 0x10 }}; }}"
    )
    body += ["chain u0 { " + "; ".join(_nft_rule(pool, ip, "", []) for _ in range(rng.randint(1, 2))) + "; }",
             "chain u1 { " + "; ".join(_nft_rule(pool, ip, "", ["u0"]) for _ in range(rng.randint(1, 2))) + "; }"]  # fmt: skip
    for number in range(count):
        if pool.chance(0.35):
            hook = rng.choice(["prerouting", "output", "postrouting"])
            priority = 100 + number if hook == "postrouting" else -100 + number
            rules = [_nft_nat(pool, ip, hook) for _ in range(rng.randint(1, 3))]
            body.append(f"chain n{number} {{ type nat hook {hook} priority {priority}; " + "; ".join(rules) + "; }")
        else:
            hook = rng.choice(["prerouting", "input", "forward", "output", "postrouting"])
            kind_ = "route" if hook == "output" and pool.chance(0.4) else "filter"
            priority = rng.choice(_PRIORITIES[hook]) + number
            policy = " policy drop;" if pool.chance(0.04) else ""
            rules = [_nft_rule(pool, ip, hook, ["u0", "u1"]) for _ in range(rng.randint(1, 4))]
            body.append(
                f"chain f{number} {{ type {kind_} hook {hook} priority {priority};{policy} " + "; ".join(rules) + "; }"
            )
    return [f"nft table {family} {name} {{", *(f"nft   {line}" for line in body), "nft }"]


def _unique(pool: Pool, values: list[str], count: int) -> str:
    return ", ".join(pool.rng.sample(values, min(count, len(values))))


def _nft_match(pool: Pool, ip: str, hook: str) -> str:
    rng = pool.rng
    addr = rng.choice(["saddr", "daddr"])
    eq = rng.choice(["", "", "!= "])
    choices = [
        f"{ip} {addr} {eq}{pool.place()}",
        f"{ip} {addr} {eq}@s0",
        f"{ip} {addr} {eq}@s1",
        f"{ip} {addr} {eq}{{ {_unique(pool, pool.addresses, 2)} }}",
        f"{ip} daddr . meta l4proto . th dport {eq}@s2",
        f"tcp dport {eq}{pool.port()}",
        f"udp dport {{ {pool.port()}, 1-20 }}",
        f"th dport >= {pool.port()}",
        f"meta l4proto {eq}{rng.choice(['tcp', 'udp', '{ tcp, udp }'])}",
        f"meta mark {eq}{rng.choice(['0x1', '0x10', '0'])}",
        f"meta mark & 0xf0 == {rng.choice(['0x10', '0'])}",
        f"ct state {rng.choice(['new', 'established', 'established,related', 'invalid', '{ new, established }', 'untracked'])}",
        f"ct status {rng.choice(['dnat', 'snat', 'seen-reply', 'confirmed'])}",
        f"ct direction {rng.choice(['original', 'reply'])}",
        f"ct mark {eq}{rng.choice(['0x1', '0x2', '0'])}",
        f"ct original {ip} daddr {eq}{pool.place()}",
        f"ct reply {ip} saddr {eq}{pool.place()}",
        f"fib daddr type {eq}{rng.choice(['local', 'unicast', '{ local, broadcast }'])}",
        f"fib saddr type {rng.choice(['local', 'unicast'])}",
        f"meta length {rng.choice(['< 61', '> 60', '28-84'])}",
        f"numgen random mod {rng.choice([2, 3])} == {rng.choice([0, 1])}",
        f"jhash {ip} saddr mod {rng.choice([2, 3])} == {rng.choice([0, 1])}",
        f"{ip} {'ttl' if ip == 'ip' else 'hoplimit'} {rng.choice(['< 64', '64', '>= 63'])}",
        f"{ip} dscp {eq}{rng.choice(['cs0', 'af11', '0x04'])}",
        f"{'icmp' if ip == 'ip' else 'icmpv6'} type {rng.choice(['echo-request', 'echo-reply', '{ echo-request, destination-unreachable }'])}",
        f"tcp flags & (syn | ack) == {rng.choice(['syn', 'syn | ack', 'ack'])}",
        f"meta protocol {ip}",
        f"@th,16,16 {pool.port()}",
    ]
    if hook in ("prerouting", "input", "forward"):
        choices += [f'iifname {eq}"{rng.choice(pool.devices)}"', f'iifname "{pool.devices[0][:2]}*"']
    if hook == "prerouting":
        choices += ["fib saddr . iif oif != 0", "fib saddr . iif oif 0", "fib daddr . iif type local"]
    if hook in ("forward", "output", "postrouting"):
        choices += [f'oifname {eq}"{rng.choice(pool.devices)}"', f"oif {rng.choice(pool.devices)}"]
    if hook == "output":
        choices += [f"meta skuid {rng.choice([0, 1337])}"]
    return rng.choice(choices)


def _nft_matches(pool: Pool, ip: str, hook: str, count: int) -> str:
    """Give some matches of which at most one asks for a protocol: nft refuses those that cannot all hold."""
    chosen: list[str] = []
    for _ in range(count):
        match = _nft_match(pool, ip, hook)
        if not (_asks(match) and any(_asks(m) for m in chosen)):
            chosen.append(match)
    return " ".join(chosen)


def _asks_any(matches: str) -> bool:
    return any(word in matches for word in ("tcp", "udp", "th ", "icmp", "l4proto", "@th"))


def _asks(match: str) -> bool:
    return match.startswith(("tcp", "udp", "th ", "icmp", "meta l4proto", "@th")) or "l4proto" in match


def _nft_rule(pool: Pool, ip: str, hook: str, below: list[str]) -> str:
    rng = pool.rng
    matches = _nft_matches(pool, ip, hook, rng.choice([0, 1, 1, 2, 2, 3]))
    verdicts = ["accept", "return", "counter", "meta mark set 0x1", "meta mark set mark or 0x10", "continue",
                "ct mark set mark", "meta mark set ct mark", "ct mark set 0x2", f"meta mark set {ip} daddr map @m0",
                *(f"jump {c}" for c in below), *(f"goto {c}" for c in below)]  # fmt: skip
    if pool.chance(0.25):
        verdicts += ["drop", "drop", "reject"]
    if hook == "prerouting" and pool.chance(0.3):
        verdicts += ["notrack"]
    if hook in ("postrouting", "prerouting"):
        verdicts = [v for v in verdicts if not v.startswith("reject")]
    if not hook:
        verdicts = [v for v in verdicts if not v.startswith(("reject", "notrack"))]
    if pool.chance(0.15):
        a, b = rng.choice(["accept", "continue", "return"]), rng.choice(["accept", "drop", "continue"])
        vmap = rng.choice([
            f"meta l4proto vmap {{ tcp : {a}, udp : {b} }}",
            f"{ip} daddr vmap {{ {pool.addresses[0]} : {a}, {pool.addresses[-1]} : {b} }}",
            f"numgen random mod 3 vmap {{ 0 : {a}, 1 : {b}, 2 : continue }}",
            f"ct state vmap {{ established : {a}, new : {b} }}",
            f"th dport vmap {{ 1-1024 : {a}, 5353 : {b} }}",
            f"fib daddr type vmap {{ local : {a}, unicast : {b} }}",
        ])  # fmt: skip
        plain = " ".join(m for m in [matches] if not _asks_any(m)) if "proto" in vmap or "th dport" in vmap else matches
        return f"{plain} {vmap}"
    return f"{matches} {rng.choice(verdicts)}"


def _nft_nat(pool: Pool, ip: str, hook: str) -> str:
    rng = pool.rng
    match = _nft_match(pool, ip, hook)
    to = rng.choice(pool.targets)
    six = "[{}]:{}" if pool.family == 6 else "{}:{}"
    if hook == "postrouting":
        return f"{match} " + rng.choice(
            ["masquerade", f"snat {ip} to {to}", "masquerade fully-random", "accept", "counter"]
        )
    other = rng.choice(pool.targets)
    both = f"meta l4proto tcp dnat {ip} to {ip} daddr map {{ {pool.addresses[0]} : {to} . {pool.port()} }}"
    ported = f"meta l4proto tcp dnat {ip} to {six.format(to, pool.port())}"
    mapped = f"dnat {ip} to {ip} daddr map {{ {pool.addresses[0]} : {to}, {pool.addresses[-1]} : {other} }}"
    chance = f"dnat {ip} to numgen random mod 2 map {{ 0 : {to}, 1 : {other} }}"
    redirect = f"meta l4proto {{ tcp, udp }} redirect to :{pool.port()}"
    if _asks_any(match):
        return f"{match} " + rng.choice([f"dnat {ip} to {to}", mapped, chance, "accept"])
    return f"{match} " + rng.choice([f"dnat {ip} to {to}", ported, mapped, chance, redirect, both, "accept", "counter"])


def of_bridge(pool: Pool) -> list[str]:
    """Give a table of the bridge family, as ebtables-nft and some CNIs make it."""
    rng = pool.rng
    chains = []
    for hook in rng.sample(["prerouting", "input", "forward", "output", "postrouting"], 2):
        dev = "oifname" if hook in ("output", "postrouting") else "iifname"
        matches = [f"ip daddr {pool.address()}", f"ip protocol {rng.choice(['tcp', 'udp'])}", f"ether saddr {rng.choice(pool.macs)}",
                   f'{dev} "{rng.choice(pool.devices)}"', f"tcp dport {pool.port()}", "ether type ip6"]  # fmt: skip
        rules_ = [f"{rng.choice(matches)} {rng.choice(['drop', 'accept', 'counter', 'counter'])}" for _ in range(2)]
        chains.append(f"chain b{hook} {{ type filter hook {hook} priority -200; " + "; ".join(rules_) + "; }")
    return ["nft table bridge tb {", *(f"nft   {c}" for c in chains), "nft }"]


def of_device(pool: Pool, dev: str) -> list[str]:
    """Give a table at a device's ingress."""
    rng = pool.rng
    matches = [
        f"ip saddr {pool.address()}",
        f"ip daddr {pool.address()}",
        f"udp dport {pool.port()}",
        "ip protocol icmp",
    ]
    rules_ = [
        f"{rng.choice(matches)} {rng.choice(['drop', 'accept', 'counter', 'meta mark set 0x1'])}" for _ in range(2)
    ]
    chain = f'chain i {{ type filter hook ingress device "{dev}" priority 0; ' + "; ".join(rules_) + "; }"
    return ["nft table netdev td {", f"nft   {chain}", "nft }"]
