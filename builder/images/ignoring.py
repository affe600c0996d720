"""What a comparison of images may pass over: kinds of differences, and paths."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from builder.dockerfile.suggest import did_you_mean
from builder.errors import UsageError
from builder.values import dataclass

KINDS = {
    "times": "mtimes in layers, created in config and history",
    "owners": "uid and gid",
    "modes": "permission bits",
    "order": "the order of a layer's entries",
    "bytes": "how the same values are written: tar headers, JSON",
    "compression": "how a layer's tar is compressed",
    "format": "media types of Docker's and OCI's format",
    "annotations": "annotations of index and manifest",
    "labels": "labels in the config",
    "history": "the config's history",
    "attestations": "attestation manifests of an index",
}


@dataclass(frozen=True, slots=True)
class Ignored:
    """Kinds, and patterns of paths without a leading slash; ``*`` matches slashes too."""

    kinds: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Ignored:
        """Read ``KIND[,KIND]`` and ``path=PATTERN``. Raises UsageError."""
        kinds: set[str] = set()
        paths: list[str] = []
        for text in texts:
            for one in [text] if text.startswith("path=") else text.split(","):
                if one.startswith("path="):
                    paths.append(one.removeprefix("path=").strip("/"))
                elif one in KINDS:
                    kinds.add(one)
                else:
                    raise UsageError(
                        f"--ignore {one}: unknown{did_you_mean(one, KINDS)}",
                        hint=f"one of {', '.join(KINDS)}, or path=PATTERN",
                    )
        return cls(frozenset(kinds), tuple(paths))

    @property
    def nothing(self) -> bool:
        """Whether every difference counts."""
        return not self.kinds and not self.paths

    def has(self, kind: str) -> bool:
        """Say whether differences of a kind do not count."""
        return kind in self.kinds

    def path(self, path: str) -> bool:
        """Say whether an entry does not count: it or a directory above it matches a pattern."""
        parts = path.split("/")
        above = ["/".join(parts[: end + 1]) for end in range(len(parts))] if self.paths else []
        return any(fnmatch.fnmatchcase(one, pattern) for pattern in self.paths for one in above)
