"""What every object carries, and the words of which kinds are made.

A plain ``str`` may tell something about the cluster's owner. A ``Term`` is a word of the API, a protocol or a time,
and stays readable when a recording is redacted.
"""

from typing import Annotated

from msgspec import Meta, Struct, field

Term = Annotated[str, Meta(extra={"redact": "keep"})]
Flags = Annotated[tuple[str, ...], Meta(extra={"redact": "flags"})]
Text = Annotated[str, Meta(extra={"redact": "text"})]
Image = Annotated[str, Meta(extra={"redact": "image"})]
# Said of an object's keys, which are its owner's; they do not stay in a redacted recording.
Dropped = Annotated[dict[str, dict[str, str]], Meta(extra={"redact": "drop"})]
Labels = dict[str, str]
# Only those that a driver reads stay when a recording is redacted.
Annotations = Annotated[dict[str, str], Meta(extra={"redact": "known"})]


class Wire(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Base of what the API server sends."""


class OwnerReference(Wire, frozen=True):
    """The object that made this one and takes it along when it goes."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(Wire, frozen=True):
    """What every object carries."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: Labels = field(default_factory=dict)
    deletion_timestamp: Term = ""
    owner_references: tuple[OwnerReference, ...] = ()


class NotedMetadata(Metadata, frozen=True):
    """What an object carries besides: what others noted on it, and when it was made."""

    annotations: Annotations = field(default_factory=dict)
    creation_timestamp: Term | None = ""


class Condition(Wire, frozen=True):
    """One observed condition; ``status`` is True, False or Unknown."""

    type: str = ""
    status: Term = ""
    reason: Term = ""
    message: Text = ""
    last_transition_time: Term = ""


class FieldsSet(Wire, frozen=True):
    """Names of the labels and annotations that one manager last set, each after ``f:``."""

    labels: Dropped = field(default_factory=dict, name="f:labels")
    annotations: Dropped = field(default_factory=dict, name="f:annotations")


class FieldsV1(Wire, frozen=True):
    """The fields that one manager last set (KEP-555), as far as they are metadata."""

    metadata: FieldsSet = field(default=FieldsSet(), name="f:metadata")


class ManagedFields(Wire, frozen=True):
    """Who last set which fields, and when."""

    time: Term = ""
    fields_v1: FieldsV1 = field(default=FieldsV1(), name="fieldsV1")


class ObjectReference(Wire, frozen=True):
    """Another object, named."""

    kind: Term = ""
    name: str = ""
    namespace: str = ""


class Named(Wire, frozen=True):
    """An object of which only its being there is read so far."""

    metadata: Metadata
