"""Limits that a node shares with its machine are reached in a kernel of its own, and their checks fire."""

from __future__ import annotations

import subprocess
import sys

from tests.checks.limits import CODES
from tests.conftest import ROOT
from tests.kernel.test_against_the_kernel import UML, needs


def test_checks_of_a_machines_limits_fire_when_its_tables_are_full() -> None:
    needs("linux.uml", "gcc", "iptables-legacy")
    done = subprocess.run(
        ["bash", UML, "-q", "-t", "300", sys.executable, "-m", "tests.checks.limits"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert said == {"before": "none", "after": " ".join(f"{code}:node/n1" for code in CODES)}, done.stdout + done.stderr
