"""Consul's configuration entries, by the services that they are of: protocols, and who decides what is written nowhere.

Sources: hashicorp/consul agent/consul/discoverychain/compile.go, agent/configentry/resolve.go; hashicorp/consul-k8s
charts/consul/templates/server-config-configmap.yaml, server-tmp-extra-config-configmap.yaml.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from netinspect.mesh.sight import Sight
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

_Entry = TypeVar("_Entry", bound=wire.ConsulEntry)
_HTTP = frozenset({"http", "http2", "grpc"})
_TCP = "tcp"
_OF_SERVERS = {"app": "consul", "component": "server"}
_SERVERS = ("-server-config", "-server-tmp-extra-config")


def entry(entries: Iterable[_Entry], name: str) -> _Entry | None:
    """Give the entry of a service that Consul has taken; whatever the namespace, there is one of a name."""
    return next((e for e in entries if e.metadata.name == name and not e.refused), None)


def defaults(snapshot: Snapshot, service: str) -> wire.ConsulDefaultsSpec:
    """Give what ServiceDefaults say of a service."""
    found = entry(snapshot.service_defaults, service)
    return found.spec if found is not None else wire.ConsulDefaultsSpec()


def of_all(snapshot: Snapshot) -> wire.ConsulDefaultsSpec:
    """Give what ProxyDefaults say of all proxies."""
    found = entry(snapshot.proxy_defaults, "global")
    return found.spec if found is not None else wire.ConsulDefaultsSpec()


def proxy_config(snapshot: Snapshot) -> wire.ConsulProxyConfig:
    """Give what ProxyDefaults tell all proxies for which their kind has no field."""
    return of_all(snapshot).config or wire.ConsulProxyConfig()


def upstream(snapshot: Snapshot, client: str, server: str) -> wire.ConsulUpstream:
    """Give how one service calls another: an override's blocks, else those for all (UpstreamConfig.MergeInto)."""
    told = defaults(snapshot, client).upstream_config or wire.ConsulUpstreams()
    general = told.defaults or wire.ConsulUpstream()
    local = (o for o in told.overrides if o.name == server and not o.peer and not o.partition)
    own = next(local, wire.ConsulUpstream())
    return wire.ConsulUpstream(
        name=server, protocol=own.protocol or general.protocol, limits=own.limits or general.limits,
        connect_timeout_ms=own.connect_timeout_ms or general.connect_timeout_ms,
        passive_health_check=own.passive_health_check or general.passive_health_check,
    )  # fmt: skip


def is_http(snapshot: Snapshot, client: str, server: str) -> bool:
    """Say whether the client's proxy sees requests: ServiceDefaults without a protocol say tcp, whatever others say."""
    own = entry(snapshot.service_defaults, server)
    told = own.spec.protocol if own is not None else str(proxy_config(snapshot).protocol)
    return (upstream(snapshot, client, server).protocol or told or _TCP).lower() in _HTTP


def serves_http(snapshot: Snapshot, server: str) -> bool:
    """Say whether the server's proxy sees requests; what ServiceDefaults do not say ProxyDefaults do."""
    return (defaults(snapshot, server).protocol or str(proxy_config(snapshot).protocol) or _TCP).lower() in _HTTP


def allowed_by_default(sight: Sight) -> bool | None:
    """Say what holds where no intention does; None where no object of the cluster tells.

    ``default_intention_policy`` counts, else the ACLs' default policy where they are on, else all is let through.
    """
    files = _of_servers(sight)
    if files is None:
        return None
    policy, acl_policy, acl = "", "", False
    for told in files:
        policy = str(told.get("default_intention_policy") or policy)
        of_acl = told.get("acl")
        if isinstance(of_acl, dict):
            acl = bool(of_acl.get("enabled", acl))
            acl_policy = str(of_acl.get("default_policy") or acl_policy)
    if policy in ("allow", "deny"):
        return policy == "allow"
    return acl_policy != "deny" if acl else True


def datacenter(sight: Sight) -> str:
    """Give the name of the servers' datacenter; nothing where no object tells it."""
    return next((str(f["datacenter"]) for f in _of_servers(sight) or () if f.get("datacenter")), "")


def _of_servers(sight: Sight) -> list[dict[str, Any]] | None:
    """Give the servers' configuration files; None where they are not there, or cannot be read.

    In another namespace than the servers' anybody may have written them.
    """
    maps = [s for s in sight.snapshot.mesh_settings if s.metadata.name.endswith(_SERVERS)]
    places = {p.metadata.namespace for p in sight.pods if _OF_SERVERS.items() <= p.metadata.labels.items()}
    maps = [s for s in maps if s.metadata.namespace in places] if places else maps
    if len({s.metadata.namespace for s in maps}) > 1:
        return None
    found: list[dict[str, Any]] = []
    for text in (t for s in maps for k, t in sorted(s.data.items()) if k.endswith(".json")):
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(told, dict):
            return None
        found.append(told)
    return found if any(s.metadata.name.endswith(_SERVERS[0]) for s in maps) else None
