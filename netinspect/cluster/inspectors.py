"""Inspector pods: short-lived, on the nodes asked for, and gone whatever becomes of us.

A Job that runs nothing owns the pods. It has a deadline and is deleted when it is over (``ttlSecondsAfterFinished``,
KEP-592), and the garbage collector takes what it owns: so all is gone when we delete the Job, or are killed and cannot.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from netinspect.analysis.agents import INSPECTOR
from netinspect.cluster.exec import Place
from netinspect.cluster.transport import Transport
from netinspect.errors import ApiError, ClusterError, NodeError

# nicolaka/netshoot:v0.13, for amd64 and arm64.
IMAGE = "docker.io/nicolaka/netshoot@sha256:a20c2531bf35436ed3766cd6cfe89d352b050ccc4d7005ce6400adf97503da1b"
NAMESPACE = "kube-system"
CONTAINER = "inspector"
LABEL = "netinspect.io/run"
_POLL = 0.3
_HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
             "CreateContainerError", "RunContainerError")  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What to create. ``run`` marks what belongs together.

    ``lifetime`` is how long a pod may exist at most, and ``deadline`` the whole, in seconds.
    """

    run: str
    nodes: tuple[str, ...]
    namespace: str = NAMESPACE
    image: str = IMAGE
    pull_policy: str = "IfNotPresent"
    lifetime: int = 120
    deadline: int = 120


def owner(plan: Plan) -> dict[str, Any]:
    """Give the Job that owns the pods and runs none itself."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(plan, f"netinspect-{plan.run}"),
        "spec": {
            "parallelism": 0,
            "backoffLimit": 0,
            "activeDeadlineSeconds": plan.deadline,
            "ttlSecondsAfterFinished": 0,
            "template": {
                "metadata": {"labels": {**INSPECTOR, LABEL: plan.run}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "none", "image": plan.image}]},
            },
        },
    }


def pod(plan: Plan, node: str, owner_uid: str) -> dict[str, Any]:
    """Give the inspector of one node."""
    metadata = _metadata(plan, f"netinspect-{plan.run}-{plan.nodes.index(node) + 1}")
    # For servers older than the field in the security context (1.30).
    metadata["annotations"] = {f"container.apparmor.security.beta.kubernetes.io/{CONTAINER}": "unconfined"}
    if owner_uid:
        name = f"netinspect-{plan.run}"
        metadata["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": owner_uid}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            # Named outright, so that neither a cordon nor a scheduler out of order keeps it away.
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            # The node's own namespaces are what it is there to see, and it must start where the CNI is broken.
            "hostNetwork": True,
            "hostPID": True,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": plan.lifetime,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": plan.image,
                    "imagePullPolicy": plan.pull_policy,
                    "command": ["sleep", str(plan.lifetime)],
                    "resources": {
                        "requests": {"cpu": "10m", "memory": "32Mi"},
                        "limits": {"cpu": "1", "memory": "256Mi"},
                    },
                    "securityContext": _security(),
                }
            ],
        },
    }


def _security() -> dict[str, Any]:
    """Give just what reading needs.

    SYS_ADMIN to enter a network namespace (setns(2)), SYS_PTRACE to see that of another process (ptrace(2)),
    NET_ADMIN to list netfilter and connections, NET_RAW for the socket through which iptables-legacy asks. AppArmor's
    default profile and SELinux' container type forbid to look at processes outside.
    """
    return {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
        "runAsNonRoot": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "appArmorProfile": {"type": "Unconfined"},
        "seLinuxOptions": {"type": "spc_t"},
    }


def _metadata(plan: Plan, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": plan.namespace, "labels": {**INSPECTOR, LABEL: plan.run}}


def objects(plan: Plan) -> list[dict[str, Any]]:
    """List everything that would be created, in order, as ``--dry-run`` prints it."""
    return [owner(plan), *(pod(plan, node, "set-when-created") for node in plan.nodes)]


class Inspectors:
    """Makes inspector pods that the run's Job owns. Used from several threads."""

    def __init__(self, transport: Transport, plan: Plan, owner_uid: str) -> None:
        self._transport = transport
        self._plan = plan
        self._owner_uid = owner_uid

    @contextmanager
    def on(self, node: str) -> Iterator[Place]:
        """Create the pod of one node, and take it away at the end; raises ``NodeError`` where it may not be."""
        plan = self._plan
        pods = f"/api/v1/namespaces/{quote(plan.namespace)}/pods"
        body = pod(plan, node, self._owner_uid)
        place = Place(plan.namespace, str(body["metadata"]["name"]), CONTAINER)
        try:
            self._transport.send("POST", pods, body)
        except ClusterError as error:
            raise NodeError(f"no inspector pod on {node}: {error}", hint=_hint(error, plan)) from error
        try:
            yield place
        finally:
            _delete(self._transport, f"{pods}/{quote(place.pod)}")


@contextmanager
def inspectors(transport: Transport, plan: Plan, left: Callable[[str], None]) -> Iterator[Inspectors]:
    """Create the owner of the pods, and take it away at the end with all that it owns; ``left`` is told where it stays.

    Raises ``NodeError`` where nothing at all may be created.
    """
    jobs = f"/apis/batch/v1/namespaces/{quote(plan.namespace)}/jobs"
    try:
        try:
            made = json.loads(transport.send("POST", jobs, owner(plan)))
        except ClusterError as error:
            raise NodeError(f"no inspector pods may be created: {error}", hint=_hint(error, plan)) from error
        yield Inspectors(transport, plan, str(made["metadata"]["uid"]))
    finally:
        if not _delete(transport, f"{jobs}/netinspect-{plan.run}"):
            left(f"job/netinspect-{plan.run} may stay in {plan.namespace} for up to {plan.deadline} s")


def _hint(error: ClusterError, plan: Plan) -> str:
    if "violates PodSecurity" in str(error):
        return (
            f"Pod Security admission of namespace {plan.namespace} refuses host access: choose another with "
            "--inspector-namespace, labelled pod-security.kubernetes.io/enforce=privileged"
        )
    if isinstance(error, ApiError) and error.status == 403:
        return "`netinspect rbac --access pod` prints the role that is needed"
    if isinstance(error, ApiError) and error.status == 404:
        return f"there may be no namespace {plan.namespace}: choose another with --inspector-namespace"
    return error.hint


def wait(transport: Transport, place: Place, deadline: float) -> None:
    """Wait until an inspector runs; raises ``NodeError`` with the reason why it does not."""
    until = time.monotonic() + deadline
    why = "it was not started"
    while True:
        try:
            path = f"/api/v1/namespaces/{quote(place.namespace)}/pods/{quote(place.pod)}"
            status = json.loads(transport.get(path)).get("status") or {}
        except ClusterError as error:
            raise NodeError(f"{place} cannot be seen: {error}", hint=error.hint) from error
        phase = str(status.get("phase", ""))
        if phase == "Running":
            return
        if phase in ("Failed", "Succeeded"):
            message = str(status.get("message") or status.get("reason") or "")
            raise NodeError(f"the inspector pod ended at once: {message}", hint="the node refused it")
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            why = ": ".join(str(waiting[k]) for k in ("reason", "message") if waiting.get(k)) or why
            if waiting.get("reason") in _HOPELESS:
                raise NodeError(
                    f"the inspector pod cannot start: {why}",
                    hint="--image names another image, such as one that the node already has",
                )
        if time.monotonic() > until:
            raise NodeError(
                f"the inspector pod did not run within {deadline:g} s: {why}",
                hint="the node may be down or its kubelet stuck",
            )
        time.sleep(_POLL)


def _delete(transport: Transport, path: str) -> bool:
    """Delete a pod, or the Job with all that it owns, and say whether it is gone; else its own deadline does it."""
    try:
        transport.send("DELETE", path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    except ClusterError as error:
        return isinstance(error, ApiError) and error.status == 404
    return True


def leftovers(transport: Transport, namespace: str) -> list[str]:
    """List the inspector Jobs and pods that are there, as ``job/netinspect-abc`` and ``pod/netinspect-abc-1``."""
    found: list[str] = []
    selector = ",".join(f"{k}={v}" for k, v in INSPECTOR.items())
    for kind, path in _kinds(namespace).items():
        listed = json.loads(transport.get(path, {"labelSelector": selector}))
        found += [f"{kind}/{item['metadata']['name']}" for item in listed.get("items") or ()]
    return found


def clean(transport: Transport, namespace: str, leftover: str) -> None:
    """Delete one leftover; that it is gone already is well."""
    kind, _, name = leftover.partition("/")
    try:
        transport.send(
            "DELETE",
            f"{_kinds(namespace)[kind]}/{quote(name)}",
            {"propagationPolicy": "Background", "gracePeriodSeconds": 0},
        )
    except ApiError as error:
        if error.status != 404:
            raise


def _kinds(namespace: str) -> dict[str, str]:
    place = quote(namespace)
    return {"job": f"/apis/batch/v1/namespaces/{place}/jobs", "pod": f"/api/v1/namespaces/{place}/pods"}
