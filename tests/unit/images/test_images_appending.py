"""Layers on top of images: from tars, directories and URLs; history, annotations, formats; hostile tars."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builder.archive.docker_archive import write_docker_archive
from builder.archive.image import Entry
from builder.engine.build import Environment
from builder.engine.times import TimePolicy
from builder.errors import BuilderError, ContextError, UsageError
from builder.image.digest import DiffID, Digest
from builder.image.manifest import ManifestError
from builder.image.platform import Platform
from builder.images.appending import BASE_DIGEST, BASE_NAME, Addition, append, public_name, scratch
from builder.images.layering import LayerFile, LayerSpec, LayerURL, layers_of
from builder.images.mutating import Mutation, mutate
from builder.rootfs.coding import Coding, Compression
from tests.support.artifacts import DOCKER, OCI, TARS, TYPES, Held, config_of, digest, document, layers, said
from tests.support.httpd import Quiet, serving
from tests.support.images import directory, file, inflate, layer, symlink

TAR = layer(directory("opt"), file("opt/new", "new"), file("opt/.wh.old", ""), symlink("opt/link", "new"))
EPOCH = TimePolicy("clamp", 1_000_000_000, 2_000_000_000)
STAMP = "2001-09-09T01:46:40Z"
ARM = {"architecture": "arm64"}


def made(
    env: Environment, spec: LayerSpec, *, coding: Coding | None = None, times: TimePolicy = EPOCH, **variables: str
) -> Addition:
    (one,) = layers_of((spec,), coding, times, env, variables)
    return Addition(one, f"pybuild append {spec.name}")


def tar_file(tmp_path: Path, data: bytes, name: str = "new.tar") -> LayerFile:
    path = tmp_path / name
    path.write_bytes(data)
    return LayerFile(str(path))


@pytest.mark.parametrize("image_format", ["oci", "docker"])
def test_a_tar_on_an_image(env: Environment, tmp_path: Path, image_format: str) -> None:
    held = Held()
    before = held.artifact(held.image(image_format))
    done = append(before, [made(env, tar_file(tmp_path, TAR))], EPOCH, env)
    after, config = said(done.artifact), config_of(done)
    assert after["layers"][:2] == said(before)["layers"]
    assert after["layers"][2]["mediaType"] == TYPES[image_format]["gzip"]
    assert after["config"]["mediaType"] == TYPES[image_format]["config"]
    assert config["rootfs"]["diff_ids"] == [*(digest(one) for one in TARS), digest(TAR)]
    assert config["history"][2:] == [{"created": STAMP, "created_by": "pybuild append new.tar"}]
    assert config["created"] == STAMP
    assert config["config"]["Env"] == ["PATH=/bin", "A=1"]
    assert config["unknown.to.us"] == {"kept": [1, 2.5, None]}
    assert held.opened == []
    assert inflate(layers(done.artifact, after)[2]) == TAR
    (change,) = done.changes
    assert [one.before is None for one in change.layers] == [False, False, True]


@pytest.mark.parametrize(
    ("packed", "kept"),
    [
        (TAR, False),
        (gzip.compress(TAR), True),
        (zstandard.compress(TAR), True),
        (lzma.compress(TAR), False),
        (bz2.compress(TAR), False),
    ],
)
def test_tars_of_any_compression(env: Environment, tmp_path: Path, packed: bytes, kept: bool) -> None:
    one = made(env, tar_file(tmp_path, packed)).layer
    assert one.diff_id == digest(TAR)
    with one.open() as stream:
        data = stream.read()
    assert inflate(data) == TAR
    assert (data == packed) == kept
    assert env.store.toc_path(one.diff_id).exists()
    asked = made(env, tar_file(tmp_path, packed), coding=Coding(Compression.NONE)).layer
    assert asked.descriptor.digest == digest(TAR)


def test_a_zstd_tar_on_an_image_in_dockers_format(env: Environment, tmp_path: Path) -> None:
    held = Held()
    addition = made(env, tar_file(tmp_path, zstandard.compress(TAR)))
    done = append(held.artifact(held.image("docker")), [addition], EPOCH, env)
    assert said(done.artifact)["layers"][2]["mediaType"] == TYPES["docker"]["gzip"]
    assert inflate(layers(done.artifact, said(done.artifact))[2]) == TAR


HOSTILE = {
    "a path that leads out": layer(file("../../etc/passwd", "x")),
    "no tar": b"#!/bin/sh\necho hello\n" * 100,
    "cut short": TAR[:700],
    "damaged gzip": gzip.compress(TAR)[:-9],
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_layer(env: Environment, tmp_path: Path, kind: str) -> None:
    with pytest.raises(BuilderError, match=r"the layer .*new\.tar: "):
        made(env, tar_file(tmp_path, HOSTILE[kind]))
    assert not list((tmp_path / "store").glob("blobs/sha256/*/*"))


def test_a_file_that_is_not_there(env: Environment) -> None:
    with pytest.raises(ContextError, match="cannot read the layer /nowhere: No such file"):
        made(env, LayerFile("/nowhere"))


def files(root: Path, mode: int = 0o755) -> LayerFile:
    (root / "etc" / "deep").mkdir(parents=True)
    (root / "etc" / "deep" / "f").write_text("contents")
    (root / "etc" / "deep" / "f").chmod(mode)
    (root / "etc" / "l").symlink_to("deep/f")
    os.link(root / "etc" / "deep" / "f", root / "etc" / "h")
    return LayerFile(str(root))


def test_a_directory_is_packed_like_a_copy(env: Environment, tmp_path: Path) -> None:
    one = made(env, files(tmp_path / "files")).layer
    with one.open() as stream, tarfile.open(fileobj=io.BytesIO(inflate(stream.read()))) as archive:
        found = {each.name: each for each in archive}
    assert list(found) == ["etc", "etc/deep", "etc/deep/f", "etc/h", "etc/l"]
    assert {(each.uid, each.gid, each.uname, each.mtime <= 1_000_000_000) for each in found.values()} == {
        (0, 0, "", True)
    }
    assert found["etc/h"].islnk()
    assert found["etc/l"].linkname == "deep/f"


def test_directories_give_the_same_layer_from_every_checkout(env: Environment, tmp_path: Path) -> None:
    reproducible = TimePolicy("set", 0, 5)
    first = made(env, files(tmp_path / "one", 0o700), times=reproducible).layer
    os.utime(tmp_path / "one" / "etc", (7, 7))
    second = made(env, files(tmp_path / "two" / "one", 0o755), times=reproducible).layer
    assert first.descriptor == second.descriptor
    assert made(env, files(tmp_path / "three", 0o700)).layer.descriptor != first.descriptor


def test_an_empty_directory(env: Environment, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ContextError, match="there is nothing to append"):
        made(env, LayerFile(str(tmp_path / "empty")))


def test_every_image_of_an_index(env: Environment, tmp_path: Path) -> None:
    held = Held()
    amd, arm = held.image(), held.image(platform=ARM)
    about = held.attestation(amd["digest"])
    before = held.artifact(held.index([amd, arm, about], annotations={"a": "b"}))
    done = append(before, [made(env, tar_file(tmp_path, TAR))], EPOCH, env, "registry.test/base:1")
    root = said(done.artifact)
    based = {BASE_NAME: "registry.test/base:1", BASE_DIGEST: str(before.digest)}
    assert root["annotations"] == {"a": "b", **based}
    for entry in root["manifests"][:2]:
        manifest = document(done.artifact, entry)
        assert manifest["annotations"] == based
        assert document(done.artifact, manifest["config"])["rootfs"]["diff_ids"][2] == digest(TAR)
    assert root["manifests"][2]["annotations"]["vnd.docker.reference.digest"] == root["manifests"][0]["digest"]


def test_what_the_base_was_based_on_is_not_said_again(env: Environment, tmp_path: Path) -> None:
    held = Held()
    before = held.artifact(held.image(annotations={BASE_NAME: "old.test/x", BASE_DIGEST: "sha256:0", "a": "b"}))
    done = append(before, [made(env, tar_file(tmp_path, TAR))], EPOCH, env)
    assert said(done.artifact)["annotations"] == {"a": "b"}


def test_images_in_dockers_format_have_no_annotations_to_lose(env: Environment, tmp_path: Path) -> None:
    held = Held()
    before = held.artifact(held.index([held.image("docker")], "docker"))
    done = append(before, [made(env, tar_file(tmp_path, TAR))], EPOCH, env, "registry.test/base:1")
    assert done.warnings == ()
    assert "annotations" not in said(done.artifact)
    assert done.artifact.root.media_type == TYPES["docker"]["index"]


def test_from_scratch(env: Environment, tmp_path: Path) -> None:
    additions = [made(env, tar_file(tmp_path, TARS[0])), made(env, tar_file(tmp_path, TARS[1], "b.tar"))]
    additions[1] = replace(additions[1], comment="why")
    done = append(scratch(Platform("linux", "arm64")), additions, EPOCH, env)
    config = config_of(done)
    assert (config["os"], config["architecture"]) == ("linux", "arm64")
    assert config["rootfs"]["diff_ids"] == [digest(one) for one in TARS]
    assert config["history"] == [
        {"created": STAMP, "created_by": "pybuild append new.tar"},
        {"created": STAMP, "created_by": "pybuild append b.tar", "comment": "why"},
    ]
    assert [inflate(one) for one in layers(done.artifact, said(done.artifact))] == list(TARS)


def test_a_history_that_does_not_fit_is_made_to(env: Environment, tmp_path: Path) -> None:
    held = Held()
    image = held.image()
    manifest = said(held.artifact(image))
    config = {**document(held.artifact(image), manifest["config"]), "history": []}
    manifest["config"] = held.put_json(config, TYPES["oci"]["config"])
    before = held.artifact(held.put_json(manifest, TYPES["oci"]["manifest"]))
    done = append(before, [made(env, tar_file(tmp_path, TAR))], EPOCH, env)
    assert len(config_of(done)["history"]) == 3


# --- foreign layers


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = gzip.compress(TAR, mtime=0) if self.path == "/layer.tar.gz" else TAR
            if self.path == "/gone":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}", asked


@pytest.mark.parametrize(
    ("image_format", "kind"),
    [
        ("oci", OCI + "layer.nondistributable.v1.tar+gzip"),
        ("docker", DOCKER + "image.rootfs.foreign.diff.tar.gzip"),
    ],
)
def test_a_foreign_layer_stays_where_it_is(
    env: Environment, server: tuple[str, list[str]], image_format: str, kind: str
) -> None:
    base, asked = server
    data = gzip.compress(TAR, mtime=0)
    urls = (f"{base}/gone", f"{base}/layer.tar.gz")
    spec = LayerURL(urls, Digest(digest(data)), len(data), DiffID(Digest(digest(TAR))))
    held = Held()
    done = append(held.artifact(held.image(image_format)), [made(env, spec)], EPOCH, env)
    after = said(done.artifact)["layers"][2]
    assert after == {"mediaType": kind, "digest": digest(data), "size": len(data), "urls": list(urls)}
    assert asked == []
    assert inflate(layers(done.artifact, said(done.artifact))[2]) == TAR
    assert asked[-1] == "/layer.tar.gz"


def test_the_diff_id_of_a_foreign_layer_is_learnt_from_its_bytes(
    env: Environment, server: tuple[str, list[str]]
) -> None:
    base, _ = server
    data = gzip.compress(TAR, mtime=0)
    one = made(env, LayerURL((f"{base}/layer.tar.gz",), Digest(digest(data)), len(data))).layer
    assert one.diff_id == digest(TAR)
    plain = made(env, LayerURL((f"{base}/plain",), Digest(digest(TAR)), len(TAR))).layer
    assert plain.descriptor.media_type == OCI + "layer.nondistributable.v1.tar"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"size": 3}, "bytes, not 3"),
        ({"digest": Digest.of(b"other")}, "has the digest"),
        ({"urls": ("http://files.test/x",)}, "with https only"),
        ({"urls": ("ftp://files.test/x",)}, r"expected an http\(s\) URL|with https only"),
    ],
)
def test_foreign_layers_that_are_not_as_said(
    env: Environment, server: tuple[str, list[str]], what: dict[str, Any], message: str
) -> None:
    data = gzip.compress(TAR, mtime=0)
    spec = LayerURL((f"{server[0]}/layer.tar.gz",), Digest(digest(data)), len(data))
    with pytest.raises((ContextError, UsageError), match=message):
        made(env, replace(spec, **what))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("docker://debian:12", "docker.io/library/debian:12"),
        ("debian", "docker.io/library/debian:latest"),
        ("registry.test/x@sha256:" + "0" * 64, "registry.test/x@sha256:" + "0" * 64),
        ("localhost/x", ""),
        ("store:x", ""),
        ("oci-layout://dir", ""),
        ("/dir", ""),
        ("sha256:" + "0" * 64, ""),
    ],
)
def test_names_that_others_can_look_up(env: Environment, text: str, name: str) -> None:
    assert public_name(text, env) == name


def test_what_is_no_image_gets_no_layers(env: Environment, tmp_path: Path) -> None:
    held = Held()
    config = held.put(b"{}", OCI + "empty.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": TYPES["oci"]["manifest"], "config": config, "layers": []}
    artifact = held.artifact(held.put_json(manifest, TYPES["oci"]["manifest"]))
    with pytest.raises(ManifestError, match="is no image"):
        append(artifact, [made(env, tar_file(tmp_path, TAR))], EPOCH, env)
    with pytest.raises(ManifestError, match="is no image"):
        mutate(artifact, Mutation(history="a line"))
    with pytest.raises(ManifestError, match="is no image"):
        write_docker_archive([Entry(artifact, ())], tmp_path / "artifact.tar")
    assert not (tmp_path / "artifact.tar").exists()
