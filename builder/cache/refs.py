"""References: images built here under their tags, and what a registry's tag was last resolved to, and when.

The two are kept apart, because an image built here must not stand in for a registry's of the same name, and a pull
must not take the place of what ``push`` sends. A reference's text is the canonical one and is hashed for the file's
name. Whether a resolution is still fresh is the engine's decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from builder.cache.table import Table
from builder.cache.variants import parse_descriptor
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.values import dataclass, field

EVERYWHERE = ""
"""The key of a record's origins that holds for every blob without one of its own."""


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """The Dockerfile that an image was built from: its file's name, its text, and the stage if it was not the last."""

    name: str
    text: str = field(repr=False)
    target: str | None = None


@dataclass(frozen=True, slots=True)
class RefRecord:
    """What a reference means: a manifest or index, as of ``resolved_at`` (unix seconds).

    ``platform`` is that of an image built here, as text; empty for an index and for what a registry answered.
    ``origins`` has, by digest or EVERYWHERE, references into repositories that hold blobs of an image built here.
    ``made_from`` only helps people to understand the image.
    """

    reference: str
    descriptor: Descriptor
    resolved_at: int
    built_here: bool
    platform: str = ""
    origins: Mapping[str, str] = field(default_factory=dict, hash=False)
    made_from: MadeFrom | None = None


class References:
    """All references of a store."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, reference: str, *, built_here: bool | None = None) -> RefRecord | None:
        """Return the record of a reference: the one built here, a registry's, or with None the first of the two."""
        for here in (True, False) if built_here is None else (built_here,):
            record = self._read(_name(reference, built_here=here))
            if record is not None and record.reference == reference and record.built_here == here:
                return record
        return None

    def put(self, record: RefRecord) -> None:
        """Write or replace the record of its reference. Raises OutputError."""
        descriptor = record.descriptor
        value: dict[str, object] = {
            "reference": record.reference,
            "media_type": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
            "resolved_at": record.resolved_at,
            "built_here": record.built_here,
            "platform": record.platform,
            "origins": dict(record.origins),
        }
        made = record.made_from
        if made is not None:
            value["made_from"] = {"name": made.name, "text": made.text, "target": made.target}
        self._table.put(_name(record.reference, built_here=record.built_here), value)

    def remove(self, reference: str, *, built_here: bool) -> None:
        """Remove a record if it is there."""
        self._table.remove(_name(reference, built_here=built_here))

    def records(self, *, built_here: bool = False) -> Iterator[RefRecord]:
        """Yield all records, images built here first, or only those; damaged ones are passed over with a warning."""
        for name in self._table.names("built" if built_here else ""):
            record = self._read(name, used=False)
            if record is not None and name == _name(record.reference, built_here=record.built_here):
                yield record

    def made_from(self, digests: Container[Digest]) -> MadeFrom | None:
        """Return the Dockerfile of an image that was built here and has one of these digests, under whatever name."""
        built = (one for one in self.records(built_here=True) if one.descriptor.digest in digests)
        return next((one.made_from for one in built if one.made_from is not None), None)

    def path(self, record: RefRecord) -> Path:
        """Return the file of a record; its mtime says when it was last used."""
        return self._table.path(_name(record.reference, built_here=record.built_here))

    def _read(self, name: str, *, used: bool = True) -> RefRecord | None:
        value = self._table.get(name, used=used)
        if value is None:
            return None
        descriptor = parse_descriptor(value)
        match value:
            case {
                "reference": str(reference),
                "resolved_at": int(resolved_at),
                "built_here": bool(built_here),
                "platform": str(platform),
            } if descriptor is not None:
                given = value.get("origins")
                origins = given if isinstance(given, dict) else {}
                known = {digest: origin for digest, origin in origins.items() if isinstance(origin, str)}
                made = _made_from(value.get("made_from"))
                return RefRecord(reference, descriptor, resolved_at, built_here, platform, known, made)
            case _:
                self._table.damaged(name, "not a reference")
                return None


def _made_from(value: object) -> MadeFrom | None:
    match value:
        case {"name": str(name), "text": str(text), "target": str() | None as target}:
            return MadeFrom(name, text, target)
        case _:
            return None


def _name(reference: str, *, built_here: bool) -> str:
    digest = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{'built' if built_here else 'seen'}/{digest}"
