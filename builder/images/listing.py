"""What is in the store under which names: for ``images``, and for finding images by their ID."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Mapping

from builder.cache.refs import RefRecord
from builder.cache.store import Store
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.artifact import DOCUMENT_LIMIT, NESTING_LIMIT
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.manifest import Index, Manifest, is_attestation, parse_manifest
from builder.image.reference import Reference
from builder.patterns import pattern
from builder.values import dataclass

_TIME = pattern(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A name in the store and what it means.

    ``identity`` is the image ID, of an index or artifact its digest; ``created`` is in unix seconds, None if unknown;
    ``size`` is of the blobs as they are stored. ``whole`` says whether all that an image needs is here.
    """

    record: RefRecord
    name: Reference | None
    identity: Digest
    created: int | None
    size: int
    labels: Mapping[str, str]
    platforms: tuple[str, ...]
    whole: bool

    @property
    def digest(self) -> Digest:
        """The digest of the manifest or index."""
        return self.record.descriptor.digest


def listed(store: Store) -> Iterator[Listed]:
    """Yield every name whose manifest is in the store, the newest image first, without asking any registry."""
    found = [one for record in store.refs.records() if (one := _listed(store, record)) is not None]
    named = {one.digest for one in found if one.name is not None}
    found = [one for one in found if one.name is not None or one.digest not in named]
    yield from sorted(found, key=lambda one: (-(one.created or 0), one.record.reference, not one.record.built_here))


def reachable(store: Store, root: Descriptor) -> dict[Digest, Descriptor]:
    """Return everything that a manifest or index leads to, itself included, as far as the store can tell."""
    found: dict[Digest, Descriptor] = {}
    _reach(store, root, found, NESTING_LIMIT)
    return found


def _reach(store: Store, descriptor: Descriptor, found: dict[Digest, Descriptor], depth: int) -> None:
    if descriptor.digest in found or len(found) > DOCUMENT_LIMIT:
        return
    found[descriptor.digest] = descriptor
    parsed = _parsed(store, descriptor)
    if isinstance(parsed, Manifest):
        found.update({one.digest: one for one in (parsed.config, *parsed.layers)})
    elif isinstance(parsed, Index):
        for one in parsed.manifests:
            if one.media_type in media.DOCUMENTS and depth:
                _reach(store, one, found, depth - 1)
            else:
                found.setdefault(one.digest, one)


def _parsed(store: Store, descriptor: Descriptor) -> Manifest | Index | None:
    raw = store.blobs.read(descriptor.digest, used=False)
    try:
        return None if raw is None else parse_manifest(raw, descriptor.media_type)
    except ImageError:
        return None


@dataclass(slots=True)
class _Facts:
    identity: Digest
    created: int | None = None
    labels: Mapping[str, str] | None = None
    platforms: tuple[str, ...] = ()
    whole: bool = False


def _listed(store: Store, record: RefRecord) -> Listed | None:
    root = record.descriptor
    parsed = _parsed(store, root)
    if parsed is None:
        return None
    if isinstance(parsed, Manifest):
        facts = _image(store, parsed)
    else:
        facts = _Facts(root.digest)
        for manifest in _images(store, parsed, NESTING_LIMIT):
            _add(facts, _image(store, manifest))
    blobs = reachable(store, root).values()
    return Listed(
        record=record,
        name=None if record.reference.startswith("sha256:") else Reference.parse(record.reference),
        identity=facts.identity,
        created=facts.created,
        size=sum(one.size for one in blobs if store.blobs.size(one.digest) is not None),
        labels=facts.labels or {},
        platforms=tuple(dict.fromkeys(facts.platforms)),
        whole=facts.whole,
    )


def _images(store: Store, index: Index, depth: int) -> Iterator[Manifest]:
    for one in index.manifests:
        parsed = None if is_attestation(one) else _parsed(store, one)
        if isinstance(parsed, Manifest):
            yield parsed
        elif parsed is not None and depth:
            yield from _images(store, parsed, depth - 1)


def _image(store: Store, manifest: Manifest) -> _Facts:
    facts = _Facts(manifest.config.digest)
    facts.whole = all(
        store.blobs.size(one.digest) == one.size for one in (manifest.config, *manifest.layers) if not one.is_elsewhere
    )
    raw = store.blobs.read(manifest.config.digest, used=False)
    if raw is None or manifest.config.media_type not in (media.OCI_CONFIG, media.DOCKER_CONFIG):
        return facts
    try:
        config = ImageConfig.parse(raw)
    except ImageError:
        return facts
    facts.created = unix_time(config.created)
    facts.labels = config.config.labels
    facts.platforms = (str(config.platform),)
    return facts


def _add(facts: _Facts, image: _Facts) -> None:
    """Count an image of an index in: the newest says when it was made, the first which labels it has."""
    facts.created = max(filter(None, (facts.created, image.created)), default=None)
    facts.labels = facts.labels or image.labels
    facts.platforms += image.platforms
    facts.whole = facts.whole or image.whole


def unix_time(text: str) -> int | None:
    """Return an RFC 3339 time in unix seconds, None for what is none."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    *numbers, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    if not (0 < month <= 12 and 0 < day <= 31 and hour < 24 and minute < 60 and year):
        return None
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * 60
    return calendar.timegm((year, month, day, hour, minute, second)) + (offset if sign == "-" else -offset)


def utc_text(seconds: int) -> str:
    """Return unix seconds as Docker prints them: ``2024-05-01 12:00:00 +0000 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(seconds))
