"""How layers are to be compressed, in words: the build's options, an output's attributes, and ``convert``'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from builder.engine.request import CompressionChoice, Output
from builder.errors import UsageError
from builder.image.mutate import Format

Kind = Literal["gzip", "gzip-single-member", "zstd", "uncompressed"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_HIGHEST = {"gzip": 9, "gzip-single-member": 9, "zstd": 22}


def choice(where: str, kind: str, level: str, force: bool | None, usual: CompressionChoice) -> CompressionChoice:
    """Return the meaning of a compression, a level and force, where empty and None mean ``usual``'s.

    ``where`` says whose words they are. Raises UsageError.
    """
    if kind and kind not in KINDS:
        raise UsageError(f"{where}: unknown compression {kind!r}", hint=f"one of {', '.join(KINDS)}")
    named = next((one for one in KINDS if one == kind), usual.kind)
    # A level belongs to its compression.
    chosen = _level(where, named, level) if level else usual.level if named == usual.kind else None
    return CompressionChoice(named, chosen, usual.force if force is None else force)


def _level(where: str, kind: Kind, text: str) -> int:
    highest = _HIGHEST.get(kind)
    if highest is None:
        raise UsageError(f"{where}: uncompressed layers have no level", hint="leave the level out")
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) > highest:
        raise UsageError(f"{where}: the level of {kind} is a whole number from 0 to {highest}, not {text!r}")
    return int(text)


def refuse_zstd(image_format: Format, usual: CompressionChoice, outputs: Sequence[Output]) -> None:
    """Raise UsageError where layers would be zstd in an image whose format, or whose archive, has no word for it."""
    images = [one for one in outputs if one.kind in ("docker", "oci", "registry", "image")]
    if not images:
        _refuse("--compression zstd", usual, image_format == "docker")
    for one in images:
        chosen = one.form.compression or usual
        _refuse(f"type={one.kind}", chosen, (one.form.image_format or image_format) == "docker")
        if one.kind == "docker" and chosen.kind == "zstd":
            raise UsageError(
                "type=docker: archives of docker save have no zstd layers", hint="write type=oci, or choose gzip"
            )


def _refuse(what: str, chosen: CompressionChoice, docker: bool) -> None:
    if docker and chosen.kind == "zstd":
        raise UsageError(
            f"{what}: Docker's image format knows no zstd layers",
            hint="write OCI media types (--format oci, oci-mediatypes=true), or choose gzip",
        )
