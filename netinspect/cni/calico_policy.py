"""Which policy stands behind a rule of Felix's: the chain is named by a hash, and its rules say the policy's name.

Sources: projectcalico/calico felix/rules/{rule_defs,policy,endpoints}.go; the names of Kubernetes' own policies are
prefixed in libcalico-go/lib/backend/k8s/conversion/constants.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

# Gives the rules of a chain, as iptables-save writes them.
Rules = Callable[[str], Sequence[str]]
Ask = Callable[[str, Rules], str]

_CHAIN = re.compile(r"-A (\S+)")
_TARGET = re.compile(r"-[jg] (\S+)")
_POLICY_CHAINS: Final = ("cali-pi-", "cali-po-")
_NAMED = re.compile(r'"Policy (\S+) (?:in|e)gress"')
_NOBODY: Final = ("Drop if no policies passed packet", "Drop if no profiles matched")
_KINDS: Final = {
    "knp.default.": "NetworkPolicy", "kanp.adminnetworkpolicy.": "AdminNetworkPolicy",
    "kbanp.baselineadminnetworkpolicy.": "BaselineAdminNetworkPolicy", "default.": "Calico policy",
}  # fmt: skip


def policy(rule: str, rules: Rules) -> str:
    """Name the policy that a rule belongs to or leads to; nothing where it is none of Felix's."""
    places = (m[1] for pattern in (_TARGET, _CHAIN) if (m := pattern.search(rule)) is not None)
    chain = next((c for c in places if c.startswith(_POLICY_CHAINS)), "")
    return _of_chain(chain, rules) if chain else ""


def dropped(rule: str, rules: Rules) -> str:
    """Say why a rule of Felix's drops a packet; nothing where it is another's."""
    chain = _CHAIN.search(rule)
    if chain is None or not chain[1].startswith("cali-"):
        return ""
    if chain[1].startswith(_POLICY_CHAINS):
        return f"{_of_chain(chain[1], rules) or 'a policy of Calico'} denies it"
    if not any(said in rule for said in _NOBODY):
        return ""
    # Of a workload "from" is egress, of a host endpoint what comes in from it.
    way = "out" if chain[1].startswith(("cali-fw-", "cali-th")) else "in"
    whom = "the host" if chain[1].startswith(("cali-fh", "cali-th")) else "the pod"
    jumps = (m[1] for r in rules(chain[1]) if (m := _TARGET.search(r)) is not None)
    names = dict.fromkeys(n for c in jumps if c.startswith(_POLICY_CHAINS) and (n := _of_chain(c, rules)))
    if not names:
        return f"no policy or profile of Calico lets it {way}"
    select = "selects" if len(names) == 1 else "select"
    return f"no policy lets it {way}: {', '.join(names)} {select} {whom}"


def _of_chain(chain: str, rules: Rules) -> str:
    found = next((m[1] for r in rules(chain) if (m := _NAMED.search(r)) is not None), "")
    if not found:
        # A name that is short enough stands in the chain's own.
        name = chain.removeprefix(_POLICY_CHAINS[0]).removeprefix(_POLICY_CHAINS[1])
        return "" if name.startswith("_") else f"Calico policy {name}"
    where, slash, name = found.rpartition("/")
    kind, prefix = next(((kind, p) for p, kind in _KINDS.items() if name.startswith(p)), ("Calico policy", ""))
    # Calico's own policies keep the name of their tier, as calicoctl shows it.
    shown = name if kind == "Calico policy" else name.removeprefix(prefix)
    return f"{kind} {where}{slash}{shown}"
