# The part of the collector that is run in each network namespace. Read by the shell that enters it, so that entering
# costs once for all tools. $NONCE marks our own lines; fd 3 is where tools print to. Writes nothing, changes nothing.

# One tool: its name for the parser, then the command. What it prints goes straight out; what it complains of is kept.
# busybox' timeout leaves a watcher for a second, by which no descriptor of ours that is waited for may be held.
section() {
  name=$1
  shift
  if command -v "$1" >/dev/null 2>&1; then
    printf '@%s section %s %s\n' "$NONCE" "$ns" "$name"
    said=$($patience "$@" </dev/null 2>&1 >&3 3>&-)
    status=$?
    printf '\n@%s end %s\n%.2000s\n@%s done\n' "$NONCE" "$status" "$said" "$NONCE"
  else
    status=127
    printf '@%s absent %s %s %s\n' "$NONCE" "$ns" "$name" "$1"
  fi
}

# The same for what may be very long: no more than a number of bytes, in which case head leaves the tool alone.
bounded() {
  name=$1
  most=$2
  shift 2
  if command -v "$1" >/dev/null 2>&1; then
    printf '@%s section %s %s %s\n' "$NONCE" "$ns" "$name" "$most"
    said=$({ { $patience "$@" </dev/null 3>&- 4>&-; echo "exit $?" >&2; } 2>&4 | head -c "$most" >&3; } 4>&1)
    printf '\n@%s end -\n%.2000s\n@%s done\n' "$NONCE" "$said" "$NONCE"
  else
    printf '@%s absent %s %s %s\n' "$NONCE" "$ns" "$name" "$1"
  fi
}

# What a shell can say by itself.
shell() {
  name=$1
  section "$name" sh -c "$2"
}

# Everything that the namespace holds in which this shell is; $ns says whose it is.
namespace() {
  # A link may be called *, which is no pattern.
  set -f
  section links ip $json $details $counters addr show
  section routes4 ip -4 $details route show table all
  section routes6 ip -6 $details route show table all
  section rules4 ip -4 $details rule show
  section rules6 ip -6 $details rule show
  section nexthops ip $details nexthop show
  section neighbours ip $json neigh show nud all
  section proxied ip $json neigh show proxy
  section fdb bridge $json fdb show
  for family in '' 6; do
    section "ip${family}tables-nft" "ip${family}tables-nft-save" -c
    section "ip${family}tables-legacy" "ip${family}tables-legacy-save" -c
    # Where there is only the plain name, its own version says which of the two it is.
    command -v "ip${family}tables-nft-save" >/dev/null 2>&1 || section "ip${family}tables" "ip${family}tables-save" -c
  done
  section nftables nft -j list ruleset
  # Which devices chains are at, older versions leave out of their JSON.
  [ "$status" != 0 ] || section nft-devices nft 'list chains netdev; list chains inet'
  section ipset ipset save
  # To find the processes of sockets ss looks through all that the machine has, which is done once.
  owners=
  [ "$ns" != host ] || owners=-p
  section sockets ss -H -l -n -e $owners -t -u -w
  section qdiscs tc $json qdisc show
  for dev in $(tc qdisc show 2>/dev/null </dev/null | sed -n 's/^qdisc \(clsact\|ingress\) [^ ]* dev \([^ ]*\).*/\2/p'); do
    section "filters:$dev:ingress" tc $json filter show dev "$dev" ingress
    section "filters:$dev:egress" tc $json filter show dev "$dev" egress
  done
  section wireguard-endpoints wg show all endpoints
  section wireguard-allowed-ips wg show all allowed-ips
  section wireguard-latest-handshakes wg show all latest-handshakes
  section wireguard-listen-port wg show all listen-port
  section wireguard-public-key wg show all public-key
  section wireguard-fwmark wg show all fwmark
  section xfrm-policy ip -d xfrm policy list
  section xfrm-state ip xfrm state list nokeys
  bounded conntrack "$BOUND" conntrack -L -o extended -f ipv4
  bounded conntrack6 "$BOUND" conntrack -L -o extended -f ipv6
  shell sysctl '
    cd /proc/sys/net || exit
    grep -s "" /dev/null \
      ipv4/ip_forward ipv4/ip_nonlocal_bind ipv4/ip_local_port_range ipv4/ip_default_ttl ipv4/ip_no_pmtu_disc \
      ipv4/ip_forward_use_pmtu ipv4/fib_multipath_hash_policy ipv4/fib_multipath_use_neigh ipv4/icmp_echo_ignore_all \
      ipv4/tcp_mtu_probing ipv4/tcp_reflect_tos ipv4/tcp_l3mdev_accept ipv4/udp_l3mdev_accept ipv4/fwmark_reflect \
      ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/proxy_arp ipv4/conf/*/proxy_arp_pvlan \
      ipv4/conf/*/accept_local ipv4/conf/*/route_localnet ipv4/conf/*/arp_ignore ipv4/conf/*/arp_announce \
      ipv4/conf/*/arp_filter ipv4/conf/*/src_valid_mark ipv4/conf/*/send_redirects ipv4/conf/*/accept_source_route \
      ipv4/conf/*/ignore_routes_with_linkdown ipv4/neigh/default/gc_thresh* ipv4/vs/* \
      ipv6/bindv6only ipv6/flowlabel_reflect ipv6/fib_multipath_hash_policy ipv6/fwmark_reflect ipv6/ip_nonlocal_bind \
      ipv6/icmp/echo_ignore_all ipv6/icmp/echo_ignore_anycast ipv6/anycast_src_echo_reply \
      ipv6/conf/*/forwarding ipv6/conf/*/accept_ra ipv6/conf/*/disable_ipv6 ipv6/conf/*/proxy_ndp ipv6/conf/*/hop_limit \
      ipv6/neigh/default/gc_thresh* bridge/* \
      netfilter/nf_conntrack_max netfilter/nf_conntrack_count netfilter/nf_conntrack_buckets \
      netfilter/nf_conntrack_tcp_be_liberal netfilter/nf_conntrack_tcp_loose netfilter/nf_conntrack_acct \
      netfilter/nf_conntrack_checksum netfilter/nf_conntrack_helper |
      sed "s|^|/proc/sys/net/|"
    exit 0'
  if ! command -v ip >/dev/null 2>&1; then
    # What the kernel itself tells those who have no tools.
    shell proc-dev 'cat /proc/net/dev'
    shell proc-route 'cat /proc/net/route'
    shell proc-fib-trie 'cat /proc/net/fib_trie'
    shell proc-ipv6-route 'cat /proc/net/ipv6_route'
    shell proc-if-inet6 'cat /proc/net/if_inet6'
    shell proc-arp 'cat /proc/net/arp'
    # Its /sys is that of the namespace in which it was mounted, so only there it tells the truth.
    [ -n "$elsewhere" ] || shell proc-links 'for l in /sys/class/net/*; do echo "${l##*/} $(cat $l/ifindex $l/iflink $l/mtu $l/address $l/operstate 2>/dev/null | tr "\n" " ")"; done'
  fi
  if ! command -v ss >/dev/null 2>&1; then
    shell proc-tcp 'cat /proc/net/tcp'
    shell proc-tcp6 'cat /proc/net/tcp6'
    shell proc-udp 'cat /proc/net/udp'
    shell proc-udp6 'cat /proc/net/udp6'
  fi
  shell ipvs '[ ! -e /proc/net/ip_vs ] || cat /proc/net/ip_vs'
  set +f
}
