"""Istio in a lab: its own charts as helm renders them, and pods in it, out of it, and partly in it."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

from tests.lab import binaries, process

NAMESPACE = "istio-system"
NAMESPACE_MANIFEST = f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"
_VALUES = Path(__file__).parent / "manifests" / "istio-values.yaml"
# In the order in which they are installed, by the names that Istio's own guides give their releases.
_RELEASES = {"istio-base": "base", "istiod": "istio-control/istio-discovery"}


def charts() -> Iterator[str]:
    """Render each chart with the lab's values; ``LabError`` with what helm said where one cannot be."""
    values = string.Template(_VALUES.read_text()).substitute(istio=binaries.ISTIO)
    for release, chart in _RELEASES.items():
        yield process.run(
            str(binaries.module("helm").cached / "helm"),
            *("template", release, str(binaries.module("istio").cached / "charts" / chart)),
            *("--namespace", NAMESPACE, "--values", "-"),
            stdin=values,
        )
