"""This machine as the node: a shell of its own session, stopped with all that it started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time

from netinspect.errors import NodeError
from netinspect.node.reader import Answer

_CHUNK = 1 << 16
_COMPLAINT = 4096


def check() -> None:
    """Raise ``NodeError`` where this machine cannot be looked into."""
    if os.name != "posix" or not os.path.isdir("/proc/1/ns"):  # noqa: PTH112 - a Path would need the import for this
        raise NodeError("only a Linux node can be looked into from within", hint="choose --access exec or pod")
    if os.geteuid() != 0:
        raise NodeError("looking into this node needs root", hint="run it with sudo, or choose --access exec or pod")


def run(script: bytes, *, deadline: float, most: int) -> Answer:
    """Run the script with this machine's sh; what runs longer than ``deadline`` seconds is killed."""
    check()
    try:
        shell = subprocess.Popen(
            ["sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise NodeError(f"this machine's sh cannot be run: {error.strerror}") from error
    try:
        return _talk(shell, script, time.monotonic() + deadline, deadline, most)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        for pipe in (shell.stdin, shell.stdout, shell.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _talk(shell: subprocess.Popen[bytes], script: bytes, until: float, deadline: float, most: int) -> Answer:
    if shell.stdin is None or shell.stdout is None or shell.stderr is None:
        raise AssertionError("all three were asked for")
    stdout, stderr = bytearray(), bytearray()
    with contextlib.suppress(BrokenPipeError), shell.stdin:
        shell.stdin.write(script)
    with selectors.DefaultSelector() as ready:
        ready.register(shell.stdout, selectors.EVENT_READ, stdout)
        ready.register(shell.stderr, selectors.EVENT_READ, stderr)
        while ready.get_map():
            remaining = until - time.monotonic()
            if remaining <= 0:
                return _answer(stdout, stderr, f"no end after {deadline:g} s")
            for key, _ in ready.select(remaining):
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    ready.unregister(key.fileobj)
                key.data.extend(chunk)
            if len(stdout) > most:
                return _answer(stdout[:most], stderr, f"more than {most >> 20} MiB")
    return _answer(stdout, stderr, "")


def _answer(stdout: bytearray, stderr: bytearray, broken: str) -> Answer:
    return Answer(bytes(stdout), bytes(stderr[:_COMPLAINT]).decode(errors="replace"), broken)
