"""What Open Service Mesh makes of a call between two pods: mutual TLS between its proxies, always, and SMI's policies.

Sources: openservicemesh/osm pkg/envoy/lds, pkg/catalog, pkg/injector/config.go, pkg/apis/config/v1alpha2.
"""

from __future__ import annotations

import re
from dataclasses import replace

from netinspect.mesh.base import ITSELF, NOTED, Call, Said, Side, in_ports, of_itself, split_of
from netinspect.mesh.osm_effects import of_client, of_server, protocol
from netinspect.mesh.sight import Sight, words
from netinspect.model import wire
from netinspect.model.finding import Clue
from netinspect.model.mesh import Capture, Reach, Transport
from netinspect.model.snapshot import Snapshot

_CONFIG = "osm-mesh-config"
_MONITORED = "openservicemesh.io/monitored-by"
_SETTLED = "osm proxy get config_dump"
_RANGES = ("openservicemesh.io/outbound-ip-range-exclusion-list", "openservicemesh.io/outbound-ip-range-inclusion-list")
# Metrics and probes of the proxy itself, which no redirection takes (pkg/injector/iptables.go).
_OWN = frozenset({15010, *range(15901, 15905)})
# A rule of osm-init's script that leaves ports out.
_LEFT_OUT = r"-[AI] OSM_PROXY_{} .*--dports? (\S+) -j RETURN"
_PROTOCOLS = frozenset({"http", "grpc", "tcp", "tcp-server-first"})


def said(call: Call, sight: Sight) -> Said:
    """Go through the client's proxy, then the server's with its policies."""
    configs = [c for c in sight.snapshot.osm_configs if c.metadata.name == _CONFIG]
    meshes = {s.pod.asked.get(_MONITORED) for s in (call.client, call.server) if s.presence is not None}
    if len(configs) != 1 or len(meshes) > 1:
        return _unknown(f"there is not one MeshConfig {_CONFIG} that is of both")
    if of_itself(call):
        return _unknown(ITSELF)
    traffic = configs[0].spec.traffic
    if any(key in call.client.pod.annotations for key in _RANGES) or _by_ranges(traffic):
        return _unknown("which addresses the client's proxy takes is not evaluated")
    client = _takes(call.client, call.service_port or call.port, "outbound", traffic.outbound_port_exclusion_list)
    server = _takes(call.server, call.port, "inbound", traffic.inbound_port_exclusion_list)
    if client is None or server is None:
        return _unknown("the port is among those to leave out, which counts for pods that are made after that alone")
    found = _through(call, sight.snapshot, traffic, client=client, server=server)
    effects = (
        *(of_client(call, sight.snapshot, configs[0]) if found.proxied else ()),
        *(of_server(call, sight.snapshot, configs[0]) if server else ()),
    )
    return replace(found, effects=effects)


def _through(call: Call, snapshot: Snapshot, traffic: wire.OsmTraffic, *, client: bool, server: bool) -> Said:
    if not server:
        return _outside(call, snapshot, traffic, client=client)
    if not client:
        return _uncertified(snapshot)
    if call.service is None or call.service.headless:
        return _by_address(call, snapshot, traffic)
    return _within(call, snapshot, traffic)


def _by_address(call: Call, snapshot: Snapshot, traffic: wire.OsmTraffic) -> Said:
    """Say what becomes of a call to a pod's own address, which a proxy knows by a headless Service alone."""
    if any(s.headless and s.selects(call.server.pod.object.metadata) for s in snapshot.services):
        return _unknown("it is asked for by the pod's own address, of which the client's proxy may know")
    if not traffic.egress:
        return _unlet(snapshot, "the client's proxy knows no way to a pod's own address: enableEgress is false")
    found = _uncertified(snapshot)
    return replace(found, says=f"the client's proxy passes it on as it is; {found.says}")


def _within(call: Call, snapshot: Snapshot, traffic: wire.OsmTraffic) -> Said:
    """Say what becomes of a call from proxy to proxy."""
    if (split := split_of(call, snapshot.traffic_splits)) is not None:
        says = f"where TrafficSplit {split.metadata.namespace}/{split.metadata.name} leads it is not evaluated"
        return replace(_unknown(says), proxied=True)
    if protocol(call) not in _PROTOCOLS:
        return _unknown(f"the proxies have no listener for appProtocol {protocol(call)}")
    if call.http is False and not protocol(call).startswith("tcp"):
        return _unknown("the proxies take it for HTTP: to Open Service Mesh the port's name does not begin with tcp-")
    if not traffic.permissive:
        return _by_targets(call, snapshot, egress=traffic.egress)
    reasons = (Clue(says="lets all of the mesh talk to all", source=f"MeshConfig {_CONFIG}", weight=NOTED),)
    caveat = "" if protocol(call).startswith("tcp") else "a request whose Host is none of the Service's names meets 404"
    return Said(
        Transport.MTLS, Reach.REACHED, "both proxies let it through", reasons, _identity(call), proxied=True,
        caveat=caveat,
    )  # fmt: skip


def _identity(call: Call) -> str:
    """Give the name in the client's certificate (pkg/identity/types.go), but for its trust domain."""
    pod = call.client.pod
    return f"{pod.object.spec.service_account_name or 'default'}.{pod.namespace}.…"


def _uncertified(snapshot: Snapshot) -> Said:
    """Say what becomes of a call by no proxy, to one that asks for a certificate of the mesh."""
    if snapshot.osm_ingress_backends:
        return _unknown("what IngressBackends let in is not evaluated")
    says = "the server's proxy asks for a certificate of the mesh, and the client has none"
    return Said(Transport.PLAINTEXT, Reach.REFUSED, says)


def _by_ranges(traffic: wire.OsmTraffic) -> bool:
    return bool(traffic.outbound_ip_range_exclusion_list or traffic.outbound_ip_range_inclusion_list)


def _takes(side: Side, port: int, way: str, everywhere: tuple[int, ...]) -> bool | None:
    """Say whether a proxy takes a port: all but those that were left out as its pod was made; None where unknown."""
    if side.presence is None or side.taken is not None:
        return bool(side.taken)
    if side.presence.capture is Capture.NONE or (way == "inbound" and port in _OWN):
        return False
    script = " ".join(words(init)) if (init := side.pod.containers.get("osm-init")) is not None else ""
    if "OSM_PROXY_" in script:
        rules = re.findall(_LEFT_OUT.format(way.upper()), script)
        return not any(in_ports(ports, port) for ports in rules)
    own = side.pod.annotations.get(f"openservicemesh.io/{way}-port-exclusion-list", "")
    return None if port in everywhere or in_ports(own, port) else True


def _outside(call: Call, snapshot: Snapshot, traffic: wire.OsmTraffic, *, client: bool) -> Said:
    """Say what becomes of a call to what is not in the mesh, or is left out of it."""
    if not client:
        return Said(Transport.PLAINTEXT, Reach.REACHED, "no proxy takes part")
    if call.server.presence is not None:
        return _unknown("the client's proxy takes it for the mesh, and the server's leaves this port out")
    if call.service is not None and _MONITORED in call.server.pod.asked:
        return _unknown("the client's proxy knows its Service as one of the mesh, and it has no proxy")
    if traffic.egress:
        says = "the client's proxy passes it on as it is: enableEgress is true"
        return Said(Transport.PLAINTEXT, Reach.REACHED, says)
    return _unlet(snapshot, "the client's proxy lets nothing out of the mesh: enableEgress is false")


def _unlet(snapshot: Snapshot, says: str) -> Said:
    if snapshot.osm_egresses:
        return _unknown("what Egress policies let out is not evaluated")
    return Said(Transport.NONE, Reach.FAILED, says)


def _by_targets(call: Call, snapshot: Snapshot, *, egress: bool) -> Said:
    """Look for who lets the client's service account in; without any its proxy knows no way to the server."""
    for target in snapshot.traffic_targets:
        spec, own = target.spec, target.metadata.namespace
        here = own == spec.destination.namespace and bool(spec.rules) and _is(spec.destination, call.server)
        if here and any(_is(s, call.client) for s in spec.sources):
            says = f"whether TrafficTarget {own}/{target.metadata.name} lets it in hangs on its routes"
            return Said(Transport.MTLS, Reach.UNKNOWN, says, proxied=True, settled_by=_SETTLED)
    says = "no TrafficTarget lets the client's service account in: its proxy has no way to the server"
    if snapshot.osm_ingress_backends if egress else snapshot.osm_egresses:
        return _unknown(f"{says}, and what else lets it out or in is not evaluated")
    if egress:
        return Said(Transport.PLAINTEXT, Reach.REFUSED, f"{says}, and what it lets out as it is the server's refuses")
    return Said(Transport.NONE, Reach.FAILED, says)


def _is(ref: wire.ObjectReference, side: Side) -> bool:
    """Say whether a service account is one's own, to the letter: no namespace stands for another (pkg/smi)."""
    account = side.pod.object.spec.service_account_name or "default"
    return ref.kind == "ServiceAccount" and (ref.name, ref.namespace) == (account, side.pod.namespace)


def _unknown(says: str) -> Said:
    return Said(Transport.UNKNOWN, Reach.UNKNOWN, says, settled_by=_SETTLED)
