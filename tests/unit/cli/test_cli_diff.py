"""``pybuild diff``: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.cli.main import main
from tests.support import images


@pytest.fixture
def pair(tmp_path: Path, store_root: Path) -> tuple[str, str]:
    for name, text in (("a", "one"), ("b", "two")):
        layer = images.layer(images.file("x", text), images.file(f"only-{name}", ""), images.file("t", mtime=len(name)))
        images.write_layout(tmp_path / name, [layer], container={"User": name})
    return str(tmp_path / "a"), str(tmp_path / "b")


def _ran(capsys: pytest.CaptureFixture[str], *words: str, status: int) -> str:
    assert main(["diff", *words]) == status, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_first_difference_or_all(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *pair]) == 1
    said = capsys.readouterr()
    assert said.out == 'config: config.User "a" vs "b"\n'
    assert said.err == "that is the first difference; --all lists all\n", "who sees a time would think that is all"
    assert main(["diff", "--all", *pair]) == 1
    said = capsys.readouterr()
    assert not said.err
    everything = said.out.splitlines()
    assert everything[0] == 'config: config.User "a" vs "b"'
    assert "layer 1 (test layer 0): /x: line 1: 'one' vs 'two'" in everything
    assert "layer 1 (test layer 0): /only-a: only in A: a file" in everything
    assert "layer 1 (test layer 0): /only-b: only in B: a file" in everything
    assert len(everything) == 4


def test_the_same_image(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _ran(capsys, pair[0], pair[0], status=0) == "the same image\n"
    value = json.loads(_ran(capsys, "--json", pair[0], pair[0], status=0))
    assert value["same"] is True
    assert value["differences"] == []


def test_ignoring(pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        images.write_layout(tmp_path / name, [images.layer(images.file("x", mtime=ord(name)))])
    assert "mtime" in _ran(capsys, *pair, status=1)
    assert _ran(capsys, "--ignore", "times", *pair, status=0) == "no difference that counts\n"
    assert main(["diff", "--ignore", "nothing", *pair]) == 64
    assert "one of times, owners" in capsys.readouterr().err


def test_as_json(pair: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads(_ran(capsys, "--json", "--all", *pair, status=1))
    assert value["a"] == {"name": pair[0], "digest": images.read_image(Path(pair[0])).digest}
    assert {"part": "layer", "layer": 1, "step": "test layer 0", "entry": "x", "field": "line 1:", "a": "'one'",
            "b": "'two'"} in value["differences"]  # fmt: skip
    assert value["more"] is False
    assert json.loads(_ran(capsys, "--json", *pair, status=1))["more"] is True


def test_indexes(tmp_path: Path, store_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, platforms in (("a", ("amd64", "arm64")), ("b", ("amd64", "s390x"))):
        target = tmp_path / name
        entries = []
        for architecture in platforms:
            digest = images.write_layout(
                target, [images.layer(images.file("x", name + architecture))], architecture=architecture
            )
            size = (target / "blobs" / "sha256" / digest.removeprefix("sha256:")).stat().st_size
            entries.append({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                            "platform": {"os": "linux", "architecture": architecture}})  # fmt: skip
        raw = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                          "manifests": entries}).encode()  # fmt: skip
        digest = images.layer_digests([raw])[0]
        (target / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(raw)
        entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": len(raw)}
        (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    words = [str(tmp_path / "a"), str(tmp_path / "b")]
    lines = _ran(capsys, "--all", *words, status=1).splitlines()
    assert lines[0].startswith("linux/amd64: layer 1 (test layer 0): /x: line 1: 'aamd64' vs 'bamd64'")
    assert lines[1].startswith("index: image for linux/arm64: only in A: sha256:")
    assert lines[2].startswith("index: image for linux/s390x: only in B: sha256:")
    only = _ran(capsys, "--platform", "linux/amd64", "--all", *words, status=1).splitlines()
    assert only == [lines[0].removeprefix("linux/amd64: ")]
