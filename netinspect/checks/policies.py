"""Whether network policies are in force."""

from __future__ import annotations

from collections.abc import Iterator

from netinspect.analysis.cni import NEEDS
from netinspect.checks.base import IPTABLES, Irrelevant, Seen, check, issue, problem
from netinspect.checks.view import View
from netinspect.model.check import Category, Vantage
from netinspect.model.finding import Severity

_FELIX = "see the log of calico-node on the node: Felix says which rule or set it could not program"


@check(
    "NI1701", "somebody enforces the NetworkPolicies", Category.POLICIES, Severity.WARNING, needs=NEEDS,
    remedy="install a policy engine beside the CNI (kube-network-policies, Calico's policy engine), or another CNI",
    links=("https://github.com/flannel-io/flannel/blob/master/Documentation/netpol.md",),
)  # fmt: skip
def not_enforced(view: View) -> Iterator[Seen]:
    """Find clusters with NetworkPolicies where no CNI and no engine enforces them.

    Every pod still reaches every other.
    """
    return map(problem, view.told("policies-not-enforced"))


@check(
    "NI1702", "the policy engine has programmed its rules", Category.POLICIES, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=IPTABLES, explains=("NI22",), remedy=_FELIX,
    links=(issue("cloudnativelabs/kube-router#873"),),
)  # fmt: skip
def not_programmed(view: View) -> Iterator[Seen]:
    """Find pods and policies for which Felix made no chains; of other engines nothing is said.

    What is for such a pod is dropped, or what a policy should stop gets through, until Felix can program them.
    """
    return _of_felix(view, "policy-missing")


@check(
    "NI1703", "what is forwarded meets the policies", Category.POLICIES, Severity.ERROR, needs=NEEDS,
    vantage=Vantage.NODE, reads=IPTABLES, remedy=_FELIX,
    links=("https://github.com/projectcalico/calico/blob/master/felix/rules/static.go",),
)  # fmt: skip
def bypassed(view: View) -> Iterator[Seen]:
    """Find nodes where FORWARD does not lead to cali-FORWARD: no policy is in force there."""
    return _of_felix(view, "policy-bypassed")


@check(
    "NI1704", "no other rule decides before the policies", Category.POLICIES, Severity.WARNING, needs=NEEDS,
    vantage=Vantage.NODE, reads=IPTABLES,
    remedy="let Felix put its rules first (chainInsertMode: Insert), and restart calico-node",
    links=("https://docs.tigera.io/calico/latest/reference/felix/configuration",),
)  # fmt: skip
def order(view: View) -> Iterator[Seen]:
    """Find rules in FORWARD that accept packets above cali-FORWARD, which then meet no policy."""
    return _of_felix(view, "policy-order")


def _of_felix(view: View, kind: str) -> Iterator[Seen]:
    if not {"calico", "canal"} & set(view.cni.policy.split(", ")):
        yield Irrelevant("Felix is not at work")
    yield from map(problem, view.told(kind))


CHECKS = (not_enforced, not_programmed, bypassed, order)
