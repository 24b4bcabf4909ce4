"""What tests share: a lab for the whole run, a server that behaves as badly as it is told, and the program itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.lab import cluster
from tests.lab.errors import LabError
from tests.lab.settings import Cni, IpFamily, Proxy, Settings
from tests.wire import WireServer

ROOT = Path(__file__).parent.parent
# How long an example takes tells of the machine, not of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def unavailable(reason: str) -> NoReturn:
    """Skip on a user's machine; fail where everything must run."""
    if os.environ.get("NETINSPECT_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


# Tests that share labs run one after another in one process, the longest first; others by their files, beside them.
_TOGETHER = {
    "faults": 0, "test_istio.py": 0, "test_istio_faults.py": 0, "cluster": 1, "test_lab.py": 1, "test_completion.py": 1,
}  # fmt: skip


def _stream(path: Path) -> int:
    return min((place for part, place in _TOGETHER.items() if part in path.parts), default=len(_TOGETHER))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that where several processes run the tests it is not waited for at the end."""
    items.sort(key=lambda item: _stream(item.path.relative_to(ROOT)))


class Streams(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
    """Keeps together in one process the tests of a stream, or of a file that needs no lab."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        stream = _stream(Path(path))
        return path if stream == len(_TOGETHER) else str(stream)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Streams:
    """Choose how tests are shared out among processes, where several run them."""
    return Streams(config, log)


@dataclass(frozen=True)
class Result:
    """What a run of the program left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Netinspect = Callable[..., Result]


@pytest.fixture(scope="session")
def netinspect() -> Netinspect:
    """Run the program as a user does, in a process of its own and without the user's settings."""

    def run(*arguments: str | Path, stdin: str | bytes = b"", env: dict[str, str] | None = None) -> Result:
        inherited = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "NO_COLOR", "FORCE_COLOR")}
        done = subprocess.run(
            [sys.executable, "-m", "netinspect", *map(str, arguments)],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env={**inherited, "HOME": "/nonexistent", **(env or {})},
            cwd=ROOT,
            timeout=120,
            check=False,
        )
        err = done.stderr.decode()
        assert "Traceback" not in err, err
        return Result(done.returncode, done.stdout.decode(errors="surrogateescape"), err)

    return run


def running(settings: Settings) -> Iterator[Settings]:
    """Run a lab for as long as it is needed; with NETINSPECT_KEEP_LAB=1 it stays."""
    try:
        cluster.check_machine()
    except LabError as error:
        unavailable(f"the lab cannot run here: {error}")
    keep = os.environ.get("NETINSPECT_KEEP_LAB") == "1"
    cluster.up(settings, print)
    try:
        yield settings
    finally:
        if not keep:
            cluster.down(settings.name, lambda _: None)


@pytest.fixture(scope="session")
def dual_lab() -> Iterator[Settings]:
    """Three nodes, Flannel, kube-proxy with iptables, both address families."""
    yield from running(Settings(name="testdual", ip_family=IpFamily.DUAL))


@pytest.fixture(scope="session")
def ipv4_lab() -> Iterator[Settings]:
    """Two nodes, the bridge plugin with static routes, kube-proxy with nftables, IPv4 alone."""
    yield from running(Settings(name="testipv4", nodes=2, cni=Cni.BRIDGE, proxy=Proxy.NFTABLES))


@pytest.fixture(scope="session", params=["dual_lab", "ipv4_lab"])
def lab(request: pytest.FixtureRequest) -> Settings:
    """Each lab in turn."""
    settings: Settings = request.getfixturevalue(request.param)
    return settings


@pytest.fixture
def wire() -> Iterator[WireServer]:
    """Give a server on loopback that answers as it is told."""
    with WireServer() as server:
        yield server
