"""The data of a page and of ``--json``: facts, files in one pass, and what was counted on the way.

A page gets lines of JSON: the facts; a line for every few thousand paths, each ``[depth, name, difference, versions]``
with five values for every version (layer, change, attributes, extent, time); last the table of attributes and what was
counted. Layers of a second image are numbered on. Only ASCII: lone surrogates stay what they are. An extent is a size,
a symlink's target or a device's numbers; a hard link's target, and its file's size, layer, offset and own path (null
where its layer has something else there).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from builder.errors import ImageError
from builder.explore.changes import Difference, Node, Version, walk
from builder.explore.counting import Counts
from builder.explore.reading import Stack
from builder.explore.subject import Subject
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.view import Located

PATHS_LIMIT = 1_000_000
"""Paths that are shown; a browser holds them all."""

_BATCH = 4096
_XATTRS = 16
"""Names of extended attributes that are told of one entry."""

_DEVICES = (Kind.CHAR, Kind.BLOCK)
_LINKS = (Kind.SYMLINK, Kind.HARDLINK)


class Totals:
    """Counts every image and every difference, as the paths pass by. Raises ImageError beyond PATHS_LIMIT."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = tuple(subjects)
        self.counts = tuple(Counts(one.stack) for one in subjects)
        self.differences = dict.fromkeys(Difference, 0)
        self._paths = 0

    def nodes(self) -> Iterator[Node]:
        """Yield every path, counted."""
        for node in walk([one.stack for one in self.subjects]):
            self._paths += 1
            if self._paths > PATHS_LIMIT:
                raise ImageError(
                    f"{self.subjects[0].name} has more than {PATHS_LIMIT} paths, which no page shows well",
                    hint="pybuild diff and pybuild history have no such limit",
                )
            for counts, versions in zip(self.counts, node.stacks, strict=True):
                counts.add(node.path, versions)
            self.differences[node.difference] += 1
            yield node

    def counted(self) -> list[dict[str, object]]:
        """Return what was counted of each image."""
        return [_counted(one) for one in self.counts]

    def different(self) -> dict[str, int]:
        """Return how many paths differ, by how."""
        return {kind.name.lower(): number for kind, number in self.differences.items() if kind is not Difference.NONE}


def lines(subjects: Sequence[Subject]) -> Iterator[str]:
    """Yield the lines for a page. Raises ImageError beyond PATHS_LIMIT."""
    yield _json({"version": 1, "images": [one.facts() for one in subjects]})
    totals, table = Totals(subjects), _Attributes()
    firsts = [sum(len(one.stack.sizes) for one in subjects[:number]) for number in range(len(subjects))]
    batch: list[list[object]] = []
    for node in totals.nodes():
        row: list[object] = [node.depth, node.path.rpartition("/")[2], int(node.difference)]
        for first, subject, versions in zip(firsts, subjects, node.stacks, strict=True):
            for one in versions:
                row += _version(first, one, table, subject.stack)
        batch.append(row)
        if len(batch) == _BATCH:
            yield _json(batch)
            batch = []
    if batch:
        yield _json(batch)
    yield _json({"attributes": table.rows, "images": totals.counted(), "differences": totals.different()})


def document(subjects: Sequence[Subject]) -> Iterator[str]:
    """Yield the pieces of one JSON document, a file a line. Raises ImageError beyond PATHS_LIMIT."""
    totals = Totals(subjects)
    yield '{"version": 1,\n"files": ['
    comma = "\n"
    for node in totals.nodes():
        yield comma + _json(_file(node, compared=len(subjects) > 1))
        comma = ",\n"
    images = [{**one.facts(), **counted} for one, counted in zip(subjects, totals.counted(), strict=True)]
    end: dict[str, object] = {"images": images}
    if len(subjects) > 1:
        end["differences"] = totals.different()
    yield "\n],\n" + _json(end)[1:] + "\n"


class _Attributes:
    """Kinds, modes, owners and names of extended attributes, each combination once."""

    def __init__(self) -> None:
        self.rows: list[list[object]] = []
        self._known: dict[tuple[object, ...], int] = {}

    def number(self, entry: Entry) -> int:
        """Return the number of an entry's attributes."""
        key = (entry.kind.value, entry.mode, entry.uid, entry.gid, *_xattrs(entry))
        number = self._known.setdefault(key, len(self.rows))
        if number == len(self.rows):
            self.rows.append(list(key))
        return number


def _xattrs(entry: Entry) -> list[str]:
    return sorted(entry.xattrs)[:_XATTRS] if entry.xattrs else []


def _version(first: int, version: Version, table: _Attributes, stack: Stack) -> list[object]:
    entry = version.entry
    if entry is None:
        return [first + version.layer, int(version.change), 0, 0, 0]
    extent = _extent(entry) if version.linked is None else _linked(first, entry, version.linked, stack)
    return [first + version.layer, int(version.change), table.number(entry), extent, entry.mtime]


def _linked(first: int, entry: Entry, file: Located, stack: Stack) -> str | list[object]:
    """Return what a page needs to count a file once, whichever of its names are to be seen."""
    if file.entry.kind is not Kind.FILE or not file.entry.size:
        return entry.target
    return [entry.target, file.entry.size, first + file.layer, file.offset, stack.own_name(file)]


def _extent(entry: Entry) -> int | str:
    if entry.kind in _LINKS:
        return entry.target
    return f"{entry.major}, {entry.minor}" if entry.kind in _DEVICES else entry.size


def _file(node: Node, *, compared: bool) -> dict[str, object]:
    versions = [[_said(one) for one in found] for found in node.stacks]
    value: dict[str, object] = {"path": "/" + node.path}
    if not compared:
        return {**value, "versions": versions[0]}
    return {**value, "difference": node.difference.name.lower(), "a": versions[0], "b": versions[1]}


def _said(version: Version) -> dict[str, object]:
    value: dict[str, object] = {"layer": version.layer, "change": version.change.name.lower()}
    entry = version.entry
    if entry is None:
        return value
    value |= {"kind": entry.kind.name.lower(), "mode": f"{entry.mode:04o}", "uid": entry.uid, "gid": entry.gid}
    value |= {"size": entry.size, "mtime": entry.mtime}
    if entry.kind in _LINKS:
        value["target"] = entry.target
    if entry.kind in _DEVICES:
        value["device"] = [entry.major, entry.minor]
    if entry.xattrs:
        value["xattrs"] = _xattrs(entry)
    return value


def _counted(counts: Counts) -> dict[str, object]:
    return {
        "paths": counts.paths,
        "files": counts.files,
        "bytes": counts.size,
        "hiddenBytes": counts.hidden,
        "hiddenFiles": counts.hidden_files,
        "efficiency": round(counts.efficiency, 4),
        "equalBytes": counts.equal_bytes,
        "changes": [
            {
                "added": one.added,
                "changed": one.changed,
                "removed": one.removed,
                "rewritten": one.rewritten,
                "bytes": one.size,
                "hiddenBytes": one.hidden,
            }
            for one in counts.layers
        ],
        "hidden": [
            {
                "path": "/" + one.path,
                "bytes": one.bytes,
                "layers": list(one.layers),
                "by": one.by,
                "removed": one.removed,
            }
            for one in counts.most_hidden()
        ],
        "equal": [
            {"bytes": one.size, "count": one.count, "wasted": one.wasted, "paths": ["/" + path for path in one.paths]}
            for one in counts.equal()
        ],
    }


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
