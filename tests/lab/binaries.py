"""The programs of a cluster, built from their Go modules and cached outside the checkout.

Each folder below ``modules/`` is a Go module of its own, since the dependencies of the programs contradict each
other. What is built is decided by its ``go.mod`` and ``go.sum`` alone, so a cached binary is found by their hash.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError

MODULES = Path(__file__).parent / "modules"
KUBERNETES = "v1.36.3"
COREDNS = "v1.15.0"
FLANNEL = "v0.28.10"


@dataclass(frozen=True)
class Module:
    """One folder of ``modules/``: program name → Go package, linker variables, and whether cgo is needed."""

    folder: str
    programs: dict[str, str]
    variables: dict[str, str]
    cgo: bool = False

    @property
    def key(self) -> str:
        """Identify a build: sources, linker variables and cgo, but not the machine it runs on."""
        digest = hashlib.sha256(repr((sorted(self.programs.items()), self.variables, self.cgo)).encode())
        for name in ("go.mod", "go.sum"):
            digest.update((MODULES / self.folder / name).read_bytes())
        return digest.hexdigest()[:16]

    @property
    def cached(self) -> Path:
        """The folder that holds the built programs."""
        return cache() / "bin" / f"{self.folder}-{self.key}"


def _kubernetes(*names: str) -> dict[str, str]:
    return {name: f"k8s.io/kubernetes/cmd/{name}" for name in names}


MODULE_TABLE = (
    Module(
        "kubernetes",
        _kubernetes("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"),
        # Without these the version is v0.0.0, and clients and kubelets disagree about what they speak.
        {
            "k8s.io/component-base/version.gitVersion": KUBERNETES,
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "36",
            "k8s.io/client-go/pkg/version.gitVersion": KUBERNETES,
        },
    ),
    Module(
        "containerd",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
        {},
    ),
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, {}),
    Module("coredns", {"coredns": "github.com/coredns/coredns"}, {}),
    Module(
        "flannel",
        {"flanneld": "github.com/flannel-io/flannel"},
        {"github.com/flannel-io/flannel/pkg/version.Version": FLANNEL},
        cgo=True,
    ),
)


def cache() -> Path:
    """Give the only folder that a lab leaves behind: ``$NETINSPECT_LAB_CACHE``, else one below the user's cache."""
    chosen = os.environ.get("NETINSPECT_LAB_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netinspect-lab"


def build(say: Callable[[str], None]) -> dict[str, Path]:
    """Return the path of every program, building what the cache does not hold.

    Raises ``LabError`` where Go is missing or a build fails, with the compiler's last words.
    """
    programs: dict[str, Path] = {}
    for module in MODULE_TABLE:
        missing = [name for name in module.programs if not (module.cached / name).exists()]
        if missing:
            say(f"building {', '.join(missing)} (once; kept in {module.cached})")
            for name in missing:
                _build(module, name)
        programs.update({name: module.cached / name for name in module.programs})
    return programs


def _build(module: Module, name: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise LabError("the lab's programs are built with Go, which is not installed: install Go 1.26 or newer")
    module.cached.mkdir(parents=True, exist_ok=True)
    partial = module.cached / f".{name}.partial"
    variables = " ".join(f"-X {key}={value}" for key, value in module.variables.items())
    run = subprocess.run(
        [go, "build", "-trimpath", "-ldflags", f"-s -w {variables}", "-o", str(partial), module.programs[name]],
        cwd=MODULES / module.folder,
        env={**os.environ, "CGO_ENABLED": "1" if module.cgo else "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise LabError(f"building {name} failed:\n{run.stderr[-2000:]}")
    partial.rename(module.cached / name)
