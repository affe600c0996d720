"""COPY, ADD and WORKDIR carried out: sources looked up, keys computed, layers assembled from tar entries.

No root, no mount, no unpacked base: the destination is known from tables of contents (design, idea 1).
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, assert_never

from builder.cache.keys import Identity, Key, Value
from builder.context.contenthash import ContentHasher
from builder.dockerfile.source import Span
from builder.engine import keys
from builder.engine.contents import content_of
from builder.engine.layers import LayerStack, StoreLayer, stack_id, view_of
from builder.engine.packing import pack_layer
from builder.engine.selecting import Selection, Source, is_much_unread, select, whole_file
from builder.engine.services import Services
from builder.errors import ContextError
from builder.events import Warned
from builder.plan.graph import (
    ContextOrigin,
    CopyFiles,
    CopySource,
    GitTree,
    InlineFile,
    LocalPath,
    MakeDirectory,
    NothingOrigin,
    RemoteFile,
    StageOrigin,
)
from builder.rootfs.entry import Entry, Kind
from builder.values import dataclass, field, replace

if TYPE_CHECKING:
    from builder.engine.copying import CopyRules
    from builder.engine.extracting import Archive
    from builder.engine.trees import StageTree
    from builder.rootfs.view import View

_PASSWD, _GROUP = "etc/passwd", "etc/group"


@dataclass(slots=True)
class CopyWork:
    """One COPY or ADD of a running build: what its keys and its execution share. Close it when done.

    One that reads a stage can be used again then, and remembers what it has read: that never changes.
    """

    operation: CopyFiles
    parent: LayerStack
    sources: Sequence[LayerStack]
    services: Services
    span: Span | None = None
    name: str = ""
    _chosen: dict[CopySource, tuple[Source, tuple[Selection, ...]]] = field(default_factory=dict)
    _values: dict[CopySource, Value] = field(default_factory=dict)
    _origin: Source | None = None
    _stage: StageTree | None = None
    _cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> CopyWork:
        return self

    def __exit__(self, *exc: object) -> None:
        self._cleanup.close()
        if self._stage is not None:
            self._stage.close()

    def identities(self) -> Iterator[Identity]:
        """Yield what to look under, cheapest first: by identity, then by content."""
        operation, parent, times = self.operation, stack_id(self.parent), self.services.times
        if isinstance(operation.origin, StageOrigin):
            stack = stack_id(self.sources[operation.origin.source])
            yield keys.copy_identity(
                operation, parent, times, [self._identity(one, stack) for one in operation.sources], None
            )
        contents = [self._content(one) for one in operation.sources]
        selections = [self._selected(one) for one in operation.sources]
        yield keys.copy_identity(operation, parent, times, contents, selections)
        if operation.link and operation.instruction == "COPY":
            # The same layer on every image that shows the same directories on the way.
            yield keys.copy_identity(operation, self._way(), times, contents, selections)

    def is_much_unread(self) -> bool:
        """Say whether it takes from a directory on disk, and hashing that would take its time."""
        return self._may_have_sketch and is_much_unread(self._tree().tree, self._selections())

    def sketch(self) -> Key | None:
        """Return under what to look before the contents are read; None where that is of no use."""
        if not self._may_have_sketch:
            return None
        from builder.engine.sketches import sketch_of

        return sketch_of(self._tree(), self._selections(), self.services.times)

    def unread(self, sketch: Key) -> Key:
        """Return what is the same for builds that do the same, as far as that is known before the contents are."""
        return keys.copy_identity(self.operation, stack_id(self.parent), self.services.times, [sketch], None).key

    @property
    def _may_have_sketch(self) -> bool:
        operation = self.operation
        return (
            operation.instruction == "COPY"
            and isinstance(operation.origin, ContextOrigin)
            and all(isinstance(one, LocalPath) for one in operation.sources)
        )

    def _selections(self) -> Iterator[Selection]:
        return (one for source in self.operation.sources for one in self._selected(source))

    def _way(self) -> Value:
        """Return the directories down to the destination as the layer will have them."""
        from builder.engine.layerbuilder import plain_or_own

        view, parts = view_of(self.parent), [part for part in self.operation.dest.split("/") if part]
        paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        made = self._rules(self._owner(), None).parent().at("", Entry(path="", kind=Kind.DIRECTORY), 0)
        return tuple(keys.directory_of(plain_or_own(view, path) or made) for path in paths)

    def _identity(self, source: CopySource, stack: Value) -> Value:
        return ("stage", stack, source.path) if isinstance(source, LocalPath) else self._content(source)

    def _content(self, source: CopySource) -> Value:
        found = self._values.get(source)
        if found is None:
            found = self._values[source] = self._read(source)
        return found

    def _read(self, source: CopySource) -> Value:
        if isinstance(source, InlineFile):
            return ("inline", source.name, source.data)
        tree, selections = self._choose(source)
        kind = type(source).__name__
        mtimes = tuple(one.top.mtime for one in selections) if isinstance(source, RemoteFile) else ()
        return (kind, content_of(selections, tree, self.services.times), mtimes)

    def _selected(self, source: CopySource) -> tuple[Selection, ...]:
        return () if isinstance(source, InlineFile) else self._choose(source)[1]

    def execute(self, *, unseen: bool = False) -> StoreLayer | None:
        """Assemble and pack the layer; None when it would be empty. Raises ContextError, OutputError.

        Of ``unseen`` files nobody has asked for contents yet; afterwards ``identities`` are those of what was packed.
        """
        from builder.engine.copying import check_files, place
        from builder.engine.layerbuilder import LayerBuilder

        operation = self.operation
        # --link copies into an empty tree: nothing that lies below decides.
        target = LayerBuilder(view_of(() if operation.link else self.parent), mtime=self.services.times.fresh())
        owner = self._owner()
        work = [
            (source, tree, one, self._archive(source, tree, one))
            for source in operation.sources
            for tree, selections in (self._choose(source),)
            for one in selections
        ]
        files = [one for _, _, one, archive in work if archive is None]
        check_files(target, files, operation.dest, self._rules(owner, None))
        for source, tree, selection, archive in work:
            if archive is None:
                seen = replace(tree, unseen=True) if unseen else tree
                place(target, seen, selection, operation.dest, self._rules(owner, source))
            else:
                from builder.engine.extracting import place_archive

                place_archive(target, archive, operation.dest, self._rules(owner, None))
        if operation.link:
            target.adopt(view_of(self.parent))
        services = self.services
        return (
            pack_layer(services.store, target.items(), services.coding, services.ahead, self.name) if target else None
        )

    def _choose(self, source: CopySource) -> tuple[Source, tuple[Selection, ...]]:
        found = self._chosen.get(source)
        if found is None:
            found = self._chosen[source] = self._find(source)
            if len(self._chosen) == len({*self.operation.sources}) and not any(one for _, one in self._chosen.values()):
                self.services.checks.matched_nothing(self.operation, self.span)
        return found

    def _find(self, source: CopySource) -> tuple[Source, tuple[Selection, ...]]:
        operation = self.operation
        match source:
            case LocalPath(path):
                tree = self._tree()
                found = select(tree.tree, path, parents=operation.parents, exclude=operation.exclude)
                self.services.checks.copied(operation, found, self.span)
                return tree, found
            case InlineFile(name, data):
                entry = Entry(path=name, kind=Kind.FILE, mode=0o644, size=len(data), mtime=self.services.times.fresh())
                tree = _memory(entry, functools.partial(io.BytesIO, data))
                return tree, whole_file(tree.tree, name)
            case RemoteFile():
                tree, name = self.services.contexts.remote(source)
                return tree, whole_file(tree.tree, name)
            case GitTree():
                tree, path = self.services.contexts.remote(source)
                return tree, select(tree.tree, path, exclude=operation.exclude)
            case _:
                assert_never(source)

    def _tree(self) -> Source:
        if self._origin is None:
            match self.operation.origin:
                case ContextOrigin(name):
                    self._origin = self.services.contexts.get(name)
                case StageOrigin(number):
                    from builder.engine.trees import StageTree

                    self._stage = stage = StageTree(self.sources[number], self.services.store.directory("tmp"))
                    self._origin = Source(stage, ContentHasher(stage), mutable=False)
                case NothingOrigin():
                    from builder.engine.trees import MemoryTree

                    empty = MemoryTree({})
                    self._origin = Source(empty, ContentHasher(empty), mutable=False)
        return self._origin

    def _archive(self, source: CopySource, tree: Source, selection: Selection) -> Archive | None:
        """Return the archive a source is, where ADD unpacks it."""
        unpack = self.operation.unpack
        wanted = unpack if isinstance(source, RemoteFile) else unpack is not False
        local = isinstance(source, LocalPath | RemoteFile)
        if not (wanted and local and self.operation.instruction == "ADD") or selection.top.kind is not Kind.FILE:
            return None
        from builder.engine.extracting import unpack_archive

        scratch = self.services.store.temporary(".tar")
        self._cleanup.callback(scratch.unlink, missing_ok=True)
        with tree.tree.open(selection.top.path) as stream:
            return unpack_archive(stream, scratch)

    def _owner(self) -> tuple[int, int] | None:
        chown = self.operation.chown
        if not chown:
            return None
        from builder.run.users import resolve_owner

        return resolve_owner(chown, *self._accounts(by_name=_has_name(chown)))

    def _rules(self, owner: tuple[int, int] | None, source: CopySource | None) -> CopyRules:
        """Return how ``source`` is changed on its way; None stands for what an archive holds.

        Determinism may ask for other times and modes of what a checkout makes different, not of what came with them.
        """
        from builder.engine.copying import CopyRules

        operation, times = self.operation, self.services.times
        checkout = isinstance(operation.origin, ContextOrigin) and not isinstance(source, RemoteFile | None)
        return CopyRules(
            owner=owner,
            chmod=operation.chmod,
            instruction=operation.instruction,
            adjust=times.of_context if checkout else times.of_stage,
        )

    def _accounts(self, *, by_name: bool) -> tuple[bytes | None, bytes | None]:
        if not by_name or self.operation.link:
            return None, None
        return accounts(self.parent, view_of(self.parent), self.services)


def _memory(entry: Entry, opener: functools.partial[io.BytesIO]) -> Source:
    from builder.engine.trees import MemoryTree

    tree = MemoryTree({entry.path: (entry, opener)})
    return Source(tree, ContentHasher(tree), mutable=False)


def _has_name(owner: str) -> bool:
    return any(part and not part.isdigit() for part in owner.split(":"))


def accounts(stack: LayerStack, view: View, services: Services) -> tuple[bytes | None, bytes | None]:
    """Return the image's passwd and group files, None for one that is missing."""
    from builder.engine.trees import read_small
    from builder.run.users import MAX_DATABASE

    scratch = services.store.directory("tmp")
    return (
        read_small(stack, view, _PASSWD, scratch, MAX_DATABASE),
        read_small(stack, view, _GROUP, scratch, MAX_DATABASE),
    )


def make_directory(name: str, operation: MakeDirectory, parent: LayerStack, services: Services) -> StoreLayer | None:
    """Carry out WORKDIR; None when the directory is there already. Raises ContextError."""
    from builder.engine.layerbuilder import LayerBuilder, NewDirectory

    view = view_of(parent)
    target = LayerBuilder(view, mtime=services.times.fresh())
    path = target.resolve(operation.path)
    if target.lookup(path) is None:
        target.make_directories(path, NewDirectory(owner=_maker(operation, parent, view, services)))
    else:
        target.make_directories(path, NewDirectory())
    return pack_layer(services.store, target.items(), services.coding, services.ahead, name) if target else None


def _maker(operation: MakeDirectory, parent: LayerStack, view: View, services: Services) -> tuple[int, int] | None:
    """Return whose the directory is, as for ``--chown``: a number alone is also that of the group.

    USER is not verified before a RUN: one the image does not know counts as root.
    """
    from builder.run.users import resolve_owner

    user = operation.user
    if not user:
        return None
    named = _has_name(user)
    files = accounts(parent, view, services) if named else (None, None)
    for text in dict.fromkeys((user, user.partition(":")[0])):
        with contextlib.suppress(ContextError):
            return resolve_owner(text, *files)
    message = f"the image does not know the user {user!r}: {operation.path} belongs to root"
    services.reporter.emit(Warned(message, "unknown-user"))
    return 0, 0
