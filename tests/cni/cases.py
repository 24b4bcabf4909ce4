"""Clusters that hold CNIs' install manifests, as an API server would list them."""

from __future__ import annotations

import copy
import gzip
import json
from functools import cache
from typing import Any

from netinspect.analysis.cni import report
from netinspect.model.cni import CniReport
from netinspect.model.resources import CNI_SETTINGS
from netinspect.model.snapshot import Snapshot
from tests import build, corpora

Json = dict[str, Any]


@cache
def manifests() -> dict[str, Json]:
    """Give the cases of the corpus by their ids."""
    with gzip.open(corpora.folder() / "cni_manifests.json.gz") as file:
        return {case["id"]: case for case in json.load(file)["cases"]}


def of(name: str) -> list[Json]:
    """Give copies of the objects of the first case whose id ends so."""
    case = next(c for i, c in manifests().items() if i.endswith(name))
    crds = [{"kind": "CustomResourceDefinition", "metadata": {"name": n}} for n in case["crds"]]
    return copy.deepcopy([*case["objects"], *crds])


def cluster(*objects: Json, nodes: list[Json] | None = None, **lists: Any) -> Snapshot:
    """Give what would be read of a cluster with these objects."""

    def kind(name: str) -> list[Json]:
        return [o for o in objects if o["kind"] == name]

    settings: Any = [c for c in kind("ConfigMap") if c["metadata"]["name"] in CNI_SETTINGS.objects]
    return build.snapshot(
        nodes=nodes or [build.node(f"n{i}", f"192.0.2.{i}", cidrs=(f"10.1.{i}.0/24",)) for i in (1, 2)],
        daemon_sets=kind("DaemonSet"), cni_settings=settings,
        custom_resource_definitions=kind("CustomResourceDefinition"), **lists,
    )  # fmt: skip


def said(*objects: Json, **more: Any) -> CniReport:
    """Give the report of a cluster with these objects."""
    return report(cluster(*objects, **more))
