"""Builds whose outputs ask for compressions: the image stays, layers are not made again, bases are left alone."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from builder.engine.request import CompressionChoice, Form, Output
from builder.errors import ImageError
from builder.events import Notice
from builder.registry.client import Registry
from tests.support.builds import Built, Workshop
from tests.support.fake_registry import FakeRegistry, serve
from tests.support.images import directory, file, inflate, layer, layer_digests, read_image, write_layout

TEXT = "FROM scratch\nCOPY . /files\nWORKDIR /work\nCOPY big /work/"
FILES = {"big": b"0123456789abcdef" * 100_000, "small": "x"}
OCI = "application/vnd.oci.image.layer.v1.tar"
KINDS: dict[str, str] = {
    "gzip": OCI + "+gzip",
    "gzip-single-member": OCI + "+gzip",
    "zstd": OCI + "+zstd",
    "uncompressed": OCI,
}


def choice(kind: str, level: int | None = None, *, force: bool = False) -> CompressionChoice:
    return CompressionChoice(kind, level, force)  # type: ignore[arg-type]  # a name of the table


def types(built: Built) -> list[str]:
    return [one.media_type for one in built.image.manifest.layers]


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_is_the_same_in_every_compression(shop: Workshop, tmp_path: Path, kind: str) -> None:
    plain = shop.build(TEXT, FILES, epoch=0)
    built = shop.build(TEXT, epoch=0, compression=choice(kind))
    assert built.seen.executed == []
    said = [one.message for one in built.seen.events if isinstance(one, Notice)]
    assert len(said) == (0 if kind == "gzip" else 3)
    assert built.image_id == plain.image_id
    assert types(built) == [KINDS[kind]] * 3
    assert layer_digests(built.layers) == layer_digests(plain.layers)
    assert (built.digest == plain.digest) == (kind == "gzip")
    # A store that never saw another form packs the same bytes at once.
    fresh = Workshop(tmp_path / "other", shop.context).build(TEXT, epoch=0, compression=choice(kind))
    assert fresh.digest == built.digest
    # What was asked for in between leaves no trace.
    assert shop.build(TEXT, epoch=0).digest == plain.digest
    again = Workshop(tmp_path / "other", shop.context).build(TEXT, epoch=0)
    assert (again.digest, again.seen.executed) == (plain.digest, [])


def test_levels(shop: Workshop) -> None:
    digests = {shop.build(TEXT, FILES, epoch=0, compression=choice("gzip", level)).digest for level in (0, 1, 9)}
    assert len(digests) == 3
    assert shop.build(TEXT, epoch=0).digest in digests  # 1 is the usual level
    assert shop.build(TEXT, epoch=0, compression=choice("zstd", 0)).digest == (
        shop.build(TEXT, epoch=0, compression=choice("zstd")).digest
    )


def test_outputs_of_one_build_in_several_forms(shop: Workshop, tmp_path: Path) -> None:
    def oci(name: str, kind: str, image_format: Any = None) -> Output:
        return Output("oci", tmp_path / name, form=Form(compression=choice(kind), image_format=image_format))

    outputs = (oci("a", "zstd"), oci("b", "uncompressed", "docker"), oci("c", "gzip"), Output("tar", tmp_path / "t"))
    built = shop.build(TEXT, FILES, outputs=outputs, tags=["localhost/x"], epoch=0)
    images = {name: read_image(tmp_path / name) for name in "abc"}
    assert {one.image_id for one in images.values()} == {built.image_id}
    assert built.digest == images["a"].digest
    assert [one["mediaType"] for one in images["a"].manifest["layers"]] == [KINDS["zstd"]] * 3
    assert [one["mediaType"] for one in images["b"].manifest["layers"]] == (
        ["application/vnd.docker.image.rootfs.diff.tar"] * 3
    )
    assert images["c"].digest == shop.build(TEXT, epoch=0).digest
    assert len({tuple(layer_digests(one.layers)) for one in images.values()}) == 1


@pytest.fixture
def base(tmp_path: Path) -> str:
    write_layout(tmp_path / "base", [layer(directory("etc"), file("etc/base", "b" * 5000))])
    return "FROM base\nCOPY small /"


def test_a_base_keeps_its_bytes_unless_forced(shop: Workshop, base: str, tmp_path: Path) -> None:
    contexts = {"base": f"oci-layout://{tmp_path / 'base'}"}
    before = read_image(tmp_path / "base").layers[0]
    for kind in KINDS:
        built = shop.build(base, FILES, contexts=contexts, compression=choice(kind))
        assert built.layers[0] == before
        assert types(built) == [KINDS["gzip"], KINDS[kind]]
        forced = shop.build(base, contexts=contexts, compression=choice(kind, force=True))
        assert types(forced) == [KINDS[kind]] * 2
        assert inflate(forced.layers[0]) == inflate(before)
        assert (forced.layers[0] == before) == (kind == "gzip")
        assert forced.image_id == built.image_id
    level = shop.build(base, contexts=contexts, compression=choice("gzip", 9, force=True))
    assert level.layers[0] != before
    assert inflate(level.layers[0]) == inflate(before)


def test_a_stage_read_after_its_layer_changed_its_form(shop: Workshop, tmp_path: Path) -> None:
    text = "FROM scratch AS a\nCOPY . /files\nFROM scratch\nCOPY --from=a /files/{} /"
    shop.build(text.format("small"), FILES, compression=choice("zstd"))
    for kind in KINDS:
        shop.build("FROM scratch\nCOPY . /files", compression=choice(kind))
        name = {"gzip": "big", "gzip-single-member": "*ig", "zstd": "b*", "uncompressed": "bi*"}[kind]
        built = shop.build(text.format(name), compression=choice(kind))
        assert built.text("big") == "0123456789abcdef" * 100_000
        outputs = (Output("local", tmp_path / kind),)
        shop.build("FROM scratch\nCOPY . /files", outputs=outputs, compression=choice(kind))
        assert (tmp_path / kind / "files" / "big").read_bytes() == FILES["big"]


def test_a_zstd_base_in_dockers_format(shop: Workshop, base: str, tmp_path: Path) -> None:
    zstd = Output("oci", tmp_path / "zstd", unpacked=True, form=Form(compression=choice("zstd", force=True)))
    contexts = {"base": f"oci-layout://{tmp_path / 'base'}"}
    shop.build(base, FILES, contexts=contexts, outputs=(zstd,))
    contexts = {"base": f"oci-layout://{tmp_path / 'zstd'}"}
    with pytest.raises(ImageError, match="the base has zstd layers") as caught:
        shop.build("FROM base\nCOPY nowhere /", contexts=contexts, image_format="docker")
    assert "--force-compression" in str(caught.value.hint)
    built = shop.build(base, contexts=contexts, image_format="docker", compression=choice("gzip", force=True))
    assert {one.rpartition(".")[2] for one in types(built)} == {"gzip"}
    assert shop.build(base, contexts=contexts).digest


def test_the_layers_of_a_base_in_a_registry_are_fetched_only_if_forced(tmp_path: Path) -> None:
    with serve() as fake:
        _run_against(fake, tmp_path)


def _run_against(fake: FakeRegistry, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [layer(file("f", "1" * 5000))])
    image = read_image(tmp_path / "layout")
    for blob in (image.raw_config, *image.layers):
        fake.put_blob("base", blob)
    fake.put_manifest("base", "1", image.raw_manifest, json.loads(image.raw_manifest)["mediaType"])
    with contextlib.closing(Registry()) as registry:
        shop = Workshop(tmp_path / "store", tmp_path / "context", lambda: registry)
        text = f"FROM {fake.host}/base:1\nENV a=b"
        shop.build(text, compression=choice("zstd"))
        digest = json.loads(image.raw_manifest)["layers"][0]["digest"]
        blob = shop.store / "blobs" / "sha256" / digest[7:9] / digest[7:]
        assert not blob.exists()
        forced = shop.build(text, compression=choice("zstd", force=True))
        assert blob.exists()
        assert types(forced) == [KINDS["zstd"]]
        blob.unlink()
        again = shop.build(text, compression=choice("zstd", force=True))
        assert again.digest == forced.digest
        assert not blob.exists()


def test_only_layers_of_the_result_take_the_trouble(shop: Workshop) -> None:
    text = "FROM scratch AS a\nCOPY big /\nFROM scratch AS b\nCOPY small /\nFROM b\nCOPY --from=a /big /copied"
    built = shop.build(text, FILES, compression=choice("zstd", 19))
    assert types(built) == [KINDS["zstd"]] * 2
    made = [path.name.partition("-")[0] for path in (shop.store / "variants").glob("*/*")]
    assert sorted(made) == ["gzip", "zstd", "zstd"]
