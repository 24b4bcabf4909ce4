"""``netinspect trace``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer

from netinspect.cli import complete, console, formats, inside, source
from netinspect.cli.options import AccessLevel, Inspection, Output, Target

_FLOW = "Flow"


class Via(str, Enum):
    """Which address of a Service is asked for."""

    CLUSTER_IP = "clusterip"
    NODE_PORT = "nodeport"
    LOAD_BALANCER = "lb"
    EXTERNAL_IP = "externalip"


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
    via: Annotated[
        Via | None, typer.Option(help="Which address of a Service; else its ClusterIP", rich_help_panel=_FLOW)
    ] = None
    from_container: Annotated[
        str, typer.Option(help="Who sends: the user of this container of FROM", rich_help_panel=_FLOW)
    ] = ""
    reply: Annotated[bool, typer.Option("--reply/--no-reply", help="Follow the answer too", rich_help_panel=_FLOW)] = (
        True
    )
    all_backends: Annotated[
        bool,
        typer.Option("--all-backends", help="Also go straight to each endpoint of the Service", rich_help_panel=_FLOW),
    ] = False


def _wishes(way: dict[str, tuple[str, ...]]) -> list[inside.Wish]:
    return [inside.Wish(node, pods) for node, pods in way.items()]


def trace(
    source_: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            help="POD, NAMESPACE/POD, deploy/X, node/X, an address, or external",
            autocompletion=complete.objects,
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="[TO]",
            help="The same, svc/X or a DNS name; with :PORT. Without TO the Service FROM is explained",
            autocompletion=complete.objects,
        ),
    ] = "",
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
      # from outside, to a node port; and a Service by itself
      netinspect trace external svc/web --via nodeport --access pod
      netinspect trace svc/web
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    from netinspect.analysis import inferred, service_trace
    from netinspect.analysis.flow import Question, crossed, places
    from netinspect.analysis.flow import Via as Asked
    from netinspect.analysis.proxied import meets
    from netinspect.analysis.trace import MESHED_NEEDS, NEEDS, Tracer
    from netinspect.model.trace import ServiceTrace, Trace

    inside.check(target, inspection)
    chosen = formats.chosen(output, Trace if destination else ServiceTrace)
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
        via=Asked(flow.via.value) if flow.via is not None else None,
        container=flow.from_container,
        reply=flow.reply,
        all_backends=flow.all_backends,
    )
    looking = inspection.access not in {None, AccessLevel.NONE}
    # Without the nodes the CNI's own words say how it carries packets.
    needs = NEEDS if looking else tuple(dict.fromkeys((*NEEDS, *inferred.NEEDS)))
    snapshot = source.read(target, needs, (where,) if where else ())
    way = crossed(snapshot, question) if destination else service_trace.nodes(snapshot, source_, where)
    if inspection.dry_run:
        inside.print_plan(inspection, list(way))
        raise typer.Exit
    if (looking or snapshot.kernels) and meets(snapshot, way):
        snapshot = source.read(target, MESHED_NEEDS, (where,) if where else ())
    seen = snapshot
    if looking:
        seen, _ = inside.with_kernels(snapshot, target, inspection, _wishes(way))
    tracer = Tracer(seen) if destination else None
    if tracer is not None and looking and (strays := tracer.unread(question)):
        # It goes where the API's objects did not say: stale rules, another pod's address.
        more = places(snapshot, strays)
        way = {node: (*way.get(node, ()), *more.get(node, ())) for node in (*way, *more)}
        seen, _ = inside.with_kernels(snapshot, target, inspection, _wishes(way))
        tracer = Tracer(seen)
    found = tracer.trace(question) if tracer is not None else service_trace.explain(seen, source_, where)
    console.write(chosen.render(found, console.style(no_color=output.no_color)))
    raise typer.Exit(found.outcome.value)
