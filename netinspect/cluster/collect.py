"""Read lists from the API server, page by page and kind by kind, into a Snapshot."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from netinspect.cluster.pages import Pages
from netinspect.cluster.transport import Transport
from netinspect.errors import ApiError, ClusterError, CredentialsError
from netinspect.model.decode import decode_page
from netinspect.model.resources import Resource
from netinspect.model.snapshot import Gap, GapReason, Snapshot
from netinspect.model.wire import Wire
from netinspect.parallel import each

PAGE = 500
WORKERS = 8
_RESTARTS = 3
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


class Progress(Protocol):
    """Told how far the reading is; called from several threads."""

    def __call__(self, resource: str, objects: int) -> None:
        """Say how many objects of a kind have been read so far."""


class Keep(Protocol):
    """Given every page as it was read; called from several threads."""

    def __call__(self, resource: str, page: bytes) -> str:
        """Store a page and give the name under which it is found again."""


@dataclass
class Read:
    """What was read of one kind: the objects, the names of the raw pages, and what is missing."""

    objects: list[Wire] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    gap: Gap | None = None
    version: str = ""


@dataclass(frozen=True)
class Collected:
    """A Snapshot, and for each kind the names of the raw pages that it was decoded from."""

    snapshot: Snapshot
    pages: dict[str, tuple[str, ...]]


def collect(
    transport: Transport,
    resources: Iterable[Resource],
    *,
    namespaces: tuple[str, ...] = (),
    progress: Progress = lambda _resource, _objects: None,
    keep: Keep = lambda _resource, _page: "",
) -> Collected:
    """Read the kinds, in parallel.

    A kind that may not be read cluster-wide is read in the given namespaces instead, with a gap that says so; one
    that may not be read at all is a gap. Raises ``ClusterError`` where nothing can be read.
    """
    taken_at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = _server_version(transport)
    wanted = list(resources)
    reader = _Reader(transport, namespaces, progress, keep)
    results = {resource.name: read for resource, read in each(wanted, reader.read, WORKERS)}
    failures = [r.gap for r in results.values() if r.gap is not None and r.gap.reason is GapReason.FAILED]
    if wanted and len(failures) == len(wanted):
        raise ClusterError(failures[0].message, hint=failures[0].hint)
    snapshot = Snapshot(
        taken_at=taken_at,
        server_version=version,
        versions={r.name: results[r.name].version for r in wanted if results[r.name].version},
        gaps=tuple(results[r.name].gap for r in wanted if results[r.name].gap is not None),  # type: ignore[misc]
        **{r.name: tuple(results[r.name].objects) for r in wanted},  # type: ignore[arg-type]
    )
    return Collected(snapshot, {r.name: tuple(results[r.name].pages) for r in wanted})


def names(transport: Transport, resource: Resource, namespace: str = "") -> list[str]:
    """List just the names of one kind, in one page, for shell completion."""
    page = transport.get(resource.paths(namespace)[0], {"limit": str(PAGE)}, _METADATA)
    return [item["metadata"]["name"] for item in json.loads(page).get("items") or ()]


def _server_version(transport: Transport) -> str:
    try:
        version = json.loads(transport.get("/version"))
        return str(version["gitVersion"])
    except ApiError as error:
        if error.status == 403:
            return ""
        raise
    except (ValueError, KeyError, TypeError):
        raise ClusterError(
            f"{transport.host} answers, but not as a Kubernetes API server",
            hint="check the server's address in the kubeconfig",
        ) from None


class _Reader:
    """Reads one kind at a time; shared by the threads."""

    def __init__(self, transport: Transport, namespaces: tuple[str, ...], progress: Progress, keep: Keep) -> None:
        self._transport = transport
        self._namespaces = namespaces
        self._progress = progress
        self._keep = keep

    def read(self, resource: Resource) -> Read:
        """Read one kind, turning what the server refuses into a gap."""
        try:
            return self._allowed(resource)
        except CredentialsError:
            raise
        except ApiError as error:
            if error.status == 404:
                return Read(gap=None if resource.optional else _gap(resource, GapReason.NOT_SERVED, error))
            reason = GapReason.FORBIDDEN if error.status == 403 else GapReason.FAILED
            return Read(gap=_gap(resource, reason, error))
        except ClusterError as error:
            return Read(gap=_gap(resource, GapReason.FAILED, error))

    def _allowed(self, resource: Resource) -> Read:
        """Read a kind in the whole cluster, or in the namespaces asked for where the whole may not be read."""
        try:
            return self._lists(resource, "")
        except ApiError as error:
            if error.status != 403:
                raise
            if resource.optional and not self._is_served(resource):
                return Read()
            if not resource.namespaced or resource.fixed_namespace or not self._namespaces:
                raise
        whole = Read()
        for namespace in self._namespaces:
            part = self._lists(resource, namespace)
            whole.objects += part.objects
            whole.pages += part.pages
            whole.version = whole.version or part.version
        message = f"only those in {', '.join(self._namespaces)} may be listed"
        whole.gap = Gap(
            resource=resource.name,
            reason=GapReason.PARTIAL,
            message=message,
            hint=_grant(resource),
            namespaces=self._namespaces,
        )
        return whole

    def _is_served(self, resource: Resource) -> bool:
        """Ask the discovery API whether the server has a kind: it forbids kinds that it does not have, too."""
        for version in resource.versions:
            try:
                root = "api" if version == "v1" else "apis"
                listed = json.loads(self._transport.get(f"/{root}/{version}"))["resources"]
                if any(r["name"] == resource.plural for r in listed):
                    return True
            except ApiError as error:
                if error.status != 404:
                    return True
            except (ValueError, KeyError, TypeError):
                return True
        return False

    def _lists(self, resource: Resource, namespace: str) -> Read:
        if not resource.objects:
            return self._served(resource, namespace, {})
        whole = Read()
        for name in resource.objects:
            part = self._served(resource, namespace, {"fieldSelector": f"metadata.name={name}"})
            whole.objects += part.objects
            whole.pages += part.pages
            whole.version = whole.version or part.version
        return whole

    def _served(self, resource: Resource, namespace: str, query: dict[str, str]) -> Read:
        """Read the list in the first version that the server has."""
        *others, last = resource.paths(namespace)
        for path in others:
            try:
                return self._list(resource, path, query)
            except ApiError as error:
                if error.status != 404:
                    raise
        return self._list(resource, last, query)

    def _list(self, resource: Resource, path: str, query: dict[str, str]) -> Read:
        """Read all pages; where the server has forgotten the list in the middle (410 Gone), from the start again.

        Source: kubernetes.io/docs/reference/using-api/api-concepts (410 Gone responses).
        """
        for restart in range(_RESTARTS + 1):
            try:
                return self._pages(resource, path, query)
            except ApiError as error:
                if error.status != 410 or restart == _RESTARTS:
                    raise
        raise AssertionError("unreachable")

    def _pages(self, resource: Resource, path: str, query: dict[str, str]) -> Read:
        read = Read()
        parameters = {**query, "limit": str(PAGE)}
        if resource.selector:
            parameters["labelSelector"] = resource.selector
        accept = _METADATA if resource.metadata_only else "application/json"

        def get(token: str, on_head: Callable[[bytes], None]) -> bytes:
            following = {"continue": token} if token else {}
            return self._transport.get(path, {**parameters, **following}, accept, on_head)

        with Pages(get) as pages:
            while (raw := pages.read()) is not None:
                page = decode_page(resource, raw)
                pages.goes_on(page.metadata.continue_)
                read.version = read.version or page.metadata.resource_version
                read.objects += page.items or []
                name = self._keep(resource.name, raw)
                if name:
                    read.pages.append(name)
                self._progress(resource.plural, len(read.objects))
        return read


def _gap(resource: Resource, reason: GapReason, error: ClusterError) -> Gap:
    hint = _grant(resource) if reason is GapReason.FORBIDDEN else error.hint
    return Gap(resource=resource.name, reason=reason, message=str(error), hint=hint)


def _grant(resource: Resource) -> str:
    where = f" in {resource.fixed_namespace}" if resource.fixed_namespace else ""
    return f"grant list on {resource.qualified}{where}"
