"""What holds for the whole tree: layers, registries, lazy imports, and pages that are generated or quoted."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from docs.generate import PAGES
from netinspect import checks, cni, mesh, output
from netinspect.cli.options import OutputFormat
from netinspect.model.resources import RESOURCES
from netinspect.model.snapshot import Snapshot
from netinspect.output.base import Format
from tests.conftest import ROOT, Netinspect

SOURCES = sorted(
    p for folder in ("netinspect", "tests", "benchmarks", "completions", "docs") for p in (ROOT / folder).rglob("*.py")
)


def test_layers() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_every_format_is_listed_and_offered() -> None:
    helpers = {"base", "check", "cni", "columns", "findings", "graph", "kernel", "mesh", "trace", "verify", "words"}
    modules = {m.name for m in pkgutil.iter_modules(output.__path__)} - helpers
    assert modules == {f.NAME for f in output.FORMATS} == {f.value for f in OutputFormat}


def test_every_cni_is_listed_and_has_its_page() -> None:
    helpers = {
        "base",
        "calico_policy",
        "cilium_maps",
        "cilium_policy",
        "cilium_programs",
        "expectation",
        "openflow",
        "openflow_bridge",
        "openflow_frame",
        "openflow_pipeline",
        "openflow_tracking",
        "openvswitch",
        "ranges",
        "recognition",
        "sight",
    }
    modules = {m.name for m in pkgutil.iter_modules(cni.__path__)} - helpers
    assert modules == {(d.__name__ if isinstance(d, ModuleType) else "").rpartition(".")[2] for d in cni.DRIVERS}
    for name, page in PAGES.items():
        assert (ROOT / "docs" / name).read_text() == page(), f"{name} is old: make docs"


def test_every_mesh_is_listed() -> None:
    helpers = {
        "app_mesh_effects",
        "app_mesh_pairs",
        "base",
        "cilium_nodes",
        "cilium_pairs",
        "consul_chain",
        "consul_effects",
        "consul_entries",
        "consul_pairs",
        "consul_relay",
        "glance",
        "istio_ambient",
        "istio_authorization",
        "istio_effects",
        "istio_pairs",
        "istio_policy",
        "istio_relay",
        "istio_scope",
        "kuma_effects",
        "kuma_pairs",
        "kuma_policies",
        "kuma_relay",
        "linkerd_effects",
        "linkerd_pairs",
        "linkerd_policy",
        "linkerd_relay",
        "nginx_effects",
        "nginx_pairs",
        "osm_effects",
        "osm_pairs",
        "osm_relay",
        "ranges",
        "service_routes",
        "sight",
    }
    modules = {m.name for m in pkgutil.iter_modules(mesh.__path__)} - helpers
    assert modules == {(d.__name__ if isinstance(d, ModuleType) else "").rpartition(".")[2] for d in mesh.DRIVERS}


def test_every_family_of_checks_is_listed() -> None:
    helpers = {"accepted", "base", "changes", "declared", "run", "uncovered", "view"}
    modules = {m.name for m in pkgutil.iter_modules(checks.__path__)} - helpers
    assert modules == {f.__name__.rpartition(".")[2] for f in checks.FAMILIES}
    assert len(checks.BY_CODE) == len(checks.CHECKS)


@pytest.mark.parametrize("format_", output.FORMATS, ids=lambda f: f.NAME)
def test_every_format_says_what_it_is_for(format_: Format) -> None:
    assert format_.__doc__
    assert format_.RENDERS


def test_every_resource_has_its_place_in_the_snapshot() -> None:
    fields = set(Snapshot.__struct_fields__) - {"taken_at", "server_version", "versions", "redacted", "gaps", "kernels"}
    assert fields == {r.name for r in RESOURCES}
    assert "secrets" not in {r.plural for r in RESOURCES}


def test_help_loads_neither_kubernetes_nor_scapy() -> None:
    program = """
import sys
sys.argv = ["netinspect", "--help"]
from netinspect.cli.app import app
try:
    app()
except SystemExit:
    print([m for m in ("kubernetes", "scapy", "rich.table", "zipfile", "yaml") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    [
        "map",
        "whois",
        "check",
        "checks",
        "explain",
        "verify",
        "diff",
        "cni",
        "mesh",
        "node",
        "pod",
        "snapshot",
        "rbac",
        "cleanup",
        "schema",
    ],
)
def test_every_command_has_help_with_examples(command: str, netinspect: Netinspect) -> None:
    for flag in ("-h", "--help"):
        result = netinspect(command, flag)
        assert result.code == 0
        assert "Usage: " in result.out
        if command != "schema":
            assert "Examples:" in result.out


def test_blocks_of_the_readme_are_what_the_program_prints(netinspect: Netinspect) -> None:
    """A fenced block that begins with `$ netinspect …` is compared with what that command prints."""
    blocks = re.findall(r"```text\n\$ netinspect ([^\n]*)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for arguments, shown in blocks:
        printed = netinspect(*arguments.split(), env={"COLUMNS": "100"}).out.splitlines()
        for line in shown.splitlines():
            assert line == "…" or line in printed, f"netinspect {arguments}: {line!r}"


def test_nothing_speaks_of_the_machine_that_it_was_written_on() -> None:
    hosts = re.compile(r"/w[o]rk/|/r[o]ot/|proxy\.g[o]lang|p[y]pi\.org")
    for path in [*SOURCES, *ROOT.glob("*.*"), *(ROOT / "docs").glob("*"), ROOT / "Makefile", *(ROOT / ".ci").glob("*")]:
        if path.is_file():
            assert not hosts.search(path.read_text()), path
