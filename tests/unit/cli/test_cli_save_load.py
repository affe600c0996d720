"""``pybuild save`` and ``load``: archives of all ages, under the names they have."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.called import Call
from tests.support.cli import environment
from tests.support.legacy import identity, legacy_archive

Build = Callable[..., str]


def index_of(archive: Path) -> list[dict[str, Any]]:
    with tarfile.open(archive) as tar:
        stream = tar.extractfile("index.json")
        assert stream is not None
        found: list[dict[str, Any]] = json.loads(stream.read())["manifests"]
    return found


# --- save


def test_several_images_in_one_archive(call: Call, built: Build, tmp_path: Path) -> None:
    first = built("app:1", "app:also-1", contents="1")
    second = built("registry.example/app:2", contents="2")
    target = tmp_path / "saved.tar"
    done = call("save", "app:1", "app:also-1", "registry.example/app:2", "-o", target)
    assert done.lines == [f"app:1@{first}", f"app:also-1@{first}", f"registry.example/app:2@{second}"]
    with tarfile.open(target) as tar:
        stream = tar.extractfile("manifest.json")
        assert stream is not None
        listed = json.loads(stream.read())
    assert [one["RepoTags"] for one in listed] == [
        ["docker.io/library/app:1", "docker.io/library/app:also-1"],
        ["registry.example/app:2"],
    ]


def test_an_index_is_saved_whole_or_as_one_platform(call: Call, remote: Any, tmp_path: Path) -> None:
    name, made = remote("save")
    call("save", name, "--type=oci", "-o", tmp_path / "all.tar")
    assert [one["digest"] for one in index_of(tmp_path / "all.tar")] == [made.index["digest"]]
    with tarfile.open(tmp_path / "all.tar") as tar:
        held = {one.name.rpartition("/")[2] for one in tar if one.isfile()}
    assert {digest[7:] for digest in made.held.blobs} <= held

    call("save", name, "-o", tmp_path / "native.tar")
    assert images.read_image(tmp_path / "native.tar").digest == made.native["digest"]
    done = call("save", name, "--platform=riscv64", "-o", tmp_path / "other.tar", "--json")
    assert done.json == [{"names": [name], "digest": made.other["digest"]}]
    call("save", name, "--platform=s390x", "-o", tmp_path / "none.tar", status=67)
    assert not (tmp_path / "none.tar").exists()


def test_standard_output_is_the_default(built: Build, store_root: Path, tmp_path: Path) -> None:
    digest = built("app:1")
    with open(tmp_path / "out.tar", "wb") as out:
        command = [sys.executable, "-m", "builder.cli.main", "save", "app:1"]
        subprocess.run(command, stdout=out, check=True, env=environment(store_root))
    assert images.read_image(tmp_path / "out.tar").digest == digest


def test_an_image_without_a_name(call: Call, built: Build, tmp_path: Path) -> None:
    digest = built()
    assert call("save", digest, "-o", tmp_path / "x.tar").lines == [digest]
    done = call("load", "-i", tmp_path / "x.tar")
    assert done.lines == [f"Loaded image ID: sha256:{call('images', '-q', '--no-trunc').lines[0][7:]}"]
    assert call("images").lines[1].split()[:2] == ["<none>", "<none>"]
    assert len(call("images", "--filter=dangling=true").lines) == 2
    call("tag", call("images", "-q").lines[0], "named:1")
    assert [line.split()[0] for line in call("images").lines[1:]] == ["named"]
    assert f"Deleted: {digest}" in call("rmi", "named:1").lines


def test_images_are_found_by_their_id(call: Call, built: Build, registry: Any, tmp_path: Path) -> None:
    digest = built("app:1")
    short, whole = call("images", "-q").lines[0], call("images", "-q", "--no-trunc").lines[0]
    for number, text in enumerate((short, whole, whole[7:], digest, f"store:{short[:5]}")):
        call("save", text, "-o", tmp_path / f"{number}.tar")
        assert images.read_image(tmp_path / f"{number}.tar").digest == digest
        assert images.read_image(tmp_path / f"{number}.tar", docker=True).manifest["RepoTags"] == []
        assert "needs a name" in call("push", text, status=64).err
        call("push", text, f"{registry.host}/by-id/{number}:1")
        assert registry.tags(f"by-id/{number}") == {"1": digest}
    call("inspect", short)
    call("validate", f"store:{whole}")


@pytest.mark.parametrize("words", [["nosuch"], ["localhost/nosuch:1"]])
def test_a_name_nobody_has(call: Call, words: list[str], tmp_path: Path) -> None:
    call("save", *words, "-o", tmp_path / "x.tar", "--registry-map=docker.io=127.0.0.1:1", status=(67, 75))
    assert not (tmp_path / "x.tar").exists()


# --- load


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gzip", "bzip2", "xz"]
)
def test_names_and_digests_stay(
    call: Call, built: Build, tmp_path: Path, form: str, pack: Callable[[bytes], bytes]
) -> None:
    digest = built("app:1", "registry.example/app:2")
    call("save", f"--type={form}", "app:1", "registry.example/app:2", "-o", tmp_path / "plain.tar")
    call("rmi", "app:1", "registry.example/app:2")
    (tmp_path / "x.tar").write_bytes(pack((tmp_path / "plain.tar").read_bytes()))

    done = call("load", "-i", tmp_path / "x.tar")

    assert sorted(done.lines) == ["Loaded image: app:1", "Loaded image: registry.example/app:2"]
    assert {one["digest"] for one in call("images", "--json").json} == {digest}


@pytest.mark.parametrize("redirected", [True, False], ids=["file", "pipe"])
def test_standard_input(call: Call, built: Build, store_root: Path, tmp_path: Path, redirected: bool) -> None:
    built("app:1")
    call("save", "app:1", "-o", tmp_path / "x.tar")
    command = [sys.executable, "-m", "builder.cli.main", "load", "--json"]
    env = environment(tmp_path / "other-store")
    if redirected:
        with open(tmp_path / "x.tar", "rb") as stdin:
            done = subprocess.run(command, stdin=stdin, check=True, env=env, capture_output=True)
    else:
        done = subprocess.run(
            command, input=(tmp_path / "x.tar").read_bytes(), check=True, env=env, capture_output=True
        )
    assert json.loads(done.stdout)[0]["names"] == ["docker.io/library/app:1"]
    assert not list((tmp_path / "other-store").glob("tmp/*"))


def test_a_layout_with_an_index(call: Call, layout: tuple[Path, Any], store_root: Path) -> None:
    path, made = layout
    call("load", "-i", path)
    call("tag", made.index["digest"], "many:1")
    (value,) = [one for one in call("images", "--json").json if one["digest"] == made.index["digest"]]
    assert len(value["platforms"]) == 2
    here = {f"sha256:{one.name}" for one in store_root.glob("blobs/sha256/*/*")}
    assert set(made.held.blobs) <= here


def test_an_archive_from_before_docker_1_10(call: Call, tmp_path: Path) -> None:
    layers = [images.layer(images.file("a", "1")), images.layer(images.file("b", "2"))]
    names = {"old": {"1": identity(2)}, "old/base": {"1": identity(1)}}
    (tmp_path / "old.tar").write_bytes(legacy_archive(layers, names))
    assert call("load", "-i", tmp_path / "old.tar").lines == ["Loaded image: old:1", "Loaded image: old/base:1"]
    call("validate", "old:1")
    (tmp_path / "Dockerfile").write_text("FROM localhost/old:1\nCOPY --from=localhost/old/base:1 /a /c\n")
    call(tmp_path)


def test_an_archive_whose_index_names_more_than_it_has(call: Call, layout: tuple[Path, Any], tmp_path: Path) -> None:
    """Docker with containerd's store writes such archives when it has one platform only."""
    path, made = layout
    call("copy", f"oci:{path}:s", f"docker-archive:{tmp_path}/one.tar:app:1")
    with tarfile.open(tmp_path / "one.tar") as tar:
        tar.extractall(tmp_path / "one", filter="data")
    (tmp_path / "one/blobs/sha256" / made.index["digest"][7:]).write_bytes(made.held.blobs[made.index["digest"]])
    (tmp_path / "one/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [made.index]}))
    assert call("load", "-i", tmp_path / "one").lines == ["Loaded image: app:1"]
    assert call("images", "--json").json[0]["platforms"] == [f"linux/{images.host_architecture()}"]


@pytest.mark.parametrize(
    ("write", "status"),
    [
        (Path.absolute, 66),
        (lambda path: path.write_bytes(b""), 67),
        (lambda path: path.write_bytes(b"no archive at all" * 99), 67),
        (lambda path: path.write_bytes(images.layer(images.file("x", "y"))), 67),
        (lambda path: path.mkdir(), 67),
    ],
    ids=["absent", "empty", "noise", "another tar", "a directory"],
)
def test_what_is_no_archive(call: Call, tmp_path: Path, write: Callable[[Path], object], status: int) -> None:
    write(tmp_path / "x")
    assert call("load", "-i", tmp_path / "x", status=status).out == ""


@pytest.mark.parametrize("contents", [b"garbage", b"root:x:0:0:root:/root:/bin/sh\n" * 40], ids=["short", "long"])
def test_messages_name_the_file_that_is_no_archive(call: Call, tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(contents)
    said = call("load", "-i", tmp_path / "x.tar", status=67).err
    assert f"{tmp_path}/x.tar is no archive of an image" in said
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli.main", "load"],
        input=contents,
        env=environment(tmp_path / "other-store"),
        capture_output=True,
    )
    assert (done.returncode, done.stderr.startswith(b"pybuild: error: standard input is no archive")) == (67, True)


@pytest.mark.parametrize("contents", [b"", gzip.compress(b"")], ids=["nothing", "packed"])
def test_an_archive_that_nobody_wrote(call: Call, tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(contents)
    assert f"{tmp_path}/x.tar is empty" in call("load", "-i", tmp_path / "x.tar", status=67).err
    program = [sys.executable, "-m", "builder.cli.main", "load"]
    env = environment(tmp_path / "other-store")
    with (tmp_path / "x.tar").open("rb") as stream:
        redirected = subprocess.run(program, stdin=stream, env=env, capture_output=True)
    piped = subprocess.run(program, input=contents, env=env, capture_output=True)
    for done in (redirected, piped):
        assert (done.returncode, done.stderr.startswith(b"pybuild: error: standard input is empty: ")) == (67, True)
