"""Diagnoses that are known and not made yet, and what each would take."""

from __future__ import annotations

from netinspect.model.check import Uncovered

_EVENTS = "reading events, which are many and short-lived"
_PROBE = "real packets"
_MACHINE = "reading more of the machine than its network: files of systemd, modules, offloads"
_RULES = "evaluating the rules of NetworkPolicies"
_AGENT = "asking the CNI's agent on each node, by its own port or command"
_CLOUD = "reading the cloud's own API"
_OBJECTS = "reading more of this CNI's custom resources"

UNCOVERED: tuple[Uncovered, ...] = tuple(
    Uncovered(title=title, takes=takes)
    for title, takes in (
        ("pods' sandboxes that could not be created, by the runtime's messages", _EVENTS),
        ("AWS: no free addresses in a subnet; leaked network interfaces", f"{_EVENTS}, and {_CLOUD}"),
        ("a plug-in's program that is missing, or cannot be executed", _MACHINE),
        ("leaks of host-local (/var/lib/cni/networks)", _MACHINE),
        ("agents' health endpoints (flanneld, Felix, Antrea, kube-router, AWS ipamd)", _AGENT),
        ("pools of Calico whose node selector leaves a node out", "Calico's selector language"),
        ("Cilium: operator's IPAM error, endpoints that are not ready, nodes' health", _OBJECTS),
        ("Kube-OVN: subnets that are full or not ready, addresses that differ from the pods'", _OBJECTS),
        ("Azure CNS: pools that are exhausted; network security groups", f"{_OBJECTS}, and {_CLOUD}"),
        ("Whereabouts: reservations without pods", _OBJECTS),
        ("Weave: a ring that is split, a peer that is gone", _AGENT),
        ("OVN: chassis twice, encapsulation addresses, stale annotations", _OBJECTS),
        ("Antrea: AntreaAgentInfo; Calico's operator: TigeraStatus", _OBJECTS),
        ("firewalld or ufw at work", f"{_MACHINE}; what their rules stop is found by walking packets"),
        ("insert failures of connection tracking, ports for masquerading that are used up", "two readings of counters"),
        ("systemd-networkd, NetworkManager, MACAddressPolicy", _MACHINE),
        ("checksum offload of VXLAN on old kernels; kernel modules; conn_reuse_mode of IPVS", _MACHINE),
        ("tunnels blocked between nodes by something that is no node", _PROBE),
        ("paths that lose large packets without saying so", _PROBE),
        ("clouds' source and destination checks", _CLOUD),
        ("BGP sessions (Calico, kube-router, Cilium)", _AGENT),
        ("VXLAN on ESXi or NSX with the same port", _MACHINE),
        ("pods made before the MTU was changed", "the CNI's own note of its MTU on the node"),
        ("WireGuard: peers without a handshake", "a second reading, since an idle peer has none either"),
        ("NAT of pods' traffic to outside, missing or twice", "knowing what the fabric outside knows of pods' ranges"),
        ("stale UDP entries of connection tracking", "which entries are older than the endpoints"),
        ("topology hints without endpoints in a zone", "an index of zones; kube-proxy falls back by itself"),
        ("strictARP with an announcing load balancer in IPVS mode", "knowing who announces, and how"),
        ("NodeLocal DNSCache with IPVS or a kube-proxy replacement; five-second delays", "the kubelets' configuration"),
        ("policies that isolate a pod's egress and forget DNS", _RULES),
        ("policies written for a Service's address", _RULES),
        ("k3s: a backend that was changed without a restart", "k3s' own arguments beside Flannel's annotations"),
        ("AWS: SNAT chains and policy rules of pods on secondary interfaces, ARP entries of pods", _AGENT),
        ("Multus: its kubeconfig; ranges of secondary networks on several nodes", _MACHINE),
        ("eBPF programs of Calico that did not load", "reading programs by tc filter for Calico too"),
        (
            "meshes other than Istio, Linkerd, Consul, App Mesh, OSM, Kuma, NGINX, Traefik and Cilium",
            "a driver for each",
        ),
    )
)
