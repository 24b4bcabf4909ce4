"""The program: its commands, its flags before the command, and the one place where it ends."""

from __future__ import annotations

import gc
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import PurePath
from types import FrameType
from typing import Annotated

import typer

from netinspect import __version__
from netinspect.cli import check, cleanup, cni, console, mesh, node, rbac, schema, snapshot, verify, whois
from netinspect.cli.map import map_
from netinspect.cli.options import Target, flatten
from netinspect.cli.trace import trace
from netinspect.errors import NetinspectError

_BUG = 70
_INTERRUPTED = 130
_ISSUES = "https://github.com/netinspect/netinspect/issues"


def _version(wanted: bool) -> None:
    if wanted:
        console.write([f"netinspect {__version__}\n"])
        raise typer.Exit


app = typer.Typer(
    name="netinspect",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
@flatten
def _root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 - the callback has answered it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Namespace")] = "",  # noqa: ARG001
    *,
    target: Target,  # noqa: ARG001
) -> None:
    """Inspect Kubernetes cluster networking. Read-only unless --access pod is given."""
    # kubectl takes its flags on either side of the verb; so do we: what is given before it is the default after it.
    sources = ((name, ctx.get_parameter_source(name)) for name in ctx.params)
    given = {name: ctx.params[name] for name, source in sources if source is not None and source.name == "COMMANDLINE"}
    ctx.default_map = dict.fromkeys(_COMMANDS, given)


_COMMANDS: dict[str, Callable[..., None]] = {
    "map": flatten(map_),
    "whois": flatten(whois.whois),
    "trace": flatten(trace),
    "check": flatten(check.check),
    "checks": flatten(check.checks),
    "explain": flatten(check.explain),
    "verify": flatten(verify.verify),
    "diff": flatten(verify.diff),
    "cni": flatten(cni.cni),
    "mesh": flatten(mesh.mesh),
    "node": flatten(node.node),
    "pod": flatten(node.pod),
    "snapshot": flatten(snapshot.snapshot),
    "rbac": rbac.rbac,
    "cleanup": flatten(cleanup.cleanup),
    "schema": schema.schema,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """Run the command line and exit: see README for the exit codes."""
    # The objects of a large cluster are made once, hold no cycles, and are needed to the end: looking through them for
    # garbage again and again takes a third of the time.
    gc.disable()
    console.prepare_streams()
    signal.signal(signal.SIGTERM, _terminated)
    if hasattr(signal, "SIGHUP"):
        # A terminal that is closed, or a connection to it that breaks.
        signal.signal(signal.SIGHUP, _terminated)
    sys.exit(_run())


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    """End as after Ctrl-C, so that what was begun is cleaned up."""
    raise KeyboardInterrupt


def _run() -> int:
    called = PurePath(sys.argv[0]).stem
    name = "kubectl netinspect" if called.startswith("kubectl-") else "netinspect"
    try:
        app(prog_name=name)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            console.say("interrupted")
        return end.code if isinstance(end.code, int) else 0
    except NetinspectError as failure:
        console.error(failure)
        return failure.exit_code
    except Exception as failure:
        if {"-v", "--verbose"} & set(sys.argv):
            traceback.print_exc()
        # What is printed may have come from the cluster, so it is quoted.
        console.say(f"bug: {type(failure).__name__}: {str(failure)!r}")
        console.say(f"hint: run it again with -v, and report it at {_ISSUES}")
        return _BUG
    return 0
