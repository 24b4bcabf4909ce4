"""One report in every format: they say the same, fit their schemas, and let no name break out of its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree.ElementTree import fromstring

import jsonschema
import pytest
import xmlschema
from msgspec import structs

from netinspect.checks import CHECKS
from netinspect.checks.run import Policy, run
from netinspect.model.check import CheckReport
from netinspect.model.finding import Severity
from netinspect.output import BY_NAME
from netinspect.output.base import Style
from tests.checks.cases import FIRES
from tests.checks.changed import add, both, well
from tests.conftest import Netinspect, unavailable

HOSTILE = "a\x1b[31m<script>alert(1)</script>|`*]]>%0A::error::\u202egnp.exe\x07\"'&"
# It carries the schema of OASIS; Go's proxy checks what it gives.
GOSEC = "github.com/securego/gosec/v2@v2.30.0"
# Its source carries the schema that Jenkins' plug-ins and others go by.
PYTEST = "pytest==8.4.2"


def report() -> CheckReport:
    """Give a report with findings, symptoms, a way, and a name that is hostile."""
    spec = {
        "selector": {"app": HOSTILE},
        "clusterIP": "10.96.9.9",
        "clusterIPs": ["10.96.9.9"],
        "ports": [{"port": 80}],
    }
    named = {"metadata": {"name": HOSTILE, "namespace": "shop"}, "spec": spec}
    edits = (FIRES["NI1401"], FIRES["NI1801"], FIRES["NI2201"], add("services", named))
    return run(both(*edits)(well()), CHECKS, Policy(fail_on=Severity.WARNING))


def rendered(name: str) -> str:
    return "".join(BY_NAME[name].render(report(), Style()))


def cached(name: str) -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "netinspect-lab" / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


@pytest.fixture(scope="module")
def sarif_schema() -> dict[str, object]:
    kept = cached("sarif-2.1.0.json")
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                ["go", "mod", "download", "-json", GOSEC], capture_output=True, text=True, check=False, cwd=folder
            )
        if done.returncode:
            unavailable(f"the schema of SARIF cannot be fetched: {done.stderr or done.stdout}")
        source = Path(json.loads(done.stdout)["Dir"]) / "report/sarif/testdata/sarif-schema-2.1.0.json"
        kept.write_bytes(source.read_bytes())
    found: dict[str, object] = json.loads(kept.read_bytes())
    return found


@pytest.fixture(scope="module")
def junit_schema() -> xmlschema.XMLSchema:
    kept = cached("junit-10.xsd")
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            fetch = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--no-binary",
                ":all:",
                "-d",
                folder,
            ]
            done = subprocess.run([*fetch, PYTEST], capture_output=True, text=True, check=False)
            if done.returncode:
                unavailable(f"the schema of JUnit cannot be fetched: {done.stderr}")
            with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
                name = next(n for n in archive.getnames() if n.endswith("junit-10.xsd"))
                member = archive.extractfile(name)
                assert member is not None
                kept.write_bytes(member.read())
    return xmlschema.XMLSchema(str(kept))


def test_sarif_fits_its_schema(sarif_schema: dict[str, object]) -> None:
    log = json.loads(rendered("sarif"))
    jsonschema.Draft7Validator(sarif_schema).validate(log)
    results = log["runs"][0]["results"]
    assert len(results) == len(report().findings)
    rules = [r["id"] for r in log["runs"][0]["tool"]["driver"]["rules"]]
    assert all(rules[r["ruleIndex"]] == r["ruleId"] for r in results)


def test_junit_fits_its_schema(junit_schema: xmlschema.XMLSchema) -> None:
    text = rendered("junit")
    junit_schema.validate(text)
    root = fromstring(text)  # noqa: S314 - we wrote it
    assert int(root.get("tests", "0")) == len(CHECKS)
    failed = {c.get("name", "")[:6] for c in root.iter("testcase") if c.find("failure") is not None}
    assert failed == {one.code for f in report().failing for one in f.all}


def test_junit_passes_no_case_that_is_not_sound() -> None:
    folded = run(both(FIRES["NI1805"], FIRES["NI2203"])(well()), CHECKS, Policy())
    assert {s.code for f in folded.findings for s in f.symptoms} == {"NI2203"}
    some = run(FIRES["NI1809"](well()), CHECKS, Policy(strict=True))
    blind = structs.replace(next(c for c in some.checks if c.code == "NI1304"), code="NI1809")
    some = structs.replace(some, checks=tuple(blind if c.code == "NI1809" else c for c in some.checks))
    for report_, codes in ((folded, {"NI1805", "NI2203"}), (some, {"NI1304", "NI1809"})):
        root = fromstring("".join(BY_NAME["junit"].render(report_, Style())))  # noqa: S314 - we wrote it
        failed = {c.get("name", "")[:6] for c in root.iter("testcase") if c.find("failure") is not None}
        assert failed == codes


def test_markdown_keeps_names_in_their_cells() -> None:
    text = rendered("markdown").partition("<details>")[0]
    rows = [line for line in text.splitlines() if line.startswith(("| ×", "| ‼"))]  # noqa: RUF001 - our marks
    assert len(rows) == len(report().findings)
    # A bar that is not escaped would begin another cell.
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
    assert "<script>" not in text
    assert "\x1b" not in text


def test_github_writes_one_command_a_line() -> None:
    lines = rendered("github").splitlines()
    commands = [line for line in lines if line.startswith("::")]
    # The last says how much could not be looked at.
    assert len(commands) == len(report().findings) + 1
    assert "could not see everything" in commands[-1]
    assert not any("\x1b" in line or "\x07" in line for line in lines)
    hostile = next(line for line in commands if "script" in line)
    assert hostile.startswith("::warning title=NI1802 svc/shop/a")
    assert "%250A%3A%3Aerror" in hostile


@pytest.mark.parametrize("name", [n for n, f in BY_NAME.items() if CheckReport in f.RENDERS])
def test_no_format_lets_a_terminal_be_driven(name: str) -> None:
    text = rendered(name)
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.fixture(scope="module")
def chromium() -> str:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or unavailable("there is no Chromium here")


def browsed(chromium: str, page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Nothing is reached by any name or address: the page needs no network.
    rules = "--host-resolver-rules=MAP * ~NOTFOUND"
    return subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", rules, *arguments, page.as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip


def test_the_page_in_a_browser(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(rendered("html"))
    seen = browsed(chromium, page, "--dump-dom").stdout
    assert seen.count("<article") == len(report().findings)
    assert seen.count('class="node"') == 2
    assert 'class="way"' in seen
    assert "<script" not in seen
    assert "&lt;script&gt;" in seen
    # What a browser would load: nothing.
    assert " src=" not in seen
    assert "<link" not in seen


def test_the_page_fits_a_phone(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    # The same page with a script that measures it, which its own policy would not let run.
    text = rendered("html").replace("default-src 'none'", "default-src 'unsafe-inline'")
    measure = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    page.write_text(text.replace("</body>", measure))
    seen = browsed(chromium, page, "--window-size=390,844", "--dump-dom").stdout
    wide, of = seen.partition("<title>")[2].partition("</title>")[0].split(" of ")
    assert int(wide) <= int(of)


def test_the_code_is_the_same_in_all_formats(netinspect: Netinspect, tmp_path: Path) -> None:
    names = ("text", "wide", "json", "yaml", "junit", "sarif", "github", "markdown", "html")
    for gate in (("--fail-on", "warning"), ("--strict", "--fail-on", "never")):
        alone = {netinspect("check", "--demo", *gate, "-o", name).code for name in names}
        together = [f"{name}={tmp_path / name}" for name in names]
        done = netinspect("check", "--demo", *gate, *(a for t in together for a in ("-o", t)))
        assert {done.code} == alone, gate
        assert not done.out
        assert all((tmp_path / name).stat().st_size for name in names)
