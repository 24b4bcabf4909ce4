"""Which objects a command is about: namespaces, labels, nodes, and objects by name with what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netinspect.analysis.backends import SERVICE_NAME, PodsByLabel
from netinspect.errors import UsageError
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Ref, Scope

Predicate = Callable[[Mapping[str, str]], bool]

_KINDS = {
    **dict.fromkeys(("pod", "pods", "po"), "Pod"),
    **dict.fromkeys(("service", "services", "svc"), "Service"),
    **dict.fromkeys(("node", "nodes", "no"), "Node"),
    **dict.fromkeys(("namespace", "namespaces", "ns"), "Namespace"),
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_VALUE = r"[A-Za-z0-9][-A-Za-z0-9_.]*"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s+\(([^()]*)\)", re.ASCII)
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})?", re.ASCII)
_EXISTENCE = re.compile(rf"(!?)\s*({_KEY})", re.ASCII)


def parse_object(text: str) -> Ref:
    """Read ``pod/web``, ``pod/shop/web``, ``svc/db``, ``node/n1`` or ``ns/shop``; ``UsageError`` where it is none."""
    kind, _, rest = text.partition("/")
    namespace, _, name = rest.rpartition("/")
    known = _KINDS.get(kind.lower())
    if known is None or not _NAME.fullmatch(name) or (namespace and not _NAME.fullmatch(namespace)):
        raise UsageError(
            f"cannot read {text!r} as an object",
            hint="write pod/NAME, svc/NAME, node/NAME or ns/NAME; pod/NAMESPACE/NAME for another namespace",
        )
    if namespace and known in ("Node", "Namespace"):
        raise UsageError(f"{text!r} names a namespace, but a {known.lower()} is in none")
    return Ref(kind=known, namespace=namespace, name=name)


def parse_selector(text: str) -> Predicate:
    """Read a label selector as kubectl does: ``a=b,c!=d,e in (f,g),h notin (i),j,!k``; ``UsageError`` if it is none.

    Source: k8s.io/apimachinery/pkg/labels (selector.go).
    """
    requirements = [_requirement(part.strip(), text) for part in re.split(r",(?![^(]*\))", text)]
    return lambda labels: all(r(labels) for r in requirements)


def _requirement(part: str, whole: str) -> Predicate:
    if match := _SET.fullmatch(part):
        key, operator, listed = match.groups()
        values = {v.strip() for v in listed.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUALITY.fullmatch(part):
        key, operator, value = match.group(1), match.group(2), match.group(3) or ""
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTENCE.fullmatch(part):
        absent, key = match.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise UsageError(
        f"cannot read {part!r} in the label selector {whole!r}",
        hint="write KEY=VALUE, KEY!=VALUE, KEY, !KEY, 'KEY in (A,B)' or 'KEY notin (A,B)', joined by commas",
    )


@dataclass(frozen=True)
class Selected:
    """What is shown. ``nodes`` is None where all are; ``whole`` says that nothing but namespaces was narrowed."""

    pods: tuple[wire.Pod, ...]
    services: tuple[wire.Service, ...]
    nodes: frozenset[str] | None
    namespaces: frozenset[str]
    whole: bool

    def node(self, name: str) -> bool:
        """Say whether a node is shown."""
        return self.nodes is None or name in self.nodes

    def namespace(self, name: str) -> bool:
        """Say whether the objects of a namespace are shown for its sake alone."""
        return self.whole and (not self.namespaces or name in self.namespaces)


def select(snapshot: Snapshot, scope: Scope) -> Selected:
    """Find what the scope names and what belongs to it; ``UsageError`` where a named object does not exist.

    A pod brings its node and the Services that lead to it, a Service its pods and their nodes, a node its pods and
    the Services that lead to these. Namespaces, nodes and labels narrow what the objects named.
    """
    refs = [_placed(snapshot, parse_object(o)) for o in scope.objects]
    _require(snapshot, refs, scope)
    labels = parse_selector(scope.selector) if scope.selector else None
    # Who is behind which Service matters only where something was named or narrowed.
    backends = _backends(snapshot) if refs or scope.nodes or labels else {}
    by_kind = {kind: {r for r in refs if r.kind == kind} for kind in ("Pod", "Service", "Node", "Namespace")}
    named_services = {(r.namespace, r.name) for r in by_kind["Service"]}
    named_pods = {(r.namespace, r.name) for r in by_kind["Pod"]}.union(*(backends.get(s, ()) for s in named_services))
    named_nodes = {r.name for r in by_kind["Node"]}
    named_namespaces = {r.name for r in by_kind["Namespace"]}

    def pod_shown(pod: wire.Pod) -> bool:
        meta, node = pod.metadata, pod.spec.node_name
        named = (
            not refs
            or (meta.namespace, meta.name) in named_pods
            or node in named_nodes
            or meta.namespace in named_namespaces
        )
        return (
            named
            and (not scope.namespaces or meta.namespace in scope.namespaces)
            and (not scope.nodes or node in scope.nodes)
            and (labels is None or labels(meta.labels))
        )

    pods = tuple(p for p in snapshot.pods if pod_shown(p))
    shown = {(p.metadata.namespace, p.metadata.name) for p in pods}

    def service_shown(service: wire.Service) -> bool:
        key = (service.metadata.namespace, service.metadata.name)
        if scope.namespaces and key[0] not in scope.namespaces:
            return False
        named = not refs or key in named_services or key[0] in named_namespaces
        if named and not scope.nodes and (labels is None or labels(service.metadata.labels)):
            return True
        return (bool(refs) or named) and not shown.isdisjoint(backends.get(key, ()))

    services = tuple(s for s in snapshot.services if service_shown(s))
    whole = not (named_pods or named_services or named_nodes or scope.nodes or labels)
    nodes = None
    if refs or scope.nodes:
        nodes = frozenset({*named_nodes, *scope.nodes, *(p.spec.node_name for p in pods if p.spec.node_name)})
    return Selected(pods, services, nodes, frozenset({*scope.namespaces, *named_namespaces}), whole)


def _backends(snapshot: Snapshot) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Map each Service to the pods behind it: those in its slices, and those that its selector matches.

    Pods that have no address yet are in no slice, and slices may not be readable.
    """
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for piece in snapshot.endpoint_slices:
        service = piece.metadata.labels.get(SERVICE_NAME)
        if service:
            pods = found.setdefault((piece.metadata.namespace, service), set())
            pods.update(
                (e.target_ref.namespace or piece.metadata.namespace, e.target_ref.name)
                for e in piece.endpoints or ()
                if e.target_ref is not None and e.target_ref.kind == "Pod"
            )
    by_label = PodsByLabel(snapshot.pods, snapshot.services)
    for service_object in snapshot.services:
        if service_object.spec.selector:
            meta = service_object.metadata
            matching = {(p.metadata.namespace, p.metadata.name) for p in by_label.matching(service_object)}
            found.setdefault((meta.namespace, meta.name), set()).update(matching)
    return found


def _placed(snapshot: Snapshot, ref: Ref) -> Ref:
    """Find the namespace of a pod or Service that was named without one; ``UsageError`` where it could be several."""
    if ref.namespace or ref.kind not in ("Pod", "Service"):
        return ref
    objects = snapshot.pods if ref.kind == "Pod" else snapshot.services
    found = sorted(o.metadata.namespace for o in objects if o.metadata.name == ref.name)
    if len(found) > 1:
        candidates = ", ".join(f"{ref.kind.lower()}/{namespace}/{ref.name}" for namespace in found)
        raise UsageError(f"{ref} is in several namespaces", hint=f"name one of {candidates}")
    return Ref(kind=ref.kind, namespace=found[0] if found else "", name=ref.name)


def _require(snapshot: Snapshot, refs: list[Ref], scope: Scope) -> None:
    """Refuse names that do not exist, where the list is known to be whole."""
    wanted: dict[str, set[str]] = {"nodes": set(scope.nodes), "namespaces": set(scope.namespaces)}
    for ref in refs:
        wanted.setdefault(f"{ref.kind.lower()}s", set()).add(f"{ref.namespace}/{ref.name}".lstrip("/"))
    for resource, names in wanted.items():
        if names and not snapshot.gap(resource):
            existing = {f"{o.metadata.namespace}/{o.metadata.name}".lstrip("/") for o in getattr(snapshot, resource)}
            missing = sorted(names - existing)
            if missing:
                raise UsageError(
                    f"there is no {resource.removesuffix('s')} {missing[0]}",
                    hint="`netinspect map -A` shows what there is",
                )
