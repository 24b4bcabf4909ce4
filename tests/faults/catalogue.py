"""What goes wrong in clusters: how each fault is made and healed, what a real packet then meets, and what must be named.

Names in braces are those of the scene: ``web1`` is a pod on the first node, ``db`` and ``web2`` are pods on the second;
``_ip``, ``_ip6``, ``_mac`` and ``_veth`` are a pod's addresses and its node's end of its link.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Flow:
    """What is sent: from a pod or node, to what a user writes; ``aim`` is the address and port that stands for it."""

    source: str
    to: str
    aim: str
    protocol: str = "TCP"
    size: int = 0
    fragment: bool = False
    source_port: int = 0


@dataclass(frozen=True)
class Fault:
    """One fault.

    ``real`` is what packets meet, ``place`` and ``cause`` (a pattern of the reason or its proof) what must be named;
    where the packets arrive all the same, nothing may be. ``fails`` is lost or unreachable, as the kernels' clocks have it. ``labs`` limits it to a CNI, a proxy mode or address family.
    """

    name: str
    flow: Flow
    inject: tuple[str, ...]
    heal: tuple[str, ...]
    real: str
    place: str = ""
    cause: str = ""
    labs: frozenset[str] = field(default_factory=frozenset)


ACROSS = Flow("web1", "pod/{db}:5432", "{db_ip} 5432")
ACROSS6 = Flow("web1", "[{db_ip6}]:5432", "{db_ip6} 5432")
SAME = Flow("cart", "pod/{db}:5432", "{db_ip} 5432")
SERVICE = Flow("cart", "svc/shop/web:80", "{svc_web} 80")
ECHO = Flow("web1", "pod/{db}", "{db_ip} 0", "ICMP")
BIG = replace(ECHO, size=1300)
DNS = Flow("cart", "svc/kube-system/kube-dns:53", "{svc_kube_dns} 53", "UDP")
NODE_PORT = Flow("n1", "node/{n2}:30080", "{node2} 30080")
FROM_NODE = Flow("n1", "pod/{db}:5432", "{db_ip} 5432")
N1, N2, WEB1, WEB2, DB, CART = "node/{n1}", "node/{n2}", "pod/{web1}", "pod/{web2}", "pod/{db}", "pod/{cart}"
FLANNEL, BRIDGE = frozenset({"flannel"}), frozenset({"bridge"})
IPTABLES, NFTABLES, DUAL = frozenset({"iptables"}), frozenset({"nftables"}), frozenset({"dual"})
ANY: frozenset[str] = frozenset()


def _rule(name: str, place: str, command: str, rule: str, *said: str, flow: Flow = ACROSS) -> Fault:
    """Give a fault that is one rule of iptables, first in its chain."""
    real, where, cause, *labs = said
    table, chain, rest = rule.split(" ", 2)
    do = f"{place}: {command} -w -t {table} "
    return Fault(name, flow, (f"{do}-I {chain} {rest}",), (f"{do}-D {chain} {rest}",), real, where, cause,
                 frozenset(labs))  # fmt: skip


def _route(name: str, place: str, route: str, *said: str, flow: Flow = ACROSS) -> Fault:
    """Give a fault that is one route more."""
    real, where, cause, *labs = said
    words = "-6 " if flow.aim.startswith("{db_ip6") else ""
    return Fault(name, flow, (f"{place}: ip {words}route add {route}",), (f"{place}: ip {words}route del {route}",),
                 real, where, cause, frozenset(labs))  # fmt: skip


def _nft(name: str, place: str, chain: str, rule: str, *said: str, flow: Flow = ACROSS, family: str = "inet") -> Fault:
    """Give a fault that is a table of nftables with one rule."""
    real, where, cause, *labs = said
    inject = (f"{place}: nft 'table {family} stray {{{{ chain c {{{{ type filter hook {chain}; {rule}; }}}}; }}}}'",)
    return Fault(name, flow, inject, (f"{place}: nft delete table {family} stray",), real, where, cause,
                 frozenset(labs))  # fmt: skip


def _sysctl(name: str, place: str, key: str, values: tuple[int, int], *said: str, flow: Flow = ACROSS) -> Fault:
    """Give a fault that is a setting, from its right value to a wrong one."""
    real, where, cause, *labs = said
    right, wrong = values
    return Fault(name, flow, (f"{place}: sysctl -qw {key}={wrong}",), (f"{place}: sysctl -qw {key}={right}",), real,
                 where, cause, frozenset(labs))  # fmt: skip


LINKS = (
    Fault("the server's eth0 is down", ACROSS, ("db: ip link set eth0 down",), ("db: ip link set eth0 up",), "fails",
          N2, "eth0 of pod/{db}.* is down"),
    Fault("the node's end of the server's link is down", ACROSS, ("n2: ip link set {db_veth} down",),
          ("n2: ip link set {db_veth} up",), "fails", N2, "{db_veth}, which leads to pod/{db}, is down"),
    Fault("the client's eth0 is down", ACROSS, ("web1: ip link set eth0 down",), ("web1: ip link set eth0 up",),
          "unreachable", WEB1, "no route"),
    Fault("the server's link is out of the bridge", ACROSS, ("n2: ip link set {db_veth} nomaster",),
          ("n2: ip link set {db_veth} master cni0; bridge link set dev {db_veth} hairpin on",), "fails", N2,
          "{db_veth}, which leads to pod/{db}, is no port of cni0"),
    Fault("the tunnel device is down", ACROSS, ("n1: ip link set flannel.1 down",), ("n1: ip link set flannel.1 up",),
          "lost", N1, "10.244.1.*|0.0.0.0/0", FLANNEL),
    Fault("the receiving tunnel device is down", ACROSS, ("n2: ip link set flannel.1 down",),
          ("n2: ip link set flannel.1 up",), "lost", N2, "flannel.1|8472", FLANNEL),
    Fault("ports of the bridge are isolated from each other", SAME,
          ("n2: bridge link set dev {db_veth} isolated on; bridge link set dev {cart_veth} isolated on",),
          ("n2: bridge link set dev {db_veth} isolated off; bridge link set dev {cart_veth} isolated off",),
          "fails", f"{CART}|{N2}", "isolated|nobody answers for {db_ip}"),
    Fault("the bridge is down", ACROSS, ("n2: ip link set cni0 down",), ("n2: ip link set cni0 up",), "lost", N2,
          "it leaves by eth0", BRIDGE),
)  # fmt: skip

ROUTES = (
    Fault("no route to the other node's pods", ACROSS, ("n1: ip route del {pods2}",), (), "lost", N1,
          "0.0.0.0/0 via"),
    Fault("no route back", ACROSS, ("n2: ip route del {pods1}",), (), "lost", N2, "0.0.0.0/0 via"),
    Fault("a route to the other node's pods goes over a gateway that is not there", ACROSS,
          ("n1: ip route replace {pods2} via 172.30.0.99",), ("n1: ip route replace {pods2} via {node2}",),
          "unreachable", N1, "nobody answers for 172.30.0.99", BRIDGE),
    Fault("the routes of two nodes' pods are mixed up", ACROSS, ("n2: ip route replace {pods1} via 172.30.0.1",),
          ("n2: ip route replace {pods1} via {node1}",), "lost", N2, "leaves", BRIDGE),
    _route("a blackhole for the server's address", "n1", "blackhole {db_ip}", "lost", N1, "blackhole"),
    _route("an unreachable route for the server's address", "n1", "unreachable {db_ip}", "unreachable", N1,
           "unreachable {db_ip}"),
    _route("a prohibit route for the server's address", "n1", "prohibit {db_ip}", "unreachable", N1,
           "prohibit {db_ip}"),
    _route("a blackhole for the client's address on the way back", "n2", "blackhole {web1_ip}", "lost", N2,
           "blackhole"),
    _route("a host route overlaps the pods' range", "n2", "{db_ip} dev eth0", "unreachable", N2,
           "nobody answers for {db_ip}"),
    Fault("a bridge of another engine overlaps the pods' range", ACROSS,
          ("n1: ip link add docker0 type bridge; ip link set docker0 up; ip addr add 10.244.1.126/25 dev docker0",),
          ("n1: ip link del docker0",), "unreachable", N1, "docker0"),
    Fault("a policy rule to an empty table", ACROSS, ("n1: ip rule add pref 100 to {pods2} lookup 777",),
          ("n1: ip rule del pref 100",), "arrives"),
    Fault("a policy rule to a table that leads elsewhere", ACROSS,
          ("n1: ip route add default via 172.30.0.1 table 777; ip rule add pref 100 from {pods1} lookup 777",),
          ("n1: ip rule del pref 100; ip route flush table 777",), "lost", N1, "table 777"),
    Fault("a policy rule refuses the pods", ACROSS, ("n1: ip rule add pref 100 from {pods1} prohibit",),
          ("n1: ip rule del pref 100",), "unreachable", N1, "prohibit"),
    Fault("a mark and a policy rule for it lead astray", ACROSS,
          ("n1: ip rule add pref 100 fwmark 0x77 blackhole",
           "n1: iptables -w -t mangle -I PREROUTING -d {pods2} -j MARK --set-mark 0x77"),
          ("n1: ip rule del pref 100", "n1: iptables -w -t mangle -D PREROUTING -d {pods2} -j MARK --set-mark 0x77"),
          "lost", N1, "blackhole"),
    Fault("the client has no default route", ACROSS, ("web1: ip route flush table main via 10.244.0.1",), (), "unreachable", WEB1,
          "no route"),
    Fault("the server has no default route", ACROSS, ("db: ip route flush table main via 10.244.1.1",), (), "lost", DB, "no route"),
    Fault("the client's default route goes to nobody", ACROSS,
          ("web1: ip route flush table main via 10.244.0.1; ip route add default via 10.244.0.250 onlink dev eth0",),
          ("web1: ip route del default",), "unreachable", WEB1,
          "nobody answers for 10.244.0.250"),
    Fault("no IPv6 route to the other node's pods", ACROSS6, ("n1: ip -6 route del {pods2_6}",), (), "lost", N1,
          "::/0 via", DUAL),
    Fault("no IPv6 route, while IPv4 works", ACROSS, ("n1: ip -6 route del {pods2_6}",), (), "arrives", labs=DUAL),
    _route("IPv6 to the server is refused", "n1", "unreachable {db_ip6}", "unreachable", N1, "unreachable {db_ip6}",
           "dual", flow=ACROSS6),
)  # fmt: skip

NEIGHBOURS = (
    Fault("the tunnel's forwarding entry leads to nobody", ACROSS,
          ("n1: bridge fdb replace $(ip neigh show dev flannel.1 | awk '{{print $3}}') dev flannel.1 dst 172.30.0.99",),
          ("n1: bridge fdb replace $(ip neigh show dev flannel.1 | awk '{{print $3}}') dev flannel.1 dst {node2}",),
          "lost", N1, "nobody answers for 172.30.0.99", FLANNEL),
    Fault("the tunnel has no forwarding entry", ACROSS,
          ("n1: bridge fdb del $(ip neigh show dev flannel.1 | awk '{{print $3}}') dev flannel.1",),
          ("n1: bridge fdb replace $(ip neigh show dev flannel.1 | awk '{{print $3}}') dev flannel.1 dst {node2}",),
          "lost", N1, "fdb|forwarding entry|flannel.1", FLANNEL),
    Fault("the tunnel's neighbour entry has another address", ACROSS,
          ("n1: ip neigh show dev flannel.1 >/run/neigh; "
           "ip neigh replace $(awk '{{print $1}}' /run/neigh) lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",),
          ("n1: ip neigh replace $(awk '{{print $1}}' /run/neigh) lladdr $(awk '{{print $3}}' /run/neigh) "
           "dev flannel.1 nud permanent; rm /run/neigh",),
          "lost", N1, "02:00:00:00:00:99", FLANNEL),
    Fault("the tunnel has no neighbour entry", ACROSS,
          ("n1: ip neigh show dev flannel.1 >/run/neigh; ip neigh del $(awk '{{print $1}}' /run/neigh) dev flannel.1",),
          ("n1: ip neigh replace $(awk '{{print $1}}' /run/neigh) lladdr $(awk '{{print $3}}' /run/neigh) "
           "dev flannel.1 nud permanent; rm /run/neigh",),
          "unreachable", N1, "10.244.1.0", FLANNEL),
    Fault("the server's neighbour entry is stale", ACROSS,
          ("n2: ip neigh replace {db_ip} lladdr 02:00:00:00:00:99 dev cni0 nud permanent",),
          ("n2: ip neigh del {db_ip} dev cni0",), "lost", N2, "02:00:00:00:00:99"),
    Fault("the client has a wrong entry for its gateway", ACROSS,
          ("web1: ip neigh replace 10.244.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",),
          ("web1: ip neigh del 10.244.0.1 dev eth0",), "lost", WEB1 + "|" + N1, "02:00:00:00:00:99"),
    Fault("the address of the other end of the tunnel has changed", ACROSS,
          ("n2: cat /sys/class/net/flannel.1/address >/run/mac; ip link set flannel.1 address 02:00:00:00:00:98",),
          ("n2: ip link set flannel.1 address $(cat /run/mac); rm /run/mac",), "lost", N2, "not meant|flannel.1",
          FLANNEL),
    Fault("the server's address is also its node's", ACROSS, ("n2: ip addr add {db_ip}/32 dev cni0",),
          ("n2: ip addr del {db_ip}/32 dev cni0",), "refused", N2, "nothing listens on {db_ip}:5432"),
)  # fmt: skip

_TUNNEL = (
    "n2: pkill -STOP -x flanneld || :; ip -o -4 addr show dev flannel.1 | awk '{{{{print $4}}}}' >/run/vtep; cat /sys/class/net/flannel.1/address >/run/mac; "
    "ip neigh show dev flannel.1 | awk '{{{{print $1, $3}}}}' >/run/peer; "
    "ip link del flannel.1; ip link add flannel.1 address $(cat /run/mac) mtu 1450 type vxlan {how} local {{node2}} "
    "dev eth0 nolearning; ip addr add $(cat /run/vtep) dev flannel.1; ip link set flannel.1 up; read vtep mac </run/peer; "
    "ip route replace {{pods1}} via $vtep dev flannel.1 onlink; ip neigh replace $vtep lladdr $mac dev flannel.1 nud permanent; "
    "bridge fdb replace $mac dev flannel.1 dst {{node1}}"
)
_RIGHT = (_TUNNEL.format(how="id 1 dstport 8472"), "n2: pkill -CONT -x flanneld")
TUNNELS = (
    Fault("the tunnel has another identifier at the other end", ACROSS, (_TUNNEL.format(how="id 2 dstport 8472"),),
          _RIGHT, "lost", N2, "VNI|identifier|id 1", FLANNEL),
    Fault("the tunnel has another port at the other end", ACROSS, (_TUNNEL.format(how="id 1 dstport 4789"),), _RIGHT,
          "lost", N2, "8472", FLANNEL),
    _rule("a firewall blocks the tunnel's port", "n2", "iptables", "filter INPUT -p udp --dport 8472 -j DROP", "lost",
          N2, "8472", "flannel"),
    _rule("a firewall blocks the tunnel's port on the way back", "n1", "iptables",
          "filter INPUT -p udp --dport 8472 -j DROP", "lost", N1, "8472", "flannel"),
    _rule("a firewall lets no tunnel out", "n1", "iptables", "filter OUTPUT -p udp --dport 8472 -j DROP", "lost", N1,
          "8472", "flannel"),
)  # fmt: skip

MTU = (
    Fault("the tunnel's MTU is small, and the packet is big", BIG, ("n1: ip link set flannel.1 mtu 1000",),
          ("n1: ip link set flannel.1 mtu 1450",), "unreachable", N1, "1000", FLANNEL),
    Fault("the tunnel's MTU is small, and the packet may be fragmented", replace(BIG, fragment=True),
          ("n1: ip link set flannel.1 mtu 1000",), ("n1: ip link set flannel.1 mtu 1450",), "arrives", labs=FLANNEL),
    Fault("the tunnel's MTU is small, and errors are blocked", BIG,
          ("n1: ip link set flannel.1 mtu 1000",
           "n1: iptables -w -I OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP"),
          ("n1: ip link set flannel.1 mtu 1450",
           "n1: iptables -w -D OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP"),
          "lost", N1, "1000|fragmentation-needed|--icmp-type 3/4", FLANNEL),
    Fault("the nodes' network has a small MTU", BIG, ("n1: ip link set eth0 mtu 1280",),
          ("n1: ip link set eth0 mtu 1500",), "unreachable", N1, "1280", BRIDGE),
    Fault("the server's link has a small MTU on its node", replace(BIG, source="cart"),
          ("n2: ip link set {db_veth} mtu 1000; ip link set cni0 mtu 1450",), ("n2: ip link set {db_veth} mtu 1450",),
          "lost", N2, "1000", FLANNEL),
    Fault("a route with a small MTU", BIG, ("n1: ip route change {pods2} via {node2} mtu lock 1200",),
          ("n1: ip route change {pods2} via {node2}",), "unreachable", N1, "1200", BRIDGE),
)  # fmt: skip

SETTINGS = (
    _sysctl("the client's node does not forward", "n1", "net.ipv4.ip_forward", (1, 0), "lost", N1, "forwarding"),
    _sysctl("the server's node does not forward", "n2", "net.ipv4.ip_forward", (1, 0), "lost", N2, "forwarding"),
    _sysctl("one device does not forward", "n2", "net.ipv4.conf.eth0.forwarding", (1, 0), "lost", N2, "forwarding",
            "bridge"),
    _sysctl("the node does not forward IPv6", "n1", "net.ipv6.conf.all.forwarding", (1, 0), "lost", N1, "forwarding",
            "dual", flow=ACROSS6),
    Fault("strict source checks where the way back is another", ACROSS,
          ("n2: ip route add {web1_ip} dev cni0; sysctl -qw net.ipv4.conf.eth0.rp_filter=1",),
          ("n2: ip route del {web1_ip} dev cni0; sysctl -qw net.ipv4.conf.eth0.rp_filter=0",), "lost", N2, "rp_filter",
          BRIDGE),
    Fault("the way back is another, and no check stops it", ACROSS, ("n2: ip route add {web1_ip} dev cni0",),
          ("n2: ip route del {web1_ip} dev cni0",), "lost", N2, "nobody answers for {web1_ip}|cni0"),
    _sysctl("bridges do not call iptables", "n2", "net.bridge.bridge-nf-call-iptables", (1, 0), "mixed", CART,
            "connection|waits", flow=SERVICE),
    Fault("hairpin is off at a backend", replace(SERVICE, source="web2"),
          ("n2: bridge link set dev {web2_veth} hairpin off",), ("n2: bridge link set dev {web2_veth} hairpin on",),
          "mixed", N2, "hairpin"),
    _sysctl("localhost does not lead to node ports", "n1", "net.ipv4.conf.all.route_localnet", (1, 0), "lost", N1,
            "martian|127.0.0.1|route_localnet", "iptables",
            flow=Flow("n1", "127.0.0.1:30080", "127.0.0.1 30080")),
)  # fmt: skip

_WEB_PORT = "-p tcp --dport 5432"
FILTERS = (
    Fault("the policy of FORWARD is DROP", ACROSS, ("n1: iptables -w -P FORWARD DROP",),
          ("n1: iptables -w -P FORWARD ACCEPT",), "lost", N1, "policy of FORWARD", BRIDGE),
    Fault("the policy of FORWARD is DROP, but the CNI lets its pods through", ACROSS,
          ("n1: iptables -w -P FORWARD DROP",), ("n1: iptables -w -P FORWARD ACCEPT",), "arrives", labs=FLANNEL),
    _rule("a stray DROP in raw", "n1", "iptables", f"raw PREROUTING -d {{db_ip}} {_WEB_PORT} -j DROP", "lost", N1,
          "PREROUTING.*DROP"),
    _rule("a stray DROP in mangle", "n2", "iptables", f"mangle FORWARD {_WEB_PORT} -j DROP", "lost", N2,
          "FORWARD.*DROP"),
    _rule("a stray DROP in filter", "n2", "iptables", f"filter FORWARD {_WEB_PORT} -j DROP", "lost", N2,
          "FORWARD.*DROP"),
    _rule("a stray DROP of iptables-legacy beside iptables-nft", "n2", "iptables-legacy",
          f"filter FORWARD {_WEB_PORT} -j DROP", "lost", N2, "iptables-legacy.*FORWARD"),
    _rule("a stray REJECT", "n2", "iptables", f"filter FORWARD {_WEB_PORT} -j REJECT --reject-with icmp-admin-prohibited",
          "unreachable", N2, "REJECT"),
    _rule("a stray REJECT with a reset", "n2", "iptables", f"filter FORWARD {_WEB_PORT} -j REJECT --reject-with tcp-reset",
          "refused", N2, "REJECT"),
    _rule("the answers are dropped", "n2", "iptables", "raw PREROUTING -s {db_ip} -p tcp --sport 5432 -j DROP", "lost",
          N2, "--sport 5432"),
    _rule("the answers are dropped at the client's node", "n1", "iptables",
          "mangle POSTROUTING -p tcp --sport 5432 -j DROP", "lost", N1, "--sport 5432"),
    _rule("a firewall in the server's pod", "db", "iptables", f"filter INPUT {_WEB_PORT} -j DROP", "lost", DB, "INPUT"),
    _rule("a firewall in the client's pod", "web1", "iptables", "filter OUTPUT -d {db_ip} -j DROP", "lost", WEB1,
          "OUTPUT"),
    _rule("pings are dropped, and connections are not", "n2", "iptables", "filter FORWARD -p icmp -j DROP", "arrives",
          "", ""),
    _rule("pings are dropped", "n2", "iptables", "filter FORWARD -p icmp -j DROP", "lost", N2, "icmp", flow=ECHO),
    _rule("a TTL that does not last", "n1", "iptables", "mangle PREROUTING -d {db_ip} -j TTL --ttl-set 1", "unreachable",
          N1, "time to live"),
    _nft("a stray drop of nftables, very early", "n1", "prerouting priority -400", "ip daddr {db_ip} drop", "lost", N1,
         "stray"),
    _nft("a stray reject of nftables, very late", "n2", "postrouting priority 300", "ip daddr {db_ip} counter drop",
         "lost", N2, "stray"),
    _nft("a base chain with the policy drop", "n2", "forward priority 10; policy drop", "ip saddr 192.0.2.0/24 accept",
         "lost", N2, "stray.*policy|policy.*stray"),
    _nft("a drop at the door of a device", "n2", "ingress device {db_veth} priority 0",
         "ip protocol tcp ip saddr {db_ip} drop", "lost", N2, "stray", family="netdev"),
    _nft("a filter of the bridge family", "n2", "forward priority 0", "ip daddr {db_ip} tcp dport 5432 drop", "lost", N2,
         "stray", flow=SAME, family="bridge"),
    Fault("an IP set still has the server's address", ACROSS,
          ("n2: ipset create quarantine hash:ip; ipset add quarantine {db_ip}; "
           "iptables -w -I FORWARD -m set --match-set quarantine dst -j DROP",),
          ("n2: iptables -w -D FORWARD -m set --match-set quarantine dst -j DROP; sleep 0.2; ipset destroy quarantine",),
          "lost", N2, "quarantine"),
    Fault("an IP set of what may pass lacks the client's address", ACROSS,
          ("n2: ipset create known hash:net; ipset add known 10.244.0.128/25; "
           "iptables -w -I FORWARD -d {db_ip} -m set ! --match-set known src -j DROP",),
          ("n2: iptables -w -D FORWARD -d {db_ip} -m set ! --match-set known src -j DROP; sleep 0.2; "
           "ipset destroy known",), "lost", N2, "known"),
    _nft("IPv6 alone is dropped", "n2", "forward priority 0", "ip6 daddr {db_ip6} drop", "lost", N2, "stray", "dual",
         flow=ACROSS6),
    _rule("a limit has been used up", "n2", "iptables", f"filter FORWARD {_WEB_PORT} -m limit --limit 1/hour "
          "--limit-burst 1 -j RETURN", "arrives", "", ""),
)  # fmt: skip

TRANSLATIONS = (
    _rule("a stray DNAT", "n1", "iptables", f"nat PREROUTING -d {{db_ip}} {_WEB_PORT} -j DNAT --to-destination {{db_ip}}:9",
          "refused", DB, "nothing listens on {db_ip}:9"),
    _rule("a redirect to a proxy that is gone, in the client's pod", "web1", "iptables",
          "nat OUTPUT -p tcp -j REDIRECT --to-ports 15001", "refused", WEB1, "15001"),
    _rule("a redirect to a proxy that is gone, in the server's pod", "db", "iptables",
          "nat PREROUTING -p tcp -j REDIRECT --to-ports 15006", "refused", DB, "15006"),
    _rule("all is masqueraded", "n2", "iptables", "nat POSTROUTING -d {db_ip} -j MASQUERADE", "arrives", "", ""),
    _rule("traffic to the Service is not tracked, so not translated", "n2", "iptables",
          "raw PREROUTING -d {svc_web} -j CT --notrack", "lost", N2, "{svc_web}|0.0.0.0/0", flow=SERVICE),
    _rule("the source is translated to an address that nobody has", "n1", "iptables",
          "nat POSTROUTING -d {db_ip} -j SNAT --to-source 172.30.0.77", "lost", N2, "nobody answers for 172.30.0.77"),
    _rule("the source is translated to a free address of its node", "n1", "iptables",
          "nat POSTROUTING -d {db_ip} -j SNAT --to-source 10.244.0.200", "arrives", "", ""),
    Fault("a stale connection leads to a pod that is gone", replace(DNS, source_port=5353),
          ("n2: conntrack -I -s {cart_ip} -d {svc_kube_dns} -p udp --sport 5353 --dport 53 "
           "-r 10.244.0.222 -q {cart_ip} --reply-port-src 53 --reply-port-dst 5353 -t 300 -u SEEN_REPLY",),
          ("n2: conntrack -D -s {cart_ip} -d {svc_kube_dns} -p udp --sport 5353 --dport 53 || :",), "unreachable", N1,
          "nobody answers for 10.244.0.222"),
)  # fmt: skip

_PROBE = (
    "api: kubectl -n shop create service clusterip probe --tcp={port} --dry-run=client -o json | "
    "jq '.spec.selector={{{{app:\"{app}\"}}}} | .spec += {more}' | kubectl apply -f -; sleep 4"
)
_GONE = ("api: kubectl -n shop delete service probe --wait",)
_PROXY = "pkill -{signal} -x kube-proxy"


def _probe(port: str, app: str = "db", more: str = "{{}}") -> str:
    return _PROBE.format(port=port, app=app, more=more)


PROBE = Flow("web1", "svc/shop/probe:80", "{svc_probe} 80")
SERVICES = (
    Fault("a Service that selects nobody", Flow("web1", "svc/shop/nobody:80", "{svc_nobody} 80"), (), (), "refused", N1,
          "nobody|no endpoints"),
    Fault("a wrong targetPort", PROBE, (_probe("80:8099"),), _GONE, "refused", DB, "nothing listens on {db_ip}:8099|8099"),
    Fault("a port that the Service does not have", Flow("web1", "svc/shop/web:8000", "{svc_web} 8000"), (), (), "lost",
          N1, "has no port 8000", IPTABLES),
    Fault("a port that the Service does not have", Flow("web1", "svc/shop/web:8000", "{svc_web} 8000"), (), (),
          "refused", N1, "has no port 8000", NFTABLES),
    Fault("traffic stays on a node that has no backend", PROBE, (_probe("80:5432", more="{{internalTrafficPolicy:\"Local\"}}"),),
          _GONE, "lost", N1, "probe"),
    Fault("a node port asks for backends of its own node, which has none",
          Flow("n2", "node/{n1}:30999", "{node1} 30999"),
          (_probe("80:5432", more="{{type:\"NodePort\",externalTrafficPolicy:\"Local\",ports:[{{port:80,targetPort:5432,nodePort:30999}}]}}"),),
          _GONE, "lost", N1, "probe"),
    Fault("kube-proxy stands still, and a Service is new", PROBE, (f"n1: {_PROXY.format(signal='STOP')}", _probe("80:5432")),
          (f"n1: {_PROXY.format(signal='CONT')}", *_GONE), "lost", N1, "{svc_probe}|0.0.0.0/0"),
    Fault("kube-proxy stands still, and the backend has moved", PROBE,
          (_probe("80:5432", app="cart"), f"n1: {_PROXY.format(signal='STOP')}",
           "api: kubectl -n shop patch service probe -p '{{\"spec\":{{\"selector\":{{\"app\":\"db\"}}}}'; sleep 2"),
          (f"n1: {_PROXY.format(signal='CONT')}", *_GONE), "refused", CART, "nothing listens on {cart_ip}:5432"),
    Fault("the rules of one backend are gone", replace(SERVICE, source="web1"),
          ("n1: iptables -w -t nat -S | grep -- '-j DNAT' | grep {db_ip}:80 || iptables-save -t nat >/run/nat; "
           "for c in $(iptables -w -t nat -S | awk '/shop.web:http/ && /DNAT/ {{print $2}}'); do iptables -w -t nat -F $c; done",),
          ("n1: iptables-restore -w </run/nat; rm /run/nat",), "lost", N1, "{svc_web}|0.0.0.0/0", IPTABLES),
    Fault("the node port is behind a firewall", NODE_PORT, ("n2: iptables -w -t mangle -I PREROUTING -p tcp --dport 30080 -j DROP",),
          ("n2: iptables -w -t mangle -D PREROUTING -p tcp --dport 30080 -j DROP",), "lost", N2, "30080"),
    Fault("a firewall on INPUT does not hide a node port", NODE_PORT, ("n2: iptables -w -I INPUT -p tcp --dport 30080 -j DROP",),
          ("n2: iptables -w -D INPUT -p tcp --dport 30080 -j DROP",), "arrives", labs=NFTABLES),
    Fault("the name servers are gone", DNS,
          ("api: kubectl -n kube-system scale deployment/coredns --replicas=0; "
           "kubectl -n kube-system wait --for=delete pod -l k8s-app=kube-dns --timeout=60s; sleep 2",),
          ("api: kubectl -n kube-system scale deployment/coredns --replicas=2; "
           "kubectl -n kube-system rollout status deployment/coredns --timeout=90s; sleep 2",),
          "refused", N2, "kube-dns|no endpoints"),
    _rule("a firewall drops questions to the name servers", "n2", "iptables", "raw PREROUTING -p udp --dport 53 -j DROP",
          "lost", N2, "--dport 53", flow=DNS),
)  # fmt: skip

SERVERS = (
    Fault("nothing listens", Flow("web1", "pod/{db}:5433", "{db_ip} 5433"), (), (), "refused", DB,
          "nothing listens on {db_ip}:5433"),
    Fault("the server listens on 127.0.0.1 alone", Flow("web1", "pod/{db}:7000", "{db_ip} 7000"),
          ("db&: socat TCP-LISTEN:7000,bind=127.0.0.1,fork,reuseaddr PIPE",), (), "refused", DB,
          "nothing listens on {db_ip}:7000|127.0.0.1"),
    Fault("the server listens on another protocol", replace(ACROSS, protocol="UDP"), (), (), "refused", DB,
          "nothing listens on {db_ip}:5432"),
    Fault("a host port leads to no server", Flow("n1", "node/{n2}:514", "{node2} 514", "UDP"), (), (), "refused",
          "pod/{syslog}", "nothing listens on {syslog_ip}:5514"),
    Fault("a host port's rules are gone", Flow("n1", "node/{n2}:514", "{node2} 514", "UDP"),
          ("syslog&: {echo} 5514",
           "n2: iptables-save -t nat >/run/nat; iptables -w -t nat -F CNI-HOSTPORT-DNAT"),
          ("n2: iptables-restore -w </run/nat; rm /run/nat",), "refused", N2, "nothing listens on {node2}:514"),
    Fault("a host port with its server", Flow("n1", "node/{n2}:514", "{node2} 514", "UDP"),
          ("syslog&: {echo} 5514",), (), "arrives"),
)  # fmt: skip

FAULTS = (*LINKS, *ROUTES, *NEIGHBOURS, *TUNNELS, *MTU, *SETTINGS, *FILTERS, *TRANSLATIONS, *SERVICES, *SERVERS)
