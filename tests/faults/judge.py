"""Puts a fault into a lab, asks what real packets meet and what ``netinspect trace`` says, and compares."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.catalogue import FLOWS, Fault, Flow, named
from tests.faults.scene import Scene
from tests.lab.settings import Settings, gateway

_COMPLAINTS = {"refused", "unreachable"}
_PATIENCE = 6
_FAILS = {"lost", "unreachable", "fails"}
# A workload of the lab that crashes again and again: whether its endpoint is ready as the baseline is taken is chance.
_COMES_AND_GOES = "shop/crashing"


@dataclass(frozen=True)
class Row:
    """A fault, what was measured, what was said, and whether that is right: ``exact``, ``unknown`` or ``wrong``."""

    fault: str
    lab: str
    real: str
    verdict: str
    place: str
    cause: str
    judged: str
    sentence: str
    checked: str


def measured(results: Iterable[str]) -> str:
    """Put the tries into a word; the kernel does not complain of every packet (icmp_ratelimit)."""
    found = set(results)
    if found & _COMPLAINTS:
        found -= {"lost"}
    return found.pop() if len(found) == 1 else "mixed"


def _sender(scene: Scene, place: str) -> str:
    """Give a place as a user writes it who sends from there; the lab's switch is outside of the cluster."""
    if place == "switch":
        return gateway(scene.lab.ranges[0].nodes)
    if place in scene.facts:
        return f"pod/{scene.facts[place]}"
    return f"node/{scene.lab.node_names[place == 'n2']}"


def traced(scene: Scene, flow: Flow) -> Any:
    """Ask the program, as a user does who may exec into the nodes' agents."""
    source = _sender(scene, flow.source)
    names = {**scene.facts, "n1": scene.lab.node_names[0], "n2": scene.lab.node_names[1]}
    command = [sys.executable, "-m", "netinspect", "trace", source, named(flow.to, names), "-o", "json",
               "--access", "exec", "--kubeconfig", str(scene.lab.kubeconfig), "--protocol", flow.protocol.lower(),
               "--size", str(flow.size), *(["--fragment"] if flow.fragment else []),
               *(["--via", flow.via] if flow.via else []),
               *(["--source-port", str(flow.source_port)] if flow.source_port else [])]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(f"{' '.join(command[3:5])}: {done.stderr}")
    return json.loads(done.stdout)


def checked(lab: Settings, baseline: Path, *, access: str = "exec") -> Any:
    """Ask ``netinspect check`` of everything, without what was there before."""
    command = [sys.executable, "-m", "netinspect", "check", "-o", "json", "--access", access, "--kubeconfig",
               str(lab.kubeconfig), *(["--baseline", str(baseline)] if baseline.exists() else [])]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(f"check: {done.stderr}")
    return json.loads(done.stdout)


def judge(lab: Settings, fault: Fault, *, check: bool = True) -> Row:
    """Break, measure, trace, check where that is asked for, heal, and see that it is healed."""
    scene = Scene(lab)
    with scene.broken(fault):
        # What was injected may have made what the flow is about.
        scene = Scene(lab) if {s.place for s in fault.inject} & {"api"} else scene
        real = measured(scene.send(fault.flow, seconds=fault.seconds))
        scene.forget()
        said = traced(scene, fault.flow)
        report = checked(lab, baseline_of(lab)) if check else None
    # kube-proxy, agents and neighbours take a moment to come back.
    tries = (measured(Scene(lab).send(FLOWS["across"])) for _ in range(_PATIENCE))
    found = ""
    if not any((found := one) == "arrives" for one in tries):
        raise RuntimeError(f"{fault.name} is not healed in {lab.name}: a connection meets {found}")
    return _row(fault, scene, real, said, report)


def baseline_of(lab: Settings) -> Path:
    """Name the report of a lab before anything was broken: its workloads have faults of their own."""
    return Path(tempfile.gettempdir()) / f"netinspect-{lab.name}-baseline.json"


def remember(lab: Settings) -> None:
    """Keep what is found before anything is broken."""
    baseline_of(lab).unlink(missing_ok=True)
    baseline_of(lab).write_text(json.dumps(checked(lab, baseline_of(lab))))


def _rank(fault: Fault, names: Mapping[str, str], report: Any) -> str:
    """Say whether what the fault is stands first in the report, further down, or nowhere; a symptom is its cause's."""
    new = (f for f in report.get("findings", ()) if not f.get("accepted"))
    live = [f for f in new if _COMES_AND_GOES not in f["place"]]
    if fault.place and not fault.inject:
        # Nothing was broken: what does not arrive is a question that nobody should ask.
        return ""
    wanted = re.compile(named(fault.check, names) if fault.check else "(?!)")
    if not fault.place and not fault.check:
        return "quiet" if not live else f"false: {live[0]['code']} {live[0]['place']}: {live[0]['says']}"
    for number, found in enumerate(live):
        for one in (found, *found.get("symptoms", ())):
            proof = one.get("proof") or {}
            text = f"{one['says']} | {one.get('cause', '')} | {proof.get('section', '')} {proof.get('text', '')}"
            place = fault.place and re.fullmatch(named(fault.place, names), one["place"])
            traced_so = place and re.search(named(fault.cause, names), text)
            if traced_so or wanted.search(f"{one['place']}: {one['says']}"):
                return "first" if number == 0 else f"place {number + 1}, after {live[0]['code']} {live[0]['says']}"
    return f"missed: {live[0]['code']} {live[0]['place']}: {live[0]['says']}" if live else "missed"


def _row(fault: Fault, scene: Scene, real: str, said: Any, report: Any) -> Row:
    names = {k: re.escape(v) for k, v in scene.facts.items()}
    names |= {"n1": scene.lab.node_names[0], "n2": scene.lab.node_names[1]}
    cause = said.get("cause") or {}
    proof = cause.get("proof") or {}
    text = f"{cause.get('reason', '')} | {proof.get('section', '')} {proof.get('text', '')}"
    exact = (
        re.fullmatch(named(fault.place, names), cause.get("place", "")) and re.search(named(fault.cause, names), text)
        if fault.place
        else not cause
    )
    verdict = said["arrival"]
    right = verdict == real or (verdict == "leaves" and real in _FAILS)
    if fault.real == "fails" and real in _FAILS:
        real, right = "fails", verdict in _FAILS or verdict == "leaves"
    judged = "exact" if right and exact else "unknown" if verdict == "unknown" else "wrong"
    if real != fault.real:
        judged = f"wrong: the catalogue says {fault.real}"
    return Row(fault.name, scene.lab.name, real, verdict, cause.get("place", ""), text.strip(" |"), judged,
               said["sentence"], _rank(fault, names, report) if report else "")  # fmt: skip


def table(rows: Iterable[Row]) -> str:
    """Give all as a table in Markdown."""
    lines = ["| fault | lab | real packets | verdict | hop | cause and proof | | check |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for r in rows:
        said = r.cause.replace("|", "¦")[:110], r.judged, r.checked.replace("|", "¦")[:160]
        lines.append(f"| {' | '.join((r.fault, r.lab, r.real, r.verdict, r.place, *said))} |")
    return "\n".join(lines)
