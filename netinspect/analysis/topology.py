"""Put the map together: the networks that were asked for, of the objects that were asked for."""

from __future__ import annotations

from enum import Enum

from netinspect.analysis import cni
from netinspect.analysis.containers import container_network
from netinspect.analysis.host import host_network
from netinspect.analysis.inside import gaps, match, unseen
from netinspect.analysis.overlaps import overlaps
from netinspect.analysis.pods import cluster_network
from netinspect.analysis.selection import select
from netinspect.analysis.services import service_network
from netinspect.model import resources
from netinspect.model.resources import Resource
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Scope, Topology


class View(str, Enum):
    """One of the four networks."""

    HOST = "host"
    CLUSTER = "cluster"
    SERVICE = "service"
    CONTAINER = "container"


_NEEDS: dict[View, tuple[Resource, ...]] = {
    View.HOST: (resources.NODES, resources.PODS),
    View.CLUSTER: (resources.NODES, resources.PODS, *resources.RANGE_EVIDENCE, *cni.HEADLINE_NEEDS),
    View.SERVICE: (
        resources.SERVICES,
        resources.ENDPOINT_SLICES,
        resources.PODS,
        resources.INGRESSES,
        resources.GATEWAYS,
        *resources.RANGE_EVIDENCE,
    ),
    View.CONTAINER: (resources.PODS,),
}


# The sections of kernel state that the map is drawn from.
_SHOWN = frozenset({"links", "routes4", "routes6"})


def needs(views: frozenset[View], scope: Scope, *, inside: bool = False) -> tuple[Resource, ...]:
    """List the kinds that a map of these networks has to read; ``inside`` the nodes it takes the nodes and pods."""
    wanted = [r for v in View if v in views for r in _NEEDS[v]]
    if inside:
        wanted += [resources.NODES, resources.PODS]
    if scope.selector or scope.nodes or scope.objects:
        wanted += [resources.SERVICES, resources.ENDPOINT_SLICES, resources.NODES, resources.PODS]
    if scope.namespaces or scope.objects:
        wanted.append(resources.NAMESPACES)
    return tuple(dict.fromkeys(wanted))


def build(snapshot: Snapshot, views: frozenset[View], scope: Scope) -> Topology:
    """Lay out the networks; ``UsageError`` where the scope names what does not exist."""
    selected = select(snapshot, scope)
    inside = match(snapshot)
    host = host_network(snapshot, selected, inside) if View.HOST in views else None
    cluster = cluster_network(snapshot, selected, cni.headline(snapshot)) if View.CLUSTER in views else None
    service = service_network(snapshot, selected) if View.SERVICE in views else None
    relevant = {r.name for r in needs(views, scope)}
    return Topology(
        taken_at=snapshot.taken_at,
        server_version=snapshot.server_version,
        scope=scope,
        host=host,
        cluster=cluster,
        service=service,
        container=container_network(snapshot, selected, inside) if View.CONTAINER in views else None,
        overlaps=overlaps(snapshot, cluster.ranges if cluster else (), service.ranges if service else ()),
        gaps=(
            *(g for g in snapshot.gaps if g.resource in relevant or g.inside),
            *gaps(snapshot.kernels, _SHOWN),
        ),
    )


def settled(topology: Topology, snapshot: Snapshot) -> bool:
    """Say whether every network of the map was seen whole, as far as the API server and the nodes asked can show it."""
    decisive = {r.name for r in resources.DECISIVE}
    shown = {g.resource for g in topology.gaps}
    told = [g for g in snapshot.gaps if g.inside or (g.resource in decisive and g.resource in shown)]
    return not told and not unseen(snapshot, _SHOWN)
