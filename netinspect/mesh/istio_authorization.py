"""What Istio's AuthorizationPolicies say of a request, as far as the request is known.

Source: istio.io/api security/v1beta1/authorization_policy.proto; istio/istio pilot/pkg/security/authz/{builder,model}.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from netinspect.model import wire

# What would tell more of a request.
ASK = "--path, --method"
# True, False, or None where it hangs on what is not known.
Known = bool | None


@dataclass(frozen=True)
class Request:
    """What a server's proxy sees of a request.

    ``principal`` is the client's identity, without its scheme; empty without mutual TLS. ``hosts`` are the names that a
    client may call the server by. ``http`` says whether the
    proxy reads it as HTTP, None where it may or may not; ``method`` and ``path`` are None where not given.
    """

    port: int
    principal: str = ""
    address: str = ""
    http: Known = True
    method: str | None = None
    path: str | None = None
    hosts: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """Give the client's namespace, which its identity holds."""
        return self.principal.partition("/ns/")[2].partition("/")[0]

    @property
    def account(self) -> str:
        """Give the client's service account."""
        return self.principal.rpartition("/sa/")[2]


@dataclass(frozen=True)
class Decision:
    """Whether a request is let in, and by which policy; None where that is not known, with what it hangs on."""

    allowed: Known
    policy: str = ""
    says: str = ""


def decide(policies: Iterable[wire.AuthorizationPolicy], request: Request) -> Decision:
    """Decide as the proxy does: CUSTOM, then DENY, then ALLOW; where there is none of the last, all is let in."""
    by_action: dict[str, list[wire.AuthorizationPolicy]] = {}
    for policy in policies:
        by_action.setdefault(policy.spec.action or "ALLOW", []).append(policy)
    doubt = ""
    for policy in by_action.get("CUSTOM", ()):
        if _matches(policy, request) is not False:
            doubt = f"an external authorizer decides for {_name(policy)}"
    for policy in by_action.get("DENY", ()):
        matched = _matches(policy, request)
        if matched:
            return Decision(False, _name(policy), "DENY matches")
        if matched is None:
            doubt = doubt or f"whether DENY of {_name(policy)} matches hangs on the request ({ASK})"
    allowing = by_action.get("ALLOW", ())
    if not allowing:
        return Decision(None, says=doubt) if doubt else Decision(True)
    found = {_name(p): _matches(p, request) for p in allowing}
    allowed = next((name for name, matched in found.items() if matched), "")
    if allowed:
        return Decision(None, says=doubt) if doubt else Decision(True, allowed, "ALLOW matches")
    open_ = next((name for name, matched in found.items() if matched is None), "")
    if open_ or doubt:
        return Decision(None, says=doubt or f"whether ALLOW of {open_} matches hangs on the request ({ASK})")
    return Decision(False, next(iter(found)), "no ALLOW matches")


def _name(policy: wire.AuthorizationPolicy) -> str:
    return f"AuthorizationPolicy {policy.metadata.namespace}/{policy.metadata.name}"


def _matches(policy: wire.AuthorizationPolicy, request: Request) -> Known:
    place = policy.metadata.namespace
    return _any(_rule(rule, place, request, denies=policy.spec.action == "DENY") for rule in policy.spec.rules)


def _any(found: Iterable[Known]) -> Known:
    seen = list(found)
    return True if True in seen else None if None in seen else False


def _all(found: Iterable[Known]) -> Known:
    seen = list(found)
    return False if False in seen else None if None in seen else True


def _rule(rule: wire.AuthorizationRule, place: str, request: Request, *, denies: bool) -> Known:
    parts: list[Known] = []
    if rule.from_:
        parts.append(_any(_source(f.source, place, request, denies=denies) for f in rule.from_))
    if rule.to:
        parts.append(_any(_operation(t.operation, request, denies=denies) for t in rule.to))
    parts += [_condition(c, request, denies=denies) for c in rule.when]
    return _all(parts)


def _source(source: wire.AuthorizationSource, place: str, request: Request, *, denies: bool) -> Known:
    inside = bool(request.principal)
    account = f"{request.namespace}/{request.account}" if inside else ""

    def is_account(value: str) -> Known:
        return (value if "/" in value else f"{place}/{value}") == account

    def is_principal(value: str) -> Known:
        # In policies cluster.local stands for the mesh's own trust domain, whatever that is called.
        local = f"cluster.local/{request.principal.partition('/')[2]}"
        return inside and _any((_text(value, request.principal), _text(value, local)))

    return _all((
        _field(source.principals, source.not_principals, is_principal),
        _field(source.namespaces, source.not_namespaces, lambda v: inside and _text(v, request.namespace)),
        _field(source.service_accounts, source.not_service_accounts, is_account),
        _field(source.ip_blocks, source.not_ip_blocks, lambda v: _in_block(v, request.address)),
        _field(source.remote_ip_blocks, source.not_remote_ip_blocks, lambda v: _in_block(v, request.address)),
        _of_http(source.request_principals, source.not_request_principals, lambda _: None, request, denies=denies),
    ))  # fmt: skip


def _operation(operation: wire.AuthorizationOperation, request: Request, *, denies: bool) -> Known:
    def http(values: Sequence[str], unwanted: Sequence[str], own: str | None) -> Known:
        return _of_http(values, unwanted, lambda v: None if own is None else _text(v, own), request, denies=denies)

    def called(pattern: str) -> Known:
        # By which of its names it is called is not known; one that none of them fits is.
        fits = [_text(pattern, host) for host in request.hosts]
        return True if fits and all(fits) else None if not fits or any(f is not False for f in fits) else False

    path = request.path.partition("?")[0] if request.path is not None else None
    return _all((
        _field(operation.ports, operation.not_ports, lambda v: v == str(request.port)),
        _of_http(operation.hosts, operation.not_hosts, called, request, denies=denies),
        http(operation.methods, operation.not_methods, request.method),
        http(operation.paths, operation.not_paths, path),
    ))  # fmt: skip


def _condition(condition: wire.AuthorizationCondition, request: Request, *, denies: bool) -> Known:
    known = {
        "source.principal": request.principal, "source.namespace": request.namespace,
        "destination.port": str(request.port),
    }  # fmt: skip
    key = condition.key
    if key in known:
        own = known[key]
        return _field(condition.values, condition.not_values, lambda v: bool(own) and _text(v, own))
    if key in ("source.ip", "remote.ip"):
        return _field(condition.values, condition.not_values, lambda v: _in_block(v, request.address))
    if key.startswith("request."):
        return _of_http(condition.values, condition.not_values, lambda _: None, request, denies=denies)
    return None


def _of_http(
    values: Sequence[str], unwanted: Sequence[str], test: Callable[[str], Known], request: Request, *, denies: bool
) -> Known:
    """Judge an attribute that only HTTP has: on plain TCP a DENY goes without it, and an ALLOW never matches."""
    if not values and not unwanted:
        return True
    if request.http is False:
        return denies
    return None if request.http is None else _field(values, unwanted, test)


def _field(values: Sequence[str], unwanted: Sequence[str], test: Callable[[str], Known]) -> Known:
    wanted = _any(map(test, values)) if values else True
    hit = _any(map(test, unwanted)) if unwanted else False
    return _all((wanted, None if hit is None else not hit))


def _text(pattern: str, text: str) -> Known:
    """Compare as Istio does: exact, by beginning or end, or by being there at all; templates are not evaluated."""
    if "{" in pattern:
        return None
    if pattern == "*":
        return bool(text)
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text.endswith(pattern[1:]) if pattern.startswith("*") else text == pattern


def _in_block(block: str, address: str) -> Known:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)
    except ValueError:
        return None
