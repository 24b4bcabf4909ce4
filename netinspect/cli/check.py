"""``netinspect check``, ``checks`` and ``explain``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netinspect.cli import complete, console, formats, inside, source
from netinspect.cli.options import Inspection, Output, Target
from netinspect.errors import UsageError
from netinspect.model.check import ORDER, Category, CheckReport
from netinspect.model.finding import Severity

if TYPE_CHECKING:
    from netinspect.checks.accepted import Suppression
    from netinspect.checks.base import Check
    from netinspect.model.check import CheckPage, Checks

_GATE = "Gate"
_WHICH = "Which checks"
_SETTINGS = Path(".netinspect.toml")
# The format that people read has the name of what it is, as in other tools.
_ALIASES = {"text": "table"}


class FailOn(str, Enum):
    """The least severity that makes the run fail."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


@dataclass(frozen=True)
class Gate:
    """What makes the run fail."""

    fail_on: Annotated[FailOn, typer.Option(help="Least severity that exits 1", rich_help_panel=_GATE)] = FailOn.ERROR
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 3 where something could not be looked at", rich_help_panel=_GATE)
    ] = False
    baseline: Annotated[
        Path | None,
        typer.Option(help="An earlier -o json report: what is in it does not count", rich_help_panel=_GATE),
    ] = None
    config: Annotated[
        Path | None, typer.Option(help="File with suppressions; else .netinspect.toml here", rich_help_panel=_GATE)
    ] = None


@dataclass(frozen=True)
class Which:
    """Which diagnoses are made."""

    only: Annotated[
        list[str] | None, typer.Option(help="Only codes that begin so, repeatable", rich_help_panel=_WHICH)
    ] = None
    skip: Annotated[
        list[str] | None, typer.Option(help="No codes that begin so, repeatable", rich_help_panel=_WHICH)
    ] = None
    category: Annotated[
        list[Category] | None, typer.Option(help="Only of this category, repeatable", rich_help_panel=_WHICH)
    ] = None
    min_severity: Annotated[Severity, typer.Option(help="Leave out what is less", rich_help_panel=_WHICH)] = (
        Severity.INFO
    )


def check(
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", help="Only objects of this namespace", autocompletion=complete.namespaces),
    ] = "",
    node: Annotated[
        list[str] | None,
        typer.Option(help="Only what is about this node, repeatable", autocompletion=complete.nodes),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            help="FORMAT or FORMAT=FILE, repeatable: text, wide, json, yaml, junit, sarif, github, markdown, html",
        ),
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text even on a terminal")] = False,
    *,
    gate: Gate,
    which: Which,
    target: Target,
    inspection: Inspection,
) -> None:
    """Make every diagnosis, rank causes above symptoms, and exit by what was found.

    \b
    Examples:
      # by the API's objects alone
      netinspect check
      # with the kernels of nodes and pods, and packets walked through them
      netinspect check --access exec
      # in a pipeline: fail on warnings, and on what could not be looked at
      netinspect check --fail-on warning --strict -o junit=report.xml -o text
      # only what is new since the last report
      netinspect check --baseline last.json -o json=last.json -o github
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.checks.accepted import accept
    from netinspect.checks.run import Policy, needs_of, run
    from netinspect.model import resources
    from netinspect.model.topology import Scope

    inside.check(target, inspection)
    outputs = _outputs(output or ["text"])
    fail_on = None if gate.fail_on is FailOn.NEVER else Severity(gate.fail_on.value)
    if fail_on is not None and ORDER[which.min_severity] < ORDER[fail_on]:
        raise UsageError(
            f"--min-severity {which.min_severity.value} would hide what --fail-on {fail_on.value} fails on",
            hint="leave out no more than what does not fail the run",
        )
    chosen = _chosen(which)
    listed, known = _suppressions(gate.config), _baseline(gate.baseline)
    needs = needs_of(chosen)
    if namespace:
        needs = tuple({r.name: r for r in (*needs, resources.NAMESPACES)}.values())
    snapshot = source.read(target, needs, (namespace,) if namespace else ())
    if namespace and not snapshot.gap("namespaces") and namespace not in {n.metadata.name for n in snapshot.namespaces}:
        raise UsageError(f"there is no namespace {namespace}", hint="`netinspect map` lists them")
    _known_nodes(node or (), {n.metadata.name for n in snapshot.nodes}, unseen=snapshot.gap("nodes") is not None)
    wishes = inside.wishes(snapshot, Scope(nodes=tuple(node or ())))
    if inspection.dry_run:
        inside.print_plan(inspection, [w.node for w in wishes])
        raise typer.Exit
    snapshot, _ = inside.with_kernels(snapshot, target, inspection, wishes)
    policy = Policy(fail_on, gate.strict, which.min_severity, namespace, tuple(node or ()))
    whole = not (which.only or which.skip or which.category or namespace or node)
    today = datetime.now(tz=timezone.utc).date()
    report = accept(run(snapshot, chosen, policy), listed, known, today, whole=whole)
    _write(report, outputs, no_color=no_color)
    raise typer.Exit(report.outcome.value)


def _chosen(which: Which) -> Sequence[Check]:
    from netinspect.checks import CHECKS

    for given in (*(which.only or ()), *(which.skip or ())):
        if not any(c.code.startswith(given.upper()) for c in CHECKS):
            raise UsageError(f"no code begins with {given!r}", hint="`netinspect checks` lists them")
    only = tuple(c.upper() for c in which.only or ("NI",))
    skip = tuple(c.upper() for c in which.skip or ())
    found = [c for c in CHECKS if c.code.startswith(only) and not c.code.startswith(skip or ("-",))]
    found = [c for c in found if not which.category or c.category in which.category]
    if not found:
        raise UsageError("no check is left", hint="--only, --skip and --category exclude each other")
    return found


def _known_nodes(asked: Iterable[str], there: set[str], *, unseen: bool) -> None:
    for name in asked:
        if name not in there and not unseen:
            raise UsageError(f"there is no node {name}", hint="`netinspect map --network host` lists them")


def _outputs(given: Sequence[str]) -> list[tuple[str, Path | None]]:
    """Read FORMAT and FORMAT=FILE; one of them at most may go to stdout."""
    found: list[tuple[str, Path | None]] = []
    for text in given:
        name, equals, path = text.partition("=")
        format_ = formats.named(_ALIASES.get(name, name), CheckReport)
        if equals and not path:
            raise UsageError(f"{text!r} names no file", hint=f"write {name}=FILE")
        found.append((format_.NAME, Path(path) if path else None))
    if sum(path is None for _, path in found) > 1:
        raise UsageError("two formats would go to stdout", hint="give all but one a file: -o junit=report.xml")
    return found


def _write(report: CheckReport, outputs: Sequence[tuple[str, Path | None]], *, no_color: bool) -> None:
    from netinspect.output import BY_NAME
    from netinspect.output.base import Style

    for name, path in outputs:
        if path is None:
            console.write(BY_NAME[name].render(report, console.style(no_color=no_color)))
        else:
            _save(path, BY_NAME[name].render(report, Style()), "w")
    summary = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if summary and any(name == "github" for name, _ in outputs):
        _save(Path(summary), BY_NAME["markdown"].render(report, Style()), "a")


def _save(path: Path, pieces: Iterable[str], mode: str) -> None:
    try:
        with path.open(mode, encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(pieces)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _suppressions(path: Path | None) -> tuple[Suppression, ...]:
    from netinspect.checks.accepted import suppressions

    if path is None and not _SETTINGS.exists():
        return ()
    chosen = path or _SETTINGS
    try:
        return suppressions(_read(chosen).decode(), str(chosen))
    except UnicodeDecodeError as error:
        raise UsageError(f"{chosen} is not UTF-8") from error


def _baseline(path: Path | None) -> frozenset[str]:
    from netinspect.checks.accepted import baseline

    return baseline(_read(path), str(path)) if path is not None else frozenset()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def checks(*, output: Output) -> None:
    """List every diagnosis, and those that are known and not made yet.

    \b
    Examples:
      netinspect checks
      netinspect checks -o json
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.checks import CHECKS
    from netinspect.checks.uncovered import UNCOVERED
    from netinspect.model.check import Checks

    _render(Checks(checks=tuple(c.page for c in CHECKS), uncovered=UNCOVERED), output)


def _codes(incomplete: str) -> list[str]:
    from netinspect.checks import CHECKS

    return [c.code for c in CHECKS if c.code.startswith(incomplete.upper())]


def explain(
    code: Annotated[str, typer.Argument(help="A code, as in NI1201", autocompletion=_codes)],
    *,
    output: Output,
) -> None:
    """Explain a diagnosis: what it looks for, when the same picture is no fault, and what to do.

    \b
    Examples:
      netinspect explain NI1201
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.checks import BY_CODE

    found = BY_CODE.get(code.upper())
    if found is None:
        raise UsageError(f"there is no code {code!r}", hint="`netinspect checks` lists them")
    _render(found.page, output)


def _render(document: Checks | CheckPage, output: Output) -> None:
    chosen = formats.chosen(output, type(document))
    console.write(chosen.render(document, console.style(no_color=output.no_color)))
