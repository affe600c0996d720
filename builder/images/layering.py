"""Layers that no build made: from tars as they are, from directories packed by us, and from URLs.

A tar keeps its bytes if it is compressed in a way that images can have; whatever it is, it is read to its end and must
be a layer: no path may lead out of the image. Layers of directories depend on the files only, not on what lies below.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from builder.cache.store import Store
from builder.context.contenthash import ContentHasher
from builder.context.directory import DirectoryTree
from builder.engine.build import Environment
from builder.engine.copying import CopyRules, place
from builder.engine.layerbuilder import LayerBuilder
from builder.engine.layers import StoreLayer, view_of
from builder.engine.packing import LAYER_TYPES, pack_layer
from builder.engine.selecting import Source, select
from builder.engine.times import TimePolicy
from builder.errors import BuilderError, ContextError, ImageError, OutputError, UsageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.rootfs.coding import USUAL, Coding, Compression
from builder.rootfs.compression import PREFIX, detect
from builder.rootfs.pack import index_layer, recompress
from builder.streams import HashingWriter, Readable, copy, read_up_to
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A tar, or ``-`` for standard input, or a directory."""

    path: str

    @property
    def name(self) -> str:
        """What history calls it: without the directories of this machine."""
        return "-" if self.path == "-" else Path(self.path).resolve().name or "/"


@dataclass(frozen=True, slots=True)
class LayerURL:
    """A layer that stays where it is. Without ``diff_id`` it is fetched to learn it."""

    urls: tuple[str, ...]
    digest: Digest
    size: int
    diff_id: DiffID | None = None

    @property
    def name(self) -> str:
        """What history calls it."""
        return self.urls[0].partition("?")[0]


LayerSpec = LayerFile | LayerURL


def file_layer(spec: LayerFile, coding: Coding | None, times: TimePolicy, env: Environment) -> StoreLayer:
    """Return the layer of a tar or directory, in the store. ``coding`` None keeps how a tar is compressed, if it can.

    Raises ContextError, LayerFormatError, UnsafePathError, OutputError.
    """
    if spec.path != "-" and Path(spec.path).is_dir():
        return _directory_layer(Path(spec.path), coding or USUAL, times, env)
    with _opened(spec.path) as stream:
        try:
            return _tar_layer(stream, coding, env.store)
        except (ImageError, ContextError) as error:
            error.message = f"the layer {spec.path}: {error.message}"
            error.hint = error.hint or "write it again; tar tvf shows what it holds, and where it breaks"
            raise


def _opened(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return open(path, "rb")
    except OSError as error:
        raise ContextError(f"cannot read the layer {path}: {error.strerror}") from error


def _tar_layer(stream: BinaryIO, coding: Coding | None, store: Store) -> StoreLayer:
    prefix = read_up_to(stream, PREFIX)
    if not prefix:
        raise ContextError("the file is empty, and no tar")
    kind = detect(prefix)
    source = _Joined(prefix, stream)
    blob, toc = store.temporary(".blob"), store.temporary(".toc")
    try:
        with open(blob, "xb") as target:
            if coding is None and kind in (Compression.GZIP, Compression.ZSTD):
                writer, made = HashingWriter(target), ""
                copy(source, writer)
                digest, size = Digest.from_hex(writer.hexdigest()), writer.size
            else:
                coding = coding or USUAL
                kind = coding.compression
                done = recompress(source, target, coding)
                digest, size, made = done.digest, done.size, done.compressor
        with open(blob, "rb") as packed, open(toc, "xb") as table:
            diff_id = index_layer(packed, table, digest)
        descriptor = Descriptor(media_type=LAYER_TYPES[kind], digest=digest, size=size)
        store.blobs.adopt(blob, digest)
        store.publish_toc(toc, diff_id)
        if made:
            store.variants.put(diff_id, made, descriptor)
        return StoreLayer(store, diff_id, descriptor, compressor=made)
    except OSError as error:
        raise OutputError(f"cannot write a layer to {store.root}: {error.strerror}") from error
    finally:
        blob.unlink(missing_ok=True)
        toc.unlink(missing_ok=True)


class _Joined:
    """A stream whose first bytes were read already."""

    def __init__(self, first: bytes, rest: Readable) -> None:
        self._first = io.BytesIO(first)
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        return self._first.read(size) or self._rest.read(size)


def _directory_layer(path: Path, coding: Coding, times: TimePolicy, env: Environment) -> StoreLayer:
    with DirectoryTree(path, label=str(path), hidden=env.store.root) as tree:
        target = LayerBuilder(view_of(()), mtime=times.fresh())
        rules = CopyRules(owner=None, chmod=None, instruction="append", adjust=times.of_context)
        source = Source(tree, ContentHasher(tree), mutable=True)
        for selection in select(tree, "/"):
            place(target, source, selection, "/", rules)
        if not target:
            raise ContextError(f"{path} is empty: there is nothing to append")
        return pack_layer(env.store, target.items(), coding)


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A layer behind URLs; fetched when somebody opens it, and then checked."""

    descriptor: Descriptor
    diff_id: DiffID
    fetch: Callable[[Descriptor], Path]

    def open(self) -> BinaryIO:
        """Open the bytes, fetching them. Raises ContextError for others than were promised."""
        return open(self.fetch(self.descriptor), "rb")


def url_layer(spec: LayerURL, env: Environment, variables: Mapping[str, str]) -> RemoteLayer:
    """Return the layer behind ``spec``'s URLs. Raises UsageError, ContextError, LayerFormatError."""
    from builder.registry.hosts import is_loopback, origin

    for url in spec.urls:
        try:
            scheme, host, _ = origin(url)
        except ValueError as error:
            raise UsageError(f"--url {url}: expected an http(s) URL") from error
        if scheme != "https" and not is_loopback(f"[{host}]" if ":" in host else host):
            raise UsageError(f"--url {url}: clients fetch such layers with https only", hint="serve it with https")

    def fetch(descriptor: Descriptor) -> Path:
        return _fetched(descriptor, env, variables)

    diff_id, kind = spec.diff_id, media.OCI_FOREIGN_LAYER_GZIP
    descriptor = Descriptor(media_type=kind, digest=spec.digest, size=spec.size, urls=spec.urls)
    if diff_id is None:
        with open(fetch(descriptor), "rb") as stream:
            if detect(stream.read(PREFIX)) is Compression.ZSTD:
                raise ImageError(f"{spec.name}: a layer behind a URL is a tar, or one with gzip")
            stream.seek(0)
            diff_id = index_layer(stream, io.BytesIO())
    if diff_id == spec.digest:
        descriptor = Descriptor(media_type=media.OCI_FOREIGN_LAYER, digest=spec.digest, size=spec.size, urls=spec.urls)
    return RemoteLayer(descriptor, diff_id, fetch)


def _fetched(descriptor: Descriptor, env: Environment, variables: Mapping[str, str]) -> Path:
    from builder.context.http import Downloads
    from builder.registry.proxies import Proxies

    proxies = Proxies.from_environment(variables)
    with contextlib.closing(
        Downloads(env.store.directory("http"), proxies=proxies, temporary=env.store.temporary, touch=env.store.touch)
    ) as downloads:
        failure: BuilderError | None = None
        for url in descriptor.urls:
            try:
                found = downloads.fetch(url, checksum=descriptor.digest)
            except BuilderError as error:
                failure = error
                continue
            if found.size != descriptor.size:
                raise ContextError(f"{url} has {found.size} bytes, not {descriptor.size}", hint="correct --size")
            return found.path
    raise failure or ContextError("a layer without a URL")


def layers_of(
    specs: tuple[LayerSpec, ...],
    coding: Coding | None,
    times: TimePolicy,
    env: Environment,
    variables: Mapping[str, str],
) -> Iterator[StoreLayer | RemoteLayer]:
    """Yield the layers that ``specs`` say, in their order."""
    for spec in specs:
        if isinstance(spec, LayerURL):
            yield url_layer(spec, env, variables)
        else:
            yield file_layer(spec, coding, times, env)
