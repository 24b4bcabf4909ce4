"""What a container image's reference tells: by which names it may be known, and its version."""

from __future__ import annotations

import re

# A registry's mirrors put these words and the owner's name before what they mirror: mirrored-calico-node.
_MIRRORED = re.compile(r"^(?:mirrored|hardened)-")
_VERSION = re.compile(r"v?\d+\.\d+(?:\.\d+)?(?:[-.+][0-9A-Za-z.+-]+)?$")


def image_names(image: str) -> frozenset[str]:
    """Give the names by which an image may be known wherever it is mirrored: its last part, and that with its owner's.

    ``quay.io/calico/node:v3.28`` is ``node`` and ``calico-node``, ``rancher/mirrored-calico-node`` the latter too.
    """
    path = image.partition("@")[0]
    folder, _, last = path.rpartition("/")
    last = _MIRRORED.sub("", last.partition(":")[0])
    owner = folder.rpartition("/")[2]
    return frozenset({last, f"{owner}-{last}"} if owner else {last})


def image_version(image: str) -> str:
    """Give the version that an image's tag tells; nothing where the tag is none."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return tag if _VERSION.match(tag) else ""
