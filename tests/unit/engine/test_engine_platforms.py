"""Builds for several platforms in one: what runs once, the index they end in, its annotations, and where it goes."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builder.cache.store import Store
from builder.engine.bases import FRESH
from builder.engine.request import Form, Output
from builder.errors import ImageError, OutputError
from builder.events import VertexCompleted
from builder.image import descriptor as media
from builder.image.annotations import Annotation
from builder.image.digest import Digest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from tests.support.builds import NATIVE, Workshop
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.images import directory, file, layer, read_image, write_layout

AMD, ARM = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
BOTH: Any = {"platforms": (AMD, ARM), "build_platform": AMD}
BASE_NAME, BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


@pytest.fixture
def shop(tmp_path: Path, connect: Callable[[], Registry]) -> Workshop:
    return Workshop(tmp_path / "store", tmp_path / "context", connect)


@dataclass(frozen=True)
class Base:
    """An image for two platforms, with an attestation for each."""

    name: str
    digest: str
    manifests: dict[str, str]


@pytest.fixture
def base(fake: FakeRegistry, tmp_path: Path) -> Base:
    manifests, entries = {}, []
    for arch in ("amd64", "arm64"):
        layout = tmp_path / f"base-{arch}"
        write_layout(layout, [layer(directory("etc"), file("etc/arch", arch))], architecture=arch)
        image = read_image(layout)
        for blob in (image.raw_config, *image.layers):
            fake.put_blob("base", blob)
        manifests[arch] = fake.put_manifest("base", arch, image.raw_manifest, media.OCI_MANIFEST)
        entries.append(entry(manifests[arch], image.raw_manifest, platform={"os": "linux", "architecture": arch}))
        about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": manifests[arch]}
        unknown = {"os": "unknown", "architecture": "unknown"}
        entries.append(entry(manifests[arch], image.raw_manifest, platform=unknown, annotations=about))
    digest = fake.put_manifest("base", "1", index(*entries), media.OCI_INDEX)
    return Base(f"{fake.host}/base:1", digest, manifests)


def entry(digest: str, raw: bytes, kind: str = media.OCI_MANIFEST, **fields: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": len(raw), **fields}


def index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()


def stored(shop: Workshop, digest: str) -> Any:
    """Return a document of the store."""
    with Store.open(shop.store) as store:
        raw = store.blobs.read(Digest.parse(digest))
    assert raw is not None
    return json.loads(raw)


# --- the graph


def test_equal_work_is_done_once(shop: Workshop, base: Base) -> None:
    text = (
        f"FROM --platform=$BUILDPLATFORM {base.name} AS tools\nCOPY f /tools/f\n"
        f"FROM {base.name}\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY --from=tools /tools /\n"
    )
    built = shop.build(text, {"f": "1"}, **BOTH)
    done = [one.name for one in built.seen.events if isinstance(one, VertexCompleted)]
    assert sorted(done) == [
        "[linux/amd64 stage-1 2/2] COPY --from=tools /tools /",
        "[linux/amd64 tools 1/2] FROM --platform=$BUILDPLATFORM " + base.name + " AS tools",
        "[linux/amd64 tools 2/2] COPY f /tools/f",
        "[linux/arm64 stage-1 1/2] FROM " + base.name,
        "[linux/arm64 stage-1 2/2] COPY --from=tools /tools /",
    ]
    amd, arm = (json.loads(one.raw_config) for one in built.result.built.images)
    assert (amd["architecture"], arm["architecture"]) == ("amd64", "arm64")
    assert (amd["config"]["Labels"], arm["config"]["Labels"]) == ({"arch": "amd64"}, {"arch": "arm64"})
    assert amd["rootfs"]["diff_ids"][0] != arm["rootfs"]["diff_ids"][0]
    assert amd["rootfs"]["diff_ids"][1] == arm["rootfs"]["diff_ids"][1]


def test_a_tag_is_asked_for_once_and_means_the_same_for_all_platforms(
    shop: Workshop, base: Base, fake: FakeRegistry
) -> None:
    shop.build(f"FROM {base.name}\nLABEL a=b", **BOTH)
    shop.build(f"FROM {base.name}\nLABEL a=c", pull="always", **BOTH)
    assert len(fake.asked("GET", "/manifests/1")) + len(fake.asked("HEAD", "/manifests/1")) == 2


def test_what_is_believed_of_a_tag_holds_for_all_platforms(shop: Workshop, base: Base, fake: FakeRegistry) -> None:
    text = f"FROM {base.name}\nLABEL a=b"
    shop.build(text, platforms=(AMD,), build_platform=AMD)
    fake.put_manifest("base", "1", index(), media.OCI_INDEX)
    said = stored(shop, shop.build(text, **BOTH).digest)["annotations"]
    assert said[BASE_DIGEST] == base.digest


def test_what_is_believed_and_gone_is_said_to_be_so(shop: Workshop, base: Base, fake: FakeRegistry) -> None:
    text = f"FROM {base.name}\nLABEL a=b"
    shop.build(text, platforms=(AMD,), build_platform=AMD)
    del fake.manifests["base"][base.manifests["arm64"]]
    with pytest.raises(RegistryError, match="base:1: ") as caught:
        shop.build(text, **BOTH)
    assert "--pull asks for all of them anew" in (caught.value.hint or "")


def test_without_a_registry_all_platforms_go_on_with_what_is_stored(
    shop: Workshop, base: Base, fake: FakeRegistry
) -> None:
    text = f"FROM {base.name}\nLABEL a=b"
    first = shop.build(text, **BOTH)
    with Store.open(shop.store) as store:
        record = store.refs.get(base.name, built_here=False)
        assert record is not None
        store.refs.put(replace(record, resolved_at=record.resolved_at - FRESH - 1))
    fake.plan = lambda _: Fault(status=503)
    again = shop.build(text, **BOTH)
    assert again.digest == first.digest
    assert len(again.seen.warnings) == 1
    assert shop.build(text, pull="never", **BOTH).digest == first.digest
    with pytest.raises(ImageError, match="no manifest for platform linux/s390x"):
        shop.build(text, pull="never", platforms=(AMD, Platform.parse("linux/s390x")))


# --- the result


def test_several_platforms_make_an_index(shop: Workshop, base: Base) -> None:
    built = shop.build(f"FROM {base.name}\nLABEL a=b", tags=["app:1"], **BOTH)
    made = built.result.built
    document = stored(shop, built.digest)
    assert built.digest == made.descriptor.digest
    assert (document["schemaVersion"], document["mediaType"]) == (2, media.OCI_INDEX)
    assert [(one["digest"], one["platform"]) for one in document["manifests"]] == [
        (image.digest, {"architecture": arch, "os": "linux"})
        for image, arch in zip(made.images, ("amd64", "arm64"), strict=True)
    ]
    for image in made.images:
        assert stored(shop, image.digest)["config"]["digest"] == image.image_id
    with Store.open(shop.store) as store:
        record = store.refs.get("docker.io/library/app:1", built_here=True)
    assert record is not None
    assert (record.descriptor.digest, record.descriptor.media_type) == (built.digest, media.OCI_INDEX)


def test_one_platform_makes_no_index(shop: Workshop, base: Base) -> None:
    built = shop.build(f"FROM {base.name}\nLABEL a=b", platforms=(ARM,), build_platform=AMD)
    assert stored(shop, built.digest)["mediaType"] == media.OCI_MANIFEST


def test_one_platform_makes_an_index_if_it_must(shop: Workshop, tmp_path: Path) -> None:
    outputs = (Output("local", tmp_path / "out"),)
    built = shop.build(
        "FROM scratch\nCOPY f /", {"f": "1"}, outputs=outputs, build_args={"BUILDKIT_MULTI_PLATFORM": "true"}
    )
    (entry,) = stored(shop, built.digest)["manifests"]
    assert entry["digest"] == built.image.digest
    assert (tmp_path / "out" / str(NATIVE).replace("/", "_") / "f").exists()


def test_dockers_format_has_a_manifest_list(shop: Workshop, base: Base) -> None:
    built = shop.build(f"FROM {base.name}\nLABEL a=b", image_format="docker", **BOTH)
    document = stored(shop, built.digest)
    assert document["mediaType"] == media.DOCKER_INDEX
    assert {one["mediaType"] for one in document["manifests"]} == {media.DOCKER_MANIFEST}
    assert "annotations" not in document


def test_the_index_is_the_same_in_another_store(shop: Workshop, base: Base, tmp_path: Path) -> None:
    text = f"FROM {base.name}\nCOPY f /f\nWORKDIR /w\n"
    other = Workshop(tmp_path / "other", tmp_path / "other-context", shop.registry)
    digests = {one.build(text, {"f": "1"}, epoch=1, **BOTH).digest for one in (shop, other, shop)}
    assert len(digests) == 1


def test_an_image_built_here_for_several_platforms_is_a_base_for_each(shop: Workshop, base: Base) -> None:
    shop.build(f"FROM {base.name}\nARG TARGETARCH\nENV BUILT_FOR=$TARGETARCH", tags=["app"], **BOTH)
    again = shop.build("FROM localhost/app\nLABEL on=$BUILT_FOR", **BOTH)
    configs = [json.loads(one.raw_config) for one in again.result.built.images]
    assert [one["config"]["Labels"] for one in configs] == [{"on": "amd64"}, {"on": "arm64"}]
    with pytest.raises(ImageError, match="no manifest for platform linux/s390x; available: linux/amd64, linux/arm64"):
        shop.build("FROM localhost/app", platforms=(Platform.parse("linux/s390x"),))


def test_a_windows_version_is_the_bases(shop: Workshop, tmp_path: Path) -> None:
    layout = tmp_path / "windows"
    write_layout(layout, [], config={"os": "windows", "os.version": "10.0.17763.1"}, architecture="amd64")
    windows = Platform.parse("windows/amd64")
    options: Any = {"platforms": (windows, AMD), "contexts": {"w": f"oci-layout://{layout}"}}
    text = "FROM w AS windows\nFROM scratch AS linux\nFROM $TARGETOS\nLABEL a=b"
    document = stored(shop, shop.build(f"ARG TARGETOS\n{text}", **options).digest)
    assert [one["platform"] for one in document["manifests"]] == [
        {"architecture": "amd64", "os": "windows", "os.version": "10.0.17763.1"},
        {"architecture": "amd64", "os": "linux"},
    ]


def test_a_base_may_be_an_index_in_an_index(shop: Workshop, base: Base, fake: FakeRegistry) -> None:
    _, raw = fake.manifests["base"][base.digest]
    outer = index(entry(base.digest, raw, media.OCI_INDEX), entry(base.digest, raw, platform={"os": "unknown"}))
    fake.put_manifest("base", "outer", outer, media.OCI_INDEX)
    name = base.name.replace(":1", ":outer")
    for _ in range(2):  # from the registry, then from the store
        built = shop.build(f"FROM {name}\nLABEL a=b", **BOTH)
        assert [json.loads(one.raw_config)["architecture"] for one in built.result.built.images] == ["amd64", "arm64"]


# --- annotations


def test_an_image_says_what_it_is_based_on(shop: Workshop, base: Base) -> None:
    document = stored(shop, shop.build(f"FROM {base.name}\nLABEL a=b", **BOTH).digest)
    said = {BASE_NAME: base.name, BASE_DIGEST: base.digest}
    assert document["annotations"] == said
    assert [stored(shop, one["digest"])["annotations"] for one in document["manifests"]] == [said, said]


def test_the_base_is_that_of_the_last_stages_layers(shop: Workshop, base: Base) -> None:
    text = f"FROM {base.name} AS a\nFROM a AS b\nLABEL x=y\nFROM b"
    assert stored(shop, shop.build(text).digest)["annotations"][BASE_DIGEST] == base.digest
    pinned = base.name.replace(":1", f"@{base.manifests['arm64']}")
    said = stored(shop, shop.build(f"FROM {pinned}\nLABEL a=b", platforms=(ARM,)).digest)["annotations"]
    assert said == {BASE_NAME: pinned, BASE_DIGEST: base.manifests["arm64"]}
    both = base.name + "@" + base.digest
    said = stored(shop, shop.build(f"FROM {both}\nLABEL a=b", platforms=(ARM,)).digest)["annotations"]
    assert said == {BASE_NAME: base.name, BASE_DIGEST: base.digest}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("FROM scratch\nLABEL a=b", {}),
        ("FROM {base}\nLABEL a=b", {"base_annotations": False}),
        ("FROM {base}\nLABEL a=b", {"image_format": "docker"}),
        ("FROM scratch\nCOPY --from={base} /etc /etc", {}),
        ("FROM localhost/here\nLABEL a=b", {}),
    ],
    ids=["scratch", "not wanted", "docker", "only files", "built here"],
)
def test_what_has_no_base_to_name_names_none(shop: Workshop, base: Base, text: str, options: dict[str, Any]) -> None:
    shop.build("FROM scratch\nLABEL x=y", tags=["here"])
    assert "annotations" not in stored(shop, shop.build(text.format(base=base.name), platform=AMD, **options).digest)


def test_different_bases_are_not_told_of_the_index(shop: Workshop, base: Base, fake: FakeRegistry) -> None:
    other = base.name.replace(":1", "@" + base.manifests["arm64"])
    text = f"ARG TARGETARCH\nFROM {base.name} AS amd64\nFROM {other} AS arm64\nFROM $TARGETARCH\nLABEL a=b"
    assert "annotations" not in stored(shop, shop.build(text, **BOTH).digest)


def test_annotations_reach_their_targets(shop: Workshop, tmp_path: Path) -> None:
    given = (
        Annotation("m", "all"),
        Annotation("m", "arm", "manifest", ARM),
        Annotation("d", "1", "manifest-descriptor"),
        Annotation("d", "2", "manifest-descriptor", ARM),
        Annotation("i", "3", "index"),
        Annotation("id", "4", "index-descriptor"),
    )
    layout = tmp_path / "layout"
    output = Output("oci", layout, unpacked=True)
    built = shop.build("FROM scratch\nLABEL a=b", annotations=given, outputs=(output,), tags=["a:1"], **BOTH)
    document = stored(shop, built.digest)
    assert document["annotations"] == {"i": "3"}
    assert [one["annotations"] for one in document["manifests"]] == [{"d": "1"}, {"d": "2"}]
    manifests = [stored(shop, one["digest"]) for one in document["manifests"]]
    assert [one["annotations"] for one in manifests] == [{"m": "all"}, {"m": "arm"}]
    (top,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert top["digest"] == built.digest
    assert top["annotations"]["id"] == "4"
    assert top["annotations"]["org.opencontainers.image.ref.name"] == "1"


def test_a_single_images_descriptor_is_annotated_where_there_is_one(shop: Workshop, tmp_path: Path) -> None:
    output = Output("oci", tmp_path / "layout", unpacked=True)
    given = (Annotation("d", "1", "manifest-descriptor"),)
    shop.build("FROM scratch\nLABEL a=b", annotations=given, outputs=(output,))
    (top,) = json.loads((tmp_path / "layout/index.json").read_text())["manifests"]
    assert top["annotations"] == {"d": "1"}


def test_a_given_annotation_wins_over_the_default(shop: Workshop, base: Base) -> None:
    given = (Annotation(BASE_NAME, "mine"),)
    said = stored(shop, shop.build(f"FROM {base.name}\nLABEL a=b", platform=AMD, annotations=given).digest)
    assert said["annotations"] == {BASE_NAME: "mine", BASE_DIGEST: base.digest}


# --- outputs


def test_the_index_and_all_below_it_are_pushed(shop: Workshop, base: Base, fake: FakeRegistry) -> None:
    tag = f"{fake.host}/app:1"
    built = shop.build(f"FROM {base.name}\nCOPY f /f", {"f": "1"}, tags=[tag], outputs=(Output("registry"),), **BOTH)
    *manifests, tag = [seen.path.rpartition("/")[2] for seen in fake.asked("PUT", "/app/manifests/")]
    assert sorted(manifests) == sorted(one.digest for one in built.result.built.images)
    assert tag == "1"
    assert fake.manifests["app"]["1"][0] == media.OCI_INDEX


def test_outputs_have_names_of_their_own(shop: Workshop, fake: FakeRegistry) -> None:
    one, two = (Reference.parse(f"{fake.host}/{name}") for name in ("one:1", "two:2"))
    outputs = (Output("registry", names=(one,)), Output("registry", names=(two,), by_digest=True, canonical=True))
    built = shop.build("FROM scratch\nLABEL a=b", outputs=outputs, tags=["kept"])
    puts = [seen.path for seen in fake.asked("PUT", "/manifests/")]
    assert puts == ["/v2/one/manifests/1", f"/v2/two/manifests/{built.digest}"]
    assert [str(name) for name in built.result.names] == [
        "docker.io/library/kept:latest",
        str(one),
        f"{fake.host}/two@{built.digest}",
    ]


def test_each_output_has_its_annotations(shop: Workshop, tmp_path: Path) -> None:
    outputs = (
        Output("oci", tmp_path / "a", unpacked=True, form=Form(annotations=(Annotation("k", "1"),))),
        Output("oci", tmp_path / "b", unpacked=True),
    )
    built = shop.build("FROM scratch\nLABEL a=b", outputs=outputs)
    first, second = (read_image(tmp_path / one) for one in ("a", "b"))
    assert json.loads(first.raw_manifest)["annotations"] == {"k": "1"}
    assert "annotations" not in json.loads(second.raw_manifest)
    assert first.digest == built.digest
    assert first.raw_config == second.raw_config


def test_trees_of_several_platforms_have_directories(shop: Workshop, base: Base, tmp_path: Path) -> None:
    outputs = (Output("local", tmp_path / "out"), Output("tar", tmp_path / "out.tar"))
    shop.build(f"FROM {base.name}\nCOPY f /f", {"f": "1"}, outputs=outputs, **BOTH)
    for arch in ("amd64", "arm64"):
        assert (tmp_path / f"out/linux_{arch}/etc/arch").read_text() == arch
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert [one.name for one in archive] == [
            f"linux_{arch}{path}" for arch in ("amd64", "arm64") for path in ("", "/etc", "/etc/arch", "/f")
        ]


def test_trees_may_share_a_directory_where_they_do_not_clash(shop: Workshop, base: Base, tmp_path: Path) -> None:
    text = "ARG TARGETARCH\nFROM scratch\nARG TARGETARCH\nCOPY f /bin/$TARGETARCH"
    outputs = (Output("local", tmp_path / "out", split=False), Output("tar", tmp_path / "out.tar", split=False))
    shop.build(text, {"f": "1"}, outputs=outputs, **BOTH)
    assert sorted(one.name for one in (tmp_path / "out/bin").iterdir()) == ["amd64", "arm64"]
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.getnames() == ["bin", "bin/amd64", "bin/arm64"]
    with pytest.raises(OutputError, match="/etc/arch is in the image for linux/arm64 and in one before it"):
        shop.build(f"FROM {base.name}", outputs=outputs, **BOTH)


def test_one_platform_may_have_a_directory(shop: Workshop, tmp_path: Path) -> None:
    shop.build("FROM scratch\nCOPY f /f", {"f": "1"}, outputs=(Output("local", tmp_path / "out", split=True),))
    assert (tmp_path / "out" / str(NATIVE).replace("/", "_") / "f").read_text() == "1"


def test_equal_trees_are_written_once(shop: Workshop, tmp_path: Path) -> None:
    outputs = (Output("tar", tmp_path / "out.tar", split=False),)
    shop.build("FROM scratch\nCOPY f /f", {"f": "1"}, outputs=outputs, **BOTH)
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert archive.getnames() == ["f"]
