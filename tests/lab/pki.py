"""The certificates and kubeconfigs of a cluster, as kubeadm lays them out."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.settings import API_PORT, Settings

_VALID = datetime.timedelta(days=3650)


def issue(settings: Settings, folder: Path) -> None:
    """Write a new authority and everything it signs for this lab into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority.new(folder)
    first_services = [str(ipaddress.ip_network(r.services)[1]) for r in settings.ranges]
    kubernetes = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    authority.sign(
        "apiserver",
        "kube-apiserver",
        [*kubernetes, *settings.node_addresses(settings.control_plane), *first_services, "127.0.0.1"],
    )
    authority.sign("admin", "kubernetes-admin", organisation="system:masters")
    authority.sign("kubelet-client", "kube-apiserver-kubelet-client", organisation="system:masters")
    authority.sign("front-proxy", "front-proxy-client")
    authority.sign("controller-manager", "system:kube-controller-manager")
    authority.sign("scheduler", "system:kube-scheduler")
    for node in settings.node_names:
        authority.sign(node, f"system:node:{node}", [node, *settings.node_addresses(node)], "system:nodes")
    service_accounts = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "sa.key", service_accounts)
    (folder / "sa.pub").write_bytes(
        service_accounts.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def kubeconfig(pki: Path, user: str, server: str | None = None, *, settings: Settings) -> str:
    """Give a kubeconfig that carries its certificates, so that it can be copied anywhere."""

    def inline(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": settings.name,
                    "cluster": {
                        "server": server or f"https://{settings.api_address}:{API_PORT}",
                        "certificate-authority-data": inline("ca.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": inline(f"{user}.crt"),
                        "client-key-data": inline(f"{user}.key"),
                    },
                }
            ],
            "contexts": [{"name": settings.name, "context": {"cluster": settings.name, "user": user}}],
            "current-context": settings.name,
        },
        indent=1,
    )


@dataclass(frozen=True)
class Authority:
    """A certificate authority that writes what it signs into a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, folder: Path) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("kubernetes-ca")
        certificate = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(folder / "ca.key", key)
        return cls(folder, key, certificate)

    def sign(self, file: str, common_name: str, names: list[str] | None = None, organisation: str = "") -> None:
        """Write ``file.crt`` and ``file.key`` for a client that may also serve under the given names."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = _builder(_name(common_name, organisation), self.certificate.subject, key).add_extension(
            x509.ExtendedKeyUsage(usage), critical=False
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(self.folder / f"{file}.key", key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _VALID)
    )


def _name(common_name: str, organisation: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
