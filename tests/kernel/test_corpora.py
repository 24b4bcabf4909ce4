"""Every dump that others recorded parses whole, and what is line based prints back unchanged."""

from __future__ import annotations

import gzip
import json
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from netinspect.errors import ParseError
from netinspect.kernel import (
    conntrack,
    ipset,
    iptables,
    ipvs,
    links,
    neighbours,
    nft,
    proc,
    routes,
    settings,
    sockets,
    traffic,
)
from netinspect.model.iptables import Ruleset
from netinspect.model.kernel import Link
from netinspect.model.nft import Term
from tests import corpora
from tests.conftest import unavailable

# What none of the dumps needs typed: nft prints of an iptables extension at most its name, iptables-save all of it.
OPAQUE_TO_NFT = {"xt"}


def rulesets() -> Iterator[tuple[str, str]]:
    yield from corpora.files("iptables-save.txt", "iptables-legacy-save.txt", "ip6tables-save.txt")
    for path in sorted((corpora.folder() / "nodedumps").glob("*.iptables-save")):
        yield path.name, path.read_text()


def unmodelled(ruleset: Ruleset) -> Iterator[str]:
    for table in ruleset.tables.values():
        for chain in table.chains.values():
            for rule in chain.rules:
                yield from (m.unmodelled for m in rule.matches if m.unmodelled)
                if rule.target is not None and rule.target.unmodelled:
                    yield f"{rule.target.name} {rule.target.unmodelled}"


def test_iptables_dumps_print_back_unchanged() -> None:
    seen = 0
    for path, text in rulesets():
        ruleset = iptables.parse(text, "inet", "nft")
        assert iptables.unparse(ruleset) == text, path
        seen += text.count("-A ")
    assert seen > 9000


def test_terms_of_iptables_that_are_not_modelled() -> None:
    found = Counter(term for _, text in rulesets() for term in unmodelled(iptables.parse(text, "inet", "nft")))
    print("not modelled in iptables:", dict(found) or "nothing")
    assert not found


def xml_root() -> ET.Element:
    """Give the dump that iptables-xml(1) made."""
    return ET.parse(corpora.folder() / "nodedumps" / "ack-node.iptables.xml").getroot()  # noqa: S314 - a corpus of ours


def lines_of_xml() -> list[str]:
    """Write it back as the lines of iptables-save."""
    lines: list[str] = []
    for table in xml_root().iter("table"):
        lines.append(f"*{table.get('name')}")
        lines += [f":{c.get('name')} {c.get('policy', '-')} [0:0]" for c in table.iter("chain")]
        for chain in table.iter("chain"):
            lines += [" ".join(["-A", str(chain.get("name")), *_rule(r)]) for r in chain.iter("rule")]
        lines.append("COMMIT")
    return lines


def test_iptables_xml_is_what_iptables_save_would_be() -> None:
    """The dump was made by iptables-xml(1): it is written back as lines, and these are parsed."""
    lines = lines_of_xml()
    ruleset = iptables.parse("\n".join(lines), "inet", "legacy")
    rules = sum(len(c.rules) for t in ruleset.tables.values() for c in t.chains.values())
    assert rules == sum(1 for _ in xml_root().iter("rule")) > 30
    assert iptables.unparse(ruleset) == "\n".join(lines)
    assert not list(unmodelled(ruleset))


def _rule(rule: ET.Element) -> Iterator[str]:
    basic = {"s": "-s", "d": "-d", "i": "-i", "o": "-o", "p": "-p"}
    for condition in rule.iterfind("conditions/*"):
        if condition.tag != "match":
            yield from ("-m", condition.tag)
        for option in condition:
            yield from ["!"] if option.get("invert") else []
            flag = basic.get(option.tag, f"--{option.tag}") if condition.tag == "match" else f"--{option.tag}"
            yield flag
            yield from [option.text] if option.text else []
    for action in rule.iterfind("actions/*"):
        if action.tag in ("call", "goto"):
            yield from ("-j" if action.tag == "call" else "-g", action[0].tag)
        else:
            yield from ("-j", action.tag)
            for option in action:
                yield f"--{option.tag}"
                yield from [option.text] if option.text else []


def nft_dumps() -> Iterator[tuple[str, str]]:
    yield from corpora.files("nft.json", "nft-ruleset.json")
    path = corpora.folder() / "nodedumps" / "calico-13263.nft.json"
    yield path.name, path.read_text()


def terms(value: Any) -> Iterator[Term]:
    if isinstance(value, Term):
        yield value
        yield from terms(value.body)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from terms(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from terms(inner)


def test_nft_dumps_are_the_same_after_parsing() -> None:
    unknown: Counter[str] = Counter()
    for path, text in nft_dumps():
        ruleset = nft.parse(text)
        if text.strip():
            assert nft.unparse(ruleset) == json.loads(text), path
        for chain in ruleset.chains.values():
            for rule in chain.rules:
                unknown.update(t.kind for t in terms(rule.statements) if not t.modelled)
        for one in ruleset.sets.values():
            unknown.update(t.kind for t in terms((*one.elements, one.key)) if not t.modelled)
    print("not modelled in nft:", dict(unknown))
    assert set(unknown) <= OPAQUE_TO_NFT


def _json(text: str) -> Any:
    return json.loads(text) if text.strip() else []


def test_links_keep_every_detail() -> None:
    unmodelled_links: list[Link] = []
    for path, text in corpora.files("ip-link.json", "ip-addr.json", "csw-link.json"):
        read = links.links(text)
        listed = [r for r in _json(text) if r]
        assert [link.ifname for link in read] == [r["ifname"] for r in listed], path
        for link, record in zip(read, listed, strict=True):
            assert link.mtu == record["mtu"]
            assert [a.local for a in link.addresses] == [a["local"] for a in record.get("addr_info", []) if a]
            assert (link.data is not None) == (link.kind in {"vxlan", "bridge"}), (path, link)
            assert bool(link.link_index) == ("link_index" in record)
        unmodelled_links += [link for link in read if link.unmodelled]
    assert not unmodelled_links


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (("ip-route.json", "ip4-route.json", "ip-route4.json", "csw-route.json"), "inet"),
        (("ip6-route.json", "ip-route6.json"), "inet6"),
    ],
)
def test_routes(names: tuple[str, ...], family: str) -> None:
    total = 0
    for path, text in corpora.files(*names):
        read = routes.routes(text, family)
        listed = [r for r in _json(text) if r]
        assert len(read) == len(listed), path
        for route, record in zip(read, listed, strict=True):
            assert route.dst.partition("/")[0] in (record["dst"].partition("/")[0], "0.0.0.0", "::")
            assert (route.dev, route.gateway) == (record.get("dev", ""), record.get("gateway", ""))
            assert not route.unmodelled
        total += len(read)
    assert total > 1000


def test_the_other_tables_of_the_recorded_clusters() -> None:
    counts: Counter[str] = Counter()
    for _, text in corpora.files("ip-rule.json", "ip-rule6.json"):
        read = routes.rules(text, "inet")
        assert not any(r.unmodelled for r in read)
        counts["rules"] += len(read)
    for path, text in corpora.files("ip-neigh.json"):
        found = neighbours.neighbours(text)
        assert [n.dst for n in found] == [r["dst"] for r in _json(text) if r], path
        counts["neighbours"] += len(found)
    for path, text in corpora.files("bridge-fdb.json", "csw-fdb.json"):
        entries = neighbours.fdb(text)
        assert [f.mac for f in entries] == [r["mac"] for r in _json(text) if r], path
        counts["fdb"] += len(entries)
    for path, text in corpora.files("ipset-save.txt"):
        sets = ipset.parse(text)
        assert ipset.unparse(sets) == text, path
        counts["ipsets"] += len(sets)
    for path, text in corpora.files("conntrack.txt"):
        connections = conntrack.parse(text)
        assert len(connections) == len([line for line in text.split("\n") if line]), path
        counts["connections"] += len(connections)
    for _, text in corpora.files("ss.txt", "ss-all.txt", "ss-tnp.txt", "ss-lntup.txt"):
        counts["sockets"] += len(sockets.parse(text))
    for path, text in corpora.files("sysctl-net.txt", "sysctl.txt"):
        values = settings.parse(text)
        assert len(values) == len({line.partition("=")[0] for line in text.split("\n") if line}), path
        counts["sysctls"] += len(values)
    for _, text in corpora.files("tc-qdisc.json"):
        counts["qdiscs"] += len(traffic.qdiscs(text))
    for path, text in corpora.files("eth0.ingress.json", "eth0.egress.json", "cilium_host.ingress.json"):
        traffic.filters(text, path, "ingress")
    print(dict(counts))
    assert min(counts.values()) > 50


def test_tables_of_proc() -> None:
    dumps = corpora.folder() / "nodedumps"
    assert [n.dst for n in proc.neighbours((dumps / "proc-net-arp").read_text())]
    services = ipvs.parse((dumps / "proc-net-ip_vs").read_text())
    assert services
    assert all(s.servers or s.fwmark is None for s in services)
    text = (dumps / "proc-net-ip_vs").read_text()
    assert sum(len(s.servers) for s in services) == text.count("->") - 1


# The beginnings of commands whose output one of our parsers is for, in the transcripts of others' documentation.
READERS = {
    "ip route get": None,
    "ip route": lambda text: routes.routes(text, "inet"),
    "ip -6 route": lambda text: routes.routes(text, "inet6"),
    "ip r ": lambda text: routes.routes(text, "inet"),
    "ip rule": lambda text: routes.rules(text, "inet"),
    "ip neigh": neighbours.neighbours,
    "ip addr": links.links,
    "ip link show": links.links,
    "bridge fdb": neighbours.fdb,
    "ipvsadm -ln": ipvs.parse,
    "iptables-save": None,
}


def test_transcripts_never_choke_a_parser() -> None:
    """What a person copied into a page may be cut or edited: each is a value, or an error that names the line."""
    cases = json.loads(gzip.decompress((corpora.folder() / "transcripts.json.gz").read_bytes()))["transcripts"]
    read, refused = Counter[str](), []
    for case in cases:
        command = case["command"].rpartition(" -- ")[2]
        for prefix in ("docker exec -it ", "docker exec "):
            if command.startswith(prefix):
                command = command.removeprefix(prefix).lstrip().partition(" ")[2]
        name = next((r for r in READERS if command.startswith(r)), None)
        reader = READERS.get(name or "")
        if reader is None or name is None or "|" in command:
            continue
        try:
            assert isinstance(reader(case["output"]), tuple)
            read[name] += 1
        except ParseError as error:
            refused.append(f"{command}: {error}")
    print("read:", dict(read))
    print("\n".join(refused))
    assert read.total() > 40
    assert len(refused) < 12


def test_rulesets_of_text_load_and_list_the_same() -> None:
    """Nft's own text is given to nft; what it then lists as JSON parses, and loads again."""
    text = (corpora.folder() / "nodedumps" / "calico-13263.ruleset").read_text()
    script = "set -e; nft -f -; nft -j list ruleset"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        unavailable(f"no network namespace, or no nft: {done.stderr.strip()}")
    ruleset = nft.parse(done.stdout)
    assert nft.unparse(ruleset) == json.loads(done.stdout)
    loaded = {"nftables": [o for o in nft.unparse(ruleset)["nftables"] if "metainfo" not in o]}
    again = subprocess.run(
        ["unshare", "--net", "nft", "-j", "-c", "-f", "-"],
        input=json.dumps(loaded),
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
