"""Where base images come from, how often a registry is asked, and images of the store later."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.cache.refs import RefRecord
from builder.cache.store import Store
from builder.engine.bases import FRESH
from builder.engine.build import Environment
from builder.errors import BuilderError, ContextError, ImageError
from builder.events import SilentReporter
from builder.image import descriptor as media
from builder.image.artifact import Image
from builder.image.descriptor import Descriptor
from builder.image.platform import Platform
from builder.images.locate import from_store
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from tests.support.builds import Recording, Workshop
from tests.support.fake_registry import FakeRegistry, Fault, digest_of
from tests.support.images import directory, file, layer, read_image, write_layout

LAYER = layer(directory("etc"), file("etc/passwd", "me:x:5:6::/:\n"), file("etc/group", ""), file("base", "1"))


@pytest.fixture
def shop(tmp_path: Path, connect: Callable[[], Registry]) -> Workshop:
    return Workshop(tmp_path / "store", tmp_path / "context", connect)


def publish(fake: FakeRegistry, tmp: Path, *, tag: str = "1", label: str = "a", name: str = "base") -> str:
    """Put an image into the fake registry; return its manifest's digest."""
    layout = tmp / f"published-{name}-{tag}-{label}"
    write_layout(layout, [LAYER], container={"Labels": {"l": label}})
    image = read_image(layout)
    for blob in (image.raw_config, *image.layers):
        fake.put_blob(name, blob)
    return fake.put_manifest(name, tag, image.raw_manifest, media.OCI_MANIFEST)


def age(store_root: Path, seconds: int) -> None:
    """Make everything that was resolved look older."""
    with Store.open(store_root) as store:
        for path in (store_root / "refs").rglob("*"):
            if path.is_file():
                for record in _records(store, path):
                    store.refs.put(replace(record, resolved_at=record.resolved_at - seconds))


def _records(store: Store, path: Path) -> Iterator[Any]:
    text = path.read_text(errors="replace")
    start = text.find("{")
    name = json.loads(text[start : text.rfind("}") + 1])["reference"]
    for built_here in (False, True):
        record = store.refs.get(name, built_here=built_here)
        if record is not None:
            yield record


def label(shop: Workshop, text: str, **options: Any) -> str:
    return shop.build(text, **options).config.config.labels["l"]


def methods(fake: FakeRegistry, part: str = "/manifests/") -> list[str]:
    found = [one.method for one in fake.seen if part in one.path]
    fake.seen.clear()
    return found


# --- tags


def test_a_tag_costs_nothing_for_an_hour_then_one_head(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    text = f"FROM {fake.host}/base:1\nENV a=b"
    publish(fake, tmp_path)
    assert label(shop, text) == "a"
    assert "GET" in methods(fake)
    publish(fake, tmp_path, label="b")
    assert label(shop, text) == "a"
    assert methods(fake, "") == []
    age(shop.store, FRESH + 1)
    assert label(shop, text) == "b"
    methods(fake)
    age(shop.store, FRESH + 1)
    assert label(shop, text) == "b"
    assert methods(fake) == ["HEAD"]
    assert label(shop, text) == "b"
    assert methods(fake, "") == []


@pytest.mark.parametrize(
    ("policy", "expected", "asked"),
    [("auto", "a", False), ("missing", "a", False), ("never", "a", False), ("always", "b", True)],
)
def test_policies_for_a_fresh_tag(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path, policy: str, expected: str, asked: bool
) -> None:
    text = f"FROM {fake.host}/base:1"
    publish(fake, tmp_path)
    shop.build(text)
    publish(fake, tmp_path, label="b")
    methods(fake)
    assert label(shop, text, pull=policy) == expected
    assert bool(methods(fake)) is asked


@pytest.mark.parametrize(("policy", "expected"), [("auto", "b"), ("missing", "a"), ("never", "a"), ("always", "b")])
def test_policies_for_an_old_tag(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path, policy: str, expected: str
) -> None:
    text = f"FROM {fake.host}/base:1"
    publish(fake, tmp_path)
    shop.build(text)
    publish(fake, tmp_path, label="b")
    age(shop.store, FRESH + 1)
    assert label(shop, text, pull=policy) == expected


def test_never_refuses_what_the_store_does_not_have(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    publish(fake, tmp_path)
    with pytest.raises(ImageError, match="--pull=never"):
        shop.build(f"FROM {fake.host}/base:1", pull="never")
    assert methods(fake, "") == []


def test_a_digest_is_asked_for_once_and_for_all(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    text = f"FROM {fake.host}/base:1@{publish(fake, tmp_path)}"
    publish(fake, tmp_path, label="b")
    assert label(shop, text) == "a"
    age(shop.store, 10 * FRESH)
    methods(fake)
    assert label(shop, text) == "a"
    assert methods(fake, "") == []


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(drop=True), Fault(status=429)])
def test_an_unreachable_registry_is_a_warning_where_the_base_is_stored(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path, fault: Fault
) -> None:
    text = f"FROM {fake.host}/base:1"
    publish(fake, tmp_path)
    shop.build(text)
    age(shop.store, FRESH + 1)
    fake.plan = lambda _: fault
    built = shop.build(text)
    assert built.config.config.labels["l"] == "a"
    assert [one for one in built.seen.warnings if "going on with the stored" in one]
    with pytest.raises(RegistryError):
        shop.build(text, pull="always")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_registry_that_says_no_ends_the_build(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path, status: int
) -> None:
    text = f"FROM {fake.host}/base:1"
    publish(fake, tmp_path)
    shop.build(text)
    age(shop.store, FRESH + 1)
    fake.plan = lambda _: Fault(status=status)
    with pytest.raises(RegistryError):
        shop.build(text)


def test_a_clock_that_was_wrong_does_not_make_a_tag_fresh_for_years(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    text = f"FROM {fake.host}/base:1"
    publish(fake, tmp_path)
    shop.build(text)
    publish(fake, tmp_path, label="b")
    age(shop.store, -10 * FRESH)
    assert label(shop, text) == "b"


# --- layers that nobody needs


def test_layers_are_only_fetched_when_their_names_are_needed(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    publish(fake, tmp_path)
    layer_blobs = f"/blobs/sha256:{hashlib.sha256(read_image(next(tmp_path.glob('published*'))).layers[0]).hexdigest()}"
    shop.build(f"FROM {fake.host}/base:1\nENV a=b\nLABEL c=d")
    assert methods(fake, layer_blobs) == []
    shop.build(f"FROM {fake.host}/base:1\nWORKDIR /x")
    assert methods(fake, layer_blobs) == ["GET"]
    built = shop.build(f"FROM {fake.host}/base:1\nUSER me\nWORKDIR /y\nCOPY --chown=me f /f", {"f": "1"})
    assert methods(fake, layer_blobs) == []
    assert (built.tree["f"].uid, built.tree["y"].gid) == (5, 6)


def test_unneeded_stages_cost_no_request(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    shop.build(f"FROM {fake.host}/nope AS no\nCOPY --from={fake.host}/nope2 / /\nFROM scratch\nENV a=b")
    assert methods(fake, "") == []


def test_layers_that_are_not_what_was_promised_are_refused(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    publish(fake, tmp_path)
    shop.build(f"FROM {fake.host}/base:1\nENV a=b")
    fake.plan = lambda seen: Fault(flip=True) if "/blobs/" in seen.path and seen.method == "GET" else None
    with pytest.raises(BuilderError):
        shop.build(f"FROM {fake.host}/base:1\nWORKDIR /x")
    fake.plan = lambda _: None
    assert "base" in shop.build(f"FROM {fake.host}/base:1\nWORKDIR /x").tree


def test_a_layer_that_unpacks_to_something_else_is_refused(shop: Workshop, tmp_path: Path) -> None:
    layout = tmp_path / "lying"
    write_layout(layout, [LAYER], config={"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64]}})
    with pytest.raises(ImageError, match="its image's config says"):
        shop.build("FROM b\nWORKDIR /x", contexts={"b": f"oci-layout://{layout}"})


def test_an_image_with_more_layers_than_diff_ids_is_refused(shop: Workshop, tmp_path: Path) -> None:
    layout = tmp_path / "lying"
    write_layout(layout, [LAYER], config={"rootfs": {"type": "layers", "diff_ids": []}})
    with pytest.raises(ImageError):
        shop.build("FROM b\nWORKDIR /x", contexts={"b": f"oci-layout://{layout}"})


def test_a_pulled_artifact_is_no_base(shop: Workshop, fake: FakeRegistry) -> None:
    """Whether it is fetched for this, or somebody pulled it before."""
    config = b'{"architecture":"amd64","os":"linux"}'
    about = {"mediaType": "application/vnd.example.chart.v1+json", "digest": digest_of(config), "size": len(config)}
    layers = [{"mediaType": media.OCI_LAYER, "digest": digest_of(b"chart"), "size": 5}]
    manifest = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": about, "layers": layers}
    raw = json.dumps(manifest).encode()
    fake.put_blob("chart", config)
    fake.put_manifest("chart", "1", raw, media.OCI_MANIFEST)
    name = f"{fake.host}/chart:1"
    said = set()
    for _ in range(2):
        with pytest.raises(ImageError, match=r"chart:1 is no image but an artifact of type .*chart") as caught:
            shop.build(f"FROM {name}\nLABEL a=b")
        said.add(caught.value.message)
        with shop.environment(Recording()) as env:
            env.store.blobs.put(config)
            root = Descriptor(media_type=media.OCI_MANIFEST, digest=env.store.blobs.put(raw), size=len(raw))
            env.store.refs.put(RefRecord(name, root, int(time.time()), built_here=False))
    assert len(said) == 1, "the same way"


def test_the_image_of_the_platform_is_taken_from_an_index(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    entries = []
    for arch in ("amd64", "arm64"):
        layout = tmp_path / arch
        write_layout(layout, [], container={"Labels": {"l": arch}}, architecture=arch)
        image = read_image(layout)
        fake.put_blob("multi", image.raw_config)
        digest = fake.put_manifest("multi", arch, image.raw_manifest, media.OCI_MANIFEST)
        entries.append(
            {
                "mediaType": media.OCI_MANIFEST,
                "digest": digest,
                "size": len(image.raw_manifest),
                "platform": {"os": "linux", "architecture": arch},
            }
        )
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}
    fake.put_manifest("multi", "1", json.dumps(index).encode(), media.OCI_INDEX)
    for arch in ("arm64", "amd64"):
        built = shop.build(f"FROM {fake.host}/multi:1\nENV a=b", platform=Platform.parse(f"linux/{arch}"))
        assert (built.config.config.labels["l"], built.config.platform.architecture) == (arch, arch)
    with pytest.raises(ImageError, match="no manifest for platform linux/s390x"):
        shop.build(f"FROM {fake.host}/multi:1", platform=Platform.parse("linux/s390x"))


# --- images built here


def build_here(shop: Workshop, name: str = "app", text: str = "FROM scratch\nLABEL l=here") -> str:
    return shop.build(text, tags=[name]).digest


@pytest.mark.parametrize("name", ["app", "app:latest", "user/app", "my.host:5000/a/b:v1", "localhost/app"])
def test_an_image_built_here_answers_as_localhost(shop: Workshop, name: str) -> None:
    build_here(shop, name)
    assert label(shop, f"FROM localhost/{name.removeprefix('localhost/')}") == "here"
    assert label(shop, f"FROM {name}", pull="never") == "here"


def test_an_image_built_here_never_stands_in_for_a_registrys(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    name = f"{fake.host}/base:1"
    build_here(shop, name)
    publish(fake, tmp_path)
    assert label(shop, f"FROM {name}") == "a"
    assert label(shop, f"FROM {name}", pull="missing") == "a"
    assert label(shop, f"FROM localhost/{name}") == "here"
    # Having built under the name does not make the registry's answer unknown, nor the reverse.
    assert label(shop, f"FROM {name}", pull="never") == "here"


def test_an_image_built_here_answers_through_a_build_context(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    build_here(shop)
    assert label(shop, "FROM base", contexts={"base": "docker-image://app"}) == "here"
    publish(fake, tmp_path)
    assert label(shop, "FROM base", contexts={"base": f"docker-image://{fake.host}/base:1"}) == "a"


def test_a_digest_is_never_answered_by_another_image(shop: Workshop) -> None:
    digest = build_here(shop)
    build_here(shop, text="FROM scratch\nLABEL l=newer")
    with pytest.raises(BuilderError):
        shop.build(f"FROM localhost/app@{digest}")
    with pytest.raises(BuilderError):
        shop.build(f"FROM app:latest@{digest}", pull="never")
    assert label(shop, "FROM localhost/app") == "newer"


def test_what_was_never_built_here_is_said_so(shop: Workshop) -> None:
    with pytest.raises(BuilderError, match="localhost") as caught:
        shop.build("FROM localhost/nope")
    assert "built here" in f"{caught.value} {caught.value.hint}"


def test_the_next_build_goes_on_where_this_one_ended(shop: Workshop) -> None:
    shop.build("FROM scratch\nCOPY f /f\nENV A=1\nONBUILD COPY f /g", {"f": "1"}, tags=["app"])
    built = shop.build("FROM localhost/app\nENV B=$A")
    assert built.tree.keys() == {"f", "g"}
    assert "B=1" in built.config.config.env
    assert next(one.created_by for one in built.config.history) == "COPY f /f # buildkit"


# --- layouts and archives


def test_layouts_and_directories_as_contexts(shop: Workshop, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [LAYER], tag="v1")
    shop.put({"x": "1", ".dockerignore": "no", "no": "2"}, below=tmp_path / "data")
    contexts = {"img": f"oci-layout://{tmp_path}/layout:v1", "data": str(tmp_path / "data"), "unused": "/nope"}
    built = shop.build("FROM img\nCOPY --from=data x /x\nCOPY --from=IMG /base /copy", contexts=contexts)
    assert {"base", "copy", "x"} <= built.tree.keys()
    assert shop.build("FROM data", contexts=contexts).tree.keys() == {".dockerignore", "x"}
    with pytest.raises(BuilderError):
        shop.build("FROM img", contexts={"img": f"oci-layout://{tmp_path}/layout:v2"})
    with pytest.raises(ContextError):
        shop.build("FROM scratch\nCOPY --from=data x /", contexts={"data": str(tmp_path / "gone")})


def test_an_image_as_a_source_of_files(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    publish(fake, tmp_path)
    built = shop.build(f"FROM scratch\nCOPY --from={fake.host}/base:1 /etc /e")
    assert built.tree.keys() == {"e", "e/passwd", "e/group"}
    assert built.config.config.labels == {}


def test_docker_format_is_not_mixed_with_an_oci_base(shop: Workshop, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [LAYER])
    built = shop.build("FROM b\nWORKDIR /x", contexts={"b": f"oci-layout://{tmp_path}/layout"}, image_format="docker")
    assert "vnd.oci" not in built.image.raw_manifest.decode()
    assert built.result.bases[0][0] == f"oci-layout://{tmp_path}/layout"


# --- images of the store, later


def stored(shop: Workshop, text: str) -> Image:
    with Store.open(shop.store) as store:
        found = from_store(text, Environment(store, shop.registry, SilentReporter(), threading.Event())).image()
        for layer in found.layers:
            layer.open().close()
        return found


def test_an_image_is_found_by_what_its_build_printed(shop: Workshop) -> None:
    first = build_here(shop, "app:1")
    second = build_here(shop, "app:1", "FROM scratch\nLABEL l=newer")
    for text in (f"app:1@{first}", f"app@{first}", first, f"localhost/app:1@{first}"):
        assert stored(shop, text).digest == first
    for text in ("app:1", "localhost/app:1", f"app:1@{second}"):
        assert stored(shop, text).digest == second
    for text in ("app:2", "sha256:" + "0" * 64, "app:1@sha256:" + "0" * 64):
        with pytest.raises(ImageError, match="is not in the store"):
            stored(shop, text)


def test_base_layers_that_never_came_here_are_fetched_when_they_are_needed(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    publish(fake, tmp_path)
    blob = f"/blobs/sha256:{hashlib.sha256(read_image(next(tmp_path.glob('published*'))).layers[0]).hexdigest()}"
    shop.build(f"FROM {fake.host}/base:1\nENV a=b", tags=["app"])
    assert methods(fake, blob) == []
    assert len(stored(shop, "app").layers) == 1
    assert methods(fake, blob) == ["GET"]


def test_layers_of_a_layout_that_goes_away_are_kept_with_a_tag(shop: Workshop, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [LAYER])
    shop.build("FROM b\nENV a=b", contexts={"b": f"oci-layout://{tmp_path}/layout"}, tags=["app"])
    shutil.rmtree(tmp_path / "layout")
    assert len(stored(shop, "app").layers) == 1
    assert "base" in shop.build("FROM localhost/app\nWORKDIR /x").tree


def test_the_store_is_no_part_of_a_context_it_lies_in(shop: Workshop, tmp_path: Path) -> None:
    inside = Workshop(shop.context / "deep/store", shop.context, shop.registry)
    first = inside.build("FROM scratch\nCOPY . /", {"f": "1"})
    assert sorted(first.tree) == ["deep", "f"]
    assert inside.build("FROM scratch\nCOPY . /").digest == first.digest
