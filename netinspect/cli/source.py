"""Where the Snapshot comes from: a cluster, a recording, or the recording that comes with the program."""

from __future__ import annotations

from importlib import resources as files
from pathlib import Path
from typing import TYPE_CHECKING

from netinspect.cli import console
from netinspect.cli.options import Target, duration
from netinspect.errors import UsageError
from netinspect.model.resources import Resource
from netinspect.model.snapshot import Snapshot

if TYPE_CHECKING:
    from netinspect.cluster.connect import Access


def read(target: Target, resources: tuple[Resource, ...], namespaces: tuple[str, ...] = ()) -> Snapshot:
    """Read the kinds; the namespaces are where to look when the whole cluster may not be read."""
    asked = (target.kubeconfig, target.context, target.cluster, target.user, target.server, target.as_user)
    if (target.from_ or target.demo) and any(asked):
        raise UsageError("a recording is read without a connection: leave out --from or --demo, or the connection")
    duration(target.request_timeout)
    recording = load_recording(target.from_, demo=target.demo, resources=resources)
    if recording is not None:
        return recording
    from netinspect.cluster.collect import collect
    from netinspect.cluster.connect import connect

    with console.progress(verbose=target.verbose) as progress:
        return collect(connect(access(target)), resources, namespaces=namespaces, progress=progress).snapshot


def load_recording(path: object, *, demo: bool, resources: tuple[Resource, ...]) -> Snapshot | None:
    """Load the recording that was asked for; None where a cluster was."""
    if path and demo:
        raise UsageError("--from and --demo exclude each other")
    if not path and not demo:
        return None
    from netinspect.bundle import load

    if path:
        return load(Path(str(path)), resources)
    with files.as_file(files.files("netinspect") / "demo.zip") as shipped:
        return load(shipped, resources)


def access(target: Target) -> Access:
    """Say how the cluster is reached."""
    from netinspect.cluster.connect import Access

    return Access(
        kubeconfig=target.kubeconfig,
        context=target.context,
        cluster=target.cluster,
        user=target.user,
        as_user=target.as_user,
        as_groups=tuple(target.as_group or ()),
        as_uid=target.as_uid,
        server=target.server,
        insecure_skip_tls_verify=target.insecure_skip_tls_verify,
        request_timeout=duration(target.request_timeout),
    )


def default_namespace(target: Target) -> str:
    """Give the context's namespace; empty for a recording, which has no context and is shown whole."""
    if target.from_ or target.demo:
        return ""
    from netinspect.cluster.connect import default_namespace as of_context

    return of_context(access(target))
