"""``netinspect verify`` and ``netinspect diff``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netinspect.cli import console, formats, inside, source
from netinspect.cli.options import Inspection, Output, Target
from netinspect.errors import UsageError
from netinspect.model.verify import Expectations


def verify(
    file: Annotated[Path | None, typer.Argument(help="A YAML file of expectations")] = None,
    init: Annotated[bool, typer.Option("--init", help="Print expectations of what is there now")] = False,
    *,
    target: Target,
    inspection: Inspection,
    output: Output,
) -> None:
    """Compare what was declared of a cluster with what there is: flows that should arrive or not, and facts.

    \b
    Examples:
      # declare what is there now, look through it, and keep it with the code
      netinspect verify --init --access exec > expectations.yaml
      # in a pipeline, each as a test case
      netinspect verify expectations.yaml --access exec -o junit > report.xml
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    import msgspec
    import yaml

    from netinspect.checks import declared
    from netinspect.model.topology import Scope
    from netinspect.model.verify import VerifyReport

    inside.check(target, inspection)
    if (file is None) == (not init):
        raise UsageError("name a file of expectations, or give --init, and not both")
    expectations = _read(file) if file is not None else None
    chosen = formats.chosen(output, VerifyReport)
    snapshot = source.read(target, declared.NEEDS)
    wishes = inside.wishes(snapshot, Scope())
    if inspection.dry_run:
        inside.print_plan(inspection, [w.node for w in wishes])
        raise typer.Exit
    snapshot, _ = inside.with_kernels(snapshot, target, inspection, wishes)
    if expectations is None:
        made = msgspec.to_builtins(declared.declare(snapshot))
        console.write([yaml.safe_dump(_plain(made), sort_keys=False, width=1000)])
        raise typer.Exit
    report = declared.verify(snapshot, expectations)
    console.write(chosen.render(report, console.style(no_color=output.no_color)))
    raise typer.Exit(report.outcome.value)


def diff(
    old: Annotated[Path, typer.Argument(help="A recording (netinspect snapshot)")],
    new: Annotated[Path, typer.Argument(help="A later one")],
    *,
    output: Output,
) -> None:
    """Say what changed between two recordings, and which flows become something else than before.

    \b
    Examples:
      netinspect snapshot before.zip --access exec
      netinspect snapshot after.zip --access exec
      netinspect diff before.zip after.zip
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.bundle import load
    from netinspect.checks import changes
    from netinspect.model.changes import DiffReport

    chosen = formats.chosen(output, DiffReport)
    report = changes.diff(load(old, changes.NEEDS), load(new, changes.NEEDS))
    console.write(chosen.render(report, console.style(no_color=output.no_color)))
    raise typer.Exit(report.outcome.value)


def _read(path: Path) -> Expectations:
    """Read a file of expectations; ``UsageError`` says where it is not one."""
    import msgspec
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return msgspec.convert(found, Expectations)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}", hint="`netinspect verify --init` prints one as an example") from error


def _plain(made: dict[str, object]) -> dict[str, object]:
    """Leave out of what is printed for people what is empty, or as it is without being said."""
    facts = {k: v for k, v in dict(made["facts"]).items() if v}  # type: ignore[call-overload]
    defaults = {"level": "inferred", "protocol": "tcp", "port": 0, "name": "", "namespace": ""}
    flows = [{k: v for k, v in f.items() if defaults.get(k) != v} for f in made["flows"]]  # type: ignore[attr-defined]
    return {"apiVersion": made["apiVersion"], "kind": made["kind"], "facts": facts, "flows": flows}
