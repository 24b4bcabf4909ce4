"""Run a command to its end, or let it run on without us."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.lab.errors import LabError


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and give its output; ``LabError`` with its last words where it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def start(command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Start a command in a session of its own, as nobody's child: it outlives us, and leaves no zombie behind."""
    with log.open("ab") as out:
        subprocess.run(
            ["setsid", "--fork", *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, check=True
        )
