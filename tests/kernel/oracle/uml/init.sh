#!/bin/sh
# PID 1 inside user-mode Linux; UMLRUN (from the kernel's command line) is the folder that run.sh made for this boot.
# tty1 is run.sh's stdout, tty2 its stderr; the kernel's own messages go to $UMLRUN/kernel.log.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb
unset mem
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns /run/over /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# kmod wants its modules here.
mount -t tmpfs tmpfs /lib/modules
mkdir "/lib/modules/$(uname -r)"
mount --bind "/usr/lib/uml/modules/$(uname -r)" "/lib/modules/$(uname -r)"
# Folders that may be written to, in memory only: what the host has stays visible, and untouched.
modprobe overlay
for folder in /tmp /etc /var /root; do
  mkdir -p "/run/over$folder/up" "/run/over$folder/work"
  mount -t overlay -o "lowerdir=$folder,upperdir=/run/over$folder/up,workdir=/run/over$folder/work" overlay "$folder" ||
    echo "init.sh: no overlay on $folder" >/dev/tty2
done
# Folders that are the host's, writable.
mkdir -p "$UMLRUN"
mount -t hostfs -o "$UMLRUN" hostfs "$UMLRUN"
while read -r folder; do
  mkdir -p "$folder" && mount -t hostfs -o "$folder" hostfs "$folder" || echo "init.sh: cannot mount $folder" >/dev/tty2
done <"$UMLRUN/folders"
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
modprobe -a ipv6 af_packet_diag udp_diag raw_diag unix_diag netlink_diag $(cat "$UMLRUN/modules") 2>/dev/tty2
hostname uml
ip link set lo up
for tty in /dev/tty1 /dev/tty2; do stty -F "$tty" raw -echo 2>/dev/null || echo "init.sh: no stty $tty" >/dev/kmsg; done
read -r up _ </proc/uptime
echo "$up" >"$UMLRUN/boot"
# The command is a session of its own, so that everything it started can be stopped; output past the limit is not lost.
setsid timeout -k 2 "$(cat "$UMLRUN/limit")" sh "$UMLRUN/command" </dev/null >/dev/tty1 2>/dev/tty2
echo $? >"$UMLRUN/rc"
sync
read -r up _ </proc/uptime
echo "$up" >"$UMLRUN/end"
dmesg >"$UMLRUN/dmesg" 2>/dev/null
sync
# The consoles hand over what they hold.
sleep 0.1
poweroff -f
