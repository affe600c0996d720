"""Layers that rot in the store, wherever a build finds out: told once by name, made again, and the image is right."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.engine.layers import LostLayersError
from builder.engine.request import CachePlace, CacheTarget, CompressionChoice, Form, Output, OutputKind
from builder.errors import OutputError
from builder.events import Event, VertexCompleted
from builder.image.digest import Digest
from builder.registry.client import Registry
from tests.support.builds import Built, Recording, Workshop
from tests.support.fake_registry import FakeRegistry, serve
from tests.support.images import read_image
from tests.support.need import need_root

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

EPOCH = 1_000_000_000
TEXT = "FROM scratch\nCOPY one /one\nCOPY two /two\n"
FILES = {"one": "1" * 5000, "two": "2" * 5000}
PLAIN = CompressionChoice("uncompressed")
ZSTD = CompressionChoice("zstd")


def layers_of(store: Path) -> list[Path]:
    found = [one for one in (store / "blobs").rglob("*") if one.is_file()]
    return [one for one in found if not one.read_bytes().startswith(b"{")]


def rot(paths: list[Path]) -> list[Path]:
    """Change a bit in the middle of files."""
    assert paths
    for path in paths:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return paths


def check(shop: Workshop, rotten: list[Path], built: Built) -> None:
    """Each file is named in one warning, is good now, and no step has failed."""
    told = [one for one in built.seen.warnings if "is damaged and was removed" in one]
    assert sorted(one.split(" is ")[0] for one in told) == sorted(map(str, rotten))
    assert built.seen.failed == []
    with shop.environment(built.seen) as env:
        for layer in built.image.layers:
            assert env.store.blobs.verify(layer.descriptor.digest)


@pytest.fixture
def base(busybox_layout: Path) -> str:
    need_root("needs root: RUN")
    return f"oci-layout://{busybox_layout}:latest"


FORMS: list[tuple[OutputKind, CompressionChoice | None]] = [
    ("oci", None), ("oci", PLAIN), ("oci", ZSTD), ("docker", None), ("docker", PLAIN),
    ("tar", None), ("tar", PLAIN), ("tar", ZSTD),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "compression"), FORMS, ids=[f"{kind}-{form.kind if form else 'gzip'}" for kind, form in FORMS]
)
@pytest.mark.parametrize("streamed", [False, True], ids=["file", "stream"])
def test_found_while_the_image_is_written(
    shop: Workshop, tmp_path: Path, kind: OutputKind, streamed: bool, compression: CompressionChoice | None
) -> None:
    options: dict[str, Any] = {"epoch": EPOCH, "compression": compression, "tags": ["x:1"]}
    expected = shop.build(TEXT, FILES, outputs=(Output(kind, tmp_path / "expected"),), **options)
    rotten = rot(layers_of(shop.store))
    stream = io.BytesIO()
    # The stream is named first: it can be written once only, so that the other finds the damage.
    outputs = (Output(kind, stream), Output(kind, tmp_path / "out")) if streamed else (Output(kind, tmp_path / "out"),)
    built = shop.build(TEXT, outputs=outputs, **options)
    assert built.digest == expected.digest
    check(shop, rotten, built)
    for written in [(tmp_path / "out").read_bytes(), *([stream.getvalue()] if streamed else [])]:
        assert written == (tmp_path / "expected").read_bytes()


def test_found_before_a_stream_is_begun(shop: Workshop, tmp_path: Path) -> None:
    shop.build(TEXT, FILES, epoch=EPOCH, outputs=(Output("tar", tmp_path / "expected"),))
    rotten = rot(layers_of(shop.store))
    stream = io.BytesIO()
    built = shop.build(TEXT, epoch=EPOCH, outputs=(Output("tar", stream),))
    check(shop, rotten, built)
    assert stream.getvalue() == (tmp_path / "expected").read_bytes()


def test_found_in_the_middle_of_a_stream(shop: Workshop) -> None:
    """What rots between the look at it and its way out: the stream is not begun a second time."""
    expected = shop.build(TEXT, FILES, epoch=EPOCH)
    digest = expected.image.layers[1].descriptor.digest

    class Rotting(io.BytesIO):
        begun = 0

        def write(self, data: ReadableBuffer, /) -> int:
            if not self.tell():
                self.begun += 1
                rot([shop.store / "blobs" / "sha256" / digest.hex[:2] / digest.hex])
            return super().write(data)

    stream = Rotting()
    with pytest.raises(OutputError, match="half of the image") as caught:
        shop.build(TEXT, epoch=EPOCH, outputs=(Output("oci", stream),))
    assert caught.value.hint == "build again"
    assert stream.begun == 1
    fresh = io.BytesIO()
    shop.build(TEXT, epoch=EPOCH, outputs=(Output("oci", fresh),))
    assert digest.hex.encode() in fresh.getvalue()


def test_found_while_a_layout_is_written(shop: Workshop, tmp_path: Path) -> None:
    expected = shop.build(TEXT, FILES, epoch=EPOCH)
    name = expected.image.layers[1].descriptor.digest.hex
    # The second of the two: one blob is there by then.
    rotten = rot([shop.store / "blobs" / "sha256" / name[:2] / name])
    built = shop.build(TEXT, epoch=EPOCH, outputs=(Output("oci", tmp_path / "out", unpacked=True),))
    check(shop, rotten, built)
    assert Digest.of(read_image(tmp_path / "out").raw_manifest) == expected.digest


def test_found_while_a_directory_is_written(shop: Workshop, tmp_path: Path) -> None:
    # Nothing inside an uncompressed layer would tell.
    expected = shop.build(TEXT, FILES, epoch=EPOCH, compression=PLAIN)
    rotten = rot(layers_of(shop.store))
    built = shop.build(TEXT, epoch=EPOCH, compression=PLAIN, outputs=(Output("local", tmp_path / "out"),))
    check(shop, rotten, built)
    assert (tmp_path / "out" / "one").read_text() == FILES["one"]
    assert built.digest == expected.digest


def test_found_while_it_is_pushed(tmp_path: Path) -> None:
    with serve() as fake, contextlib.closing(Registry()) as registry:
        shop = Workshop(tmp_path / "store", tmp_path / "context", lambda: registry)
        expected = shop.build(TEXT, FILES, epoch=EPOCH)
        rotten = rot(layers_of(shop.store))
        built = shop.build(TEXT, epoch=EPOCH, outputs=(Output("registry"),), tags=[f"{fake.host}/x:1"])
        assert pushed(fake) == built.digest == expected.digest
        check(shop, rotten, built)


def pushed(fake: FakeRegistry) -> str:
    (digest,) = {one for one in fake.manifests["x"] if one.startswith("sha256:")}
    return digest


def test_found_while_it_is_compressed_in_another_way(shop: Workshop, tmp_path: Path) -> None:
    shop.build(TEXT, FILES, epoch=EPOCH)
    rotten = rot(layers_of(shop.store))
    built = shop.build(TEXT, epoch=EPOCH, outputs=(Output("oci", tmp_path / "out", form=Form(compression=PLAIN)),))
    check(shop, rotten, built)
    assert built.text("one") == FILES["one"]


def test_another_form_of_a_layer_has_rotted(shop: Workshop, tmp_path: Path) -> None:
    """The steps' results are good then, and only what an output wants is not."""
    forms = (
        Output("oci", tmp_path / "a", form=Form(compression=PLAIN)),
        Output("oci", tmp_path / "b", form=Form(compression=ZSTD)),
    )
    shop.build(TEXT, FILES, epoch=EPOCH, outputs=forms)
    before = (tmp_path / "b").read_bytes()
    rotten = rot([one for one in layers_of(shop.store) if one.read_bytes().startswith(b"\x28\xb5\x2f\xfd")])
    (tmp_path / "b").unlink()
    built = shop.build(TEXT, epoch=EPOCH, outputs=forms)
    check(shop, rotten, built)
    assert (tmp_path / "b").read_bytes() == before


def test_found_while_a_key_is_computed(shop: Workshop) -> None:
    """What a layer holds is not known any more, and its bytes are to say it."""
    shop.build(TEXT, FILES, epoch=EPOCH)
    shutil.rmtree(shop.store / "toc")
    rotten = rot(layers_of(shop.store))
    more = f"{TEXT}COPY one /three/\n"
    built = shop.build(more, epoch=EPOCH)
    assert built.text("three/one") == FILES["one"]
    check(shop, rotten, built)


def test_found_while_files_are_copied(shop: Workshop) -> None:
    first = "FROM scratch AS s\nCOPY one /one\n"
    shop.build(first, FILES, epoch=EPOCH)
    rotten = rot(layers_of(shop.store))
    built = shop.build(f"{first}FROM scratch\nCOPY --from=s /one /copy\n", epoch=EPOCH)
    assert built.text("copy") == FILES["one"]
    check(shop, rotten, built)


@pytest.mark.parametrize(
    "more", ["RUN cp /one /copy\n", "FROM base\nRUN --mount=from=s,target=/s cp /s/one /copy\n"], ids=["below", "bind"]
)
def test_found_by_a_run(shop: Workshop, base: str, more: str) -> None:
    first = "FROM base AS s\nCOPY one /one\n"
    options: dict[str, Any] = {"contexts": {"base": base}, "epoch": EPOCH}
    shop.build(first, FILES, **options)
    rotten = rot([one for one in layers_of(shop.store) if one.stat().st_size < 5000])
    built = shop.build(first + more, **options)
    assert built.text("copy") == FILES["one"]
    check(shop, rotten, built)


def test_a_step_that_gives_something_else_the_second_time(shop: Workshop, base: str, tmp_path: Path) -> None:
    text, options = "FROM base\nRUN head -c 64 /dev/urandom >/a\nRUN cp /a /b\n", {"contexts": {"base": base}}
    first = shop.build(text, **options)
    digest = first.image.layers[1].descriptor.digest
    rotten = rot([shop.store / "blobs" / "sha256" / digest.hex[:2] / digest.hex])
    built = shop.build(text, outputs=(Output("local", tmp_path / "out"),), **options)
    assert built.digest != first.digest
    assert (tmp_path / "out/a").read_bytes() == (tmp_path / "out/b").read_bytes()
    check(shop, rotten, built)
    again = shop.build(text, **options)
    assert again.digest == built.digest
    assert again.seen.executed == []


@pytest.mark.parametrize("kind", ["inline", "local"])
def test_found_while_results_are_shared(shop: Workshop, tmp_path: Path, kind: str) -> None:
    stages = "FROM scratch AS s\nCOPY one /one\nFROM scratch\nCOPY --from=s /one /two\n"
    expected = shop.build(stages, FILES, epoch=EPOCH)
    rotten = rot(layers_of(shop.store))
    place = CachePlace(kind="inline") if kind == "inline" else CachePlace(kind="local", path=tmp_path / "cache")
    # Whoever exports is the first to read a layer, where there is no output.
    outputs = (Output("oci", tmp_path / "out"),) if kind == "inline" else ()
    target = CacheTarget(place=place, everything=kind == "local")
    built = shop.build(stages, epoch=EPOCH, outputs=outputs, cache_to=(target,))
    assert built.tree == expected.tree
    check(shop, rotten, built)
    if kind == "local":
        sharing = {gzip.decompress(one.read_bytes()) for one in layers_of(tmp_path / "cache") if _is_gzip(one)}
        assert any(FILES["one"].encode() in one for one in sharing)


def _is_gzip(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x1f\x8b")


def test_found_in_a_store_that_is_only_read(shop: Workshop, tmp_path: Path) -> None:
    expected = shop.build(TEXT, FILES, epoch=EPOCH)
    rotten = rot(layers_of(shop.store))
    own, seen = replace(shop, store=tmp_path / "own", second=shop.store), Recording()
    built = Built(own.try_build(seen, TEXT, epoch=EPOCH, tags=["x:1"]), seen)
    assert built.digest == expected.digest
    told = [one.split(" is ")[0] for one in seen.warnings if "is damaged and is not used any more" in one]
    assert sorted(told) == sorted(map(str, rotten))
    assert seen.failed == []


@pytest.mark.parametrize("at_once", [False, True])
def test_a_layer_that_another_build_has_dropped_meanwhile(shop: Workshop, tmp_path: Path, at_once: bool) -> None:
    expected = shop.build(TEXT, FILES, epoch=EPOCH)
    paths = layers_of(shop.store)

    class Dropping(Recording):
        def emit(self, event: Event) -> None:
            if isinstance(event, VertexCompleted) and paths and "two" in event.name:
                for path in paths if at_once else paths[:1]:
                    path.unlink()
                paths.clear()
            super().emit(event)

    seen = Dropping()
    built = Built(shop.try_build(seen, TEXT, epoch=EPOCH, outputs=(Output("oci", tmp_path / "out"),)), seen)
    assert paths == []
    assert built.digest == expected.digest
    check(shop, [], built)


def test_a_base_that_nobody_can_make_again(shop: Workshop, tmp_path: Path) -> None:
    shop.build("FROM scratch\nCOPY one /one\n", FILES, tags=["base:1"])
    (path,) = rot(layers_of(shop.store))
    seen = Recording()
    for _ in range(2):
        with pytest.raises(LostLayersError, match="is not in the store any more") as caught:
            shop.try_build(seen, "FROM localhost/base:1\nCOPY two /\n", outputs=(Output("oci", tmp_path / "out"),))
        assert "built, loaded or pulled again" in str(caught.value.hint)
    assert len([one for one in seen.warnings if str(path) in one]) == 1
    shop.build("FROM scratch\nCOPY one /one\n", tags=["base:1"])
    shop.build("FROM localhost/base:1\nCOPY two /\n", outputs=(Output("oci", tmp_path / "out"),))


def test_documents_of_an_image_with_a_name_are_written_again(shop: Workshop) -> None:
    shop.build(TEXT, FILES, epoch=EPOCH, tags=["base:1"])
    documents = [one for one in (shop.store / "blobs").rglob("*") if one.is_file() and one not in layers_of(shop.store)]
    rot(documents)
    shop.build(TEXT, epoch=EPOCH, tags=["base:1"])
    assert shop.build("FROM localhost/base:1\nCOPY two /three\n").text("one") == FILES["one"]


def test_a_damaged_result_is_told_once(shop: Workshop) -> None:
    shop.build(TEXT, FILES, epoch=EPOCH)
    paths = rot([one for one in (shop.store / "selectors").rglob("*") if one.is_file()])
    built = shop.build(TEXT, epoch=EPOCH)
    told = [one for one in built.seen.warnings if "/selectors/" in one]
    assert sorted(one.split(" is ")[0] for one in told) == sorted(map(str, paths))
