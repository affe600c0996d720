"""A directory that is copied as a whole gives the layer that copying its entries one by one gives."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from builder.context.contenthash import ContentHasher
from builder.context.directory import DirectoryTree
from builder.context.ignore import IgnoreRules
from builder.engine.copying import CopyRules, place
from builder.engine.layerbuilder import LayerBuilder
from builder.engine.selecting import Source, select
from builder.engine.times import TimePolicy
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Item, pack
from builder.rootfs.toc import Toc
from builder.rootfs.view import View

_NAMES = ["a", "b", "a-b", "é", os.fsdecode(b"\xff"), "sub", "Sub"]
_paths = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3).map("/".join)
_things = st.tuples(
    st.sampled_from(["file", "file", "large", "directory", "symlink", "hardlink", "fifo", "whiteout"]),
    st.binary(max_size=3),
    st.sampled_from([0o644, 0o755, 0o4711]),
)
_trees = st.dictionaries(_paths, _things, max_size=12)
_lower = st.dictionaries(
    st.one_of(_paths, _paths.map("dest/{}".format)),
    st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK]),
    max_size=6,
)
_policies = st.sampled_from([TimePolicy("keep", None, 7), TimePolicy("clamp", 5, 7), TimePolicy("set", 5, 7)])
_ignored = st.sampled_from([b"", b"sub\n!sub/a\n", b"*\n!a\n!sub/Sub/b\n"])


def _make(root: Path, tree: dict[str, tuple[str, bytes, int]]) -> None:
    files: list[Path] = []
    for path, (kind, data, mode) in tree.items():
        place = root / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # below something that is no directory
            continue
        if os.path.lexists(place) or any(one.is_symlink() for one in place.parents):
            continue
        match kind:
            case "directory":
                place.mkdir(mode=mode | 0o700)
            case "symlink":
                place.symlink_to(os.fsdecode(data.replace(b"\0", b"0").replace(b"/", b"1") or b"a"))
            case "hardlink" if files:
                place.hardlink_to(files[len(data) % len(files)])
            case "fifo":
                os.mkfifo(place, mode)
            case "whiteout" if len(data) == 3:  # now and then: nothing is left to compare
                place.with_name(".wh.x").touch()
            case _:
                place.write_bytes(data * (200_000 if kind == "large" else 1))
                place.chmod(mode)
                files.append(place)


def _view(kinds: dict[str, Kind]) -> View:
    above = {"/".join(path.split("/")[:count]) for path in kinds for count in range(1, path.count("/") + 1)}
    items = [
        Item(Entry(path=path, kind=Kind.DIRECTORY if path in above else kinds[path], target="x"[: path not in above]))
        for path in sorted({*kinds, *above})
    ]
    for number, item in enumerate(items):
        if item.entry.kind is not Kind.SYMLINK:
            items[number] = Item(Entry(path=item.entry.path, kind=item.entry.kind))
    toc = io.BytesIO()
    pack(items, io.BytesIO(), toc)
    return View([Toc(toc.getvalue())])


def _read(item: Item) -> tuple[Entry, bytes | None, bytes | None]:
    content = item.content
    if callable(content):
        with content() as stream:
            return item.entry, stream.read(), item.confirm
    return item.entry, content, item.confirm


@given(_trees, _lower, _policies, _ignored, st.sampled_from([None, (3, 4)]), st.sampled_from([None, "600"]))
def test_whole_directories_and_their_entries_give_the_same_items(
    tree: dict[str, tuple[str, bytes, int]],
    lower: dict[str, Kind],
    times: TimePolicy,
    ignored: bytes,
    owner: tuple[int, int] | None,
    chmod: str | None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _make(root, tree)
        rules = CopyRules(owner=owner, chmod=chmod, instruction="COPY", adjust=times.of_context)
        with DirectoryTree(root, IgnoreRules.parse(ignored) if ignored else None) as context:
            source = Source(context, ContentHasher(context), mutable=True)
            found: list[object] = []
            for one_by_one in (False, True):
                try:
                    target = LayerBuilder(_view(lower), mtime=9)
                    for selection in select(context, "/"):
                        place(target, source, selection, "/dest/", rules)
                    if one_by_one:
                        target.separate()
                    found.append((bool(target), [_read(item) for item in target.items()]))
                except ContextError as error:
                    found.append(str(error))
        assert found[0] == found[1]
