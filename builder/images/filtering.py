"""``--filter`` of lists of images, as Docker has it."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from builder.cache.store import Store
from builder.errors import ImageError, UsageError
from builder.image.reference import Reference, ReferenceSyntaxError
from builder.images.listing import Listed
from builder.images.naming import find_record

KEYS = ("label", "reference", "dangling", "before", "since")


def parse_filters(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Read ``KEY=VALUE``. Raises UsageError."""
    found = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in KEYS:
            raise UsageError(f"--filter {text}: unknown filter", hint=f"KEY=VALUE with one of {', '.join(KEYS)}")
        if key == "dangling" and value not in ("true", "false"):
            raise UsageError(f"--filter {text}: dangling is true or false")
        found.append((key, value))
    return found


def matching(images: Sequence[Listed], filters: Sequence[tuple[str, str]], store: Store) -> list[Listed]:
    """Return the images that match all filters; of several for references one is enough. Raises ImageError."""
    found = list(images)
    patterns = [value for key, value in filters if key == "reference"]
    if patterns:
        found = [one for one in found if any(_is_called(one, pattern) for pattern in patterns)]
    for key, value in filters:
        if key == "label":
            found = [one for one in found if _is_labelled(one, value)]
        elif key == "dangling":
            found = [one for one in found if (one.name is None) == (value == "true")]
        elif key in ("before", "since"):
            other = _created(images, value, store)
            found = [one for one in found if one.created is not None and _is_on_side(one.created, other, key)]
    return found


def _is_on_side(created: int, other: int, key: str) -> bool:
    return created < other if key == "before" else created > other


def _is_labelled(image: Listed, text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in image.labels and (not equals or image.labels[key] == value)


def _is_called(image: Listed, pattern: str) -> bool:
    """Match as Docker: the whole name, or without its tag; a slash is matched by no star."""
    if image.name is None:
        return False
    plain = Reference(image.name.registry, image.name.repository, image.name.tag, image.name.digest)
    texts = {str(plain), plain.familiar, plain.name, plain.familiar.partition("@")[0].removesuffix(f":{plain.tag}")}
    parts = pattern.split("/")
    return any(
        len(parts) == len(text.split("/"))
        and all(fnmatch.fnmatchcase(part, one) for part, one in zip(text.split("/"), parts, strict=True))
        for text in texts
    )


def _created(images: Sequence[Listed], text: str, store: Store) -> int:
    try:
        record = find_record(store, text)
    except ReferenceSyntaxError:
        record = None
    digest = None if record is None else record.descriptor.digest
    for one in images:
        if one.digest == digest and one.created is not None:
            return one.created
    raise ImageError(f"{text} is not in the store, or does not say when it was made")
