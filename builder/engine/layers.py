"""Layers as they flow along the graph's edges: bytes that may be elsewhere, tables of contents that are here.

A layer's bytes are fetched when somebody opens them, and only then; its TOC is made from the bytes the first time and
kept for good (design, idea 1).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from builder.cache.store import Store
from builder.errors import CacheError, OutputError, room_hint
from builder.image.blobs import Layer
from builder.image.descriptor import Descriptor
from builder.image.digest import ChainID, DiffID, Digest, DigestMismatchError, chain_id, copy_verified
from builder.image.reference import Reference

if TYPE_CHECKING:
    from builder.rootfs.toc import Toc
    from builder.rootfs.view import View

_AT_ONCE = 4
"""Layers that are fetched or looked through at a time."""


class SharedCacheError(CacheError):
    """A source of shared results turned out to be of no use; ``source`` names it.

    ``lies``: what it said was wrong, not only out of reach. ``lost`` are blobs that are not there any more: without
    them it may still be good.
    """

    def __init__(self, source: str, problem: str, *, lies: bool = False, lost: frozenset[Digest] = frozenset()) -> None:
        super().__init__(f"the cache {source}: {problem}")
        self.source = source
        self.lies = lies
        self.lost = lost


class LostLayersError(CacheError):
    """Layers turned out to be damaged in the store, or gone from it: ``digests``.

    Who has the steps that made them begins again from the start: whatever named these layers is a miss now.
    """

    def __init__(self, digests: Collection[Digest]) -> None:
        more = f" (and {len(digests) - 1} more)" if len(digests) > 1 else ""
        super().__init__(
            f"the layer {min(digests)}{more} is not in the store any more",
            hint="have the image that it belongs to built, loaded or pulled again",
        )
        self.digests = frozenset(digests)


class Claims(Protocol):
    """What sources of shared results say that layers hold, which nobody here has seen."""

    def table(self, diff_id: DiffID) -> Toc | None:
        """Return a claimed table of contents; it is to be checked when the layer's bytes are here."""
        ...

    def known(self, diff_id: DiffID) -> bool:
        """Say whether there is something to check; nobody is asked."""
        ...

    def check(self, diff_id: DiffID, found: Toc, believed: Toc | None) -> None:
        """Compare all claims, and what was believed, with what the bytes say. Raises SharedCacheError."""
        ...


class StoreLayer:
    """A layer of the store, or one that ``source`` brings there. Thread-safe.

    ``origin`` is a repository that is known to hold the blob, for mounts on push; ``compressor`` is the fingerprint of
    what made this form of it, where that is known. A ``shared`` one is as large as a stranger says: its source looks
    whether there is room.
    """

    def __init__(
        self,
        store: Store,
        diff_id: DiffID,
        descriptor: Descriptor,
        *,
        source: Layer | None = None,
        origin: Reference | None = None,
        compressor: str = "",
        shared: bool = False,
    ) -> None:
        self.diff_id = diff_id
        self.descriptor = descriptor
        self.origin = origin
        self.compressor = compressor
        self.shared = shared
        self._store = store
        self._source = source
        self._lock = threading.Lock()
        self._toc: Toc | None = None
        self._claims: Claims | None = None
        self._claimed = False
        self._checked = False
        self.shown: View | None = None
        """The latest tree that ``view_of`` made with this layer on top: it goes on from there."""

    @property
    def claimed(self) -> bool:
        """Whether the table of contents is what somebody claims, and the bytes have not been seen yet."""
        return self._claimed

    def believe(self, claims: Claims | None) -> None:
        """Let a table of contents that is not here come from ``claims``; None forgets what was claimed."""
        with self._lock:
            self._claims = claims
            if self._claimed:
                self._claimed, self._toc = False, None

    def available(self) -> bool:
        """Say whether the bytes can be had: they are here, or somebody has them for us."""
        return self._source is not None or self.here()

    def open(self) -> BinaryIO:
        """Open the compressed bytes, fetching them first if need be. Raises LostLayersError if they cannot be had."""
        self.path()
        try:
            return self._store.blobs.open(self.descriptor.digest)
        except FileNotFoundError:
            # Found to be damaged by somebody else, a moment ago.
            raise LostLayersError([self.descriptor.digest]) from None

    def path(self) -> Path:
        """Return the blob's file, fetching it first if need be. Raises LostLayersError for one that is gone."""
        with self._lock:
            if not self.here():
                self._fetch()
            if self._claimed:
                # Somebody else brought the bytes.
                self._compare()
        return self._store.blobs.path(self.descriptor.digest)

    def toc(self) -> Toc:
        """Return the table of contents, made from the bytes when there is none yet."""
        known = self._toc
        if known is not None:
            return known
        with self._lock:
            if self._toc is None:
                self._toc = self._open_toc()
            return self._toc

    def true_toc(self) -> Toc:
        """Return the table of contents that the bytes say, fetching them where there is only a claim."""
        found = self.toc()
        if not self._claimed:
            return found
        self.path()
        return self.toc()

    def indexed(self) -> bool:
        """Say whether there is a table of contents."""
        return self._toc is not None or self._store.toc_path(self.diff_id).exists()

    def here(self) -> bool:
        """Say whether the bytes are in the store."""
        return self._store.blobs.contains(self.descriptor.digest, self.descriptor.size)

    def must_have_room(self, size: int, what: str) -> None:
        """Raise OutputError when its store has no room for ``size`` bytes of ``what``."""
        self._store.must_have_room(size, what)

    def damaged(self) -> bool:
        """Say whether the store had other bytes than this layer's; they are then removed, to be had anew."""
        return self.here() and not self._store.blobs.verify(self.descriptor.digest)

    def check(self) -> None:
        """Make sure, once, that the store's bytes are this layer's: others are removed, with a warning, to be had anew.

        For readers of parts of them, which do not see all that a digest is of, and for who cannot begin again. Raises
        LostLayersError where nobody else has them.
        """
        if not self._checked and self.damaged() and self._source is None:
            raise LostLayersError([self.descriptor.digest])
        self._checked = True

    def _fetch(self) -> None:
        if self._source is None:
            raise LostLayersError([self.descriptor.digest])
        digest = self.descriptor.digest
        if self._store.blobs.contains(digest):
            # Of another size: a source that looks into the same store must not find a damaged one there.
            self._store.blobs.verify(digest)
        if not self.shared and self.origin is not None:
            self._store.must_have_room(self.descriptor.size, f"the layer {digest}")
        with self._source.open() as stream:
            if not self.here():
                if self.origin is None:
                    # Not before it is open: a file says itself how large it is, whatever its descriptor says.
                    self._store.must_have_room(self.descriptor.size, f"the layer {digest}")
                with self._store.blobs.writer() as writer:
                    copy_verified(stream, writer, digest, self.descriptor.size, f"layer {digest}")
                    writer.commit(digest)
        if self._claims is not None and self._claims.known(self.diff_id):
            self._compare()

    def _compare(self) -> None:
        """Let the bytes, which are here, say what was claimed before. Raises SharedCacheError if they say otherwise.

        It stays claimed then: what was computed from it must not be taken for the truth.
        """
        found = self._read_toc() or self._index()
        if self._claims is not None:
            self._claims.check(self.diff_id, found, self._toc if self._claimed else None)
        self._toc, self._claimed = found, False

    def _open_toc(self) -> Toc:
        found = self._read_toc()
        if found is not None:
            return found
        if not self.here():
            if self._claims is not None and (claimed := self._claims.table(self.diff_id)) is not None:
                self._claimed = True
                return claimed
            self._fetch()
        return self._toc or self._index()

    def _read_toc(self) -> Toc | None:
        from builder.rootfs.toc import Toc

        path = self._store.toc_path(self.diff_id)
        if self._store.touch(path):
            try:
                found = Toc.open(path)
                if found.diff_id == self.diff_id:
                    return found
                raise CacheError("it is another layer's")
            except CacheError as error:
                # The bytes say it again.
                self._store.warn(f"{path} is damaged ({error.message}); it is made again")
                self._store.drop_toc(self.diff_id)
        return None

    def _index(self) -> Toc:
        return index_blob(self._store, self.descriptor.digest, self.diff_id, "its image's config")


def index_blob(store: Store, digest: Digest, diff_id: DiffID, promised: str) -> Toc:
    """Make the table of contents of a blob that is here, and keep it.

    Raises LayerFormatError for what is no layer, DigestMismatchError for another one than was ``promised``.
    """
    from builder.rootfs.pack import index_layer
    from builder.rootfs.toc import Toc

    temporary = store.temporary(".toc")
    try:
        with store.blobs.open(digest) as blob, open(temporary, "xb") as target:
            found = index_layer(blob, target, digest)
        if found != diff_id:
            raise DigestMismatchError(f"layer {digest} unpacks to {found}, {promised} says {diff_id}")
        return Toc.open(store.publish_toc(temporary, diff_id))
    except OSError as error:
        raise OutputError(f"cannot write {temporary}: {error.strerror}", hint=room_hint(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


LayerStack = tuple[StoreLayer, ...]
"""A file system: layers, bottom first."""


def stack_id(stack: Iterable[StoreLayer]) -> ChainID:
    """Return the identity of a stack, which does not depend on how it was made."""
    return chain_id(layer.diff_id for layer in stack)


def view_of(stack: Sequence[StoreLayer]) -> View:
    """Return the merged tree of a stack, which others may have as well; made of that of the layers below it."""
    from builder.rootfs.view import View

    index_all(stack)
    tocs = tuple(layer.toc() for layer in stack)
    known, lower = len(stack), None
    while known and ((lower := stack[known - 1].shown) is None or not lower.shows(tocs[:known])):
        known -= 1
    if known and known == len(stack) and lower is not None:
        return lower
    view = View(tocs[known:], lower if known else None)
    if stack:
        stack[-1].shown = view
    return view


def fetch_all(layers: Iterable[StoreLayer], *, least: int = 1) -> None:
    """Bring the bytes of all ``layers`` here, several at a time, and compare with them what was claimed.

    Fewer than ``least`` are left to whoever needs them. Raises what fetching raises, SharedCacheError.
    """
    missing = {layer.descriptor.digest: layer for layer in layers if not layer.here() or layer.claimed}
    if len(missing) >= least:
        _must_fit([layer for layer in missing.values() if not layer.shared])
        _at_once(StoreLayer.path, missing)


def index_all(layers: Iterable[StoreLayer], *, truly: bool = False) -> None:
    """Make the tables of contents that are missing, several at a time, of bytes fetched if need be.

    ``truly``: claims will not do. Raises what fetching raises, DigestMismatchError, LayerFormatError.
    """
    missing = {layer.descriptor.digest: layer for layer in layers if not layer.indexed() or (truly and layer.claimed)}
    if truly:
        _must_fit([layer for layer in missing.values() if not layer.shared])
    _at_once(StoreLayer.true_toc if truly else StoreLayer.toc, missing)


def _must_fit(layers: Iterable[StoreLayer]) -> None:
    """Raise OutputError where the store has no room for what is to be fetched."""
    missing = [layer for layer in layers if layer.origin is not None and not layer.here()]
    if missing:
        what = f"{len(missing)} layers" if len(missing) > 1 else "a layer"
        missing[0].must_have_room(sum(layer.descriptor.size for layer in missing), what)


def _at_once(action: Callable[[StoreLayer], object], layers: Mapping[Digest, StoreLayer]) -> None:
    if len(layers) < 2:
        for layer in layers.values():
            action(layer)
        return
    from builder.registry.together import in_parallel

    in_parallel([_bound(action, layer) for layer in layers.values()], _AT_ONCE)


def _bound(action: Callable[[StoreLayer], object], layer: StoreLayer) -> Callable[[], object]:
    return lambda: action(layer)
