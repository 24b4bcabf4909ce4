"""The configurations that a container runtime reads, with those that Multus calls out of them.

Sources: containerd/go-cni opts.go, cri-o/ocicni; k8snetworkplumbingwg/multus-cni docs/configuration.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from netinspect.cni.sight import Conflist
from netinspect.kernel.namespace import Namespace


def conflists(host: Namespace) -> tuple[Conflist, ...] | None:
    """Give the CNI configurations in the order in which a runtime looks at them (containerd's go-cni, CRI-O)."""
    sections = host.evidence.sections
    texts = {n.removeprefix("cni:"): s.text for n, s in sections.items() if n.startswith("cni:") and s.answered}
    if not texts and "hostname" not in sections:
        return None
    # k3s' own containerd looks into its own folder alone.
    own = {path: text for path, text in texts.items() if path.startswith("/var/lib/rancher/")}
    read = {path: content for path, text in sorted((own or texts).items()) if (content := _object(text)) is not None}
    files = {path.rpartition("/")[2]: _plugins(content) for path, content in read.items()}
    found: list[Conflist] = []
    for path, content in read.items():
        known = tuple(q for p in _plugins(content) for q in (p, *_delegates(p, files)))
        if known:
            found.append(Conflist(path, str(content.get("name", "")), known, len(found)))
    return tuple(found)


def _object(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _plugins(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the plug-ins of a list of them, or of a configuration of one."""
    plugins = content.get("plugins")
    every = plugins if isinstance(plugins, list) else [content]
    return [p for p in every if isinstance(p, dict) and isinstance(p.get("type"), str)]


def _delegates(plugin: Mapping[str, Any], files: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Give those that Multus calls for a pod's first interface (multus-cni docs/configuration.md)."""
    delegates = plugin.get("delegates")
    for one in delegates if isinstance(delegates, list) else ():
        yield from _plugins(one) if isinstance(one, dict) else ()
    named = str(plugin.get("clusterNetwork") or "").rpartition("/")[2]
    for file, plugins in files.items():
        if named and named in (file, file.rpartition(".")[0]):
            yield from (p for p in plugins if p != plugin)
