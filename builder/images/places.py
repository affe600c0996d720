"""How people write where an image is: a reference, a layout, an archive, the store. Pure but for what exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from builder.archive.image import split_location
from builder.errors import ContextError, UsageError
from builder.image.reference import Reference
from builder.values import dataclass

Kind = Literal["registry", "store", "layout", "oci-archive", "docker-archive"]

_SCHEMES: tuple[tuple[str, Kind], ...] = (
    ("docker://", "registry"),
    ("docker-image://", "registry"),
    ("store:", "store"),
    ("oci-layout://", "layout"),
    ("oci:", "layout"),
    ("oci-archive:", "oci-archive"),
    ("docker-archive:", "docker-archive"),
)

_STRANGERS = (
    ("docker-daemon:", "docker save NAME | pybuild load, or pybuild save NAME | docker load"),
    ("containers-storage:", "podman save NAME | pybuild load, or pybuild save NAME | podman load"),
)
"""What skopeo knows and we do not, and what to do instead."""

FORMS = "REF, docker://REF, store:REF, oci-layout://DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF]"


@dataclass(frozen=True, slots=True)
class Place:
    """``kind`` is empty for a bare name or path; ``text`` is what follows the scheme."""

    kind: Kind | Literal[""]
    text: str

    def __str__(self) -> str:
        scheme = next((scheme for scheme, kind in _SCHEMES if kind == self.kind), "")
        return f"{scheme}{self.text}"


def parse_place(text: str) -> Place:
    """Read where an image is. Raises UsageError for a scheme that we do not know."""
    for scheme, kind in _SCHEMES:
        if text.startswith(scheme):
            rest = text.removeprefix(scheme)
            if not rest:
                raise UsageError(f"{text} names nothing", hint=f"write one of {FORMS}")
            return Place(kind, rest)
    for scheme, way in _STRANGERS:
        if text.startswith(scheme):
            raise UsageError(f"{text}: {scheme.rstrip(':')} is another program's store", hint=way)
    if "://" in text:
        raise UsageError(f"{text}: unknown kind of place", hint=f"write one of {FORMS}")
    return Place("", text)


def is_path(text: str) -> bool:
    """Say whether a bare name means a file or directory: it is spelled like one, or is there and is no name."""
    if text.startswith(("/", "./", "../")) or text in (".", ".."):
        return True
    return os.path.exists(text) and (not os.path.isdir(text) or os.path.exists(os.path.join(text, "oci-layout")))


def name_of(text: str) -> Reference | None:
    """Return the name that an image is asked for by; None for files, and for digests alone. Raises UsageError."""
    place = parse_place(text)
    if place.kind not in ("", "registry", "store") or (place.kind == "" and is_path(place.text)):
        return None
    if place.text.startswith("sha256:"):
        return None
    reference = Reference.parse(place.text)
    return Reference(reference.registry, reference.repository, reference.tag) if reference.tag else None


def registry_name(text: str) -> Reference:
    """Return the name in a registry that ``text`` is, with or without docker://. Raises UsageError."""
    place = parse_place(text)
    if place.kind not in ("", "registry"):
        raise UsageError(f"{text} is in no registry", hint="pybuild copy SRC DST goes from any place to any other")
    return Reference.parse(place.text)


def split_target(text: str) -> tuple[Path, str]:
    """Split ``PATH[:NAME]`` for something that is to be written: at the first colon, if no longer path exists."""
    try:
        path, name = split_location(text)
    except ContextError:
        head, _, name = text.partition(":")
        path = Path(head)
    if not str(path):
        raise UsageError(f"{text!r} names no file")
    return path, name.removeprefix(":")


def target_name(text: str) -> Reference | str:
    """Return the name for an image in a file: a whole reference, or a bare tag."""
    if "/" in text or ":" in text:
        return Reference.parse(text)
    return Reference.parse(f"x:{text}").tag or text
