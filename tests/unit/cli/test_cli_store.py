"""``pybuild images``, ``tag`` and ``rmi``: names in the store, and the bytes behind them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.cache.store import Store
from builder.cli.human import counted, human_age, human_size
from builder.images.listing import unix_time
from tests.support.called import Call

Build = Callable[..., str]


def blobs(root: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in root.glob("blobs/sha256/*/*")}


def config_of(root: Path, digest: str) -> str:
    raw = (root / "blobs/sha256" / digest[7:9] / digest[7:]).read_bytes()
    return str(json.loads(raw)["config"]["digest"])


# --- images


def test_the_table(call: Call, built: Build, store_root: Path) -> None:
    digest = built("app:1", "registry.example/team/app:1")
    identity = config_of(store_root, digest)
    head, *rows = call("images").lines
    assert re.split(r" {2,}", head) == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    cells = [re.split(r" {2,}", row) for row in rows]
    assert sorted(row[:3] for row in cells) == [
        ["app", "1", identity[7:19]],
        ["registry.example/team/app", "1", identity[7:19]],
    ]
    assert all(row[3].endswith(" ago") and row[4].endswith("B") for row in cells)
    assert digest in call("images", "--digests").out
    assert identity in call("images", "--no-trunc").out
    assert call("images", "-q").lines == [identity[7:19]]


def test_templates_and_json(call: Call, built: Build) -> None:
    digest = built("app:1")
    assert call("images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}").lines == [f"app:1 {digest}"]
    assert call("images", "--format", r"table {{.Tag}}\t{{.Repository}}").lines[0].split() == ["TAG", "REPOSITORY"]
    assert json.loads(call("images", "--format", "json").out)["Tag"] == "1"
    (value,) = call("images", "--json").json
    assert (value["reference"], value["digest"], value["built_here"]) == ("docker.io/library/app:1", digest, True)
    assert value["labels"] == {"made": "here"}
    assert value["platforms"]


def test_an_empty_store(call: Call) -> None:
    assert call("images").lines == ["REPOSITORY   TAG   IMAGE ID   CREATED   SIZE"]
    assert call("images", "--json").json == []
    assert call("images", "-q").out == ""
    assert call("images", "--format", "{{.ID}}").out == ""


def test_filters(call: Call, built: Build) -> None:
    built("app:old", contents="1", options=("--source-date-epoch=1000000000", "--label=a=1"))
    built("app:new", "other:new", contents="2", options=("--source-date-epoch=1100000000", "--label=a=2"))

    def found(*words: str) -> list[str]:
        return sorted(call("images", "--format={{.Repository}}:{{.Tag}}", *words).lines)

    everything = ["app:new", "app:old", "other:new"]
    assert found() == everything
    assert found("--filter=label=a") == everything
    assert found("--filter=label=a=1") == ["app:old"]
    assert found("--filter=label=a=1", "--filter=label=b") == []
    assert found("app") == ["app:new", "app:old"]
    assert found("--filter=reference=*:new") == ["app:new", "other:new"]
    assert found("--filter=reference=other", "--filter=reference=app:old") == ["app:old", "other:new"]
    assert found("docker.io/library/o*er:new") == ["other:new"]
    assert found("docker.io/*") == []
    assert found("--filter=before=other:new") == ["app:old"]
    assert found("--filter=since=app:old") == ["app:new", "other:new"]
    assert found("--filter=dangling=true") == []
    assert call("images").lines[-1].startswith("app")  # the oldest is last


@pytest.mark.parametrize(
    "words", [["--filter=colour=red"], ["--filter=label"], ["--filter=dangling=perhaps"], ["-q", "--json"]]
)
def test_filters_that_are_none(call: Call, words: list[str]) -> None:
    call("images", *words, status=64)


def test_a_filter_by_an_image_that_is_not_here(call: Call) -> None:
    assert "nosuch is not in the store" in call("images", "--filter=since=nosuch", status=67).err


def test_bases_are_shown_when_they_are_whole(call: Call, remote: Any, tmp_path: Path) -> None:
    name, made = remote("listing")
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nLABEL a=b\n")
    call("-t", "on-top", tmp_path)
    row = "--format={{.Repository}}:{{.Tag}} {{.Source}} {{.Platform}}"
    assert [line.split()[0] for line in call("images", row).lines] == ["on-top:latest"]
    assert any(line.startswith(f"{name} registry") for line in call("images", "-a", row).lines)
    call("pull", name)
    assert sum(line.startswith(name) for line in call("images", row).lines) == 1
    call("pull", "--all-platforms", name)
    (value,) = call("images", "--json", "--filter", f"reference={name}").json
    assert value["id"] == value["digest"] == made.index["digest"]
    assert len(value["platforms"]) == 2


# --- tag


def test_a_tag_is_as_if_built(call: Call, built: Build, tmp_path: Path) -> None:
    digest = built("app:1")
    assert call("tag", "app:1", "other:2", "x.example/app").lines == [
        f"other:2@{digest}",
        f"x.example/app:latest@{digest}",
    ]
    identity = call("images", "-q").lines[0]
    call("tag", identity, "by-id:1")
    call("tag", digest, "by-digest:1")
    (tmp_path / "Dockerfile").write_text("FROM localhost/by-id:1\nCOPY --from=localhost/by-digest:1 /file /again\n")
    call(tmp_path)


def test_a_pulled_index_under_another_name(call: Call, remote: Any, registry: Any, tmp_path: Path) -> None:
    name, made = remote("tagging")
    call("pull", name)
    call("tag", name, "mine:1", f"{registry.host}/tagged/copy:1")
    (tmp_path / "Dockerfile").write_text("FROM localhost/mine:1\nCOPY Dockerfile /\n")
    call(tmp_path)
    call("push", f"{registry.host}/tagged/copy:1")  # the other platform's layers were never here
    assert registry.tags("tagged/copy") == {"1": made.index["digest"]}
    assert registry.missing("tagged/copy") == set()


@pytest.mark.parametrize(
    ("words", "status"),
    [(("nosuch", "a"), 67), (("nosuch", f"a@sha256:{'0' * 64}"), 64), (("nosuch", "UPPER"), 64)],
)
def test_tags_that_cannot_be(call: Call, words: tuple[str, ...], status: int) -> None:
    call("tag", *words, status=status)


# --- rmi


@pytest.mark.parametrize("option", ["-a", "--all", "--prune"])
def test_who_wants_everything_removed_hears_how(call: Call, option: str) -> None:
    done = call("rmi", option, status=64)
    assert f"unrecognized arguments: {option}" in done.err
    assert "hint: use pybuild cache prune --all" in done.err


@pytest.mark.parametrize(
    ("word", "way"), [("rm", "pybuild rmi"), ("ls", "pybuild images alone"), ("prune", "cache prune")]
)
def test_an_action_is_no_image(call: Call, word: str, way: str) -> None:
    """Docker has them behind ``image``, and an empty list would say that there is nothing."""
    done = call("images", word, status=67)
    assert f"{word} is not in the store" in done.err
    assert way in done.err
    assert not call("images", "nosuch", "--quiet").out


def test_the_last_name_takes_the_bytes_along(call: Call, built: Build, store_root: Path) -> None:
    digest = built("app:1", "app:2")
    assert call("rmi", "app:1").lines == ["Untagged: app:1"]
    done = call("rmi", "app:2")
    assert done.lines[0] == "Untagged: app:2"
    # The layer stays: it is what the next build has in its cache.
    assert f"Deleted: {digest}" in done.lines
    assert len(done.lines) == 3  # and the config
    assert digest not in blobs(store_root)
    assert len(blobs(store_root)) == 1
    assert call("images").lines[1:] == []


def test_what_another_name_needs_stays(call: Call, remote: Any, registry: Any, store_root: Path) -> None:
    first, made = remote("rmi", "rmi/shared:1")
    call("pull", first)
    second = f"{registry.host}/rmi/shared:other"
    call("copy", first, second)
    call("pull", "--platform=linux/riscv64", second)
    done = call("rmi", "--json", first).json
    assert done == {"untagged": [first], "deleted": []}  # one index, two names

    done = call("rmi", "--json", second).json
    assert set(done["deleted"]) >= {made.index["digest"], made.native["digest"], made.other["digest"]}
    assert blobs(store_root) == set()


def test_pulled_images_that_share_a_layer(call: Call, registry: Any, store_root: Path, tmp_path: Path) -> None:
    from tests.support.artifacts import TARS, Held
    from tests.support.placing import to_registry

    held = Held()
    small = to_registry(registry, held, held.image(tars=TARS[:1]), "rmi/small:1")
    large = to_registry(registry, held, held.image(tars=TARS), "rmi/large:1")
    call("pull", "--platform=linux/amd64", small, large)
    call("rmi", large)
    call("save", "--platform=linux/amd64", small, "-o", tmp_path / "small.tar", "--registry-map=localhost=127.0.0.1:1")
    assert len(blobs(store_root)) == 3


def test_an_id_with_several_names(call: Call, built: Build) -> None:
    built("app:1", "app:2")
    identity = call("images", "-q").lines[0]
    assert "several names: app:1, app:2" in call("rmi", identity, status=67).err
    done = call("rmi", "--force", identity)
    assert done.lines[:2] == ["Untagged: app:1", "Untagged: app:2"]


def test_what_is_not_here(call: Call, built: Build) -> None:
    built("app:1")
    said = call("rmi", "nosuch", "app:1", status=67).err
    assert "nosuch is not in the store" in said
    assert len(call("images").lines) == 2  # nothing was removed
    done = call("rmi", "-f", "nosuch", "app:1")
    assert "warning: nosuch" in done.err
    assert done.lines[0] == "Untagged: app:1"


def test_while_others_work_only_names_go(call: Call, remote: Any, store_root: Path) -> None:
    name, _ = remote("busy")
    call("pull", name)
    before = blobs(store_root)
    with Store.open(store_root) as other:
        other.hold_lease()
        done = call("rmi", name)
    assert done.lines == [f"Untagged: {name}"]
    assert "another pybuild works with the store" in done.err
    assert blobs(store_root) == before


def test_a_removed_base_is_fetched_again(call: Call, remote: Any, tmp_path: Path) -> None:
    name, _ = remote("again")
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nCOPY --from={name} /common /copied\n")
    first = call("-t", "top:1", tmp_path).lines
    call("pull", name)
    call("rmi", name)
    call("rmi", "top:1")
    assert call("-t", "top:1", tmp_path).lines == first
    call("save", "top:1", "-o", tmp_path / "x.tar")


# --- words for people


def test_sizes_and_ages() -> None:
    assert [human_size(one) for one in (999_499, 999_500, 999_999_999)] == ["999kB", "1MB", "1GB"]
    assert [human_size(one) for one in (0, 999, 1000, 7_810_000, 123_456_789, 2 * 10**12)] == [
        *("0B", "999B", "1kB", "7.81MB", "123MB", "2TB"),
    ]
    hour, day = 3600, 86400
    assert [human_age(one).removesuffix(" ago") for one in (0, 1, 59, 61, 300, 3700, 3 * hour, 47 * hour, 3 * day)] == [
        *("Less than a second", "1 second", "59 seconds", "About a minute", "5 minutes", "About an hour"),
        *("3 hours", "47 hours", "3 days"),
    ]
    assert [human_age(one * day).removesuffix(" ago") for one in (13, 15, 61, 729, 730)] == [
        *("13 days", "2 weeks", "2 months", "24 months", "2 years"),
    ]


def test_times() -> None:
    assert unix_time("1970-01-01T00:00:01Z") == 1
    assert unix_time("1970-01-01T01:00:01.5+01:00") == 1
    assert unix_time("1969-12-31T23:00:01-01:00") == 1
    for text in ("", "yesterday", "1970-13-01T00:00:00Z", "0000-00-00T00:00:00Z"):
        assert unix_time(text) is None


@pytest.mark.parametrize(("number", "said"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries")])
def test_numbers_agree_with_their_nouns(number, said):
    assert counted(number, "entry", "entries") == said
