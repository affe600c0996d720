"""A build that may not push ends as soon as it is told so, whatever its steps do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache.store import Store
from builder.dockerfile.source import DockerfileError
from builder.engine.request import BuildRequest, CachePlace, CacheTarget, Output
from builder.engine.rights import push_targets
from builder.events import Event, VertexCompleted
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.errors import AuthenticationError, RegistryError
from builder.registry.retry import RetryPolicy
from tests.support.builds import NATIVE, Recording, Workshop
from tests.support.fake_registry import FakeRegistry, Fault, first


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    with contextlib.ExitStack() as closing:

        def connect() -> Registry:
            return closing.enter_context(Registry(retry=RetryPolicy(sleep=lambda _: None), hasty_seconds=0.3))

        yield Workshop(tmp_path / "store", tmp_path / "context", connect)


def test_a_build_that_may_not_push_is_told_that_first(shop: Workshop, fake: FakeRegistry) -> None:
    """The COPY would fail for want of its file."""
    fake.plan = lambda seen: Fault(status=403) if seen.method == "POST" else None
    text = "FROM scratch\nCOPY missing /\nRUN false"
    with pytest.raises(AuthenticationError, match=r"cannot push to .*app.*403"):
        shop.build(text, tags=[f"{fake.host}/app:1"], outputs=(Output("registry"),))
    assert [one.method for one in fake.seen] == ["POST"]


def test_steps_do_not_wait_for_the_answer_and_count_for_nothing_after_a_refusal(
    shop: Workshop, fake: FakeRegistry
) -> None:
    executed = threading.Event()

    class Waiting(Recording):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if isinstance(event, VertexCompleted) and "/two" in event.name:
                executed.set()

    def refuse_after_both(_: object) -> Fault:
        assert executed.wait(60)
        return Fault(status=403)

    fake.plan = refuse_after_both
    seen = Waiting()
    text = "FROM scratch\nCOPY f /one\nCOPY f /two\n"
    with pytest.raises(AuthenticationError, match="cannot push"):
        shop.try_build(seen, text, {"f": "1"}, tags=[f"{fake.host}/app:1"], outputs=(Output("registry"),))
    assert len(seen.executed) == 2
    with Store.open(shop.store) as store:
        assert list(store.refs.records()) == []


def test_every_repository_is_asked_once(shop: Workshop, fake: FakeRegistry) -> None:
    tags = [f"{fake.host}/{name}" for name in ("app:1", "app:2", "other:1")]
    shop.build("FROM scratch\nLABEL a=b", tags=tags, outputs=(Output("registry"),))
    begun = [one.path for one in fake.asked("POST") if "mount" not in one.path]
    assert sorted(begun[:2]) == ["/v2/app/blobs/uploads/", "/v2/other/blobs/uploads/"]
    assert len(fake.asked("DELETE")) == 2
    assert fake.uploads == {}
    assert set(fake.manifests["app"]) >= {"1", "2"}


def test_a_build_that_has_failed_asks_nobody_any_more(
    shop: Workshop, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would begin there, nobody might end."""
    monkeypatch.setattr("builder.engine.rights._COURTESY", 60.0)
    with pytest.raises(DockerfileError):
        shop.build("FROM scratch\nNOSUCH x", tags=[f"{fake.host}/app:1"], outputs=(Output("registry"),))
    for thread in [one for one in threading.enumerate() if one.name == "push-rights"]:
        thread.join()
    assert fake.seen == []


def test_what_has_been_pushed_when_the_next_place_refuses(shop: Workshop, fake: FakeRegistry) -> None:
    fake.plan = lambda seen: Fault(status=405) if seen.path.endswith("/manifests/2") else None
    places = [Output("registry", names=(Reference.parse(f"{fake.host}/{name}"),)) for name in ("app:1", "other:2")]
    seen = Recording()
    with pytest.raises(RegistryError, match="405"):
        shop.try_build(seen, "FROM scratch\nLABEL a=b", tags=[], outputs=tuple(places))
    assert seen.warnings == [f"pushed before what failed, and there now: {fake.host}/app:1"]


def test_what_has_been_pushed_when_the_cache_cannot_be_written(shop: Workshop, fake: FakeRegistry) -> None:
    fake.plan = lambda seen: Fault(status=405) if "caches/x/manifests" in seen.path else None
    seen = Recording()
    with pytest.raises(RegistryError, match="405"):
        shop.try_build(
            seen,
            "FROM scratch\nCOPY f /",
            {"f": "1"},
            tags=[f"{fake.host}/app:1"],
            outputs=(Output("registry"),),
            cache_to=cache_at(fake),
        )
    assert seen.warnings == [f"pushed before what failed, and there now: {fake.host}/app:1"]


def test_a_build_without_a_push_asks_nobody(shop: Workshop, fake: FakeRegistry) -> None:
    shop.build("FROM scratch\nLABEL a=b", tags=[f"{fake.host}/app:1"])
    assert fake.seen == []


def cache_at(fake: FakeRegistry, *, ignore_error: bool = False) -> tuple[CacheTarget, ...]:
    where = CachePlace(kind="registry", reference=Reference.parse(f"{fake.host}/caches/x"))
    return (CacheTarget(place=where, ignore_error=ignore_error),)


NOTHING_WORKS = "FROM scratch\nCOPY missing /\nRUN false"


def test_a_build_that_may_not_write_its_cache_is_told_that_first(shop: Workshop, fake: FakeRegistry) -> None:
    fake.plan = lambda seen: Fault(status=403) if seen.method == "POST" else None
    with pytest.raises(AuthenticationError, match=r"caches/x:cache cannot be written: .*403") as caught:
        shop.build(NOTHING_WORKS, cache_to=cache_at(fake))
    assert "ignore-error=true" in str(caught.value.hint)
    assert [one.method for one in fake.seen] == ["POST"]


def test_a_cache_that_may_not_be_written_is_one_warning_if_that_is_to_be_ignored(
    shop: Workshop, fake: FakeRegistry
) -> None:
    fake.plan = lambda seen: Fault(status=403) if seen.method == "POST" else None
    built = shop.build("FROM scratch\nCOPY f /f", {"f": "1"}, cache_to=cache_at(fake, ignore_error=True))
    (warning,) = built.seen.warnings
    assert "caches/x:cache will not be written" in warning
    assert [one.method for one in fake.seen] == ["POST"], "nor is it tried again in the end"


@pytest.mark.parametrize("faults", [[Fault(status=503)] * 3, [Fault(stall=True)]], ids=["busy", "silent"])
def test_a_cache_that_is_out_of_reach_may_be_there_in_the_end(
    shop: Workshop, fake: FakeRegistry, faults: list[Fault]
) -> None:
    fake.plan = first(lambda seen: seen.method == "POST", *faults)
    built = shop.build("FROM scratch\nCOPY f /f", {"f": "1"}, cache_to=cache_at(fake))
    assert (built.seen.warnings, len(fake.manifests["caches/x"])) == ([], 2)
    assert len(fake.asked("POST")) > len(faults)


def test_a_cache_that_stalls_is_not_waited_for_again(shop: Workshop, fake: FakeRegistry) -> None:
    fake.plan = lambda seen: Fault(stall=True) if seen.method == "POST" else None
    built = shop.build("FROM scratch\nCOPY f /f", {"f": "1"}, cache_to=cache_at(fake, ignore_error=True))
    (warning,) = built.seen.warnings
    assert "will not be written" in warning
    assert len(fake.seen) == 1


def test_one_that_is_pushed_to_is_asked_once(shop: Workshop, fake: FakeRegistry) -> None:
    push = {"tags": [f"{fake.host}/caches/x:1"], "outputs": (Output("registry"),)}
    fake.plan = lambda seen: Fault(status=403) if seen.method == "POST" else None
    with pytest.raises(RegistryError, match="cannot push"):
        shop.build(NOTHING_WORKS, cache_to=cache_at(fake, ignore_error=True), **push)
    assert len(fake.seen) == 1


def test_the_names_of_outputs_count() -> None:
    named = Output("registry", names=(Reference.parse("r.example/x:1"), Reference.parse("r.example/x:2")))
    request = BuildRequest(
        context=".",
        platforms=(NATIVE,),
        build_platform=NATIVE,
        tags=(Reference.parse("r.example/app:1"),),
        outputs=(named, Output("registry"), Output("image")),
    )
    assert [one.name for one in push_targets(request)] == ["r.example/x", "r.example/app"]
