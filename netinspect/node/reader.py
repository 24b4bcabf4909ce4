"""Give the collector's script to a shell, wherever that is, and take what it prints."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources

from netinspect.errors import NodeError

_SCRIPT = "collector.sh"
_LIBRARY = "namespace.sh"


@dataclass(frozen=True)
class Request:
    """What to read. ``pods`` are the UIDs of those whose namespaces are read: None for all, empty for none.

    ``within`` says that only the namespace of the shell itself is read. ``deadline`` is in seconds; ``bound`` is how
    many bytes of the connection table are read.
    """

    pods: tuple[str, ...] | None = None
    within: bool = False
    on_host: bool = False
    deadline: float = 60.0
    bound: int = 4 << 20


@dataclass(frozen=True)
class Answer:
    """What a shell printed; ``broken`` says what ended it early, ``finished`` whether the script came to its end."""

    raw: bytes
    complaint: str = ""
    broken: str = ""
    finished: bool = True


# Runs a script in a shell and gives what it printed; raises ``NodeError`` where there is none.
Run = Callable[[bytes], Answer]


def script(request: Request, nonce: str) -> bytes:
    """Give the script with its settings; the nonce marks its own lines.

    UIDs are spelt as they are, with underscores, and with neither.
    """
    files = resources.files("netinspect.node")
    wanted = "-" if request.pods == () else ""
    if request.pods:
        wanted = " ".join(w for u in request.pods for w in dict.fromkeys((u, u.replace("-", "_"), u.replace("-", ""))))
    settings = {
        "NONCE": nonce,
        "SCOPE": "self" if request.within else "node",
        "PLACE": "host" if request.on_host else "container",
        "WANTED": f"'{wanted}'",
        "DEADLINE": str(max(1, int(request.deadline))),
        "BOUND": str(request.bound),
        "LIBRARY": shlex.quote((files / _LIBRARY).read_text()),
    }
    head = "".join(f"{name}={value}\n" for name, value in settings.items())
    return head.encode() + (files / _SCRIPT).read_bytes()


def read(run: Run, request: Request) -> Answer:
    """Run the collector; raises ``NodeError`` where it did not even begin."""
    nonce = secrets.token_hex(16)
    answer = run(script(request, nonce))
    begin = answer.raw.find(f"@{nonce} begin 1\n".encode())
    if begin < 0:
        said = " ".join((answer.complaint or answer.raw[:200].decode(errors="replace")).split())
        raise NodeError(
            f"the collector did not begin: {answer.broken or said or 'the shell said nothing'}",
            hint="a POSIX sh is needed there",
        )
    # Whatever a shell says before the script begins is not the script's.
    finished = f"\n@{nonce} finish\n".encode() in answer.raw
    return replace(answer, raw=answer.raw[begin:], finished=finished)
