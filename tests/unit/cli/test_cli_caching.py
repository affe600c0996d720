"""--cache-from and --cache-to: what they mean, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.cli.caching import sources, targets
from builder.cli.options import parse
from builder.cli.requests import make_request
from builder.engine.request import BuildRequest, CachePlace
from builder.errors import BuilderError, UsageError


def registry(text: str) -> tuple[str, str, str | None]:
    (found,) = sources([text])
    assert found.kind == "registry"
    assert found.reference is not None
    return f"{found.reference.registry}/{found.reference.repository}", found.prefix, found.reference.tag


@pytest.mark.parametrize(
    ("text", "repository", "prefix", "tag"),
    [
        ("r.example/a/b", "r.example/a/b", "cache", "latest"),
        ("r.example:5000/a", "r.example:5000/a", "cache", "latest"),
        ("r.example:5000/a:main", "r.example:5000/a", "main", "main"),
        ("type=registry,ref=r.example/a:v1", "r.example/a", "v1", "v1"),
        ("ref=r.example/a", "r.example/a", "cache", "latest"),
        ("app", "docker.io/library/app", "cache", "latest"),
    ],
)
def test_caches_in_registries(text: str, repository: str, prefix: str, tag: str) -> None:
    assert registry(text) == (repository, prefix, tag)


def test_other_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    local, inline = sources(["type=local,src=x/../y", "type=inline,ref=r.example/app:1"])
    assert local == CachePlace(kind="local", path=tmp_path / "y")
    assert inline.name == "r.example/app:1 (inline)"
    assert sources(["r.example/a", "r.example/a", "r.example/a:x"]) == sources(["r.example/a", "r.example/a:x"])


def test_targets() -> None:
    one, two, three = targets(
        ["type=registry,ref=r.example/a,mode=max,ignore-error=true,oci-mediatypes=true", "type=local,dest=/d", "inline"]
    )
    assert (one.everything, one.ignore_error, one.place.prefix) == (True, True, "cache")
    assert (two.everything, two.ignore_error, two.place.path) == (False, False, Path("/d"))
    assert three.place.kind == "inline"


@pytest.mark.parametrize(
    "text",
    [
        "type=gha,scope=x",
        "type=registry",
        "type=registry,ref=",
        "type=local",
        "type=local,dest=x",
        "type=inline",
        "type=registry,ref=r.example/a,mode=max",
        "type=registry,ref=r.example/a,ref=r.example/b",
        "type=registry,ref",
        "r.example/A",
        "r.example/a@sha256:" + "a" * 64,
        "r.example/a:" + "x" * 100,
        "type=registry,ref=r.example/a,oci-mediatypes=false",
    ],
)
def test_sources_that_mean_nothing(text: str) -> None:
    with pytest.raises(BuilderError) as caught:
        sources([text])
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(
    "text",
    ["type=local,src=x", "type=inline,mode=max", "type=registry,ref=r.example/a,mode=some", "type=s3",
     "type=registry,ref=r.example/a,ignore-error=maybe", "type=registry,ref=r.example/a,ignore-errors=true"],
)  # fmt: skip
def test_targets_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        targets([text])


def test_a_cache_is_written_once() -> None:
    with pytest.raises(UsageError, match="twice"):
        targets(["type=registry,ref=r.example/a", "type=registry,ref=r.example/a,mode=max"])


def request(*words: str) -> BuildRequest:
    return make_request(parse("build", [*words, "."]), {})


def test_they_get_into_the_request() -> None:
    made = request("--cache-from", "r.example/a", "--cache-from=r.example/b", "--cache-to=type=local,dest=/d")
    assert [one.name for one in made.cache_from] == ["r.example/a:cache", "r.example/b:cache"]
    assert [one.place.name for one in made.cache_to] == ["/d"]
    none: Any = request()
    assert (none.cache_from, none.cache_to) == ((), ())


def test_buildkits_argument_asks_for_an_inline_cache() -> None:
    assert [one.place.kind for one in request("--build-arg=BUILDKIT_INLINE_CACHE=1").cache_to] == ["inline"]
    assert request("--build-arg=BUILDKIT_INLINE_CACHE=0").cache_to == ()
    both = request("--build-arg=BUILDKIT_INLINE_CACHE=1", "--cache-to=type=inline").cache_to
    assert len(both) == 1
