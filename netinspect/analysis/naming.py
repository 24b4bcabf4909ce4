"""Names for what the kernels show: the CNI behind a tunnel, the node at its end, the policy behind a rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

from netinspect.cni import DRIVERS, calico_policy
from netinspect.kernel.simulator.world import World
from netinspect.model.packet import text
from netinspect.model.walk import Pointer, Stage, Step


class Names:
    """Knows whose the cluster's addresses are (``homes``), and what the namespaces of a world hold."""

    def __init__(self, homes: Mapping[str, str], world: World) -> None:
        self.homes = homes
        self._world = world
        self._rules: dict[tuple[str, str], Mapping[str, Sequence[str]]] = {}

    def hop(self, step: Step) -> str:
        """Say what happened, with names: whose tunnel it is and to which node, which policy a rule leads to."""
        if step.stage is Stage.ENCAPSULATE:
            owner = _owner(step.text.partition(":")[0])
            home = self.homes.get(text(step.packet.dst, step.packet.family), "")
            named = f"{owner}, to {home}" if owner and home else owner or home
            return f"{step.text} ({named})" if named else step.text
        policy = self._felix(step.evidence, calico_policy.policy)
        return f"{step.text} ({policy})" if policy else step.text

    def reason(self, evidence: Pointer | None) -> str:
        """Say why a rule drops a packet, where that is a CNI's and stands for a policy; else nothing."""
        return self._felix(evidence, calico_policy.dropped)

    def _felix(self, evidence: Pointer | None, ask: calico_policy.Ask) -> str:
        if evidence is None or "tables-" not in evidence.section or "cali-" not in evidence.text:
            return ""
        return ask(evidence.text, lambda chain: self._chains(evidence).get(chain, ()))

    def _chains(self, evidence: Pointer) -> Mapping[str, Sequence[str]]:
        """Give Felix's rules of a ruleset by their chains."""
        key = evidence.namespace, evidence.section
        if key not in self._rules:
            found: dict[str, list[str]] = defaultdict(list)
            for line in self._world.stacks[evidence.namespace].namespace.text(evidence.section).splitlines():
                if "-A cali-" in line:
                    found[line.partition("-A ")[2].partition(" ")[0]].append(line)
            self._rules[key] = found
        return self._rules[key]


@cache
def _owner(dev: str) -> str:
    """Name the CNI that gives its devices such a name."""
    owners = [d for d in DRIVERS if d.SIGNATURE.interfaces is not None and d.SIGNATURE.interfaces.fullmatch(dev)]
    # What is made of others has their devices.
    plain = [d for d in owners if not d.PARTS]
    return plain[0].TITLE if len(plain) == 1 else ""
