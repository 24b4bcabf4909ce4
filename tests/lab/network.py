"""The wires of a lab: a switch namespace with a bridge, and one namespace per node plugged into it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from tests.lab.process import run
from tests.lab.settings import Settings, gateway, is_ipv6

NETNS = Path("/run/netns")


def inside(namespace: str, *command: str) -> str:
    """Run a command in a network namespace."""
    return run("ip", "netns", "exec", namespace, *command)


def create(settings: Settings) -> None:
    """Lay the wires: every node reaches every other over the switch, and nothing leads out of it."""
    switch = settings.switch
    run("ip", "netns", "add", switch)
    run("ip", "-n", switch, "link", "set", "lo", "up")
    run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
    run("ip", "-n", switch, "link", "set", "br0", "up")
    for ranges in settings.ranges:
        _address(switch, "br0", gateway(ranges.nodes), ip_network(ranges.nodes).prefixlen)
    for node in settings.node_names:
        _plug(settings, node)


def remove(settings: Settings) -> None:
    """Delete the lab's namespaces; links and addresses go with them."""
    for namespace in existing(settings.name):
        run("ip", "netns", "delete", namespace)


def existing(lab: str) -> list[str]:
    """List the namespaces that carry the lab's name."""
    return sorted(p.name for p in NETNS.glob(f"{lab}-*")) if NETNS.exists() else []


def processes(namespace: str) -> list[int]:
    """List the processes in a namespace, as seen from the machine."""
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]


def _plug(settings: Settings, node: str) -> None:
    namespace = settings.namespace(node)
    run("ip", "netns", "add", namespace)
    run("ip", "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", node, "netns", settings.switch)
    run("ip", "-n", settings.switch, "link", "set", node, "master", "br0", "up")
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", namespace, "link", "set", "eth0", "up")
    for ranges, address in zip(settings.ranges, settings.node_addresses(node), strict=True):
        _address(namespace, "eth0", address, ip_network(ranges.nodes).prefixlen)
        run("ip", "-n", namespace, "route", "add", "default", "via", gateway(ranges.nodes))
    inside(namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def _address(namespace: str, device: str, address: str, prefix: int) -> None:
    # Without nodad an IPv6 address cannot be bound for a second or two, and kubelet would not find its own.
    extra = ["nodad"] if is_ipv6(address) else []
    run("ip", "-n", namespace, "address", "add", f"{address}/{prefix}", "dev", device, *extra)
