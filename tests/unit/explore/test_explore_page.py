"""The page: nothing of an image in its markup, a policy that allows only what is ours, equal bytes for equal images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from builder.cli.main import main
from builder.explore import records as module
from tests.support import images
from tests.support.explored import NAMES, allowed, hash_of, hostile_image, markup, records


def _page(target: Path, *words: str | Path) -> Path:
    assert main(["explore", *map(str, words), "-o", str(target)]) == 0
    return target


def test_no_byte_of_an_image_is_in_the_markup(tmp_path: Path, store_root: Path) -> None:
    hostile_image(tmp_path / "bad")
    images.write_layout(tmp_path / "good", [])
    bad, good = (_page(tmp_path / f"{name}.html", tmp_path / name) for name in ("bad", "good"))
    assert markup(bad) == markup(good)
    assert bad.read_bytes().isascii() == good.read_bytes().isascii()


def test_the_policy_allows_this_style_and_this_program_and_nothing_else(tmp_path: Path, store_root: Path) -> None:
    images.write_layout(tmp_path / "a", [])
    page = _page(tmp_path / "a.html", tmp_path / "a")
    text = page.read_text()
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert allowed(page) == {
        "default-src": ["'none'"],
        "script-src": [hash_of(script)],
        "style-src": [hash_of(style)],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    head = text.partition("<style>")[0]
    assert head.index("Content-Security-Policy") < head.index("<title>")
    assert not re.search(r"""(?:src|href|action)=["'][^#"']""", text.replace(script, ""))
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "import(",
    ):
        assert word not in script


def test_names_come_through_as_they_are(tmp_path: Path, store_root: Path) -> None:
    hostile_image(tmp_path / "bad")
    facts, *batches, end = records(_page(tmp_path / "bad.html", tmp_path / "bad"))
    rows = [row for batch in batches for row in batch]
    names = {row[1] for row in rows if row[0] == 2}
    assert set(NAMES) <= names
    (image,) = facts["images"]
    assert image["history"][0]["createdBy"].endswith("\u202e\ud800")
    assert len(image["history"][1]["createdBy"]) == 100_004
    assert image["config"]["Labels"]["__proto__"] == "polluted"
    assert end["images"][0]["files"] == len(NAMES) + 3


def test_equal_images_give_equal_pages(tmp_path: Path, store_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile_image(tmp_path / "a")
    first = _page(tmp_path / "1.html", tmp_path / "a").read_bytes()
    assert _page(tmp_path / "2.html", tmp_path / "a").read_bytes() == first


def test_rows_tell_depth_name_difference_and_versions(tmp_path: Path, store_root: Path) -> None:
    one = images.layer(images.directory("d"), images.file("d/f", "123", mode=0o600, uid=7, gid=8, mtime=9))
    two = images.layer(images.symlink("d/f", "else", mtime=3))
    images.write_layout(tmp_path / "a", [one])
    images.write_layout(tmp_path / "b", [one, two])
    facts, rows, end = records(_page(tmp_path / "a.html", tmp_path / "a", tmp_path / "b"))
    assert [len(image["layers"]) for image in facts["images"]] == [1, 2]
    assert [row[:3] for row in rows] == [[0, "", 0], [1, "d", 0], [2, "f", 2]]
    file, link = end["attributes"][rows[2][5]], end["attributes"][rows[2][15]]
    assert file == ["f", 0o600, 7, 8]
    assert link == ["s", 0o777, 0, 0]
    # layer, change, attributes, size or target, time: of A, of B's first and of B's second layer
    assert [rows[2][at : at + 5] for at in (3, 8, 13)] == [
        [0, 0, rows[2][5], 3, 9],
        [1, 0, rows[2][5], 3, 9],
        [2, 1, rows[2][15], "else", 3],
    ]
    assert end["differences"] == {"added": 0, "changed": 1, "metadata": 0, "removed": 0}


def test_many_paths_are_an_error(
    tmp_path: Path, store_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PATHS_LIMIT", 3)
    images.write_layout(tmp_path / "a", [images.layer(*(images.file(name) for name in "abc"))])
    assert main(["explore", str(tmp_path / "a"), "-o", str(tmp_path / "page.html")]) == 67
    assert "has more than 3 paths" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_data_for_programs_is_one_document(
    tmp_path: Path, store_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile_image(tmp_path / "bad")
    assert main(["explore", "--json", str(tmp_path / "bad")]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["version"] == 1
    assert "differences" not in value
    by_path = {one["path"]: one["versions"] for one in value["files"]}
    assert by_path["/bad/__proto__"] == [
        {"layer": 0, "change": "added", "kind": "file", "mode": "0644", "uid": 0, "gid": 0, "size": 9, "mtime": 0}
    ]
    assert by_path["/bad/link"][0]["target"].endswith("t" * 4000)
    (image,) = value["images"]
    assert image["layers"][0]["uncompressed"] > image["bytes"] > 0
    assert image["hidden"] == []
