"""``pybuild validate``: what is wrong with an image, told all at once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.cli.main import main
from tests.support import images

_OCI = "application/vnd.oci.image."
_LAYER = images.layer(images.file("a", "1"))


@pytest.fixture
def layout(tmp_path: Path, store_root: Path) -> Path:
    images.write_layout(tmp_path / "layout", [_LAYER])
    return tmp_path / "layout"


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _put(layout: Path, document: dict[str, Any], **entry: Any) -> dict[str, Any]:
    """Add a document to a layout; return its descriptor."""
    raw = json.dumps(document).encode()
    digest = images.layer_digests([raw])[0]
    _blob(layout, digest).write_bytes(raw)
    return {"mediaType": document["mediaType"], "digest": digest, "size": len(raw), **entry}


def _set_root(layout: Path, *entries: dict[str, Any]) -> None:
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(entries)}))


def _change(layout: Path, change: Callable[[dict[str, Any]], None], part: str = "manifest") -> None:
    """Rewrite a manifest or config, digests above it included."""
    image = images.read_image(layout)
    manifest = json.loads(image.raw_manifest)
    if part == "config":
        config = json.loads(image.raw_config)
        change(config)
        manifest["config"] |= _put(layout, {**config, "mediaType": _OCI + "config.v1+json"})
    else:
        change(manifest)
    _set_root(layout, _put(layout, manifest))


def _ran(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 0) -> str:
    assert main(["validate", *map(str, words)]) == status, capsys.readouterr().err
    captured = capsys.readouterr()
    return captured.out if not status else captured.err


def test_a_whole_image(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = images.read_image(layout).digest
    assert _ran(capsys, layout) == f"{digest}\n"
    value = json.loads(_ran(capsys, "--json", layout))
    assert value["valid"] is True
    assert value["manifests"] == [
        {"kind": "image", "digest": digest, "platform": f"linux/{images.host_architecture()}", "problems": []}
    ]


def _other_diff_id(config: dict[str, Any]) -> None:
    config["rootfs"]["diff_ids"] = ["sha256:" + "a" * 64]


def _no_layers(manifest: dict[str, Any]) -> None:
    manifest["layers"] = []


def _mixed(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def _bad_time(config: dict[str, Any]) -> None:
    config["created"] = "yesterday"


def _config_size(manifest: dict[str, Any]) -> None:
    manifest["config"]["size"] += 1


@pytest.mark.parametrize(
    ("change", "part", "problem"),
    [
        (_other_diff_id, "config", "the config says sha256:aaaa"),
        (_no_layers, "manifest", "0 layers in the manifest, 1 in the config"),
        (_mixed, "manifest", "does not belong into a"),
        (_bad_time, "config", "'yesterday' is not an RFC 3339 time"),
        (_config_size, "manifest", "the manifest says"),
    ],
)
def test_parts_that_do_not_agree(
    layout: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None], part: str, problem: str
) -> None:
    _change(layout, change, part)
    assert problem in _ran(capsys, layout, status=67)


def test_damaged_and_missing_layers(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (layer,) = images.read_image(layout).manifest["layers"]
    path = _blob(layout, layer["digest"])
    good = path.read_bytes()
    other = gzip.compress(images.layer(images.file("a", "2")), 1, mtime=0)
    path.write_bytes(other.ljust(len(good), b"\0")[: len(good)] if len(other) <= len(good) else other)
    assert layer["digest"] in _ran(capsys, layout, status=67)
    path.write_bytes(good[:-9] + b"x" * 9)
    assert "gzip" in _ran(capsys, layout, status=67)
    path.write_bytes(good[:10])
    assert "10 bytes" in _ran(capsys, layout, status=67)
    path.unlink()
    assert layer["digest"] in _ran(capsys, layout, status=67)


def _index(layout: Path) -> dict[str, Any]:
    entries = []
    for architecture in ("amd64", "arm64"):
        digest = images.write_layout(layout, [_LAYER], architecture=architecture)
        platform = {"os": "linux", "architecture": architecture}
        size = _blob(layout, digest).stat().st_size
        entries.append({"mediaType": _OCI + "manifest.v1+json", "digest": digest, "size": size, "platform": platform})
    statement = b'{"_type":"https://in-toto.io/Statement/v0.1"}'
    blob = images.layer_digests([statement])[0]
    _blob(layout, blob).write_bytes(statement)
    described = {"mediaType": "application/vnd.in-toto+json", "digest": blob, "size": len(statement)}
    empty = images.layer_digests([b"{}"])[0]
    _blob(layout, empty).write_bytes(b"{}")
    attestation = {
        "schemaVersion": 2,
        "mediaType": _OCI + "manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [described],
    }
    unknown = {"os": "unknown", "architecture": "unknown"}
    entries.append(_put(layout, attestation, platform=unknown))
    return {"schemaVersion": 2, "mediaType": _OCI + "index.v1+json", "manifests": entries}


def test_indexes_are_read_with_all_platforms(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _put(layout, _index(layout))
    _set_root(layout, root)
    assert _ran(capsys, layout) == f"{root['digest']}\n"
    value = json.loads(_ran(capsys, "--json", layout))
    assert [(one["kind"], one["platform"]) for one in value["manifests"]] == [
        ("image", "linux/amd64"),
        ("image", "linux/arm64"),
        ("attestation", ""),
        ("index", ""),
    ]


def test_every_problem_of_an_index_is_told(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _index(layout)
    document["manifests"][0]["platform"]["architecture"] = "s390x"
    document["manifests"][1]["size"] += 1
    _set_root(layout, _put(layout, document))
    blob = images.layer_digests([b'{"_type":"https://in-toto.io/Statement/v0.1"}'])[0]
    _blob(layout, blob).write_bytes(b'{"_type":"https://in-toto.io/Statement/v0.2"}')
    error = _ran(capsys, layout, status=67)
    assert "linux/amd64: the index says it is for linux/s390x, its config linux/amd64" in error
    assert "bytes long, not" in error
    assert f"attestation: blob {blob}" in error


def test_one_platform(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _index(layout)
    document["manifests"][1]["platform"]["architecture"] = "s390x"
    _set_root(layout, _put(layout, document))
    digest = document["manifests"][0]["digest"]
    assert _ran(capsys, "--platform", "linux/amd64", layout) == f"{digest}\n"
    assert main(["validate", "--platform", "linux/riscv64", str(layout)]) == 67


def test_a_foreign_layer_need_not_be_there(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def foreign(manifest: dict[str, Any]) -> None:
        kind = _OCI + "layer.nondistributable.v1.tar+gzip"
        manifest["layers"][0] |= {"mediaType": kind, "urls": ["https://registry.example/layer"]}

    _change(layout, foreign)
    assert _ran(capsys, layout)
    (layer,) = images.read_image(layout).manifest["layers"]
    _blob(layout, layer["digest"]).unlink()
    assert _ran(capsys, layout)
