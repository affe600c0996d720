"""Conversion between formats and compressions: what changes, what stays, and what cannot be said."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from builder.engine.build import Environment
from builder.engine.request import CompressionChoice
from builder.errors import InterruptedBuildError, UsageError
from builder.events import Notice
from builder.image.artifact import Artifact
from builder.image.manifest import ManifestError
from builder.images.converting import Wanted, convert
from tests.support.artifacts import DOCKER, OCI, TARS, TYPES, Held, digest, document, layers, said
from tests.support.builds import Recording
from tests.support.images import inflate

ARM = {"architecture": "arm64", "variant": "v8"}


def prefix(image_format: str) -> str:
    return DOCKER if image_format == "docker" else OCI


def media_types(artifact: Artifact) -> set[str]:
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            found.update([value["mediaType"]] if "mediaType" in value else [])
            for one in value.values():
                collect(one)
        elif isinstance(value, list):
            for one in value:
                collect(one)

    root = said(artifact)
    collect(root)
    for child in root.get("manifests", ()):
        collect(document(artifact, child))
    return found


@pytest.mark.parametrize(("source", "target"), [("oci", "docker"), ("docker", "oci")])
def test_the_other_format(env: Environment, source: str, target: Any) -> None:
    held = Held()
    before = held.artifact(held.image(source))
    done = convert(before, Wanted(target), env)
    after = said(done.artifact)
    assert all(one.startswith(prefix(target)) for one in media_types(done.artifact))
    assert done.artifact.root.media_type == TYPES[target]["manifest"]
    assert after["config"]["digest"] == said(before)["config"]["digest"]
    assert [one["digest"] for one in after["layers"]] == [one["digest"] for one in said(before)["layers"]]
    assert done.artifact.digest != before.digest
    assert held.opened == []  # no layer was read
    assert done.warnings == ()
    (change,) = done.changes
    assert change.config_before.digest == change.config_after.digest
    assert change.after.digest == done.artifact.digest
    assert [inflate(one) for one in layers(done.artifact, after)] == list(TARS)


@pytest.mark.parametrize("source", ["oci", "docker"])
def test_nothing_to_do(env: Environment, source: Any) -> None:
    held = Held()
    for descriptor in (held.image(source), held.index([held.image(source)], source)):
        before = held.artifact(descriptor)
        for wanted in (Wanted(source), Wanted(source, CompressionChoice("gzip")), Wanted(None)):
            assert convert(before, wanted, env).artifact.raw == before.raw
    assert held.opened == []


def test_there_and_back_is_the_same_image(env: Environment) -> None:
    held = Held()
    for source, other in (("oci", "docker"), ("docker", "oci")):
        for descriptor in (
            held.image(source),
            held.index([held.image(source), held.image(source, platform=ARM)], source),
        ):
            before = held.artifact(descriptor)
            there = convert(before, Wanted(other), env).artifact
            back = convert(there, Wanted(source), env).artifact
            again = convert(convert(back, Wanted(other), env).artifact, Wanted(source), env).artifact
            assert "manifests" in said(before) or said(back) == said(before)
            assert again.raw == back.raw
            configs = [
                {document(one, child)["config"]["digest"] for child in said(one)["manifests"]}
                if "manifests" in said(one)
                else {said(one)["config"]["digest"]}
                for one in (before, there, back)
            ]
            assert configs[0] == configs[1] == configs[2]


def test_an_index_with_an_attestation(env: Environment) -> None:
    held = Held()
    amd, arm = held.image(), held.image(platform=ARM, tars=TARS[:1])
    about = held.attestation(amd["digest"])
    before = held.artifact(held.index([amd, arm, about], annotations={"a": "b"}))
    done = convert(before, Wanted("docker"), env)
    after = said(done.artifact)
    assert set(after) == {"schemaVersion", "mediaType", "manifests"}
    assert [one["platform"]["architecture"] for one in after["manifests"]] == ["amd64", "arm64"]
    assert after["manifests"][1]["platform"]["variant"] == "v8"
    assert len(done.changes) == 2
    assert any("attestation" in one and "left out" in one for one in done.warnings)
    assert any("index loses annotations" in one for one in done.warnings)
    assert all(one.startswith(DOCKER) for one in media_types(done.artifact))


def test_attestations_are_linked_to_what_images_become(env: Environment) -> None:
    held = Held()
    amd = held.image()
    about = held.attestation(amd["digest"])
    before = held.artifact(held.index([amd, about], annotations={"a": "b"}, unknown={"kept": True}))
    done = convert(before, Wanted(None, CompressionChoice("zstd")), env)
    after = said(done.artifact)
    assert after["annotations"] == {"a": "b"}
    assert after["unknown"] == {"kept": True}
    image, attestation = after["manifests"]
    assert attestation["digest"] == about["digest"]
    assert attestation["annotations"]["vnd.docker.reference.digest"] == image["digest"] != amd["digest"]
    assert any("as it was" in one for one in done.warnings)


@pytest.mark.parametrize(
    ("kind", "level"), [("zstd", None), ("zstd", 19), ("uncompressed", None), ("gzip", 9), ("gzip", 0)]
)
def test_recompression(env: Environment, kind: Any, level: int | None) -> None:
    held = Held()
    before = held.artifact(held.image(annotations={"kept": "yes"}))
    done = convert(before, Wanted(None, CompressionChoice(kind, level)), env)
    after = said(done.artifact)
    assert after["config"] == said(before)["config"]
    assert after["annotations"] == {"kept": "yes"}
    assert {one["mediaType"] for one in after["layers"]} == {TYPES["oci"][kind]}
    assert [inflate(one) for one in layers(done.artifact, after)] == list(TARS)
    assert len(set(held.opened)) == 2
    # Again: the same bytes, from the store this time.
    held.opened.clear()
    again = convert(before, Wanted(None, CompressionChoice(kind, level)), env)
    assert again.artifact.raw == done.artifact.raw
    assert held.opened == []
    assert [one.before is not None and one.before.digest != one.after.digest for one in done.changes[0].layers] == [
        True,
        True,
    ]


def test_force_rewrites_what_has_the_compression_already(env: Environment) -> None:
    held = Held()
    before = held.artifact(held.image("docker"))
    done = convert(before, Wanted(None, CompressionChoice("gzip", None, True)), env)
    first = said(done.artifact)["layers"][0]
    assert first["mediaType"] == TYPES["docker"]["gzip"]
    assert first["digest"] != said(before)["layers"][0]["digest"]
    assert convert(done.artifact, Wanted(None, CompressionChoice("gzip", None, True)), env).artifact.raw == (
        done.artifact.raw
    )


def test_layers_of_unknown_make_get_their_single_member(env: Environment) -> None:
    held = Held()
    before = held.artifact(held.image("docker"))
    wanted = Wanted(None, CompressionChoice("gzip-single-member"))
    done = convert(before, wanted, env)
    document = said(done.artifact)
    assert {one["mediaType"] for one in document["layers"]} == {TYPES["docker"]["gzip"]}
    packed = layers(done.artifact, document)
    assert [zlib.decompressobj(31).decompress(one) for one in packed] == list(TARS)
    assert convert(done.artifact, wanted, env).artifact.raw == done.artifact.raw


def test_zstd_layers_become_gzip_in_dockers_format(env: Environment) -> None:
    held = Held()
    zstd = convert(held.artifact(held.image()), Wanted(None, CompressionChoice("zstd")), env).artifact
    done = convert(zstd, Wanted("docker"), env)
    assert {one["mediaType"] for one in said(done.artifact)["layers"]} == {TYPES["docker"]["gzip"]}
    assert [inflate(one) for one in layers(done.artifact, said(done.artifact))] == list(TARS)


@pytest.mark.parametrize(
    "wanted", [Wanted("docker", CompressionChoice("zstd")), Wanted(None, CompressionChoice("zstd"))]
)
def test_zstd_cannot_be_said_by_docker(env: Environment, wanted: Wanted) -> None:
    held = Held()
    with pytest.raises(UsageError, match="Docker's image format knows no zstd"):
        convert(held.artifact(held.image("docker")), wanted, env)
    assert held.opened == []


def test_what_docker_cannot_say_is_told(env: Environment) -> None:
    held = Held()
    subject = {"mediaType": TYPES["oci"]["manifest"], "digest": digest(b"x"), "size": 1}
    descriptor = held.image(annotations={"a": "b"}, subject=subject, artifactType="application/x", other={})
    done = convert(held.artifact(descriptor), Wanted("docker"), env)
    (warning,) = done.warnings
    assert "loses annotations, subject, artifactType" in warning
    assert "linux/amd64" in warning
    assert set(said(done.artifact)) == {"schemaVersion", "mediaType", "config", "layers"}


def test_other_artifacts(env: Environment) -> None:
    held = Held()
    empty = held.put(b"{}", "application/vnd.oci.empty.v1+json")
    chart = {
        "schemaVersion": 2,
        "mediaType": TYPES["oci"]["manifest"],
        "artifactType": "application/vnd.test.chart",
        "config": empty,
        "layers": [held.put(b"text", "text/plain")],
    }
    descriptor = held.put_json(chart, TYPES["oci"]["manifest"])
    alone = held.artifact(descriptor)
    assert convert(alone, Wanted("oci", CompressionChoice("zstd")), env).artifact.raw == alone.raw
    with pytest.raises(ManifestError, match="no image"):
        convert(alone, Wanted("docker"), env)
    mixed = held.artifact(held.index([descriptor, held.image()]))
    done = convert(mixed, Wanted("docker"), env)
    assert len(said(done.artifact)["manifests"]) == 1
    assert any("application/vnd.oci.empty.v1+json" in one for one in done.warnings)
    with pytest.raises(ManifestError, match="has no image"):
        convert(held.artifact(held.index([descriptor])), Wanted("docker"), env)


def test_foreign_layers_are_never_read(env: Environment) -> None:
    held = Held()
    foreign = {
        "mediaType": DOCKER + "image.rootfs.foreign.diff.tar.gzip",
        "digest": digest(b"elsewhere"),
        "size": 9,
        "urls": ["https://elsewhere.test/layer"],
    }
    config = {"os": "windows", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest(b"tar")]}}
    value = {
        "schemaVersion": 2,
        "mediaType": TYPES["docker"]["manifest"],
        "config": held.put_json(config, TYPES["docker"]["config"]),
        "layers": [foreign],
    }
    before = held.artifact(held.put_json(value, TYPES["docker"]["manifest"]))
    done = convert(before, Wanted("oci", CompressionChoice("zstd", None, True)), env)
    (layer,) = said(done.artifact)["layers"]
    assert layer == {**foreign, "mediaType": OCI + "layer.nondistributable.v1.tar+gzip"}
    assert said(convert(done.artifact, Wanted("docker"), env).artifact) == value
    assert held.opened == []


def test_entries_of_docker_say_their_platform(env: Environment) -> None:
    held = Held()
    entry = held.image(platform=ARM)
    del entry["platform"]
    done = convert(held.artifact(held.index([entry])), Wanted("docker"), env)
    assert said(done.artifact)["manifests"][0]["platform"] == {"os": "linux", "architecture": "arm64"}


def test_an_index_within_an_index(env: Environment) -> None:
    held = Held()
    before = held.artifact(held.index([held.index([held.image()])]))
    done = convert(before, Wanted("oci", CompressionChoice("uncompressed")), env)
    inner = document(done.artifact, said(done.artifact)["manifests"][0])
    manifest = document(done.artifact, inner["manifests"][0])
    assert [one["mediaType"] for one in manifest["layers"]] == [TYPES["oci"]["uncompressed"]] * 2
    with pytest.raises(ManifestError, match="no index within an index"):
        convert(before, Wanted("docker"), env)


def test_embedded_data_goes_with_what_it_was(env: Environment) -> None:
    held = Held()
    descriptor = held.image(entry={"data": "e30="})
    done = convert(held.artifact(held.index([descriptor])), Wanted(None, CompressionChoice("zstd")), env)
    assert "data" not in said(done.artifact)["manifests"][0]


def test_the_same_image_under_two_names_is_converted_once(env: Environment) -> None:
    held = Held()
    image = held.image()
    done = convert(held.artifact(held.index([image, image])), Wanted(None, CompressionChoice("zstd")), env)
    assert len(done.changes) == 1
    assert len({one["digest"] for one in said(done.artifact)["manifests"]}) == 1


def test_layers_that_images_share_are_compressed_once(env: Environment) -> None:
    seen = Recording()
    held = Held()
    index = held.index([held.image(), held.image(platform=ARM)])
    convert(held.artifact(index), Wanted(None, CompressionChoice("zstd")), replace(env, reporter=seen))
    told = [one.message for one in seen.events if isinstance(one, Notice)]
    assert len(told) == len(set(told)) == len(TARS)


def test_it_can_be_interrupted(env: Environment) -> None:
    held = Held()
    env.cancel.set()
    with pytest.raises(InterruptedBuildError):
        convert(held.artifact(held.image()), Wanted(None, CompressionChoice("zstd")), env)


def test_dockers_zstd_that_docker_does_not_know(env: Environment) -> None:
    """BuildKit writes such images; their layers are what they are in either direction."""
    held = Held()
    zstd = convert(held.artifact(held.image()), Wanted(None, CompressionChoice("zstd")), env).artifact
    manifest = said(zstd)
    for one in manifest["layers"]:
        one["mediaType"] = DOCKER + "image.rootfs.diff.tar.zstd"
    manifest["mediaType"] = TYPES["docker"]["manifest"]
    manifest["config"]["mediaType"] = TYPES["docker"]["config"]
    for one, data in zip(manifest["layers"], layers(zstd, manifest), strict=True):
        held.blobs[one["digest"]] = data
    before = held.artifact(held.put_json(manifest, TYPES["docker"]["manifest"]))
    assert {one["mediaType"] for one in said(convert(before, Wanted("oci"), env).artifact)["layers"]} == {
        TYPES["oci"]["zstd"]
    }
    after = said(convert(before, Wanted("docker"), env).artifact)
    assert {one["mediaType"] for one in after["layers"]} == {TYPES["docker"]["gzip"]}


def test_bombs_of_indexes(env: Environment) -> None:
    held = Held()
    root = held.image(tars=())
    for _ in range(4):
        root = held.index([root] * 20)
    with pytest.raises(ManifestError, match="more than 10000 manifests"):
        convert(held.artifact(root), Wanted("oci"), env)
