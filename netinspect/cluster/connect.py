"""From kubeconfig and flags to a connection, as kubectl does it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger

from netinspect.cluster.transport import Transport
from netinspect.errors import KubeconfigError

_IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_CHOSEN = "chosen-on-the-command-line"


@dataclass(frozen=True)
class Access:
    """How to reach the cluster; empty means what the kubeconfig says.

    ``request_timeout`` is in seconds and bounds each request with all its retries; 0 means no bound.
    """

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    user: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()
    as_uid: str = ""
    server: str = ""
    insecure_skip_tls_verify: bool = False
    request_timeout: float = 30.0


def connect(access: Access) -> Transport:
    """Open a connection; nothing is sent yet.

    Raises ``KubeconfigError`` where the configuration, its context, or its credential plugin is not usable.
    """
    merged = _merged(access)
    settings = client.Configuration()
    entry: dict[str, Any] = {}
    if merged is None:
        _load_in_cluster(settings)
    else:
        context = _context(merged, access)
        entry = _named(merged, "users", context.get("user", "")) or {}
        with _collected_log() as log:
            try:
                if access.cluster or access.user:
                    chosen = [{"name": _CHOSEN, "context": context}]
                    loaded = {**merged, "contexts": chosen, "current-context": _CHOSEN}
                    config.load_kube_config_from_dict(loaded, client_configuration=settings, persist_config=False)
                else:
                    config.load_kube_config(_location(access), access.context or None, client_configuration=settings)
            except (ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise KubeconfigError(f"the kubeconfig cannot be used: {error}") from error
        _check_plugin(entry, settings, log)
    if access.server:
        settings.host = access.server
    if access.insecure_skip_tls_verify:
        settings.verify_ssl = False
    if not settings.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    settings.retries = False
    settings.connection_pool_maxsize = 16
    return Transport(client.ApiClient(settings), _impersonation(access, entry), access.request_timeout)


def contexts(kubeconfig: str = "") -> list[str]:
    """List the contexts of the kubeconfig; empty where there is none."""
    merged = _merged(Access(kubeconfig=kubeconfig))
    return _names(merged, "contexts") if merged else []


def default_namespace(access: Access) -> str:
    """Give the namespace of the context, as kubectl takes it where none is named."""
    merged = _merged(access)
    if merged is None:
        path = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        return path.read_text().strip() if path.exists() else "default"
    return str(_context(merged, access).get("namespace") or "default")


def _merged(access: Access) -> dict[str, Any] | None:
    """Read and merge the kubeconfig files; None where there are none and we run in a pod."""
    location = _location(access)
    if access.kubeconfig and not Path(access.kubeconfig).expanduser().exists():
        raise KubeconfigError(f"there is no file {access.kubeconfig}", hint="check --kubeconfig")
    try:
        merged = KubeConfigMerger(location).config
        value = merged.value if merged is not None else None
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise KubeconfigError(f"{location} is not a kubeconfig: {' '.join(str(error).split())}") from error
    if value is None:
        if _IN_CLUSTER in os.environ:
            return None
        raise KubeconfigError(
            f"there is no kubeconfig at {location}",
            hint="set --kubeconfig or $KUBECONFIG, or look at a recorded cluster with --demo",
        )
    return {**value, **{k: [_absolute(item) for item in value.get(k) or ()] for k in ("clusters", "contexts", "users")}}


def _location(access: Access) -> str:
    """Give the kubeconfig's path, or several; as in kubectl an empty $KUBECONFIG counts as none."""
    return access.kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION or "~/.kube/config"


def _absolute(item: Any) -> Any:
    """Give an entry with its files named from the root: in a kubeconfig they are relative to the file they stand in."""
    entry = getattr(item, "value", item)
    folder = Path(getattr(item, "path", None) or ".").expanduser().parent.absolute()

    def resolved(fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {k: str(folder / v) if k in _FILES and isinstance(v, str) and v else v for k, v in fields.items()}

    return {k: resolved(v) for k, v in entry.items()} if isinstance(entry, dict) else entry


def _context(merged: dict[str, Any], access: Access) -> dict[str, Any]:
    names = _names(merged, "contexts")
    wanted = access.context or merged.get("current-context") or ""
    context = _named(merged, "contexts", wanted)
    if context is None:
        if access.cluster and access.user:
            context = {}
        elif not wanted:
            raise KubeconfigError(
                "the kubeconfig has no current context",
                hint=f"choose one with --context: {', '.join(names) or 'there are none'}",
            )
        else:
            raise KubeconfigError(
                f"there is no context {wanted!r} in the kubeconfig",
                hint=f"the contexts are: {', '.join(names) or 'none'}",
            )
    chosen = {
        **context,
        **({"cluster": access.cluster} if access.cluster else {}),
        **({"user": access.user} if access.user else {}),
    }
    for kind, key in (("clusters", "cluster"), ("users", "user")):
        if chosen.get(key) and _named(merged, kind, chosen[key]) is None:
            raise KubeconfigError(
                f"the kubeconfig has no {key} {chosen[key]!r}",
                hint=f"its {kind} are: {', '.join(_names(merged, kind))}",
            )
    return chosen


def _names(merged: dict[str, Any], kind: str) -> list[str]:
    return [str(item["name"]) for item in merged[kind] if isinstance(item, dict) and "name" in item]


def _named(merged: dict[str, Any], kind: str, name: str) -> dict[str, Any] | None:
    for item in merged[kind]:
        if isinstance(item, dict) and item.get("name") == name:
            value = item.get(kind.removesuffix("s"))
            return value if isinstance(value, dict) else {}
    return None


def _load_in_cluster(settings: client.Configuration) -> None:
    try:
        config.load_incluster_config(client_configuration=settings)
    except (ConfigException, OSError) as error:
        raise KubeconfigError(
            f"no kubeconfig, and the pod's service account cannot be used: {error}",
            hint="mount the service account's token (automountServiceAccountToken)",
        ) from error


def _check_plugin(user: dict[str, Any], settings: client.Configuration, log: list[str]) -> None:
    """Say that a credential plugin failed: the client only logs it, and would go on as nobody."""
    plugin = user.get("exec")
    if isinstance(plugin, dict) and not settings.api_key and not settings.cert_file:
        said = " ".join(log[-1].split()) if log else "it gave no credentials"
        raise KubeconfigError(
            f"the credential plugin {plugin.get('command')!r} failed: {said}",
            hint=str(plugin.get("installHint") or "run it by hand and see what it says"),
        )


def _impersonation(access: Access, user: dict[str, Any]) -> dict[str, list[str]]:
    """Give the headers that ask to be treated as someone else (kubectl's --as, or ``as`` in the kubeconfig)."""
    name = access.as_user or user.get("as") or ""
    uid = access.as_uid or user.get("as-uid") or ""
    headers: dict[str, list[Any]] = {
        "Impersonate-User": [name] if name else [],
        "Impersonate-Group": list(access.as_groups) or user.get("as-groups") or [],
        "Impersonate-Uid": [uid] if uid else [],
    }
    if not access.as_user:
        extra = user.get("as-user-extra") or {}
        headers |= {f"Impersonate-Extra-{quote(str(key))}": values for key, values in extra.items()}
    if not name and any(headers.values()):
        raise KubeconfigError("--as-group and --as-uid need --as")
    for value in (v for values in headers.values() for v in values):
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise KubeconfigError(
                f"nobody can be impersonated by the name {value!r}", hint="HTTP headers carry printable ASCII only"
            )
    return {key: values for key, values in headers.items() if values}


@contextmanager
def _collected_log() -> Iterator[list[str]]:
    """Keep what the client logs, instead of letting it onto the user's terminal."""
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, root = Collector(), logging.getLogger()
    root.addHandler(handler)
    try:
        yield said
    finally:
        root.removeHandler(handler)
