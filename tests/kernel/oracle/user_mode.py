"""Scenes inside a user-mode kernel, which run.sh boots: ``python -m tests.kernel.oracle.user_mode SCENES [SEED]``."""

from __future__ import annotations

import secrets
import sys

from tests.kernel.oracle.campaign import KEPT, Campaign
from tests.kernel.oracle.scene import load

# Scenes about which the simulator was wrong once; they are too long to be kept as files of their own.
_SEEDS = ("a408a60a.5", "eb48df06.4", "35bbb2ae.0")
# Those among the kept files with devices that other kernels may lack.
_FILES = ("ips_hooks_do_not_see_a_tagged_frame_in_a_bridge", "prerouting_sees_a_tagged_frame_in_its_bridge_alone")
_FIXED = 5


def main() -> None:
    """Run fixed scenes and so many fresh ones; fail where the simulator is wrong."""
    count = int(sys.argv[1])
    fresh = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    print(f"fresh seed: {fresh}", flush=True)
    campaign = Campaign()
    for seed in _SEEDS:
        campaign.run(seed, user_mode=True)
    for name in _FILES:
        campaign.judge(load(KEPT / f"{name}.json"), name)
    for seed in (*(f"user.{n}" for n in range(_FIXED)), *(f"{fresh}.{n}" for n in range(count))):
        campaign.run(seed, user_mode=True)
    print(campaign.report())
    print("\n".join(campaign.wrong + campaign.refused))
    sys.exit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    main()
