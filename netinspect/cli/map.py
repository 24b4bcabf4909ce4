"""``netinspect map``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netinspect.cli import complete, console, formats, inside, source
from netinspect.cli.options import Inspection, Narrowing, Output, Target
from netinspect.errors import UsageError
from netinspect.model.topology import Ref, Scope, Topology

if TYPE_CHECKING:
    from netinspect.analysis.topology import View

_NETWORKS = ("host", "cluster", "service", "container")


def map_(
    objects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[pod/X svc/Y node/Z ns/W]...",
            help="Only these, with what belongs to them",
            autocompletion=complete.objects,
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only this network, repeatable: {', '.join(_NETWORKS)}",
            autocompletion=lambda incomplete: [n for n in _NETWORKS if n.startswith(incomplete)],
        ),
    ] = None,
    *,
    target: Target,
    narrowing: Narrowing,
    inspection: Inspection,
    output: Output,
) -> None:
    """Lay out the four networks of a cluster.

    \b
    Examples:
      # the recorded cluster that comes with netinspect
      netinspect map --demo
      # everything in the current context, every endpoint in its own line
      netinspect map -A -o wide
      # one Service, its pods and their nodes
      netinspect map svc/shop/web
      # with the interfaces that the nodes' kernels have
      netinspect map node/n1 --access exec
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis import topology
    from netinspect.analysis.selection import parse_object

    views = frozenset(_view(n) for n in network or _NETWORKS)
    scope = _scope(target, narrowing, objects or [])
    refs = map(parse_object, scope.objects)
    named = (r.name if r.kind == "Namespace" else r.namespace for r in refs)
    where = scope.namespaces or tuple(dict.fromkeys(n for n in named if n))
    inside.check(target, inspection)
    chosen = formats.chosen(output, Topology)
    snapshot = source.read(target, topology.needs(views, scope, inside=inspection.access is not None), where)
    wishes = inside.wishes(snapshot, scope, pods=topology.View.CONTAINER in views)
    if inspection.dry_run:
        inside.print_plan(inspection, [w.node for w in wishes])
        raise typer.Exit
    snapshot, _ = inside.with_kernels(snapshot, target, inspection, wishes)
    document = topology.build(snapshot, views, scope)
    console.write(chosen.render(document, console.style(no_color=output.no_color)))
    empty = document.container is not None and document.container.pods == ()
    if scope.namespaces and empty and not (narrowing.namespace or narrowing.selector or narrowing.node):
        console.say(f"no pods in namespace {scope.namespaces[0]}; -A shows every namespace")
    raise typer.Exit(0 if topology.settled(document, snapshot) else 3)


def _view(name: str) -> View:
    from netinspect.analysis.topology import View

    if name not in _NETWORKS:
        raise UsageError(f"there is no network {name!r}", hint=f"the networks are {', '.join(_NETWORKS)}")
    return View(name)


def _scope(target: Target, narrowing: Narrowing, objects: list[str]) -> Scope:
    from netinspect.analysis.selection import parse_object

    if narrowing.namespace and narrowing.all_namespaces:
        raise UsageError("-n and -A exclude each other")
    default = "" if narrowing.all_namespaces else narrowing.namespace or source.default_namespace(target)
    refs = [parse_object(text) for text in objects]
    # For pods and Services the namespace says where they are; for nodes it narrows what is shown of them.
    narrows = not refs or (bool(narrowing.namespace) and all(r.kind == "Node" for r in refs))
    placed = [
        Ref(kind=r.kind, namespace=default, name=r.name) if r.kind in ("Pod", "Service") and not r.namespace else r
        for r in refs
    ]
    return Scope(
        namespaces=(default,) if default and narrows else (),
        selector=narrowing.selector,
        nodes=tuple(narrowing.node or ()),
        objects=tuple(map(str, placed)),
    )
