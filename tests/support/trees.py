"""File trees as plain values, to compare what different programs made of the same image.

A tree maps a path ("." is the root, no leading slash) to an Entry. It is read from a directory, a root filesystem tar,
an OCI layout (directory or tar) or a docker-save tar. The layer applier is the obvious slow one, in memory, and shares
no code with builder/.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from tests.support.images import clean, inflate, open_tar, read_image

Type = Literal["dir", "file", "link", "fifo", "char", "block", "socket"]


class Entry(NamedTuple):
    """One path of a tree.

    ``link`` is a symlink's target or a device's "major:minor"; ``group`` all names of one file, sorted, if several.
    """

    type: Type
    mode: int
    uid: int
    gid: int
    size: int
    link: str
    group: tuple[str, ...]
    sha256: str
    xattrs: tuple[tuple[str, bytes], ...]
    mtime: int


Tree = dict[str, Entry]


def difference(
    ours: Tree, theirs: Tree, *, ignore: Iterable[str] = (), fields: Iterable[str] | None = None
) -> list[str]:
    """Say how two trees differ, one line a path; empty means equal.

    Compares everything but mtime unless ``fields`` says otherwise. ``ignore`` names paths to leave out, and all below.
    """
    chosen = tuple(fields) if fields is not None else tuple(name for name in Entry._fields if name != "mtime")
    skipped = tuple(ignore)
    lines = []
    for path in sorted(ours.keys() | theirs.keys()):
        if any(path == name or path.startswith(name + "/") for name in skipped):
            continue
        if path not in ours or path not in theirs:
            only, entry = ("ours", ours[path]) if path in ours else ("theirs", theirs[path])
            lines.append(f"{path}: only in {only} ({entry.type} {entry.mode:o})")
            continue
        for name in chosen:
            left, right = getattr(ours[path], name), getattr(theirs[path], name)
            if left != right:
                shown = (oct(left), oct(right)) if name == "mode" else (left, right)
                lines.append(f"{path}: {name} {shown[0]} in ours, {shown[1]} in theirs")
    return lines


def tree_of(source: Path | str) -> Tree:
    """Read whatever ``source`` is: see the module."""
    path = Path(source)
    if path.is_dir():
        return apply_layers(path) if (path / "oci-layout").exists() else tree_of_directory(path)
    with open_tar(path) as archive:
        names = {member.name.removeprefix("./") for member in archive}
    return apply_layers(path) if names & {"oci-layout", "manifest.json"} else tree_of_tar(path)


# --- directories


def tree_of_directory(root: Path) -> Tree:
    """Read an unpacked tree as it lies on the disk; run as a user who may read all of it."""
    found: dict[str, os.stat_result] = {}
    groups: dict[tuple[int, int], list[str]] = {}
    for path in _walk(root):
        info = os.lstat(os.path.join(root, path))
        found[path] = info
        if not stat.S_ISDIR(info.st_mode) and info.st_nlink > 1:
            groups.setdefault((info.st_dev, info.st_ino), []).append(path)
    return {
        path: _from_disk(root, path, info, groups.get((info.st_dev, info.st_ino), [])) for path, info in found.items()
    }


def _walk(root: Path, below: str = ".") -> Iterator[str]:
    yield below
    directory = root if below == "." else root / below
    for entry in sorted(os.scandir(directory), key=lambda found: found.name):
        path = entry.name if below == "." else f"{below}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path)
        else:
            yield path


_DISK_TYPES: dict[int, Type] = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}


def _from_disk(root: Path, path: str, info: os.stat_result, group: list[str]) -> Entry:
    place = os.path.join(root, path)
    kind = _DISK_TYPES[stat.S_IFMT(info.st_mode)]
    link, sha256 = "", ""
    if kind == "link":
        link = os.readlink(place)
    elif kind in ("char", "block"):
        link = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    elif kind == "file":
        with open(place, "rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    xattrs = tuple(
        (name, os.getxattr(place, name, follow_symlinks=False))
        for name in sorted(os.listxattr(place, follow_symlinks=False))
    )
    return Entry(
        type=kind,
        mode=0o777 if kind == "link" else stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        size=info.st_size if kind == "file" else 0,
        link=link,
        group=tuple(sorted(group)) if len(group) > 1 else (),
        sha256=sha256,
        xattrs=tuple(pair for pair in xattrs if pair[0] != "security.selinux"),
        mtime=int(info.st_mtime),
    )


# --- layers, applied in memory


@dataclass(eq=False)
class _Node:
    """An inode. Hard links are several names for one of them; a directory has children by name."""

    type: Type
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    link: str = ""
    sha256: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    mtime: int = 0
    children: dict[str, _Node] = field(default_factory=dict)


class _Filesystem:
    """A root filesystem that layers are extracted into as engines do it: one entry after the other."""

    def __init__(self) -> None:
        self.root = _Node("dir", 0o755)

    def apply(self, archive: tarfile.TarFile, *, whiteouts: bool = True) -> None:
        """Extract a layer. Whiteouts speak of the layers below only, so they are all done first."""
        members = list(archive)
        if whiteouts:
            for member in members:
                directory, name = posixpath.split(clean(member.name))
                if name.startswith(".wh."):
                    self._white_out(directory, name)
        for member in members:
            path = clean(member.name)
            if not (whiteouts and posixpath.basename(path).startswith(".wh.")):
                self._extract(archive, member, path)

    def tree(self) -> Tree:
        """Return what is there now."""
        named: dict[str, _Node] = dict(self._list(self.root, ""))
        groups: dict[int, list[str]] = {}
        for path, node in named.items():
            groups.setdefault(id(node), []).append(path)
        return {path: _from_node(node, groups[id(node)]) for path, node in named.items()}

    def _list(self, node: _Node, path: str) -> Iterator[tuple[str, _Node]]:
        yield path or ".", node
        for name, child in sorted(node.children.items()):
            yield from self._list(child, f"{path}/{name}" if path else name)

    def _directory(self, path: str, *, make: bool) -> _Node | None:
        """Return the directory ``path``, through symlinks and never above the root; make what is missing if asked."""
        pending = [part for part in reversed(path.split("/")) if part]
        trail, followed = [self.root], 0
        while pending:
            part = pending.pop()
            if part == ".":
                continue
            if part == "..":
                trail = trail[:-1] or [self.root]
                continue
            child = trail[-1].children.get(part)
            if child is not None and child.type == "link":
                followed += 1
                assert followed < 100, f"symlink loop at {path}"
                if child.link.startswith("/"):
                    trail = [self.root]
                pending.extend(piece for piece in reversed(child.link.split("/")) if piece)
                continue
            if child is None or child.type != "dir":
                if not make:
                    return None
                child = trail[-1].children[part] = _Node("dir", 0o755)
            trail.append(child)
        return trail[-1]

    def _white_out(self, directory: str, name: str) -> None:
        parent = self._directory(directory, make=False)
        if parent is None:
            return
        if name == ".wh..wh..opq":
            parent.children.clear()
        elif not name.startswith(".wh..wh."):
            parent.children.pop(name.removeprefix(".wh."), None)

    def _extract(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        directory, name = posixpath.split(path)
        if not name:
            _describe(self.root, member)
            return
        parent = self._directory(directory, make=True)
        assert parent is not None
        if member.islnk():
            target_directory, target_name = posixpath.split(clean(member.linkname))
            holder = self._directory(target_directory, make=False)
            assert holder is not None, f"{path} is a hard link to {member.linkname}, which is not there"
            parent.children[name] = holder.children[target_name]
            return
        existing = parent.children.get(name)
        node = _node(archive, member)
        if existing is not None and existing.type == "dir" and node.type == "dir":
            node.children = existing.children
        parent.children[name] = node


_TAR_TYPES: Mapping[bytes, Type] = {
    tarfile.DIRTYPE: "dir",
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.SYMTYPE: "link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
}


def _describe(node: _Node, member: tarfile.TarInfo) -> None:
    node.mode = 0o777 if node.type == "link" else member.mode & 0o7777
    node.uid, node.gid = member.uid, member.gid
    node.mtime = int(member.mtime)
    prefix = "SCHILY.xattr."
    node.xattrs = tuple(
        sorted(
            (key.removeprefix(prefix), value.encode("utf-8", "surrogateescape"))
            for key, value in member.pax_headers.items()
            if key.startswith(prefix)
        )
    )


def _node(archive: tarfile.TarFile, member: tarfile.TarInfo) -> _Node:
    node = _Node(_TAR_TYPES[member.type], 0)
    _describe(node, member)
    if node.type == "link":
        node.link = member.linkname
    elif node.type in ("char", "block"):
        node.link = f"{member.devmajor}:{member.devminor}"
    elif node.type == "file":
        contents = archive.extractfile(member)
        assert contents is not None
        node.size = member.size
        node.sha256 = hashlib.file_digest(contents, "sha256").hexdigest()
    return node


def _from_node(node: _Node, names: list[str]) -> Entry:
    return Entry(
        type=node.type,
        mode=node.mode,
        uid=node.uid,
        gid=node.gid,
        size=node.size,
        link=node.link,
        group=tuple(sorted(names)) if len(names) > 1 else (),
        sha256=node.sha256,
        xattrs=node.xattrs,
        mtime=node.mtime,
    )


def tree_of_tar(path: Path, *, whiteouts: bool = False) -> Tree:
    """Read a tar of a root filesystem, of any compression; ``.wh.`` names are ordinary files unless asked otherwise."""
    filesystem = _Filesystem()
    with open_tar(path) as archive:
        filesystem.apply(archive, whiteouts=whiteouts)
    return filesystem.tree()


def apply_layers(image: Path) -> Tree:
    """Extract every layer of an image into memory and return the merged tree; ``image`` as for ``read_image``."""
    return tree_of_layers(read_image(image).layers)


def tree_of_layers(layers: Iterable[bytes]) -> Tree:
    """Return the merged tree of layers, bottom first, each a tar of any compression."""
    filesystem = _Filesystem()
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(inflate(layer)), mode="r:") as archive:
            filesystem.apply(archive)
    return filesystem.tree()
