"""Whether one CNI is at work, on every node, and its agents are well."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from netinspect.analysis.cni import NEEDS
from netinspect.checks.base import Irrelevant, Problem, Seen, Unseen, check, issue, problem
from netinspect.checks.view import View
from netinspect.model import resources, wire
from netinspect.model.check import Category, Vantage
from netinspect.model.cni import Recognised, Standing
from netinspect.model.finding import Severity
from netinspect.model.image import image_version

_RESTS = ("NI14", "NI16", "NI22")
_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_STATUS = "k8s.v1.cni.cncf.io/network-status"


def _agents(view: View) -> Iterator[tuple[Recognised, Mapping[str, wire.Pod]]]:
    """Give each CNI at work that has a DaemonSet, with its pods by node."""
    for one in view.cni.cnis:
        namespace, _, name = one.agent.partition("/")
        if name and one.standing is Standing.ACTIVE:
            yield one, view.pods_of.get((namespace, name), {})


@check(
    "NI1101", "one CNI carries packets between pods", Category.CNI, Severity.WARNING, needs=NEEDS,
    remedy="remove the one that is not meant; `netinspect cni -o wide` tells by what each is known",
    links=(issue("containerd/cri#889"),),
)  # fmt: skip
def several_cnis(view: View) -> Iterator[Seen]:
    """Find two CNIs that both carry packets, and clusters in which none is recognised.

    Which of two a pod gets hangs on its node's configuration files, and pods of one may not reach those of the other.
    CNIs that are meant to work together (Canal, a policy engine behind a cloud's CNI, chained Cilium, Multus) are no
    fault.
    """
    yield from map(problem, view.told("several-cnis"))
    if not view.cni.datapath:
        yield Unseen("no CNI that carries packets was recognised", "--access exec or pod shows what the kernels have")


@check(
    "NI1102", "nothing is left of a CNI that was removed", Category.CNI, Severity.INFO, needs=NEEDS,
    remedy="remove what is left by that CNI's own instructions, and restart the nodes where interfaces or rules remain",
    links=(issue("projectcalico/calico#2561"), issue("cloudnativelabs/kube-router#425")),
)  # fmt: skip
def leftovers(view: View) -> Iterator[Seen]:
    """Find the marks of a CNI that is at work no more: custom resources, annotations, interfaces, chains.

    What is left only confuses, until its rules or routes meet packets of the CNI that came after it. `tunl0` without an
    address is no mark: the kernel makes it with its module.
    """
    return map(problem, view.told("leftover"))


@check(
    "NI1103", "the container runtime takes the right CNI configuration", Category.CNI, Severity.WARNING, needs=NEEDS,
    vantage=Vantage.NODE,
    remedy="remove the files of CNIs that are not meant from /etc/cni/net.d: the first by name is taken",
    links=(issue("kubernetes-sigs/kubespray#2122"), issue("projectcalico/calico#1388")),
)  # fmt: skip
def configuration_order(view: View) -> Iterator[Seen]:
    """Find nodes where another file of CNI configuration comes before that of the CNI that is at work.

    containerd and CRI-O take the first valid file of the folder by name, so a file left from an earlier CNI decides
    which plug-in wires new pods.
    """
    for node, kernel in view.sight.read:
        if not kernel.conflists:
            # A node has one as soon as a pod runs on it; what looks from a container may not see the folder.
            yield Unseen(f"no file of CNI configuration of node/{node.name} was seen", "--access pod sees the folder")
    yield from map(problem, view.told("configuration-order"))


@check(
    "NI1104", "the CNI's agents are ready", Category.CNI, Severity.ERROR, needs=NEEDS, explains=_RESTS,
    remedy="`kubectl describe` the pod: its readiness message and last state tell what it waits for",
    links=(issue("projectcalico/calico#3541"), issue("flannel-io/flannel#1344")),
)  # fmt: skip
def agent_not_ready(view: View) -> Iterator[Seen]:
    """Find nodes on which the pod of the CNI's agent is not ready.

    What it programmed stays in the kernel, but changes do not arrive: new pods, nodes and policies are not known
    there. An agent that is being rolled out, or that started less than two minutes ago, is left out.
    """
    for cni, pods in _agents(view):
        for node, pod in sorted(pods.items()):
            ready = next((c.status for c in pod.status.conditions if c.type == "Ready"), "")
            if ready != "False" or pod.metadata.deletion_timestamp or view.is_young(pod):
                continue
            yield Problem(
                f"node/{node}",
                f"the agent of {cni.title}, pod/{pod.metadata.namespace}/{pod.metadata.name}, is not ready",
                _why(pod),
                f"kubectl -n {pod.metadata.namespace} describe pod {pod.metadata.name}, and see its log",
                key=cni.name,
            )


def _why(pod: wire.Pod) -> str:
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        state = status.state.waiting or status.state.terminated
        if not status.ready and state is not None and state.reason not in ("", "Completed"):
            return f"container {status.name}: {state.reason}"
    said = (c.message for c in pod.status.conditions if c.type in ("Ready", "ContainersReady") and c.message)
    return next(said, "its containers run, and its readiness probe fails")


@check(
    "NI1105", "every node has the CNI's agent", Category.CNI, Severity.ERROR, needs=NEEDS, explains=_RESTS,
    remedy="let the DaemonSet tolerate the node's taints, and its node selector match the node's labels",
    links=("https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations",),
)  # fmt: skip
def node_without_agent(view: View) -> Iterator[Seen]:
    """Find ready Linux nodes on which no pod of the CNI's DaemonSet runs.

    Pods there get no address, or one to which nobody has a way. Windows, virtual and Fargate nodes are left out, and so
    is a CNI whose agent is one DaemonSet among several for different nodes.
    """
    for cni, pods in _agents(view):
        bare = [n.name for n in view.linux if n.takes_agents and n.name not in pods]
        shared = cni.desired == len(pods) and 2 * len(bare) > len(view.linux)
        # Without a status nobody knows whether it is meant to run anywhere.
        meant = pods or (cni.desired and not view.snapshot.gap("pods"))
        for node in bare if meant and not shared else ():
            yield Problem(
                f"node/{node}", f"no pod of DaemonSet {cni.agent} runs on it",
                "a taint that it does not tolerate, or a label that its node selector asks for",
                f"compare `kubectl describe node {node}` with the DaemonSet's tolerations and node selector",
                key=cni.name,
            )  # fmt: skip


@check(
    "NI1106", "the CNI's agents are of one version", Category.CNI, Severity.INFO, needs=NEEDS,
    remedy="finish the rollout: `kubectl rollout status` of the DaemonSet",
)  # fmt: skip
def agent_skew(view: View) -> Iterator[Seen]:
    """Find a CNI whose agents run different versions.

    Versions of an agent may program the kernel in different ways. During a rollout that is meant; a DaemonSet with the
    update strategy OnDelete stays so until its pods are deleted.
    """
    for cni, pods in _agents(view):
        versions: Counter[str] = Counter()
        for pod in pods.values():
            if isinstance(pod, wire.NotedPod) and pod.spec.containers:
                versions[image_version(pod.spec.containers[0].image)] += 1
        versions.pop("", None)
        if len(versions) > 1:
            told = ", ".join(f"{v} on {n}" for v, n in versions.most_common())
            yield Problem(
                f"daemonset/{cni.agent}", f"its pods run {told} nodes", "a rollout that is not finished",
                f"kubectl -n {cni.agent.partition('/')[0]} rollout status daemonset {cni.agent.partition('/')[2]}",
                key="skew",
            )  # fmt: skip


@check(
    "NI1107", "the CNI is maintained", Category.CNI, Severity.INFO, needs=NEEDS,
    remedy="plan a migration to a CNI that is maintained",
    links=("https://github.com/weaveworks/weave",),
)  # fmt: skip
def unmaintained(view: View) -> Iterator[Seen]:
    """Find a CNI that gets no fixes any more.

    Weave Net, whose repository was archived after its last commit in 2022.
    """
    if "weave" in view.cni.datapath.split(", "):
        yield Problem(
            "cluster", "Weave Net carries packets, and nobody maintains it", "its repository is archived",
            "plan a migration to another CNI",
        )  # fmt: skip


@check(
    "NI1108", "every node announced itself to the others", Category.CNI, Severity.ERROR, needs=NEEDS, explains=_RESTS,
    remedy="restart the CNI's agent on the node, and see in its log why it could not write to the API server",
    links=(issue("flannel-io/flannel#728"),),
)  # fmt: skip
def not_announced(view: View) -> Iterator[Seen]:
    """Find nodes without what the CNI's agents note for each other: annotations of Flannel or OVN, a CiliumNode.

    The others read from it where the node's pods are; without it they have no way to them.
    """
    return map(problem, view.told("not-announced"))


@check(
    "NI1109", "secondary networks exist and can be read", Category.CNI, Severity.ERROR,
    needs=(resources.NOTED_PODS, resources.NETWORK_ATTACHMENTS),
    remedy="create the NetworkAttachmentDefinition in the pod's namespace, or mend its spec.config",
    links=("https://github.com/k8snetworkplumbingwg/multus-cni/blob/master/docs/how-to-use.md",),
)  # fmt: skip
def network_unresolved(view: View) -> Iterator[Seen]:
    """Find pods that ask for a NetworkAttachmentDefinition that is not there, and such as are no configuration.

    Multus refuses to wire such a pod, which then waits in ContainerCreating. A definition without any configuration
    names a file on the node, and is no fault.
    """
    known = {(n.metadata.namespace, n.metadata.name) for n in view.snapshot.network_attachments}
    asking = [(name, p, asked) for name, p in view.pods.items() if (asked := _asked(p))]
    if not known and not asking:
        yield Irrelevant("no pod asks for a secondary network")
        return
    for attachment in view.snapshot.network_attachments:
        if reason := _unreadable(attachment.spec.config):
            yield Problem(
                f"network-attachment-definition/{attachment.metadata.namespace}/{attachment.metadata.name}",
                f"its configuration {reason}", "Multus cannot call a plug-in with it", "mend spec.config",
            )  # fmt: skip
    missing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, pod, networks in asking:
        for network in networks:
            where, _, plain = network.rpartition("/")
            if (where or pod.metadata.namespace, plain) not in known:
                missing[where or pod.metadata.namespace, plain].append(name)
    for (where, plain), pods in sorted(missing.items()):
        yield Problem(
            f"pod/{pods[0]}", f"it asks for the network {where}/{plain}, which is not there"
            + (f", as {len(pods) - 1} others do" if len(pods) > 1 else ""),
            "no NetworkAttachmentDefinition of that name is in that namespace",
            f"create it in {where}, or mend the annotation {_NETWORKS}", key=f"{where}/{plain}",
        )  # fmt: skip


def _asked(pod: wire.Pod) -> tuple[str, ...]:
    """Give the networks that a pod asks for, as ``name`` or ``namespace/name`` (Multus: both forms)."""
    text = pod.metadata.annotations.get(_NETWORKS, "") if isinstance(pod.metadata, wire.NotedMetadata) else ""
    if not text.strip():
        return ()
    if not text.lstrip().startswith("["):
        return tuple(part.strip().partition("@")[0] for part in text.split(",") if part.strip())
    found = _json(text)
    listed = [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []
    return tuple(f"{f['namespace']}/{f['name']}" if f.get("namespace") else str(f.get("name", "")) for f in listed)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _unreadable(config: str) -> str:
    if not config.strip():
        return ""
    found = _json(config)
    if not isinstance(found, dict):
        return "is no JSON object"
    plugins = found.get("plugins")
    listed = plugins if isinstance(plugins, list) else [found]
    typed = listed and all(isinstance(p, dict) and p.get("type") for p in listed)
    return "" if typed else "names no plug-in (type)"


@check(
    "NI1110", "pods have the secondary networks that they ask for", Category.CNI, Severity.ERROR,
    needs=(resources.NOTED_PODS, resources.NETWORK_ATTACHMENTS),
    remedy="see the events of the pod and the log of Multus on its node; make the pod anew",
    links=("https://github.com/k8snetworkplumbingwg/multus-cni/blob/master/docs/how-to-use.md",),
)  # fmt: skip
def network_not_attached(view: View) -> Iterator[Seen]:
    """Find running pods with fewer secondary networks than they ask for, by the status that Multus notes on them."""
    asking = [(name, p, asked) for name, p in view.pods.items() if (asked := _asked(p))]
    if not asking:
        yield Irrelevant("no pod asks for a secondary network")
    for name, pod, networks in asking:
        metadata = pod.metadata
        text = metadata.annotations.get(_STATUS, "") if isinstance(metadata, wire.NotedMetadata) else ""
        found = _json(text)
        listed = [s for s in found if isinstance(s, dict) and not s.get("default")] if isinstance(found, list) else []
        if pod.status.phase == "Running" and len(listed) < len(networks):
            yield Problem(
                f"pod/{name}", f"it asks for {len(networks)} secondary networks and has {len(listed)}",
                "Multus was not called when it was made, or does not run" if not text else "a network was not attached",
                "see whether Multus' file is the first in /etc/cni/net.d, and make the pod anew",
                key="attached",
            )  # fmt: skip


CHECKS = (
    several_cnis, leftovers, configuration_order, agent_not_ready, node_without_agent, agent_skew, unmaintained,
    not_announced, network_unresolved, network_not_attached,
)  # fmt: skip
