"""Random stacks and programs: the diff of an upper, applied to what was below, is what was seen (run-sandbox.md 5)."""

from __future__ import annotations

import contextlib
import io
import os
import random
import stat
import tarfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from builder.rootfs.diff import diff
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Item
from builder.rootfs.unpack import unpack
from builder.rootfs.whiteout import is_opaque, is_whiteout
from tests.support.need import need_root
from tests.support.overlay import mounted
from tests.support.trees import Tree, difference, tree_of_directory, tree_of_layers

SEEDS = 320 if os.environ.get("PYBUILD_TEST_FULL") else 20  # twice each: 640 runs of four layers
SEEDS_TO_CATCH = 100
LAYERS = 4
VISIBLE = ("type", "mode", "uid", "gid", "size", "link", "sha256", "xattrs")
CAPABILITY = b"\1\0\0\2\0\x20" + bytes(14)  # version 2, effective, NET_RAW
NAMES = ("a", "b", "c", "d", "e")

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.WHITEOUT: tarfile.REGTYPE,
}


class Program:
    """Does random things in a tree, as a RUN might. Times are few, so that changed files often look the same."""

    def __init__(self, root: Path, seed: random.Random) -> None:
        self.root = root
        self.random = seed

    def operations(self) -> list[Callable[[], None]]:
        """Return what can be done, the likelier more often."""
        return [
            self.write, self.write, self.write, self.directory, self.directory, self.symlink, self.link, self.fifo,
            self.device, self.remove, self.remove, self.remove_and_make, self.move, self.move, self.mode, self.owner,
            self.same_time_edit, self.touch_nothing, self.attribute, self.rebuild, self.rebuild,
            self.swap, self.socket, self.append, self.sparse, self.capability, self.write_through_link, self.set_id,
        ]  # fmt: skip

    def run(self, steps: int) -> None:
        """Do ``steps`` random things."""
        operations = self.operations()
        for _ in range(steps):
            with contextlib.suppress(OSError, IndexError):
                self.random.choice(operations)()
        self.settle()

    def directories(self) -> list[Path]:
        return [self.root, *(path for path in self.all() if path.is_dir() and not path.is_symlink())]

    def all(self) -> list[Path]:
        return sorted(self.root.rglob("*"))

    def some(self) -> Path:
        return self.random.choice(self.all())

    def fresh(self) -> Path:
        return self.random.choice(self.directories()) / self.random.choice(NAMES)

    def file(self) -> Path:
        return self.random.choice([path for path in self.all() if path.is_file() and not path.is_symlink()])

    def write(self) -> None:
        path = self.fresh()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
        os.write(fd, self.random.choice([b"", b"one", b"two", b"three"]))
        os.close(fd)
        self.time(path)

    def append(self) -> None:
        with self.file().open("ab") as stream:
            stream.write(b"+")

    def write_through_link(self) -> None:
        path, other = self.file(), self.fresh()
        os.link(path, other)
        with other.open("ab") as stream:
            stream.write(b"-")

    def sparse(self) -> None:
        path = self.file()
        with path.open("r+b") as stream:
            stream.seek(self.random.choice([100, 5_000, 70_000]))
            stream.write(b"end")
            stream.truncate(self.random.choice([100_000, 200_000]))
        self.time(path)

    def time(self, path: Path) -> None:
        when = self.random.choice([1, 2]) * 10**9
        os.utime(path, ns=(when, when), follow_symlinks=False)

    def directory(self) -> None:
        self.fresh().mkdir(self.random.choice([0o755, 0o755, 0o700, 0o1777]))

    def symlink(self) -> None:
        path = self.fresh()
        path.symlink_to(self.random.choice(["a", "/b", "../c", "../../../d"]))
        self.time(path)

    def link(self) -> None:
        os.link(self.file(), self.fresh())

    def fifo(self) -> None:
        os.mkfifo(self.fresh())

    def device(self) -> None:
        os.mknod(self.fresh(), stat.S_IFCHR | 0o600, os.makedev(1, self.random.choice([3, 5])))

    def socket(self) -> None:
        os.mknod(self.fresh(), stat.S_IFSOCK | 0o600)

    def remove(self) -> None:
        remove_tree(self.some())

    def remove_and_make(self) -> None:
        path = self.random.choice(self.directories()[1:])
        mode = stat.S_IMODE(path.stat().st_mode)
        remove_tree(path)
        path.mkdir()
        path.chmod(mode)

    def rebuild(self) -> None:
        """Replace a directory by a copy of itself, from which some things may be missing."""
        path, copy = self.random.choice(self.directories()[1:]), self.root / "copy"
        self.copy(path, copy)
        remove_tree(path)
        copy.rename(path)

    def copy(self, source: Path, target: Path) -> None:
        status = source.lstat()
        if stat.S_ISDIR(status.st_mode):
            target.mkdir()
            for child in sorted(source.iterdir()):
                if self.random.random() < 0.8:
                    self.copy(child, target / child.name)
        elif stat.S_ISLNK(status.st_mode):
            target.symlink_to(os.readlink(source))
        elif stat.S_ISREG(status.st_mode):
            target.write_bytes(source.read_bytes())
        else:
            os.mknod(target, status.st_mode, status.st_rdev)
        os.lchown(target, status.st_uid, status.st_gid)
        if not target.is_symlink():
            target.chmod(stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(0, status.st_mtime_ns), follow_symlinks=False)

    def move(self) -> None:
        self.some().rename(self.fresh())

    def swap(self) -> None:
        one, other, between = self.some(), self.some(), self.root / "between"
        if one in other.parents or other in one.parents or one == other:
            return
        one.rename(between)
        other.rename(one)
        between.rename(other)

    def mode(self) -> None:
        path = self.some()
        if not path.is_symlink():
            path.chmod(self.random.choice([0o644, 0o755, 0o4755]))

    def set_id(self) -> None:
        path = self.file()
        os.chown(path, self.random.choice([0, 7]), 8)  # which clears the bits
        path.chmod(self.random.choice([0o4755, 0o2755, 0o6711]))

    def capability(self) -> None:
        os.setxattr(self.file(), "security.capability", CAPABILITY)

    def owner(self) -> None:
        os.lchown(self.some(), self.random.choice([0, 0, 7]), self.random.choice([0, 8]))

    def touch_nothing(self) -> None:
        path = self.some()
        os.lchown(path, path.lstat().st_uid, path.lstat().st_gid)

    def same_time_edit(self) -> None:
        path = self.file()
        when = path.stat().st_mtime_ns
        path.write_bytes(bytes(reversed(path.read_bytes())))
        os.utime(path, ns=(when, when))

    def attribute(self) -> None:
        path = self.some()
        if self.random.random() < 0.7:
            os.setxattr(path, "user.k", self.random.choice([b"1", b"2"]), follow_symlinks=False)
        else:
            os.removexattr(path, "user.k", follow_symlinks=False)

    def settle(self) -> None:
        """Whole seconds, as all times have that come from a layer; the programs above left a few others."""
        for path in self.all():
            status = path.lstat()
            if status.st_mtime_ns % 10**9 and not path.is_dir():
                os.utime(path, ns=(3 * 10**9, 3 * 10**9), follow_symlinks=False)


def remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            remove_tree(child)
        path.rmdir()
    else:
        path.unlink()


def to_tar(items: Sequence[Item]) -> bytes:
    """Write a layer with the standard library, not with the code that goes with diff."""
    out = io.BytesIO()
    with tarfile.TarFile(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in items:
            entry = item.entry
            info = tarfile.TarInfo(whiteout_name(entry) if entry.kind is Kind.WHITEOUT else entry.path)
            info.type, info.mode, info.mtime, info.linkname = _TYPES[entry.kind], entry.mode, entry.mtime, entry.target
            info.uid, info.gid, info.devmajor, info.devminor = entry.uid, entry.gid, entry.major, entry.minor
            info.size = entry.size
            info.pax_headers = {f"SCHILY.xattr.{name}": value.decode() for name, value in entry.xattrs.items()}
            if callable(item.content):
                with item.content() as stream:
                    tar.addfile(info, stream)
            else:
                tar.addfile(info, io.BytesIO(item.content or b""))
    return out.getvalue()


def whiteout_name(entry: Entry) -> str:
    parent, _, name = entry.path.rpartition("/")
    return f"{parent}/.wh.{name}" if parent else f".wh.{name}"


def visible(root: Path) -> Tree:
    """What is seen in a mounted stack, without what a layer cannot hold: sockets, and the kernel's own attributes."""
    return {
        path: entry._replace(xattrs=tuple(pair for pair in entry.xattrs if not pair[0].startswith("user.overlay.")))
        for path, entry in tree_of_directory(root).items()
        if entry.type != "socket" and path != "."
    }


def without_root(tree: Tree) -> Tree:
    return {path: entry for path, entry in tree.items() if path != "."}


def check_shape(items: Sequence[Item], below: Tree) -> None:
    """Parents first, nothing twice, whiteouts only of what is there and before what a directory adds."""
    paths = [item.entry.path for item in items]
    assert len(set(paths)) == len(paths)
    seen: set[str] = {""}
    added: set[str] = set()
    for item in items:
        path, parent = item.entry.path, item.entry.path.rpartition("/")[0]
        assert parent in seen, f"{path} comes before its parent"
        seen.add(path)
        if item.entry.kind is Kind.WHITEOUT:
            assert path in below, f"whiteout of {path}, which was never there"
            assert parent not in added, f"whiteout of {path} after its directory's additions"
        else:
            added.add(parent)
        if item.entry.kind is Kind.HARDLINK:
            assert item.entry.target in seen


def check_links(upper: Path, items: Sequence[Item]) -> None:
    """A file with several names in the upper is in the layer with all of them, or not at all."""
    groups: dict[int, set[str]] = {}
    for path in upper.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            groups.setdefault(status.st_ino, set()).add(str(path.relative_to(upper)))
    emitted = {item.entry.path for item in items}
    for names in groups.values():
        assert not names & emitted or names <= emitted


@contextlib.contextmanager
def changed(where: Path, lowers: Sequence[Path], seed: random.Random) -> Iterator[Path]:
    """Mount the stack, let a program run, and give what it sees at the end."""
    upper = where / "upper"
    upper.mkdir(parents=True)
    upper.chmod(0o755)
    with mounted(where, lowers, upper) as root:
        run_program(root, seed.randrange(1 << 30), seed.choice([3, 12, 40]) if lowers else 60)
        yield root


def run_program(root: Path, seed: int, steps: int) -> None:
    """Run the program in a child that has ``root`` as its root, because it writes through links."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chroot(root)
            os.chdir("/")
            os.umask(0o022)
            Program(Path("/"), random.Random(seed)).run(steps)
            status = 0
        except OSError:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def drop_leftovers(upper: Path, emitted: set[str]) -> None:
    """Make an upper hold what its layer holds, as whoever keeps it as a layer must.

    The kernel shows whiteouts where nothing is below, which renames leave in an upper, as names that do not exist.
    """
    for path in list(upper.rglob("*")):
        status = path.lstat()
        if stat.S_ISSOCK(status.st_mode) or is_whiteout(status):
            path.unlink()
            hidden = any(is_opaque(str(parent)) for parent in path.parents if upper in parent.parents)
            if str(path.relative_to(upper)) in emitted and not hidden:
                os.mknod(path, stat.S_IFCHR, 0)


def simulate(seed: int, adopt: bool, where: Path) -> None:
    """Stack layers made by random programs; fail where the diff of one does not say what its program did."""
    source = random.Random(f"{seed}-{adopt}")
    tars: list[bytes] = []
    lowers: list[Path] = []
    below: Tree = {}
    for number in range(LAYERS):
        here = where / str(number)
        with changed(here, lowers, source) as root:
            seen = visible(root)
        items = list(diff(here / "upper", lowers))
        check_shape(items, below)
        check_links(here / "upper", items)
        tars.append(to_tar(items))
        # Extracted in memory by code that knows nothing of overlay ...
        flat = without_root(tree_of_layers(tars))
        assert difference(flat, seen, fields=VISIBLE) == []
        # The kernel parts the names of a file it copies up; where nothing else changed, they still are one to us.
        assert [path for path, entry in seen.items() if not set(entry.group) <= set(flat[path].group)] == []
        # ... and unpacked on the layers below by ours.
        unpack(io.BytesIO(tars[-1]), here / "unpacked", lower=lowers)
        with mounted(here / "again", [*lowers, here / "unpacked"], None) as root:
            assert difference(visible(root), seen, fields=VISIBLE) == []
        drop_leftovers(here / "upper", {item.entry.path for item in items})
        lowers.append(here / "upper" if adopt else here / "unpacked")
        below = seen


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("adopt", [False, True], ids=["unpacked", "adopted"])
def test_applying_the_diff_gives_what_was_seen(seed: int, adopt: bool, tmp_path: Path) -> None:
    need_root("needs root: overlay mounts")
    simulate(seed, adopt, tmp_path)


def test_there_are_enough_kinds_of_operations() -> None:
    names = {one.__name__ for one in Program(Path("/"), random.Random(0)).operations()}
    assert len(names) >= 17


def descend_without_stop(stack: Sequence[str], name: str) -> tuple[str, ...]:
    """``whiteout.descend``, had it forgotten that an opaque directory hides the layers below it."""
    found = []
    for directory in stack:
        file = f"{directory}/{name}"
        if not os.path.lexists(file):
            continue
        if not stat.S_ISDIR(os.lstat(file).st_mode):
            break
        found.append(file)
    return tuple(found)


BUGS: dict[str, tuple[str, Callable[..., object]]] = {
    "no-opaque": ("is_opaque", lambda _directory: False),
    "no-opaque-stop": ("descend", descend_without_stop),
    "no-link-rule": ("_is_linked", lambda _status: False),
    "no-content-compare": ("_same_contents", lambda _left, _right: True),
}


def hunt(where: Path) -> None:
    for seed in range(SEEDS_TO_CATCH):
        simulate(seed, True, where / str(seed))


@pytest.mark.parametrize("bug", BUGS)
def test_bugs_are_caught(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_root("needs root: overlay mounts")
    name, function = BUGS[bug]
    monkeypatch.setattr(f"builder.rootfs.diff.{name}", function)
    with pytest.raises(AssertionError):
        hunt(tmp_path)
