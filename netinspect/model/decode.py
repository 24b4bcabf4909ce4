"""From the API server's JSON to wire structs, the same way for a live answer and a recorded one."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import Struct

from netinspect.errors import ClusterError
from netinspect.model.resources import Resource
from netinspect.model.snapshot import ListMeta
from netinspect.model.wire import Wire


class Page(Struct, frozen=True):
    """One page of a list."""

    metadata: ListMeta = ListMeta()
    items: list[Wire] | None = None


def decode_page(resource: Resource, raw: bytes) -> Page:
    """Decode one page; ``ClusterError`` where it is not a list of this kind."""
    try:
        page: Page = _decoded(resource.type, raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ClusterError(
            f"the list of {resource.plural} cannot be read: {error}",
            hint="a proxy may have answered in the API server's place, or the server is of an unknown version",
        ) from error
    return page


def _decoded(kind: type[Wire], raw: bytes) -> Any:
    decoder = _decoder(kind)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        if "got `null`" not in str(error):
            raise
    # To Go a null is what is not set (encoding/json), and it writes one for a time that nobody set.
    return msgspec.convert(_without_nulls(msgspec.json.decode(raw)), decoder.type)


def _without_nulls(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _without_nulls(value) for key, value in found.items() if value is not None}
    return [_without_nulls(value) for value in found] if isinstance(found, list) else found


@cache
def _decoder(kind: type[Wire]) -> msgspec.json.Decoder[Any]:
    typed = msgspec.defstruct(
        "Page",
        [("metadata", ListMeta, ListMeta()), ("items", list[kind] | None, None)],  # type: ignore[valid-type]
        frozen=True,
    )
    return msgspec.json.Decoder(typed)
