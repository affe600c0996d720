"""Sorts a layer's log into an index, for the layers that need no replay: nearly all.

Such a layer has no path twice (directories excepted), and nothing under something that is no directory. Whether a
directory above an entry may be a symlink in a lower layer cannot be known here; those that matter become *anchors*,
which the view checks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from builder.rootfs.entry import Kind
from builder.rootfs.tocformat import (
    DELETION,
    DIRECTORY,
    GHOST,
    HARDLINK,
    IMPLIED,
    LINK_SLOT,
    OPAQUE,
    WHITEOUT,
    Log,
    Slots,
    to_key,
)

_NEVER = 1 << 62
_OPAQUE_KIND = ord(Kind.OPAQUE)


class _Open:
    """A slot whose subtree is not complete yet."""

    __slots__ = ("blocked", "children", "first", "key", "least", "slot")

    def __init__(self, key: bytes, slot: int, first: int, *, blocked: bool) -> None:
        self.key = key
        self.slot = slot
        self.first = first
        """Number of the first entry for this path itself."""
        self.least = _NEVER
        """Number of the first real entry below."""
        self.blocked = blocked
        self.children = False


def sort_log(log: Log, base: int) -> Slots | None:
    """Return the index of ``log``, None if it needs a replay. Raises LayerFormatError beyond our limits."""
    sorter = _Sorter(log, base)
    sorter.run()
    return sorter.slots if sorter.regular else None


class _Sorter:
    def __init__(self, log: Log, base: int) -> None:
        self.slots = Slots(base)
        self.regular = True
        self._log = log
        self._open: list[_Open] = []
        self._firsts = array("Q")
        self._link_slots: dict[int, int] = {}

    def run(self) -> None:
        keys = self._log.keys
        order = sorted(range(len(keys)), key=keys.__getitem__)
        if not order or keys[order[0]]:
            self._push(b"", 0, GHOST, 0, _NEVER)
        at = 0
        while at < len(order) and self.regular:
            key = keys[order[at]]
            end = at + 1
            while end < len(order) and keys[order[end]] == key:
                end += 1
            following = keys[order[end]] if end < len(order) else b""
            if end > at + 1 or _within(following, key) or not self._leaf(key, order[at]):
                self._path(key, order[at:end])
            at = end
        while self._open:
            self._pop()
        for number, slot in sorted(self._link_slots.items()) if self.regular else ():
            self._link(number, slot)

    def _leaf(self, key: bytes, number: int) -> bool:
        """Add the slot of what is no directory and has one entry, if the one it is in is open; say whether it was.

        Does what ``_path`` does, for nearly all entries, and without opening what is closed at once.
        """
        kind, slots = self._log.kinds[number], self.slots
        if kind == DIRECTORY or kind in DELETION:
            return False
        parent = key[: max(key.rfind(b"\0"), 0)]
        while self._open and self._open[-1].key != parent and not _within(parent, self._open[-1].key):
            self._pop()
        if not self._open or self._open[-1].key != parent or self._open[-1].blocked:
            return False
        above = self._open[-1]
        above.children = True
        above.least = min(above.least, number)
        slot = slots.add(key, self._log.records[number], kind, 0, in_record=True)
        slots.ends[slot] = slot + 1
        self._firsts.append(number)
        if kind == HARDLINK:
            self._link_slots[number] = slot
        return True

    def _path(self, key: bytes, numbers: list[int]) -> None:
        """Add the slot for all entries with one path, after those of directories above that have none."""
        kinds = self._log.kinds
        real = [number for number in numbers if kinds[number] not in DELETION]
        flags = 0
        for number in numbers:
            if kinds[number] in DELETION:
                flags |= OPAQUE if kinds[number] == _OPAQUE_KIND else WHITEOUT
        if len(real) > 1 and any(kinds[number] != DIRECTORY for number in real):
            self.regular = False
            return
        self._reach(key)
        if not real:
            self._push(key, 0, GHOST, flags, _NEVER)
            return
        if self._open and self._open[-1].blocked:
            self.regular = False
            return
        last = real[-1]
        slot = self._push(key, self._log.records[last], kinds[last], flags, real[0])
        if kinds[last] == HARDLINK:
            self._link_slots[last] = slot

    def _reach(self, key: bytes) -> None:
        """Make the directory that holds ``key`` the innermost open one."""
        while self._open and not _within(key, self._open[-1].key):
            self._pop()
        if not self._open:
            return
        start = len(self._open[-1].key)
        at = key.find(b"\0", start + 1 if start else 0)
        while at >= 0:
            self._push(key[:at], 0, GHOST, 0, _NEVER)
            at = key.find(b"\0", at + 1)
        self._open[-1].children = True

    def _push(self, key: bytes, record: int, kind: int, flags: int, first: int) -> int:
        blocked = (bool(self._open) and self._open[-1].blocked) or kind not in (DIRECTORY, GHOST)
        if self._open:
            self._open[-1].children = True
        slot = self.slots.add(key, record, kind, flags, in_record=record != 0)
        self._firsts.append(first)
        self._open.append(_Open(key, slot, first, blocked=blocked))
        return slot

    def _pop(self) -> None:
        node = self._open.pop()
        slots = self.slots
        slots.ends[node.slot] = len(slots.keys)
        if self._open:
            above = self._open[-1]
            above.least = min(above.least, node.least, node.first)
        if node.first == _NEVER:
            if node.least < _NEVER or not node.key:
                slots.kinds[node.slot] = IMPLIED
                slots.anchors |= {node.key} - {b""}
            if node.key and (node.children or slots.flags[node.slot] & OPAQUE):
                slots.implied.append(node.key)
        elif node.key and node.least < node.first:  # it was implied when the first entry below came
            slots.anchors.add(node.key)

    def _link(self, number: int, slot: int) -> None:
        """Find what a hard link shared its file with when it was made: an earlier entry, or one of a lower layer."""
        slots = self.slots
        key = to_key(self._log.targets[number])
        at = key.find(b"\0")
        while at >= 0:
            above = self._slot(key[:at])
            if above >= 0 and slots.kinds[above] not in (DIRECTORY, IMPLIED, GHOST):
                self.regular = False
            if above < 0 or self._firsts[above] > number:
                slots.anchors.add(key[:at])
            at = key.find(b"\0", at + 1)
        target = self._slot(key)
        if target >= 0 and self._firsts[target] < number and slots.kinds[target] != DIRECTORY:
            # A link to a link is one to the same file; the earlier one is resolved already.
            is_link = slots.kinds[target] == HARDLINK
            slots.links[slot] = slots.links[target] if is_link else LINK_SLOT | target
        else:  # for a link to a directory too: whoever looks it up will hear of it
            slots.links[slot] = slots.link_to_lower(key)

    def _slot(self, key: bytes) -> int:
        at = bisect_left(self.slots.keys, key)
        return at if at < len(self.slots.keys) and self.slots.keys[at] == key else -1


def _within(key: bytes, directory: bytes) -> bool:
    return not directory or (key.startswith(directory) and key[len(directory) : len(directory) + 1] == b"\0")
