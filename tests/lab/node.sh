#!/bin/sh
# One node, as process 1 of its own PID, mount and UTS namespace, in the network namespace of the node:
#   nsenter --net=… unshare --pid --fork --kill-child --mount --propagation private --uts sh node.sh NODE FOLDER KUBELET-ARGUMENT…
# FOLDER holds the node's files. The folders that kubelet, containerd and the CNI plugins use are bound from it, so
# hostPath volumes, hostPID and `nsenter -t 1` mean what they mean on a machine of its own. PATH names the programs.
set -eu
node=$1 folder=$2 archive=$3
shift 3

hostname "$node"
mount -t proc proc /proc

# A sysfs mounted here shows this network namespace's devices. It must be a shared mount, because agents such as
# Calico's mount below it and expect the host to see that.
mount -t tmpfs tmpfs /run
mkdir -p /run/cgroup /run/netns /run/lock
mount --rbind /sys/fs/cgroup /run/cgroup
umount -lR /sys
mount -t sysfs sysfs /sys
mount --rbind /run/cgroup /sys/fs/cgroup
umount -lR /run/cgroup
rmdir /run/cgroup
mount --make-rshared /sys
mount --make-shared /run

bind() {
    mkdir -p "$folder/$1" "$2"
    mount --bind "$folder/$1" "$2"
}
bind kubelet /var/lib/kubelet
mount --make-shared /var/lib/kubelet
bind containerd /var/lib/containerd
bind cni /var/lib/cni
bind etcd /var/lib/etcd
bind net.d /etc/cni/net.d
bind cni-bin /opt/cni/bin
bind kubernetes /etc/kubernetes
bind pods /var/log/pods
bind containers /var/log/containers
if [ -d "$folder/calico" ]; then
    bind calico /var/lib/calico
    bind calico-logs /var/log/calico
fi
mount --bind "$folder/resolv.conf" /etc/resolv.conf

containerd --config "$folder/containerd.toml" >"$folder/containerd.log" 2>&1 &
tries=0
until [ -S /run/containerd/containerd.sock ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 150 ] || exit 1
    sleep 0.2
done
ctr --namespace k8s.io images import "$archive" >"$folder/import.log" 2>&1

exec kubelet "$@" >"$folder/kubelet.log" 2>&1
