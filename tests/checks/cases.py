"""For each check what makes it fire, and what it must not fire on though it looks the same."""

from __future__ import annotations

import re
from typing import Any

from msgspec import structs

from netinspect.model.snapshot import Snapshot
from tests import recorded
from tests.checks.changed import (
    Edit,
    Json,
    add,
    both,
    each,
    edit,
    items,
    lines_without,
    link,
    section,
    swap,
    sysctl,
    unread,
    well,
    without,
)

LONG_AGO = "2026-01-01T00:00:00Z"
JUST_NOW = "2026-11-24T08:25:00Z"


def condition(type_: str, status: str, reason: str = "", message: str = "") -> Any:
    def change(node: Json) -> None:
        node["metadata"]["creationTimestamp"] = LONG_AGO
        kept = [c for c in node["status"]["conditions"] if c["type"] != type_]
        node["status"]["conditions"] = [*kept, {"type": type_, "status": status, "reason": reason, "message": message}]

    return change


def not_ready(pod: Json) -> None:
    pod["metadata"]["creationTimestamp"] = LONG_AGO
    for one in pod["status"]["conditions"]:
        if one["type"] in ("Ready", "ContainersReady"):
            one["status"] = "False"
    for one in pod["status"]["containerStatuses"]:
        one["ready"] = False


def unready_endpoints(piece: Json) -> None:
    for one in piece["endpoints"]:
        one["conditions"] = {"ready": False, "serving": False}


def annotate(key: str, value: str | None) -> Any:
    def change(found: Json) -> None:
        notes = found["metadata"].setdefault("annotations", {})
        notes.pop(key, None)
        if value is not None:
            notes[key] = value

    return change


def set_at(*path: str, value: Any) -> Any:
    def change(found: Json) -> None:
        for key in path[:-1]:
            found = found.setdefault(key, {})
        found[path[-1]] = value

    return change


def nobody(key: str) -> Json:
    spec = {"selector": {"app": key}, "clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2"], "ports": [{"port": 80}]}
    return {"metadata": {"name": "gone", "namespace": "shop"}, "spec": spec}


def calico(**spec: Any) -> Edit:
    """Take the recorded cluster of Calico in place of the other, with a pool that is another."""

    def changed(_: Snapshot) -> Snapshot:
        found = recorded.calico("policies")
        pools = tuple(structs.replace(p, spec=structs.replace(p.spec, **spec)) for p in found.ip_pools)
        return structs.replace(found, ip_pools=pools)

    return changed


def situation(of: str, name: str) -> Edit:
    return lambda _: getattr(recorded, of)(name)


def mesh(name: str, where: str, change: Edit = lambda s: s) -> Edit:
    return lambda _: change(recorded.mesh(name, where))


POD = "k8s.v1.cni.cncf.io/networks"
NETWORK = {"metadata": {"name": "storage", "namespace": "shop"}, "spec": {"config": '{"type": "macvlan"}'}}
PUBLIC = "flannel.alpha.coreos.com/public-ip"
WEAVE = {
    "metadata": {"name": "weave-net", "namespace": "kube-system"},
    "spec": {"template": {"spec": {"hostNetwork": True, "containers": [
        {"name": "weave", "image": "docker.io/weaveworks/weave-kube:2.8.1", "command": ["/home/weave/launch.sh"]}]}}},
    "status": {"desiredNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": 2},
}  # fmt: skip
WEBHOOK = {"metadata": {"name": "hook"}, "webhooks": [
    {"name": "a.example.com", "clientConfig": {"service": {"name": "gone", "namespace": "shop"}}}]}  # fmt: skip
KUBE_PROXY = "KubeProxyConfiguration"


def proxy_setting(old: str, new: str) -> Edit:
    def change(found: Json) -> None:
        assert any(old in t for t in found["data"].values()), found["data"]
        found["data"] = {k: t.replace(old, new) for k, t in found["data"].items()}

    return edit("config_maps", "kube-proxy", change)


# The mode by its configuration alone, since rules of a mode tell more.
NFTABLES = both(proxy_setting("mode: iptables", "mode: nftables"), unread)


def and_more(kind: str) -> Any:
    return lambda text: text + kind


FIRES: dict[str, Edit] = {
    "NI1001": edit("nodes", "n2", condition("Ready", "False", "KubeletNotReady", "container runtime network not ready: "
                                            "NetworkReady=false reason:NetworkPluginNotReady")),
    "NI1002": edit("nodes", "n2", condition("NetworkUnavailable", "True", "NoRouteCreated")),
    "NI1003": edit("nodes", "n2", condition("Ready", "Unknown", "NodeStatusUnknown")),
    "NI1101": add("daemon_sets", WEAVE),
    "NI1102": both(
        add("custom_resource_definitions", {"metadata": {"name": "ippools.crd.projectcalico.org"}}),
        section("n1", "links", items(lambda k: k.append({
            "ifindex": 99, "ifname": "vxlan.calico", "flags": [], "mtu": 1450,
            "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 4096, "port": 4789}}})))),
    "NI1103": section("n2", "cni:/etc/cni/net.d/05-old.conf", lambda _: '{"name": "old", "type": "ptp"}'),
    "NI1104": edit("pods", "kube-flannel-ds", not_ready),
    "NI1105": without("pods", "kube-flannel-ds-nkdl7"),
    "NI1106": edit("pods", "kube-flannel-ds-nkdl7",
                   lambda p: p["spec"]["containers"][0].update(image="ghcr.io/flannel-io/flannel:v0.1.0")),
    "NI1107": both(without("daemon_sets", "kube-flannel"), add("daemon_sets", WEAVE)),
    "NI1108": edit("nodes", "n2", annotate("flannel.alpha.coreos.com/backend-type", None)),
    "NI1109": both(add("network_attachments", NETWORK), edit("pods", "web-", annotate(POD, "nowhere"))),
    "NI1110": both(add("network_attachments", NETWORK), edit("pods", "web-", annotate(POD, "storage"))),
    "NI1201": edit("nodes", "n2", lambda n: n["spec"].update(podCIDR="", podCIDRs=[])),
    "NI1202": edit("nodes", "n2", lambda n: n["spec"].update(podCIDR="10.244.0.0/24", podCIDRs=["10.244.0.0/24"])),
    "NI1203": edit("nodes", "n2", lambda n: n["spec"].update(podCIDR="10.9.0.0/24", podCIDRs=["10.9.0.0/24"])),
    "NI1204": edit("pods", "web-", lambda p: p["status"].update(podIP="10.244.0.9", podIPs=[{"ip": "10.244.0.9"}])),
    "NI1205": edit("pods", "web-9", lambda p: p["status"].update(podIP="10.244.1.77", podIPs=[{"ip": "10.244.1.77"}])),
    "NI1206": edit("nodes", "n1", lambda n: n["spec"].update(podCIDR="10.244.0.0/29", podCIDRs=["10.244.0.0/29"])),
    "NI1207": both(edit("service_cidrs", "kubernetes", lambda c: c["spec"].update(cidrs=["10.96.0.0/30"])),
                   add("services", nobody("web"))),
    "NI1208": lambda _: structs.replace(recorded.calico("policies"), pods=()),
    "NI1209": lambda _: structs.replace(recorded.calico("policies"), nodes=recorded.calico("policies").nodes[:1]),
    "NI1210": add("block_affinities", *({"metadata": {"name": n}, "spec": {"cidr": "10.1.0.0/26", "node": n,
                                         "state": "confirmed"}} for n in ("n1", "n2"))),
    "NI1211": lambda _: edit("ipam_blocks", "192-168-8-192", lambda b: b["spec"].update(allocations=[0] * 64))(
        calico(cidr="192.168.8.192/26")(well())),
    "NI1212": calico(cidr="10.99.0.0/16"),
    "NI1213": lambda _: edit("nodes", "c1", annotate("projectcalico.org/IPv4VXLANTunnelAddr", None))(
        recorded.calico("policies")),
    "NI1214": edit("pods", "kube-flannel-ds", each(
        lambda p: p["spec"]["containers"][0].update(ports=[{"containerPort": 2379}]),
        set_at("spec", "nodeName", value="n1"))),
    "NI1301": section("n1", "sysctl", sysctl("ipv4/ip_forward", "0")),
    "NI1302": section("n1", "sysctl", sysctl("ipv4/conf/cni0/forwarding", "0")),
    "NI1303": section("n1", "sysctl", lambda t: sysctl("netfilter/nf_conntrack_count", "95000")(
        sysctl("netfilter/nf_conntrack_max", "100000")(t))),
    "NI1304": section("n1", "sysctl", sysctl("ipv4/neigh/default/gc_thresh3", "2")),
    "NI1305": section("n1", "iptables-legacy", lambda _: "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n"
                      "-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -d 10.96.0.1/32 -j ACCEPT\nCOMMIT\n"),
    "NI1306": section("n1", "iptables-legacy", lambda _: "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n"
                      "-A INPUT -j KUBE-FIREWALL\n-A KUBE-FIREWALL -m comment --comment \"kubernetes firewall for "
                      "dropping marked packets\" -j DROP\nCOMMIT\n"),
    "NI1307": lambda _: section("k1", "sysctl", sysctl("ipv4/conf/all/rp_filter", "1"))(
        recorded.cilium("b-kpr/1-no-policy")),
    "NI1308": both(section("n1", "routes6", lines_without("default")),
                   section("n1", "sysctl", lambda t: sysctl("ipv6/conf/all/forwarding", "1")(
                       sysctl("ipv6/conf/eth0/accept_ra", "1")(t))),
                   section("n1", "links", items(lambda k: [a.update(dynamic=True) for x in k if x["ifname"] == "eth0"
                                                           for a in x["addr_info"] if a["family"] == "inet6"]))),
    "NI1309": section("n1", "routes4", and_more("unicast default via 10.9.9.1 dev eth1 table main metric 50\n")),
    "NI1401": section("n2", "links", link("flannel.1", down=True)),
    "NI1402": section("n2", "links", items(lambda k: [x["linkinfo"]["info_data"].update(local="10.9.9.9") for x in k
                                                      if x["ifname"] == "flannel.1"])),
    "NI1403": section("n1", "neighbours", items(lambda k: k.__setitem__(slice(None), [
        x for x in k if x["dev"] != "flannel.1"]))),
    "NI1404": edit("nodes", "n2", annotate("flannel.alpha.coreos.com/backend-type", "host-gw")),
    "NI1405": edit("nodes", "n", annotate(PUBLIC, "10.0.2.15")),
    "NI1406": section("n2", "iptables-nft", lambda t: re.sub(
        r"(\*filter\n(?::.*\n)*)", r"\1-A INPUT -p udp -m udp --dport 8472 -j DROP\n", t)),
    "NI1407": lambda _: edit("nodes", "c1", lambda n: n["spec"].update(providerID="azure:///subscriptions/1"))(
        calico(ipip_mode="Always")(recorded.calico("policies"))),
    "NI1501": section("n1", "links", link("eth0", mtu=1400)),
    "NI1502": section("n1", "links", link("eth0", mtu=9000)),
    "NI1601": section("n1", "routes4", lines_without("10.244.1.0/24")),
    "NI1602": lambda _: section("k1", "links", items(lambda k: k.__setitem__(slice(None), [
        x for x in k if x["ifname"] != "cilium_host"])))(recorded.cilium("b-kpr/1-no-policy")),
    "NI1603": lambda _: section("c1", "routes4", items(lambda k: k.__setitem__(slice(None), [
        x for x in k if not str(x.get("dev", "")).startswith("cali")])))(recorded.calico("policies")),
    "NI1604": section("n1", "links", items(lambda k: [a.update(local="10.99.0.1") for x in k if x["ifname"] == "cni0"
                                                      for a in x["addr_info"] if a["family"] == "inet"])),
    "NI1605": both(section("n1", "links", items(lambda k: k.append({"ifindex": 77, "ifname": "docker0", "flags": ["UP"],
                           "mtu": 1500, "linkinfo": {"info_kind": "bridge"}}))),
                   section("n1", "routes4", and_more("unicast 10.244.1.128/25 dev docker0 table main proto kernel\n"))),
    "NI1606": section("n1", "routes4", lines_without("default"), place="web-"),
    "NI1607": section("n1", "links", link("eth0", down=True), place="web-"),
    "NI1608": section("n2", "links", items(lambda k: [x["addr_info"].append(
        {"family": "inet", "local": "10.244.0.3", "prefixlen": 32, "scope": "global"})
        for x in k if x["ifname"] == "cni0"])),
    "NI1701": add("network_policies", {"metadata": {"name": "deny", "namespace": "shop"}, "spec": {"podSelector": {}}}),
    "NI1702": situation("calico", "k8s-networkpolicy-felix-crashlooping"),
    "NI1703": lambda _: section("c1", "iptables-nft", lines_without("-A FORWARD -m comment --comment \"cali:"))(
        recorded.calico("policies")),
    "NI1704": situation("calico", "kube-proxy-just-restarted"),
    "NI1801": edit("endpoint_slices", "web-", unready_endpoints),
    "NI1802": add("services", nobody("nobody")),
    "NI1803": edit("services", "web", lambda s: s["spec"]["ports"][0].update(targetPort="grpc")),
    "NI1804": edit("endpoint_slices", "web-", lambda s: s["endpoints"][0]["targetRef"].update(name="gone-0")),
    "NI1805": edit("pods", "kube-proxy-9nzgh", not_ready),
    "NI1806": both(without("daemon_sets", "kube-proxy"), *(section(n, "iptables-nft", swap("KUBE-SERVICES", "OTHER"))
                                                           for n in ("n1", "n2")),
                   *(section(n, "ip6tables-nft", swap("KUBE-SERVICES", "OTHER")) for n in ("n1", "n2"))),
    "NI1807": lambda _: add("daemon_sets", {
        "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"hostNetwork": True, "containers": [
            {"name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.36.0"}]}}},
        "status": {"desiredNumberScheduled": 2, "numberReady": 2}})(
            add("pods", {"metadata": {"name": "kube-proxy-1", "namespace": "kube-system",
                                      "ownerReferences": [{"kind": "DaemonSet", "name": "kube-proxy"}]},
                         "spec": {"nodeName": "k1", "hostNetwork": True}, "status": {"phase": "Running"}})(
                             recorded.cilium("b-kpr/1-no-policy"))),
    "NI1808": section("n1", "links", items(lambda k: k.append({"ifindex": 78, "ifname": "kube-ipvs0", "flags": [],
                                           "mtu": 1500, "linkinfo": {"info_kind": "dummy"}}))),
    "NI1809": proxy_setting("mode: iptables", 'mode: ""'),
    "NI1810": both(edit("services", "web", lambda s: s["spec"].update(internalTrafficPolicy="Local")),
                   edit("endpoint_slices", "web-", lambda s: s.update(endpoints=s["endpoints"][:1]))),
    "NI1811": proxy_setting("10.244.0.0/16", "10.99.0.0/16"),
    "NI1812": edit("services", "web", lambda s: s["spec"].update(type="LoadBalancer")),
    "NI1813": add("mutating_webhooks", WEBHOOK),
    "NI1814": both(NFTABLES, edit("nodes", "n2", set_at("status", "nodeInfo", "kernelVersion", value="5.10.0-8"))),
    "NI1901": edit("endpoint_slices", "kube-dns", unready_endpoints),
    "NI1902": both(
        add("daemon_sets", {"metadata": {"name": "node-local-dns", "namespace": "kube-system"}, "spec": {}}),
        add("pods", {"metadata": {"name": "node-local-dns-1", "namespace": "kube-system",
                                  "ownerReferences": [{"kind": "DaemonSet", "name": "node-local-dns"}]},
                     "spec": {"nodeName": "n1", "hostNetwork": True}, "status": {"phase": "Running"}})),
    "NI2101": mesh("linkerd", "injector-down"),
    "NI2201": section("n1", "routes4", lambda t: t + "blackhole 10.244.1.0/25 table main proto static metric 0\n"),
    "NI2202": section("n1", "links", link("eth0", down=True), place="web-"),
    "NI2203": section("n2", "iptables-nft", lines_without("-A KUBE-SERVICES -d")),
    "NI2204": section("n2", "iptables-nft", lines_without("-A KUBE-NODEPORTS")),
    "NI2205": both(*(section(n, "links", link("flannel.1", mtu=1000)) for n in ("n1", "n2"))),
}  # fmt: skip

# Other forms of the same.
ALSO: dict[str, tuple[str, Edit, set[str]]] = {
    "a setting of kube-proxy with a comment": (
        "NI1811",
        proxy_setting("10.244.0.0/16", "10.99.0.0/16 # of the old CNI"),
        {"cluster"},
    ),
    "no agent at all": ("NI1105", without("pods", "kube-flannel-ds"), {"node/n1", "node/n2"}),
    "no kube-proxy at all": ("NI1805", without("pods", "kube-proxy"), {"node/n1", "node/n2"}),
    "a tunnel of one family that takes less": (
        "NI1501",
        section("n1", "links", link("flannel.1", mtu=1000)),
        {"node/n1"},
    ),
    "br_netfilter that is not loaded": ("NI1301", section("n1", "sysctl", lines_without("/net/bridge/")), {"node/n1"}),
}

# What looks the same, and is meant so.
QUIET: dict[str, tuple[str, Edit]] = {
    "a node that has just joined": ("NI1001", edit("nodes", "n2", each(
        condition("Ready", "False", "KubeletNotReady", "cni plugin not initialized"),
        set_at("metadata", "creationTimestamp", value=JUST_NOW)))),
    "a node that is down altogether": ("NI1002", edit("nodes", "n2", each(
        condition("NetworkUnavailable", "True"), condition("Ready", "Unknown")))),
    "an agent that has just started": ("NI1104", edit("pods", "kube-flannel-ds", each(
        not_ready, set_at("metadata", "creationTimestamp", value=JUST_NOW)))),
    "an agent that is being replaced": ("NI1104", edit("pods", "kube-flannel-ds", each(
        not_ready, set_at("metadata", "deletionTimestamp", value=JUST_NOW)))),
    "a Windows node without the agent": ("NI1105", both(
        without("pods", "kube-flannel-ds-nkdl7"),
        edit("nodes", "n2", set_at("status", "nodeInfo", "operatingSystem", value="windows")))),
    "a virtual node without the agent": ("NI1105", both(
        without("pods", "kube-flannel-ds-nkdl7"),
        edit("nodes", "n2", set_at("metadata", "labels", "type", value="virtual-kubelet")))),
    "Calico without ranges of nodes": ("NI1201", lambda _: edit("nodes", "c", lambda n: n["spec"].update(
        podCIDR="", podCIDRs=[]))(recorded.calico("policies"))),
    "a finished pod that shows its old address": ("NI1204", both(
        edit("pods", "web-", lambda p: p["status"].update(podIP="10.244.0.9", podIPs=[{"ip": "10.244.0.9"}])),
        edit("pods", "web-9w7qs", set_at("status", "phase", value="Succeeded")))),
    "Calico's own strict filters": ("NI1307", lambda _: section("c1", "sysctl", sysctl(
        "ipv4/conf/all/rp_filter", "1"))(recorded.calico("policies"))),
    "rules of another program in the other variant": ("NI1305", section("n1", "iptables-legacy", lambda _: (
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 23 -j DROP\nCOMMIT\n"))),
    "the mark that KUBE-FIREWALL asks for": ("NI1306", section("n1", "iptables-legacy", lambda _: (
        "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\nCOMMIT\n"))),
    "an address that was set by hand": ("NI1405", edit("nodes", "n2", each(
        annotate(PUBLIC, "198.51.100.7"), annotate(f"{PUBLIC}-overwrite", "198.51.100.7")))),
    "a Service without a selector": ("NI1801", both(
        edit("services", "web", lambda s: s["spec"].update(selector={})),
        edit("endpoint_slices", "web-", lambda s: s["metadata"]["labels"].update(by="hand")))),
    "an ExternalName": ("NI1801", add("services", {"metadata": {"name": "out", "namespace": "shop"}, "spec": {
        "type": "ExternalName", "externalName": "example.com"}})),
    "kube-proxy of a node that is not ready": ("NI1805", both(
        edit("pods", "kube-proxy-9nzgh", not_ready), edit("nodes", "n2", condition("Ready", "Unknown")))),
    "a kube-proxy that has just started": ("NI1805", edit("pods", "kube-proxy", each(
        not_ready, set_at("metadata", "creationTimestamp", value=JUST_NOW)))),
    "a distribution that runs kube-proxy within": ("NI1805", both(
        without("daemon_sets", "kube-proxy"), without("pods", "kube-proxy"))),
    "kernels that are new enough for nftables": ("NI1814", both(NFTABLES, edit("nodes", "n", set_at(
        "status", "nodeInfo", "kernelVersion", value="5.13.0")))),
    "an old kernel with iptables": ("NI1814", edit("nodes", "n", set_at(
        "status", "nodeInfo", "kernelVersion", value="4.18.0"))),
    "an old kernel whose check somebody turned off": ("NI1814", both(
        NFTABLES, edit("nodes", "n", set_at("status", "nodeInfo", "kernelVersion", value="4.18.0-553.el8_10")),
        edit("daemon_sets", "kube-proxy", lambda d: d["spec"]["template"]["spec"]["containers"][0].update(
            env=[{"name": "KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK", "value": "1"}])))),
    "a tunnel of one family that is down": ("NI1501", section("n1", "links", link("flannel.1", down=True))),
    "a webhook outside of the cluster": ("NI1813", add("mutating_webhooks", {"metadata": {"name": "hook"}, "webhooks": [
        {"name": "a.example.com", "clientConfig": {"url": "https://a.example.com/"}}]})),
    "a Service whose endpoints are on every node": ("NI1810", edit("services", "web", lambda s: s["spec"].update(
        internalTrafficPolicy="Local"))),
    "a pod that opted out of Linkerd": ("NI2101", mesh("linkerd", "final")),
    "what Calico's policies stop": ("NI2201", situation("calico", "policies")),
    "what Cilium's policies stop": ("NI2203", situation("cilium", "b-kpr/2-policy")),
    "what a mesh does not let in": ("NI2201", mesh("linkerd", "final")),
    "pods whose routes take less than their links": ("NI2205", situation("cilium", "a-kube-proxy/1-no-policy")),
}  # fmt: skip
