"""The kernel is the oracle: random scenes are built for real, and the simulator must say what real packets do."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, unavailable
from tests.kernel.oracle import emulated
from tests.kernel.oracle.campaign import KEPT, Campaign
from tests.kernel.oracle.compare import judge
from tests.kernel.oracle.scene import load

# Most are fixed: that a change lands should not hang on luck, and `make fuzz` is what searches.
FIXED, FRESH = 54, 5
LEAST = 2000
# Fresh scenes in kernels in which each takes half a minute.
USER_MODE = 2
EMULATED = 1
UML = Path(__file__).parent / "oracle" / "uml" / "run.sh"


def needs(*tools: str) -> None:
    if os.geteuid() != 0:
        unavailable("network namespaces need root")
    for tool in tools:
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")


def test_random_scenes_go_as_the_simulator_says() -> None:
    needs("ip", "nft", "ipset", "iptables-nft-restore", "iptables-legacy-restore", "nsenter")
    fresh = secrets.token_hex(4)
    print(f"fresh seed: {fresh}")
    campaign = Campaign()
    for number in range(FIXED):
        campaign.run(f"fixed.{number}")
    number = 0
    while number < FRESH or campaign.cases < LEAST:
        campaign.run(f"{fresh}.{number}")
        number += 1
    print(campaign.report())
    assert not campaign.wrong, "\n".join(campaign.wrong)
    assert len(campaign.refused) < campaign.scenes / 10, campaign.refused


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda p: p.stem)
def test_what_was_once_wrong_stays_right(path: Path) -> None:
    needs("ip", "nft", "ipset", "iptables-nft-restore", "iptables-legacy-restore", "nsenter")
    found = judge(load(path))
    assert not found.wrong, [(w.probe, w.real, w.simulated) for w in found.wrong]


def test_what_this_kernel_lacks_goes_as_the_simulator_says_too() -> None:
    """IPVS, IPIP, GRE, Geneve, VLANs and more set types, in a user-mode kernel that has them."""
    needs("linux.uml", "ipvsadm", "gcc")
    done = subprocess.run(
        ["bash", UML, "-m", "1G", "-t", "900", "-M", "br_netfilter ip_vs ipip", sys.executable, "-m",
         "tests.kernel.oracle.user_mode", str(USER_MODE)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_no_kernel_at_hand_has_goes_as_the_simulator_says_too() -> None:
    """WireGuard, bonds, VRFs and ipvlan, in a whole kernel that is emulated."""
    needs("qemu-system-x86_64", "busybox", "depmod", "wg")
    command = [sys.executable, "-m", "tests.kernel.oracle.uncommon", str(EMULATED)]
    try:
        done = emulated.run(command, ROOT)
    except emulated.Absent as absent:
        unavailable(str(absent))
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
