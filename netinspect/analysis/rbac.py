"""The least rights for each way of looking, as RBAC objects (kubernetes.io/docs/reference/access-authn-authz/rbac)."""

from __future__ import annotations

from typing import Any

from netinspect.model.evidence import Access
from netinspect.model.resources import RESOURCES

NAME = "netinspect"
_API = "rbac.authorization.k8s.io"
# WebSocket exec is a GET, which servers authorize as get, and since 1.35 as create besides (KEP-4006).
_EXEC: dict[str, Any] = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}


def roles(access: Access, namespace: str) -> list[dict[str, Any]]:
    """List the roles: to read what is read, and where nodes are looked into, what this takes in ``namespace``."""
    rules = _reading()
    if access is Access.EXEC:
        rules.append(_EXEC)
    found = [{"apiVersion": f"{_API}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": rules}]
    if access is Access.POD:
        if namespace != "kube-system":
            privileged = {"pod-security.kubernetes.io/enforce": "privileged"}
            found.insert(
                0, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": privileged}}
            )
        found.append(
            {
                "apiVersion": f"{_API}/v1",
                "kind": "Role",
                "metadata": {"name": f"{NAME}-inspectors", "namespace": namespace},
                # To list jobs and to delete pods is for `netinspect cleanup`; pods are listed by the role above.
                "rules": [
                    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "list", "delete"]},
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "delete"]},
                    _EXEC,
                ],
            }
        )
    return found


def bindings(roles_: list[dict[str, Any]], subject: dict[str, str]) -> list[dict[str, Any]]:
    """Bind each of these roles to a subject."""
    found = []
    for role in roles_:
        if role["kind"] not in ("ClusterRole", "Role"):
            continue
        found.append(
            {
                "apiVersion": f"{_API}/v1",
                "kind": f"{role['kind']}Binding",
                "metadata": role["metadata"],
                "roleRef": {"apiGroup": _API, "kind": role["kind"], "name": role["metadata"]["name"]},
                "subjects": [subject],
            }
        )
    return found


def _reading() -> list[dict[str, Any]]:
    """Give the rules that let all kinds be listed, and nothing else."""
    whole: dict[str, list[str]] = {}
    named: list[dict[str, Any]] = []
    for resource in RESOURCES:
        group = resource.versions[0].rpartition("/")[0]
        if resource.objects:
            rule = {"apiGroups": [group], "resources": [resource.plural], "resourceNames": list(resource.objects)}
            named.append({**rule, "verbs": ["list"]})
        else:
            plurals = whole.setdefault(group, [])
            plurals += [resource.plural] if resource.plural not in plurals else []
    return [
        *({"apiGroups": [group], "resources": plurals, "verbs": ["list"]} for group, plurals in whole.items()),
        *named,
    ]
