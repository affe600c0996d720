"""OCI image layouts (OCI image-spec image-layout.md), as directories and as tars, read and written.

Written layouts are deterministic: entries sorted, no times. A directory that is a layout already is added to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from builder.archive.files import Files, open_files, read_file
from builder.archive.image import Entry, FilesContent, blob_name, split_location
from builder.errors import ImageError, OutputError
from builder.image import descriptor as media
from builder.image.artifact import Artifact, Content, Image
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, copy_verified
from builder.image.fields import JSON_LIMIT, Fields, to_bytes
from builder.image.manifest import Index, ManifestError, parse_manifest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.streams import CHUNK, replacing
from builder.values import dataclass, replace

if TYPE_CHECKING:
    from builder.archive.tarsink import TarSink

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
LAYOUT_FILE = to_bytes({"imageLayoutVersion": "1.0.0"})


# --- reading


def open_oci_layout(location: str, platform: Platform, scratch: Path | None = None) -> Image:
    """Open the image at ``PATH[:TAG]`` or ``PATH@DIGEST``, a directory or a tar of a layout.

    Without a tag it must be the only one, or the only one for ``platform``. Layers are read when opened. Raises
    ContextError, ImageError (ManifestError, PlatformNotFoundError, DigestMismatchError, UnsafePathError).
    """
    path, selector = split_location(location)
    files = open_files(path, scratch)
    try:
        return read_layout(files, selector).image(platform)
    except BaseException:
        files.close()
        raise


def read_layout(files: Files, selector: str = "") -> Artifact:
    """Return what ``selector`` ("", "TAG" or "@DIGEST") names in a layout.

    Images for several platforms without names of their own are one artifact, made of the layout's index.
    """
    index = read_index(files)
    if selector.startswith("@"):
        return Artifact.at(FilesContent(files), _by_digest(files, index, Digest.parse(selector[1:])))
    candidates = _by_name(files, index, selector)
    if len({one.digest for one in candidates}) == 1:
        return Artifact.at(FilesContent(files), candidates[0])
    raw = replace(index, manifests=tuple(candidates)).to_bytes()
    return Artifact.of(FilesContent(files, {Digest.of(raw): raw}), raw)


def named_in_layout(files: Files) -> list[Entry]:
    """Return everything in a layout, with its names, in the order of its index. Raises ImageError."""
    content, named = FilesContent(files), dict[Digest, list[Reference | str]]()
    index = read_index(files)
    for one in index.manifests:
        names = named.setdefault(one.digest, [])
        name = one.annotations.get(CONTAINERD_NAME) or one.annotations.get(REF_NAME) or ""
        try:
            # Without containerd's annotation it is a tag (the specification, skopeo) or a whole name (podman).
            names += [Reference.parse(name) if "/" in name or ":" in name else name] if name else []
        except ImageError:
            continue
    first = {one.digest: one for one in reversed(index.manifests)}
    return [Entry(Artifact.at(content, first[digest]), tuple(names)) for digest, names in named.items()]


def read_index(files: Files) -> Index:
    """Return a layout's index.json. Raises ImageError when this is no layout of a version we know."""
    if files.size("oci-layout") is None or files.size("index.json") is None:
        raise ImageError(
            f"{files.where} is not an OCI layout: it has no oci-layout and index.json",
            hint="a docker save archive is named with docker-archive:",
        )
    version = Fields.parse(read_file(files, "oci-layout", JSON_LIMIT), "oci-layout").text("imageLayoutVersion")
    if not version.startswith("1."):
        raise ImageError(f"{files.where} is an OCI layout of version {version!r}; 1.0.0 is known")
    try:
        index = parse_manifest(read_file(files, "index.json", JSON_LIMIT), media.OCI_INDEX)
    except ImageError as error:
        error.message = f"{files.where}: index.json: {error.message}"
        raise
    if not isinstance(index, Index):
        raise ManifestError(f"{files.where}: index.json is not an index")
    return index


def _by_digest(files: Files, index: Index, digest: Digest) -> Descriptor:
    for one in index.manifests:
        if one.digest == digest:
            return one
    size = files.size(blob_name(digest))
    if size is None:
        raise ImageError(f"{files.where} has no image {digest}", hint=_offered(index))
    # Inside one of its indexes, probably; the document itself says what it is.
    return Descriptor(media_type="", digest=digest, size=size)


def _by_name(files: Files, index: Index, name: str) -> list[Descriptor]:
    candidates = [one for one in index.manifests if not name or _is_called(one, name)]
    if name and not candidates:
        raise ImageError(f"{files.where} has no image called {name!r}", hint=_offered(index))
    if not candidates:
        raise ImageError(f"{files.where} is an empty OCI layout")
    names = {one.annotations.get(CONTAINERD_NAME) or one.annotations.get(REF_NAME) for one in candidates}
    if not name and len(names - {None}) > 1 and len({one.digest for one in candidates}) > 1:
        raise ImageError(f"{files.where} has several images; say which", hint=_offered(index))
    return candidates


def _is_called(descriptor: Descriptor, name: str) -> bool:
    full = descriptor.annotations.get(CONTAINERD_NAME, "")
    if name in (descriptor.annotations.get(REF_NAME), full):
        return True
    try:
        return bool(full) and ("/" in name or ":" in name) and str(Reference.parse(name)) == full
    except ImageError:
        return False


def _offered(index: Index) -> str:
    names = {
        one.annotations.get(REF_NAME) or one.annotations.get(CONTAINERD_NAME) or str(one.digest)
        for one in index.manifests
    }
    return "it has: " + ", ".join(sorted(names))[:500] if names else "it has none at all"


# --- writing


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of a layout to be: its identity and how to read it."""

    digest: Digest
    size: int
    open: Callable[[], BinaryIO]


def blobs_of(entries: Sequence[Entry]) -> list[Blob]:
    """Return every document and blob of the entries once, sorted by name in the layout."""
    found: dict[Digest, Blob] = {}
    for entry in entries:
        for document in entry.artifact.documents():
            found[document.descriptor.digest] = _memory_blob(document.raw)
            for blob in document.blobs:
                if blob.digest not in found and not blob.is_elsewhere:
                    found[blob.digest] = _content_blob(entry.artifact.content, blob)
    return [found[digest] for digest in sorted(found)]


def _content_blob(content: Content, descriptor: Descriptor) -> Blob:
    return Blob(descriptor.digest, descriptor.size, lambda: content.open(descriptor))


def _memory_blob(raw: bytes) -> Blob:
    return Blob(Digest.of(raw), len(raw), lambda: io.BytesIO(raw))


def index_entries(entries: Sequence[Entry]) -> tuple[Descriptor, ...]:
    """Return index.json's descriptors: one per name, annotated for containerd and for OCI tools."""
    found = []
    for entry in entries:
        plain = replace(entry.artifact.root, platform=entry.artifact.platform())
        for name in entry.names:
            annotations = {REF_NAME: name} if isinstance(name, str) else _annotations(name)
            found.append(replace(plain, annotations={**plain.annotations, **annotations}))
        if not entry.names:
            found.append(plain)
    return tuple(dict.fromkeys(found))


def _annotations(name: Reference) -> dict[str, str]:
    tag = {} if name.tag is None else {REF_NAME: name.tag}
    return {CONTAINERD_NAME: str(name), **tag}


def write_oci_archive(entries: Sequence[Entry], target: Path | BinaryIO) -> None:
    """Write a tar of a layout with ``entries``. Raises OutputError, DigestMismatchError."""
    from builder.archive.tarsink import TarSink, output

    index = Index(media_type=media.OCI_INDEX, manifests=index_entries(entries))
    blobs = blobs_of(entries)
    with output(target) as stream:
        sink = TarSink(stream)
        add_blobs(sink, blobs)
        sink.file("index.json", index.to_bytes())
        sink.file("oci-layout", LAYOUT_FILE)
        sink.end()


def add_blobs(sink: TarSink, blobs: Sequence[Blob]) -> None:
    """Add the ``blobs`` directory of a layout to a tar."""
    sink.directory("blobs")
    sink.directory("blobs/sha256")
    for blob in blobs:
        with blob.open() as source:
            sink.blob(blob_name(blob.digest), source, blob.digest, blob.size)


def write_oci_directory(entries: Sequence[Entry], target: Path) -> None:
    """Write ``entries`` into a layout directory, made if need be; entries of other names in its index stay.

    Blobs come first and index.json is replaced last, so a reader never sees an image that is not complete. Blobs are
    copied, never linked to the store: whoever edits the output must not edit the cache. Several processes may write
    into one layout. Raises OutputError.
    """
    described, blobs = index_entries(entries), blobs_of(entries)
    with _writing(target), _alone(target):
        kept = _kept_entries(target, described)
        _make_folders(target)
        for blob in blobs:
            _place(target / blob_name(blob.digest), blob)
        with replacing(target / "oci-layout") as stream:
            stream.write(LAYOUT_FILE)
        with replacing(target / "index.json") as stream:
            stream.write(Index(media_type=media.OCI_INDEX, manifests=(*kept, *described)).to_bytes())


def _make_folders(target: Path) -> None:
    """Make where blobs go. Whoever reads a layout follows no links in it, and a stranger's may lead anywhere."""
    for name in ("blobs", "blobs/sha256"):
        if (target / name).is_symlink():
            raise OutputError(f"cannot write the OCI layout {target}: {name} is a symbolic link")
        (target / name).mkdir(exist_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write the OCI layout {target}: {error.strerror}") from error


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Wait for others who write here: index.json is read, added to and replaced."""
    target.mkdir(parents=True, exist_ok=True)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_begun(target: Path) -> bool:
    """Say whether a directory is empty, or what is left of a first layout whose writer failed. Raises OSError."""
    return all(
        name in ("blobs", "oci-layout") or name.startswith((".oci-layout.", ".index.json."))
        for name in os.listdir(target)
    )


def _kept_entries(target: Path, entries: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
    if is_begun(target):
        return ()
    occupied = os.listdir(target)
    if "index.json" not in occupied or "oci-layout" not in occupied:
        raise OutputError(
            f"{target} is neither empty nor an OCI layout", hint="name another directory, or empty this one"
        )
    files = open_files(target)
    try:
        existing = read_index(files).manifests
    finally:
        files.close()
    taken = {_identity(one) for one in entries}
    # A tag names one image: `tag` alone decides for tools that know only ref.name.
    tags = {one.annotations[REF_NAME] for one in entries if REF_NAME in one.annotations}
    return tuple(
        one for one in existing if _identity(one) not in taken and one.annotations.get(REF_NAME, "") not in tags
    )


def _identity(descriptor: Descriptor) -> tuple[str, ...]:
    name = descriptor.annotations.get(CONTAINERD_NAME, "")
    tag = descriptor.annotations.get(REF_NAME, "")
    return (name, tag) if name or tag else (descriptor.digest,)


def _place(path: Path, blob: Blob) -> None:
    if _is_there(path, blob):
        return
    with blob.open() as source, replacing(path) as stream:
        copy_verified(source, stream, blob.digest, blob.size, f"blob {blob.digest}")


def _is_there(path: Path, blob: Blob) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if os.fstat(stream.fileno()).st_size != blob.size:
                return False
            hasher = hashlib.sha256()
            while chunk := stream.read(CHUNK):
                hasher.update(chunk)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return False
        raise
    return hasher.hexdigest() == blob.digest.hex
