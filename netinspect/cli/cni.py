"""``netinspect cni``."""

from __future__ import annotations

import typer

from netinspect.cli import console, formats, inside, source
from netinspect.cli.options import Inspection, Output, Target


def cni(*, target: Target, inspection: Inspection, output: Output) -> None:
    """Say which CNI a cluster has, in which mode, and whether it is doing what it says.

    \b
    Examples:
      # by the API's objects alone
      netinspect cni
      # compared with what the nodes' kernels hold, for every pair of nodes
      netinspect cni --access exec
      # by what each is known, and what each statement rests on
      netinspect cni --access pod -o wide
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis.cni import NEEDS, report
    from netinspect.model.cni import CniReport
    from netinspect.model.topology import Scope

    inside.check(target, inspection)
    chosen = formats.chosen(output, CniReport)
    snapshot = source.read(target, NEEDS)
    wishes = inside.wishes(snapshot, Scope(), pods=False)
    if inspection.dry_run:
        inside.print_plan(inspection, [w.node for w in wishes])
        raise typer.Exit
    snapshot, _ = inside.with_kernels(snapshot, target, inspection, wishes)
    found = report(snapshot)
    console.write(chosen.render(found, console.style(no_color=output.no_color)))
    raise typer.Exit(found.outcome.value)
