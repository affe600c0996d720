"""Where finished images go: the store, archives, directories, registries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, assert_never

from builder.cache.blobs import UnreadableBlobError
from builder.cache.refs import MadeFrom, RefRecord
from builder.cache.store import Store
from builder.dockerfile.source import Source
from builder.engine.built import Built, BuiltImage
from builder.engine.layers import fetch_all, index_all, view_of
from builder.engine.request import BuildRequest, Output, pushed_names
from builder.errors import CacheError, ImageError, OutputError, UsageError
from builder.events import Reporter, Warned
from builder.image.digest import DiffID, Digest
from builder.image.reference import Reference
from builder.streams import is_special
from builder.values import dataclass, replace

if TYPE_CHECKING:
    from builder.archive.rootfs_archive import Tree
    from builder.engine.ahead import Ahead
    from builder.registry.client import Registry
    from builder.rootfs.contents import LayerContents

KEPT_DOCKERFILE_LIMIT = 256 << 10
"""Characters of a Dockerfile that is kept with the names of its image."""


@dataclass(frozen=True, slots=True)
class Places:
    """What writing an output may need."""

    store: Store
    registry: Callable[[], Registry]
    reporter: Reporter
    foreign: bool = False
    ahead: Ahead | None = None


def kept_names(request: BuildRequest, digest: Digest) -> tuple[Reference, ...]:
    """Return the names under which a build's result is kept in the store: its tags, and those of its outputs."""
    names = list(request.tags)
    for output in request.outputs:
        if output.kind in ("registry", "image"):
            given = output.names or request.tags
            names += () if output.by_digest else given
            names += [_by_digest(one, digest) for one in given] if output.canonical else []
    return tuple(dict.fromkeys(names))


def made_from(source: Source, target: str | None) -> MadeFrom | None:
    """Return what is kept of an image's Dockerfile."""
    kept = len(source.text) <= KEPT_DOCKERFILE_LIMIT
    return MadeFrom(os.path.basename(source.name), source.text, target) if kept else None


def keep(store: Store, built: Built, names: Sequence[Reference], now: int, made: MadeFrom | None = None) -> None:
    """Keep manifests, configs and the index in the store, and the names as images built here.

    Layers that could not be had again, because a file or directory gave them, are kept too. Raises OutputError and
    what reading them raises.
    """
    artifact = built.artifact()
    configs = [one.raw_config for one in built.images]
    for raw in (*configs, *(document.raw for document in artifact.documents())):
        digest = Digest.of(raw)
        if not store.blobs.owns(digest) or store.blobs.read(digest, limit=len(raw)) is None:
            store.blobs.put(raw)
    layers = [layer for image in built.images for layer in image.layers]
    for layer in layers:
        if names and layer.origin is None:
            layer.path()
            store.blobs.bring_home(layer.descriptor.digest)
    origins = {str(layer.descriptor.digest): str(layer.origin) for layer in layers if layer.origin is not None}
    root = built.descriptor
    platform = "" if root.platform is None else str(root.platform)
    for name in names:
        record = RefRecord(str(name), root.bare, now, True, platform, origins, made)
        known = store.refs.get(str(name), built_here=True)
        try:
            store.refs.put(record)
        except OutputError as error:
            # A full store may have all of it from an earlier build.
            if known is None or replace(known, resolved_at=now, made_from=made) != record:
                raise
            store.warn(error.message)


def write(output: Output, built: Built, tags: Sequence[Reference], places: Places) -> None:
    """Write images to one output. Raises OutputError, RegistryError, and what fetching and checking layers raises."""
    dest = output.dest
    if dest is None:
        _write(output, built, output.names or tuple(tags), places)
        return
    wanted = [layer for image in built.images for layer in image.layers if not layer.descriptor.is_elsewhere]
    # The writers want one layer after the other.
    fetch_all(wanted)
    if not is_final(dest):
        _write(output, built, output.names or tuple(tags), places)
        return
    for layer in wanted:
        layer.check()
    try:
        _write(output, built, output.names or tuple(tags), places)
    except (ImageError, CacheError, UnreadableBlobError) as error:
        # Nobody may begin again now.
        raise OutputError(f"half of the image was written: {error.message}", hint="build again") from error


def shown_place(output: Output, tags: Sequence[Reference]) -> str:
    """Return what is done for an output, as people read it."""
    if output.kind == "registry":
        return f"push {', '.join(str(one) for one in pushed_names([output], tags))}"
    if output.dest is None:
        return "keep the image in the store"
    return f"write {output.dest if isinstance(output.dest, Path) else 'to standard output'}"


def is_final(dest: Path | BinaryIO | None) -> bool:
    """Say whether what is written there stays written: a stream, a pipe, a device."""
    if isinstance(dest, Path):
        return is_special(dest) and not dest.is_dir()
    return dest is not None


def _write(output: Output, built: Built, names: tuple[Reference, ...], places: Places) -> None:
    dest = output.dest
    match output.kind:
        case "registry":
            push(built, [_by_digest(one, built.digest) for one in names] if output.by_digest else names, places)
        case "image" | "cacheonly":
            pass
        case _ if dest is None:
            raise UsageError(f"the output type={output.kind} needs a destination", hint="add dest=PATH")
        case "docker":
            from builder.archive.docker_archive import write_docker_archive
            from builder.archive.image import Entry

            write_docker_archive([Entry(built.artifact(), names)], dest)
        case "oci":
            from builder.archive.image import Entry
            from builder.archive.oci_layout import write_oci_archive, write_oci_directory

            if output.unpacked and isinstance(dest, Path):
                write_oci_directory([Entry(built.artifact(), names)], dest)
            else:
                write_oci_archive([Entry(built.artifact(), names)], dest)
        case "tar" | "local":
            _write_trees(output, dest, built, places)
        case _:
            assert_never(output.kind)


def push(built: Built, names: Sequence[Reference], places: Places) -> None:
    """Push under every name. Raises RegistryError, UsageError without a name."""
    from builder.registry.push import push_artifact

    if not names:
        raise UsageError("a push needs a name for the image", hint="add --tag REGISTRY/NAME:TAG")
    ahead = None if places.ahead is None else places.ahead.end
    push_artifact(places.registry(), names, built.artifact(), places.reporter, foreign=places.foreign, ahead=ahead)


def _by_digest(name: Reference, digest: Digest) -> Reference:
    return replace(name, tag=None, digest=digest)


def _write_trees(output: Output, dest: Path | BinaryIO, built: Built, places: Places) -> None:
    from builder.archive.rootfs_archive import write_rootfs_directory, write_rootfs_tar

    split = bool(built.raw_index) if output.split is None else output.split
    with ExitStack() as closing:
        trees = list(_trees(built, places.store, closing, split=split))
        if not (isinstance(dest, Path) and output.kind == "local"):
            write_rootfs_tar(trees, dest)
            return
        skipped = [path for tree in trees for path in write_rootfs_directory(tree, dest)]
    if skipped:
        names = ", ".join([*(f"/{path}" for path in skipped[:3]), *(["..."] if len(skipped) > 3 else [])])
        message = f"{len(skipped)} device nodes cannot be made here and were left out: {names}"
        places.reporter.emit(Warned(message, "devices"))


def _trees(built: Built, store: Store, closing: ExitStack, *, split: bool) -> Iterator[Tree]:
    """Yield the images' trees, ``split`` each in a directory named after its platform. Raises OutputError."""
    from builder.archive.rootfs_archive import Tree, first_clash

    earlier: dict[tuple[DiffID, ...], Tree] = {}
    for image, platform in zip(built.images, built.platforms, strict=True):
        identity = tuple(layer.diff_id for layer in image.layers)
        below = platform.full.replace("/", "_") if split else ""
        if identity in earlier and not split:
            continue
        index_all(image.layers, truly=True)
        tree = Tree(view_of(image.layers), _contents(image, store, closing), below)
        clash = "" if split else first_clash([*earlier.values()], tree)
        if clash:
            raise OutputError(
                f"/{clash} is in the image for {platform.full} and in one before it",
                hint="leave platform-split=false out: each platform gets a directory of its own",
            )
        earlier[identity] = tree
        yield tree


def _contents(image: BuiltImage, store: Store, closing: ExitStack) -> list[LayerContents]:
    from builder.rootfs.contents import LayerContents

    scratch = store.directory("tmp")
    contents = []
    for layer in image.layers:
        # Single files do not tell that a layer is damaged.
        layer.check()
        contents.append(LayerContents(layer.open, layer.toc(), scratch, layer.descriptor.digest))
        closing.callback(contents[-1].close)
    return contents
