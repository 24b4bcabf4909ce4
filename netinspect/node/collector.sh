# Prints what the tools of a node say of its network namespaces, in sections that a parser can tell apart.
#
# Fed to sh on its standard input, after lines that set:
#   NONCE     what marks our own lines; nothing that is printed can know it
#   SCOPE     node: the host and every pod's namespace; self: only the namespace that we are in
#   PLACE     host: we are on the node itself; container: in a container, which may or may not see the host's processes
#   WANTED    pod UIDs (both spellings of cgroup names) whose namespaces are read; empty for all, - for none
#   DEADLINE  seconds after which everything stops
#   BOUND     bytes of the connection table that are read
#
# POSIX sh (dash, busybox, bash). Writes nothing, changes nothing; needs no file of its own. Never prints a secret: of
# command lines and configuration only what is named here, of WireGuard and IPsec no keys.

# One tool: its name for the parser, then the command. What it prints goes straight out; what it complains of is kept.
section() {
  name=$1
  shift
  if command -v "$1" >/dev/null 2>&1; then
    printf '@%s section %s %s\n' "$NONCE" "$ns" "$name"
    said=$($patience $enter "$@" </dev/null 2>&1 >&3)
    printf '\n@%s end %s\n%.2000s\n@%s done\n' "$NONCE" "$?" "$said" "$NONCE"
  else
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
    said=$({ { $patience $enter "$@" </dev/null; echo "exit $?" >&2; } 2>&4 | head -c "$most" >&3; } 4>&1)
    printf '\n@%s end -\n%.2000s\n@%s done\n' "$NONCE" "$said" "$NONCE"
  else
    printf '@%s absent %s %s %s\n' "$NONCE" "$ns" "$name" "$1"
  fi
}

# What a shell can say by itself, in the namespace that we look at.
shell() {
  name=$1
  section "$name" sh -c "$2"
}

# Everything that a namespace holds; $ns says whose and $enter is the way in.
namespace() {
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
  section ipset ipset save
  section sockets ss -H -l -n -e -p -t -u -w
  section qdiscs tc $json qdisc show
  for dev in $($enter tc qdisc show 2>/dev/null </dev/null | sed -n 's/^qdisc \(clsact\|ingress\) [^ ]* dev \([^ ]*\).*/\2/p'); do
    section "filters:$dev:ingress" tc $json filter show dev "$dev" ingress
    section "filters:$dev:egress" tc $json filter show dev "$dev" egress
  done
  section wireguard-endpoints wg show all endpoints
  section wireguard-allowed-ips wg show all allowed-ips
  section wireguard-latest-handshakes wg show all latest-handshakes
  section wireguard-listen-port wg show all listen-port
  section xfrm-policy ip -d xfrm policy list
  section xfrm-state ip xfrm state list nokeys
  bounded conntrack "$BOUND" conntrack -L -o extended
  shell sysctl '
    cd /proc/sys/net || exit
    grep -s "" /dev/null \
      ipv4/ip_forward ipv4/ip_nonlocal_bind ipv4/ip_local_port_range ipv4/ip_default_ttl ipv4/ip_no_pmtu_disc \
      ipv4/ip_forward_use_pmtu ipv4/fib_multipath_hash_policy ipv4/fib_multipath_use_neigh ipv4/icmp_echo_ignore_all \
      ipv4/tcp_mtu_probing ipv4/tcp_l3mdev_accept ipv4/udp_l3mdev_accept ipv4/fwmark_reflect \
      ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/proxy_arp ipv4/conf/*/proxy_arp_pvlan \
      ipv4/conf/*/accept_local ipv4/conf/*/route_localnet ipv4/conf/*/arp_ignore ipv4/conf/*/arp_announce \
      ipv4/conf/*/arp_filter ipv4/conf/*/src_valid_mark ipv4/conf/*/send_redirects ipv4/conf/*/accept_source_route \
      ipv4/conf/*/ignore_routes_with_linkdown ipv4/neigh/default/gc_thresh* ipv4/vs/* \
      ipv6/bindv6only ipv6/flowlabel_reflect ipv6/fib_multipath_hash_policy ipv6/fwmark_reflect ipv6/ip_nonlocal_bind \
      ipv6/conf/*/forwarding ipv6/conf/*/accept_ra ipv6/conf/*/disable_ipv6 ipv6/conf/*/proxy_ndp \
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
    [ -n "$enter" ] || shell proc-links 'for l in /sys/class/net/*; do echo "${l##*/} $(cat $l/ifindex $l/iflink $l/mtu $l/address $l/operstate 2>/dev/null | tr "\n" " ")"; done'
  fi
  if ! command -v ss >/dev/null 2>&1; then
    shell proc-tcp 'cat /proc/net/tcp'
    shell proc-tcp6 'cat /proc/net/tcp6'
    shell proc-udp 'cat /proc/net/udp'
    shell proc-udp6 'cat /proc/net/udp6'
  fi
  shell ipvs '[ ! -e /proc/net/ip_vs ] || cat /proc/net/ip_vs'
}

# What is known of the machine: versions, modules, CNI files, the flags that decide networking.
machine() {
  section kernel uname -srm
  section hostname uname -n
  section ip-version ip -V
  section iptables-version iptables --version
  section nft-version nft --version
  if [ "$root" != none ]; then
    section modules cut -d ' ' -f 1 /proc/modules
    section os-release grep -E '^(ID|VERSION_ID|PRETTY_NAME)=' "$root/etc/os-release"
    section resolv.conf grep -E '^(nameserver|search|domain|options) ' "$root/etc/resolv.conf"
    section pod-folders ls "$root/var/log/pods"
    for folder in /etc/cni/net.d /var/lib/rancher/k3s/agent/etc/cni/net.d; do
      for file in "$root$folder"/*; do
        case $file in
        *.conf | *.conflist | *.json)
          # Credentials are not for us, whatever the plugin calls them.
          section "cni:${file#"$root"}" sed -E \
            's/("[^"]*([Tt]oken|[Pp]assword|[Ss]ecret|[Kk]ey|[Cc]redential)[^"]*"[[:space:]]*:[[:space:]]*)"[^"]*"/\1"(left out)"/g' "$file"
          ;;
        esac
      done
    done
    section flannel cat "$root/run/flannel/subnet.env"
    for pid in $(grep -l -x -E 'kubelet|kube-proxy|k3s-server|k3s-agent|rke2' /proc/[0-9]*/comm 2>/dev/null | tr -dc '0-9\n'); do
      section "flags:$pid" sh -c 'cat /proc/$0/comm; tr "\0" "\n" </proc/$0/cmdline | grep -E "^--(node-ip|hostname-override|cluster-cidr|cluster-dns|cluster-domain|service-cluster-ip-range|service-cidr|pod-cidr|proxy-mode|masquerade-all|nodeport-addresses|iptables-[a-z-]*|ipvs-[a-z-]*|conntrack-[a-z-]*|detect-local-mode|pod-bridge-interface|pod-interface-name-prefix|bind-address|healthz-bind-address|metrics-bind-address|hairpin-mode|network-plugin|cni-[a-z-]*|non-masquerade-cidr|resolv-conf|max-pods|container-runtime-endpoint|make-iptables-util-chains|feature-gates|flannel-[a-z-]*|disable-[a-z-]*|disable|v)(=|\$)"; exit 0' "$pid"
    done
  fi
  section bpf-net bpftool -j net
  section bpf-cgroup bpftool -j cgroup tree
  for dev in $(ip -o link show 2>/dev/null </dev/null | sed -n '/link\/ether/s/^[0-9]*: \([^:@]*\):.*/\1/p'); do
    section "offloads:$dev" ethtool -k "$dev"
  done
}

# The namespaces of pods: by the processes in them, and by the names that runtimes give them.
pods() {
  places=$(ls -l /proc/[0-9]*/ns/net 2>/dev/null </dev/null)
  groups=$(grep -m 1 -H -E 'kubepods|/[0-9a-f]{64}|-[0-9a-f]{64}' /proc/[0-9]*/cgroup 2>/dev/null </dev/null)
  ns=host
  printf '@%s section host places\n%s\n\n@%s end 0\n\n@%s done\n' "$NONCE" "$places" "$NONCE" "$NONCE"
  printf '@%s section host groups\n%s\n\n@%s end 0\n\n@%s done\n' "$NONCE" "$groups" "$NONCE" "$NONCE"
  [ "$WANTED" != - ] || return 0
  # The words to come hold brackets, and are no patterns.
  set -f
  chosen=
  if [ -n "$WANTED" ]; then
    for word in $groups; do
      for uid in $WANTED; do
        case $word in
        *"$uid"*)
          word=${word#/proc/}
          chosen="$chosen ${word%%/*} "
          ;;
        esac
      done
    done
  fi
  seen=" $1 "
  found=
  # What a namespace can be entered by: the name that its runtime gave it, which stays, or any process in it, which may
  # end meanwhile. The sandbox's process has no files; those of the last are an application's.
  for folder in "$root/run/netns" "$root/run/docker/netns"; do
    [ "$root" != none ] && [ -d "$folder" ] || continue
    inode=
    for word in $(ls -L -i "$folder" 2>/dev/null </dev/null); do
      case $inode in
      '' | *[!0-9]*) inode=$word ;;
      *)
        printf '@%s name %s %s\n' "$NONCE" "$inode" "$word"
        eval "name_$inode=\$folder/\$word"
        # One that only has a name belongs to a pod without processes, or is a leftover.
        case $seen$WANTED in
        *" $inode "*) ;;
        "$seen")
          seen="$seen$inode "
          found="$found $inode"
          ;;
        esac
        inode=
        ;;
      esac
    done
  done
  pid=
  for word in $places; do
    case $word in
    /proc/*)
      pid=${word#/proc/}
      pid=${pid%%/*}
      ;;
    net:*)
      inode=${word#net:\[}
      inode=${inode%\]}
      case $inode in '' | *[!0-9]*) continue ;; esac
      eval "pids_$inode=\"\$pids_$inode $pid\""
      case $seen in *" $inode "*) continue ;; esac
      if [ -n "$WANTED" ]; then
        case $chosen in *" $pid "*) ;; *) continue ;; esac
      fi
      seen="$seen$inode "
      found="$found $inode"
      ;;
    esac
  done
  # One time-out for each of many tools in many namespaces costs more than they do: here the deadline alone counts.
  patience=
  for ns in $found; do
    eval "path=\$name_$ns; pids=\$pids_$ns"
    last=
    for pid in $pids; do
      [ -e "/proc/$pid/ns/net" ] || continue
      last=$pid
      [ -n "$path" ] || path=/proc/$pid/ns/net
    done
    [ -n "$path" ] || continue
    enter="nsenter --net=$path"
    namespace
    # The pod's own view of DNS. The file is the pod's to choose, and may lead anywhere: only the beginning of a plain
    # file is read, and only the lines that resolv.conf(5) knows.
    enter=
    [ -f "/proc/$last/root/etc/resolv.conf" ] && section resolv.conf sh -c \
      'head -c 4096 "/proc/$0/root/etc/resolv.conf" | grep -E "^(nameserver|search|domain|options) "' "$last"
  done
}

main() {
  exec 3>&1
  PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  LC_ALL=C
  export PATH LC_ALL
  printf '@%s begin 1\n' "$NONCE"
  # Stops everything that we started, should a tool hang; its own sleep goes with it.
  (
    sleep "$DEADLINE" &
    nap=$!
    trap 'kill "$nap"; exit' TERM
    wait "$nap" && kill -KILL 0
  ) </dev/null >/dev/null 2>&1 3>&- &
  watch=$!
  enter=
  patience=
  # A quarter of the time for one tool. busybox's timeout of old wants -t, coreutils' and later ones do not.
  if timeout 5 true 2>/dev/null </dev/null; then patience="timeout $((DEADLINE / 4 + 1))"; fi
  json=
  if ip -j addr show lo >/dev/null 2>&1 </dev/null; then json=-j; fi
  # busybox's ip knows neither.
  details= counters=
  if ip -d -s addr show lo >/dev/null 2>&1 </dev/null; then details=-d counters=-s; fi
  if [ "$SCOPE" = self ]; then
    ns=self
    namespace
    section resolv.conf grep -E '^(nameserver|search|domain|options) ' /etc/resolv.conf
    section ip-version ip -V
    section iptables-version iptables --version
  else
    ns=host
    own=$(readlink /proc/self/ns/net)
    first=$(readlink /proc/1/ns/net 2>/dev/null)
    root=none
    if [ "$PLACE" = host ]; then
      root=
    elif [ "$(readlink /proc/1/ns/mnt 2>/dev/null)" != "$(readlink /proc/self/ns/mnt)" ] && [ -d /proc/1/root/proc ]; then
      root=/proc/1/root
    fi
    if [ "$root" != none ] && [ -n "$first" ] && [ "$first" != "$own" ]; then
      enter='nsenter --net=/proc/1/ns/net'
      own=$first
    fi
    namespace
    enter=
    machine
    own=${own#net:\[}
    printf '@%s host %s %s\n' "$NONCE" "${own%\]}" "$([ "$root" = none ] && echo blind || echo seeing)"
    if [ "$root" != none ]; then pods "${own%\]}"; fi
  fi
  printf '@%s finish\n' "$NONCE"
  kill "$watch" 2>/dev/null
}

main
exit 0
