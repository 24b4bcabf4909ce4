"""What changed between two recordings, and what only counts on."""

from __future__ import annotations

import re

from netinspect.checks.changes import diff
from netinspect.model.changes import Area
from netinspect.model.snapshot import Snapshot
from netinspect.model.trace import Arrival
from tests.checks.cases import FIRES
from tests.checks.changed import both, section, well


def test_what_counts_on_has_not_changed() -> None:
    def counted(text: str) -> str:
        assert "[" in text
        return re.sub(r"\[(\d+):(\d+)\]", lambda m: f"[{int(m[1]) + 7}:{int(m[2]) + 700}]", text)

    later = both(
        *(section(n, "iptables-nft", counted) for n in ("n1", "n2")),
        section("n1", "sysctl", lambda t: t.replace("nf_conntrack_count:", "nf_conntrack_count:1")),
    )
    learnt = "default via fe80::1 dev eth0 proto ra metric 1024 expires {}sec pref medium\n"

    def stays(seconds: int) -> Snapshot:
        return section("n1", "routes6", lambda t: t + learnt.format(seconds))(well())

    one, two = stays(1700), stays(1600)
    assert diff(one, later(two)).changes == ()


def test_a_flow_and_the_line_that_makes_it_so() -> None:
    found = diff(well(), FIRES["NI1601"](well()))
    assert {(c.area, c.place, c.what) for c in found.changes} == {(Area.ROUTES, "node/n1", "route")}
    assert "10.244.1.0/24" in found.changes[0].before
    told = found.compared + sum(int(u.split()[0]) for u in found.unseen if "cannot be told" in u)
    assert told == diff(well(), well()).compared
    assert {f.after for f in found.flows} <= {Arrival.LEAVES, Arrival.LOST, Arrival.UNKNOWN, Arrival.MIXED}
