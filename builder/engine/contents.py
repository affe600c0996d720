"""What a COPY reads, as values for its key: what was selected, by content (cache-and-graph.md 5.2).

A context of a hundred thousand files counts by one digest over its files, which is computed without an object for
each of them where the stat cache knows them all. What else is in a key is decided in :mod:`builder.engine.keys`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import stat
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeAlias

from builder.cache.keys import Summary, Value, encode
from builder.context.contenthash import Record, record
from builder.context.directory import DirectoryTree
from builder.context.listing import entry_of, size_in, size_of
from builder.context.statcache import PLAIN
from builder.engine.selecting import Selection, Source, Whole, check_depth
from builder.engine.times import TimePolicy
from builder.rootfs.entry import Entry, Kind

_Item: TypeAlias = "tuple[str, Record, str | None]"
"""Path below the top, record, and the first path of the same file if that is another one."""


def content_of(selections: Sequence[Selection], source: Source, times: TimePolicy) -> Value:
    """Return what a source selects, by content: neither mtimes nor where it lies count.

    A copied directory leaves its own owner and mode behind, so its top counts only where ``--parents`` keeps it.
    """
    work = _Recording(source, times)

    def selected(one: Selection) -> Value:
        directory = one.top.is_dir
        return (
            one.below if directory or one.below is not None else one.name,
            "directory" if directory and not one.below else work.record(one.top),
            tuple((parent.relative, work.record(parent.entry)) for parent in one.parents),
            Summary(work.digest(one), functools.partial(work.shown, one)),
        )

    return ("content", tuple(selected(one) for one in selections))


class _Recording:
    """How the entries of one source become values."""

    def __init__(self, source: Source, times: TimePolicy) -> None:
        self._source = source
        self._times = times

    def record(self, entry: Entry) -> Record:
        """Return what identifies an entry."""
        adjusted = self._times.of_context(entry) if self._source.mutable else entry
        return record(adjusted, self._source.hasher.digest(entry)[0] if entry.kind is Kind.FILE else None)

    def shown(self, selection: Selection) -> Iterator[Value]:
        """Yield path and record of everything below the top, and a number for all names of a file with several."""
        picked = selection.picked
        numbers: dict[str, int] = {}
        if not isinstance(picked, Whole) or not isinstance(picked.tree, DirectoryTree) or _has_links(picked):
            several = dict.fromkeys(first for _, _, first in self._items(selection) if first is not None)
            numbers = {first: number for number, first in enumerate(several)}
        for relative, recorded, first in self._items(selection):
            yield relative, recorded, numbers.get(first or relative)

    def digest(self, selection: Selection) -> bytes:
        """Return a SHA-256 over the encodings of all items; of a whole directory they are looked at once."""
        picked = selection.picked
        if not isinstance(picked, Whole) or not isinstance(picked.tree, DirectoryTree):
            changing = self._source.mutable
            return _sha256(map(encode, self._items(selection)) if changing else self._kept(selection))
        known = self._source.hasher.digests
        key = picked.top.path, self._times.identity() if self._source.mutable else None
        digest = known.get(key)
        if digest is None:
            digest = known[key] = _sha256(self._encoded(picked.tree, picked.top.path))
        return digest

    def _items(self, selection: Selection) -> Iterator[_Item]:
        picked = selection.picked
        if isinstance(picked, Whole) and isinstance(picked.tree, DirectoryTree):
            return self._listed(picked.tree, picked.top.path)
        return self._picked(selection)

    def _listed(self, tree: DirectoryTree, top: str) -> Iterator[_Item]:
        """Yield the items of a whole directory, without an entry for each."""
        start = len(top) + 1 if top else 0
        names, hasher = _Names(), self._source.hasher
        plain: dict[int, Record] = {}
        pending = [(top, iter(tree.nodes(top)))]
        while pending:
            directory, nodes = pending[-1]
            prefix = f"{directory}/" if directory else ""
            for name, node in nodes:
                path = prefix + name
                mode, _, known, special = node
                like = plain.get(mode) if special is None else None
                if like is not None:
                    contents = known or hasher.listed(directory, name, node)
                    yield path[start:], (*like[:4], size_of(node), *like[5:9], contents[:32]), None
                    continue
                entry = entry_of(path, node)
                recorded = self.record(entry)
                link = special.link if special is not None and entry.kind is Kind.FILE else None
                yield path[start:], recorded, names.first(link, path[start:])
                if special is None:
                    plain[mode] = recorded
                elif stat.S_ISDIR(mode):
                    pending.append((path, iter(tree.nodes(path))))
                    break
            else:
                pending.pop()

    def _picked(self, selection: Selection) -> Iterator[_Item]:
        names = _Names()
        for below in itertools.islice(selection.picked, 1, None):
            entry = below.entry
            link = self._source.tree.link_key(entry.path) if entry.kind is Kind.FILE else None
            yield below.relative, self.record(entry), names.first(link, below.relative)

    def _kept(self, selection: Selection) -> Iterator[bytes]:
        """Yield the encodings of ``_items`` where nothing is adjusted; most files differ from others in few places."""
        frames: dict[tuple[int, int, int], tuple[bytes, bytes]] = {}
        digest, link_key, names = self._source.hasher.digest, self._source.tree.link_key, _Names()
        for below in itertools.islice(selection.picked, 1, None):
            entry, relative = below.entry, below.relative
            if entry.kind is not Kind.FILE:
                yield encode((relative, self.record(entry), None))
                continue
            first = names.first(link_key(entry.path), relative)
            if entry.xattrs or entry.target or entry.major or entry.minor:
                yield encode((relative, self.record(entry), first))
                continue
            owned = (entry.mode, entry.uid, entry.gid)
            frame = frames.get(owned)
            if frame is None:
                frame = frames[owned] = _frame(self.record(entry))
            path, size = relative.encode("utf-8", "surrogatepass"), b"%d" % entry.size
            other = b"n" if first is None else encode(first)
            yield _PLAIN % (len(path), path, frame[0], len(size), size, frame[1], digest(entry)[0], other)

    def _encoded(self, tree: DirectoryTree, top: str) -> Iterator[bytes]:
        """Yield the encodings of ``_items`` of a whole directory, many in one piece."""
        start = len(top) + 1 if top else 0
        frames: dict[int, tuple[bytes, bytes]] = {}
        names, hasher = _Names(), self._source.hasher
        check_depth(top)
        pending = [(f"{top}/" if top else "", iter(tree.nodes(top)))]
        while pending:
            prefix, nodes = pending[-1]
            directory = prefix[:-1]
            below = prefix[start:].encode("utf-8", "surrogatepass")
            parts: list[bytes] = []
            for name, node in nodes:
                mode, identity, known, special = node
                plain = special is None or known.endswith(PLAIN)
                if plain and (frame := frames.get(mode)) is not None:
                    path = below + name.encode("utf-8", "surrogatepass")
                    size = b"%d" % size_in(identity)
                    contents = known or hasher.listed(directory, name, node)
                    first = b"n" if special is None else encode(names.first(special.link, prefix[start:] + name))
                    parts.append(_PLAIN % (len(path), path, frame[0], len(size), size, frame[1], contents[:32], first))
                    continue
                entry = entry_of(prefix + name, node)
                recorded = self.record(entry)
                link = special.link if special is not None and entry.kind is Kind.FILE else None
                relative = entry.path[start:]
                parts.append(encode((relative, recorded, names.first(link, relative))))
                if plain:
                    frames[mode] = _frame(recorded)
                elif stat.S_ISDIR(mode):
                    check_depth(entry.path)
                    pending.append((f"{entry.path}/", iter(tree.nodes(entry.path))))
                    break
            else:
                pending.pop()
            yield b"".join(parts)


def _sha256(chunks: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


def _has_links(whole: Whole) -> bool:
    """Say whether any file of a listed directory has several names."""
    assert isinstance(whole.tree, DirectoryTree)
    return any(
        node[3] is not None and node[3].link is not None
        for _, nodes in whole.tree.walk(whole.top.path)
        for _, node in nodes
    )


class _Names:
    """The first of several names of a file, whatever its inode is."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, str] = {}

    def first(self, key: Hashable | None, name: str) -> str | None:
        """Return the first name that came with ``key``, None if this is the first."""
        found = name if key is None else self._seen.setdefault(key, name)
        return None if found == name else found


_PLAIN = b"l3:s%d:%b%bi%d:%b%b%b%b"
"""The item of a file without attributes: its path, a frame with the size and the SHA-256 in it, and the first path."""


def _frame(recorded: Record) -> tuple[bytes, bytes]:
    """Return what the encoding of a file's record has before the size, and between that and the SHA-256."""
    pieces = [encode(one) for one in recorded]
    return b"l%d:%b" % (len(pieces), b"".join(pieces[:4])), b"%bb32:" % b"".join(pieces[5:9])
