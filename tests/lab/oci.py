"""Container images made from the machine's own files, in one OCI archive that containerd imports.

No registry can be reached and no container engine is at hand, so a layer is a tar of programs with the libraries
that ``ldd`` names. Layers are shared: the tools are stored once however many images hold them.
Format: https://github.com/opencontainers/image-spec (image-layout.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_FOLDERS = (
    "bin",
    "dev",
    "etc",
    "lib",
    "lib64",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr/bin",
    "usr/sbin",
    "var/run",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Layer:
    """Files by their path in the image, links by theirs, and texts."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, files: dict[str, str], texts: dict[str, str] | None = None, links: dict[str, str] | None = None
    ) -> Layer:
        """Make a layer of programs and the libraries that they load."""
        with_libraries = {target: str(Path(source).resolve()) for target, source in files.items()}
        for source in tuple(with_libraries.values()):
            with_libraries.update({library[1:]: str(Path(library).resolve()) for library in _libraries(source)})
        return cls(with_libraries, links or {}, texts or {})

    def tar(self) -> bytes:
        """Give the same bytes for the same files, so that layers are recognised by their digest."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            folders = {
                *_FOLDERS,
                *(
                    str(p)
                    for path in (*self.files, *self.links, *self.texts)
                    for p in Path(path).parents
                    if str(p) != "."
                ),
            }
            for folder in sorted(folders):
                archive.addfile(_member(folder, tarfile.DIRTYPE))
            for target, source in sorted(self.files.items()):
                with Path(source).open("rb") as content:
                    archive.addfile(_member(target, size=Path(source).stat().st_size), content)
            for target, destination in sorted(self.links.items()):
                link = _member(target, tarfile.SYMTYPE)
                link.linkname = destination
                archive.addfile(link)
            for target, text in sorted(self.texts.items()):
                archive.addfile(_member(target, size=len(text)), io.BytesIO(text.encode()))
        return buffer.getvalue()


@dataclass(frozen=True)
class Image:
    """A name, the layers from the bottom up, and what runs, as whom, where a pod does not say."""

    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()
    user: str = ""


@cache
def _libraries(program: str) -> tuple[str, ...]:
    return tuple(_named_by_ldd(program))


def _named_by_ldd(program: str) -> Iterable[str]:
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for words in map(str.split, listing.splitlines()):
        if len(words) > 2 and words[1] == "=>" and words[2].startswith("/"):
            yield words[2]
        elif words and words[0].startswith("/"):
            yield words[0]


def _member(path: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.size, member.mode = kind, size, 0o755
    return member


def write(path: Path, images: list[Image]) -> None:
    """Write one archive of all images, each layer and file once."""
    blobs: dict[str, bytes] = {}

    def blob(content: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return f"sha256:{digest}", len(content)

    layers = {id(layer): blob(layer.tar()) for image in images for layer in image.layers}
    manifests = []
    for image in images:
        stack = [layers[id(layer)] for layer in image.layers]
        environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        entrypoint = {"Entrypoint": list(image.entrypoint)} if image.entrypoint else {}
        configuration, size = blob(
            json.dumps(
                {
                    "architecture": _ARCHITECTURES[platform.machine()],
                    "os": "linux",
                    "config": {"Env": environment, "User": image.user, **entrypoint},
                    "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in stack]},
                }
            ).encode()
        )
        prefix = "application/vnd.oci.image"
        manifest, manifest_size = blob(
            json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": f"{prefix}.manifest.v1+json",
                    "config": {"mediaType": f"{prefix}.config.v1+json", "digest": configuration, "size": size},
                    "layers": [
                        {"mediaType": f"{prefix}.layer.v1.tar", "digest": digest, "size": length}
                        for digest, length in stack
                    ],
                }
            ).encode()
        )
        manifests.append(
            {
                "mediaType": f"{prefix}.manifest.v1+json",
                "digest": manifest,
                "size": manifest_size,
                "annotations": {
                    "io.containerd.image.name": image.name,
                    "org.opencontainers.image.ref.name": image.name.rsplit(":", 1)[1],
                },
            }
        )
    with tarfile.open(path, "w") as out:
        texts = {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": json.dumps({"schemaVersion": 2, "manifests": manifests}).encode(),
        }
        for name, content in (*texts.items(), *((f"blobs/sha256/{d}", c) for d, c in blobs.items())):
            out.addfile(_member(name, size=len(content)), io.BytesIO(content))
