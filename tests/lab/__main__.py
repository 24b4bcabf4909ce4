"""The lab's command line: ``python -m tests.lab``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType

from tests.lab import cluster, node
from tests.lab.errors import LabError
from tests.lab.settings import Backend, Cni, IpFamily, Mesh, Proxy, Settings, load


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab", description="A real Kubernetes cluster in namespaces of this machine. Needs root."
    )
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=Settings.name, help="which lab (default: %(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", parents=[named], help="start the lab, or finish starting it")
    up.add_argument("--nodes", type=int, default=Settings.nodes, help="the first is the control plane")
    up.add_argument("--cni", type=Cni, choices=list(Cni), default=Settings.cni, metavar="|".join(c.value for c in Cni))
    up.add_argument(
        "--backend",
        type=Backend,
        choices=list(Backend),
        default=Settings.backend,
        metavar="|".join(b.value for b in Backend),
        help="of Flannel",
    )
    up.add_argument(
        "--proxy", type=Proxy, choices=list(Proxy), default=Settings.proxy, metavar="|".join(p.value for p in Proxy)
    )
    up.add_argument(
        "--ip-family",
        type=IpFamily,
        choices=list(IpFamily),
        default=Settings.ip_family,
        metavar="|".join(f.value for f in IpFamily),
    )
    up.add_argument("--mesh", type=Mesh, choices=list(Mesh), metavar="|".join(m.value for m in Mesh))
    up.add_argument("--no-workloads", dest="workloads", action="store_false", help="a cluster without applications")
    verbs.add_parser("down", parents=[named], help="remove the lab and all it left")
    verbs.add_parser("status", parents=[named], help="say what runs")
    verbs.add_parser("list", help="name the labs that exist")
    verbs.add_parser("kubeconfig", parents=[named], help="print the path of the administrator's kubeconfig")
    execute = verbs.add_parser("exec", parents=[named], help="run a command on a node, as root")
    execute.add_argument("node")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def main() -> None:
    """Do what the command line says; exit 1 with one line where it cannot be done."""
    options = _parser().parse_args()
    # A shell starts what it puts in the background with SIGINT ignored, and Python would leave it so.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        _run(options)
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run(options: argparse.Namespace) -> None:
    match options.verb:
        case "up":
            cluster.up(
                Settings(
                    name=options.name,
                    nodes=options.nodes,
                    cni=options.cni,
                    backend=options.backend,
                    proxy=options.proxy,
                    ip_family=options.ip_family,
                    mesh=options.mesh,
                    workloads=options.workloads,
                ),
                _say,
            )
        case "down":
            cluster.down(options.name, _say)
        case "status":
            sys.stdout.write(cluster.status(options.name))
        case "list":
            sys.stdout.write("".join(f"{name}\n" for name in cluster.names()))
        case "kubeconfig":
            sys.stdout.write(f"{load(options.name).kubeconfig}\n")
        case _:
            words = [w for w in options.command if w != "--"] or ["sh"]
            command = node.enter(load(options.name), options.node, words)
            os.execvp(command[0], command)  # noqa: S606 - the terminal is handed over


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
