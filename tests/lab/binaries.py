"""The programs of a cluster, built from their Go modules and cached outside the checkout.

Each folder below ``modules/`` is a Go module of its own, since the dependencies of the programs contradict each
other. What is built is decided by its ``go.mod`` and ``go.sum`` alone, so a cached binary is found by their hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.settings import Cni, Mesh

MODULES = Path(__file__).parent / "modules"
KUBERNETES = "v1.36.3"
COREDNS = "v1.15.0"
FLANNEL = "v0.28.10"
CALICO = "v3.28.5"
ISTIO = "1.31.0"


@dataclass(frozen=True)
class Module:
    """One folder of ``modules/``: program name → Go package, linker variables, and whether cgo is needed.

    ``files`` are kept beside the programs: name → path in the tree of the Go module ``source``. ``tags`` are build
    constraints. Where ``cni`` or ``mesh`` is set, labs with another do without the module.
    """

    folder: str
    programs: dict[str, str]
    variables: dict[str, str]
    cgo: bool = False
    tags: str = ""
    cni: Cni | None = None
    mesh: Mesh | None = None
    source: str = ""
    files: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identify a build: sources, linker variables and cgo, but not the machine it runs on."""
        digest = hashlib.sha256(repr((sorted(self.programs.items()), self.variables, self.cgo)).encode())
        digest.update(f"{''.join(map(repr, sorted(self.files.items())))}{self.tags}".encode())
        for name in ("go.mod", "go.sum"):
            digest.update((MODULES / self.folder / name).read_bytes())
        return digest.hexdigest()[:16]

    @property
    def cached(self) -> Path:
        """The folder that holds the built programs and the files beside them."""
        return cache() / "bin" / f"{self.folder}-{self.key}"


_CALICO = "github.com/projectcalico/calico"
_ISTIO = "istio.io/istio"


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
        cni=Cni.FLANNEL,
    ),
    Module(
        "calico",
        {
            # Also calico-ipam, by which name it is called.
            "calico": f"{_CALICO}/cni-plugin/cmd/calico",
            "calico-install": f"{_CALICO}/cni-plugin/cmd/install",
            "calico-node": f"{_CALICO}/node/cmd/calico-node",
            "calicoctl": f"{_CALICO}/calicoctl/calicoctl",
            "check-status": f"{_CALICO}/kube-controllers/cmd/check-status",
            "kube-controllers": f"{_CALICO}/kube-controllers/cmd/kube-controllers",
        },
        {
            "main.VERSION": CALICO,
            f"{_CALICO}/calicoctl/calicoctl/commands.VERSION": CALICO,
            # calicoctl refuses a cluster of another version than its own.
            f"{_CALICO}/calicoctl/calicoctl/commands/common.VERSION": CALICO,
            f"{_CALICO}/node/buildinfo.GitVersion": CALICO,
            f"{_CALICO}/node/pkg/lifecycle/startup.VERSION": CALICO,
        },
        cni=Cni.CALICO,
        source=_CALICO,
        files={"crds.yaml": "manifests/crds.yaml", "filesystem": "node/filesystem"},
    ),
    Module(
        "istio",
        {name: f"{_ISTIO}/pilot/cmd/{name}" for name in ("pilot-agent", "pilot-discovery")},
        {f"{_ISTIO}/pkg/version.{name}": ISTIO for name in ("buildVersion", "buildGitRevision")},
        tags="vtprotobuf,disable_pgv",
        mesh=Mesh.ISTIO,
        source=_ISTIO,
        files={"bootstrap.json": "tools/packaging/common/envoy_bootstrap.json", "charts": "manifests/charts"},
    ),
    Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, {}, mesh=Mesh.ISTIO),
)


def cache() -> Path:
    """Give the only folder that a lab leaves behind: ``$NETINSPECT_LAB_CACHE``, else one below the user's cache."""
    chosen = os.environ.get("NETINSPECT_LAB_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netinspect-lab"


def build(say: Callable[[str], None], cni: Cni | None = None, mesh: Mesh | None = None) -> dict[str, Path]:
    """Return the path of every program that each lab needs, and of those for this CNI and mesh; build what is missing.

    Raises ``LabError`` where Go is missing or a build fails, with the compiler's last words.
    """
    programs: dict[str, Path] = {}
    for module in MODULE_TABLE:
        if module.cni not in (None, cni) or module.mesh not in (None, mesh):
            continue
        # Who finds all there need not wait for another lab that builds what only that one needs.
        if _missing(module):
            with alone():
                _complete(module, say)
        programs.update({name: module.cached / name for name in module.programs})
    return programs


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time write into the cache: several labs may start at once."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _missing(module: Module) -> list[str]:
    return [name for name in (*module.programs, *module.files) if not (module.cached / name).exists()]


def _complete(module: Module, say: Callable[[str], None]) -> None:
    missing = _missing(module)
    if missing:
        say(f"building {', '.join(missing)} (once; kept in {module.cached})")
        module.cached.mkdir(parents=True, exist_ok=True)
        for name in missing:
            (_build if name in module.programs else _keep)(module, name)


def module(folder: str) -> Module:
    """Find a module by its folder."""
    return next(m for m in MODULE_TABLE if m.folder == folder)


def _build(module: Module, name: str) -> None:
    partial = module.cached / f".{name}.partial"
    variables = " ".join(f"-X {key}={value}" for key, value in module.variables.items())
    _go(
        module,
        "build",
        "-trimpath",
        "-tags",
        module.tags,
        "-ldflags",
        f"-s -w {variables}",
        "-o",
        str(partial),
        module.programs[name],
    )
    partial.rename(module.cached / name)


def _keep(module: Module, name: str) -> None:
    tree = Path(json.loads(_go(module, "mod", "download", "-json", module.source))["Dir"])
    origin, partial = tree / module.files[name], module.cached / f".{name}.partial"
    # Go keeps its folders read-only.
    if origin.is_dir():
        shutil.copytree(origin, partial, copy_function=shutil.copyfile, dirs_exist_ok=True)
    else:
        shutil.copyfile(origin, partial)
    partial.rename(module.cached / name)


def _go(module: Module, *arguments: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise LabError("the lab's programs are built with Go, which is not installed: install Go 1.26 or newer")
    run = subprocess.run(
        [go, *arguments],
        cwd=MODULES / module.folder,
        env={**os.environ, "CGO_ENABLED": "1" if module.cgo else "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise LabError(f"`go {arguments[0]} … {arguments[-1]}` failed:\n{run.stderr[-2000:]}")
    return run.stdout
