"""Run commands side by side and compare what the operating system says they took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """One finished process: seconds on the wall, seconds of processor, peak memory in bytes, and its output."""

    wall: float
    cpu: float
    memory: int
    output: bytes


def run(command: list[str]) -> Cost:
    """Run a command to its end; ``RuntimeError`` with what it said where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    output = process.stdout.read()
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}: {complaint.decode()[-500:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, output)


@dataclass(frozen=True)
class Comparison:
    """Pairs of runs, taken in turn so that a machine that changes its speed slows both."""

    subject: list[Cost]
    limit: list[Cost]

    @property
    def ratio(self) -> float:
        """The median of subject over limit, pair by pair, on the wall."""
        return statistics.median(s.wall / p.wall for s, p in zip(self.subject, self.limit, strict=True))


def compare(subject: list[str], limit: list[str], runs: int) -> Comparison:
    """Run the two in turn, after one run of each that does not count."""
    pairs = [(run(subject), run(limit)) for _ in range(runs + 1)][1:]
    return Comparison([s for s, _ in pairs], [p for _, p in pairs])
