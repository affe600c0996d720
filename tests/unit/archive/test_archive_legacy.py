"""Archives from before Docker 1.10: names, parents, and the config that today's Docker would make of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from builder.archive import legacy
from builder.archive.docker_archive import named_in_archive, open_docker_archive
from builder.archive.files import open_files
from builder.errors import ImageError
from tests.support import images
from tests.support.legacy import identity, layer_json, legacy_archive

LAYERS = [images.layer(images.file("a", "1")), images.layer(images.file("b", "2"))]


@pytest.fixture
def opened() -> Any:
    made: list[Any] = []

    def read(location: object, scratch: Path | None = None) -> Any:
        made.append(open_docker_archive(str(location), scratch))
        return made[-1]

    yield read
    for one in made:
        one.content.close()


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def test_an_image_and_its_parent_are_two_images_of_one_chain(tmp_path: Path) -> None:
    names = {"registry.example/app": {"1": identity(2), "latest": identity(2)}, "base": {"old": identity(1)}}
    path = written(tmp_path / "x.tar", legacy_archive(LAYERS, names))

    files = open_files(path)
    entries = named_in_archive(files)

    assert [[name.familiar for name in entry.names] for entry in entries] == [
        ["registry.example/app:1", "registry.example/app:latest"],
        ["base:old"],
    ]
    app, base = (entry.artifact.image() for entry in entries)
    assert [len(one.layers) for one in (app, base)] == [2, 1]
    assert app.layers[0].descriptor == base.layers[0].descriptor
    assert [layer.open().read() for layer in app.layers] == LAYERS
    files.close()


def test_the_config_is_the_one_that_docker_makes(tmp_path: Path, opened: Any) -> None:
    path = written(tmp_path / "x.tar", legacy_archive(LAYERS, {"a": {"1": identity(2)}}))

    image = opened(f"{path}:a:1")
    value = json.loads(image.raw_config)

    assert list(value) == sorted(value)
    assert not {"id", "parent", "Size"} & set(value)
    assert b"\\u003c" in image.raw_config
    assert b"<" not in image.raw_config
    assert value["config"] == layer_json(2)["config"]
    assert value["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in LAYERS]
    assert value["history"] == [
        {"created": f"2014-01-0{number}T00:00:00.5Z", "created_by": f"/bin/sh -c echo <{number}> && true"}
        for number in (1, 2)
    ]


def test_without_names_the_layer_that_is_nobodys_parent_is_the_image(tmp_path: Path, opened: Any) -> None:
    path = written(tmp_path / "x.tar", legacy_archive(LAYERS, None))
    image = opened(path)
    assert len(image.layers) == 2

    folder = tmp_path / "unpacked"
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    assert opened(folder).digest == image.digest


def test_a_compressed_archive_and_compressed_layers(tmp_path: Path, opened: Any) -> None:
    names = {"a": {"1": identity(2)}}
    plain = opened(written(tmp_path / "plain.tar", legacy_archive(LAYERS, names)))
    packed = legacy_archive([gzip.compress(one) for one in LAYERS], names)
    image = opened(written(tmp_path / "x.tar.gz", gzip.compress(packed)), tmp_path)
    assert image.config.diff_ids == plain.config.diff_ids
    assert image.raw_config == plain.raw_config


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (legacy_archive(LAYERS, {"a": {"1": "../" * 20}}), "is not the id of a layer"),
        (legacy_archive(LAYERS, {"a": {"1": identity(9)}}), "there is no"),
        (legacy_archive(LAYERS, {"a": {"1": identity(1)}}, parent=identity(1)), "more than 4096 layers"),
        (legacy_archive(LAYERS, {}), "neither a manifest.json nor"),
        (images.layer(images.file("some/thing", "x")), "neither a manifest.json nor"),
    ],
    ids=["path", "absent", "circle", "no names", "no archive"],
)
def test_what_is_no_image(tmp_path: Path, raw: bytes, problem: str) -> None:
    path = written(tmp_path / "x.tar", raw)
    with pytest.raises(ImageError, match=problem):
        open_docker_archive(str(path))


def test_many_names_of_long_chains_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy, "MAX_FILES", 3)
    many = [images.layer(images.file("a", "1"))] * 3
    path = written(tmp_path / "x.tar", legacy_archive(many, {"a": {"1": identity(3), "2": identity(2)}}))
    with pytest.raises(ImageError, match="more than 3 layers in all"):
        open_docker_archive(f"{path}:a:1")


def test_a_layer_that_images_share_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"a": {str(number): identity(number) for number in (1, 2)}}
    files = open_files(written(tmp_path / "x.tar", legacy_archive(LAYERS, names)))
    seen: list[str] = []
    unpack = legacy.decompress
    monkeypatch.setattr(legacy, "decompress", lambda stream: seen.append("") or unpack(stream))
    assert len(named_in_archive(files)) == 2
    assert len(seen) == 2
    files.close()


def test_members_are_not_read_through_links_out_of_the_archive(tmp_path: Path) -> None:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in (
            (f"{identity(1)}/json", json.dumps(layer_json(1)).encode()),
            ("repositories", json.dumps({"a": {"1": identity(1)}}).encode()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
        link = tarfile.TarInfo(f"{identity(1)}/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        tar.addfile(link)
    with pytest.raises(ImageError, match="leads out of it"):
        open_docker_archive(str(written(tmp_path / "x.tar", stream.getvalue())))
