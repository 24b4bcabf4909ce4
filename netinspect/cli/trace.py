"""``netinspect trace``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer

from netinspect.cli import complete, console, inside, source
from netinspect.cli.options import AccessLevel, Inspection, Output, Target

_FLOW = "Flow"


class Protocol(str, Enum):
    """What is sent."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"
    ICMP = "icmp"


@dataclass(frozen=True)
class Flow:
    """What is sent."""

    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; else that of TO", rich_help_panel=_FLOW)] = (
        None
    )
    protocol: Annotated[Protocol, typer.Option(help="What is sent", rich_help_panel=_FLOW)] = Protocol.TCP
    source_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the sender; else any", rich_help_panel=_FLOW)
    ] = None
    size: Annotated[
        int, typer.Option(min=0, max=65000, help="Bytes that the packet carries", rich_help_panel=_FLOW)
    ] = 0
    fragment: Annotated[
        bool, typer.Option("--fragment", help="Let the packet be fragmented (no DF)", rich_help_panel=_FLOW)
    ] = False


def trace(
    source_: Annotated[
        str,
        typer.Argument(
            metavar="FROM", help="POD, NAMESPACE/POD, deploy/X, node/X or an address", autocompletion=complete.objects
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="TO", help="The same, svc/X, a DNS name or external; with :PORT", autocompletion=complete.objects
        ),
    ],
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", help="Namespace; else that of the context", autocompletion=complete.namespaces
        ),
    ] = "",
    *,
    flow: Flow,
    target: Target,
    inspection: Inspection,
    output: Output,
) -> None:
    """Follow a packet from one end to another, and name what stops it.

    \b
    Examples:
      # what the API's objects alone say
      netinspect trace shop/web-0 svc/db:5432
      # what the kernels of the nodes on the way will do
      netinspect trace shop/web-0 svc/db:5432 --access pod
      netinspect trace deploy/web 10.244.2.7:80 --access exec -o wide
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis import trace as tracing
    from netinspect.analysis.trace import Question
    from netinspect.model.trace import Arrival
    from netinspect.output import BY_NAME

    inside.check(target, inspection)
    where = namespace or source.default_namespace(target)
    question = Question(
        source=source_,
        destination=destination,
        namespace=where,
        protocol=flow.protocol.value.upper(),
        port=flow.port or 0,
        source_port=flow.source_port or 0,
        size=flow.size,
        dont_fragment=not flow.fragment,
    )
    snapshot = source.read(target, tracing.NEEDS, (where,) if where else ())
    crossed = tracing.nodes(snapshot, tracing.find(snapshot, question))
    if inspection.dry_run:
        inside.print_plan(inspection, list(crossed))
        raise typer.Exit
    if inspection.access not in {None, AccessLevel.NONE}:
        wishes = [inside.Wish(node, pods) for node, pods in crossed.items()]
        snapshot, _ = inside.with_kernels(snapshot, target, inspection, wishes)
    found = tracing.trace(snapshot, question)
    console.write(BY_NAME[output.output.value].render(found, console.style(no_color=output.no_color)))
    if found.arrival is Arrival.UNKNOWN:
        raise typer.Exit(3)
    # What leaves the cluster is as it should be where it was meant to: then nothing is named as the cause.
    raise typer.Exit(0 if found.arrival in {Arrival.ARRIVES, Arrival.LEAVES} and found.cause is None else 1)
