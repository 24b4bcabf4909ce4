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
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import binaries
from tests.lab.errors import LabError

BUSYBOX = "docker.io/library/busybox:1.36"
NETSHOOT = "docker.io/nicolaka/netshoot:v0.13"
PAUSE = "registry.k8s.io/pause:3.10"
ETCD = "registry.k8s.io/etcd:3.7.3-0"
COREDNS = f"registry.k8s.io/coredns/coredns:{binaries.COREDNS}"
FLANNEL = f"ghcr.io/flannel-io/flannel:{binaries.FLANNEL}"

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
_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
_TOOLS = (
    "bridge",
    "conntrack",
    "curl",
    "ethtool",
    "ip",
    "ipset",
    "nft",
    "ss",
    "tc",
    "tcpdump",
    "xtables-legacy-multi",
    "xtables-nft-multi",
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# A shell as process 1 ignores TERM unless it traps it, and would then cost every pod its whole grace period.
_WAIT_FOREVER = ["/bin/sh", "-c", "trap exit TERM INT; while :; do sleep 3600 & wait; done"]


@dataclass(frozen=True)
class Layer:
    """Files by their path in the image, links by theirs, and texts."""

    files: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

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
    """A name, the layers from the bottom up, and what runs where a pod does not say."""

    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()


def archive(programs: dict[str, Path], *, control_plane: bool) -> Path:
    """Return the cached archive of all images that a worker, or a control-plane node, needs."""
    images = _images(programs, control_plane=control_plane)
    sources = sorted({s for image in images for layer in image.layers for s in layer.files.values()})
    stamp = repr(images) + "".join(f"{s}{Path(s).stat().st_size}{Path(s).stat().st_mtime_ns}" for s in sources)
    path = binaries.cache() / "images" / f"{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _write(partial, images)
        partial.rename(path)
    return path


def _images(programs: dict[str, Path], *, control_plane: bool) -> list[Image]:
    applets = subprocess.run([_find("busybox"), "--list"], capture_output=True, text=True, check=True).stdout.split()
    base = _layer(
        {"bin/busybox": _find("busybox")},
        _ETC,
        {f"bin/{a}": "/bin/busybox" for a in applets if a not in ("busybox", *_TOOLS)},
    )
    plain_ip = Layer(links={"bin/ip": "/bin/busybox"})
    extensions = [p for folder in Path("/usr/lib").glob("*/xtables") for p in sorted(folder.glob("*.so"))]
    xtables = {
        f"usr/sbin/{family}{variant}{suffix}": f"/usr/sbin/xtables-{variant[1:] or 'nft'}-multi"
        for family in ("iptables", "ip6tables")
        for variant in ("", "-nft", "-legacy")
        for suffix in ("", "-save", "-restore")
    }
    tools = _layer(
        {**{f"usr/sbin/{t}": _find(t) for t in _TOOLS}, **{str(p)[1:]: str(p) for p in extensions}}, links=xtables
    )

    def program(name: str, target: str) -> Layer:
        return _layer({target: str(programs[name])})

    images = [
        Image(PAUSE, (base,), tuple(_WAIT_FOREVER)),
        Image(BUSYBOX, (base, plain_ip)),
        Image(NETSHOOT, (base, tools)),
        Image(kubernetes_image("kube-proxy"), (base, tools, program("kube-proxy", "usr/local/bin/kube-proxy"))),
        Image(FLANNEL, (base, tools, program("flanneld", "opt/bin/flanneld"))),
        Image(COREDNS, (program("coredns", "coredns"),), ("/coredns",)),
    ]
    if control_plane:
        images.append(Image(ETCD, (base, program("etcd", "usr/local/bin/etcd"))))
        images += [
            Image(kubernetes_image(name), (program(name, f"usr/local/bin/{name}"),))
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        ]
    return images


def kubernetes_image(component: str) -> str:
    """Name a Kubernetes component's image as its release does."""
    return f"registry.k8s.io/{component}:{binaries.KUBERNETES}"


def _layer(files: dict[str, str], texts: dict[str, str] | None = None, links: dict[str, str] | None = None) -> Layer:
    with_libraries = {target: str(Path(source).resolve()) for target, source in files.items()}
    for source in tuple(with_libraries.values()):
        with_libraries.update({library[1:]: str(Path(library).resolve()) for library in _libraries(source)})
    return Layer(with_libraries, links or {}, texts or {})


def _libraries(program: str) -> Iterable[str]:
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for words in map(str.split, listing.splitlines()):
        if len(words) > 2 and words[1] == "=>" and words[2].startswith("/"):
            yield words[2]
        elif words and words[0].startswith("/"):
            yield words[0]


def _find(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise LabError(f"the lab's images need {tool}: `make lab-packages` installs what the lab needs on Debian")
    return path


def _member(path: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.size, member.mode = kind, size, 0o755
    return member


def _write(path: Path, images: list[Image]) -> None:
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
                    "config": {"Env": environment, **entrypoint},
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
