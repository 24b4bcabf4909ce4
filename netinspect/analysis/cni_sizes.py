"""How large a packet between pods may be: what uplinks take, less what the CNI adds; and who promises more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netinspect.cni import BY_NAME
from netinspect.cni.base import Description, Driver
from netinspect.cni.sight import Kernel, Node, Sight
from netinspect.model.cni import Fact, Subject
from netinspect.model.finding import Finding, Severity
from netinspect.model.kernel import Link, VxlanData
from netinspect.model.topology import several

# The bridge of the reference plug-in, to which others delegate.
_BRIDGE = "cni0"
# The header of IPv6 is so much longer than that of IPv4.
_SIX = 20
# What VXLAN and Geneve add over IPv4.
_WRAPPED = 50


def sizes(view: Sight, said: Description) -> Iterator[Fact]:
    """Do the arithmetic on the node with the smallest uplink."""
    found = [(link.mtu, name, link.ifname) for name, link in _uplinks(view, said).items()]
    if found and said.overhead is not None:
        mtu, node, dev = min(found)
        overhead = said.overhead + (_SIX if said.overhead == _WRAPPED and view.families == (6,) else 0)
        says = f"{mtu} of {dev} - {overhead} = {mtu - overhead} bytes for pods at most"
        yield Fact(subject=Subject.MTU, says=says, source=f"node/{node} links")


def too_large(view: Sight, driver: Driver, said: Description) -> Iterator[Finding]:
    """Find tunnels that take more than fits into the uplinks, and pods that send more than their tunnel takes."""
    if said.overhead is None:
        return
    wrapped: dict[str, tuple[int, Link]] = {}
    for node, kernel in view.read:
        tunnels = [k for name in said.tunnels if (k := (kernel.links or {}).get(name)) is not None and k.up]
        if tunnels:
            wrapped[node.name] = max(
                ((k.mtu + said.overhead + (_SIX if _is_six(k) else 0), k) for k in tunnels), key=lambda found: found[0]
            )
            both = any(not _is_six(k) for name in said.tunnels if (k := (kernel.links or {}).get(name)) is not None)
            # That of IPv6 takes less where both families have one; pods are made for the larger.
            room = {k.ifname: k.mtu + (_SIX if both and _is_six(k) else 0) for k in tunnels}
            least = min(tunnels, key=lambda k: room[k.ifname])
            yield from _pods(node, kernel, least, room[least.ifname], driver)
    most = max((size for size, _ in wrapped.values()), default=0)
    for name, uplink in _uplinks(view, said).items():
        if uplink.mtu < most:
            yield from _narrow(name, uplink, {n: found for n, found in wrapped.items() if found[0] > uplink.mtu})


def _uplinks(view: Sight, said: Description) -> dict[str, Link]:
    """Give for each node that was read the interface under its tunnel, else the one that has the node's address."""
    found: dict[str, Link] = {}
    for node, kernel in view.read:
        links = kernel.links or {}
        below = [k for name in said.tunnels if name in links and (k := _below(links[name], links)) is not None]
        own = {a for a in (node.address(4), node.address(6)) if a}
        holders = below or [k for k in links.values() if not own.isdisjoint(a.local for a in k.addresses)]
        if holders:
            found[node.name] = holders[0]
    return found


def _below(tunnel: Link, links: Mapping[str, Link]) -> Link | None:
    """Give the interface by which a VXLAN sends, as far as it says so."""
    if not isinstance(tunnel.data, VxlanData):
        return None
    local = tunnel.data.local or tunnel.data.local6
    return links.get(tunnel.data.link) or next(
        (k for k in links.values() if local and any(a.local == local for a in k.addresses)), None
    )


def _narrow(name: str, uplink: Link, senders: Mapping[str, tuple[int, Link]]) -> Iterator[Finding]:
    """Tell of an uplink that takes less than what tunnels send, its own node's or others'."""
    size, tunnel = senders.get(name) or max(senders.values(), key=lambda s: s[0])
    yield Finding(
        kind="mtu", severity=Severity.WARNING, place=f"node/{name}",
        says=f"{uplink.ifname} takes {uplink.mtu} bytes, and what {tunnel.ifname} wraps is up to {size} long",
        cause="large packets are sent in fragments, or lost",
        remedy=f"give {tunnel.ifname} and the pods less in the CNI's configuration and restart its agents, or "
        f"{uplink.ifname} at least {size}",
        peers=several(f"node/{n}" for n in senders if n != name),
    )  # fmt: skip


def _is_six(tunnel: Link) -> bool:
    return isinstance(tunnel.data, VxlanData) and bool(tunnel.data.local6)


def _pods(node: Node, kernel: Kernel, tunnel: Link, takes: int, driver: Driver) -> Iterator[Finding]:
    plain = tunnel.kind == "wireguard"
    if not any(r.dev == tunnel.ifname and (r.gateway or (plain and "/" in r.dst)) for r in kernel.routes or ()):
        # Nothing goes through it: all other nodes are in the same subnet.
        return
    parts = (driver, *(BY_NAME[name] for name in driver.PARTS))
    own = [d.SIGNATURE.interfaces for d in parts if d.SIGNATURE.interfaces is not None]
    large = [
        k for k in (kernel.links or {}).values()
        if k.kind == "veth" and k.mtu > takes and (k.master == _BRIDGE or any(p.fullmatch(k.ifname) for p in own))
    ]  # fmt: skip
    if large:
        most = max(k.mtu for k in large)
        who = "1 interface of pods takes" if len(large) == 1 else f"{len(large)} interfaces of pods take"
        yield Finding(
            kind="mtu", severity=Severity.WARNING, place=f"node/{node.name}",
            says=f"{who} up to {most} bytes, {tunnel.ifname} takes {tunnel.mtu}",
            cause="large packets to other nodes get through only where the ICMP error about them comes back",
            remedy=f"give the pods an MTU of {tunnel.mtu} in the CNI's configuration, and make them anew",
        )  # fmt: skip
