"""``netinspect cleanup``."""

from __future__ import annotations

from typing import Annotated

import typer

from netinspect.cli import console, source
from netinspect.cli.options import Target, duration
from netinspect.errors import UsageError


def cleanup(
    inspector_namespace: Annotated[str, typer.Option(help="Where --access pod created its pods")] = "kube-system",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is there")] = False,
    *,
    target: Target,
) -> None:
    """Delete inspector pods: of runs that were killed, and of any that goes on. They also go by themselves in time.

    \b
    Examples:
      netinspect cleanup
      netinspect cleanup --dry-run --inspector-namespace netinspect
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.cluster.connect import connect
    from netinspect.cluster.inspectors import clean, leftovers

    if target.from_ or target.demo:
        raise UsageError("there is nothing to clean up in a recording")
    duration(target.request_timeout)
    transport = connect(source.access(target))
    found = leftovers(transport, inspector_namespace)
    for leftover in found:
        if not dry_run:
            clean(transport, inspector_namespace, leftover)
        console.write([f"{leftover} {'is there' if dry_run else 'deleted'}\n"])
    if not found:
        console.say(f"nothing of netinspect is left in {inspector_namespace}")
