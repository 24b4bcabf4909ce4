"""Links in the words of the map: what they are, what they lead to, and where they contradict the API."""

from __future__ import annotations

import ipaddress

from netinspect.analysis.inside import Inside, host_end
from netinspect.analysis.pods import addresses, full_name
from netinspect.errors import ParseError
from netinspect.kernel.namespace import Namespace, Trouble
from netinspect.model import wire
from netinspect.model.kernel import (
    BondData,
    BridgeData,
    GeneveData,
    IpvlanData,
    Link,
    MacvlanData,
    Route,
    TunnelData,
    VlanData,
    VrfData,
    VxlanData,
)
from netinspect.model.topology import Attachment, Interface, several

_LOOPBACK = "loopback"


def of_node(node: str, inside: Inside) -> tuple[Interface, ...] | None:
    """List a node's interfaces; None where they were not read."""
    host = inside.hosts.get(node)
    if host is None or not (links := _links(host)):
        return None
    peers = {
        end.ifindex: name
        for name, namespace in inside.pods.items()
        if inside.places.get(name) == node
        for link in _links(namespace)
        if (end := host_end(link, host)) is not None
    }
    return several(_interface(link, f"pod/{peers[link.ifindex]}" if link.ifindex in peers else "") for link in links)


def of_pod(pod: wire.Pod, inside: Inside) -> tuple[Attachment, ...] | None:
    """List how a pod hangs on its node; None where that was not read, or it lives on the node's own interfaces."""
    namespace = inside.pods.get(full_name(pod.metadata))
    if namespace is None or pod.spec.host_network or not (links := _links(namespace)):
        return None
    host = inside.hosts.get(pod.spec.node_name)
    found = []
    for link in links:
        if link.link_type != _LOOPBACK and link.ifname != "lo":
            end = host_end(link, host)
            found.append(
                Attachment(
                    interface=_interface(link, ""),
                    host_interface=end.ifname if end else "",
                    bridge=end.master if end else "",
                    gateway=several(
                        r.gateway or r.via or "on link" for r in _default_routes(namespace) if r.dev == link.ifname
                    ),
                )
            )
    return several(found)


def disagreements(pod: wire.Pod, inside: Inside) -> tuple[str, ...]:
    """Say where a pod's own namespace is not what the API says of the pod; nothing is said of what was not seen."""
    namespace = inside.pods.get(full_name(pod.metadata))
    if namespace is None or pod.spec.host_network or not _seen(namespace, "links"):
        return ()
    links = _links(namespace)
    claimed = [ipaddress.ip_address(a) for a in addresses(pod) if _is_address(a)]
    holders = {ipaddress.ip_address(a.local): k for k in links for a in k.addresses if _is_address(a.local)}
    found = [f"the API says that it has {a}, the kernel has no such address in it" for a in claimed if a not in holders]
    if not [link for link in links if link.ifname != "lo"]:
        found.append("it has no interface but lo")
    carriers = {holders[a].ifname: holders[a] for a in claimed if a in holders}
    found += [f"its {name} is down" for name, link in carriers.items() if not link.up]
    for family, section, version in (("inet", "routes4", 4), ("inet6", "routes6", 6)):
        wanted = any(a.version == version for a in claimed) and _seen(namespace, section)
        if wanted and not any(r.family == family for r in _default_routes(namespace)):
            found.append(f"it has no default route for IPv{version}")
    return several(found)


def _seen(namespace: Namespace, section: str) -> bool:
    """Say whether a tool answered, whole and readable; busybox's is good enough for what is there at all."""
    found = namespace.evidence.sections.get(section)
    unreadable = {m.section for m in namespace.missing() if m.trouble is Trouble.UNREADABLE}
    return found is not None and found.answered and not found.cut and section not in unreadable


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _links(namespace: Namespace) -> tuple[Link, ...]:
    """Give the links; none where they cannot be read, which the gaps say."""
    try:
        return namespace.links
    except ParseError:
        return ()


def _default_routes(namespace: Namespace) -> tuple[Route, ...]:
    try:
        return tuple(r for r in namespace.routes if r.dst in ("0.0.0.0/0", "::/0") and r.type == "unicast")
    except ParseError:
        return ()


def _interface(link: Link, peer: str) -> Interface:
    return Interface(
        name=link.ifname,
        index=link.ifindex,
        kind=link.kind or ("loopback" if link.link_type == _LOOPBACK else ""),
        state=_state(link),
        mtu=link.mtu,
        mac="" if link.link_type == _LOOPBACK else link.address,
        addresses=several(f"{a.local}/{a.prefixlen}" for a in link.addresses if a.scope != "link"),
        master=link.master,
        peer=peer,
        details=_details(link),
    )


def _state(link: Link) -> str:
    if not link.up:
        return "down"
    return "up" if link.carrier or link.operstate in ("UP", "UNKNOWN") else "no carrier"


def _details(link: Link) -> str:  # noqa: PLR0911 - one for each kind
    data = link.data
    match data:
        case VxlanData():
            ends = _ends(data.local or data.local6, data.remote or data.remote6 or data.group or data.group6)
            dev = f" dev {data.link}" if data.link else ""
            learning = "" if data.learning else " nolearning"
            return f"VNI {data.id}{ends}{dev} port {data.port}{learning}{' external' if data.external else ''}"
        case GeneveData():
            return f"VNI {data.id}{_ends('', data.remote or data.remote6)} port {data.port}"
        case TunnelData():
            return _ends(data.local, data.remote).strip()
        case BridgeData():
            return "VLAN filtering" if data.vlan_filtering else ""
        case MacvlanData() | IpvlanData():
            return f"mode {data.mode}" + (f" on {link.link}" if link.link else "")
        case VlanData():
            return f"VLAN {data.id}" + (f" on {link.link}" if link.link else "")
        case BondData():
            return f"mode {data.mode}"
        case VrfData():
            return f"table {data.table}"
        case _:
            return "hairpin" if link.port is not None and link.port.hairpin else ""


def _ends(local: str, remote: str) -> str:
    return (f" local {local}" if local else "") + (f" remote {remote}" if remote else "")
