from __future__ import annotations

import pytest

from netinspect.analysis.selection import parse_object, parse_selector, select
from netinspect.errors import UsageError
from netinspect.model.snapshot import Snapshot
from netinspect.model.topology import Scope
from tests.build import endpoint, endpoint_slice, node, pod, service, snapshot


# The cases of k8s.io/apimachinery/pkg/labels/selector_test.go (TestSelectorMatches), as far as kubectl's -l takes them.
@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("x=y", {"x": "y"}, True),
        ("x=y,z=w", {"x": "y", "z": "w"}, True),
        ("x!=y,z!=w", {"x": "z", "z": "a"}, True),
        ("notin=in", {"notin": "in"}, True),
        ("x", {"x": "z"}, True),
        ("!x", {"y": "z"}, True),
        ("x=z", {}, False),
        ("x=y", {"x": "z"}, False),
        ("x=y,z=w", {"x": "w", "z": "w"}, False),
        ("x!=y,z!=w", {"x": "z", "z": "w"}, False),
        ("x", {"y": "z"}, False),
        ("!x", {"x": "z"}, False),
        ("x!=y", {}, True),
        ("x in (a,b)", {"x": "b"}, True),
        ("x in (a,b)", {}, False),
        ("x notin (a,b)", {"x": "b"}, False),
        ("x notin (a,b)", {}, True),
        ("app in (a, b),!y", {"app": "a"}, True),
        ("x=", {"x": ""}, True),
        ("x==y", {"x": "y"}, True),
        ("app.kubernetes.io/name = web", {"app.kubernetes.io/name": "web"}, True),
    ],
)
def test_selectors_match_as_in_kubectl(selector: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_selector(selector)(labels) is expected


@pytest.mark.parametrize("selector", ["x in", "x in a", "=y", "x=y,,z", "x y", "x>1", "x=y z", "(", "x in (a", ","])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        parse_selector(selector)


@pytest.mark.parametrize(
    "text", ["web", "pod/", "pod/a/b/c", "deploy/x", "node/a/b", "ns/a/b", "pod/WEB", "pod/../x", "pod/a b", "/", ""]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_object(text)


@pytest.fixture
def cluster() -> Snapshot:
    """Two nodes; web on both, db on the second, and a Service in front of web."""
    return snapshot(
        nodes=[node("n1"), node("n2")],
        namespaces=[{"metadata": {"name": "shop"}}, {"metadata": {"name": "empty"}}],
        pods=[
            pod("web-1", "10.0.1.1", on="n1", labels={"app": "web"}),
            pod("web-2", "10.0.2.1", on="n2", labels={"app": "web"}),
            pod("db", "10.0.2.2", on="n2", labels={"app": "db"}),
        ],
        services=[service("web", "10.96.0.1"), service("lonely", "10.96.0.2")],
        endpoint_slices=[endpoint_slice("web", endpoint("10.0.1.1", "web-1"), endpoint("10.0.2.1", "web-2"))],
    )


@pytest.mark.parametrize(
    ("scope", "pods", "services", "nodes"),
    [
        (Scope(), "web-1 web-2 db", "web lonely", None),
        (Scope(namespaces=("empty",)), "", "", None),
        (Scope(selector="app=db"), "db", "", None),
        (Scope(selector="app=web"), "web-1 web-2", "web", None),
        (Scope(nodes=("n1",)), "web-1", "web", "n1"),
        (Scope(objects=("pod/shop/db",)), "db", "", "n2"),
        (Scope(objects=("pod/shop/web-1",)), "web-1", "web", "n1"),
        (Scope(objects=("svc/shop/web",)), "web-1 web-2", "web", "n1 n2"),
        (Scope(objects=("svc/shop/lonely",)), "", "lonely", ""),
        (Scope(objects=("node/n2",)), "web-2 db", "web", "n2"),
        (Scope(objects=("ns/shop",)), "web-1 web-2 db", "web lonely", "n1 n2"),
        (Scope(objects=("pod/shop/db", "svc/shop/lonely")), "db", "lonely", "n2"),
        (Scope(objects=("svc/shop/web",), nodes=("n2",)), "web-2", "web", "n2"),
    ],
)
def test_objects_bring_what_belongs_to_them(
    cluster: Snapshot, scope: Scope, pods: str, services: str, nodes: str | None
) -> None:
    selected = select(cluster, scope)
    assert [p.metadata.name for p in selected.pods] == pods.split()
    assert [s.metadata.name for s in selected.services] == services.split()
    assert selected.nodes == (None if nodes is None else frozenset(nodes.split()))


@pytest.mark.parametrize(
    "scope",
    [
        Scope(namespaces=("nosuch",)),
        Scope(nodes=("n3",)),
        Scope(objects=("pod/shop/nosuch",)),
        Scope(objects=("svc/other/web",)),
        Scope(objects=("node/n3",)),
        Scope(objects=("ns/nosuch",)),
    ],
)
def test_names_that_do_not_exist_are_refused(cluster: Snapshot, scope: Scope) -> None:
    with pytest.raises(UsageError, match="there is no"):
        select(cluster, scope)


def test_a_name_in_several_namespaces_must_be_placed() -> None:
    twin = service("web", "10.96.0.9")
    twin["metadata"]["namespace"] = "other"
    seen = snapshot(services=[service("web", "10.96.0.1"), twin])
    with pytest.raises(UsageError, match="is in several namespaces") as refused:
        select(seen, Scope(objects=("service/web",)))
    assert refused.value.hint == "name one of service/other/web, service/shop/web"


def test_pods_that_have_no_address_yet_belong_to_their_service_all_the_same() -> None:
    """They are in no slice; a Service is looked at most when all its pods are stuck."""
    stuck = snapshot(
        pods=[pod("web-1", phase="Pending", on="", labels={"app": "web"})],
        services=[service("web", "10.96.0.1", selector={"app": "web"})],
    )
    assert [p.metadata.name for p in select(stuck, Scope(objects=("svc/shop/web",))).pods] == ["web-1"]
    assert [s.metadata.name for s in select(stuck, Scope(objects=("pod/shop/web-1",))).services] == ["web"]


def test_a_name_is_not_refused_where_the_list_was_forbidden() -> None:
    unseen = snapshot(gaps=("pods", "nodes"))
    assert select(unseen, Scope(objects=("pod/shop/web", "node/n1"))).pods == ()
