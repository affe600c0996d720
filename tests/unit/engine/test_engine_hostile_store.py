"""Files of the store that somebody replaced: builds with them give the right image, whatever stands in their place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from builder.engine.request import CompressionChoice
from tests.support.builds import Workshop

EPOCH = 1_000_000_000
TEXT = """\
FROM scratch AS s
COPY one /d/one
COPY two /d/two
WORKDIR /d/made
FROM scratch
COPY --from=s /d/one /one
COPY --from=s /d /all
"""
KINDS = ("blobs", "toc", "selectors", "variants", "refs", "stat", "parsed", "records")


def each(damage: Callable[[Path], object]) -> Callable[[Sequence[Path]], None]:
    def replace(paths: Sequence[Path]) -> None:
        for path in paths:
            path.unlink()
            damage(path)

    return replace


def rotate(paths: Sequence[Path]) -> None:
    """Give each file the contents of the next: all of them are whole, none is what its name says."""
    contents = [path.read_bytes() for path in paths]
    for path, data in zip(paths, [*contents[1:], *contents[:1]], strict=True):
        path.unlink()
        path.write_bytes(data)


def link_away(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def link_to_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


DAMAGE = {
    "another's": rotate,
    "empty": each(Path.touch),
    "text": each(lambda path: path.write_text("{}")),
    "link": each(link_away),
    "endless": each(link_to_endless),
    "fifo": each(os.mkfifo),
    "huge": each(make_huge),
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A store that has built the image; not to be changed."""
    top = tmp_path_factory.mktemp("warm")
    shop = Workshop(top / "store", top / "context")
    shop.build(TEXT, {"one": "1", "two": "2"}, epoch=EPOCH, tags=["x:1"])
    return shop


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_no_image_is_wrong_whatever_is_in_the_store(warm: Workshop, tmp_path: Path, kind: str, damage: str) -> None:
    expected = warm.build(TEXT, epoch=EPOCH)
    shop = Workshop(tmp_path / "store", warm.context)
    shutil.copytree(warm.store, shop.store)
    paths = sorted(path for path in (shop.store / kind).rglob("*") if path.is_file())
    DAMAGE[damage](paths)
    more = f"{TEXT}COPY --from=s /d/two /two\n"
    for _ in range(2):
        longer = shop.build(more, epoch=EPOCH)
        assert (longer.text("two"), longer.text("all/one")) == ("2", "1")
    for _ in range(2):
        built = shop.build(TEXT, epoch=EPOCH, tags=["x:1"])
        assert built.digest == expected.digest
        assert built.tree == expected.tree


def test_a_flipped_byte_in_a_layer_is_not_copied_to_another(shop: Workshop) -> None:
    # Nothing inside an uncompressed layer would tell.
    plain = CompressionChoice("uncompressed")
    first = "FROM scratch AS s\nCOPY one /one\n"
    shop.build(first, {"one": "precious"}, epoch=EPOCH, compression=plain)
    flipped = 0
    for path in (shop.store / "blobs").rglob("*"):
        if path.is_file() and b"precious" in (data := path.read_bytes()):
            path.write_bytes(data.replace(b"precious", b"prezious"))
            flipped += 1
    assert flipped == 1
    more = f"{first}FROM scratch\nCOPY --from=s /one /two\n"
    assert shop.build(more, epoch=EPOCH, compression=plain).text("two") == "precious"
