"""``convert``, ``append`` and ``mutate`` as commands: what they answer, where to, and their mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.artifacts import TARS, TYPES, Held, digest
from tests.support.called import Call
from tests.support.cli import environment
from tests.support.placing import to_layout
from tests.support.registry import TestRegistry


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Return a place with one image in OCI's format."""
    held = Held()
    to_layout(tmp_path / "source", held, {"one": held.image(annotations={"a": "b"}), "index": _index(held)})
    return f"oci-layout://{tmp_path}/source"


def _index(held: Held) -> dict[str, Any]:
    return held.index([held.image(), held.image(platform={"architecture": "arm64"})])


def test_convert_answers_one_line_and_explains_on_stderr(call: Call, source: str, tmp_path: Path) -> None:
    target = f"oci-archive:{tmp_path}/x.tar:t"
    done = call("convert", "--format", "docker", f"{source}:one", target)
    (line,) = done.lines
    made = images.read_image(tmp_path / "x.tar", "t")
    assert line == f"{target}@{made.digest}"
    assert made.manifest["mediaType"] == TYPES["docker"]["manifest"]
    assert "media type application/vnd.oci" in done.err
    assert f"image ID stays {made.image_id}" in done.err
    assert "warning: the image linux/amd64 loses annotations" in done.err
    quiet = call("convert", "-q", "--format", "oci", f"oci-archive:{tmp_path}/x.tar", "store:quiet:1")
    assert (quiet.err, quiet.lines[0].partition("@")[0]) == ("", "store:quiet:1")


def test_convert_says_nothing_changed(call: Call, source: str, tmp_path: Path) -> None:
    done = call("convert", "--format", "oci", f"{source}:index", f"oci-layout://{tmp_path}/out:t")
    assert "nothing changes: sha256:" in done.err
    (entry,) = json.loads((tmp_path / "out/index.json").read_bytes())["manifests"]
    assert done.lines == [f"oci-layout://{tmp_path}/out:t@{entry['digest']}"]


def test_convert_as_json(call: Call, source: str, tmp_path: Path) -> None:
    found = call("convert", "--json", "--compression=zstd", f"{source}:index", f"oci-layout://{tmp_path}/out:t").json
    assert found["before"]["mediaType"] == found["after"]["mediaType"] == TYPES["oci"]["index"]
    assert found["before"]["digest"] != found["after"]["digest"]
    assert [one["platform"] for one in found["images"]] == ["linux/amd64", "linux/arm64"]
    for image in found["images"]:
        assert image["sameImageID"] is True
        assert image["imageID"] == image["config"]["before"]["digest"]
        assert image["why"] == ["2 of 2 layers recompressed"]
        assert [one["diffID"] for one in image["layers"]] == [digest(one) for one in TARS]
        assert all(one["after"]["mediaType"] == TYPES["oci"]["zstd"] for one in image["layers"])
        assert not any(one["same"] for one in image["layers"])
    assert found["destinations"] == [f"oci-layout://{tmp_path}/out:t"]


def test_one_platform_of_an_index(call: Call, source: str, tmp_path: Path) -> None:
    out = f"docker-archive:{tmp_path}/d.tar:x:1"
    call("convert", "--format=docker", "--platform=linux/arm64", f"{source}:index", out)
    assert images.read_image(tmp_path / "d.tar", docker=True).config["architecture"] == "arm64"
    done = call("convert", "--format=docker", f"{source}:index", f"docker-archive:{tmp_path}/all.tar", status=(64, 67))
    assert "docker archive" in done.err


def test_images_go_to_registries_and_the_store(call: Call, source: str, registry: TestRegistry) -> None:
    name = f"{registry.host}/changes/converted:1"
    (line,) = call("convert", "--compression=uncompressed", f"{source}:one", name).lines
    assert line.partition("@")[0] == name
    (kept,) = call("mutate", name, "--tag", "changed:1", "--label", "k=v").lines
    assert kept.startswith("changed:1@sha256:")
    assert call("mutate", "changed:1", "-t", "changed:2", "--label", "k=v").lines == [kept.replace(":1@", ":2@")]
    (pushed,) = call("mutate", "changed:1", "--repo", f"{registry.host}/changes/bydigest", "--user", "5").lines
    repository, _, pinned = pushed.partition("@")
    _, _, data = registry.get(f"/v2/changes/bydigest/manifests/{pinned}", TYPES["oci"]["manifest"])
    assert digest(data) == pinned
    assert repository == f"{registry.host}/changes/bydigest"


def test_archives_on_standard_output(call: Call, source: str, tmp_path: Path, store_root: Path) -> None:
    with open(tmp_path / "out.tar", "wb") as target:
        subprocess.run(
            [sys.executable, "-m", "builder.cli.main", "mutate", "-q", f"{source}:one", "oci-archive:-", "--user=5"],
            stdout=target,
            check=True,
            env=environment(store_root),
        )
    assert images.read_image(tmp_path / "out.tar").config["config"]["User"] == "5"


def test_append_reads_standard_input(source: str, tmp_path: Path, store_root: Path) -> None:
    extra = images.layer(images.file("extra", "x"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "builder.cli.main", "append", "--layer=-", "--created-by=me"),
            *(f"{source}:one", f"oci-archive:{tmp_path}/o.tar:t"),
        ],
        input=extra,
        capture_output=True,
        check=True,
        env=environment(store_root, {"SOURCE_DATE_EPOCH": "86400"}),
    )
    found = images.read_image(tmp_path / "o.tar", "t")
    assert found.config["history"][-1] == {"created": "1970-01-02T00:00:00Z", "created_by": "me"}
    assert b"layer 3 of 3" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "A", "B"], "nothing to convert"),
        (["convert", "--compression-level=3", "A", "B"], "needs a compression"),
        (["convert", "--force-compression", "A", "B"], "needs a compression"),
        (["convert", "--compression=zstd", "--format=docker", "A", "B"], "knows no zstd"),
        (["convert", "--compression=zstd", "A", "docker-archive:b.tar"], "have no zstd layers"),
        (["convert", "--compression=gzip", "--compression-level=12", "A", "B"], "from 0 to 9"),
        (["convert", "--format=other", "A", "B"], "invalid choice"),
        (["append", "A", "B"], "nothing to append"),
        (["append", "A", "B", "--layer=-", "--layer=-"], "only one layer can come from standard input"),
        (["append", "A", "B", "--digest", "sha256:0"], "add --url"),
        (["append", "A", "B", "--url", "https://x.test/l"], "needs --digest and --size"),
        (["append", "A", "B", "--url=https://x.test/l", f"--digest={digest(b'')}", "--size=x"], "number of bytes"),
        (["append", "A", "B", "--layer=x", "--source-date-epoch=then"], "not a number of seconds"),
        (["mutate", "A"], "where should the image go"),
        (["mutate", "A", "--repo=r.test/x:1"], "a repository has no tag"),
        (["mutate", "A", "B", "--unset=all"], "no such thing"),
    ],
)
def test_mistakes_are_told_before_any_work(call: Call, words: list[str], message: str) -> None:
    done = call(*words, status=64)
    assert message in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["append", "scratch", "oci-archive:{tmp}/o.tar", "--layer={tmp}/text"], 67, "the layer {tmp}/text: "),
        (["append", "scratch", "oci-archive:{tmp}/o.tar", "--layer={tmp}/none"], 66, "cannot read the layer"),
        (["append", "scratch", "{tmp}/o.tar", "--layer={tmp}/dir"], 64, "does not say what to write"),
        (["convert", "--format=docker", "oci-layout://{tmp}/none", "store:x"], 66, "there is no image file"),
    ],
)
def test_failures_have_their_status(call: Call, tmp_path: Path, words: list[str], status: int, message: str) -> None:
    (tmp_path / "text").write_text("no tar\n" * 500)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "f").write_text("x")
    done = call(*(word.replace("{tmp}", str(tmp_path)) for word in words), status=status)
    assert message.replace("{tmp}", str(tmp_path)) in done.err
    assert not (tmp_path / "o.tar").exists()
