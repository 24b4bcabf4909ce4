"""``netinspect check``, ``checks``, ``explain``, ``verify`` and ``diff``, as users run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.checks.changed import WELL
from tests.conftest import ROOT, Netinspect


def test_a_run_feels_like_a_doctor(netinspect: Netinspect) -> None:
    done = netinspect("check", "--from", WELL)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "√ passed: nothing found; 1 of 85 checks could not see everything"
    done = netinspect("check", "--demo")
    assert done.code == 1
    assert "× NI1801 every Service has an endpoint that is ready (3)" in done.out  # noqa: RUF001 - our mark
    assert "no node was looked into: --access exec or pod looks into the nodes" in done.out
    assert done.out.index("FOUND, causes first") < done.out.index("svc/shop/crashing")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "NI99"), "no code begins with 'NI99'"),
        (("--only", "NI18", "--skip", "NI18"), "no check is left"),
        (("--node", "nowhere"), "there is no node nowhere"),
        (("-n", "nowhere"), "there is no namespace nowhere"),
        (("--fail-on", "warning", "--min-severity", "error"), "would hide what --fail-on warning fails on"),
        (("-o", "tree"), "this has no format tree"),
        (("-o", "json="), "names no file"),
        (("-o", "json", "-o", "yaml"), "two formats would go to stdout"),
        (("-o", "json=/proc/nowhere/x"), "cannot write"),
        (("--baseline", "/nonexistent"), "cannot read"),
        (("--config", "/nonexistent"), "cannot read"),
        (("--baseline", "README.md"), "is no report"),
        (("--category", "weather"), "weather"),
    ],
)
def test_mistakes_get_a_hint(netinspect: Netinspect, arguments: tuple[str, ...], said: str) -> None:
    done = netinspect("check", "--demo", *arguments)
    assert done.code == 2
    assert said in done.err


def test_some_checks_alone(netinspect: Netinspect) -> None:
    only = netinspect("check", "--demo", "--only", "ni1802", "-o", "json").json
    assert [c["code"] for c in only["checks"]] == ["NI1802"]
    dns = netinspect("check", "--demo", "--category", "dns", "-o", "json")
    assert {c["category"] for c in dns.json["checks"]} == {"dns"}
    assert dns.code == 0


def test_a_step_of_github(netinspect: Netinspect, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("earlier\n")
    done = netinspect("check", "--demo", "-o", "github", env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert done.out.startswith("::error title=")
    assert summary.read_text().startswith("earlier\n## netinspect check")


def test_the_baseline_of_the_last_run(netinspect: Netinspect, tmp_path: Path) -> None:
    last = tmp_path / "last.json"
    assert netinspect("check", "--demo", "-o", f"json={last}").code == 1
    done = netinspect("check", "--demo", "--baseline", last)
    assert done.code == 0
    assert "in the baseline" in done.out


def test_suppressions_of_a_file(netinspect: Netinspect, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[[suppress]]\ncode = "NI18"\nobject = "svc/shop/*"\nreason = "made so"\n')
    done = netinspect("check", "--demo", "--config", settings)
    assert done.code == 0
    assert "(made so)" in done.out


def test_explanations(netinspect: Netinspect) -> None:
    done = netinspect("explain", "ni1201")
    assert done.code == 0
    assert "NI1201 every node has a range for its pods" in done.out
    assert "remedy: " in done.out
    assert netinspect("explain", "NI9999").code == 2
    listed = netinspect("checks", "-o", "json").json
    assert len(listed["checks"]) > 70
    assert listed["uncovered"]


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ("check", ("check", "--demo")),
        ("checks", ("checks",)),
        ("explain", ("explain", "NI1801")),
        ("verify", ("verify", "{expectations}", "--from", str(WELL))),
        ("diff", ("diff", "netinspect/demo.zip", str(WELL))),
    ],
)
def test_json_fits_its_schema(netinspect: Netinspect, tmp_path: Path, schema: str, arguments: tuple[str, ...]) -> None:
    file = tmp_path / "expectations.yaml"
    file.write_text("flows: [{from: ds/shop/web, to: 'svc/shop/web:80', expect: reachable}]\n")
    described = netinspect("schema", schema).json
    found = netinspect(*(a.format(expectations=file) for a in arguments), "-o", "json").json
    jsonschema.Draft202012Validator(described).validate(found)


def test_what_is_there_now_holds(netinspect: Netinspect, tmp_path: Path) -> None:
    done = netinspect("verify", "--init", "--from", WELL)
    assert done.code == 0
    file = tmp_path / "expectations.yaml"
    file.write_text(done.out)
    described = netinspect("schema", "expectations").json
    jsonschema.Draft202012Validator(described).validate(yaml.safe_load(done.out))
    assert netinspect("verify", file, "--from", WELL).code == 0


DECLARED = """
apiVersion: netinspect.io/v1
kind: Expectations
facts: {cni: calico, pods: [10.0.0.0/8]}
flows:
- {name: up, from: ds/shop/web, to: 'svc/shop/web:80', expect: reachable, level: simulated}
- {name: down, from: ds/shop/web, to: 'svc/shop/web:80', expect: blocked}
- {name: closed, from: ds/shop/web, to: ds/shop/web, port: 9, expect: blocked, level: simulated}
- {name: plain, from: ds/shop/web, to: 'svc/shop/web:80', expect: plaintext}
- {name: locked, from: ds/shop/web, to: 'svc/shop/web:80', expect: mtls}
- {name: nobody, from: ds/shop/gone, to: 'svc/shop/web:80', expect: reachable}
"""


def test_what_is_not_as_declared(netinspect: Netinspect, tmp_path: Path) -> None:
    file = tmp_path / "expectations.yaml"
    file.write_text(DECLARED)
    done = netinspect("verify", file, "--from", WELL, "-o", "json")
    assert done.code == 1
    assert {c["name"]: c["verdict"] for c in done.json["cases"]} == {
        "cni": "fails", "pod ranges": "fails", "up": "holds", "down": "fails", "closed": "holds", "plain": "holds",
        "locked": "fails", "nobody": "fails",
    }  # fmt: skip
    junit = netinspect("verify", file, "--from", WELL, "-o", "junit").out
    assert junit.count("<testcase") == 8
    assert junit.count("<failure") == 5


def test_what_cannot_be_seen_is_not_as_declared(netinspect: Netinspect, tmp_path: Path) -> None:
    file = tmp_path / "expectations.yaml"
    file.write_text("flows: [{from: deploy/shop/web, to: 'svc/shop/web:80', expect: reachable, level: simulated}]\n")
    done = netinspect("verify", file, "--demo")
    assert done.code == 3
    assert "settled by" in done.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flows: [{from: a, to: b}]", "expect"),
        ("flows: [{from: a, to: b, expect: maybe}]", "maybe"),
        ("flow: []", "flow"),
        ("flows: {", "is not YAML"),
        ("- 1", "Expected"),
    ],
)
def test_expectations_that_are_wrong(netinspect: Netinspect, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "expectations.yaml"
    file.write_text(text)
    done = netinspect("verify", file, "--demo")
    assert done.code == 2
    assert said in done.err


def test_nothing_changed(netinspect: Netinspect) -> None:
    done = netinspect("diff", WELL, WELL)
    assert done.code == 0
    assert "nothing changed" in done.out


def test_what_changed(netinspect: Netinspect) -> None:
    found = netinspect("diff", "netinspect/demo.zip", WELL, "-o", "json")
    assert found.code == 1
    places = {c["place"] for c in found.json["changes"]}
    assert {"svc/shop/edge", "node/n3", "namespace/shop"} <= places
    assert any("looked into" in u for u in found.json["unseen"])
    assert json.loads(found.out)["kind"] == "Diff"


@pytest.mark.parametrize(("arguments", "code"), [("--demo --only 'NI1802'", 0), ("--demo --only 'NI1802", 1)])
def test_arguments_of_the_action_are_words_of_a_shell(tmp_path: Path, arguments: str, code: int) -> None:
    script = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"][-1]["run"]
    names = dict.fromkeys(("JUNIT", "HTML", "SARIF", "JSON"), "")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        # As GitHub starts it.
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], capture_output=True, text=True, check=False,
        cwd=tmp_path, env={"PATH": path, "HOME": str(tmp_path), "FAIL_ON": "never", "ARGUMENTS": arguments, **names},
    )  # fmt: skip
    assert done.returncode == code
    assert ("NI1802" in done.stdout) == (code == 0)
