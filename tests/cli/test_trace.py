"""``netinspect trace`` as a user runs it, on the recording that comes with the program."""

from __future__ import annotations

import jsonschema
import pytest

from tests.conftest import Netinspect

FORMATS = ("table", "wide", "tree", "json", "yaml", "dot", "mermaid")
FLOWS = {
    ("cart-57cc8fd9bb-vctbd", "svc/web"): 0,
    ("cart-57cc8fd9bb-vctbd", "svc/nobody"): 1,
    ("cart-57cc8fd9bb-vctbd", "svc/db:5432"): 3,
    ("node/n1", "192.0.2.1:443"): 0,
}


@pytest.mark.parametrize("flow", FLOWS, ids=" ".join)
def test_the_exit_code_is_the_verdict_in_every_format(flow: tuple[str, str], netinspect: Netinspect) -> None:
    results = {name: netinspect("trace", "--demo", "-n", "shop", *flow, "-o", name) for name in FORMATS}
    assert {name: r.code for name, r in results.items()} == dict.fromkeys(FORMATS, FLOWS[flow])
    assert all(r.out and not r.err for r in results.values())


def test_it_validates_against_the_published_schema(netinspect: Netinspect) -> None:
    schema = netinspect("schema", "trace").json
    for flow in FLOWS:
        found = netinspect("trace", "--demo", "-n", "shop", *flow, "-o", "json").json
        jsonschema.Draft202012Validator(schema).validate(found)
        assert found["kind"] == "Trace"
        assert found["sentence"].startswith("TCP from ")


@pytest.mark.parametrize("name", FORMATS)
def test_a_service_alone_is_explained_in_every_format(name: str, netinspect: Netinspect) -> None:
    for service, code in (("svc/web", 0), ("svc/nobody", 1)):
        result = netinspect("trace", "--demo", "-n", "shop", service, "-o", name)
        assert (result.code, result.err) == (code, "")
        assert "10.96." in result.out or name == "tree"


def test_an_explained_service_validates_against_the_published_schema(netinspect: Netinspect) -> None:
    schema = netinspect("schema", "service-trace").json
    found = netinspect("trace", "--demo", "-n", "shop", "svc/web", "-o", "json").json
    jsonschema.Draft202012Validator(schema).validate(found)
    assert found["kind"] == "ServiceTrace"


def test_the_verdict_is_the_first_line(netinspect: Netinspect) -> None:
    first, *_ = netinspect("trace", "--demo", "-n", "shop", "cart-57cc8fd9bb-vctbd", "svc/nobody").out.split("\n")
    assert "is refused: svc/shop/nobody has no endpoint that is ready" in first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "svc/web"), "there is no pod nobody"),
        (("svc/web", "db-0:80"), "sends nothing"),
        (("db-0", "node/n1"), "which port"),
        (("db-0", "www.example.org:80"), "no name of this cluster"),
        (("external", "svc/web"), "--via nodeport"),
        (("db-0", "svc/web", "--port", "0"), "--port"),
        (("db-0",), "where to"),
        (("db-0", "svc/web", "--via", "lb"), "no address of that kind"),
        (("db-0", "svc/web", "--from-container", "nobody"), "it has db"),
        (("db-0", "svc/web", "--access", "pod"), "leave out --access"),
    ],
)
def test_a_mistake_is_said_to_be_one(arguments: tuple[str, ...], said: str, netinspect: Netinspect) -> None:
    result = netinspect("trace", "--demo", "-n", "shop", *arguments)
    assert result.code == 2
    assert said in result.err
    assert not result.out
