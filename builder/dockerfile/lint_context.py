"""Findings that need more than the text: files of the context, pulled images (dockerfile.md 2).

Pure: the engine looks, and says here what it saw. A finding about the same thing may also come from the text alone
(a literal source of COPY); equal findings are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builder.dockerfile import rules
from builder.dockerfile.rules import Finding
from builder.dockerfile.sensitive import may_hold_sensitive, sensitive
from builder.dockerfile.source import Span

_SHOWN = 3


def unmatched_wildcard(source: str, span: Span) -> Finding:
    """Return the finding for a wildcard that matched no file."""
    return Finding(rules.UNMATCHED_WILDCARD, f"'{source}' matches no file, so nothing is copied", span)


def sensitive_files(keyword: str, places: Iterable[tuple[str, Sequence[str]]], span: Span) -> Finding | None:
    """Return the finding for the sensitive files that COPY or ADD takes from the context.

    ``places`` are directories and names in them, which may also be paths below. Of a directory that is sensitive as
    a whole only the directory is named.
    """
    found: dict[str, str] = {}
    for directory, names in places:
        if not may_hold_sensitive(directory, names):
            continue
        prefix = f"{directory}/" if directory else ""
        # What is in a sensitive directory adds nothing to it.
        for path in [directory] if sensitive(directory) else [prefix + name for name in names]:
            what = sensitive(path)
            if what is not None:
                found.setdefault(_topmost(path), what)
    if not found:
        return None
    shown = [f"'{path}', {what}" for path, what in list(found.items())[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Finding(rules.SENSITIVE_FILE_COPIED, f"{keyword} takes {'; '.join(shown)}{more}", span)


def _topmost(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return next(
        ("/".join(parts[:end]) for end in range(1, len(parts)) if sensitive("/".join(parts[:end]))), "/".join(parts)
    )


def base_platform(image: str, wanted: str, found: str, span: Span) -> Finding:
    """Return the finding for a base image whose platform is not the wanted one."""
    detail = f"base image {image} is for '{found}', and the build for '{wanted}'"
    return Finding(rules.INVALID_BASE_IMAGE_PLATFORM, detail, span)
