"""Bring a lab up, take it down, and say how it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import string
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.lab import binaries, control_plane, images, istio, network, node, pki, process
from tests.lab.errors import LabError
from tests.lab.settings import API_PORT, IPV6, ROOT, Cni, Mesh, Settings, load

MANIFESTS = Path(__file__).parent / "manifests"
READY_SECONDS = 240
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_ENOUGH = 1024
_CNI_MANIFESTS: Final = {Cni.FLANNEL: ["flannel.yaml"], Cni.CALICO: ["calico.yaml"], Cni.BRIDGE: []}

Say = Callable[[str], None]


def up(settings: Settings, say: Say) -> None:
    """Make the lab run with these settings; what runs already is left as it is.

    An interruption takes down what was begun. Raises ``LabError`` where a lab of this name has other settings.
    """
    check_machine()
    if settings.folder.exists():
        running = load(settings.name)
        if replace(running, workloads=settings.workloads) != settings:
            raise LabError(f"{settings.name} runs with other settings: take it down first, or choose another --name")
        if all(node.init(settings, n) for n in settings.node_names):
            say(f"{settings.name} runs already")
            _populate(settings, say)
            return
        say(f"{settings.name} is broken: starting afresh")
        down(settings.name, say)
    _allow_watches(say)
    try:
        programs = binaries.build(say, settings.cni, settings.mesh)
        _start(settings, programs, say)
        _populate(settings, say)
    except BaseException:
        say(f"taking {settings.name} down again")
        down(settings.name, lambda _: None)
        raise


def down(name: str, say: Say) -> None:
    """Remove the lab and everything it left on the machine, however far it had come."""
    settings = Settings(name=name)
    found = settings.folder.exists() or network.existing(name)
    _stop_forwarders(settings)
    node.stop(settings)
    network.remove(settings)
    shutil.rmtree(settings.folder, ignore_errors=True)
    if ROOT.exists() and not any(ROOT.iterdir()):
        ROOT.rmdir()
    say(f"{name} is gone" if found else f"there is no lab called {name}")


def status(name: str) -> str:
    """Say for each node whether it runs, and what Kubernetes thinks of the nodes and pods."""
    settings = load(name)
    lines = [
        f"{name}: {settings.nodes} nodes, {settings.network}, kube-proxy {settings.proxy.value}, "
        f"{settings.ip_family.value}"
    ]
    lines += [f"  {n} {'runs' if node.init(settings, n) else 'is down'}" for n in settings.node_names]
    return "\n".join(lines) + "\n" + kubectl(settings, "get", "nodes,pods", "--all-namespaces", "-o", "wide")


def names() -> list[str]:
    """List the labs that exist."""
    return sorted(p.name for p in ROOT.iterdir()) if ROOT.exists() else []


def kubectl(settings: Settings, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the administrator; ``LabError`` with what it said where it fails."""
    program = binaries.module("kubernetes").cached / "kubectl"
    run = subprocess.run(
        [str(program), f"--kubeconfig={settings.kubeconfig}", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise LabError(f"kubectl {' '.join(arguments)}: {run.stderr.strip()}")
    return run.stdout


def get(settings: Settings, *arguments: str) -> Any:
    """Run ``kubectl get … -o json`` and decode its answer."""
    return json.loads(kubectl(settings, "get", *arguments, "-o", "json"))


def _allow_watches(say: Say) -> None:
    """Let root watch files from many programs: each node takes a dozen, and four labs are more than the usual 128."""
    allowed = int(_INSTANCES.read_text())
    if allowed < _ENOUGH:
        say(f"raising fs.inotify.max_user_instances from {allowed} to {_ENOUGH}, for as long as the machine runs")
        _INSTANCES.write_text(str(_ENOUGH))


def check_machine() -> None:
    """Refuse a machine that cannot hold a lab, saying what is missing."""
    if os.name != "posix" or os.geteuid() != 0:
        raise LabError("a lab is made of namespaces and mounts: run it as root on Linux")
    node.check_cgroups()
    tools = (
        "busybox",
        "conntrack",
        "ethtool",
        "ip",
        "ipset",
        "iptables",
        "nft",
        "nsenter",
        "runc",
        "setsid",
        "socat",
        "unshare",
    )
    missing = [t for t in tools if shutil.which(t) is None]
    if not images.PLUGINS.is_dir():
        missing.append("the CNI plugins")
    if missing:
        raise LabError(f"missing {', '.join(missing)}: `make lab-packages` installs what the lab needs on Debian")


def _start(settings: Settings, programs: dict[str, Path], say: Say) -> None:
    settings.folder.mkdir(parents=True)
    settings.save()
    say(f"laying the wires of {settings.nodes} nodes")
    network.create(settings)
    pki.issue(settings, settings.folder / "pki")
    images.archive(programs, settings, control_plane=True)
    images.archive(programs, settings, control_plane=False)
    for name in settings.node_names:
        say(f"starting {name} ({', '.join(settings.node_addresses(name))})")
        node.start(settings, name, programs)
    port = _forward(settings)
    settings.kubeconfig.write_text(
        pki.kubeconfig(settings.folder / "pki", "admin", f"https://127.0.0.1:{port}", settings=settings)
    )
    settings.kubeconfig.chmod(0o600)


def _populate(settings: Settings, say: Say) -> None:
    say("waiting for the API server")
    _wait(settings, lambda: "ok" in kubectl(settings, "get", "--raw=/readyz"), "the API server to answer")
    if settings.cni is Cni.CALICO:
        kubectl(settings, "apply", "--server-side", "-f", str(binaries.module("calico").cached / "crds.yaml"))
    _apply(settings, "kube-proxy.yaml", "coredns.yaml", *_CNI_MANIFESTS[settings.cni])
    say("waiting for the nodes to register")
    _wait(settings, lambda: len(_pod_cidrs(settings)) == settings.nodes, "every node to get its pod CIDR")
    kubectl(settings, "label", "--overwrite", "node", settings.control_plane, "node-role.kubernetes.io/control-plane=")
    if settings.cni is Cni.BRIDGE:
        _bridge(settings)
    kubectl(settings, "wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={READY_SECONDS}s")
    if settings.mesh is Mesh.ISTIO:
        say("installing Istio")
        _istio(settings)
    if settings.workloads:
        say("applying the workloads")
        _wait(settings, lambda: bool(kubectl(settings, "get", "serviceaccount/default")), "the service account")
        _workloads(settings)
    say("waiting for the pods")
    _roll_out(settings)
    say(f"{settings.name} is ready: export KUBECONFIG={settings.kubeconfig}")


def _wait(settings: Settings, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    last = ""
    while time.monotonic() < deadline:
        dead = [n for n in settings.node_names if node.init(settings, n) is None]
        try:
            if condition():
                return
        except LabError as error:
            last = str(error)
        if dead and time.monotonic() > deadline - READY_SECONDS + 10:
            raise LabError(f"node {dead[0]} stopped: see {settings.folder / 'nodes' / dead[0]}/*.log")
        time.sleep(0.3)
    raise LabError(f"gave up waiting for {what}. {last}")


def _apply(settings: Settings, *manifests: str) -> None:
    first = settings.ranges[0]
    values = {
        "api_address": settings.api_address,
        "api_port": str(API_PORT),
        "pod_cidrs": settings.pod_cidrs,
        "pod_cidr_ipv4": first.pods,
        "pod_cidr_ipv6": IPV6.pods,
        "ipv6": "true" if len(settings.ranges) > 1 else "false",
        "backend": settings.backend.value,
        "proxy_mode": settings.proxy.value,
        "dns_addresses": json.dumps(list(settings.dns_addresses)),
        "dns_address": settings.dns_addresses[0],
        "busybox": images.BUSYBOX,
        "netshoot": images.NETSHOOT,
        "coredns": images.COREDNS,
        "flannel": images.FLANNEL,
        "calico_node": images.calico_image("node"),
        "calico_cni": images.calico_image("cni"),
        "calico_kube_controllers": images.calico_image("kube-controllers"),
        "kube_proxy": images.kubernetes_image("kube-proxy"),
    }
    text = "\n---\n".join(string.Template((MANIFESTS / m).read_text()).substitute(values) for m in manifests)
    kubectl(settings, "apply", "--server-side", "-f", "-", stdin=text)


def _pod_cidrs(settings: Settings) -> dict[str, list[str]]:
    nodes = get(settings, "nodes")["items"]
    return {n["metadata"]["name"]: n["spec"]["podCIDRs"] for n in nodes if n["spec"].get("podCIDRs")}


def _bridge(settings: Settings) -> None:
    """Do by hand what an administrator without a CNI agent does: one conflist a node, one route to each other."""
    cidrs = _pod_cidrs(settings)
    for name in settings.node_names:
        conflist = {
            "cniVersion": "1.0.0",
            "name": "lab",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isDefaultGateway": True,
                    "hairpinMode": True,
                    "ipam": {"type": "host-local", "ranges": [[{"subnet": c}] for c in cidrs[name]]},
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
        (settings.folder / "nodes" / name / "net.d" / "10-lab.conflist").write_text(json.dumps(conflist))
        for peer in settings.node_names:
            for cidr, address in zip(cidrs[peer], settings.node_addresses(peer), strict=True):
                if peer != name:
                    process.run("ip", "-n", settings.namespace(name), "route", "replace", cidr, "via", address)


def _istio(settings: Settings) -> None:
    _gateway_api(settings)
    # Once it runs, its control plane writes into what its charts have made.
    if not kubectl(settings, "-n", istio.NAMESPACE, "get", "deployment/istiod", "--ignore-not-found"):
        kubectl(settings, "apply", "--server-side", "-f", "-", stdin=istio.NAMESPACE_MANIFEST)
        for chart in istio.charts():
            kubectl(settings, "apply", "--server-side", "--namespace", istio.NAMESPACE, "-f", "-", stdin=chart)
            kubectl(settings, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    kubectl(settings, "-n", istio.NAMESPACE, "rollout", "status", "deployment/istiod", f"--timeout={READY_SECONDS}s")

    def applied() -> bool:
        _apply(settings, "istio-workloads.yaml")
        return True

    # Until its webhook answers, pods that ask for a sidecar are refused.
    _wait(settings, applied, "Istio's injector to take pods")


def _static_pods(settings: Settings) -> list[Any]:
    pods: list[Any] = get(settings, "pods", "--namespace=kube-system", "--selector=tier=control-plane")["items"]
    return pods


def _gateway_api(settings: Settings) -> None:
    _apply(settings, "gateway-api.yaml")
    kubectl(settings, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def _workloads(settings: Settings) -> None:
    _gateway_api(settings)
    _apply(settings, "workloads.yaml")
    address = {"ip": "192.0.2.10", "ipMode": "VIP"}
    statuses = {
        ("shop", "service/edge"): {"loadBalancer": {"ingress": [address]}},
        ("shop", "ingress/shop"): {"loadBalancer": {"ingress": [{"ip": "192.0.2.20"}, {"hostname": "shop.example"}]}},
        ("shop", "gateway/shop"): {"addresses": [{"type": "IPAddress", "value": "192.0.2.30"}]},
    }
    for (namespace, target), body in statuses.items():
        kubectl(
            settings,
            "-n",
            namespace,
            "patch",
            target,
            "--subresource=status",
            "--type=merge",
            "-p",
            json.dumps({"status": body}),
        )


def _roll_out(settings: Settings) -> None:
    """Wait for everything that can become ready; the workloads hold some pods that never shall."""
    # The kubelet tells the API server of its static pods in its own time.
    _wait(settings, lambda: len(_static_pods(settings)) == control_plane.COMPONENTS, "the control plane's pods")
    for kind in ("deployment", "daemonset", "statefulset"):
        for item in get(settings, kind, "--all-namespaces", "--selector=lab!=stuck")["items"]:
            kubectl(
                settings,
                "-n",
                item["metadata"]["namespace"],
                "rollout",
                "status",
                f"{kind}/{item['metadata']['name']}",
                f"--timeout={READY_SECONDS}s",
            )
    if settings.workloads:
        kubectl(
            settings, "-n", "shop", "wait", "--for=condition=Complete", "job/migrate", f"--timeout={READY_SECONDS}s"
        )
        kubectl(
            settings,
            "-n",
            "shop",
            "wait",
            "--for=condition=Ready",
            "pod",
            "--selector=lab=leaving",
            f"--timeout={READY_SECONDS}s",
        )
        kubectl(settings, "-n", "shop", "delete", "pod", "--selector=lab=leaving", "--wait=false")


def _forward(settings: Settings) -> int:
    """Open a port of the loopback interface that leads to the API server, and return it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    path = settings.folder / "api.sock"
    control_plane = network.NETNS / settings.namespace(settings.control_plane)
    inner = [
        "nsenter",
        f"--net={control_plane}",
        "socat",
        f"UNIX-LISTEN:{path},fork",
        f"TCP:{settings.api_address}:{API_PORT}",
    ]
    outer = ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"UNIX-CONNECT:{path}"]
    for command in (inner, outer):
        process.start(command, settings.folder / "forwarder.log")
    return port


def freeze_forwarders(settings: Settings) -> None:
    """Cut the way to the API server without closing a connection, as a network does that drops packets."""
    _signal_forwarders(settings, signal.SIGSTOP)


def thaw_forwarders(settings: Settings) -> None:
    """Open the way to the API server again."""
    _signal_forwarders(settings, signal.SIGCONT)


def _stop_forwarders(settings: Settings) -> None:
    _signal_forwarders(settings, signal.SIGKILL)


def _signal_forwarders(settings: Settings, number: signal.Signals) -> None:
    wanted = str(settings.folder / "api.sock").encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"socat") and any(wanted in w for w in words):
                os.kill(int(entry.name), number)
        except (FileNotFoundError, ProcessLookupError):
            continue
