"""``pybuild history``: Docker's rows, and what is known of sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.cli.main import main
from tests.support import images


@pytest.fixture
def layout(tmp_path: Path, store_root: Path) -> Path:
    """An image of three steps, one of which made no layer."""
    target = tmp_path / "layout"
    history = [
        {"created": "2020-01-01T00:00:00Z", "created_by": "COPY a /\ta", "comment": "first"},
        {"created": "2020-01-02T00:00:00Z", "created_by": "ENV A=" + "x" * 60, "empty_layer": True},
        {"created": "never", "created_by": "RUN two"},
    ]
    layers = [
        images.layer(images.file("a", "12345"), images.directory("d")),
        images.layer(images.file("b", "1" * 1500)),
    ]
    images.write_layout(target, layers, config={"history": history})
    return target


def _ran(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(["history", *map(str, words)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_steps_are_shown_as_docker_shows_them(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity = images.read_image(layout).image_id.removeprefix("sha256:")[:12]
    head, *rows = _ran(capsys, "--sizes", layout).splitlines()
    assert head.split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert [row.split()[0] for row in rows] == [identity, "<missing>", "<missing>"]
    assert "N/A" in rows[0]
    assert "RUN two" in rows[0]
    assert "1.5kB" in rows[0]
    assert "years ago" in rows[1]
    assert ("ENV A=" + "x" * 38 + "\u2026") in rows[1]
    assert " 0B" in rows[1]
    assert "COPY a / a" in rows[2]
    assert "5B" in rows[2]
    assert rows[2].endswith("first")


def test_sizes_that_are_not_known_say_so(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _ran(capsys, layout)
    assert out.count("B compressed") == 2
    assert out.count(" 0B\n") == 1
    values = json.loads(_ran(capsys, "--json", layout))
    assert [one["Size"] for one in values] == [None, 0, None]
    assert [one["StoredSize"] > 0 for one in values] == [True, False, True]
    assert json.loads(_ran(capsys, "--json", "--sizes", layout))[0]["Size"] == 1500


def test_nothing_is_cut_off_when_asked(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _ran(capsys, "--no-trunc", "--human=false", layout)
    assert "x" * 60 in out
    assert images.read_image(layout).image_id in out
    assert "2020-01-02T00:00:00Z" in out
    assert out == _ran(capsys, "--no-trunc", "--no-human", layout)
    assert _ran(capsys, "-H", layout) == _ran(capsys, layout)


def test_templates_and_ids(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _ran(capsys, "-q", layout).splitlines()[1:] == ["<missing>", "<missing>"]
    assert _ran(capsys, "--no-trunc", "--format", "{{.CreatedBy}}", layout).splitlines()[0] == "RUN two"
    table = _ran(capsys, "--format", "table {{.ID}}\\t{{.Comment}}", layout).splitlines()
    assert table[0] == "IMAGE          COMMENT"
    assert table[3] == "<missing>      first"
    assert json.loads(_ran(capsys, "--format", "json", layout).splitlines()[2])["Comment"] == "first"
    assert main(["history", "--format", "{{.Nope}}", str(layout)]) == 64
    assert "there is no field Nope here" in capsys.readouterr().err


def test_a_history_that_does_not_fit_its_layers(
    tmp_path: Path, store_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [images.layer(images.file(name)) for name in "abc"]
    images.write_layout(tmp_path / "odd", layers, config={"history": [{"created_by": "one"}]})
    values = json.loads(_ran(capsys, "--json", tmp_path / "odd"))
    assert [one["CreatedBy"] for one in values] == ["", "", "one"]
    assert all(one["Layer"] for one in values)


def test_an_image_for_another_platform_is_not_shown_for_it(
    tmp_path: Path, store_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images.write_layout(tmp_path / "single", [images.layer(images.file("a", "1"))], architecture="amd64")
    assert main(["history", "--platform", "linux/s390x", str(tmp_path / "single")]) == 67
    assert "is an image for linux/amd64 only" in capsys.readouterr().err
    assert main(["history", "--platform", "linux/amd64", str(tmp_path / "single")]) == 0
