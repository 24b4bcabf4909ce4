"""The static pods of the control plane, with the names, labels and host paths that kubeadm gives them."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.lab import images
from tests.lab.pki import kubeconfig
from tests.lab.settings import API_PORT, Settings

COMPONENTS = 4
_PKI = "/etc/kubernetes/pki"
_ETCD = "http://127.0.0.1:2379"


def write(settings: Settings, folder: Path) -> None:
    """Write the manifests and kubeconfigs into what the node sees as /etc/kubernetes."""
    pki = settings.folder / "pki"
    for user in ("controller-manager", "scheduler"):
        (folder / f"{user}.conf").write_text(kubeconfig(pki, user, settings=settings))
    for name, image, command in (
        ("etcd", images.ETCD, _etcd()),
        ("kube-apiserver", images.kubernetes_image("kube-apiserver"), _apiserver(settings)),
        ("kube-controller-manager", images.kubernetes_image("kube-controller-manager"), _controller_manager(settings)),
        ("kube-scheduler", images.kubernetes_image("kube-scheduler"), _scheduler()),
    ):
        (folder / "manifests" / f"{name}.yaml").write_text(yaml.safe_dump(_pod(name, image, command)))


def _pod(name: str, image: str, command: list[str]) -> dict[str, object]:
    paths = {"kubernetes": "/etc/kubernetes", "etcd": "/var/lib/etcd"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"component": name, "tier": "control-plane"}},
        "spec": {
            "hostNetwork": True,
            "priorityClassName": "system-node-critical",
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "volumeMounts": [{"name": n, "mountPath": p} for n, p in paths.items()],
                }
            ],
            "volumes": [{"name": n, "hostPath": {"path": p, "type": "DirectoryOrCreate"}} for n, p in paths.items()],
        },
    }


def _etcd() -> list[str]:
    peer = "http://127.0.0.1:2380"
    # A lab that dies with its machine has no use for a store that survives it.
    return [
        "etcd",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls={_ETCD}",
        f"--advertise-client-urls={_ETCD}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def _apiserver(settings: Settings) -> list[str]:
    return [
        "kube-apiserver",
        f"--advertise-address={settings.api_address}",
        f"--secure-port={API_PORT}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={_PKI}/ca.crt",
        f"--tls-cert-file={_PKI}/apiserver.crt",
        f"--tls-private-key-file={_PKI}/apiserver.key",
        f"--etcd-servers={_ETCD}",
        f"--service-cluster-ip-range={settings.service_cidrs}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={_PKI}/sa.pub",
        f"--service-account-signing-key-file={_PKI}/sa.key",
        f"--kubelet-client-certificate={_PKI}/kubelet-client.crt",
        f"--kubelet-client-key={_PKI}/kubelet-client.key",
        f"--kubelet-certificate-authority={_PKI}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={_PKI}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={_PKI}/front-proxy.crt",
        f"--proxy-client-key-file={_PKI}/front-proxy.key",
    ]


def _controller_manager(settings: Settings) -> list[str]:
    masks = {"ipv6" if ":" in r.pods else "ipv4": r.node_mask for r in settings.ranges}
    sizes = [f"--node-cidr-mask-size-{family}={mask}" for family, mask in masks.items()]
    return [
        "kube-controller-manager",
        "--kubeconfig=/etc/kubernetes/controller-manager.conf",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={settings.pod_cidrs}",
        *(sizes if len(masks) > 1 else [f"--node-cidr-mask-size={settings.ranges[0].node_mask}"]),
        f"--service-cluster-ip-range={settings.service_cidrs}",
        f"--root-ca-file={_PKI}/ca.crt",
        f"--service-account-private-key-file={_PKI}/sa.key",
        f"--cluster-signing-cert-file={_PKI}/ca.crt",
        f"--cluster-signing-key-file={_PKI}/ca.key",
    ]


def _scheduler() -> list[str]:
    return [
        "kube-scheduler",
        "--kubeconfig=/etc/kubernetes/scheduler.conf",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]
