"""The configurations that a container runtime reads, with those that Multus calls out of them.

Sources: containerd/go-cni opts.go, cri-o/ocicni; k8snetworkplumbingwg/multus-cni docs/configuration.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from netinspect.cni.multus import SIGNATURE
from netinspect.cni.sight import Conflist
from netinspect.kernel.namespace import Namespace

_Object = dict[str, Any]


def conflists(host: Namespace) -> tuple[Conflist, ...] | None:
    """Give the CNI configurations in the order in which a runtime looks at them (containerd's go-cni, CRI-O)."""
    sections = host.evidence.sections
    texts = {n.removeprefix("cni:"): s.text for n, s in sections.items() if n.startswith("cni:") and s.answered}
    if not texts and "hostname" not in sections:
        return None
    # k3s' own containerd looks into its own folder alone.
    own = {path: text for path, text in texts.items() if path.startswith("/var/lib/rancher/")}
    read = {path: content for path, text in sorted((own or texts).items()) if (content := _object(text)) is not None}
    found: list[Conflist] = []
    for path, content in read.items():
        plugins = _plugins(content)
        if not plugins:
            continue
        multus = plugins[0]["type"] in SIGNATURE.plugins
        called, delegates = _delegate(plugins[0], read) if multus else ("", [])
        found.append(Conflist(path, str(content.get("name", "")), (*plugins, *delegates), len(found), called))
    return tuple(found)


def _object(text: str) -> _Object | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _plugins(content: _Object) -> list[_Object]:
    """Give the plug-ins of a list of them, or of a configuration of one."""
    plugins = content.get("plugins")
    every = plugins if isinstance(plugins, list) else [content]
    return [p for p in every if isinstance(p, dict) and isinstance(p.get("type"), str)]


def _delegate(multus: _Object, files: Mapping[str, _Object]) -> tuple[str, list[_Object]]:
    """Give the plug-ins that Multus calls for a pod's first interface, and the file out of which they are.

    Multus asks for a NetworkAttachmentDefinition first, then for a network of that name in a file, then for a path.
    Without any it takes the first of its own list (pkg/k8sclient/k8sclient.go: getNetDelegate, GetDefaultNetworks).
    """
    wanted = multus.get("clusterNetwork")
    listed = multus.get("delegates")
    if isinstance(wanted, str) and wanted:
        for path, content in files.items():
            if wanted.rpartition("/")[2] == path.rpartition("/")[2] if "/" in wanted else wanted == content.get("name"):
                return path.rpartition("/")[2], _plugins(content)
        return "", []
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else None
    if first is None:
        return "", []
    # Multus' own installer copies into it the file that was first before.
    name = first.get("name")
    copied = (p for p, c in files.items() if name and c.get("name") == name and _plugins(c)[:1] != [multus])
    return next(copied, "").rpartition("/")[2], _plugins(first)
