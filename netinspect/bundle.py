"""Recordings: a Snapshot in one zip file, as raw as it was read.

``manifest.json`` names, for each kind, the pages that make up its list; ``api/KIND/NNNN.json`` are the API server's
answers and ``nodes/NNNN.txt`` what the collector printed, both unchanged, so that a later version of this program sees
more in an old file. A recording may come from anyone:
nothing in it is trusted.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from netinspect import __version__
from netinspect.errors import BundleError, ClusterError, ParseError, UsageError
from netinspect.kernel.stream import assemble
from netinspect.model.decode import decode_page
from netinspect.model.evidence import Access, NodeEvidence, PodReference, Reading
from netinspect.model.resources import BY_NAME, Resource
from netinspect.model.snapshot import Gap, GapReason, Snapshot
from netinspect.model.topology import API_VERSION

_MANIFEST = "manifest.json"
_PAGE_NAME = re.compile(r"api/[a-z_]{1,64}/[0-9]{4,8}\.json", re.ASCII)
_STREAM_NAME = re.compile(r"nodes/[0-9]{4,8}\.txt", re.ASCII)
_MEBIBYTE = 1 << 20
_LARGEST_PAGE = 64 * _MEBIBYTE
_LARGEST_STREAM = 256 * _MEBIBYTE
_LARGEST_MANIFEST = 16 * _MEBIBYTE
_MOST_PAGES = 100_000
# What the API server says shrinks to a twentieth; a file that claims far more is a bomb.
_SMALL = 64 * _MEBIBYTE
_MOST_EXPANSION = 200
_EPOCH = (1980, 1, 1, 0, 0, 0)


class StoredReading(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a stream of the collector is, and what it is of."""

    file: str
    node: str
    access: Access
    through: str
    pod: PodReference | None = None
    broken: str = ""


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a recording holds."""

    api_version: str
    kind: str
    netinspect_version: str = ""
    taken_at: str = ""
    server_version: str = ""
    redacted: bool = False
    gaps: tuple[Gap, ...] = ()
    pages: dict[str, tuple[str, ...]] = {}
    streams: tuple[StoredReading, ...] = ()


class Writer:
    """A recording in the making. Leaves nothing behind unless ``finish`` was reached.

    ``transform`` is given every page before it is stored; redaction is one.
    """

    def __init__(
        self, path: Path, transform: Callable[[Resource, bytes], bytes] | None = None, *, replace: bool = False
    ) -> None:
        if path.is_dir() or not path.name:
            raise UsageError(f"{path} is a folder", hint="name the zip file to write")
        if path.exists() and not replace:
            raise UsageError(f"{path} exists", hint="--force replaces it")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}")
        self._path = path
        self._transform = transform
        self._lock = threading.Lock()
        self._count = 0

    def __enter__(self) -> Writer:
        with _writing(self._path):
            # Readable by its owner alone: what pods are configured with may be confidential.
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            self._partial = Path(name)
            self._file = os.fdopen(handle, "w+b")
            self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        return self

    def __exit__(self, *_: object) -> None:
        # Threads that still read must not write into a file that is being closed.
        with self._lock:
            try:
                with suppress(ValueError, OSError):
                    self._zip.close()
                with suppress(OSError):
                    self._file.close()
            finally:
                self._partial.unlink(missing_ok=True)

    def keep(self, resource: str, page: bytes) -> str:
        """Store one page and give its name; called from several threads."""
        if self._transform is not None:
            page = self._transform(BY_NAME[resource], page)
        with self._lock:
            self._count += 1
            name = f"api/{resource}/{self._count:04}.json"
            self._store(name, page)
        return name

    def finish(self, snapshot: Snapshot, pages: dict[str, tuple[str, ...]], readings: tuple[Reading, ...] = ()) -> None:
        """Write the manifest and put the file in its place."""
        streams = []
        for number, reading in enumerate(readings, 1):
            file = f"nodes/{number:04}.txt"
            with self._lock:
                self._store(file, reading.raw)
            streams.append(
                StoredReading(
                    file=file,
                    node=reading.node,
                    access=reading.access,
                    through=reading.through,
                    pod=reading.pod,
                    broken=reading.broken,
                )
            )
        manifest = Manifest(
            api_version=API_VERSION,
            kind="Recording",
            netinspect_version=__version__,
            taken_at=snapshot.taken_at,
            server_version=snapshot.server_version,
            redacted=self._transform is not None,
            gaps=snapshot.gaps,
            pages={resource: names for resource, names in pages.items() if names or not BY_NAME[resource].optional},
            streams=tuple(streams),
        )
        self._store(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        with _writing(self._path):
            self._zip.close()
            self._file.close()
            self._partial.replace(self._path)

    def _store(self, name: str, content: bytes) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        with _writing(self._path):
            self._zip.writestr(entry, content, compresslevel=9)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what keeps a file from being written: a full disk, a folder that is not ours."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def load(path: Path, resources: tuple[Resource, ...]) -> Snapshot:
    """Read the kinds out of a recording; kinds that it does not hold are gaps.

    Raises ``UsageError`` where there is no such file, ``BundleError`` where it is not one of ours, damaged or hostile.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size, str(path), resources)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="`netinspect snapshot FILE` makes one") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _read(file: BinaryIO, size: int, name: str, resources: tuple[Resource, ...]) -> Snapshot:
    budget = max(_SMALL, size * _MOST_EXPANSION)
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = _manifest(archive, name)
            pages = [page for names in manifest.pages.values() for page in names]
            entries = [*pages, *(s.file for s in manifest.streams)]
            budget -= sum(archive.getinfo(entry).file_size for entry in entries)
            if budget < 0:
                raise BundleError(f"{name} unpacks to far more than a recording would: it is not read")
            found: dict[str, Any] = {}
            versions: dict[str, str] = {}
            gaps = list(manifest.gaps)
            for resource in resources:
                if resource.name in manifest.pages or any(g.resource == resource.name for g in gaps):
                    listed = manifest.pages.get(resource.name, ())
                    found[resource.name], version = _objects(archive, listed, resource, name)
                    versions |= {resource.name: version} if version else {}
                elif not resource.optional:
                    gaps.append(
                        Gap(
                            resource=resource.name,
                            reason=GapReason.NOT_SERVED,
                            message="the recording does not hold this kind",
                            hint="record the cluster again",
                        )
                    )
            kernels = _kernels(archive, manifest, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(
            f"{name} is not a recording, or is damaged: {error}",
            hint="record the cluster again with `netinspect snapshot FILE`",
        ) from error
    return Snapshot(
        taken_at=manifest.taken_at,
        server_version=manifest.server_version,
        gaps=tuple(gaps),
        versions=versions,
        redacted=manifest.redacted,
        kernels=kernels,
        **found,
    )


def _manifest(archive: zipfile.ZipFile, name: str) -> Manifest:
    if _MANIFEST not in archive.namelist():
        raise BundleError(f"{name} is a zip file, but not a recording: it has no {_MANIFEST}")
    try:
        manifest = msgspec.json.decode(_content(archive, _MANIFEST, _LARGEST_MANIFEST, name), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"the manifest of {name} cannot be read: {error}") from error
    if (manifest.api_version, manifest.kind) != (API_VERSION, "Recording"):
        raise BundleError(
            f"{name} is a {manifest.kind} of {manifest.api_version}, not a Recording of {API_VERSION}",
            hint="read it with the version of netinspect that wrote it, or a newer one",
        )
    pages = [page for names in manifest.pages.values() for page in names]
    if len(pages) + len(manifest.streams) > _MOST_PAGES:
        raise BundleError(f"{name} claims to hold {len(pages) + len(manifest.streams)} files: it is not read")
    for stream in manifest.streams:
        if not _STREAM_NAME.fullmatch(stream.file):
            raise BundleError(f"{name} names a file {stream.file[:80]!r}, as no recording does: it is not read")
    for page in pages:
        if not _PAGE_NAME.fullmatch(page):
            raise BundleError(f"{name} names a page {page[:80]!r}, as no recording does: it is not read")
    return manifest


def _kernels(archive: zipfile.ZipFile, manifest: Manifest, name: str) -> tuple[NodeEvidence, ...]:
    """Parse what was read in the nodes."""
    readings = (
        Reading(s.node, s.access, s.through, _content(archive, s.file, _LARGEST_STREAM, name), s.pod, s.broken)
        for s in manifest.streams
    )
    try:
        return assemble(readings)
    except ParseError as error:
        raise BundleError(f"what {name} holds of a node cannot be read: {error}") from error


def _objects(
    archive: zipfile.ZipFile, pages: tuple[str, ...], resource: Resource, name: str
) -> tuple[tuple[Any, ...], str]:
    """Give the objects of all pages, and the resource version of the list."""
    objects: list[Any] = []
    version = ""
    for page_name in pages:
        try:
            page = decode_page(resource, _content(archive, page_name, _LARGEST_PAGE, name))
        except ClusterError as error:
            raise BundleError(f"{page_name} of {name} cannot be read: {error}") from error
        objects += page.items or ()
        version = version or page.metadata.resource_version
    return tuple(objects), version


def _content(archive: zipfile.ZipFile, entry: str, most: int, name: str) -> bytes:
    """Read one entry, and never more than it may have: what the directory says of its size may be a lie."""
    if archive.getinfo(entry).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleError(f"{entry} of {name} is packed as no recording is: it is not read")
    with archive.open(entry) as content:
        data = content.read(most + 1)
    if len(data) > most:
        raise BundleError(f"{entry} of {name} is larger than {most // _MEBIBYTE} MiB: it is not read")
    return data
