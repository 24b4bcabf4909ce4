"""``netinspect mesh``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from netinspect.cli import complete, console, formats, inside, source
from netinspect.cli.options import Inspection, Output, Target
from netinspect.errors import BundleError, UsageError
from netinspect.model.snapshot import Snapshot

if TYPE_CHECKING:
    from netinspect.analysis.mesh_pair import Target as MeshTarget


_TO = re.compile(
    r"(?:(?P<kind>pod|pods|po|svc|service|services)/)?(?:(?P<namespace>[a-z0-9.-]+)/)?(?P<name>[a-z0-9.-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_SERVICES = ("svc", "service", "services")


def mesh(
    pod: Annotated[str, typer.Argument(help="POD or NAMESPACE/POD: only this one", autocompletion=complete.pods)] = "",
    to: Annotated[str, typer.Argument(help="What becomes of traffic from it to POD[:PORT] or svc/NAME[:PORT]")] = "",
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", help="Only pods of this namespace", autocompletion=complete.namespaces),
    ] = "",
    path: Annotated[str | None, typer.Option("--path", help="The path of the HTTP request, from /")] = None,
    method: Annotated[str | None, typer.Option("--method", help="The method of the HTTP request")] = None,
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
      # mutual TLS or not, let in or not, and by which policy
      netinspect mesh shop/web-0 svc/shop/db:5432
      netinspect mesh shop/web-0 svc/shop/api:80 --path /admin --method GET
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis import mesh as judging
    from netinspect.analysis import mesh_pair
    from netinspect.model.mesh import MeshReport
    from netinspect.model.topology import Scope

    inside.check(target, inspection)
    chosen = formats.chosen(output, MeshReport)
    if (path is not None or method is not None) and not to:
        raise UsageError("--path and --method are of a request: name where it goes", hint="mesh POD svc/NAME --path /x")
    aim = _target(to, method, path)
    given, _, name = pod.removeprefix("pod/").removeprefix("pods/").rpartition("/")
    where = given or namespace
    if name and not where:
        where = source.default_namespace(target)
    snapshot = source.read(target, mesh_pair.NEEDS if aim else judging.NEEDS, _places(where, aim))
    if snapshot.redacted:
        raise BundleError(
            "this recording is redacted, and what tells a mesh is not in it", hint="record the cluster without --redact"
        )
    full = _full_name(snapshot, where, name) if name else ""
    if aim and not aim.namespace:
        aim = replace(aim, namespace=full.partition("/")[0])
    objects = (f"pod/{full}", f"{aim.kind}/{aim.namespace}/{aim.name}") if aim else (f"pod/{full}",)
    scope = Scope(objects=objects if full else (), namespaces=(where,) if where and not full else ())
    wishes = inside.wishes(snapshot, scope)
    if inspection.dry_run:
        inside.print_plan(inspection, [w.node for w in wishes])
        raise typer.Exit
    snapshot, _ = inside.with_kernels(snapshot, target, inspection, wishes)
    if aim:
        pair = mesh_pair.pair(snapshot, full, aim)
        console.write(chosen.render(pair, console.style(no_color=output.no_color)))
        raise typer.Exit(pair.outcome.value)
    told = judging.narrow(judging.report(snapshot), "" if full else where, full)
    console.write(chosen.render(told, console.style(no_color=output.no_color)))
    raise typer.Exit(told.outcome.value)


def _target(to: str, method: str | None, path: str | None) -> MeshTarget | None:
    from netinspect.analysis.mesh_pair import Target as Aim

    if not to:
        return None
    found = _TO.fullmatch(to)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise UsageError(f"cannot read {to!r} as a target", hint="write POD[:PORT], NAMESPACE/POD, or svc/NAME[:PORT]")
    if path is not None and not path.startswith("/"):
        raise UsageError(f"the path {path!r} does not begin with /")
    kind = "svc" if found["kind"] in _SERVICES else "pod"
    return Aim(kind, found["namespace"] or "", found["name"], int(found["port"] or 0), method, path)


def _full_name(snapshot: Snapshot, where: str, name: str) -> str:
    """Find the one pod that is meant."""
    found = [p for p in snapshot.pods if p.metadata.name == name and where in ("", p.metadata.namespace)]
    if found and all(p.status.phase in ("Succeeded", "Failed") for p in found):
        raise UsageError(f"pod {name} has finished: nothing carries its traffic any more")
    if len(found) > 1:
        names = ", ".join(f"{p.metadata.namespace}/{name}" for p in found)
        raise UsageError(f"pod {name} is in several namespaces", hint=f"name one of {names}")
    if not found:
        raise UsageError(f"there is no pod {f'{where}/{name}'.lstrip('/')}", hint="`netinspect map -A` lists them")
    return f"{found[0].metadata.namespace}/{name}"


def _places(where: str, aim: MeshTarget | None) -> tuple[str, ...]:
    """Say in which namespaces to look where the whole cluster may not be read."""
    return tuple(dict.fromkeys(p for p in (where, aim.namespace if aim else "") if p))
