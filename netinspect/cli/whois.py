"""``netinspect whois``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from netinspect.cli import console, formats, source
from netinspect.cli.options import Output, OutputFormat, Target
from netinspect.errors import UsageError

# As `ss` and logs write them: 10.0.0.1:80, [fd00::1]:80, [fd00::1].
_WITH_PORT = re.compile(r"\[([^\[\]]+)\](?::\d+)?|([^:]+):\d+")


def whois(
    addresses: Annotated[
        list[str], typer.Argument(metavar="ADDRESS...|-", help="Addresses; - annotates any text on stdin")
    ],
    *,
    target: Target,
    output: Output,
) -> None:
    """Say who owns an address, or annotate a text.

    \b
    Examples:
      # two addresses
      netinspect whois 10.96.0.10 10.244.1.7
      # names in the output of another tool
      ss -tn | netinspect whois -
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis.ownership import NEEDS, Owners, annotate
    from netinspect.model.topology import Ownership
    from netinspect.output.base import safe

    if "-" in addresses and len(addresses) > 1:
        raise UsageError("- takes the addresses from stdin, so no others can be given")
    if addresses == ["-"] and output.output is not OutputFormat.TABLE:
        raise UsageError("- writes the text that it reads, so it has no format", hint="leave out -o")
    namespace = source.default_namespace(target)
    snapshot = source.read(target, NEEDS, (namespace,) if namespace else ())
    owners = Owners(snapshot)
    if addresses == ["-"]:
        for line in annotate(_lines(), owners, safe):
            if not console.write([line]):
                break
        raise typer.Exit(0 if owners.certain else 3)
    found = []
    for text in addresses:
        owned = owners.of(_without_port(text))
        if owned is None:
            raise UsageError(
                f"{text!r} is not an address", hint="write an IPv4 or IPv6 address, or - to annotate stdin"
            )
        found.append(owned)
    chosen = formats.chosen(output, Ownership)
    document = Ownership(
        taken_at=snapshot.taken_at, server_version=snapshot.server_version, addresses=tuple(found), gaps=snapshot.gaps
    )
    console.write(chosen.render(document, console.style(no_color=output.no_color)))
    raise typer.Exit(0 if all(f.certain for f in found) else 3)


def _lines() -> Iterator[str]:
    """Give stdin line by line, as it comes; bytes that are no text pass through unchanged."""
    if sys.stdin is None:
        raise UsageError("stdin is closed, so there is no text to annotate")
    sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[union-attr]
    yield from sys.stdin


def _without_port(text: str) -> str:
    match = _WITH_PORT.fullmatch(text)
    return match.group(1) or match.group(2) if match else text
