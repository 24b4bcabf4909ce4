"""Scenes inside a user-mode kernel, which run.sh boots: ``python -m tests.kernel.oracle.user_mode SCENES [SEED]``."""

from __future__ import annotations

import secrets
import sys

from tests.kernel.oracle.campaign import Campaign

# Scenes about which the simulator was wrong once; they are too long to be kept as files of their own.
_KEPT = ("a408a60a.5",)


def main() -> None:
    """Run fixed scenes and as many fresh ones; fail where the simulator is wrong."""
    count = int(sys.argv[1])
    fresh = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    print(f"fresh seed: {fresh}")
    campaign = Campaign()
    for seed in _KEPT:
        campaign.run(seed, user_mode=True)
    for number in range(count):
        campaign.run(f"user.{number}", user_mode=True)
        campaign.run(f"{fresh}.{number}", user_mode=True)
    print(campaign.report())
    print("\n".join(campaign.wrong + campaign.refused))
    sys.exit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    main()
