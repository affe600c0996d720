"""Uploads in pieces: when, how large, in which order, and what a failure does to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from builder.image.digest import Digest
from builder.registry import upload as uploading
from builder.registry.client import Registry
from builder.registry.errors import RegistryError, TransientRegistryError
from builder.registry.upload import Pieces
from tests.support.fake_registry import FakeRegistry, Fault, Seen, at, first

DATA = bytes(range(256)) * 4096
Connect = Callable[..., Registry]


def send(client: Registry, fake: FakeRegistry, layer: Any, seen: list[int] | None = None) -> None:
    progress = None if seen is None else lambda current, _total: seen.append(current)
    client.upload(at(fake), layer.descriptor, layer.open, progress)
    assert fake.blobs["a/b"][Digest.of(layer.data)] == layer.data


def sizes(fake: FakeRegistry, method: str = "PATCH") -> list[int]:
    return [len(one.body) for one in fake.asked(method, "/uploads/")]


def a_piece(seen: Seen) -> bool:
    return seen.method == "PATCH"


@pytest.mark.parametrize("piece", [1, 1 << 18, (1 << 18) + 1, len(DATA) - 1])
def test_a_limit_cuts_blobs_into_pieces(fake: FakeRegistry, connect: Connect, layer: Any, piece: int) -> None:
    one = layer(DATA[:40] if piece == 1 else DATA)
    told: list[int] = []
    send(connect(upload_piece=piece), fake, one, told)
    assert len(sizes(fake)) == math.ceil(len(one.data) / piece)
    assert sum(sizes(fake)) == len(one.data)
    assert max(sizes(fake)) == piece
    assert sizes(fake, "PUT") == [0]
    assert told == sorted(told)
    assert told[-1] == len(one.data)
    ranges = [one.headers["content-range"] for one in fake.asked("PATCH")]
    assert ranges[0] == f"0-{piece - 1}"
    assert fake.uploads == {}


def test_a_blob_of_one_piece_is_sent_at_once(fake: FakeRegistry, connect: Connect, layer: Any) -> None:
    send(connect(upload_piece=len(DATA)), fake, layer(DATA))
    assert (sizes(fake), sizes(fake, "PUT")) == ([], [len(DATA)])


def test_an_empty_blob(fake: FakeRegistry, connect: Connect, layer: Any) -> None:
    send(connect(upload_piece=5), fake, layer(b""))
    assert (sizes(fake), sizes(fake, "PUT")) == ([], [0])


def test_a_registry_that_asks_for_pieces_gets_them_large_enough(
    fake: FakeRegistry, connect: Connect, layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "_ASKED", 1000)
    fake.least_piece = 300_000
    send(connect(), fake, layer(DATA))
    assert sizes(fake) == [300_000, 300_000, 300_000, len(DATA) - 900_000]


def test_a_limit_below_what_the_registry_asks_for_gives_way(fake: FakeRegistry, connect: Connect, layer: Any) -> None:
    fake.least_piece = 600_000
    send(connect(upload_piece=1000), fake, layer(DATA))
    assert sizes(fake) == [600_000, len(DATA) - 600_000]


@pytest.mark.parametrize("least", [b"-1", b"1e9", b"9" * 30, b"", b"0"])
def test_a_least_size_that_is_none_is_ignored(fake: FakeRegistry, connect: Connect, layer: Any, least: bytes) -> None:
    fake.plan = first(
        lambda seen: seen.method == "POST",
        Fault(
            status=202,
            headers={"Location": "/v2/a/b/blobs/uploads/x?state=a%2Bb", "OCI-Chunk-Min-Length": least.decode()},
        ),
    )
    fake.uploads["x"] = "a/b", b""
    send(connect(), fake, layer(DATA))
    assert (sizes(fake), sizes(fake, "PUT")) == ([], [len(DATA)])


def test_a_whole_that_is_too_large_goes_in_pieces_and_so_does_the_next(
    fake: FakeRegistry, connect: Connect, slept: list[float], layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "_STEPS", (500_000, 100_000, 10_000))
    fake.largest_body = 200_000
    client = connect()
    send(client, fake, layer(DATA))
    assert sizes(fake, "PUT") == [len(DATA), 0]
    assert sizes(fake) == [500_000, *[100_000] * 10, len(DATA) - 1_000_000]
    assert slept == []
    before = len(fake.seen)
    send(client, fake, layer(DATA[:-1]))
    assert [one.method for one in fake.seen[before:]] == ["POST", *["PATCH"] * 11, "PUT"]


def test_pieces_that_are_always_too_large_are_one_error(
    fake: FakeRegistry, connect: Connect, layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "_STEPS", (500_000, 100_000))
    fake.largest_body = 10
    with pytest.raises(RegistryError, match="413") as caught:
        send(connect(), fake, layer(DATA))
    assert not isinstance(caught.value, TransientRegistryError)


def test_pieces_as_large_as_asked_for_that_are_too_large(fake: FakeRegistry, connect: Connect, layer: Any) -> None:
    fake.least_piece, fake.largest_body = len(DATA) - 1, 200_000
    with pytest.raises(RegistryError, match="413"):
        send(connect(), fake, layer(DATA * 3))
    assert len(fake.asked("PATCH")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(drop=True),
        Fault(drop=True, done=True),
        Fault(swallow=1000),
        Fault(status=503),
        Fault(status=416),
        Fault(status=404),
        Fault(status=202, headers={"Location": "/v2/a/b/blobs/uploads/x", "Range": "0-99"}),
    ],
    ids=["reset", "arrived", "cut", "503", "416", "lost", "part"],
)
def test_a_failed_piece_is_never_sent_again_into_the_same_upload(
    fake: FakeRegistry, connect: Connect, layer: Any, fault: Fault
) -> None:
    done: list[str] = []

    def plan(seen: Seen) -> Fault | None:
        if a_piece(seen):
            done.append(seen.path)
        return fault if len(done) == 3 and a_piece(seen) else None

    fake.plan = plan
    send(connect(upload_piece=200_000), fake, layer(DATA))
    assert len(fake.asked("POST")) == 2
    begun = [one.headers["content-range"] for one in fake.asked("PATCH")]
    assert begun.count("0-199999") == 2
    targets = [one.path for one in fake.asked("PATCH")]
    assert len(targets) == len(set(targets))
    assert len(fake.asked("HEAD", "/blobs/")) == 1


def test_an_end_that_was_never_answered_is_looked_up(fake: FakeRegistry, connect: Connect, layer: Any) -> None:
    fake.plan = first(lambda seen: seen.method == "PUT", Fault(drop=True, done=True))
    send(connect(upload_piece=600_000), fake, layer(DATA))
    assert (len(fake.asked("POST")), len(fake.asked("PUT")), len(fake.asked("HEAD", "/blobs/"))) == (1, 1, 1)


def test_limits_are_learned_by_registry() -> None:
    pieces = Pieces(5)
    assert pieces.limit("a") == 5
    pieces = Pieces()
    assert pieces.refused("a", 1 << 40)
    assert (pieces.limit("a"), pieces.limit("b")) == (64 << 20, 0)
    assert pieces.refused("a", 1 << 40), "another blob was under way"
    assert pieces.limit("a") == 64 << 20
    assert pieces.refused("a", 64 << 20)
    assert pieces.refused("a", 8 << 20)
    assert pieces.limit("a") == 1 << 20
    assert not pieces.refused("a", 1 << 20)
