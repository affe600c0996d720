"""Compatibility levels: numbers for all that decides the bytes of an image besides what goes into it.

Equal inputs give equal bytes at one level, in every release that has it (docs/reproducibility.md). What is a number
stands here; the rest a level pins is code, held by the golden digests in ``testdata/goldens/level-N.json``:

- the tar of a layer: form of headers and PAX records, order, times, what is left out (``rootfs.tarwriter``,
  ``rootfs.whiteout``, ``engine.layerbuilder``, ``engine.times``);
- its compression: method, effort, chunks, framing (``rootfs.chunked``), for one version of each library;
- the config: members, their order and spelling, texts of the history, times (``image.config``, ``plan.metadata``,
  ``plan.lower``, ``engine.assemble``); the manifest and the index: the same, media types, which annotations are there
  without being asked for (``image.mutate``, ``engine.built``).

A change to any of these is a new level: a row of LEVELS with what is different as a field, asked for where it counts
(``Services.level``, ``BuildRequest.level``), and a file of golden digests. Rows are never edited.
"""

from __future__ import annotations

from builder.errors import UsageError
from builder.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one level writes. ``chunk`` is input bytes of a gzip member or zstd frame; the others are efforts.

    ``gzip`` is libdeflate's, ``zstd`` libzstd's, ``single`` zlib's, for gzip with one member.
    """

    number: int
    chunk: int
    gzip: int
    zstd: int
    single: int


FIRST = Level(number=1, chunk=1 << 20, gzip=1, zstd=3, single=6)

LEVELS = {level.number: level for level in (FIRST,)}
"""Every level that this release can write, by number."""

NEWEST = LEVELS[max(LEVELS)]


def level_of(where: str, text: str) -> Level:
    """Return the level with a number; ``where`` says who asked. Raises UsageError for one that is not there."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    level = LEVELS.get(number)
    if level is None:
        known = ", ".join(map(str, sorted(LEVELS)))
        raise UsageError(
            f"{where}: there is no compatibility level {text[:40]!r}",
            hint=f"this pybuild has {known}" + (": a later one may have more" if number > NEWEST.number else ""),
        )
    return level
