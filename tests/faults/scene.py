"""The lab as faults see it: who is where, by the names that the catalogue uses, and shells in every place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from tests.cluster.test_inside import processes
from tests.faults.catalogue import SECONDS, Flow, Injection, Step, named
from tests.lab import binaries
from tests.lab import node as lab_node
from tests.lab.cluster import get
from tests.lab.images import NETSHOOT
from tests.lab.network import NETNS
from tests.lab.settings import Settings, is_ipv6

# By then a server listens, in seconds.
START = 20.0
PROGRAMS = next(m for m in binaries.MODULE_TABLE if m.folder == "kubernetes").cached
CLIENT = Path(__file__).with_name("client.py")
# So many that a way taken once in three times is all but never missed.
TIMES = 16
FAMILIES = ("-4", "-6")
LOST_WITH_A_LINK = ("-j addr show scope global", "neigh show nud permanent", "route show")
Json = dict[str, Any]


def _started(pid: int) -> int:
    """Give when a process started, in clock ticks since boot (proc_pid_stat(5), field 22)."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return sys.maxsize


class Scene:
    """What a lab holds now; pods come and go, so it is made anew for each fault."""

    def __init__(self, lab: Settings) -> None:
        self.lab = lab
        self._namespaces: dict[str, list[str]] = {}
        self.facts: dict[str, str] = {"netshoot": NETSHOOT, "echo": f"{sys.executable} {CLIENT.with_name('echo.py')}"}
        for number, node in enumerate(lab.node_names[:2], 1):
            pid = lab_node.init(lab, node)
            self._namespaces[f"n{number}"] = ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--pid", "--"]
            self.facts[f"kubelet{number}"] = str(pid)
            self.facts[f"node{number}"] = lab.node_addresses(node)[0]
        every = get(lab, "nodes,pods,services", "-A")["items"]
        self._nodes([o for o in every if o["kind"] == "Node"])
        self._pods([o for o in every if o["kind"] == "Pod"])
        self._services([o for o in every if o["kind"] == "Service"])

    def _nodes(self, nodes: list[Json]) -> None:
        for number, node in enumerate(nodes[:2], 1):
            for cidr in node["spec"]["podCIDRs"]:
                self.facts[f"pods{number}{'_6' if is_ipv6(cidr.partition('/')[0]) else ''}"] = cidr
            # Which node gets which range is a matter of which came first.
            self.facts[f"net{number}"] = node["spec"]["podCIDR"].rpartition(".")[0]

    def _pods(self, pods: list[Json]) -> None:
        names = {
            "web": ("web1", "web2"),
            "cart": ("", "cart"),
            "db": ("", "db"),
            "syslog": ("", "syslog"),
            "odd": ("odd", "odd"),
        }
        for pod in sorted(pods, key=lambda p: p["metadata"]["name"]):
            app = pod["metadata"].get("labels", {}).get("app", "")
            place = self.lab.node_names.index(pod["spec"].get("nodeName") or self.lab.node_names[0])
            name = names.get(app, ("", ""))[min(place, 1)]
            gone = "deletionTimestamp" in pod["metadata"] or pod["status"]["phase"] != "Running"
            if name and name not in self._namespaces and not gone:
                self._pod(name, pod)

    def _pod(self, name: str, pod: Json) -> None:
        # Containers come and go with their processes; the sandbox's own stays.
        pid = min(processes(pod["metadata"]["uid"]), key=_started)
        self._namespaces[name] = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]
        self.facts[name] = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for one in pod["status"]["podIPs"]:
            self.facts[f"{name}_ip{'6' if is_ipv6(one['ip']) else ''}"] = one["ip"]
        link = json.loads(self.run(name, "ip -j link show dev eth0"))[0]
        self.facts[f"{name}_mac"] = link["address"]
        node = "n1" if pod["spec"]["nodeName"] == self.lab.node_names[0] else "n2"
        links = json.loads(self.run(node, "ip -j link show type veth"))
        self.facts[f"{name}_veth"] = next(k["ifname"] for k in links if k["ifindex"] == link["link_index"])

    def _services(self, services: list[Json]) -> None:
        for service in services:
            if service["spec"].get("clusterIP", "None") != "None":
                self.facts[f"svc_{service['metadata']['name'].replace('-', '_')}"] = service["spec"]["clusterIP"]

    def run(self, place: str, shell: str) -> str:
        """Run a shell line in a place: a node, a pod's network, or ``api``, where kubectl finds the cluster."""
        done = subprocess.run([*self._enter(place), "sh", "-ec", shell], capture_output=True, text=True, check=False,
                              env=self._environment())  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{self.lab.name} {place}: {shell}: {done.stderr.strip()}")
        return done.stdout

    def _enter(self, place: str) -> list[str]:
        if place == "switch":
            return ["nsenter", f"--net={NETNS / self.lab.switch}", "--"]
        return self._namespaces.get(place, [])

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.lab.kubeconfig), "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}

    def steps(self, steps: Iterable[Step]) -> list[subprocess.Popen[bytes]]:
        """Do what steps say; those that stay are given."""
        running = []
        for step in steps:
            shell = named(step.shell, self.facts)
            if step.stays:
                running.append(self._server(step.place, shell))
            else:
                self.run(step.place, shell)
        return running

    def _server(self, place: str, shell: str) -> subprocess.Popen[bytes]:
        """Start what listens, and wait until it does."""
        before = self.run(place, "ss -Hlntu")
        started = subprocess.Popen([*self._enter(place), "sh", "-ec", f"exec {shell}"])
        until = time.monotonic() + START
        while self.run(place, "ss -Hlntu") == before and time.monotonic() < until:
            time.sleep(0.05)
        return started

    @contextmanager
    def broken(self, fault: Injection) -> Iterator[None]:
        """Inject a fault, and heal it; routes that went with it are put back."""
        places = [p for p in self._namespaces if p not in ("cart", "syslog")]
        before = {p: self._lost_with_a_link(p) for p in places}
        with ExitStack() as stack:
            stack.callback(self._put_back, before)
            stack.callback(self.steps, fault.heal)
            for one in self.steps(fault.inject):
                stack.callback(one.wait)
                stack.callback(one.kill)
            yield

    def _lost_with_a_link(self, place: str) -> dict[str, str]:
        """Give the commands that put back what goes when a device goes down: addresses, neighbours and routes."""
        made: dict[str, str] = {}
        asked = "; echo =; ".join(f"ip {family} {what}" for family in FAMILIES for what in LOST_WITH_A_LINK)
        told = iter(self.run(place, asked).split("=\n"))
        for family in FAMILIES:
            addresses, neighbours, ways = islice(told, len(LOST_WITH_A_LINK))
            for link in json.loads(addresses):
                for one in filter(None, link.get("addr_info", ())):
                    address = f"{one['local']}/{one['prefixlen']} dev {link['ifname']}"
                    made[f"{family} addr {address}"] = f"ip {family} addr add {address}" + " nodad" * (family == "-6")
            for line in neighbours.splitlines():
                made[f"{family} neigh {line}"] = (
                    f"ip {family} neigh replace {line.replace('PERMANENT', 'nud permanent')}"
                )
            routes = [r for r in ways.splitlines() if "fe80" not in r]
            # Those over a gateway need the others first.
            for route in sorted(routes, key=lambda r: " via " in r):
                plain = route.replace(" linkdown", "").replace(" dead", "")
                made[f"{family} route {plain}"] = f"ip {family} route replace {plain}"
        return made

    def _put_back(self, before: dict[str, dict[str, str]]) -> None:
        for place, commands in before.items():
            now = self._lost_with_a_link(place)
            for what, command in commands.items():
                if what not in now:
                    # It may have come back by another line.
                    self.run(place, f"{command} || :")

    def _resolves(self, pod: str, name: str) -> bool:
        namespace, _, short = pod.partition("/")
        command = [str(PROGRAMS / "kubectl"), "-n", namespace, "exec", short, "--", "nslookup", name]
        done = subprocess.run(command, capture_output=True, check=False, env=self._environment())
        return done.returncode == 0

    def forget(self) -> None:
        """Let the kernels forget what errors have told them of the ways: it is not in what is read."""
        for place in self._namespaces:
            self.run(place, "sysctl -qw net.ipv4.route.flush=1; sysctl -qw net.ipv6.route.flush=1 || :")

    def send(self, flow: Flow, *, times: int = TIMES, seconds: float = SECONDS) -> list[str]:
        """Give what real connections or packets meet, each try for itself."""
        address, port = named(flow.aim, self.facts).split()
        if flow.lookup:
            return ["arrives" if self._resolves(self.facts[flow.source], address) else "unresolved"]
        aim = [flow.protocol, address, int(port), flow.source_port, flow.size, flow.fragment]
        times = 1 if flow.source_port else times
        command = [*self._enter(flow.source), sys.executable, str(CLIENT), str(times), str(seconds)]
        done = subprocess.run(command, input=json.dumps([aim]), capture_output=True, text=True, check=True)
        results: list[str] = json.loads(done.stdout)[0]
        return results
