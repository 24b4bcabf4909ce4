"""``netinspect mesh``."""

from __future__ import annotations

from typing import Annotated

import typer

from netinspect.cli import complete, console, inside, source
from netinspect.cli.options import Inspection, Output, Target
from netinspect.errors import UsageError


def mesh(
    pod: Annotated[str, typer.Argument(help="POD or NAMESPACE/POD: only this one", autocompletion=complete.pods)] = "",
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", help="Only pods of this namespace", autocompletion=complete.namespaces),
    ] = "",
    *,
    target: Target,
    inspection: Inspection,
    output: Output,
) -> None:
    """Say whether a mesh carries pods' traffic, which, by which proxy, and whether that is as it should be.

    \b
    Examples:
      # every pod, by what the API says of it
      netinspect mesh
      # one pod, and by what it is known
      netinspect mesh shop/web-0
      # compared with the rules and sockets in the pods' own namespaces
      netinspect mesh -n shop --access exec
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis.mesh import NEEDS, narrow, report
    from netinspect.model.mesh import MeshReport
    from netinspect.model.topology import Scope
    from netinspect.output import BY_NAME

    inside.check(target, inspection)
    chosen = BY_NAME[output.output.value]
    if MeshReport not in chosen.RENDERS:
        raise UsageError(f"this has no format {chosen.NAME}", hint="use table, wide, json or yaml")
    given, _, name = pod.removeprefix("pod/").removeprefix("pods/").rpartition("/")
    where = given or namespace
    if name and not where:
        where = source.default_namespace(target)
    snapshot = source.read(target, NEEDS, (where,) if where else ())
    full = ""
    if name:
        found = [p for p in snapshot.pods if p.metadata.name == name and where in ("", p.metadata.namespace)]
        if len(found) > 1:
            names = ", ".join(f"{p.metadata.namespace}/{name}" for p in found)
            raise UsageError(f"pod {name} is in several namespaces", hint=f"name one of {names}")
        if not found:
            raise UsageError(f"there is no pod {f'{where}/{name}'.lstrip('/')}", hint="`netinspect map -A` lists them")
        full = f"{found[0].metadata.namespace}/{name}"
    scope = Scope(objects=(f"pod/{full}",) if full else (), namespaces=(where,) if where and not full else ())
    wishes = inside.wishes(snapshot, scope)
    if inspection.dry_run:
        inside.print_plan(inspection, [w.node for w in wishes])
        raise typer.Exit
    snapshot, _ = inside.with_kernels(snapshot, target, inspection, wishes)
    told = narrow(report(snapshot), "" if full else where, full)
    console.write(chosen.render(told, console.style(no_color=output.no_color)))
    raise typer.Exit(told.outcome.value)
