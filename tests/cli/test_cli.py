"""The contract of the command line: streams, exit codes, formats, pipes and interruptions."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT, Netinspect, unavailable
from tests.wire import WireServer

FORMATS = ("table", "wide", "tree", "json", "yaml", "dot", "mermaid")
ESCAPE = "\x1b"


@pytest.mark.parametrize("output", FORMATS)
def test_every_format_writes_the_document_and_nothing_else(output: str, netinspect: Netinspect) -> None:
    result = netinspect("map", "--demo", "-o", output)
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("\n")
    assert ESCAPE not in result.out
    assert "web-misnamed" in result.out


def test_yaml_is_the_same_document_as_json(netinspect: Netinspect) -> None:
    assert (
        yaml.safe_load(netinspect("map", "--demo", "-o", "yaml").out) == netinspect("map", "--demo", "-o", "json").json
    )


def test_dot_is_understood_by_graphviz(netinspect: Netinspect) -> None:
    try:
        done = subprocess.run(["dot", "-Tplain"], input=netinspect("map", "--demo", "-o", "dot").out, text=True,
                              capture_output=True, check=False)  # fmt: skip
    except FileNotFoundError:
        unavailable("graphviz is not installed: `make test-packages` installs it on Debian")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'svc/shop/web"' in done.stdout


@pytest.mark.parametrize("output", FORMATS)
def test_the_exit_code_does_not_depend_on_the_format(
    output: str, wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    wire.on("/api/v1/pods", lambda r: r.status(403, "Forbidden", "pods is forbidden"))
    assert netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", output).code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("map",), ("map", "--network", "host"), ("map", "svc/shop/web"), ("map", "-n", "shop"),
        ("map", "-n", "default"), ("map", "-l", "app=web"), ("map", "--node", "n1"),
    ],
)  # fmt: skip
def test_maps_validate_against_the_published_schema(arguments: tuple[str, ...], netinspect: Netinspect) -> None:
    schema = netinspect("schema", "map").json
    document = netinspect(*arguments, "--demo", "-o", "json").json
    jsonschema.Draft202012Validator(schema).validate(document)
    assert (document["apiVersion"], document["kind"]) == ("netinspect.io/v1", "Topology")


def test_the_schema_refuses_what_is_wrong(netinspect: Netinspect) -> None:
    validator = jsonschema.Draft202012Validator(netinspect("schema", "map").json)
    document = netinspect("map", "--demo", "-o", "json").json
    document["cluster"]["pods"][0]["ready"] = "Perhaps"
    assert not validator.is_valid(document)


def test_whois_validates_too_and_answers_like_the_map(netinspect: Netinspect) -> None:
    document = netinspect("map", "--demo", "-o", "json").json
    pods = {a["address"]: f"pod/{p['namespace']}/{p['name']}" for p in document["cluster"]["pods"]
            for a in p.get("addresses", []) if not a.get("released")}  # fmt: skip
    services = {ip: f"svc/{s['namespace']}/{s['name']}" for s in document["service"]["services"]
                for ip in s.get("clusterIPs", [])}  # fmt: skip
    result = netinspect("whois", "--demo", "-o", "json", *pods, *services)
    jsonschema.Draft202012Validator(netinspect("schema", "whois").json).validate(result.json)
    assert {a["address"]: a["owners"][0]["owner"] for a in result.json["addresses"]} == pods | services


def test_flags_stand_on_either_side_of_the_command(netinspect: Netinspect) -> None:
    expected = netinspect("map", "--demo", "-n", "platform").out
    assert netinspect("--demo", "-n", "platform", "map").out == expected
    assert netinspect("--demo", "map", "-n", "platform").out == expected
    assert netinspect("-n", "shop", "--demo", "map", "-n", "platform").out == expected, "the later one wins"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mapp",), "No such command"), (("map", "--nosuch"), "No such option"), (("map", "-o", "xml"), "'xml'"),
        (("whois",), "Missing argument"), (("whois", "--demo", "web"), "'web' is not an address"),
        (("whois", "--demo", "-", "10.0.0.1"), "- takes the addresses from stdin"),
        (("whois", "--demo", "10.0.0.1", "-o", "dot"), "this has no format dot"),
        (("map", "--demo", "--from", "x"), "exclude each other"), (("map", "--demo", "pod/web"), "there is no pod web"),
        (("map", "--demo", "--context", "x"), "without a connection"),
        (("whois", "--demo", "-", "-o", "json"), "no format"),
        (("snapshot", "--demo", "x.zip"), "already recorded"), (("schema", "nosuch"), "nosuch"),
    ],
)  # fmt: skip
def test_mistakes_exit_2_and_say_what(arguments: tuple[str, ...], said: str, netinspect: Netinspect) -> None:
    result = netinspect(*arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_a_name_that_only_one_object_has_needs_no_namespace(netinspect: Netinspect) -> None:
    assert netinspect("map", "--demo", "svc/web-sticky").out == netinspect("map", "--demo", "svc/shop/web-sticky").out


@pytest.mark.parametrize("text", ["{}:80", "[{}]:80", "[{}]", "{}"])
def test_whois_takes_addresses_as_other_tools_write_them(text: str, netinspect: Netinspect) -> None:
    for address in ("10.96.0.10",) if text == "{}:80" else ("10.96.0.10", "fd00:10:96::a"):
        found = netinspect("whois", "--demo", text.format(address), "-o", "json")
        assert found.json["addresses"][0]["owners"][0]["owner"] == "svc/kube-system/kube-dns"


def test_version(netinspect: Netinspect) -> None:
    assert netinspect("--version").out == "netinspect 0.1.0\n"


def test_kubectl_finds_the_plugin_and_is_named_in_its_help() -> None:
    program = Path(sys.executable).with_name("kubectl-netinspect")
    done = subprocess.run([program, "map", "-h"], capture_output=True, text=True, check=True)
    assert "Usage: kubectl netinspect map" in done.stdout


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m netinspect map --demo -o json | head -1"],
                          capture_output=True, text=True, check=True, cwd=ROOT)  # fmt: skip
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_whois_streams(netinspect: Netinspect) -> None:
    """Each line comes back before the next is written, and bytes that are no text come back unchanged."""
    document = netinspect("map", "--demo", "-o", "json").json
    pod = next(p for p in document["cluster"]["pods"] if p["name"] == "db-0")
    address = pod["addresses"][0]["address"]
    with subprocess.Popen([sys.executable, "-m", "netinspect", "whois", "--demo", "-"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, cwd=ROOT) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        for line, expected in (
            (f"to {address}:80\n".encode(), f"to {address}[pod/shop/db-0]:80\n".encode()),
            (b"\xff\xfe nothing here\r\n", b"\xff\xfe nothing here\r\n"),
        ):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == expected
        process.stdin.close()
        assert process.wait(10) == 0


def test_whois_ends_when_its_reader_has_seen_enough() -> None:
    """An endless input must not keep it alive."""
    command = f"yes 10.0.0.1 | {sys.executable} -m netinspect whois --demo - | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("10.0.0.1\n", "")


def test_whois_without_stdin_is_a_mistake_and_no_bug() -> None:
    done = subprocess.run(["sh", "-c", f"exec {sys.executable} -m netinspect whois --demo - <&-"],
                          capture_output=True, text=True, check=False, cwd=ROOT)  # fmt: skip
    assert (done.returncode, "stdin is closed" in done.stderr) == (2, True)


def test_output_does_not_depend_on_the_locale(netinspect: Netinspect) -> None:
    assert "→" in netinspect("map", "--demo", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}).out


def on_terminal(arguments: list[str], columns: int, **env: str) -> str:
    """Run the program on a terminal of the given width and give what it showed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "netinspect", *arguments], stdin=child, stdout=child, stderr=child, cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "HOME": "/nonexistent", "COLUMNS": str(columns), **env},
    )  # fmt: skip
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    process.wait(30)
    os.close(parent)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_tables_fit_the_terminal_and_break_no_name(columns: int, netinspect: Netinspect) -> None:
    views = ("--network", "host", "--network", "cluster", "--network", "service")
    shown = on_terminal(["map", "--demo", "--no-color", "-n", "shop", *views], columns)
    tables = [line for line in shown.splitlines() if not line.startswith("!")]
    assert max(map(len, tables)) <= columns
    document = netinspect("map", "--demo", "-n", "shop", "-o", "json").json
    pods, services = document["cluster"]["pods"], document["service"]["services"]
    names = {o["name"] for o in (*pods, *services)}
    names |= {a["address"] for p in pods for a in p.get("addresses", []) if not a.get("released")}
    names |= {ip for s in services for ip in s.get("clusterIPs", [])}
    assert names <= set(shown.replace(",", " ").split())
    assert ("external: Local" in shown) is (columns > 80)
    assert ("(-o wide also shows POLICIES)" in shown) is (columns <= 80)


def test_colour_only_where_it_is_wanted(netinspect: Netinspect) -> None:
    assert ESCAPE in on_terminal(["map", "--demo"], 100)
    assert ESCAPE not in on_terminal(["map", "--demo", "--no-color"], 100)
    assert ESCAPE not in on_terminal(["map", "--demo"], 100, NO_COLOR="1")
    assert ESCAPE not in on_terminal(["map", "--demo"], 100, TERM="dumb")
    assert ESCAPE in on_terminal(["map", "--demo"], 100, NO_COLOR="")
    assert ESCAPE not in netinspect("map", "--demo", env={"FORCE_COLOR": "1"}).out


def test_progress_on_a_terminal_after_a_second_and_never_in_a_pipe(
    wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    def slow(request: Any) -> None:
        time.sleep(2)
        request.json({"metadata": {}, "items": []})

    wire.on("/api/v1/pods", slow)
    arguments = ["map", "-A", "--kubeconfig", str(wire.kubeconfig(tmp_path))]
    assert "reading" in on_terminal(arguments, 100)
    assert netinspect(*arguments).err == ""
    wire.on("/api/v1/pods", lambda r: r.json({"metadata": {}, "items": []}))
    assert "reading" not in on_terminal(arguments, 100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_once_with_130_and_nothing_left(
    number: signal.Signals, wire: WireServer, tmp_path: Path
) -> None:
    wire.on("/api/v1/pods", lambda _: time.sleep(20))
    command = [sys.executable, "-m", "netinspect", "snapshot", str(tmp_path / "s.zip"), "--kubeconfig",
               str(wire.kubeconfig(tmp_path))]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as process:
        while not any("/pods" in r for r in wire.requests):
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(5) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"interrupted\n"
    assert {p.name for p in tmp_path.iterdir()} == {"kubeconfig"}


HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b31m\nnext"


@pytest.mark.parametrize("output", FORMATS)
def test_text_from_the_cluster_is_never_obeyed(
    output: str, wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    items = [{
        "metadata": {"name": HOSTILE, "namespace": "[red]x[/red]", "labels": {"a": HOSTILE}},
        "spec": {"nodeName": '"];\n}{<b>', "containers": [{"name": HOSTILE, "ports": [{"name": HOSTILE}]}]},
        "status": {"phase": HOSTILE, "podIP": HOSTILE, "podIPs": [{"ip": HOSTILE}]},
    }]  # fmt: skip
    wire.on("/api/v1/pods", lambda r: r.json({"metadata": {}, "items": items}))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path), "-o", output)
    assert result.code == 0
    for character in "\x1b\x07\x9b\u202e":
        assert character not in result.out
    assert "owned" in result.out
    if output == "json":
        assert json.loads(result.out)["cluster"]["pods"][0]["name"] == HOSTILE
    if output == "yaml":
        assert yaml.safe_load(result.out)["cluster"]["pods"][0]["name"] == HOSTILE
    if output == "table":
        assert "[red]x[/red]" in result.out


def test_annotations_are_not_obeyed(wire: WireServer, netinspect: Netinspect, tmp_path: Path) -> None:
    items = [{"metadata": {"name": HOSTILE, "namespace": "x"}, "status": {"podIP": "10.0.0.1", "phase": "Running"}}]
    wire.on("/api/v1/pods", lambda r: r.json({"metadata": {}, "items": items}))
    result = netinspect("whois", "-", "--kubeconfig", wire.kubeconfig(tmp_path), stdin="to 10.0.0.1 now\n")
    assert (ESCAPE in result.out, result.out.count("\n")) == (False, 1)
    assert "owned" in result.out


def test_an_error_from_the_cluster_is_not_obeyed_either(
    wire: WireServer, netinspect: Netinspect, tmp_path: Path
) -> None:
    wire.on("/version", lambda r: r.status(418, "Teapot", HOSTILE))
    result = netinspect("map", "-A", "--kubeconfig", wire.kubeconfig(tmp_path))
    assert result.code == 3
    assert ESCAPE not in result.err
    assert "owned" in result.err


def test_the_published_role_is_the_one_that_rbac_prints(netinspect: Netinspect) -> None:
    published = (ROOT / "deploy" / "clusterrole.yaml").read_text()
    assert published.partition("\n")[2] == netinspect("rbac").out


def test_rbac_binds_the_roles_to_a_service_account(netinspect: Netinspect) -> None:
    result = netinspect("rbac", "--access", "pod", "--inspector-namespace", "tools", "--serviceaccount", "ci:looker")
    kinds = [line.partition(": ")[2] for line in result.out.splitlines() if line.startswith("kind: ")]
    assert kinds == ["Namespace", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"]
    assert "pod-security.kubernetes.io/enforce: privileged" in result.out
    assert netinspect("rbac", "--serviceaccount", "nobody").code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("node", "n1", "--demo"), "has to be looked into"),
        (("node", "--demo"), "which node?"),
        (("node", "n9", "--demo"), "there is no node n9"),
        (("pod", "shop/nobody", "--demo"), "there is no pod shop/nobody"),
        (("node", "n1", "--demo", "--section", "quux"), "there is no section 'quux'"),
        (("node", "n1", "--demo", "-o", "dot"), "has no format dot"),
        (("map", "--demo", "--access", "exec"), "a recording holds what was read"),
        (("map", "--demo", "--dry-run"), "add --access pod"),
        (("map", "--demo", "--node-timeout", "0"), "--node-timeout must be"),
        (("cleanup", "--demo"), "nothing to clean up in a recording"),
    ],
)
def test_wrong_usage_of_the_ways_into_a_node(arguments: tuple[str, ...], said: str, netinspect: Netinspect) -> None:
    result = netinspect(*arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
