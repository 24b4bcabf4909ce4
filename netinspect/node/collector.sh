# Prints what the tools of a node say of its network namespaces, in sections that a parser can tell apart.
#
# Fed to sh on its standard input, after lines that set:
#   NONCE     what marks our own lines; nothing that is printed can know it
#   SCOPE     node: the host and every pod's namespace; self: only the namespace that we are in
#   PLACE     host: we are on the node itself; container: in a container, which may or may not see the host's processes
#   WANTED    pod UIDs (both spellings of cgroup names) whose namespaces are read; empty for all, - for none
#   DEADLINE  seconds after which everything stops
#   BOUND     bytes of the connection table that are read, and 16 times as many of a bridge's flows
#   LIBRARY   what is run in each namespace: namespace.sh
#
# POSIX sh (dash, busybox, bash). Writes nothing, changes nothing; needs no file of its own. Never prints a secret: of
# command lines and configuration only what is named here, of WireGuard and IPsec no keys.

# The same in another namespace, by the path of its file under /proc or /run/netns.
entered() {
  # Where there is no way in, its links are missing, which says so.
  elsewhere=yes nsenter --net="$1" sh -c "$LIBRARY
namespace" </dev/null || printf '@%s absent %s links nsenter\n' "$NONCE" "$ns"
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
          # Credentials are not for us, whatever the plugin calls them: where one is not a plain text, nothing is shown.
          section "cni:${file#"$root"}" sh -c '
            secret="[^\"]*([Tt][Oo][Kk][Ee][Nn]|[Pp][Aa][Ss][Ss]|[Ss][Ee][Cc][Rr][Ee][Tt]|[Kk][Ee][Yy]|[Cc][Rr][Ee][Dd]|[Aa][Uu][Tt][Hh]|[Cc][Ee][Rr][Tt]|[Pp][Rr][Ii][Vv])[^\"]*"
            text=$(tr "\n\r\t" "   " <"$0" | sed -E "s/(\"$secret\" *: *)\"([^\"\\\\]|\\\\.)*\"/\\1\"(left out)\"/g")
            if printf "%s" "$text" | sed "s/: *\"(left out)\"//g" | grep -q -E "\"$secret\" *:"; then
              text="{\"left out\": \"it holds what may be a credential\"}"
            fi
            printf "%s\n" "$text"' "$file"
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
  cilium
  openvswitch
  for dev in $(ip -o link show 2>/dev/null </dev/null | sed -n '/link\/ether/s/^[0-9]*: \([^:@]*\):.*/\1/p'); do
    section "offloads:$dev" ethtool -k "$dev"
  done
}

# What Cilium's maps hold, as its agent tells it: by its own tool, in its container, which may be the one that we are in.
cilium() {
  ip link show cilium_host >/dev/null 2>&1 </dev/null || return 0
  enter=
  tool=cilium-dbg
  if ! command -v "$tool" >/dev/null 2>&1; then
    agent=$(grep -l -x cilium-agent /proc/[0-9]*/comm 2>/dev/null </dev/null | head -n 1 | tr -dc 0-9)
    [ -n "$agent" ] || return 0
    enter="nsenter --target=$agent --mount --"
  fi
  # Its name before version 1.15.
  $enter sh -c "command -v $tool" >/dev/null 2>&1 </dev/null || tool=cilium
  section cilium:status $enter $tool status -o json
  section cilium:config $enter $tool config -a -o json
  section cilium:endpoints $enter $tool endpoint list -o json
  section cilium:bpf-ipcache $enter $tool bpf ipcache list -o json
  section cilium:bpf-lb $enter $tool bpf lb list -o json
  section cilium:bpf-endpoint $enter $tool bpf endpoint list -o json
  section cilium:bpf-policy $enter $tool bpf policy get --all -o json
}

# What Open vSwitch's bridges are and do, by its own tools: here, or where its daemon runs.
openvswitch() {
  ip link show ovs-system >/dev/null 2>&1 </dev/null || return 0
  enter=
  if ! $patience ovs-vsctl list-br >/dev/null 2>&1 </dev/null 3>&-; then
    daemon=$(grep -l -x ovs-vswitchd /proc/[0-9]*/comm 2>/dev/null </dev/null | head -n 1 | tr -dc 0-9)
    [ -n "$daemon" ] || return 0
    enter="nsenter --target=$daemon --mount --"
  fi
  section ovs:bridges $enter ovs-vsctl --format=json --columns=name,ports,datapath_type,stp_enable,rstp_enable list Bridge
  section ovs:ports $enter ovs-vsctl --format=json --columns=_uuid,name,interfaces,tag,trunks list Port
  # The options of tunnels may hold the secrets of IPsec.
  section ovs:interfaces $enter sh -c 'ovs-vsctl --format=json --columns=_uuid,name,ofport,type,options list Interface | sed -E "$0"' \
    's/\["(psk|private_key|certificate|remote_cert)","([^"\\]|\\.)*"\]/["\1","(left out)"]/g'
  versions=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15
  for bridge in $($patience $enter ovs-vsctl list-br 2>/dev/null </dev/null 3>&-); do
    bounded "ovs:flows:$bridge" "$((BOUND * 16))" $enter ovs-ofctl --no-stats --no-names -O "$versions" dump-flows "$bridge"
    section "ovs:groups:$bridge" $enter ovs-ofctl --no-names -O OpenFlow15 dump-groups "$bridge"
    section "ovs:options:$bridge" $enter ovs-ofctl dump-tlv-map "$bridge"
    section "ovs:learned:$bridge" $enter ovs-appctl fdb/show "$bridge"
  done
}

# The namespaces of pods: by the processes in them, and by the names that runtimes give them.
pods() {
  places=$(ls -ln /proc/[0-9]*/ns/net 2>/dev/null </dev/null)
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
  # end meanwhile.
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
  patient=$patience
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
    entered "$path"
    # The pod's own view of DNS. The file is the pod's to choose: one that leads elsewhere would be looked up among our
    # own, so only the beginning of a plain file is read, and only the lines that resolv.conf(5) knows.
    etc=/proc/$last/root/etc
    if [ -n "$last" ] && [ ! -L "$etc" ] && [ ! -L "$etc/resolv.conf" ] && [ -f "$etc/resolv.conf" ]; then
      patience=$patient
      section resolv.conf sh -c 'head -c 4096 "$0" | grep -E "^(nameserver|search|domain|options) "' "$etc/resolv.conf"
      patience=
    fi
  done
}

main() {
  eval "$LIBRARY"
  exec 3>&1
  PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  LC_ALL=C
  export PATH LC_ALL NONCE BOUND LIBRARY ns patience json details counters
  printf '@%s begin 1\n' "$NONCE"
  # Stops everything that we started, should a tool hang; its own sleep goes with it.
  (
    sleep "$DEADLINE" &
    nap=$!
    trap 'kill "$nap"; exit' TERM
    wait "$nap" && kill -KILL 0
  ) </dev/null >/dev/null 2>&1 3>&- &
  watch=$!
  elsewhere=
  patience=
  # A quarter of the time for one tool. coreutils' timeout leaves our process group unless told not to, and then our
  # own end would not be its; busybox' timeout of old wants -t, and is not used.
  for way in '--foreground -k 1' '-k 1' ''; do
    if [ -z "$patience" ] && timeout $way 5 true >/dev/null 2>&1 </dev/null 3>&-; then
      patience="timeout $way $((DEADLINE / 4 + 1))"
    fi
  done
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
      entered /proc/1/ns/net
      own=$first
    else
      namespace
    fi
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
