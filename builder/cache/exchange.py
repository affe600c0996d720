"""What caches exchange: tables of records as values, the documents they travel in, and the tags those are kept under.

An entry is an OCI artifact whose config is a table and whose layers are the blobs the table names, so that registries
keep them; a table with many records is an index of several such manifests. Entries are never changed: each has a tag of
its own, and a merged entry says which ones it includes. Everything read here is a stranger's. How entries are fetched
and whom they are believed is decided elsewhere (engine.places, engine.imports).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from builder.cache.keys import Key
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.fields import Fields, to_bytes
from builder.image.manifest import Manifest, ManifestError, parse_manifest
from builder.image.reference import TAG
from builder.patterns import pattern
from builder.rootfs.tocformat import MAGIC
from builder.values import dataclass, field, replace

ARTIFACT_TYPE = "application/vnd.pybuild.cache.v1"
TABLE_TYPE = "application/vnd.pybuild.cache.v1+json"
TOC_TYPE = f"application/vnd.pybuild.toc.v{MAGIC[-1]}+zlib"
"""Of other versions no table can be read, nor compared with ours."""

ABOUT_TYPE = "application/vnd.pybuild.records.v1+zlib"

RECORD_LIMIT = 20_000
"""Records of a merged table; the oldest are left out."""

BYTES_LIMIT = 16 << 20
"""Bytes of the tables of one entry."""

PART = 1000
"""Records, and tables of contents, of one manifest: registries take 4 MiB at most."""

SIZE_LIMIT = 1 << 40
"""Bytes of a blob."""

PART_LIMIT = 64
KEY_LIMIT = 8
INCLUDE_LIMIT = 50_000
ABOUT_LIMIT = 64
PREFIX_LIMIT = 90
"""Characters of a tag that can be left to the user: tags have 128."""

KEY = pattern("[0-9a-f]{64}")
_LAYERS = frozenset({media.OCI_LAYER, media.OCI_LAYER_GZIP, media.OCI_LAYER_ZSTD})
_TOC = pattern(r"application/vnd\.pybuild\.toc\.v[0-9]{1,3}\+zlib", re.ASCII)
_COMPRESSOR = pattern(r"[A-Za-z0-9_.+-]{0,100}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The result of an operation under its keys: a layer, or None for none.

    ``created`` is when it was made, ``shared`` when it was last said to be of use (unix seconds).
    """

    keys: tuple[Key, ...]
    diff_id: DiffID | None
    created: int
    shared: int
    layer: Descriptor | None = None
    compressor: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the JSON object."""
        value: dict[str, object] = {"keys": list(self.keys), "created": self.created, "shared": self.shared}
        if self.diff_id is not None and self.layer is not None:
            value |= {"diff_id": self.diff_id, "layer": self.layer.bare.to_json(), "compressor": self.compressor}
        return value


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says a layer holds: the blob of a table of contents, and the digest of what that says.

    ``shared`` is when it was last said to be of use (unix seconds).
    """

    blob: Descriptor
    facts: Digest
    shared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What one entry says. ``includes`` are the tags whose entries are contained in it.

    ``about`` are blobs with the components of keys, for explanations.
    """

    records: tuple[Record, ...] = ()
    claims: Mapping[DiffID, Claim] = field(default_factory=dict, hash=False)
    includes: tuple[str, ...] = ()
    about: tuple[Descriptor, ...] = ()

    def blobs(self) -> Iterator[Descriptor]:
        """Yield every blob that is named."""
        yield from (record.layer for record in self.records if record.layer is not None)
        yield from (claim.blob for claim in self.claims.values())
        yield from self.about

    def since(self, oldest: int) -> Exchange:
        """Return what was of use after ``oldest`` (unix seconds)."""
        return replace(
            self,
            records=tuple(one for one in self.records if one.shared >= oldest),
            claims={key: one for key, one in self.claims.items() if one.shared >= oldest},
        )

    def without(self, lost: frozenset[Digest]) -> Exchange:
        """Return what is left when blobs are gone."""
        return replace(
            self,
            records=tuple(one for one in self.records if one.layer is None or one.layer.digest not in lost),
            claims={key: one for key, one in self.claims.items() if one.blob.digest not in lost},
            about=tuple(one for one in self.about if one.digest not in lost),
        )


def merged(parts: Iterable[Exchange], includes: Iterable[str] = ()) -> Exchange:
    """Return the union. What newer records say of the same keys counts; beyond the limits the oldest are left out."""
    found: dict[tuple[object, ...], Record] = {}
    claims: dict[DiffID, Claim] = {}
    parts = list(parts)
    for part in parts:
        for record in part.records:
            identity = (record.keys, record.diff_id, None if record.layer is None else record.layer.digest)
            known = found.get(identity)
            if known is None or known.shared < record.shared:
                found[identity] = record
        for diff_id, claim in part.claims.items():
            if diff_id not in claims or claims[diff_id].shared < claim.shared:
                claims[diff_id] = claim
    # Entries of one build come before those that include many.
    about = {one.digest: one for part in sorted(parts, key=lambda part: len(part.about)) for one in part.about}
    newest = sorted(found.values(), key=_age, reverse=True)
    seen: set[tuple[Key, str]] = set()
    kept = []
    for record in newest[:RECORD_LIMIT]:
        # In each form of its layer: outputs differ in how they want them compressed.
        form = "" if record.layer is None else record.layer.media_type
        names = {(key, form) for key in record.keys}
        if not seen.issuperset(names):
            kept.append(record)
            seen.update(names)
    return Exchange(
        records=tuple(kept),
        claims=dict(sorted(claims.items(), key=lambda one: (-one[1].shared, one[0]))[:RECORD_LIMIT]),
        includes=tuple(sorted(set(includes)))[-INCLUDE_LIMIT:],
        about=tuple(about.values())[:ABOUT_LIMIT],
    )


def _age(record: Record) -> tuple[int, int, str]:
    return (record.shared, record.created, record.diff_id or "")


def index_of(exchange: Exchange) -> dict[Key, tuple[Record, ...]]:
    """Return what each key points to: of several results the one that was shared last, in all its forms."""
    found: dict[Key, tuple[Record, ...]] = {}
    for record in sorted(exchange.records, key=_age, reverse=True):
        for key in record.keys:
            known = found.get(key, ())
            if not known or known[0].diff_id == record.diff_id:
                found[key] = (*known, record)
    return found


# --- documents


def documents(exchange: Exchange) -> tuple[bytes, dict[Digest, bytes]]:
    """Return the root document of an entry, and every document of it with its digest, tables included."""
    found: dict[Digest, bytes] = {}
    manifests = []
    for part in _parts(exchange):
        table = to_bytes(_table(part))
        config = Descriptor(media_type=TABLE_TYPE, digest=Digest.of(table), size=len(table))
        layers = {one.digest: one.bare for one in part.blobs()}
        raw = to_bytes(
            {
                "schemaVersion": 2,
                "mediaType": media.OCI_MANIFEST,
                "artifactType": ARTIFACT_TYPE,
                "config": config.to_json(),
                "layers": [one.to_json() for one in layers.values()],
            }
        )
        found[config.digest] = table
        found[Digest.of(raw)] = raw
        manifests.append(raw)
    if len(manifests) == 1:
        return manifests[0], found
    root = to_bytes(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "artifactType": ARTIFACT_TYPE,
            "manifests": [
                {"mediaType": media.OCI_MANIFEST, "digest": Digest.of(raw), "size": len(raw)} for raw in manifests
            ],
        }
    )
    found[Digest.of(root)] = root
    return root, found


def _parts(exchange: Exchange) -> Iterator[Exchange]:
    claims = list(exchange.claims.items())
    for start in range(0, max(len(exchange.records), len(claims), 1), PART):
        yield Exchange(
            records=exchange.records[start : start + PART],
            claims=dict(claims[start : start + PART]),
            includes=exchange.includes if start == 0 else (),
            about=exchange.about if start == 0 else (),
        )


def _table(part: Exchange) -> dict[str, object]:
    return {
        "version": 1,
        "includes": list(part.includes),
        "records": [record.to_json() for record in part.records],
        "tocs": [
            {"diff_id": diff_id, "facts": claim.facts, "shared": claim.shared, "blob": claim.blob.bare.to_json()}
            for diff_id, claim in part.claims.items()
        ],
        "about": [one.bare.to_json() for one in part.about],
    }


def manifests_of(raw: bytes) -> tuple[Descriptor, ...]:
    """Return the manifests of an entry whose root is an index; none where it is a manifest. Raises ImageError."""
    parsed = parse_manifest(raw)
    if isinstance(parsed, Manifest):
        return ()
    found = tuple(one for one in parsed.manifests if one.media_type == media.OCI_MANIFEST)
    if len(found) > PART_LIMIT:
        raise ManifestError(f"an entry of a cache has {len(found)} parts; the limit is {PART_LIMIT}")
    return found


def table_of(raw: bytes) -> Descriptor:
    """Return where the table of a manifest is. Raises ImageError for what is no part of a cache."""
    parsed = parse_manifest(raw)
    if not isinstance(parsed, Manifest) or parsed.config.media_type != TABLE_TYPE:
        raise ManifestError("not an entry of a cache")
    return parsed.config


def parse_table(raw: bytes, now: int = 1 << 62) -> Exchange:
    """Read a table. Raises ImageError, also for more than our limits.

    Nothing in it was shared after ``now`` (unix seconds): a clock that is wrong must not make a record the newest.
    """
    fields = Fields.parse(raw, "table")
    if fields.value.get("version") != 1:
        raise ImageError(f"table.version: expected 1, found {str(fields.value.get('version'))[:20]!r}")
    includes = fields.texts("includes") or ()
    if len(includes) > INCLUDE_LIMIT or not all(TAG.fullmatch(one) for one in includes):
        raise ImageError("table.includes: expected tags, and not too many")
    records = [_record(one, now) for one in fields.children("records")]
    claims = [claim for one in fields.children("tocs") if (claim := _claim(one, now)) is not None]
    about = [_blob(one, frozenset({ABOUT_TYPE})) for one in fields.children("about")]
    if len(records) > RECORD_LIMIT or len(claims) > RECORD_LIMIT or len(about) > ABOUT_LIMIT:
        raise ImageError(f"table: {len(records)} records; the limit is {RECORD_LIMIT}")
    return Exchange(records=tuple(records), claims=dict(claims), includes=includes, about=tuple(about))


def _record(fields: Fields, now: int) -> Record:
    keys = fields.texts("keys") or ()
    if not 0 < len(keys) <= KEY_LIMIT or not all(KEY.fullmatch(one) for one in keys):
        raise ImageError(f"{fields.path}.keys: expected 1 to {KEY_LIMIT} keys of 64 hex digits")
    compressor = fields.text("compressor")
    if not _COMPRESSOR.fullmatch(compressor):
        raise ImageError(f"{fields.path}.compressor: not a compressor's name")
    named = fields.value.get("diff_id") is not None
    return Record(
        keys=tuple(Key(one) for one in keys),
        diff_id=DiffID(Digest.parse(fields.value["diff_id"])) if named else None,
        created=fields.number("created"),
        shared=min(fields.number("shared"), now),
        layer=_blob(fields.child("layer"), _LAYERS) if named else None,
        compressor=compressor,
    )


def _claim(fields: Fields, now: int) -> tuple[DiffID, Claim] | None:
    diff_id = DiffID(Digest.parse(fields.value.get("diff_id")))
    child = fields.child("blob")
    if child.text("mediaType") != TOC_TYPE and _TOC.fullmatch(child.text("mediaType")):
        return None
    blob = _blob(child, frozenset({TOC_TYPE}))
    return diff_id, Claim(blob, Digest.parse(fields.value.get("facts")), min(fields.number("shared"), now))


def _blob(fields: Fields, types: frozenset[str]) -> Descriptor:
    kind = fields.text("mediaType")
    if kind not in types:
        raise ImageError(f"{fields.path}.mediaType: expected one of {', '.join(sorted(types))}, found {kind[:80]!r}")
    size = fields.number("size")
    if size > SIZE_LIMIT:
        raise ImageError(f"{fields.path}.size: {size} bytes; the limit is {SIZE_LIMIT}")
    # Nothing else is taken over: no URLs to fetch from, no annotations for images.
    return Descriptor(media_type=kind, digest=Digest.parse(fields.value.get("digest")), size=size)


# --- tags


@dataclass(frozen=True, slots=True)
class EntryTag:
    """The name of an entry, which never gets another meaning: when it was written, and how its digest begins."""

    prefix: str
    merged: bool
    written: int
    start: str

    @classmethod
    def of(cls, prefix: str, root: bytes, now: int, *, merged: bool) -> EntryTag:
        """Return the tag of an entry with this root document."""
        return cls(prefix, merged, min(max(now, 0), (1 << 40) - 1), Digest.of(root).hex[:16])

    def __str__(self) -> str:
        return f"{self.prefix}-{'m' if self.merged else 'e'}-{self.written:010x}-{self.start}"


def entry_tags(prefix: str, tags: Iterable[str]) -> list[EntryTag]:
    """Return the entries of a cache among the ``tags`` of a repository, newest first."""
    pattern = re.compile(re.escape(prefix) + "-([em])-([0-9a-f]{10})-([0-9a-f]{16})", re.ASCII)
    found = [
        EntryTag(prefix, match[1] == "m", int(match[2], 16), match[3])
        for match in map(pattern.fullmatch, dict.fromkeys(tags))
        if match
    ]
    return sorted(found, key=lambda one: (one.written, one.start, one.merged), reverse=True)


def uncovered(tags: Sequence[EntryTag], covered: Iterable[str]) -> list[EntryTag]:
    """Return the ``tags`` that no merged entry says it includes."""
    known = set(covered)
    return [one for one in tags if str(one) not in known]
