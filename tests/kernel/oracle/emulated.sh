#!/bin/sh
# Process 1 of the emulated kernel, on the machine's own file system, read-only; the folder of this run is at /mnt,
# where it finds the command and leaves what that said.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns /run/over
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 run /mnt
mount -t tmpfs tmpfs /lib/modules
mkdir "/lib/modules/$(uname -r)"
mount --bind "$(cat /mnt/modules)" "/lib/modules/$(uname -r)"
modprobe overlay
# Folders that may be written to, in memory only.
for folder in /tmp /etc /var /root; do
  mkdir -p "/run/over$folder/up" "/run/over$folder/work"
  mount -t overlay -o "lowerdir=$folder,upperdir=/run/over$folder/up,workdir=/run/over$folder/work" overlay "$folder"
done
modprobe -a br_netfilter ip_vs ipip inet_diag tcp_diag udp_diag raw_diag
# A module that is loaded late would bring fallback devices into all namespaces.
echo 2 >/proc/sys/net/core/fb_tunnels_only_for_init_net
ip link set lo up
setsid sh /mnt/command </dev/null >/mnt/stdout 2>/mnt/stderr
echo $? >/mnt/status
poweroff -f
