"""Where images are and go to: how it is written, and that everything arrives as it was."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache.store import Store
from builder.engine.build import Environment
from builder.errors import ContextError, ImageError, UsageError
from builder.events import SilentReporter
from builder.image.artifact import Artifact
from builder.image.reference import Reference
from builder.images.deliver import deliver
from builder.images.locate import locate
from builder.images.places import Place, parse_place, registry_name, split_target, target_name
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from builder.registry.retry import RetryPolicy
from tests.support import images
from tests.support.artifacts import OCI, TYPES, Held
from tests.support.fake_registry import FakeRegistry

LAYERS = [images.layer(images.file("a", "1" * 5000)), images.layer(images.file("b", "2"))]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    registry = Registry(retry=RetryPolicy(sleep=lambda _: None))
    with Store.open(tmp_path / "store", warn=pytest.fail) as store, registry:
        yield Environment(store, lambda: registry, SilentReporter(), threading.Event())


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    images.write_layout(tmp_path / "layout", LAYERS, tag="v1", architecture="amd64")
    return tmp_path / "layout"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("app:1", Place("", "app:1")),
        ("docker://app:1", Place("registry", "app:1")),
        ("store:app", Place("store", "app")),
        ("oci-layout:///a/b:1", Place("layout", "/a/b:1")),
        ("oci:b", Place("layout", "b")),
        ("oci-archive:x.tar:1", Place("oci-archive", "x.tar:1")),
        ("docker-archive:x.tar:a/b:1", Place("docker-archive", "x.tar:a/b:1")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text", ["s3://bucket/x", "docker://", "store:", "docker-daemon:app:1", "containers-storage:app"]
)
def test_no_places(text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse_place(text)


def test_targets_are_split_at_the_first_colon_or_behind_what_exists(tmp_path: Path) -> None:
    assert split_target("new/x.tar:a/b:1") == (Path("new/x.tar"), "a/b:1")
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert split_target(f"{odd}:1") == (odd, "1")
    assert (target_name("1.0"), target_name("a/b")) == ("1.0", Reference.parse("a/b"))
    with pytest.raises(ImageError):
        target_name("no tag!")


def contents(artifact: Artifact) -> list[bytes]:
    found = [one.raw for one in artifact.documents()]
    for document in artifact.documents():
        for blob in document.blobs:
            with artifact.content.open(blob) as stream:
                found.append(stream.read())
    return found


def test_everywhere_and_back(env: Environment, layout: Path, fake: FakeRegistry, tmp_path: Path) -> None:
    source = locate(f"oci-layout://{layout}:v1", env)
    expected = contents(source)
    places = [
        "store:demo/app:1",
        f"{fake.host}/demo/app:2",
        f"oci-layout://{tmp_path}/copy:new",
        f"oci-archive:{tmp_path}/copy.tar:new",
        f"docker-archive:{tmp_path}/docker.tar:demo/app:3",
    ]
    for place in places:
        deliver(source, place, env)
        source = locate(place, env)
        assert contents(source) == expected, place
    assert contents(locate("demo/app:1", env)) == contents(locate(str(tmp_path / "copy"), env)) == expected
    assert contents(locate(str(tmp_path / "docker.tar"), env)) == expected
    assert contents(locate(f"demo/app@{source.digest}", env)) == contents(locate(source.digest, env)) == expected


def test_nothing_there(env: Environment, layout: Path, tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="absent"):
        locate(f"oci-layout://{tmp_path}/absent", env)
    with pytest.raises(ImageError, match="not in the store"):
        locate("store:absent", env)
    with pytest.raises(UsageError, match="what to write"):
        deliver(locate(str(layout), env), str(layout), env)


def test_a_name_that_is_nowhere_is_named(env: Environment, fake: FakeRegistry) -> None:
    with pytest.raises(RegistryError, match=f"^{fake.host}/no/such:1 is not built here, and cannot pull") as caught:
        locate(f"{fake.host}/no/such:1", env)
    assert f"pybuild tags {fake.host}/no/such lists" in str(caught.value.hint)


def test_names_in_registries() -> None:
    assert registry_name("docker://registry.example/app:1") == registry_name("registry.example/app:1")
    with pytest.raises(UsageError, match="is in no registry"):
        registry_name("oci-layout://layout:1")


def test_what_was_built_here_is_pointed_at(env: Environment, layout: Path, fake: FakeRegistry) -> None:
    deliver(locate(str(layout), env), f"store:{fake.host}/demo/here:1", env)
    with pytest.raises(RegistryError) as caught:
        locate(f"{fake.host}/demo/here:1", env, remote=True)
    assert caught.value.hint == f"what was built here is store:{fake.host}/demo/here:1"


def test_a_digest_in_the_target_must_be_that_of_the_image(env: Environment, layout: Path, fake: FakeRegistry) -> None:
    source = locate(str(layout), env)
    other = "sha256:" + "0" * 64
    for place in (f"{fake.host}/demo/pinned@{other}", f"store:demo/pinned:1@{other}"):
        with pytest.raises(ImageError, match=f"is {source.digest}, not what"):
            deliver(source, place, env)
    assert not fake.seen
    deliver(source, f"{fake.host}/demo/pinned@{source.digest}", env)


@pytest.mark.parametrize("kept", ["layout", "store"])
def test_foreign_layers_that_are_not_here_come_from_their_url_to_be_pushed(
    env: Environment, fake: FakeRegistry, tmp_path: Path, kept: str
) -> None:
    packed = gzip.compress(LAYERS[0])
    held = Held()
    config = held.image()
    layer = held.put(packed, OCI + "layer.nondistributable.v1.tar+gzip")
    fake.blobs["elsewhere"] = {layer["digest"]: packed}
    layer["urls"] = [f"http://{fake.host}/v2/elsewhere/blobs/{layer['digest']}"]
    manifest = {**json.loads(held.blobs[config["digest"]]), "layers": [layer]}
    artifact = held.artifact(held.put_json(manifest, TYPES["oci"]["manifest"]))
    del held.blobs[layer["digest"]]

    place = f"oci-layout://{tmp_path}/foreign:1" if kept == "layout" else "store:foreign:1"
    deliver(artifact, place, env)
    assert not any("elsewhere" in one.path for one in fake.seen)
    deliver(locate(place, env), f"{fake.host}/demo/plain:1", env)
    assert layer["digest"] not in fake.blobs["demo/plain"]
    deliver(locate(place, env), f"{fake.host}/demo/foreign:1", env, foreign=True)
    assert fake.blobs["demo/foreign"][layer["digest"]] == packed
