"""What Istio's objects make of traffic between two pods: mutual TLS, routes, and who is let in.

Sources: istio/istio pilot/pkg/security/authn/policy_applier.go (ComposePeerAuthentication),
pilot/pkg/networking/core/cluster_tls.go, pilot/pkg/networking/util/util.go (MergeSubsetTrafficPolicy),
pilot/pkg/networking/core/route/route.go, pilot/pkg/model/{authentication,authorization,destination_rule}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from msgspec import structs

from netinspect.mesh.istio_authorization import ASK, Decision, Known, Request, decide
from netinspect.mesh.istio_scope import Scope, Service, applicable, scope
from netinspect.model import wire
from netinspect.model.snapshot import Snapshot

_ROOT = "istio-system"
# A setting of MeshConfig at the first level: what is asked for is written so in every version.
# EnvoyFilters that Istio itself installed up to 1.17 for its metrics (manifests/charts/istio-control, telemetry.yaml).
_COUNTING = re.compile(r"(?:tcp-)?(?:stats-filter|metadata-exchange)-1\.\d+")
_SETTING = r"(?m)^{}:\s*[\"']?([^\"'\s#]+)"


@dataclass(frozen=True)
class Mode:
    """What a proxy asks for or does, and the object that says so; nothing where it is the default."""

    mode: str
    source: str = ""


@dataclass(frozen=True)
class Routed:
    """Where a request goes: the subset of the Service's pods, or why it goes nowhere, or why that is not known.

    ``rule`` is the one of ``source`` that matches.
    """

    subset: str = ""
    source: str = ""
    fails: str = ""
    doubt: str = ""
    rule: wire.VirtualRoute | None = None


class Policies:
    """The objects of a cluster, for looking up what holds for a pair of pods."""

    def __init__(self, snapshot: Snapshot, control: tuple[str, str] = ("", "")) -> None:
        self._snapshot = snapshot
        self._place, self._revision = control

    @cached_property
    def root(self) -> str:
        """Give the namespace whose objects hold for all (MeshConfig.rootNamespace), by default the control plane's."""
        return self._setting("rootNamespace") or self._place or _ROOT

    @cached_property
    def trust_domain(self) -> str:
        """Give what identities begin with (MeshConfig.trustDomain)."""
        return self._setting("trustDomain") or "cluster.local"

    @cached_property
    def automatic(self) -> bool:
        """Say whether clients use mutual TLS wherever a server can (MeshConfig.enableAutoMtls)."""
        return self._setting("enableAutoMtls") != "false"

    @cached_property
    def closed(self) -> bool:
        """Say whether proxies may let nothing out to whom they do not know (MeshConfig.outboundTrafficPolicy)."""
        return any("REGISTRY_ONLY" in s.data.get("mesh", "") for s in self._snapshot.mesh_settings)

    @cached_property
    def access_log(self) -> str:
        """Give the file to which proxies write a line for each request (MeshConfig.accessLogFile)."""
        return self._setting("accessLogFile")

    def _setting(self, key: str) -> str:
        for settings in self._snapshot.mesh_settings:
            found = re.search(_SETTING.format(key), settings.data.get("mesh", ""))
            own = settings.metadata.namespace == (self._place or _ROOT) and self._revision in ("", "default")
            if settings.metadata.name == "istio" and own and found:
                return found[1]
        return ""

    def server(self, namespace: str, labels: wire.Labels, port: int) -> Mode:
        """Give what a workload's proxy asks for at a port of its container; PERMISSIVE where nothing says."""
        found = Mode("PERMISSIVE")
        for policy in self._levels(namespace, labels):
            spec = policy.spec
            name = f"PeerAuthentication {policy.metadata.namespace}/{policy.metadata.name}"
            mode = spec.mtls.mode if spec.mtls else ""
            if mode not in ("", "UNSET"):
                found = Mode(mode, name)
            at_port = spec.port_level_mtls.get(str(port)) if spec.selector and spec.selector.match_labels else None
            if at_port is not None and at_port.mode not in ("", "UNSET"):
                found = Mode(at_port.mode, name)
        return found

    def ambient(self, namespace: str, labels: wire.Labels, port: int) -> Mode:
        """Give what a workload's ztunnel asks for, to which DISABLE is as PERMISSIVE.

        It is no way for a port out of a STRICT that the workload inherits.
        Source: pilot/pkg/serviceregistry/ambient/authorization.go.
        """
        found = self.server(namespace, labels, port)
        if found.mode != "DISABLE":
            return found
        whole = self.server(namespace, labels, 0)
        spec = next((p.spec for p in reversed(tuple(self._levels(namespace, labels)))), wire.PeerAuthenticationSpec())
        own = spec.mtls.mode if spec.selector is not None and spec.mtls is not None else ""
        inherited = whole.mode == "STRICT" and own in ("", "UNSET")
        return whole if inherited else replace(found, mode="PERMISSIVE")

    def _levels(self, namespace: str, labels: wire.Labels) -> Iterator[wire.PeerAuthentication]:
        """Give the policy of the mesh, of the namespace and of the workload, of each the oldest."""

        def oldest(found: Iterable[wire.PeerAuthentication]) -> list[wire.PeerAuthentication]:
            return sorted(found, key=lambda p: p.metadata.creation_timestamp or "")[:1]

        every = self._snapshot.peer_authentications
        wide = [p for p in every if p.spec.selector is None or not p.spec.selector.match_labels]
        yield from oldest(p for p in wide if p.metadata.namespace == self.root)
        if namespace != self.root:
            yield from oldest(p for p in wide if p.metadata.namespace == namespace)
        yield from oldest(
            p for p in every
            if p not in wide and p.metadata.namespace == namespace and _selects(p.spec.selector, labels)
        )  # fmt: skip

    def client(self, namespace: str, labels: wire.Labels, service: Service, subset: str = "") -> Mode:
        """Give how a client's proxy calls a Service: what a DestinationRule says, or nothing where it is automatic."""
        settings, name = self.settings(namespace, labels, service, subset)
        tls = settings.tls
        return Mode(tls.mode, name) if tls is not None and tls.mode else Mode("")

    def settings(
        self, namespace: str, labels: wire.Labels, service: Service, subset: str = ""
    ) -> tuple[wire.TrafficSettings, str]:
        """Give how a client's proxy calls a Service's port and subset, and the DestinationRule that says so."""
        rule = self.rule(namespace, labels, service)
        if rule is None:
            return wire.TrafficSettings(), ""
        name = f"DestinationRule {rule.metadata.namespace}/{rule.metadata.name}"
        found, _ = _level(rule.spec.traffic_policy, service.port)
        part = next((s for s in rule.spec.subsets if s.name == subset), None)
        own, by_port = _level(part.traffic_policy if part else None, service.port)
        return (own if by_port else _overridden(found, own)), name

    def rule(self, namespace: str, labels: wire.Labels, service: Service) -> wire.DestinationRule | None:
        """Find the DestinationRule: of the client's namespace, of the Service's, of the root; the nearest host.

        Several of one host are one: their subsets together, and the first settings that there are.
        """
        for place in dict.fromkeys((namespace, service.namespace, self.root)):
            found = [
                r for r in self._snapshot.destination_rules
                if r.metadata.namespace == place
                and _names(r.spec.host, place, service)
                and _exported(r.spec.export_to, place, namespace)
                and (r.spec.workload_selector is None or _selects(r.spec.workload_selector, labels))
            ]  # fmt: skip
            if found:
                return _merged(found, place, service)
        return None

    def disabled(self, namespace: str) -> bool:
        """Say whether the mesh or a namespace turns mutual TLS off, which makes clients not try it."""
        levels = [p for p in self._levels(namespace, {}) if p.spec.mtls and p.spec.mtls.mode not in ("", "UNSET")]
        return bool(levels) and levels[-1].spec.mtls == wire.MutualTls("DISABLE")

    def authorize(self, namespace: str, labels: wire.Labels, request: Request) -> Decision:
        """Decide whether a sidecar lets a request in; policies for waypoints and gateways are none of its."""
        chosen = self.selecting(namespace, labels)
        return decide((p for p in chosen if p.metadata.annotations.get("istio.io/dry-run") != "true"), request)

    @property
    def authorizations(self) -> tuple[wire.AuthorizationPolicy, ...]:
        """Give all AuthorizationPolicies."""
        return self._snapshot.authorization_policies

    def selecting(self, namespace: str, labels: wire.Labels) -> Iterator[wire.AuthorizationPolicy]:
        """Give the policies for a pod's own proxy: those without a target, of its namespace and of the root."""
        for policy in self._snapshot.authorization_policies:
            free = policy.spec.target_ref is None and not policy.spec.target_refs
            if free and policy.metadata.namespace in (namespace, self.root) and _selects(policy.spec.selector, labels):
                yield policy

    def about(self, namespace: str, name: str) -> Iterator[str]:
        """Name the VirtualServices and DestinationRules of a Service, for whichever clients."""
        service = Service(namespace, name, 0)
        for rule in self._snapshot.destination_rules:
            if _names(rule.spec.host, rule.metadata.namespace, service):
                yield f"DestinationRule {rule.metadata.namespace}/{rule.metadata.name}"
        for virtual in self._snapshot.virtual_services:
            if any(_names(h, virtual.metadata.namespace, service) for h in virtual.spec.hosts):
                yield f"VirtualService {virtual.metadata.namespace}/{virtual.metadata.name}"

    def sidecar(self, namespace: str, labels: wire.Labels) -> wire.IstioSidecar | None:
        """Find the Sidecar of a pod."""
        return applicable(self._snapshot.istio_sidecars, self.root, namespace, labels)

    def scope(self, namespace: str, labels: wire.Labels, service: Service, known: wire.Service) -> Scope:
        """Say whether a client's proxy knows a Service."""
        led_to = (
            _full(d.destination.host, v.metadata.namespace, service)
            for v in self._snapshot.virtual_services
            for rule in (*v.spec.http, *v.spec.tcp)
            for d in rule.route
        )
        return scope(self.sidecar(namespace, labels), namespace, service, known, led_to)

    def patched(self, namespace: str, labels: wire.Labels) -> str:
        """Name an EnvoyFilter that changes a sidecar, nothing where none does (push_context.go, getEnvoyFilters)."""
        for patch in self._snapshot.envoy_filters:
            meta, chosen = patch.metadata, patch.spec.workload_selector
            theirs = not patch.spec.target_refs and (chosen is None or chosen.labels.items() <= labels.items())
            if theirs and meta.namespace in (namespace, self.root) and not _COUNTING.match(meta.name):
                return f"EnvoyFilter {meta.namespace}/{meta.name}"
        return ""

    def telemetry(self, namespace: str, labels: wire.Labels) -> Iterator[tuple[wire.TelemetrySpec, str]]:
        """Give what says what a sidecar tells of requests, the nearest first (pilot/pkg/model/telemetry.go)."""
        ordered = sorted(self._snapshot.telemetries, key=lambda t: t.metadata.creation_timestamp or "")
        fit = [t for t in ordered if not t.spec.target_refs and _selects(t.spec.selector, labels)]
        own = [t for t in fit if t.metadata.namespace == namespace]
        wide = [t for t in fit if t.spec.selector is None or not t.spec.selector.match_labels]
        levels = (
            [t for t in own if t not in wide],
            [t for t in own if t in wide],
            [t for t in wide if t.metadata.namespace == self.root and namespace != self.root],
        )
        for level in levels:
            yield from ((t.spec, f"Telemetry {t.metadata.namespace}/{t.metadata.name}") for t in level[:1])

    def shut(self, namespace: str, labels: wire.Labels) -> str:
        """Name what keeps a client's proxy from letting out what goes to nobody it knows; nothing where it may."""
        own = self.sidecar(namespace, labels)
        policy = own.spec.outbound_traffic_policy if own is not None else None
        if own is not None and policy is not None and policy.mode:
            name = f"Sidecar {own.metadata.namespace}/{own.metadata.name}"
            return name if policy.mode == "REGISTRY_ONLY" else ""
        return "MeshConfig outboundTrafficPolicy" if self.closed else ""

    def route(self, namespace: str, labels: wire.Labels, service: Service, request: Request) -> Routed:
        """Follow the VirtualService that a client's proxy has for a Service."""
        found = self._virtual(namespace, service)
        routed = _followed(found, namespace, labels, service, request) if found is not None else Routed()
        lost = self._lost(routed, found.metadata.namespace, service) if found is not None and routed.doubt else ""
        return replace(routed, fails=lost, doubt="") if lost else routed

    def _lost(self, routed: Routed, namespace: str, service: Service) -> str:
        """Say why a rule leads nowhere: its hosts are named as Services are, and nobody knows one of them."""
        targets = routed.rule.route if routed.rule is not None else ()
        hosts = sorted({_full(d.destination.host, namespace, service) for d in targets})
        if not hosts or any(self._may_be(host, service.domain) for host in hosts):
            return ""
        return f"{routed.source} leads to {', '.join(hosts)}, which is not there: the client's proxy answers 503 (NC)"

    def _may_be(self, host: str, domain: str) -> bool:
        """Say whether a host may be known: as a Service or a ServiceEntry, or since it is named as neither."""
        name, _, place = host.removesuffix(f".svc.{domain}").partition(".")
        if not host.endswith(f".svc.{domain}") or "." in place or not self._snapshot.whole("services", place):
            return True
        entries = (h for entry in self._snapshot.istio_hosts for h in entry.spec.hosts)
        return (place, name) in {(s.metadata.namespace, s.metadata.name) for s in self._snapshot.services} or any(
            host.endswith(h[1:]) if h.startswith("*") else host == h for h in entries
        )

    def _virtual(self, namespace: str, service: Service) -> wire.VirtualService | None:
        found = [
            v for v in self._snapshot.virtual_services
            if (not v.spec.gateways or "mesh" in v.spec.gateways)
            and any(_names(h, v.metadata.namespace, service) for h in v.spec.hosts)
            and _exported(v.spec.export_to, v.metadata.namespace, namespace)
        ]  # fmt: skip

        def order(virtual: wire.VirtualService) -> tuple[bool, int, int, str]:
            hosts = [_full(h, virtual.metadata.namespace, service) for h in virtual.spec.hosts]
            exact = service.host in hosts
            to = virtual.spec.export_to
            private = 0 if "." in to and virtual.metadata.namespace == namespace else 1 if to and "*" not in to else 2
            longest = 0 if exact else -max(len(h) for h in hosts if _names(h, virtual.metadata.namespace, service))
            return (not exact, private, longest, virtual.metadata.creation_timestamp or "")

        return min(found, key=order) if found else None


def _followed(
    virtual: wire.VirtualService, namespace: str, labels: wire.Labels, service: Service, request: Request
) -> Routed:
    """Find the first rule that matches a request."""
    name = f"VirtualService {virtual.metadata.namespace}/{virtual.metadata.name}"
    if request.http is None:
        return Routed(source=name, doubt=f"which rules of {name} count hangs on the protocol")
    rules = virtual.spec.http if request.http else virtual.spec.tcp
    for rule in rules:
        matched = _any_of(_match(m, namespace, labels, service, request) for m in rule.match)
        if rule.match and matched is None:
            return Routed(source=name, doubt=f"which rule of {name} matches hangs on the request ({ASK})")
        if matched or not rule.match:
            return replace(_ends(rule, virtual.metadata.namespace, name, service), rule=rule)
    if not request.http or not rules:
        return Routed()
    return Routed(source=name, fails=f"no rule of {name} matches: the client's proxy answers 404")


def _merged(found: Iterable[wire.DestinationRule], place: str, service: Service) -> wire.DestinationRule:
    def host(rule: wire.DestinationRule) -> str:
        return _full(rule.spec.host, place, service)

    ordered = sorted(found, key=lambda r: (host(r).startswith("*"), -len(host(r)), r.metadata.creation_timestamp or ""))
    first, *others = [r for r in ordered if host(r) == host(ordered[0])]
    if not others:
        return first
    subsets = {s.name: s for r in (*reversed(others), first) for s in r.spec.subsets}
    policy = next((r.spec.traffic_policy for r in (first, *others) if r.spec.traffic_policy is not None), None)
    return structs.replace(
        first, spec=structs.replace(first.spec, subsets=tuple(subsets.values()), traffic_policy=policy)
    )


def _selects(selector: wire.MatchLabels | None, labels: wire.Labels) -> bool:
    return selector is None or selector.match_labels.items() <= labels.items()


def _level(policy: wire.TrafficPolicy | None, port: int) -> tuple[wire.TrafficSettings, bool]:
    """Give the settings of a level, and whether a port's entry, which replaces the level, gave them."""
    if policy is None:
        return wire.TrafficSettings(), False
    at_port = next((p for p in policy.port_level_settings if p.port.number == port), None)
    return (at_port, True) if at_port is not None else (policy, False)


def _overridden(rule: wire.TrafficSettings, subset: wire.TrafficSettings) -> wire.TrafficSettings:
    """Give a subset's settings, and the rule's where the subset says nothing."""
    return wire.TrafficSettings(
        subset.tls or rule.tls,
        subset.load_balancer or rule.load_balancer,
        subset.connection_pool or rule.connection_pool,
        subset.outlier_detection or rule.outlier_detection,
    )


def _full(host: str, namespace: str, service: Service) -> str:
    """Complete a short name, in the namespace of the object that says it."""
    return f"{host}.{namespace}.svc.{service.domain}" if host and "." not in host and host != "*" else host


def _names(host: str, namespace: str, service: Service) -> bool:
    full = _full(host, namespace, service)
    return service.host.endswith(full[1:]) if full.startswith("*") else full == service.host


def _exported(places: tuple[str, ...], own: str, namespace: str) -> bool:
    return not places or "*" in places or namespace in places or ("." in places and own == namespace)


def _any_of(found: Iterable[Known]) -> Known:
    seen = list(found)
    return True if True in seen else None if None in seen else False


def _match(
    match: wire.HTTPMatch, namespace: str, labels: wire.Labels, service: Service, request: Request
) -> Known:  # fmt: skip
    if match.gateways and "mesh" not in match.gateways:
        return False
    if match.port and match.port != service.port:
        return False
    # Where gateways are named, the labels of the source are not asked (sourceMatchHTTP).
    if not match.gateways and not match.source_labels.items() <= labels.items():
        return False
    if match.source_namespace not in ("", namespace):
        return False
    parts: list[Known] = []
    path = request.path.partition("?")[0] if request.path is not None else None
    for wanted, own in ((match.uri, path), (match.method, request.method)):
        if wanted is not None:
            parts.append(None if own is None else _string(wanted, own, match))
    parts += [None] * bool(
        match.headers or match.without_headers or match.query_params or match.scheme or match.authority
    )
    return False if False in parts else None if None in parts else True


def _string(wanted: wire.StringMatch, own: str, match: wire.HTTPMatch) -> Known:
    if match.ignore_uri_case:
        return None
    if wanted.exact is not None:
        return own == wanted.exact
    if wanted.prefix is not None:
        return own.startswith(wanted.prefix)
    # RE2 is not Python's: what both read alike cannot be told here.
    return None if wanted.regex is not None else True


def _ends(rule: wire.VirtualRoute, namespace: str, name: str, service: Service) -> Routed:  # noqa: PLR0911 - as above
    abort = rule.fault.abort if rule.fault else None
    if abort is not None:
        # Envoy aborts none where no share is said.
        share = abort.percentage.value if abort.percentage else 0.0
        if share >= 100:
            return Routed(source=name, fails=f"{name} aborts it with {abort.http_status}")
        if share > 0:
            return Routed(source=name, doubt=f"{name} aborts {share:g} % of requests")
    if rule.redirect is not None or rule.direct_response is not None:
        return Routed(source=name, fails=f"{name} answers it without asking a server")
    if rule.delegate is not None:
        return Routed(source=name, doubt=f"{name} delegates to another VirtualService")
    targets = [d.destination for d in rule.route]
    subsets = {d.subset for d in targets}
    if any(not _names(d.host, namespace, service) for d in targets):
        return Routed(source=name, doubt=f"{name} leads to {', '.join(sorted({d.host for d in targets}))}")
    if any(d.port is not None and d.port.number not in (0, service.port) for d in targets):
        return Routed(source=name, doubt=f"{name} leads to another port of the Service")
    if len(subsets) > 1:
        return Routed(source=name, doubt=f"{name} splits requests between subsets {', '.join(sorted(subsets))}")
    return Routed(subset=next(iter(subsets), ""), source=name)
