"""Archives of docker save, in the forms that exist, and ours that everybody loads."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from builder.archive.docker_archive import open_docker_archive, write_docker_archive
from builder.archive.image import Entry
from builder.archive.oci_layout import open_oci_layout
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.artifact import Image
from builder.image.digest import Digest, DigestMismatchError
from builder.image.manifest import Manifest, ManifestError, parse_manifest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.rootfs.entry import UnsafePathError
from tests.support import images

AMD64 = Platform.parse("linux/amd64")
LAYERS = [images.layer(images.file("a", "b")), images.layer(images.file("x", "y" * 9999))]
CONFIG = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Cmd": ["sh"]},
    "rootfs": {"type": "layers", "diff_ids": images.layer_digests(LAYERS)},
}
RAW_CONFIG = json.dumps(CONFIG).encode()


@pytest.fixture
def opened() -> Any:
    made: list[Image] = []

    def read(location: object) -> Image:
        made.append(open_docker_archive(str(location)))
        return made[-1]

    yield read
    for one in made:
        one.content.close()


def save(target: Path, listing: object, *members: Any) -> Path:
    manifest = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
    target.write_bytes(images.layer(*members, images.file("manifest.json", manifest)))
    return target


def listed(*layers: str, tags: list[str] | None = None, config: str = "config.json") -> dict[str, Any]:
    return {"Config": config, "RepoTags": tags, "Layers": list(layers)}


def legacy(target: Path) -> Path:
    return save(
        target,
        [listed("1/layer.tar", "2/layer.tar", tags=["demo:1", "localhost:5000/x:2"])],
        images.file("config.json", RAW_CONFIG),
        images.directory("1/"),
        images.file("1/layer.tar", LAYERS[0]),
        images.directory("2/"),
        images.file("2/layer.tar", LAYERS[1]),
    )


def contents(image: Image) -> list[bytes]:
    found = []
    for layer in image.layers:
        with layer.open() as stream:
            found.append(stream.read())
    return found


def test_the_legacy_form(tmp_path: Path, opened: Any) -> None:
    image = opened(legacy(tmp_path / "x.tar"))
    assert contents(image) == LAYERS
    assert image.raw_config == RAW_CONFIG
    manifest = parse_manifest(image.raw_manifest)
    assert isinstance(manifest, Manifest)
    assert manifest.media_type == media.DOCKER_MANIFEST
    assert [one.media_type for one in manifest.layers] == [media.DOCKER_LAYER] * 2
    assert [one.digest for one in manifest.layers] == [one.diff_id for one in image.layers]


@pytest.mark.parametrize("name", ["demo:1", "docker.io/library/demo:1", "localhost:5000/x:2"])
def test_an_image_by_name(tmp_path: Path, opened: Any, name: str) -> None:
    assert opened(f"{legacy(tmp_path / 'x.tar')}:{name}").raw_config == RAW_CONFIG


def test_an_unknown_name_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="'other'") as caught:
        open_docker_archive(f"{legacy(tmp_path / 'x.tar')}:other")
    assert caught.value.hint == "it has: demo:1, localhost:5000/x:2"


def test_equal_layers_are_symlinks_in_the_legacy_form(tmp_path: Path, opened: Any) -> None:
    config = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": images.layer_digests([LAYERS[0]] * 3)}}
    path = save(
        tmp_path / "x.tar",
        [listed("1/layer.tar", "2/layer.tar", "3/layer.tar")],
        images.file("config.json", json.dumps(config)),
        images.symlink("1/layer.tar", "../2/layer.tar"),
        images.file("2/layer.tar", LAYERS[0]),
        images.hardlink("3/layer.tar", "2/layer.tar"),
    )
    assert contents(opened(path)) == [LAYERS[0]] * 3


def test_compressed_layers_keep_their_bytes(tmp_path: Path, opened: Any) -> None:
    packed = [gzip.compress(one, mtime=0) for one in LAYERS]
    named = f"blobs/sha256/{hashlib.sha256(packed[0]).hexdigest()}"
    path = save(
        tmp_path / "x.tar",
        [listed(named, "2.tar.gz")],
        images.file("config.json", RAW_CONFIG),
        images.file(named, packed[0]),
        images.file("2.tar.gz", packed[1]),
    )
    image = opened(path)
    assert contents(image) == packed
    assert [one.descriptor.digest for one in image.layers] == [Digest.of(one) for one in packed]
    assert {one.descriptor.media_type for one in image.layers} == {media.DOCKER_LAYER_GZIP}


def test_ours_is_loaded_with_its_manifest(tmp_path: Path, opened: Any) -> None:
    images.write_layout(tmp_path / "layout", LAYERS, architecture="amd64")
    source = open_oci_layout(str(tmp_path / "layout"), AMD64)
    names = [Reference.parse("demo:1"), Reference.parse("localhost:5000/x:2"), Reference.parse("demo:1")]
    write_docker_archive([Entry(source.artifact, tuple(names))], tmp_path / "x.tar")
    image = opened(f"{tmp_path / 'x.tar'}:demo:1")
    assert (image.raw_manifest, image.raw_config) == (source.raw_manifest, source.raw_config)
    again = open_oci_layout(f"{tmp_path / 'x.tar'}:1", AMD64)
    assert again.digest == source.digest
    docker = images.read_image(tmp_path / "x.tar", docker=True)
    assert docker.manifest["RepoTags"] == ["docker.io/library/demo:1", "localhost:5000/x:2"]
    assert [images.inflate(one) for one in docker.layers] == LAYERS
    again.content.close()
    source.content.close()


def test_a_digest_is_no_tag(tmp_path: Path) -> None:
    images.write_layout(tmp_path / "layout", LAYERS, architecture="amd64")
    source = open_oci_layout(str(tmp_path / "layout"), AMD64)
    write_docker_archive([Entry(source.artifact, (Reference.parse(f"demo@{source.digest}"),))], tmp_path / "x.tar")
    source.content.close()
    assert images.read_image(tmp_path / "x.tar", docker=True).manifest["RepoTags"] == []


def test_a_layer_that_is_not_what_the_config_says_is_not_copied(tmp_path: Path, opened: Any) -> None:
    path = save(
        tmp_path / "x.tar",
        [listed("1.tar", "2.tar")],
        images.file("config.json", RAW_CONFIG),
        images.file("1.tar", LAYERS[1]),
        images.file("2.tar", LAYERS[0]),
    )
    with pytest.raises(DigestMismatchError):
        write_docker_archive([Entry(opened(path).artifact)], tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


@pytest.mark.parametrize(
    "listing",
    [
        b"{}",
        b"[5]",
        b"not json",
        b"[" * 100_000,
        [],
        [{"Config": "../../etc/passwd", "Layers": []}],
        [{"Config": "/etc/passwd", "Layers": []}],
        [{"Config": 5, "Layers": []}],
        [{"Config": "config.json", "Layers": ["../1.tar", "2.tar"]}],
        [{"Config": "config.json", "Layers": ["absent", "2.tar"]}],
        [{"Config": "config.json", "Layers": "1.tar"}],
        [{"Config": "config.json", "Layers": ["1.tar"]}],
        [{"Config": "config.json", "Layers": ["1.tar"] * 5000}],
        [{"Config": "link", "Layers": []}],
        [{"Config": "loop", "Layers": []}],
        [{"Config": "dir", "Layers": []}],
    ],
)
def test_listings_of_strangers(tmp_path: Path, listing: object) -> None:
    path = save(
        tmp_path / "x.tar",
        listing,
        images.file("config.json", RAW_CONFIG),
        images.file("1.tar", LAYERS[0]),
        images.symlink("link", "../../../../etc/passwd"),
        images.symlink("loop", "loop"),
        images.directory("dir"),
    )
    with pytest.raises(ImageError):
        open_docker_archive(str(path))


def test_a_name_that_leads_out_of_the_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(images.member("../manifest.json"))
    with pytest.raises(UnsafePathError):
        open_docker_archive(str(tmp_path / "x.tar"))


def test_layers_in_a_compression_nobody_loads(tmp_path: Path) -> None:
    path = save(
        tmp_path / "x.tar",
        [listed("1.tar", "2.tar")],
        images.file("config.json", RAW_CONFIG),
        images.file("1.tar", b"\xfd7zXZ\0 and so on"),
        images.file("2.tar", LAYERS[1]),
    )
    with pytest.raises(ManifestError, match="compressed"):
        open_docker_archive(str(path))


def test_no_docker_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(LAYERS[0])
    with pytest.raises(ImageError, match=r"manifest\.json"):
        open_docker_archive(str(tmp_path / "x.tar"))


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\ud800", "config.json/x", "../x", "/etc/passwd", "absent"])
@pytest.mark.parametrize("field", ["layer", "config"])
def test_names_of_strangers_in_a_directory(tmp_path: Path, name: str, field: str) -> None:
    (tmp_path / "config.json").write_bytes(RAW_CONFIG)
    listing = listed(name) if field == "layer" else listed("a", config=name)
    (tmp_path / "manifest.json").write_text(json.dumps([listing]))
    with pytest.raises(ImageError):
        open_docker_archive(str(tmp_path))
