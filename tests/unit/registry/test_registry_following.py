"""Uploads of files that are still being written: what is sent when, and that nothing but time is lost by a failure."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.errors import InterruptedBuildError
from builder.events import SilentReporter
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry import following as module
from builder.registry.client import Registry
from builder.registry.following import Following, Telling
from tests.support.fake_registry import FakeRegistry, Fault, Seen, at, first
from tests.support.registry import TestRegistry

PIECE = 1000
DATA = random.Random(5).randbytes(3500)
DESCRIPTOR = Descriptor(media_type=media.OCI_LAYER_GZIP, digest=Digest.of(DATA), size=len(DATA))
Connect = Callable[..., Registry]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "PIECE", PIECE)
    before = threading.active_count()
    yield
    assert not [one.name for one in threading.enumerate() if one.name == "follow"], before


class Growing:
    """A file that grows as a test says, and what the registry has seen of it."""

    def __init__(self, path: Path, fake: FakeRegistry) -> None:
        self.path, self._fake = path, fake
        self._seen = threading.Condition()
        self._count = 0
        plan = fake.plan

        def watch(seen: Seen) -> Fault | None:
            with self._seen:
                self._count += seen.method == "PATCH"
                self._seen.notify_all()
            return plan(seen)

        fake.plan = watch

    def grow(self, end: int, patches: int) -> None:
        """Write up to byte ``end``, and wait until there were so many pieces."""
        with self.path.open("ab") as stream:
            stream.write(DATA[stream.tell() : end])
        with self._seen:
            assert self._seen.wait_for(lambda: self._count >= patches, timeout=30)


@contextmanager
def following(client: Registry, fake: FakeRegistry, path: Path) -> Iterator[tuple[Following, Growing]]:
    file = Growing(path, fake)
    upload = client.follow(at(fake), path, Telling(SilentReporter(), "layer"))
    try:
        yield upload, file
    finally:
        upload.cancel()


def pieces(fake: FakeRegistry) -> list[int]:
    return [len(one.body) for one in fake.asked("PATCH")]


def test_pieces_follow_the_file(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(999, 0)
        assert fake.seen == []
        file.grow(1000, 1)
        file.grow(3100, 3)
        file.grow(3500, 3)
        assert fake.blobs == {}
        upload.complete(DESCRIPTOR)
        assert upload.commit()
        assert not upload.failed
    assert fake.blobs["a/b"][DESCRIPTOR.digest] == DATA
    assert [one.method for one in fake.seen] == ["POST", "PATCH", "PATCH", "PATCH", "HEAD", "PATCH", "PUT"]
    assert pieces(fake) == [1000, 1000, 1000, 500]
    assert fake.uploads == {}


def test_a_file_of_less_than_a_piece_is_left_to_others(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(999, 0)
        upload.complete(Descriptor(media_type=media.OCI_LAYER, digest=Digest.of(DATA[:999]), size=999))
        assert not upload.commit()
        assert not upload.failed
    assert fake.seen == []


def test_a_file_of_whole_pieces(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    data = DATA[:2000]
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(2000, 2)
        upload.complete(Descriptor(media_type=media.OCI_LAYER, digest=Digest.of(data), size=2000))
        assert upload.commit()
    assert pieces(fake) == [1000, 1000]
    assert list(fake.blobs["a/b"].values()) == [data]


def test_a_file_that_was_moved_is_still_followed(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(1000, 1)
        file.grow(3500, 1)
        file.path.rename(tmp_path / "elsewhere")
        upload.complete(DESCRIPTOR)
        assert upload.commit()
    assert fake.blobs["a/b"][DESCRIPTOR.digest] == DATA


def test_what_the_registry_has_by_now_is_not_ended(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(3500, 1)
        fake.put_blob("a/b", DATA)
        upload.complete(DESCRIPTOR)
        assert upload.commit()
    assert fake.asked("PUT") == []
    assert fake.uploads == {}
    assert len(fake.asked("HEAD")) == 1


def test_nobody_wants_it(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    """The build failed, or the file has changed: the registry forgets it."""
    with following(connect(), fake, tmp_path / "blob") as (_, file):
        file.grow(2500, 2)
    assert len(fake.asked("DELETE")) == 1
    assert fake.uploads == {}
    assert fake.blobs == {}


def test_an_interruption_ends_it_and_the_registry_forgets(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    cancel = threading.Event()
    with following(connect(cancel=cancel), fake, tmp_path / "blob") as (upload, file):
        file.grow(3000, 3)
        cancel.set()
        upload.complete(DESCRIPTOR)
        with pytest.raises(InterruptedBuildError):
            upload.commit()
    assert len(fake.asked("DELETE")) == 1
    assert fake.uploads == {}


def test_a_file_with_other_bytes_than_it_should_have(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(3500, 3)
        upload.complete(Descriptor(media_type=media.OCI_LAYER, digest=Digest.of(b"other"), size=3500))
        assert not upload.commit()
        assert upload.failed
    assert fake.blobs == {}


def test_a_file_that_is_shorter_than_it_should_be(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(2500, 2)
        upload.complete(DESCRIPTOR)
        assert not upload.commit()
    assert fake.blobs == {}
    assert fake.uploads == {}


def test_a_registry_says_how_large_pieces_are_at_least(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    fake.least_piece = 1700
    with following(connect(), fake, tmp_path / "blob") as (upload, file):
        file.grow(3500, 2)
        upload.complete(DESCRIPTOR)
        assert upload.commit()
    assert pieces(fake) == [1700, 1700, 100]


def test_pieces_are_as_small_as_the_user_wants(fake: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with following(connect(upload_piece=700), fake, tmp_path / "blob") as (upload, file):
        file.grow(3500, 5)
        upload.complete(DESCRIPTOR)
        assert upload.commit()
    assert pieces(fake) == [700] * 5


FAULTS = {
    **{str(status): Fault(status=status) for status in (400, 401, 403, 404, 405, 413, 416, 429, 500, 503)},
    "drop": Fault(drop=True),
    "lost": Fault(drop=True, done=True),
    "cut": Fault(swallow=10),
    "stall": Fault(stall=True),
    "elsewhere": Fault(status=202, headers={"Location": "ftp://example.com/"}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("method", "number"), [("POST", 0), ("PATCH", 0), ("PATCH", 2), ("HEAD", 0), ("PUT", 0)])
def test_after_any_failure_an_ordinary_upload_does_it(
    fake: FakeRegistry, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    method: str, number: int, fault: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.3)
    monkeypatch.setattr("builder.registry.transport.UPLOAD_SECONDS", 0.3)
    left = [Fault()] * number
    fake.plan = first(lambda seen: seen.method == method, *left, FAULTS[fault])
    client = connect()
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    with following(client, fake, path) as (upload, file):
        file.grow(3500, 0 if method == "POST" else 1)
        upload.complete(DESCRIPTOR)
        there = upload.commit()
    assert there or upload.failed or method == "POST"
    if there:
        assert fake.blobs["a/b"][DESCRIPTOR.digest] == DATA
        return
    lost = FAULTS[fault].done or fault in ("cut", "drop")
    assert lost or fake.uploads == {}, "an upload was left behind"
    if not client.blob_exists(at(fake), DESCRIPTOR.digest, pushing=True):
        client.upload(at(fake), DESCRIPTOR, lambda: path.open("rb"))
    assert fake.blobs["a/b"][DESCRIPTOR.digest] == DATA


def test_dockers_registry_takes_it(registry: TestRegistry, connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(DATA)
    client, target = connect(), Reference.parse(f"{registry.host}/followed:1")
    mark = registry.mark()
    upload = client.follow(target, tmp_path / "blob", Telling(SilentReporter(), "layer"))
    try:
        upload.complete(DESCRIPTOR)
        assert upload.commit()
    finally:
        upload.cancel()
    asked = [(one.method, one.status) for one in registry.requests(since=mark) if one.method != "HEAD"]
    assert asked == [("POST", 202), *[("PATCH", 202)] * 4, ("PUT", 201)]
    assert registry.blob(DESCRIPTOR.digest) == DATA
    assert client.blob_exists(target, DESCRIPTOR.digest, pushing=True)
