"""``pybuild copy`` between all kinds of places: bytes and digests stay."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.cli.main import main
from tests.support import images
from tests.support.artifacts import TYPES, Held
from tests.support.called import Call
from tests.support.cli import environment
from tests.support.placing import to_registry
from tests.support.registry import TestRegistry

_NUMBERS = itertools.count()
KINDS = ("registry", "store", "layout", "oci-archive", "docker-archive")


@pytest.fixture
def place(registry: TestRegistry, tmp_path: Path) -> Callable[[str], str]:
    """Return a new place of a kind."""

    def make(kind: str) -> str:
        number = next(_NUMBERS)
        return {
            "registry": f"{registry.host}/copy/{number}:t",
            "store": f"store:copy/{number}:t",
            "layout": f"oci-layout://{tmp_path}/layout-{number}:t",
            "oci-archive": f"oci-archive:{tmp_path}/{number}.oci.tar:t",
            "docker-archive": f"docker-archive:{tmp_path}/{number}.docker.tar:copy/x:t",
        }[kind]

    return make


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_an_image_keeps_its_digest_in_any_pair(
    call: Call, layout: tuple[Path, Any], place: Callable[[str], str], source: str, target: str
) -> None:
    path, made = layout
    first, second, third = place(source), place(target), place("layout")
    for origin, goal in ((f"oci-layout://{path}:s", first), (first, second), (second, third)):
        assert call("copy", origin, goal).lines == [f"{goal}@{made.native['digest']}"]
    found = images.read_image(Path(third.removeprefix("oci-layout://").removesuffix(":t")), "t")
    assert found.raw_manifest == made.held.blobs[made.native["digest"]]
    assert list(found.layers) == [made.held.blobs[one["digest"]] for one in found.manifest["layers"]]


@pytest.mark.parametrize("target", [one for one in KINDS if one != "docker-archive"])
@pytest.mark.parametrize("source", [one for one in KINDS if one != "docker-archive"])
def test_an_index_keeps_all_its_images_and_attestations(
    call: Call, layout: tuple[Path, Any], place: Callable[[str], str], source: str, target: str
) -> None:
    path, made = layout
    first, second, third = place(source), place(target), place("layout")
    for origin, goal in ((f"oci-layout://{path}:m", first), (first, second), (second, third)):
        assert call("copy", "--all-platforms", origin, goal).lines == [f"{goal}@{made.index['digest']}"]
    blobs = Path(third.removeprefix("oci-layout://").removesuffix(":t")) / "blobs/sha256"
    assert {f"sha256:{one.name}" for one in blobs.iterdir()} == set(made.held.blobs)


def test_one_platform_is_an_image_and_two_a_smaller_index(call: Call, layout: tuple[Path, Any], tmp_path: Path) -> None:
    path, made = layout
    one = call("copy", "--platform=linux/riscv64", f"oci:{path}:m", f"docker-archive:{tmp_path}/one.tar:a/b:1")
    assert one.lines[0].endswith(made.other["digest"])
    again = call("digest", f"docker-archive:{tmp_path}/one.tar")
    assert again.lines == [made.other["digest"]]

    both = f"linux/riscv64,linux/{images.host_architecture()}"
    done = call("copy", f"--platform={both}", f"oci:{path}:m", f"oci:{tmp_path}/two:1", "--json")
    assert done.json[0]["digest"] == made.index["digest"]  # nothing is left out: the attestation is about one of them

    call("copy", "--platform=linux/s390x", f"oci:{path}:m", f"oci:{tmp_path}/three:1", status=67)
    assert not (tmp_path / "three").exists()


def test_an_index_does_not_fit_into_a_docker_archive(call: Call, layout: tuple[Path, Any], tmp_path: Path) -> None:
    done = call("copy", f"oci:{layout[0]}:m", f"docker-archive:{tmp_path}/x.tar", status=67)
    assert "--platform" in done.err
    assert not (tmp_path / "x.tar").exists()


def test_within_a_registry_blobs_are_mounted(call: Call, remote: Any, registry: TestRegistry, store_root: Path) -> None:
    name, made = remote("mount")
    mark = registry.mark()
    targets = [f"{registry.host}/copy/mounted:{tag}" for tag in ("a", "b")]

    done = call("copy", name, *targets, "--preserve-digests")

    assert done.lines == [f"{target}@{made.index['digest']}" for target in targets]
    seen = registry.requests(mark)
    assert not [one for one in seen if one.method == "PATCH" or (one.method == "GET" and "/blobs/" in one.path)]
    assert registry.missing("copy/mounted") == set()
    layers = json.loads(made.held.blobs[made.native["digest"]])["layers"]
    assert not [one for one in layers if list(store_root.glob(f"blobs/sha256/*/{one['digest'][7:]}"))]


def test_one_source_to_places_of_several_kinds(call: Call, remote: Any, tmp_path: Path) -> None:
    name, made = remote("several")
    done = call("copy", name, f"oci:{tmp_path}/a:1", f"oci-archive:{tmp_path}/b.tar")
    assert [line.rpartition("@")[2] for line in done.lines] == [made.index["digest"]] * 2


def test_an_archive_on_standard_output(layout: tuple[Path, Any], store_root: Path, tmp_path: Path) -> None:
    words = ["copy", f"oci:{layout[0]}:s", "oci-archive:-"]
    with open(tmp_path / "out.tar", "wb") as out:
        command = [sys.executable, "-m", "builder.cli.main", *words]
        subprocess.run(command, stdout=out, check=True, env=environment(store_root))
    assert images.read_image(tmp_path / "out.tar").digest == layout[1].native["digest"]


def test_what_cannot_be_is_said(call: Call, layout: tuple[Path, Any], tmp_path: Path) -> None:
    source = f"oci-layout://{layout[0]}:s"
    assert "oci-archive:./x.tar" in call("copy", source, "./x.tar", status=64).err
    assert "unknown kind of place" in call("copy", source, "ftp://x", status=64).err
    assert "has no image called" in call("copy", f"oci-layout://{layout[0]}:nosuch", "store:a", status=67).err
    call("copy", f"oci-archive:{tmp_path}/nosuch.tar", "store:a", status=66)


def test_a_damaged_blob_is_not_passed_on(
    call: Call, layout: tuple[Path, Any], registry: TestRegistry, tmp_path: Path
) -> None:
    path, made = layout
    manifest = json.loads(made.held.blobs[made.native["digest"]])
    blob = path / "blobs/sha256" / manifest["layers"][0]["digest"][7:]
    blob.write_bytes(os.urandom(blob.stat().st_size))
    for target in (f"oci:{tmp_path}/a:1", f"{registry.host}/copy/damaged:1", f"oci-archive:{tmp_path}/b.tar"):
        assert "sha256" in call("copy", f"oci:{path}:s", target, status=67).err
    assert registry.tags("copy/damaged") == {}
    assert main(["digest", f"oci-layout://{tmp_path}/a:1"]) != 0


def test_blobs_that_only_passed_through_do_not_stay(call: Call, remote: Any, store_root: Path, tmp_path: Path) -> None:
    name, made = remote("through")
    layers = {one["digest"] for one in json.loads(made.held.blobs[made.native["digest"]])["layers"]}

    def stored() -> set[str]:
        return {f"sha256:{path.name}" for path in store_root.glob("blobs/sha256/*/*")} & layers

    call("copy", name, f"oci:{tmp_path}/a:1")
    assert stored() == set()
    call("pull", name)
    call("copy", name, f"oci:{tmp_path}/b:1")
    assert stored() == layers
    call("rmi", name)
    call("copy", name, "store:kept:1", f"oci:{tmp_path}/c:1")
    assert stored() == layers


def test_images_of_an_archive_by_their_number(call: Call, layout: tuple[Path, Any], tmp_path: Path) -> None:
    path, made = layout
    for number, platform in enumerate((images.host_architecture(), "riscv64")):
        call("copy", f"--platform={platform}", f"oci:{path}:m", f"store:number:{number}")
    call("save", "number:0", "number:1", "--platform=riscv64", "-o", tmp_path / "x.tar", status=67)
    digests = [one["digest"] for one in call("images", "--json").json]
    call("save", *digests, "-o", tmp_path / "x.tar")
    place = f"docker-archive:{tmp_path}/x.tar"
    said = call("copy", place, f"oci:{tmp_path}/a:1", status=67).err
    assert "several images" in said
    assert "the first is @0" in said
    found = [call("copy", f"{place}:@{number}", f"oci:{tmp_path}/a:{number}").lines[0] for number in (0, 1)]
    assert {line.rpartition("@")[2] for line in found} == {made.native["digest"], made.other["digest"]}
    for wrong in ("@2", "@x", "@-1", "@"):
        assert "the first is @0" in call("copy", f"{place}:{wrong}", f"oci:{tmp_path}/a:1", status=67).err


def test_an_artifact_that_is_no_image(call: Call, registry: TestRegistry, tmp_path: Path) -> None:
    held = Held()
    value = {
        "schemaVersion": 2,
        "mediaType": TYPES["oci"]["manifest"],
        "config": held.put(b'{"name":"chart"}', "application/vnd.cncf.helm.config.v1+json"),
        "layers": [held.put(b"a chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
        "annotations": {"a": "b"},
    }
    chart = held.put_json(value, TYPES["oci"]["manifest"])
    name = to_registry(registry, held, chart, "copy/chart:1")
    places = [
        f"oci:{tmp_path}/chart:1",
        "store:chart:1",
        f"oci-archive:{tmp_path}/chart.tar:1",
        f"{registry.host}/copy/chart:2",
    ]
    for source, target in itertools.pairwise([name, *places]):
        assert call("copy", source, target).lines[0].endswith(chart["digest"])
    assert registry.tags("copy/chart") == {"1": chart["digest"], "2": chart["digest"]}
    assert call("pull", "--json", name).json[0]["image"]["platform"] is None
    assert call("images", "--json").json[0]["platforms"] == []
    assert "is no image" in call("save", "chart:1", "-o", tmp_path / "x.tar", status=67).err
    call("save", "chart:1", "--type=oci", "-o", tmp_path / "x.tar")
    assert call("load", "-i", tmp_path / "x.tar").lines == ["Loaded image: chart:1"]
