"""Recordings come from strangers: whatever is in them, the answer is a clear error and bounded memory."""

from __future__ import annotations

import io
import json
import random
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from netinspect.bundle import Writer, load
from netinspect.errors import BundleError, UsageError
from netinspect.model.resources import GATEWAYS, NODES, PODS, SERVICES
from netinspect.model.snapshot import Snapshot
from tests.conftest import Netinspect

MANIFEST = {
    "apiVersion": "netinspect.io/v1",
    "kind": "Recording",
    "pages": {"pods": ["api/pods/0001.json"], "nodes": []},
}


def recording(path: Path, manifest: Any = None, **pages: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("manifest.json", json.dumps(MANIFEST if manifest is None else manifest))
        for name, content in pages.items():
            out.writestr(name.replace("__", "/").replace("_json", ".json"), content)
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    raw = b'{"metadata":{},"items":[{"metadata":{"name":"a"},"unknown":"kept"}]}'
    with Writer(path) as writer:
        pages = {"pods": (writer.keep("pods", raw),), "nodes": ()}
        writer.finish(Snapshot(taken_at="T", server_version="v"), pages)
    loaded = load(path, (PODS, NODES))
    assert [p.metadata.name for p in loaded.pods] == ["a"]
    assert (loaded.taken_at, loaded.server_version, loaded.gaps) == ("T", "v", ())
    with zipfile.ZipFile(path) as archive:
        assert archive.read(pages["pods"][0]) == raw
    assert list(tmp_path.iterdir()) == [path]


def test_a_recording_is_its_owners_alone(tmp_path: Path) -> None:
    with Writer(tmp_path / "r.zip") as writer:
        writer.finish(Snapshot(), {})
    assert (tmp_path / "r.zip").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nosuch" / "r.zip", Path("/proc/nosuch.zip")):
        with pytest.raises(UsageError), Writer(path, replace=True):
            pass


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_packings_are_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w", method) as out:
        out.writestr("manifest.json", json.dumps(MANIFEST))
    with pytest.raises(BundleError, match="packed as no recording is"):
        load(path, (PODS,))


def test_an_interrupted_recording_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Writer(tmp_path / "r.zip") as writer:
            writer.keep("pods", b"{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "r.zip").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        Writer(tmp_path / "r.zip")


def test_a_kind_that_was_not_recorded_is_a_gap(tmp_path: Path) -> None:
    path = recording(tmp_path / "r.zip", api__pods__0001_json=b'{"items":[]}')
    loaded = load(path, (PODS, SERVICES, GATEWAYS))
    assert [g.resource for g in loaded.gaps] == ["services"]


def _names_a_page(name: str) -> Any:
    return {**MANIFEST, "pages": {"pods": [name]}}


@pytest.mark.parametrize(
    ("manifest", "page", "said"),
    [
        ({**MANIFEST, "apiVersion": "netinspect.io/v2"}, b"{}", "not a Recording of netinspect.io/v1"),
        ({**MANIFEST, "kind": "Other"}, b"{}", "not a Recording"),
        ({}, b"{}", "manifest"),
        ([], b"{}", "manifest"),
        ({**MANIFEST, "pages": 5}, b"{}", "manifest"),
        ({**MANIFEST, "pages": {"pods": ["api/pods/0001.json"] * 100_001}}, b"{}", "100001 files"),
        (_names_a_page("../../etc/passwd"), b"{}", "as no recording does"),
        (_names_a_page("/etc/passwd"), b"{}", "as no recording does"),
        (_names_a_page("api/pods/../0001.json"), b"{}", "as no recording does"),
        (_names_a_page("api/pods/9999.json"), b"{}", "damaged"),
        (None, b"{", "cannot be read"),
        (None, b'{"items":' + b"[" * 200_000, "cannot be read"),
        (None, b'{"items":[{"metadata":{"name":"x"},"deep":' + b"[" * 200_000, "cannot be read"),
        (None, b'{"items":[{"metadata":{},"spec":{"containers":[{"ports":[{"containerPort":1e999}]}]}}]}', "cannot be"),
        (None, b'{"items":[{"metadata":{},"spec":{"hostNetwork":' + b"9" * 9999 + b"}}]}", "cannot be read"),
        (None, b"\xff\xfe\x00", "cannot be read"),
    ],
)  # fmt: skip
def test_hostile_content_is_a_clear_error(tmp_path: Path, manifest: Any, page: bytes, said: str) -> None:
    path = recording(tmp_path / "r.zip", manifest, api__pods__0001_json=page)
    with pytest.raises(BundleError, match=said):
        load(path, (PODS,))


def test_what_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    for content in (b"", b"PK", b"not a zip", b"\x00" * 1000):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="not a recording"):
            load(path, (PODS,))
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("readme.txt", "hello")
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        load(path, (PODS,))
    with pytest.raises(UsageError, match="there is no file"):
        load(tmp_path / "nosuch.zip", (PODS,))
    with pytest.raises(UsageError, match="cannot read"):
        load(tmp_path, (PODS,))


def test_damage_anywhere_is_an_error_and_never_a_crash(tmp_path: Path) -> None:
    """Flip or cut bytes of a real recording: it is read, or refused with our own error."""
    shipped = Path("netinspect/demo.zip").read_bytes()
    chance = random.Random(7)  # noqa: S311
    path = tmp_path / "r.zip"
    refused = 0
    for _ in range(300):
        damaged = bytearray(shipped)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            load(path, (PODS, NODES))
        except BundleError:
            refused += 1
    assert refused > 200


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    pages = [f"api/pods/{i:04}.json" for i in range(1, 101)]
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("manifest.json", json.dumps({**MANIFEST, "pages": {"pods": pages}}))
        for page in pages:
            out.writestr(page, b" " * 50_000_000)
    with pytest.raises(BundleError, match="far more than a recording would"):
        load(bomb, (PODS,))


def test_a_bomb_that_lies_about_its_size_is_bounded(tmp_path: Path) -> None:
    """The directory says 10 bytes; the stream holds a gigabyte. Reading must stop long before it."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("manifest.json", json.dumps(MANIFEST))
        with out.open("api/pods/0001.json", "w", force_zip64=True) as page:
            for _ in range(1000):
                page.write(b" " * 1_000_000)
    content = bytearray(inner.getvalue())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"api/pods/0001.json"))
    content[at + 24 : at + 28] = struct.pack("<I", 10)
    path = tmp_path / "liar.zip"
    path.write_bytes(content)
    program = (
        "import sys, pathlib; from netinspect.bundle import load; from netinspect.model.resources import PODS\n"
        "from netinspect.errors import BundleError\n"
        "try: load(pathlib.Path(sys.argv[1]), (PODS,))\n"
        "except BundleError as error: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000)),
    )  # fmt: skip
    assert done.stdout == "refused\n", done.stderr


def test_the_command_line_says_it_and_exits_3(tmp_path: Path, netinspect: Netinspect) -> None:
    (tmp_path / "r.zip").write_bytes(b"junk")
    for command in (("map",), ("whois", "10.0.0.1")):
        result = netinspect(*command, "--from", tmp_path / "r.zip")
        assert (result.code, result.out) == (3, "")
        assert "not a recording" in result.err
        assert "hint: " in result.err
    assert netinspect("map", "--from", tmp_path / "nosuch").code == 2
