"""``netinspect node`` and ``netinspect pod``."""

from __future__ import annotations

from typing import Annotated

import typer

from netinspect.cli import complete, console, formats, inside, source
from netinspect.cli.options import AccessLevel, Inspection, Output, OutputFormat, Target
from netinspect.errors import UsageError
from netinspect.model.snapshot import Snapshot

Sections = Annotated[
    list[str] | None,
    typer.Option("--section", help="Only this part, whole; repeatable", autocompletion=complete.sections),
]


def node(
    name: Annotated[
        str, typer.Argument(help="The node; with --access local this machine", autocompletion=complete.nodes)
    ] = "",
    section: Sections = None,
    *,
    target: Target,
    inspection: Inspection,
    output: Output,
) -> None:
    """Show a node's own network namespace as its kernel has it.

    \b
    Examples:
      # through a pod that is there
      netinspect node n1 --access exec
      # on the node itself, without the API server
      sudo netinspect node --access local --section nat
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    name = name.removeprefix("node/").removeprefix("nodes/")
    alone = inspection.access is AccessLevel.LOCAL and not (target.from_ or target.demo)
    if not name and not alone:
        raise UsageError("which node?", hint="name one; `netinspect map --network host` lists them")
    snapshot = Snapshot() if alone else _read(target, "")
    name = name or inside.this_node(snapshot)
    _require(snapshot, "node", [n.metadata.name for n in snapshot.nodes], name)
    _show(snapshot, f"node/{name}", inside.Wish(name, ()), tuple(section or ()), target, inspection, output)


def pod(
    name: Annotated[str, typer.Argument(help="POD or NAMESPACE/POD", autocompletion=complete.pods)],
    section: Sections = None,
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", help="Namespace; else that of the context", autocompletion=complete.namespaces
        ),
    ] = "",
    *,
    target: Target,
    inspection: Inspection,
    output: Output,
) -> None:
    """Show a pod's network namespace as its node's kernel has it.

    \b
    Examples:
      netinspect pod shop/web-0 --access exec
      # what redirects its traffic
      netinspect pod web-0 -n shop --access pod --section nat
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    kind = name.partition("/")[0]
    if kind in ("svc", "service", "services", "node", "nodes", "ns", "deploy", "deployment"):
        raise UsageError(f"{name!r} is no pod", hint="name a pod: POD or NAMESPACE/POD")
    given, _, short = name.removeprefix("pod/").removeprefix("pods/").rpartition("/")
    where = given or namespace or source.default_namespace(target)
    snapshot = _read(target, where)
    found = [p for p in snapshot.pods if p.metadata.name == short and (not where or p.metadata.namespace == where)]
    if len(found) > 1:
        names = ", ".join(f"{p.metadata.namespace}/{short}" for p in found)
        raise UsageError(f"pod {short} is in several namespaces", hint=f"name one of {names}")
    full = f"{found[0].metadata.namespace}/{short}" if found else f"{where}/{short}".lstrip("/")
    _require(snapshot, "pod", [f"{p.metadata.namespace}/{p.metadata.name}" for p in found], full)
    if found and found[0].status.phase in ("Succeeded", "Failed"):
        raise UsageError(f"pod {full} has finished, so it has no network namespace any more")
    on = found[0].spec.node_name if found else ""
    if not on:
        raise UsageError(f"pod {full} is on no node, so it has no network namespace")
    wish = inside.Wish(on, () if found[0].spec.host_network else (found[0].metadata.uid,))
    _show(snapshot, f"pod/{full}", wish, tuple(section or ()), target, inspection, output)


def _read(target: Target, namespace: str) -> Snapshot:
    from netinspect.analysis.inspection import NEEDS

    return source.read(target, NEEDS, (namespace,) if namespace else ())


def _require(snapshot: Snapshot, kind: str, existing: list[str], name: str) -> None:
    if name not in existing and snapshot.taken_at and not snapshot.gap(f"{kind}s"):
        raise UsageError(f"there is no {kind} {name}", hint="`netinspect map -A` shows what there is")


def _show(  # noqa: PLR0917 - what both commands were given
    snapshot: Snapshot,
    owner: str,
    wish: inside.Wish,
    sections: tuple[str, ...],
    target: Target,
    inspection: Inspection,
    output: Output,
) -> None:
    from netinspect.analysis.inside import match
    from netinspect.analysis.inspection import check, inspect
    from netinspect.errors import NodeError
    from netinspect.model.inspection import NamespaceView

    check(sections)
    inside.check(target, inspection)
    chosen = formats.chosen(output, NamespaceView)
    if inspection.dry_run:
        inside.print_plan(inspection, [wish.node])
        raise typer.Exit
    if not snapshot.kernels and (inspection.access in (None, AccessLevel.NONE) or target.from_ or target.demo):
        hint = "choose --access local on the node itself, exec to use pods that are there, or pod to create one"
        if target.from_ or target.demo:
            hint = "record one with `netinspect snapshot --access exec FILE`"
        raise UsageError(f"{owner} has to be looked into, and nothing says how", hint=hint)
    snapshot, _ = inside.with_kernels(snapshot, target, inspection, [wish])
    brief = output.output in (OutputFormat.TABLE, OutputFormat.WIDE)
    view = inspect(snapshot, match(snapshot), owner, wish.node, sections, brief=brief)
    if view is None:
        about = [g for g in snapshot.gaps if g.resource in (owner, f"node/{wish.node}")]
        gap = about[0] if about else None
        raise NodeError(
            gap.message if gap else f"the namespace of {owner} was not found on {wish.node}",
            hint=gap.hint if gap else "the pod may have ended meanwhile",
        )
    console.write(chosen.render(view, console.style(no_color=output.no_color)))
    raise typer.Exit(3 if view.gaps else 0)
