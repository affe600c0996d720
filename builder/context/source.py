"""Build contexts of every kind as trees: directories, tars and Dockerfiles on stdin or the web, git repositories.

Ignore files count for directories only (dockerfile.md 1.11, 1.13). Nothing is fetched before ``open_context`` is
called, so an unused context costs nothing.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from builder.context.directory import DirectoryTree
from builder.context.ignore import IgnoreRules
from builder.context.tree import Tree, read_file
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.streams import CHUNK, Readable, read_limited, read_up_to
from builder.values import dataclass, field, replace

if TYPE_CHECKING:
    from builder.context.git import GitAccess
    from builder.context.http import Downloads

LARGEST_DOCKERFILE = 16 << 20
_LARGEST_IGNORE_FILE = 16 << 20
_BLOCK = 512
_FORMS = "pipe a tar into it (tar c . | pybuild -), or a Dockerfile that needs no context"
_CHECKSUM = slice(148, 156)


@dataclass(frozen=True, slots=True)
class Context:
    """An open context. ``close`` it when the build is over.

    ``dockerfile`` is given instead of files where the source was a Dockerfile's text; ``tree`` is then empty.
    ``directory`` is set where the files are the user's own; ``commit`` and ``time`` where they come from git.
    """

    tree: Tree
    close: Callable[[], None] = field(repr=False, compare=False)
    dockerfile: bytes | None = None
    directory: Path | None = None
    commit: str = ""
    time: int | None = None


class EmptyTree:
    """No files at all."""

    def lstat(self, path: str) -> Entry | None:
        """Return the root, which holds nothing."""
        return None if path else Entry(path="", kind=Kind.DIRECTORY)

    def children(self, path: str) -> tuple[()]:
        """Return nothing."""
        del path
        return ()

    def open(self, path: str) -> BinaryIO:
        """Raise ContextError."""
        raise ContextError(f"{path}: there is no build context, only a Dockerfile")

    def link_key(self, path: str) -> None:
        """Return None."""
        del path


def open_context(
    spec: str,
    *,
    scratch: Path,
    stdin: BinaryIO | None = None,
    dockerfile: Path | None = None,
    downloads: Downloads | None = None,
    git: GitAccess | None = None,
    keep_git_dir: bool = False,
    label: str = "the build context",
    hidden: Path | None = None,
) -> Context:
    """Open ``spec``: ``-``, a git URL, an http(s) URL or a directory. Raises ContextError.

    ``scratch`` is an existing directory that the caller empties after ``close``. ``dockerfile`` is the host path whose
    ``.dockerignore`` sibling replaces that of a directory; with ``keep_git_dir`` a git URL gives ``.git`` too.
    ``hidden`` is a directory that is no part of the context even if it lies in it.
    """
    if spec == "-":
        if stdin is None:
            raise ContextError("there is nothing on standard input to be the build context")
        return _from_stream(stdin, scratch, f"{label} on standard input")
    if is_remote(spec):
        if not _is_repository(spec):
            return _from_url(spec, scratch, downloads, label)
        return _from_git(spec, scratch, git, label, keep_git_dir=keep_git_dir)
    root = Path(spec)
    if not os.path.lexists(root):
        raise ContextError(f"{label} {spec} does not exist", hint="name a directory, e.g. .")
    if root.is_file():
        raise ContextError(f"{spec} is a file, and {label} a directory", hint="name the Dockerfile with --file")
    tree = DirectoryTree(root, load_rules(root, dockerfile), label=label, hidden=hidden)
    return Context(tree, tree.close, directory=root)


def is_remote(spec: str) -> bool:
    """Say whether ``spec`` is no directory but something to be fetched. Cheap for a plain path."""
    if "://" not in spec and "@" not in spec:
        return False
    return _is_repository(spec) or spec.lower().startswith(("http://", "https://"))


def _is_repository(spec: str) -> bool:
    from builder.context.giturl import is_git_url

    return is_git_url(spec, allow_file=True)


def load_rules(root: Path, dockerfile: Path | None = None) -> IgnoreRules | None:
    """Read the ignore file of the context directory ``root``; None if there is none.

    ``DOCKERFILE.dockerignore`` next to the Dockerfile replaces the root's ``.dockerignore``, also if it is empty.
    """
    if dockerfile is not None:
        beside = dockerfile.with_name(dockerfile.name + ".dockerignore")
        data = _read_host_file(beside)
        if data is not None:
            return IgnoreRules.parse(data, str(beside))
    with DirectoryTree(root) as tree:
        data = read_file(tree, ".dockerignore", limit=_LARGEST_IGNORE_FILE)
    return None if data is None else IgnoreRules.parse(data)


def is_tar(block: bytes) -> bool:
    """Say whether the first 512 bytes of a stream are the header of a tar, by its checksum."""
    if len(block) < _BLOCK:
        return False
    if not any(block):
        return True  # an empty archive is nothing but its end
    text = block[_CHECKSUM].split(b"\0")[0].strip(b" ")
    try:
        wanted = int(text, 8)
    except ValueError:
        return False
    return wanted == sum(block[: _CHECKSUM.start]) + 8 * 0x20 + sum(block[_CHECKSUM.stop : _BLOCK])


def _from_stream(stream: BinaryIO, scratch: Path, label: str) -> Context:
    """Tell a tar, of any compression, from the text of a Dockerfile."""
    from builder.rootfs.coding import Compression
    from builder.rootfs.compression import PREFIX, decompress, detect

    try:
        start = read_up_to(stream, PREFIX)
        kind = detect(start)
        plain: Readable = (
            _Chained(start, stream) if kind is Compression.NONE else decompress(_Chained(start, stream), kind)
        )
        block = read_up_to(plain, _BLOCK)
        whole = _Chained(block, plain)
        if is_tar(block):
            from builder.context.tartree import TarTree

            tree = TarTree(whole, scratch, label=label)
            _drain(whole, tree.close)
            return Context(tree, tree.close)
        if kind is not Compression.NONE:
            raise ContextError(f"{label} is compressed, but no tar", hint=_FORMS)
        data = read_limited(
            whole,
            LARGEST_DOCKERFILE,
            lambda: ContextError(f"{label} is neither a tar nor a Dockerfile of bearable size"),
        )
    except LayerFormatError as error:
        raise ContextError(f"{label}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise ContextError(f"cannot read {label}: {error.strerror}") from error
    if not data.strip():
        raise ContextError(f"{label} is empty", hint=_FORMS)
    if b"\0" in data:
        raise ContextError(f"{label} is neither a tar nor a Dockerfile", hint=_FORMS)
    return Context(EmptyTree(), lambda: None, dockerfile=data)


def _drain(stream: Readable, give_up: Callable[[], None]) -> None:
    """Read what follows a tar's end: the checksum of a compressed one is there, and whoever writes may finish."""
    try:
        while stream.read(CHUNK):
            pass
    except BaseException:
        give_up()
        raise


def _from_url(spec: str, scratch: Path, downloads: Downloads | None, label: str) -> Context:
    from builder.context.http import public_url

    if downloads is None:
        raise ContextError(f"{public_url(spec)}: nothing can be downloaded here")
    found = downloads.fetch(spec)
    with open(found.path, "rb") as stream:
        return _from_stream(stream, scratch, f"{label} {public_url(spec)}")


def _from_git(spec: str, scratch: Path, access: GitAccess | None, label: str, *, keep_git_dir: bool) -> Context:
    from builder.context.git import GitAccess, checkout, resolve_commit
    from builder.context.giturl import parse_git_url

    access = access or GitAccess()
    source = parse_git_url(spec, allow_file=access.allow_file)
    source = replace(source, keep_git_dir=source.keep_git_dir or keep_git_dir)
    commit = resolve_commit(source, access)
    done = checkout(source, commit, scratch / f"git-{os.urandom(6).hex()}", access)
    tree = DirectoryTree(done.directory, label=f"{label} {source.remote}")
    return Context(tree, tree.close, commit=commit, time=done.time)


class _Chained:
    """Bytes that were read ahead, and the rest of their stream."""

    def __init__(self, ahead: bytes, rest: Readable) -> None:
        self._ahead = io.BytesIO(ahead)
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        ahead = self._ahead.read(size)
        if size < 0:
            return ahead + self._rest.read()
        return ahead or (self._rest.read(size) if size else b"")


def _read_host_file(path: Path) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ContextError(f"cannot read {path}: {error.strerror}") from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as stream:
        return read_limited(stream, _LARGEST_IGNORE_FILE, lambda: ContextError(f"{path} is too large"))
