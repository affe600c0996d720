"""Layers that are sent while they are packed: which, where to, and what a push makes of it."""

from __future__ import annotations

import contextlib
import io
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from builder.cache.store import Store
from builder.engine.ahead import Ahead, ahead_of
from builder.engine.packing import pack_layer
from builder.engine.request import BuildRequest, CompressionChoice, Form, Output
from builder.errors import BuilderError, InterruptedBuildError
from builder.events import SilentReporter, Transfer
from builder.image.reference import Reference
from builder.registry import following
from builder.registry.client import Registry
from builder.registry.retry import RetryPolicy
from builder.rootfs.coding import USUAL, Coding
from builder.rootfs.entry import ContentChangedError, Entry, Kind
from builder.rootfs.pack import Item
from tests.support.builds import NATIVE, Files, Recording, Workshop
from tests.support.fake_registry import FakeRegistry, Fault, Seen

NOISE = random.Random(9).randbytes(4 << 20)


@pytest.fixture
def client() -> Iterator[Registry]:
    with Registry(retry=RetryPolicy(sleep=lambda _: None)) as registry:
        yield registry


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(following, "PIECE", 1 << 20)
    yield
    assert not [one.name for one in threading.enumerate() if one.name == "follow"]


class Gated(io.RawIOBase):
    """Content whose end comes only when the registry has got a piece of what was before."""

    def __init__(self, data: bytes, gate: threading.Event) -> None:
        self._data, self._gate = io.BytesIO(data), gate

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._data.tell() > 3 << 20:
            assert self._gate.wait(30)
        return self._data.read(size)


def items(fake: FakeRegistry, *, name: str = "noise", size: int = len(NOISE)) -> list[Item]:
    gate, plan = threading.Event(), fake.plan

    def watch(seen: Seen) -> Fault | None:
        if seen.method in ("PATCH", "POST") and "/uploads/" in seen.path:
            fault = plan(seen)
            if seen.method == "PATCH" or fault is not None:
                gate.set()
            return fault
        return plan(seen)

    fake.plan = watch
    entry = Entry(path=name, kind=Kind.FILE, mode=0o644, size=size)
    return [Item(entry, lambda: cast("BinaryIO", Gated(NOISE, gate)))]


@contextlib.contextmanager
def opened(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", warn=print) as store:
        yield store


def reference(fake: FakeRegistry, text: str = "app:1") -> Reference:
    return Reference.parse(f"{fake.host}/{text}")


def test_a_layer_is_there_when_it_is_packed(fake: FakeRegistry, client: Registry, tmp_path: Path) -> None:
    ahead = Ahead(lambda: client, reference(fake), SilentReporter())
    with opened(tmp_path) as store:
        layer = pack_layer(store, items(fake), USUAL, ahead)
        assert fake.blobs == {}, "nothing becomes a blob before the build is done"
        assert not ahead.end(reference(fake, "other:1"), layer.descriptor.digest)
        assert ahead.end(reference(fake, "app:2"), layer.descriptor.digest)
        with layer.open() as stream:
            assert fake.blobs["app"][layer.descriptor.digest] == stream.read()
        assert not ahead.end(reference(fake), layer.descriptor.digest), "only once"
    ahead.close()
    assert fake.uploads == {}


def test_bytes_are_told_of_while_they_are_sent(fake: FakeRegistry, client: Registry, tmp_path: Path) -> None:
    seen = Recording()
    ahead = Ahead(lambda: client, reference(fake), seen)
    with opened(tmp_path) as store:
        layer = pack_layer(store, items(fake), USUAL, ahead, "COPY noise /")
        assert ahead.end(reference(fake), layer.descriptor.digest)
    ahead.close()
    told = [one for one in seen.events if isinstance(one, Transfer)]
    size = layer.descriptor.size
    assert {(one.direction, one.what, one.given_up) for one in told} == {("push", "layer of COPY noise /", False)}
    assert [one.current for one in told] == sorted(one.current for one in told)
    assert told[0].total == 0, "nobody knows yet"
    assert 0 < told[0].current < size
    assert [one.current for one in told if one.total][-2:] == [size - 1, size], "the last byte when the blob is there"


@pytest.mark.parametrize("why", ["failed", "unwanted", "interrupted"])
def test_what_comes_to_nothing_is_told(fake: FakeRegistry, tmp_path: Path, why: str) -> None:
    seen, cancel = Recording(), threading.Event()
    with Registry(retry=RetryPolicy(sleep=lambda _: None), cancel=cancel) as client, opened(tmp_path) as store:
        ahead = Ahead(lambda: client, reference(fake), seen)
        layer = pack_layer(store, items(fake), USUAL, ahead, "COPY noise /")
        if why == "failed":
            fake.plan = lambda seen: Fault(status=400) if seen.method in ("PUT", "PATCH") else None
            assert not ahead.end(reference(fake), layer.descriptor.digest)
        if why == "interrupted":
            cancel.set()
            with pytest.raises(InterruptedBuildError):
                ahead.end(reference(fake), layer.descriptor.digest)
        ahead.close()
    told = [one for one in seen.events if isinstance(one, Transfer)]
    assert [one.given_up for one in told] == [False] * (len(told) - 1) + [True]
    assert (fake.uploads, fake.blobs) == ({}, {})


def test_what_nobody_pushes_is_forgotten(fake: FakeRegistry, client: Registry, tmp_path: Path) -> None:
    ahead = Ahead(lambda: client, reference(fake), SilentReporter())
    with opened(tmp_path) as store:
        pack_layer(store, items(fake), USUAL, ahead)
    ahead.close()
    assert (fake.uploads, fake.blobs) == ({}, {})
    assert len(fake.asked("DELETE")) == 1


def test_a_file_that_changes_while_it_is_packed(fake: FakeRegistry, client: Registry, tmp_path: Path) -> None:
    ahead = Ahead(lambda: client, reference(fake), SilentReporter())
    with opened(tmp_path) as store, pytest.raises(ContentChangedError):
        pack_layer(store, items(fake, size=len(NOISE) + 1), USUAL, ahead)
    assert (fake.uploads, fake.blobs) == ({}, {})
    ahead.close()
    assert len(fake.asked("DELETE")) == 1


def test_a_registry_that_fails_once_is_sent_no_more(fake: FakeRegistry, client: Registry, tmp_path: Path) -> None:
    fake.plan = lambda seen: Fault(status=405) if seen.method == "PATCH" else None
    ahead = Ahead(lambda: client, reference(fake), SilentReporter())
    with opened(tmp_path) as store:
        layer = pack_layer(store, items(fake), USUAL, ahead)
        assert not ahead.end(reference(fake), layer.descriptor.digest)
        sent = len(fake.seen)
        pack_layer(store, [Item(Entry(path="other", kind=Kind.FILE, size=len(NOISE)), NOISE)], USUAL, ahead)
    ahead.close()
    assert len(fake.seen) == sent
    assert fake.uploads == {}


def test_a_failure_is_seen_before_the_push(fake: FakeRegistry, client: Registry, tmp_path: Path) -> None:
    """The push comes when all layers are packed."""
    fake.plan = lambda seen: Fault(status=405) if seen.method == "PATCH" else None
    ahead = Ahead(lambda: client, reference(fake), SilentReporter())
    with opened(tmp_path) as store:
        pack_layer(store, items(fake), USUAL, ahead)
        for thread in [one for one in threading.enumerate() if one.name == "follow"]:
            thread.join()
        pack_layer(store, [Item(Entry(path="other", kind=Kind.FILE, size=len(NOISE)), NOISE)], USUAL, ahead)
    ahead.close()
    assert len([one for one in fake.asked("POST") if one.path.endswith("/uploads/")]) == 1


def test_a_registry_that_does_not_let_go_is_waited_for_once(
    fake: FakeRegistry, client: Registry, tmp_path: Path
) -> None:
    together = threading.Barrier(2)

    def wait_for_the_other(seen: Seen) -> Fault | None:
        if seen.method == "DELETE":
            together.wait(30)
        return None

    ahead = Ahead(lambda: client, reference(fake), SilentReporter())
    with opened(tmp_path) as store:
        for name in ("one", "two"):
            # The gate of the second is for its own pieces only.
            pack_layer(store, items(fake, name=name), USUAL, ahead)
            for thread in [one for one in threading.enumerate() if one.name == "follow"]:
                thread.join()
    fake.plan = wait_for_the_other
    ahead.close()
    assert not together.broken
    assert (fake.uploads, fake.blobs) == ({}, {})


def request(outputs: tuple[Output, ...], **fields: object) -> BuildRequest:
    return BuildRequest(context=".", platforms=(NATIVE,), build_platform=NATIVE, outputs=outputs, **fields)  # type: ignore[arg-type]  # fields of any type


ONE, TWO, OTHER = (Reference.parse(f"localhost:1/{name}") for name in ("app:1", "app:2", "other:1"))
ZSTD = Form(compression=CompressionChoice("zstd"))


@pytest.mark.parametrize(
    ("outputs", "names", "goes"),
    [
        ((Output("registry"),), (ONE,), True),
        ((Output("registry"),), (ONE, TWO), True),
        ((Output("registry", by_digest=True),), (ONE,), True),
        ((Output("registry"), Output("docker", form=ZSTD)), (ONE,), True),
        ((Output("registry"),), (ONE, OTHER), False),
        ((Output("registry"), Output("registry", names=(OTHER,))), (ONE,), False),
        ((Output("registry", form=ZSTD),), (ONE,), False),
        ((Output("docker"),), (ONE,), False),
        ((), (ONE,), False),
    ],
)
def test_where_layers_go_ahead(outputs: tuple[Output, ...], names: tuple[Reference, ...], goes: bool) -> None:
    assert (ahead_of(request(outputs, tags=names), Coding(), Registry, SilentReporter()) is not None) is goes


@pytest.fixture
def shop(tmp_path: Path, client: Registry) -> Workshop:
    return Workshop(tmp_path / "store", tmp_path / "context", lambda: client)


@pytest.mark.parametrize("status", [0, 400, 404, 500])
def test_the_image_is_the_same_whether_it_worked_or_not(shop: Workshop, fake: FakeRegistry, status: int) -> None:
    fake.plan = lambda seen: Fault(status=status) if status and seen.method == "PATCH" else None
    text = "FROM scratch AS below\nCOPY hidden /\nFROM scratch\nCOPY noise /\nCOPY --from=below x /"
    files: Files = {"noise": NOISE * 8, "hidden/x": "x", "hidden/noise": NOISE[::-1] * 8}
    built = shop.build(text, files, tags=[f"{fake.host}/app:1"], outputs=(Output("registry"),), epoch=7)
    assert set(fake.blobs["app"]) == {built.image_id, *(str(one.descriptor.digest) for one in built.image.layers)}
    assert [fake.blobs["app"][str(one.descriptor.digest)] for one in built.image.layers] == built.layers
    assert fake.uploads == {}
    pushed = [one for one in built.seen.events if isinstance(one, Transfer) and one.current == one.total]
    assert len({one.what for one in pushed}) == 3
    large = [one for one in fake.asked("PUT", "/blobs/") if len(one.body) > 1 << 20]
    sent = sum(len(one.body) for one in fake.asked("PATCH"))
    assert len(large) <= 1
    if not large:
        assert sent == len(built.layers[0])


def test_a_build_that_fails_leaves_nothing(shop: Workshop, fake: FakeRegistry) -> None:
    text = "FROM scratch\nCOPY noise /\nCOPY missing /"
    seen = Recording()
    with pytest.raises(BuilderError, match="missing"):
        shop.try_build(seen, text, {"noise": NOISE * 8}, tags=[f"{fake.host}/app:1"], outputs=(Output("registry"),))
    assert (fake.uploads, fake.blobs) == ({}, {})
