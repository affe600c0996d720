"""Unpacked layers in the store: made once, whole, for one boot; kept uppers are what unpacking would give."""

from __future__ import annotations

import gzip
import os
import stat
import threading
from pathlib import Path

import pytest
from runbox import OLD, directory, regular, tar_of

from builder.errors import ImageError
from builder.image.digest import Digest
from builder.run.layers import Layers
from tests.support.need import need

TAR = tar_of([directory("d"), regular("d/f", b"x")])
DIFF_ID = str(Digest.of(TAR))


@pytest.fixture
def blob(tmp_path: Path) -> bytes:
    path = tmp_path / "blob"
    path.write_bytes(gzip.compress(TAR))
    return os.fsencode(path)


def layers(root: Path) -> Layers:
    scratch = root / f"scratch-{os.urandom(4).hex()}"
    scratch.mkdir()
    return Layers(root, "view", scratch, single=os.geteuid() != 0)


def ignore(_message: str) -> None:
    pass


def test_made_once(tmp_path: Path, blob: bytes) -> None:
    first, second = layers(tmp_path), layers(tmp_path)
    path = first.ensure("name", blob, DIFF_ID, (), ignore)
    assert (path / "d" / "f").read_bytes() == b"x"
    assert second.ensure("name", b"/no/such/blob", DIFF_ID, (), ignore) == path


def test_many_makers_one_layer(tmp_path: Path, blob: bytes) -> None:
    makers = [layers(tmp_path) for _ in range(4)]
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda maker=maker: found.append(maker.ensure("n", blob, DIFF_ID, (), ignore)))
        for maker in makers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "layers" / "view" / "n"] * 4


def test_other_bytes_are_refused(tmp_path: Path, blob: bytes) -> None:
    with pytest.raises(ImageError, match="holds other bytes"):
        layers(tmp_path).ensure("name", blob, str(Digest.of(b"")), (), ignore)
    assert not (tmp_path / "layers" / "view" / "name").exists()


def test_layers_of_another_boot_are_forgotten(tmp_path: Path, blob: bytes) -> None:
    path = layers(tmp_path).ensure("name", blob, DIFF_ID, (), ignore)
    layers(tmp_path)
    assert path.exists()
    (path.parent / ".boot").write_text("another one\n")
    after = layers(tmp_path)
    assert not path.exists()
    assert after.ensure("name", blob, DIFF_ID, (), ignore) == path


def test_a_kept_upper_holds_what_the_layer_says(tmp_path: Path) -> None:
    need(os.geteuid() == 0, "whiteouts need root, or a user namespace")
    upper = tmp_path / "upper"
    for name in ("seen", "seen/deep", "unchanged", "unchanged/x"):
        (upper / name).mkdir(parents=True)
    (upper / "seen" / "file").touch()
    (upper / "seen" / "same").touch()
    os.mknod(upper / "seen" / "pointless", stat.S_IFCHR, 0)
    os.mknod(upper / "seen" / "socket", stat.S_IFSOCK)
    os.mknod(upper / "seen" / "gone", stat.S_IFSOCK)  # a socket where a file was: the layer deletes the file
    os.setxattr(upper / "seen", "user.overlay.opaque", b"y")
    kept = layers(tmp_path)
    kept.adopt(upper, "name", {"seen": OLD, "seen/deep": OLD + 1, "seen/file": OLD + 2, "seen/gone": None})
    final = tmp_path / "layers" / "view" / "name"
    assert sorted(str(path.relative_to(final)) for path in final.rglob("*")) == [
        "seen", "seen/deep", "seen/file", "seen/gone",
    ]  # fmt: skip
    assert os.listxattr(final / "seen") == []
    assert stat.S_ISCHR((final / "seen" / "gone").lstat().st_mode)
    times = [(final / name).stat().st_mtime_ns for name in ("seen", "seen/deep", "seen/file")]
    assert times == [OLD * 10**9, (OLD + 1) * 10**9, (OLD + 2) * 10**9]
    assert not upper.exists()


def test_who_wants_a_layer_waits_until_it_is_adopted(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "seen").mkdir(parents=True)
    first, second = layers(tmp_path), layers(tmp_path)
    found: list[Path] = []
    lock = tmp_path / "layers" / "view" / ".locks" / "n"

    def want() -> None:
        # There is no blob that it could be made of.
        found.append(second.ensure("n", b"", DIFF_ID, (), ignore))

    waiter = threading.Thread(target=want)
    with first.adopting(upper, "n", {"seen": OLD}):
        waiter.start()
        waiting = f":{lock.stat().st_ino} "
        while not any("->" in line and waiting in line for line in Path("/proc/locks").read_text().splitlines()):
            assert waiter.is_alive()
        assert not found
    waiter.join()
    assert found == [first.path("n")]
    assert (found[0] / "seen").stat().st_mtime == OLD


def test_a_lock_that_was_removed_while_somebody_waited_for_it(tmp_path: Path, blob: bytes) -> None:
    first, second = layers(tmp_path), layers(tmp_path)
    lock = tmp_path / "layers" / "view" / ".locks" / "n"
    waiter = threading.Thread(target=second.ensure, args=("n", blob, DIFF_ID, (), ignore))
    with first._locked("n"):
        waiter.start()
        waiting = f":{lock.stat().st_ino} "
        while not any("->" in line and waiting in line for line in Path("/proc/locks").read_text().splitlines()):
            assert waiter.is_alive()
        lock.unlink()
        with second._locked("n"):
            pass  # it is another one now
    waiter.join()
    assert lock.read_text().strip().isdigit()
    assert (tmp_path / "layers" / "view" / "n" / "d" / "f").exists()
