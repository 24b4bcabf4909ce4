"""The flags that commands share, as kubectl names them, one dataclass per group."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from netinspect.cli import complete
from netinspect.errors import UsageError

_CONNECTION = "Connection"
_SCOPE = "Scope"
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class OutputFormat(str, Enum):
    """The names of the output formats; the modules behind them are loaded when they are used."""

    TABLE = "table"
    WIDE = "wide"
    TREE = "tree"
    JSON = "json"
    YAML = "yaml"
    DOT = "dot"
    MERMAID = "mermaid"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    MARKDOWN = "markdown"
    HTML = "html"


def duration(text: str) -> float:
    """Read a time span as kubectl does, in seconds: ``30``, ``1.5s``, ``2m``, ``1m30s``; 0 means no bound."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise UsageError(f"{text!r} is not a time span", hint="write 30s, 2m or 1m30s; 0 for no bound")
    return sum(float(n) * _UNITS[u] for n, u in parts)


@dataclass(frozen=True)
class Target:
    """Which cluster, and how it is reached."""

    kubeconfig: Annotated[str, typer.Option(help="Path to the kubeconfig", rich_help_panel=_CONNECTION)] = ""
    context: Annotated[
        str,
        typer.Option(help="Context of the kubeconfig", rich_help_panel=_CONNECTION, autocompletion=complete.contexts),
    ] = ""
    cluster: Annotated[str, typer.Option(help="Cluster entry of the kubeconfig", rich_help_panel=_CONNECTION)] = ""
    user: Annotated[str, typer.Option(help="User entry of the kubeconfig", rich_help_panel=_CONNECTION)] = ""
    server: Annotated[
        str, typer.Option("--server", "-s", help="Address of the API server", rich_help_panel=_CONNECTION)
    ] = ""
    as_user: Annotated[str, typer.Option("--as", help="User to impersonate", rich_help_panel=_CONNECTION)] = ""
    as_group: Annotated[
        list[str] | None, typer.Option(help="Group to impersonate, repeatable", rich_help_panel=_CONNECTION)
    ] = None
    as_uid: Annotated[str, typer.Option(help="UID to impersonate", rich_help_panel=_CONNECTION)] = ""
    insecure_skip_tls_verify: Annotated[
        bool,
        typer.Option(
            "--insecure-skip-tls-verify", help="Do not check the server's certificate", rich_help_panel=_CONNECTION
        ),
    ] = False
    request_timeout: Annotated[
        str,
        typer.Option(help="Longest wait for one answer, retries included; 0 for no bound", rich_help_panel=_CONNECTION),
    ] = "30s"
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Look at a recording instead of a cluster", rich_help_panel=_CONNECTION
        ),
    ] = None
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Look at the recording that comes with netinspect", rich_help_panel=_CONNECTION),
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is read, and show bugs in full")] = False


@dataclass(frozen=True)
class Narrowing:
    """Which of its objects."""

    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            help="Namespace; else that of the context",
            rich_help_panel=_SCOPE,
            autocompletion=complete.namespaces,
        ),
    ] = ""
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Every namespace", rich_help_panel=_SCOPE)
    ] = False
    selector: Annotated[
        str, typer.Option("--selector", "-l", help="Label selector, as in kubectl", rich_help_panel=_SCOPE)
    ] = ""
    node: Annotated[
        list[str] | None,
        typer.Option(
            help="Only what is on this node, repeatable", rich_help_panel=_SCOPE, autocompletion=complete.nodes
        ),
    ] = None


class AccessLevel(str, Enum):
    """The ways into the nodes."""

    NONE = "none"
    LOCAL = "local"
    EXEC = "exec"
    POD = "pod"
    AUTO = "auto"


class PullPolicy(str, Enum):
    """When the node fetches the inspector's image."""

    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"
    ALWAYS = "Always"


_INSIDE = "Inside the nodes"


@dataclass(frozen=True)
class Inspection:
    """How the nodes are looked into."""

    access: Annotated[
        AccessLevel | None,
        typer.Option(
            help="local: this machine, as root; exec: through pods that are there; pod: through short-lived pods; "
            "auto: local where this is the node, else exec",
            rich_help_panel=_INSIDE,
        ),
    ] = None
    inspector_namespace: Annotated[
        str, typer.Option(help="Where --access pod creates its pods", rich_help_panel=_INSIDE)
    ] = "kube-system"
    image: Annotated[
        str, typer.Option(help="Image of these pods; else netshoot, by digest", rich_help_panel=_INSIDE)
    ] = ""
    image_pull_policy: Annotated[PullPolicy, typer.Option(help="When it is fetched", rich_help_panel=_INSIDE)] = (
        PullPolicy.IF_NOT_PRESENT
    )
    parallel: Annotated[
        int, typer.Option(min=1, max=64, help="Nodes read at the same time", rich_help_panel=_INSIDE)
    ] = 8
    node_timeout: Annotated[str, typer.Option(help="Longest time for one node", rich_help_panel=_INSIDE)] = "60s"
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what --access pod would create, and do nothing", rich_help_panel=_INSIDE),
    ] = False


@dataclass(frozen=True)
class Output:
    """How the document is written."""

    output: Annotated[OutputFormat, typer.Option("--output", "-o", help="Format")] = OutputFormat.TABLE
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text even on a terminal")] = False


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option per field of each dataclass that it takes, and build these when it is called."""
    hints = typing.get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    own = inspect.signature(command).parameters.values()
    parameters = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own if p.name not in groups]
    for group in groups.values():
        types = typing.get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                f.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=types[f.name],
                default=inspect.Parameter.empty if f.default is MISSING else f.default,
            )
            for f in fields(group)
        ]

    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in fields(group)})
        command(**values)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
