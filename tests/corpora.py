"""Where the data that others wrote is: ``$NETINSPECT_CORPORA``, or ``../shared/corpora``."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import ROOT, unavailable


def folder() -> Path:
    found = Path(os.environ.get("NETINSPECT_CORPORA") or ROOT.parent / "shared" / "corpora")
    if not found.is_dir():
        unavailable(f"there are no corpora at {found}; set NETINSPECT_CORPORA")
    return found


@cache
def recorded(archive: Path) -> dict[str, str]:
    """Give the text files of an archive by their paths."""
    with tarfile.open(archive) as tar:
        return {
            member.name: content.read().decode(errors="backslashreplace")
            for member in tar
            if member.isfile() and (content := tar.extractfile(member)) is not None
        }


def files(*names: str) -> Iterator[tuple[str, str]]:
    """Give every file of these names in the recordings of real clusters, with its path."""
    archives = sorted(folder().glob("lab-*.tar.gz"))
    assert archives
    for archive in archives:
        for path, text in sorted(recorded(archive).items()):
            if path.rpartition("/")[2] in names:
                yield path, text
