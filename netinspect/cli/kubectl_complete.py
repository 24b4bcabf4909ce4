"""``kubectl_complete-netinspect``: kubectl asks it what Tab should offer after `kubectl netinspect`.

Source: k8s.io/kubectl/pkg/cmd/plugin_completion.go: the words typed so far are the arguments, the last one incomplete;
a line per offer is expected, and then ``:`` with a directive; 4 tells the shell not to offer file names.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys

_NO_FILES = 4


def main() -> None:
    """Print the offers for the words on the command line."""
    words = ["netinspect", *(sys.argv[1:] or [""])]
    os.environ["_NETINSPECT_COMPLETE"] = "complete_bash"
    os.environ["COMP_WORDS"] = shlex.join(w for w in words if w)
    os.environ["COMP_CWORD"] = str(len(words) - 1)
    from netinspect.cli.app import app

    with contextlib.suppress(SystemExit):
        app(prog_name="netinspect")
    sys.stdout.write(f":{_NO_FILES}\n")
