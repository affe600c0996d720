"""What others mount is *lent* to a command in ``chroot`` mode: put in its place before, taken away afterwards.

run-sandbox.md 3. Nothing of ours may stay in the tree, and what was there must come back, whatever the command did to
paths meanwhile: places are held by descriptors. A read-only mount is a copy that is thrown away.

Standard library only, but for ``run.init``, which the worker loads beside it.
"""

from __future__ import annotations

import errno
import os
import stat

from builder.run import init

TYPE_CHECKING = False  # as in run.init
if TYPE_CHECKING:
    from builder.run.attending import Plan, Stubs

_CHUNK = 1 << 20
_PIPES = ((1, b"stdout"), (2, b"stderr"))


class Place:
    """A name in the tree where something of ours is, instead of what was there.

    It is known by its directory's descriptor: the command may do with paths what it likes.
    """

    def __init__(self, parent: int, name: bytes, aside: bytes, stubs: Stubs) -> None:
        self.parent = parent
        self.name = name
        self.aside = aside
        self.stubs = stubs
        self.made = False  # nothing was there
        self.back = b""  # where to put what is there afterwards: a cache directory
        self.secret = -1


class Tree:
    """The command's root, while it is being furnished and cleared."""

    def __init__(self, root: int, scratch: bytes) -> None:
        self.root = root
        self.scratch = scratch
        self.places: list[Place] = []
        self.pipes: list[tuple[int, int]] = []  # descriptors: of the FIFO, and where it goes
        self._count = 0

    def fresh(self) -> bytes:
        """Return a new name outside the tree, on its file system."""
        self._count += 1
        return self.scratch + b"/p/%d" % self._count

    def vacate(self, target: bytes, kind: str) -> Place:
        """Move what is at ``target`` aside, made first if it is missing, and remember how to bring it back."""
        stubs: Stubs = []
        fd = init.walk(self.root, target, kind, stubs)
        path = os.readlink(init.by_fd(fd))
        os.close(fd)
        root = os.readlink(init.by_fd(self.root))
        if path == root:
            raise OSError(errno.EBUSY, "it is the root directory", target)
        parent = os.open(os.path.dirname(path), init.O_PATH | os.O_CLOEXEC)
        place = Place(parent, os.path.basename(path), self.fresh(), stubs)
        place.made = bool(stubs) and stubs[-1][0] == path[len(root) + 1 :]
        times = _times(parent)
        os.rename(place.name, place.aside, src_dir_fd=parent)
        self.places.append(place)
        _restore_times(parent, times)
        return place

    # -- the operations of run.mounts

    def filesystem(self, op: Plan) -> None:
        """An empty directory stands for a file system in memory; those of the kernel are not to be had."""
        if op["type"] != b"tmpfs" or op["target"] == b"/dev":
            return
        place = self.vacate(op["target"], "dir")
        modes = [int(word[5:], 8) for word in (op["data"] or b"").split(b",") if word.startswith(b"mode=")]
        if not modes:
            modes = [0o1777 if place.made else stat.S_IMODE(os.lstat(place.aside).st_mode)]
        _make_directory(place, modes[0])

    def devices(self, op: Plan) -> None:
        """Furnish /dev with nodes, and with FIFOs for the two streams that /proc would have."""
        place = self.vacate(op["target"], "dir")
        _make_directory(place, 0o755)
        directory = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.parent)
        for name, major, minor in init.NODES:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=directory)
        for stream, name in _PIPES:
            os.mkfifo(name, 0o622, dir_fd=directory)
            fd = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            self.pipes.append((fd, stream))
        os.close(directory)

    def cover(self, op: Plan) -> None:
        """Nothing of the kernel's is shown, so nothing has to be hidden."""

    def file(self, op: Plan) -> None:
        """Write a file of ours; a secret's is watched, because here it is on a disk and can be linked to."""
        place = self.vacate(op["target"], "file")
        times = _times(place.parent)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        fd = os.open(place.name, flags, 0o600, dir_fd=place.parent)
        data = op["data"]
        while data:
            data = data[os.write(fd, data) :]
        os.fchown(fd, *op["owner"])
        os.fchmod(fd, op["mode"])
        if op.get("secret"):
            place.secret = fd
        else:
            os.close(fd)
        _restore_times(place.parent, times)

    def bind(self, op: Plan) -> None:
        """Show a copy of a directory or file; a cache's directory itself; a socket by another name."""
        if "fresh" in op and any(each.back for each in self.places) and not os.path.exists(op["source"]):
            raise OSError(errno.EBUSY, "without mounts, a cache can be in one place of a step only", op["source"])
        outer = os.open(op["source"], init.O_PATH | os.O_CLOEXEC)
        inner = init.walk(outer, op["subpath"], op["make"], None, op["owner"]) if op["subpath"] else os.dup(outer)
        source, mode = os.readlink(init.by_fd(inner)), os.fstat(inner).st_mode
        os.close(outer)
        os.close(inner)
        place = self.vacate(op["target"], "dir" if stat.S_ISDIR(mode) else "file")
        times = _times(place.parent)
        if "fresh" in op and stat.S_ISDIR(mode) and not op["flags"] & init.MS_RDONLY:
            place.back = source
            _move(source, place)
        elif stat.S_ISSOCK(mode):
            if "mode" in op:  # it is the step's own
                os.chown(source, *op["owner"])
                os.chmod(source, op["mode"])
            os.link(source, place.name, dst_dir_fd=place.parent)
        else:
            copy(source, place.parent, place.name)
        _restore_times(place.parent, times)

    def overlay(self, op: Plan) -> None:
        """Show a place in a tree that is made for this and thrown away."""
        outer = os.open(op["tree"], init.O_PATH | os.O_CLOEXEC)
        inner = init.walk(outer, op["subpath"])
        source, mode = os.readlink(init.by_fd(inner)), os.fstat(inner).st_mode
        os.close(outer)
        os.close(inner)
        place = self.vacate(op["target"], "dir" if stat.S_ISDIR(mode) else "file")
        times = _times(place.parent)
        _move(source, place)
        _restore_times(place.parent, times)

    # -- afterwards

    def clear(self) -> str:
        """Take everything of ours away and bring back what was there; return what must not be, or nothing."""
        leaked = ""
        for place in reversed(self.places):
            times = _times(place.parent)
            try:
                self._take_away(place)
                if not place.made:
                    os.rename(place.aside, place.name, dst_dir_fd=place.parent)
            except OSError:
                pass  # the command has removed the directory, and with it what was aside
            _restore_times(place.parent, times)
            init.remove_stubs(self.root, place.stubs)
            if place.secret >= 0:
                # On disk until now: nothing of it stays, whatever the command has done to its names.
                if os.fstat(place.secret).st_nlink:
                    leaked = os.fsdecode(place.name)
                os.ftruncate(place.secret, 0)
                os.close(place.secret)
            os.close(place.parent)
        self.places.clear()
        return f"a link to the secret {leaked} was left in the image" if leaked else ""

    def _take_away(self, place: Place) -> None:
        found = _lookup(place)
        if place.back:
            if found is not None and stat.S_ISDIR(found.st_mode):
                _return(place)
                return
            os.makedirs(place.back, exist_ok=True)
        if found is None:
            return
        if place.secret >= 0 and not stat.S_ISDIR(found.st_mode):
            os.unlink(place.name, dir_fd=place.parent)
        else:
            os.rename(place.name, self.fresh(), src_dir_fd=place.parent)


def _lookup(place: Place) -> os.stat_result | None:
    try:
        return os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _make_directory(place: Place, mode: int) -> None:
    times = _times(place.parent)
    os.mkdir(place.name, 0o700, dir_fd=place.parent)
    os.chmod(place.name, mode, dir_fd=place.parent)
    _restore_times(place.parent, times)


def _times(directory: int) -> tuple[int, int]:
    found = os.stat(b".", dir_fd=directory)
    return found.st_atime_ns, found.st_mtime_ns


def _restore_times(directory: int, times: tuple[int, int]) -> None:
    try:
        os.utime(b".", ns=times, dir_fd=directory)
    except OSError:
        pass  # the command has removed it


def _move(source: bytes, place: Place) -> None:
    """Lend a cache's directory: the thing itself, or a copy from another file system."""
    try:
        os.rename(source, place.name, dst_dir_fd=place.parent)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy(source, place.parent, place.name)


def _return(place: Place) -> None:
    try:
        os.rename(place.name, place.back, src_dir_fd=place.parent)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST):
            raise
        # It was copied here: the new state takes the old one's place.
        here = os.open(os.path.dirname(place.back), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        name, old = os.path.basename(place.back), os.path.basename(place.back) + b".old"
        copy(init.by_fd(place.parent) + b"/" + place.name, here, name + b".new")
        os.rename(name, old, src_dir_fd=here, dst_dir_fd=here)
        os.rename(name + b".new", name, src_dir_fd=here, dst_dir_fd=here)
        os.close(here)
        erase(os.path.dirname(place.back) + b"/" + old)
        erase(init.by_fd(place.parent) + b"/" + place.name)


def copy(source: bytes, parent: int, name: bytes) -> None:
    """Copy a file or a tree with owners, modes, times and attributes. Nobody may be at work in either of them."""
    target = init.by_fd(parent) + b"/" + name
    seen = os.lstat(source)
    if stat.S_ISDIR(seen.st_mode):
        os.mkdir(target, 0o700)
        below = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        for each in os.listdir(source):
            copy(source + b"/" + each, below, each)
        os.close(below)
    elif stat.S_ISLNK(seen.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(seen.st_mode):
        _copy_bytes(source, target)
    else:
        os.mknod(target, seen.st_mode, seen.st_rdev)
    os.chown(target, seen.st_uid, seen.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(seen.st_mode):
        os.chmod(target, stat.S_IMODE(seen.st_mode))
    for attribute in os.listxattr(source, follow_symlinks=False):
        if not attribute.startswith("user.overlay."):
            value = os.getxattr(source, attribute, follow_symlinks=False)
            os.setxattr(target, attribute, value, follow_symlinks=False)
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns), follow_symlinks=False)


def _copy_bytes(source: bytes, target: bytes) -> None:
    with open(source, "rb", buffering=0) as reader, open(target, "xb", buffering=0) as writer:
        while os.sendfile(writer.fileno(), reader.fileno(), None, _CHUNK):
            pass


def erase(path: bytes) -> None:
    """Delete a tree nobody is at work in."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    for name in os.listdir(path):
        erase(path + b"/" + name)
    os.rmdir(path)
