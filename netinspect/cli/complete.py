"""What Tab offers: contexts, namespaces, nodes and objects, live, in about a second or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable

import typer

_TIMEOUT = 1.0
# Some shells evaluate what they are offered, and a cluster may call its objects anything.
_HARMLESS = re.compile(r"[\w./:@+-]+", re.ASCII)
_KINDS = ("pod/", "svc/", "node/", "ns/")


def contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the contexts of the kubeconfig."""

    def find() -> list[str]:
        from netinspect.cluster.connect import contexts as listed

        return listed(str(_given(ctx, "kubeconfig") or ""))

    return _offered(find, incomplete)


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the namespaces of the cluster or the recording."""
    return _offered(lambda: _names(ctx, "ns"), incomplete)


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the nodes."""
    return _offered(lambda: _names(ctx, "node"), incomplete)


def pods(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the pods."""
    return _offered(lambda: _names(ctx, "pod"), incomplete)


def sections(incomplete: str) -> list[str]:
    """Offer the parts of a namespace."""
    from netinspect.analysis.inspection import SECTIONS

    return [name for name in SECTIONS if name.startswith(incomplete)]


def objects(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer ``pod/…``, ``svc/…``, ``node/…`` and ``ns/…``; the names once the kind is written."""
    kind, slash, _ = incomplete.partition("/")
    if not slash:
        return [k for k in _KINDS if k.startswith(incomplete)]
    return _offered(lambda: [f"{kind}/{name}" for name in _names(ctx, kind)], incomplete)


def _offered(find: Callable[[], list[str]], incomplete: str) -> list[str]:
    # A shell has no place for an error message while a word is being typed.
    try:
        return [name for name in find() if name.startswith(incomplete) and _HARMLESS.fullmatch(name)]
    except Exception:
        return []


def _names(ctx: typer.Context, kind: str) -> list[str]:
    from netinspect.cli.source import load_recording
    from netinspect.model import resources

    resource = {"pod": resources.PODS, "svc": resources.SERVICES, "node": resources.NODES, "ns": resources.NAMESPACES}[
        kind
    ]
    namespace = str(_given(ctx, "namespace") or "")
    everywhere = bool(_given(ctx, "all_namespaces"))
    recording = load_recording(_given(ctx, "from_"), demo=bool(_given(ctx, "demo")), resources=(resource,))
    if recording is not None:
        found = getattr(recording, resource.name)
        inside = [o.metadata for o in found if not resource.namespaced or namespace in ("", o.metadata.namespace)]
        return [f"{m.namespace}/{m.name}" if resource.namespaced and not namespace else m.name for m in inside]

    from netinspect.cluster import collect, connect

    access = connect.Access(
        kubeconfig=str(_given(ctx, "kubeconfig") or ""),
        context=str(_given(ctx, "context") or ""),
        request_timeout=_TIMEOUT,
    )
    transport = connect.connect(access)
    if resource.namespaced and not everywhere:
        return collect.names(transport, resource, namespace or connect.default_namespace(access))
    return collect.names(transport, resource)


def _given(ctx: typer.Context, name: str) -> object:
    """Find a value that was given to the command, or before it."""
    while True:
        value = ctx.params.get(name) or (ctx.default_map or {}).get(name)
        if value or ctx.parent is None:
            return value
        ctx = ctx.parent  # type: ignore[assignment]
