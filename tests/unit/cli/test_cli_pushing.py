"""Options of whatever pushes, down to the requests that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.cli.options import load, parse
from builder.cli.registries import upload_piece
from builder.errors import UsageError
from builder.image import descriptor as media
from builder.image.digest import Digest
from tests.support import images
from tests.support.cli import pybuild
from tests.support.fake_registry import FakeRegistry

LAYER = images.layer(images.file("f", "1" * 2000))


@pytest.fixture
def layout(tmp_path: Path) -> str:
    images.write_layout(tmp_path / "layout", [LAYER], tag="v1", architecture="amd64")
    return f"oci-layout://{tmp_path}/layout:v1"


@pytest.mark.parametrize(("text", "size"), [("", 0), ("0", 0), ("5000", 5000), ("64k", 64 << 10), ("1.5m", 3 << 19)])
def test_the_size_of_a_piece(text: str, size: int) -> None:
    words = ["--upload-chunk-size", text] if text else []
    assert upload_piece(parse("push", [*words, "a"])) == size


@pytest.mark.parametrize("text", ["x", "-1", "64mb!", "9" * 30])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="--upload-chunk-size"):
        upload_piece(parse("push", [f"--upload-chunk-size={text}", "a"]))


@pytest.mark.parametrize("name", ["push", "copy", "convert", "append", "mutate"])
def test_whatever_pushes_has_the_options(name: str) -> None:
    text = load(name).parser().format_help()
    assert "--upload-chunk-size" in text
    assert "--push-foreign" in text


def test_a_push_in_pieces(fake: FakeRegistry, layout: str, tmp_path: Path) -> None:
    pybuild("push", "--upload-chunk-size", "100", layout, f"{fake.host}/a/b:1", root=tmp_path / "store")
    sizes = [len(one.body) for one in fake.asked("PATCH")]
    assert max(sizes) == 100
    layers = json.loads(fake.manifests["a/b"]["1"][1])["layers"]
    assert {one["digest"] for one in layers} <= set(fake.blobs["a/b"])


def test_a_build_in_pieces(fake: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    words = ["--upload-chunk-size=100", "--push", "-t", f"{fake.host}/a/b:1", tmp_path]
    pybuild(*words, root=tmp_path / "store")
    assert max(len(one.body) for one in fake.asked("PATCH")) == 100
    assert "1" in fake.manifests["a/b"]


def foreign_layout(folder: Path) -> str:
    """Write a layout whose only layer is a vendor's; its bytes are there all the same."""
    config = json.dumps({
        "architecture": "amd64",
        "os": "windows",
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(LAYER)]},
    }).encode()  # fmt: skip
    layer = {"mediaType": media.OCI_FOREIGN_LAYER, "digest": Digest.of(LAYER), "size": len(LAYER)}
    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": media.OCI_CONFIG, "digest": Digest.of(config), "size": len(config)},
        "layers": [{**layer, "urls": ["https://vendor.example/layer"]}],
    }).encode()  # fmt: skip
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for data in (LAYER, config, manifest):
        (blobs / Digest.of(data).hex).write_bytes(data)
    entry = {"mediaType": media.OCI_MANIFEST, "digest": Digest.of(manifest), "size": len(manifest)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci-layout://{folder}"


@pytest.mark.parametrize("option", [[], ["--push-foreign"]])
@pytest.mark.parametrize("command", ["push", "copy"])
def test_layers_of_vendors(fake: FakeRegistry, tmp_path: Path, command: str, option: list[str]) -> None:
    source = foreign_layout(tmp_path / "layout")
    pybuild(command, *option, source, f"{fake.host}/a/b:1", root=tmp_path / "store")
    assert (Digest.of(LAYER) in fake.blobs["a/b"]) is bool(option)
    assert b"vendor.example" in fake.manifests["a/b"]["1"][1]


@pytest.mark.parametrize("more", [[], ["name-canonical=true"]])
def test_what_is_pushed_without_a_tag_is_told_without_one(fake: FakeRegistry, tmp_path: Path, more: list[str]) -> None:
    """Nobody would find it under the tag."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    output = ",".join(["type=registry", f"name={fake.host}/a/b:1", "push-by-digest=true", *more])
    done = pybuild("-o", output, tmp_path, root=tmp_path / "store", env={"CI": ""})
    (digest,) = fake.manifests["a/b"]
    name = f"{fake.host}/a/b@{digest}"
    assert done.stdout == f"{name}\n"
    assert f"pushed to {name}\n" in done.stderr
    assert f"next: docker run --rm {name}\n" in done.stderr
    assert f"{fake.host}/a/b:1" not in done.stderr
