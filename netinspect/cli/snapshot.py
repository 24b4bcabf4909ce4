"""``netinspect snapshot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinspect.cli import console, inside, source
from netinspect.cli.options import Inspection, Target, duration
from netinspect.errors import UsageError
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Scope


def snapshot(
    file: Annotated[Path, typer.Argument(help="The zip file to write")],
    redact: Annotated[bool, typer.Option("--redact", help="Replace names and addresses, consistently")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists")] = False,
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", help="Where to read what may not be read in the whole cluster"),
    ] = "",
    *,
    target: Target,
    inspection: Inspection,
) -> None:
    """Record a cluster for --from; never its Secrets.

    \b
    Examples:
      netinspect snapshot cluster.zip && netinspect map --from cluster.zip
      # to show to others
      netinspect snapshot --redact cluster.zip
      # with the kernel state of every node
      netinspect snapshot --access exec cluster.zip
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis.redaction import Redactor
    from netinspect.bundle import Writer
    from netinspect.cluster.collect import collect
    from netinspect.cluster.connect import connect
    from netinspect.model.resources import RESOURCES

    if target.from_ or target.demo:
        raise UsageError("a recording is already recorded", hint="copy the file")
    duration(target.request_timeout)
    inside.check(target, inspection)
    transport = connect(source.access(target))
    redactor = Redactor() if redact else None
    with (
        Writer(file, redactor.page if redactor else None, replace=force) as writer,
        console.progress(verbose=target.verbose) as progress,
    ):
        where = (namespace or source.default_namespace(target),)
        collected = collect(transport, RESOURCES, namespaces=where, progress=progress, keep=writer.keep)
        wishes = inside.wishes(collected.snapshot, Scope())
        if inspection.dry_run:
            inside.print_plan(inspection, [w.node for w in wishes])
            raise typer.Exit
        snapshot, readings = inside.with_kernels(collected.snapshot, target, inspection, wishes)
        if redactor:
            readings = tuple(map(redactor.reading, readings))
        writer.finish(redactor.snapshot(snapshot) if redactor else snapshot, collected.pages, readings)
    gaps = snapshot.gaps
    missing = f"; not seen: {', '.join(dict.fromkeys(g.resource for g in gaps))}" if gaps else ""
    console.say(
        f"recorded {len(collected.snapshot.nodes)} nodes, {len(collected.snapshot.pods)} pods and "
        f"{len(collected.snapshot.services)} Services{_nodes(snapshot)} in {file}{missing}"
    )
    raise typer.Exit(3 if gaps else 0)


def _nodes(snapshot: Snapshot) -> str:
    """Say how many nodes were looked into, where any was."""
    if not snapshot.kernels:
        return ""
    namespaces = sum(len(k.namespaces) for k in snapshot.kernels)
    return f", and {namespaces} network namespaces of {len(snapshot.kernels)} nodes,"
