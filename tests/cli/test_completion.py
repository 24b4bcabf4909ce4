"""Completion, in the shells themselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from completions.generate import SCRIPTS, script
from tests.conftest import ROOT, unavailable
from tests.lab.settings import Settings
from tests.wire import WireServer

FOLDER = ROOT / "completions"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_current(shell: str) -> None:
    assert (FOLDER / SCRIPTS[shell]).read_text() == script(shell), "run `make completions`"


def offers(shell: str, line: str, **env: str) -> set[str]:
    """Type a line into a shell that has loaded the script, press Tab, and give what it offers."""
    if shutil.which(shell) is None:
        unavailable(f"{shell} is not installed: `make test-packages` installs it on Debian")
    programs = {
        "bash": f"""
            source {FOLDER}/netinspect.bash
            line='{line}'; read -ra COMP_WORDS <<< "$line"; [[ "$line" == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
            _netinspect_completion netinspect; printf '%s\\n' "${{COMPREPLY[@]}}" """,
        "fish": f"source {FOLDER}/netinspect.fish; complete -C '{line}' | string replace -r '\\t.*' ''",
        # What zsh would show is only seen from inside a line editor, so one runs on a terminal of its own.
        "zsh": f"""
            zmodload zsh/zpty; zpty z zsh -f -i
            zpty -w z 'PROMPT=; fpath=({FOLDER} $fpath); autoload -U compinit; compinit -D -u'
            zpty -w z 'zstyle ":completion:*" list-prompt ""; LISTMAX=1000; setopt nolistbeep; stty columns 2000'
            zpty -w z "bindkey '^I' list-choices; print READY"
            zpty -r z line '*READY*READY*'
            zpty -n -w z $'{line}\\t'; sleep 4; zpty -n -w z $'\\x15print D''ONE\\n'
            zpty -r z line '*DONE*'; print -r -- $line""",
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    arguments = [shell, "-f", "-c"] if shell == "zsh" else [shell, "-c"]
    done = subprocess.run(
        [*arguments, programs[shell]], capture_output=True, text=True, timeout=60, check=False, cwd="/",
        env={"PATH": path, "HOME": "/nonexistent", "TERM": "xterm", **env},
    )  # fmt: skip
    return set(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", done.stdout).split())


SHELLS = ("bash", "zsh", "fish")


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_and_flags(shell: str) -> None:
    assert {"map", "whois", "snapshot", "schema"} <= offers(shell, "netinspect ")
    assert "--all-namespaces" in offers(shell, "netinspect map --all")
    assert {"table", "tree", "json", "yaml", "dot", "mermaid"} <= offers(shell, "netinspect map -o ")


@pytest.mark.parametrize("shell", SHELLS)
def test_objects_of_a_recording(shell: str) -> None:
    assert {"pod/", "svc/", "node/", "ns/"} <= offers(shell, "netinspect map --demo ")
    assert "svc/shop/web" in offers(shell, "netinspect map --demo svc/shop/w")
    assert {"node/n1", "node/n2", "node/n3"} <= offers(shell, "netinspect map --demo node/")
    assert "shop" in offers(shell, "netinspect map --demo -n sh")


@pytest.mark.parametrize("shell", SHELLS)
def test_names_of_a_cluster_live(shell: str, dual_lab: Settings) -> None:
    live = {"KUBECONFIG": str(dual_lab.kubeconfig)}
    assert {"kube-system", "kube-public"} <= offers(shell, "netinspect map -n kube", **live)
    assert "svc/web" in offers(shell, "netinspect map -n shop svc/we", **live)
    assert "node/n2" in offers(shell, "netinspect map node/n", **live)
    assert "testdual" in offers(shell, "netinspect map --context te", **live)


def test_a_cluster_that_does_not_answer_offers_nothing_and_says_nothing(wire: WireServer, tmp_path: Path) -> None:
    wire.on("/api/v1/namespaces", lambda r: r.status(403, "Forbidden", "no"))
    live = {"KUBECONFIG": str(wire.kubeconfig(tmp_path))}
    assert offers("bash", "netinspect map -n x", **live) == set()


def test_hostile_names_are_not_offered_to_a_shell_that_evaluates(wire: WireServer, tmp_path: Path) -> None:
    names = ["good", "$(touch pwned)", "`touch pwned`", "a;b", "a b", "a'b", 'a"b', "a\nb", "\x1b[2J"]
    wire.on("/api/v1/namespaces", lambda r: r.json({"items": [{"metadata": {"name": n}} for n in names]}))
    live = {"KUBECONFIG": str(wire.kubeconfig(tmp_path))}
    assert offers("bash", "netinspect map -n ", **live) == {"good"}


def test_kubectl_asks_in_its_own_way(tmp_path: Path) -> None:
    """It runs `kubectl_complete-netinspect WORD...` and reads offers and a directive."""
    program = Path(sys.executable).with_name("kubectl_complete-netinspect")

    def asked(*words: str) -> list[str]:
        done = subprocess.run([program, *words], capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout.splitlines()

    assert asked("map", "--demo", "-n", "sh") == ["shop", ":4"]
    assert asked("map", "--demo", "svc/shop/web-s") == ["svc/shop/web-sticky", ":4"]
    assert "map" in asked("")
    assert "map" in asked("m")
    assert asked("map", "--demo", "nonsense") == ["", ":4"]
