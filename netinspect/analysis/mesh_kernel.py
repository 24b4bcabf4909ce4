"""What a pod's own network namespace shows of a mesh: rules that turn its traffic, and who waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netinspect.errors import ParseError
from netinspect.kernel.namespace import Namespace
from netinspect.mesh.base import Signature

_RULESETS = ("iptables-nft", "iptables-legacy", "iptables", "nftables")


@dataclass(frozen=True)
class Seen:
    """What was read: ``chains`` that the kernel's own lead to, with tables of nftables, and whether any rule redirects.

    ``listening`` are the TCP ports at which programs wait. None where that could not be read; ``whole`` says that all
    variants of rules were, so that what was not found is not there.
    """

    chains: frozenset[str] | None
    redirects: bool
    whole: bool
    listening: frozenset[int] | None

    def captures(self, signature: Signature) -> bool | None:
        """Say whether rules of a mesh are at work; None where rules could not be read."""
        if self.chains is None:
            return None
        marks = (*signature.chains, *(f"nft:{t}" for t in signature.tables))
        found = bool(marks) and any(c.startswith(marks) for c in self.chains)
        return True if found else False if self.whole else None


def look(namespace: Namespace) -> Seen:
    """Read the rules and the sockets of a namespace."""
    chains = redirects = None
    if any(_answered(namespace, name) for name in _RULESETS):
        try:
            chains = frozenset(_reached(namespace))
            redirects = _redirects(namespace)
        except ParseError:
            chains = None
    listening = None
    if _answered(namespace, "sockets"):
        try:
            listening = frozenset(s.port for s in namespace.sockets if s.protocol == "tcp" and s.state == "LISTEN")
        except ParseError:
            listening = None
    variants = all(_answered(namespace, name) for name in ("iptables-nft", "iptables-legacy"))
    whole = variants or _answered(namespace, "nftables") or _answered(namespace, "iptables")
    return Seen(chains, bool(redirects), whole, listening)


def _answered(namespace: Namespace, name: str) -> bool:
    section = namespace.evidence.sections.get(name)
    return section is not None and section.answered


def _reached(namespace: Namespace) -> Iterator[str]:
    """Give the chains that one of the kernel's own leads to: what nothing leads to does nothing."""
    for ruleset in namespace.iptables:
        for table in ruleset.tables.values():
            for chain in table.chains.values():
                if chain.policy is not None:
                    yield from (rule.target.name for rule in chain.rules if rule.target is not None)
    if _answered(namespace, "nftables"):
        yield from (f"nft:{t.name}" for t in namespace.nftables.tables)


def _redirects(namespace: Namespace) -> bool:
    return any(
        rule.target is not None and rule.target.name in ("REDIRECT", "TPROXY")
        for ruleset in namespace.iptables
        for table in ruleset.tables.values()
        for chain in table.chains.values()
        for rule in chain.rules
    )
