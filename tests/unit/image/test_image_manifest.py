"""Manifests and indexes from strangers: what is read, what is refused, and how fast it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.config import ImageConfig
from builder.image.digest import Digest
from builder.image.fields import JSON_LIMIT
from builder.image.manifest import LAYER_LIMIT, Index, Manifest, ManifestError, parse_manifest
from builder.image.platform import Platform, PlatformNotFoundError

DIGEST = str(Digest.of(b"x"))


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


def descriptor(**changes: Any) -> dict[str, Any]:
    return {"mediaType": media.OCI_LAYER_GZIP, "digest": DIGEST, "size": 7, **changes}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": descriptor(mediaType=media.OCI_CONFIG),
        "layers": [descriptor()],
        **changes,
    }


def index(*manifests: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": list(manifests), **changes}


def image(platform: str | None, **changes: Any) -> dict[str, Any]:
    value = descriptor(mediaType=media.OCI_MANIFEST, **changes)
    if platform is not None:
        value["platform"] = Platform.parse(platform).to_json()
    return value


@pytest.mark.parametrize(
    ("document", "sent_as", "kind"),
    [
        (manifest(), "", media.OCI_MANIFEST),
        (manifest(), media.OCI_MANIFEST, media.OCI_MANIFEST),
        (manifest(), media.OCI_MANIFEST + "; charset=utf-8", media.OCI_MANIFEST),
        (manifest(mediaType=media.DOCKER_MANIFEST), media.DOCKER_MANIFEST, media.DOCKER_MANIFEST),
        (manifest(mediaType=None), media.DOCKER_MANIFEST, media.DOCKER_MANIFEST),
        (manifest(mediaType=""), "application/json", media.OCI_MANIFEST),
        (manifest(mediaType=""), "", media.OCI_MANIFEST),
        (index(), "", media.OCI_INDEX),
        (index(mediaType=media.DOCKER_INDEX), "", media.DOCKER_INDEX),
        (index(mediaType=""), "", media.OCI_INDEX),
        (index(mediaType=""), media.DOCKER_INDEX, media.DOCKER_INDEX),
    ],
)
def test_the_kind_comes_from_the_document_or_its_transport(document: object, sent_as: str, kind: str) -> None:
    parsed = parse_manifest(raw(document), sent_as)
    assert parsed.media_type == kind
    assert isinstance(parsed, Index if kind in media.INDEXES else Manifest)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
        (b'"x"', "expected an object"),
        (b'{"schemaVersion": NaN}', "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not valid JSON"),
        (raw({}), "schemaVersion"),
        (raw(manifest(schemaVersion="2")), "schemaVersion"),
        (raw(manifest(schemaVersion=True)), "schema"),
        (raw(manifest(schemaVersion=3)), "schemaVersion"),
        (raw({"schemaVersion": 2}), "neither"),
        (raw({"schemaVersion": 2, "layers": [], "manifests": []}), "neither"),
        (raw(manifest(mediaType=7)), "manifest.mediaType: expected a string"),
        (raw(manifest(layers="x")), "manifest.layers: expected a list"),
        (raw(manifest(layers=[7])), r"manifest.layers\[0\]: expected an object"),
        (raw(manifest(config=[])), "manifest.config: expected an object"),
        (raw(manifest(config=descriptor(size=-1))), "manifest.config.size"),
        (raw(manifest(config=descriptor(size=1 << 63))), "manifest.config.size"),
        (raw(manifest(config=descriptor(size=1.5))), "manifest.config.size"),
        (raw(manifest(config=descriptor(size="7"))), "manifest.config.size"),
        (raw(manifest(config=descriptor(size=True))), "manifest.config.size"),
        (raw(manifest(config=descriptor(size=None))), "manifest.config.size"),
        (raw(manifest(config=descriptor(digest="sha256:../../../etc/passwd"))), "manifest.config.digest"),
        (raw(manifest(layers=[descriptor(digest="/etc/passwd")])), r"manifest.layers\[0\].digest"),
        (raw(manifest(layers=[descriptor(digest=DIGEST + "/../x")])), r"manifest.layers\[0\].digest"),
        (raw(manifest(layers=[descriptor(digest=None)])), r"manifest.layers\[0\].digest"),
        (raw(manifest(layers=[descriptor(urls=["x", 7])])), r"manifest.layers\[0\].urls"),
        (raw(manifest(layers=[descriptor(annotations={"a": 7})])), r"manifest.layers\[0\].annotations"),
        (raw(manifest(annotations=["x"])), "manifest.annotations"),
        (raw(index(descriptor(platform=7))), r"manifest.manifests\[0\].platform"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        parse_manifest(data)


@pytest.mark.parametrize(
    ("document", "sent_as"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, ""),
        ({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (manifest(), "application/vnd.docker.distribution.manifest.v1+json"),
    ],
)
def test_schema_1_is_refused_with_the_way_out(document: object, sent_as: str) -> None:
    with pytest.raises(ManifestError, match="schema 1") as caught:
        parse_manifest(raw(document), sent_as)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("document", "sent_as"),
    [
        (manifest(), media.DOCKER_MANIFEST),
        (manifest(), media.OCI_INDEX),
        (index(), media.OCI_MANIFEST),
        (manifest(mediaType=media.OCI_INDEX), media.OCI_MANIFEST),
    ],
)
def test_a_document_and_its_transport_must_agree(document: object, sent_as: str) -> None:
    with pytest.raises(ManifestError, match="was sent as"):
        parse_manifest(raw(document), sent_as)


def test_a_manifest_that_is_also_an_index_is_refused() -> None:
    # The same bytes read as two things by two tools (CVE-2021-41190).
    both = {**manifest(), "manifests": [image("linux/amd64")]}
    with pytest.raises(ManifestError, match="both"):
        parse_manifest(raw(both))
    with pytest.raises(ManifestError, match="both"):
        parse_manifest(raw({**both, "mediaType": media.OCI_INDEX}))


def test_an_index_that_has_no_manifests_field_is_refused() -> None:
    with pytest.raises(ManifestError):
        parse_manifest(raw(manifest(mediaType=media.OCI_INDEX)))


def test_size_and_number_of_entries_are_limited() -> None:
    with pytest.raises(ImageError, match="the limit is"):
        parse_manifest(b" " * (JSON_LIMIT + 1))
    with pytest.raises(ManifestError, match=f"the limit is {LAYER_LIMIT}"):
        parse_manifest(raw(manifest(layers=[descriptor()] * (LAYER_LIMIT + 1))))
    with pytest.raises(ManifestError, match=f"the limit is {LAYER_LIMIT}"):
        parse_manifest(raw(index(*[image(None)] * (LAYER_LIMIT + 1))))
    assert isinstance(parse_manifest(raw(manifest(layers=[descriptor()] * LAYER_LIMIT))), Manifest)


def test_numbers_of_a_hundred_thousand_digits_are_refused() -> None:
    data = raw(manifest()).replace(b'"size": 7', b'"size": ' + b"9" * 100_000)
    with pytest.raises(ImageError):
        parse_manifest(data)


def test_descriptors_keep_fields_we_do_not_know() -> None:
    layer = descriptor(data="aGk=", artifactType="x/y", annotations={"a": "b"}, urls=["https://x"])
    parsed = parse_manifest(raw(manifest(layers=[layer])))
    assert isinstance(parsed, Manifest)
    assert parsed.layers[0].to_json() == layer


def test_what_we_write_reads_the_same() -> None:
    parsed = parse_manifest(raw(manifest(annotations={"b": "1", "a": "\u00e9"})))
    assert parse_manifest(parsed.to_bytes()) == parsed
    listed = parse_manifest(raw(index(image("linux/arm/v7"), annotations={"a": "b"})))
    assert parse_manifest(listed.to_bytes()) == listed


# --- choosing from an index


def test_the_platforms_image_is_selected_and_attestations_are_passed_over() -> None:
    other = str(Digest.of(b"other"))
    attestation = image(None, annotations={"vnd.docker.reference.type": "attestation-manifest"})
    attestation["platform"] = {"os": "unknown", "architecture": "unknown"}
    parsed = parse_manifest(raw(index(attestation, image("linux/arm64"), image("linux/amd64", digest=other))))
    assert isinstance(parsed, Index)
    assert parsed.select(Platform.parse("linux/amd64")).digest == other
    with pytest.raises(PlatformNotFoundError, match="available: linux/amd64, linux/arm64"):
        parsed.select(Platform.parse("linux/s390x"))


def test_a_single_image_without_a_platform_is_taken() -> None:
    parsed = parse_manifest(raw(index(image(None))))
    assert isinstance(parsed, Index)
    assert parsed.select(Platform.parse("linux/amd64")).digest == DIGEST


def test_an_index_that_is_the_only_thing_is_taken() -> None:
    attestation = image("unknown/unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"})
    parsed = parse_manifest(raw(index(descriptor(mediaType=media.OCI_INDEX), attestation)))
    assert isinstance(parsed, Index)
    assert parsed.select(Platform.parse("linux/amd64")).media_type == media.OCI_INDEX


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [image(None), image(None)],
        [descriptor(mediaType="application/vnd.example+json")],
        [descriptor(mediaType=media.OCI_INDEX), image(None), image(None)],
        [descriptor(mediaType=media.OCI_INDEX), descriptor(mediaType=media.OCI_INDEX)],
    ],
)
def test_an_index_without_a_fitting_image_says_so(entries: list[dict[str, Any]]) -> None:
    parsed = parse_manifest(raw(index(*entries)))
    assert isinstance(parsed, Index)
    with pytest.raises(PlatformNotFoundError):
        parsed.select(Platform.parse("linux/amd64"))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"rootfs": {"diff_ids": ["sha256:/etc/passwd"]}}, "diff_ids"),
        ({"rootfs": {"diff_ids": "x"}}, "diff_ids"),
        ({"rootfs": []}, "config.rootfs"),
        ({"config": []}, "config.config"),
        ({"config": {"Env": "A=1"}}, "config.config.Env"),
        ({"config": {"Labels": {"a": 1}}}, "config.config.Labels"),
        ({"config": {"ExposedPorts": ["80/tcp"]}}, "config.config.ExposedPorts"),
        ({"config": {"Healthcheck": []}}, "config.config.Healthcheck"),
        ({"config": {"Healthcheck": {"Interval": -1}}}, "config.config.Healthcheck.Interval"),
        ({"history": {}}, "config.history"),
        ({"history": [[]]}, r"config.history\[0\]"),
        ({"history": [{"empty_layer": "yes"}]}, r"config.history\[0\].empty_layer"),
        ({"created": 7}, "config.created"),
    ],
)
def test_bad_configs_are_refused_with_the_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ImageError, match=place):
        ImageConfig.parse(raw({"os": "linux", "architecture": "amd64", **change}))
