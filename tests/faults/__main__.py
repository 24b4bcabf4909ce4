"""The table of faults: ``python -m tests.faults [--lab NAME]... [PATTERN]``; labs that are not there are made."""

from __future__ import annotations

import argparse
import re
import sys
import traceback

from tests.faults.catalogue import FAULTS
from tests.faults.judge import Row, judge, remember, table
from tests.faults.labs import FAULTY, agents
from tests.lab import cluster
from tests.lab.settings import load


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--lab", action="append", default=[], help="a lab that runs; else both are made for it")
    parser.add_argument("pattern", nargs="?", default="", help="only faults whose name has it")
    options = parser.parse_args()
    settings = [load(name) for name in options.lab] or list(FAULTY)
    rows: list[Row] = []
    for lab in settings:
        if not options.lab:
            cluster.up(lab, lambda said: print(said, file=sys.stderr))
        try:
            agents(lab)
            remember(lab)
            for fault in FAULTS:
                if fault.fits(lab) and re.search(options.pattern, fault.name):
                    try:
                        rows.append(judge(lab, fault))
                        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
                    except RuntimeError:
                        traceback.print_exc()
        finally:
            if not options.lab:
                cluster.down(lab.name, lambda _: None)
    print(table(rows))
    asked = [r for r in rows if r.checked]
    first = sum(r.checked in ("first", "quiet") for r in asked)
    print(f"\nnetinspect check: of {len(asked)} faults {first} named first, or rightly not at all")
    exact = sum(r.judged == "exact" for r in rows)
    unknown = sum(r.judged == "unknown" for r in rows)
    print(f"\n{len(rows)} faults: {exact} exact, {unknown} unknown, {len(rows) - exact - unknown} wrong")
    sys.exit(0 if exact + unknown == len(rows) else 1)


if __name__ == "__main__":
    main()
