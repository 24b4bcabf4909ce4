"""Two streams: the document goes to stdout and everything else to stderr."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from netinspect.errors import NetinspectError, UsageError

if TYPE_CHECKING:
    from netinspect.cluster.collect import Progress
    from netinspect.output.base import Style

_PATIENCE = 1.0


def error(failure: NetinspectError) -> None:
    """Say what went wrong and what to do about it."""
    from netinspect.output.base import safe

    say(f"error: {safe(str(failure))}")
    if failure.hint:
        say(f"hint: {safe(failure.hint)}")


def say(message: str) -> None:
    """Write a line to stderr."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


def style(*, no_color: bool = False) -> Style:
    """Find out what stdout can show."""
    from netinspect.output.base import Style

    terminal = sys.stdout.isatty()
    plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Style(width=shutil.get_terminal_size().columns if terminal else None, colour=terminal and not plain)


def write(pieces: Iterable[str]) -> bool:
    """Write the document, and say whether it was wanted: a reader that has seen enough (``| head``) is no error."""
    try:
        for piece in pieces:
            sys.stdout.write(piece)
        sys.stdout.flush()
    except OSError as failure:
        # Windows says EINVAL where others say EPIPE.
        if failure.errno not in (errno.EPIPE, errno.EINVAL):
            raise UsageError(f"cannot write to stdout: {failure.strerror}") from failure
        # Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def prepare_streams() -> None:
    """Make what is piped UTF-8 on every system, and let no terminal's encoding stop the output."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


@contextmanager
def progress(*, verbose: bool) -> Iterator[Progress]:
    """Show how far the reading is, on a terminal, when it takes longer than a second; nothing in a pipe."""
    counts: dict[str, int] = {}
    started = time.monotonic()

    def text() -> str:
        return "reading " + ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items()) if n)

    def report(resource: str, objects: int) -> None:
        counts[resource] = objects
        if verbose:
            say(f"{time.monotonic() - started:6.2f} s  {objects:7,} {resource}")

    if verbose or not sys.stderr.isatty():
        yield report
        return
    done = threading.Event()

    def show() -> None:
        if done.wait(_PATIENCE):
            return
        from rich.console import Console

        with Console(stderr=True, markup=False, highlight=False, emoji=False).status("reading") as status:
            while not done.wait(0.1):
                status.update(text())

    painter = threading.Thread(target=show, daemon=True)
    painter.start()
    try:
        yield report
    finally:
        done.set()
        painter.join(1.0)
