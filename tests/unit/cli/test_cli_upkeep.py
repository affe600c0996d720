"""The store's size after builds, and its room before them."""

import argparse
import os

import pytest

from builder.cache.store import Store
from builder.cli import upkeep
from builder.cli.amounts import duration, store_size
from builder.errors import OutputError, UsageError
from tests.support.cli import digest_of, pybuild, write_context

DOCKERFILE = "FROM scratch\nCOPY a /a\n"
AT = {"SOURCE_DATE_EPOCH": "1700000000"}


def options(**given):
    return argparse.Namespace(store_max_size=None, config=None, **given)


def build(root, tmp_path, content, *words, env=None):
    context = write_context(tmp_path / "context", DOCKERFILE, {"a": content})
    return pybuild(*words, context, root=root, env={**AT, **(env or {})})


def age(root, seconds):
    for parent, _, names in os.walk(root):
        for name in names:
            path = os.path.join(parent, name)
            then = os.lstat(path).st_mtime - seconds
            os.utime(path, (then, then), follow_symlinks=False)


def size(root):
    return sum(path.stat().st_blocks * 512 for path in root.rglob("*") if path.is_file())


def test_a_build_trims_once_an_hour_what_was_not_used_lately(store_root, tmp_path):
    old = digest_of(build(store_root, tmp_path, os.urandom(300_000), "-t", "kept"))
    age(store_root, 7200)
    build(store_root, tmp_path, os.urandom(300_000))
    age(store_root, 7200)
    limit = {upkeep.VARIABLE: "500k"}
    new = build(store_root, tmp_path, os.urandom(300_000), env=limit)
    assert "that were not used lately are gone" in new.stderr
    # The oldest is kept by its name, the newest was used just now.
    assert 600_000 < size(store_root) < 800_000
    pybuild("save", "-o", tmp_path / "kept.tar", "kept", root=store_root)
    assert old in pybuild("images", "--digests", "--no-trunc", root=store_root).stdout
    assert "CACHED" in build(store_root, tmp_path, (tmp_path / "context" / "a").read_bytes(), env=limit).stderr
    for _ in range(2):
        assert "gone" not in build(store_root, tmp_path, os.urandom(300_000), env=limit).stderr


def test_a_store_that_cannot_be_trimmed_is_a_warning(store_root, tmp_path):
    build(store_root, tmp_path, b"x")
    (store_root / "trimmed").unlink()
    (store_root / "trimmed").symlink_to(tmp_path)
    os.utime(store_root / "trimmed", (0, 0), follow_symlinks=False)
    assert "cannot trim the store" in build(store_root, tmp_path, b"x").stderr


def test_the_limit_comes_from_the_option_then_the_environment_then_the_settings(tmp_path):
    settings = tmp_path / "pybuild.toml"
    settings.write_text('[store]\nmax-size = "3m"\n')
    environment = {"PYBUILD_CONFIG": str(settings)}
    assert upkeep.limit(options(), environment, tmp_path) == 3 << 20
    environment[upkeep.VARIABLE] = "2m"
    assert upkeep.limit(options(), environment, tmp_path) == 2 << 20
    given = options()
    given.store_max_size = "1m"
    assert upkeep.limit(given, environment, tmp_path) == 1 << 20
    given.store_max_size = "none"
    assert upkeep.limit(given, environment, tmp_path) is None


def test_the_usual_limit_is_a_share_of_the_file_system(tmp_path):
    status = os.statvfs(tmp_path)
    share = status.f_blocks * status.f_frsize * upkeep.USUAL[1] // 100
    assert upkeep.limit(options(), {}, tmp_path) == min(upkeep.USUAL[0], share)


def test_a_limit_that_makes_no_sense_is_refused_before_any_work(store_root, tmp_path):
    context = write_context(tmp_path / "context", DOCKERFILE, {"a": b"x"})
    settings = tmp_path / "pybuild.toml"
    settings.write_text('[store]\nmax-size = "lots"\n')
    for words, env, said in (
        (["--store-max-size", "lots"], {}, "--store-max-size lots"),
        ([], {upkeep.VARIABLE: "lots"}, f"{upkeep.VARIABLE} lots"),
        (["--config", str(settings)], {}, "pybuild.toml:2: store.max-size lots"),
    ):
        done = pybuild(*words, context, root=store_root, env=env, status=64)
        assert said in done.stderr
    assert not (store_root / "blobs").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20g", (20 << 30, 100)), ("15%", (1 << 62, 15)), ("15%,20g", (20 << 30, 15)), ("none", None), ("0", (0, 100))],
)
def test_sizes_of_a_store(text, expected):
    assert store_size("place", text) == expected


@pytest.mark.parametrize("text", ["%", "0%", "101%", "-1%", "1.5%", "20x", ",", "none,1g"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError):
        store_size("place", text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("7d", 604800), ("2w", 1209600)])
def test_lengths_of_time(text, seconds):
    assert duration("--max-age", text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "1h 2m", "-1h", "1H", "999999999w"])
def test_lengths_that_are_none(text):
    with pytest.raises(UsageError):
        duration("--max-age", text)


def test_what_does_not_fit_is_not_begun(tmp_path):
    with Store.open(tmp_path / "store") as store:
        store.must_have_room(1, "a byte")
        with pytest.raises(OutputError, match=f"everything: .* {store.root} has room for"):
            store.must_have_room(1 << 60, "everything")
