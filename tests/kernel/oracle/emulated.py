"""A whole kernel of Debian's, emulated: for the devices that neither this kernel nor a user-mode one has.

It runs a command on this machine's own file system, read-only: ``python -m tests.kernel.oracle.emulated COMMAND...``.
"""

from __future__ import annotations

import gzip
import platform
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab.binaries import cache

_HERE = Path(__file__).parent
_PATIENCE = 1200
_META_PACKAGE = {"x86_64": "linux-image-amd64"}
# What mounts the machine's file system, in an order in which each finds the symbols that it needs.
_FIRST = (
    "virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci", "9p/9pnet", "9p/9pnet_virtio", "netfs/netfs", "fscache/fscache", "9p/9p",
)  # fmt: skip
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in $($b cat /order); do $b insmod /modules/$module; done
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose root /machine
$b mount -t devtmpfs dev /machine/dev
exec $b switch_root /machine $($b cat /second)
"""


class Absent(RuntimeError):
    """There is no such kernel for this machine."""


def run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder inside; raises ``Absent``, or ``RuntimeError`` where it did not end."""
    kernel = _kernel()
    with tempfile.TemporaryDirectory() as made:
        here = Path(made)
        (here / "command").write_text(f"cd {shlex.quote(str(folder))}\nexec {shlex.join(command)}\n")
        (here / "modules").write_text(str(next((kernel / "lib/modules").iterdir())))
        initrd = here / "initrd"
        initrd.write_bytes(gzip.compress(_archive(kernel), 1))
        log = here / "kernel.log"
        qemu: list[str | Path] = [
            f"qemu-system-{platform.machine()}", "-accel", "tcg", "-m", "1G", "-display", "none", "-monitor", "none",
            "-nic", "none", "-no-reboot", "-serial", f"file:{log}", "-kernel", next((kernel / "boot").glob("vmlinuz*")),
            "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1",
            *_shared("root", "/", "on"), *_shared("run", made, "off"),
        ]  # fmt: skip
        try:
            subprocess.run(qemu, check=False, timeout=_PATIENCE, stdin=subprocess.DEVNULL, capture_output=True)
            status = int((here / "status").read_text())
        except (subprocess.TimeoutExpired, OSError, ValueError) as error:
            raise RuntimeError(f"it did not end inside: {error}\n{log.read_text(errors='replace')[-4000:]}") from error
        said, complained = ((here / name).read_text(errors="replace") for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(list(command), status, said, complained)


def _shared(tag: str, path: str, read_only: str) -> list[str]:
    options = f"local,id={tag},path={path},security_model=none,readonly={read_only},multidevs=remap"
    return ["-fsdev", options, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def _kernel() -> Path:
    """Give the folder into which Debian's newest kernel is unpacked; it is not installed."""
    meta = _META_PACKAGE.get(platform.machine())
    if meta is None:
        raise Absent(f"no kernel is known for {platform.machine()}")
    depends = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, check=False).stdout
    package = next((line.split()[1] for line in depends.splitlines() if "Depends: linux-image-" in line), None)
    if package is None:
        raise Absent(f"apt knows no {meta}")
    there = cache() / "bin" / package
    if not there.exists():
        there.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=there.parent) as made:
            got = subprocess.run(["apt-get", "download", package], cwd=made, capture_output=True, check=False)
            if got.returncode:
                raise Absent(f"apt-get download {package}: {got.stderr.decode(errors='replace')}")
            unpacked = Path(made) / "unpacked"
            subprocess.run(["dpkg", "-x", next(Path(made).glob("*.deb")), unpacked], check=True)
            version = next((unpacked / "lib/modules").iterdir()).name
            subprocess.run(["depmod", "-b", unpacked, version], check=True)
            unpacked.rename(there)
    return there


def _archive(kernel: Path) -> bytes:
    """Give the archive that the kernel unpacks and starts first (Documentation/driver-api/early-userspace)."""
    modules = [_module(kernel, name) for name in _FIRST]
    files = [
        ("init", _INIT.encode()), ("order", "\n".join(m.name for m in modules).encode()),
        ("second", str(_HERE / "emulated.sh").encode()),
        *((f"modules/{m.name}", m.read_bytes()) for m in modules),
        *((str(p).lstrip("/"), p.read_bytes()) for p in _with_libraries(Path("/usr/bin/busybox"))),
        ("bin/busybox", Path("/usr/bin/busybox").read_bytes()),
    ]  # fmt: skip
    folders = {str(parent) for name, _ in files for parent in Path(name).parents if str(parent) != "."}
    entries = [_entry(name, stat.S_IFDIR | 0o755, b"") for name in sorted({*folders, "machine", "dev"})]
    entries += [_entry(name, stat.S_IFREG | 0o755, data) for name, data in files]
    return b"".join([*entries, _entry("TRAILER!!!", 0, b"")])


def _module(kernel: Path, name: str) -> Path:
    return next((kernel / "lib/modules").rglob(f"{name}.ko"))


def _with_libraries(program: Path) -> Iterator[Path]:
    needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    yield from (Path(word) for word in needed.split() if word.startswith("/"))


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """Give an entry of a cpio archive (newc)."""
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % n for n in numbers) + name.encode() + b"\0"
    return _filled(head) + _filled(data)


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


if __name__ == "__main__":
    done = run(sys.argv[1:], Path.cwd())
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    sys.exit(done.returncode)
