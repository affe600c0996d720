"""Which times and modes a layer's entries get: as they are, clamped to an epoch, or set to it (design, idea 4)."""

from __future__ import annotations

import time
from typing import Literal

from builder.errors import UsageError
from builder.patterns import pattern
from builder.rootfs.entry import Entry, Kind
from builder.values import dataclass, replace

_FRACTION = pattern(r"\.\d+")
_LAST = 253402300799  # 9999-12-31T23:59:59Z: RFC 3339 and tar headers end there

EPOCH_NAME = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True, slots=True)
class TimePolicy:
    """What happens to times. ``keep`` has no epoch; ``now`` (unix seconds) only counts without one."""

    mode: Literal["keep", "clamp", "set"]
    epoch: int | None
    now: int

    def fresh(self) -> int:
        """Return the mtime of an entry this build makes up."""
        return self.now if self.epoch is None else self.epoch

    def of_context(self, entry: Entry) -> Entry:
        """Return a build context's entry as it goes into a layer."""
        if self.mode != "set" or self.epoch is None:
            return self.of_stage(entry)
        if entry.kind is Kind.SYMLINK:
            return replace(entry, mtime=self.epoch, mode=0o777)
        executable = entry.is_dir or entry.mode & 0o100
        return replace(entry, mtime=self.epoch, mode=0o755 if executable else 0o644)

    def of_stage(self, entry: Entry) -> Entry:
        """Return another stage's or an archive's entry as it goes into a layer."""
        if self.epoch is None or entry.mtime <= self.epoch:
            return entry
        return replace(entry, mtime=self.epoch)

    def no_later(self, stamp: str) -> str:
        """Return an RFC 3339 time, the epoch instead of a later one."""
        if self.epoch is None:
            return stamp
        from datetime import datetime

        try:
            seconds = datetime.fromisoformat(_FRACTION.sub("", stamp)).timestamp()
        except (ValueError, OverflowError):
            return rfc3339(self.epoch)
        return stamp if seconds <= self.epoch else rfc3339(self.epoch)

    def identity(self) -> tuple[str, int | None]:
        """Return what this contributes to keys of operations that write a layer."""
        return (self.mode, self.epoch)


def epoch_seconds(where: str, text: str) -> int:
    """Return the unix seconds that ``text``, given as ``where``, says. Raises UsageError."""
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > _LAST:
        raise UsageError(
            f"{where} is {text[:40]!r}, not a number of seconds since 1970", hint="e.g. $(git log -1 --pretty=%ct)"
        )
    return int(text)


def rfc3339(seconds: int) -> str:
    """Return unix seconds in the form configs and histories use."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(seconds, 0), _LAST)))
