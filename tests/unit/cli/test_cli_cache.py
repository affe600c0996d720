"""``pybuild cache``: what it shows, what it removes and what it leaves."""

import json
import os
import time

import pytest

from tests.support.cli import digest_of, pybuild, write_context

DOCKERFILE = "FROM scratch\nCOPY a /a\nWORKDIR /w\n"


@pytest.fixture
def context(tmp_path):
    return write_context(tmp_path / "context", DOCKERFILE, {"a": b"a" * 5000})


def cache(root, *words, status=0):
    return pybuild("cache", *words, root=root, status=status)


def usage(root):
    return json.loads(cache(root, "du", "--json").stdout)


def age(root, seconds):
    """Let everything in the store have been used so many seconds earlier."""
    for parent, _, names in os.walk(root):
        for name in names:
            then = os.lstat(os.path.join(parent, name)).st_mtime - seconds
            os.utime(os.path.join(parent, name), (then, then), follow_symlinks=False)


def test_du_says_what_is_there_and_what_can_go(context, store_root):
    assert usage(store_root) == {"root": str(store_root), "total": 0, "reclaimable": 0, "types": []}
    pybuild("-t", "app", context, root=store_root)
    found = usage(store_root)
    kinds = {one["type"]: one for one in found["types"]}
    assert kinds["layer"]["count"] == 2
    assert kinds["layer"]["reclaimable"] == 0
    assert kinds["result"]["reclaimable"] == kinds["result"]["size"] > 0
    assert found["total"] == sum(one["size"] for one in found["types"])
    assert "total" in cache(store_root, "du").stdout


def test_an_image_with_a_name_stays_whole_and_goes_as_a_whole(context, store_root, tmp_path):
    at = {"SOURCE_DATE_EPOCH": "1700000000"}
    digest = digest_of(pybuild("-t", "app", context, root=store_root, env=at))
    assert "freed" in cache(store_root, "prune").stdout
    assert {one["type"] for one in usage(store_root)["types"]} == {"image", "layer"}
    pybuild("save", "-o", tmp_path / "app.tar", "app", root=store_root)
    assert digest_of(pybuild(context, root=store_root, env=at)) == digest
    cache(store_root, "prune", "--all")
    assert usage(store_root)["total"] == 0
    assert digest_of(pybuild(context, root=store_root, env=at)) == digest


def test_names_give_way_to_a_size_one_by_one(tmp_path, store_root):
    for number in range(3):
        context = write_context(tmp_path / str(number), DOCKERFILE, {"a": os.urandom(100_000)})
        pybuild("-t", f"app:{number}", context, root=store_root)
        age(store_root, 3600)
    cache(store_root, "prune", "--all", "--max-size", "280k")
    listed = pybuild("images", "--format", "{{.Tag}}", root=store_root).stdout.split()
    assert sorted(listed) == ["1", "2"]
    for tag in listed:
        pybuild("save", "-o", tmp_path / f"{tag}.tar", f"app:{tag}", root=store_root)


def test_limits(context, store_root):
    pybuild(context, root=store_root)
    assert json.loads(cache(store_root, "prune", "--max-age", "1h", "--json").stdout)["removed"] == []
    age(store_root, 7200)
    would = json.loads(cache(store_root, "prune", "--max-age", "1h", "--dry-run", "--json").stdout)
    assert would["dry_run"]
    assert would["removed"]
    whole = usage(store_root)["total"]
    cache(store_root, "prune", "--max-size", str(whole - 1))
    assert 0 < usage(store_root)["total"] < whole
    cache(store_root, "prune", "--max-age", "1h")
    assert usage(store_root)["total"] == 0


def test_filters(context, store_root):
    pybuild(context, root=store_root)
    rows = json.loads(cache(store_root, "ls", "--filter", "type=toc,parsed", "--json").stdout)
    assert {one["type"] for one in rows} == {"toc", "parsed"}
    assert all(one["last_used"] > time.time() - 600 for one in rows)
    cache(store_root, "prune", "--filter", "type=toc")
    assert "toc" not in {one["type"] for one in usage(store_root)["types"]}
    assert "layer" in cache(store_root, "ls").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prune", "--max-size", "much"], "expected a size"),
        (["prune", "--max-age", "5"], "e.g. 90m, 36h, 7d or 2w"),
        (["prune", "--max-age", "99999w"], "a hundred years"),
        (["ls", "--filter", "type=layers"], "did you mean layer"),
        (["ls", "--filter", "id=x"], "expected type=TYPE"),
        (["prne"], "did you mean pybuild cache prune"),
    ],
)
def test_mistakes(store_root, words, said):
    assert said in cache(store_root, *words, status=64).stderr
