"""One node of a lab: its files, its processes, and its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.lab import control_plane, images, network
from tests.lab.errors import LabError
from tests.lab.pki import kubeconfig
from tests.lab.process import start as start_process
from tests.lab.settings import CGROUP, DNS_DOMAIN, Cni, Settings

CGROUPS = Path("/sys/fs/cgroup")
# Zones alternate, so that topology shows without more nodes.
ZONES = ("zone-a", "zone-b")


def start(settings: Settings, node: str, programs: dict[str, Path]) -> None:
    """Write the node's files and start it; it registers itself when the API server answers."""
    folder = settings.folder / "nodes" / node
    is_control_plane = node == settings.control_plane
    _write_files(settings, node, folder)
    if is_control_plane:
        control_plane.write(settings, folder / "kubernetes")
    _make_cgroups(settings.cgroup(node))
    kubelet = [
        "--config=/etc/kubernetes/kubelet.yaml",
        "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
        f"--hostname-override={node}",
        f"--node-ip={','.join(settings.node_addresses(node))}",
        f"--node-labels=topology.kubernetes.io/zone={ZONES[settings.node_names.index(node) % len(ZONES)]}",
        *(["--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule"] if is_control_plane else []),
    ]
    archive = images.archive(programs, settings, control_plane=is_control_plane)
    folders = dict.fromkeys(str(p.parent) for p in programs.values())
    start_process(
        [
            "nsenter",
            f"--net={network.NETNS / settings.namespace(node)}",
            *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private", "--uts"),
            *("sh", str(Path(__file__).with_name("node.sh")), node, str(folder), str(archive), *kubelet),
        ],
        folder / "node.log",
        {**os.environ, "PATH": ":".join([*folders, os.environ["PATH"]])},
    )


def init(settings: Settings, node: str) -> int | None:
    """Find process 1 of the node: the kubelet, or the shell that will become it."""
    if settings.namespace(node) not in network.existing(settings.name):
        return None
    for pid in network.processes(settings.namespace(node)):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) == 2 and numbers[-1] == "1":
                return pid
    return None


def enter(settings: Settings, node: str, command: list[str]) -> list[str]:
    """Give the command line that runs a command on the node, as root and with the node's own view."""
    pid = init(settings, node)
    if pid is None:
        raise LabError(f"node {node} of {settings.name} does not run: see `python -m tests.lab status`")
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--pid", "--", *command]


def stop(settings: Settings) -> None:
    """End every process of every node, and remove what they leave in the kernel."""
    deadline = time.monotonic() + 30
    while (left := list(_processes(settings))) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    if left:
        raise LabError(f"processes {left} of {settings.name} do not end")
    _remove_cgroups(f"/{CGROUP}/{settings.name}")


def _processes(settings: Settings) -> Iterator[int]:
    for namespace in network.existing(settings.name):
        yield from network.processes(namespace)
    # Pods have network namespaces of their own, but sit in the lab's cgroups.
    for hierarchy in _hierarchies():
        for tasks in hierarchy.glob(f"{CGROUP}/{settings.name}/**/cgroup.procs"):
            with contextlib.suppress(OSError):
                yield from map(int, tasks.read_text().split())


def _hierarchies() -> list[Path]:
    # systemd's hybrid layout mounts cgroup v2 beside, as "unified"; runc makes groups there too.
    return [p for p in CGROUPS.iterdir() if (p / "cgroup.procs").exists()]


def check_cgroups() -> None:
    """Refuse a machine whose cgroups are not laid out as the nodes need them."""
    if not (CGROUPS / "memory").is_dir():
        raise LabError(
            "the lab needs cgroup v1 hierarchies in /sys/fs/cgroup: boot with systemd.unified_cgroup_hierarchy=0"
        )


def _make_cgroups(path: str) -> None:
    for hierarchy in _hierarchies():
        (hierarchy / path[1:]).mkdir(parents=True, exist_ok=True)
    # A new cpuset is empty, and nothing may run in it until it is given processors and memory nodes from the top.
    cpuset = CGROUPS / "cpuset"
    for folder in (*reversed(Path(path[1:]).parents), Path(path[1:])):
        for file in ("cpuset.cpus", "cpuset.mems"):
            if str(folder) != ".":
                (cpuset / folder / file).write_text((cpuset / file).read_text())


def _remove_cgroups(path: str) -> None:
    for hierarchy in _hierarchies():
        top = hierarchy / path[1:]
        # Bottom up, and without complaint of a group that containerd removes meanwhile.
        for folder, _, _ in os.walk(top, topdown=False):
            _remove_cgroup(Path(folder))
        with contextlib.suppress(OSError):
            top.parent.rmdir()


def _remove_cgroup(folder: Path) -> None:
    # The kernel lets go of a group a moment after its last process ended.
    for _ in range(100):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise LabError(f"the control group {folder} cannot be removed: a process still runs in it")


def _write_files(settings: Settings, node: str, folder: Path) -> None:
    pki = settings.folder / "pki"
    kubernetes, plugins = folder / "kubernetes", folder / "cni-bin"
    for path in (kubernetes / "manifests", plugins):
        path.mkdir(parents=True, exist_ok=True)
    for plugin in images.PLUGINS.iterdir():
        (plugins / plugin.name).symlink_to(plugin)
    match settings.cni:
        case Cni.FLANNEL:
            flannel = plugins / "flannel"
            flannel.write_text(f"#!{sys.executable} -I\n" + Path(__file__).with_name("flannel_cni.py").read_text())
            flannel.chmod(0o755)
        case Cni.CALICO:
            # Without a folder of its own, a node would write into the machine's.
            (folder / "calico").mkdir()
        case Cni.BRIDGE:
            pass
    shutil.copytree(pki, kubernetes / "pki")
    (kubernetes / "kubelet.kubeconfig").write_text(kubeconfig(pki, node, settings=settings))
    (kubernetes / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(settings, node)))
    (folder / "containerd.toml").write_text(_CONTAINERD)
    (folder / "resolv.conf").write_text("# a lab leads nowhere\n")


def _kubelet(settings: Settings, node: str) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": settings.cgroup(node),
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": list(settings.dns_addresses),
        "clusterDomain": DNS_DOMAIN,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "tlsCertFile": f"/etc/kubernetes/pki/{node}.crt",
        "tlsPrivateKeyFile": f"/etc/kubernetes/pki/{node}.key",
        "resolvConf": "/etc/resolv.conf",
        "staticPodPath": "/etc/kubernetes/manifests",
        "fileCheckFrequency": "2s",
        # It tells the API server of its static pods when it next looks at them.
        "syncFrequency": "10s",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
    }


# restrict_oom_score_adj: lowering the score needs CAP_SYS_RESOURCE, which a machine in a machine may lack.
_CONTAINERD = f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{images.PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"
"""
