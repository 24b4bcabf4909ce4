"""``netinspect rbac``."""

from __future__ import annotations

from typing import Annotated

import typer

from netinspect.cli import console
from netinspect.cli.options import AccessLevel
from netinspect.errors import UsageError


def rbac(
    access: Annotated[
        AccessLevel, typer.Option(help="The way into the nodes that is to be allowed")
    ] = AccessLevel.NONE,
    inspector_namespace: Annotated[str, typer.Option(help="Where --access pod creates its pods")] = "kube-system",
    service_account: Annotated[
        str, typer.Option("--serviceaccount", metavar="NAMESPACE:NAME", help="Bind the roles to it")
    ] = "",
) -> None:
    """Print the roles that netinspect needs: enough, and nothing too much.

    \b
    Examples:
      netinspect rbac --access exec | kubectl apply -f -
      netinspect rbac --access pod --inspector-namespace netinspect --serviceaccount ci:netinspect
    """  # noqa: D301 - \b is Click's mark for text that is not to be wrapped
    import yaml

    from netinspect.analysis.rbac import bindings, roles
    from netinspect.model.evidence import Access

    level = Access.EXEC if access is AccessLevel.AUTO else Access(access.value)
    objects = roles(level, inspector_namespace)
    if service_account:
        namespace, colon, name = service_account.partition(":")
        if not (namespace and colon and name):
            raise UsageError(f"{service_account!r} is no service account", hint="write NAMESPACE:NAME")
        objects += bindings(objects, {"kind": "ServiceAccount", "namespace": namespace, "name": name})

    class Plain(yaml.SafeDumper):
        """Writes what stands in several places in each of them, for people to read."""

        def ignore_aliases(self, _data: object) -> bool:
            return True

    console.write([yaml.dump_all(objects, Dumper=Plain, sort_keys=False)])
