"""Times as Kubernetes writes them (RFC 3339), and how long ago they are by the clock of a snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Final

# The seconds in which a pod comes up.
COMES_UP: Final = 120.0


def elapsed(moment: str | None, now: str) -> float | None:
    """Give the seconds from one moment to another; None where either is not known."""
    then, until = _moment(moment), _moment(now)
    return (until - then).total_seconds() if then is not None and until is not None else None


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
