"""A store that cannot be written is a message, also in the middle; and who waits for somebody says so."""

from __future__ import annotations

import gzip
import io
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from builder.archive.files import open_files
from builder.cache.store import Store
from builder.engine.extracting import unpack_archive
from builder.engine.layers import StoreLayer
from builder.errors import OutputError
from builder.events import Event, Notice
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from tests.support.builds import Recording, Workshop
from tests.support.images import file, layer

TAR = layer(file("a", "b"))


def test_a_table_of_contents_that_cannot_be_written(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        digest = store.blobs.put(TAR)
        descriptor = Descriptor(media_type=media.OCI_LAYER, digest=digest, size=len(TAR))
        made = StoreLayer(store, DiffID(Digest.of(TAR)), descriptor)
        shutil.rmtree(tmp_path / "store/tmp")
        with pytest.raises(OutputError, match="cannot write"):
            made.toc()


def test_an_archive_that_cannot_be_unpacked(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot unpack"):
        unpack_archive(io.BytesIO(TAR), tmp_path / "absent/tar")


def test_an_image_archive_that_cannot_be_inflated(tmp_path: Path) -> None:
    (tmp_path / "image.tar.gz").write_bytes(gzip.compress(TAR))
    with pytest.raises(OutputError, match="cannot inflate"):
        open_files(tmp_path / "image.tar.gz", tmp_path / "absent")


def test_who_waits_for_another_build_says_so(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    dockerfile, said, keys = "FROM scratch\nCOPY a /a\n", threading.Event(), []
    lock = Store.lock

    def remember(self: Store, key: str, **options: Any) -> Any:
        keys.append(key)
        return lock(self, key, **options)

    class Listening(Recording):
        def emit(self, event: Event) -> None:
            if isinstance(event, Notice) and "another build is doing the same" in event.message:
                said.set()

    monkeypatch.setattr(Store, "lock", remember)
    shop.build(dockerfile, {"a": "a"})
    waiting = threading.Thread(target=lambda: shop.try_build(Listening(), dockerfile, no_cache=True))
    with Store.open(shop.store) as store, lock(store, keys[0]):
        waiting.start()
        assert said.wait(60)
    waiting.join(60)
    assert not waiting.is_alive()
