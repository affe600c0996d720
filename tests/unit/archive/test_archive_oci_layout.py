"""OCI layouts: what is written can be read, and what strangers wrote is not believed."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from builder.archive.image import Entry
from builder.archive.oci_layout import open_oci_layout, write_oci_archive, write_oci_directory
from builder.errors import ContextError, ImageError, OutputError
from builder.image import descriptor as media
from builder.image.artifact import Image
from builder.image.digest import Digest, DigestMismatchError
from builder.image.manifest import ManifestError
from builder.image.platform import Platform, PlatformNotFoundError
from builder.image.reference import Reference
from builder.rootfs.entry import UnsafePathError
from tests.support import images

AMD64 = Platform.parse("linux/amd64")
LAYERS = [
    images.layer(images.directory("etc"), images.file("etc/motd", "hi")),
    images.layer(images.file("x", "y" * 9999)),
]
NAMES = [Reference.parse("demo/app:1"), Reference.parse("localhost:5000/app:2")]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    images.write_layout(tmp_path / "layout", LAYERS, tag="v1", architecture="amd64")
    return tmp_path / "layout"


@pytest.fixture
def opened() -> Any:
    made: list[Image] = []

    def read(location: object, platform: Platform = AMD64, **fields: Any) -> Image:
        made.append(open_oci_layout(str(location), platform, **fields))
        return made[-1]

    yield read
    for one in made:
        one.content.close()


def rewrite_index(layout: Path, *entries: dict[str, Any], **fields: Any) -> None:
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": list(entries), **fields}
    (layout / "index.json").write_text(json.dumps(document))


def put(layout: Path, value: object, media_type: str = media.OCI_MANIFEST) -> dict[str, Any]:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    (layout / "blobs/sha256" / Digest.of(raw).hex).write_bytes(raw)
    return {"mediaType": media_type, "digest": Digest.of(raw), "size": len(raw)}


def entry_of(layout: Path) -> dict[str, Any]:
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    return dict(entry)


def tar_of(layout: Path, target: Path, prefix: str = "", mode: str = "w") -> Path:
    with tarfile.open(target, mode) as archive:
        for path in sorted(layout.rglob("*")):
            archive.add(path, prefix + str(path.relative_to(layout)), recursive=False)
    return target


def test_a_directory_is_read(layout: Path, opened: Any) -> None:
    expected = images.read_image(layout)
    for location in (layout, f"{layout}:v1", f"{layout}@{expected.digest}"):
        image = opened(location)
        assert (image.raw_manifest, image.raw_config) == (expected.raw_manifest, expected.raw_config)
        assert [one.diff_id for one in image.layers] == images.layer_digests(LAYERS)
        for layer, stored in zip(image.layers, expected.layers, strict=True):
            with layer.open() as stream:
                assert stream.read() == stored


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_tar_is_read_in_any_compression(layout: Path, tmp_path: Path, opened: Any, mode: str, prefix: str) -> None:
    image = opened(tar_of(layout, tmp_path / "x.tar", prefix, mode), scratch=tmp_path)
    with image.layers[1].open() as stream:
        stream.seek(10)
        rest = stream.read()
        stream.seek(0)
        assert images.inflate(stream.read()) == LAYERS[1]
        stream.seek(-len(rest), os.SEEK_END)
        assert stream.read() == rest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "x.tar"], "nothing is left in scratch"


def test_the_path_may_hold_colons(layout: Path, tmp_path: Path, opened: Any) -> None:
    odd = tmp_path / "a:b@c"
    layout.rename(odd)
    assert opened(odd).digest == opened(f"{odd}:v1").digest


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="absent"):
        open_oci_layout(str(tmp_path / "absent:v1"), AMD64)


def test_an_unknown_tag_names_those_there_are(layout: Path) -> None:
    with pytest.raises(ImageError, match="'v2'") as caught:
        open_oci_layout(f"{layout}:v2", AMD64)
    assert "v1" in str(caught.value.hint)
    with pytest.raises(ImageError, match="no image sha256:"):
        open_oci_layout(f"{layout}@{Digest.of(b'')}", AMD64)


def test_an_empty_layout_has_nothing_to_offer(layout: Path) -> None:
    rewrite_index(layout)
    with pytest.raises(ImageError, match="no image called") as caught:
        open_oci_layout(f"{layout}:v1", AMD64)
    assert caught.value.hint == "it has none at all"


def test_several_images_need_a_tag(layout: Path, opened: Any) -> None:
    other = images.write_layout(layout, LAYERS[:1], tag="v2", architecture="amd64")
    first = put(layout, images.read_image(layout, "v2").raw_manifest)
    mine = {**entry_of(layout), "annotations": {"org.opencontainers.image.ref.name": "v2"}}
    changed = put(layout, {**json.loads(images.read_image(layout).raw_manifest), "annotations": {"a": "b"}})
    rewrite_index(layout, mine, {**changed, "annotations": {"org.opencontainers.image.ref.name": "v1"}})
    with pytest.raises(ImageError, match="say which") as caught:
        open_oci_layout(str(layout), AMD64)
    assert caught.value.hint == "it has: v1, v2"
    assert opened(f"{layout}:v2").digest == other == first["digest"]
    assert opened(f"{layout}:v1").digest == changed["digest"]


def test_an_index_leads_to_the_platform(layout: Path, opened: Any) -> None:
    amd = {**entry_of(layout), "platform": {"os": "linux", "architecture": "amd64"}}
    arm = put(layout, {**json.loads(images.read_image(layout).raw_manifest), "annotations": {"x": "arm"}})
    arm["platform"] = {"os": "linux", "architecture": "arm64"}
    unknown = {**amd, "platform": {"os": "unknown", "architecture": "unknown"}}
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [unknown, arm, amd]}
    rewrite_index(layout, put(layout, index, media.OCI_INDEX))
    assert opened(layout).digest == amd["digest"]
    assert opened(layout, Platform.parse("linux/arm64")).digest == arm["digest"]
    with pytest.raises(PlatformNotFoundError):
        open_oci_layout(str(layout), Platform.parse("linux/s390x"))
    rewrite_index(layout, unknown, arm, amd)
    assert opened(layout, Platform.parse("linux/arm64")).digest == arm["digest"]


def test_what_we_write_we_read(layout: Path, tmp_path: Path, opened: Any) -> None:
    image = opened(layout)
    write_oci_archive([Entry(image.artifact, tuple(NAMES))], tmp_path / "out.tar")
    write_oci_directory([Entry(image.artifact, tuple(NAMES))], tmp_path / "out")
    for written in (tmp_path / "out.tar", tmp_path / "out"):
        for tag in ("1", "2", "demo/app:1", "docker.io/demo/app:1", "localhost:5000/app:2"):
            assert opened(f"{written}:{tag}").raw_manifest == image.raw_manifest
        assert opened(written).digest == image.digest
        assert images.read_image(written).layers == images.read_image(layout).layers


def test_archives_are_equal_bytes_in_order_without_owner_and_time(layout: Path, tmp_path: Path, opened: Any) -> None:
    image = opened(layout)
    stream = io.BytesIO()
    write_oci_archive([Entry(image.artifact, tuple(NAMES))], stream)
    write_oci_archive([Entry(image.artifact, tuple(NAMES))], tmp_path / "out.tar")
    assert (tmp_path / "out.tar").read_bytes() == stream.getvalue()
    with tarfile.open(tmp_path / "out.tar") as archive:
        members = archive.getmembers()
    names = [one.name for one in members]
    assert names == sorted(names)
    assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in members} == {(0, 0, "", "", 0)}


def test_an_image_without_a_name(layout: Path, tmp_path: Path, opened: Any) -> None:
    write_oci_directory([Entry(opened(layout).artifact)], tmp_path / "out")
    entry = entry_of(tmp_path / "out")
    assert "annotations" not in entry
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}


def test_a_layout_is_added_to(layout: Path, tmp_path: Path, opened: Any) -> None:
    out = tmp_path / "out"
    images.write_layout(out, LAYERS[:1], tag="kept", architecture="amd64")
    images.write_layout(tmp_path / "second", LAYERS[1:], tag="x", architecture="amd64")
    write_oci_directory([Entry(opened(layout).artifact, tuple(NAMES[:1]))], out)
    write_oci_directory([Entry(opened(tmp_path / "second").artifact, tuple(NAMES[:1]))], out)
    assert opened(f"{out}:kept").layers[0].diff_id == images.layer_digests(LAYERS)[0]
    assert opened(f"{out}:1").digest == opened(tmp_path / "second").digest
    assert len(json.loads((out / "index.json").read_text())["manifests"]) == 2


def test_a_damaged_blob_in_the_target_is_replaced(layout: Path, tmp_path: Path, opened: Any) -> None:
    image = opened(layout)
    write_oci_directory([Entry(image.artifact)], tmp_path / "out")
    blob = tmp_path / "out/blobs/sha256" / image.layers[0].descriptor.digest.hex
    blob.write_bytes(bytes(image.layers[0].descriptor.size))
    write_oci_directory([Entry(image.artifact)], tmp_path / "out")
    assert Digest.of(blob.read_bytes()) == image.layers[0].descriptor.digest


def test_a_directory_of_something_else_is_not_written_into(layout: Path, tmp_path: Path, opened: Any) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("x")
    with pytest.raises(OutputError, match="neither empty nor an OCI layout"):
        write_oci_directory([Entry(opened(layout).artifact)], tmp_path / "home")
    with pytest.raises(OutputError):
        write_oci_directory([Entry(opened(layout).artifact)], tmp_path / "home/thesis.txt")
    assert os.listdir(tmp_path / "home") == ["thesis.txt"]


def test_a_layout_is_not_written_behind_links(layout: Path, tmp_path: Path, opened: Any) -> None:
    """What stands in a checkout before may be a stranger's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for number, name in enumerate(("blobs", "blobs/sha256")):
        target = tmp_path / f"target{number}"
        (target / name).parent.mkdir(parents=True)
        (target / name).symlink_to(outside)
        with pytest.raises(OutputError, match=f"{name} is a symbolic link"):
            write_oci_directory([Entry(opened(layout).artifact)], target)
    assert os.listdir(outside) == []
    image, target = opened(layout), tmp_path / "target"
    name = f"blobs/sha256/{image.layers[1].descriptor.digest.hex}"
    shutil.copy(layout / name, outside / "blob")
    (target / name).parent.mkdir(parents=True)
    (target / name).symlink_to(outside / "blob")
    write_oci_directory([Entry(image.artifact)], target)
    assert not (target / name).is_symlink(), "who reads the layout would refuse it"


def test_an_output_that_fails_leaves_nothing_behind(layout: Path, tmp_path: Path, opened: Any) -> None:
    image = opened(layout)
    blob = layout / "blobs/sha256" / image.layers[1].descriptor.digest.hex
    blob.write_bytes(bytes(image.layers[1].descriptor.size))
    (tmp_path / "out").mkdir()
    with pytest.raises(DigestMismatchError):
        write_oci_archive([Entry(image.artifact, tuple(NAMES))], tmp_path / "out/image.tar")
    assert os.listdir(tmp_path / "out") == []
    with pytest.raises(DigestMismatchError):
        write_oci_directory([Entry(image.artifact, tuple(NAMES))], tmp_path / "dir")
    assert not (tmp_path / "dir/index.json").exists()
    with pytest.raises(OutputError):
        write_oci_archive([Entry(image.artifact, tuple(NAMES))], tmp_path / "absent/image.tar")


def test_several_who_write_into_one_layout_all_arrive(layout: Path, opened: Any, tmp_path: Path) -> None:
    image, out = opened(layout), tmp_path / "out"
    names = [Reference.parse(f"demo/app:{number}") for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: write_oci_directory([Entry(image.artifact, (name,))], out), names))

    found = json.loads((out / "index.json").read_text())["manifests"]
    assert {one["annotations"]["io.containerd.image.name"] for one in found} == {str(one) for one in names}


def test_a_full_disk_is_an_output_error(layout: Path, opened: Any) -> None:
    image = opened(layout)
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OutputError, match="No space left"):
        write_oci_archive([Entry(image.artifact, tuple(NAMES))], full)


# --- hostile layouts


def test_no_layout_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="not an OCI layout"):
        open_oci_layout(str(tmp_path / "empty"), AMD64)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ImageError):
        open_oci_layout(str(tmp_path / "text"), AMD64)


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "../x", "md5:abc", "sha512:" + "0" * 128, 5, None],
)
def test_digests_that_are_paths(layout: Path, digest: object) -> None:
    rewrite_index(layout, {**entry_of(layout), "digest": digest})
    with pytest.raises(ImageError):
        open_oci_layout(str(layout), AMD64)


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "blobs", "blobs/sha256"])
def test_symlinks_in_a_layout_are_not_followed(layout: Path, tmp_path: Path, name: str) -> None:
    (layout / name).rename(tmp_path / "moved")
    (layout / name).symlink_to(tmp_path / "moved")
    with pytest.raises(UnsafePathError):
        open_oci_layout(str(layout), AMD64)


def test_a_symlinked_layer_is_not_read(layout: Path, opened: Any) -> None:
    image = opened(layout)
    blob = layout / "blobs/sha256" / image.layers[0].descriptor.digest.hex
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    with pytest.raises(UnsafePathError):
        image.layers[0].open()
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(UnsafePathError):
        image.layers[0].open()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd", "../oci-layout/../../x", "oci-layout"])
def test_links_in_a_tar_do_not_leave_it(tmp_path: Path, target: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(images.symlink("oci-layout", target))
        archive.addfile(images.symlink("index.json", target))
    with pytest.raises(ImageError):
        open_oci_layout(str(tmp_path / "x.tar"), AMD64)


def test_a_layout_that_nests_for_ever(layout: Path) -> None:
    inner = entry_of(layout)
    for _ in range(10):
        inner = put(layout, {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [inner]}, media.OCI_INDEX)
    rewrite_index(layout, inner)
    with pytest.raises(ManifestError, match="nested"):
        open_oci_layout(str(layout), AMD64)


def test_an_index_that_claims_to_hold_itself(layout: Path) -> None:
    raw = (layout / "index.json").read_bytes()
    own = {"mediaType": media.OCI_INDEX, "digest": Digest.of(raw), "size": len(raw)}
    rewrite_index(layout, own)
    (layout / "blobs/sha256" / Digest.of(raw).hex).write_bytes((layout / "index.json").read_bytes())
    with pytest.raises(DigestMismatchError):
        open_oci_layout(str(layout), AMD64)


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_huge_documents_are_not_read(layout: Path, name: str) -> None:
    with open(layout / name, "r+b") as stream:
        stream.truncate(100 << 20)
    with pytest.raises(ImageError, match="longer than"):
        open_oci_layout(str(layout), AMD64)


def test_a_huge_manifest_is_not_read(layout: Path) -> None:
    digest = Digest.of(b"huge")
    with open(layout / "blobs/sha256" / digest.hex, "wb") as stream:
        stream.truncate(100 << 20)
    rewrite_index(layout, {"mediaType": media.OCI_MANIFEST, "digest": digest, "size": 100 << 20})
    with pytest.raises(ImageError, match="longer than"):
        open_oci_layout(str(layout), AMD64)


def test_layers_that_do_not_agree_with_the_config(layout: Path) -> None:
    manifest = json.loads(images.read_image(layout).raw_manifest)
    manifest["layers"].pop()
    rewrite_index(layout, put(layout, manifest))
    with pytest.raises(ManifestError, match="1 layers in the manifest, 2 in the config"):
        open_oci_layout(str(layout), AMD64)


def test_a_layer_of_another_size(layout: Path, opened: Any) -> None:
    image = opened(layout)
    with open(layout / "blobs/sha256" / image.layers[0].descriptor.digest.hex, "ab") as stream:
        stream.write(b"more")
    with pytest.raises(DigestMismatchError):
        image.layers[0].open()


def test_a_version_nobody_knows(layout: Path) -> None:
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(ImageError, match="version"):
        open_oci_layout(str(layout), AMD64)


def test_a_size_beyond_the_tar(tmp_path: Path) -> None:
    lying = images.member("blobs/sha256/x")
    lying.size = 1 << 39
    (tmp_path / "x.tar").write_bytes(lying.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ImageError):
        open_oci_layout(str(tmp_path / "x.tar"), AMD64)
