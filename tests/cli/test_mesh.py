"""``netinspect mesh`` without a cluster: what it refuses, and how."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, Netinspect

DEMO = ROOT / "netinspect" / "demo.zip"


def test_the_demo_has_no_mesh(netinspect: Netinspect) -> None:
    result = netinspect("mesh", "--demo")
    assert result.code == 0
    assert result.out.startswith("no mesh\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shop/web-0", "svc/shop/web:0"), "cannot read"),
        (("shop/web-0", "svc/shop/web:http"), "cannot read"),
        (("shop/web-0", "a b"), "cannot read"),
        (("shop/nobody",), "there is no pod shop/nobody"),
        (("--path", "/x"), "name where it goes"),
        (("shop/db-0", "svc/shop/web:80", "--path", "x"), "does not begin with /"),
        (("shop/db-0", "svc/shop/web:81"), "has no TCP port 81"),
        (("shop/db-0", "svc/shop/nobody-here"), "there is no"),
        (("-o", "dot"), "no format dot"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], said: str, netinspect: Netinspect) -> None:
    result = netinspect("mesh", "--demo", *arguments)
    assert result.code == 2
    assert said in result.err


def test_a_redacted_recording_tells_no_mesh(netinspect: Netinspect, tmp_path: Path) -> None:
    """Names of containers and command lines are gone: that nothing is seen does not mean that nothing is there."""
    copy = tmp_path / "redacted.zip"
    with zipfile.ZipFile(DEMO) as shipped, zipfile.ZipFile(copy, "w") as made:
        for name in shipped.namelist():
            content = shipped.read(name)
            if name == "manifest.json":
                content = json.dumps({**json.loads(content), "redacted": True}).encode()
            made.writestr(name, content)
    result = netinspect("mesh", "--from", copy)
    assert result.code == 3
    assert "redacted" in result.err
