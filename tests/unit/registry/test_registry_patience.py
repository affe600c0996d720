"""How long a registry that does not answer is asked again, the tries included."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.registry.client import Registry
from builder.registry.errors import TransientRegistryError
from builder.registry.retry import RetryPolicy
from tests.support.blobs import MemoryBlobs
from tests.support.fake_registry import FakeRegistry, Fault, at, first, serve

Connect = Callable[..., Registry]


@pytest.mark.parametrize(("seconds", "tries"), [(60.0, 1), (14.0, 2), (0.0, 3)])
def test_tries_that_take_long_are_few(seconds: float, tries: int) -> None:
    now, begun = [100.0], []

    def attempt() -> None:
        begun.append(now[0])
        now[0] += seconds
        raise TransientRegistryError("no answer")

    policy = RetryPolicy(
        attempts=3,
        within=20.0,
        sleep=lambda wait: now.append(now.pop() + wait),
        random=lambda: 0.0,
        clock=lambda: now[0],
    )
    with pytest.raises(TransientRegistryError):
        policy.run(attempt)
    assert len(begun) == tries


def test_a_server_that_stays_silent_is_asked_once_by_those_in_haste(fake: FakeRegistry, connect: Connect) -> None:
    fake.plan = lambda _: Fault(stall=True)
    fake.put_manifest("a/b", "1", b"{}", media.OCI_MANIFEST)
    client = connect(hasty_seconds=0.2)
    hasty = client.hasty()
    said = set()
    for ask in (lambda: hasty.tags(at(fake)), lambda: hasty.resolve(at(fake)), lambda: hasty.tags(at(fake))):
        with pytest.raises(TransientRegistryError, match="stopped answering") as caught:
            ask()
        said.add(caught.value.message)
        caught.value.message += " (told elsewhere)"
    assert len(fake.seen) == 1
    assert len(said) == 1
    # Whoever comes later tries for himself.
    fake.plan = lambda _: None
    assert client.hasty().tags(at(fake)) == ["1"]


def test_a_body_that_stops_in_the_middle_is_silence_too(
    fake: FakeRegistry, connect: Connect, blobs: MemoryBlobs
) -> None:
    data = bytes(1 << 20)
    blob = Descriptor(media_type=media.OCI_LAYER, digest=Digest.parse(fake.put_blob("a/b", data)), size=len(data))
    fake.plan = lambda _: Fault(stall=True, cut=5000)
    hasty = connect(hasty_seconds=0.2).hasty()
    for _ in range(2):
        with pytest.raises(TransientRegistryError, match="stopped answering"):
            hasty.fetch_blob(at(fake), blob, blobs)
    assert len(fake.seen) == 1


def test_haste_shares_logins_and_asks_a_busy_server_again(
    fake: FakeRegistry, connect: Connect, slept: list[float]
) -> None:
    fake.auth, fake.accounts = "bearer", {"ann": "s3cret"}
    fake.put_manifest("a/b", "1", b"{}", media.OCI_MANIFEST)
    client = connect("ann", "s3cret")
    hasty = client.hasty()
    assert client.tags(at(fake)) == ["1"]
    fake.plan = first(lambda _: True, Fault(status=503), Fault(drop=True))
    assert hasty.tags(at(fake)) == ["1"]
    assert len(slept) == 2
    assert len(fake.asked("GET", origin="token")) == 1


def test_progress_is_worth_waiting_for() -> None:
    now, arrived = [0.0], [0]

    def attempt() -> None:
        now[0] += 30.0
        arrived[0] += 1
        if arrived[0] < 5:
            raise TransientRegistryError("broke")

    policy = RetryPolicy(attempts=2, within=40.0, sleep=lambda _: None, random=lambda: 0.0, clock=lambda: now[0])
    policy.run(attempt, lambda: arrived[0] * policy.step)
    assert arrived == [5]


def test_pushing_what_can_be_done_without_stalls_once(fake: FakeRegistry, connect: Connect) -> None:
    client = connect(hasty_seconds=0.2)
    client.session = client.session.varied(0.2)
    resigned = client.resigned()
    fake.plan = first(lambda _: True, Fault(status=503), Fault(drop=True), Fault(stall=True))
    for _ in range(2):
        with pytest.raises(TransientRegistryError, match="stopped answering"):
            resigned.check_push(at(fake))
    assert len(fake.seen) == 3
    client.check_push(at(fake))


def test_a_registry_that_has_answered_is_given_time_to_come_back(slept: list[float]) -> None:
    """A wrong name is not worth it; the end of a long push is."""
    with Registry(retry=RetryPolicy(sleep=slept.append)) as client:
        with serve() as fake:
            fake.put_manifest("a/b", "1", b"{}", media.OCI_MANIFEST)
            assert client.tags(at(fake)) == ["1"]
            there = at(fake)
            # What the fake registry still serves is gone, as if its process had ended.
            client.close()
        with pytest.raises(TransientRegistryError, match="cannot connect"):
            client.tags(there)
        assert len(slept) == client.retry.attempts - 1
    slept.clear()
    with Registry(retry=RetryPolicy(sleep=slept.append)) as stranger:
        with pytest.raises(TransientRegistryError, match="cannot connect"):
            stranger.tags(there)
        assert len(slept) == stranger.retry.connect_attempts - 1
