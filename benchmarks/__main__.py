"""``python -m benchmarks WHAT``: print the ratios of benchmarks/README.md."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from benchmarks import apiserver, checks, collection, mesh, rules, traces, walk
from benchmarks.measure import Comparison, compare

_EMPTY = "import typer\napp = typer.Typer(rich_markup_mode=None)\n@app.command()\ndef f() -> None: ...\napp(['--help'])"


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("what", choices=["map", "help", "rules", "walk", "traces", "mesh", "checks", "collection"])
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--pods", type=int, default=30_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--lab", default="lab", help="the lab whose node is collected")
    parser.add_argument("--node", default="n2")
    options = parser.parse_args()
    alone = {"rules": rules, "walk": walk, "traces": traces, "mesh": mesh, "checks": checks}
    if options.what in alone:
        alone[options.what].main()
        return
    if options.what == "collection":
        collection.main(options.lab, options.node)
        return
    if options.what == "help":
        found = compare([sys.executable, "-m", "netinspect", "--help"], [sys.executable, "-c", _EMPTY], options.runs)
        _say("netinspect --help", "an empty Typer app", found)
        return
    with apiserver.serve() as server:
        started = time.monotonic()
        # In a process of its own: a child inherits its parent's peak of memory, and this one would be large.
        size = [str(options.nodes), str(options.pods)]
        subprocess.run([sys.executable, "-m", "benchmarks.apiserver", server.url, *size], check=True)
        print(
            f"{options.nodes} nodes and {options.pods} pods created in {time.monotonic() - started:.0f} s", flush=True
        )
        target = [f"--kubeconfig={server.kubeconfig}", "--request-timeout=120s"]
        for output in ("table", "json"):
            command = [sys.executable, "-m", "netinspect", "map", "-A", *target, "-o", output]
            found = compare(command, [sys.executable, "-m", "benchmarks.download", server.url], options.runs)
            _say(f"map -A -o {output}", "bare paged download", found)
            downloaded = int(found.limit[0].output)
            peak = statistics.median(c.memory for c in found.subject)
            above = (peak - downloaded) / 1e6
            print(f"  downloaded {downloaded / 1e6:.0f} MB; peak memory {peak / 1e6:.0f} MB, {above:+.0f} MB beside it")


def _say(subject: str, limit: str, found: Comparison) -> None:
    walls = [[c.wall for c in costs] for costs in (found.subject, found.limit)]
    described = [f"{statistics.median(w):.2f} s ({min(w):.2f}-{max(w):.2f})" for w in walls]
    print(f"{subject}: {described[0]}; {limit}: {described[1]}; ratio {found.ratio:.2f}")


if __name__ == "__main__":
    main()
