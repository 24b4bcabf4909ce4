"""Write the completion scripts of every shell into this folder: ``make completions``; a test compares them."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.completion import get_completion_script

SCRIPTS = {"bash": "netinspect.bash", "zsh": "_netinspect", "fish": "netinspect.fish", "pwsh": "netinspect.ps1"}


def script(shell: str) -> str:
    """Give the script that asks netinspect itself what to offer."""
    text = get_completion_script(prog_name="netinspect", complete_var="_NETINSPECT_COMPLETE", shell=shell)
    # As a file on zsh's fpath the script is run to complete, not only to be defined.
    defined = "compdef _netinspect_completion netinspect"
    either = (
        f'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n  _netinspect_completion "$@"\nelse\n  {defined}\nfi'
    )
    return text.replace(f"\n{defined}", f"\n{either}").strip() + "\n"


def main() -> None:
    """Write all scripts."""
    for shell, name in SCRIPTS.items():
        (Path(__file__).parent / name).write_text(script(shell))


if __name__ == "__main__":
    sys.exit(main())
