"""Where a finished image goes: the store, archives, directories, registries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, assert_never

from builder.cache.refs import RefRecord
from builder.cache.store import Store
from builder.engine.assemble import BuiltImage
from builder.engine.layers import view_of
from builder.engine.request import Output
from builder.errors import UsageError
from builder.events import Reporter, Warned
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.rootfs.contents import LayerContents

if TYPE_CHECKING:
    from builder.registry.client import Registry


def keep(store: Store, image: BuiltImage, tags: Sequence[Reference], platform: Platform, now: int) -> None:
    """Keep manifest and config in the store, and the tags as images built here.

    Layers that could not be had again, because a file or directory gave them, are kept too. Raises OutputError and
    what reading them raises.
    """
    for raw in (image.raw_config, image.raw_manifest):
        if not store.blobs.contains(Digest.of(raw), len(raw)):
            store.blobs.put(raw)
    descriptor = Descriptor(media_type=image.manifest.media_type, digest=image.digest, size=len(image.raw_manifest))
    origins = {str(digest): str(origin) for digest, origin in image.parts().origins.items()}
    for layer in image.layers:
        if tags and layer.origin is None:
            layer.path()
    for tag in tags:
        record = RefRecord(str(tag), descriptor, now, built_here=True, platform=str(platform), origins=origins)
        store.refs.put(record)


def write(
    output: Output,
    image: BuiltImage,
    tags: Sequence[Reference],
    store: Store,
    registry: Callable[[], Registry],
    reporter: Reporter,
) -> None:
    """Write ``image`` to one output. Raises OutputError, RegistryError, and what fetching layers raises."""
    dest = output.dest
    match output.kind:
        case "registry":
            push(image, tags, registry(), reporter)
        case "image" | "cacheonly":
            pass
        case _ if dest is None:
            raise UsageError(f"the output type={output.kind} needs a destination", hint="add dest=PATH")
        case "docker":
            from builder.archive.docker_archive import write_docker_archive
            from builder.archive.image import Entry

            write_docker_archive([Entry(image.artifact(), tuple(tags))], dest)
        case "oci":
            from builder.archive.image import Entry
            from builder.archive.oci_layout import write_oci_archive, write_oci_directory

            if output.unpacked and isinstance(dest, Path):
                write_oci_directory([Entry(image.artifact(), tuple(tags))], dest)
            else:
                write_oci_archive([Entry(image.artifact(), tuple(tags))], dest)
        case "tar" | "local":
            _write_tree(output, dest, image, store, reporter)
        case _:
            assert_never(output.kind)


def _write_tree(output: Output, dest: Path | BinaryIO, image: BuiltImage, store: Store, reporter: Reporter) -> None:
    from builder.archive.rootfs_archive import write_rootfs_directory, write_rootfs_tar

    view = view_of(image.layers)
    scratch = store.directory("tmp")
    contents = [LayerContents(layer.open, layer.toc(), scratch, layer.descriptor.digest) for layer in image.layers]
    try:
        if isinstance(dest, Path) and output.kind == "local":
            skipped = write_rootfs_directory(view, contents, dest)
            if skipped:
                names = ", ".join(f"/{path}" for path in skipped[:3])
                reporter.emit(
                    Warned(f"{len(skipped)} device nodes cannot be made here and were left out: {names}", "devices")
                )
        else:
            write_rootfs_tar(view, contents, dest)
    finally:
        for one in contents:
            one.close()


def push(image: BuiltImage, tags: Sequence[Reference], registry: Registry, reporter: Reporter) -> None:
    """Push ``image`` under every tag. Raises RegistryError, UsageError without a tag."""
    from builder.registry.push import push_artifact

    if not tags:
        raise UsageError("a push needs a name for the image", hint="add --tag REGISTRY/NAME:TAG")
    push_artifact(registry, tags, image.artifact(), reporter)
