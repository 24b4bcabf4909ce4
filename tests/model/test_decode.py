"""Answers of the API server as they come, with what Go leaves unset."""

from __future__ import annotations

import pytest

from netinspect.errors import ClusterError
from netinspect.model import wire
from netinspect.model.decode import decode_page
from netinspect.model.resources import NODES


def test_a_null_is_what_is_not_set() -> None:
    """Go writes null for a time that nobody set, as the conditions of nodes that no kubelet reports have it."""
    raw = (
        b'{"metadata":{},"items":[{"metadata":{"name":"a","creationTimestamp":null},"spec":{"podCIDRs":["10.9.0.0/29"]},'
        b'"status":{"addresses":null,"conditions":[{"type":"Ready","status":"True","lastTransitionTime":null}]}}]}'
    )
    (node,) = decode_page(NODES, raw).items or []
    assert isinstance(node, wire.Node)
    assert node.spec.pod_cidrs == ("10.9.0.0/29",)
    assert [(c.type, c.status) for c in node.status.conditions] == [("Ready", "True")]


@pytest.mark.parametrize(
    "raw", [b'{"items":[{"metadata":null,"status":7}]}', b'{"items":[{"metadata":null,"x":' + b"[" * 200_000]
)
def test_what_is_wrong_besides_is_still_told(raw: bytes) -> None:
    with pytest.raises(ClusterError, match="the list of nodes cannot be read"):
        decode_page(NODES, raw)
